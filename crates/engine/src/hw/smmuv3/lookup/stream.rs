//! Stream table entries (SMMUv3 5.2): as Linux makes them, their validity, the way to a descriptor.

use profile::registers::smmuv3::*;
use pt::format::{Granule, VmsaStage2};
use pt::{Format, Root, TableMemory};

use super::context::{Context, Stage2};
use super::descriptor::ContextDescriptor;
use super::event::{Class, Event, FaultModel, Kind};
use super::{Registers, address_bits, aligned, exceeds, granule};
use crate::hw::request::Request;
use crate::hw::stages::{NoMemory, Physical};

/// A stream table entry, as in memory: the first half, in which all is that decides a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamEntry(pub [u64; 4]);

/// A table of context descriptors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContextTable {
    pub address: u64,
    /// 0: linear, 1: in two levels of which the last has 4 KiB, 2: 64 KiB.
    pub format: u8,
    /// log2 of how many there are (S1CDMax).
    pub log2_count: u8,
}

/// What requests without a substream come to where there are substreams (S1DSS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultSubstream {
    /// They are refused.
    Terminate = 0,
    /// Stage 1 bypasses.
    Bypass = 1,
    /// They use the descriptor of substream 0, and requests with it none.
    Substream0 = 2,
}

impl DefaultSubstream {
    fn of(word: u64) -> Self {
        match word & S1DSS {
            1 => Self::Bypass,
            2 => Self::Substream0,
            _ => Self::Terminate,
        }
    }
}

/// A stage 2 of Linux's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecondStage {
    pub t0sz: u8,
    pub sl0: u8,
    /// 0: 4 KiB, 1: 64 KiB, 2: 16 KiB.
    pub tg: u8,
    pub ps: u8,
    pub vmid: u16,
    pub ttb: u64,
    /// The device may stall.
    pub stalls: bool,
}

const V: u64 = 1;
const CONFIG: u64 = 7 << 1;
const CONTEXT_POINTER: u64 = 0x000f_ffff_ffff_ffc0;

const S1DSS: u64 = 3;
const MEV: u64 = 1 << 19;
const S1STALLD: u64 = 1 << 27;
const EATS: u64 = 3 << 28;
const EATS_TRANSLATES: u64 = 1 << 28;
const EATS_SPLITS: u64 = 2 << 28;

const S2AA64: u64 = 1 << 51;
const S2ENDI: u64 = 1 << 52;
const S2AFFD: u64 = 1 << 53;
const S2PTW: u64 = 1 << 54;
const S2HD: u64 = 1 << 55;
const S2HA: u64 = 1 << 56;
const S2S: u64 = 1 << 57;
const S2R: u64 = 1 << 58;
const S2TTB: u64 = 0x000f_ffff_ffff_fff0;

/// Values of `Config`.
mod config {
    pub const ABORT: u64 = 0;
    pub const BYPASS: u64 = 4;
    pub const STAGE_1: u64 = 5;
    pub const STAGE_2: u64 = 6;
    pub const NESTED: u64 = 7;
}

impl StreamEntry {
    /// `arm_smmu_make_abort_ste`
    pub const fn abort() -> Self {
        Self([V | config::ABORT << 1, 0, 0, 0])
    }

    /// `arm_smmu_make_cdtable_ste`: the host's own descriptors.
    pub fn stage1(
        registers: Registers,
        table: ContextTable,
        default: DefaultSubstream,
        stalls: bool,
        ats: bool,
    ) -> Self {
        let ContextTable { address, format, log2_count } = table;
        let stalls_disabled = registers.field(STALL_MODEL) == 0 && !stalls;
        let word0 = V
            | config::STAGE_1 << 1
            | u64::from(format) << 4
            | address & CONTEXT_POINTER
            | u64::from(log2_count) << 59;
        let flags = if stalls_disabled { S1STALLD } else { 0 } | eats(ats);
        Self([word0, default as u64 | flags, 0, 0])
    }

    /// `arm_smmu_make_s2_domain_ste`
    pub fn stage2(second: SecondStage, ats: bool) -> Self {
        let SecondStage { t0sz, sl0, tg, ps, vmid, ttb, stalls } = second;
        let vtcr =
            u64::from(t0sz) | u64::from(sl0) << 6 | u64::from(tg) << 14 | u64::from(ps) << 16;
        let flags = S2AA64 | S2PTW | S2R | if stalls { S2S } else { 0 };
        let word2 = u64::from(vmid) | vtcr << 32 | flags;
        Self([V | config::STAGE_2 << 1, eats(ats), word2, ttb & S2TTB])
    }

    /// `arm_smmu_make_nested_domain_ste`: a guest's entry over the parent's stage 2.
    pub fn nested(guest: [u64; 2], second: SecondStage, ats: bool) -> Self {
        let parent = Self::stage2(second, ats);
        match (guest[0] & V, (guest[0] & CONFIG) >> 1) {
            (V, config::STAGE_1) => {
                let word0 = V | config::NESTED << 1 | guest[0] & !CONFIG;
                // whether ATS is on is the host's to say
                let word1 = parent.0[1] | guest[1] & !EATS | MEV;
                Self([word0, word1, parent.0[2], parent.0[3]])
            }
            (V, config::BYPASS) => parent,
            _ => Self::abort(),
        }
    }

