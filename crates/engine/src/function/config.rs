//! Configuration space as a program sees it (`drivers/vfio/pci/vfio_pci_config.c`): the header (PCI 7.5.1).

use super::Function;
use crate::Bar;

/// The bytes of a function's configuration space.
#[derive(Debug)]
pub(super) struct Config([u8; Config::SIZE]);

impl Default for Config {
    fn default() -> Self {
        Self([0; Self::SIZE])
    }
}

const COMMAND: usize = 0x04;
pub(super) const COMMAND_MEMORY: u16 = 1 << 1;
pub(super) const COMMAND_MASTER: u16 = 1 << 2;
const REVISION: usize = 0x08;
const CACHE_LINE_SIZE: usize = 0x0c;
const BARS: usize = 0x10;
const BARS_END: usize = 0x28;
const INTERRUPT_LINE: usize = 0x3c;

/// Bits of the command register that a function without I/O space has: memory space, bus master, parity
/// and system errors, no interrupt by pin.
const COMMAND_BITS: u16 = COMMAND_MEMORY | COMMAND_MASTER | 1 << 6 | 1 << 8 | 1 << 10;

impl Config {
    pub const SIZE: usize = 256;

    pub fn new(function: &Function) -> Self {
        let facts = &function.facts;
        let mut config = Self([0; Self::SIZE]);
        config.put(0, &facts.vendor.to_le_bytes());
        config.put(2, &facts.device.to_le_bytes());
        // pci_enable_device turns memory on, and leaves bus mastering off
        config.put(COMMAND, &COMMAND_MEMORY.to_le_bytes());
        config.put(REVISION, &(facts.class << 8 | u32::from(facts.revision)).to_le_bytes());
        for number in 0..6 {
            let Some(bar) = function.bar(number) else { continue };
            let at = BARS + 4 * number as usize;
            let address = address_of(function.number, number, &bar);
            let bytes = address.to_le_bytes();
            config.put(at, &bytes[..if bar.wide { 8 } else { 4 }]);
        }
        config.settle_bars(function);
        config
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn command(&self) -> u16 {
        u16::from_le_bytes([self.0[COMMAND], self.0[COMMAND + 1]])
    }

    pub fn read(&self, at: u64, to: &mut [u8]) {
        let at = at as usize;
        to.copy_from_slice(&self.0[at..at + to.len()]);
    }

    pub fn write(&mut self, function: &Function, at: u64, from: &[u8]) {
        for (at, new) in (at as usize..).zip(from) {
            let mask = writable(at);
            self.0[at] = self.0[at] & !mask | new & mask;
        }
        self.settle_bars(function);
    }

    /// What a device with these BARs answers, whatever was written (`vfio_bar_fixup`).
    fn settle_bars(&mut self, function: &Function) {
        let mut number = 0;
        while number < 6 {
            let at = BARS + 4 * number as usize;
            let bar = function.bar(number);
            let length = if bar.is_some_and(|bar| bar.wide) { 8 } else { 4 };
            let mut bytes = [0; 8];
            bytes[..length].copy_from_slice(&self.0[at..at + length]);
            let told = bar.map_or(0, |bar| {
                let flags = u64::from(bar.wide) << 2 | u64::from(bar.prefetchable) << 3;
                u64::from_le_bytes(bytes) & !(bar.size - 1) | flags
            });
            self.put(at, &told.to_le_bytes()[..length]);
            number += length as u32 / 4;
        }
    }
}

/// Which bits of a byte a program may write (`init_pci_cap_basic_perm`), and the function has.
fn writable(at: usize) -> u8 {
    const COMMAND_HIGH: usize = COMMAND + 1;
    match at {
        COMMAND => COMMAND_BITS as u8,
        COMMAND_HIGH => (COMMAND_BITS >> 8) as u8,
        CACHE_LINE_SIZE | INTERRUPT_LINE | BARS..BARS_END => 0xff,
        _ => 0,
    }
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
