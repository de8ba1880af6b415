//! A guest's page table over the host's, in each vendor's way.

use profile::Requirement;
use profile::machine::Vendor;
use uapi::iommufd::*;
use zerocopy::IntoBytes;

use super::passthrough::map;
use super::{Feature, shipped};
use crate::SharedBuffer;
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
    /// The guest's table, if it has one.
    table: Option<u32>,
}

/// A guest's own page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestTable {
    /// Guest-physical address: on VT-d of the root of a first-stage table, on SMMUv3 of a context
    /// descriptor.
    pub address: u64,
    /// Bits of input address: 48, or 57 where the IOMMU has five levels.
    pub width: u32,
}

/// What a guest changed in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// Anything.
    All,
    /// The entries of some pages of 4096 bytes.
    Pages {
        /// The first byte.
        start: u64,
        /// How many pages.
        count: u64,
    },
}

/// How a vendor's tables are named.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// With their parent.
    Vtd,
    /// With a virtual SMMU, which knows the device by an ID.
    Smmuv3 { viommu: u32 },
}

/// The ID of the device on the virtual SMMU.
pub(super) const STREAM: u64 = 1;

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
        session.hw_info()?;
        let ioas = session.ioas()?;
        let flags = IOMMU_HWPT_ALLOC_NEST_PARENT;
        let parent = session.hwpt(ioas, Table { flags, ..Table::default() })?;
        let way = Way::set_up(&session, parent, iommu)?;
        session.attach(parent, None)?;
        Ok(Nested { session, ioas, parent, way, table: None })
    }
}

impl Nested {
    /// Places a buffer at a guest-physical address.
    pub fn map(&self, address: u64, buffer: &SharedBuffer) -> Result<(), Failed> {
        map(&self.session, self.ioas, address, buffer)
    }

    /// Puts the device on a guest's table, in place of the one before.
    pub fn set_table(&mut self, table: GuestTable) -> Result<(), Failed> {
        let hwpt = match self.way {
            Way::Vtd => {
                let stage1 = stage1(table);
                let data = Some((IOMMU_HWPT_DATA_VTD_S1, stage1.as_bytes()));
                self.session.hwpt(self.parent, Table { data, ..Table::default() })?
            }
            Way::Smmuv3 { viommu } => {
                let ste = iommu_hwpt_arm_smmuv3 { ste: stage1_ste(table.address, 0) };
                let data = Some((IOMMU_HWPT_DATA_ARM_SMMUV3, ste.as_bytes()));
                self.session.hwpt(viommu, Table { data, ..Table::default() })?
            }
        };
        self.session.attach(hwpt, None)?;
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
                invalidate_smmuv3(&self.session, viommu, &[[TLBI_NSNH_ALL, 0]])
            }
        }
    }
}

/// A guest's first-stage table.
pub(super) fn stage1(table: GuestTable) -> iommu_hwpt_vtd_s1 {
    let GuestTable { address, width } = table;
    iommu_hwpt_vtd_s1 { pgtbl_addr: address, addr_width: width, ..Default::default() }
}

/// A stream table entry whose context descriptors are a linear table of `1 << log2` of them.
pub(super) fn stage1_ste(context_descriptors: u64, log2: u32) -> [u64; 2] {
    const VALID: u64 = 1;
    const STAGE1: u64 = 5 << 1;
    [VALID | STAGE1 | context_descriptors | u64::from(log2) << 59, 0]
}

pub(super) fn invalidate_vtd(
    session: &Session,
    table: u32,
    what: Invalidation,
) -> Result<(), Failed> {
    let (addr, npages) = match what {
        Invalidation::All => (0, u64::MAX),
        Invalidation::Pages { count: 0, .. } => return Ok(()),
        Invalidation::Pages { start, count } => (start, count),
    };
    let request = iommu_hwpt_vtd_s1_invalidate { addr, npages, ..Default::default() };
    session.invalidate(table, IOMMU_HWPT_INVALIDATE_DATA_VTD_S1, &[request])
}

/// All translations of a guest (SMMUv3 4.4.4).
pub(super) const TLBI_NSNH_ALL: u64 = 0x30;

/// Hands a guest's commands over.
pub(super) fn invalidate_smmuv3(
    session: &Session,
    viommu: u32,
    commands: &[[u64; 2]],
) -> Result<(), Failed> {
    if commands.is_empty() {
        return Ok(());
    }
    let commands: Vec<_> =
        commands.iter().map(|cmd| iommu_viommu_arm_smmuv3_invalidate { cmd: *cmd }).collect();
    session.invalidate(viommu, IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3, &commands)
}
