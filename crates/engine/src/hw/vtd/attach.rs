//! Which page tables a unit takes for a device or a PASID, and what that costs.

use profile::Quirk;
use profile::registers::vtd::*;
use uapi::iommufd::{IOMMU_VTD_S1_EAFE, IOMMU_VTD_S1_SRE};

use super::{Nested, Stage, Table, Vtd};
use crate::Refusal;
use crate::device::NO_PASID;
use crate::hw::{Attach, PciState, unfit};

impl Vtd {
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
    pub(super) fn enable_faults(&self, device: &PciState, attach: Attach) -> Result<(), Refusal> {
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
    pub(super) fn attach_paging(
        &self,
        state: &PciState,
        attach: Attach,
        table: Table,
    ) -> Result<(), Refusal> {
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
    pub(super) fn take_domain_id(&self, attach: Attach) -> Result<(), Refusal> {
        let from = attach.replaces.map(|old| old.number);
        match self.domain_ids.change(from, attach.number, attach.pasid == NO_PASID) {
            true => Ok(()),
            false => Err(Refusal::NoIdentifier { what: "domain ID of the unit (CAP.ND)" }),
        }
    }

    /// `intel_nested_attach_dev`, `intel_nested_set_dev_pasid`
    pub(super) fn attach_nested(
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
