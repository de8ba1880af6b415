//! The handler of faults: is it a store to a device's memory, and what becomes of it.
//!
//! Every signal is blocked while a store is made, as none interrupts an instruction. Nothing is allocated, and
//! the connection is one that no call of this thread has ([`crate::image`]).
//!
//! A processor without `MOVDIR64B` or `ENQCMD` says that there is no such instruction (`SIGILL`), one with
//! `ENQCMD` but without a PASID for the process that it is not allowed (`SIGSEGV` without an address). Both are
//! made like any other store where they go to a device's memory.

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};

use emulate::{LONGEST, Machine, Trouble, Vector};
use rustix::io::Errno;
use wire::message::{Operation, Stored};

use super::frame::{self, Frame};
use super::table::{self, Range};
use crate::call::Call;
use crate::run;
use crate::signal::{self, Info};
use crate::sys::{self, Raw, read_memory};

static READY: AtomicBool = AtomicBool::new(false);

/// What is to be done before the program runs.
pub(crate) fn start() {
    signal::start();
}

/// Takes faults from now on; false where it cannot be done.
pub(super) fn prepare() -> bool {
    if !READY.load(Ordering::Acquire) {
        emulate::prepare();
        frame::prepare();
        if !signal::take(handler) {
            return false;
        }
        READY.store(true, Ordering::Release);
    }
    true
}

/// Why an access was not made.
#[derive(Clone, Copy)]
enum Failure {
    /// The device does not take it.
    Bus(u64),
    /// The program has no such memory.
    Memory(u64),
}

extern "C" fn handler(number: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let frame = Frame(context.cast());
    // SAFETY: the kernel made both for this handler.
    let told = unsafe { Info::of(info) };
    let mut cpu = frame.cpu();
    let mut code = [0; LONGEST];
    if let Some(length) = fetch(number, &told, frame, &mut code) {
        match emulate::step(&code[..length], &mut cpu, &mut Program(frame)) {
            Ok(()) => return frame.set_cpu(&cpu),
            Err(Trouble::Fault(Failure::Bus(at))) => return signal::bus_error(at, frame.0),
            Err(Trouble::Fault(Failure::Memory(at))) => {
                // SAFETY: the kernel made it for this handler.
                return unsafe { signal::pass_on_as_fault(at, frame.0) };
            }
            Err(Trouble::Unknown) => report(&code[..length]),
        }
    }
    // SAFETY: the kernel made both for this handler.
    unsafe { signal::pass_on(number, info, frame.0) }
}

/// The instruction of a fault, if it is a store that is made here: how many bytes of it are there.
fn fetch(number: c_int, told: &Info, frame: Frame, code: &mut [u8; LONGEST]) -> Option<usize> {
    const SEGV_ACCERR: c_int = 2;
    const SI_KERNEL: c_int = 0x80;
    let cpu = frame.cpu();
    match (number, told.code) {
        (libc::SIGSEGV, SEGV_ACCERR) => {
            writable(told.address).filter(|_| frame.is_store())?;
            let length = read_page(cpu.rip, code);
            match emulate::length(&code[..length]) {
                Some(_) => Some(length),
                // it goes on in the next page
                None => Some(read_memory(cpu.rip, code)),
            }
        }
        (libc::SIGSEGV, SI_KERNEL) | (libc::SIGILL, 1..) => {
            let length = read_memory(cpu.rip, code);
            let to = emulate::portal(&code[..length], &cpu, &mut Program(frame))?;
            writable(to).map(|_| length)
        }
        _ => None,
    }
}

/// Reads code that the processor has just met, as far as its page goes; how many bytes.
fn read_page(at: u64, to: &mut [u8]) -> usize {
    let length = to.len().min(0x1000 - (at % 0x1000) as usize);
    let from = core::ptr::with_exposed_provenance::<u8>(at as usize);
    for (index, byte) in to.iter_mut().enumerate().take(length) {
        // SAFETY: the page is there, since an instruction begins in it.
        *byte = unsafe { from.add(index).read_volatile() };
    }
    length
}

/// The range of an address that the program may write to.
fn writable(at: u64) -> Option<Range> {
    table::find(at).filter(|range| range.prot & libc::PROT_WRITE != 0)
}

/// The program, as its instruction sees it.
struct Program(Frame);

impl Program {
    /// Passes a message about a range on; what the device answers, or that it does not take it.
    ///
    /// A store does not fail for want of descriptors: another thread gives its connection back.
    fn tell(range: &Range, at: u64, operation: Operation) -> Result<Raw, Failure> {
        const TRIES: u32 = 1_000_000;
        let run = run::current().ok_or(Failure::Bus(at))?;
        let call = Call::on(range.fd, range.cookie, operation);
        for _ in 0..TRIES {
            let result = match call.make(run) {
                Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => {
                    rustix::thread::sched_yield();
                    continue;
                }
                Err(_) => None,
                Ok(reply) => reply.result(),
            };
            return result.filter(|it| !sys::is_failure(*it)).ok_or(Failure::Bus(at));
        }
        Err(Failure::Bus(at))
    }
}

