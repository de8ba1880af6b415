//! A PCI function that programs may have: its regions, its configuration space, its reset
//! (`drivers/vfio/pci`).
//!
//! | region | holds |
//! |---|---|
//! | 0 to 5 | BARs, of the [`Model`] behind the function; none without one |
//! | 6 | expansion ROM: none here |
//! | 7 | configuration space: the header, with what vfio-pci lets a program write |
//! | 8 | VGA: none here |
//!
//! *What it doesn't do yet*: capabilities, interrupts, mapping of BARs.

use std::sync::{Arc, OnceLock};

use mem::AddressSpace;
use parking_lot::Mutex;
use profile::machine;
use uapi::vfio::*;

use crate::dma::Requester;
use crate::hw::Hardware;
use crate::{Bar, Interrupts, Model, Refusal};

/// A PCI function that programs may have.
#[derive(Debug)]
pub(crate) struct Function {
    /// Its number, of which its addresses are made.
    number: usize,
    pub facts: Arc<machine::Device>,
    pub hw: Arc<dyn Hardware>,
    /// Whether its interrupt messages reach only its own interrupts.
    pub isolated: bool,
    pub requester: Arc<Requester>,
    pub interrupts: Interrupts,
    model: OnceLock<Arc<dyn Model>>,
    config: Mutex<Config>,
}

/// Bits of an offset in the file that are one in the region (`VFIO_PCI_OFFSET_SHIFT`).
const OFFSET_BITS: u32 = 40;

/// The most that one call transfers (`MAX_RW_COUNT`).
const MOST: u64 = 0x7fff_f000;

/// A place in a region.
#[derive(Clone, Copy, Debug)]
struct Place {
    region: u32,
    offset: u64,
}

impl Place {
    /// None where no region can be.
    fn of(position: u64) -> Option<Self> {
        let region = u32::try_from(position >> OFFSET_BITS).ok()?;
        let offset = position & ((1 << OFFSET_BITS) - 1);
        (region < VFIO_PCI_NUM_REGIONS).then_some(Self { region, offset })
    }
}

fn no_region(index: u32) -> Refusal {
    Refusal::Invalid { field: "index", value: index.into(), rule: "no such region" }
}

impl Function {
    pub fn new(
        number: usize,
        facts: Arc<machine::Device>,
        hw: Arc<dyn Hardware>,
        isolated: bool,
        requester: Arc<Requester>,
    ) -> Self {
        let (model, config) = (OnceLock::new(), Mutex::new(Config([0; Config::SIZE])));
        let interrupts = Interrupts::default();
        Self { number, facts, hw, isolated, requester, interrupts, model, config }
    }

    /// Puts a device behind the function; false when there is one.
    pub fn plug(&self, model: Arc<dyn Model>) -> bool {
        self.model.set(model).is_ok()
    }

    fn bar(&self, number: u32) -> Option<Bar> {
        self.model.get().and_then(|model| model.bar(number))
    }

    /// Where the system has placed a BAR.
    pub fn placed(&self, number: u32) -> Option<(u64, Bar)> {
        self.bar(number).map(|bar| (address_of(self.number, number, &bar), bar))
    }

    /// Configuration space as it is when nobody has the function.
    pub fn hardware_config(&self) -> Vec<u8> {
        Config::new(self).0.to_vec()
    }

    /// A program gets the function (`vfio_pci_core_enable`).
    pub fn enable(&self) {
        let mut config = self.config.lock();
        *config = Config::new(self);
        if let Some(model) = self.model.get() {
            model.set_bus_master(false);
            model.reset();
        }
    }

    /// It gives it back: DMA ends first (`vfio_pci_core_disable`).
    pub fn disable(&self) {
        // and it is reset, as it is when the next one gets it
        self.enable();
    }

    /// `vfio_pci_ioctl_reset`: configuration is saved and restored.
    pub fn reset(&self) {
        if let Some(model) = self.model.get() {
            model.reset();
        }
    }

    /// `vfio_pci_ioctl_get_info`
    pub fn info(&self) -> vfio_device_info {
        vfio_device_info {
            flags: VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
            num_regions: VFIO_PCI_NUM_REGIONS,
            num_irqs: VFIO_PCI_NUM_IRQS,
            ..Default::default()
        }
    }

