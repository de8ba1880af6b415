//! Virtual IOMMUs: the share of an IOMMU that belongs to one virtual machine.
//!
//! A vIOMMU stands on a nesting parent. A vDEVICE gives a bound device its ID in the guest; a hardware
//! queue lets the IOMMU read the guest's queue memory itself.

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{IOMMUFD_CMD_HW_QUEUE_ALLOC, IOMMUFD_CMD_VDEVICE_ALLOC, IOMMUFD_CMD_VIOMMU_ALLOC};
use crate::{Command, Generation};

/// Argument of `IOMMU_VIOMMU_ALLOC`: make a virtual IOMMU on the IOMMU of a device.
///
/// Layout: `include/uapi/linux/iommufd.h`, 6.13 (24 bytes), 6.17 (40).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | in | `EOPNOTSUPP` unless 0 |
/// | `type` | in | `EOPNOTSUPP` for `DEFAULT` and for a type that the driver has not |
/// | `dev_id` | in | `ENOENT` when it is no such object |
/// | `hwpt_id` | in | `ENOENT` when it is no such object, `EINVAL` when it is no nesting parent |
/// | `out_viommu_id` | out | the ID of the new vIOMMU |
/// | `data_len`, `data_uptr` | in | vendor data, read and written back |
/// | `__reserved` | in | not checked |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_viommu_alloc {
    pub size: u32,
    pub flags: u32,
    pub r#type: u32,
    pub dev_id: u32,
    pub hwpt_id: u32,
    pub out_viommu_id: u32,
    pub data_len: u32,
    pub __reserved: u32,
    pub data_uptr: u64,
}

impl Command for iommu_viommu_alloc {
    const NAME: &'static str = "IOMMU_VIOMMU_ALLOC";
    const NR: u8 = IOMMUFD_CMD_VIOMMU_ALLOC;
    const MIN_SIZE: usize = 24; // through `out_viommu_id`
    const SIZES: &'static [(Generation, usize)] =
        &[(Generation::V6_13, 24), (Generation::V6_17, 40)];
}

/// Ioctl number of [`iommu_viommu_alloc`].
pub const IOMMU_VIOMMU_ALLOC: u32 = iommu_viommu_alloc::IOCTL;

/// vIOMMU type: reserved. Since 6.13.
pub const IOMMU_VIOMMU_TYPE_DEFAULT: u32 = 0;
/// vIOMMU type: Arm SMMUv3, without data. Since 6.13.
pub const IOMMU_VIOMMU_TYPE_ARM_SMMUV3: u32 = 1;
/// vIOMMU type: SMMUv3 with [`iommu_viommu_tegra241_cmdqv`]. Since 6.17.
pub const IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV: u32 = 2;

/// Data of `IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV`: where to `mmap` the first page of the virtual
/// interface.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.17 (16 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `out_vintf_mmap_offset` | out | offset argument of `mmap` on the iommufd |
/// | `out_vintf_mmap_length` | out | length argument |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_viommu_tegra241_cmdqv {
    pub out_vintf_mmap_offset: u64,
    pub out_vintf_mmap_length: u64,
}

/// Argument of `IOMMU_VDEVICE_ALLOC`: give a device its ID in the virtual machine.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.13 (24 bytes).
///
/// Since 6.17 a vDEVICE dies with its device, and its object ID stays taken until the file is
/// closed.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `viommu_id`, `dev_id` | in | `ENOENT` when it is no such object, `EINVAL` when they are on different IOMMUs |
/// | `out_vdevice_id` | out | the ID of the new vDEVICE |
/// | `virt_id` | in | stream ID, device ID or RID in the guest; `EEXIST` when taken, or when the device has one |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_vdevice_alloc {
    pub size: u32,
    pub viommu_id: u32,
    pub dev_id: u32,
    pub out_vdevice_id: u32,
    pub virt_id: u64,
}

impl Command for iommu_vdevice_alloc {
    const NAME: &'static str = "IOMMU_VDEVICE_ALLOC";
    const NR: u8 = IOMMUFD_CMD_VDEVICE_ALLOC;
    const MIN_SIZE: usize = 24; // through `virt_id`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_13, 24)];
}

/// Ioctl number of [`iommu_vdevice_alloc`].
pub const IOMMU_VDEVICE_ALLOC: u32 = iommu_vdevice_alloc::IOCTL;

/// Argument of `IOMMU_HW_QUEUE_ALLOC`: let the IOMMU read a queue in guest memory.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.17 (40 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | in | `EOPNOTSUPP` unless 0 |
/// | `viommu_id` | in | `ENOENT` when it is no such object, `EOPNOTSUPP` when it has no queues |
/// | `type` | in | `EOPNOTSUPP` for `DEFAULT` |
/// | `index` | in | which queue of the type; `EEXIST` when taken |
/// | `out_hw_queue_id` | out | the ID of the new queue |
/// | `nesting_parent_iova`, `length` | in | queue memory as the nesting parent maps it; `EINVAL` on length 0, `EOVERFLOW` when the end wraps, `ENOENT` on a hole, `EFAULT` when it is not contiguous |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hw_queue_alloc {
    pub size: u32,
    pub flags: u32,
    pub viommu_id: u32,
    pub r#type: u32,
    pub index: u32,
    pub out_hw_queue_id: u32,
    pub nesting_parent_iova: u64,
    pub length: u64,
}

impl Command for iommu_hw_queue_alloc {
    const NAME: &'static str = "IOMMU_HW_QUEUE_ALLOC";
    const NR: u8 = IOMMUFD_CMD_HW_QUEUE_ALLOC;
    const MIN_SIZE: usize = 40; // through `length`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_17, 40)];
}

/// Ioctl number of [`iommu_hw_queue_alloc`].
pub const IOMMU_HW_QUEUE_ALLOC: u32 = iommu_hw_queue_alloc::IOCTL;

/// Hardware queue type: reserved. Since 6.17.
pub const IOMMU_HW_QUEUE_TYPE_DEFAULT: u32 = 0;
/// Hardware queue type: a virtual command queue of Tegra241. Made by rising index and destroyed
/// by falling; `length` is a power of two from 32, the base is aligned to it. Since 6.17.
pub const IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV: u32 = 1;
