//! Events that user space reads: page faults, and events of a virtual IOMMU.
//!
//! Both kinds of queue are file descriptors of their own. A fault queue is read in whole
//! [`iommu_hwpt_pgfault`] and answered by writing [`iommu_hwpt_page_response`]. A virtual event queue is
//! read as [`iommufd_vevent_header`], each followed by data of the queue's type.

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{IOMMUFD_CMD_FAULT_QUEUE_ALLOC, IOMMUFD_CMD_VEVENTQ_ALLOC};
use crate::{Command, Generation};

/// Argument of `IOMMU_FAULT_QUEUE_ALLOC`: make a queue for page faults.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.11 (16 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | in | `EOPNOTSUPP` unless 0 |
/// | `out_fault_id` | out | the ID of the new queue |
/// | `out_fault_fd` | out | its file descriptor |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_fault_alloc {
    pub size: u32,
    pub flags: u32,
    pub out_fault_id: u32,
    pub out_fault_fd: u32,
}

impl Command for iommu_fault_alloc {
    const NAME: &'static str = "IOMMU_FAULT_QUEUE_ALLOC";
    const NR: u8 = IOMMUFD_CMD_FAULT_QUEUE_ALLOC;
    const MIN_SIZE: usize = 16; // through `out_fault_fd`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_11, 16)];
}

/// Ioctl number of [`iommu_fault_alloc`].
pub const IOMMU_FAULT_QUEUE_ALLOC: u32 = iommu_fault_alloc::IOCTL;

/// A page fault, as read from a fault queue.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.11 (40 bytes).
///
/// Reading: `ESPIPE` unless a multiple of 40 bytes. When the first group does not fit, 0 bytes,
/// since 7.2 `EINVAL`.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | - | `IOMMU_PGFAULT_FLAGS_*` |
/// | `dev_id` | - | the device |
/// | `pasid` | - | valid with `PASID_VALID` |
/// | `grpid` | - | page request group index |
/// | `perm` | - | `IOMMU_PGFAULT_PERM_*` |
/// | `__reserved` | - | 0; padding without a name before 6.14 |
/// | `addr` | - | the address that faulted |
/// | `length` | - | bytes that the device is about to access, 0 when unknown |
/// | `cookie` | - | valid in the last fault of a group: what to answer |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hwpt_pgfault {
    pub flags: u32,
    pub dev_id: u32,
    pub pasid: u32,
    pub grpid: u32,
    pub perm: u32,
    pub __reserved: u32,
    pub addr: u64,
    pub length: u32,
    pub cookie: u32,
}

/// Fault flag: `pasid` is valid. Since 6.11.
pub const IOMMU_PGFAULT_FLAGS_PASID_VALID: u32 = 1 << 0;
/// Fault flag: the last of its group. Since 6.11.
pub const IOMMU_PGFAULT_FLAGS_LAST_PAGE: u32 = 1 << 1;

/// Fault permission: read. Since 6.11.
pub const IOMMU_PGFAULT_PERM_READ: u32 = 1 << 0;
/// Fault permission: write. Since 6.11.
pub const IOMMU_PGFAULT_PERM_WRITE: u32 = 1 << 1;
/// Fault permission: execute. Since 6.11.
pub const IOMMU_PGFAULT_PERM_EXEC: u32 = 1 << 2;
/// Fault permission: privileged. Since 6.11.
pub const IOMMU_PGFAULT_PERM_PRIV: u32 = 1 << 3;

/// The answer to a group of page faults, as written to a fault queue.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.11 (8 bytes).
///
/// Writing: `ESPIPE` unless a multiple of 8 bytes.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `cookie` | - | of the last fault of the group; `EINVAL` when unknown |
/// | `code` | - | `EINVAL` when it is no `IOMMUFD_PAGE_RESP_*` |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hwpt_page_response {
    pub cookie: u32,
    pub code: u32,
}

/// Response: the pages are there, try again. Since 6.11.
pub const IOMMUFD_PAGE_RESP_SUCCESS: u32 = 0;
/// Response: the request is wrong, give up. Since 6.11.
pub const IOMMUFD_PAGE_RESP_INVALID: u32 = 1;

/// Argument of `IOMMU_VEVENTQ_ALLOC`: make a queue for events of a virtual IOMMU.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.15 (32 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | in | `EOPNOTSUPP` unless 0 |
/// | `viommu_id` | in | `ENOENT` when it is no such object |
/// | `type` | in | `EOPNOTSUPP` for `DEFAULT`, `EEXIST` when the vIOMMU has one of this type |
/// | `veventq_depth` | in | most events held; `EINVAL` on 0, since 7.2 above `1 << 19` |
/// | `out_veventq_id` | out | the ID of the new queue |
/// | `out_veventq_fd` | out | its file descriptor |
/// | `__reserved` | in | `EOPNOTSUPP` unless 0 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_veventq_alloc {
    pub size: u32,
    pub flags: u32,
    pub viommu_id: u32,
    pub r#type: u32,
    pub veventq_depth: u32,
    pub out_veventq_id: u32,
    pub out_veventq_fd: u32,
    pub __reserved: u32,
}

impl Command for iommu_veventq_alloc {
    const NAME: &'static str = "IOMMU_VEVENTQ_ALLOC";
    const NR: u8 = IOMMUFD_CMD_VEVENTQ_ALLOC;
    const MIN_SIZE: usize = 28; // through `out_veventq_fd`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_15, 32)];
}

/// Ioctl number of [`iommu_veventq_alloc`].
pub const IOMMU_VEVENTQ_ALLOC: u32 = iommu_veventq_alloc::IOCTL;

/// Event queue type: reserved. Since 6.15.
pub const IOMMU_VEVENTQ_TYPE_DEFAULT: u32 = 0;
/// Event queue type: [`iommu_vevent_arm_smmuv3`]. Since 6.15.
pub const IOMMU_VEVENTQ_TYPE_ARM_SMMUV3: u32 = 1;
/// Event queue type: [`iommu_vevent_tegra241_cmdqv`]. Since 6.17.
pub const IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV: u32 = 2;

/// What stands before every event of a virtual event queue.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.15 (8 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | - | `IOMMU_VEVENTQ_FLAG_*` |
/// | `sequence` | - | rises by one an event, from 0 up to `i32::MAX` and then 0 again; a gap is the number of lost events |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommufd_vevent_header {
    pub flags: u32,
    pub sequence: u32,
}

/// Event flag: events were lost at the end of the queue; no data follows. Since 6.15.
pub const IOMMU_VEVENTQ_FLAG_LOST_EVENTS: u32 = 1 << 0;

/// Event of an SMMUv3.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.15 (32 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `evt` | - | 256 bits, SMMUv3 7.3, little-endian; the stream ID is the guest's |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_vevent_arm_smmuv3 {
    pub evt: [u64; 4],
}

/// Interrupt of a Tegra241 virtual interface.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.17 (16 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `lvcmdq_err_map` | - | 128 bits, the error map of the logical queues, little-endian |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_vevent_tegra241_cmdqv {
    pub lvcmdq_err_map: [u64; 2],
}
