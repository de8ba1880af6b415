//! What the hardware has in its configuration space: the header and the capabilities (PCI 7.5 to 7.9).
//!
//! | at | capability | of |
//! |---|---|---|
//! | 0x40 | MSI-X | [`Vectors::msix`] |
//! | 0xc0 | MSI, of 64 bits | [`Vectors::msi`] |
//! | 0x80 | PCI Express | the machine |
//! | 0x60 | power management | every function |
//! | 0x100 and on | ATS, PRI, SR-IOV, PASID | the machine |
//!
//! The places, the order and what Express says are those of QEMU's NVMe controller, as recorded.

use profile::machine::{self, Express};

use super::super::Function;
use super::{BARS, Cap, Config, MASTER_OFF, Span, put};
use crate::Bar;

pub(super) const COMMAND: usize = 0x04;
pub(super) const STATUS: usize = 0x06;
pub(super) const CAPABILITY_LIST: u16 = 1 << 4;
const REVISION: usize = 0x08;
const SUBSYSTEM: usize = 0x2c;
const CAPABILITIES: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;
const HEADER: usize = 0x40;

const MSIX: usize = 0x40;
const POWER: usize = 0x60;
const EXPRESS: usize = 0x80;
const MSI: usize = 0xc0;

/// Bytes of configuration space without and with PCI Express.
const SMALL: usize = 256;
const LARGE: usize = 4096;

/// The line that the firmware of QEMU's q35 gives to pins.
const LINE: u8 = 11;

/// Function-level reset, and errors by role.
const DEVICE_CAPABILITIES: u32 = 0x1000_8000;
/// A link of one lane at 2.5 GT/s.
const LINK_CAPABILITIES: u32 = 0x411;
const LINK_STATUS: u16 = 0x11;
/// Prefixes of requests from end to end.
const DEVICE_CAPABILITIES_2: u32 = 0x30_0000;
const VERSION_2: u16 = 2;
const TYPE_INTEGRATED: u16 = 9 << 4;

/// No reset when it returns from D3hot.
const NO_SOFT_RESET: u16 = 1 << 3;
const POWER_VERSION_3: u16 = 3;

/// The configuration space of a function that a program gets: memory space is on, bus mastering is off.
pub(super) fn lay_out(function: &Function) -> Config {
    let facts = &*function.facts;
    let size = if facts.express.is_some() { LARGE } else { SMALL };
    let mut hardware = vec![0; size];
    let mut spans = vec![Span { start: 0, length: HEADER, cap: Cap::Header }];
    header(&mut hardware, function);
    capabilities(&mut hardware, &mut spans, function);
    let hidden = extended(&mut hardware, &mut spans, facts);
    let mut virtual_bytes = hardware.clone();
    for (at, header) in hidden {
        put(&mut virtual_bytes, at, &header.to_le_bytes());
    }
    Config { hardware, virtual_bytes, spans }
}

fn header(bytes: &mut [u8], function: &Function) {
    let facts = &*function.facts;
    put(bytes, 0, &facts.vendor.to_le_bytes());
    put(bytes, 2, &facts.device.to_le_bytes());
    put(bytes, COMMAND, &MASTER_OFF.to_le_bytes());
    put(bytes, STATUS, &CAPABILITY_LIST.to_le_bytes());
    put(bytes, REVISION, &(facts.class << 8 | u32::from(facts.revision)).to_le_bytes());
    for number in 0..6 {
        let Some(bar) = function.bar(number) else { continue };
        let at = BARS + 4 * number as usize;
        let address = address_of(function.number, number, &bar) | bar_flags(&bar);
        put(bytes, at, &address.to_le_bytes()[..bar_length(&bar)]);
    }
    put(bytes, SUBSYSTEM, &facts.subsystem.0.to_le_bytes());
    put(bytes, SUBSYSTEM + 2, &facts.subsystem.1.to_le_bytes());
    if function.vectors().pin {
        bytes[INTERRUPT_LINE] = LINE;
        bytes[INTERRUPT_PIN] = 1;
    }
}

/// Bytes of a BAR's register.
pub(super) fn bar_length(bar: &Bar) -> usize {
    if bar.wide { 8 } else { 4 }
}

/// The low bits of a BAR (PCI 7.5.1.2.1).
pub(super) fn bar_flags(bar: &Bar) -> u64 {
    u64::from(bar.wide) << 2 | u64::from(bar.prefetchable) << 3
}

/// Where the system has placed a BAR.
fn address_of(function: usize, number: u32, bar: &Bar) -> u64 {
    let slot = function as u64 * 6 + u64::from(number);
    let address = match bar.wide {
        true => 0x2000_0000_0000 + (slot << 34),
        false => 0xe000_0000 + (slot << 20) % 0x1000_0000,
    };
    address & !(bar.size - 1)
}

