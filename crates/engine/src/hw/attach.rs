//! Attaching a domain to a device, or to one of its PASIDs.

use super::Domain;
use crate::Refusal;
use crate::device::NO_PASID;

/// A change of what a device or one of its PASIDs is attached to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attach {
    pub pasid: u32,
    /// None for nothing: the blocked domain.
    pub domain: Option<Domain>,
    /// The number of its hwpt.
    pub number: Option<u64>,
    /// Whether faults go to a queue.
    pub faults: bool,
    /// What was attached before.
    pub replaces: Option<Replaced>,
}

/// What was attached before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replaced {
    pub number: u64,
    /// Whether its faults went to a queue.
    pub faults: bool,
}

impl Attach {
    /// Whether faults go to a queue, and did not before.
    pub(super) fn begins_to_fault(self) -> bool {
        self.faults && !self.replaces.is_some_and(|old| old.faults)
    }
}

/// Whether an attach reaches the driver. The core checks PASIDs only of devices that have any, and for
/// a device without it asks nobody (`iommu_attach_device_pasid`, `__iommu_set_group_pasid`,
/// `drivers/iommu/iommu.c`).
pub(super) fn reaches_driver(attach: Attach, max_pasids: u32) -> Result<bool, Refusal> {
    if attach.pasid == NO_PASID {
        return Ok(true);
    }
    if max_pasids != 0 && attach.replaces.is_none() && attach.pasid >= max_pasids {
        let rule = "beyond the PASIDs of the device";
        return Err(Refusal::Invalid { field: "pasid", value: attach.pasid.into(), rule });
    }
    Ok(max_pasids != 0)
}
