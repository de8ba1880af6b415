//! What the tests share: memory, the formats, and what is to be expected of each.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Debug;

use pt::format::riscv::Stage;
use pt::format::{AmdV1, Granule, Riscv, VmsaStage1, VmsaStage2, VtdSecondStage, X86_64};
use pt::{Access, Encode, Rights, Root, TableMemory, TableStore};

/// There is no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside;

/// Memory that is there only where tables are; a use of one that was given back is told.
#[derive(Clone, Debug, Default)]
pub struct Arena {
    /// Where the next table is at the earliest.
    pub next: u64,
    /// How many tables more there may be.
    pub left: Option<u64>,
    /// The words of each table, by its address.
    pub tables: BTreeMap<u64, Vec<Cell<u64>>>,
    pub loads: Cell<u64>,
    pub swaps: Cell<u64>,
    /// How many swaps are to fail.
    pub failing: Cell<u64>,
}

impl Arena {
    pub fn at(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    fn word(&self, address: u64) -> Result<&Cell<u64>, Outside> {
        assert_eq!(address % 8, 0, "a word is aligned");
        let (table, words) = self.tables.range(..=address).next_back().ok_or(Outside)?;
        words.get((address - table) as usize / 8).ok_or(Outside)
    }
}

impl TableMemory for Arena {
    type Error = Outside;

    fn load(&self, address: u64) -> Result<u64, Outside> {
        self.loads.set(self.loads.get() + 1);
        self.word(address).map(Cell::get)
    }

    fn swap(&self, address: u64, old: u64, new: u64) -> Result<bool, Outside> {
        self.swaps.set(self.swaps.get() + 1);
        if self.failing.get() > 0 {
            self.failing.set(self.failing.get() - 1);
            return Ok(false);
        }
        let word = self.word(address)?;
        let same = word.get() == old;
        if same {
            word.set(new);
        }
        Ok(same)
    }
}

impl TableStore for Arena {
    fn store(&mut self, address: u64, word: u64) -> Result<(), Outside> {
        self.word(address)?.set(word);
        Ok(())
    }

    fn allocate(&mut self, words: u64) -> Option<u64> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1)?;
        }
        let address = self.next.next_multiple_of(words * 8).max(0x1000);
        self.next = address + words * 8;
        self.tables.insert(address, vec![Cell::new(0); words as usize]);
        Some(address)
    }

    fn free(&mut self, address: u64, words: u64) {
        let table = self.tables.remove(&address).expect("a table is given back once");
        assert_eq!(table.len() as u64, words);
    }
}

/// A format, and what is to be expected of it.
pub trait Subject: Encode + Copy + Debug {
    /// An input address, made of any bits.
    fn input(&self, bits: u64) -> u64;

    /// Bits of output addresses.
    fn output_bits(&self) -> u32;

    /// What a page grants that is to grant this; none when no page can.
    fn granted(&self, rights: Rights) -> Option<Rights>;

    /// What is set in an entry that was used.
    fn accessed(&self, is_leaf: bool) -> u64;

    /// Whether writing is marked.
    fn marks_dirty(&self) -> bool;

    /// Whether a page that is not marked as used may not be.
    fn unmarked_faults(&self) -> bool {
        false
    }

    /// A table's entry that takes something away; and what it takes from requests without privilege.
    fn restrict(&self, entry: u64, _rights: Rights) -> (u64, Rights) {
        (entry, Rights::empty())
    }
}

pub fn low_bits(count: u32) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

fn sign_extended(bits: u64, width: u32) -> u64 {
    let unused = 64 - width;
    ((bits << unused) as i64 >> unused) as u64
}

fn with(rights: Rights, more: Rights) -> Option<Rights> {
    (!rights.is_empty()).then_some(rights | more)
}

impl Subject for VtdSecondStage {
    fn input(&self, bits: u64) -> u64 {
        bits & low_bits(self.input_bits)
    }

    fn output_bits(&self) -> u32 {
        self.address_bits
    }

    fn granted(&self, rights: Rights) -> Option<Rights> {
        let some = rights.intersects(Rights::READ | Rights::WRITE);
        some.then_some(rights | Rights::EXECUTE)
    }

    fn accessed(&self, _is_leaf: bool) -> u64 {
        if self.marks { 1 << 8 } else { 0 }
    }

