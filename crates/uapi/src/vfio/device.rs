//! VFIO character devices, `/dev/vfio/devices/vfioN`: binding to an iommufd and attaching, and the device
//! itself.
//!
//! | ioctl | argument | answer |
//! |---|---|---|
//! | `VFIO_DEVICE_GET_INFO` | [`vfio_device_info`] | kinds and numbers of regions and interrupts |
//! | `VFIO_DEVICE_GET_REGION_INFO` | [`vfio_region_info`] | where a region is in the file |
//! | `VFIO_DEVICE_RESET` | - | 0 |
//! | `VFIO_DEVICE_BIND_IOMMUFD` | [`vfio_device_bind_iommufd`] | the device's ID in the iommufd |
//! | `VFIO_DEVICE_ATTACH_IOMMUFD_PT` | [`vfio_device_attach_iommufd_pt`] | the hwpt used |
//! | `VFIO_DEVICE_DETACH_IOMMUFD_PT` | [`vfio_device_detach_iommufd_pt`] | 0 |

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{VFIO_BASE, VFIO_TYPE};
use crate::Generation;
use crate::command::_IO;

/// The argument of a call that has grown.
pub trait Argument: FromBytes + IntoBytes + Immutable + Copy {
    /// The first release that has each size, and the size in bytes.
    const SIZES: &'static [(Generation, usize)];

    /// The size that a generation knows.
    fn size_in(generation: Generation) -> Option<usize> {
        let known = Self::SIZES.iter().rfind(|(since, _)| *since <= generation);
        known.map(|(_, size)| *size)
    }
}

impl Argument for vfio_device_bind_iommufd {
    const SIZES: &'static [(Generation, usize)] =
        &[(Generation::V6_6, 16), (Generation::V6_17, 24)];
}

impl Argument for vfio_device_attach_iommufd_pt {
    const SIZES: &'static [(Generation, usize)] =
        &[(Generation::V6_6, 12), (Generation::V6_15, 16)];
}

impl Argument for vfio_device_detach_iommufd_pt {
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_6, 8), (Generation::V6_15, 12)];
}

impl Argument for vfio_device_info {
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_2, 20), (Generation::V6_6, 24)];
}

/// Ioctl number of [`vfio_device_info`].
pub const VFIO_DEVICE_GET_INFO: u32 = _IO(VFIO_TYPE, VFIO_BASE + 7);
/// Ioctl number of [`vfio_region_info`].
pub const VFIO_DEVICE_GET_REGION_INFO: u32 = _IO(VFIO_TYPE, VFIO_BASE + 8);
/// Ioctl number: reset the function.
pub const VFIO_DEVICE_RESET: u32 = _IO(VFIO_TYPE, VFIO_BASE + 11);
/// Ioctl number of [`vfio_device_bind_iommufd`].
pub const VFIO_DEVICE_BIND_IOMMUFD: u32 = _IO(VFIO_TYPE, VFIO_BASE + 18);
/// Ioctl number of [`vfio_device_attach_iommufd_pt`].
pub const VFIO_DEVICE_ATTACH_IOMMUFD_PT: u32 = _IO(VFIO_TYPE, VFIO_BASE + 19);
/// Ioctl number of [`vfio_device_detach_iommufd_pt`].
pub const VFIO_DEVICE_DETACH_IOMMUFD_PT: u32 = _IO(VFIO_TYPE, VFIO_BASE + 20);

/// Argument of `VFIO_DEVICE_BIND_IOMMUFD`: put a device under an iommufd.
///
/// Layout: 6.6 (16 bytes), 6.17 (24). Before it succeeds every other call on the device is `EINVAL`.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 16; since 6.17 `E2BIG` on unknown bytes that are not 0 |
/// | `flags` | in | since 6.17 `EINVAL` on another than [`VFIO_DEVICE_BIND_FLAG_TOKEN`] |
/// | `iommufd` | in | `EINVAL` below 0, `EBADF` when it is not open, `EBADFD` when it is no iommufd |
/// | `out_devid` | out | ID of the device in the iommufd |
/// | `token_uuid_ptr` | in with `TOKEN` | address of 16 bytes; since 6.17 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_device_bind_iommufd {
    pub argsz: u32,
    pub flags: u32,
    pub iommufd: i32,
    pub out_devid: u32,
    pub token_uuid_ptr: u64,
}

/// Bind flag: `token_uuid_ptr` is valid. Since 6.17.
pub const VFIO_DEVICE_BIND_FLAG_TOKEN: u32 = 1 << 0;

/// Argument of `VFIO_DEVICE_ATTACH_IOMMUFD_PT`: attach a device, or one of its PASIDs, to a page
/// table; what was attached before is replaced.
///
/// Layout: 6.6 (12 bytes), 6.15 (16). A larger `argsz` is not looked at.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 12, with `PASID` below 16 |
/// | `flags` | in | since 6.15 `EINVAL` on another than [`VFIO_DEVICE_ATTACH_PASID`] |
/// | `pt_id` | in, out | IOAS or hwpt, `ENOENT` when there is none; answers the hwpt used |
/// | `pasid` | in with `PASID` | `EINVAL` beyond the PASIDs of the device; since 6.15 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_device_attach_iommufd_pt {
    pub argsz: u32,
    pub flags: u32,
    pub pt_id: u32,
    pub pasid: u32,
}

