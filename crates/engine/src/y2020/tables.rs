//! A container of devices behind an SMMUv3 with a guest's PASID table
//! (`drivers/vfio/vfio_iommu_type1.c` of Eric Auger's v13).
//!
//! | Linux | here |
//! |---|---|
//! | a domain with `DOMAIN_ATTR_NESTING` | a hwpt that is a nesting parent, over the container's IOAS, and a vIOMMU on it |
//! | `s1_cfg` of the domain | a nested hwpt with a stream table entry, to which the group is attached |
//! | `iommu_report_device_fault` | a queue of faults, and the events of the vIOMMU, both read by the devices' regions |
//!
//! A group is attached to one hwpt whatever becomes of stage 1, so that its events are told at all times; at
//! first, and after `VFIO_PASID_TABLE_FLAG_UNSET`, it is one that bypasses stage 1. What the entry, the commands
//! and the faults are is the driver's to say ([`crate::hw`]).
//!
//! *What it doesn't do*: `VFIO_IOMMU_SET_MSI_BINDING`. Interrupt messages go by the kernel's own mapping.

use std::sync::Arc;

use parking_lot::Mutex;
use profile::y2020::{Argument, Kind, argument, check};
use uapi::iommufd::{
    IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_FAULT_ID_VALID, IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
    iommu_hwpt_pgfault,
};
use uapi::y2020::Layout;
use uapi::y2020::bind::*;
use uapi::y2020::v5_10::iommu_pasid_table_config;

use super::FaultRegions;
use super::regions::Asking;
use crate::Refusal;
use crate::context::Context;
use crate::device::{Device, NO_PASID};
use crate::events::{EventReader, FaultObject, FaultQueue, Reader, ViommuEvents};
use crate::function::{Function, NestedFaults};
use crate::hw::Hardware;
use crate::hwpt::NestedHwpt;
use crate::objects::ObjectId;
use crate::state::{PtMode, State};
use crate::task::{Source, Task, UserData};
use crate::viommu::Viommu;

/// What a container has for a guest's PASID table, as long as a group is in it.
#[derive(Debug)]
pub(crate) struct PasidTable {
    layout: Layout,
    context: Arc<Context>,
    hw: Arc<dyn Hardware>,
    /// The nesting parent.
    parent: ObjectId,
    viommu: ObjectId,
    /// The queue of faults of all devices.
    faults: ObjectId,
    queue: Arc<FaultQueue>,
    router: Arc<Router>,
    /// The hwpt without a stage 1.
    bypass: ObjectId,
    stage1: Stage1,
    members: Vec<Member>,
}

/// What becomes of stage 1, and the hwpt of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage1 {
    Bypasses,
    Aborts(ObjectId),
    Translates(ObjectId),
}

impl Stage1 {
    fn own(self) -> Option<ObjectId> {
        match self {
            Self::Bypasses => None,
            Self::Aborts(hwpt) | Self::Translates(hwpt) => Some(hwpt),
        }
    }
}

/// A device of the group.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Its number with VFIO.
    function: usize,
    device: ObjectId,
    vdevice: ObjectId,
    /// By which the vIOMMU knows it.
    virt_id: u64,
}

/// A table that does not translate.
const BYPASS: iommu_pasid_table_config = iommu_pasid_table_config {
    argsz: size_of::<iommu_pasid_table_config>() as u32,
    version: PASID_TABLE_CFG_VERSION_1,
    base_ptr: 0,
    format: IOMMU_PASID_FORMAT_SMMUV3,
    pasid_bits: 0,
    config: IOMMU_PASID_CONFIG_BYPASS,
    padding: [0; 2],
    vendor_data: iommu_pasid_smmuv3 {
        version: PASID_TABLE_SMMUV3_CFG_VERSION_1,
        s1fmt: 0,
        s1dss: 0,
        padding: [0; 2],
    },
};