    fn marks_dirty(&self) -> bool {
        self.marks
    }

    fn restrict(&self, entry: u64, rights: Rights) -> (u64, Rights) {
        match rights & (Rights::READ | Rights::WRITE) {
            Rights::READ => (entry & !1, Rights::READ),
            Rights::WRITE => (entry & !2, Rights::WRITE),
            _ => (entry, Rights::empty()),
        }
    }
}

impl Subject for AmdV1 {
    fn input(&self, bits: u64) -> u64 {
        bits & low_bits(12 + 9 * u32::from(self.levels))
    }

    fn output_bits(&self) -> u32 {
        52
    }

    fn granted(&self, rights: Rights) -> Option<Rights> {
        with(rights, Rights::EXECUTE)
    }

    fn accessed(&self, _is_leaf: bool) -> u64 {
        if self.marks { 1 << 5 } else { 0 }
    }

    fn marks_dirty(&self) -> bool {
        self.marks
    }

    fn restrict(&self, entry: u64, rights: Rights) -> (u64, Rights) {
        let taken = rights & (Rights::READ | Rights::WRITE);
        let read = u64::from(taken.contains(Rights::READ)) << 61;
        let write = u64::from(taken.contains(Rights::WRITE)) << 62;
        (entry & !read & !write, taken)
    }
}

impl Subject for X86_64 {
    fn input(&self, bits: u64) -> u64 {
        sign_extended(bits, 12 + 9 * u32::from(self.levels))
    }

    fn output_bits(&self) -> u32 {
        self.address_bits
    }

    fn granted(&self, rights: Rights) -> Option<Rights> {
        with(rights, Rights::READ)
    }

    fn accessed(&self, _is_leaf: bool) -> u64 {
        if self.extended_accessed { 1 << 5 | 1 << 10 } else { 1 << 5 }
    }

    fn marks_dirty(&self) -> bool {
        true
    }

    fn restrict(&self, entry: u64, rights: Rights) -> (u64, Rights) {
        let (mut entry, mut taken) = (entry, rights);
        if rights.contains(Rights::WRITE) {
            entry &= !2;
        }
        if rights.contains(Rights::EXECUTE) {
            entry |= 1 << 63;
        }
        if rights.contains(Rights::READ) {
            // all of a user's
            (entry, taken) = (entry & !4, Rights::all());
        }
        (entry, taken)
    }
}

impl Subject for Riscv {
    fn input(&self, bits: u64) -> u64 {
        let width = 12 + 9 * u32::from(self.levels);
        match self.stage {
            Stage::First { .. } => sign_extended(bits, width),
            Stage::Second => bits & low_bits(width + 2),
        }
    }

    fn output_bits(&self) -> u32 {
        56
    }

    fn granted(&self, rights: Rights) -> Option<Rights> {
        let writes = rights.contains(Rights::WRITE);
        with(rights, if writes { Rights::READ } else { Rights::empty() })
    }

    fn accessed(&self, is_leaf: bool) -> u64 {
        if self.marks && is_leaf { 1 << 6 } else { 0 }
    }

    fn marks_dirty(&self) -> bool {
        self.marks
    }

    fn unmarked_faults(&self) -> bool {
        !self.marks
    }
}

fn vmsa_output_bits(granule: Granule, address_bits: u32) -> u32 {
    if granule == Granule::K64 { address_bits } else { address_bits.min(48) }
}

impl Subject for VmsaStage1 {
    fn input(&self, bits: u64) -> u64 {
        let inside = low_bits(self.input_bits);
        let above = if self.upper { !inside } else { 0 };
        let top_byte = if self.top_byte_ignored { 0xff << 56 } else { 0 };
        (bits & inside | above) & !top_byte | bits & top_byte
    }

    fn output_bits(&self) -> u32 {
        vmsa_output_bits(self.granule, self.address_bits)
    }

    fn granted(&self, rights: Rights) -> Option<Rights> {
        let granted = with(rights, Rights::READ)?;
        let never = self.write_or_execute && rights.contains(Rights::WRITE | Rights::EXECUTE);
        (!never).then_some(granted)
    }

    fn accessed(&self, is_leaf: bool) -> u64 {
        if self.marks && is_leaf { 1 << 10 } else { 0 }
    }

    fn marks_dirty(&self) -> bool {
        self.marks_dirty
    }

