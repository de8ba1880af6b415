//! Signals of faults, which the program and [`crate::trap`] both need.
//!
//! | module | holds |
//! |---|---|
//! | this one | what the program wants of them, and giving it what is its own |
//! | [`action`] | `sigaction`, `signal` and their family |
//! | [`mask`] | `sigprocmask` and its family |
//!
//! Nothing here acts in a run without devices. With one, our handler of `SIGSEGV` and `SIGILL` is installed when
//! a device's memory is mapped first. From then on the hooks keep what the program installs, tell it that, and
//! what is not a store to a device's memory goes there as the kernel would have sent it: the same information,
//! registers, mask and flags. Where that would end the program, it is left to the kernel, at the same
//! instruction, so that status and core are right.
//!
//! Linux ends a program that faults with the signal blocked. So these two are never really blocked, and a mask
//! with `SIGSEGV` in it has [`mask::PROXY`] in its place: the kernel keeps it with the mask, wherever masks are
//! kept (`siglongjmp`, contexts, threads, `fork`), and brings it back.
//!
//! *What it doesn't do*: masks and handlers that are set by raw system calls or in a context by hand; keep a
//! blocked `SIGILL` from a program's handler; stores of a thread that was sent a `SIGSEGV` while it has it
//! blocked, until it takes it; a handler that is installed at the very moment at which another thread maps a
//! device's memory first.

mod action;
pub(crate) mod mask;

use core::ffi::{c_int, c_void};
use core::mem::transmute;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

use crate::image::Guard;
use crate::run;
use crate::sys;

/// Finds libc's own functions, and lets no signal of a fault be blocked.
pub(crate) fn start() {
    action::resolve();
    mask::resolve();
    if is_active() {
        mask::normalise();
    }
}

/// Whether the run has devices.
fn is_active() -> bool {
    run::current().is_some_and(|run| run.has(wire::page::DEVICES))
}

/// `struct sigaction` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Action {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

const SA_RESTORER: u64 = 0x0400_0000;

impl Action {
    /// `rt_sigaction(2)`: what there was.
    fn install(number: c_int, new: Option<&Self>) -> Option<Self> {
        let mut old = Self::default();
        let new = new.map_or(0, |new| &raw const *new as usize);
        let arguments = [number as usize, new, &raw mut old as usize, 8];
        // SAFETY: both are as the kernel lays them out; a handler is one that the program or we have.
        (unsafe { sys::raw(libc::SYS_rt_sigaction, arguments) } == 0).then_some(old)
    }

    const fn has(&self, flag: c_int) -> bool {
        self.flags & flag as u32 as u64 != 0
    }

    const fn is_handler(&self) -> bool {
        self.handler != libc::SIG_DFL && self.handler != libc::SIG_IGN
    }
}

/// What the program wants of a signal that we have taken.
struct Kept {
    /// Odd during a change.
    version: AtomicU64,
    handler: AtomicUsize,
    flags: AtomicU64,
    restorer: AtomicUsize,
    /// As the kernel has it ([`mask::to_kernel`]).
    mask: AtomicU64,
}

impl Kept {
    const fn new() -> Self {
        Self {
            version: AtomicU64::new(0),
            handler: AtomicUsize::new(libc::SIG_DFL),
            flags: AtomicU64::new(0),
            restorer: AtomicUsize::new(0),
            mask: AtomicU64::new(0),
        }
    }

    /// Waits a little for who is changing it; a fork may have taken us away from that.
    fn get(&self) -> Action {
        let mut seen = Action::default();
        for _ in 0..1000 {
            let version = self.version.load(Ordering::Acquire);
            seen = Action {
                handler: self.handler.load(Ordering::Relaxed),
                flags: self.flags.load(Ordering::Relaxed),
                restorer: self.restorer.load(Ordering::Relaxed),
                mask: self.mask.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                break;
            }
            rustix::thread::sched_yield();
        }
        seen
    }

    /// One at a time, by [`Guard`].
    fn set(&self, action: &Action) {
        let version = self.version.load(Ordering::Relaxed) | 1;
        self.version.store(version, Ordering::Relaxed);
        fence(Ordering::Release);
        self.handler.store(action.handler, Ordering::Relaxed);
        self.flags.store(action.flags, Ordering::Relaxed);
        self.restorer.store(action.restorer, Ordering::Relaxed);
        self.mask.store(action.mask, Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Release);
    }
}

