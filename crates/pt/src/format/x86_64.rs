//! The long-mode format of x86-64: VT-d's first stage, and AMD's v2 tables.
//!
//! From the VT-d specification (9.5 to 9.9, first-stage entries). P 0, R/W 1, U/S 2, A 5, D 6, PS 7, EA 10,
//! address 51:12, XD 63.

use crate::access::{Access, Grant, Rights};
use crate::encode::{Encode, Prot};
use crate::walk::{Entry, Format, Mark, Reason, is_canonical, low_bits};

/// A table of four or five levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct X86_64 {
    /// Levels: 4 or 5.
    pub levels: u8,
    /// Bits of an output address.
    pub address_bits: u32,
    /// Pages of 1 GiB (VT-d: CAP.FL1GP).
    pub gigabyte_pages: bool,
    /// What is read-only is so for privileged writes too (VT-d: WPE).
    pub write_protect: bool,
    /// What is used is marked in the extended bit, too (VT-d: EAFE).
    pub extended_accessed: bool,
}

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const PAGE: u64 = 1 << 7;
const EXTENDED_ACCESSED: u64 = 1 << 10;
const ADDRESS: u64 = low_bits(52) & !low_bits(12);
/// The memory type's bit in a page that is larger than the least.
const LARGE_PAT: u64 = 1 << 12;
const NO_EXECUTE: u64 = 1 << 63;

impl X86_64 {
    #[inline]
    fn grant(&self, entry: u64) -> Grant {
        let mut user = Rights::READ | Rights::EXECUTE;
        user.set(Rights::WRITE, entry & WRITE != 0);
        user.set(Rights::EXECUTE, entry & NO_EXECUTE == 0);
        let mut privileged = user;
        if !self.write_protect {
            privileged.insert(Rights::WRITE);
        }
        if entry & USER == 0 {
            user = Rights::empty();
        }
        Grant { user, privileged }
    }

    /// The bits of an entry that is marked as used.
    #[inline]
    fn accessed(&self) -> u64 {
        if self.extended_accessed { ACCESSED | EXTENDED_ACCESSED } else { ACCESSED }
    }

    /// Whether pages of a level may be.
    #[inline]
    fn has_pages(&self, level: u8) -> bool {
        match level {
            0 | 1 => true,
            2 => self.gigabyte_pages,
            _ => false,
        }
    }
}

impl Format for X86_64 {
    const TABLES_DENY: bool = true;

    #[inline]
    fn top(&self) -> u8 {
        self.levels.saturating_sub(1)
    }

    #[inline]
    fn accepts(&self, input: u64) -> bool {
        is_canonical(input, 12 + 9 * u32::from(self.levels))
    }

    #[inline]
    fn decode(&self, entry: u64, level: u8) -> Result<Entry, Reason> {
        if entry & PRESENT == 0 {
            return Err(Reason::NotPresent);
        }
        let is_page = level == 0 || entry & PAGE != 0;
        if is_page && !self.has_pages(level) || entry & ADDRESS & !low_bits(self.address_bits) != 0
        {
            return Err(Reason::Reserved);
        }
        let (address, grant) = (entry & ADDRESS, self.grant(entry));
        if !is_page {
            return Ok(Entry::Table { address, level: level - 1, grant });
        }
        let order = self.shift(level);
        let type_bit = if level == 0 { 0 } else { LARGE_PAT };
        let address = address & !type_bit;
        if address & low_bits(order) != 0 {
            return Err(Reason::Reserved);
        }
        Ok(Entry::Leaf { address, order: order as u8, grant })
    }

    #[inline]
    fn mark(&self, entry: u64, _level: u8, is_leaf: bool, access: Access) -> Mark {
        let dirty = if is_leaf && access.is_write() { DIRTY } else { 0 };
        Mark::change(entry, entry | self.accessed() | dirty)
    }
}

impl Encode for X86_64 {
    #[inline]
    fn page_sizes(&self) -> u64 {
        let gigabyte = if self.gigabyte_pages { 1 << 30 } else { 0 };
        1 << 12 | 1 << 21 | gigabyte
    }

    #[inline]
    fn table(&self, address: u64, _level: u8) -> u64 {
        PRESENT | WRITE | USER | self.accessed() | address & ADDRESS
    }

    #[inline]
    fn leaf(&self, address: u64, _order: u8, level: u8, prot: Prot) -> u64 {
        let mut entry = PRESENT | USER | self.accessed() | address & ADDRESS;
        if prot.rights.contains(Rights::WRITE) {
            entry |= if prot.tracking { WRITE } else { WRITE | DIRTY };
        }
        if !prot.rights.contains(Rights::EXECUTE) {
            entry |= NO_EXECUTE;
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
