//! What a descriptor of ours stands for.

use std::sync::Arc;

use mem::SharedFile;

use crate::access::Access;
use crate::call;
use crate::context::Context;
use crate::events::{FaultQueue, VeventQueue};
use crate::function::Way;
use crate::objects::Handle;
use crate::pages::Dmabuf;
use crate::vfio::VfioFile;
use crate::vfio::container::Container;
use crate::vfio::group::GroupFile;
use crate::{Caller, Refusal, Signal};

/// A device node that can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// `/dev/iommu`
    Iommu,
    /// `/dev/vfio/vfio`: a container of VFIO, or an iommufd, as the machine says
    VfioContainer,
    /// `/dev/vfio/N`
    VfioGroup(u32),
    /// `/dev/vfio/devices/vfioN`
    VfioDevice(u32),
}

/// An open file. Clones are the same open file; the last one dropped releases it.
///
/// Dropping the last clone takes the lock of its context, so it must not happen under that lock.
#[derive(Clone, Debug)]
pub struct File(pub(crate) Arc<Kind>);

#[derive(Debug)]
pub(crate) enum Kind {
    Iommu(Arc<Context>),
    Fault(FaultFile),
    Vevent(VeventFile),
    Access(AccessFile),
    Dmabuf(Arc<Dmabuf>),
    Container(Arc<Container>),
    Group(Arc<GroupFile>),
    Vfio(VfioFile),
}

/// What the caller of `mmap(2)` maps in place of a file of ours.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The memory.
    pub object: Arc<SharedFile>,
    /// Where in it the mapping begins, in bytes.
    pub offset: u64,
    /// Whether the caller may only read what it maps, and its stores go by [`File::store`].
    pub trapped: bool,
}

/// A fault queue being read. It is a user of its object.
#[derive(Debug)]
pub(crate) struct FaultFile {
    pub context: Arc<Context>,
    pub object: Handle,
    pub queue: Arc<FaultQueue>,
}

/// A vEVENTQ being read. It is a user of its object.
#[derive(Debug)]
pub(crate) struct VeventFile {
    pub context: Arc<Context>,
    pub object: Handle,
    pub queue: Arc<VeventQueue>,
}

/// The mock device's access. Its object ends with it.
#[derive(Debug)]
pub(crate) struct AccessFile {
    pub context: Arc<Context>,
    pub object: Handle,
}

impl Drop for FaultFile {
    fn drop(&mut self) {
        self.context.put(self.object);
    }
}

impl Drop for VeventFile {
    fn drop(&mut self) {
        self.context.put(self.object);
    }
}

impl Drop for AccessFile {
    fn drop(&mut self) {
        let mut state = self.context.state.lock();
        if state.objects.is_alive(self.object) {
            state.destroy(self.object.id);
        }
    }
}

impl File {
    pub(crate) fn new(kind: Kind) -> Self {
        Self(Arc::new(kind))
    }

    /// `ioctl(2)`: `arg` is an address in the caller's memory, or a number, as the command says.
    ///
    /// Returns what the system call returns, 0 for most commands.
    pub fn ioctl(&self, caller: &mut dyn Caller, cmd: u32, arg: u64) -> Result<i64, Refusal> {
        match &*self.0 {
            Kind::Iommu(context) => call::ioctl(context, caller, cmd, arg),
            Kind::Container(container) => container.ioctl(caller, cmd, arg),
            Kind::Group(group) => group.ioctl(caller, cmd, arg),
            Kind::Vfio(file) => file.ioctl(caller, cmd, arg),
            _ => Err(Refusal::UnknownCommand { cmd }),
        }
    }

    /// `read(2)` of at most `count` bytes to the caller's address `va`, or `pread(2)` at a position. Never
    /// blocks.
    pub fn read(
        &self,
        caller: &mut dyn Caller,
        va: u64,
        count: u64,
        at: Option<u64>,
    ) -> Result<u64, Refusal> {
        match (&*self.0, at) {
            (Kind::Fault(file), None) => file.queue.read(caller, va, count),
            (Kind::Vevent(file), None) => file.queue.read(caller, va, count),
            (Kind::Vfio(file), at) => file.transfer(caller, Way::Read, (va, count), at),
            _ => Err(Refusal::NoOperation { operation: "read" }),
        }
    }

