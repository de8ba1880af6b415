//! `munmap`, `mprotect`, `mremap`: what becomes of a device's memory.

use core::ffi::{c_int, c_void};
use core::ptr;

use super::table::{self, Change, Range};
use super::{end_of, real_prot};
use crate::sys::{self, Raw, failure, is_failure, to_int, to_libc};

fn unmap(at: usize, length: usize) -> Raw {
    // SAFETY: the call as the program made it.
    let native = || unsafe { sys::raw(libc::SYS_munmap, [at, length]) };
    let (start, end) = (at as u64, end_of(at, length));
    if !table::overlaps(start, end) {
        return native();
    }
    let Some(change) = Change::new().filter(|change| change.has_room(1)) else {
        return failure(libc::ENOMEM);
    };
    let result = native();
    if !is_failure(result) {
        change.remove(start, end, -1);
    }
    result
}

/// `mprotect(2)`, or `pkey_mprotect(2)` with a key.
fn protect(at: usize, length: usize, prot: c_int, key: Option<c_int>) -> Raw {
    let native = |at: u64, end: u64, prot: c_int| {
        let arguments = [at as usize, (end - at) as usize, prot as usize];
        // SAFETY: the call as the program made it, or a part of it.
        unsafe {
            match key {
                None => sys::raw(libc::SYS_mprotect, arguments),
                Some(key) => {
                    let [at, length, prot] = arguments;
                    sys::raw(libc::SYS_pkey_mprotect, [at, length, prot, key as usize])
                }
            }
        }
    };
    let (start, end) = (at as u64, end_of(at, length));
    let whole = (at as u64).saturating_add(length as u64);
    if !start.is_multiple_of(0x1000) || !table::overlaps(start, end) {
        return native(start, whole, prot);
    }
    let Some(change) = Change::new() else { return failure(libc::ENOMEM) };
    let mut from = start;
    while from < end {
        let part = change.next_part(from, end);
        let before = part.map_or(end, |part| part.start);
        if from < before {
            let result = native(from, before, prot);
            if is_failure(result) {
                return result;
            }
        }
        let Some(part) = part else { break };
        if !change.has_room(2) {
            return failure(libc::ENOMEM);
        }
        let result = native(part.start, part.end, real_prot(prot));
        if is_failure(result) {
            return result;
        }
        change.cut(part.start, part.end);
        change.add(&Range { prot, ..part });
        from = part.end;
    }
    0
}

/// `mremap(2)`: a device's memory can be moved and made shorter, and nothing else (`vma_to_resize` and
/// `mremap_to`, `mm/mremap.c`: `VM_DONTEXPAND`, `VM_PFNMAP`).
fn remap(at: usize, old: usize, new: usize, flags: c_int, to: usize) -> Raw {
    let native = || {
        // SAFETY: the call as the program made it.
        unsafe { sys::raw(libc::SYS_mremap, [at, old, new, flags as usize, to]) }
    };
    let is_fixed = flags & libc::MREMAP_FIXED != 0;
    let (start, old_end) = (at as u64, end_of(at, old.max(1)));
    let is_trapped = table::overlaps(start, old_end);
    let replaces_trapped = is_fixed && table::overlaps(to as u64, end_of(to, new));
    if !is_trapped && !replaces_trapped {
        return native();
    }
    let Some(change) = Change::new().filter(|change| change.has_room(3)) else {
        return failure(libc::ENOMEM);
    };
    if is_trapped && start.is_multiple_of(0x1000) && new != 0 {
        if flags & libc::MREMAP_DONTUNMAP != 0 {
            return failure(libc::EINVAL);
        }
        if end_of(at, new) > end_of(at, old) {
            return failure(libc::EFAULT);
        }
    }
    let result = native();
    if is_failure(result) {
        return result;
    }
    let (there, new_end) = (result as u64, end_of(at, new));
    if there != start {
        change.remove(there, end_of(result as usize, new), -1);
    }
    if is_trapped {
        change.remove(new_end, old_end, -1);
        while there != start
            && let Some(part) = change.next_part(start, new_end)
        {
            change.cut(part.start, part.end);
            let moved = |at: u64| there + (at - start);
            change.add(&Range { start: moved(part.start), end: moved(part.end), ..part });
        }
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn munmap(at: *mut c_void, length: usize) -> c_int {
    to_int(unmap(at as usize, length))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mprotect(at: *mut c_void, length: usize, prot: c_int) -> c_int {
    to_int(protect(at as usize, length, prot, None))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pkey_mprotect(
    at: *mut c_void,
    length: usize,
    prot: c_int,
    key: c_int,
) -> c_int {
    to_int(protect(at as usize, length, prot, Some(key)))
}

// The last argument is a variable one in C; on x86-64 and AArch64 it is passed as any other.
#[unsafe(no_mangle)]
unsafe extern "C" fn mremap(
    at: *mut c_void,
    old: usize,
    new: usize,
    flags: c_int,
    to: *mut c_void,
) -> *mut c_void {
    let moved = remap(at as usize, old, new, flags, to as usize);
    // What failed is -1, which is `MAP_FAILED`.
    ptr::with_exposed_provenance_mut(to_libc(moved) as usize)
}
