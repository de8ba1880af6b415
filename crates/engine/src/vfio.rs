//! VFIO devices (`drivers/vfio/device_cdev.c`, `drivers/vfio/iommufd.c`).
//!
//! | module | holds |
//! |---|---|
//! | this one | an open device: by its character device, or through its group |
//! | [`bind`] | a device under an iommufd |
//! | [`group`] | IOMMU groups as files: the way to a device that is older than iommufd |
//! | [`container`], [`type1`] | what groups are put into, and the driver behind it |
//! | [`mmio`] | which memory is registers of devices |
//!
//! A character device does nothing before it is bound to an iommufd. Bound, it is attached to page tables
//! of that iommufd, itself and by PASID. Through a group it is open at once, and has neither call. A
//! device, and its whole IOMMU group, has one owner at a time.
//!
//! What the device itself does is [`crate::function`]'s.

mod bind;
pub(crate) mod container;
pub(crate) mod group;
pub(crate) mod mmio;
mod type1;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use profile::Quirk;
use uapi::Errno;
use uapi::vfio::*;
use zerocopy::FromBytes;

use crate::context::Context;
use crate::device::NO_PASID;
use crate::file::{Kind, Mapping};
use crate::function::{Function, Opener, Way};
use crate::objects::ObjectId;
use crate::state::PtMode;
use crate::task::{Task, load_argument, load_struct};
use crate::{Caller, Engine, Refusal};
use group::{GroupBlock, GroupDevice};

const MINUS_EINVAL: u32 = (-Errno::EINVAL.code()).cast_unsigned();

/// Who has which device.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    /// By IOMMU group: the context, and how many devices it has bound; no context for a container, which
    /// counts as one.
    groups: BTreeMap<u32, (Weak<Context>, u32)>,
    /// Indices of bound devices.
    bound: BTreeSet<usize>,
}

impl Owners {
    /// `iommu_device_claim_dma_owner`
    fn claim(&mut self, index: usize, group: u32, context: &Arc<Context>) -> Result<(), Refusal> {
        let (owner, count) = self.groups.entry(group).or_insert((Arc::downgrade(context), 0));
        if *count > 0 && !std::ptr::eq(owner.as_ptr(), Arc::as_ptr(context)) {
            return Err(Refusal::Owned { group });
        }
        (*owner, *count) = (Arc::downgrade(context), *count + 1);
        self.bound.insert(index);
        Ok(())
    }

    /// A container takes a whole group (`iommu_group_claim_dma_owner`).
    fn claim_group(&mut self, group: u32) -> Result<(), Refusal> {
        if self.has_owner(group) {
            return Err(Refusal::Owned { group });
        }
        self.groups.insert(group, (Weak::new(), 1));
        Ok(())
    }

    /// And gives it back.
    fn release_group(&mut self, group: u32) {
        self.groups.remove(&group);
    }

    /// `iommu_group_dma_owner_claimed`
    fn has_owner(&self, group: u32) -> bool {
        self.groups.get(&group).is_some_and(|(_, count)| *count > 0)
    }

    fn release(&mut self, index: usize, group: u32) {
        self.bound.remove(&index);
        if let Some((_, count)) = self.groups.get_mut(&group) {
            *count -= 1;
        }
    }
}

/// An open device: `/dev/vfio/devices/vfioN`, or what a group gave.
#[derive(Debug)]
pub(crate) struct VfioFile {
    engine: Arc<Engine>,
    index: usize,
    /// The group that it came through.
    group: Option<GroupDevice>,
    bound: Mutex<Option<Bound>>,
    /// Of `read(2)` and `write(2)`.
    position: Mutex<u64>,
}

/// A device under an iommufd.
#[derive(Debug)]
struct Bound {
    context: Arc<Context>,
    device: ObjectId,
    attached: bool,
    pasids: BTreeSet<u32>,
    /// Meanwhile nobody opens its group.
    _block: GroupBlock,
}

impl VfioFile {
    pub fn new(engine: Arc<Engine>, index: usize) -> Self {
        Self { engine, index, group: None, bound: Mutex::default(), position: Mutex::default() }
    }

