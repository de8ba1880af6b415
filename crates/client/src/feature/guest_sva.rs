//! Guest SVA: guests' page tables by PASID, with page faults.
//!
//! On VT-d each PASID is attached to a first-stage table over the nesting parent. On SMMUv3 the PASIDs
//! are the guest's: its stream table entry leads to context descriptors in its memory, of which this
//! module keeps the table, as a guest's kernel would.

use std::io;

use profile::Requirement;
use profile::machine::Vendor;
use uapi::iommufd::*;
use zerocopy::IntoBytes;

use super::faults::{PageFault, PageFaults, Response};
use super::nested::{
    GuestTable, Invalidation, STREAM, TLBI_NSNH_ALL, Way, invalidate_smmuv3, invalidate_vtd,
    stage1, stage1_ste,
};
use super::pasid::FreePasids;
use super::passthrough::map;
use super::{Feature, shipped};
use crate::SharedBuffer;
use crate::session::{Failed, Queue, Session, Table};

/// See [`GuestSva`].
#[derive(Clone, Copy, Debug)]
pub struct GuestSvaFeature;

/// Asks for guest SVA.
pub const GUEST_SVA: GuestSvaFeature = GuestSvaFeature;

/// A device whose PASIDs walk guests' page tables.
#[derive(Debug)]
pub struct GuestSva {
    session: Session,
    ioas: u32,
    parent: u32,
    faults: PageFaults,
    free: FreePasids,
    contexts: Contexts,
}

/// A PASID that is reserved for a guest's process.
#[derive(Debug, PartialEq, Eq)]
pub struct Pasid(u32);

/// A guest's page table under a PASID.
#[derive(Debug)]
pub struct Binding {
    pasid: Pasid,
    /// On VT-d, the page table that it is attached to.
    hwpt: Option<u32>,
}

/// Where PASIDs find their tables.
#[derive(Debug)]
enum Contexts {
    /// With the kernel.
    Vtd,
    /// In a table of context descriptors in the guest's memory.
    Smmuv3 { viommu: u32, table: SharedBuffer, _events: Queue },
}

/// log2 of context descriptors in the table, and bytes of each (SMMUv3 5.4).
const CONTEXTS_LOG2: u32 = 8;
const CONTEXT: usize = 64;

/// Room for the table of context descriptors, at the end of the guest-physical addresses.
const CONTEXTS_ROOM: u64 = 1 << 20;

/// No guest has memory above, and tables need not be there.
const MEMORY_MAX: u64 = 1 << 39;

/// How many events may wait.
const EVENTS: u32 = 64;

impl Feature for GuestSvaFeature {
    type Value = GuestSva;

    fn requirement(&self) -> &'static Requirement {
        shipped("guest-sva")
    }

    #[expect(private_interfaces, reason = "only this crate makes features")]
    fn set_up(&self, session: Session, iommu: Option<Vendor>) -> Result<GuestSva, Failed> {
        let (info, _) = session.hw_info()?;
        let faults = PageFaults::new(session.fault_queue()?);
        let ioas = session.ioas()?;
        let by_kernel = iommu != Some(Vendor::ArmSmmuv3);
        let flags =
            IOMMU_HWPT_ALLOC_NEST_PARENT | if by_kernel { IOMMU_HWPT_ALLOC_PASID } else { 0 };
        let parent = session.hwpt(ioas, Table { flags, ..Table::default() })?;
        let way = Way::set_up(&session, parent, iommu)?;
        session.attach(parent, None)?;
        let last = session.iova_ranges(ioas)?.iter().map(|range| range.last).max();
        let end = last.map_or(0, |last| last.min(MEMORY_MAX - 1) + 1);
        let contexts_at = end.saturating_sub(CONTEXTS_ROOM);
        let contexts = match way {
            Way::Vtd => Contexts::Vtd,
            Way::Smmuv3 { viommu } => {
                set_up_contexts(&session, (ioas, contexts_at), viommu, &faults)?
            }
        };
        let width = match contexts {
            Contexts::Vtd => info.out_max_pasid_log2.into(),
            Contexts::Smmuv3 { .. } => CONTEXTS_LOG2.min(info.out_max_pasid_log2.into()),
        };
        Ok(GuestSva { session, ioas, parent, faults, free: FreePasids::new(width), contexts })
    }
}

/// Puts the device on a stream table entry with an empty table of context descriptors.
fn set_up_contexts(
    session: &Session,
    (ioas, at): (u32, u64),
    viommu: u32,
    faults: &PageFaults,
) -> Result<Contexts, Failed> {
    let table = SharedBuffer::new(CONTEXT << CONTEXTS_LOG2);
    let table = table.map_err(|error| Failed::new("mmap", &error))?;
    map(session, ioas, at, &table)?;
    let ste = iommu_hwpt_arm_smmuv3 { ste: stage1_ste(at, CONTEXTS_LOG2) };
    let data = Some((IOMMU_HWPT_DATA_ARM_SMMUV3, ste.as_bytes()));
    let nested = session.hwpt(viommu, Table { data, fault: Some(faults.id()), flags: 0 })?;
    session.attach(nested, None)?;
    invalidate_smmuv3(session, viommu, &[[TLBI_NSNH_ALL, 0]])?;
    let events = session.veventq(viommu, EVENTS)?;
    Ok(Contexts::Smmuv3 { viommu, table, _events: events })
}

