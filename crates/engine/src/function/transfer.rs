//! `read(2)` and `write(2)` of regions (`drivers/vfio/pci/vfio_pci_rdwr.c`).
//!
//! A transfer is cut into accesses, each as wide as its place allows. The caller's memory is copied a page
//! at a time; what each access finds there, and what has happened before one fails, is as if it were copied
//! with every access.
//!
//! The table of MSI-X is the system's: reads give ones, writes are dropped. Its pending bits are read.

use std::ops::Range;
use std::sync::Arc;

use mem::AddressSpace;
use uapi::vfio::*;

use super::config::Shown;
use super::regions::{Place, no_region};
use super::{Function, Switches};
use crate::interrupts::Kind;
use crate::{Model, Refusal};

/// The most that one call transfers (`MAX_RW_COUNT`).
const MOST: u64 = 0x7fff_f000;

/// Bytes that MOVDIR64B and ENQCMD store at once.
const WHOLE_LINE: usize = 64;

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the region to the caller: `read(2)`.
    Read,
    /// From the caller to the region: `write(2)`.
    Write,
}

/// Where a transfer goes.
#[derive(Clone, Debug)]
struct Reach {
    place: Place,
    count: u64,
    /// The table of MSI-X in the region.
    table: Range<u64>,
}

impl Reach {
    /// Whether no part of it is the table of MSI-X.
    fn misses_table(&self) -> bool {
        let Range { start, end } = self.table;
        self.place.offset + self.count <= start || self.place.offset >= end
    }

    /// Whether it is a line that can be stored at once.
    fn is_line(&self) -> bool {
        let line = WHOLE_LINE as u64;
        self.count == line && self.place.offset.is_multiple_of(line) && self.misses_table()
    }
}

/// What an access meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meets {
    /// The region.
    Region,
    /// The table of MSI-X, or what cannot be written: nobody looks at what is written.
    Nothing,
}

impl Function {
    /// `read(2)` or `write(2)` at a position (`vfio_pci_rw`).
    pub fn transfer(
        &self,
        memory: &dyn AddressSpace,
        way: Way,
        (va, count): (u64, u64),
        position: u64,
    ) -> Result<u64, Refusal> {
        let count = verified(count, position)?;
        if count == 0 {
            return Ok(0);
        }
        let Place { region, offset } = self.place(position)?;
        self.rouse();
        if region >= VFIO_PCI_NUM_REGIONS {
            return self.transfer_nested(memory, way, (va, count), (region, offset));
        }
        let reach = self.reach(position, count)?;
        let mut done = 0;
        let mut buffer = [0; PIECE];
        while done < reach.count {
            let (first, va) = (reach.place.offset + done, va.wrapping_add(done));
            let piece = &mut buffer[..piece(first, reach.count - done)];
            let there = way == Way::Read || memory.read(va, piece).is_ok();
            let mut start = 0;
            while start < piece.len() {
                let at = first + start as u64;
                let (length, meets) = self.access(&reach, way, at, piece.len() - start);
                let bytes = &mut piece[start..start + length];
                if !there && meets == Meets::Region {
                    // what comes before the memory ends is written
                    let va = va.wrapping_add(start as u64);
                    memory.read(va, bytes).map_err(Refusal::bad("buffer"))?;
                }
                match (way, meets) {
                    (Way::Read, Meets::Region) => self.load(region, at, bytes)?,
                    (Way::Read, Meets::Nothing) => bytes.fill(0xff),
                    (Way::Write, Meets::Region) => self.store(region, at, bytes)?,
                    (Way::Write, Meets::Nothing) => {}
                }
                start += length;
            }
            if way == Way::Read {
                memory.write(va, piece).map_err(Refusal::bad("buffer"))?;
            }
            done += piece.len() as u64;
        }
        Ok(reach.count)
    }

    /// A store of a program to a BAR that it has mapped. A line of 64 bytes reaches the device as it is, others
    /// in accesses, and so does a line with a part of the table of MSI-X.
    pub fn store_mapped(&self, position: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let reach = self.reach_mapped(position, bytes.len() as u64)?;
        let Place { region, offset } = reach.place;
        if reach.is_line() {
            return self.store(region, offset, bytes);
        }
        let mut start = 0;
        while start < bytes.len() {
            let at = offset + start as u64;
            let (length, meets) = self.access(&reach, Way::Write, at, bytes.len() - start);
            if meets == Meets::Region {
                self.store(region, at, &bytes[start..start + length])?;
            }
            start += length;
        }
        Ok(())
    }

    /// An ENQCMD of a program to a BAR that it has mapped; whether the device took it.
    pub fn enqueue(&self, position: u64, command: &[u8; WHOLE_LINE]) -> Result<bool, Refusal> {
        let reach = self.reach_mapped(position, WHOLE_LINE as u64)?;
        let Place { region, offset } = reach.place;
        let model = self.model()?;
        Ok(reach.is_line() && model.enqueue(region, offset, command))
    }

    /// Where a store to a mapping goes: inside of a BAR, of a device that is awake.
    fn reach_mapped(&self, position: u64, count: u64) -> Result<Reach, Refusal> {
        if self.may_sleep() {
            return Err(Refusal::Hardware { why: "the device may sleep" });
        }
        let reach = self.reach(position, count)?;
        let region = reach.place.region;
        if region == VFIO_PCI_CONFIG_REGION_INDEX || reach.count < count {
            return Err(no_region(region));
        }
        Ok(reach)
    }

    /// Whether so many bytes at a position are registers of a BAR, and not of the table of MSI-X.
    pub(super) fn is_whole_store(&self, position: u64, count: u64) -> bool {
        self.reach(position, count).is_ok_and(|reach| {
            reach.place.region <= VFIO_PCI_BAR5_REGION_INDEX
                && reach.count == count
                && reach.misses_table()
        })
    }

