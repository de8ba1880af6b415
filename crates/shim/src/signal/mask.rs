//! `sigprocmask` and its family: the signals of faults are never really blocked.

use core::ffi::c_int;

use super::action::{bits, set_of};
use super::{bit, is_active};
use crate::sys::{self, Next, Raw, failure, to_int};

const SEGV: u64 = bit(libc::SIGSEGV);
const ILL: u64 = bit(libc::SIGILL);

/// Stands for a blocked `SIGSEGV`: a signal that nothing sends (`SIGSTKFLT`). It is never blocked for itself:
/// programs block every signal but those of faults, and must not be taken to have blocked them.
pub(crate) const PROXY: u64 = bit(libc::SIGSTKFLT);

/// Signals that the kernel lets nobody block.
pub(super) const UNBLOCKABLE: u64 = bit(libc::SIGKILL) | bit(libc::SIGSTOP);

/// Signals that libc has for itself: it lets nobody block them.
const INTERNAL: u64 = bit(32) | bit(33);

/// The mask that the kernel gets in the place of the program's.
pub(crate) const fn to_kernel(mask: u64) -> u64 {
    mask & !(SEGV | ILL | PROXY) | to_proxy(mask)
}

/// The mask that the program is told.
pub(crate) const fn to_program(mask: u64) -> u64 {
    if mask & PROXY != 0 { mask | SEGV | ILL } else { mask }
}

static SIGSUSPEND: Next = Next::new(c"sigsuspend");
static PSELECT: Next = Next::new(c"pselect");
static PPOLL: Next = Next::new(c"ppoll");
static PPOLL_CHK: Next = Next::new(c"__ppoll_chk");
static EPOLL_PWAIT: Next = Next::new(c"epoll_pwait");
static EPOLL_PWAIT2: Next = Next::new(c"epoll_pwait2");
static ATTR_SETSIGMASK: Next = Next::new(c"pthread_attr_setsigmask_np");
static SIGPROCMASK: Next = Next::new(c"sigprocmask");
static PTHREAD_SIGMASK: Next = Next::new(c"pthread_sigmask");

/// Finds libc's own functions, before any signal handler may need them.
pub(super) fn resolve() {
    let all = [&SIGSUSPEND, &PSELECT, &PPOLL, &PPOLL_CHK, &EPOLL_PWAIT, &EPOLL_PWAIT2];
    let others = [&SIGPROCMASK, &PTHREAD_SIGMASK, &ATTR_SETSIGMASK];
    for next in all.into_iter().chain(others) {
        next.address();
    }
}

/// What this thread has blocked from before `exec`, or by a parent without us.
pub(super) fn normalise() {
    if let Ok(mask) = sys::change_mask(libc::SIG_BLOCK, None)
        && mask & (SEGV | ILL) != 0
    {
        sys::restore_signals(to_kernel(mask));
    }
}

/// Changes the mask of this thread, as the program means it; the one before.
pub(super) fn change(how: c_int, mask: Option<u64>) -> Result<u64, Raw> {
    let mask = mask.map(|mask| match how {
        libc::SIG_UNBLOCK => mask & !PROXY | to_proxy(mask),
        _ => to_kernel(mask & !INTERNAL),
    });
    sys::change_mask(how, mask).map(to_program)
}

/// The proxy, if `SIGSEGV` is in the mask.
const fn to_proxy(mask: u64) -> u64 {
    if mask & SEGV != 0 { PROXY } else { 0 }
}

