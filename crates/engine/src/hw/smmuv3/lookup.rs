//! What an SMMUv3 makes of a request: stream table entry, context descriptor, two stages.
//!
//! From the SMMUv3 specification (IHI 0070), sections 3.4 (address sizes), 3.12 and 5.5 (what becomes of
//! faults), 5.2 to 5.4 (structures) and 7.3 (events, and which comes first). Held against QEMU's answers:
//! `smmuv3_qemu`. Substreams, stalls and updates of entries have no such oracle; they are held against the
//! specification, and two stages against one after the other.
//!
//! | module | holds |
//! |---|---|
//! | [`stream`] | stream table entries: as Linux makes them, their validity, the way to a descriptor |
//! | [`descriptor`] | context descriptors: validity, and what they say |
//! | [`context`] | both stages as found, which may be kept: translation |
//! | [`event`] | refusals, and their records |
//!
//! Where the specification leaves a choice to SMMUv3.0, that of later versions is taken.
//!
//! *What it doesn't do*: 32-bit and 128-bit tables, big-endian ones, 52-bit addresses with small granules
//! (DS), marks on entries that lead to tables (HAFT), enhanced PAN, indirect permissions, StreamWorld EL2
//! without EL0, overrides of attributes, Device memory under stage 1's tables (S2PTW).

mod context;
mod descriptor;
mod event;
mod stream;
#[cfg(test)]
mod tests;

use profile::registers::Field;
use profile::registers::smmuv3::*;
use pt::format::Granule;

pub(crate) use context::Context;
pub(crate) use descriptor::{ContextDescriptor, PagingTables};
#[cfg(test)]
pub(crate) use event::Response;
pub(crate) use event::{Class, Event, Kind, record};
pub(crate) use stream::{ContextTable, DefaultSubstream, SecondStage, StreamEntry};

/// `SMMU_IDR0` to `SMMU_IDR5`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers(pub [u32; 6]);

impl Registers {
    fn field(self, field: Field) -> u64 {
        field.of(self.0[index(field)].into())
    }

    fn is_set(self, field: Field) -> bool {
        self.field(field) != 0
    }

    /// Bits of an output address (OAS).
    fn output_bits(self) -> u32 {
        address_bits(self.field(OAS))
    }

    /// Bits of an intermediate address (IAS): 32-bit tables give 40.
    fn intermediate_bits(self) -> u32 {
        let least = if self.field(TTF) & 1 != 0 { 40 } else { 0 };
        self.output_bits().max(least)
    }

    fn has_granule(self, granule: Granule) -> bool {
        self.is_set(match granule {
            Granule::K4 => GRAN4K,
            Granule::K16 => GRAN16K,
            Granule::K64 => GRAN64K,
        })
    }

    /// The largest TxSZ (`CDTxSZInvalid`, `STES2T0SZInvalid`).
    fn largest_tsz(self, granule: Granule) -> u64 {
        match granule {
            _ if !self.is_set(STT) => 39,
            Granule::K64 => 47,
            _ => 48,
        }
    }
}

/// Bits of the addresses that a size in a register, an STE or a CD stands for; 56 bits are for 128-bit
/// tables.
const fn address_bits(size: u64) -> u32 {
    const WIDTHS: [u32; 8] = [32, 36, 40, 42, 44, 48, 52, 52];
    WIDTHS[size as usize & 7]
}

/// Whether an address has more bits than this.
const fn exceeds(address: u64, bits: u32) -> bool {
    address >> bits != 0
}

/// The granule that TG0 and S2TG stand for.
const fn granule(tg: u64) -> Option<Granule> {
    match tg & 3 {
        0 => Some(Granule::K4),
        1 => Some(Granule::K64),
        2 => Some(Granule::K16),
        _ => None,
    }
}

/// Where a table of so many index bits is: what lies below its size does not count.
const fn aligned(base: u64, index_bits: u32, address_bits: u32) -> u64 {
    let least = if address_bits == 52 { 6 } else { 4 };
    let order = if index_bits + 3 > least { index_bits + 3 } else { least };
    base & !((1 << order) - 1)
}
