//! I/O address spaces (IOAS): which IOVA leads to which memory.
//!
//! An IOAS holds areas, each made by one map or copy call, and never merges them. A range of IOVA is
//! `start..=last`, or `iova` and `length` in bytes.

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    IOMMUFD_CMD_IOAS_ALLOC, IOMMUFD_CMD_IOAS_ALLOW_IOVAS, IOMMUFD_CMD_IOAS_CHANGE_PROCESS,
    IOMMUFD_CMD_IOAS_COPY, IOMMUFD_CMD_IOAS_IOVA_RANGES, IOMMUFD_CMD_IOAS_MAP,
    IOMMUFD_CMD_IOAS_MAP_FILE, IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA, IOMMUFD_CMD_IOAS_UNMAP,
};
use crate::{Command, Generation};

/// Argument of `IOMMU_IOAS_ALLOC`: make an empty IOAS.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.2 (12 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | in | `EOPNOTSUPP` unless 0 |
/// | `out_ioas_id` | out | the ID of the new IOAS |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_ioas_alloc {
    pub size: u32,
    pub flags: u32,
    pub out_ioas_id: u32,
}

impl Command for iommu_ioas_alloc {
    const NAME: &'static str = "IOMMU_IOAS_ALLOC";
    const NR: u8 = IOMMUFD_CMD_IOAS_ALLOC;
    const MIN_SIZE: usize = 12; // through `out_ioas_id`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_2, 12)];
}

/// Ioctl number of [`iommu_ioas_alloc`].
pub const IOMMU_IOAS_ALLOC: u32 = iommu_ioas_alloc::IOCTL;

/// A closed range of IOVA, element of the arrays below.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.2 (16 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `start` | - | first IOVA |
/// | `last` | - | last IOVA, inside the range |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_iova_range {
    pub start: u64,
    pub last: u64,
}

/// Argument of `IOMMU_IOAS_IOVA_RANGES`: list the IOVA that may be mapped.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.2 (32 bytes).
///
/// The list shrinks with every device that attaches and grows when one leaves.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `ioas_id` | in | `ENOENT` when it is no such object |
/// | `num_iovas` | in, out | room in the array, then the number of ranges; `EMSGSIZE` when they do not fit, with the answer written |
/// | `__reserved` | in | `EOPNOTSUPP` unless 0 |
/// | `allowed_iovas` | in | address of an array of [`iommu_iova_range`] |
/// | `out_iova_alignment` | out | alignment of IOVA and length, a power of two up to the page size |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_ioas_iova_ranges {
    pub size: u32,
    pub ioas_id: u32,
    pub num_iovas: u32,
    pub __reserved: u32,
    pub allowed_iovas: u64,
    pub out_iova_alignment: u64,
}

impl Command for iommu_ioas_iova_ranges {
    const NAME: &'static str = "IOMMU_IOAS_IOVA_RANGES";
    const NR: u8 = IOMMUFD_CMD_IOAS_IOVA_RANGES;
    const MIN_SIZE: usize = 32; // through `out_iova_alignment`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_2, 32)];
}

/// Ioctl number of [`iommu_ioas_iova_ranges`].
pub const IOMMU_IOAS_IOVA_RANGES: u32 = iommu_ioas_iova_ranges::IOCTL;

/// Argument of `IOMMU_IOAS_ALLOW_IOVAS`: keep ranges mappable, whatever attaches later.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.2 (24 bytes).
///
/// Replaces the list of an earlier call. Automatic placement stays inside the list.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `ioas_id` | in | `ENOENT` when it is no such object |
/// | `num_iovas` | in | ranges in the array; 0 clears the list |
/// | `__reserved` | in | `EOPNOTSUPP` unless 0 |
/// | `allowed_iovas` | in | address of an array of [`iommu_iova_range`]; `EINVAL` when ranges overlap, `EADDRINUSE` when one meets a reserved range |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_ioas_allow_iovas {
    pub size: u32,
    pub ioas_id: u32,
    pub num_iovas: u32,
    pub __reserved: u32,
    pub allowed_iovas: u64,
}

