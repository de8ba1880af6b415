//! Memory, tables in it, and an SMMU that can do much.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use pt::format::{Granule, VmsaStage1, VmsaStage2};
use pt::{Access, Format, TableMemory};

use crate::hw::request::Request;
use crate::hw::smmuv3::lookup::{Registers, SecondStage, StreamEntry};

/// All granules, 48 bits out, 52 bits in, 20 bits of substream in two levels, marks, stalls.
pub const RICH: Registers = Registers([0x084c_148b, 20 << 6 | 16, 0, 0x2004, 0, 0x475]);

/// Says in the registers which faults stall: those that are to, none, or all.
pub fn stall_model(idr: &mut [u32; 6], model: u32) {
    idr[0] = idr[0] & !(3 << 24) | model << 24;
}

/// `arm_smmu_make_bypass_ste`
pub const BYPASS: StreamEntry = StreamEntry([1 | 4 << 1, 0, 0, 0]);

/// Stage 2 of 40 bits of input at [`S2_ROOT`], which starts with several tables whatever the granule.
pub fn second_stage(granule: Granule) -> SecondStage {
    SecondStage { t0sz: 24, sl0: 1, tg: tg0(granule), ps: 5, vmid: 7, ttb: S2_ROOT, stalls: false }
}

pub const S2_ROOT: u64 = 0x7000_0000;

pub const GRANULES: [Granule; 3] = [Granule::K4, Granule::K16, Granule::K64];

pub fn tg0(granule: Granule) -> u8 {
    match granule {
        Granule::K4 => 0,
        Granule::K64 => 1,
        Granule::K16 => 2,
    }
}

/// Stage 1 of 48 bits, to write its tables by.
pub fn first_format(granule: Granule) -> VmsaStage1 {
    VmsaStage1::lower(granule, 48, 48)
}

/// What [`second_stage`] is, to write its tables by.
pub fn second_format(granule: Granule) -> VmsaStage2 {
    VmsaStage2 {
        granule,
        input_bits: 40,
        top: if granule == Granule::K4 { 2 } else { 1 },
        address_bits: 48,
        marks: false,
        marks_dirty: false,
        unmarked_passes: false,
    }
}

/// Whole pages of 0 until they are written, below [`Ram::END`].
pub struct Ram {
    words: RefCell<BTreeMap<u64, u64>>,
    free: Cell<u64>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Outside;

impl Ram {
    pub const END: u64 = 1 << 40;

    /// With tables from here on.
    pub fn new(free: u64) -> Self {
        Self { words: RefCell::default(), free: Cell::new(free) }
    }

    pub fn get(&self, at: u64) -> u64 {
        self.words.borrow().get(&at).copied().unwrap_or(0)
    }

    pub fn set(&self, at: u64, word: u64) {
        self.words.borrow_mut().insert(at, word);
    }

    /// Writes words from here on.
    pub fn write(&self, at: u64, words: &[u64]) {
        for (index, word) in (0..).zip(words) {
            self.set(at + index * 8, *word);
        }
    }

    fn table(&self) -> u64 {
        let at = self.free.get();
        self.free.set(at + 0x1_0000);
        at
    }

    /// Writes the entry of a level for an address, and tables on the way that are missing; gives where it
    /// is. Tables are at `place` of their addresses.
    pub fn map<F: Format>(
        &self,
        format: &F,
        root: u64,
        input: u64,
        (level, entry): (u8, u64),
        place: impl Fn(u64) -> u64,
    ) -> u64 {
        let mut table = root;
        for at in (level..=format.top()).rev() {
            let index = input >> format.shift(at) & ((1 << format.index_bits(at)) - 1);
            let slot = place(table + index * 8);
            if at == level {
                self.set(slot, entry);
                return slot;
            }
            if self.get(slot) == 0 {
                self.set(slot, self.table() | 3);
            }
            table = self.get(slot) & 0x0000_ffff_ffff_f000;
        }
        unreachable!("level {level} is above the root")
    }
}

impl TableMemory for Ram {
    type Error = Outside;

    fn load(&self, address: u64) -> Result<u64, Outside> {
        if address < Self::END { Ok(self.get(address)) } else { Err(Outside) }
    }

    fn swap(&self, address: u64, old: u64, new: u64) -> Result<bool, Outside> {
        let same = self.load(address)? == old;
        if same {
            self.set(address, new);
        }
        Ok(same)
    }
}

pub fn request(pasid: Option<u32>, iova: u64, access: Access) -> Request {
    Request { pasid, iova, access, translation_only: false }
}
