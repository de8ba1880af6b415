//! `close` and `dup2` and their families: they must not hit our connections.
//!
//! To the program, a number that a connection has is a number that is not open.

use core::ffi::{c_int, c_uint};

use crate::image::{connections, is_connection, move_away};
use crate::sys::{self, Raw, failure, to_int};

#[unsafe(no_mangle)]
unsafe extern "C" fn close(fd: c_int) -> c_int {
    if is_connection(fd) {
        return to_int(failure(libc::EBADF));
    }
    // SAFETY: the call as the program made it.
    to_int(unsafe { sys::raw(libc::SYS_close, [fd as usize]) })
}

/// Closes what lies between our connections.
fn close_between(first: c_uint, last: c_uint, flags: c_int) -> Raw {
    let native = |first: c_uint, last: c_uint| {
        let arguments = [first as usize, last as usize, flags as usize];
        // SAFETY: the call as the program made it, or a part of it.
        unsafe { sys::raw(libc::SYS_close_range, arguments) }
    };
    const CLOEXEC: c_int = 4;
    if flags & CLOEXEC != 0 || first > last {
        return native(first, last); // connections are closed by exec anyway
    }
    let mut from = first;
    for ours in connections(first, last) {
        if from < ours {
            let result = native(from, ours - 1);
            if result < 0 {
                return result;
            }
        }
        from = ours + 1; // a descriptor is below 2^31
    }
    if from <= last { native(from, last) } else { 0 }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    to_int(close_between(first, last, flags))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn closefrom(first: c_int) {
    close_between(first.max(0).unsigned_abs(), c_uint::MAX, 0);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dup2(old: c_int, new: c_int) -> c_int {
    if old == new {
        // SAFETY: asks whether the descriptor is open.
        let open = unsafe { sys::raw(libc::SYS_fcntl, [old as usize, libc::F_GETFD as usize]) };
        return if open < 0 { to_int(open) } else { new };
    }
    duplicate(old, new, 0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    duplicate(old, new, flags)
}

fn duplicate(old: c_int, new: c_int, flags: c_int) -> c_int {
    if is_connection(new) {
        move_away(new);
    }
    // SAFETY: the call as the program made it.
    to_int(unsafe { sys::raw(libc::SYS_dup3, [old as usize, new as usize, flags as usize]) })
}