    /// Flags, size and offset of a region (`vfio_pci_ioctl_get_region_info`).
    pub fn region(&self, index: u32) -> Result<(u32, u64, u64), Refusal> {
        let both = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
        let (flags, size) = match index {
            0..=VFIO_PCI_BAR5_REGION_INDEX => {
                self.bar(index).map_or((0, 0), |bar| (both, bar.size))
            }
            VFIO_PCI_ROM_REGION_INDEX => (0, 0),
            VFIO_PCI_CONFIG_REGION_INDEX => (both, Config::SIZE as u64),
            _ => return Err(no_region(index)),
        };
        Ok((flags, size, u64::from(index) << OFFSET_BITS))
    }

    /// Flags and number of a kind of interrupts (`vfio_pci_ioctl_get_irq_info`).
    pub fn interrupt_info(&self, index: u32) -> Result<(u32, u32), Refusal> {
        let flags = match index {
            VFIO_PCI_INTX_IRQ_INDEX => VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED,
            1..VFIO_PCI_NUM_IRQS => VFIO_IRQ_INFO_NORESIZE,
            _ => {
                let rule = "no such kind of interrupt";
                return Err(Refusal::Invalid { field: "index", value: index.into(), rule });
            }
        };
        Ok((flags | VFIO_IRQ_INFO_EVENTFD, 0))
    }

    /// `read(2)` at a position (`vfio_pci_rw`).
    pub fn read(
        &self,
        memory: &dyn AddressSpace,
        va: u64,
        count: u64,
        position: u64,
    ) -> Result<u64, Refusal> {
        let count = verified(count, position)?;
        if count == 0 {
            return Ok(0);
        }
        let (place, count, width) = self.reach(position, count)?;
        let mut done = 0;
        let mut buffer = [0; PIECE];
        while done < count {
            let from = place.offset + done;
            let piece = &mut buffer[..piece(from, count - done)];
            for (at, length) in accesses(from, piece.len(), width) {
                let start = (at - from) as usize;
                self.load(place.region, at, &mut piece[start..start + length])?;
            }
            memory.write(va.wrapping_add(done), piece).map_err(Refusal::bad("buffer"))?;
            done += piece.len() as u64;
        }
        Ok(count)
    }

    /// `write(2)` at a position.
    pub fn write(
        &self,
        memory: &dyn AddressSpace,
        va: u64,
        count: u64,
        position: u64,
    ) -> Result<u64, Refusal> {
        let count = verified(count, position)?;
        if count == 0 {
            return Ok(0);
        }
        let (place, count, width) = self.reach(position, count)?;
        let mut done = 0;
        let mut buffer = [0; PIECE];
        while done < count {
            let to = place.offset + done;
            let piece = &mut buffer[..piece(to, count - done)];
            let whole = memory.read(va.wrapping_add(done), piece).is_ok();
            for (at, length) in accesses(to, piece.len(), width) {
                let start = (at - to) as usize;
                let bytes = &mut piece[start..start + length];
                if !whole {
                    // what comes before the memory ends is written
                    let va = va.wrapping_add(done).wrapping_add(start as u64);
                    memory.read(va, bytes).map_err(Refusal::bad("buffer"))?;
                }
                self.store(place.region, at, bytes)?;
            }
            done += piece.len() as u64;
        }
        Ok(count)
    }

    /// Where a transfer goes, how far it reaches, and the widest access.
    fn reach(&self, position: u64, count: u64) -> Result<(Place, u64, usize), Refusal> {
        let place =
            Place::of(position).ok_or_else(|| no_region((position >> OFFSET_BITS) as u32))?;
        let Place { region, offset } = place;
        if region == VFIO_PCI_CONFIG_REGION_INDEX {
            // vfio_pci_config_rw_single
            if offset + count > Config::SIZE as u64 {
                return Err(Refusal::BadAddress { what: "position in the configuration space" });
            }
            return Ok((place, count, 4));
        }
        // vfio_pci_bar_rw; there is no ROM and no VGA
        let bar = self.bar(region).filter(|_| region <= VFIO_PCI_BAR5_REGION_INDEX);
        let size = bar.ok_or_else(|| no_region(region))?.size;
        if offset >= size {
            let rule = "beyond the BAR";
            return Err(Refusal::Invalid { field: "position", value: offset, rule });
        }
        Ok((place, count.min(size - offset), 8))
    }

    fn load(&self, region: u32, at: u64, to: &mut [u8]) -> Result<(), Refusal> {
        if region == VFIO_PCI_CONFIG_REGION_INDEX {
            self.config.lock().read(at, to);
            return Ok(());
        }
        self.model()?.read(region, at, to);
        Ok(())
    }

