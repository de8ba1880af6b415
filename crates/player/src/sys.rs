//! The door to the system under test: libc's own functions, and the only `unsafe` of this crate.
//!
//! The player may run on a kernel or under a library that stands in for one with `LD_PRELOAD`. So every
//! call goes to the dynamically linked symbols `open`, `ioctl`, `read`, `write`, `poll`, `fcntl`, `close`,
//! `mmap`, `memfd_create` and `fork`, never to a raw system call.
//!
//! Every function returns what the call returned and `errno` as an [`Answer`]; nothing is retried,
//! judged or cleaned up, because what came back is what gets printed.

use std::ffi::{c_int, c_ulong, c_void};

/// What a call returned, and `errno` (0 unless it failed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub value: i64,
    pub errno: i32,
}

impl Answer {
    /// Makes one call with `errno` cleared before.
    fn of(call: impl FnOnce() -> i64) -> Answer {
        // SAFETY: `__errno_location` is this thread's errno, valid for as long as the thread lives.
        unsafe { *libc::__errno_location() = 0 };
        let value = call();
        // SAFETY: as above.
        let errno = unsafe { *libc::__errno_location() };
        Answer { value, errno: if value < 0 { errno } else { 0 } }
    }

    /// True for 0, the one value that `/dev/iommu` commands succeed with. A failure without an errno,
    /// which no kernel has, counts as success, as it did when the recordings were made.
    pub fn succeeded(self) -> bool {
        self.value == 0 || (self.value < 0 && self.errno == 0)
    }

    /// The value of a call that must succeed, else its errno.
    fn descriptor(self) -> Result<c_int, i32> {
        if self.value < 0 { Err(self.errno) } else { Ok(self.value as c_int) }
    }
}

/// Opens `/dev/iommu`; on failure its errno.
pub fn open_iommu() -> Result<c_int, i32> {
    let path = c"/dev/iommu".as_ptr();
    // SAFETY: `path` is a C string of static life.
    Answer::of(|| unsafe { libc::open(path, libc::O_RDWR | libc::O_CLOEXEC) }.into()).descriptor()
}

/// Command `nr` of type 0x3b with `argument`, which must be as long as its size field says and longer
/// than any struct that the other side knows.
pub fn ioctl(fd: c_int, nr: u8, argument: &mut [u8]) -> Answer {
    let request = 0x3b << 8 | c_ulong::from(nr);
    let at: *mut c_void = argument.as_mut_ptr().cast();
    // SAFETY: the other side reads at most the size field's bytes and writes at most a struct of its own,
    // both within `argument` (see above), which is borrowed for the call.
    Answer::of(|| unsafe { libc::ioctl(fd, request as _, at) }.into())
}

/// Reads into `buffer`.
pub fn read(fd: c_int, buffer: &mut [u8]) -> Answer {
    // SAFETY: pointer and length are those of one exclusive slice.
    Answer::of(|| unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) } as i64)
}

/// Writes `buffer`.
pub fn write(fd: c_int, buffer: &[u8]) -> Answer {
    // SAFETY: pointer and length are those of one slice.
    Answer::of(|| unsafe { libc::write(fd, buffer.as_ptr().cast(), buffer.len()) } as i64)
}

/// Asks whether `fd` is readable or writable now: the return value and `revents`.
pub fn poll(fd: c_int) -> (c_int, i16) {
    let mut entry = libc::pollfd { fd, events: libc::POLLIN | libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, exclusively borrowed for the call.
    let ready = unsafe { libc::poll(&raw mut entry, 1, 0) };
    (ready, entry.revents)
}

/// Adds `O_NONBLOCK`, so that a read answers instead of waiting.
pub fn set_nonblocking(fd: c_int) {
    // SAFETY: `F_GETFL` and `F_SETFL` touch no memory of ours.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK);
    }
}

/// Closes `fd`, a descriptor that only the caller knows.
pub fn close(fd: c_int) {
    // SAFETY: no owner in Rust has this descriptor; an invalid one is refused.
    unsafe { libc::close(fd) };
}

/// The address of `data` for a field that carries a pointer as a number.
pub fn address<T>(data: &mut [T]) -> u64 {
    data.as_mut_ptr().expose_provenance() as u64
}

/// The memory that sequences map: a memfd, shared, always at [`Arena::BASE`].
///
/// The kernel chooses IOVAs aligned like the address, so a fixed address makes its choices repeatable.
#[derive(Debug)]
pub struct Arena {
    /// The memfd, for `IOMMU_IOAS_MAP_FILE`.
    pub memfd: c_int,
}

impl Arena {
    /// Where it starts.
    pub const BASE: u64 = 0x2000_0000_0000;
    /// Its bytes: 1 MiB.
    pub const LEN: usize = 1 << 20;

    /// Creates and maps it, the first byte of every 64 holding the low byte of the page's number; else
    /// the errno.
    pub fn map() -> Result<Arena, i32> {
        // SAFETY: a C string of static life.
        let memfd = Answer::of(|| unsafe { libc::memfd_create(c"arena".as_ptr(), 0) }.into())
            .descriptor()?;
        // SAFETY: takes no memory.
        Answer::of(|| unsafe { libc::ftruncate(memfd, Arena::LEN as i64) }.into()).descriptor()?;
        let wanted = std::ptr::with_exposed_provenance_mut(Arena::BASE as usize);
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE);
        // SAFETY: NOREPLACE: the mapping replaces no memory that Rust knows.
        let base = unsafe { libc::mmap(wanted, Arena::LEN, access, kind, memfd, 0) };
        if base != wanted {
            return Err(libc::EEXIST);
        }
        for at in (0..Arena::LEN).step_by(64) {
            // SAFETY: within the mapping just made, by raw pointer: no reference to it ever exists.
            unsafe { base.cast::<u8>().add(at).write_volatile((at >> 12) as u8) };
        }
        Ok(Arena { memfd })
    }
}

/// How a forked player ends.
pub enum Ending {
    /// The sequence was played.
    Played,
    /// It could not be: the exit status to show.
    Failed(c_int),
}

/// Runs `play` in a forked child that an alarm ends after 20 seconds; returns its wait status.
///
/// The process must have one thread and nothing buffered for output.
pub fn in_child(play: impl FnOnce() -> Ending) -> c_int {
    // SAFETY: one thread (above), so the child may do anything that this process may.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: takes no memory.
        unsafe { libc::alarm(20) };
        let status = match play() {
            Ending::Played => 0,
            Ending::Failed(status) => status,
        };
        // SAFETY: ends the child; its output was flushed line by line.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: `status` is borrowed for the call.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    status
}
