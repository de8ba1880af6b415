//! IOMMU groups as files, `/dev/vfio/N` (`drivers/vfio/group.c`).
//!
//! A group is open once at a time. Put into a container or under an iommufd, it gives its devices, each as
//! often as it is asked: a device is enabled with its first descriptor and disabled with its last. While
//! any device of the group is bound by its character device, the group cannot be opened, and the other
//! way around.
//!
//! What a descriptor of a device keeps: in a container the group's file, and so the group's place in the
//! container; under an iommufd only the device's place there.
//!
//! *What it doesn't do*: no-IOMMU groups.

mod name;

use std::collections::BTreeMap;
use std::mem::size_of;
use std::sync::Arc;

use parking_lot::Mutex;
use uapi::Errno;
use uapi::vfio::*;

use super::VfioFile;
use super::container::Container;
use crate::context::Context;
use crate::device::NO_PASID;
use crate::file::{File, Kind};
use crate::ioas::Ioas;
use crate::objects::ObjectId;
use crate::state::PtMode;
use crate::task::load_struct;
use crate::{Caller, Engine, Refusal};

/// A group with devices that are with VFIO.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its devices, in the order of their numbers.
    members: Vec<usize>,
    /// Locked before a container, the owners and a context.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether its file is open (`opened_file`).
    opened: bool,
    /// Devices that are bound by their character devices (`cdev_device_open_cnt`).
    blocks: u32,
    place: Option<Place>,
    /// Devices that are open through it.
    devices: BTreeMap<usize, Opened>,
}

/// Where a group is.
#[derive(Clone, Debug)]
enum Place {
    Container(Arc<Container>),
    Iommufd(Arc<Context>),
}

/// An open device, with its descriptors counted.
#[derive(Debug)]
struct Opened {
    descriptors: u32,
    /// Under which iommufd, as which object.
    bound: Option<(Arc<Context>, ObjectId)>,
}

impl Engine {
    /// The groups of functions.
    pub(crate) fn groups_of(functions: &[crate::function::Function]) -> BTreeMap<u32, Group> {
        let mut groups = BTreeMap::<u32, Group>::new();
        for (index, function) in functions.iter().enumerate() {
            let new = || Group { members: Vec::new(), state: Mutex::default() };
            groups.entry(function.facts.group).or_insert_with(new).members.push(index);
        }
        groups
    }

    /// The devices of a group.
    pub(super) fn members(&self, group: u32) -> impl Iterator<Item = usize> {
        self.groups.get(&group).into_iter().flat_map(|group| group.members.iter().copied())
    }
}

/// Keeps a group from being opened, until it is dropped (`vfio_device_block_group`).
#[derive(Debug)]
pub(super) struct GroupBlock {
    engine: Arc<Engine>,
    group: u32,
}

/// Keeps a group from being opened, if it is not.
pub(super) fn block(engine: &Arc<Engine>, group: u32) -> Result<GroupBlock, Refusal> {
    let mut state = engine.groups[&group].state.lock();
    if state.opened {
        return Err(Refusal::Busy { what: "the device", why: "its group is open" });
    }
    state.blocks += 1;
    Ok(GroupBlock { engine: Arc::clone(engine), group })
}

impl Drop for GroupBlock {
    fn drop(&mut self) {
        self.engine.groups[&self.group].state.lock().blocks -= 1;
    }
}

/// An open `/dev/vfio/N`.
#[derive(Debug)]
pub(crate) struct GroupFile {
    engine: Arc<Engine>,
    number: u32,
}

impl GroupFile {
    /// `vfio_group_fops_open`
    pub fn open(engine: &Arc<Engine>, number: u32) -> Result<Self, Refusal> {
        let missing = Refusal::NotFound { what: "VFIO group", value: number.into() };
        let group = engine.groups.get(&number).ok_or(missing)?;
        let mut state = group.state.lock();
        if state.blocks != 0 || state.opened {
            let why = "it is open, or a device of it is bound";
            return Err(Refusal::Busy { what: "the group", why });
        }
        state.opened = true;
        Ok(Self { engine: Arc::clone(engine), number })
    }