/// # Safety
/// Both are null or the program's promise to libc.
unsafe fn change_sets(
    how: c_int,
    new: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> Option<Raw> {
    if !is_active() {
        return None;
    }
    // SAFETY: the caller vouches for it.
    let new = unsafe { new.as_ref() }.map(bits);
    Some(match change(how, new) {
        Ok(before) => {
            if !old.is_null() {
                // SAFETY: the caller vouches for it; as much as the kernel writes.
                unsafe { old.cast::<u64>().write(before) };
            }
            0
        }
        Err(failure) => failure,
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigprocmask(
    how: c_int,
    new: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> c_int {
    // SAFETY: both are the program's promise to libc.
    if let Some(result) = unsafe { change_sets(how, new, old) } {
        return to_int(result);
    }
    let next = SIGPROCMASK.four();
    // SAFETY: the call as the program made it.
    next.map_or(-1, |next| unsafe { next(how as usize, new as usize, old as usize, 0) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_sigmask(
    how: c_int,
    new: *const libc::sigset_t,
    old: *mut libc::sigset_t,
) -> c_int {
    // SAFETY: both are the program's promise to libc.
    if let Some(result) = unsafe { change_sets(how, new, old) } {
        return -result as c_int;
    }
    let next = PTHREAD_SIGMASK.four();
    // SAFETY: the call as the program made it.
    let made =
        |next: crate::sys::Four| unsafe { next(how as usize, new as usize, old as usize, 0) };
    next.map_or(libc::ENOSYS, made)
}

/// One signal blocked or not, by the calls of System V.
fn one(how: c_int, number: c_int) -> c_int {
    if !(1..=64).contains(&number) {
        return to_int(failure(libc::EINVAL));
    }
    let mask = Some(bit(number));
    let changed = if is_active() { change(how, mask) } else { sys::change_mask(how, mask) };
    to_int(changed.map_or_else(|failure| failure, |_| 0))
}

#[unsafe(no_mangle)]
extern "C" fn sighold(number: c_int) -> c_int {
    one(libc::SIG_BLOCK, number)
}

#[unsafe(no_mangle)]
extern "C" fn sigrelse(number: c_int) -> c_int {
    one(libc::SIG_UNBLOCK, number)
}

/// The mask as a number, by the calls of 4.2BSD.
fn as_number(how: c_int, mask: Option<c_int>) -> c_int {
    let mask = mask.map(|mask| u64::from(mask as u32));
    let changed = if is_active() { change(how, mask) } else { sys::change_mask(how, mask) };
    changed.map_or(-1, |before| before as c_int)
}

#[unsafe(no_mangle)]
extern "C" fn sigblock(mask: c_int) -> c_int {
    as_number(libc::SIG_BLOCK, Some(mask))
}

#[unsafe(no_mangle)]
extern "C" fn sigsetmask(mask: c_int) -> c_int {
    as_number(libc::SIG_SETMASK, Some(mask))
}

#[unsafe(no_mangle)]
extern "C" fn siggetmask() -> c_int {
    as_number(libc::SIG_BLOCK, None)
}

/// Calls that wait, or start a thread, with another mask; its place among the arguments is told.
macro_rules! masked {
    ($($hook:ident = $next:ident ($($argument:ident),*) with $mask:ident;)+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $hook($($argument: usize),*) -> c_int {
            // SAFETY: the mask is the program's promise to libc.
            let given = unsafe { ($mask as *const libc::sigset_t).as_ref() };
            let instead = given.filter(|_| is_active()).map(|set| set_of(to_kernel(bits(set))));
            let $mask = instead.as_ref().map_or($mask, |set| &raw const *set as usize);
            let arguments = [$($argument),*];
            let mut six = [0; 6];
            six[..arguments.len()].copy_from_slice(&arguments);
            let [a, b, c, d, e, f] = six;
            // SAFETY: the call as the program made it, or with a mask of ours.
            $next.six().map_or(-1, |next| unsafe { next(a, b, c, d, e, f) })
        }
    )+};
}

masked! {
    sigsuspend = SIGSUSPEND (mask) with mask;
    pselect = PSELECT (count, read, write, except, time, mask) with mask;
    ppoll = PPOLL (fds, count, time, mask) with mask;
    __ppoll_chk = PPOLL_CHK (fds, count, time, mask, room) with mask;
    epoll_pwait = EPOLL_PWAIT (epoll, events, count, time, mask) with mask;
    epoll_pwait2 = EPOLL_PWAIT2 (epoll, events, count, time, mask) with mask;
    pthread_attr_setsigmask_np = ATTR_SETSIGMASK (attributes, mask) with mask;
}