    /// A device that its group gave.
    pub fn of_group(engine: Arc<Engine>, index: usize, group: GroupDevice) -> Self {
        let mut file = Self::new(engine, index);
        file.group = Some(group);
        file
    }

    /// `vfio_device_fops_unl_ioctl`
    pub fn ioctl(&self, caller: &mut dyn Caller, cmd: u32, arg: u64) -> Result<i64, Refusal> {
        let binds = cmd == VFIO_DEVICE_BIND_IOMMUFD && self.engine.kernel.has(Quirk::VfioCdev);
        if self.group.is_some() && !binds {
            let task = &mut self.engine.task(caller);
            return self.function().ioctl(task, Opener::Group, cmd, arg);
        }
        let mut bound = self.bound.lock();
        if cmd == VFIO_DEVICE_BIND_IOMMUFD {
            return self.bind(caller, arg, &mut bound).map(|()| 0);
        }
        let bound = bound.as_mut().ok_or(Refusal::NotBound)?;
        let context = Arc::clone(&bound.context);
        let mut task = context.task(caller);
        match cmd {
            VFIO_DEVICE_ATTACH_IOMMUFD_PT => bound.attach(&mut task, arg).map(|()| 0),
            VFIO_DEVICE_DETACH_IOMMUFD_PT => bound.detach(&task, arg).map(|()| 0),
            _ => self.function().ioctl(&mut task, Opener::Device, cmd, arg),
        }
    }

    /// `vfio_device_fops_read` and `vfio_device_fops_write`; `at` is the position of `pread(2)` and
    /// `pwrite(2)`.
    pub fn transfer(
        &self,
        caller: &dyn Caller,
        way: Way,
        buffer: (u64, u64),
        at: Option<u64>,
    ) -> Result<u64, Refusal> {
        self.check_bound()?;
        let memory = &**caller.memory();
        self.positioned(at, |at| self.function().transfer(memory, way, buffer, at))
    }

    /// Makes a transfer at a position, or at the file's own, which moves on with it.
    fn positioned(
        &self,
        at: Option<u64>,
        transfer: impl FnOnce(u64) -> Result<u64, Refusal>,
    ) -> Result<u64, Refusal> {
        if let Some(at) = at {
            return transfer(at);
        }
        // two transfers at the file's position come one after the other (f_pos_lock)
        let mut position = self.position.lock();
        let done = transfer(*position)?;
        *position += done;
        Ok(done)
    }

    /// `vfio_device_fops_mmap`
    pub fn mmap(&self, offset: u64, length: u64, shared: bool) -> Result<Mapping, Refusal> {
        self.check_bound()?;
        self.function().mmap(offset, length, shared)
    }

    /// A store to a region that is mapped. What was mapped stays so when the file is closed: the device is
    /// given back with the last of both.
    pub fn store(&self, at: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.check_bound()?;
        self.function().store_mapped(at, bytes)
    }

    /// An ENQCMD to a region that is mapped; whether the device took it.
    pub fn enqueue(&self, at: u64, command: &[u8; 64]) -> Result<bool, Refusal> {
        self.check_bound()?;
        self.function().enqueue(at, command)
    }

    /// Before it is bound, the file has no other operation.
    fn check_bound(&self) -> Result<(), Refusal> {
        if self.group.is_some() {
            return Ok(());
        }
        self.bound.lock().as_ref().map(|_| ()).ok_or(Refusal::NotBound)
    }

    fn function(&self) -> &Function {
        &self.engine.functions[self.index]
    }

    /// For people: what this file is and what it holds.
    pub fn describe(&self) -> String {
        let address = self.function().facts.address;
        let state = match &*self.bound.lock() {
            None if self.group.is_some() => "open through its group",
            None => "not bound",
            Some(Bound { attached: false, pasids, .. }) if pasids.is_empty() => "bound",
            Some(_) => "bound and attached",
        };
        format!("VFIO device {address}: {state}")
    }