impl Command for iommu_ioas_allow_iovas {
    const NAME: &'static str = "IOMMU_IOAS_ALLOW_IOVAS";
    const NR: u8 = IOMMUFD_CMD_IOAS_ALLOW_IOVAS;
    const MIN_SIZE: usize = 24; // through `allowed_iovas`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_2, 24)];
}

/// Ioctl number of [`iommu_ioas_allow_iovas`].
pub const IOMMU_IOAS_ALLOW_IOVAS: u32 = iommu_ioas_allow_iovas::IOCTL;

/// Argument of `IOMMU_IOAS_MAP`: place user memory at an IOVA.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.2 (40 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | in | `EOPNOTSUPP` on an unknown bit, `EINVAL` with neither access |
/// | `ioas_id` | in | `ENOENT` when it is no such object |
/// | `__reserved` | in | `EOPNOTSUPP` unless 0 |
/// | `user_va`, `length` | in | `EINVAL` when `length` is 0 or off the alignment, `EOVERFLOW` when the end wraps, `EFAULT` on no memory |
/// | `iova` | in with `FIXED_IOVA`, else out | `EEXIST` when any byte is mapped, `EINVAL` when it is reserved, `ENOSPC` when no place is left |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_ioas_map {
    pub size: u32,
    pub flags: u32,
    pub ioas_id: u32,
    pub __reserved: u32,
    pub user_va: u64,
    pub length: u64,
    pub iova: u64,
}

impl Command for iommu_ioas_map {
    const NAME: &'static str = "IOMMU_IOAS_MAP";
    const NR: u8 = IOMMUFD_CMD_IOAS_MAP;
    const MIN_SIZE: usize = 40; // through `iova`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_2, 40)];
}

/// Ioctl number of [`iommu_ioas_map`].
pub const IOMMU_IOAS_MAP: u32 = iommu_ioas_map::IOCTL;

/// Argument of `IOMMU_IOAS_MAP_FILE`: place memory of a file at an IOVA.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.13 (40 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | in | as for [`iommu_ioas_map`] |
/// | `ioas_id` | in | `ENOENT` when it is no such object |
/// | `fd` | in | a memfd, or since 6.19 a dma-buf of a VFIO PCI device; `EINVAL` on another file |
/// | `start`, `length` | in | bytes of the file; `EINVAL` past its end |
/// | `iova` | in with `FIXED_IOVA`, else out | as for [`iommu_ioas_map`] |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_ioas_map_file {
    pub size: u32,
    pub flags: u32,
    pub ioas_id: u32,
    pub fd: i32,
    pub start: u64,
    pub length: u64,
    pub iova: u64,
}

impl Command for iommu_ioas_map_file {
    const NAME: &'static str = "IOMMU_IOAS_MAP_FILE";
    const NR: u8 = IOMMUFD_CMD_IOAS_MAP_FILE;
    const MIN_SIZE: usize = 40; // through `iova`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_13, 40)];
}

/// Ioctl number of [`iommu_ioas_map_file`].
pub const IOMMU_IOAS_MAP_FILE: u32 = iommu_ioas_map_file::IOCTL;

/// Map flag: `iova` is given, not chosen by the kernel. Since 6.2.
pub const IOMMU_IOAS_MAP_FIXED_IOVA: u32 = 1 << 0;
/// Map flag: devices may write. Since 6.2.
pub const IOMMU_IOAS_MAP_WRITEABLE: u32 = 1 << 1;
/// Map flag: devices may read. Since 6.2.
pub const IOMMU_IOAS_MAP_READABLE: u32 = 1 << 2;

/// Argument of `IOMMU_IOAS_COPY`: place what one IOAS maps into another, or elsewhere in the
/// same.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.2 (40 bytes).
///
/// Both mappings share the pinned pages.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | in | as for [`iommu_ioas_map`] |
/// | `dst_ioas_id`, `src_ioas_id` | in | `ENOENT` when it is no such object |
/// | `length` | in | as for [`iommu_ioas_map`] |
/// | `dst_iova` | in with `FIXED_IOVA`, else out | as `iova` of [`iommu_ioas_map`] |
/// | `src_iova` | in | `ENOENT` when a byte of the source is not mapped |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_ioas_copy {
    pub size: u32,
    pub flags: u32,
    pub dst_ioas_id: u32,
    pub src_ioas_id: u32,
    pub length: u64,
    pub dst_iova: u64,
    pub src_iova: u64,
}

