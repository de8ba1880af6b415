//! What stands behind a device: the models of IOMMU hardware and their drivers.
//!
//! The user API is the same for all; what it may ask of the hardware is one trait. A model says what
//! it supports, in the words and the order of Linux's driver for it, and holds no state but what a
//! device or a page table keeps for it, and the identifiers that it has given out.
//!
//! | model | Linux's driver |
//! |---|---|
//! | [`selftest`] | `drivers/iommu/iommufd/selftest.c` |
//! | [`vtd`] | `drivers/iommu/intel` |
//! | [`smmuv3`] | `drivers/iommu/arm/arm-smmu-v3` |
//! | [`amd`] | `drivers/iommu/amd` |
//! | [`riscv`] | `drivers/iommu/riscv` |
//!
//! [`identifiers`] are the numbers by which hardware tells domains apart, of which there are few;
//! [`requests`] are the arrays of a program's invalidations.
//!
//! A model has two halves: the driver, which answers the user API, and, in its `lookup`, the hardware: what
//! becomes of a device's [`request`]. Two [`stages`] of tables, one over the other, are the same for several.

pub(crate) mod amd;
mod identifiers;
#[cfg(test)]
mod ram;
pub(crate) mod request;
mod requests;
pub(crate) mod riscv;
pub(crate) mod selftest;
pub(crate) mod smmuv3;
mod stages;
pub(crate) mod vtd;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use profile::machine;
use profile::{Kernel, Machine, Quirk};
use pt::Translation;

pub(crate) use identifiers::Identifier;
use request::Request;
pub(crate) use requests::{Handled, Requests};

use crate::Refusal;
use crate::device::NO_PASID;
use crate::dma::{PageRequest, Programmed, Requester, Tag};
use crate::objects::ObjectId;
use crate::tables::{Direct, HostFormat, Reach};
use crate::task::{Task, UserData};
use crate::viommu::Regions;

/// What a model keeps for a device.
#[derive(Debug)]
pub(crate) enum DeviceState {
    Selftest(selftest::MockDevice),
    Pci(PciState),
}

/// A PCI device behind a vendor's IOMMU.
#[derive(Clone, Debug)]
pub(crate) struct PciState {
    pub facts: Arc<machine::Device>,
    /// Attachments that may fault.
    pub faulting: u32,
    /// Whether ATS is on, where the kernel turns it on and off as it attaches.
    pub ats_on: bool,
}

impl PciState {
    /// A device that is attached to nothing.
    pub fn new(facts: Arc<machine::Device>) -> Self {
        Self { facts, faulting: 0, ats_on: false }
    }

    /// Notes whether one attachment more, or less, may fault.
    fn count_faulting(&mut self, attach: Attach) {
        self.faulting += u32::from(attach.faults && attach.domain.is_some());
        self.faulting -= u32::from(attach.replaces.is_some_and(|old| old.faults));
    }
}

impl DeviceState {
    /// The same, to be kept.
    pub fn shared_facts(&self) -> Option<Arc<machine::Device>> {
        match self {
            Self::Selftest(_) => None,
            Self::Pci(state) => Some(Arc::clone(&state.facts)),
        }
    }

    /// The facts of a PCI device.
    pub fn facts(&self) -> Option<&machine::Device> {
        match self {
            Self::Selftest(_) => None,
            Self::Pci(state) => Some(&state.facts),
        }
    }
}

/// What a model remembers of a paging domain, to judge who may attach to it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Table {
    Selftest { dirty: bool },
    Vtd(vtd::Table),
    Smmuv3(smmuv3::Table),
    Amd(amd::Table),
    Riscv(riscv::Table),
}

/// State that a model keeps in a nested hwpt.
#[derive(Debug)]
pub(crate) enum Nested {
    Selftest(selftest::MockNested),
    Vtd(vtd::Nested),
    Smmuv3(smmuv3::Nested),
}

impl Nested {
    pub fn view(&self) -> NestedView {
        match self {
            Self::Selftest(_) => NestedView::Selftest,
            Self::Vtd(nested) => NestedView::Vtd(*nested),
            Self::Smmuv3(nested) => NestedView::Smmuv3(*nested),
        }
    }
}

/// What attaching needs to know of a nested hwpt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NestedView {
    Selftest,
    Vtd(vtd::Nested),
    Smmuv3(smmuv3::Nested),
}

