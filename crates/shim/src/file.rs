//! Calls on a descriptor: `ioctl`, `read`, `write` and their families.

use core::ffi::{c_int, c_ulong, c_void};

use wire::message::{Buffer, Operation};

use crate::call::Call;
use crate::kvm;
use crate::run;
use crate::sys::{self, Raw, failure, to_int, to_libc};

unsafe extern "C" {
    /// Glibc's end of a program whose buffer is too small.
    fn __chk_fail() -> !;
}

/// Makes a call on a descriptor if it is one of ours.
pub(crate) fn on_ours(fd: c_int, operation: impl FnOnce() -> Operation) -> Option<Raw> {
    let run = run::current()?;
    let cookie = run.cookie(fd)?;
    let operation = operation();
    let reserve = matches!(operation, Operation::Ioctl { cmd, .. } if wire::may_install(cmd));
    match Call::on(fd, cookie, operation).reserving(reserve).make(run) {
        Ok(reply) => reply.result(),
        Err(errno) => Some(sys::failed(errno)),
    }
}

/// Types of commands that a device of ours and the socket that stands for it answer differently:
/// VFIO and iommufd, terminals (of which sockets know some), sockets.
fn is_ours_to_answer(cmd: u32) -> bool {
    const FIONBIO: u32 = 0x5421;
    const FIONCLEX: u32 = 0x5450;
    const FIOCLEX: u32 = 0x5451;
    const FIOASYNC: u32 = 0x5452;
    matches!(cmd >> 8 & 0xff, 0x3b | 0x54 | 0x89)
        && !matches!(cmd, FIONBIO | FIONCLEX | FIOCLEX | FIOASYNC)
}

// The argument is a variable one in C; on x86-64 and AArch64 it is passed as any other.
#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(fd: c_int, cmd: c_ulong, arg: usize) -> c_int {
    if is_ours_to_answer(cmd as u32)
        && let Some(result) = on_ours(fd, || Operation::Ioctl { cmd: cmd as u32, arg: arg as u64 })
    {
        return to_int(result);
    }
    let mut slot = kvm::Slot::new();
    let argument = slot.instead(cmd as u32, arg).unwrap_or(arg);
    // SAFETY: the call as the program made it, or with a copy of its argument that is as long.
    let result = unsafe { sys::raw(libc::SYS_ioctl, [fd as usize, cmd as usize, argument]) };
    to_int(kvm::answer(cmd as u32, arg, result))
}

fn plain(va: usize, count: usize) -> Buffer {
    Buffer::Plain { va: va as u64, count: count as u64 }
}

/// An array of `struct iovec`; a negative length is no number of elements.
fn vector(va: usize, count: c_int) -> Buffer {
    Buffer::Vector { va: va as u64, count: u64::try_from(count).unwrap_or(u64::MAX) }
}

fn read_raw(fd: c_int, to: usize, count: usize) -> Raw {
    on_ours(fd, || Operation::Read { buffer: plain(to, count), at: None }).unwrap_or_else(|| {
        // SAFETY: the call as the program made it.
        unsafe { sys::raw(libc::SYS_read, [fd as usize, to, count]) }
    })
}

fn pread_raw(fd: c_int, to: usize, count: usize, at: i64) -> Raw {
    positioned(fd, at, |at| Operation::Read { buffer: plain(to, count), at }).unwrap_or_else(|| {
        // SAFETY: the call as the program made it.
        unsafe { sys::raw(libc::SYS_pread64, [fd as usize, to, count, at as usize]) }
    })
}

/// A call with a position, which must not be negative.
fn positioned(fd: c_int, at: i64, operation: impl FnOnce(Option<u64>) -> Operation) -> Option<Raw> {
    match u64::try_from(at) {
        Ok(at) => on_ours(fd, || operation(Some(at))),
        Err(_) => run::current()?.cookie(fd).map(|_| failure(libc::EINVAL)),
    }
}

/// A call with a position, or with -1 for the file's own, and with flags: files without vectored
/// operations of their own take but one, which changes nothing (`do_loop_readv_writev`, `fs/read_write.c`).
fn flagged(
    fd: c_int,
    at: i64,
    flags: c_int,
    operation: impl FnOnce(Option<u64>) -> Operation,
) -> Option<Raw> {
    const RWF_HIPRI: c_int = 1;
    if flags & !RWF_HIPRI != 0 {
        return run::current()?.cookie(fd).map(|_| failure(libc::EOPNOTSUPP));
    }
    match at {
        -1 => on_ours(fd, || operation(None)),
        at => positioned(fd, at, operation),
    }
}

