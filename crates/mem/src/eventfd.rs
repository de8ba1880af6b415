//! Counters of programs that we add to, or wait for (`eventfd(2)`).

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

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

/// A thread that waits for an eventfd, until this is dropped. It may be at work once more then.
#[derive(Debug)]
pub struct Watch {
    stop: OwnedFd,
}

impl EventFd {
    /// Takes what is counted, now and from now on, and calls `told` each time (`vfio_virqfd_enable`). Errors are
    /// those of `eventfd(2)` and of a new thread.
    pub fn watch(self: Arc<Self>, told: impl Fn() + Send + 'static) -> io::Result<Watch> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let stopped = stop.try_clone()?;
        let wait = move || {
            while self.await_one(&stopped) {
                told();
            }
        };
        thread::Builder::new().name("eventfd".into()).spawn(wait)?;
        Ok(Watch { stop })
    }

    /// Waits until something is counted, and takes it; false when it is to stop.
    fn await_one(&self, stopped: &OwnedFd) -> bool {
        loop {
            let both = [PollFd::new(stopped, PollFlags::IN), PollFd::new(&self.0, PollFlags::IN)];
            let mut fds = both;
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                Err(_) => return false,
                Ok(_) if !fds[0].revents().is_empty() => return false,
                Ok(_) => {}
            }
            // the program may have been faster, and its descriptor may block
            let mut count = [0; 8];
            let buffers = &mut [IoSliceMut::new(&mut count)];
            match preadv2(&self.0, buffers, u64::MAX, ReadWriteFlags::NOWAIT) {
                Ok(_) => return true,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // a counter that was 0 is not full
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

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
    fn watches() {
        for flags in [EventfdFlags::NONBLOCK, EventfdFlags::empty()] {
            let ours = eventfd(3, flags).unwrap();
            let event = Arc::new(EventFd::new(ours.try_clone().unwrap()).unwrap());
            let (to, from) = channel();
            let watch = event.watch(move || to.send(()).unwrap()).unwrap();
            let next = || from.recv_timeout(Duration::from_secs(60));
            assert_eq!(next(), Ok(()), "what was there before");
            rustix::io::write(&ours, &2_u64.to_ne_bytes()).unwrap();
            assert_eq!(next(), Ok(()));
            drop(watch);
            assert_eq!(next(), Err(RecvTimeoutError::Disconnected), "the thread has ended");
            rustix::io::write(&ours, &7_u64.to_ne_bytes()).unwrap();
            assert_eq!(count(&ours), 7, "nobody takes it");
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