    fn unmarked_faults(&self) -> bool {
        !self.marks && !self.unmarked_passes
    }

    fn restrict(&self, entry: u64, rights: Rights) -> (u64, Rights) {
        let (mut entry, mut taken) = (entry, rights);
        if rights.contains(Rights::WRITE) {
            entry |= 1 << 62;
        }
        if rights.contains(Rights::READ) {
            (entry, taken) = (entry | 1 << 61, taken | Rights::WRITE);
        }
        if rights.contains(Rights::EXECUTE) {
            entry |= 1 << 60;
        }
        (entry, if self.tables_grant_all { Rights::empty() } else { taken })
    }
}

impl Subject for VmsaStage2 {
    fn input(&self, bits: u64) -> u64 {
        bits & low_bits(self.input_bits)
    }

    fn output_bits(&self) -> u32 {
        vmsa_output_bits(self.granule, self.address_bits)
    }

    fn granted(&self, rights: Rights) -> Option<Rights> {
        with(rights, Rights::empty())
    }

    fn accessed(&self, is_leaf: bool) -> u64 {
        if self.marks && is_leaf { 1 << 10 } else { 0 }
    }

    fn marks_dirty(&self) -> bool {
        self.marks_dirty
    }

    fn unmarked_faults(&self) -> bool {
        !self.marks && !self.unmarked_passes
    }
}

pub const VTD_SECOND: VtdSecondStage = VtdSecondStage {
    levels: 4,
    input_bits: 48,
    address_bits: 52,
    largest: 2,
    snoop: false,
    marks: true,
};
pub const X86: X86_64 = X86_64 {
    levels: 4,
    address_bits: 48,
    gigabyte_pages: true,
    write_protect: true,
    extended_accessed: false,
};
pub const AMD: AmdV1 = AmdV1 { levels: 4, marks: true };
pub const RISCV: Riscv = Riscv {
    levels: 3,
    stage: Stage::First { supervisor_sees_user: true },
    marks: true,
    napot: true,
    memory_types: false,
    software_bits: false,
};
pub const STAGE1: VmsaStage1 =
    VmsaStage1 { marks: true, marks_dirty: true, ..VmsaStage1::lower(Granule::K4, 48, 48) };
pub const STAGE2: VmsaStage2 = VmsaStage2 {
    granule: Granule::K4,
    input_bits: 48,
    top: 3,
    address_bits: 48,
    marks: true,
    marks_dirty: true,
    unmarked_passes: false,
};

