//! Hardware page tables (hwpt): what a device's DMA goes through.
//!
//! A paging hwpt is kernel-managed and follows an IOAS. A nested hwpt is user-managed: the guest's own
//! stage-1 table over a paging hwpt that was made a nesting parent. Data of a hwpt is vendor-specific
//! and named by a data type. Words of hardware entries (`ste`, `cmd`) are little-endian.

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    IOMMUFD_CMD_HWPT_ALLOC, IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP, IOMMUFD_CMD_HWPT_INVALIDATE,
    IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING,
};
use crate::{Command, Generation};

/// Argument of `IOMMU_HWPT_ALLOC`: make a hardware page table for a device.
///
/// Layout: `include/uapi/linux/iommufd.h`, 6.6 (24 bytes), 6.7 (40), 6.11 (48).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | in | `EOPNOTSUPP` on an unknown bit, or one that does not fit the kind of hwpt |
/// | `dev_id` | in | `ENOENT` when it is no such object |
/// | `pt_id` | in | IOAS for a paging, nesting parent or vIOMMU for a nested hwpt; else `EINVAL` |
/// | `out_hwpt_id` | out | the ID of the new hwpt |
/// | `__reserved` | in | `EOPNOTSUPP` unless 0 |
/// | `data_type` | in | `IOMMU_HWPT_DATA_*`; `EOPNOTSUPP` when the hardware has not this type |
/// | `data_len`, `data_uptr` | in | `EINVAL` when `data_len` is 0 with a data type, or not 0 without |
/// | `fault_id` | in | fault queue, with `FAULT_ID_VALID`; `ENOENT` when it is no such object |
/// | `__reserved2` | in | not checked |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hwpt_alloc {
    pub size: u32,
    pub flags: u32,
    pub dev_id: u32,
    pub pt_id: u32,
    pub out_hwpt_id: u32,
    pub __reserved: u32,
    pub data_type: u32,
    pub data_len: u32,
    pub data_uptr: u64,
    pub fault_id: u32,
    pub __reserved2: u32,
}

impl Command for iommu_hwpt_alloc {
    const NAME: &'static str = "IOMMU_HWPT_ALLOC";
    const NR: u8 = IOMMUFD_CMD_HWPT_ALLOC;
    const MIN_SIZE: usize = 24; // through `__reserved`
    const SIZES: &'static [(Generation, usize)] =
        &[(Generation::V6_6, 24), (Generation::V6_7, 40), (Generation::V6_11, 48)];
}

/// Ioctl number of [`iommu_hwpt_alloc`].
pub const IOMMU_HWPT_ALLOC: u32 = iommu_hwpt_alloc::IOCTL;

/// Hwpt flag: nested hwpts and vIOMMUs may be made over this one. Since 6.7.
pub const IOMMU_HWPT_ALLOC_NEST_PARENT: u32 = 1 << 0;
/// Hwpt flag: only devices whose IOMMU tracks dirty pages may attach. Since 6.7.
pub const IOMMU_HWPT_ALLOC_DIRTY_TRACKING: u32 = 1 << 1;
/// Hwpt flag: `fault_id` names the queue for page faults. Since 6.11.
pub const IOMMU_HWPT_FAULT_ID_VALID: u32 = 1 << 2;
/// Hwpt flag: may be attached to a PASID, and beside PASIDs. Accepted since 6.15. Since 6.13.
pub const IOMMU_HWPT_ALLOC_PASID: u32 = 1 << 3;

/// Data type: none, a paging hwpt. Since 6.7.
pub const IOMMU_HWPT_DATA_NONE: u32 = 0;
/// Data type: [`iommu_hwpt_vtd_s1`]. Since 6.7.
pub const IOMMU_HWPT_DATA_VTD_S1: u32 = 1;
/// Data type: [`iommu_hwpt_arm_smmuv3`]. Since 6.13.
pub const IOMMU_HWPT_DATA_ARM_SMMUV3: u32 = 2;
/// Data type: [`iommu_hwpt_amd_guest`]. Since 7.0.
pub const IOMMU_HWPT_DATA_AMD_GUEST: u32 = 3;

