//! Faults that the kernel tells of, and the constants of the answer.
//!
//! One layout from 5.3 until the header was deleted in 6.9.

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A fault that nobody can repair.
///
/// Layout: `include/uapi/linux/iommu.h`, since 5.3 (32 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `reason` | out | `IOMMU_FAULT_REASON_*` |
/// | `flags` | out | `IOMMU_FAULT_UNRECOV_*`: which of the others are valid |
/// | `pasid` | out with `PASID_VALID` | |
/// | `perm` | out | `IOMMU_FAULT_PERM_*`: what the access asked for |
/// | `addr` | out with `ADDR_VALID` | the address of the access |
/// | `fetch_addr` | out with `FETCH_ADDR_VALID` | the address of the structure that could not be read |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_fault_unrecoverable {
    pub reason: u32,
    pub flags: u32,
    pub pasid: u32,
    pub perm: u32,
    pub addr: u64,
    pub fetch_addr: u64,
}

/// A page request: a fault that the program can repair and must answer.
///
/// Layout: `include/uapi/linux/iommu.h`, since 5.3 (40 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `flags` | out | `IOMMU_FAULT_PAGE_REQUEST_*` |
/// | `pasid` | out with `PASID_VALID` | |
/// | `grpid` | out | the group; its last request has `LAST_PAGE` and is answered for all |
/// | `perm` | out | `IOMMU_FAULT_PERM_*`: what the access asked for |
/// | `addr` | out | the address of the page |
/// | `private_data` | out with `PRIV_DATA` | goes back with the answer |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_fault_page_request {
    pub flags: u32,
    pub pasid: u32,
    pub grpid: u32,
    pub perm: u32,
    pub addr: u64,
    pub private_data: [u64; 2],
}

/// A fault of either kind.
///
/// Layout: `include/uapi/linux/iommu.h`, since 5.3 (64 bytes). The union of the header, with its member
/// `padding2` of 56 bytes, is one field here.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `type` | out | `IOMMU_FAULT_DMA_UNRECOV` or `IOMMU_FAULT_PAGE_REQ` |
/// | `padding` | out | 0 |
/// | `fault` | out | the member that `type` names, [`Self::event`] or [`Self::prm`], then 0 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_fault {
    pub r#type: u32,
    pub padding: u32,
    pub fault: [u64; 7],
}

impl iommu_fault {
    /// A fault of type `IOMMU_FAULT_DMA_UNRECOV`.
    pub fn unrecoverable(event: iommu_fault_unrecoverable) -> Self {
        Self::new(IOMMU_FAULT_DMA_UNRECOV, &event)
    }

    /// A fault of type `IOMMU_FAULT_PAGE_REQ`.
    pub fn page_request(prm: iommu_fault_page_request) -> Self {
        Self::new(IOMMU_FAULT_PAGE_REQ, &prm)
    }

    fn new<T: IntoBytes + Immutable>(r#type: u32, member: &T) -> Self {
        let mut fault = Self { r#type, ..Self::default() };
        const { assert!(size_of::<T>() <= 56, "larger than the union") };
        member.write_to_prefix(fault.fault.as_mut_bytes()).expect("size checked above");
        fault
    }

    /// The member `event`, if the type says so.
    pub fn event(&self) -> Option<iommu_fault_unrecoverable> {
        (self.r#type == IOMMU_FAULT_DMA_UNRECOV).then(|| self.member())
    }

    /// The member `prm`, if the type says so.
    pub fn prm(&self) -> Option<iommu_fault_page_request> {
        (self.r#type == IOMMU_FAULT_PAGE_REQ).then(|| self.member())
    }

    fn member<T: FromBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= 56, "larger than the union") };
        let (member, _) = T::read_from_prefix(self.fault.as_bytes()).expect("size checked above");
        member
    }
}

/// Fault type: [`iommu_fault_unrecoverable`].
pub const IOMMU_FAULT_DMA_UNRECOV: u32 = 1;
/// Fault type: [`iommu_fault_page_request`].
pub const IOMMU_FAULT_PAGE_REQ: u32 = 2;

/// Access: read.
pub const IOMMU_FAULT_PERM_READ: u32 = 1 << 0;
/// Access: write.
pub const IOMMU_FAULT_PERM_WRITE: u32 = 1 << 1;
/// Access: execute.
pub const IOMMU_FAULT_PERM_EXEC: u32 = 1 << 2;
/// Access: privileged.
pub const IOMMU_FAULT_PERM_PRIV: u32 = 1 << 3;

/// Reason: none known.
pub const IOMMU_FAULT_REASON_UNKNOWN: u32 = 0;
/// Reason: the PASID table could not be read.
pub const IOMMU_FAULT_REASON_PASID_FETCH: u32 = 1;
/// Reason: the entry of the PASID table is wrong.
pub const IOMMU_FAULT_REASON_BAD_PASID_ENTRY: u32 = 2;
/// Reason: the PASID is out of range, or PASIDs are off.
pub const IOMMU_FAULT_REASON_PASID_INVALID: u32 = 3;
/// Reason: a page table could not be read.
pub const IOMMU_FAULT_REASON_WALK_EABT: u32 = 4;
/// Reason: the entry of the page table is not valid.
pub const IOMMU_FAULT_REASON_PTE_FETCH: u32 = 5;
/// Reason: the entry does not allow the access.
pub const IOMMU_FAULT_REASON_PERMISSION: u32 = 6;
/// Reason: the access flag is not set.
pub const IOMMU_FAULT_REASON_ACCESS: u32 = 7;
/// Reason: the address is beyond what the table translates.
pub const IOMMU_FAULT_REASON_OOR_ADDRESS: u32 = 8;

/// Flag of an unrecoverable fault: `pasid` is valid.
pub const IOMMU_FAULT_UNRECOV_PASID_VALID: u32 = 1 << 0;
/// Flag of an unrecoverable fault: `addr` is valid.
pub const IOMMU_FAULT_UNRECOV_ADDR_VALID: u32 = 1 << 1;
/// Flag of an unrecoverable fault: `fetch_addr` is valid.
pub const IOMMU_FAULT_UNRECOV_FETCH_ADDR_VALID: u32 = 1 << 2;

/// Flag of a page request: `pasid` is valid.
pub const IOMMU_FAULT_PAGE_REQUEST_PASID_VALID: u32 = 1 << 0;
/// Flag of a page request: the last of its group.
pub const IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE: u32 = 1 << 1;
/// Flag of a page request: `private_data` is valid.
pub const IOMMU_FAULT_PAGE_REQUEST_PRIV_DATA: u32 = 1 << 2;
/// Flag of a page request: the answer must have the PASID. Since 5.9.
pub const IOMMU_FAULT_PAGE_RESPONSE_NEEDS_PASID: u32 = 1 << 3;

/// The version of a page response that 5.3 to 6.8 know.
pub const IOMMU_PAGE_RESP_VERSION_1: u32 = 1;
/// Flag of a page response: `pasid` is valid.
pub const IOMMU_PAGE_RESP_PASID_VALID: u32 = 1 << 0;
/// Code of a page response: the page is there, try again.
pub const IOMMU_PAGE_RESP_SUCCESS: u32 = 0;
/// Code of a page response: the access is wrong.
pub const IOMMU_PAGE_RESP_INVALID: u32 = 1;
/// Code of a page response: general error; later requests are dropped, too.
pub const IOMMU_PAGE_RESP_FAILURE: u32 = 2;
