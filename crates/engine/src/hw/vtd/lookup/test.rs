//! A unit, and the memory that it translates in.

mod nested;
mod qemu;
mod structures;

use std::collections::BTreeMap;

use pt::Access;

use super::Registers;
use crate::hw::ram::Ram;
use crate::hw::request::Request;

/// Beyond it there is no memory.
const BORDER: u64 = 1 << 40;

fn memory() -> Ram {
    Ram::new(0..BORDER, BTreeMap::new())
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
