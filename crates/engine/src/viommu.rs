//! Virtual IOMMUs and what hangs on them (`drivers/iommu/iommufd/viommu.c`).

use std::collections::BTreeMap;
use std::sync::Arc;

use mem::{PAGE_SIZE, SharedFile};
use profile::Quirk;

use crate::Refusal;
use crate::device::Device;
use crate::events::ViommuEvents;
use crate::hw::Hardware;
use crate::hwpt::PagingHwpt;
use crate::objects::{Handle, ObjectId};
use crate::state::State;
use crate::task::{Task, UserData};

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

impl State {
    /// Makes a vIOMMU on a nesting parent, for the hardware of a device, unpublished
    /// (`iommufd_viommu_alloc_ioctl`). The data has its type.
    pub fn viommu_alloc(
        &mut self,
        task: &mut Task<'_>,
        device: ObjectId,
        hwpt: u32,
        data: UserData,
    ) -> Result<ObjectId, Refusal> {
        let hw = Arc::clone(&self.objects.at::<Device>(device).hw);
        if !hw.has_viommus() {
            return Err(Refusal::Unsupported { field: "type", value: data.kind.into() });
        }
        let known = hw.check_viommu(data.kind);
        if task.has(Quirk::ViommuTypeFirst) {
            known.clone()?;
        }
        let parent = self.objects.get::<PagingHwpt>(hwpt)?;
        let table = parent.table;
        if !parent.nest_parent {
            let (value, rule) = (hwpt.into(), "no nesting parent");
            return Err(Refusal::Invalid { field: "hwpt_id", value, rule });
        }
        known?;
        task.allocate()?;
        let parent = ObjectId(hwpt);
        let id = self.objects.reserve();
        let data = (data.len != 0).then_some(data);
        let made = hw.init_viommu(task, table, data, &mut self.regions);
        let made = made.inspect_err(|_| _ = self.objects.take(id))?;
        self.objects.hold(parent);
        self.objects.fill(
            id,
            Viommu {
                events: Arc::default(),
                hw,
                parent,
                vdevs: BTreeMap::new(),
                veventqs: Vec::new(),
                queues: BTreeMap::new(),
                region: made.region,
            },
        );
        Ok(id)
    }

    /// Names a device for a vIOMMU, unpublished (`iommufd_vdevice_alloc_ioctl`).
    pub fn vdevice_alloc(
        &mut self,
        task: &mut Task<'_>,
        viommu: ObjectId,
        device: ObjectId,
        virt_id: u64,
    ) -> Result<ObjectId, Refusal> {
        let it = self.objects.at::<Device>(device);
        if !Arc::ptr_eq(&self.objects.at::<Viommu>(viommu).hw, &it.hw) {
            let rule = "the device is behind another IOMMU than the vIOMMU";
            return Err(Refusal::Invalid { field: "dev_id", value: device.0.into(), rule });
        }
        if it.vdevice.is_some() {
            return Err(Refusal::Exists { what: "vDEVICE of device", value: device.0.into() });
        }
        task.allocate()?;
        if self.objects.at::<Viommu>(viommu).vdevs.contains_key(&virt_id) {
            return Err(Refusal::Exists { what: "vDEVICE with virt_id", value: virt_id });
        }
        let handle = self.objects.handle(device);
        let id = self.objects.add(Vdevice { viommu, device: handle, virt_id });
        self.objects.hold(viommu);
        if task.has(Quirk::VdeviceFollowsDevice) {
            self.objects.at_mut::<Device>(device).vdevice = Some(id);
        }
        self.objects.at_mut::<Viommu>(viommu).vdevs.insert(virt_id, id);
        Ok(id)
    }
}
