//! VFIO groups, `/dev/vfio/N`: the way to a device by its IOMMU group and a container.
//!
//! | ioctl | argument | answer |
//! |---|---|---|
//! | `VFIO_GROUP_GET_STATUS` | [`vfio_group_status`] | whether it can be used, and has a container |
//! | `VFIO_GROUP_SET_CONTAINER` | address of a descriptor: a container, or an iommufd | 0 |
//! | `VFIO_GROUP_UNSET_CONTAINER` | - | 0 |
//! | `VFIO_GROUP_GET_DEVICE_FD` | address of a name, as `0000:6a:01.0` | a descriptor of the device |

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{VFIO_BASE, VFIO_TYPE};
use crate::command::_IO;

/// Ioctl number of [`vfio_group_status`].
pub const VFIO_GROUP_GET_STATUS: u32 = _IO(VFIO_TYPE, VFIO_BASE + 3);
/// Ioctl number: put the group into a container, or under an iommufd.
pub const VFIO_GROUP_SET_CONTAINER: u32 = _IO(VFIO_TYPE, VFIO_BASE + 4);
/// Ioctl number: take it out again.
pub const VFIO_GROUP_UNSET_CONTAINER: u32 = _IO(VFIO_TYPE, VFIO_BASE + 5);
/// Ioctl number: a descriptor of one of its devices.
pub const VFIO_GROUP_GET_DEVICE_FD: u32 = _IO(VFIO_TYPE, VFIO_BASE + 6);

/// Argument of `VFIO_GROUP_GET_STATUS`.
///
/// Layout: 8 bytes, all needed.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 8 |
/// | `flags` | out | `VFIO_GROUP_FLAGS_*` |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_group_status {
    pub argsz: u32,
    pub flags: u32,
}

/// Group flag: nobody else has it.
pub const VFIO_GROUP_FLAGS_VIABLE: u32 = 1 << 0;
/// Group flag: it has a container, or an iommufd.
pub const VFIO_GROUP_FLAGS_CONTAINER_SET: u32 = 1 << 1;
