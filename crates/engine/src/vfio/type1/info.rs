//! What a container tells of itself (`vfio_iommu_type1_get_info`).

use std::mem::offset_of;

use profile::Quirk;
use uapi::vfio::*;
use zerocopy::IntoBytes;

use super::calls::{check, load};
use super::{Type1, dirty};
use crate::Refusal;
use crate::ioas::Ioas;
use crate::task::Task;
use crate::y2020::Nested;

impl Type1 {
    pub(super) fn info(&self, task: &Task<'_>, arg: u64) -> Result<(), Refusal> {
        const MIN: usize = offset_of!(vfio_iommu_type1_info, cap_offset);
        const WHOLE: usize = size_of::<vfio_iommu_type1_info>();
        let mut info: vfio_iommu_type1_info = load(task, arg, MIN)?;
        check(info.argsz, MIN, 0, 0)?;
        let known = WHOLE.min(info.argsz as usize);
        let chain = self.capabilities(task);
        info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
        info.iova_pgsizes = self.context.state.lock().objects.at::<Ioas>(self.ioas).page_sizes();
        if (info.argsz as usize) < WHOLE + chain.len() {
            info.argsz = (WHOLE + chain.len()) as u32;
        } else {
            let at = arg.wrapping_add(WHOLE as u64);
            task.memory().write(at, &chain).map_err(Refusal::bad("argument"))?;
            info.cap_offset = WHOLE as u32;
        }
        task.memory().write(arg, &info.as_bytes()[..known]).map_err(Refusal::bad("argument"))
    }

    /// Capabilities one after the other, as they stand behind the struct.
    fn capabilities(&self, task: &Task<'_>) -> Vec<u8> {
        let header = |id| vfio_info_cap_header { id, version: 1, next: 0 };
        let migration = vfio_iommu_type1_info_cap_migration {
            header: header(VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION),
            pgsize_bitmap: self.page(),
            max_dirty_bitmap_size: dirty::MOST_BYTES,
            ..Default::default()
        };
        let available = vfio_iommu_type1_info_dma_avail {
            header: header(VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL),
            avail: self.available,
        };
        let ranges = self.context.state.lock().objects.at::<Ioas>(self.ioas).usable();
        let iovas = vfio_iommu_type1_info_cap_iova_range {
            header: header(VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE),
            nr_iovas: ranges.len() as u32,
            reserved: 0,
        };
        let mut list = iovas.as_bytes().to_vec();
        for (start, end) in ranges {
            list.extend_from_slice(vfio_iova_range { start, end }.as_bytes());
        }
        let align = if task.has(Quirk::InfoCapabilitiesAligned) { 8 } else { 1 };
        let mut chain = Vec::new();
        let mut before = None;
        let nesting = self.nested.as_ref().and_then(Nested::capability);
        let is_new = task.has(Quirk::Type1Since512);
        let all = [
            Some(migration.as_bytes()),
            is_new.then_some(available.as_bytes()),
            Some(list.as_slice()),
            nesting.as_ref().map(IntoBytes::as_bytes),
        ];
        for capability in all.into_iter().flatten() {
            let at = chain.len();
            if let Some(before) = before {
                let next = (size_of::<vfio_iommu_type1_info>() + at) as u32;
                let field = before + offset_of!(vfio_info_cap_header, next);
                chain[field..field + 4].copy_from_slice(&next.to_ne_bytes());
            }
            before = Some(at);
            chain.extend_from_slice(capability);
            chain.resize(chain.len().next_multiple_of(align), 0);
        }
        chain
    }
}
