//! Open files: sockets that stand for them, and their end.
//!
//! The program has one end of a socket pair, under whatever numbers and in whatever processes; we have
//! the other. When the last descriptor of the program's end is gone, ours hangs up.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::File;
use parking_lot::Mutex;
use profile::machine::Bdf;
use rustix::event::epoll;
use rustix::net::sockopt::socket_cookie;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use wire::message::Node;

use crate::failnth::Thread;
use crate::page::Page;
use crate::readiness::Readiness;
use crate::trouble::{Doing, Trouble};

/// What a descriptor of ours stands for.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A file of the engine, and the device node that it was opened by.
    Engine(File, Option<Node>),
    /// `fail-nth` of a thread, and the position in it.
    FailNth(Thread, Mutex<u64>),
    /// `sriov_numvfs` of a PCI function, and the position in it.
    VirtualFunctions(Bdf, Mutex<u64>),
}

/// An open file.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) kind: Kind,
    pub(crate) cookie: u64,
    pub(crate) readiness: Arc<Readiness>,
    ours: Arc<OwnedFd>,
}

impl OpenFile {
    /// Whether a descriptor is one of this file.
    pub(crate) fn is_behind(&self, fd: &OwnedFd) -> bool {
        socket_cookie(fd).is_ok_and(|cookie| cookie == self.cookie)
    }

    fn settle(&self) {
        self.readiness.settle(|fd| self.is_behind(fd));
    }
}

/// Every open file of a run.
#[derive(Debug)]
pub(crate) struct Files {
    open: Mutex<HashMap<u64, Arc<OpenFile>>>,
    hangups: OwnedFd,
    /// Held while files are released, so that who comes next finds them released.
    releasing: Mutex<()>,
    page: Arc<Page>,
    /// Some file's `poll` says what is not so any more.
    unsettled: Arc<AtomicBool>,
}

impl Files {
    pub(crate) fn new(page: Arc<Page>) -> Result<Self, Trouble> {
        let hangups = epoll::create(epoll::CreateFlags::CLOEXEC).doing("watching descriptors")?;
        let (open, releasing) = (Mutex::default(), Mutex::default());
        Ok(Self { open, hangups, releasing, page, unsettled: Arc::default() })
    }

    /// Makes a descriptor that stands for a file.
    pub(crate) fn add(&self, kind: Kind) -> io::Result<(OwnedFd, Arc<OpenFile>)> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let cookie = socket_cookie(&theirs)?;
        let ours = Arc::new(ours);
        let idle = match &kind {
            Kind::Engine(file, _) => file.idle_readiness(),
            Kind::FailNth(..) | Kind::VirtualFunctions(..) => (true, true),
        };
        let readiness =
            Arc::new(Readiness::new(Arc::clone(&ours), &theirs, idle, Arc::clone(&self.unsettled)));
        if let Kind::Engine(file, _) = &kind {
            file.watch(Arc::clone(&readiness) as _);
        }
        let file = Arc::new(OpenFile { kind, cookie, readiness, ours });
        let event = epoll::EventData::new_u64(cookie);
        // a hang-up is always told
        epoll::add(&self.hangups, &*file.ours, event, epoll::EventFlags::empty())?;
        self.page.add(cookie);
        self.open.lock().insert(cookie, Arc::clone(&file));
        Ok((theirs, file))
    }

    /// The file with this cookie.
    pub(crate) fn get(&self, cookie: u64) -> Option<Arc<OpenFile>> {
        self.open.lock().get(&cookie).cloned()
    }

    /// The file behind a copy of a program's descriptor.
    pub(crate) fn behind(&self, fd: &OwnedFd) -> Option<Arc<OpenFile>> {
        self.get(socket_cookie(fd).ok()?)
    }

    /// Releases every file whose last descriptor is gone. When it returns, they are released.
    pub(crate) fn release_closed(&self) {
        let _releasing = self.releasing.lock();
        loop {
            let mut events = Vec::with_capacity(64);
            let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            let waited = epoll::wait(
                &self.hangups,
                rustix::buffer::spare_capacity(&mut events),
                Some(&none),
            );
            if waited.is_err() || events.is_empty() {
                return;
            }
            for event in &events {
                self.release(event.data.u64());
            }
        }
    }

    fn release(&self, cookie: u64) {
        let Some(file) = self.open.lock().remove(&cookie) else { return };
        let _ = epoll::delete(&self.hangups, &*file.ours);
        self.page.remove(cookie);
        // the engine's file ends here, or with the call that has it right now
        drop(file);
    }

    /// Lets `poll` say what is so now, of every file: a call on one may empty the queue of another.
    pub(crate) fn settle(&self) {
        if self.unsettled.swap(false, Ordering::AcqRel) {
            let open: Vec<_> = self.open.lock().values().cloned().collect();
            open.iter().for_each(|file| file.settle());
        }
    }

    /// How many files are open.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().len()
    }

    /// For people: what is open.
    pub(crate) fn describe(&self) -> Vec<String> {
        let open: Vec<_> = self.open.lock().values().cloned().collect();
        let mut lines: Vec<_> = open
            .iter()
            .filter_map(|file| match &file.kind {
                Kind::Engine(file, _) => Some(file.describe()),
                Kind::FailNth(..) | Kind::VirtualFunctions(..) => None,
            })
            .collect();
        lines.sort();
        lines
    }
}

impl AsFd for Files {
    /// Readable when a file is to be released.
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.hangups.as_fd()
    }
}
