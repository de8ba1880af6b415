//! A guest's page table, written as the guest's kernel writes it.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::SharedBuffer;
use crate::guest::{GuestTable, NotAPage, PAGE};

/// How entries look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entries {
    /// As x86-64 has them: VT-d's first stage (VT-d 9.5 to 9.9).
    X86_64,
    /// As Arm has them, with the granule of 4 KiB: SMMUv3's stage 1 (Arm architecture, D8.3).
    Arm,
}

impl Entries {
    /// An entry that leads to a table.
    fn table(self, address: u64) -> u64 {
        match self {
            // P, R/W, U/S, A
            Self::X86_64 => address | 0x27,
            Self::Arm => address | 0b11,
        }
    }

    /// An entry that leads to a page that all may read and, if so, write, and none may execute.
    fn page(self, address: u64, writable: bool) -> u64 {
        match self {
            // P, U/S; R/W; XD
            Self::X86_64 => address | 0x5 | u64::from(writable) << 1 | 1 << 63,
            // a page, AP[1], inner shareable, AF, nG; AP[2]; PXN, UXN
            Self::Arm => address | 0xf43 | u64::from(!writable) << 7 | 3 << 53,
        }
    }
}

/// A page table of four levels and pages of 4096 bytes, in guest memory of its own.
///
/// What is changed is seen by the device when it walks the table next. What it has walked before it may
/// remember until it is told of the change.
#[derive(Debug)]
pub struct PageTable {
    memory: SharedBuffer,
    start: u64,
    entries: Entries,
    /// Offsets in the memory of the tables, by level and by the first address that they map.
    tables: BTreeMap<(u32, u64), usize>,
}

/// A page was not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotMapped {
    /// One of the addresses is on no page border, or beyond what a table has.
    #[error(transparent)]
    NotAPage(#[from] NotAPage),
    /// The memory for tables is used up.
    #[error("there is no memory left for another table")]
    NoRoom,
}

/// Bits of an address that a table maps.
const WIDTH: u32 = 48;
/// The root's.
const TOP: u32 = 3;

const fn shift(level: u32) -> u32 {
    12 + 9 * level
}

impl PageTable {
    /// An empty table in memory that the guest has at an address, on a page border.
    pub(crate) fn new(memory: SharedBuffer, start: u64, entries: Entries) -> Self {
        Self { memory, start, entries, tables: BTreeMap::from([((TOP, 0), 0)]) }
    }

    /// What a device is told of it.
    pub fn root(&self) -> Result<GuestTable, NotAPage> {
        GuestTable::four_levels(self.start)
    }

    /// Maps a page at a guest's virtual address to a guest-physical address; what was mapped there is
    /// replaced.
    pub fn map(&mut self, va: u64, address: u64, writable: bool) -> Result<(), NotMapped> {
        let is_page = |it: u64| it.is_multiple_of(PAGE) && it >> WIDTH == 0;
        // upper halves are a guest kernel's
        if !is_page(va) || va >> (WIDTH - 1) != 0 {
            return Err(NotAPage(va).into());
        }
        if !is_page(address) {
            return Err(NotAPage(address).into());
        }
        let mut table = 0;
        for level in (1..=TOP).rev() {
            let below = (level - 1, va >> shift(level));
            let next = match self.tables.get(&below) {
                Some(next) => *next,
                None => {
                    let next = self.tables.len() * PAGE as usize;
                    if next as u64 + PAGE > self.memory.size() {
                        return Err(NotMapped::NoRoom);
                    }
                    let entry = self.entries.table(self.start + next as u64);
                    self.set(table, va, level, entry);
                    self.tables.insert(below, next);
                    next
                }
            };
            table = next;
        }
        self.set(table, va, 0, self.entries.page(address, writable));
        Ok(())
    }

    /// Takes a page away.
    pub fn unmap(&mut self, va: u64) {
        if let Some(table) = self.tables.get(&(0, va >> shift(1))) {
            self.set(*table, va, 0, 0);
        }
    }

    fn set(&self, table: usize, va: u64, level: u32, entry: u64) {
        let index = va >> shift(level) & 0x1ff;
        self.memory.store_word(table + index as usize * 8, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x20_0000;
    const VA: u64 = 0x7f12_3456_7000;

    fn words(table: &PageTable, page: usize) -> Vec<(usize, u64)> {
        let mut bytes = vec![0; table.memory.size() as usize];
        table.memory.load(&mut bytes);
        let page = &bytes[page * 4096..][..4096];
        let words = page.chunks_exact(8).map(|it| u64::from_le_bytes(it.try_into().unwrap()));
        words.enumerate().filter(|(_, word)| *word != 0).collect()
    }

    fn table(pages: usize, entries: Entries) -> PageTable {
        PageTable::new(SharedBuffer::new(pages * 4096).unwrap(), START, entries)
    }

    #[test]
    fn entries_of_each_format() {
        #[rustfmt::skip] // one format, one line
        let cases = [
            (Entries::X86_64, 0x27, 0x8000_0000_0000_0007, 0x8000_0000_0000_0005),
            (Entries::Arm,    0x3,  0x0060_0000_0000_0f43, 0x0060_0000_0000_0fc3),
        ];
        for (entries, leads, writable, read_only) in cases {
            let mut table = table(4, entries);
            table.map(VA, 0x1_2000, true).unwrap();
            table.map(VA + PAGE, 0x1_3000, false).unwrap();
            let index = |level| (VA >> shift(level) & 0x1ff) as usize;
            for level in 1..=3 {
                let page = 3 - level as usize;
                let next = START + (page as u64 + 1) * PAGE;
                assert_eq!(words(&table, page), [(index(level), next | leads)], "{entries:?}");
            }
            let pages = [(index(0), 0x1_2000 | writable), (index(0) + 1, 0x1_3000 | read_only)];
            assert_eq!(words(&table, 3), pages, "{entries:?}");
            table.unmap(VA);
            table.unmap(VA + (1 << 30));
            assert_eq!(words(&table, 3), pages[1..]);
        }
    }

    #[test]
    fn what_cannot_be_mapped() {
        let mut table = table(5, Entries::X86_64);
        assert_eq!(table.map(VA + 1, 0, true), Err(NotAPage(VA + 1).into()));
        assert_eq!(table.map(1 << 47, 0, true), Err(NotAPage(1 << 47).into()));
        assert_eq!(table.map(VA, 7, true), Err(NotAPage(7).into()));
        assert_eq!(table.map(VA, 1 << 48, true), Err(NotAPage(1 << 48).into()));
        assert_eq!(table.map(VA, 0, true), Ok(()));
        assert_eq!(table.map(VA + (1 << 21), 0, true), Ok(()));
        assert_eq!(table.map(VA + (2 << 21), 0, true), Err(NotMapped::NoRoom));
        assert_eq!(table.map(VA + PAGE, 0, true), Ok(()));
    }

    #[test]
    fn neighbours_on_both_sides_of_a_border_have_two_tables_of_each_level_below_the_root() {
        const BORDER: u64 = 1 << 39;
        for (pages, expected) in [(7, Ok(())), (6, Err(NotMapped::NoRoom))] {
            let mut table = table(pages, Entries::X86_64);
            assert_eq!(table.map(BORDER - PAGE, 0, true), Ok(()));
            assert_eq!(table.map(BORDER, 0, true), expected, "{pages} pages");
        }
    }
}
