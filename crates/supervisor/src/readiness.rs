//! What `poll(2)` says of a descriptor of ours, with no hook in the program.
//!
//! The descriptor is a socket, so the kernel answers `poll`, and we make it say what it should:
//!
//! - *readable*: one byte, the token, lies in the program's end;
//! - *not readable any more*: the token is taken back, through a copy of the descriptor that
//!   `pidfd_getfd(2)` gives us;
//! - *never writable*: the program's end has sent more than its send buffer likes, and nobody reads it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use mem::process::Process;
use parking_lot::Mutex;
use rustix::net::{RecvFlags, SendFlags};

/// More than a quarter of the smallest send buffer (`unix_writable`, `net/unix/af_unix.c`).
const STUFFING: [u8; 2048] = [0; 2048];

/// The token of one open file.
#[derive(Debug)]
pub(crate) struct Readiness {
    ours: Arc<OwnedFd>,
    /// Set for all files when any token is to be taken back.
    work: Arc<AtomicBool>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The token lies in the program's end.
    token: bool,
    /// It should not.
    stale: bool,
    /// Where a descriptor of the file was last seen.
    seen: Option<(Weak<Process>, i32)>,
}

impl Readiness {
    /// Makes the program's end say what it says when nothing happens: readable, writable.
    pub(crate) fn new(
        ours: Arc<OwnedFd>,
        theirs: &OwnedFd,
        idle: (bool, bool),
        work: Arc<AtomicBool>,
    ) -> Self {
        let readiness = Self { ours, work, state: Mutex::default() };
        if idle.0 {
            readiness.put_token();
        }
        if !idle.1 {
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(theirs, 1);
            let _ = rustix::net::send(theirs, &STUFFING, SendFlags::DONTWAIT);
        }
        readiness
    }

    /// A descriptor of the file was seen here.
    pub(crate) fn seen(&self, process: &Arc<Process>, fd: i32) {
        self.state.lock().seen = Some((Arc::downgrade(process), fd));
    }

    /// Takes a token back that should not be there. A descriptor that cannot be found any more keeps
    /// it: `poll` says readable once too often, as it may.
    pub(crate) fn settle(&self, is_the_file: impl Fn(&OwnedFd) -> bool) {
        let mut state = self.state.lock();
        if !state.stale {
            return;
        }
        let Some((process, fd)) = &state.seen else { return };
        let copy = process.upgrade().and_then(|process| process.descriptor(*fd).ok());
        if let Some(copy) = copy.filter(is_the_file) {
            let _ = rustix::net::recv(&copy, &mut [0_u8; 8][..], RecvFlags::DONTWAIT);
            state.token = false;
            state.stale = false;
        }
    }

    fn put_token(&self) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let _ = rustix::net::send(self.ours.as_fd(), &[1], flags);
    }
}

impl engine::Signal for Readiness {
    fn set(&self, readable: bool) {
        let mut state = self.state.lock();
        if readable && !state.token {
            self.put_token();
            state.token = true;
        }
        state.stale = state.token && !readable;
        if state.stale {
            self.work.store(true, Ordering::Release);
        }
    }
}
