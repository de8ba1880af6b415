//! What a unit can do, by its registers.

use profile::registers::vtd::*;
use profile::{Quirk, machine};
use pt::format::{VtdSecondStage, X86_64};
use uapi::iommufd::{IOMMU_HWPT_ALLOC_DIRTY_TRACKING, IOMMU_HWPT_ALLOC_NEST_PARENT};

use super::{KIB4, PAGE_BITS, Stage, Vtd};
use crate::physical;
use crate::tables::HostFormat;

const MIB2: u64 = 1 << 21;
const GIB1: u64 = 1 << 30;

impl Vtd {
    /// `sm_supported`
    pub(super) fn scalable(&self) -> bool {
        self.unit.scalable_mode && SMTS.is_set(self.unit.ecap)
    }

    /// `nested_supported`
    pub(super) fn nests(&self) -> bool {
        self.scalable() && NEST.is_set(self.unit.ecap)
    }

    /// `ssads_supported`
    pub(super) fn tracks_dirty(&self) -> bool {
        let walks = SMPWCS.is_set(self.unit.ecap) || !self.has(Quirk::VtdDirtyNeedsSmpwc);
        self.scalable() && SSADS.is_set(self.unit.ecap) && walks
    }

    pub(super) fn has_stage(&self, stage: Stage) -> bool {
        match stage {
            Stage::First => FSTS.is_set(self.unit.ecap),
            Stage::Second => SSTS.is_set(self.unit.ecap),
        }
    }

    /// `iommu_paging_structure_coherency`
    pub(super) fn coherent(&self) -> bool {
        if self.scalable() { SMPWCS.is_set(self.unit.ecap) } else { C.is_set(self.unit.ecap) }
    }

    pub(super) fn snoops(&self) -> bool {
        SC.is_set(self.unit.ecap)
    }

    /// How many PASIDs the unit has (`alloc_iommu`, `drivers/iommu/intel/dmar.c`).
    pub(super) fn pasids(&self) -> u32 {
        let ecap = self.unit.ecap;
        if self.scalable() && PASID.is_set(ecap) { 2 << PSS.of(ecap) } else { 0 }
    }

    /// `info->ats_supported`
    pub(super) fn has_ats(&self, device: &machine::Device) -> bool {
        DT.is_set(self.unit.ecap) && device.ats
    }

    /// `info->pri_supported`
    pub(super) fn has_pri(&self, device: &machine::Device) -> bool {
        let ecap = self.unit.ecap;
        let drains = PDS.is_set(ecap) || !self.has(Quirk::VtdPriNeedsPds);
        self.scalable() && self.has_ats(device) && PRS.is_set(ecap) && drains && device.pri
    }

    /// The largest supported width of a second stage: 39, 48 or 57.
    pub(super) fn adjusted_width(&self, set: u64) -> Option<u32> {
        let highest = [3, 2, 1].into_iter().find(|bit| set & (1 << bit) != 0)?;
        Some(30 + 9 * highest)
    }

    /// Bits of input address of a paging domain, 0 when none is usable.
    pub(super) fn width(&self, stage: Stage) -> u32 {
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
    pub(super) fn usable_widths(&self) -> u64 {
        let (cap, ecap) = (self.unit.cap, self.unit.ecap);
        let first = 0b0100 | if FS5LP.is_set(cap) { 0b1000 } else { 0 };
        match (self.scalable() && FSTS.is_set(ecap), SSTS.is_set(ecap)) {
            (false, _) => SAGAW.of(cap),
            (true, false) => first,
            (true, true) => first & SAGAW.of(cap),
        }
    }

    pub(super) fn page_sizes(&self, stage: Stage) -> u64 {
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

    /// The tables of a paging domain.
    pub(super) fn format(&self, stage: Stage, width: u32) -> HostFormat {
        let address_bits = physical::WIDTH.into();
        match stage {
            Stage::First => HostFormat::X86_64(X86_64 {
                levels: if width > 48 { 5 } else { 4 },
                address_bits,
                gigabyte_pages: FS1GP.is_set(self.unit.cap),
                write_protect: false,
                extended_accessed: false,
            }),
            Stage::Second => HostFormat::VtdSecondStage(VtdSecondStage {
                levels: (width - PAGE_BITS).div_ceil(9) as u8,
                input_bits: width,
                address_bits,
                largest: ((self.page_sizes(stage).ilog2() - PAGE_BITS) / 9) as u8,
                snoop: self.snoops(),
                marks: false,
            }),
        }
    }

    /// Which stage a paging domain gets, by its flags; none when the hardware has none for it.
    pub(super) fn stage_for(&self, flags: u32) -> Option<Stage> {
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
}
