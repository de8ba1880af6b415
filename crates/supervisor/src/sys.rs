//! The calls that need `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::ptr;

use rustix::process::{Resource, Rlimit};

/// A set of signals.
#[derive(Clone, Copy)]
pub(crate) struct SignalSet(libc::sigset_t);

impl SignalSet {
    /// These signals.
    pub(crate) fn of(signals: &[i32]) -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: `sigemptyset` initializes the set, `sigaddset` checks the number.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for &signal in signals {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            Self(set.assume_init())
        }
    }

    /// Blocks them in this thread, and in those it starts. Returns what was blocked before.
    pub(crate) fn block(self) -> Self {
        let mut before = Self::of(&[]);
        // SAFETY: both are sets.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &self.0, &mut before.0) };
        before
    }

    /// A descriptor from which they are read.
    pub(crate) fn descriptor(self) -> io::Result<OwnedFd> {
        // SAFETY: makes a new descriptor, which is owned from here on.
        unsafe {
            match libc::signalfd(-1, &self.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(OwnedFd::from_raw_fd(fd)),
            }
        }
    }
}

/// Makes sure that dead children wait for us, whatever our parent chose.
pub(crate) fn default_sigchld() {
    // SAFETY: the default action runs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Starts a child that dies with us, with the given blocked signals and limit of open files.
pub(crate) fn spawn(
    command: &mut Command,
    blocked: SignalSet,
    nofile: Rlimit,
) -> io::Result<Child> {
    let us = rustix::process::getpid();
    let prepare = move || {
        // SAFETY: the set is a set; this thread is the child's only one.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &blocked.0, ptr::null_mut()) };
        rustix::process::setrlimit(Resource::Nofile, nofile)?;
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        if rustix::process::getppid() != Some(us) {
            return Err(rustix::io::Errno::SRCH.into()); // we died before the call above
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
    unsafe { command.pre_exec(prepare) }.spawn()
}

/// Ends this process by a signal, without a core of ours.
pub(crate) fn die_by(signal: i32) -> ! {
    let _ =
        rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let set = SignalSet::of(&[signal]);
    // SAFETY: the default action runs no code of ours; the set is a set.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set.0, ptr::null_mut());
        libc::raise(signal);
    }
    std::process::exit(128 + signal) // a signal that does not end a process
}

/// The next signal of a descriptor, and whether the kernel sent it (the terminal's keys do so).
pub(crate) fn next_signal(descriptor: &OwnedFd) -> Option<(i32, bool)> {
    const SIZE: usize = size_of::<libc::signalfd_siginfo>();
    let mut bytes = [0_u8; SIZE];
    if rustix::io::read(descriptor, &mut bytes).ok()? != SIZE {
        return None;
    }
    // SAFETY: the kernel filled all of it, and any bytes are a value of it.
    let info = unsafe { ptr::read_unaligned(bytes.as_ptr().cast::<libc::signalfd_siginfo>()) };
    Some((info.ssi_signo.cast_signed(), info.ssi_code > 0))
}

/// Sends a signal, whatever its number.
pub(crate) fn kill(pid: i32, signal: i32) {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid, signal) };
}

/// The size of the pages of a memory file: huge ones of the system, or those that the shim lets stand
/// for huge ones and marks by the write-life hint, which means nothing else to tmpfs.
pub(crate) fn huge_page_of(fd: BorrowedFd<'_>) -> u64 {
    const F_GET_RW_HINT: i32 = 1035;
    const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;
    let system = rustix::fs::fstatfs(fd).ok();
    if let Some(huge) = system.filter(|fs| fs.f_type as u64 & 0xffff_ffff == HUGETLBFS_MAGIC) {
        return huge.f_bsize.unsigned_abs();
    }
    let mut hint = 0_u64;
    // SAFETY: writes one u64.
    let known = unsafe { libc::fcntl(fd.as_raw_fd(), F_GET_RW_HINT, &raw mut hint) } == 0;
    match hint {
        4 if known => 2 << 20,
        5 if known => 1 << 30,
        _ => mem::PAGE_SIZE,
    }
}
