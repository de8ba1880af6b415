//! Configuration space as a program sees it (`drivers/vfio/pci/vfio_pci_config.c`).
//!
//! There are two copies, as in the driver: what the hardware has, and what is only shown (`vconfig`). Each
//! bit of a capability is read from one of them, and may be written or not ([`permission`]); what lies
//! between capabilities is the hardware's, which has nothing there.
//!
//! | module | holds |
//! |---|---|
//! | this one | reads and writes, and what a write does |
//! | [`layout`] | what the hardware has |
//! | [`permission`] | which bits are whose |
//!
//! *What it doesn't do*: expansion ROMs, vital product data, capabilities of errors.

mod layout;
mod permission;

use super::Function;
use layout::{COMMAND, STATUS};

const BARS: usize = 0x10;
const BARS_END: usize = 0x28;
const ROM: usize = 0x30;

pub(super) const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_IO: u16 = 1 << 0;
const COMMAND_MASTER: u16 = 1 << 2;
const COMMAND_SERR: u16 = 1 << 8;
const COMMAND_PIN_OFF: u16 = 1 << 10;
/// The command register as firmware leaves it, without bus mastering.
const MASTER_OFF: u16 = COMMAND_IO | COMMAND_MEMORY | COMMAND_SERR;
const STATUS_PIN: u8 = 1 << 3;

const POWER_CONTROL: usize = 4;
const POWER_STATE: u8 = 3;
const D3_HOT: u8 = 3;

const MSI_FLAGS: usize = 2;
const MSI_ENABLE: u8 = 1 << 0;
const MSIX_FLAGS_HIGH: usize = 3;
const MSIX_ENABLE: u8 = 1 << 7;

const DEVICE_CONTROL_HIGH: usize = 9;
const FUNCTION_RESET: u8 = 1 << 7;

/// What a capability is, as far as its bits differ (`pci_config_map`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cap {
    Header,
    Power,
    Msi,
    Msix,
    Express,
    /// Any extended one: only to be read, its header as shown.
    Extended,
}

/// Where a capability is.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    length: usize,
    cap: Cap,
}

/// The configuration space of a function.
#[derive(Debug, Default)]
pub(super) struct Config {
    hardware: Vec<u8>,
    /// What is only shown.
    virtual_bytes: Vec<u8>,
    spans: Vec<Span>,
}

/// What configuration space shows of interrupts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    pub pin_asserted: bool,
    pub msi_on: bool,
    /// The base 2 logarithm of the messages that are on.
    pub msi_order: u8,
    pub msix_on: bool,
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

impl Config {
    /// As a program gets it (`vfio_config_init`).
    pub fn new(function: &Function) -> Self {
        layout::lay_out(function)
    }

    pub fn size(&self) -> usize {
        self.hardware.len()
    }

    fn span(&self, at: usize) -> Option<&Span> {
        self.spans.iter().find(|span| (span.start..span.start + span.length).contains(&at))
    }

    /// How wide an access is at a place with so many bytes left: in one capability, and aligned
    /// (`vfio_pci_config_rw_single`).
    pub fn width(&self, at: usize, left: usize) -> usize {
        let start = |at: usize| self.span(at).map(|span| span.start);
        let here = start(at);
        let same = (at + 1..at - at % 4 + 4).take_while(|next| start(*next) == here).count() + 1;
        match left.min(same) {
            4.. if at.is_multiple_of(4) => 4,
            2.. if at.is_multiple_of(2) => 2,
            _ => 1,
        }
    }

    /// Whether a write at a place does anything, or looks at what it is of.
    pub fn takes(&self, at: usize) -> bool {
        self.span(at).is_none_or(|span| permission::is_writable(span.cap))
    }

    fn shown_command(&self) -> u16 {
        u16::from_le_bytes([self.virtual_bytes[COMMAND], self.virtual_bytes[COMMAND + 1]])
    }

    fn power_state(&self) -> u8 {
        let span = self.spans.iter().find(|span| span.cap == Cap::Power);
        span.map_or(0, |span| self.hardware[span.start + POWER_CONTROL] & POWER_STATE)
    }

    /// Whether BARs answer (`__vfio_pci_memory_enabled`).
    pub fn memory_is_on(&self) -> bool {
        !self.hardware.is_empty()
            && self.shown_command() & COMMAND_MEMORY != 0
            && self.power_state() < D3_HOT
    }

    /// Whether the device may make requests: no device does in D3hot (PCI 5.3.1.4.1).
    pub fn master_is_on(&self) -> bool {
        let command = self.hardware.get(COMMAND).copied().unwrap_or(0);
        u16::from(command) & COMMAND_MASTER != 0 && self.power_state() < D3_HOT
    }

