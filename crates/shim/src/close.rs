//! `close` and `dup2` and their families: they must not hit descriptors of ours: connections, and copies
//! that keep files open while they are mapped.
//!
//! To the program, a number that one of them has is a number that is not open.

use core::ffi::{c_int, c_uint};

use crate::image::{self, connections, is_connection};
use crate::sys::{self, Raw, failure, is_failure, to_int};
use crate::trap;

/// Whether a descriptor is ours and none of the program's business.
fn is_ours(fd: c_int) -> bool {
    is_connection(fd) || trap::holds(fd)
}

/// The lowest descriptor of ours from `first` to `last`.
fn next_ours(first: c_uint, last: c_uint) -> Option<c_uint> {
    connections(first, last).chain(trap::held(first, last)).min()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close(fd: c_int) -> c_int {
    if is_ours(fd) {
        return to_int(failure(libc::EBADF));
    }
    // SAFETY: the call as the program made it.
    to_int(unsafe { sys::raw(libc::SYS_close, [fd as usize]) })
}

/// Closes what lies between descriptors of ours.
fn close_between(first: c_uint, last: c_uint, flags: c_int) -> Raw {
    let native = |first: c_uint, last: c_uint| {
        let arguments = [first as usize, last as usize, flags as usize];
        // SAFETY: the call as the program made it, or a part of it.
        unsafe { sys::raw(libc::SYS_close_range, arguments) }
    };
    const CLOEXEC: c_int = 4;
    if flags & CLOEXEC != 0 || first > last {
        return native(first, last); // ours are closed by exec anyway
    }
    let mut from = first;
    while let Some(ours) = next_ours(from, last) {
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
    // the child of a `vfork` has descriptors of its own, and what is known of ours is its parent's
    let makes_way = is_ours(new) && !image::is_vfork_child();
    if makes_way && is_connection(new) {
        image::move_away(new);
    }
    if makes_way && trap::holds(new) {
        trap::move_away(new);
    }
    // SAFETY: the call as the program made it.
    let result = unsafe { sys::raw(libc::SYS_dup3, [old as usize, new as usize, flags as usize]) };
    if makes_way && is_failure(result) && !is_ours(new) {
        sys::close(new); // nothing has taken its place
    }
    to_int(result)
}
