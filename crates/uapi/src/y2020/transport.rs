//! The calls on a VFIO container that were to carry the structs, and the regions of a VFIO device for faults.
//!
//! `[PATCH v7 00/16] vfio: expose virtual Shared Virtual Addressing to VMs`, Liu Yi L, 10 September 2020, is
//! the last post that has both calls; Eric Auger's `[PATCH v13 00/13] SMMUv3 Nested Stage Setup (VFIO part)`,
//! 11 April 2021, the last with the regions. None was merged. Two of the numbers belong to VFIO devices since
//! 6.6, on another kind of descriptor: [`VFIO_DEVICE_BIND_IOMMUFD`](crate::vfio::VFIO_DEVICE_BIND_IOMMUFD) and
//! [`VFIO_DEVICE_ATTACH_IOMMUFD_PT`](crate::vfio::VFIO_DEVICE_ATTACH_IOMMUFD_PT).
//!
//! | call | argument | answer |
//! |---|---|---|
//! | `VFIO_CHECK_EXTENSION` | [`VFIO_NESTING_IOMMU_UAPI`] | the version of the structs (v1 of 22 March 2020) |
//! | `VFIO_SET_IOMMU` | [`VFIO_TYPE1_NESTING_IOMMU`] | 0 |
//! | `VFIO_IOMMU_GET_INFO` | | [`vfio_iommu_type1_info_cap_nesting`] among the capabilities |
//! | [`VFIO_IOMMU_PASID_REQUEST`] | [`vfio_iommu_type1_pasid_request`] | the PASID, or 0 |
//! | [`VFIO_IOMMU_NESTING_OP`] | [`vfio_iommu_type1_nesting_op`] and the data of the operation | 0 |
//! | [`VFIO_IOMMU_SET_PASID_TABLE`] | [`vfio_iommu_type1_set_pasid_table`] | 0 |
//! | [`VFIO_IOMMU_CACHE_INVALIDATE`] | [`vfio_iommu_type1_cache_invalidate`] | 0 |
//!
//! The first two calls are the first post's, for VT-d; the last two are the second's, for SMMUv3. Each post
//! took the next free numbers, so they have the same: on a kernel with both, the IOMMU of a container's group tells
//! which is meant.

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::command::_IO;
use crate::vfio::{VFIO_BASE, VFIO_TYPE, vfio_info_cap_header};

/// Ioctl number of [`vfio_iommu_type1_pasid_request`].
pub const VFIO_IOMMU_PASID_REQUEST: u32 = _IO(VFIO_TYPE, VFIO_BASE + 18);
/// Ioctl number of [`vfio_iommu_type1_nesting_op`].
pub const VFIO_IOMMU_NESTING_OP: u32 = _IO(VFIO_TYPE, VFIO_BASE + 19);

/// Ioctl number of [`vfio_iommu_type1_set_pasid_table`], the same as [`VFIO_IOMMU_PASID_REQUEST`].
pub const VFIO_IOMMU_SET_PASID_TABLE: u32 = _IO(VFIO_TYPE, VFIO_BASE + 18);
/// Ioctl number of [`vfio_iommu_type1_cache_invalidate`], the same as [`VFIO_IOMMU_NESTING_OP`].
pub const VFIO_IOMMU_CACHE_INVALIDATE: u32 = _IO(VFIO_TYPE, VFIO_BASE + 19);

/// Extension and container type: nesting.
pub const VFIO_TYPE1_NESTING_IOMMU: u32 = crate::vfio::__VFIO_RESERVED_TYPE1_NESTING_IOMMU;
/// Extension: which version of the structs. Its number is that of
/// [`VFIO_UNMAP_ALL`](crate::vfio::VFIO_UNMAP_ALL) since 5.12.
pub const VFIO_NESTING_IOMMU_UAPI: u32 = 9;

/// Argument of `VFIO_IOMMU_PASID_REQUEST`: take or give back PASIDs of the host.
///
/// Layout: v7 (16 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 16 |
/// | `flags` | in | `EINVAL` on another than exactly one of `VFIO_IOMMU_FLAG_*_PASID` |
/// | `range` | in | to take: one PASID in it; to give back: all in it; `EINVAL` when its first is above its last, or that above 2^31 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_iommu_type1_pasid_request {
    pub argsz: u32,
    pub flags: u32,
    pub range: vfio_iommu_type1_pasid_range,
}

