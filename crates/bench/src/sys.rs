//! The calls that need `unsafe`: signals.
#![allow(unsafe_code)]

use std::io;

extern "C" fn nothing(_: libc::c_int) {}

/// Lets `SIGUSR1` be handled by a handler that does nothing.
pub fn handle_signals() -> io::Result<()> {
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: the handler does nothing.
    match unsafe { libc::signal(libc::SIGUSR1, handler as *const () as usize) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Sends this thread a signal, which is handled before this returns.
pub fn signal() {
    // SAFETY: it has a handler.
    unsafe { libc::raise(libc::SIGUSR1) };
}
