//! Hardware information: what the IOMMU of a bound device can do.
//!
//! The answer has a generic part in [`iommu_hw_info`] and vendor registers in a buffer.

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::IOMMUFD_CMD_GET_HW_INFO;
use crate::{Command, Generation};

/// Argument of `IOMMU_GET_HW_INFO`: ask what the IOMMU of a device can do.
///
/// Layout: `include/uapi/linux/iommufd.h`, 6.6 (32 bytes), 6.7 (40).
///
/// `in_data_type` and `out_data_type` are one union in the header and one field here. Before
/// 6.15 `__reserved` was four bytes, with `out_max_pasid_log2` in front.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | in | `EOPNOTSUPP` on an unknown bit |
/// | `dev_id` | in | `ENOENT` when it is no such object |
/// | `data_len` | in, out | bytes of the buffer, then bytes that the kernel has, which may be more |
/// | `data_uptr` | in | address of the buffer; filled as far as it goes, the rest is zeroed |
/// | `in_data_type` | in with `INPUT_TYPE` | wanted type; `EOPNOTSUPP` when the driver has not this type |
/// | `out_data_type` | out | `IOMMU_HW_INFO_TYPE_*` |
/// | `out_max_pasid_log2` | out | bits of PASID since 6.15, 0 when PASID is off |
/// | `__reserved` | in | `EOPNOTSUPP` unless 0 |
/// | `out_capabilities` | out | `IOMMU_HW_CAP_*` |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hw_info {
    pub size: u32,
    pub flags: u32,
    pub dev_id: u32,
    pub data_len: u32,
    pub data_uptr: u64,
    pub out_data_type: u32,
    pub out_max_pasid_log2: u8,
    pub __reserved: [u8; 3],
    pub out_capabilities: u64,
}

impl iommu_hw_info {
    /// The other member of the union at `out_data_type`, in with `IOMMU_HW_INFO_FLAG_INPUT_TYPE`.
    pub const fn in_data_type(&self) -> u32 {
        self.out_data_type
    }
}

impl Command for iommu_hw_info {
    const NAME: &'static str = "IOMMU_GET_HW_INFO";
    const NR: u8 = IOMMUFD_CMD_GET_HW_INFO;
    const MIN_SIZE: usize = 32; // through `__reserved`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_6, 32), (Generation::V6_7, 40)];
}

/// Ioctl number of [`iommu_hw_info`].
pub const IOMMU_GET_HW_INFO: u32 = iommu_hw_info::IOCTL;

/// Flag of [`iommu_hw_info`]: `in_data_type` asks for a type. Since 6.17.
pub const IOMMU_HW_INFO_FLAG_INPUT_TYPE: u32 = 1 << 0;

/// Data type, out: the driver tells nothing. Since 6.6.
pub const IOMMU_HW_INFO_TYPE_NONE: u32 = 0;
/// Data type, in: the type that the driver prefers. Since 6.17.
pub const IOMMU_HW_INFO_TYPE_DEFAULT: u32 = 0;
/// Data type: [`iommu_hw_info_vtd`]. Since 6.6.
pub const IOMMU_HW_INFO_TYPE_INTEL_VTD: u32 = 1;
/// Data type: [`iommu_hw_info_arm_smmuv3`]. Since 6.13.
pub const IOMMU_HW_INFO_TYPE_ARM_SMMUV3: u32 = 2;
/// Data type: [`iommu_hw_info_tegra241_cmdqv`]. Since 6.17.
pub const IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV: u32 = 3;
/// Data type: [`iommu_hw_info_amd`]. Since 7.0.
pub const IOMMU_HW_INFO_TYPE_AMD: u32 = 4;

/// Capability: dirty tracking. Since 6.7.
pub const IOMMU_HW_CAP_DIRTY_TRACKING: u64 = 1 << 0;
/// Capability: requests with PASID may ask to execute. Meaningless without PASID. Since 6.15.
pub const IOMMU_HW_CAP_PCI_PASID_EXEC: u64 = 1 << 1;
/// Capability: requests with PASID may be privileged. Meaningless without PASID. Since 6.15.
pub const IOMMU_HW_CAP_PCI_PASID_PRIV: u64 = 1 << 2;
/// Capability: the device cannot use ATS. Absent, it may. Since 7.1.
pub const IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED: u64 = 1 << 3;

/// Registers of Intel VT-d.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.6 (24 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | out | `IOMMU_HW_INFO_VTD_*` |
/// | `__reserved` | out | 0 |
/// | `cap_reg` | out | capability register, VT-d 11.4.2 |
/// | `ecap_reg` | out | extended capability register, VT-d 11.4.3 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hw_info_vtd {
    pub flags: u32,
    pub __reserved: u32,
    pub cap_reg: u64,
    pub ecap_reg: u64,
}

/// VT-d flag: no read-only mappings in a nesting parent. Every VT-d reports it. Since 6.7.
pub const IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17: u32 = 1 << 0;

/// Registers of Arm SMMUv3.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.13 (40 bytes).
///
/// Raw values. Of `idr`, user space may rely on ST_LEVEL, TERM_MODEL, STALL_MODEL, TTENDIAN,
/// CD2L, ASID16, TTF (0), SIDSIZE, SSIDSIZE (1), BBML, RIL (3), VAX, GRAN64K, GRAN16K, GRAN4K
/// and since 7.3 DS (5).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | out | `IOMMU_HW_INFO_ARM_SMMUV3_*` |
/// | `__reserved` | out | 0 |
/// | `idr` | out | `SMMU_IDR0` to `SMMU_IDR5`, SMMUv3 6.3.1 to 6.3.6 |
/// | `iidr` | out | implementer and implementation |
/// | `aidr` | out | architecture version |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hw_info_arm_smmuv3 {
    pub flags: u32,
    pub __reserved: u32,
    pub idr: [u32; 6],
    pub iidr: u32,
    pub aidr: u32,
}

/// SMMUv3 flag: TLBI and CFGI commands must be issued and synchronized twice. Since 7.3.
pub const IOMMU_HW_INFO_ARM_SMMUV3_ERRATA_REPEAT_TLBI_CFGI: u32 = 1 << 0;

/// Parameters of the command queue virtualization of NVIDIA Tegra241.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 6.17 (8 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | out | 0 |
/// | `version` | out | PARAM bits 3:0 |
/// | `log2vcmdqs` | out | log2 of virtual command queues, PARAM bits 7:4 |
/// | `log2vsids` | out | log2 of stream ID replacements, PARAM bits 15:12 |
/// | `__reserved` | out | 0 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hw_info_tegra241_cmdqv {
    pub flags: u32,
    pub version: u8,
    pub log2vcmdqs: u8,
    pub log2vsids: u8,
    pub __reserved: u8,
}

/// Registers of the AMD IOMMU.
///
/// Layout: `include/uapi/linux/iommufd.h`, since 7.0 (16 bytes).
///
/// Raw values. Of `efr`, user space may rely on GTSup, GASup, GioSup, PPRSup, EPHSup, GATS, GLX
/// and PASmax.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `efr` | out | extended feature register, MMIO offset 0x30 |
/// | `efr2` | out | extended feature 2 register, MMIO offset 0x1a0 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hw_info_amd {
    pub efr: u64,
    pub efr2: u64,
}
