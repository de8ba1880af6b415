//! VT-d's second stage.
//!
//! From the VT-d specification (9.10 and on, second-stage entries). R 0, W 1, PS 7, A 8, D 9, SNP 11, address
//! 51:12. An entry without R and W is not there.

use crate::access::{Access, Grant, Rights};
use crate::encode::{Encode, Prot};
use crate::walk::{Entry, Format, Mark, Reason, low_bits};

/// A table of three to five levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VtdSecondStage {
    /// Levels: 3, 4 or 5.
    pub levels: u8,
    /// Bits of an input address (the least of MGAW and what the levels have).
    pub input_bits: u32,
    /// Bits of an output address.
    pub address_bits: u32,
    /// The largest pages: the level of their entries (CAP.SSLPS), 0 to 2.
    pub largest: u8,
    /// The snoop bit may be set (ECAP.SC).
    pub snoop: bool,
    /// What is used is marked (SSADE).
    pub marks: bool,
}

const READ: u64 = 1;
const WRITE: u64 = 1 << 1;
const PAGE: u64 = 1 << 7;
const ACCESSED: u64 = 1 << 8;
const DIRTY: u64 = 1 << 9;
const SNOOP: u64 = 1 << 11;
const ADDRESS: u64 = low_bits(52) & !low_bits(12);

impl Format for VtdSecondStage {
    const TABLES_DENY: bool = true;

    #[inline]
    fn top(&self) -> u8 {
        self.levels.saturating_sub(1)
    }

    #[inline]
    fn accepts(&self, input: u64) -> bool {
        input <= low_bits(self.input_bits.min(12 + 9 * u32::from(self.levels)))
    }

    #[inline]
    fn decode(&self, entry: u64, level: u8) -> Result<Entry, Reason> {
        if entry & (READ | WRITE) == 0 {
            return Err(Reason::NotPresent);
        }
        let is_page = level == 0 || entry & PAGE != 0;
        let malformed = is_page && level > self.largest
            || entry & SNOOP != 0 && !self.snoop
            || entry & ADDRESS & !low_bits(self.address_bits) != 0;
        if malformed {
            return Err(Reason::Reserved);
        }
        let mut rights = Rights::EXECUTE;
        rights.set(Rights::READ, entry & READ != 0);
        rights.set(Rights::WRITE, entry & WRITE != 0);
        let (address, grant) = (entry & ADDRESS, Grant::both(rights));
        if !is_page {
            return Ok(Entry::Table { address, level: level - 1, grant });
        }
        let order = self.shift(level);
        if address & low_bits(order) != 0 {
            return Err(Reason::Reserved);
        }
        Ok(Entry::Leaf { address, order: order as u8, grant })
    }

    #[inline]
    fn mark(&self, entry: u64, _level: u8, is_leaf: bool, access: Access) -> Mark {
        let dirty = if is_leaf && access.is_write() { DIRTY } else { 0 };
        Mark::change(entry, if self.marks { entry | ACCESSED | dirty } else { entry })
    }
}

impl Encode for VtdSecondStage {
    #[inline]
    fn page_sizes(&self) -> u64 {
        (0..self.levels.min(self.largest + 1))
            .fold(0, |sizes, level| sizes | 1 << self.shift(level))
    }

    #[inline]
    fn table(&self, address: u64, _level: u8) -> u64 {
        READ | WRITE | address & ADDRESS
    }

    #[inline]
    fn leaf(&self, address: u64, _order: u8, level: u8, prot: Prot) -> u64 {
        let mut entry = address & ADDRESS;
        if prot.rights.contains(Rights::READ) {
            entry |= READ;
        }
        if prot.rights.contains(Rights::WRITE) {
            entry |= WRITE;
        }
        if level > 0 { entry | PAGE } else { entry }
    }

    #[inline]
    fn is_dirty(&self, entry: u64) -> bool {
        entry & DIRTY != 0
    }

    #[inline]
    fn cleaned(&self, entry: u64) -> u64 {
        entry & !DIRTY
    }
}