    /// Where a transfer goes, and how far it reaches.
    fn reach(&self, position: u64, count: u64) -> Result<Reach, Refusal> {
        let place = self.place(position)?;
        let Place { region, offset } = place;
        if region == VFIO_PCI_CONFIG_REGION_INDEX {
            // vfio_pci_config_rw_single
            if offset + count > self.config.lock().size() as u64 {
                return Err(Refusal::BadAddress { what: "position in the configuration space" });
            }
            return Ok(Reach { place, count, table: 0..0 });
        }
        // vfio_pci_bar_rw; there is no ROM and no VGA
        let bar = self.bar(region).filter(|_| region <= VFIO_PCI_BAR5_REGION_INDEX);
        let size = bar.ok_or_else(|| no_region(region))?.size;
        if offset >= size {
            let rule = "beyond the BAR";
            return Err(Refusal::Invalid { field: "position", value: offset, rule });
        }
        let table = self.vectors().msix.filter(|msix| msix.table.0 == region);
        let table = table.map_or(0..0, |msix| {
            msix.table.1..msix.table.1 + u64::from(msix.vectors) * TABLE_ENTRY
        });
        Ok(Reach { place, count: count.min(size - offset), table })
    }

    /// The access that begins at a place with so many bytes left: its length, and what it meets.
    fn access(&self, reach: &Reach, way: Way, at: u64, left: usize) -> (usize, Meets) {
        if reach.place.region == VFIO_PCI_CONFIG_REGION_INDEX {
            let config = self.config.lock();
            let at = at as usize;
            let meets = match way {
                Way::Write if !config.takes(at) => Meets::Nothing,
                _ => Meets::Region,
            };
            return (config.width(at, left), meets);
        }
        let Range { start, end } = reach.table;
        if (start..end).contains(&at) {
            return (left.min((end - at) as usize), Meets::Nothing);
        }
        let left = if at < start { left.min((start - at) as usize) } else { left };
        (width(at, left), Meets::Region)
    }

    fn load(&self, region: u32, at: u64, to: &mut [u8]) -> Result<(), Refusal> {
        if region == VFIO_PCI_CONFIG_REGION_INDEX {
            let config = self.config.lock();
            config.read(at as usize, to, self.shown());
            return Ok(());
        }
        let model = self.model()?;
        match self.pending_bits(region, at) {
            Some(first) => self.read_pending(first, to),
            None => model.read(region, at, to),
        }
        Ok(())
    }

    fn store(&self, region: u32, at: u64, from: &[u8]) -> Result<(), Refusal> {
        if region != VFIO_PCI_CONFIG_REGION_INDEX {
            let model = self.model()?;
            if self.pending_bits(region, at).is_none() {
                model.write(region, at, from);
            }
            return Ok(());
        }
        let mut config = self.config.lock();
        let before = Switches::of(&config);
        if config.write(self, at as usize, from, self.shown()) {
            self.reset_locked(&mut config);
        }
        self.switched(before, &config);
        Ok(())
    }

    /// The device, if its memory answers (`__vfio_pci_memory_enabled`).
    fn model(&self) -> Result<&Arc<dyn Model>, Refusal> {
        let on = self.config.lock().memory_is_on();
        let model = self.model.get().filter(|_| on);
        model.ok_or(Refusal::Hardware { why: "memory space is off in the command register" })
    }

    /// What configuration space shows of interrupts now.
    fn shown(&self) -> Shown {
        let state = self.interrupts.state();
        let messages = match &state.kind {
            Kind::Msi(messages) => Some(messages.allocated),
            _ => None,
        };
        Shown {
            pin_asserted: state.is_asserted(),
            msi_on: messages.is_some(),
            msi_order: messages.map_or(0, |count| count.next_power_of_two().ilog2() as u8),
            msix_on: matches!(state.kind, Kind::Msix(_)),
        }
    }

    /// The vector whose pending bit is the first of a place, where they are (PCI 7.7.2.9).
    fn pending_bits(&self, region: u32, at: u64) -> Option<u32> {
        let msix = self.vectors().msix.filter(|msix| msix.pending.0 == region)?;
        let offset = at.checked_sub(msix.pending.1)?;
        let bytes = u64::from(msix.vectors).div_ceil(64) * 8;
        (offset < bytes).then_some(offset as u32 * 8)
    }

    fn read_pending(&self, first: u32, to: &mut [u8]) {
        let state = self.interrupts.state();
        for (first, byte) in (first..).step_by(8).zip(to) {
            *byte = (0..8).map(|bit| u8::from(state.is_pending(first + bit)) << bit).sum();
        }
    }
}

/// Bytes of an entry of the table of MSI-X (PCI 7.7.2.5).
const TABLE_ENTRY: u64 = 16;

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

/// How wide an access is at a place with so many bytes left (`vfio_pci_core_do_io_rw`).
fn width(at: u64, left: usize) -> usize {
    let fits = |width: &usize| *width <= left && at.is_multiple_of(*width as u64);
    [8, 4, 2].into_iter().find(fits).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_are_as_wide_as_their_place_allows() {
        #[rustfmt::skip] // one place, one line
        let cases: &[(u64, usize, usize)] = &[
            (0, 8,  8),
            (4, 12, 4),
            (8, 8,  8),
            (1, 8,  1),
            (2, 8,  2),
            (6, 1,  1),
            (8, 7,  4),
        ];
        for (at, left, expected) in cases {
            assert_eq!(width(*at, *left), *expected, "{left} bytes from {at}");
        }
        assert_eq!((piece(0, 9), piece(4090, 9), piece(4096, 9000)), (9, 6, 4096));
    }
}