/// Data of `IOMMU_HWPT_DATA_VTD_S1`: a stage-1 table of Intel VT-d.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.7 (24 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | in | `IOMMU_VTD_S1_*` |
/// | `pgtbl_addr` | in | guest-physical address of the root table |
/// | `addr_width` | in | bits of input address: 48 for four levels, 57 for five |
/// | `__reserved` | in | 0 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hwpt_vtd_s1 {
    pub flags: u64,
    pub pgtbl_addr: u64,
    pub addr_width: u32,
    pub __reserved: u32,
}

/// VT-d flag: supervisor requests are allowed. Since 6.7.
pub const IOMMU_VTD_S1_SRE: u64 = 1 << 0;
/// VT-d flag: the extended accessed bit is maintained. Since 6.7.
pub const IOMMU_VTD_S1_EAFE: u64 = 1 << 1;
/// VT-d flag: supervisor writes honour read-only entries. Since 6.7.
pub const IOMMU_VTD_S1_WPE: u64 = 1 << 2;

/// Data of `IOMMU_HWPT_DATA_ARM_SMMUV3`: the guest's stream table entry.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.13 (16 bytes).
///
/// Arm SMMUv3 5.2. `Cfg` selects stage 1, bypass or abort.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `ste` | in | its words 0 and 1; `EIO` on a field outside V, Cfg, S1Fmt, S1ContextPtr, S1CDMax (0) and S1DSS, S1CIR, S1COR, S1CSH, S1STALLD, EATS (1) |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hwpt_arm_smmuv3 {
    pub ste: [u64; 2],
}

/// Data of `IOMMU_HWPT_DATA_AMD_GUEST`: the guest's device table entry.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 7.0 (32 bytes).
///
/// No driver makes a nested hwpt of it up to 7.3.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `dte` | in | the four words of the entry |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hwpt_amd_guest {
    pub dte: [u64; 4],
}

/// Argument of `IOMMU_HWPT_SET_DIRTY_TRACKING`: start or stop to record which pages devices
/// write.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.7 (16 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | in | `EOPNOTSUPP` on an unknown bit |
/// | `hwpt_id` | in | `ENOENT` when it is no such object, `EOPNOTSUPP` without `ALLOC_DIRTY_TRACKING` |
/// | `__reserved` | in | not checked |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hwpt_set_dirty_tracking {
    pub size: u32,
    pub flags: u32,
    pub hwpt_id: u32,
    pub __reserved: u32,
}

impl Command for iommu_hwpt_set_dirty_tracking {
    const NAME: &'static str = "IOMMU_HWPT_SET_DIRTY_TRACKING";
    const NR: u8 = IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING;
    const MIN_SIZE: usize = 16; // through `__reserved`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_7, 16)];
}

/// Ioctl number of [`iommu_hwpt_set_dirty_tracking`].
pub const IOMMU_HWPT_SET_DIRTY_TRACKING: u32 = iommu_hwpt_set_dirty_tracking::IOCTL;

/// Dirty tracking flag: on. Absent: off. Since 6.7.
pub const IOMMU_HWPT_DIRTY_TRACKING_ENABLE: u32 = 1 << 0;

/// Argument of `IOMMU_HWPT_GET_DIRTY_BITMAP`: collect, and clear, the record of written pages.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.7 (48 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `hwpt_id` | in | `ENOENT` when it is no such object |
/// | `flags` | in | `EOPNOTSUPP` on an unknown bit |
/// | `__reserved` | in | `EOPNOTSUPP` unless 0 |
/// | `iova`, `length` | in | `EINVAL` off the alignment of the IOAS or off `page_size`, and on length 0 since 7.3; `EOVERFLOW` when the end wraps |
/// | `page_size` | in | bytes that one bit stands for, a power of two; `EINVAL` on 0 |
/// | `data` | in | address of the bitmap; bits are added to what is there |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hwpt_get_dirty_bitmap {
    pub size: u32,
    pub hwpt_id: u32,
    pub flags: u32,
    pub __reserved: u32,
    pub iova: u64,
    pub length: u64,
    pub page_size: u64,
    pub data: u64,
}

