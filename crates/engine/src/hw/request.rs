//! What a device asks of an IOMMU.

use pt::Access;

/// A request of a device for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    /// None for a request without a PASID.
    pub pasid: Option<u32>,
    pub iova: u64,
    pub access: Access,
    /// Whether only the translation is asked for (ATS): refusals of it are not recorded as faults.
    pub translation_only: bool,
}

impl Request {
    /// The access. Privilege is told together with a PASID, and not without one.
    pub fn access(&self) -> Access {
        Access { privileged: self.access.privileged && self.pasid.is_some(), ..self.access }
    }
}
