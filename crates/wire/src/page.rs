//! The shared page: what the shim must know without asking.
//!
//! `read`, `write` and `mmap` are hot in ordinary programs, so a hook must see at once that a call is
//! none of ours. The supervisor keeps a small file that every process of the run maps read-only:
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | [`FEATURES`] | 4 | [`SELFTEST`] and [`DEVICES`], or not; fixed for the run |
//! | [`LIVE`] | 4 | how many open files of ours there are; 0 settles every question |
//! | [`CHARGED`] | 4 | 1 once any process was charged for pinned pages |
//! | [`RELEASE`] | [`RELEASE_BYTES`] | what `uname -r` says, fixed for the run: text, and zeros to the end |
//! | [`FILTER`] | [`FILTER_BYTES`] | a bit a cookie ([`bit`]), shared by cookies that collide |
//!
//! A set bit means *perhaps ours*, and the supervisor knows. A clear bit means *not ours*.

/// Size of the file.
pub const SIZE: usize = FILTER + FILTER_BYTES;
/// Offset of the features of the run.
pub const FEATURES: usize = 0;
/// Offset of the number of live open files.
pub const LIVE: usize = 4;
/// Offset of the flag that somebody was charged.
pub const CHARGED: usize = 8;
/// Offset of the kernel's release.
pub const RELEASE: usize = 16;
/// Bytes of the kernel's release, at least one of them zero: as many as `struct utsname` has.
pub const RELEASE_BYTES: usize = 65;
/// Offset of the cookies' bits.
pub const FILTER: usize = 4096;
/// Bytes of the cookies' bits.
pub const FILTER_BYTES: usize = 4096;

/// Feature: the machine has Linux's fault injection files.
pub const SELFTEST: u32 = 1;
/// Feature: the machine has devices, whose memory programs may map.
pub const DEVICES: u32 = 2;

/// The byte in [`FILTER`] and the bit in it that stand for a cookie.
///
/// The kernel counts cookies up, so neighbours in time never collide.
pub const fn bit(cookie: u64) -> (usize, u8) {
    let number = cookie % (FILTER_BYTES as u64 * 8);
    ((number / 8) as usize, 1 << (number % 8))
}
