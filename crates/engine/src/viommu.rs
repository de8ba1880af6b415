//! Virtual IOMMUs and what hangs on them (`drivers/iommu/iommufd/viommu.c`).

use std::collections::BTreeMap;
use std::sync::Arc;

use mem::{PAGE_SIZE, SharedFile};

use crate::events::ViommuEvents;
use crate::hw::Hardware;
use crate::objects::{Handle, ObjectId};

/// A slice of a physical IOMMU that a guest sees.
#[derive(Debug)]
pub(crate) struct Viommu {
    pub hw: Arc<dyn Hardware>,
    /// The nesting parent.
    pub parent: ObjectId,
    /// vDEVICEs by virtual ID.
    pub vdevs: BTreeMap<u64, ObjectId>,
    pub veventqs: Vec<ObjectId>,
    /// Where hardware reports events of its devices.
    pub events: Arc<ViommuEvents>,
    /// Hardware queues by index.
    pub queues: BTreeMap<u32, ObjectId>,
    /// A page that the program may map: its offset in the context.
    pub region: Option<u64>,
}

/// A device as the guest names it.
#[derive(Debug)]
pub(crate) struct Vdevice {
    pub viommu: ObjectId,
    /// Up to 6.16 it may be gone.
    pub device: Handle,
    pub virt_id: u64,
}

/// A queue in guest memory that the hardware reads.
#[derive(Debug)]
pub(crate) struct HwQueue {
    pub viommu: ObjectId,
    pub index: u32,
    /// The queue that must outlive this one.
    pub previous: Option<ObjectId>,
    /// The access that keeps its memory in place.
    pub access: ObjectId,
}

/// Memory that `mmap(2)` of the context gives out.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub length: u64,
    pub file: Arc<SharedFile>,
}

/// The regions of a context, by offset.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    by_offset: BTreeMap<u64, Region>,
}

impl Regions {
    /// Gives a region the lowest free offset. The first page is skipped, so that no offset is 0
    /// (`_iommufd_alloc_mmap`).
    pub fn add(&mut self, length: u64, file: SharedFile) -> u64 {
        let mut offset = PAGE_SIZE;
        for (start, region) in &self.by_offset {
            if start - offset >= length {
                break;
            }
            offset = start + region.length;
        }
        self.by_offset.insert(offset, Region { length, file: Arc::new(file) });
        offset
    }

    pub fn remove(&mut self, offset: u64) {
        self.by_offset.remove(&offset);
    }

    /// The region with exactly this offset and length.
    pub fn get(&self, offset: u64, length: u64) -> Option<&Region> {
        self.by_offset.get(&offset).filter(|region| region.length == length)
    }

    /// The region at this offset.
    pub fn at(&self, offset: u64) -> Option<&Region> {
        self.by_offset.get(&offset)
    }
}
