//! Access by the CPU side: what mdev drivers use instead of DMA (`drivers/iommu/iommufd/device.c`).

use super::Ioas;
use super::map::last_byte;
use crate::Refusal;
use crate::pages::{Copy, Hold, rw};
use crate::task::Task;
use mem::{PAGE_SIZE, PageId};

/// Pages that an access holds.
#[derive(Debug)]
pub(crate) struct PinnedRange {
    pub iova: u64,
    pub last: u64,
    /// First IOVA of each area, and what is held of it.
    parts: Vec<(u64, Hold)>,
    locked: bool,
}

impl PinnedRange {
    /// Whether the range meets `start..=last`.
    pub fn meets(&self, start: u64, last: u64) -> bool {
        self.iova <= last && self.last >= start
    }
}

impl Ioas {
    /// Copies between a buffer and a range (`iommufd_access_rw`).
    pub fn access_rw(
        &self,
        task: &mut Task<'_>,
        iova: u64,
        mut copy: Copy<'_>,
        slow: bool,
    ) -> Result<(), Refusal> {
        let last = last_byte("iova", iova, copy.len() as u64)?;
        let write = matches!(copy, Copy::Write(_));
        let mut done = 0;
        let mut at = iova;
        while let Some(area) = self.area_at(at) {
            let part_last = area.last.min(last);
            let allowed = if write { area.prot.write } else { area.prot.read };
            if !allowed {
                return Err(Refusal::NotPermitted { iova: at });
            }
            let bytes = (part_last - at + 1) as usize;
            rw(&area.pages, task, area.byte_at(at), &mut copy.part(done, bytes), slow)?;
            if part_last == last {
                return Ok(());
            }
            done += bytes;
            at = part_last + 1;
        }
        Err(Refusal::NotFound { what: "iova", value: at })
    }

    /// Pins the pages of a range (`iommufd_access_pin_pages`). `locked` keeps the program from
    /// unmapping it.
    pub fn access_pin(
        &mut self,
        task: &mut Task<'_>,
        iova: u64,
        length: u64,
        write: bool,
        locked: bool,
    ) -> Result<PinnedRange, Refusal> {
        let last = last_byte("iova", iova, length)?;
        let mut range = PinnedRange { iova, last, parts: Vec::new(), locked };
        let pinned = self.pin_parts(task, &mut range, write);
        if let Err(refusal) = pinned {
            self.access_unpin(&range);
            return Err(refusal);
        }
        Ok(range)
    }

    fn pin_parts(
        &mut self,
        task: &mut Task<'_>,
        range: &mut PinnedRange,
        write: bool,
    ) -> Result<(), Refusal> {
        let (parts, whole) = self.contiguous(range.iova, range.last);
        for (start, first, last) in parts {
            let Some(area) = self.areas.get_mut(&start) else { continue };
            // iopt_area_contig_is_aligned(): only the very last part may end within a page
            let ends_inside =
                last != range.last && area.byte_at(area.last) % PAGE_SIZE != PAGE_SIZE - 1;
            if area.byte_at(first) % PAGE_SIZE != 0 || ends_inside {
                let rule = "the mapping is not aligned to pages";
                return Err(Refusal::Invalid { field: "iova", value: first, rule });
            }
            let allowed = if write { area.prot.write } else { area.prot.read };
            if !allowed || (write && !area.pages.writable) {
                return Err(Refusal::NotPermitted { iova: first });
            }
            if area.pages.is_dmabuf() {
                let rule = "the CPU cannot reach a dma-buf";
                return Err(Refusal::Invalid { field: "iova", value: first, rule });
            }
            task.allocate()?;
            let index = area.page_at(first);
            let hold = area.pages.hold(task, index, area.page_at(last) - index + 1)?;
            area.accesses += 1;
            area.locks += u32::from(range.locked);
            range.parts.push((start, hold));
        }
        if !whole {
            return Err(Refusal::NotFound { what: "iova", value: range.iova });
        }
        Ok(())
    }

    /// Lets go of a range (`iommufd_access_unpin_pages`).
    pub fn access_unpin(&mut self, range: &PinnedRange) {
        for (start, _) in &range.parts {
            if let Some(area) = self.areas.get_mut(start) {
                area.accesses -= 1;
                area.locks -= u32::from(range.locked);
            }
        }
    }

    /// The pages of a pinned range in order, each with whether it follows the one before it in
    /// memory.
    pub fn access_pages(&self, range: &PinnedRange) -> Vec<(PageId, bool)> {
        let mut pages: Vec<(PageId, bool)> = Vec::new();
        for (start, hold) in &range.parts {
            let Some(area) = self.areas.get(start) else { continue };
            let first = area.page_at(range.iova.max(*start));
            for index in first..=area.page_at(area.last.min(range.last)) {
                let Some(page) = hold.page(index) else { continue };
                let follows = pages.last().is_some_and(|(before, _)| {
                    let block = hold.block(index) / PAGE_SIZE;
                    before.object == page.object
                        && before.index + 1 == page.index
                        && page.index % block != 0
                });
                pages.push((page, follows));
            }
        }
        pages
    }
}
