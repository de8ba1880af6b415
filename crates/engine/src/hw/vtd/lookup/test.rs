//! A unit, and the memory that it translates in.

mod nested;
mod qemu;
mod structures;

use std::cell::RefCell;
use std::collections::BTreeMap;

use pt::{Access, TableMemory};

use super::Registers;
use crate::hw::request::Request;

/// Memory: words that are not 0, below a border.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ram(RefCell<BTreeMap<u64, u64>>);

/// Beyond it there is no memory.
const BORDER: u64 = 1 << 40;

#[derive(Debug)]
struct Outside;

impl Ram {
    fn store(&self, address: u64, word: u64) {
        self.0.borrow_mut().insert(address, word);
    }

    fn word(&self, address: u64) -> u64 {
        self.0.borrow().get(&address).copied().unwrap_or(0)
    }
}

impl TableMemory for Ram {
    type Error = Outside;

    fn load(&self, address: u64) -> Result<u64, Outside> {
        assert_eq!(address % 8, 0);
        if address < BORDER { Ok(self.word(address)) } else { Err(Outside) }
    }

    fn swap(&self, address: u64, old: u64, new: u64) -> Result<bool, Outside> {
        let same = self.load(address)? == old;
        if same {
            self.store(address, new);
        }
        Ok(same)
    }
}

/// A unit with everything that is modelled: CAP and ECAP.
fn full() -> Registers {
    use profile::registers::vtd::*;
    let bits = |fields: &[profile::registers::Field]| {
        fields.iter().fold(0, |all, field| all | 1 << field.low)
    };
    let widths = 0b1110 << SAGAW.low | 56 << MGAW.low | 3 << SSLPS.low;
    Registers {
        cap: widths | bits(&[FS1GP, FS5LP]),
        ecap: bits(&[
            DT, PT, SC, NEST, PRS, ERS, SRS, EAFS, PASID, SMTS, SSADS, SSTS, FSTS, SMPWCS,
        ]),
        address_bits: 48,
    }
}

/// The same without a field of ECAP.
fn without(field: profile::registers::Field) -> Registers {
    let full = full();
    Registers { ecap: full.ecap & !(1 << field.low), ..full }
}

fn request(iova: u64, access: Access) -> Request {
    Request { pasid: None, iova, access, translation_only: false }
}

fn of_process(pasid: u32, iova: u64, access: Access) -> Request {
    Request { pasid: Some(pasid), ..request(iova, access) }
}