macro_rules! transfers {
    ($( $($hook:ident)+ ($($argument:ident: $type:ty),*) = $body:expr; )+) => {$(
        transfers!(@each [$($hook)+] ($($argument: $type),*) $body);
    )+};
    (@each [$hook:ident $($more:ident)*] ($($argument:ident: $type:ty),*) $body:expr) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $hook($($argument: $type),*) -> isize {
            to_libc($body)
        }
        transfers!(@each [$($more)*] ($($argument: $type),*) $body);
    };
    (@each [] ($($argument:ident: $type:ty),*) $body:expr) => {};
}

transfers! {
    read (fd: c_int, to: *mut c_void, count: usize) = read_raw(fd, to as usize, count);
    __read_chk (fd: c_int, to: *mut c_void, count: usize, room: usize) = {
        fits(count, room);
        read_raw(fd, to as usize, count)
    };
    pread pread64 (fd: c_int, to: *mut c_void, count: usize, at: i64) =
        pread_raw(fd, to as usize, count, at);
    __pread_chk __pread64_chk (
        fd: c_int, to: *mut c_void, count: usize, at: i64, room: usize
    ) = {
        fits(count, room);
        pread_raw(fd, to as usize, count, at)
    };
    write (fd: c_int, from: *const c_void, count: usize) = {
        let from = from as usize;
        on_ours(fd, || Operation::Write { buffer: plain(from, count), at: None })
            // SAFETY: the call as the program made it.
            .unwrap_or_else(|| unsafe { sys::raw(libc::SYS_write, [fd as usize, from, count]) })
    };
    pwrite pwrite64 (fd: c_int, from: *const c_void, count: usize, at: i64) = {
        let from = from as usize;
        positioned(fd, at, |at| Operation::Write { buffer: plain(from, count), at })
            // SAFETY: the call as the program made it.
            .unwrap_or_else(|| unsafe {
                sys::raw(libc::SYS_pwrite64, [fd as usize, from, count, at as usize])
            })
    };
    readv (fd: c_int, vectors: *const c_void, count: c_int) = {
        let va = vectors as usize;
        on_ours(fd, || Operation::Read { buffer: vector(va, count), at: None })
            // SAFETY: the call as the program made it.
            .unwrap_or_else(|| unsafe {
                sys::raw(libc::SYS_readv, [fd as usize, va, count as usize])
            })
    };
    writev (fd: c_int, vectors: *const c_void, count: c_int) = {
        let va = vectors as usize;
        on_ours(fd, || Operation::Write { buffer: vector(va, count), at: None })
            // SAFETY: the call as the program made it.
            .unwrap_or_else(|| unsafe {
                sys::raw(libc::SYS_writev, [fd as usize, va, count as usize])
            })
    };
    preadv2 preadv64v2 (
        fd: c_int, vectors: *const c_void, count: c_int, at: i64, flags: c_int
    ) = {
        let va = vectors as usize;
        flagged(fd, at, flags, |at| Operation::Read { buffer: vector(va, count), at })
            // SAFETY: the call as the program made it; the position's upper half is unused.
            .unwrap_or_else(|| unsafe {
                let (count, at, flags) = (count as usize, at as usize, flags as usize);
                sys::raw(libc::SYS_preadv2, [fd as usize, va, count, at, 0, flags])
            })
    };
    pwritev2 pwritev64v2 (
        fd: c_int, vectors: *const c_void, count: c_int, at: i64, flags: c_int
    ) = {
        let va = vectors as usize;
        flagged(fd, at, flags, |at| Operation::Write { buffer: vector(va, count), at })
            // SAFETY: the call as the program made it; the position's upper half is unused.
            .unwrap_or_else(|| unsafe {
                let (count, at, flags) = (count as usize, at as usize, flags as usize);
                sys::raw(libc::SYS_pwritev2, [fd as usize, va, count, at, 0, flags])
            })
    };
    preadv preadv64 (fd: c_int, vectors: *const c_void, count: c_int, at: i64) = {
        let va = vectors as usize;
        positioned(fd, at, |at| Operation::Read { buffer: vector(va, count), at })
            // SAFETY: the call as the program made it; the position's upper half is unused.
            .unwrap_or_else(|| unsafe {
                sys::raw(libc::SYS_preadv, [fd as usize, va, count as usize, at as usize, 0])
            })
    };
    pwritev pwritev64 (fd: c_int, vectors: *const c_void, count: c_int, at: i64) = {
        let va = vectors as usize;
        positioned(fd, at, |at| Operation::Write { buffer: vector(va, count), at })
            // SAFETY: the call as the program made it; the position's upper half is unused.
            .unwrap_or_else(|| unsafe {
                sys::raw(libc::SYS_pwritev, [fd as usize, va, count as usize, at as usize, 0])
            })
    };
}

fn fits(count: usize, room: usize) {
    if count > room {
        // SAFETY: takes no arguments and ends the program.
        unsafe { __chk_fail() }
    }
}