    /// Whether the program has turned the pin off.
    pub fn pin_is_off(&self) -> bool {
        !self.hardware.is_empty() && self.shown_command() & COMMAND_PIN_OFF != 0
    }

    /// Back from any sleep.
    pub fn wake(&mut self) {
        self.set_power_state(0);
    }

    fn set_power_state(&mut self, state: u8) {
        // there are no D1 and D2 (pci_set_power_state)
        let span = self.spans.iter().find(|span| span.cap == Cap::Power);
        if let (Some(span), 0 | D3_HOT) = (span, state) {
            let control = &mut self.hardware[span.start + POWER_CONTROL];
            *control = *control & !POWER_STATE | state;
        }
    }

    /// Reads one access.
    pub fn read(&self, at: usize, to: &mut [u8], shown: Shown) {
        let span = self.span(at);
        for (at, byte) in (at..).zip(to) {
            let own = span.map_or(0, |span| permission::of(span.cap, at - span.start).shown);
            let mut hardware = self.hardware[at];
            match span.map(|span| (span.cap, at - span.start)) {
                Some((Cap::Header, STATUS)) if shown.pin_asserted => hardware |= STATUS_PIN,
                Some((Cap::Msix, MSIX_FLAGS_HIGH)) if shown.msix_on => hardware |= MSIX_ENABLE,
                _ => {}
            }
            *byte = hardware & !own | self.virtual_bytes[at] & own;
        }
    }

    /// Writes one access; whether the function is to be reset.
    pub fn write(&mut self, function: &Function, at: usize, from: &[u8], shown: Shown) -> bool {
        let Some(Span { start, cap, .. }) = self.span(at).copied() else { return false };
        for (at, new) in (at..).zip(from) {
            let bits = permission::of(cap, at - start);
            let own = bits.written & bits.shown;
            let passed = bits.written & !bits.shown & permission::implemented(cap, at - start);
            self.virtual_bytes[at] = self.virtual_bytes[at] & !own | new & own;
            self.hardware[at] = self.hardware[at] & !passed | new & passed;
        }
        let offset = at - start;
        match cap {
            Cap::Header => self.header_written(function, offset, from),
            Cap::Power if offset == POWER_CONTROL => self.set_power_state(from[0] & POWER_STATE),
            Cap::Msi if offset <= MSI_FLAGS => self.msi_written(start + MSI_FLAGS, shown),
            Cap::Express => {
                let control = &mut self.virtual_bytes[start + DEVICE_CONTROL_HIGH];
                let reset = *control & FUNCTION_RESET != 0;
                *control &= !FUNCTION_RESET;
                return reset;
            }
            _ => {}
        }
        false
    }

    /// `vfio_basic_config_write`
    fn header_written(&mut self, function: &Function, offset: usize, from: &[u8]) {
        if offset == COMMAND {
            // whether memory is on is asked of what is shown
            let both = (COMMAND_MEMORY | COMMAND_IO) as u8;
            let shown = &mut self.virtual_bytes[COMMAND];
            *shown = *shown & !both | from[0] & both;
        }
        if (BARS..BARS_END).contains(&offset) || offset == ROM {
            self.settle_bars(function);
        }
    }

    /// What a device with these BARs answers, whatever was written (`vfio_bar_fixup`).
    fn settle_bars(&mut self, function: &Function) {
        let mut number = 0;
        while number < 6 {
            let at = BARS + 4 * number as usize;
            let bar = function.bar(number);
            let length = bar.as_ref().map_or(4, layout::bar_length);
            let mut bytes = [0; 8];
            bytes[..length].copy_from_slice(&self.virtual_bytes[at..at + length]);
            let told = bar.map_or(0, |bar| {
                u64::from_le_bytes(bytes) & !(bar.size - 1) | layout::bar_flags(&bar)
            });
            put(&mut self.virtual_bytes, at, &told.to_le_bytes()[..length]);
            number += length as u32 / 4;
        }
        put(&mut self.virtual_bytes, ROM, &[0; 4]);
    }

    /// `vfio_msi_config_write`: only interrupts that are on are shown as on, and not more of them.
    fn msi_written(&mut self, at: usize, shown: Shown) {
        let flags = &mut self.virtual_bytes[at];
        if !shown.msi_on {
            *flags &= !MSI_ENABLE;
        }
        if (*flags >> 4) & 7 > shown.msi_order {
            *flags = *flags & !0x70 | shown.msi_order << 4;
        }
    }
}