fn capabilities(bytes: &mut [u8], spans: &mut Vec<Span>, function: &Function) {
    let vectors = function.vectors();
    let mut pointer = CAPABILITIES;
    let mut add = |bytes: &mut [u8], at: usize, cap: Cap, length: usize, id: u8| {
        bytes[pointer] = at as u8;
        bytes[at] = id;
        spans.push(Span { start: at, length, cap });
        pointer = at + 1;
    };
    if let Some(msix) = vectors.msix {
        add(bytes, MSIX, Cap::Msix, 12, 0x11);
        put(bytes, MSIX + 2, &msix.vectors.saturating_sub(1).to_le_bytes());
        for (at, (bar, offset)) in [(MSIX + 4, msix.table), (MSIX + 8, msix.pending)] {
            put(bytes, at, &(offset as u32 & !7 | bar & 7).to_le_bytes());
        }
    }
    if vectors.msi > 0 {
        add(bytes, MSI, Cap::Msi, 14, 0x05);
        let flags = 1_u16 << 7 | (vectors.msi.ilog2() << 1) as u16;
        put(bytes, MSI + 2, &flags.to_le_bytes());
    }
    if let Some(express) = function.facts.express {
        let (kind, length) = match express {
            Express::Endpoint => (0, 0x3c),
            Express::Integrated => (TYPE_INTEGRATED, 0x2c),
        };
        add(bytes, EXPRESS, Cap::Express, length, 0x10);
        put(bytes, EXPRESS + 2, &(VERSION_2 | kind).to_le_bytes());
        put(bytes, EXPRESS + 4, &DEVICE_CAPABILITIES.to_le_bytes());
        put(bytes, EXPRESS + 0xc, &LINK_CAPABILITIES.to_le_bytes());
        put(bytes, EXPRESS + 0x12, &LINK_STATUS.to_le_bytes());
        put(bytes, EXPRESS + 0x24, &DEVICE_CAPABILITIES_2.to_le_bytes());
    }
    add(bytes, POWER, Cap::Power, 8, 0x01);
    put(bytes, POWER + 2, &POWER_VERSION_3.to_le_bytes());
    put(bytes, POWER + 4, &NO_SOFT_RESET.to_le_bytes());
}

/// An extended capability.
struct Extended {
    /// Identity and version.
    header: u32,
    length: usize,
    /// Words that are not 0, by their offset.
    words: Vec<(usize, u32)>,
}

/// The extended capabilities of a device, PASID last.
fn extended_of(facts: &machine::Device) -> Vec<Extended> {
    // those of a virtual function are its physical one's, but for ATS
    let own = !facts.virtual_function;
    let mut list = Vec::new();
    let mut add = |header, length, words| list.push(Extended { header, length, words });
    if facts.ats {
        // page aligned
        add(0x1_000f, 0x08, vec![(4, 1 << 5)]);
    }
    if facts.pri && own {
        // stopped; 32 requests
        add(0x1_0013, 0x10, vec![(4, 1 << 24), (8, 32)]);
    }
    if facts.total_vfs > 0 && own {
        let vfs = u32::from(facts.total_vfs);
        // initial and total, sizes of pages
        add(0x1_0010, 0x40, vec![(0xc, vfs << 16 | vfs), (0x1c, 0x553)]);
    }
    if let Some(pasid) = facts.pasid.filter(|_| own) {
        let rights = u32::from(pasid.execute) << 1 | u32::from(pasid.privileged) << 2;
        add(PASID, 0x08, vec![(4, u32::from(pasid.width) << 8 | rights)]);
    }
    list
}

/// Header of PASID.
const PASID: u32 = 0x1_001b;

/// Adds the extended capabilities. Returns headers that a program sees otherwise, with their places: PASID is
/// hidden (`pci_ext_cap_length`, `vfio_ecap_init`).
fn extended(bytes: &mut [u8], spans: &mut Vec<Span>, facts: &machine::Device) -> Vec<(usize, u32)> {
    let list = if facts.express.is_some() { extended_of(facts) } else { Vec::new() };
    let (mut at, mut shown) = (SMALL, Vec::new());
    let mut before = None;
    for (number, Extended { header, length, words }) in list.iter().enumerate() {
        let next = if number + 1 < list.len() { at + length } else { 0 };
        put(bytes, at, &(header | (next as u32) << 20).to_le_bytes());
        for (offset, word) in words {
            put(bytes, at + offset, &word.to_le_bytes());
        }
        let span = |length| Span { start: at, length, cap: Cap::Extended };
        match before {
            _ if *header != PASID => spans.push(span(*length)),
            // the list cannot begin elsewhere
            None => {
                spans.push(span(4));
                shown.push((at, 0));
            }
            Some(before) => shown.push(before),
        }
        before = Some((at, *header));
        at += length;
    }
    shown
}
