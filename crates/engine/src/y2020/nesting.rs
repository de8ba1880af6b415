//! A container of VT-d devices with guests' page tables (`drivers/vfio/vfio_iommu_type1.c` of v7).
//!
//! | Linux | here |
//! |---|---|
//! | a domain with `DOMAIN_ATTR_NESTING` | a hwpt that is a nesting parent, over the container's IOAS |
//! | `intel_svm` of a PASID | a nested hwpt for each device of the group, attached to the PASID of that one |
//! | `vfio_mm` | the process's set of PASIDs, and the tables that are bound to them |
//!
//! A guest's PASID that is another than the host's is accepted and means nothing here: whoever programs the
//! device translates it. Memory types are refused, as by 5.10.

use std::ops::RangeInclusive;
use std::sync::Arc;

use mem::{MmId, PAGE_SIZE};
use profile::machine::IntelVtd;
use profile::registers::vtd::NEST;
use profile::y2020::{Argument, Kind, argument, check};
use uapi::iommufd::*;
use uapi::y2020::Layout;
use uapi::y2020::bind::*;
use uapi::y2020::cache::*;
use uapi::y2020::transport::*;
use uapi::y2020::v5_10::{iommu_cache_invalidate_info, iommu_gpasid_bind_data};

use super::pasids::{Bound, PASIDS};
use super::regions::Asking;
use super::{FaultRegions, info};
use crate::Refusal;
use crate::context::Context;
use crate::device::Device;
use crate::events::{FaultObject, FaultQueue};
use crate::function::{Function, NestedFaults};
use crate::hw::Requests;
use crate::hwpt::NestedHwpt;
use crate::ioas::Ioas;
use crate::objects::ObjectId;
use crate::state::{PtMode, State};
use crate::task::{Source, Task, UserData};

/// What a container has for guests' page tables, as long as a group is in it.
#[derive(Debug)]
pub(crate) struct Nesting {
    layout: Layout,
    context: Arc<Context>,
    /// Whose PASIDs they are.
    process: MmId,
    info: iommu_nesting_info,
    /// The nesting parent.
    parent: ObjectId,
    devices: Vec<Member>,
    /// The tables of the process, among them those of the group.
    bound: Arc<Bound>,
}

/// A device of the group.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Its number with VFIO.
    function: usize,
    device: ObjectId,
    /// Its queue of faults, if it can ask for pages.
    faults: Option<ObjectId>,
}

/// A table that is bound for a device of a container.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    context: Arc<Context>,
    device: ObjectId,
    hwpt: ObjectId,
}

/// What an invalidation is about.
#[derive(Clone, Debug)]
struct Scope {
    /// None for all that are bound.
    pasid: Option<u32>,
    /// None for all addresses.
    range: Option<RangeInclusive<u64>>,
    leaf_only: bool,
}

impl Nesting {
    /// Makes the nesting parent, over an IOAS, for the units of a device's kind. Nothing is attached yet.
    pub fn begin(
        task: &mut Task<'_>,
        context: &Arc<Context>,
        layout: Layout,
        (ioas, device): (ObjectId, ObjectId),
        unit: &IntelVtd,
    ) -> Result<Self, Refusal> {
        if !NEST.is_set(unit.ecap) {
            return Err(Refusal::NoDevice {
                what: "the IOMMU has no nested translation (ECAP.NEST)",
            });
        }
        let process = task.memory().id();
        let mut state = context.state.lock();
        let flags = IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_PASID;
        let made = state.paging_alloc(task, ioas, device, flags, None, None);
        let parent = made.map_err(|refusal| match refusal {
            // of a call that says what it wants; here it is the unit that has not
            Refusal::Unsupported { .. } => Refusal::NoDevice { what: "the IOMMU has no nesting" },
            other => other,
        })?;
        state.objects.publish(parent);
        let joined = context.engine.pasids.lock().join(process);
        let bound = joined.inspect_err(|_| state.destroy(parent))?;
        let domains = &state.objects.at::<Ioas>(ioas).domains;
        let domain = domains.iter().find(|domain| domain.hwpt == parent);
        let width = domain.map_or(0, |domain| 64 - domain.aperture.end().leading_zeros());
        let (context, devices) = (Arc::clone(context), Vec::new());
        let info = info::of(unit, width as u16);
        Ok(Self { layout, context, process, info, parent, devices, bound })
    }

    /// What the devices are attached to.
    pub fn parent(&self) -> ObjectId {
        self.parent
    }

