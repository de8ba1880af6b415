//! Domains: what is asked for, what the hardware offers, and what a model remembers of it.

use std::ops::RangeInclusive;

use super::{Identifier, amd, riscv, selftest, smmuv3, unsupported, vtd};
use crate::Refusal;
use crate::objects::ObjectId;
use crate::tables::HostFormat;
use crate::task::UserData;

/// What a model remembers of a paging domain, to judge who may attach to it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Table {
    Selftest { dirty: bool },
    Vtd(vtd::Table),
    Smmuv3(smmuv3::Table),
    Amd(amd::Table),
    Riscv(riscv::Table),
}

/// State that a model keeps in a nested hwpt.
#[derive(Debug)]
pub(crate) enum Nested {
    Selftest(selftest::MockNested),
    Vtd(vtd::Nested),
    Smmuv3(smmuv3::Nested),
}

impl Nested {
    pub fn view(&self) -> NestedView {
        match self {
            Self::Selftest(_) => NestedView::Selftest,
            Self::Vtd(nested) => NestedView::Vtd(*nested),
            Self::Smmuv3(nested) => NestedView::Smmuv3(*nested),
        }
    }
}

/// What attaching needs to know of a nested hwpt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NestedView {
    Selftest,
    Vtd(vtd::Nested),
    Smmuv3(smmuv3::Nested),
}

/// What a device is attached to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Domain {
    Paging(Table),
    /// A guest's table; the vIOMMU that it came through, and the ID by which that knows the device.
    Nested(NestedView, Option<(ObjectId, Option<u64>)>),
}

impl Domain {
    pub fn nested(nested: &Nested, viommu: Option<(ObjectId, Option<u64>)>) -> Self {
        Self::Nested(nested.view(), viommu)
    }
}

/// A paging domain that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PagingRequest {
    /// `IOMMU_HWPT_ALLOC_*`, and `FAULT_ID_VALID` where the kernel hands it on.
    pub flags: u32,
    pub data: Option<UserData>,
}

impl PagingRequest {
    /// The flags, for a driver that knows these and takes no data.
    pub(super) fn flags_of(&self, known: u32) -> Result<u32, Refusal> {
        match (self.flags & !known, self.data) {
            (0, None) => Ok(self.flags),
            (0, Some(data)) => Err(unsupported("data_type", data.kind)),
            _ => Err(unsupported("flags", self.flags)),
        }
    }
}

/// A paging domain that the hardware can offer.
#[derive(Debug)]
pub(crate) struct PagingDomain {
    pub table: Table,
    /// The format of its tables; none for a mock device, which has none.
    pub format: Option<HostFormat>,
    /// A bit for each page size.
    pub page_sizes: u64,
    pub aperture: RangeInclusive<u64>,
    /// Whether its record of written pages can be read only while it is kept.
    pub dirty_needs_tracking: bool,
    /// Whether it holds mappings that can only be read.
    pub read_only: bool,
    /// Whether devices' writes never bypass the CPU's caches, whatever they ask for.
    pub coherent: bool,
    /// The hardware's identifier for it, where that is had with it.
    pub identifier: Option<Identifier>,
}

/// A guest's table that is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NestedRequest {
    /// `IOMMU_HWPT_ALLOC_*`, without `FAULT_ID_VALID`.
    pub flags: u32,
    pub data: UserData,
    /// The nesting parent.
    pub parent: Table,
    /// Whether a vIOMMU was named instead of the parent.
    pub through_viommu: bool,
}