/// Attach flag: `pasid` is valid. Since 6.15.
pub const VFIO_DEVICE_ATTACH_PASID: u32 = 1 << 0;

/// Argument of `VFIO_DEVICE_DETACH_IOMMUFD_PT`: attach a device, or one of its PASIDs, to nothing.
///
/// Layout: 6.6 (8 bytes), 6.15 (12). It succeeds when nothing was attached.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 8, with `PASID` below 12 |
/// | `flags` | in | since 6.15 `EINVAL` on another than [`VFIO_DEVICE_DETACH_PASID`] |
/// | `pasid` | in with `PASID` | since 6.15 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_device_detach_iommufd_pt {
    pub argsz: u32,
    pub flags: u32,
    pub pasid: u32,
}

/// Detach flag: `pasid` is valid. Since 6.15.
pub const VFIO_DEVICE_DETACH_PASID: u32 = 1 << 0;

/// Argument of `VFIO_DEVICE_GET_INFO`: what kind of device it is.
///
/// Layout: 24 bytes, since 6.6; 20 before. At least the 16 up to `num_irqs` are needed.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in, out | `EINVAL` below 16; answers the size with capabilities, where there are any |
/// | `flags` | out | `VFIO_DEVICE_FLAGS_*` |
/// | `num_regions`, `num_irqs` | out | one more than the highest index |
/// | `cap_offset` | out | of the first capability, 0 where there is none |
/// | `pad` | - | 0 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_device_info {
    pub argsz: u32,
    pub flags: u32,
    pub num_regions: u32,
    pub num_irqs: u32,
    pub cap_offset: u32,
    pub pad: u32,
}

/// Device flag: it can be reset.
pub const VFIO_DEVICE_FLAGS_RESET: u32 = 1 << 0;
/// Device flag: it is a PCI function.
pub const VFIO_DEVICE_FLAGS_PCI: u32 = 1 << 1;

/// Argument of `VFIO_DEVICE_GET_REGION_INFO`: a region, which is a part of the file.
///
/// Layout: 32 bytes, all needed.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in, out | `EINVAL` below 32; answers the size with capabilities, where there are any |
/// | `flags` | out | `VFIO_REGION_INFO_FLAG_*` |
/// | `index` | in | `EINVAL` when there is no such region |
/// | `cap_offset` | out | of the first capability; as it was where there is none |
/// | `size` | out | in bytes, 0 where nothing is |
/// | `offset` | out | in the file |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_region_info {
    pub argsz: u32,
    pub flags: u32,
    pub index: u32,
    pub cap_offset: u32,
    pub size: u64,
    pub offset: u64,
}

/// Region flag: it can be read.
pub const VFIO_REGION_INFO_FLAG_READ: u32 = 1 << 0;
/// Region flag: it can be written.
pub const VFIO_REGION_INFO_FLAG_WRITE: u32 = 1 << 1;

/// Region flag: it can be mapped.
pub const VFIO_REGION_INFO_FLAG_MMAP: u32 = 1 << 2;
/// Region flag: it has capabilities, each with a [`super::vfio_info_cap_header`].
pub const VFIO_REGION_INFO_FLAG_CAPS: u32 = 1 << 3;

/// Capability ID of a region: only parts of it can be mapped, [`vfio_region_info_cap_sparse_mmap`].
pub const VFIO_REGION_INFO_CAP_SPARSE_MMAP: u16 = 1;
/// Capability ID of a region that is not of the bus: what it is, [`vfio_region_info_cap_type`].
pub const VFIO_REGION_INFO_CAP_TYPE: u16 = 2;

/// Capability of a region: which parts of it can be mapped. `nr_areas` of [`vfio_region_sparse_mmap_area`]
/// follow.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_region_info_cap_sparse_mmap {
    pub header: super::vfio_info_cap_header,
    pub nr_areas: u32,
    pub reserved: u32,
}

/// A part of a region that can be mapped.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_region_sparse_mmap_area {
    pub offset: u64,
    pub size: u64,
}

/// Capability of a region that is not of the bus: what it is.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_region_info_cap_type {
    pub header: super::vfio_info_cap_header,
    pub r#type: u32,
    pub subtype: u32,
}

/// Capability ID of a region: all of it can be mapped, with the table of MSI-X that is in it.
pub const VFIO_REGION_INFO_CAP_MSIX_MAPPABLE: u16 = 3;

/// Region of a PCI function: its first BAR. The others follow.
pub const VFIO_PCI_BAR0_REGION_INDEX: u32 = 0;
/// Region of a PCI function: its last BAR.
pub const VFIO_PCI_BAR5_REGION_INDEX: u32 = 5;
/// Region of a PCI function: its expansion ROM.
pub const VFIO_PCI_ROM_REGION_INDEX: u32 = 6;
/// Region of a PCI function: its configuration space.
pub const VFIO_PCI_CONFIG_REGION_INDEX: u32 = 7;
/// Region of a PCI function: the addresses of VGA.
pub const VFIO_PCI_VGA_REGION_INDEX: u32 = 8;
/// How many regions a PCI function has.
pub const VFIO_PCI_NUM_REGIONS: u32 = 9;
