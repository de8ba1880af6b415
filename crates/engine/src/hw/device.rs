//! What a model knows of a device.

use std::sync::Arc;

use profile::machine;

use super::{Attach, selftest};

/// What a model keeps for a device.
#[derive(Debug)]
pub(crate) enum DeviceState {
    Selftest(selftest::MockDevice),
    Pci(PciState),
}

/// A PCI device behind a vendor's IOMMU.
#[derive(Clone, Debug)]
pub(crate) struct PciState {
    pub facts: Arc<machine::Device>,
    /// Attachments that may fault.
    pub faulting: u32,
    /// Whether ATS is on, where the kernel turns it on and off as it attaches.
    pub ats_on: bool,
}

impl PciState {
    /// A device that is attached to nothing.
    pub fn new(facts: Arc<machine::Device>) -> Self {
        Self { facts, faulting: 0, ats_on: false }
    }

    /// Notes whether one attachment more, or less, may fault.
    pub(super) fn count_faulting(&mut self, attach: Attach) {
        self.faulting += u32::from(attach.faults && attach.domain.is_some());
        self.faulting -= u32::from(attach.replaces.is_some_and(|old| old.faults));
    }
}

impl DeviceState {
    /// The same, to be kept.
    pub fn shared_facts(&self) -> Option<Arc<machine::Device>> {
        match self {
            Self::Selftest(_) => None,
            Self::Pci(state) => Some(Arc::clone(&state.facts)),
        }
    }

    /// The facts of a PCI device.
    pub fn facts(&self) -> Option<&machine::Device> {
        match self {
            Self::Selftest(_) => None,
            Self::Pci(state) => Some(&state.facts),
        }
    }
}

pub(super) fn pci(state: &DeviceState) -> &PciState {
    match state {
        DeviceState::Pci(state) => state,
        DeviceState::Selftest(_) => unreachable!("the engine gives each model its own devices"),
    }
}

pub(super) fn pci_mut(state: &mut DeviceState) -> &mut PciState {
    match state {
        DeviceState::Pci(state) => state,
        DeviceState::Selftest(_) => unreachable!("the engine gives each model its own devices"),
    }
}

/// How many PASIDs a device and its IOMMU have, 0 without (`dev_iommu_get_max_pasids`).
pub(super) fn max_pasids(device: &machine::Device, iommu: u32) -> u32 {
    device.pasid.map_or(0, |pasid| iommu.min(1 << pasid.width))
}
