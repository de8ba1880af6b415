//! RISC-V: Sv39, Sv48, Sv57, and for the second stage Sv39x4, Sv48x4, Sv57x4.
//!
//! From the IOMMU specification (3.3, translation) and the privileged one (Sv39 and on). Entries have 8
//! bytes: V 0, R 1, W 2, X 3, U 4, G 5, A 6, D 7, PPN 53:10, PBMT 62:61, N 63.

use crate::access::{Access, Dirties, Grant, Rights};
use crate::encode::{Encode, Prot};
use crate::walk::{Entry, Format, Mark, Reason, is_canonical, low_bits};

/// A table of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Riscv {
    /// Levels: 3, 4 or 5.
    pub levels: u8,
    /// Whose addresses it takes.
    pub stage: Stage,
    /// Whether hardware marks what it uses (SADE, GADE); else the program must have.
    pub marks: bool,
    /// Pages of 64 KiB (Svnapot).
    pub napot: bool,
    /// Memory types in entries (Svpbmt).
    pub memory_types: bool,
    /// Bits 60:59 are the program's (Svrsw60t59b).
    pub software_bits: bool,
}

/// A stage of translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// From virtual addresses.
    First {
        /// Whether a supervisor may touch users' pages (SUM).
        supervisor_sees_user: bool,
    },
    /// From guest-physical addresses: two bits wider, and all pages are users'.
    Second,
}

const VALID: u64 = 1;
const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 2;
const EXECUTE: u64 = 1 << 3;
const USER: u64 = 1 << 4;
const ACCESSED: u64 = 1 << 6;
const DIRTY: u64 = 1 << 7;
const NUMBER: u64 = low_bits(54) & !low_bits(10);
const RESERVED: u64 = low_bits(59) & !low_bits(54);
const SOFTWARE: u64 = 3 << 59;
const MEMORY_TYPE: u64 = 3 << 61;
const NAPOT: u64 = 1 << 63;
/// The low bits of the page number of 64 KiB, the only one.
const NAPOT_64K: u64 = 8;
const NAPOT_ORDER: u32 = 16;

impl Riscv {
    /// Bits of an input address.
    #[inline]
    fn width(&self) -> u32 {
        let wider = if self.stage == Stage::Second { 2 } else { 0 };
        12 + 9 * u32::from(self.levels) + wider
    }

    #[inline]
    fn grant(&self, entry: u64) -> Grant {
        let mut rights = Rights::empty();
        rights.set(Rights::READ, entry & READ != 0);
        rights.set(Rights::WRITE, entry & WRITE != 0);
        rights.set(Rights::EXECUTE, entry & EXECUTE != 0);
        let user = entry & USER != 0;
        match self.stage {
            // everything is a user's access
            Stage::Second if user => Grant::both(rights),
            Stage::Second => Grant::both(Rights::empty()),
            Stage::First { supervisor_sees_user } if user => {
                let data = rights.difference(Rights::EXECUTE);
                let privileged = if supervisor_sees_user { data } else { Rights::empty() };
                Grant { user: rights, privileged }
            }
            Stage::First { .. } => Grant { user: Rights::empty(), privileged: rights },
        }
    }
}

impl Format for Riscv {
    const TABLES_DENY: bool = false;

    #[inline]
    fn top(&self) -> u8 {
        self.levels.saturating_sub(1)
    }

    #[inline]
    fn index_bits(&self, level: u8) -> u32 {
        if level == self.top() { self.width() - self.shift(level) } else { 9 }
    }

    #[inline]
    fn accepts(&self, input: u64) -> bool {
        match self.stage {
            Stage::First { .. } => is_canonical(input, self.width()),
            Stage::Second => input <= low_bits(self.width()),
        }
    }

    #[inline]
    fn decode(&self, entry: u64, level: u8) -> Result<Entry, Reason> {
        let memory_type = entry & MEMORY_TYPE;
        let malformed = entry & (READ | WRITE) == WRITE
            || entry & RESERVED != 0
            || entry & SOFTWARE != 0 && !self.software_bits
            || memory_type != 0 && !self.memory_types
            || memory_type == MEMORY_TYPE
            || entry & NAPOT != 0 && !self.napot;
        if entry & VALID == 0 {
            return Err(Reason::NotPresent);
        }
        if malformed {
            return Err(Reason::Reserved);
        }
        let number = (entry & NUMBER) >> 10;
        let address = number << 12;
        if entry & (READ | EXECUTE) == 0 {
            let only_of_pages = DIRTY | ACCESSED | USER | MEMORY_TYPE | NAPOT;
            if entry & only_of_pages != 0 {
                return Err(Reason::Reserved);
            }
            // below the last level there is none
            let level = level.checked_sub(1).ok_or(Reason::NotPresent)?;
            return Ok(Entry::Table { address, level, grant: Grant::ALL });
        }
        let order = if entry & NAPOT == 0 {
            self.shift(level)
        } else if level == 0 && number & low_bits(4) == NAPOT_64K {
            NAPOT_ORDER
        } else {
            return Err(Reason::Reserved);
        };
        if entry & NAPOT == 0 && address & low_bits(order) != 0 {
            return Err(Reason::Reserved);
        }
        Ok(Entry::Leaf { address, order: order as u8, grant: self.grant(entry) })
    }

    #[inline]
    fn mark(&self, entry: u64, _level: u8, is_leaf: bool, access: Access) -> Mark {
        if !is_leaf {
            return Mark::Keep;
        }
        let dirty = match access.dirties {
            // what cannot be written is never dirty
            _ if entry & WRITE == 0 => 0,
            Dirties::Yes => DIRTY,
            Dirties::WithUse if entry & ACCESSED == 0 => DIRTY,
            _ => 0,
        };
        let wanted = ACCESSED | dirty;
        match (entry | wanted == entry, self.marks) {
            (true, _) => Mark::Keep,
            (false, true) => Mark::Store(entry | wanted),
            (false, false) => Mark::Fault(Reason::Unmarked),
        }
    }
}

impl Encode for Riscv {
    #[inline]
    fn page_sizes(&self) -> u64 {
        let napot = if self.napot { 1 << NAPOT_ORDER } else { 0 };
        (0..self.levels).fold(napot, |sizes, level| sizes | 1 << self.shift(level))
    }

    #[inline]
    fn table(&self, address: u64, _level: u8) -> u64 {
        VALID | (address >> 12 << 10) & NUMBER
    }

    #[inline]
    fn leaf(&self, address: u64, order: u8, _level: u8, prot: Prot) -> u64 {
        let mut entry = VALID | USER | ACCESSED;
        if prot.rights.intersects(Rights::READ | Rights::WRITE) {
            entry |= READ;
        }
        if prot.rights.contains(Rights::WRITE) {
            let tracked = prot.tracking && self.marks;
            entry |= if tracked { WRITE } else { WRITE | DIRTY };
        }
        if prot.rights.contains(Rights::EXECUTE) {
            entry |= EXECUTE;
        }
        if u32::from(order) == NAPOT_ORDER {
            let number = (address & !low_bits(NAPOT_ORDER)) >> 12 | NAPOT_64K;
            return entry | NAPOT | number << 10 & NUMBER;
        }
        entry | (address >> 12 << 10) & NUMBER
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
