//! The file descriptor itself: destroying objects, options, and the IOAS of the type1 container.
//!
//! Objects live in one space of IDs per file descriptor, from 1 up.

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{IOMMUFD_CMD_DESTROY, IOMMUFD_CMD_OPTION, IOMMUFD_CMD_VFIO_IOAS};
use crate::{Command, Generation};

/// Argument of `IOMMU_DESTROY`: destroy an object of any kind.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.2 (8 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `id` | in | `ENOENT` when unknown, `EBUSY` while another object refers to it |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_destroy {
    pub size: u32,
    pub id: u32,
}

impl Command for iommu_destroy {
    const NAME: &'static str = "IOMMU_DESTROY";
    const NR: u8 = IOMMUFD_CMD_DESTROY;
    const MIN_SIZE: usize = 8; // through `id`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_2, 8)];
}

/// Ioctl number of [`iommu_destroy`].
pub const IOMMU_DESTROY: u32 = iommu_destroy::IOCTL;

/// Argument of `IOMMU_OPTION`: read or change an option.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.2 (24 bytes).
///
/// The answer is `val64` only, whatever `size` says.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `option_id` | in | `EOPNOTSUPP` when it is no `IOMMU_OPTION_*` |
/// | `op` | in | `EOPNOTSUPP` when it is no `IOMMU_OPTION_OP_*` |
/// | `__reserved` | in | `EOPNOTSUPP` unless 0 |
/// | `object_id` | in | the IOAS, or 0 for an option of the file descriptor |
/// | `val64` | in for set, out for get | `EINVAL` on a value that the option does not have |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_option {
    pub size: u32,
    pub option_id: u32,
    pub op: u16,
    pub __reserved: u16,
    pub object_id: u32,
    pub val64: u64,
}

impl Command for iommu_option {
    const NAME: &'static str = "IOMMU_OPTION";
    const NR: u8 = IOMMUFD_CMD_OPTION;
    const MIN_SIZE: usize = 24; // through `val64`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_2, 24)];
}

/// Ioctl number of [`iommu_option`].
pub const IOMMU_OPTION: u32 = iommu_option::IOCTL;

/// `option_id`: whose locked memory is counted, 0 the user's (default), 1 the process's.
/// `object_id` must be 0; setting needs `CAP_SYS_RESOURCE` and no object yet. Since 6.2.
pub const IOMMU_OPTION_RLIMIT_MODE: u32 = 0;
/// `option_id`: whether an IOAS may join pages into larger table entries, 1 (default) or 0.
/// Since 6.2.
pub const IOMMU_OPTION_HUGE_PAGES: u32 = 1;

/// `op`: set the option to `val64`. Since 6.2.
pub const IOMMU_OPTION_OP_SET: u16 = 0;
/// `op`: read the option into `val64`. Since 6.2.
pub const IOMMU_OPTION_OP_GET: u16 = 1;

/// Argument of `IOMMU_VFIO_IOAS`: read, choose or clear the IOAS that type1 container calls
/// use.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.2 (12 bytes).
///
/// None of the operations destroys an IOAS.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `ioas_id` | in for set, out for get | `ENOENT` when it is no such object; `ENODEV` on get when none is chosen |
/// | `op` | in | `EOPNOTSUPP` when it is no `IOMMU_VFIO_IOAS_*` |
/// | `__reserved` | in | `EOPNOTSUPP` unless 0 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_vfio_ioas {
    pub size: u32,
    pub ioas_id: u32,
    pub op: u16,
    pub __reserved: u16,
}

impl Command for iommu_vfio_ioas {
    const NAME: &'static str = "IOMMU_VFIO_IOAS";
    const NR: u8 = IOMMUFD_CMD_VFIO_IOAS;
    const MIN_SIZE: usize = 12; // through `__reserved`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_2, 12)];
}

/// Ioctl number of [`iommu_vfio_ioas`].
pub const IOMMU_VFIO_IOAS: u32 = iommu_vfio_ioas::IOCTL;

/// `op`: read the ID. Since 6.2.
pub const IOMMU_VFIO_IOAS_GET: u16 = 0;
/// `op`: choose the IOAS. Since 6.2.
pub const IOMMU_VFIO_IOAS_SET: u16 = 1;
/// `op`: have none. Since 6.2.
pub const IOMMU_VFIO_IOAS_CLEAR: u16 = 2;
