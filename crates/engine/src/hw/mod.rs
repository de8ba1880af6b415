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
//! A model has two halves: the driver, which answers the user API, and, in its `lookup`, the hardware: what
//! becomes of a device's [`request`]. What they say to the engine:
//!
//! | module | holds |
//! |---|---|
//! | [`mod@device`], [`domain`], [`attach`] | devices, domains, and the change from one domain to another |
//! | [`invalidation`] | the requests of a program, and whose caches they reach |
//! | [`context`] | what becomes of a request: where the structures lead, refusals, reports |
//! | [`identifiers`] | the numbers by which hardware tells domains apart, of which there are few |
//! | [`stages`] | two stages of tables, one over the other, which are the same for several |

pub(crate) mod amd;
mod attach;
mod context;
mod device;
mod domain;
mod identifiers;
mod invalidation;
#[cfg(test)]
mod ram;
pub(crate) mod request;
pub(crate) mod riscv;
pub(crate) mod selftest;
pub(crate) mod smmuv3;
mod stages;
pub(crate) mod vtd;

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use profile::{Kernel, Machine, Quirk, machine};
use pt::Translation;
use uapi::y2020::fault::iommu_fault_unrecoverable;
use uapi::y2020::v5_10::{iommu_cache_invalidate_info, iommu_pasid_table_config};

use attach::reaches_driver;
pub(crate) use attach::{Attach, Replaced};
pub(crate) use context::{Context, Denied, Leads, Report};
pub(crate) use device::{DeviceState, PciState};
use device::{max_pasids, pci, pci_mut};
pub(crate) use domain::{
    Domain, Nested, NestedRequest, NestedView, PagingDomain, PagingRequest, Table,
};
pub(crate) use identifiers::Identifier;
pub(crate) use invalidation::{ApplyToDevice, Handled, Requests, Users};
use request::Request;

use crate::Refusal;
use crate::dma::{PageRequest, Programmed, Tag};
use crate::tables::{Direct, Reach};
use crate::task::{Task, UserData};
use crate::viommu::Regions;

/// A model of IOMMU hardware and its driver. What a driver has no operation for is refused.
pub(crate) trait Hardware: fmt::Debug + Send + Sync {
    /// Whether a device can be bound: its DMA is coherent (`IOMMU_CAP_CACHE_COHERENCY`).
    fn is_coherent(&self) -> bool {
        true
    }

    fn hw_info(&self, device: &DeviceState, wanted: u32) -> Result<HwInfo, Refusal>;

    fn has_dirty_tracking(&self, device: &DeviceState) -> bool;

    /// Whether a device can ask for pages (PRI), and this tells of it.
    fn has_page_requests(&self, _device: &DeviceState) -> bool {
        false
    }

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

    /// A guest's PASID table under the API of 2020 (`attach_pasid_table` of its `iommu_ops`), for devices that
    /// are attached together: data of a nested hwpt on a vIOMMU.
    fn pasid_table(
        &self,
        _config: &iommu_pasid_table_config,
        _devices: &[&DeviceState],
    ) -> Result<UserData, Refusal> {
        Err(Refusal::NoDevice { what: "the IOMMU's driver takes no PASID tables" })
    }

    /// An invalidation under the API of 2020 (`cache_invalidate`): requests of a vIOMMU that knows its devices
    /// by these IDs.
    fn guest_invalidation(
        &self,
        _info: &iommu_cache_invalidate_info,
        _virt_ids: &[u64],
    ) -> Result<Vec<Requests>, Refusal> {
        Err(Refusal::NoDevice { what: "the IOMMU's driver invalidates nothing for guests" })
    }

    /// An event of [`Hardware::event_for_guest`] as the API of 2020 tells of it, and the ID of the device; none
    /// where it does not.
    fn fault_of_event(&self, _event: &[u8]) -> Option<(u64, iommu_fault_unrecoverable)> {
        None
    }

    fn has_queue(&self, _kind: u32) -> bool {
        false
    }

    /// How many hardware queues a vIOMMU has. They are made in rising order.
    fn queue_count(&self) -> u32 {
        0
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
