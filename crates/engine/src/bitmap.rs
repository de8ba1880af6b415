//! Which pages were written, as a program is told: a bit for each, in its own memory
//! (`drivers/iommu/iommufd/iova_bitmap.c`).

use mem::PAGE_SIZE;
use uapi::iommufd::iommu_hwpt_get_dirty_bitmap;

use crate::ioas::domains::Leaf;
use crate::task::Task;

/// A bitmap of a program, for a range of IOVA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bitmap {
    /// Where it is.
    pub data: u64,
    /// The first byte that its first bit tells of.
    pub iova: u64,
    /// Bytes that it tells of.
    pub length: u64,
    /// Bytes that one bit tells of.
    pub page_size: u64,
}

impl Bitmap {
    pub fn of(cmd: &iommu_hwpt_get_dirty_bitmap) -> Self {
        let iommu_hwpt_get_dirty_bitmap { data, iova, length, page_size, .. } = *cmd;
        Self { data, iova, length, page_size }
    }

    /// Sets the bits of what was written (`iova_bitmap_set`).
    ///
    /// Linux does not report a bitmap that cannot be written, drops an entry that began before the
    /// range, and lets an entry that ends after it set bits as far as the bitmap's last page goes.
    pub fn mark(&self, task: &Task<'_>, leaf: Leaf) {
        let shift = self.page_size.trailing_zeros();
        let Some(from) = leaf.start.checked_sub(self.iova) else { return };
        let bitmap_bytes = (self.length.wrapping_sub(1) >> shift) / 8 + 1;
        let first = from >> shift;
        if first / 8 >= bitmap_bytes {
            return;
        }
        let end = self.data.checked_add(bitmap_bytes);
        let Some(page_end) = end.and_then(|end| end.checked_next_multiple_of(PAGE_SIZE)) else {
            return;
        };
        let room = (page_end - self.data).saturating_mul(8);
        let last = ((from + (leaf.size - 1)) >> shift).min(room - 1);
        for byte in first / 8..=last / 8 {
            let low = if byte == first / 8 { first % 8 } else { 0 };
            let high = if byte == last / 8 { last % 8 } else { 7 };
            let bits = (0xff_u8 << low) & (0xff >> (7 - high));
            let at = self.data.wrapping_add(byte);
            let mut old = [0];
            if task.memory().read(at, &mut old).is_err() {
                return;
            }
            if task.memory().write(at, &[old[0] | bits]).is_err() {
                return;
            }
        }
    }
}
