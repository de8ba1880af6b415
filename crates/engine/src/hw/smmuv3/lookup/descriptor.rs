//! Context descriptors (SMMUv3 5.4): validity, and what they say.

use profile::registers::smmuv3::*;
use pt::format::{Granule, VmsaStage1};
use pt::{Format, Root};

use super::event::FaultModel;
use super::{Registers, address_bits, aligned, exceeds, granule};

/// A context descriptor as in memory, as far as it tells how to translate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContextDescriptor(pub [u64; 3]);

const V: u64 = 1 << 31;
const ENDI: u64 = 1 << 15;
const AFFD: u64 = 1 << 35;
const WXN: u64 = 1 << 36;
const PAN: u64 = 1 << 40;
const AA64: u64 = 1 << 41;
const HD: u64 = 1 << 42;
const HA: u64 = 1 << 43;
const S: u64 = 1 << 44;
const R: u64 = 1 << 45;
const A: u64 = 1 << 46;
const ASET: u64 = 1 << 47;
/// In the word of each half.
const HAD_X: u64 = 1 << 1;
const E0PD_X: u64 = 1 << 2;
/// In that of the lower one.
const HAFT: u64 = 1 << 3;
const TTB: u64 = 0x000f_ffff_ffff_fff0;

/// Where a half's fields are; TG0 and TG1 are spelled differently.
struct Fields {
    tsz: u32,
    epd: u64,
    tbi: u64,
    word: usize,
}

const LOWER: Fields = Fields { tsz: 0, epd: 1 << 14, tbi: 1 << 38, word: 1 };
const UPPER: Fields = Fields { tsz: 16, epd: 1 << 30, tbi: 1 << 39, word: 2 };

/// The tables of a domain of Linux's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PagingTables {
    pub t0sz: u8,
    /// 0: 4 KiB, 1: 64 KiB, 2: 16 KiB.
    pub tg0: u8,
    pub ips: u8,
    pub asid: u16,
    pub ttb0: u64,
    /// Written pages are recorded in entries.
    pub marks: bool,
    /// The device may stall.
    pub stalls: bool,
}

impl ContextDescriptor {
    /// `arm_smmu_make_s1_cd`
    pub fn paging(tables: PagingTables) -> Self {
        let PagingTables { t0sz, tg0, ips, asid, ttb0, marks, stalls } = tables;
        let marks = if marks { HA | HD } else { 0 };
        let stalls = if stalls { S } else { 0 };
        let sizes = u64::from(t0sz) | u64::from(tg0) << 6 | u64::from(ips) << 32;
        let flags = UPPER.epd | V | AA64 | R | A | ASET | marks | stalls;
        Self([sizes | flags | u64::from(asid) << 48, ttb0 & TTB, 0])
    }

    fn has(&self, bit: u64) -> bool {
        self.0[0] & bit != 0
    }

    fn asid(&self) -> u16 {
        (self.0[0] >> 48) as u16
    }

    /// What it says; nothing where it is invalid or ILLEGAL (`CdIllegal`).
    pub(super) fn decode(self, registers: Registers, stalls_disabled: bool) -> Option<FirstStage> {
        let is_off = |half: &Fields| self.has(half.epd);
        let model = registers.field(STALL_MODEL);
        // big-endian tables are as good as not supported
        let endianness = self.has(ENDI) && !(is_off(&LOWER) && is_off(&UPPER));
        let httu = registers.field(HTTU);
        let illegal = !self.has(V)
            || stalls_disabled && self.has(S)
            || registers.is_set(TERM_MODEL) && !self.has(A)
            || model == 1 && self.has(S)
            || model == 2 && !self.has(S)
            || endianness
            || !self.has(AA64)
            || self.has(HA | HD) && httu == 0
            || self.has(HD) && httu == 1
            || self.0[1] & HAFT != 0 && !self.has(HA) && httu == 3
            || !registers.is_set(ASID16) && self.asid() > 0xff;
        if illegal {
            return None;
        }
        Some(FirstStage {
            lower: self.half(registers, &LOWER)?,
            upper: self.half(registers, &UPPER)?,
            asid: self.asid(),
            model: FaultModel { aborts: self.has(A), records: self.has(R), stalls: self.has(S) },
        })
    }

    /// One half: `Some(None)` where it is off, which asks nothing of its other fields.
    fn half(self, registers: Registers, at: &Fields) -> Option<Option<Half>> {
        if self.has(at.epd) {
            return Some(None);
        }
        let word = self.0[at.word];
        let upper = at.word == UPPER.word;
        let tg = self.0[0] >> (at.tsz + 6);
        let granule = if upper { granule_of_tg1(tg) } else { granule(tg) }?;
        let tsz = self.0[0] >> at.tsz & 0x3f;
        let least = if granule == Granule::K64 && registers.is_set(VAX) { 12 } else { 16 };
        if !registers.has_granule(granule) || tsz < least || tsz > registers.largest_tsz(granule) {
            return None;
        }
        let ips = address_bits(self.0[0] >> 32).min(registers.output_bits());
        let address_bits = if granule == Granule::K64 { ips } else { ips.min(48) };
        if exceeds(word & TTB, address_bits) {
            return None;
        }
        let format = VmsaStage1 {
            granule,
            input_bits: 64 - tsz as u32,
            upper,
            top_byte_ignored: self.has(at.tbi),
            address_bits,
            marks: self.has(HA),
            marks_dirty: self.has(HA) && self.has(HD),
            unmarked_passes: self.has(AFFD),
            tables_grant_all: registers.is_set(HAD) && word & HAD_X != 0,
            write_or_execute: self.has(WXN),
            privileged_never: self.has(PAN),
        };
        let root = Root(aligned(word & TTB, format.index_bits(format.top()), address_bits));
        let unprivileged_never = registers.is_set(E0PD) && word & E0PD_X != 0;
        Some(Some(Half { format, root, unprivileged_never }))
    }
}

const fn granule_of_tg1(tg: u64) -> Option<Granule> {
    match tg & 3 {
        1 => Some(Granule::K16),
        2 => Some(Granule::K4),
        3 => Some(Granule::K64),
        _ => None,
    }
}

/// Stage 1 as a descriptor has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstStage {
    /// None where it is off (EPD0).
    pub lower: Option<Half>,
    /// None where it is off (EPD1).
    pub upper: Option<Half>,
    pub asid: u16,
    pub model: FaultModel,
}

/// Half of the addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Half {
    pub format: VmsaStage1,
    pub root: Root,
    /// E0PD
    pub unprivileged_never: bool,
}
