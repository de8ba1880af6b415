//! Intel VT-d (`drivers/iommu/intel`).
//!
//! | Linux's word | meaning |
//! |---|---|
//! | scalable mode | translation by PASID; what nesting, PASIDs and page requests need |
//! | first stage | tables as the CPU's, half of whose addresses are usable |
//! | second stage | tables of the host: nesting parents, dirty tracking |
//!
//! *What it doesn't do yet*: walk tables, cache.

use std::ops::RangeInclusive;

use profile::machine::{self, IntelVtd};
use profile::registers::vtd::*;
use profile::{Kernel, Quirk};
use uapi::iommufd::{
    IOMMU_HW_CAP_DIRTY_TRACKING, IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED, IOMMU_HW_CAP_PCI_PASID_EXEC,
    IOMMU_HW_CAP_PCI_PASID_PRIV, IOMMU_HW_INFO_TYPE_DEFAULT, IOMMU_HW_INFO_TYPE_INTEL_VTD,
    IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
    IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_ALLOC_PASID, IOMMU_HWPT_DATA_VTD_S1,
    IOMMU_HWPT_FAULT_ID_VALID, IOMMU_HWPT_INVALIDATE_DATA_VTD_S1, IOMMU_VTD_INV_FLAGS_LEAF,
    IOMMU_VTD_S1_EAFE, IOMMU_VTD_S1_SRE, iommu_hw_info_vtd, iommu_hwpt_vtd_s1,
    iommu_hwpt_vtd_s1_invalidate,
};
use zerocopy::IntoBytes;

use super::identifiers::InUse;
use super::{
    Attach, DeviceState, Domain, Handled, Hardware, HwInfo, Nested as AnyNested, NestedRequest,
    NestedView, PagingDomain, PagingRequest, PciState, Requests, Table as AnyTable, max_pasids,
    pci, pci_mut, reaches_driver, unfit, unsupported,
};
use crate::Refusal;
use crate::device::NO_PASID;
use crate::task::Task;

const PAGE_BITS: u32 = 12;
const KIB4: u64 = 1 << PAGE_BITS;
const MIB2: u64 = 1 << 21;
const GIB1: u64 = 1 << 30;

/// Where interrupt messages go; no IOVA (`intel_iommu_get_resv_regions`).
const MESSAGES: RangeInclusive<u64> = 0xfee0_0000..=0xfeef_ffff;

