//! What the hardware, and the driver, make of a device's request.

use super::{amd, riscv, smmuv3, vtd};
use crate::dma::Tag;

/// The structures that lead from a requester and its PASID to tables, as hardware caches them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// What the IOTLB tags translations by.
    pub tag: Tag,
    pub leads: Leads,
}

/// Where they lead.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leads {
    /// To nothing.
    Nowhere,
    Amd(amd::lookup::Context),
    Riscv(riscv::lookup::Context),
    Smmuv3(smmuv3::lookup::Context),
    Vtd(vtd::lookup::PasidEntry),
}

/// Why hardware translates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    /// The reason, as the hardware's manual counts them.
    pub code: u32,
    /// Whether a page request may help a device that asked for a translation.
    pub recoverable: bool,
    /// Whether the access waits until a page request is answered.
    pub stalls: bool,
    /// The record of it that a guest may get, still without the name of the device.
    pub event: Option<[u64; 4]>,
}

impl Denied {
    /// A reason, and nothing that helps.
    pub fn for_good(code: u32) -> Self {
        Self { code, recoverable: false, stalls: false, event: None }
    }
}

/// What a driver makes of a page request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// It goes to who handles it, if anybody does.
    Deliver,
    /// It is answered as invalid.
    Refuse,
    /// It is lost, and answered by nobody.
    Drop,
}
