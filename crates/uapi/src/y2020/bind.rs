//! Vendor parts and constants of tables that are bound.

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The version of bind data that 5.5 to 5.17 know.
pub const IOMMU_GPASID_BIND_VERSION_1: u32 = 1;
/// Format of a page table: Intel VT-d's first stage.
pub const IOMMU_PASID_FORMAT_INTEL_VTD: u32 = 1;
/// The first number that is no format. Since 5.10.
pub const IOMMU_PASID_FORMAT_LAST: u32 = 2;
/// Bind flag: `gpasid` is valid.
pub const IOMMU_SVA_GPASID_VAL: u64 = 1 << 0;

/// VT-d flag: supervisor requests.
pub const IOMMU_SVA_VTD_GPASID_SRE: u64 = 1 << 0;
/// VT-d flag: extended access flags.
pub const IOMMU_SVA_VTD_GPASID_EAFE: u64 = 1 << 1;
/// VT-d flag: page-level cache disable.
pub const IOMMU_SVA_VTD_GPASID_PCD: u64 = 1 << 2;
/// VT-d flag: page-level write through.
pub const IOMMU_SVA_VTD_GPASID_PWT: u64 = 1 << 3;
/// VT-d flag: extended memory types.
pub const IOMMU_SVA_VTD_GPASID_EMTE: u64 = 1 << 4;
/// VT-d flag: PASID-level cache disable.
pub const IOMMU_SVA_VTD_GPASID_CD: u64 = 1 << 5;
/// The first bit that is no VT-d flag. Since 5.10.
pub const IOMMU_SVA_VTD_GPASID_LAST: u64 = 1 << 6;
/// The VT-d flags of memory types. Since 5.8.
pub const IOMMU_SVA_VTD_GPASID_MTS_MASK: u64 = IOMMU_SVA_VTD_GPASID_CD
    | IOMMU_SVA_VTD_GPASID_EMTE
    | IOMMU_SVA_VTD_GPASID_PCD
    | IOMMU_SVA_VTD_GPASID_PWT;

/// What VT-d wants to know of a bound page table: fields of its PASID table entry.
///
/// Layout: `include/uapi/linux/iommu.h`, since 5.5 (16 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | in | `IOMMU_SVA_VTD_GPASID_*`; since 5.10 `EINVAL` on an unknown bit |
/// | `pat` | in | page attribute table |
/// | `emt` | in with `EMTE` | extended memory type |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_gpasid_bind_data_vtd {
    pub flags: u64,
    pub pat: u32,
    pub emt: u32,
}

/// The version of a PASID table that was posted.
pub const PASID_TABLE_CFG_VERSION_1: u32 = 1;
/// Format of a PASID table: SMMUv3's context descriptors, as [`iommu_pasid_smmuv3`] says.
pub const IOMMU_PASID_FORMAT_SMMUV3: u32 = 1;
/// What stage 1 does: translate.
pub const IOMMU_PASID_CONFIG_TRANSLATE: u8 = 1;
/// What stage 1 does: nothing, addresses go to stage 2 as they are.
pub const IOMMU_PASID_CONFIG_BYPASS: u8 = 2;
/// What stage 1 does: refuse every access.
pub const IOMMU_PASID_CONFIG_ABORT: u8 = 3;

/// The version of the SMMUv3 part that was posted.
pub const PASID_TABLE_SMMUV3_CFG_VERSION_1: u32 = 1;

/// What SMMUv3 wants to know of a PASID table: fields of its stream table entry.
///
/// Layout: `[PATCH v15 01/12] iommu: Introduce attach/detach_pasid_table API`, Eric Auger, 11 April 2021
/// (8 bytes). Never merged.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `version` | in | `PASID_TABLE_SMMUV3_CFG_VERSION_1` |
/// | `s1fmt` | in | a table (0), or one of two levels, the last of 4 KiB (1) or 64 KiB (2); not looked at for one descriptor |
/// | `s1dss` | in | an access without a PASID is refused (0), bypasses (1), or uses descriptor 0 (2); likewise |
/// | `padding` | - | not looked at |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_pasid_smmuv3 {
    pub version: u32,
    pub s1fmt: u8,
    pub s1dss: u8,
    pub padding: [u8; 2],
}
