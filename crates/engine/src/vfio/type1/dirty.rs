//! Which pages devices may have written.
//!
//! A container does not ask the IOMMU: while a device is in it that can write by itself, every mapped page
//! may be dirty, and every bitmap says so (`update_user_bitmap`, `num_non_pinned_groups`). Devices that pin
//! what they write (mdev) would narrow that, and there are none here.

use uapi::vfio::*;

use super::calls::{check as check_head, load};
use super::{BITMAP_PAGES, Mapping, Type1};
use crate::Refusal;
use crate::task::Task;

/// The most bytes that a bitmap may have (`DIRTY_BITMAP_SIZE_MAX`).
pub(super) const MOST_BYTES: u64 = bytes_for(BITMAP_PAGES);

/// Bytes of a bitmap with this many bits: whole words.
const fn bytes_for(bits: u64) -> u64 {
    bits.div_ceil(64) * 8
}

/// Where addresses of programs end (`TASK_SIZE_MAX` with four levels).
const ADDRESSES: u64 = (1 << 47) - 4096;

/// Whether a bitmap can be one for so many bytes (`access_ok`, `verify_bitmap_size`).
pub(super) fn check(bitmap: &vfio_bitmap, bytes: u64) -> Result<(), Refusal> {
    let refuse = |field, value, rule| Err(Refusal::Invalid { field, value, rule });
    if bitmap.data.checked_add(bitmap.size).is_none_or(|end| end > ADDRESSES) {
        return refuse("data", bitmap.data, "no address of a program");
    }
    if bitmap.pgsize == 0 {
        return refuse("pgsize", 0, "must not be 0");
    }
    let pages = bytes >> bitmap.pgsize.trailing_zeros();
    if pages == 0 || bitmap.size == 0 || bitmap.size > MOST_BYTES || bitmap.size < bytes_for(pages)
    {
        return refuse("size", bitmap.size, "no bitmap of so many pages");
    }
    Ok(())
}

impl Type1 {
    /// `vfio_iommu_type1_dirty_pages`
    pub(super) fn dirty_pages(&mut self, task: &Task<'_>, arg: u64) -> Result<(), Refusal> {
        const START: u32 = VFIO_IOMMU_DIRTY_PAGES_FLAG_START;
        const STOP: u32 = VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP;
        const GET: u32 = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
        if !self.version2 {
            return Err(Refusal::Denied { why: "containers of version 1 record nothing" });
        }
        let head: vfio_iommu_type1_dirty_bitmap = task.load(arg, "argument")?;
        check_head(head.argsz, size_of_val(&head), head.flags, START | STOP | GET)?;
        match head.flags {
            START => self.start_recording(),
            STOP => {
                self.recording = false;
                Ok(())
            }
            GET => self.tell_dirty(task, arg, head.argsz),
            flags => {
                let rule = "one flag, and not more";
                Err(Refusal::Invalid { field: "flags", value: flags.into(), rule })
            }
        }
    }

    fn start_recording(&mut self) -> Result<(), Refusal> {
        let page = self.page();
        let large = self.mappings.values().find(|it| it.size() / page > BITMAP_PAGES);
        if let Some(mapping) = large.filter(|_| !self.recording) {
            let (value, rule) = (mapping.start, "a mapping is more than a bitmap can tell");
            return Err(Refusal::Invalid { field: "iova", value, rule });
        }
        self.recording = true;
        Ok(())
    }

    fn tell_dirty(&self, task: &Task<'_>, arg: u64, argsz: u32) -> Result<(), Refusal> {
        const HEAD: usize = size_of::<vfio_iommu_type1_dirty_bitmap>();
        const BODY: usize = size_of::<vfio_iommu_type1_dirty_bitmap_get>();
        if (argsz as usize) < HEAD + BODY {
            return Err(Refusal::TooShort { size: argsz, min: HEAD + BODY });
        }
        let asked: vfio_iommu_type1_dirty_bitmap_get =
            load(task, arg.wrapping_add(HEAD as u64), BODY)?;
        let last = super::last_of(task, "iova", asked.iova, asked.size)?;
        check(&asked.bitmap, asked.size)?;
        let page = self.page();
        let refuse = |field, value, rule| Err(Refusal::Invalid { field, value, rule });
        if asked.bitmap.pgsize != page {
            return refuse("pgsize", asked.bitmap.pgsize, "not the smallest page");
        }
        if (asked.iova | asked.size) & (page - 1) != 0 {
            return refuse("iova", asked.iova, "no whole pages");
        }
        if !self.recording {
            return refuse("flags", VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP.into(), "not started");
        }
        if self.cuts(asked.iova, last) {
            return refuse("iova", asked.iova, "the range would cut a mapping");
        }
        self.mappings
            .range(asked.iova..=last)
            .try_for_each(|(_, mapping)| tell(task, asked.bitmap.data, *mapping, asked.iova, page))
    }
}

/// Sets the bits of a mapping in a bitmap that begins with the bit of `first`. Other bits of the first
/// word stay, those behind the mapping are 0.
pub(super) fn tell(
    task: &Task<'_>,
    data: u64,
    mapping: Mapping,
    first: u64,
    page: u64,
) -> Result<(), Refusal> {
    let (mut bit, end) = ((mapping.start - first) / page, (mapping.last - first) / page);
    while bit <= end {
        let at = data.wrapping_add(bit / 64 * 8);
        if bit % 64 != 0 || end - bit < 63 {
            let mut word = bits(bit % 64, (end - bit).min(63 - bit % 64));
            if bit % 64 != 0 {
                word |= task.load::<u64>(at, "bitmap")?;
            }
            task.store(at, &word, "bitmap")?;
            bit = (bit / 64 + 1) * 64;
            continue;
        }
        // whole words, some at once
        let words = ((end - bit + 1) / 64).min(512);
        let bytes = [0xff; 512 * 8];
        let told = task.memory().write(at, &bytes[..words as usize * 8]);
        told.map_err(Refusal::bad("bitmap"))?;
        bit += words * 64;
    }
    Ok(())
}

/// A word with `more` + 1 bits set from `first` on.
fn bits(first: u64, more: u64) -> u64 {
    (u64::MAX >> (63 - more)) << first
}