/// Domain IDs that the kernel keeps for itself.
const OWN_DOMAIN_IDS: usize = 2;

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
        // CAP.ND: 4, 6, .. 16 bits of domain ID
        let ids = (1_usize << (4 + 2 * ND.of(unit.cap).min(6))) - OWN_DOMAIN_IDS;
        let model = Self { unit, kernel, common_ecap, domain_ids: InUse::new(ids) };
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

    /// `sm_supported`
    fn scalable(&self) -> bool {
        self.unit.scalable_mode && SMTS.is_set(self.unit.ecap)
    }

    /// `nested_supported`
    fn nests(&self) -> bool {
        self.scalable() && NEST.is_set(self.unit.ecap)
    }

    /// `ssads_supported`
    fn tracks_dirty(&self) -> bool {
        let walks = SMPWCS.is_set(self.unit.ecap) || !self.has(Quirk::VtdDirtyNeedsSmpwc);
        self.scalable() && SSADS.is_set(self.unit.ecap) && walks
    }

    fn has_stage(&self, stage: Stage) -> bool {
        match stage {
            Stage::First => FSTS.is_set(self.unit.ecap),
            Stage::Second => SSTS.is_set(self.unit.ecap),
        }
    }

    /// `iommu_paging_structure_coherency`
    fn coherent(&self) -> bool {
        if self.scalable() { SMPWCS.is_set(self.unit.ecap) } else { C.is_set(self.unit.ecap) }
    }

    fn snoops(&self) -> bool {
        SC.is_set(self.unit.ecap)
    }

    /// How many PASIDs the unit has (`alloc_iommu`, `drivers/iommu/intel/dmar.c`).
    fn pasids(&self) -> u32 {
        let ecap = self.unit.ecap;
        if self.scalable() && PASID.is_set(ecap) { 2 << PSS.of(ecap) } else { 0 }
    }

    /// `info->ats_supported`
    fn has_ats(&self, device: &machine::Device) -> bool {
        DT.is_set(self.unit.ecap) && device.ats
    }

    /// `info->pri_supported`
    fn has_pri(&self, device: &machine::Device) -> bool {
        let ecap = self.unit.ecap;
        let drains = PDS.is_set(ecap) || !self.has(Quirk::VtdPriNeedsPds);
        self.scalable() && self.has_ats(device) && PRS.is_set(ecap) && drains && device.pri
    }

    /// The largest supported width of a second stage: 39, 48 or 57.
    fn adjusted_width(&self, set: u64) -> Option<u32> {
        let highest = [3, 2, 1].into_iter().find(|bit| set & (1 << bit) != 0)?;
        Some(30 + 9 * highest)
    }

    /// Bits of input address of a paging domain, 0 when none is usable.
    fn width(&self, stage: Stage) -> u32 {
        let cap = self.unit.cap;
        let (most, sagaw, five) = (MGAW.of(cap) as u32 + 1, SAGAW.of(cap), FS5LP.is_set(cap));
        if !self.has(Quirk::VtdRealWidth) {
            return 57;
        }
        if self.has(Quirk::VtdGenericPt) {
            // compute_vasz_lg2_fs, compute_vasz_lg2_ss
            return match stage {
                Stage::First if most > 48 && five => most.min(57),
                Stage::First => most.min(48),
                Stage::Second if most > 48 && sagaw >= 8 => most.min(57),
                Stage::Second if most > 39 && sagaw >= 4 => most.min(48),
                Stage::Second if most > 30 && sagaw >= 2 => most.min(39),
                Stage::Second => 0,
            };
        }
        // paging_domain_alloc: one width for both stages
        self.adjusted_width(self.usable_widths()).map_or(0, |width| width.min(most))
    }

    /// The widths that both stages have, as bits of CAP.SAGAW (`__iommu_calculate_sagaw`).
    fn usable_widths(&self) -> u64 {
        let (cap, ecap) = (self.unit.cap, self.unit.ecap);
        let first = 0b0100 | if FS5LP.is_set(cap) { 0b1000 } else { 0 };
        match (self.scalable() && FSTS.is_set(ecap), SSTS.is_set(ecap)) {
            (false, _) => SAGAW.of(cap),
            (true, false) => first,
            (true, true) => first & SAGAW.of(cap),
        }
    }

    fn page_sizes(&self, stage: Stage) -> u64 {
        let cap = self.unit.cap;
        match stage {
            Stage::First => KIB4 | MIB2 | if FS1GP.is_set(cap) { GIB1 } else { 0 },
            Stage::Second if self.has(Quirk::VtdGenericPt) => {
                let sizes = [(1, MIB2), (2, GIB1)];
                let has = |size: &&(u64, u64)| SSLPS.of(cap) & size.0 != 0;
                sizes.iter().filter(has).fold(KIB4, |all, (_, size)| all | size)
            }
            // the highest bit counted, and beyond the second nothing did
            Stage::Second => match SSLPS.of(cap) {
                1 => KIB4 | MIB2,
                2 | 3 => KIB4 | MIB2 | GIB1,
                _ => KIB4,
            },
        }
    }

    /// Which stage a paging domain gets, by its flags; none when the hardware has none for it.
    fn stage_for(&self, flags: u32) -> Option<Stage> {
        let parent = flags & IOMMU_HWPT_ALLOC_NEST_PARENT != 0;
        let dirty = flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING != 0;
        if (parent && !self.nests()) || (dirty && !self.tracks_dirty()) {
            return None;
        }
        if !self.scalable() {
            return Some(Stage::Second);
        }
        if !self.has(Quirk::VtdFirstStage) {
            // first_level_by_default: only where no second stage is, in any unit
            let only_first = FSTS.is_set(self.common_ecap) && !SSTS.is_set(self.common_ecap);
            return match only_first && !self.has(Quirk::VtdRealWidth) {
                true if parent || dirty => None,
                true => Some(Stage::First),
                false => Some(Stage::Second),
            };
        }
        if parent || dirty {
            return self.has_stage(Stage::Second).then_some(Stage::Second);
        }
        if self.has_stage(Stage::First) {
            return Some(Stage::First);
        }
        if self.has_stage(Stage::Second) {
            return Some(Stage::Second);
        }
        // neither: a domain was made all the same, which nothing could attach to
        (!self.has(Quirk::VtdStageSplit)).then_some(Stage::First)
    }

    /// Whether a paging domain made for another unit, or another device, fits this unit
    /// (`paging_domain_compatible`, before 6.13 `prepare_domain_attach_device`).
    fn compatible(&self, table: Table) -> Result<(), Refusal> {
        let split = self.has(Quirk::VtdStageSplit);
        let generic = self.has(Quirk::VtdGenericPt);
        let first = table.stage == Stage::First;
        if table.force_snoop && !self.snoops() && !(generic && first) {
            return Err(unfit("it forces snooping, which the unit cannot (ECAP.SC)"));
        }
        if table.dirty && !self.tracks_dirty() {
            return Err(unfit("it tracks dirty pages, which the unit cannot (ECAP.SSADS)"));
        }
        if split && table.nest_parent && !self.nests() {
            return Err(unfit("it is a nesting parent, which the unit cannot use (ECAP.NEST)"));
        }
        if self.has(Quirk::VtdFirstStage) {
            let coherent = table.coherent == self.coherent() || (generic && !table.coherent);
            if !coherent {
                return Err(unfit(
                    "its table is coherent and the unit's walks are not, or inversely",
                ));
            }
            if first && !(self.scalable() && self.has_stage(Stage::First)) {
                return Err(unfit("it is a first stage, which the unit has not (ECAP.FSTS)"));
            }
            let own = self.page_sizes(table.stage);
            let sizes = if split { table.page_sizes & !own == 0 } else { table.page_sizes == own };
            if !sizes {
                return Err(unfit("the unit has other page sizes"));
            }
            if table.width > self.width(table.stage) {
                return Err(unfit("it is wider than the unit"));
            }
        }
        let narrow = table.width > self.width(table.stage);
        if narrow && self.has(Quirk::VtdRealWidth) && !self.has(Quirk::VtdFirstStage) {
            return Err(unfit("it is wider than the unit"));
        }
        if table.stage == Stage::Second && self.scalable() && !self.has_stage(Stage::Second) {
            return Err(unfit("it is a second stage, which the unit has not (ECAP.SSTS)"));
        }
        if first && table.width > 48 && !FS5LP.is_set(self.unit.cap) {
            return Err(unfit("it has five levels, which the unit has not (CAP.FS5LP)"));
        }
        Ok(())
    }

    /// Lets the device's page requests come to a queue (`iopf_for_domain_set`; up to 6.15
    /// `iommufd_fault_iopf_enable`).
    fn enable_faults(&self, device: &PciState, attach: Attach) -> Result<(), Refusal> {
        if !attach.begins_to_fault() || device.faulting > 0 {
            return Ok(());
        }
        if !self.has_pri(&device.facts) {
            return Err(Refusal::NoDevice { what: "the device cannot ask for pages (ATS, PRI)" });
        }
        if self.has(Quirk::VtdFaultsNeedAtsOn) && !device.ats_on {
            let what = "ATS is off, which only an attachment to a paging hwpt turns on";
            return Err(Refusal::NoDevice { what });
        }
        Ok(())
    }

    /// `intel_iommu_attach_device`, `intel_iommu_set_dev_pasid`
    fn attach_paging(&self, state: &PciState, attach: Attach, table: Table) -> Result<(), Refusal> {
        if attach.pasid != NO_PASID && table.dirty && !self.has(Quirk::VtdPasidDirty) {
            return Err(unfit("a PASID cannot be attached to one that tracks dirty pages"));
        }
        self.compatible(table)?;
        if self.has(Quirk::IopfByDriver) {
            self.enable_faults(state, attach)?;
        }
        self.take_domain_id(attach)
    }

    /// `domain_attach_iommu`. A device gives up its domain before it gets another, a PASID after.
    fn take_domain_id(&self, attach: Attach) -> Result<(), Refusal> {
        let from = attach.replaces.map(|old| old.number);
        match self.domain_ids.change(from, attach.number, attach.pasid == NO_PASID) {
            true => Ok(()),
            false => Err(Refusal::NoIdentifier { what: "domain ID of the unit (CAP.ND)" }),
        }
    }

    /// `intel_nested_attach_dev`, `intel_nested_set_dev_pasid`
    fn attach_nested(
        &self,
        state: &PciState,
        attach: Attach,
        nested: Nested,
    ) -> Result<(), Refusal> {
        let narrow = self.adjusted_width(self.usable_widths()) < Some(nested.parent.width);
        if narrow && attach.pasid == NO_PASID && !self.has(Quirk::VtdGenericPt) {
            return Err(Refusal::NoDevice { what: "the unit is narrower than the nesting parent" });
        }
        self.compatible(nested.parent)?;
        if self.has(Quirk::IopfByDriver) {
            self.enable_faults(state, attach)?;
        }
        let (cap, ecap) = (self.unit.cap, self.unit.ecap);
        match nested.stage1.addr_width {
            48 => {}
            57 if FS5LP.is_set(cap) => {}
            57 => return Err(unfit("addr_width 57 needs five levels (CAP.FS5LP)")),
            _ => return Err(unfit("addr_width is neither 48 nor 57")),
        }
        if nested.stage1.flags & IOMMU_VTD_S1_SRE != 0 && !SRS.is_set(ecap) {
            return Err(unfit("the unit takes no supervisor requests (ECAP.SRS)"));
        }
        if nested.stage1.flags & IOMMU_VTD_S1_EAFE != 0 && !EAFS.is_set(ecap) {
            return Err(unfit("the unit has no extended accessed flag (ECAP.EAFS)"));
        }
        self.take_domain_id(attach)
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
        let flags = request.flags;
        if flags & !FLAGS != 0 {
            return Err(unsupported("flags", flags));
        }
        if let Some(data) = request.data {
            return Err(unsupported("data_type", data.kind));
        }
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
        requests: Requests,
    ) -> Handled {
        if requests.kind != IOMMU_HWPT_INVALIDATE_DATA_VTD_S1 {
            return (0, Err(requests.wrong_kind()));
        }
        for index in 0..requests.count {
            if let Err(refusal) = check_invalidation(task, requests, index) {
                return (index, Err(refusal));
            }
        }
        (requests.count, Ok(()))
    }
}

fn check_invalidation(task: &Task<'_>, requests: Requests, index: u32) -> Result<(), Refusal> {
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
    Ok(())
}