/// The signals that we take.
const TAKEN: [c_int; 2] = [libc::SIGSEGV, libc::SIGILL];
static KEPT: [Kept; 2] = [const { Kept::new() }; 2];
static HANDLER: AtomicUsize = AtomicUsize::new(0);
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// What the program wants of a signal; none when it is not one that we have taken.
fn kept(number: c_int) -> Option<&'static Kept> {
    if !IS_TAKEN.load(Ordering::Acquire) {
        return None;
    }
    TAKEN.iter().position(|taken| *taken == number).map(|index| &KEPT[index])
}

type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

core::arch::global_asm!(
    // as libc's, which debuggers and unwinders know by its bytes
    ".globl softiommu_restore",
    ".hidden softiommu_restore",
    "nop",
    "softiommu_restore:",
    "mov rax, 15",
    "syscall",
);

unsafe extern "C" {
    fn softiommu_restore();
}

/// Our action in the place of the program's: on the same stack, with every signal blocked. A call that is
/// interrupted by a signal that is sent goes on as it would have.
fn ours(of: &Action) -> Action {
    let unless = |flag| if of.is_handler() && !of.has(flag) { 0 } else { flag };
    let (stack, restart) = (unless(libc::SA_ONSTACK), unless(libc::SA_RESTART));
    Action {
        handler: HANDLER.load(Ordering::Relaxed),
        flags: (libc::SA_SIGINFO | stack | restart) as u32 as u64 | SA_RESTORER,
        restorer: softiommu_restore as *const () as usize,
        mask: u64::MAX,
    }
}

/// Takes the signals of faults; false where the kernel does not let us.
pub(crate) fn take(handler: Handler) -> bool {
    let Some(_guard) = Guard::new() else { return false };
    if IS_TAKEN.load(Ordering::Acquire) {
        return true;
    }
    HANDLER.store(handler as *const () as usize, Ordering::Relaxed);
    for (number, kept) in TAKEN.into_iter().zip(&KEPT) {
        let Some(mut action) = Action::install(number, None) else { return false };
        // installed through the hooks, or not
        action.mask = mask::to_kernel(mask::to_program(action.mask));
        kept.set(&action);
    }
    IS_TAKEN.store(true, Ordering::Release);
    TAKEN.into_iter().zip(&KEPT).all(|(number, kept)| {
        let action = ours(&kept.get());
        Action::install(number, Some(&action)).is_some()
    })
}

/// The beginning of `siginfo_t`.
#[derive(Clone, Copy)]
pub(crate) struct Info {
    pub code: c_int,
    pub address: u64,
}

impl Info {
    /// # Safety
    /// It must be what the kernel gave a handler.
    pub(crate) unsafe fn of(info: *const libc::siginfo_t) -> Self {
        // SAFETY: the caller vouches for it.
        unsafe { Self { code: (*info).si_code, address: (*info).si_addr() as u64 } }
    }
}

/// `siginfo_t` of a fault at an address.
fn fault(number: c_int, code: c_int, at: u64) -> [u64; 16] {
    let mut info = [0; 16];
    info[0] = number as u32 as u64;
    info[1] = code as u32 as u64;
    info[2] = at;
    info
}

const fn bit(number: c_int) -> u64 {
    1 << (number - 1)
}

/// The mask in the frame of a signal, which the kernel takes back.
fn frame_mask(frame: *mut libc::ucontext_t) -> *mut u64 {
    // SAFETY: the kernel made the frame for a handler.
    unsafe { (&raw mut (*frame).uc_sigmask).cast() }
}

/// Sends this thread a signal with information as the kernel makes it. It is blocked, so it comes when the
/// handler returns.
///
/// # Safety
/// `info` must be a `siginfo_t`.
unsafe fn queue(number: c_int, info: *const c_void) {
    let pid = rustix::process::getpid().as_raw_nonzero().get() as usize;
    let tid = rustix::thread::gettid().as_raw_nonzero().get() as usize;
    let arguments = [pid, tid, number as usize, info as usize];
    // SAFETY: the caller vouches for the information.
    unsafe { sys::raw(libc::SYS_rt_tgsigqueueinfo, arguments) };
}