impl Command for iommu_hwpt_get_dirty_bitmap {
    const NAME: &'static str = "IOMMU_HWPT_GET_DIRTY_BITMAP";
    const NR: u8 = IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP;
    const MIN_SIZE: usize = 48; // through `data`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_7, 48)];
}

/// Ioctl number of [`iommu_hwpt_get_dirty_bitmap`].
pub const IOMMU_HWPT_GET_DIRTY_BITMAP: u32 = iommu_hwpt_get_dirty_bitmap::IOCTL;

/// Dirty bitmap flag: leave the record as it is, for a range that is unmapped next. Since 6.7.
pub const IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR: u32 = 1 << 0;

/// Argument of `IOMMU_HWPT_INVALIDATE`: tell the IOMMU that the guest changed its own tables.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.8 (32 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `hwpt_id` | in | nested hwpt, or vIOMMU since 6.13; another kind is `EINVAL`, before 6.13 `ENOENT` |
/// | `data_uptr` | in | address of `entry_num` entries; `EINVAL` on 0 |
/// | `data_type` | in | type of the entries |
/// | `entry_len` | in | bytes of an entry; `EINVAL` on 0 or, since 7.2, above a page |
/// | `entry_num` | in, out | answers how many were done, on errors too; 0 asks whether the type is known |
/// | `__reserved` | in | `EOPNOTSUPP` unless 0 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hwpt_invalidate {
    pub size: u32,
    pub hwpt_id: u32,
    pub data_uptr: u64,
    pub data_type: u32,
    pub entry_len: u32,
    pub entry_num: u32,
    pub __reserved: u32,
}

impl Command for iommu_hwpt_invalidate {
    const NAME: &'static str = "IOMMU_HWPT_INVALIDATE";
    const NR: u8 = IOMMUFD_CMD_HWPT_INVALIDATE;
    const MIN_SIZE: usize = 32; // through `__reserved`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_8, 32)];
}

/// Ioctl number of [`iommu_hwpt_invalidate`].
pub const IOMMU_HWPT_INVALIDATE: u32 = iommu_hwpt_invalidate::IOCTL;

/// Invalidation type: [`iommu_hwpt_vtd_s1_invalidate`], on a nested hwpt. Since 6.8.
pub const IOMMU_HWPT_INVALIDATE_DATA_VTD_S1: u32 = 0;
/// Invalidation type: [`iommu_viommu_arm_smmuv3_invalidate`], on a vIOMMU. Since 6.13.
pub const IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3: u32 = 1;

/// One stage-1 invalidation of Intel VT-d. Device TLBs are included.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.8 (24 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `addr` | in | first byte, on a 4 KiB border |
/// | `npages` | in | 4 KiB pages; `u64::MAX` with `addr` 0 means everything |
/// | `flags` | in | `IOMMU_VTD_INV_FLAGS_*` |
/// | `__reserved` | in | 0 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hwpt_vtd_s1_invalidate {
    pub addr: u64,
    pub npages: u64,
    pub flags: u32,
    pub __reserved: u32,
}

/// VT-d invalidation flag: leaf entries only, no paging-structure cache. Since 6.8.
pub const IOMMU_VTD_INV_FLAGS_LEAF: u32 = 1 << 0;

/// One command of the guest's SMMUv3 command queue.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.13 (16 bytes).
///
/// The kernel replaces virtual stream IDs and the VMID.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `cmd` | in | 128 bits; `EIO` unless it is a stage-1 TLBI, an ATC_INV or a CFGI_CD, and since 7.3 on reserved fields |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_viommu_arm_smmuv3_invalidate {
    pub cmd: [u64; 2],
}
