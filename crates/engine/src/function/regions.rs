//! Where regions are in the file, what is told of them (`vfio_pci_ioctl_get_region_info`), and mapping them
//! (`vfio_pci_core_mmap`).
//!
//! | region | holds |
//! |---|---|
//! | 0 to 5 | BARs, of the [`crate::Model`] behind the function; none without one |
//! | 6 | expansion ROM: none here |
//! | 7 | configuration space |
//! | 8 | VGA: none here |
//! | 9, 10 | faults and answers to them, under the API of 2020 alone ([`super::nested`]) |
//!
//! A BAR can be mapped where the model has its memory. Loads of what is mapped are the program's own; stores
//! come here one by one.
//!
//! *What it doesn't do*: take a mapping away while memory space is off. Loads go on there, where Linux sends
//! `SIGBUS`.

use std::sync::Arc;

use mem::{PAGE_SIZE, SharedFile};
use uapi::vfio::*;
use zerocopy::IntoBytes;

use super::Function;
use super::config::Config;
use crate::file::Mapping;
use crate::{Bar, Refusal};

/// Bits of an offset in the file that are one in the region (`VFIO_PCI_OFFSET_SHIFT`).
const OFFSET_BITS: u32 = 40;

/// A place in a region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub region: u32,
    pub offset: u64,
}

impl Place {
    /// Of a position in the file.
    fn of(position: u64) -> Self {
        let region = (position >> OFFSET_BITS) as u32;
        Self { region, offset: position & ((1 << OFFSET_BITS) - 1) }
    }
}

pub(super) fn no_region(index: u32) -> Refusal {
    Refusal::Invalid { field: "index", value: index.into(), rule: "no such region" }
}

impl Function {
    /// Refused where no region can be.
    pub(super) fn place(&self, position: u64) -> Result<Place, Refusal> {
        let place = Place::of(position);
        match place.region < self.region_count() {
            true => Ok(place),
            false => Err(no_region(place.region)),
        }
    }

    pub(super) fn bar(&self, number: u32) -> Option<Bar> {
        self.model.get().and_then(|model| model.bar(number))
    }

    /// Where the system has placed a BAR.
    pub fn placed(&self, number: u32) -> Option<(u64, Bar)> {
        self.bar(number).map(|bar| (Config::address_of(self, number, &bar), bar))
    }

    /// Configuration space as it is while nobody has the function.
    pub fn hardware_config(&self) -> Vec<u8> {
        Config::new(self).into_hardware()
    }

    /// What programs map of a BAR (`vfio_pci_probe_mmaps`).
    fn bar_memory(&self, number: u32) -> Option<(Bar, Arc<SharedFile>)> {
        let bar = self.bar(number)?;
        Some((bar, self.model.get()?.memory(number)?))
    }

    /// `mmap(2)` of so many bytes from a position on.
    pub fn mmap(&self, position: u64, length: u64, shared: bool) -> Result<Mapping, Refusal> {
        let invalid = |field, value, rule| Err(Refusal::Invalid { field, value, rule });
        if !position.is_multiple_of(PAGE_SIZE) {
            return invalid("offset", position, "no whole number of pages");
        }
        let Place { region, offset } = self.place(position)?;
        if !shared {
            return invalid("flags", 0, "must be MAP_SHARED");
        }
        if region >= VFIO_PCI_NUM_REGIONS {
            let object = self.map_nested(region, offset, length)?;
            return Ok(Mapping { object, offset, trapped: false });
        }
        let bar = Some(region).filter(|region| *region <= VFIO_PCI_BAR5_REGION_INDEX);
        let Some((bar, object)) = bar.and_then(|number| self.bar_memory(number)) else {
            return invalid("offset", position, "the region cannot be mapped");
        };
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > bar.size.next_multiple_of(PAGE_SIZE)) {
            return invalid("length", length, "reaches beyond the BAR");
        }
        Ok(Mapping { object, offset, trapped: true })
    }

    /// Tells of the region that is asked for (`vfio_pci_ioctl_get_region_info`); its capabilities, as they
    /// stand behind the struct.
    pub fn region(&self, info: &mut vfio_region_info) -> Result<Vec<u8>, Refusal> {
        let both = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
        let index = info.index;
        let mut capabilities = Vec::new();
        (info.flags, info.size) = match index {
            0..=VFIO_PCI_BAR5_REGION_INDEX => match (self.bar(index), self.bar_memory(index)) {
                (None, _) => (0, 0),
                (Some(bar), None) => (both, bar.size),
                (Some(bar), Some(_)) => {
                    if self.vectors().msix.is_some_and(|msix| msix.table.0 == index) {
                        // the table can be mapped with it
                        let id = VFIO_REGION_INFO_CAP_MSIX_MAPPABLE;
                        let header = vfio_info_cap_header { id, version: 1, next: 0 };
                        capabilities.extend_from_slice(header.as_bytes());
                    }
                    (both | VFIO_REGION_INFO_FLAG_MMAP, bar.size)
                }
            },
            VFIO_PCI_ROM_REGION_INDEX => (0, 0),
            VFIO_PCI_CONFIG_REGION_INDEX => (both, self.config.lock().size() as u64),
            _ => {
                let (size, more) = self.nested_region(index)?;
                capabilities = more;
                (both | VFIO_REGION_INFO_FLAG_MMAP, size)
            }
        };
        info.offset = u64::from(index) << OFFSET_BITS;
        Ok(capabilities)
    }
}
