//! The arguments in 5.10 to 5.17: `argsz` first, then the version.
//!
//! 5.10 moved every field, which its own rules forbid; nobody used the structs yet (Jacob Pan's v12 of
//! 25 September 2020; Joerg Roedel asked on 18 September whether anybody did).

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::bind::{iommu_gpasid_bind_data_vtd, iommu_pasid_smmuv3};
use super::cache::{
    IOMMU_INV_GRANU_ADDR, IOMMU_INV_GRANU_PASID, iommu_inv_addr_info, iommu_inv_pasid_info,
};

/// The answer to a page request.
///
/// Layout: `include/uapi/linux/iommu.h`, 5.10 to 6.8 (24 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | not looked at: no call brought it into the kernel |
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
    pub argsz: u32,
    pub version: u32,
    pub flags: u32,
    pub pasid: u32,
    pub grpid: u32,
    pub code: u32,
}

/// An invalidation.
///
/// Layout: `include/uapi/linux/iommu.h`, 5.10 to 5.17 (56 bytes). The union `granu` of the header,
/// `pasid_info` or `addr_info`, is one field here.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` before `granu`, or before the end of the member that is needed |
/// | `version` | in | `EINVAL` on another than `IOMMU_CACHE_INVALIDATE_INFO_VERSION_1` |
/// | `cache` | in | bits `IOMMU_CACHE_INV_TYPE_*`; `EINVAL` on an unknown one |
/// | `granularity` | in | `IOMMU_INV_GRANU_*`; `EINVAL` when a cache has not this one |
/// | `padding` | in | `EINVAL` unless 0 |
/// | `granu` | in | [`Self::pasid_info`] or [`Self::addr_info`]; nothing for the domain |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_cache_invalidate_info {
    pub argsz: u32,
    pub version: u32,
    pub cache: u8,
    pub granularity: u8,
    pub padding: [u8; 6],
    pub granu: [u64; 5],
}

impl iommu_cache_invalidate_info {
    /// The member `granu.pasid_info`, if the granularity says so.
    pub fn pasid_info(&self) -> Option<iommu_inv_pasid_info> {
        (self.granularity == IOMMU_INV_GRANU_PASID).then(|| self.member())
    }

    /// The member `granu.addr_info`, if the granularity says so.
    pub fn addr_info(&self) -> Option<iommu_inv_addr_info> {
        (self.granularity == IOMMU_INV_GRANU_ADDR).then(|| self.member())
    }

    fn member<T: FromBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= 40, "larger than the union") };
        let (member, _) = T::read_from_prefix(self.granu.as_bytes()).expect("size checked above");
        member
    }
}

/// A guest's page table, for a PASID.
///
/// Layout: `include/uapi/linux/iommu.h`, 5.10 to 5.17 (72 bytes). The union `vendor` of the header has
/// one member, `vtd`.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` before `vendor`; VT-d's driver: before the end of `vtd` |
/// | `version` | in | `EINVAL` on another than `IOMMU_GPASID_BIND_VERSION_1` |
/// | `format` | in | `EINVAL` from `IOMMU_PASID_FORMAT_LAST`; the driver: on another than its own |
/// | `addr_width` | in | bits of an address |
/// | `flags` | in | `EINVAL` on another than `IOMMU_SVA_GPASID_VAL` |
/// | `gpgd` | in | guest physical address of the table |
/// | `hpasid` | in | the host's PASID; `EINVAL` beyond those that there are |
/// | `gpasid` | in with `GPASID_VAL` | the guest's PASID |
/// | `padding` | in | `EINVAL` unless 0 |
/// | `vendor` | in with format VT-d | |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_gpasid_bind_data {
    pub argsz: u32,
    pub version: u32,
    pub format: u32,
    pub addr_width: u32,
    pub flags: u64,
    pub gpgd: u64,
    pub hpasid: u64,
    pub gpasid: u64,
    pub padding: [u8; 8],
    pub vendor: iommu_gpasid_bind_data_vtd,
}

/// A guest's PASID table.
///
/// Layout: `[PATCH v15 01/12] iommu: Introduce attach/detach_pasid_table API`, Eric Auger, 11 April 2021
/// (32 bytes). Never merged. The union `vendor_data` has one member, `smmuv3`.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` before `vendor_data`; with format SMMUv3 before its end |
/// | `version` | in | `EINVAL` on another than `PASID_TABLE_CFG_VERSION_1` |
/// | `base_ptr` | in | guest physical address of the table |
/// | `format` | in | `IOMMU_PASID_FORMAT_SMMUV3` |
/// | `pasid_bits` | in | bits of PASID in the table; up to v13 `EINVAL` beyond those of the device, in v15 unless 0 |
/// | `config` | in | `EINVAL` when it is no `IOMMU_PASID_CONFIG_*` |
/// | `padding` | - | not looked at |
/// | `vendor_data` | in with format SMMUv3 | |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_pasid_table_config {
    pub argsz: u32,
    pub version: u32,
    pub base_ptr: u64,
    pub format: u32,
    pub pasid_bits: u8,
    pub config: u8,
    pub padding: [u8; 2],
    pub vendor_data: iommu_pasid_smmuv3,
}