    fn config(&self) -> u64 {
        (self.0[0] & CONFIG) >> 1
    }

    fn has_first_stage(&self) -> bool {
        self.config() & 5 == 5
    }

    fn has_second_stage(&self) -> bool {
        self.config() & 6 == 6
    }

    /// log2 of the descriptors; 0 where there are no substreams.
    fn log2_count(&self, registers: Registers) -> u32 {
        if registers.is_set(SSIDSIZE) { (self.0[0] >> 59) as u32 } else { 0 }
    }

    /// log2 of the descriptors that a table of the last level has; none where there is one table.
    fn split(&self) -> Option<u32> {
        match self.0[0] >> 4 & 3 {
            1 => Some(6),
            2 => Some(10),
            // the reserved value behaves as 0
            _ => None,
        }
    }

    /// By what the translations of a guest are told apart.
    pub fn vmid(&self) -> u16 {
        self.0[2] as u16
    }

    /// Whether it is valid, and not ILLEGAL (`SteIllegal`).
    fn is_valid(&self, registers: Registers) -> bool {
        let [word0, word1, ..] = self.0;
        if word0 & V == 0 {
            return false;
        }
        if self.config() & 4 == 0 {
            return true;
        }
        let stalls = self.has_second_stage() && self.0[2] & S2S != 0;
        let splits = word1 & EATS == EATS_SPLITS;
        let asks = registers.is_set(ATS) && self.config() != config::BYPASS;
        let illegal_ats = asks
            && (splits && (self.config() != config::NESTED || stalls)
                || word1 & EATS == EATS_TRANSLATES && stalls);
        !illegal_ats
            && (!self.has_first_stage() || self.is_first_stage_valid(registers))
            && (!self.has_second_stage() || self.second_stage(registers).is_some())
    }

    fn is_first_stage_valid(&self, registers: Registers) -> bool {
        let count = self.log2_count(registers);
        let two_levels = count > 0 && self.split().is_some();
        registers.is_set(S1P)
            && (self.0[1] & S1STALLD == 0 || registers.field(STALL_MODEL) == 0)
            && u64::from(count) <= registers.field(SSIDSIZE)
            && (!two_levels || registers.is_set(CD2L))
            && !exceeds(self.0[0] & CONTEXT_POINTER, self.bits_after_first(registers))
    }

    /// Bits of the addresses that come out of stage 1 or bypass it, and of descriptors.
    fn bits_after_first(&self, registers: Registers) -> u32 {
        match self.has_second_stage() {
            true => registers.intermediate_bits(),
            false => registers.output_bits(),
        }
    }

    /// Stage 2 of a valid entry; none where it bypasses.
    fn second(&self, registers: Registers) -> Option<Stage2> {
        if self.has_second_stage() { self.second_stage(registers) } else { None }
    }

    /// Stage 2; nothing where it is ILLEGAL.
    fn second_stage(&self, registers: Registers) -> Option<Stage2> {
        let [.., word2, word3] = self.0;
        let has = |bit: u64| word2 & bit != 0;
        let granule = granule(word2 >> 46)?;
        let (model, httu) = (registers.field(STALL_MODEL), registers.field(HTTU));
        let illegal = !registers.is_set(S2P)
            || model == 1 && has(S2S)
            || model == 2 && !has(S2S)
            || !has(S2AA64)
            || has(S2ENDI)
            || has(S2HA | S2HD) && httu == 0
            || has(S2HD) && httu == 1
            || !registers.has_granule(granule)
            || !registers.is_set(VMID16) && self.vmid() > 0xff;
        if illegal {
            return None;
        }
        let limit = if granule == Granule::K64 { 52 } else { 48 };
        let address_bits = address_bits(word2 >> 48).min(registers.output_bits()).min(limit);
        let t0sz = word2 >> 32 & 0x3f;
        let input_bits = 64 - t0sz as u32;
        let widest = registers.intermediate_bits().min(limit);
        if input_bits > widest || t0sz > registers.largest_tsz(granule) {
            return None;
        }
        let format = VmsaStage2 {
            granule,
            input_bits,
            top: top(registers, granule, word2 >> 38 & 3, input_bits)?,
            address_bits,
            marks: has(S2HA),
            marks_dirty: has(S2HA) && has(S2HD),
            unmarked_passes: has(S2AFFD),
        };
        let ttb = word3 & S2TTB;
        if exceeds(ttb, address_bits) {
            return None;
        }
        Some(Stage2 {
            format,
            root: Root(aligned(ttb, format.index_bits(format.top), address_bits)),
            model: FaultModel { aborts: true, records: has(S2R), stalls: has(S2S) },
        })
    }