impl Machine for Program {
    type Fault = Failure;

    fn load(&mut self, at: u64, to: &mut [u8]) -> Result<(), Failure> {
        let is_word = matches!(to.len(), 1 | 2 | 4 | 8) && at.is_multiple_of(to.len() as u64);
        let readable = libc::PROT_READ | libc::PROT_WRITE;
        if is_word && table::find(at).is_some_and(|range| range.prot & readable != 0) {
            let word = load_word(at, to.len()).to_ne_bytes();
            to.copy_from_slice(&word[..to.len()]);
            return Ok(());
        }
        match read_memory(at, to) {
            length if length == to.len() => Ok(()),
            length => Err(Failure::Memory(at.wrapping_add(length as u64))),
        }
    }

    fn store(&mut self, at: u64, from: &[u8]) -> Result<(), Failure> {
        let (mut at, mut left) = (at, from);
        while !left.is_empty() {
            let Some(range) = table::find(at) else {
                return match write_memory(at, left) {
                    length if length == left.len() => Ok(()),
                    length => Err(Failure::Memory(at.wrapping_add(length as u64))),
                };
            };
            if range.prot & libc::PROT_WRITE == 0 {
                return Err(Failure::Memory(at));
            }
            let length = left.len().min((range.end - at) as usize);
            let (now, later) = left.split_at(length);
            let bytes = Stored::new(now).ok_or(Failure::Memory(at))?;
            Self::tell(&range, at, Operation::Store { at: range.position_of(at), bytes })?;
            (at, left) = (at.wrapping_add(length as u64), later);
        }
        Ok(())
    }

    fn enqueue(&mut self, at: u64, command: &[u8; 64]) -> Result<bool, Failure> {
        let range = writable(at).ok_or(Failure::Memory(at))?;
        let operation = Operation::Enqueue { at: range.position_of(at), command: *command };
        Self::tell(&range, at, operation).map(|accepted| accepted != 0)
    }

    fn segment(&mut self, gs: bool) -> u64 {
        const ARCH_GET_FS: usize = 0x1003;
        const ARCH_GET_GS: usize = 0x1004;
        let mut base = 0_u64;
        let which = if gs { ARCH_GET_GS } else { ARCH_GET_FS };
        // SAFETY: writes one u64.
        unsafe { sys::raw(libc::SYS_arch_prctl, [which, &raw mut base as usize]) };
        base
    }

    fn vector(&mut self, number: usize) -> Vector {
        self.0.vector(number)
    }

    fn set_vector(&mut self, number: usize, value: &Vector) {
        self.0.set_vector(number, value);
    }

    fn mask(&mut self, number: usize) -> u64 {
        self.0.mask(number)
    }
}

/// A word of a device's memory, in one step, as the processor would read it.
fn load_word(at: u64, size: usize) -> u64 {
    let at = core::ptr::with_exposed_provenance::<u8>(at as usize);
    // SAFETY: it is in a mapping that can be read, unless another thread unmaps it just now, and then the
    // instruction would have faulted as well.
    unsafe {
        match size {
            1 => at.read_volatile().into(),
            2 => at.cast::<u16>().read_volatile().into(),
            4 => at.cast::<u32>().read_volatile().into(),
            _ => at.cast::<u64>().read_volatile(),
        }
    }
}

/// Writes memory of this process, wherever it is; how many bytes were written.
fn write_memory(at: u64, from: &[u8]) -> usize {
    // SAFETY: the call only reads these bytes.
    unsafe { sys::transfer(libc::SYS_process_vm_writev, from.as_ptr() as usize, at, from.len()) }
}

/// Tells once what could not be made.
fn report(code: &[u8]) {
    static REPORTED: AtomicBool = AtomicBool::new(false);
    if REPORTED.swap(true, Ordering::AcqRel) {
        return;
    }
    let code = &code[..emulate::length(code).unwrap_or(code.len())];
    let mut text = [0; 256];
    let mut end = 0;
    let mut put = |bytes: &[u8]| {
        if let Some(room) = text.get_mut(end..end + bytes.len()) {
            room.copy_from_slice(bytes);
            end += bytes.len();
        }
    };
    put(b"softiommu: a store to a device's memory is made in a way that is not known: instruction");
    for byte in code {
        let digit = |it: u8| b"0123456789abcdef"[usize::from(it & 15)];
        put(&[b' ', digit(byte >> 4), digit(*byte)]);
    }
    put(b"; the program gets the fault\n");
    // SAFETY: writes bytes of ours.
    unsafe { sys::raw(libc::SYS_write, [2, text.as_ptr() as usize, end]) };
}
