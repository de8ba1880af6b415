//! The PASID entry: how Linux fills it (`drivers/iommu/intel/pasid.c`), and what makes it invalid (VT-d
//! 9.6).

use profile::registers::Field;
use profile::registers::vtd::*;
use pt::Rights;
use uapi::iommufd::{IOMMU_VTD_S1_EAFE, IOMMU_VTD_S1_SRE, IOMMU_VTD_S1_WPE, iommu_hwpt_vtd_s1};

use super::{Registers, entry, low_bits, page, reason};
use crate::hw::request::Request;

/// An entry of a PASID table, as in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PasidEntry(pub [u64; 8]);

/// The table of a second stage, for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SecondStage {
    /// Where its root is.
    pub root: u64,
    /// Levels: 3, 4 or 5.
    pub levels: u8,
    /// Whether written pages are recorded.
    pub tracks_dirty: bool,
    /// Whether it makes all accesses snoop.
    pub snoops: bool,
}

/// What an entry does with addresses (PGTT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    First,
    Second,
    Nested,
    PassThrough,
}

/// Bits of the first word: address width, PGTT, second stage.
pub(super) mod head {
    pub const WIDTH: u32 = 2;
    pub const KIND: u32 = 6;
    pub const FIRST: u64 = 1 << KIND;
    pub const SECOND: u64 = 2 << KIND;
    pub const NESTED: u64 = 3 << KIND;
    pub const PASS_THROUGH: u64 = 4 << KIND;
    /// SSADE
    pub const MARKS: u64 = 1 << 9;
    pub const RESERVED: u64 = 0xc20;
}

/// Bits of the second word: domain, snooping.
mod domain {
    /// PWSNP
    pub const WALKS_SNOOP: u64 = 1 << 23;
    /// PGSNP
    pub const PAGES_SNOOP: u64 = 1 << 24;
    pub const RESERVED: u64 = !(0xffff | WALKS_SNOOP | PAGES_SNOOP);
}

/// Bits of the third word: first stage. Bits 6:5 are ignored.
mod first {
    pub const SUPERVISOR: u64 = 1;
    pub const EXECUTE: u64 = 1 << 1;
    /// FSPM
    pub const LEVELS: u32 = 2;
    pub const WRITE_PROTECT: u64 = 1 << 4;
    pub const EXTENDED_ACCESSED: u64 = 1 << 7;
    pub const RESERVED: u64 = 0xf00;
}

impl PasidEntry {
    /// What lets nothing through.
    pub const BLOCKED: Self = Self([0; 8]);

    /// A first stage over host memory (`pasid_pte_config_first_level`).
    pub fn first_stage(
        registers: Registers,
        root: u64,
        levels: u8,
        snoops: bool,
        domain: u16,
    ) -> Self {
        let mut words = common(registers, widest(registers), head::FIRST, domain);
        words[1] |= if snoops { domain::PAGES_SNOOP } else { 0 };
        words[2] = page(root) | u64::from(levels == 5) << first::LEVELS;
        Self(words)
    }

    /// A second stage (`pasid_pte_config_second_level`).
    pub fn second_stage(registers: Registers, second: SecondStage, domain: u16) -> Self {
        Self(with_second(registers, second, head::SECOND, domain))
    }

    /// A guest's first stage over a second one (`pasid_pte_config_nestd`): of a program's struct,
    /// `addr_width` was checked before.
    pub fn nested(
        registers: Registers,
        guest: &iommu_hwpt_vtd_s1,
        second: SecondStage,
        domain: u16,
    ) -> Self {
        let mut words = with_second(registers, second, head::NESTED, domain);
        words[1] |= if second.snoops { domain::PAGES_SNOOP } else { 0 };
        let has = |flag: u64| guest.flags & flag != 0;
        words[2] = page(guest.pgtbl_addr);
        words[2] |= u64::from(guest.addr_width == 57) << first::LEVELS;
        if has(IOMMU_VTD_S1_SRE) {
            words[2] |= first::SUPERVISOR;
            words[2] |= if has(IOMMU_VTD_S1_WPE) { first::WRITE_PROTECT } else { 0 };
        }
        words[2] |= if has(IOMMU_VTD_S1_EAFE) { first::EXTENDED_ACCESSED } else { 0 };
        Self(words)
    }

    /// Whether its own FPD hides a fault: what was found once it was there, and well formed.
    pub(super) fn hides(&self, found: u8) -> bool {
        let before = [reason::PASID_NOT_PRESENT, reason::PASID_RESERVED].contains(&found);
        self.0[0] & entry::FAULT_PROCESSING_DISABLE != 0 && !before
    }