    /// Which context descriptor a request uses, none where stage 1 bypasses; or why it is refused before
    /// one is looked at.
    fn substream(&self, registers: Registers, request: Request) -> Result<Option<u32>, Event> {
        let refused = |kind| Err(Event::new(kind, request));
        if !self.is_valid(registers) {
            return refused(Kind::BadEntry);
        }
        if self.config() & 4 == 0 {
            return refused(Kind::Off);
        }
        let serves = self.config() != config::BYPASS && self.0[1] & EATS != 0;
        if request.translation_only && !serves {
            return refused(Kind::BadTranslationRequest);
        }
        if !self.has_first_stage() {
            return request.pasid.map_or(Ok(None), |_| refused(Kind::BadSubstream));
        }
        let default = DefaultSubstream::of(self.0[1]);
        match (request.pasid, self.log2_count(registers)) {
            (None, 0) => Ok(Some(0)),
            (Some(ssid), count) if count == 0 || ssid >> count != 0 => refused(Kind::BadSubstream),
            (Some(0), _) if default == DefaultSubstream::Substream0 => {
                refused(Kind::StreamDisabled)
            }
            (Some(ssid), _) => Ok(Some(ssid)),
            (None, _) => match default {
                DefaultSubstream::Terminate => refused(Kind::StreamDisabled),
                DefaultSubstream::Bypass => Ok(None),
                DefaultSubstream::Substream0 => Ok(Some(0)),
            },
        }
    }

    /// What a request is translated by: finds and reads its context descriptor.
    pub fn context<M: TableMemory>(
        &self,
        registers: Registers,
        request: Request,
        memory: &M,
    ) -> Result<Context, Event> {
        let memory = Physical(memory);
        let second = self.second(registers);
        self.context_with(registers, request, |substream| match second {
            None => self.fetch(registers, request, substream, &memory, |NoMemory(address)| {
                Event::fetch(Kind::DescriptorFetch, request, Class::Descriptor, address)
            }),
            Some(second) => {
                self.fetch(registers, request, substream, &second.before(&memory), |fault| {
                    second.event(request, Class::Descriptor, fault)
                })
            }
        })
    }

    /// What a request is translated by, where the descriptor of a substream is had otherwise than from a
    /// table in memory.
    pub fn context_with(
        &self,
        registers: Registers,
        request: Request,
        descriptor: impl FnOnce(u32) -> Result<ContextDescriptor, Event>,
    ) -> Result<Context, Event> {
        let substream = self.substream(registers, request)?;
        let stalls_disabled = self.0[1] & S1STALLD != 0;
        let first = substream.map(|substream| {
            let first = descriptor(substream)?.decode(registers, stalls_disabled);
            first.ok_or_else(|| Event::new(Kind::BadDescriptor, request))
        });
        Ok(Context {
            first: first.transpose()?,
            second: self.second(registers),
            bypass_bits: self.bits_after_first(registers),
        })
    }

    fn fetch<T: TableMemory>(
        &self,
        registers: Registers,
        request: Request,
        substream: u32,
        memory: &T,
        unreachable: impl Fn(T::Error) -> Event,
    ) -> Result<ContextDescriptor, Event> {
        let load = |at: u64| memory.load(at).map_err(&unreachable);
        let count = self.log2_count(registers);
        let pointer = self.0[0] & CONTEXT_POINTER;
        let substream = u64::from(substream);
        let at = match self.split() {
            Some(split) if count > 0 => {
                const VALID: u64 = 1;
                const NEXT: u64 = 0x000f_ffff_ffff_f000;
                // the table is aligned to its size
                let order = count.saturating_sub(split) + 3;
                let entry = load((pointer & !((1 << order) - 1)) + (substream >> split) * 8)?;
                let next = entry & NEXT & !((64 << split) - 1);
                if entry & VALID == 0 || exceeds(next, self.bits_after_first(registers)) {
                    return Err(Event::new(Kind::BadSubstream, request));
                }
                next + (substream & ((1 << split) - 1)) * 64
            }
            _ => (pointer & !((64 << count) - 1)) + substream * 64,
        };
        Ok(ContextDescriptor([load(at)?, load(at + 8)?, load(at + 16)?]))
    }
}

fn eats(ats: bool) -> u64 {
    if ats { EATS_TRANSLATES } else { 0 }
}

/// The level of the root, by S2SL0; nothing where so many bits of input do not begin there. Up to 16 tables
/// lie one after the other, but not where 48 bits need no more than one.
fn top(registers: Registers, granule: Granule, sl0: u64, input_bits: u32) -> Option<u8> {
    let top = match (granule, sl0) {
        (Granule::K4, 0) => 1,
        (Granule::K4, 1) => 2,
        (Granule::K4, 2) => 3,
        (Granule::K4, _) if registers.is_set(STT) => 0,
        (Granule::K16 | Granule::K64, 0..=2) => sl0 as u8,
        _ => return None,
    };
    let stride = granule.order() - 3;
    let bottom = granule.order() + stride * u32::from(top);
    (bottom + 1..=bottom + stride + 4).contains(&input_bits).then_some(top)
}
