//! The IOMMU user API of 2020: `include/uapi/linux/iommu.h` of Linux 5.5 to 5.17, and what was posted
//! for it.
//!
//! A program gave a guest's page tables to a device by these structs: bind a table, invalidate caches,
//! take faults, answer page requests. No released kernel has a call that carries them. The calls were
//! posted for VFIO and never merged; iommufd came instead ([`crate::iommufd`]).
//!
//! | module | holds |
//! |---|---|
//! | [`v5_5`] | the four arguments as they are in 5.5 to 5.9, and in the patches of January to March 2020 |
//! | [`v5_10`] | the same since 5.10, with `argsz` in front |
//! | [`fault`] | faults, and the constants of responses; one layout in all releases |
//! | [`cache`] | what is invalidated, and which cache goes with which granularity |
//! | [`bind`] | vendor parts and constants of bound tables |
//! | [`transport`] | the calls on a VFIO container, and the fault regions of a VFIO device |
//! | [`layouts`] | all these structs as data |
//!
//! The patches' unified version is here: [`IOMMU_UAPI_VERSION`] and the data types that
//! [`IOMMU_UAPI_CAP_MASK`] has bits for. Offsets are held against `conformance/headers/` by
//! `tests/layouts_2020.rs`. Structs and constants without a release (PASID tables, the transport) have
//! the mail they were posted in.
//!
//! **What it doesn't do:** check an argument or look a size up; that is `profile::y2020`.

pub mod bind;
pub mod cache;
pub mod fault;
pub mod layouts;
pub mod transport;
pub mod v5_10;
pub mod v5_5;

use core::fmt;

/// Which of the three forms an argument has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layout {
    /// Linux 5.5 to 5.9: [`v5_5`], each struct with a version of its own.
    V5_5,
    /// `[PATCH v2 0/3] IOMMU user API enhancement`, Jacob Pan, 25 March 2020, and its first version of
    /// 28 January: [`v5_5`], all structs with one version, from which their size is looked up.
    Patches,
    /// Linux 5.10 to 5.17: [`v5_10`], each struct with its size and a version.
    V5_10,
}

impl Layout {
    /// All three, oldest first.
    pub const ALL: &'static [Layout] = &[Layout::V5_5, Layout::Patches, Layout::V5_10];

    /// Its name: the release, or `patches`.
    pub const fn name(self) -> &'static str {
        match self {
            Layout::V5_5 => "5.5",
            Layout::Patches => "patches",
            Layout::V5_10 => "5.10",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The one version of all structs, in the patches. Later forms have a version in each struct.
pub const IOMMU_UAPI_VERSION: u32 = 1;

/// Data type of the patches: a guest's page table for a PASID.
pub const IOMMU_UAPI_BIND_GPASID: u32 = 0;
/// Data type of the patches: an invalidation.
pub const IOMMU_UAPI_CACHE_INVAL: u32 = 1;
/// Data type of the patches: the answer to a page request.
pub const IOMMU_UAPI_PAGE_RESP: u32 = 2;
/// How many data types the patches have.
pub const NR_IOMMU_UAPI_TYPE: u32 = 3;

/// The capabilities that the patches report: a bit for each data type.
pub const IOMMU_UAPI_CAP_MASK: u32 =
    1 << IOMMU_UAPI_BIND_GPASID | 1 << IOMMU_UAPI_CACHE_INVAL | 1 << IOMMU_UAPI_PAGE_RESP;