    /// `vfio_df_ioctl_bind_iommufd`
    fn bind(
        &self,
        caller: &mut dyn Caller,
        arg: u64,
        bound: &mut Option<Bound>,
    ) -> Result<(), Refusal> {
        let request = self.load_bind(caller, arg)?;
        if request.iommufd < 0 {
            let (value, rule) =
                (u64::from(request.iommufd.cast_unsigned()), "must not be negative");
            return Err(Refusal::Invalid { field: "iommufd", value, rule });
        }
        if self.group.is_some() {
            return Err(Refusal::Unfit { rule: "the descriptor came through a group" });
        }
        let block = group::block(&self.engine, self.function().facts.group)?;
        if bound.is_some() {
            return Err(Refusal::Unfit { rule: "this descriptor is bound already" });
        }
        self.check_token(caller, &request)?;
        let context = iommufd(caller, request.iommufd)?;
        let device = self.engine.bind(self.index, &context)?;
        let at = arg.wrapping_add(std::mem::offset_of!(vfio_device_bind_iommufd, out_devid) as u64);
        if let Err(refusal) = context.task(caller).store(at, &device.0, "argument") {
            self.function().disable();
            self.engine.unbind(self.index, &context, device);
            return Err(refusal);
        }
        let pasids = BTreeSet::new();
        *bound = Some(Bound { context, device, attached: false, pasids, _block: block });
        Ok(())
    }

    /// Reads the argument of BIND, in each release's way.
    fn load_bind(
        &self,
        caller: &dyn Caller,
        arg: u64,
    ) -> Result<vfio_device_bind_iommufd, Refusal> {
        const MIN: usize = 16;
        let kernel = self.engine.kernel;
        let memory = &**caller.memory();
        if !kernel.has(Quirk::VfioBindToken) {
            let request: vfio_device_bind_iommufd = load_argument(memory, arg, MIN, MIN)?;
            return check_flags(request.flags, 0).map(|()| request);
        }
        let argsz = load_argument::<u32>(memory, arg, 4, 4)?;
        if (argsz as usize) < MIN {
            return Err(Refusal::TooShort { size: argsz, min: MIN });
        }
        let lost = kernel.has(Quirk::VfioBindTokenLost);
        let known = if lost { MIN } else { size_of::<vfio_device_bind_iommufd>() };
        let request: vfio_device_bind_iommufd =
            load_struct(memory, arg, argsz as usize, known, "argument")?;
        check_flags(request.flags, VFIO_DEVICE_BIND_FLAG_TOKEN).map(|()| request)
    }

    /// `vfio_df_check_token`
    fn check_token(
        &self,
        caller: &dyn Caller,
        request: &vfio_device_bind_iommufd,
    ) -> Result<(), Refusal> {
        if !self.engine.kernel.has(Quirk::VfioBindToken) {
            return Ok(());
        }
        if request.flags & VFIO_DEVICE_BIND_FLAG_TOKEN == 0 {
            return self.engine.match_token(self.index, None);
        }
        let mut token = [0; 16];
        caller
            .memory()
            .read(request.token_uuid_ptr, &mut token)
            .map_err(Refusal::bad("token_uuid_ptr"))?;
        self.engine.match_token(self.index, Some(token))
    }
}

/// The context behind a descriptor of the caller (`iommufd_ctx_from_fd`).
fn iommufd(caller: &mut dyn Caller, fd: i32) -> Result<Arc<Context>, Refusal> {
    match caller.file(fd).as_ref().map(|file| &*file.0) {
        Some(Kind::Iommu(context)) => Ok(Arc::clone(context)),
        Some(_) => Err(Refusal::WrongFile { fd, wanted: "iommufd" }),
        None => match caller.shared_file(fd) {
            Err(Errno::EBADF) => Err(Refusal::NotOpen { fd }),
            _ => Err(Refusal::WrongFile { fd, wanted: "iommufd" }),
        },
    }
}

