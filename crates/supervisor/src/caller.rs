//! One call, as the engine sees it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use engine::{Caller, File, Trigger};
use mem::process::{Process, is_pinnable_memory};
use mem::{AddressSpace, EventFd, SharedFile};
use uapi::Errno;

use crate::failnth::Thread;
use crate::files::{Kind, OpenFile};
use crate::processes;
use crate::server::Shared;

/// The task at the other end of a call connection, during one call.
pub(crate) struct Remote<'a> {
    shared: &'a Shared,
    process: &'a Arc<Process>,
    space: &'a Arc<dyn AddressSpace>,
    thread: Thread,
    /// The number that the shim keeps free.
    reserved: i32,
    /// The descriptor that goes with the answer.
    pub(crate) outgoing: Option<OwnedFd>,
}

impl<'a> Remote<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        process: &'a Arc<Process>,
        space: &'a Arc<dyn AddressSpace>,
        thread: Thread,
        reserved: i32,
    ) -> Self {
        Self { shared, process, space, thread, reserved, outgoing: None }
    }

    /// Makes a descriptor for a file, to go with the answer.
    pub(crate) fn send(&mut self, kind: Kind) -> Result<Arc<OpenFile>, Errno> {
        let (fd, file) = self.shared.files.add(kind).map_err(|_| Errno::ENFILE)?;
        self.outgoing = Some(fd);
        Ok(file)
    }

    fn descriptor(&self, fd: i32) -> Option<OwnedFd> {
        if fd < 0 {
            return None;
        }
        self.process.descriptor(fd).ok()
    }
}

impl Caller for Remote<'_> {
    fn memory(&self) -> &Arc<dyn AddressSpace> {
        self.space
    }

    fn install(&mut self, file: File) -> Result<i32, Errno> {
        if self.reserved < 0 || self.outgoing.is_some() {
            return Err(Errno::EMFILE);
        }
        let file = self.send(Kind::Engine(file, None))?;
        file.readiness.seen(self.process, self.reserved);
        Ok(self.reserved)
    }

    fn uninstall(&mut self, _: i32) {
        // it has not been sent yet: its end is the file's end
        self.outgoing = None;
    }

    fn file(&mut self, fd: i32) -> Option<File> {
        let file = self.shared.files.behind(&self.descriptor(fd)?)?;
        match &file.kind {
            Kind::Engine(file, _) => Some(file.clone()),
            Kind::FailNth(..) | Kind::VirtualFunctions(..) => None,
        }
    }

    fn shared_file(&mut self, fd: i32) -> Result<Arc<SharedFile>, Errno> {
        let fd = self.descriptor(fd).ok_or(Errno::EBADF)?;
        if !is_pinnable_memory(&fd) {
            return Err(Errno::EINVAL);
        }
        let file = SharedFile::new(fd).map_err(|_| Errno::EBADF)?;
        Ok(mem::process::SharedObjects::add(&*self.shared.objects, file))
    }

    fn eventfd(&mut self, fd: i32) -> Result<Arc<dyn Trigger>, Errno> {
        let fd = self.descriptor(fd).ok_or(Errno::EBADF)?;
        Ok(Arc::new(EventFd::new(fd).map_err(|_| Errno::EINVAL)?))
    }

    fn is_mapped(&mut self, file: &SharedFile) -> bool {
        let us = rustix::process::getpid().as_raw_nonzero().get();
        processes::mapped_objects(us).is_some_and(|mapped| mapped.contains(&file.key()))
    }

    fn inject_failure(&mut self) -> bool {
        self.shared.failnth.should_fail(self.thread)
    }
}