    /// A device of the group, which is to be attached to the parent. It has regions of faults from now on, if
    /// it can ask for pages.
    pub fn add(&mut self, function: &Function, device: ObjectId) -> Result<(), Refusal> {
        let context = &self.context;
        // its tables are its own, and not the group's
        context.state.lock().objects.at_mut::<Device>(device).group = None;
        let mut faults = None;
        if can_ask_for_pages(context, device) {
            let regions =
                FaultRegions::new(self.layout, device, Asking::PageRequest, &function.interrupts)?;
            let queue = FaultQueue::with_reader(context.engine.kernel, Arc::clone(&regions) as _);
            let queue = Arc::new(queue);
            let mut state = context.state.lock();
            let object = state.objects.add(FaultObject { queue: Arc::clone(&queue) });
            state.objects.publish(object);
            function.set_nested_faults(Some(NestedFaults { regions, queue }));
            faults = Some(object);
        }
        self.devices.push(Member { function: function.number(), device, faults });
        Ok(())
    }

    /// The group leaves: its tables are unbound, and its process has a container less. What devices are
    /// attached to the parent is for the caller to detach, after that.
    pub fn unbind_all(&mut self) {
        let mut bound = self.bound.lock();
        bound.retain(|pasid, tables| {
            self.unbind_own(*pasid, tables);
            !tables.is_empty()
        });
        drop(bound);
        let engine = &self.context.engine;
        let mut state = self.context.state.lock();
        for member in std::mem::take(&mut self.devices) {
            engine.functions[member.function].set_nested_faults(None);
            if let Some(faults) = member.faults {
                state.destroy(faults);
            }
        }
        engine.pasids.lock().leave(self.process);
    }

    /// Ends the parent, to which nothing is attached any more.
    pub fn end(self) {
        self.context.state.lock().destroy(self.parent);
    }

    /// The capability in the answer of `VFIO_IOMMU_GET_INFO`.
    pub fn capability(&self) -> vfio_iommu_type1_info_cap_nesting {
        info::capability(self.info)
    }

    fn check_feature(&self, feature: u32) -> Result<(), Refusal> {
        match self.info.features & feature {
            0 => Err(Refusal::Unsupported { field: "feature", value: feature.into() }),
            _ => Ok(()),
        }
    }

    /// Whether a PASID is the process's.
    fn check_pasid(&self, pasid: u32) -> Result<(), Refusal> {
        self.context.engine.pasids.lock().check(self.process, pasid)
    }

    /// `vfio_iommu_type1_pasid_request`, once the argument is checked: the PASID, or 0.
    pub fn pasid_request(&self, request: &vfio_iommu_type1_pasid_request) -> Result<i64, Refusal> {
        self.check_feature(IOMMU_NESTING_FEAT_SYSWIDE_PASID)?;
        let pasids = &self.context.engine.pasids;
        let vfio_iommu_type1_pasid_range { min, max } = request.range;
        match request.flags {
            VFIO_IOMMU_FLAG_ALLOC_PASID => {
                pasids.lock().take(self.process, min, max).map(i64::from)
            }
            VFIO_IOMMU_FLAG_FREE_PASID => {
                let mut bound = self.bound.lock();
                let own = pasids.lock().of(self.process, min, max);
                for pasid in own {
                    // the IOMMU driver is told, and unbinds what is bound, in whichever container
                    for table in bound.remove(&pasid).iter().flatten() {
                        table.unbind(pasid);
                    }
                    pasids.lock().give_back(pasid);
                }
                Ok(0)
            }
            flags => {
                let rule = "to take or to give back, and not both";
                Err(Refusal::Invalid { field: "flags", value: flags.into(), rule })
            }
        }
    }

    /// An operation of `VFIO_IOMMU_NESTING_OP`, whose data are `bytes`, as far as they can be read, and `told`
    /// long. `end` is the end of what is mapped of the guest's memory.
    pub fn operate(
        &self,
        task: &mut Task<'_>,
        operation: u32,
        (told, bytes): (u32, &[u8]),
        end: u64,
    ) -> Result<(), Refusal> {
        match operation {
            VFIO_IOMMU_NESTING_OP_CACHE_INVLD => {
                self.check_feature(IOMMU_NESTING_FEAT_CACHE_INVLD)?;
                match check(Kind::Invalidate, self.layout, told, bytes)? {
                    Argument::Invalidate(info) => self.invalidate(task, &info),
                    _ => Ok(()),
                }
            }
            _ => {
                self.check_feature(IOMMU_NESTING_FEAT_BIND_PGTBL)?;
                let Argument::Bind(data) = check(Kind::Bind, self.layout, told, bytes)? else {
                    return Ok(());
                };
                if operation == VFIO_IOMMU_NESTING_OP_BIND_PGTBL {
                    self.bind(task, &data, end)
                } else {
                    self.unbind(data.hpasid as u32)
                }
            }
        }
    }