    /// `vfio_group_fops_unl_ioctl`
    pub fn ioctl(
        self: &Arc<Self>,
        caller: &mut dyn Caller,
        cmd: u32,
        arg: u64,
    ) -> Result<i64, Refusal> {
        match cmd {
            VFIO_GROUP_GET_STATUS => self.status(caller, arg).map(|()| 0),
            VFIO_GROUP_SET_CONTAINER => self.set_container(caller, arg).map(|()| 0),
            VFIO_GROUP_UNSET_CONTAINER => self.unset_container().map(|()| 0),
            VFIO_GROUP_GET_DEVICE_FD => self.device_fd(caller, arg),
            _ => Err(Refusal::UnknownCommand { cmd }),
        }
    }

    fn group(&self) -> &Group {
        &self.engine.groups[&self.number]
    }

    fn status(&self, caller: &mut dyn Caller, arg: u64) -> Result<(), Refusal> {
        const MIN: usize = size_of::<vfio_group_status>();
        let task = self.engine.task(caller);
        let mut status: vfio_group_status =
            load_struct(&**task.memory(), arg, MIN, MIN, "argument")?;
        if (status.argsz as usize) < MIN {
            return Err(Refusal::TooShort { size: status.argsz, min: MIN });
        }
        let state = self.group().state.lock();
        status.flags = match state.place {
            Some(_) => VFIO_GROUP_FLAGS_CONTAINER_SET | VFIO_GROUP_FLAGS_VIABLE,
            None if self.engine.owners.lock().has_owner(self.number) => 0,
            None => VFIO_GROUP_FLAGS_VIABLE,
        };
        task.store(arg, &status, "argument")
    }

    /// `vfio_group_ioctl_set_container`
    fn set_container(&self, caller: &mut dyn Caller, arg: u64) -> Result<(), Refusal> {
        let fd: i32 = self.engine.task(caller).load(arg, "argument")?;
        // it may be the last of its file, whose end can need a lock of ours
        let file = caller.file(fd);
        if file.is_none() && caller.shared_file(fd).err() == Some(Errno::EBADF) {
            return Err(Refusal::NotOpen { fd });
        }
        let mut state = self.group().state.lock();
        if state.place.is_some() {
            return Err(Refusal::Unfit { rule: "the group has a container already" });
        }
        let place = match file.as_ref().map(|file| &*file.0) {
            Some(Kind::Container(container)) => {
                container.attach(&mut self.engine.task(caller), self.number)?;
                Place::Container(Arc::clone(container))
            }
            Some(Kind::Iommu(context)) => {
                make_compat_ioas(context, caller)?;
                Place::Iommufd(Arc::clone(context))
            }
            _ => return Err(Refusal::WrongFile { fd, wanted: "container or iommufd" }),
        };
        state.place = Some(place);
        Ok(())
    }

    /// `vfio_group_ioctl_unset_container`
    fn unset_container(&self) -> Result<(), Refusal> {
        let mut state = self.group().state.lock();
        match &state.place {
            None => return Err(Refusal::Unfit { rule: "the group has no container" }),
            Some(Place::Container(_)) if !state.devices.is_empty() => {
                return Err(Refusal::Busy { what: "the group", why: "a device of it is open" });
            }
            Some(_) => {}
        }
        state.leave(self.number);
        Ok(())
    }

    /// `vfio_group_ioctl_get_device_fd`
    fn device_fd(self: &Arc<Self>, caller: &mut dyn Caller, arg: u64) -> Result<i64, Refusal> {
        let name = name::load(&**caller.memory(), arg)?;
        let index = name::find(&self.engine, self.number, &name)?;
        let through = self.open_device(caller, index)?;
        let file = VfioFile::of_group(Arc::clone(&self.engine), index, through);
        let installed = caller.install(File::new(Kind::Vfio(file)));
        installed.map(i64::from).map_err(|errno| Refusal::NoDescriptor { errno })
    }