    /// What it does with addresses, if it is valid in a unit, and lets requests of the kind through.
    pub(super) fn check(&self, registers: Registers, request: Request) -> Result<Kind, u8> {
        if self.0[0] & entry::PRESENT == 0 {
            return Err(reason::PASID_NOT_PRESENT);
        }
        let reserved = reserved(registers);
        if self.0.iter().zip(reserved).any(|(word, bits)| word & bits != 0) {
            return Err(reason::PASID_RESERVED);
        }
        let kind = self.kind(registers).ok_or(reason::PASID_INVALID)?;
        if request.pasid.is_some() {
            let execute = request.access.rights.contains(Rights::EXECUTE);
            if execute && !self.lets_execute() {
                return Err(reason::EXECUTE_DISABLED);
            }
            if request.access.privileged && !self.lets_supervisors() {
                return Err(reason::SUPERVISOR_DISABLED);
            }
        }
        Ok(kind)
    }

    /// None where the unit has no such translation, or not so many levels.
    fn kind(&self, registers: Registers) -> Option<Kind> {
        let Registers { cap, ecap, .. } = registers;
        // 39, 48 and 57 bits have the same numbers here and in SAGAW
        let width = self.0[0] >> head::WIDTH & 7;
        let second = SAGAW.of(cap) & 0b1110 & 1 << width != 0;
        let first = match self.0[2] >> first::LEVELS & 3 {
            0 => true,
            1 => FS5LP.is_set(cap),
            _ => false,
        };
        let (kind, valid) = match self.0[0] & 7 << head::KIND {
            head::FIRST => (Kind::First, FSTS.is_set(ecap) && first),
            head::SECOND => (Kind::Second, SSTS.is_set(ecap) && second),
            head::NESTED => (Kind::Nested, NEST.is_set(ecap) && first && second),
            head::PASS_THROUGH => (Kind::PassThrough, PT.is_set(ecap)),
            _ => return None,
        };
        valid.then_some(kind)
    }

    pub(super) fn first_root(&self) -> u64 {
        page(self.0[2])
    }

    pub(super) fn first_levels(&self) -> u8 {
        4 + (self.0[2] >> first::LEVELS & 3) as u8
    }

    pub(super) fn second_root(&self) -> u64 {
        page(self.0[0])
    }

    pub(super) fn second_levels(&self) -> u8 {
        2 + (self.0[0] >> head::WIDTH & 7) as u8
    }

    /// Whether the second stage is marked.
    pub(super) fn second_marks(&self) -> bool {
        self.0[0] & head::MARKS != 0
    }

    /// Whether tables are accessed coherently, so that they can be marked.
    pub(super) fn walks_snoop(&self) -> bool {
        self.0[1] & domain::WALKS_SNOOP != 0
    }

    pub(super) fn lets_supervisors(&self) -> bool {
        self.0[2] & first::SUPERVISOR != 0
    }

    pub(super) fn lets_execute(&self) -> bool {
        self.0[2] & first::EXECUTE != 0
    }

    pub(super) fn protects_from_supervisors(&self) -> bool {
        self.0[2] & first::WRITE_PROTECT != 0
    }

    pub(super) fn marks_extended(&self) -> bool {
        self.0[2] & first::EXTENDED_ACCESSED != 0
    }
}

/// What all entries have: address width, domain, snooping of walks.
pub(super) fn common(registers: Registers, width: u64, kind: u64, domain: u16) -> [u64; 8] {
    let snoops = if SMPWCS.is_set(registers.ecap) { domain::WALKS_SNOOP } else { 0 };
    let head = entry::PRESENT | width << head::WIDTH | kind;
    [head, u64::from(domain) | snoops, 0, 0, 0, 0, 0, 0]
}

fn with_second(registers: Registers, second: SecondStage, kind: u64, domain: u16) -> [u64; 8] {
    let mut words = common(registers, u64::from(second.levels - 2), kind, domain);
    words[0] |= page(second.root) | if second.tracks_dirty { head::MARKS } else { 0 };
    words
}

/// The widest second stage that a unit has, as in an entry (`iommu->agaw`).
pub(super) fn widest(registers: Registers) -> u64 {
    (SAGAW.of(registers.cap) & 0b1110).checked_ilog2().unwrap_or(0).into()
}

/// Bits that entries must not have, in a unit.
fn reserved(registers: Registers) -> [u64; 8] {
    let beyond = !low_bits(registers.address_bits);
    let lacks = |field: Field, bits| if field.is_set(registers.ecap) { 0 } else { bits };
    let head = head::RESERVED | beyond | lacks(SSADS, head::MARKS);
    let snoop = lacks(SMPWCS, domain::WALKS_SNOOP) | lacks(SC, domain::PAGES_SNOOP);
    let first = first::RESERVED
        | beyond
        | lacks(SRS, first::SUPERVISOR | first::WRITE_PROTECT)
        | lacks(ERS, first::EXECUTE)
        | lacks(EAFS, first::EXTENDED_ACCESSED);
    let all = u64::MAX;
    [head, domain::RESERVED | snoop, first, all, all, all, all, all]
}