    /// `write(2)` of `count` bytes from the caller's address `va`, or `pwrite(2)` at a position.
    pub fn write(
        &self,
        caller: &mut dyn Caller,
        va: u64,
        count: u64,
        at: Option<u64>,
    ) -> Result<u64, Refusal> {
        match (&*self.0, at) {
            (Kind::Fault(file), None) => file.queue.write(caller, va, count),
            (Kind::Vfio(file), at) => file.transfer(caller, Way::Write, (va, count), at),
            _ => Err(Refusal::NoOperation { operation: "write" }),
        }
    }

    /// Whether it has positions, so that `pread(2)` and `pwrite(2)` are no `ESPIPE`: files of device
    /// nodes have, others are made without (`FMODE_PREAD`).
    pub fn has_positions(&self) -> bool {
        use Kind::{Container, Group, Iommu, Vfio};
        matches!(&*self.0, Iommu(_) | Container(_) | Group(_) | Vfio(_))
    }

    /// `mmap(2)`: what the caller shall map instead.
    pub fn mmap(
        &self,
        offset: u64,
        length: u64,
        shared: bool,
        exec: bool,
    ) -> Result<Mapping, Refusal> {
        match &*self.0 {
            Kind::Iommu(context) => context.mmap(offset, length, shared, exec),
            Kind::Vfio(file) => file.mmap(offset, length, shared),
            _ => Err(Refusal::NoOperation { operation: "mmap" }),
        }
    }

    /// A store of the caller to what it has mapped, where [`Mapping::trapped`] says that they come here.
    ///
    /// `at` is a position in the file: the offset of the mapping and the distance from its start. A refused
    /// store is `SIGBUS` on Linux.
    pub fn store(&self, at: u64, bytes: &[u8]) -> Result<(), Refusal> {
        match &*self.0 {
            Kind::Vfio(file) => file.store(at, bytes),
            _ => Err(Refusal::NoOperation { operation: "store" }),
        }
    }

    /// An ENQCMD of the caller to what it has mapped, likewise; whether the device took the command.
    pub fn enqueue(&self, at: u64, command: &[u8; 64]) -> Result<bool, Refusal> {
        match &*self.0 {
            Kind::Vfio(file) => file.enqueue(at, command),
            _ => Err(Refusal::NoOperation { operation: "store" }),
        }
    }

    /// What `poll(2)` says when nothing is there to read: whether it says readable, and writable.
    pub fn idle_readiness(&self) -> (bool, bool) {
        match &*self.0 {
            Kind::Fault(_) => (false, true),
            Kind::Vevent(_) => (false, false),
            // files without a poll operation are always ready (DEFAULT_POLLMASK)
            _ => (true, true),
        }
    }

    /// Whether KVM takes it as a file of VFIO: a group, or a device (`vfio_file_is_valid`).
    pub fn is_vfio(&self) -> bool {
        matches!(&*self.0, Kind::Group(_) | Kind::Vfio(_))
    }

    /// Whether `read(2)` or `write(2)` do anything on this file.
    pub fn is_event_queue(&self) -> bool {
        matches!(&*self.0, Kind::Fault(_) | Kind::Vevent(_))
    }

    /// Tells `signal`, now and from now on, whether there is something to read.
    pub fn watch(&self, signal: Arc<dyn Signal>) {
        match &*self.0 {
            Kind::Fault(file) => file.queue.watch(signal),
            Kind::Vevent(file) => file.queue.watch(signal),
            _ => {}
        }
    }

    /// For people: what this file is and what it holds, in a few words.
    pub fn describe(&self) -> String {
        match &*self.0 {
            Kind::Iommu(context) => format!("/dev/iommu: {}", context.state.lock().describe()),
            Kind::Fault(file) => format!("fault queue {}", file.object.id),
            Kind::Vevent(file) => format!("vEVENTQ {}", file.object.id),
            Kind::Access(file) => {
                let state = file.context.state.lock();
                let id = file.object.id;
                let items = state.objects.get::<Access>(id.0).map_or(0, |it| it.items.len());
                format!("access {id} with {items} pinned ranges")
            }
            Kind::Dmabuf(_) => "dma-buf".to_owned(),
            Kind::Container(container) => container.describe(),
            Kind::Group(group) => group.describe(),
            Kind::Vfio(file) => file.describe(),
        }
    }
}