/// Calls a macro with each format there is: `call!(name, format)`.
macro_rules! for_each_format {
    ($call:ident $(, $with:expr)*) => {
        // levels, widths, sizes
        $call!(vtd_second_3, VtdSecondStage { levels: 3, input_bits: 39, largest: 1, ..VTD_SECOND } $(, $with)*);
        $call!(vtd_second_4, VTD_SECOND $(, $with)*);
        $call!(vtd_second_5, VtdSecondStage { levels: 5, input_bits: 57, address_bits: 46, marks: false, ..VTD_SECOND } $(, $with)*);
        $call!(x86_64_4, X86 $(, $with)*);
        $call!(x86_64_5, X86_64 { levels: 5, address_bits: 52, gigabyte_pages: false, extended_accessed: true, ..X86 } $(, $with)*);
        $call!(amd_v1_3, AmdV1 { levels: 3, ..AMD } $(, $with)*);
        $call!(amd_v1_4, AMD $(, $with)*);
        $call!(amd_v1_5, AmdV1 { levels: 5, marks: false } $(, $with)*);
        $call!(amd_v1_6, AmdV1 { levels: 6, marks: true } $(, $with)*);
        $call!(sv39, RISCV $(, $with)*);
        $call!(sv48, Riscv { levels: 4, marks: false, ..RISCV } $(, $with)*);
        $call!(sv57, Riscv { levels: 5, napot: false, ..RISCV } $(, $with)*);
        $call!(sv39x4, Riscv { stage: Stage::Second, ..RISCV } $(, $with)*);
        $call!(sv48x4, Riscv { levels: 4, stage: Stage::Second, ..RISCV } $(, $with)*);
        $call!(sv57x4, Riscv { levels: 5, stage: Stage::Second, marks: false, ..RISCV } $(, $with)*);
        $call!(stage1_4k, STAGE1 $(, $with)*);
        $call!(stage1_4k_upper, VmsaStage1 { upper: true, top_byte_ignored: true, input_bits: 39, ..STAGE1 } $(, $with)*);
        $call!(stage1_4k_narrow, VmsaStage1 { input_bits: 25, address_bits: 40, marks: false, marks_dirty: false, write_or_execute: true, ..STAGE1 } $(, $with)*);
        $call!(stage1_16k, VmsaStage1 { granule: Granule::K16, tables_grant_all: true, ..STAGE1 } $(, $with)*);
        $call!(stage1_64k, VmsaStage1 { granule: Granule::K64, ..STAGE1 } $(, $with)*);
        $call!(stage1_64k_52, VmsaStage1 { granule: Granule::K64, input_bits: 52, address_bits: 52, ..STAGE1 } $(, $with)*);
        $call!(stage2_4k, STAGE2 $(, $with)*);
        $call!(stage2_4k_16_roots, VmsaStage2 { input_bits: 43, top: 2, ..STAGE2 } $(, $with)*);
        $call!(stage2_4k_narrow, VmsaStage2 { input_bits: 32, top: 1, marks: false, marks_dirty: false, ..STAGE2 } $(, $with)*);
        $call!(stage2_16k, VmsaStage2 { granule: Granule::K16, input_bits: 40, top: 1, ..STAGE2 } $(, $with)*);
        $call!(stage2_64k, VmsaStage2 { granule: Granule::K64, input_bits: 46, top: 1, ..STAGE2 } $(, $with)*);
        $call!(stage2_64k_52, VmsaStage2 { granule: Granule::K64, input_bits: 52, top: 2, address_bits: 52, ..STAGE2 } $(, $with)*);
    };
}
pub(crate) use for_each_format;

/// A test of each format: `property(format)`.
macro_rules! tests {
    ($($property:ident),* $(,)?) => {
        $(mod $property {
            #[allow(unused_imports)]
            use $crate::common::*;
            use pt::format::riscv::Stage;
            use pt::format::{AmdV1, Granule, Riscv, VmsaStage1, VmsaStage2, VtdSecondStage, X86_64};
            macro_rules! one {
                ($name:ident, $format:expr) => {
                    #[test]
                    fn $name() {
                        super::$property($format);
                    }
                };
            }
            for_each_format!(one);
        })*
    };
}
pub(crate) use tests;

/// The sizes of pages, as log2 of their bytes.
pub fn orders(format: &impl Encode) -> Vec<u8> {
    (0..64).filter(|order| format.page_sizes() >> order & 1 == 1).collect()
}

/// The bytes that a root maps, as log2.
pub fn width(format: &impl Encode) -> u32 {
    (format.shift(format.top()) + format.index_bits(format.top())).min(64)
}

/// Rights from 3 bits.
pub fn rights(bits: u8) -> Rights {
    Rights::from_bits_truncate(bits)
}

/// An access that asks for one right.
pub fn each_access() -> [Access; 3] {
    [Access::READ, Access::WRITE, Access::EXECUTE]
}

/// Where the entries are that an input address leads to, from the root to the page.
pub fn path(format: &impl Encode, root: Root, input: u64, memory: &Arena) -> Vec<(u64, u8)> {
    let (mut table, mut level, mut path) = (root.0, format.top(), Vec::new());
    loop {
        let index = input.checked_shr(format.shift(level)).unwrap_or(0);
        let at = table + (index & low_bits(format.index_bits(level))) * 8;
        path.push((at, level));
        match format.decode(memory.load(at).unwrap(), level) {
            Ok(pt::Entry::Table { address, level: next, .. }) => (table, level) = (address, next),
            _ => return path,
        }
    }
}

/// Tries a property with so many values; `PROPTEST_CASES` tells another number.
pub fn try_all<S: proptest::strategy::Strategy>(
    cases: u32,
    values: S,
    property: impl Fn(S::Value),
) {
    use proptest::test_runner::{Config, TestRunner};
    let told = std::env::var("PROPTEST_CASES").ok().and_then(|told| told.parse().ok());
    let config = Config {
        cases: told.unwrap_or(cases),
        failure_persistence: None,
        max_shrink_iters: 10_000,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&values, |value| {
        property(value);
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
