//! Counters of programs that we add to (`eventfd(2)`).

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// A program's eventfd.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// Takes over a descriptor; `EINVAL` when it is no eventfd (`eventfd_ctx_fdget`).
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let name = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        if name.as_os_str() == "anon_inode:[eventfd]" {
            Ok(Self(fd))
        } else {
            Err(Errno::INVAL.into())
        }
    }

    /// Adds one. A counter that is full stays so, as with `eventfd_signal`, and is not waited for.
    ///
    /// The descriptor blocks when the program's does, and the kernel has no write that doesn't: a program
    /// that fills its counter between the look and the write delays the caller until it reads.
    pub fn add_one(&self) {
        let mut fds = [PollFd::new(&self.0, PollFlags::OUT)];
        let ready = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        if ready == Ok(1) && fds[0].revents().contains(PollFlags::OUT) {
            // its count is not the kernel's to refuse
            let _ = rustix::io::write(self.0.as_fd(), &1_u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    fn count(fd: &OwnedFd) -> u64 {
        let mut bytes = [0; 8];
        rustix::io::read(fd, &mut bytes).unwrap();
        u64::from_ne_bytes(bytes)
    }

    #[test]
    fn counters() {
        // a full one is left alone, though its descriptor blocks
        for (first, flags, expected) in [
            (0, EventfdFlags::NONBLOCK, 2),
            (5, EventfdFlags::empty(), 7),
            (u64::MAX - 2, EventfdFlags::empty(), u64::MAX - 1),
            (u64::MAX - 1, EventfdFlags::empty(), u64::MAX - 1),
        ] {
            let ours = eventfd(0, flags).unwrap();
            rustix::io::write(&ours, &first.to_ne_bytes()).unwrap();
            let event = EventFd::new(ours.try_clone().unwrap()).unwrap();
            event.add_one();
            event.add_one();
            assert_eq!(count(&ours), expected, "from {first}");
        }
    }

    #[test]
    fn other_files() {
        let memory =
            rustix::fs::memfd_create("no-eventfd", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let refused = EventFd::new(memory).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::INVAL.raw_os_error()));
    }
}