    /// `intel_svm_bind_gpasid`, for each device of the group.
    fn bind(
        &self,
        task: &mut Task<'_>,
        data: &iommu_gpasid_bind_data,
        end: u64,
    ) -> Result<(), Refusal> {
        let vtd = argument::vtd(self.layout, data)?;
        let refuse = |field, value, rule| Err(Refusal::Invalid { field, value, rule });
        let whole = |member: &Member| {
            let pasid = self.context.engine.functions[member.function].facts.pasid;
            pasid.is_some_and(|pasid| 1u32.checked_shl(pasid.width.into()) == Some(PASIDS))
        };
        if !self.devices.iter().all(whole) {
            return Err(Refusal::Unfit { rule: "the device has not all PASIDs of 20 bits" });
        }
        let pasid = u32::try_from(data.hpasid).ok().filter(|pasid| (1..PASIDS).contains(pasid));
        let Some(pasid) = pasid else {
            return refuse("hpasid", data.hpasid, "must be 1..=0xfffff");
        };
        let mut bound = self.bound.lock();
        self.check_pasid(pasid)?;
        if bound.get(&pasid).into_iter().flatten().any(|table| self.has(table)) {
            return Err(Refusal::Busy { what: "the PASID", why: "a page table is bound to it" });
        }
        if data.gpgd > end {
            return refuse("gpgd", data.gpgd, "beyond all that is mapped of the guest's memory");
        }
        if vtd.flags & IOMMU_SVA_VTD_GPASID_MTS_MASK != 0 {
            let rule = "memory types are not supported: leave PCD, PWT, EMTE and CD 0";
            return refuse("vendor.vtd.flags", vtd.flags, rule);
        }
        let mut tables = Vec::new();
        let done = self.devices.iter().try_for_each(|member| {
            let mut state = self.context.state.lock();
            let hwpt = self.table(&mut state, task, member, data, vtd.flags)?;
            let attached = attach(&mut state, task, member.device, pasid, hwpt);
            let context = Arc::clone(&self.context);
            match attached {
                Ok(()) => tables.push(Table { context, device: member.device, hwpt }),
                Err(_) => state.destroy(hwpt),
            }
            attached
        });
        match done {
            Ok(()) => bound.entry(pasid).or_default().extend(tables),
            Err(_) => tables.iter().for_each(|table| table.unbind(pasid)),
        }
        done
    }

    /// A nested hwpt for a guest's table.
    fn table(
        &self,
        state: &mut State,
        task: &mut Task<'_>,
        member: &Member,
        data: &iommu_gpasid_bind_data,
        vtd: u64,
    ) -> Result<ObjectId, Refusal> {
        let bits = [
            (IOMMU_VTD_S1_SRE, vtd & IOMMU_SVA_VTD_GPASID_SRE != 0),
            (IOMMU_VTD_S1_EAFE, vtd & IOMMU_SVA_VTD_GPASID_EAFE != 0),
        ];
        let stage1 = iommu_hwpt_vtd_s1 {
            flags: bits.iter().filter(|(_, set)| *set).fold(0, |all, (bit, _)| all | bit),
            pgtbl_addr: data.gpgd,
            addr_width: data.addr_width,
            ..Default::default()
        };
        let source = Source::engine(&stage1);
        let len = size_of_val(&stage1) as u32;
        let data = UserData { kind: IOMMU_HWPT_DATA_VTD_S1, source, len };
        let fault_flag = member.faults.map_or(0, |_| IOMMU_HWPT_FAULT_ID_VALID);
        let flags = IOMMU_HWPT_ALLOC_PASID | fault_flag;
        let hwpt = state.nested_alloc(task, self.parent, member.device, flags, data)?;
        state.objects.publish(hwpt);
        if let Some(faults) = member.faults {
            state.objects.hold(faults);
            state.objects.at_mut::<NestedHwpt>(hwpt).fault = Some(faults);
        }
        Ok(hwpt)
    }

    /// `intel_svm_unbind_gpasid`: what is not bound is so already.
    fn unbind(&self, pasid: u32) -> Result<(), Refusal> {
        if pasid >= PASIDS {
            let rule = "must be below 0x100000";
            return Err(Refusal::Invalid { field: "hpasid", value: pasid.into(), rule });
        }
        let mut bound = self.bound.lock();
        self.check_pasid(pasid)?;
        if let Some(tables) = bound.get_mut(&pasid) {
            self.unbind_own(pasid, tables);
        }
        Ok(())
    }

    /// Whether a table of the process is one of this container.
    fn has(&self, table: &Table) -> bool {
        Arc::ptr_eq(&self.context, &table.context)
    }

