//! The arguments in 5.5 to 5.9, and in the patches of January to March 2020: `version` first, and no size.
//!
//! A struct becomes that of [`v5_10`] by `From`, with `argsz` the size of that one.

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::bind::{iommu_gpasid_bind_data_vtd, iommu_pasid_smmuv3};
use super::v5_10;

/// The answer to a page request.
///
/// Layout: `include/uapi/linux/iommu.h`, 5.3 to 5.9 (20 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `version` | in | `EINVAL` on another than `IOMMU_PAGE_RESP_VERSION_1` |
/// | `flags` | in | `EINVAL` on another than `IOMMU_PAGE_RESP_PASID_VALID` |
/// | `pasid` | in with `PASID_VALID` | |
/// | `grpid` | in | the group that is answered; `EINVAL` when none waits |
/// | `code` | in | `IOMMU_PAGE_RESP_*` |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_page_response {
    pub version: u32,
    pub flags: u32,
    pub pasid: u32,
    pub grpid: u32,
    pub code: u32,
}

impl From<iommu_page_response> for v5_10::iommu_page_response {
    fn from(old: iommu_page_response) -> Self {
        let iommu_page_response { version, flags, pasid, grpid, code } = old;
        Self { argsz: size_of::<Self>() as u32, version, flags, pasid, grpid, code }
    }
}

/// An invalidation.
///
/// Layout: `include/uapi/linux/iommu.h`, 5.5 to 5.9 (48 bytes). The unnamed union of the header,
/// `pasid_info` or `addr_info`, is one field here.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `version` | in | `EINVAL` on another than `IOMMU_CACHE_INVALIDATE_INFO_VERSION_1` |
/// | `cache` | in | bits `IOMMU_CACHE_INV_TYPE_*` |
/// | `granularity` | in | `IOMMU_INV_GRANU_*`; `EINVAL` when a cache has not this one |
/// | `padding` | - | not looked at |
/// | `granu` | in | the member that `granularity` names; nothing for the domain |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_cache_invalidate_info {
    pub version: u32,
    pub cache: u8,
    pub granularity: u8,
    pub padding: [u8; 2],
    pub granu: [u64; 5],
}

impl From<iommu_cache_invalidate_info> for v5_10::iommu_cache_invalidate_info {
    fn from(old: iommu_cache_invalidate_info) -> Self {
        let iommu_cache_invalidate_info { version, cache, granularity, padding: _, granu } = old;
        let argsz = size_of::<Self>() as u32;
        Self { argsz, version, cache, granularity, padding: [0; 6], granu }
    }
}

/// A guest's page table, for a PASID.
///
/// Layout: `include/uapi/linux/iommu.h`, 5.5 to 5.9 (72 bytes). The unnamed union of the header has one
/// member.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `version` | in | `EINVAL` on another than `IOMMU_GPASID_BIND_VERSION_1` |
/// | `format` | in | `EINVAL` on another than the driver's |
/// | `flags` | in | `IOMMU_SVA_GPASID_VAL` |
/// | `gpgd` | in | guest physical address of the table |
/// | `hpasid` | in | the host's PASID; `EINVAL` beyond those that there are |
/// | `gpasid` | in with `GPASID_VAL` | the guest's PASID |
/// | `addr_width` | in | bits of an address |
/// | `padding` | - | not looked at |
/// | `vtd` | in with format VT-d | |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_gpasid_bind_data {
    pub version: u32,
    pub format: u32,
    pub flags: u64,
    pub gpgd: u64,
    pub hpasid: u64,
    pub gpasid: u64,
    pub addr_width: u32,
    pub padding: [u8; 12],
    pub vtd: iommu_gpasid_bind_data_vtd,
}

impl From<iommu_gpasid_bind_data> for v5_10::iommu_gpasid_bind_data {
    fn from(old: iommu_gpasid_bind_data) -> Self {
        let iommu_gpasid_bind_data { version, format, flags, gpgd, hpasid, gpasid, .. } = old;
        let argsz = size_of::<Self>() as u32;
        let (addr_width, padding, vendor) = (old.addr_width, [0; 8], old.vtd);
        Self { argsz, version, format, addr_width, flags, gpgd, hpasid, gpasid, padding, vendor }
    }
}

/// A guest's PASID table.
///
/// Layout: Eric Auger's posts of 2018 to 2020, up to v11 (32 bytes). Never merged.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `version` | in | `EINVAL` on another than `PASID_TABLE_CFG_VERSION_1` |
/// | `format` | in | `IOMMU_PASID_FORMAT_SMMUV3` |
/// | `base_ptr` | in | guest physical address of the table |
/// | `pasid_bits` | in | bits of PASID in the table |
/// | `config` | in | `IOMMU_PASID_CONFIG_*` |
/// | `padding` | in | 0 |
/// | `smmuv3` | in with format SMMUv3 | |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_pasid_table_config {
    pub version: u32,
    pub format: u32,
    pub base_ptr: u64,
    pub pasid_bits: u8,
    pub config: u8,
    pub padding: [u8; 6],
    pub smmuv3: iommu_pasid_smmuv3,
}

impl From<iommu_pasid_table_config> for v5_10::iommu_pasid_table_config {
    fn from(old: iommu_pasid_table_config) -> Self {
        let iommu_pasid_table_config { version, format, base_ptr, pasid_bits, config, .. } = old;
        let (argsz, padding, vendor_data) = (size_of::<Self>() as u32, [0; 2], old.smmuv3);
        Self { argsz, version, base_ptr, format, pasid_bits, config, padding, vendor_data }
    }
}
