//! What an invalidation is about, and which cache goes with which granularity.

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The version of an invalidation that 5.5 to 5.17 know.
pub const IOMMU_CACHE_INVALIDATE_INFO_VERSION_1: u32 = 1;

/// Cache: the IOTLB. The caches are bits, and one invalidation may have several.
pub const IOMMU_CACHE_INV_TYPE_IOTLB: u8 = 1 << 0;
/// Cache: the TLBs in devices.
pub const IOMMU_CACHE_INV_TYPE_DEV_IOTLB: u8 = 1 << 1;
/// Cache: entries of the PASID table.
pub const IOMMU_CACHE_INV_TYPE_PASID: u8 = 1 << 2;
/// How many bits caches have.
pub const IOMMU_CACHE_INV_TYPE_NR: u8 = 3;

/// Granularity: everything of the domain.
pub const IOMMU_INV_GRANU_DOMAIN: u8 = 0;
/// Granularity: a PASID, as [`iommu_inv_pasid_info`] says.
pub const IOMMU_INV_GRANU_PASID: u8 = 1;
/// Granularity: addresses, as [`iommu_inv_addr_info`] says.
pub const IOMMU_INV_GRANU_ADDR: u8 = 2;
/// How many granularities there are.
pub const IOMMU_INV_GRANU_NR: u8 = 3;

/// Flag of addresses: `pasid` is valid.
pub const IOMMU_INV_ADDR_FLAGS_PASID: u32 = 1 << 0;
/// Flag of addresses: `archid` is valid.
pub const IOMMU_INV_ADDR_FLAGS_ARCHID: u32 = 1 << 1;
/// Flag of addresses: leaf entries only.
pub const IOMMU_INV_ADDR_FLAGS_LEAF: u32 = 1 << 2;

/// Flag of a PASID: `pasid` is valid.
pub const IOMMU_INV_PASID_FLAGS_PASID: u32 = 1 << 0;
/// Flag of a PASID: `archid` is valid.
pub const IOMMU_INV_PASID_FLAGS_ARCHID: u32 = 1 << 1;

/// Each cache with each granularity, and whether there is such an invalidation: the table at
/// `struct iommu_cache_invalidate_info` in the header.
#[rustfmt::skip] // one cache and granularity, one line
pub const COMBINATIONS: &[(u8, u8, bool)] = &[
    (IOMMU_CACHE_INV_TYPE_IOTLB,     IOMMU_INV_GRANU_DOMAIN, true),
    (IOMMU_CACHE_INV_TYPE_IOTLB,     IOMMU_INV_GRANU_PASID,  true),
    (IOMMU_CACHE_INV_TYPE_IOTLB,     IOMMU_INV_GRANU_ADDR,   true),
    (IOMMU_CACHE_INV_TYPE_DEV_IOTLB, IOMMU_INV_GRANU_DOMAIN, false),
    (IOMMU_CACHE_INV_TYPE_DEV_IOTLB, IOMMU_INV_GRANU_PASID,  true),
    (IOMMU_CACHE_INV_TYPE_DEV_IOTLB, IOMMU_INV_GRANU_ADDR,   true),
    (IOMMU_CACHE_INV_TYPE_PASID,     IOMMU_INV_GRANU_DOMAIN, true),
    (IOMMU_CACHE_INV_TYPE_PASID,     IOMMU_INV_GRANU_PASID,  true),
    (IOMMU_CACHE_INV_TYPE_PASID,     IOMMU_INV_GRANU_ADDR,   false),
];

/// Addresses whose translations are dropped.
///
/// Layout: `include/uapi/linux/iommu.h`, since 5.5 (40 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | in | `IOMMU_INV_ADDR_FLAGS_*`; since 5.10 `EINVAL` on an unknown bit |
/// | `archid` | in with `ARCHID` | the tag that the architecture has, such as an ASID |
/// | `pasid` | in with `PASID` | without both tags: of every address space |
/// | `addr` | in | the first address |
/// | `granule_size` | in | bytes of a granule |
/// | `nb_granules` | in | how many |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_inv_addr_info {
    pub flags: u32,
    pub archid: u32,
    pub pasid: u64,
    pub addr: u64,
    pub granule_size: u64,
    pub nb_granules: u64,
}

/// An address space whose translations are dropped.
///
/// Layout: `include/uapi/linux/iommu.h`, since 5.5 (16 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | in | `IOMMU_INV_PASID_FLAGS_*`; since 5.10 `EINVAL` on an unknown bit |
/// | `archid` | in with `ARCHID` | the tag that the architecture has, such as an ASID |
/// | `pasid` | in with `PASID` | |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_inv_pasid_info {
    pub flags: u32,
    pub archid: u32,
    pub pasid: u64,
}