impl PasidTable {
    /// Makes the nesting parent, over an IOAS, and what hangs on it, for the SMMU of a device. Nothing is
    /// attached yet.
    pub fn begin(
        task: &mut Task<'_>,
        context: &Arc<Context>,
        layout: Layout,
        (ioas, device): (ObjectId, ObjectId),
    ) -> Result<Self, Refusal> {
        let mut state = context.state.lock();
        let hw = Arc::clone(&state.objects.at::<Device>(device).hw);
        let flags = IOMMU_HWPT_ALLOC_NEST_PARENT;
        let parent = state.paging_alloc(task, ioas, device, flags, None, None);
        let parent = parent.map_err(of_the_smmu)?;
        state.objects.publish(parent);
        let router = Arc::new(Router { hw: Arc::clone(&hw), devices: Mutex::default() });
        let queue = FaultQueue::with_reader(context.engine.kernel, Arc::clone(&router) as _);
        let queue = Arc::new(queue);
        let faults = state.objects.add(FaultObject { queue: Arc::clone(&queue) });
        state.objects.publish(faults);
        let viommu = viommu(&mut state, task, (parent, device), &router);
        let made = viommu.and_then(|viommu| {
            let data = hw.pasid_table(&BYPASS, &[]);
            let bypass = data.and_then(|data| table(&mut state, task, (viommu, faults), data));
            bypass.map(|bypass| (viommu, bypass)).inspect_err(|_| state.destroy(viommu))
        });
        let (viommu, bypass) = made.inspect_err(|_| {
            state.destroy(faults);
            state.destroy(parent);
        })?;
        drop(state);
        Ok(Self {
            layout,
            context: Arc::clone(context),
            hw,
            parent,
            viommu,
            faults,
            queue,
            router,
            bypass,
            stage1: Stage1::Bypasses,
            members: Vec::new(),
        })
    }

    /// What the group is attached to.
    pub fn attached(&self) -> ObjectId {
        self.stage1.own().unwrap_or(self.bypass)
    }

    /// A device of the group, which is to be attached next. It has regions of faults from now on.
    pub fn add(
        &mut self,
        task: &mut Task<'_>,
        function: &Function,
        device: ObjectId,
    ) -> Result<(), Refusal> {
        let regions = FaultRegions::new(self.layout, device, Asking::Stall, &function.interrupts)?;
        let virt_id = self.members.len() as u64 + 1;
        let mut state = self.context.state.lock();
        let vdevice = state.vdevice_alloc(task, self.viommu, device, virt_id)?;
        state.objects.publish(vdevice);
        drop(state);
        self.router.devices.lock().push((device, virt_id, Arc::clone(&regions)));
        let queue = Arc::clone(&self.queue);
        function.set_nested_faults(Some(NestedFaults { regions, queue }));
        self.members.push(Member { function: function.number(), device, vdevice, virt_id });
        Ok(())
    }

    /// The group leaves: its table goes, and its devices are detached.
    pub fn unbind_all(&mut self) {
        let mut state = self.context.state.lock();
        for member in std::mem::take(&mut self.members) {
            state.device_detach(member.device, NO_PASID);
            state.destroy(member.vdevice);
            self.context.engine.functions[member.function].set_nested_faults(None);
        }
        self.router.devices.lock().clear();
    }

    /// Ends what nothing is attached to any more.
    pub fn end(self) {
        let mut state = self.context.state.lock();
        let hwpts = self.stage1.own().into_iter().chain([self.bypass]);
        hwpts.chain([self.faults, self.viommu, self.parent]).for_each(|it| state.destroy(it));
    }

    /// `iommu_uapi_attach_pasid_table`: `bytes` are as much of its argument as can be read, and `told` what the
    /// container's call says of their length. What is refused leaves what was set.
    pub fn set(&mut self, task: &mut Task<'_>, (told, bytes): (u32, &[u8])) -> Result<(), Refusal> {
        let Argument::Table(config) = check(Kind::Table, self.layout, told, bytes)? else {
            return Ok(());
        };
        argument::smmuv3(&config)?;
        let make: fn(ObjectId) -> Stage1 = match (config.config, self.stage1) {
            (IOMMU_PASID_CONFIG_TRANSLATE, Stage1::Translates(_)) => {
                let rule = "a table is set: unset it first, or bypass or abort";
                return Err(Refusal::Invalid {
                    field: "config",
                    value: config.config.into(),
                    rule,
                });
            }
            (IOMMU_PASID_CONFIG_TRANSLATE, _) => Stage1::Translates,
            (IOMMU_PASID_CONFIG_BYPASS, _) => return self.unset(task),
            (_, Stage1::Aborts(_)) => return Ok(()),
            _ => Stage1::Aborts,
        };
        let context = Arc::clone(&self.context);
        let mut state = context.state.lock();
        let states = self.members.iter().map(|it| &state.objects.at::<Device>(it.device).hw_state);
        let data = self.hw.pasid_table(&config, &states.collect::<Vec<_>>())?;
        let hwpt = table(&mut state, task, (self.viommu, self.faults), data)?;
        let replaced = self.replace(&mut state, task, make(hwpt));
        replaced.inspect_err(|_| state.destroy(hwpt))
    }

