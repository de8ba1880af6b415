//! A device, and what may be asked of it.

use profile::machine::Bdf;
use profile::{Profile, Requirement, Verdict};
use thiserror::Error;

use crate::feature::Feature;
use crate::probe::{CannotAsk, probe};
use crate::session::{Failed, Session, open_device, open_iommu};
use crate::system::System;

/// A PCI device behind an IOMMU.
#[derive(Clone, Debug)]
pub struct Device {
    system: System,
    address: Bdf,
}

/// Why a feature was neither given nor refused.
#[derive(Debug, Error)]
pub enum NotNegotiated {
    /// The device could not be asked.
    #[error(transparent)]
    CannotAsk(#[from] CannotAsk),
    /// Everything is there, and a call failed for another reason: memory, descriptors, another
    /// program that took the device meanwhile.
    #[error("everything is there, but {0}")]
    Failed(#[from] Failed),
}

impl System {
    /// The device at an address; that it is there is found out when it is asked.
    pub fn device(&self, address: Bdf) -> Device {
        Device { system: self.clone(), address }
    }
}

impl Device {
    /// Its address.
    pub fn address(&self) -> Bdf {
        self.address
    }

    /// Finds what it can do. See [`probe`].
    pub fn probe(&self) -> Result<Profile, CannotAsk> {
        probe(&self.system, Some(self.address))
    }

    /// Judges a requirement, any one.
    pub fn check(&self, requirement: &Requirement) -> Result<Verdict, CannotAsk> {
        Ok(Verdict::of(requirement, &self.probe()?))
    }

    /// Asks for a whole feature. It is given, or the verdict says what is missing. Only what is given
    /// offers the feature's calls, so that none of them can fail for compatibility.
    pub fn negotiate<F: Feature>(
        &self,
        feature: &F,
    ) -> Result<Result<F::Value, Verdict>, NotNegotiated> {
        let verdict = self.check(feature.requirement())?;
        if !verdict.is_satisfied() {
            return Ok(Err(verdict));
        }
        Ok(Ok(self.open_unasked(feature)?))
    }

    /// Makes the calls of a feature without asking whether it will work, and fails at the first that is
    /// refused. It is what programs do today, and what a verdict is held against.
    pub fn open_unasked<F: Feature>(&self, feature: &F) -> Result<F::Value, Failed> {
        let iommu = open_iommu(&self.system)?;
        let functions = self.system.functions();
        let function = functions.iter().find(|function| function.address == self.address);
        // a device that is nowhere has no node either
        let number = function.and_then(|function| function.vfio).unwrap_or(0);
        let session = Session::bind(iommu, open_device(&self.system, number)?)?;
        feature.set_up(session, function.and_then(|function| function.iommu.vendor))
    }
}
