//! Address spaces of this process by PASID.

use std::collections::BTreeSet;

use profile::Requirement;
use profile::machine::Vendor;
use uapi::iommufd::IOMMU_HWPT_ALLOC_PASID;

use super::passthrough::map;
use super::{Feature, shipped};
use crate::SharedBuffer;
use crate::session::{Failed, Session, Table};

/// See [`Pasids`].
#[derive(Clone, Copy, Debug)]
pub struct PasidsFeature;

/// Asks for a device whose PASIDs have address spaces of their own.
pub const PASIDS: PasidsFeature = PasidsFeature;

/// A device whose PASIDs can be attached.
#[derive(Debug)]
pub struct Pasids {
    session: Session,
    free: FreePasids,
}

/// An address space that a PASID reaches.
#[derive(Debug)]
pub struct PasidSpace {
    pasid: u32,
    ioas: u32,
    hwpt: u32,
}

impl Feature for PasidsFeature {
    type Value = Pasids;

    fn requirement(&self) -> &'static Requirement {
        shipped("pasid")
    }

    #[expect(private_interfaces, reason = "only this crate makes features")]
    fn set_up(&self, session: Session, _iommu: Option<Vendor>) -> Result<Pasids, Failed> {
        let (info, _) = session.hw_info()?;
        Ok(Pasids { session, free: FreePasids::new(info.out_max_pasid_log2.into()) })
    }
}

impl Pasids {
    /// Makes an empty address space for a PASID that is not in use; none when all are.
    pub fn attach(&mut self) -> Result<Option<PasidSpace>, Failed> {
        let Some(pasid) = self.free.take() else { return Ok(None) };
        let attached = self.attach_to(pasid);
        if attached.is_err() {
            self.free.give(pasid);
        }
        attached.map(Some)
    }

    fn attach_to(&self, pasid: u32) -> Result<PasidSpace, Failed> {
        let ioas = self.session.ioas()?;
        let flags = IOMMU_HWPT_ALLOC_PASID;
        let made = self.session.hwpt(ioas, Table { flags, ..Table::default() });
        let attached = made.and_then(|hwpt| {
            self.session.attach_new(hwpt, Some(pasid))?;
            Ok(PasidSpace { pasid, ioas, hwpt })
        });
        if attached.is_err() {
            let _ = self.session.destroy(ioas);
        }
        attached
    }

    /// Places a buffer at an IOVA of a PASID, for reads and writes by the device.
    pub fn map(&self, space: &PasidSpace, iova: u64, buffer: &SharedBuffer) -> Result<(), Failed> {
        map(&self.session, space.ioas, iova, buffer)
    }

    /// Takes the address space away; the PASID may be used again.
    pub fn detach(&mut self, space: PasidSpace) -> Result<(), Failed> {
        self.session.detach(Some(space.pasid))?;
        self.free.give(space.pasid);
        self.session.destroy(space.hwpt)?;
        self.session.destroy(space.ioas)
    }
}

impl PasidSpace {
    /// The PASID that the device shall use.
    pub fn pasid(&self) -> u32 {
        self.pasid
    }
}

/// The PASIDs of a device, lowest first; 0 is never one.
#[derive(Debug)]
pub(super) struct FreePasids {
    width: u32,
    used: BTreeSet<u32>,
}

impl FreePasids {
    pub fn new(width: u32) -> Self {
        Self { width, used: BTreeSet::new() }
    }

    pub fn take(&mut self) -> Option<u32> {
        // without a width nobody knows the last, so a program that did not ask takes the first
        let end = 1_u32.checked_shl(self.width).unwrap_or(u32::MAX).max(2);
        let free = (1..end).find(|pasid| !self.used.contains(pasid))?;
        self.used.insert(free);
        Some(free)
    }

    pub fn give(&mut self, pasid: u32) {
        self.used.remove(&pasid);
    }
}
