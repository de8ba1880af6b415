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

use super::faults::{FaultGroup, PageFaults, Response};
use super::nested::{Way, five_levels, invalidate_smmuv3, invalidate_vtd};
use super::pasid::FreePasids;
use super::passthrough::map;
use super::{Feature, shipped};
use crate::contexts::{BeyondTable, ContextTable};
use crate::guest::{FiveLevels, GuestTable, Invalidation, PAGE, command, stream_table_entry};
use crate::session::{Failed, Queue, Session, Table};
use crate::table::{Entries, PageTable};
use crate::{Region, SharedBuffer};

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
    five_levels: Option<FiveLevels>,
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

/// A page table was not bound; the PASID is still reserved.
#[derive(Debug, thiserror::Error)]
#[error("PASID {} is not bound: {reason}", pasid.0)]
pub struct NotBound {
    /// The PASID, to be tried again or freed.
    pub pasid: Pasid,
    /// The call that failed.
    pub reason: Failed,
}

/// Where PASIDs find their tables.
#[derive(Debug)]
enum Contexts {
    /// With the kernel.
    Vtd,
    /// In a table of context descriptors in the guest's memory.
    Smmuv3 { viommu: u32, table: ContextTable, _events: Queue },
}

/// log2 of the most context descriptors in the table.
const CONTEXTS_LOG2: u32 = 8;

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
        let told = session.hw_info()?;
        let width = u32::from(told.0.out_max_pasid_log2);
        let faults = PageFaults::new(session.fault_queue()?);
        let ioas = session.ioas()?;
        let by_kernel = iommu != Some(Vendor::ArmSmmuv3);
        let flags =
            IOMMU_HWPT_ALLOC_NEST_PARENT | if by_kernel { IOMMU_HWPT_ALLOC_PASID } else { 0 };
        let parent = session.hwpt(ioas, Table { flags, ..Table::default() })?;
        let way = Way::set_up(&session, parent, iommu)?;
        session.attach(parent, None)?;
        let (width, contexts) = match way {
            Way::Vtd => (width, Contexts::Vtd),
            Way::Smmuv3 { viommu } => {
                // the SMMU takes no table that is larger than it counts (SMMUv3 5.2, S1CDMax)
                let width = width.min(CONTEXTS_LOG2);
                (width, set_up_contexts(&session, ioas, width, viommu, &faults)?)
            }
        };
        let free = FreePasids::new(width);
        let five_levels = five_levels(&told);
        Ok(GuestSva { session, ioas, parent, five_levels, faults, free, contexts })
    }
}

/// Puts the device on a stream table entry with an empty table of `1 << width` context descriptors.
fn set_up_contexts(
    session: &Session,
    ioas: u32,
    width: u32,
    viommu: u32,
    faults: &PageFaults,
) -> Result<Contexts, Failed> {
    let last = session.iova_ranges(ioas)?.iter().map(|range| range.last).max();
    let end = last.map_or(0, |last| last.min(MEMORY_MAX - 1) + 1);
    let at = end.saturating_sub(CONTEXTS_ROOM);
    let memory = SharedBuffer::new(ContextTable::size(width));
    let memory = memory.map_err(|error| Failed::new("mmap", &error))?;
    map(session, ioas, at, &memory)?;
    let table = ContextTable::new(memory, at, width);
    let ste = stream_table_entry(at, width);
    let data = Some((IOMMU_HWPT_DATA_ARM_SMMUV3, ste.as_bytes()));
    let nested = session.hwpt(viommu, Table { data, fault: Some(faults.id()), flags: 0 })?;
    session.attach(nested, None)?;
    invalidate_smmuv3(session, viommu, &[command::FORGET_ALL])?;
    let events = session.veventq(viommu, EVENTS)?;
    Ok(Contexts::Smmuv3 { viommu, table, _events: events })
}

impl GuestSva {
    /// Places a buffer at a guest-physical address. It may not be in the last MiB that the device can
    /// reach, nor above 2^39: a table of ours may be there.
    pub fn map(&self, address: u64, buffer: &SharedBuffer) -> Result<(), Failed> {
        map(&self.session, self.ioas, address, buffer)
    }

    /// A region of the device: `VFIO_PCI_*_REGION_INDEX`.
    pub fn region(&self, index: u32) -> Result<Region, Failed> {
        self.session.region(index)
    }

