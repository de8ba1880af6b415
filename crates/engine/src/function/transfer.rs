//! `read(2)` and `write(2)` of regions (`drivers/vfio/pci/vfio_pci_rdwr.c`).
//!
//! A transfer is cut into accesses, each as wide as its place allows. The caller's memory is copied a page
//! at a time; what each access finds there, and what has happened before one fails, is as if it were copied
//! with every access.

use std::sync::Arc;

use mem::AddressSpace;
use uapi::vfio::*;

use super::Function;
use super::config::{COMMAND_MASTER, COMMAND_MEMORY, Config};
use super::regions::{Place, no_region};
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
        let (place, count, width) = self.reach(position, count)?;
        let mut done = 0;
        let mut buffer = [0; PIECE];
        while done < count {
            let (at, va) = (place.offset + done, va.wrapping_add(done));
            let piece = &mut buffer[..piece(at, count - done)];
            let there = way == Way::Read || memory.read(va, piece).is_ok();
            for (access, length) in accesses(at, piece.len(), width) {
                let start = (access - at) as usize;
                let bytes = &mut piece[start..start + length];
                if !there {
                    // what comes before the memory ends is written
                    let va = va.wrapping_add(start as u64);
                    memory.read(va, bytes).map_err(Refusal::bad("buffer"))?;
                }
                match way {
                    Way::Read => self.load(place.region, access, bytes)?,
                    Way::Write => self.store(place.region, access, bytes)?,
                }
            }
            if way == Way::Read {
                memory.write(va, piece).map_err(Refusal::bad("buffer"))?;
            }
            done += piece.len() as u64;
        }
        Ok(count)
    }

    /// A store of a program to a BAR that it has mapped. One of 64 bytes reaches the device as it is, others
    /// in accesses.
    pub fn store_mapped(&self, position: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let (place, count, width) = self.reach(position, bytes.len() as u64)?;
        if place.region == VFIO_PCI_CONFIG_REGION_INDEX || count < bytes.len() as u64 {
            return Err(no_region(place.region));
        }
        if let (WHOLE_LINE, true) = (bytes.len(), place.offset.is_multiple_of(WHOLE_LINE as u64)) {
            return self.store(place.region, place.offset, bytes);
        }
        for (at, length) in accesses(place.offset, bytes.len(), width) {
            let start = (at - place.offset) as usize;
            self.store(place.region, at, &bytes[start..start + length])?;
        }
        Ok(())
    }

    /// A command of a program (`ENQCMD`) to a BAR that it has mapped; whether it was accepted.
    pub fn enqueue_mapped(
        &self,
        position: u64,
        command: &[u8; WHOLE_LINE],
    ) -> Result<bool, Refusal> {
        let (place, count, _) = self.reach(position, WHOLE_LINE as u64)?;
        let is_line = count == WHOLE_LINE as u64 && place.offset.is_multiple_of(count);
        if place.region == VFIO_PCI_CONFIG_REGION_INDEX || !is_line {
            return Err(no_region(place.region));
        }
        Ok(self.model()?.enqueue(place.region, place.offset, command))
    }

    /// Where a transfer goes, how far it reaches, and the widest access.
    fn reach(&self, position: u64, count: u64) -> Result<(Place, u64, usize), Refusal> {
        let place = Place::of(position)?;
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
