//! The parts of `include/uapi/linux/vfio.h` that a container, an iommufd, groups and devices answer.
//!
//! [`device`], [`interrupts`] and [`feature`] have the calls of a device, [`group`] those of a group; the rest is the type1 container, with
//! [`dirty`] for what it tells of writes. An iommufd takes the container's calls beside its own, on the
//! IOAS that `IOMMU_VFIO_IOAS` chose or the first group brought. As in iommufd the ioctl number holds no
//! size; here `argsz` in the struct does, and what it must reach is fixed per call.
//!
//! | ioctl | argument | answer |
//! |---|---|---|
//! | `VFIO_GET_API_VERSION` | - | [`VFIO_API_VERSION`] |
//! | `VFIO_CHECK_EXTENSION` | an extension number | 1 or 0 |
//! | `VFIO_SET_IOMMU` | type1 or type1v2 | 0; `EINVAL` for another, `ENODEV` without an IOAS |
//! | `VFIO_IOMMU_GET_INFO` | [`vfio_iommu_type1_info`] | page sizes and capabilities |
//! | `VFIO_IOMMU_MAP_DMA` | [`vfio_iommu_type1_dma_map`] | 0 |
//! | `VFIO_IOMMU_UNMAP_DMA` | [`vfio_iommu_type1_dma_unmap`] | 0 |
//! | `VFIO_IOMMU_DIRTY_PAGES` | see [`dirty`] | an iommufd: `ENOTTY` |
//!
//! **What it doesn't do:** features that no device here has.

#![allow(non_camel_case_types, non_upper_case_globals)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

pub mod device;
pub mod dirty;
pub mod feature;
pub mod group;
pub mod interrupts;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::command::_IO;
pub use device::*;
pub use dirty::*;
pub use feature::*;
pub use group::*;
pub use interrupts::*;

/// The type letter of VFIO ioctl numbers, shared with iommufd.
pub const VFIO_TYPE: u8 = b';';
/// The lowest VFIO command.
pub const VFIO_BASE: u8 = 100;
/// Major number of the device nodes below `/dev/vfio/devices`. Linux takes any that is free, so no header
/// has it; a machine of ours has this one.
pub const VFIO_MAJOR: u32 = 511;
/// Major number of the device nodes of groups, likewise.
pub const VFIO_GROUP_MAJOR: u32 = 510;

/// What `VFIO_GET_API_VERSION` answers.
pub const VFIO_API_VERSION: i32 = 0;

/// Ioctl number: which API version.
pub const VFIO_GET_API_VERSION: u32 = _IO(VFIO_TYPE, VFIO_BASE);
/// Ioctl number: whether an extension is there.
pub const VFIO_CHECK_EXTENSION: u32 = _IO(VFIO_TYPE, VFIO_BASE + 1);
/// Ioctl number: choose the kind of container.
pub const VFIO_SET_IOMMU: u32 = _IO(VFIO_TYPE, VFIO_BASE + 2);
/// Ioctl number of [`vfio_iommu_type1_info`].
pub const VFIO_IOMMU_GET_INFO: u32 = _IO(VFIO_TYPE, VFIO_BASE + 12);
/// Ioctl number of [`vfio_iommu_type1_dma_map`].
pub const VFIO_IOMMU_MAP_DMA: u32 = _IO(VFIO_TYPE, VFIO_BASE + 13);
/// Ioctl number of [`vfio_iommu_type1_dma_unmap`].
pub const VFIO_IOMMU_UNMAP_DMA: u32 = _IO(VFIO_TYPE, VFIO_BASE + 14);
/// Ioctl number: container on, of another container type.
pub const VFIO_IOMMU_ENABLE: u32 = _IO(VFIO_TYPE, VFIO_BASE + 15);
/// Ioctl number: container off, of another container type.
pub const VFIO_IOMMU_DISABLE: u32 = _IO(VFIO_TYPE, VFIO_BASE + 16);
/// Ioctl number of [`vfio_iommu_type1_dirty_bitmap`], which an iommufd does not take.
pub const VFIO_IOMMU_DIRTY_PAGES: u32 = _IO(VFIO_TYPE, VFIO_BASE + 17);

/// Extension and container type: type1, which may cut mappings when it unmaps.
pub const VFIO_TYPE1_IOMMU: u32 = 1;
/// Extension: POWER.
pub const VFIO_SPAPR_TCE_IOMMU: u32 = 2;
/// Extension and container type: type1, which unmaps what was mapped as one.
pub const VFIO_TYPE1v2_IOMMU: u32 = 3;
/// Extension: every attached device is cache coherent.
pub const VFIO_DMA_CC_IOMMU: u32 = 4;
/// Extension: POWER error handling.
pub const VFIO_EEH: u32 = 5;
/// Extension and container type: nesting, reserved since 6.13. `VFIO_TYPE1_NESTING_IOMMU` before.
pub const __VFIO_RESERVED_TYPE1_NESTING_IOMMU: u32 = 6;
/// Extension: POWER, second version.
pub const VFIO_SPAPR_TCE_v2_IOMMU: u32 = 7;
/// Extension and container type: no IOMMU.
pub const VFIO_NOIOMMU_IOMMU: u32 = 8;
/// Extension: [`VFIO_DMA_UNMAP_FLAG_ALL`].
pub const VFIO_UNMAP_ALL: u32 = 9;
/// Extension: [`VFIO_DMA_MAP_FLAG_VADDR`] and [`VFIO_DMA_UNMAP_FLAG_VADDR`].
pub const VFIO_UPDATE_VADDR: u32 = 10;

