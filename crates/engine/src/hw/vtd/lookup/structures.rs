//! The way to a PASID entry in memory: root, context, PASID directory.
//!
//! No program fills them, and the engine makes the entry that Linux's driver writes itself, so that only
//! tests come here.

use profile::registers::{Field, vtd};
use pt::TableMemory;

use super::pasid::{common, head, widest};
use super::{PasidEntry, Refused, Registers, entry, low_bits, page, reason};
use crate::hw::request::Request;

// Fault reasons of the way alone, beside those of [`reason`].
pub(super) const CONTEXT_INVALID: u8 = 0x43;
/// PASIDE
pub(super) const PASID_DISABLED: u8 = 0x45;
pub(super) const PASID_TOO_LARGE: u8 = 0x46;

/// Bits that are neither the address, nor known to root and directory entries.
const ROOT_RESERVED: u64 = 0xffe;
const DIRECTORY_RESERVED: u64 = 0xffc;

/// Bits of a context entry (9.4).
mod context {
    use super::{Field, vtd};

    pub const ATS: u64 = 1 << 2;
    pub const PASIDS: u64 = 1 << 3;
    const PAGE_REQUESTS: u64 = 1 << 4;
    /// Reserved in units that lack it.
    pub const OPTIONAL: [(Field, u64); 3] =
        [(vtd::DT, ATS), (vtd::PASID, PASIDS), (vtd::PRS, PAGE_REQUESTS)];
    pub const RESERVED: [u64; 4] = [0x1e0, !0xf_ffff, u64::MAX, u64::MAX];

    /// How many PASIDs its directory has (PDTS).
    pub fn pasids(word: u64) -> u32 {
        1 << (13 + (word >> 9 & 7))
    }

    /// The PASID of requests that have none (RID_PASID).
    pub fn own_pasid(word: u64) -> u32 {
        word as u32 & 0xf_ffff
    }
}

/// Finds the PASID entry of a device's request in memory, valid and with FPD set if it is in an entry
/// above it; `root_table` is RTADDR.
pub(crate) fn find<M: TableMemory>(
    registers: Registers,
    root_table: u64,
    source_id: u16,
    request: Request,
    memory: &M,
) -> Result<PasidEntry, Refused> {
    let search = Search { registers, request, memory };
    let device = search.context(root_table, source_id)?;
    let mut hidden = device[0] & entry::FAULT_PROCESSING_DISABLE != 0;
    let fault = |reason, hidden| Err(Refused::new(reason, request, hidden));
    let (pasids, own) = (context::pasids(device[0]), context::own_pasid(device[1]));
    if own >= pasids {
        return fault(CONTEXT_INVALID, hidden);
    }
    if request.translation_only && device[0] & context::ATS == 0 {
        return fault(reason::ATS_DISABLED, hidden);
    }
    if request.pasid.is_some() && device[0] & context::PASIDS == 0 {
        return fault(PASID_DISABLED, hidden);
    }
    let pasid = request.pasid.unwrap_or(own);
    if pasid >= pasids {
        return fault(PASID_TOO_LARGE, hidden);
    }
    // a table of the directory has 64 entries of 64 bytes
    let at = page(device[0]) + u64::from(pasid / 64) * 8;
    let [directory] = search.entry(at, reason::DIRECTORY, [DIRECTORY_RESERVED], hidden)?;
    hidden |= directory & entry::FAULT_PROCESSING_DISABLE != 0;
    let found =
        PasidEntry(search.load(page(directory) + u64::from(pasid % 64) * 64, reason::PASID_LOAD)?);
    match found.check(registers, request) {
        Ok(_) if hidden => Ok(found.without_faults()),
        Ok(_) => Ok(found),
        Err(reason) => fault(reason, hidden || found.hides(reason)),
    }
}

/// The way of a request through structures in memory.
struct Search<'m, M> {
    registers: Registers,
    request: Request,
    memory: &'m M,
}

impl<M: TableMemory> Search<'_, M> {
    fn load<const N: usize>(&self, at: u64, reason: u8) -> Result<[u64; N], Refused> {
        let mut words = [0; N];
        for (word, at) in words.iter_mut().zip((at..).step_by(8)) {
            let loaded = self.memory.load(at);
            *word = loaded.map_err(|_| Refused::new(reason, self.request, false))?;
        }
        Ok(words)
    }

    /// An entry that is there and well formed; else the reason is one of three.
    fn entry<const N: usize>(
        &self,
        at: u64,
        [access, not_present, malformed]: [u8; 3],
        mut reserved: [u64; N],
        hidden: bool,
    ) -> Result<[u64; N], Refused> {
        let words = self.load(at, access)?;
        reserved[0] |= !low_bits(self.registers.address_bits);
        if words[0] & entry::PRESENT == 0 {
            return Err(Refused::new(not_present, self.request, hidden));
        }
        if words.iter().zip(reserved).any(|(word, bits)| word & bits != 0) {
            return Err(Refused::new(malformed, self.request, hidden));
        }
        Ok(words)
    }

    /// The context entry of a device.
    fn context(&self, root_table: u64, source_id: u16) -> Result<[u64; 4], Refused> {
        const MODE: u64 = 3 << 10;
        const SCALABLE: u64 = 1 << 10;
        let Registers { ecap, address_bits, .. } = self.registers;
        let fault = |reason| Err(Refused::new(reason, self.request, false));
        let scalable = root_table & MODE == SCALABLE;
        if !scalable && self.request.pasid.is_some() {
            return fault(reason::TABLE_MODE_WITHOUT_PASID);
        }
        if !scalable || root_table > low_bits(address_bits) {
            return fault(reason::ROOT_TABLE_ADDRESS);
        }
        // 16 bytes a bus, half of them for devices 0 to 15
        let (bus, function) = (u64::from(source_id >> 8), u64::from(source_id & 0xff));
        let at = page(root_table) + bus * 16 + function / 128 * 8;
        let [root] = self.entry(at, reason::ROOT, [ROOT_RESERVED], false)?;
        let mut reserved = context::RESERVED;
        for (field, bit) in context::OPTIONAL {
            reserved[0] |= if field.is_set(ecap) { 0 } else { bit };
        }
        self.entry(page(root) + function % 128 * 32, reason::CONTEXT, reserved, false)
    }
}

impl PasidEntry {
    /// What leaves addresses as they are (`pasid_pte_config_pass_through`).
    pub fn pass_through(registers: Registers, domain: u16) -> Self {
        Self(common(registers, widest(registers), head::PASS_THROUGH, domain))
    }

    /// The same, whose faults are not recorded (FPD).
    pub fn without_faults(self) -> Self {
        let mut words = self.0;
        words[0] |= entry::FAULT_PROCESSING_DISABLE;
        Self(words)
    }
}
