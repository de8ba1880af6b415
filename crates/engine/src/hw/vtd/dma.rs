//! What devices behind a unit reach, and what an invalidation makes the unit forget.

use std::ops::RangeInclusive;

use profile::Quirk;
use profile::registers::vtd::*;
use pt::Translation;
use uapi::iommufd::iommu_hwpt_vtd_s1_invalidate;

use super::lookup::{PasidEntry, Registers, SecondStage, reason};
use super::{Stage, Vtd};
use crate::dma::Programmed;
use crate::hw::request::Request;
use crate::hw::{Context, Denied, Leads, NestedView, Table, Users};
use crate::tables::{HostFormat, Reach, Tables};

/// Bits of a host physical address (`host address width` of the DMAR table).
const HOST_ADDRESS_BITS: u32 = 52;

/// CAP.SAGAW: tables of five levels.
const SAGAW_57: u64 = 1 << (SAGAW.low + 3);

impl Vtd {
    pub(super) fn registers(&self) -> Registers {
        // what a unit without scalable mode walks is a second stage, too
        let legacy = if self.scalable() { 0 } else { SSTS.mask() | SMPWCS.mask() };
        let ecap = self.unit.ecap | legacy;
        // where the driver makes tables of five levels for any unit, and cuts them to it when a device is
        // attached (prepare_domain_attach_device), they are walked from their top here: the upper levels
        // have one entry, and CAP.MGAW still ends the addresses
        let cut = if self.has(Quirk::VtdRealWidth) { 0 } else { SAGAW_57 | FS5LP.mask() };
        Registers { cap: self.unit.cap | cut, ecap, address_bits: HOST_ADDRESS_BITS }
    }

    /// The entry that the driver writes for what is attached (`drivers/iommu/intel/pasid.c`).
    pub(super) fn pasid_entry(&self, programmed: &Programmed) -> PasidEntry {
        let registers = self.registers();
        let (Some(tables), Some(Table::Vtd(table))) = (&programmed.host, programmed.table) else {
            return PasidEntry::BLOCKED;
        };
        let domain = programmed.domain as u16;
        let second = SecondStage {
            root: tables.root(),
            levels: levels(tables),
            tracks_dirty: tables.records(),
            snoops: table.force_snoop,
        };
        match (programmed.guest, table.stage) {
            (Some(NestedView::Vtd(nested)), _) => {
                PasidEntry::nested(registers, &nested.stage1, second, domain)
            }
            (_, Stage::Second) => PasidEntry::second_stage(registers, second, domain),
            (_, Stage::First) => {
                let (root, levels) = (second.root, second.levels);
                PasidEntry::first_stage(registers, root, levels, second.snoops, domain)
            }
        }
    }

    pub(super) fn walk(
        &self,
        context: &Context,
        request: &Request,
        memory: &Reach<'_>,
    ) -> Result<Translation, Denied> {
        let entry = match context.leads {
            Leads::Vtd(entry) => entry,
            _ => PasidEntry::BLOCKED,
        };
        entry.translate(self.registers(), *request, memory).map_err(|refused| Denied {
            code: self.code(refused.reason),
            recoverable: refused.recoverable,
            stalls: false,
            event: None,
        })
    }

    /// The reason of a fault, which a unit without scalable mode counts in its own way (VT-d 7.1.3).
    fn code(&self, code: u8) -> u32 {
        if self.scalable() {
            return code.into();
        }
        match code {
            reason::SECOND_INPUT_BEYOND => 0x4,
            reason::NO_WRITE => 0x5,
            reason::NO_READ | reason::SECOND_NOT_PRESENT => 0x6,
            reason::SECOND_RESERVED => 0xc,
            reason::PASID_NOT_PRESENT => 0x2,
            _ => 0x7,
        }
    }

    /// `cache_tag_flush_range`: the IOTLB by page, and the devices' own caches.
    pub(super) fn forget(&self, users: &Users, request: &iommu_hwpt_vtd_s1_invalidate) {
        let range = flushed(request.addr, request.npages);
        let leaf_only = request.flags & uapi::iommufd::IOMMU_VTD_INV_FLAGS_LEAF != 0;
        for requester in &users.requesters {
            requester.forget_domain(users.domain, range.as_ref(), leaf_only);
        }
    }
}

fn levels(tables: &Tables) -> u8 {
    match tables.format() {
        HostFormat::VtdSecondStage(format) => format.levels,
        HostFormat::X86_64(format) => format.levels,
        _ => 0,
    }
}

/// What is flushed for a range: the aligned power of two that covers it; none for everything
/// (`calculate_psi_aligned_address`, `drivers/iommu/intel/cache.c`).
fn flushed(start: u64, pages: u64) -> Option<RangeInclusive<u64>> {
    let last = start.wrapping_add(pages.wrapping_shl(12)).wrapping_sub(1);
    let differs = (start ^ last).checked_ilog2().map_or(0, |bit| bit + 1);
    let mask = 1u64.checked_shl(differs)?.wrapping_sub(1) | 0xfff;
    (mask != u64::MAX).then_some(start & !mask..=start | mask)
}