/// Sends the program `SIGBUS` for the instruction of the frame, which it meets again afterwards
/// (`vfio_pci_mmap_fault`, `VM_FAULT_SIGBUS`).
pub(crate) fn bus_error(at: u64, frame: *mut libc::ucontext_t) {
    const BUS_ADRERR: c_int = 2;
    let mask = frame_mask(frame);
    let ignored = Action::install(libc::SIGBUS, None).is_some_and(|it| it.handler == libc::SIG_IGN);
    // SAFETY: a place in the frame.
    let blocked = unsafe { mask.read() } & bit(libc::SIGBUS) != 0;
    let info = fault(libc::SIGBUS, BUS_ADRERR, at);
    if ignored || blocked {
        end(libc::SIGBUS, frame);
    }
    // SAFETY: it is a `siginfo_t`.
    unsafe { queue(libc::SIGBUS, info.as_ptr().cast()) };
}

/// Lets the kernel end the program when it meets the signal again (`force_sig_info_to_task`).
fn end(number: c_int, frame: *mut libc::ucontext_t) {
    let mask = frame_mask(frame);
    Action::install(number, Some(&Action::default()));
    // SAFETY: a place in the frame.
    unsafe { mask.write(mask.read() & !bit(number)) };
}

/// Gives the program a signal that is its own.
///
/// # Safety
/// Both must be what the kernel gave our handler.
pub(crate) unsafe fn pass_on(
    number: c_int,
    info: *mut libc::siginfo_t,
    frame: *mut libc::ucontext_t,
) {
    // SAFETY: the caller vouches for both.
    unsafe {
        let is_forced = (*info).si_code > 0;
        deliver(number, info, frame, is_forced, false);
    }
}

/// Gives the program a fault at an address that the kernel has not met.
///
/// # Safety
/// As [`pass_on`].
pub(crate) unsafe fn pass_on_as_fault(at: u64, frame: *mut libc::ucontext_t) {
    const SEGV_MAPERR: c_int = 1;
    let mut info = fault(libc::SIGSEGV, SEGV_MAPERR, at);
    // SAFETY: it is a `siginfo_t`; the caller vouches for the frame.
    unsafe { deliver(libc::SIGSEGV, info.as_mut_ptr().cast(), frame, true, true) };
}

/// # Safety
/// As [`pass_on`].
unsafe fn deliver(
    number: c_int,
    info: *mut libc::siginfo_t,
    frame: *mut libc::ucontext_t,
    is_forced: bool,
    is_made_up: bool,
) {
    let mask = frame_mask(frame);
    // SAFETY: a place in the frame.
    let before = unsafe { mask.read() };
    let is_blocked = number == libc::SIGSEGV && before & mask::PROXY != 0;
    let Some(kept) = kept(number) else { return end(number, frame) };
    let action = kept.get();
    if is_forced && (is_blocked || !action.is_handler()) {
        end(number, frame);
        if is_made_up {
            // SAFETY: the caller vouches for it.
            unsafe { queue(number, info.cast()) };
        }
        return;
    }
    if is_blocked {
        // it waits for the program to unblock it, or to take it
        // SAFETY: a place in the frame, and what the caller vouches for.
        unsafe {
            mask.write(before | bit(number));
            queue(number, info.cast());
        }
        return;
    }
    match action.handler {
        libc::SIG_IGN => {}
        libc::SIG_DFL => {
            end(number, frame);
            // SAFETY: the caller vouches for it.
            unsafe { queue(number, info.cast()) };
        }
        handler => {
            if action.has(libc::SA_RESETHAND) {
                let (old, new) = (handler, libc::SIG_DFL);
                let _ =
                    kept.handler.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed);
            }
            let itself = if action.has(libc::SA_NODEFER) { 0 } else { bit(number) };
            sys::restore_signals(before | action.mask | mask::to_kernel(itself));
            // SAFETY: it is what the program has installed as a handler. One without SA_SIGINFO gets, and
            // leaves, more arguments, as it does from the kernel.
            let handler: Handler = unsafe { transmute(handler) };
            handler(number, info, frame.cast());
        }
    }
}
