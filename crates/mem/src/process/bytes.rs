//! Copying to and from another process.

use std::ffi::c_void;
use std::io;

use rustix::process::Pid;

/// The kernel copied less than everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// An address cannot be used so.
    Fault,
    /// The task has no memory: it is dead, or the first thread of a process that lives on.
    NoTask,
}

impl Stop {
    /// Another thread of a process whose first thread is gone.
    pub(super) fn other_thread(self, pid: Pid) -> Option<Pid> {
        if self == Self::Fault {
            return None;
        }
        let threads = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).ok()?;
        threads
            .filter_map(|thread| thread.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(Pid::from_raw)
            .find(|&tid| tid != pid)
    }
}

fn stop() -> Stop {
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::ESRCH) => Stop::NoTask,
        _ => Stop::Fault,
    }
}

/// Copies from address `va` of task `pid`.
pub(super) fn read(pid: Pid, va: u64, to: &mut [u8]) -> Result<(), Stop> {
    let mut done = 0;
    while let Some(rest @ [_, ..]) = to.get_mut(done..) {
        let local = libc::iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() };
        let remote = remote(va, done, rest.len())?;
        // SAFETY: `local` is `rest`, which we may write; `remote` is only a number here, checked by
        // the kernel in the other process.
        let n = unsafe { libc::process_vm_readv(pid.as_raw_pid(), &local, 1, &remote, 1, 0) };
        done += moved(n)?;
    }
    Ok(())
}

/// Copies to address `va` of task `pid`.
pub(super) fn write(pid: Pid, va: u64, from: &[u8]) -> Result<(), Stop> {
    let mut done = 0;
    while let Some(rest @ [_, ..]) = from.get(done..) {
        let local = libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
        let remote = remote(va, done, rest.len())?;
        // SAFETY: `local` is `rest`, which the call only reads; `remote` is only a number here,
        // checked by the kernel in the other process.
        let n = unsafe { libc::process_vm_writev(pid.as_raw_pid(), &local, 1, &remote, 1, 0) };
        done += moved(n)?;
    }
    Ok(())
}

fn remote(va: u64, done: usize, len: usize) -> Result<libc::iovec, Stop> {
    let base = va.checked_add(done as u64).ok_or(Stop::Fault)?;
    Ok(libc::iovec { iov_base: base as *mut c_void, iov_len: len })
}

/// Bytes moved; none at all is as good as a fault.
fn moved(n: isize) -> Result<usize, Stop> {
    match usize::try_from(n) {
        Ok(0) => Err(Stop::Fault),
        Ok(n) => Ok(n),
        Err(_) => Err(stop()),
    }
}