impl GuestSva {
    /// Places a buffer at a guest-physical address. It may not be in the last MiB that the device can
    /// reach, nor above 2^39: a table of ours may be there.
    pub fn map(&self, address: u64, buffer: &SharedBuffer) -> Result<(), Failed> {
        map(&self.session, self.ioas, address, buffer)
    }

    /// Reserves a PASID; none when all are in use.
    pub fn alloc_pasid(&mut self) -> Option<Pasid> {
        self.free.take().map(Pasid)
    }

    /// Gives back a PASID that is not bound.
    pub fn free_pasid(&mut self, pasid: Pasid) {
        self.free.give(pasid.0);
    }

    /// Lets a PASID walk a guest's page table: on VT-d a first-stage table, on SMMUv3 a stage-1 table of
    /// the 4 KiB granule.
    pub fn bind(&mut self, pasid: Pasid, table: GuestTable) -> Result<Binding, Failed> {
        match &self.contexts {
            Contexts::Vtd => {
                let stage1 = stage1(table);
                let hwpt = self.session.hwpt(
                    self.parent,
                    Table {
                        flags: IOMMU_HWPT_ALLOC_PASID,
                        fault: Some(self.faults.id()),
                        data: Some((IOMMU_HWPT_DATA_VTD_S1, stage1.as_bytes())),
                    },
                )?;
                self.session.attach(hwpt, Some(pasid.0))?;
                Ok(Binding { pasid, hwpt: Some(hwpt) })
            }
            Contexts::Smmuv3 { .. } => {
                self.set_context(pasid.0, context_descriptor(pasid.0, table))?;
                Ok(Binding { pasid, hwpt: None })
            }
        }
    }

    /// Tells the IOMMU what the guest changed in a bound table.
    pub fn invalidate(&self, binding: &Binding, what: Invalidation) -> Result<(), Failed> {
        match (&self.contexts, binding.hwpt) {
            (Contexts::Smmuv3 { viommu, .. }, _) => {
                let asid = u64::from(binding.pasid.0) << 48;
                let commands = match what {
                    Invalidation::Pages { start, count } if count <= MAX_COMMANDS => (0..count)
                        .map(|page| [TLBI_NH_VA | asid, start.wrapping_add(page << 12)])
                        .collect(),
                    _ => vec![[TLBI_NH_ASID | asid, 0]],
                };
                invalidate_smmuv3(&self.session, *viommu, &commands)
            }
            (Contexts::Vtd, Some(hwpt)) => invalidate_vtd(&self.session, hwpt, what),
            (Contexts::Vtd, None) => Ok(()),
        }
    }

    /// The page requests that have come. See [`PageFaults::next`].
    pub fn next_fault(&self) -> io::Result<Vec<PageFault>> {
        self.faults.next()
    }

    /// Answers the group of a request. See [`PageFaults::respond`].
    pub fn respond(&self, fault: &PageFault, response: Response) -> io::Result<()> {
        self.faults.respond(fault, response)
    }

    /// Takes a guest's page table away; requests that wait are answered as invalid.
    pub fn unbind(&mut self, binding: Binding) -> Result<Pasid, Failed> {
        match binding.hwpt {
            Some(hwpt) => {
                self.session.detach(Some(binding.pasid.0))?;
                self.session.destroy(hwpt)?;
            }
            None => self.set_context(binding.pasid.0, [0; 8])?,
        }
        Ok(binding.pasid)
    }

    /// Writes a context descriptor, and tells the SMMU so.
    fn set_context(&self, pasid: u32, words: [u64; 8]) -> Result<(), Failed> {
        let Contexts::Smmuv3 { viommu, table, .. } = &self.contexts else { return Ok(()) };
        table.store_at(pasid as usize * CONTEXT, words.as_bytes());
        let asid = u64::from(pasid) << 48;
        let commands = [[CFGI_CD_ALL | STREAM << 32, 0], [TLBI_NH_ASID | asid, 0]];
        invalidate_smmuv3(&self.session, *viommu, &commands)
    }
}

impl Pasid {
    /// The number that the device shall use.
    pub fn number(&self) -> u32 {
        self.0
    }
}

impl Binding {
    /// The PASID.
    pub fn pasid(&self) -> &Pasid {
        &self.pasid
    }
}

/// Commands of a guest's queue (SMMUv3 4.3 and 4.4).
const CFGI_CD_ALL: u64 = 0x06;
const TLBI_NH_ASID: u64 = 0x11;
const TLBI_NH_VA: u64 = 0x12;

/// More pages than this are cheaper forgotten all together.
const MAX_COMMANDS: u64 = 32;

/// A context descriptor of a stage-1 table (SMMUv3 5.4.1): 4 KiB granule, lower half of the addresses.
fn context_descriptor(pasid: u32, table: GuestTable) -> [u64; 8] {
    const VALID: u64 = 1 << 31;
    const AARCH64: u64 = 1 << 41;
    const NO_UPPER_HALF: u64 = 1 << 30;
    const RECORD_AND_ABORT: u64 = 1 << 45 | 1 << 46;
    const OUTPUT_48_BITS: u64 = 5 << 32;
    const WRITE_BACK: u64 = 0xff;
    let size = u64::from(64_u32.saturating_sub(table.width)) & 0x3f;
    let asid = u64::from(pasid) << 48;
    let head = VALID | AARCH64 | NO_UPPER_HALF | RECORD_AND_ABORT | OUTPUT_48_BITS;
    [head | size | asid, table.address, 0, WRITE_BACK, 0, 0, 0, 0]
}
