//! A device that reaches memory of this process.

use profile::Requirement;
use profile::machine::Vendor;
use uapi::iommufd::{IOMMU_IOAS_MAP_READABLE, IOMMU_IOAS_MAP_WRITEABLE};

use super::{Feature, shipped};
use crate::session::{Failed, Session};
use crate::{Region, SharedBuffer};

/// See [`Passthrough`].
#[derive(Clone, Copy, Debug)]
pub struct PassthroughFeature;

/// Asks for a device that reaches memory of this process.
pub const PASSTHROUGH: PassthroughFeature = PassthroughFeature;

/// A device attached to an address space.
#[derive(Debug)]
pub struct Passthrough {
    session: Session,
    ioas: u32,
}

impl Feature for PassthroughFeature {
    type Value = Passthrough;

    fn requirement(&self) -> &'static Requirement {
        shipped("passthrough")
    }

    #[expect(private_interfaces, reason = "only this crate makes features")]
    fn set_up(&self, session: Session, _iommu: Option<Vendor>) -> Result<Passthrough, Failed> {
        let ioas = session.ioas()?;
        session.attach(ioas, None)?;
        Ok(Passthrough { session, ioas })
    }
}

impl Passthrough {
    /// Places a buffer at an IOVA, for reads and writes by the device.
    pub fn map(&self, iova: u64, buffer: &SharedBuffer) -> Result<(), Failed> {
        map(&self.session, self.ioas, iova, buffer)
    }

    /// A region of the device: `VFIO_PCI_*_REGION_INDEX`.
    pub fn region(&self, index: u32) -> Result<Region, Failed> {
        self.session.region(index)
    }

    /// Takes away what is mapped in a range; returns its bytes.
    pub fn unmap(&self, iova: u64, length: u64) -> Result<u64, Failed> {
        self.session.unmap(self.ioas, iova, length)
    }
}

/// Maps a buffer for reads and writes.
pub(super) fn map(
    session: &Session,
    ioas: u32,
    iova: u64,
    buffer: &SharedBuffer,
) -> Result<(), Failed> {
    let rights = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE;
    session.map(ioas, iova, buffer.address(), buffer.size(), rights)
}
