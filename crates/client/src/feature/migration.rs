//! A device whose writes are recorded.

use profile::Requirement;
use profile::machine::Vendor;
use uapi::iommufd::IOMMU_HWPT_ALLOC_DIRTY_TRACKING;

use super::passthrough::map;
use super::{Feature, shipped};
use crate::SharedBuffer;
use crate::session::{Failed, Session, Table};

/// See [`Migratable`].
#[derive(Clone, Copy, Debug)]
pub struct LiveMigrationFeature;

/// Asks for a device whose writes are recorded.
pub const LIVE_MIGRATION: LiveMigrationFeature = LiveMigrationFeature;

/// A device attached to a page table that can record its writes.
#[derive(Debug)]
pub struct Migratable {
    session: Session,
    ioas: u32,
    hwpt: u32,
}

impl Feature for LiveMigrationFeature {
    type Value = Migratable;

    fn requirement(&self) -> &'static Requirement {
        shipped("live-migration")
    }

    #[expect(private_interfaces, reason = "only this crate makes features")]
    fn set_up(&self, session: Session, _iommu: Option<Vendor>) -> Result<Migratable, Failed> {
        let ioas = session.ioas()?;
        session.attach(ioas, None)?;
        let flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
        let hwpt = session.hwpt(ioas, Table { flags, ..Table::default() })?;
        session.attach(hwpt, None)?;
        Ok(Migratable { session, ioas, hwpt })
    }
}

impl Migratable {
    /// Places a buffer at an IOVA, for reads and writes by the device.
    pub fn map(&self, iova: u64, buffer: &SharedBuffer) -> Result<(), Failed> {
        map(&self.session, self.ioas, iova, buffer)
    }

    /// Starts to record writes. What was recorded before is forgotten.
    pub fn start(&self) -> Result<(), Failed> {
        self.session.set_dirty_tracking(self.hwpt, true)
    }

    /// Stops to record writes.
    pub fn stop(&self) -> Result<(), Failed> {
        self.session.set_dirty_tracking(self.hwpt, false)
    }

    /// The pages of 4096 bytes in `length` bytes from `iova` that were written since the last time: a bit
    /// a page, the lowest first.
    pub fn written(&self, iova: u64, length: u64) -> Result<Vec<u64>, Failed> {
        const PAGE: u64 = 4096;
        let mut bitmap = vec![0; length.div_ceil(PAGE * 64) as usize];
        self.session.dirty_bitmap(self.hwpt, (iova, length), PAGE, &mut bitmap)?;
        Ok(bitmap)
    }
}
