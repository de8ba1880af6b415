//! `open` and its family.

use core::ffi::{CStr, c_char, c_int, c_uint};

use rustix::fs::{Access, OFlags};
use wire::message::{Node, Operation};
use wire::path;

use crate::call::Call;
use crate::name::{Meaning, Room, meaning};
use crate::run::{self, Run};
use crate::sys::{self, Raw, to_int};

/// `openat(2)` for the program.
///
/// # Safety
/// `name` must be as [`sys::text`] wants it.
pub(crate) unsafe fn open_at(dirfd: c_int, name: *const c_char, flags: c_int, mode: c_uint) -> Raw {
    let mut room: Room = [0; _];
    // SAFETY: the caller vouches for the name.
    let name = match unsafe { meaning(dirfd, name, &mut room) } {
        Meaning::Node(run, node) => match open_node(run, node, flags) {
            Some(result) => return result,
            None => name,
        },
        Meaning::Redirected(there, Some(tree)) if tree.is_fixed() && writes(flags) => {
            return open_attribute(there, flags).unwrap_or(sys::failure(libc::EACCES));
        }
        Meaning::Redirected(there, _) => there.as_ptr(),
        Meaning::Native => name,
    };
    let arguments = [dirfd as usize, name as usize, flags as usize, mode as usize];
    // SAFETY: the call as the program made it, or with a name of ours.
    unsafe { sys::raw(libc::SYS_openat, arguments) }
}

/// Opens a file of `/sys` that takes what is written to it; none where there is no such.
fn open_attribute(there: &CStr, flags: c_int) -> Option<Raw> {
    let node = path::virtual_functions(there.to_bytes())?;
    if rustix::fs::access(there, Access::EXISTS).is_err() {
        return None;
    }
    open_node(run::current()?, node, flags)
}

/// Whether a file is opened, or made, to be written.
pub(crate) fn writes(flags: c_int) -> bool {
    let flags = OFlags::from_bits_retain(flags as u32);
    flags.intersects(OFlags::WRONLY | OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC)
}

/// Opens a file of ours; none when the supervisor says that it is not.
pub(crate) fn open_node(run: &Run, node: Node, flags: c_int) -> Option<Raw> {
    let flags = OFlags::from_bits_retain(flags as u32);
    if flags.contains(OFlags::DIRECTORY) {
        return Some(sys::failure(libc::ENOTDIR));
    }
    if flags.contains(OFlags::CREATE | OFlags::EXCL) {
        return Some(sys::failure(libc::EEXIST));
    }
    let call = Call::new(Operation::Open(node)).cloexec(flags.contains(OFlags::CLOEXEC));
    let reply = match call.make(run) {
        Ok(reply) => reply,
        Err(_) if matches!(node, Node::Status(_)) => return None,
        Err(errno) => return Some(sys::failed(errno)),
    };
    let result = reply.result()?;
    let Some(fd) = reply.fd() else {
        return Some(if result < 0 { result } else { sys::failure(libc::ENODEV) });
    };
    if flags.contains(OFlags::NONBLOCK)
        && let Some(fd) = sys::borrow(fd)
    {
        let _ = rustix::fs::fcntl_setfl(fd, OFlags::NONBLOCK);
    }
    Some(fd as Raw)
}

macro_rules! open {
    ($($hook:ident)+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $hook(name: *const c_char, flags: c_int, mode: c_uint) -> c_int {
            // SAFETY: the name is the program's promise to libc.
            to_int(unsafe { open_at(libc::AT_FDCWD, name, flags, mode) })
        }
    )+};
}

macro_rules! openat {
    ($($hook:ident)+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $hook(
            dirfd: c_int,
            name: *const c_char,
            flags: c_int,
            mode: c_uint,
        ) -> c_int {
            // SAFETY: the name is the program's promise to libc.
            to_int(unsafe { open_at(dirfd, name, flags, mode) })
        }
    )+};
}

macro_rules! open_fortified {
    ($($hook:ident)+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $hook(name: *const c_char, flags: c_int) -> c_int {
            // SAFETY: the name is the program's promise to libc.
            to_int(unsafe { open_at(libc::AT_FDCWD, name, flags, 0) })
        }
    )+};
}

macro_rules! openat_fortified {
    ($($hook:ident)+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $hook(dirfd: c_int, name: *const c_char, flags: c_int) -> c_int {
            // SAFETY: the name is the program's promise to libc.
            to_int(unsafe { open_at(dirfd, name, flags, 0) })
        }
    )+};
}

// The mode is a variable argument in C; on x86-64 and AArch64 it is passed as any other.
open!(open open64);
openat!(openat openat64);
open_fortified!(__open_2 __open64_2);
openat_fortified!(__openat_2 __openat64_2);