    /// Makes an empty page table in as much new memory, which the guest gets at an address as by
    /// [`GuestSva::map`]. Four pages are enough for what is near each other.
    pub fn page_table(&self, address: u64, length: usize) -> Result<PageTable, Failed> {
        let memory = SharedBuffer::new(length).map_err(|error| Failed::new("mmap", &error))?;
        self.map(address, &memory)?;
        let entries = match self.contexts {
            Contexts::Vtd => Entries::X86_64,
            Contexts::Smmuv3 { .. } => Entries::Arm,
        };
        Ok(PageTable::new(memory, address, entries))
    }

    /// What tables of five levels take, where the IOMMU walks them.
    pub fn five_levels(&self) -> Option<FiveLevels> {
        self.five_levels
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
    pub fn bind(&mut self, pasid: Pasid, table: GuestTable) -> Result<Binding, NotBound> {
        let bound = match &self.contexts {
            Contexts::Vtd => self.bind_vtd(&pasid, table).map(Some),
            Contexts::Smmuv3 { .. } => {
                self.set_context(pasid.0, |it| it.set(pasid.0, table)).map(|()| None)
            }
        };
        match bound {
            Ok(hwpt) => Ok(Binding { pasid, hwpt }),
            Err(reason) => Err(NotBound { pasid, reason }),
        }
    }

    fn bind_vtd(&self, pasid: &Pasid, table: GuestTable) -> Result<u32, Failed> {
        let first_stage = table.first_stage();
        let hwpt = self.session.hwpt(
            self.parent,
            Table {
                flags: IOMMU_HWPT_ALLOC_PASID,
                fault: Some(self.faults.id()),
                data: Some((IOMMU_HWPT_DATA_VTD_S1, first_stage.as_bytes())),
            },
        )?;
        self.session.attach_new(hwpt, Some(pasid.0))?;
        Ok(hwpt)
    }

    /// Tells the IOMMU what the guest changed in a bound table.
    pub fn invalidate(&self, binding: &Binding, what: Invalidation) -> Result<(), Failed> {
        match (&self.contexts, binding.hwpt) {
            (Contexts::Smmuv3 { viommu, .. }, _) => {
                let asid = binding.pasid.0;
                let commands = match what.pages() {
                    Some((start, count)) if count <= MAX_COMMANDS => (0..count)
                        .map(|page| command::forget_page(asid, start + page * PAGE))
                        .collect(),
                    _ => vec![command::forget_table(asid)],
                };
                invalidate_smmuv3(&self.session, *viommu, &commands)
            }
            (Contexts::Vtd, Some(hwpt)) => invalidate_vtd(&self.session, hwpt, what),
            (Contexts::Vtd, None) => Ok(()),
        }
    }

    /// The page requests that have come. See [`PageFaults::next`].
    pub fn next_fault(&self) -> io::Result<Option<FaultGroup>> {
        self.faults.next()
    }

    /// Answers a group of requests. See [`PageFaults::respond`].
    pub fn respond(&self, group: FaultGroup, response: Response) -> io::Result<()> {
        self.faults.respond(group, response)
    }

    /// Takes a guest's page table away; requests that wait are answered as invalid. Where that fails the
    /// PASID stays bound, as long as the device is open.
    pub fn unbind(&mut self, binding: Binding) -> Result<Pasid, Failed> {
        match binding.hwpt {
            Some(hwpt) => {
                self.session.detach(Some(binding.pasid.0))?;
                self.session.destroy(hwpt)?;
            }
            None => self.set_context(binding.pasid.0, |it| it.clear(binding.pasid.0))?,
        }
        Ok(binding.pasid)
    }

    /// Changes a context descriptor, and tells the SMMU so.
    fn set_context(
        &self,
        pasid: u32,
        change: impl FnOnce(&ContextTable) -> Result<(), BeyondTable>,
    ) -> Result<(), Failed> {
        let Contexts::Smmuv3 { viommu, table, .. } = &self.contexts else { return Ok(()) };
        // PASIDs are as many as the table has
        let _ = change(table);
        let commands = [command::FORGET_CONTEXTS, command::forget_table(pasid)];
        invalidate_smmuv3(&self.session, *viommu, &commands)
    }
}

/// More pages than this are cheaper forgotten all together.
const MAX_COMMANDS: u64 = 32;

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
