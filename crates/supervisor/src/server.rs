//! Call connections, a thread each.

use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::thread;

use engine::{Engine, Refusal};
use mem::AddressSpace;
use mem::process::Process;
use parking_lot::Mutex;
use profile::machine::Bdf;
use rustix::io::Errno as OsErrno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags,
};
use rustix::process::Pid;
use uapi::Errno;
use wire::message::{Answer, Hello, Request};
use zerocopy::{FromBytes, IntoBytes};

use crate::failnth::FailNth;
use crate::files::Files;
use crate::objects::Objects;
use crate::page::Page;
use crate::visible::Visible;
use crate::{dispatch, processes};

/// How often a request is looked for before the thread sleeps: waking a sleeping processor of a
/// virtual machine costs more than a call.
const LOOKS: u32 = 100;

/// What all connections of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) files: Files,
    pub(crate) objects: Arc<Objects>,
    pub(crate) failnth: FailNth,
    pub(crate) page: Arc<Page>,
    visible: Mutex<Visible>,
    spaces: Mutex<HashMap<(Pid, u64), Weak<Process>>>,
}

impl Shared {
    pub(crate) fn new(
        engine: Arc<Engine>,
        files: Files,
        page: Arc<Page>,
        visible: Visible,
    ) -> Self {
        Self {
            engine,
            files,
            objects: Arc::default(),
            failnth: FailNth::default(),
            page,
            visible: Mutex::new(visible),
            spaces: Mutex::default(),
        }
    }

    /// Gives a PCI function another number of virtual ones, which show when it returns.
    pub(crate) fn set_virtual_functions(&self, physical: Bdf, number: u16) -> Result<(), Errno> {
        let mut visible = self.visible.lock();
        // a file that is closed by now does not keep them
        self.files.release_closed();
        self.engine.set_virtual_functions(physical, number).map_err(|refusal| refusal.errno())?;
        visible.update(&self.engine).map_err(|_| Errno::ENOSPC)
    }

    /// The address space of a program image: the same for all its connections.
    fn space(&self, pid: Pid, image: u64) -> Option<Arc<Process>> {
        let mut spaces = self.spaces.lock();
        if let Some(known) = spaces.get(&(pid, image)).and_then(Weak::upgrade) {
            return Some(known);
        }
        spaces.retain(|_, space| space.strong_count() > 0);
        let process = Arc::new(Process::open(pid, Arc::clone(&self.objects) as _).ok()?);
        spaces.insert((pid, image), Arc::downgrade(&process));
        Some(process)
    }

    /// The address space that a living process has now, if it ever called.
    pub(crate) fn space_of(&self, pid: u32) -> Option<Arc<Process>> {
        let spaces = self.spaces.lock();
        let of_pid = spaces
            .iter()
            .filter(|((known, _), _)| known.as_raw_nonzero().get().unsigned_abs() == pid);
        of_pid.filter_map(|(_, space)| space.upgrade()).find(|space| space.alive())
    }
}

/// Takes connections until the process ends.
pub(crate) fn listen(shared: &Arc<Shared>, socket: &OwnedFd) {
    loop {
        match rustix::net::accept_with(socket, SocketFlags::CLOEXEC) {
            Ok(connection) => {
                let shared = Arc::clone(shared);
                // a connection without a thread is closed, and its call fails
                let _ = thread::Builder::new().spawn(move || serve(&shared, &connection));
            }
            Err(OsErrno::MFILE | OsErrno::NFILE | OsErrno::NOMEM) => {
                thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(_) => {}
        }
    }
}

/// Serves one connection to its end. Whatever is not understood ends it.
fn serve(shared: &Arc<Shared>, connection: &OwnedFd) -> Option<()> {
    let peer = rustix::net::sockopt::socket_peercred(connection).ok()?;
    let us = rustix::process::getpid().as_raw_nonzero().get();
    let ours = peer.uid == rustix::process::geteuid()
        || processes::is_descendant(peer.pid.as_raw_nonzero().get(), us);
    if !ours {
        return None;
    }
    let (hello, _) = receive::<Hello>(connection)?;
    if !hello.is_valid() {
        return None;
    }
    let process = shared.space(peer.pid, hello.image)?;
    let space: Arc<dyn AddressSpace> = Arc::clone(&process) as _;
    loop {
        let (request, attached) = receive::<Request>(connection)?;
        shared.files.release_closed();
        let task = dispatch::Task { shared, process: &process, space: &space };
        let (answer, fd) = task.answer(&request, attached)?;
        send(connection, &answer, fd)?;
    }
}

/// One message and the descriptor that came with it; none at the end of the connection.
fn receive<T: FromBytes>(connection: &OwnedFd) -> Option<(T, Option<OwnedFd>)> {
    let mut looks = 0;
    loop {
        let wait = if looks < LOOKS { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
        let mut bytes = vec![0; size_of::<T>()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        let flags = wait | RecvFlags::CMSG_CLOEXEC;
        match rustix::net::recvmsg(connection, &mut buffers, &mut control, flags) {
            Err(OsErrno::AGAIN) => {
                looks += 1;
                thread::yield_now();
            }
            Err(OsErrno::INTR) => {}
            Err(_) => return None,
            Ok(received) => {
                let fd = control.drain().fold(None, |fd, message| match message {
                    RecvAncillaryMessage::ScmRights(mut fds) => fds.next().or(fd),
                    _ => fd,
                });
                if received.bytes != bytes.len() {
                    return None;
                }
                return Some((T::read_from_bytes(&bytes).ok()?, fd));
            }
        }
    }
}

fn send(connection: &OwnedFd, answer: &Answer, fd: Option<OwnedFd>) -> Option<()> {
    let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let message = [IoSlice::new(answer.as_bytes())];
    loop {
        match rustix::net::sendmsg(connection, &message, &mut control, SendFlags::NOSIGNAL) {
            Err(OsErrno::INTR) => {}
            result => return result.ok().map(drop),
        }
    }
}

/// The answer to a call that the engine handled.
pub(crate) fn answer(result: Result<i64, Refusal>) -> Answer {
    match result {
        Ok(value) => Answer::done(value),
        Err(refusal) => Answer::refused(refusal.errno().code()),
    }
}

/// The answer to a call that we refuse ourselves.
pub(crate) fn refused(errno: Errno) -> Answer {
    Answer::refused(errno.code())
}