    /// `iommu_detach_pasid_table`: stage 1 bypasses, if it does not yet.
    pub fn unset(&mut self, task: &mut Task<'_>) -> Result<(), Refusal> {
        let context = Arc::clone(&self.context);
        self.replace(&mut context.state.lock(), task, Stage1::Bypasses)
    }

    /// Attaches the group to what is new, and ends what was.
    fn replace(
        &mut self,
        state: &mut State,
        task: &mut Task<'_>,
        stage1: Stage1,
    ) -> Result<(), Refusal> {
        let hwpt = stage1.own().unwrap_or(self.bypass);
        // the first takes the others with it
        for member in &self.members {
            state.change_pt(task, member.device, NO_PASID, hwpt.0, PtMode::Replace)?;
        }
        let before = std::mem::replace(&mut self.stage1, stage1);
        if let Some(old) = before.own().filter(|old| *old != hwpt) {
            state.destroy(old);
        }
        Ok(())
    }

    /// `iommu_uapi_cache_invalidate`, likewise.
    pub fn invalidate(
        &self,
        task: &mut Task<'_>,
        (told, bytes): (u32, &[u8]),
    ) -> Result<(), Refusal> {
        let Argument::Invalidate(info) = check(Kind::Invalidate, self.layout, told, bytes)? else {
            return Ok(());
        };
        let virt_ids: Vec<_> = self.members.iter().map(|member| member.virt_id).collect();
        let mut state = self.context.state.lock();
        for requests in self.hw.guest_invalidation(&info, &virt_ids)? {
            let (_, done) = state.invalidate(task, self.viommu.0, requests)?;
            done?;
        }
        Ok(())
    }
}

/// An SMMU that the driver nests nothing on (`arm_smmu_domain_finalise`).
fn of_the_smmu(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Unsupported { .. } => {
            let rule = "the SMMU has not both stages, or lets a guest bypass caches";
            Refusal::Unfit { rule }
        }
        other => other,
    }
}

/// A vIOMMU whose events the router reads.
fn viommu(
    state: &mut State,
    task: &mut Task<'_>,
    (parent, device): (ObjectId, ObjectId),
    router: &Arc<Router>,
) -> Result<ObjectId, Refusal> {
    let (kind, source) = (IOMMU_VIOMMU_TYPE_ARM_SMMUV3, Source::Engine([0; 3]));
    let made = state.viommu_alloc(task, device, parent.0, UserData { kind, source, len: 0 });
    let viommu = made.map_err(of_the_smmu)?;
    state.objects.publish(viommu);
    let events = ViommuEvents::with_reader(Arc::clone(router) as _);
    state.objects.at_mut::<Viommu>(viommu).events = Arc::new(events);
    Ok(viommu)
}

/// A nested hwpt with an entry of the driver's.
fn table(
    state: &mut State,
    task: &mut Task<'_>,
    (viommu, faults): (ObjectId, ObjectId),
    data: UserData,
) -> Result<ObjectId, Refusal> {
    let hwpt = state.nested_alloc_viommu(task, viommu, IOMMU_HWPT_FAULT_ID_VALID, data)?;
    state.objects.publish(hwpt);
    state.objects.hold(faults);
    state.objects.at_mut::<NestedHwpt>(hwpt).fault = Some(faults);
    Ok(hwpt)
}

/// Faults of a group's devices on their way, each to the regions of its device.
#[derive(Debug)]
struct Router {
    hw: Arc<dyn Hardware>,
    /// Each device, and the ID by which the vIOMMU knows it.
    devices: Mutex<Vec<(ObjectId, u64, Arc<FaultRegions>)>>,
}

impl Router {
    fn find(&self, is_it: impl Fn(ObjectId, u64) -> bool) -> Option<Arc<FaultRegions>> {
        let devices = self.devices.lock();
        let found = devices.iter().find(|(device, virt_id, _)| is_it(*device, *virt_id));
        found.map(|(.., regions)| Arc::clone(regions))
    }
}

impl Reader for Router {
    fn take(&self, faults: &[iommu_hwpt_pgfault]) -> bool {
        let device = faults.last().map(|fault| fault.dev_id);
        let regions = self.find(|it, _| Some(it.0) == device);
        regions.is_some_and(|regions| regions.take(faults))
    }
}

impl EventReader for Router {
    fn take_event(&self, data: &[u8]) {
        let Some((virt_id, fault)) = self.hw.fault_of_event(data) else { return };
        if let Some(regions) = self.find(|_, it| it == virt_id) {
            regions.tell(fault);
        }
    }
}
