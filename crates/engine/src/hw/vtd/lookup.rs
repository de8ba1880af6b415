//! What a VT-d unit in scalable mode makes of a request: root, context, PASID directory, PASID entry, and
//! one or two stages.
//!
//! From the VT-d specification: 3.4.3 (structures), 3.6 to 3.8 (stages), 7.1.3 (faults), 9 (formats).
//!
//! | file | holds |
//! |---|---|
//! | here | registers, and refusals |
//! | `structures` | the way to a PASID entry in memory |
//! | `pasid` | the PASID entry: how Linux fills it, and what makes it invalid |
//! | `translate` | what an entry makes of a request |
//!
//! A fault is recorded unless FPD is set in an entry above the one it was found in, or, for what is
//! found after an entry was read and well formed, in that entry. That an entry of a structure cannot be
//! read is told always.
//!
//! *What it doesn't do*: legacy and abort mode, privilege of requests without PASID (RID_PRIV), execute
//! permission of the second stage (bit 2, ECAP.ERS), memory types, interrupt remapping, translated
//! requests.

mod pasid;
#[cfg(test)]
mod structures;
#[cfg(test)]
mod test;
mod translate;

pub(crate) use pasid::{PasidEntry, SecondStage};

use crate::hw::request::Request;

/// Registers of a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    pub cap: u64,
    pub ecap: u64,
    /// Bits of a host physical address, at most 52 (the DMAR table's host address width).
    pub address_bits: u32,
}

/// Why a request is refused; what a fault record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The reason in the record (`reason`); for a message, which is no fault, 0.
    pub reason: u8,
    /// The page of the input address.
    pub address: u64,
    /// Whether a device that asked by ATS is told that it may do nothing there, and may ask for the
    /// page.
    pub recoverable: bool,
    /// Whether nothing of it is recorded.
    pub silent: bool,
}

impl Refused {
    fn new(reason: u8, request: Request, fault_processing_disabled: bool) -> Self {
        let recoverable = reason::RECOVERABLE.contains(&reason);
        let quiet = fault_processing_disabled && !reason::UNQUALIFIED.contains(&reason);
        let answered = recoverable && request.translation_only;
        Self {
            reason,
            address: page(request.iova),
            recoverable,
            silent: quiet || answered || reason == reason::MESSAGE,
        }
    }
}

/// Fault reasons in scalable mode (7.1.3).
#[rustfmt::skip] // one reason, one line
pub(crate) mod reason {
    /// A message to the interrupt address range: neither an access to memory nor a fault.
    pub const MESSAGE: u8 = 0;

    pub const ROOT_TABLE_ADDRESS: u8 = 0x30;
    pub const TABLE_MODE_WITHOUT_PASID: u8 = 0x31;
    /// It cannot be read, is not there, has reserved bits.
    pub const ROOT: [u8; 3] = [0x38, 0x39, 0x3a];
    pub const CONTEXT: [u8; 3] = [0x40, 0x41, 0x42];
    /// DTE
    pub const ATS_DISABLED: u8 = 0x44;
    pub const DIRECTORY: [u8; 3] = [0x50, 0x51, 0x52];
    pub const PASID_LOAD: u8 = 0x58;
    pub const PASID_NOT_PRESENT: u8 = 0x59;
    pub const PASID_RESERVED: u8 = 0x5a;
    pub const PASID_INVALID: u8 = 0x5b;
    /// ERE
    pub const EXECUTE_DISABLED: u8 = 0x5c;
    /// SRE
    pub const SUPERVISOR_DISABLED: u8 = 0x5d;

    pub const FIRST_LOAD: u8 = 0x70;
    pub const FIRST_NOT_PRESENT: u8 = 0x71;
    pub const FIRST_RESERVED: u8 = 0x72;
    pub const FIRST_ROOT_LOAD: u8 = 0x73;
    /// An entry of the first stage is beyond the second stage's width.
    pub const FIRST_ENTRY_BEYOND: u8 = 0x74;
    /// The second stage does not let the root table of the first be read.
    pub const FIRST_ROOT_NO_READ: u8 = 0x75;
    pub const FIRST_ENTRY_NO_READ: u8 = 0x76;
    pub const FIRST_ENTRY_NO_WRITE: u8 = 0x77;
    pub const SECOND_LOAD: u8 = 0x78;
    pub const SECOND_NOT_PRESENT: u8 = 0x79;
    pub const SECOND_RESERVED: u8 = 0x7a;
    pub const SECOND_ROOT_LOAD: u8 = 0x7b;
    /// An entry is to be marked, in memory that is not accessed coherently.
    pub const SECOND_UNSNOOPED: u8 = 0x7c;

    pub const NOT_CANONICAL: u8 = 0x80;
    /// U/S
    pub const USER: u8 = 0x81;
    pub const NO_EXECUTE: u8 = 0x82;
    pub const OUTPUT_BEYOND: u8 = 0x83;
    pub const SECOND_INPUT_BEYOND: u8 = 0x84;
    pub const NO_WRITE: u8 = 0x85;
    pub const NO_READ: u8 = 0x86;
    pub const INTERRUPT_ADDRESS: u8 = 0x87;
    pub const FIRST_UNSNOOPED: u8 = 0x90;
    pub const FIRST_NOT_MARKED: u8 = 0x91;

    /// What a page request may cure: nothing there, or no permission, in either stage.
    pub const RECOVERABLE: &[u8] = &[
        FIRST_NOT_PRESENT, FIRST_ROOT_NO_READ, FIRST_ENTRY_NO_READ, FIRST_ENTRY_NO_WRITE,
        SECOND_NOT_PRESENT, USER, NO_WRITE, NO_READ,
    ];

    /// What FPD never hides.
    pub const UNQUALIFIED: &[u8] = &[
        ROOT_TABLE_ADDRESS, TABLE_MODE_WITHOUT_PASID, ROOT[0], ROOT[1], ROOT[2], CONTEXT[0],
        CONTEXT[1], DIRECTORY[0], PASID_LOAD,
    ];
}

/// What all entries of structures have in common.
mod entry {
    pub const PRESENT: u64 = 1;
    /// FPD; the root has none.
    pub const FAULT_PROCESSING_DISABLE: u64 = 1 << 1;
}

const PAGE_MASK: u64 = 0xfff;

/// Where what an entry leads to is.
const fn page(entry: u64) -> u64 {
    entry & !PAGE_MASK
}

/// The lowest bits of a word.
const fn low_bits(count: u32) -> u64 {
    if count >= u64::BITS { u64::MAX } else { (1 << count) - 1 }
}