/// What a device is attached to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Domain {
    Paging(Table),
    /// A guest's table; the vIOMMU that it came through, and the ID by which that knows the device.
    Nested(NestedView, Option<(ObjectId, Option<u64>)>),
}

impl Domain {
    pub fn nested(nested: &Nested, viommu: Option<(ObjectId, Option<u64>)>) -> Self {
        Self::Nested(nested.view(), viommu)
    }
}

/// A paging domain that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PagingRequest {
    /// `IOMMU_HWPT_ALLOC_*`, and `FAULT_ID_VALID` where the kernel hands it on.
    pub flags: u32,
    pub data: Option<UserData>,
}

impl PagingRequest {
    /// The flags, for a driver that knows these and takes no data.
    fn flags_of(&self, known: u32) -> Result<u32, Refusal> {
        match (self.flags & !known, self.data) {
            (0, None) => Ok(self.flags),
            (0, Some(data)) => Err(unsupported("data_type", data.kind)),
            _ => Err(unsupported("flags", self.flags)),
        }
    }
}

/// A paging domain that the hardware can offer.
#[derive(Debug)]
pub(crate) struct PagingDomain {
    pub table: Table,
    /// The format of its tables; none for a mock device, which has none.
    pub format: Option<HostFormat>,
    /// A bit for each page size.
    pub page_sizes: u64,
    pub aperture: RangeInclusive<u64>,
    /// Whether its record of written pages can be read only while it is kept.
    pub dirty_needs_tracking: bool,
    /// Whether it holds mappings that can only be read.
    pub read_only: bool,
    /// Whether devices' writes never bypass the CPU's caches, whatever they ask for.
    pub coherent: bool,
    /// The hardware's identifier for it, where that is had with it.
    pub identifier: Option<Identifier>,
}

/// A guest's table that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NestedRequest {
    /// `IOMMU_HWPT_ALLOC_*`, without `FAULT_ID_VALID`.
    pub flags: u32,
    pub data: UserData,
    /// The nesting parent.
    pub parent: Table,
    /// Whether a vIOMMU was named instead of the parent.
    pub through_viommu: bool,
}

/// A change of what a device or one of its PASIDs is attached to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attach {
    pub pasid: u32,
    /// None for nothing: the blocked domain.
    pub domain: Option<Domain>,
    /// The number of its hwpt.
    pub number: Option<u64>,
    /// Whether faults go to a queue.
    pub faults: bool,
    /// What was attached before.
    pub replaces: Option<Replaced>,
}

/// What was attached before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replaced {
    pub number: u64,
    /// Whether its faults went to a queue.
    pub faults: bool,
}

impl Attach {
    /// Whether faults go to a queue, and did not before.
    fn begins_to_fault(self) -> bool {
        self.faults && !self.replaces.is_some_and(|old| old.faults)
    }
}

/// What a device can do, for `IOMMU_GET_HW_INFO`.
#[derive(Clone, Debug, Default)]
pub(crate) struct HwInfo {
    pub kind: u32,
    pub data: Vec<u8>,
    /// `IOMMU_HW_CAP_*`
    pub capabilities: u64,
    pub max_pasid_log2: u8,
}

/// A vIOMMU as the hardware made it.
#[derive(Debug, Default)]
pub(crate) struct ViommuMade {
    /// Offset of a region that the program may map.
    pub region: Option<u64>,
}

/// Whose caches an invalidation may reach.
#[derive(Debug)]
pub(crate) struct Users {
    /// What the hardware tags translations by.
    pub domain: u64,
    /// The devices that use the host's tables below.
    pub requesters: Vec<Arc<Requester>>,
}

impl Users {
    /// Makes all of them forget translations of some spaces, of pages of a range or of all.
    pub fn forget(
        &self,
        of: &dyn Fn(&Tag) -> bool,
        range: Option<&RangeInclusive<u64>>,
        leaf_only: bool,
    ) {
        for requester in &self.requesters {
            requester.each_port(|caches| caches.forget(of, range, leaf_only));
        }
    }
}

/// Does something to the device that a vIOMMU knows by a virtual ID; false when it knows none.
pub(crate) type ApplyToDevice<'a> =
    dyn FnMut(u64, &mut dyn FnMut(&mut DeviceState, &Arc<Requester>)) -> bool + 'a;