/// PASIDs `min..=max`. The header has no name for it.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_iommu_type1_pasid_range {
    pub min: u32,
    pub max: u32,
}

/// PASID request flag: take one.
pub const VFIO_IOMMU_FLAG_ALLOC_PASID: u32 = 1 << 0;
/// PASID request flag: give back.
pub const VFIO_IOMMU_FLAG_FREE_PASID: u32 = 1 << 1;
/// The flags of a PASID request.
pub const VFIO_PASID_REQUEST_MASK: u32 = VFIO_IOMMU_FLAG_ALLOC_PASID | VFIO_IOMMU_FLAG_FREE_PASID;

/// Argument of `VFIO_IOMMU_NESTING_OP`: an operation on nested translation. Its data follows.
///
/// Layout: v7 (8 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 8; the data has a size of its own |
/// | `flags` | in | `VFIO_IOMMU_NESTING_OP_*` in the low 16 bits; `EINVAL` on another or on higher bits |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_iommu_type1_nesting_op {
    pub argsz: u32,
    pub flags: u32,
}

/// The bits of `flags` that have the operation.
pub const VFIO_NESTING_OP_MASK: u32 = 0xffff;
/// Operation: bind a page table; data `iommu_gpasid_bind_data`.
pub const VFIO_IOMMU_NESTING_OP_BIND_PGTBL: u32 = 0;
/// Operation: unbind it; the same data.
pub const VFIO_IOMMU_NESTING_OP_UNBIND_PGTBL: u32 = 1;
/// Operation: invalidate; data `iommu_cache_invalidate_info`.
pub const VFIO_IOMMU_NESTING_OP_CACHE_INVLD: u32 = 2;

/// Argument of `VFIO_IOMMU_SET_PASID_TABLE`: a guest's PASID table. An `iommu_pasid_table_config` follows.
///
/// Layout: v13 (8 bytes without what follows).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 8; the table has a size of its own |
/// | `flags` | in | `EINVAL` on another than exactly one of `VFIO_PASID_TABLE_FLAG_*`; with `UNSET` nothing follows |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_iommu_type1_set_pasid_table {
    pub argsz: u32,
    pub flags: u32,
}

/// PASID table flag: bind it. `EINVAL` while one is bound that translates.
pub const VFIO_PASID_TABLE_FLAG_SET: u32 = 1 << 0;
/// PASID table flag: unbind what is bound, if there is any.
pub const VFIO_PASID_TABLE_FLAG_UNSET: u32 = 1 << 1;

/// Argument of `VFIO_IOMMU_CACHE_INVALIDATE`. An `iommu_cache_invalidate_info` follows.
///
/// Layout: v13 (8 bytes without what follows).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 8; the invalidation has a size of its own |
/// | `flags` | in | `EINVAL` unless 0 |
/// | what follows | in | `ENOENT` on TLBs of devices, and on translations by PASID: an SMMU's tag is `archid`, the ASID |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_iommu_type1_cache_invalidate {
    pub argsz: u32,
    pub flags: u32,
}

/// Capability ID: [`vfio_iommu_type1_info_cap_nesting`]. Linux gave the number to
/// [`VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL`](crate::vfio::VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL).
pub const VFIO_IOMMU_TYPE1_INFO_CAP_NESTING: u16 = 3;

/// Capability: nesting.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_iommu_type1_info_cap_nesting {
    pub header: vfio_info_cap_header,
    pub info: iommu_nesting_info,
}

/// What the IOMMU can do with a guest's tables.
///
/// Layout: v7 (56 bytes). The union `vendor` has one member, `vtd`.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | out | 56 |
/// | `flags` | out | 0 |
/// | `format` | out | `IOMMU_PASID_FORMAT_*` |
/// | `features` | out | `IOMMU_NESTING_FEAT_*` |
/// | `addr_width` | out | bits of address that stage 1 may have |
/// | `pasid_bits` | out | bits of PASID, 0 for none |
/// | `padding` | out | 0 |
/// | `vendor` | out | registers |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_nesting_info {
    pub argsz: u32,
    pub flags: u32,
    pub format: u32,
    pub features: u32,
    pub addr_width: u16,
    pub pasid_bits: u16,
    pub padding: [u8; 12],
    pub vendor: iommu_nesting_info_vtd,
}

