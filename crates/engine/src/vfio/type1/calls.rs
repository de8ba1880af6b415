//! The calls of a container with a driver: their arguments (`vfio_iommu_type1_ioctl`).

use profile::Quirk;
use uapi::vfio::*;
use uapi::y2020::transport::{
    VFIO_IOMMU_CACHE_INVALIDATE, VFIO_IOMMU_NESTING_OP, VFIO_IOMMU_PASID_REQUEST,
    VFIO_IOMMU_SET_PASID_TABLE,
};

use super::{Type1, dirty};
use crate::Refusal;
use crate::task::{Task, load_struct};

impl Type1 {
    /// Any call but those that every container answers.
    pub fn ioctl(&mut self, task: &mut Task<'_>, cmd: u32, arg: u64) -> Result<i64, Refusal> {
        let has_2020 = task.kernel.api_2020().is_some();
        // the numbers of two posts
        let of_smmu = has_2020 && self.is_on_smmu();
        match cmd {
            VFIO_IOMMU_SET_PASID_TABLE if of_smmu => self.set_pasid_table(task, arg),
            VFIO_IOMMU_CACHE_INVALIDATE if of_smmu => self.cache_invalidate(task, arg),
            VFIO_IOMMU_PASID_REQUEST if has_2020 => return self.pasid_request(task, arg),
            VFIO_IOMMU_NESTING_OP if has_2020 => return self.nesting_op(task, arg),
            VFIO_IOMMU_GET_INFO => self.info(task, arg),
            VFIO_IOMMU_MAP_DMA => self.map_call(task, arg),
            VFIO_IOMMU_UNMAP_DMA => self.unmap_call(task, arg),
            VFIO_IOMMU_DIRTY_PAGES => self.dirty_pages(task, arg),
            _ => Err(Refusal::UnknownCommand { cmd }),
        }
        .map(|()| 0)
    }

    fn map_call(&mut self, task: &mut Task<'_>, arg: u64) -> Result<(), Refusal> {
        const RIGHTS: u32 = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
        let vaddr = if task.has(Quirk::Type1Since512) { VFIO_DMA_MAP_FLAG_VADDR } else { 0 };
        let request: vfio_iommu_type1_dma_map = task.load(arg, "argument")?;
        check(request.argsz, size_of_val(&request), request.flags, RIGHTS | vaddr)?;
        self.map(task, &request)
    }

    fn unmap_call(&mut self, task: &Task<'_>, arg: u64) -> Result<(), Refusal> {
        const BITMAP: u32 = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
        const OTHERS: u32 = VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_VADDR;
        const SIZE: usize = size_of::<vfio_iommu_type1_dma_unmap>();
        let others = if task.has(Quirk::Type1Since512) { OTHERS } else { 0 };
        let mut request: vfio_iommu_type1_dma_unmap = task.load(arg, "argument")?;
        check(request.argsz, SIZE, request.flags, BITMAP | others)?;
        let mut bitmap = None;
        if request.flags & BITMAP != 0 {
            if request.flags & OTHERS != 0 {
                let (value, rule) = (request.flags.into(), "a bitmap, and no other flag");
                return Err(Refusal::Invalid { field: "flags", value, rule });
            }
            let min = SIZE + size_of::<vfio_bitmap>();
            if (request.argsz as usize) < min {
                return Err(Refusal::TooShort { size: request.argsz, min });
            }
            let asked: vfio_bitmap = task.load(arg.wrapping_add(SIZE as u64), "bitmap")?;
            dirty::check(&asked, request.size)?;
            bitmap = Some(asked);
        }
        request.size = self.unmap(task, &request, bitmap.as_ref())?;
        task.store(arg, &request, "argument")
    }
}

/// Checks `argsz` and flags.
pub(super) fn check(argsz: u32, min: usize, flags: u32, known: u32) -> Result<(), Refusal> {
    if (argsz as usize) < min {
        return Err(Refusal::TooShort { size: argsz, min });
    }
    match flags & !known {
        0 => Ok(()),
        unknown => {
            let (value, rule) = (unknown.into(), "unknown flags");
            Err(Refusal::Invalid { field: "flags", value, rule })
        }
    }
}

/// The first `given` bytes of a struct, the rest 0.
pub(super) fn load<T>(task: &Task<'_>, va: u64, given: usize) -> Result<T, Refusal>
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
{
    load_struct(&**task.memory(), va, given, given, "argument")
}