impl Bound {
    /// `vfio_df_ioctl_attach_pt`
    fn attach(&mut self, task: &mut Task<'_>, arg: u64) -> Result<(), Refusal> {
        let request: vfio_device_attach_iommufd_pt =
            load_with_pasid(task, arg, VFIO_DEVICE_ATTACH_PASID)?;
        let pasid = (request.flags != 0).then_some(request.pasid);
        let hwpt = match pasid {
            None => {
                let mode = if self.attached { PtMode::Replace } else { PtMode::Attach };
                self.change(task, NO_PASID, request.pt_id, mode)?
            }
            // ida_exists() says yes to the number that its own -EINVAL makes
            Some(pasid) if self.pasids.contains(&pasid) || pasid == MINUS_EINVAL => {
                self.change(task, pasid, request.pt_id, PtMode::Replace)?
            }
            Some(pasid) if pasid > i32::MAX as u32 => {
                return Err(Refusal::NoNumber { field: "pasid", value: pasid.into() });
            }
            Some(pasid) => self.change(task, pasid, request.pt_id, PtMode::Attach)?,
        };
        match pasid {
            None => self.attached = true,
            Some(pasid) => _ = self.pasids.insert(pasid),
        }
        let offset = std::mem::offset_of!(vfio_device_attach_iommufd_pt, pt_id) as u64;
        let stored = task.store(arg.wrapping_add(offset), &hwpt.0, "argument");
        // whatever was attached, the kernel detaches the device itself
        stored.inspect_err(|_| self.detach_device())
    }

    fn change(
        &self,
        task: &mut Task<'_>,
        pasid: u32,
        pt: u32,
        mode: PtMode,
    ) -> Result<ObjectId, Refusal> {
        self.context.state.lock().change_pt(task, self.device, pasid, pt, mode)
    }

    /// `vfio_df_ioctl_detach_pt`
    fn detach(&mut self, task: &Task<'_>, arg: u64) -> Result<(), Refusal> {
        let request: vfio_device_detach_iommufd_pt =
            load_with_pasid(task, arg, VFIO_DEVICE_DETACH_PASID)?;
        match (request.flags != 0).then_some(request.pasid) {
            None => self.detach_device(),
            Some(pasid) if self.pasids.remove(&pasid) => {
                self.context.state.lock().device_detach(self.device, pasid);
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn detach_device(&mut self) {
        if std::mem::take(&mut self.attached) {
            self.context.state.lock().device_detach(self.device, NO_PASID);
        }
    }
}

/// An argument whose last field, a PASID, counts only with a flag.
fn load_with_pasid<T: Argument>(task: &Task<'_>, arg: u64, pasid: u32) -> Result<T, Refusal> {
    let memory = &**task.memory();
    let (whole, min) = (size_of::<T>(), size_of::<T>() - size_of::<u32>());
    let it: T = load_argument(memory, arg, min, min)?;
    let word = |at: usize| u32::read_from_prefix(&it.as_bytes()[at..]).map_or(0, |(word, _)| word);
    let (argsz, flags) = (word(0), word(4));
    let pasid = if task.has(Quirk::VfioPasid) { pasid } else { 0 };
    check_flags(flags, pasid)?;
    if flags & pasid == 0 {
        return Ok(it);
    }
    if (argsz as usize) < whole {
        return Err(Refusal::TooShort { size: argsz, min: whole });
    }
    load_argument(memory, arg, whole, whole)
}

fn check_flags(flags: u32, known: u32) -> Result<(), Refusal> {
    match flags & !known {
        0 => Ok(()),
        unknown => {
            let (value, rule) = (unknown.into(), "unknown flags");
            Err(Refusal::Invalid { field: "flags", value, rule })
        }
    }
}

/// The device is given back (`vfio_df_unbind_iommufd`).
impl Drop for VfioFile {
    fn drop(&mut self) {
        let Some(mut bound) = self.bound.get_mut().take() else { return };
        self.function().disable();
        {
            let mut state = bound.context.state.lock();
            for pasid in std::mem::take(&mut bound.pasids) {
                state.device_detach(bound.device, pasid);
            }
        }
        bound.detach_device();
        self.engine.unbind(self.index, &bound.context, bound.device);
    }
}
