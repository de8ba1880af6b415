//! Intel VT-d (`drivers/iommu/intel`).
//!
//! | Linux's word | meaning |
//! |---|---|
//! | scalable mode | translation by PASID; what nesting, PASIDs and page requests need |
//! | first stage | tables as the CPU's, half of whose addresses are usable |
//! | second stage | tables of the host: nesting parents, dirty tracking |
//!
//! [`lookup`] is the hardware: what a unit makes of a request. The rest is Linux's driver for it.

mod attach;
mod dma;
pub(super) mod lookup;
mod unit;

use std::ops::RangeInclusive;

use profile::machine::{self, IntelVtd};
use profile::registers::vtd::*;
use profile::{Kernel, Quirk};
use pt::{Rights, Translation};
use uapi::iommufd::{
    IOMMU_HW_CAP_DIRTY_TRACKING, IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED, IOMMU_HW_CAP_PCI_PASID_EXEC,
    IOMMU_HW_CAP_PCI_PASID_PRIV, IOMMU_HW_INFO_TYPE_DEFAULT, IOMMU_HW_INFO_TYPE_INTEL_VTD,
    IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
    IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_ALLOC_PASID, IOMMU_HWPT_DATA_VTD_S1,
    IOMMU_HWPT_FAULT_ID_VALID, IOMMU_HWPT_INVALIDATE_DATA_VTD_S1, IOMMU_VTD_INV_FLAGS_LEAF,
    iommu_hw_info_vtd, iommu_hwpt_vtd_s1, iommu_hwpt_vtd_s1_invalidate,
};
use zerocopy::IntoBytes;

use super::identifiers::InUse;
use super::request::Request;
use super::{
    Attach, Context, Denied, DeviceState, Domain, Handled, Hardware, HwInfo, Leads,
    Nested as AnyNested, NestedRequest, NestedView, PagingDomain, PagingRequest, Report, Requests,
    Table as AnyTable, Users, max_pasids, pci, pci_mut, reaches_driver, unfit, unsupported,
};
use crate::Refusal;
use crate::device::NO_PASID;
use crate::dma::{PageRequest, Programmed, Tag};
use crate::tables::{Direct, Reach};
use crate::task::Task;

const PAGE_BITS: u32 = 12;
const KIB4: u64 = 1 << PAGE_BITS;

/// Where interrupt messages go; no IOVA (`intel_iommu_get_resv_regions`).
const MESSAGES: RangeInclusive<u64> = 0xfee0_0000..=0xfeef_ffff;

/// Domain IDs that the kernel keeps for itself.
const OWN_DOMAIN_IDS: usize = 2;

/// How many domain IDs a unit has, by its CAP (`cap_ndoms`): 4, 6, .. 16 bits, and 18 by the value that
/// is reserved.
pub(crate) fn domain_ids(cap: u64) -> usize {
    1 << (4 + 2 * ND.of(cap))
}

/// A unit under a kernel.
#[derive(Debug)]
pub(crate) struct Vtd {
    unit: IntelVtd,
    kernel: &'static Kernel,
    /// What all units of the machine have (`intel_cap_audit`).
    common_ecap: u64,
    domain_ids: InUse,
}

/// Which of the two tables of a nested translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    First,
    Second,
}

/// A paging domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    stage: Stage,
    /// Bits of input address.
    width: u32,
    page_sizes: u64,
    coherent: bool,
    force_snoop: bool,
    nest_parent: bool,
    dirty: bool,
}

/// A guest's first stage over a second stage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nested {
    stage1: iommu_hwpt_vtd_s1,
    parent: Table,
}

impl Vtd {
    /// None when the kernel gives the unit up.
    pub fn new(
        unit: IntelVtd,
        machine: &[machine::Hardware],
        kernel: &'static Kernel,
    ) -> Option<Self> {
        let ecaps = machine.iter().filter_map(|hardware| match hardware {
            machine::Hardware::IntelVtd(unit) => Some(unit.ecap),
            _ => None,
        });
        let common_ecap = ecaps.fold(u64::MAX, |common, ecap| common & ecap);
        let domain_ids = InUse::new(domain_ids(unit.cap) - OWN_DOMAIN_IDS);
        let model = Self { unit, kernel, common_ecap, domain_ids };
        model.is_usable().then_some(model)
    }

    /// Whether the driver takes the unit (`alloc_iommu`, `intel_cap_audit`).
    fn is_usable(&self) -> bool {
        let common = self.common_ecap;
        let no_stage = SMTS.is_set(common) && !SSTS.is_set(common) && !FSTS.is_set(common);
        if no_stage && self.has(Quirk::VtdAuditsStages) {
            return false;
        }
        !self.has(Quirk::VtdRealWidth) || self.adjusted_width(self.usable_widths()).is_some()
    }

    fn has(&self, quirk: Quirk) -> bool {
        self.kernel.has(quirk)
    }
}

