//! What a type1 container tells of the pages that devices wrote.
//!
//! | ioctl | argument | answer |
//! |---|---|---|
//! | `VFIO_IOMMU_DIRTY_PAGES` | [`vfio_iommu_type1_dirty_bitmap`], for one flag with [`vfio_iommu_type1_dirty_bitmap_get`] behind | 0, or a bitmap |
//! | `VFIO_IOMMU_UNMAP_DMA` with a flag | [`vfio_bitmap`] behind its own | a bitmap |
//! | `VFIO_IOMMU_GET_INFO` | [`vfio_iommu_type1_info_cap_migration`] in its answer | what bitmaps there are |

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::vfio_info_cap_header;

/// Capability: the container tells of dirty pages.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `header` | out | [`super::VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION`] |
/// | `flags` | out | 0 |
/// | `pgsize_bitmap` | out | the bytes that a bit of a bitmap can stand for, a bit each |
/// | `max_dirty_bitmap_size` | out | the most bytes that a bitmap may have |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_iommu_type1_info_cap_migration {
    pub header: vfio_info_cap_header,
    pub flags: u32,
    pub __pad: u32,
    pub pgsize_bitmap: u64,
    pub max_dirty_bitmap_size: u64,
}

/// A bitmap of the program.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `pgsize` | in | the bytes that a bit stands for: `EINVAL` for another than the smallest page |
/// | `size` | in | bytes of the bitmap: `EINVAL` when they are too few, or above the maximum |
/// | `data` | in | its address |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_bitmap {
    pub pgsize: u64,
    pub size: u64,
    pub data: u64,
}

/// Argument of `VFIO_IOMMU_DIRTY_PAGES`.
///
/// Layout: 8 bytes, all needed; with `GET_BITMAP` the 40 of [`vfio_iommu_type1_dirty_bitmap_get`] follow.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 8, with `GET_BITMAP` below 48 |
/// | `flags` | in | `EINVAL` unless it is one of `VFIO_IOMMU_DIRTY_PAGES_FLAG_*` |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_iommu_type1_dirty_bitmap {
    pub argsz: u32,
    pub flags: u32,
}

/// Dirty flag: begin to record.
pub const VFIO_IOMMU_DIRTY_PAGES_FLAG_START: u32 = 1 << 0;
/// Dirty flag: record no more.
pub const VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP: u32 = 1 << 1;
/// Dirty flag: answer what was recorded.
pub const VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP: u32 = 1 << 2;

/// Which pages, and where their bits go.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `iova`, `size` | in | `EINVAL` when they cut a mapping, or are no whole pages |
/// | `bitmap` | in | see [`vfio_bitmap`] |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_iommu_type1_dirty_bitmap_get {
    pub iova: u64,
    pub size: u64,
    pub bitmap: vfio_bitmap,
}
