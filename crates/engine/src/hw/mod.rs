//! What stands behind a device: the models of IOMMU hardware.
//!
//! The user API is the same for all; what it may ask of the hardware is one trait. A model says what
//! it supports, in the words and the order of Linux's driver for it, and holds no state but what a
//! device or a page table keeps for it.

pub(crate) mod selftest;

use std::fmt;
use std::ops::RangeInclusive;

use crate::Refusal;
use crate::objects::ObjectId;
use crate::task::{Task, UserData};
use crate::viommu::Regions;

/// State that a model keeps in a device.
#[derive(Debug)]
pub(crate) enum DeviceState {
    Selftest(selftest::MockDevice),
}

/// State that a model keeps in a nested hwpt.
#[derive(Debug)]
pub(crate) enum Nested {
    Selftest(selftest::MockNested),
}

/// A paging domain that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PagingRequest {
    /// `IOMMU_HWPT_ALLOC_*`, without `FAULT_ID_VALID`.
    pub flags: u32,
    pub data: Option<UserData>,
}

/// A paging domain that the hardware can offer.
#[derive(Clone, Debug)]
pub(crate) struct PagingDomain {
    /// A bit for each page size.
    pub page_sizes: u64,
    pub aperture: RangeInclusive<u64>,
    /// Whether its record of written pages can be read only while it is kept.
    pub dirty_needs_tracking: bool,
}

/// A change of what a device or one of its PASIDs is attached to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attach {
    pub pasid: u32,
    /// To nothing.
    pub blocked: bool,
    pub dirty_ops: bool,
    /// The vIOMMU of a nested hwpt, and the ID by which it knows the device.
    pub viommu: Option<(ObjectId, Option<u64>)>,
    /// Whether something else was attached.
    pub replaces: bool,
}

/// What a device can do, for `IOMMU_GET_HW_INFO`.
#[derive(Clone, Debug)]
pub(crate) struct HwInfo {
    pub kind: u32,
    pub data: Vec<u8>,
    /// `IOMMU_HW_CAP_*`
    pub capabilities: u64,
    pub max_pasid_log2: u8,
}

/// An array of invalidation requests in the caller's memory (`struct iommu_user_data_array`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requests {
    pub kind: u32,
    pub va: u64,
    pub entry_len: u32,
    pub count: u32,
}

/// A vIOMMU as the hardware made it.
#[derive(Debug, Default)]
pub(crate) struct ViommuMade {
    /// Offset of a region that the program may map.
    pub region: Option<u64>,
}

/// Does something to the device that a vIOMMU knows by a virtual ID; false when it knows none.
pub(crate) type ApplyToDevice<'a> = dyn FnMut(u64, &mut dyn FnMut(&mut DeviceState)) -> bool + 'a;

/// A model of IOMMU hardware and its driver.
pub(crate) trait Hardware: fmt::Debug + Send + Sync {
    fn hw_info(&self, device: &DeviceState, wanted: u32) -> Result<HwInfo, Refusal>;

    fn has_dirty_tracking(&self, device: &DeviceState) -> bool;

    fn alloc_paging(
        &self,
        task: &mut Task<'_>,
        device: &DeviceState,
        request: PagingRequest,
    ) -> Result<PagingDomain, Refusal>;

    fn has_nesting(&self) -> bool;

    fn alloc_nested(
        &self,
        task: &mut Task<'_>,
        flags: u32,
        data: UserData,
    ) -> Result<Nested, Refusal>;

    fn attach(&self, device: &mut DeviceState, attach: Attach) -> Result<(), Refusal>;

    /// Handles requests in order; returns how many were handled before the first refusal.
    fn invalidate_nested(
        &self,
        task: &mut Task<'_>,
        nested: &mut Nested,
        requests: Requests,
    ) -> (u32, Result<(), Refusal>);

    /// Like [`Hardware::invalidate_nested`], on a vIOMMU.
    fn invalidate_viommu(
        &self,
        task: &mut Task<'_>,
        requests: Requests,
        apply: &mut ApplyToDevice<'_>,
    ) -> (u32, Result<(), Refusal>);

    fn has_viommu(&self, kind: u32) -> bool;

    fn init_viommu(
        &self,
        task: &mut Task<'_>,
        data: Option<UserData>,
        regions: &mut Regions,
    ) -> Result<ViommuMade, Refusal>;

    fn has_queue(&self, kind: u32) -> bool;

    /// How many hardware queues a vIOMMU has. They are made in rising order.
    fn queue_count(&self) -> u32;
}
