//! What a function has under the API of 2020 while it is in a nesting container: regions for faults and answers,
//! and an interrupt that tells of faults.
//!
//! *What it doesn't do*: say what is in them; that is [`crate::y2020`]'s.

use std::sync::Arc;

use mem::{AddressSpace, SharedFile};
use uapi::vfio::*;
use uapi::y2020::transport::*;
use zerocopy::IntoBytes;

use super::regions::no_region;
use super::{Function, Way};
use crate::Refusal;
use crate::events::FaultQueue;
use crate::task::Task;
use crate::y2020::{FaultRegions, RegionKind};

/// The kind of interrupt that tells of faults, behind those of PCI.
pub(super) const FAULT_IRQ: u32 = VFIO_PCI_NUM_IRQS;

/// The regions behind those of PCI, in their order.
const REGIONS: [RegionKind; 2] = [RegionKind::Faults, RegionKind::Responses];

/// The regions, and the queue of which they are the reader.
#[derive(Clone, Debug)]
pub(crate) struct NestedFaults {
    pub regions: Arc<FaultRegions>,
    pub queue: Arc<FaultQueue>,
}

impl Function {
    /// Its number with VFIO.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The function comes to a nesting container, or leaves it.
    pub fn set_nested_faults(&self, faults: Option<NestedFaults>) {
        *self.nested.lock() = faults;
    }

    /// A program gets the function, or gives it back: no fault is left of what it did.
    pub(super) fn forget_faults(&self) {
        let nested = self.nested.lock().clone();
        if let Some(nested) = nested {
            self.requester.forget_requests();
            nested.regions.reset();
            nested.queue.drop_device(nested.regions.device());
        }
    }

    pub(super) fn region_count(&self) -> u32 {
        let more = if self.nested.lock().is_some() { REGIONS.len() as u32 } else { 0 };
        VFIO_PCI_NUM_REGIONS + more
    }

    /// How many kinds of interrupts there are.
    pub(super) fn irq_kinds(&self) -> u32 {
        VFIO_PCI_NUM_IRQS + u32::from(self.nested.lock().is_some())
    }

    fn nested(&self, region: u32) -> Result<(NestedFaults, RegionKind), Refusal> {
        let kind = region.checked_sub(VFIO_PCI_NUM_REGIONS);
        let kind = kind.and_then(|index| REGIONS.get(index as usize));
        let nested = self.nested.lock().clone();
        nested.zip(kind.copied()).ok_or_else(|| no_region(region))
    }

    /// Bytes and capabilities of a region.
    pub(super) fn nested_region(&self, region: u32) -> Result<(u64, Vec<u8>), Refusal> {
        let (nested, kind) = self.nested(region)?;
        Ok((nested.regions.size(kind), nested.regions.capabilities(kind)))
    }

    /// What a program maps of a region.
    pub(super) fn map_nested(
        &self,
        region: u32,
        offset: u64,
        length: u64,
    ) -> Result<Arc<SharedFile>, Refusal> {
        let (nested, kind) = self.nested(region)?;
        nested.regions.map(kind, offset, length)
    }

    /// `read(2)` or `write(2)` of a region.
    pub(super) fn transfer_nested(
        &self,
        memory: &dyn AddressSpace,
        way: Way,
        (va, count): (u64, u64),
        (region, at): (u32, u64),
    ) -> Result<u64, Refusal> {
        let (nested, kind) = self.nested(region)?;
        let left = nested.regions.size(kind).checked_sub(at).filter(|left| *left > 0);
        let Some(left) = left else {
            let rule = "beyond the region";
            return Err(Refusal::Invalid { field: "offset", value: at, rule });
        };
        let count = count.min(left);
        let mut bytes = vec![0; count as usize]; // as many as the region has at most
        match way {
            Way::Read => {
                nested.regions.read(kind, at, &mut bytes)?;
                memory.write(va, &bytes).map_err(Refusal::bad("buffer"))?;
            }
            Way::Write => {
                memory.read(va, &mut bytes).map_err(Refusal::bad("buffer"))?;
                nested.regions.write(kind, at, &bytes, &nested.queue)?;
            }
        }
        Ok(count)
    }

    /// `vfio_pci_ioctl_get_irq_info` of v13, for the interrupt of faults: a struct that is longer by
    /// `cap_offset`, and a capability.
    pub(super) fn fault_irq_info(
        &self,
        task: &Task<'_>,
        arg: u64,
        mut info: vfio_irq_info,
    ) -> Result<(), Refusal> {
        const LEAST: usize = size_of::<vfio_irq_info>();
        const WHOLE: usize = LEAST + size_of::<u32>();
        let id = VFIO_IRQ_INFO_CAP_TYPE;
        let capability = vfio_irq_info_cap_type {
            header: vfio_info_cap_header { id, version: 1, next: 0 },
            r#type: VFIO_IRQ_TYPE_NESTED,
            subtype: VFIO_IRQ_SUBTYPE_DMA_FAULT,
        };
        let all = (WHOLE + size_of_val(&capability)) as u32;
        info.flags = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_FLAG_CAPS;
        info.count = 1;
        let known = if info.argsz as usize >= WHOLE { WHOLE } else { LEAST };
        let mut offset = 0;
        if info.argsz < all {
            info.argsz = all;
        } else {
            task.store(arg.wrapping_add(WHOLE as u64), &capability, "argument")?;
            offset = WHOLE as u32;
        }
        let told = [info.as_bytes(), offset.as_bytes()].concat();
        task.memory().write(arg, &told[..known]).map_err(Refusal::bad("argument"))
    }
}