/// Argument of `VFIO_IOMMU_GET_INFO`: page sizes and capabilities.
///
/// Layout: 24 bytes; `pad` has no name before 6.6. At least the 16 up to `iova_pgsizes` are needed.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in, out | `EINVAL` below 16; answers the size of struct and capabilities |
/// | `flags` | out | `VFIO_IOMMU_INFO_*` |
/// | `iova_pgsizes` | out | bitmap of page sizes |
/// | `cap_offset` | out | offset of the first [`vfio_info_cap_header`], 0 when `argsz` is too small for all |
/// | `pad` | - | 0 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_iommu_type1_info {
    pub argsz: u32,
    pub flags: u32,
    pub iova_pgsizes: u64,
    pub cap_offset: u32,
    pub pad: u32,
}

/// Info flag: `iova_pgsizes` is valid.
pub const VFIO_IOMMU_INFO_PGSIZES: u32 = 1 << 0;
/// Info flag: `cap_offset` is valid.
pub const VFIO_IOMMU_INFO_CAPS: u32 = 1 << 1;

/// Head of a capability in the answer to an info call.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `id` | out | `VFIO_IOMMU_TYPE1_INFO_*` |
/// | `version` | out | of this capability |
/// | `next` | out | offset of the next head from the start of the answer, 0 in the last |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_info_cap_header {
    pub id: u16,
    pub version: u16,
    pub next: u32,
}

/// Capability ID: [`vfio_iommu_type1_info_cap_iova_range`].
pub const VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE: u16 = 1;
/// Capability ID: [`vfio_iommu_type1_info_cap_migration`], which an iommufd has not.
pub const VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION: u16 = 2;
/// Capability ID: [`vfio_iommu_type1_info_dma_avail`].
pub const VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL: u16 = 3;

/// Capability: the ranges of IOVA that may be mapped. `nr_iovas` elements of [`vfio_iova_range`]
/// follow.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_iommu_type1_info_cap_iova_range {
    pub header: vfio_info_cap_header,
    pub nr_iovas: u32,
    pub reserved: u32,
}

/// A closed range of IOVA: `end` is inside.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_iova_range {
    pub start: u64,
    pub end: u64,
}

/// Capability: how many more mappings may be made; on an iommufd `u32::MAX`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_iommu_type1_info_dma_avail {
    pub header: vfio_info_cap_header,
    pub avail: u32,
}

/// Argument of `VFIO_IOMMU_MAP_DMA`: place user memory at an IOVA.
///
/// Layout: 32 bytes, all needed.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 32 |
/// | `flags` | in | `EINVAL` on another than read and write; a container takes [`VFIO_DMA_MAP_FLAG_VADDR`] alone |
/// | `vaddr`, `iova`, `size` | in | as `user_va`, `iova`, `length` of `iommu_ioas_map` |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_iommu_type1_dma_map {
    pub argsz: u32,
    pub flags: u32,
    pub vaddr: u64,
    pub iova: u64,
    pub size: u64,
}

/// Map flag: devices may read.
pub const VFIO_DMA_MAP_FLAG_READ: u32 = 1 << 0;
/// Map flag: devices may write.
pub const VFIO_DMA_MAP_FLAG_WRITE: u32 = 1 << 1;
/// Map flag: change the address of an existing mapping. An iommufd refuses it.
pub const VFIO_DMA_MAP_FLAG_VADDR: u32 = 1 << 2;

/// Argument of `VFIO_IOMMU_UNMAP_DMA`: remove mappings.
///
/// Layout: 24 bytes, all needed; a container takes a [`vfio_bitmap`] after it, with its flag.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 24 |
/// | `flags` | in | `EINVAL` on another than [`VFIO_DMA_UNMAP_FLAG_ALL`] |
/// | `iova` | in | 0 with that flag, else `EINVAL`; nothing mapped: `ENOENT`, since 6.18 success |
/// | `size` | in, out | 0 with that flag, else `EINVAL`; answers the bytes removed, on errors too |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_iommu_type1_dma_unmap {
    pub argsz: u32,
    pub flags: u32,
    pub iova: u64,
    pub size: u64,
}

/// Unmap flag: answer the dirty bitmap. An iommufd refuses it.
pub const VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP: u32 = 1 << 0;
/// Unmap flag: remove all mappings.
pub const VFIO_DMA_UNMAP_FLAG_ALL: u32 = 1 << 1;
/// Unmap flag: forget the address of a mapping, keep it otherwise. An iommufd refuses it.
pub const VFIO_DMA_UNMAP_FLAG_VADDR: u32 = 1 << 2;
