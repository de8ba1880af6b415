//! One call: request, answer, descriptor.

use core::mem::MaybeUninit;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use wire::message::{Answer, Operation, Request, Verdict};
use zerocopy::{FromBytes, IntoBytes};

use crate::image::Connection;
use crate::run::Run;
use crate::sys::{self, Raw};

/// How often an answer is looked for before the thread sleeps.
///
/// Waking a sleeping processor of a virtual machine costs ten calls. A look is about 0.2 us.
const LOOKS: u32 = 200;

/// What a call is about.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    operation: Operation,
    /// The descriptor and its cookie.
    descriptor: Option<(i32, u64)>,
    /// A descriptor that goes with the request.
    attached: Option<BorrowedFd<'a>>,
    /// The answer may bring a descriptor for a number chosen now.
    reserve: bool,
    /// The descriptor of the answer is closed by `exec`.
    cloexec: bool,
}

/// How it ended.
pub(crate) struct Reply {
    answer: Answer,
    /// The descriptor that came with it, or -1.
    fd: i32,
    received: ReturnFlags,
}

impl<'a> Call<'a> {
    /// A call on no descriptor.
    pub(crate) fn new(operation: Operation) -> Self {
        Self { operation, descriptor: None, attached: None, reserve: false, cloexec: true }
    }

    /// A call on the descriptor `fd`.
    pub(crate) fn on(fd: i32, cookie: u64, operation: Operation) -> Self {
        Self { descriptor: Some((fd, cookie)), ..Self::new(operation) }
    }

    /// With a descriptor to take along.
    pub(crate) fn attach(self, fd: BorrowedFd<'a>) -> Self {
        Self { attached: Some(fd), ..self }
    }

    /// With a number kept free for a new descriptor.
    pub(crate) fn reserving(self, reserve: bool) -> Self {
        Self { reserve, ..self }
    }

    /// With `O_CLOEXEC` on the new descriptor or not.
    pub(crate) fn cloexec(self, cloexec: bool) -> Self {
        Self { cloexec, ..self }
    }

    /// Makes the call; `ENODEV` when nobody serves it.
    pub(crate) fn make(&self, run: &Run) -> Result<Reply, Errno> {
        loop {
            let connection = Connection::take(run).map_err(unserved)?;
            let reserved = if self.reserve { reserve(&connection) } else { None };
            let mut request = Request::new(self.operation, thread(), self.descriptor);
            request.reserved = reserved.unwrap_or(-1);
            if self.send(&connection, &request).is_err() {
                // Nothing was done yet: a stale connection is replaced.
                let stale = connection.used;
                connection.discard();
                release(reserved);
                if stale {
                    continue;
                }
                return Err(Errno::NODEV);
            }
            return match receive(&connection, self.cloexec) {
                Ok(reply) => {
                    connection.put();
                    reply.settle(reserved)
                }
                Err(_) => {
                    connection.discard();
                    release(reserved);
                    Err(Errno::NODEV)
                }
            };
        }
    }

    fn send(&self, connection: &Connection, request: &Request) -> Result<(), Errno> {
        let fds = self.attached.as_slice();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let message = [IoSlice::new(request.as_bytes())];
        loop {
            match rustix::net::sendmsg(connection, &message, &mut control, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                result => return result.map(drop),
            }
        }
    }
}

/// Connecting fails when there is nobody; other reasons are told as they are.
fn unserved(errno: Errno) -> Errno {
    match errno {
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => errno,
        _ => Errno::NODEV,
    }
}

fn receive(connection: &Connection, cloexec: bool) -> Result<Reply, Errno> {
    let cloexec = if cloexec { RecvFlags::CMSG_CLOEXEC } else { RecvFlags::empty() };
    let mut looks = 0;
    loop {
        let wait = if looks < LOOKS { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
        let mut answer = [0; size_of::<Answer>()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = [IoSliceMut::new(&mut answer)];
        match rustix::net::recvmsg(connection, &mut buffer, &mut control, cloexec | wait) {
            Err(Errno::AGAIN) => {
                looks += 1;
                rustix::thread::sched_yield();
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(received) => {
                let mut fd = -1;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(fds) = message {
                        fd = fds.last().map_or(-1, IntoRawFd::into_raw_fd);
                    }
                }
                if received.bytes != answer.len() {
                    release((fd >= 0).then_some(fd));
                    return Err(Errno::NODEV);
                }
                let answer = Answer::read_from_bytes(&answer).map_err(|_| Errno::NODEV)?;
                return Ok(Reply { answer, fd, received: received.flags });
            }
        }
    }
}

impl Reply {
    /// Puts the descriptor where it was promised, or gives the number back.
    fn settle(mut self, reserved: Option<i32>) -> Result<Self, Errno> {
        if self.fd < 0 && self.received.contains(ReturnFlags::CTRUNC) {
            release(reserved);
            return Err(Errno::MFILE);
        }
        let (Some(number), Some(fd)) = (reserved, sys::borrow(self.fd)) else {
            release(reserved);
            return Ok(self);
        };
        // SAFETY: the number is ours until the descriptor is there; then it is the program's.
        let mut target = unsafe { OwnedFd::from_raw_fd(number) };
        let placed = rustix::io::dup3(fd, &mut target, rustix::io::DupFlags::CLOEXEC);
        let _ = target.into_raw_fd();
        sys::close(self.fd);
        self.fd = number;
        placed.map(|()| self)
    }

    /// What the call returns; none when it is none of ours.
    pub(crate) fn result(&self) -> Option<Raw> {
        match self.answer.verdict() {
            Verdict::Done => Some(self.answer.value as Raw),
            Verdict::Refused(errno) => Some(sys::failure(errno.clamp(1, 4095))),
            Verdict::NotOurs => None,
        }
    }

    /// The descriptor that came with the answer.
    pub(crate) fn fd(&self) -> Option<i32> {
        (self.fd >= 0).then_some(self.fd)
    }

    /// [`Answer::extra`]
    pub(crate) fn extra(&self) -> u64 {
        self.answer.extra
    }
}

/// Takes the lowest free number. What it stands for meanwhile is of no use to anybody.
fn reserve(connection: &Connection) -> Option<i32> {
    rustix::io::fcntl_dupfd_cloexec(connection.as_fd(), 0).ok().map(IntoRawFd::into_raw_fd)
}

fn release(reserved: Option<i32>) {
    if let Some(number) = reserved {
        sys::close(number);
    }
}

fn thread() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}