/// Nesting feature: PASIDs are the host's, and asked for by [`VFIO_IOMMU_PASID_REQUEST`].
pub const IOMMU_NESTING_FEAT_SYSWIDE_PASID: u32 = 1 << 0;
/// Nesting feature: page tables are bound.
pub const IOMMU_NESTING_FEAT_BIND_PGTBL: u32 = 1 << 1;
/// Nesting feature: caches are invalidated.
pub const IOMMU_NESTING_FEAT_CACHE_INVLD: u32 = 1 << 2;

/// Registers of VT-d.
///
/// Layout: v7 (24 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags`, `padding` | out | 0 |
/// | `cap_reg` | out | CAP, without what a guest must not see |
/// | `ecap_reg` | out | ECAP, likewise |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_nesting_info_vtd {
    pub flags: u32,
    pub padding: u32,
    pub cap_reg: u64,
    pub ecap_reg: u64,
}

/// Region type of a VFIO device: nesting.
pub const VFIO_REGION_TYPE_NESTED: u32 = 4;
/// Region subtype: a ring of faults, with [`vfio_region_dma_fault`] in front.
pub const VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT: u32 = 1;
/// Region subtype: a ring of responses, with [`vfio_region_dma_fault_response`] in front.
pub const VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT_RESPONSE: u32 = 2;
/// Capability ID of a region: [`vfio_region_info_cap_fault`].
pub const VFIO_REGION_INFO_CAP_DMA_FAULT: u16 = 6;
/// Capability ID of a region: the same struct, for responses.
pub const VFIO_REGION_INFO_CAP_DMA_FAULT_RESPONSE: u16 = 7;
/// Interrupt type of a VFIO device: nesting.
pub const VFIO_IRQ_TYPE_NESTED: u32 = 1;
/// Interrupt subtype: there is a fault in the ring.
pub const VFIO_IRQ_SUBTYPE_DMA_FAULT: u32 = 1;

/// Interrupt flag: it has capabilities, and `vfio_irq_info` a field `cap_offset` at its end.
pub const VFIO_IRQ_INFO_FLAG_CAPS: u32 = 1 << 4;
/// Capability ID of a kind of interrupt: [`vfio_irq_info_cap_type`].
pub const VFIO_IRQ_INFO_CAP_TYPE: u16 = 3;

/// Capability of a kind of interrupt: what it is for.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_irq_info_cap_type {
    pub header: vfio_info_cap_header,
    pub r#type: u32,
    pub subtype: u32,
}

/// Capability of a fault region: the version of its layout, 1.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_region_info_cap_fault {
    pub header: vfio_info_cap_header,
    pub version: u32,
}

/// Head of a region with a ring of [`iommu_fault`](super::fault::iommu_fault).
///
/// Layout: v13 (20 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `tail` | in | index of the next fault that the program takes; a write of another place or size is `EINVAL`, and so is an index from `nb_entries` |
/// | `entry_size` | out | bytes of an entry |
/// | `nb_entries` | out | entries of the ring |
/// | `offset` | out | where the ring begins in the region |
/// | `head` | out | index of the next fault that the kernel puts in |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_region_dma_fault {
    pub tail: u32,
    pub entry_size: u32,
    pub nb_entries: u32,
    pub offset: u32,
    pub head: u32,
}

/// Head of a region with a ring of `iommu_page_response`.
///
/// Layout: v13 (20 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `head` | in | index of the next response that the program puts in; a write of another place or size is `EINVAL`, and so is an index from `nb_entries` |
/// | `entry_size` | out | bytes of an entry |
/// | `nb_entries` | out | entries of the ring |
/// | `offset` | out | where the ring begins in the region |
/// | `tail` | out | index of the next response that the kernel takes |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_region_dma_fault_response {
    pub head: u32,
    pub entry_size: u32,
    pub nb_entries: u32,
    pub offset: u32,
    pub tail: u32,
}
