//! What an SMMU can do, by its registers.

use profile::registers::smmuv3::*;
use profile::{Quirk, machine};
use pt::format::{Granule, VmsaStage1, VmsaStage2};
use uapi::iommufd::IOMMU_HWPT_ALLOC_NEST_PARENT;

use super::{Smmuv3, Stage};
use crate::physical;
use crate::tables::HostFormat;

/// Bits of virtual address of an arm64 kernel as it is usually built (`CONFIG_ARM64_VA_BITS`).
const KERNEL_VA_BITS: u32 = 48;

impl Smmuv3 {
    /// Whether the driver takes the SMMU (`arm_smmu_device_hw_probe`).
    pub(super) fn is_usable(&self) -> bool {
        let translates = self.is_set(S1P) || self.is_set(S2P);
        let format = self.field(TTF) & 2 != 0 && [0, 2].contains(&self.field(TTENDIAN));
        let embedded = [REL, QUEUES_PRESET, TABLES_PRESET].iter().any(|it| self.is_set(*it));
        // 64 commands and a sync must fit in the queue
        translates && format && !embedded && self.field(CMDQS) > 6
    }

    /// `ARM_SMMU_FEAT_NESTING`, which errata take away (`arm_smmu_device_iidr_probe`).
    pub(super) fn nests(&self) -> bool {
        const ARM: u32 = 0x43b;
        let (implementer, product) = (self.unit.iidr & 0xfff, self.unit.iidr >> 20);
        let (variant, revision) = ((self.unit.iidr >> 16) & 0xf, (self.unit.iidr >> 12) & 0xf);
        let broken = match product {
            _ if implementer != ARM => false,
            0x483 => variant < 2,
            0x487 => !self.has(Quirk::SmmuMmu700Nests) || variant < 1 || revision < 1,
            _ => false,
        };
        self.is_set(S1P) && self.is_set(S2P) && !broken
    }

    /// Whether a guest cannot make the SMMU bypass caches.
    pub(super) fn is_write_back(&self) -> bool {
        self.unit.canwbs || (self.has(Quirk::SmmuS2fwb) && self.is_set(FWB))
    }

    /// `arm_smmu_dbm_capable`
    pub(super) fn tracks_dirty(&self) -> bool {
        let updates = match self.field(HTTU) {
            2 => true,
            3 => self.has(Quirk::SmmuHttu3),
            _ => false,
        };
        self.has(Quirk::SmmuDirtyTracking) && updates && self.unit.coherent
    }

    pub(super) fn pasids(&self) -> u32 {
        1 << self.field(SSIDSIZE).min(20)
    }

    pub(super) fn has_ats(&self, device: &machine::Device) -> bool {
        self.is_set(ATS) && self.unit.root_complex_ats && device.ats
    }

    /// `master->stall_enabled`
    pub(super) fn stalls(&self, device: &machine::Device) -> bool {
        match self.field(STALL_MODEL) {
            0 => device.is_listed_to_stall(),
            2 => true,
            _ => false,
        }
    }

    /// Bits of output address.
    fn oas(&self) -> u32 {
        const WIDTHS: [u32; 8] = [32, 36, 40, 42, 44, 48, 52, 48];
        WIDTHS[self.field(OAS) as usize]
    }

    /// Page sizes as a bitmap; 0 when there is no granule (`arm_lpae_restrict_pgsizes`, for a
    /// kernel of 4 KiB pages).
    pub(super) fn page_sizes(&self) -> u64 {
        if self.is_set(GRAN4K) {
            return 1 << 12 | 1 << 21 | 1 << 30;
        }
        if self.is_set(GRAN16K) {
            return 1 << 14 | 1 << 25;
        }
        let huge = if self.oas() > 48 { 1 << 42 } else { 0 };
        if self.is_set(GRAN64K) { 1 << 16 | 1 << 29 | huge } else { 0 }
    }

    /// Bits of input address (`arm_smmu_domain_finalise`, `arm_lpae_alloc_pgtable`).
    pub(super) fn width(&self, stage: Stage) -> u32 {
        let only_64k = self.page_sizes().trailing_zeros() == 16;
        let limit = if only_64k { 52 } else { 48 };
        match stage {
            Stage::S1 => {
                let bits = if self.is_set(VAX) { 52 } else { 48 };
                bits.min(KERNEL_VA_BITS).min(limit)
            }
            Stage::S2 => {
                let aarch32 = self.field(TTF) == 3 && !self.has(Quirk::SmmuInputIsOas);
                let bits = if aarch32 { self.oas().max(40) } else { self.oas() };
                bits.min(limit)
            }
        }
    }

    /// The tables of a paging domain (`arm_64_lpae_alloc_pgtable_s1`, `_s2`).
    pub(super) fn format(&self, stage: Stage) -> HostFormat {
        let granule = match self.page_sizes().trailing_zeros() {
            14 => Granule::K16,
            16 => Granule::K64,
            _ => Granule::K4,
        };
        let (input_bits, address_bits) = (self.width(stage), physical::WIDTH.into());
        let (marks, marks_dirty) = (self.tracks_dirty(), self.tracks_dirty());
        match stage {
            Stage::S1 => HostFormat::Stage1(VmsaStage1 {
                marks,
                marks_dirty,
                ..VmsaStage1::lower(granule, input_bits, address_bits)
            }),
            Stage::S2 => {
                let page = granule.order();
                let levels = (input_bits - page).div_ceil(page - 3);
                // 16 tables side by side spare a level
                let spared = input_bits - page <= (page - 3) * (levels - 1) + 4;
                HostFormat::Stage2(VmsaStage2 {
                    granule,
                    input_bits,
                    top: (levels - 1 - u32::from(spared)) as u8,
                    address_bits,
                    marks,
                    marks_dirty,
                    unmarked_passes: false,
                })
            }
        }
    }

    /// `arm_smmu_domain_alloc_paging_flags`
    pub(super) fn stage_for(&self, flags: u32) -> Option<Stage> {
        let (first, second) = (self.is_set(S1P), self.is_set(S2P));
        match flags {
            0 if first => Some(Stage::S1),
            0 => second.then_some(Stage::S2),
            IOMMU_HWPT_ALLOC_NEST_PARENT => {
                (self.has(Quirk::SmmuNesting) && self.nests()).then_some(Stage::S2)
            }
            _ if flags & IOMMU_HWPT_ALLOC_NEST_PARENT != 0 => None,
            _ => first.then_some(Stage::S1),
        }
    }
}
