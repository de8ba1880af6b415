//! AMD's host tables, v1.
//!
//! From the AMD I/O Virtualization specification (2.2.3). PR 0, A 5, D 6, next level 11:9, address 51:12, FC 60,
//! IR 61, IW 62. The next level is 0 or 7 for a page, else that of the table: levels may be skipped. 7
//! tells the size by the lowest bit of the address that is 0, and every entry that the page covers has it.

use crate::access::{Access, Grant, Rights};
use crate::encode::{Encode, Prot};
use crate::walk::{Entry, Format, Mark, Reason, low_bits};

/// A table of one to six levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AmdV1 {
    /// Levels: the mode of the device table entry, 1 to 6.
    pub levels: u8,
    /// What is used is marked (HAD).
    pub marks: bool,
}

const PRESENT: u64 = 1;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const ADDRESS: u64 = low_bits(52) & !low_bits(12);
const READ: u64 = 1 << 61;
const WRITE: u64 = 1 << 62;
/// The next level that says that the address has the size.
const SIZED: u64 = 7;
/// The level of entries that map no pages.
const NO_PAGES: u8 = 5;
/// log2 of the size that no page has (an erratum), and of the largest that one may have.
const NO_PAGE: u32 = 39;
const LARGEST: u32 = 51;

/// The size that an address has: log2 of its bytes.
#[inline]
fn order_of(address: u64) -> u32 {
    (address | low_bits(12)).trailing_ones() + 1
}

impl Format for AmdV1 {
    const TABLES_DENY: bool = true;

    #[inline]
    fn top(&self) -> u8 {
        self.levels.saturating_sub(1)
    }

    #[inline]
    fn accepts(&self, input: u64) -> bool {
        input <= low_bits(12 + 9 * u32::from(self.levels))
    }

    #[inline]
    fn decode(&self, entry: u64, level: u8) -> Result<Entry, Reason> {
        if entry & PRESENT == 0 {
            return Err(Reason::NotPresent);
        }
        // no bit forbids to execute what may be read
        let mut rights = Rights::EXECUTE;
        rights.set(Rights::READ, entry & READ != 0);
        rights.set(Rights::WRITE, entry & WRITE != 0);
        let (address, grant) = (entry & ADDRESS, Grant::both(rights));
        let next = (entry >> 9) & 7;
        let order = match next {
            0 => self.shift(level),
            SIZED => order_of(address),
            _ if next > level.into() => return Err(Reason::Reserved),
            _ => return Ok(Entry::Table { address, level: next as u8 - 1, grant }),
        };
        // larger than what an entry covers, smaller than that of the next level
        let fits = order >= self.shift(level) && order < self.shift(level) + 9;
        if level >= NO_PAGES || !fits || order == NO_PAGE || order > LARGEST {
            return Err(Reason::Reserved);
        }
        Ok(Entry::Leaf { address: address & !low_bits(order), order: order as u8, grant })
    }

    #[inline]
    fn mark(&self, entry: u64, _level: u8, is_leaf: bool, access: Access) -> Mark {
        let dirty = if is_leaf && access.is_write() { DIRTY } else { 0 };
        Mark::change(entry, if self.marks { entry | ACCESSED | dirty } else { entry })
    }
}

impl Encode for AmdV1 {
    #[inline]
    fn page_sizes(&self) -> u64 {
        let end = 12 + 9 * u32::from(self.levels.min(NO_PAGES));
        low_bits(end.min(LARGEST + 1)) & !low_bits(12) & !(1 << NO_PAGE)
    }

    #[inline]
    fn table(&self, address: u64, level: u8) -> u64 {
        PRESENT | READ | WRITE | address & ADDRESS | u64::from(level) << 9
    }

    #[inline]
    fn leaf(&self, address: u64, order: u8, level: u8, prot: Prot) -> u64 {
        let mut entry = PRESENT;
        if prot.rights.contains(Rights::READ) {
            entry |= READ;
        }
        if prot.rights.contains(Rights::WRITE) {
            entry |= WRITE;
        }
        let order = u32::from(order);
        if order == self.shift(level) {
            return entry | address & ADDRESS;
        }
        // all entries of a page are alike: a 0 below ones is its size
        let size = low_bits(order.saturating_sub(1));
        entry | SIZED << 9 | (address & !low_bits(order) | size) & ADDRESS
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