/// The structures that lead from a requester and its PASID to tables, as hardware caches them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// What the IOTLB tags translations by.
    pub tag: Tag,
    pub leads: Leads,
}

/// Where they lead.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leads {
    /// To nothing.
    Nowhere,
    Amd(amd::lookup::Context),
    Riscv(riscv::lookup::Context),
    Smmuv3(smmuv3::lookup::Context),
    Vtd(vtd::lookup::PasidEntry),
}

/// Why hardware translates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    /// The reason, as the hardware's manual counts them.
    pub code: u32,
    /// Whether a page request may help a device that asked for a translation.
    pub recoverable: bool,
    /// Whether the access waits until a page request is answered.
    pub stalls: bool,
    /// The record of it that a guest may get, still without the name of the device.
    pub event: Option<[u64; 4]>,
}

impl Denied {
    /// A reason, and nothing that helps.
    pub fn for_good(code: u32) -> Self {
        Self { code, recoverable: false, stalls: false, event: None }
    }
}

/// What a driver makes of a page request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// It goes to who handles it, if anybody does.
    Deliver,
    /// It is answered as invalid.
    Refuse,
    /// It is lost, and answered by nobody.
    Drop,
}

/// A model of IOMMU hardware and its driver. What a driver has no operation for is refused.
pub(crate) trait Hardware: fmt::Debug + Send + Sync {
    /// Whether a device can be bound: its DMA is coherent (`IOMMU_CAP_CACHE_COHERENCY`).
    fn is_coherent(&self) -> bool {
        true
    }

    fn hw_info(&self, device: &DeviceState, wanted: u32) -> Result<HwInfo, Refusal>;

    fn has_dirty_tracking(&self, device: &DeviceState) -> bool;

    /// IOVAs that a device behind it cannot use.
    fn reserved(&self, _device: &DeviceState) -> Vec<RangeInclusive<u64>> {
        Vec::new()
    }

    /// Whether paging domains may have flags at all (`domain_alloc_paging_flags`).
    fn has_paging_flags(&self) -> bool {
        true
    }

    fn alloc_paging(
        &self,
        task: &mut Task<'_>,
        device: &DeviceState,
        request: PagingRequest,
    ) -> Result<PagingDomain, Refusal>;

    /// Whether a guest's table can be put on a nesting parent by naming it (`domain_alloc_nested`).
    fn has_nesting(&self) -> bool {
        false
    }

    fn alloc_nested(&self, task: &mut Task<'_>, request: NestedRequest) -> Result<Nested, Refusal> {
        let _ = task;
        Err(unsupported("data_type", request.data.kind))
    }

    fn attach(&self, device: &mut DeviceState, attach: Attach) -> Result<(), Refusal>;

    /// What a table is once a device is attached to it.
    fn settled(&self, table: Table) -> Table {
        table
    }

    fn invalidate_nested(
        &self,
        _task: &mut Task<'_>,
        _nested: &mut Nested,
        _users: &Users,
        requests: Requests,
    ) -> Handled {
        (0, Err(unsupported("hwpt_id", requests.kind)))
    }

    fn invalidate_viommu(
        &self,
        _task: &mut Task<'_>,
        _users: &Users,
        requests: Requests,
        _apply: &mut ApplyToDevice<'_>,
    ) -> Handled {
        (0, Err(unsupported("hwpt_id", requests.kind)))
    }

    /// Whether the driver makes vIOMMUs of any type.
    fn has_viommus(&self) -> bool {
        false
    }

    /// Whether a vIOMMU of this type can be made, whatever it is made on.
    fn check_viommu(&self, kind: u32) -> Result<(), Refusal> {
        Err(unsupported("type", kind))
    }

    fn init_viommu(
        &self,
        _task: &mut Task<'_>,
        _parent: Table,
        _data: Option<UserData>,
        _regions: &mut Regions,
    ) -> Result<ViommuMade, Refusal> {
        Ok(ViommuMade::default())
    }

    /// Whether a guest's table, attached to a device, has all PASIDs of the device in it, and shares
    /// its identifier in the IOTLB with all other tables over the same parent.
    fn guests_own_pasids(&self) -> bool {
        false
    }