    /// `vfio_df_group_open`
    fn open_device(
        self: &Arc<Self>,
        caller: &mut dyn Caller,
        index: usize,
    ) -> Result<GroupDevice, Refusal> {
        let mut state = self.group().state.lock();
        let rule = "the group has no container, or that has no driver";
        let place = state.place.clone().ok_or(Refusal::Unfit { rule })?;
        match state.devices.get_mut(&index) {
            Some(opened) => opened.descriptors += 1,
            None => {
                let bound = match &place {
                    Place::Container(container) if !container.has_driver() => {
                        return Err(Refusal::Unfit { rule });
                    }
                    Place::Container(_) => {
                        self.engine.enable(&self.engine.functions[index], || Ok(None))?
                    }
                    Place::Iommufd(context) => {
                        Some((Arc::clone(context), self.bind(caller, index, context)?))
                    }
                };
                state.devices.insert(index, Opened { descriptors: 1, bound });
            }
        }
        let hold = matches!(place, Place::Container(_)).then(|| Arc::clone(self));
        Ok(GroupDevice { engine: Arc::clone(&self.engine), group: self.number, index, _hold: hold })
    }

    /// Puts a device under an iommufd, at the IOAS of the type1 calls
    /// (`vfio_iommufd_compat_attach_ioas`).
    fn bind(
        &self,
        caller: &mut dyn Caller,
        index: usize,
        context: &Arc<Context>,
    ) -> Result<ObjectId, Refusal> {
        let device = self.engine.bind(index, context)?;
        let attached = {
            let mut state = context.state.lock();
            let ioas = state.compat_ioas();
            let task = &mut self.engine.task(caller);
            ioas.and_then(|ioas| state.change_pt(task, device, NO_PASID, ioas.0, PtMode::Attach))
        };
        if let Err(refusal) = attached {
            self.engine.functions[index].disable();
            self.engine.unbind(index, context, device);
            return Err(refusal);
        }
        Ok(device)
    }

    /// For people: what this file is and what it holds.
    pub fn describe(&self) -> String {
        let state = self.group().state.lock();
        let place = match state.place {
            None => "in no container",
            Some(Place::Container(_)) => "in a container",
            Some(Place::Iommufd(_)) => "under an iommufd",
        };
        format!("VFIO group {}: {place}, {} devices open", self.number, state.devices.len())
    }
}

impl State {
    fn leave(&mut self, group: u32) {
        if let Some(Place::Container(container)) = self.place.take() {
            container.detach(group);
        }
    }
}

/// `vfio_group_fops_release`
impl Drop for GroupFile {
    fn drop(&mut self) {
        let mut state = self.group().state.lock();
        state.leave(self.number);
        state.opened = false;
    }
}

/// A device that its group gave; the last one of the device closes it.
#[derive(Debug)]
pub(crate) struct GroupDevice {
    engine: Arc<Engine>,
    group: u32,
    index: usize,
    /// The group's file, which ends after it.
    _hold: Option<Arc<GroupFile>>,
}

/// `vfio_df_group_close`
impl Drop for GroupDevice {
    fn drop(&mut self) {
        let mut state = self.engine.groups[&self.group].state.lock();
        let Some(opened) = state.devices.get_mut(&self.index) else { return };
        opened.descriptors -= 1;
        if opened.descriptors > 0 {
            return;
        }
        self.engine.functions[self.index].disable();
        if let Some((context, device)) = opened.bound.take() {
            context.state.lock().device_detach(device, NO_PASID);
            self.engine.unbind(self.index, &context, device);
        }
        state.devices.remove(&self.index);
    }
}

/// The first group brings the IOAS that the type1 calls mean, where nobody chose one
/// (`iommufd_vfio_compat_ioas_create`).
fn make_compat_ioas(context: &Arc<Context>, caller: &mut dyn Caller) -> Result<(), Refusal> {
    context.task(caller).allocate()?;
    let mut state = context.state.lock();
    if state.vfio_ioas.is_none() {
        let ioas = state.objects.add(Ioas::default());
        state.objects.publish(ioas);
        state.vfio_ioas = Some(ioas);
    }
    Ok(())
}