impl Hardware for Vtd {
    fn hw_info(&self, device: &DeviceState, wanted: u32) -> Result<HwInfo, Refusal> {
        if wanted != IOMMU_HW_INFO_TYPE_DEFAULT && wanted != IOMMU_HW_INFO_TYPE_INTEL_VTD {
            return Err(unsupported("in_data_type", wanted));
        }
        let facts = &pci(device).facts;
        let errata = IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17;
        let info = iommu_hw_info_vtd {
            flags: if self.has(Quirk::VtdErrataFlag) { errata } else { 0 },
            __reserved: 0,
            cap_reg: self.unit.cap,
            ecap_reg: self.unit.ecap,
        };
        let pasids = max_pasids(facts, self.pasids());
        let pasid = facts.pasid.filter(|_| pasids > 0);
        let bits = [
            (IOMMU_HW_CAP_DIRTY_TRACKING, self.tracks_dirty()),
            (IOMMU_HW_CAP_PCI_PASID_EXEC, pasid.is_some_and(|pasid| pasid.execute)),
            (IOMMU_HW_CAP_PCI_PASID_PRIV, pasid.is_some_and(|pasid| pasid.privileged)),
            (IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED, !self.has_ats(facts)),
        ];
        Ok(HwInfo {
            kind: IOMMU_HW_INFO_TYPE_INTEL_VTD,
            data: info.as_bytes().to_vec(),
            capabilities: bits.iter().filter(|(_, set)| *set).fold(0, |all, (bit, _)| all | bit),
            max_pasid_log2: pasids.checked_ilog2().unwrap_or(0) as u8,
        })
    }

    fn has_dirty_tracking(&self, _device: &DeviceState) -> bool {
        self.tracks_dirty()
    }

    fn has_page_requests(&self, device: &DeviceState) -> bool {
        self.has_pri(&pci(device).facts)
    }

    fn reserved(&self, _device: &DeviceState) -> Vec<RangeInclusive<u64>> {
        vec![MESSAGES]
    }

    /// `intel_iommu_domain_alloc_paging_flags`, before 6.13 `intel_iommu_domain_alloc_user`.
    fn alloc_paging(
        &self,
        task: &mut Task<'_>,
        _device: &DeviceState,
        request: PagingRequest,
    ) -> Result<PagingDomain, Refusal> {
        const FLAGS: u32 = IOMMU_HWPT_ALLOC_NEST_PARENT
            | IOMMU_HWPT_ALLOC_DIRTY_TRACKING
            | IOMMU_HWPT_FAULT_ID_VALID
            | IOMMU_HWPT_ALLOC_PASID;
        let flags = request.flags_of(FLAGS)?;
        let stage = self.stage_for(flags).ok_or(unsupported("flags", flags))?;
        task.allocate()?;
        let width = self.width(stage);
        // half of a first stage's addresses are the guest kernel's
        let half = stage == Stage::First && self.has(Quirk::VtdRealWidth);
        let usable = width.saturating_sub(u32::from(half));
        if usable <= PAGE_BITS {
            return Err(unfit("the unit has no usable address width (CAP.SAGAW, CAP.MGAW)"));
        }
        let page_sizes = self.page_sizes(stage);
        let nest_parent = flags & IOMMU_HWPT_ALLOC_NEST_PARENT != 0;
        Ok(PagingDomain {
            table: AnyTable::Vtd(Table {
                stage,
                width,
                page_sizes,
                coherent: self.coherent(),
                force_snoop: self.snoops(),
                nest_parent,
                dirty: flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING != 0,
            }),
            format: Some(self.format(stage, width)),
            page_sizes,
            aperture: 0..=(u64::MAX >> (64 - usable)),
            dirty_needs_tracking: !self.has(Quirk::VtdGenericPt),
            // an erratum of Sapphire Rapids, which Linux sees in every unit (772415)
            read_only: !nest_parent,
            coherent: self.snoops(),
            identifier: None,
        })
    }

    fn has_nesting(&self) -> bool {
        true
    }

    /// `intel_iommu_domain_alloc_nested`
    fn alloc_nested(
        &self,
        task: &mut Task<'_>,
        request: NestedRequest,
    ) -> Result<AnyNested, Refusal> {
        let NestedRequest { flags, data, .. } = request;
        if !self.nests() || flags & !IOMMU_HWPT_ALLOC_PASID != 0 {
            return Err(unsupported("flags", flags));
        }
        if data.kind != IOMMU_HWPT_DATA_VTD_S1 {
            return Err(unsupported("data_type", data.kind));
        }
        let parent = match request.parent {
            AnyTable::Vtd(parent) if parent.nest_parent => parent,
            _ => return Err(unfit("the parent is no second stage for nesting")),
        };
        let whole = size_of::<iommu_hwpt_vtd_s1>();
        let stage1 = data.load(task, IOMMU_HWPT_DATA_VTD_S1, whole)?;
        task.allocate()?;
        Ok(AnyNested::Vtd(Nested { stage1, parent }))
    }

