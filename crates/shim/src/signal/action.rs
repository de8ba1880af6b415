//! `sigaction`, `signal` and their family.

use core::ffi::c_int;

use super::{Action, Guard, SA_RESTORER, is_active, kept, mask, ours};
use crate::image;
use crate::sys::{self, Next, to_int};

static SIGACTION: Next = Next::new(c"sigaction");
static SIGNAL: Next = Next::new(c"signal");
static SYSV_SIGNAL: Next = Next::new(c"__sysv_signal");
static SIGSET: Next = Next::new(c"sigset");
static SIGIGNORE: Next = Next::new(c"sigignore");
static SIGINTERRUPT: Next = Next::new(c"siginterrupt");

/// Finds libc's own functions, before any signal handler may need them.
pub(super) fn resolve() {
    for next in [&SIGACTION, &SIGNAL, &SYSV_SIGNAL, &SIGSET, &SIGIGNORE, &SIGINTERRUPT] {
        next.address();
    }
}

/// Changes what the program wants of a signal that we have taken; what it wanted before.
fn change(number: c_int, new: impl FnOnce(&Action) -> Option<Action>) -> Option<Action> {
    let kept = kept(number)?;
    if image::is_vfork_child() {
        return None; // its actions are its own, what we keep is the parent's
    }
    let _guard = Guard::new()?;
    let old = kept.get();
    if let Some(new) = new(&old) {
        kept.set(&new);
        Action::install(number, Some(&ours(&new)));
    }
    Some(old)
}

/// The first 64 signals of a set.
pub(super) fn bits(set: &libc::sigset_t) -> u64 {
    // SAFETY: the set begins with them (`__val`), and may be read as any bytes may.
    unsafe { (&raw const *set).cast::<u64>().read() }
}

/// A set of these signals.
pub(super) fn set_of(bits: u64) -> libc::sigset_t {
    // SAFETY: a set is bytes of any value.
    let mut set: libc::sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: the set begins with them.
    unsafe { (&raw mut set).cast::<u64>().write(bits) };
    set
}

/// # Safety
/// Both are null or the program's promise to libc.
unsafe fn action(number: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    // SAFETY: the caller vouches for it.
    let mut wanted = unsafe { new.as_ref() }.copied();
    let is_active = is_active();
    if let Some(wanted) = wanted.as_mut().filter(|_| is_active) {
        wanted.sa_mask = set_of(mask::to_kernel(bits(&wanted.sa_mask)));
    }
    let kept = change(number, |_| {
        wanted.map(|it| Action {
            handler: it.sa_sigaction,
            flags: it.sa_flags as u32 as u64 | SA_RESTORER,
            restorer: it.sa_restorer.map_or(0, |restorer| restorer as *const () as usize),
            mask: bits(&it.sa_mask) & !mask::UNBLOCKABLE,
        })
    });
    if let Some(kept) = kept {
        // SAFETY: the caller vouches for it.
        if let Some(old) = unsafe { old.as_mut() } {
            old.sa_sigaction = kept.handler;
            old.sa_flags = kept.flags as c_int;
            old.sa_mask = set_of(mask::to_program(kept.mask));
        }
        return 0;
    }
    let Some(next) = SIGACTION.four() else { return to_int(sys::failure(libc::ENOSYS)) };
    let new = wanted.as_ref().map_or(0, |wanted| &raw const *wanted as usize);
    // SAFETY: the call as the program made it, or with a mask of ours.
    let result = unsafe { next(number as usize, new, old as usize, 0) };
    // SAFETY: the caller vouches for it.
    if let Some(old) = unsafe { old.as_mut() }.filter(|_| is_active && result == 0) {
        old.sa_mask = set_of(mask::to_program(bits(&old.sa_mask)));
    }
    result
}

/// A simple action with these flags: the handler before.
fn simple(number: c_int, handler: usize, flags: c_int) -> Option<usize> {
    let flags = flags as u32 as u64 | SA_RESTORER;
    let new = |_: &Action| Some(Action { handler, flags, ..Action::default() });
    change(number, new).map(|old| old.handler)
}

/// Libc's own function of a signal and a handler.
///
/// # Safety
/// The handler is the program's promise to libc.
unsafe fn native(next: &Next, number: c_int, handler: usize) -> usize {
    // SAFETY: the call as the program made it.
    next.handler().map_or(libc::SIG_ERR, |next| unsafe { next(number, handler) })
}

macro_rules! signals {
    ($($hook:ident)+ = $next:ident, $flags:expr) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $hook(number: c_int, handler: usize) -> usize {
            let simple = match handler {
                libc::SIG_ERR => None,
                _ => simple(number, handler, $flags),
            };
            // SAFETY: the handler is the program's promise to libc.
            simple.unwrap_or_else(|| unsafe { native(&$next, number, handler) })
        }
    )+};
}

signals!(signal bsd_signal ssignal = SIGNAL, libc::SA_RESTART);
signals!(sysv_signal __sysv_signal = SYSV_SIGNAL, libc::SA_RESETHAND | libc::SA_NODEFER);

#[unsafe(no_mangle)]
unsafe extern "C" fn sigaction(
    number: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: both are the program's promise to libc.
    unsafe { action(number, new, old) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __sigaction(
    number: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: both are the program's promise to libc.
    unsafe { action(number, new, old) }
}

const SIG_HOLD: usize = 2;

#[unsafe(no_mangle)]
unsafe extern "C" fn sigset(number: c_int, handler: usize) -> usize {
    let old = match handler {
        SIG_HOLD => change(number, |_| None).map(|old| old.handler),
        _ => simple(number, handler, 0),
    };
    let Some(old) = old else {
        // SAFETY: the handler is the program's promise to libc.
        return unsafe { native(&SIGSET, number, handler) };
    };
    let how = if handler == SIG_HOLD { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    match mask::change(how, Some(super::bit(number))) {
        Ok(before) if before & super::bit(number) != 0 => SIG_HOLD,
        _ => old,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sigignore(number: c_int) -> c_int {
    match simple(number, libc::SIG_IGN, 0) {
        Some(_) => 0,
        // SAFETY: the call as the program made it.
        None => SIGIGNORE.four().map_or(-1, |next| unsafe { next(number as usize, 0, 0, 0) }),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn siginterrupt(number: c_int, flag: c_int) -> c_int {
    let restart = libc::SA_RESTART as u32 as u64;
    let changed = change(number, |old| {
        let flags = if flag == 0 { old.flags | restart } else { old.flags & !restart };
        Some(Action { flags, ..*old })
    });
    match changed {
        Some(_) => 0,
        None => {
            let next = SIGINTERRUPT.four();
            // SAFETY: the call as the program made it.
            next.map_or(-1, |next| unsafe { next(number as usize, flag as usize, 0, 0) })
        }
    }
}
