//! Features of a device, and calls that few devices have.
//!
//! | ioctl | argument | answer |
//! |---|---|---|
//! | `VFIO_DEVICE_FEATURE` | [`vfio_device_feature`] | the feature's |
//! | `VFIO_DEVICE_GET_PCI_HOT_RESET_INFO` | [`vfio_pci_hot_reset_info`] | `ENODEV` where the bus cannot be reset |
//! | `VFIO_DEVICE_PCI_HOT_RESET` | [`vfio_pci_hot_reset`] | likewise |
//! | `VFIO_DEVICE_IOEVENTFD` | [`vfio_device_ioeventfd`] | 0 |

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{VFIO_BASE, VFIO_TYPE};
use crate::command::_IO;

/// Ioctl number of [`vfio_pci_hot_reset_info`].
pub const VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: u32 = _IO(VFIO_TYPE, VFIO_BASE + 12);
/// Ioctl number of [`vfio_pci_hot_reset`].
pub const VFIO_DEVICE_PCI_HOT_RESET: u32 = _IO(VFIO_TYPE, VFIO_BASE + 13);
/// Ioctl number of [`vfio_device_ioeventfd`].
pub const VFIO_DEVICE_IOEVENTFD: u32 = _IO(VFIO_TYPE, VFIO_BASE + 16);
/// Ioctl number of [`vfio_device_feature`].
pub const VFIO_DEVICE_FEATURE: u32 = _IO(VFIO_TYPE, VFIO_BASE + 17);

/// Argument of `VFIO_DEVICE_FEATURE`: ask for a feature, get it or set it. Its data follow.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 8, or where the data reach beyond it |
/// | `flags` | in | the feature, and operations; `EINVAL` on another bit, on get and set without probe, and on an operation that the feature has not; `ENOTTY` on a feature that the device has not |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_device_feature {
    pub argsz: u32,
    pub flags: u32,
}

/// The feature in the flags.
pub const VFIO_DEVICE_FEATURE_MASK: u32 = 0xffff;
/// Operation of a feature: get.
pub const VFIO_DEVICE_FEATURE_GET: u32 = 1 << 16;
/// Operation of a feature: set.
pub const VFIO_DEVICE_FEATURE_SET: u32 = 1 << 17;
/// Operation of a feature: ask whether the others can be done.
pub const VFIO_DEVICE_FEATURE_PROBE: u32 = 1 << 18;

/// Feature: the token of an SR-IOV device, 16 bytes.
pub const VFIO_DEVICE_FEATURE_PCI_VF_TOKEN: u32 = 0;
/// Feature: migration.
pub const VFIO_DEVICE_FEATURE_MIGRATION: u32 = 1;
/// Feature: the state of migration.
pub const VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: u32 = 2;
/// Feature: the device may sleep.
pub const VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY: u32 = 3;
/// Feature: the device may sleep, and an eventfd is told when it wakes.
pub const VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP: u32 = 4;
/// Feature: the device may sleep no more.
pub const VFIO_DEVICE_FEATURE_LOW_POWER_EXIT: u32 = 5;
/// Feature: the device logs what it writes, from now on.
pub const VFIO_DEVICE_FEATURE_DMA_LOGGING_START: u32 = 6;
/// Feature: it logs no more.
pub const VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP: u32 = 7;
/// Feature: the log is read, and cleared.
pub const VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT: u32 = 8;
/// Feature of migration, for which new states tell what they begin with. Since 7.1.
pub const VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2: u32 = 12;

/// Data of [`VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP`].
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `wakeup_eventfd` | in | `EINVAL` below 0 and when it is no eventfd, `EBADF` when it is not open |
/// | `reserved` | - | not looked at |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_device_low_power_entry_with_wakeup {
    pub wakeup_eventfd: i32,
    pub reserved: u32,
}

/// Data of [`VFIO_DEVICE_FEATURE_DMA_LOGGING_START`].
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `page_size` | in | what one entry of the log shall stand for; the device chooses |
/// | | out | what it chose |
/// | `num_ranges` | in | `EINVAL` on 0, `E2BIG` above 256 |
/// | `__reserved` | - | not looked at |
/// | `ranges` | in | an array of [`vfio_device_feature_dma_logging_range`] |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_device_feature_dma_logging_control {
    pub page_size: u64,
    pub num_ranges: u32,
    pub __reserved: u32,
    pub ranges: u64,
}

/// A range of IOVA that a device logs its writes to.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `iova`, `length` | in | `EINVAL` when they are no whole pages or meet another range, `EOVERFLOW` when they wrap |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_device_feature_dma_logging_range {
    pub iova: u64,
    pub length: u64,
}

/// Data of [`VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT`].
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `iova`, `length` | in | `EOVERFLOW` when they wrap; the device refuses what it does not log |
/// | `page_size` | in | what one bit tells of; `EINVAL` below 4096 and when it is no power of two |
/// | `bitmap` | in | where the bits are, which are set and never cleared |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_device_feature_dma_logging_report {
    pub iova: u64,
    pub length: u64,
    pub page_size: u64,
    pub bitmap: u64,
}

/// Argument of `VFIO_DEVICE_GET_PCI_HOT_RESET_INFO`: the devices that a reset of the bus reaches, which
/// follow.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 12 |
/// | `flags`, `count` | out | |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_pci_hot_reset_info {
    pub argsz: u32,
    pub flags: u32,
    pub count: u32,
}

/// Argument of `VFIO_DEVICE_PCI_HOT_RESET`: reset the bus. Descriptors of groups follow.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 12 |
/// | `flags` | in | `EINVAL` on any |
/// | `count` | in | 0 where the device is bound to an iommufd, else not: `EINVAL` |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_pci_hot_reset {
    pub argsz: u32,
    pub flags: u32,
    pub count: u32,
}

/// Argument of `VFIO_DEVICE_IOEVENTFD`: a store to a BAR whenever an eventfd is raised.
///
/// Layout: 32 bytes, of which 28 are needed; `reserved` has no name before 6.7.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 28 |
/// | `flags` | in | one width, else `EINVAL` |
/// | `offset` | in | of the file; `EINVAL` outside of BARs and in the table of MSI-X |
/// | `data` | in | what is stored |
/// | `fd` | in | -1 takes it back; `EINVAL` below, `EEXIST` when it is there, `ENODEV` when it is not |
/// | `reserved` | - | not looked at |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_device_ioeventfd {
    pub argsz: u32,
    pub flags: u32,
    pub offset: u64,
    pub data: u64,
    pub fd: i32,
    pub reserved: u32,
}

/// Every width of [`vfio_device_ioeventfd`]: 1, 2, 4 and 8 bytes.
pub const VFIO_DEVICE_IOEVENTFD_SIZE_MASK: u32 = 0xf;