    fn store(&self, region: u32, at: u64, from: &[u8]) -> Result<(), Refusal> {
        if region != VFIO_PCI_CONFIG_REGION_INDEX {
            self.model()?.write(region, at, from);
            return Ok(());
        }
        let mut config = self.config.lock();
        let before = config.command();
        config.write(self, at, from);
        let after = config.command();
        if let Some(model) = self.model.get().filter(|_| (before ^ after) & COMMAND_MASTER != 0) {
            model.set_bus_master(after & COMMAND_MASTER != 0);
        }
        Ok(())
    }

    /// The device, if its memory answers (`__vfio_pci_memory_enabled`).
    fn model(&self) -> Result<&Arc<dyn Model>, Refusal> {
        let on = self.config.lock().command() & COMMAND_MEMORY != 0;
        let model = self.model.get().filter(|_| on);
        model.ok_or(Refusal::Hardware { why: "memory space is off in the command register" })
    }
}

/// What `rw_verify_area` and `vfs_read` make of count and position.
fn verified(count: u64, position: u64) -> Result<u64, Refusal> {
    if i64::try_from(count).is_err() {
        return Err(Refusal::BadAddress { what: "buffer" });
    }
    if i64::try_from(position.saturating_add(count)).is_err() {
        let rule = "reaches beyond all positions";
        return Err(Refusal::Invalid { field: "position", value: position, rule });
    }
    Ok(count.min(MOST))
}

/// How much is copied at once.
const PIECE: usize = 4096;

/// The bytes from an offset to the next multiple of a piece.
fn piece(from: u64, left: u64) -> usize {
    left.min(PIECE as u64 - from % PIECE as u64) as usize
}

/// The accesses that a transfer is made of, each as wide as its place allows
/// (`vfio_pci_core_do_io_rw`).
fn accesses(from: u64, length: usize, widest: usize) -> impl Iterator<Item = (u64, usize)> {
    let end = from + length as u64;
    let mut at = from;
    std::iter::from_fn(move || {
        let widths = [8, 4, 2, 1].into_iter();
        let fits = |width: &usize| {
            *width <= widest && at.is_multiple_of(*width as u64) && at + *width as u64 <= end
        };
        let width = widths.filter(|_| at < end).find(fits)?;
        let access = (at, width);
        at += width as u64;
        Some(access)
    })
}

/// Configuration space as a program sees it (`vfio_pci_config.c`): the header (PCI 7.5.1).
#[derive(Debug)]
struct Config([u8; Config::SIZE]);

const COMMAND: usize = 0x04;
const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_MASTER: u16 = 1 << 2;
const REVISION: usize = 0x08;
const CACHE_LINE_SIZE: usize = 0x0c;
const BARS: usize = 0x10;
const BARS_END: usize = 0x28;
const INTERRUPT_LINE: usize = 0x3c;

/// Bits of the command register that a function without I/O space has: memory space, bus master, parity
/// and system errors, no interrupt by pin.
const COMMAND_BITS: u16 = COMMAND_MEMORY | COMMAND_MASTER | 1 << 6 | 1 << 8 | 1 << 10;

impl Config {
    const SIZE: usize = 256;

    fn new(function: &Function) -> Self {
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

    fn command(&self) -> u16 {
        u16::from_le_bytes([self.0[COMMAND], self.0[COMMAND + 1]])
    }

    fn read(&self, at: u64, to: &mut [u8]) {
        let at = at as usize;
        to.copy_from_slice(&self.0[at..at + to.len()]);
    }

    fn write(&mut self, function: &Function, at: u64, from: &[u8]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_are_as_wide_as_their_place_allows() {
        type Row = (u64, usize, usize, &'static [(u64, usize)]);
        #[rustfmt::skip] // one transfer, one line
        let cases: &[Row] = &[
            (0, 8,  8, &[(0, 8)]),
            (0, 8,  4, &[(0, 4), (4, 4)]),
            (4, 12, 8, &[(4, 4), (8, 8)]),
            (1, 8,  8, &[(1, 1), (2, 2), (4, 4), (8, 1)]),
            (6, 1,  8, &[(6, 1)]),
            (8, 0,  8, &[]),
        ];
        for (from, length, widest, expected) in cases {
            let made: Vec<_> = accesses(*from, *length, *widest).collect();
            assert_eq!(made, *expected, "{length} bytes from {from}");
        }
        assert_eq!((piece(0, 9), piece(4090, 9), piece(4096, 9000)), (9, 6, 4096));
    }
}
