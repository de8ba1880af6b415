//! A device's memory in the program: loads run natively, stores are made by the supervisor.
//!
//! Stores to a BAR must be seen one by one, in their order. So a BAR is mapped to be read only, whatever the
//! program asked for. A store faults, is made by hand from its instruction ([`emulate`]), passed to the
//! supervisor, which has made it when it answers, and stepped over.
//!
//! | module | holds |
//! |---|---|
//! | this one | mapping a device's memory |
//! | [`table`] | which addresses are of a device's memory |
//! | [`change`] | `munmap`, `mprotect`, `mremap`: what becomes of such addresses |
//! | [`fault`] | the handler of faults |
//! | [`frame`] | registers in the frame of a signal |
//!
//! What the program asked for decides what it meets: a store to what it has made readable only is its own
//! fault. A store that the device does not take (memory space is off) is `SIGBUS`, as Linux sends it.
//!
//! *What it doesn't do*: AArch64, where no device's memory can be mapped; stores of the kernel on the program's
//! behalf (`read(2)` into a BAR is `EFAULT`); raw system calls that unmap or map in its place.

mod change;
mod table;

#[cfg(target_arch = "x86_64")]
mod fault;
#[cfg(target_arch = "x86_64")]
mod frame;

#[cfg(not(target_arch = "x86_64"))]
#[path = "elsewhere.rs"]
mod fault;

use core::ffi::{c_int, c_uint};

use crate::memory::Map;
use crate::sys::{Raw, failure, is_failure};

use table::{Change, Range};

pub(crate) use fault::start;

/// The end of a range of addresses, at a page.
fn end_of(at: usize, length: usize) -> u64 {
    (at as u64).saturating_add(length as u64).checked_next_multiple_of(0x1000).unwrap_or(u64::MAX)
}

/// What the kernel is asked for where the program asks for this: never to write, and to read where x86 lets
/// a program read what it may write.
const fn real_prot(prot: c_int) -> c_int {
    if prot & libc::PROT_WRITE != 0 { prot & !libc::PROT_WRITE | libc::PROT_READ } else { prot }
}

/// Maps a device's memory: `asked` is the call of the program, `instead` what is mapped.
pub(crate) fn map(asked: Map, instead: Map, cookie: u64) -> Raw {
    if !fault::prepare() {
        return failure(libc::ENODEV);
    }
    let Some(change) = Change::new() else { return failure(libc::ENOMEM) };
    // for itself, and for what it may split
    if !change.has_room(2) {
        return failure(libc::ENOMEM);
    }
    let Some(fd) = change.hold(asked.fd, cookie) else { return failure(libc::ENFILE) };
    let result = Map { prot: real_prot(asked.prot), ..instead }.make();
    if is_failure(result) {
        change.drop_descriptor(fd, cookie);
        return result;
    }
    let (start, end) = (result as u64, end_of(result as usize, asked.length));
    change.remove(start, end, fd);
    let position = asked.offset as u64;
    change.add(&Range { start, end, position, cookie, fd, prot: asked.prot });
    result
}

/// Something else was mapped there.
pub(crate) fn forget(at: usize, length: usize) {
    let (start, end) = (at as u64, end_of(at, length));
    if table::overlaps(start, end)
        && let Some(change) = Change::new()
    {
        change.remove(start, end, -1);
    }
}

/// Whether a device's memory is in a range of addresses.
pub(crate) fn has(start: u64, end: u64) -> bool {
    table::overlaps(start, end)
}

/// Whether a descriptor is one that keeps a file open while it is mapped.
pub(crate) fn holds(fd: c_int) -> bool {
    table::descriptor(fd, fd).is_some()
}

/// The lowest of them from `first` to `last`.
pub(crate) fn held(first: c_uint, last: c_uint) -> Option<c_uint> {
    let number = |fd: c_uint| c_int::try_from(fd).unwrap_or(c_int::MAX);
    table::descriptor(number(first), number(last)).map(c_int::unsigned_abs)
}

/// Frees its number, which the program wants for itself.
pub(crate) fn move_away(fd: c_int) {
    if let Some(change) = Change::new() {
        change.move_descriptor(fd);
    }
}