impl Command for iommu_ioas_copy {
    const NAME: &'static str = "IOMMU_IOAS_COPY";
    const NR: u8 = IOMMUFD_CMD_IOAS_COPY;
    const MIN_SIZE: usize = 40; // through `src_iova`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_2, 40)];
}

/// Ioctl number of [`iommu_ioas_copy`].
pub const IOMMU_IOAS_COPY: u32 = iommu_ioas_copy::IOCTL;

/// Argument of `IOMMU_IOAS_UNMAP`: remove whole areas.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.2 (24 bytes).
///
/// `iova` 0 with `length` `u64::MAX` removes all, and succeeds when there is nothing.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `ioas_id` | in | `ENOENT` when it is no such object |
/// | `iova` | in | `ENOENT` when nothing is there or an area would be cut, `EBUSY` while the kernel uses the pages |
/// | `length` | in, out | `EINVAL` on 0, `EOVERFLOW` when the end wraps; answers the bytes removed |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_ioas_unmap {
    pub size: u32,
    pub ioas_id: u32,
    pub iova: u64,
    pub length: u64,
}

impl Command for iommu_ioas_unmap {
    const NAME: &'static str = "IOMMU_IOAS_UNMAP";
    const NR: u8 = IOMMUFD_CMD_IOAS_UNMAP;
    const MIN_SIZE: usize = 24; // through `length`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_2, 24)];
}

/// Ioctl number of [`iommu_ioas_unmap`].
pub const IOMMU_IOAS_UNMAP: u32 = iommu_ioas_unmap::IOCTL;

/// Argument of `IOMMU_IOAS_CHANGE_PROCESS`: count pinned memory on the calling process from now
/// on.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.13 (8 bytes).
///
/// `EINVAL` unless every area of the file descriptor comes from `IOMMU_IOAS_MAP_FILE` on a
/// memfd. On failure nothing changes.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `__reserved` | in | `EOPNOTSUPP` unless 0 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_ioas_change_process {
    pub size: u32,
    pub __reserved: u32,
}

impl Command for iommu_ioas_change_process {
    const NAME: &'static str = "IOMMU_IOAS_CHANGE_PROCESS";
    const NR: u8 = IOMMUFD_CMD_IOAS_CHANGE_PROCESS;
    const MIN_SIZE: usize = 8; // through `__reserved`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_13, 8)];
}

/// Ioctl number of [`iommu_ioas_change_process`].
pub const IOMMU_IOAS_CHANGE_PROCESS: u32 = iommu_ioas_change_process::IOCTL;

/// Argument of `IOMMU_IOAS_NOIOMMU_GET_PA`: the physical address behind an IOVA, for devices
/// without an IOMMU.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 7.3 (40 bytes).
///
/// `EPERM` without `CAP_SYS_RAWIO`.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags`, `__reserved` | in | `EOPNOTSUPP` unless 0 |
/// | `ioas_id` | in | `ENOENT` when it is no such object |
/// | `iova` | in | `ENOENT` when it is not mapped |
/// | `length` | in, out | `EINVAL` on 0; answers how many bytes are contiguous, at most the input |
/// | `out_phys` | out | the physical address |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_ioas_noiommu_get_pa {
    pub size: u32,
    pub flags: u32,
    pub ioas_id: u32,
    pub __reserved: u32,
    pub iova: u64,
    pub length: u64,
    pub out_phys: u64,
}

impl Command for iommu_ioas_noiommu_get_pa {
    const NAME: &'static str = "IOMMU_IOAS_NOIOMMU_GET_PA";
    const NR: u8 = IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA;
    const MIN_SIZE: usize = 40; // through `out_phys`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V7_3, 40)];
}

/// Ioctl number of [`iommu_ioas_noiommu_get_pa`].
pub const IOMMU_IOAS_NOIOMMU_GET_PA: u32 = iommu_ioas_noiommu_get_pa::IOCTL;