    /// Unbinds those of a PASID's tables that are this container's.
    fn unbind_own(&self, pasid: u32, tables: &mut Vec<Table>) {
        tables.extract_if(.., |table| self.has(table)).for_each(|table| table.unbind(pasid));
    }

    /// `intel_iommu_sva_invalidate`: each cache that is named, in its order.
    fn invalidate(
        &self,
        task: &mut Task<'_>,
        info: &iommu_cache_invalidate_info,
    ) -> Result<(), Refusal> {
        if info.cache == 0 {
            return Ok(());
        }
        let scope = Scope::of(info);
        let bound = self.bound.lock();
        if let Some(pasid) = scope.pasid {
            self.check_pasid(pasid)?;
            if !bound.get(&pasid).into_iter().flatten().any(|table| self.has(table)) {
                let rule = "no page table is bound to it";
                return Err(Refusal::Invalid { field: "pasid", value: pasid.into(), rule });
            }
        }
        let named = |cache| info.cache & cache != 0;
        let mut state = self.context.state.lock();
        for (pasid, tables) in &*bound {
            if scope.pasid.is_some_and(|only| only != *pasid) {
                continue;
            }
            for table in tables.iter().filter(|table| self.has(table)) {
                if named(IOMMU_CACHE_INV_TYPE_IOTLB) {
                    // the devices' own caches with it, as ever where ATS is on
                    let (_, done) = state.invalidate(task, table.hwpt.0, scope.requests())?;
                    done?;
                }
                let requester = &state.objects.at::<Device>(table.device).requester;
                let is_it = |it: Option<u32>| it == Some(*pasid);
                requester.each_port(|caches| {
                    if named(IOMMU_CACHE_INV_TYPE_DEV_IOTLB) {
                        caches.forget_atc(&is_it, scope.range.as_ref());
                    }
                    if named(IOMMU_CACHE_INV_TYPE_PASID) {
                        caches.forget_contexts(&is_it);
                    }
                });
            }
        }
        Ok(())
    }
}

impl Scope {
    fn of(info: &iommu_cache_invalidate_info) -> Self {
        let all = Self { pasid: None, range: None, leaf_only: false };
        // without its flag a PASID is 0, which nobody has bound
        let named = |flag: u32, pasid: u64| if flag != 0 { pasid as u32 } else { 0 };
        if let Some(it) = info.pasid_info() {
            let pasid = named(it.flags & IOMMU_INV_PASID_FLAGS_PASID, it.pasid);
            return Self { pasid: Some(pasid), ..all };
        }
        let Some(it) = info.addr_info() else { return all };
        let pasid = Some(named(it.flags & IOMMU_INV_ADDR_FLAGS_PASID, it.pasid));
        let leaf_only = it.flags & IOMMU_INV_ADDR_FLAGS_LEAF != 0;
        // an aligned power of two of pages, and the low bits of the address are not looked at
        let pages = it.granule_size.wrapping_mul(it.nb_granules) >> PAGE_SIZE.trailing_zeros();
        let mask = pages.checked_next_power_of_two().and_then(|pages| pages.checked_mul(PAGE_SIZE));
        let range = mask.map(|size| it.addr & !(size - 1)..=it.addr | (size - 1));
        Self { pasid, range, leaf_only }
    }

    /// The same for a nested hwpt.
    fn requests(&self) -> Requests {
        let mut request = iommu_hwpt_vtd_s1_invalidate { npages: u64::MAX, ..Default::default() };
        if let Some(range) = &self.range {
            request.addr = *range.start();
            request.npages = (range.end() - range.start()) / PAGE_SIZE + 1;
        }
        request.flags = if self.leaf_only { IOMMU_VTD_INV_FLAGS_LEAF } else { 0 };
        Requests {
            kind: IOMMU_HWPT_INVALIDATE_DATA_VTD_S1,
            source: Source::engine(&request),
            entry_len: size_of_val(&request) as u32,
            count: 1,
        }
    }
}

fn can_ask_for_pages(context: &Context, device: ObjectId) -> bool {
    let state = context.state.lock();
    let it = state.objects.at::<Device>(device);
    it.hw.has_page_requests(&it.hw_state)
}

fn attach(
    state: &mut State,
    task: &mut Task<'_>,
    device: ObjectId,
    pasid: u32,
    hwpt: ObjectId,
) -> Result<(), Refusal> {
    state.change_pt(task, device, pasid, hwpt.0, PtMode::Attach).map(drop)
}

impl Table {
    /// The PASID walks it no more, and it ends.
    fn unbind(&self, pasid: u32) {
        let mut state = self.context.state.lock();
        state.device_detach(self.device, pasid);
        state.destroy(self.hwpt);
    }
}
