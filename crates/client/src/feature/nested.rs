//! A guest's page table over the host's, in each vendor's way.

use profile::Requirement;
use profile::machine::Vendor;
use profile::registers::vtd;
use uapi::iommufd::*;
use zerocopy::{FromBytes, IntoBytes};

use super::passthrough::map;
use super::{Feature, shipped};
use crate::SharedBuffer;
use crate::guest::command::{self, Command};
use crate::guest::{FiveLevels, GuestTable, Invalidation, STREAM, stream_table_entry};
use crate::session::{Failed, Session, Table};

/// See [`Nested`].
#[derive(Clone, Copy, Debug)]
pub struct NestedFeature;

/// Asks for a guest's page table over the host's.
pub const NESTED: NestedFeature = NestedFeature;

/// A device attached to a nesting parent: the guest's memory.
#[derive(Debug)]
pub struct Nested {
    session: Session,
    ioas: u32,
    parent: u32,
    way: Way,
    five_levels: Option<FiveLevels>,
    /// The guest's table, if it has one.
    table: Option<u32>,
}

/// How a vendor's tables are named.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// With their parent.
    Vtd,
    /// With a virtual SMMU, which knows the device by an ID.
    Smmuv3 { viommu: u32 },
}

impl Way {
    /// Makes what is needed before a table; the device is attached to the parent.
    pub fn set_up(session: &Session, parent: u32, iommu: Option<Vendor>) -> Result<Self, Failed> {
        if iommu != Some(Vendor::ArmSmmuv3) {
            return Ok(Self::Vtd);
        }
        let viommu = session.viommu(parent)?;
        session.vdevice(viommu, STREAM)?;
        Ok(Self::Smmuv3 { viommu })
    }
}

impl Feature for NestedFeature {
    type Value = Nested;

    fn requirement(&self) -> &'static Requirement {
        shipped("nested")
    }

    #[expect(private_interfaces, reason = "only this crate makes features")]
    fn set_up(&self, session: Session, iommu: Option<Vendor>) -> Result<Nested, Failed> {
        let five_levels = five_levels(&session.hw_info()?);
        let ioas = session.ioas()?;
        let flags = IOMMU_HWPT_ALLOC_NEST_PARENT;
        let parent = session.hwpt(ioas, Table { flags, ..Table::default() })?;
        let way = Way::set_up(&session, parent, iommu)?;
        session.attach(parent, None)?;
        Ok(Nested { session, ioas, parent, way, five_levels, table: None })
    }
}

impl Nested {
    /// Places a buffer at a guest-physical address.
    pub fn map(&self, address: u64, buffer: &SharedBuffer) -> Result<(), Failed> {
        map(&self.session, self.ioas, address, buffer)
    }

    /// What tables of five levels take, where the IOMMU walks them.
    pub fn five_levels(&self) -> Option<FiveLevels> {
        self.five_levels
    }

    /// Puts the device on a guest's table, in place of the one before. On SMMUv3, where a stream table
    /// entry leads to it, what is at the address is a context descriptor.
    pub fn set_table(&mut self, table: GuestTable) -> Result<(), Failed> {
        let first_stage = table.first_stage();
        let ste = stream_table_entry(first_stage.pgtbl_addr, 0);
        let hwpt = match self.way {
            Way::Vtd => {
                let data = Some((IOMMU_HWPT_DATA_VTD_S1, first_stage.as_bytes()));
                self.session.hwpt(self.parent, Table { data, ..Table::default() })?
            }
            Way::Smmuv3 { viommu } => {
                let data = Some((IOMMU_HWPT_DATA_ARM_SMMUV3, ste.as_bytes()));
                self.session.hwpt(viommu, Table { data, ..Table::default() })?
            }
        };
        self.session.attach_new(hwpt, None)?;
        match self.table.replace(hwpt) {
            Some(old) => self.session.destroy(old),
            None => Ok(()),
        }
    }

    /// Tells the IOMMU what the guest changed; nothing while there is no table.
    pub fn invalidate(&self, what: Invalidation) -> Result<(), Failed> {
        match (self.way, self.table) {
            (_, None) => Ok(()),
            (Way::Vtd, Some(table)) => invalidate_vtd(&self.session, table, what),
            (Way::Smmuv3 { viommu }, _) => {
                invalidate_smmuv3(&self.session, viommu, &[command::FORGET_ALL])
            }
        }
    }
}

/// Whether the IOMMU walks guests' tables of five levels: only VT-d does, by CAP.
pub(super) fn five_levels((info, data): &(iommu_hw_info, Vec<u8>)) -> Option<FiveLevels> {
    if info.out_data_type != IOMMU_HW_INFO_TYPE_INTEL_VTD {
        return None;
    }
    let (registers, _) = iommu_hw_info_vtd::read_from_prefix(data).ok()?;
    vtd::FS5LP.is_set(registers.cap_reg).then(FiveLevels::proven)
}

pub(super) fn invalidate_vtd(
    session: &Session,
    table: u32,
    what: Invalidation,
) -> Result<(), Failed> {
    let (addr, npages) = match what.pages() {
        None => (0, u64::MAX),
        Some((_, 0)) => return Ok(()),
        Some(pages) => pages,
    };
    let request = iommu_hwpt_vtd_s1_invalidate { addr, npages, ..Default::default() };
    session.invalidate(table, IOMMU_HWPT_INVALIDATE_DATA_VTD_S1, &[request])
}

/// Hands a guest's commands over.
pub(super) fn invalidate_smmuv3(
    session: &Session,
    viommu: u32,
    commands: &[Command],
) -> Result<(), Failed> {
    if commands.is_empty() {
        return Ok(());
    }
    session.invalidate(viommu, IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3, commands)
}