    fn attach(&self, device: &mut DeviceState, attach: Attach) -> Result<(), Refusal> {
        let state = pci_mut(device);
        if !self.has(Quirk::IopfByDriver) {
            self.enable_faults(state, attach)?;
        }
        if reaches_driver(attach, max_pasids(&state.facts, self.pasids()))? {
            match attach.domain {
                None => self.take_domain_id(attach)?,
                Some(Domain::Paging(AnyTable::Vtd(table))) => {
                    self.attach_paging(state, attach, table)?;
                }
                Some(Domain::Nested(NestedView::Vtd(nested), _)) => {
                    self.attach_nested(state, attach, nested)?;
                }
                Some(_) => return Err(unfit("it is of another driver")),
            }
        }
        if attach.pasid == NO_PASID {
            let paging = matches!(attach.domain, Some(Domain::Paging(_)));
            state.ats_on = paging && self.has_ats(&state.facts);
        }
        state.count_faulting(attach);
        Ok(())
    }

    /// A domain that was made for any hardware is cut to the unit that it is attached to
    /// (`prepare_domain_attach_device`).
    fn settled(&self, table: AnyTable) -> AnyTable {
        match table {
            AnyTable::Vtd(table) if !self.has(Quirk::VtdRealWidth) => {
                let width = self.adjusted_width(self.usable_widths()).unwrap_or(table.width);
                AnyTable::Vtd(Table { width: table.width.min(width), ..table })
            }
            table => table,
        }
    }

    /// `intel_nested_cache_invalidate_user`
    fn invalidate_nested(
        &self,
        task: &mut Task<'_>,
        _nested: &mut AnyNested,
        users: &Users,
        requests: Requests,
    ) -> Handled {
        if requests.kind != IOMMU_HWPT_INVALIDATE_DATA_VTD_S1 {
            return (0, Err(requests.wrong_kind()));
        }
        for index in 0..requests.count {
            match load_invalidation(task, requests, index) {
                Ok(request) => self.forget(users, &request),
                Err(refusal) => return (index, Err(refusal)),
            }
        }
        (requests.count, Ok(()))
    }

    fn context(
        &self,
        programmed: &Programmed,
        request: &Request,
        _memory: &Reach<'_>,
    ) -> Result<Context, Denied> {
        let has_ats = programmed.facts.as_ref().is_some_and(|facts| self.has_ats(facts));
        if request.translation_only && !has_ats {
            return Err(Denied::for_good(lookup::reason::ATS_DISABLED.into()));
        }
        let entry = self.pasid_entry(programmed);
        let tag = Tag { domain: programmed.domain, space: request.pasid.unwrap_or(NO_PASID) };
        Ok(Context { tag, leads: Leads::Vtd(entry) })
    }

    fn translate(
        &self,
        context: &Context,
        request: &Request,
        memory: &Reach<'_>,
    ) -> Result<Translation, Denied> {
        self.walk(context, request, memory)
    }

    fn direct(&self, context: &Context) -> Option<Direct> {
        let Leads::Vtd(entry) = context.leads else { return None };
        entry.direct(self.registers())
    }

    /// The checks of `prq_event_thread`, `drivers/iommu/intel/prq.c`.
    fn report_of(&self, request: &PageRequest) -> Report {
        let canonical = (request.iova as i64) << 16 >> 16 == request.iova as i64;
        let touches = request.rights.intersects(Rights::READ | Rights::WRITE);
        let executes = request.rights.contains(Rights::EXECUTE);
        let reads = request.rights.contains(Rights::READ);
        if !canonical || request.privileged && touches || executes && reads {
            return Report::Refuse;
        }
        // a stop marker
        if request.last && !touches { Report::Drop } else { Report::Deliver }
    }

    /// `IOMMU_FAULT_PAGE_RESPONSE_NEEDS_PASID`, a flag of the kernel's own that is handed on.
    fn page_request_flags(&self, request: &PageRequest) -> u32 {
        if request.pasid.is_some() { 1 << 2 } else { 0 }
    }
}

fn load_invalidation(
    task: &Task<'_>,
    requests: Requests,
    index: u32,
) -> Result<iommu_hwpt_vtd_s1_invalidate, Refusal> {
    let whole = size_of::<iommu_hwpt_vtd_s1_invalidate>();
    let data = requests.at(index);
    let it: iommu_hwpt_vtd_s1_invalidate =
        data.load(task, IOMMU_HWPT_INVALIDATE_DATA_VTD_S1, whole)?;
    if it.flags & !IOMMU_VTD_INV_FLAGS_LEAF != 0 {
        return Err(unsupported("flags", it.flags));
    }
    if it.__reserved != 0 {
        return Err(unsupported("__reserved", it.__reserved));
    }
    if !it.addr.is_multiple_of(KIB4) {
        let rule = "must be on a 4 KiB border";
        return Err(Refusal::Invalid { field: "addr", value: it.addr, rule });
    }
    if it.npages == u64::MAX && it.addr != 0 {
        let rule = "must be 0 when everything is meant";
        return Err(Refusal::Invalid { field: "addr", value: it.addr, rule });
    }
    Ok(it)
}