    /// Reads the structures that lead to the tables of a request.
    fn context(
        &self,
        _programmed: &Programmed,
        _request: &Request,
        _memory: &Reach<'_>,
    ) -> Result<Context, Denied> {
        let leads = Leads::Nowhere;
        Ok(Context { tag: Tag { domain: 0, space: 0 }, leads })
    }

    /// Walks the tables.
    fn translate(
        &self,
        _context: &Context,
        _request: &Request,
        _memory: &Reach<'_>,
    ) -> Result<Translation, Denied> {
        Err(Denied::for_good(0))
    }

    /// The tables of the host's that alone decide about requests to read and to write without privilege;
    /// none where there is more to it, or where [`Hardware::translate`] shall always be asked.
    fn direct(&self, _context: &Context) -> Option<Direct> {
        None
    }

    /// What the driver makes of a page request.
    fn report_of(&self, _request: &PageRequest) -> Report {
        Report::Deliver
    }

    /// Flags of a page request's message beside those of the user API.
    fn page_request_flags(&self, _request: &PageRequest) -> u32 {
        0
    }

    /// An event as a guest gets it, which knows the device by this ID.
    fn event_for_guest(&self, event: [u64; 4], _virt_id: u64) -> Vec<u8> {
        event.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn has_queue(&self, _kind: u32) -> bool {
        false
    }

    /// How many hardware queues a vIOMMU has. They are made in rising order.
    fn queue_count(&self) -> u32 {
        0
    }
}

/// The models of a machine's IOMMUs; none where the kernel has no driver, or gives it up.
pub(crate) fn models(machine: &Machine, kernel: &'static Kernel) -> Vec<Option<Arc<dyn Hardware>>> {
    let units: Vec<_> = machine.iommus.iter().map(|iommu| iommu.hardware.clone()).collect();
    // all SMMUs take from one pool
    let asids = Arc::new(smmuv3::asids(&units));
    let model = |hardware: &machine::Hardware| -> Option<Arc<dyn Hardware>> {
        Some(match hardware.clone() {
            machine::Hardware::IntelVtd(unit) => Arc::new(vtd::Vtd::new(unit, &units, kernel)?),
            machine::Hardware::ArmSmmuv3(unit) => {
                Arc::new(smmuv3::Smmuv3::new(unit, Arc::clone(&asids), kernel)?)
            }
            machine::Hardware::Amd(unit) => Arc::new(amd::Amd::new(unit, &units, kernel)?),
            machine::Hardware::Riscv(_) if !kernel.has(Quirk::RiscvDriver) => return None,
            machine::Hardware::Riscv(unit) => Arc::new(riscv::Riscv { unit, kernel }),
        })
    };
    units.iter().map(model).collect()
}

fn unsupported(field: &'static str, value: u32) -> Refusal {
    Refusal::Unsupported { field, value: value.into() }
}

fn unfit(rule: &'static str) -> Refusal {
    Refusal::Unfit { rule }
}

fn pci(state: &DeviceState) -> &PciState {
    match state {
        DeviceState::Pci(state) => state,
        DeviceState::Selftest(_) => unreachable!("the engine gives each model its own devices"),
    }
}

fn pci_mut(state: &mut DeviceState) -> &mut PciState {
    match state {
        DeviceState::Pci(state) => state,
        DeviceState::Selftest(_) => unreachable!("the engine gives each model its own devices"),
    }
}

/// Whether an attach reaches the driver. The core checks PASIDs only of devices that have any, and for
/// a device without it asks nobody (`iommu_attach_device_pasid`, `__iommu_set_group_pasid`,
/// `drivers/iommu/iommu.c`).
fn reaches_driver(attach: Attach, max_pasids: u32) -> Result<bool, Refusal> {
    if attach.pasid == NO_PASID {
        return Ok(true);
    }
    if max_pasids != 0 && attach.replaces.is_none() && attach.pasid >= max_pasids {
        let rule = "beyond the PASIDs of the device";
        return Err(Refusal::Invalid { field: "pasid", value: attach.pasid.into(), rule });
    }
    Ok(max_pasids != 0)
}

/// How many PASIDs a device and its IOMMU have, 0 without (`dev_iommu_get_max_pasids`).
fn max_pasids(device: &machine::Device, iommu: u32) -> u32 {
    device.pasid.map_or(0, |pasid| iommu.min(1 << pasid.width))
}
