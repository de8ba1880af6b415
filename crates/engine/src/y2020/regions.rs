//! The regions of a device by which faults come and answers go: two rings (`drivers/vfio/pci/vfio_pci.c` of
//! Eric Auger's v13).
//!
//! | region | the program | the kernel |
//! |---|---|---|
//! | `DMA_FAULT` | moves the tail | puts faults in at the head, and raises an interrupt |
//! | `DMA_FAULT_RESPONSE` | puts answers in, then moves the head | takes them up to the head, and moves the tail |
//!
//! Faults are page requests and, on an SMMU, stalls and what nobody can repair.
//!
//! The first page of each is a header, of which the program writes the first word; the rest is the ring. An
//! answer may also be put in by `pwrite(2)`, which v13 refuses, so that a program can do without mapping.

use std::sync::Arc;

use mem::{PAGE_SIZE, SharedFile};
use parking_lot::Mutex;
use profile::y2020::{Argument, BadArgument, Kind, check};
use uapi::iommufd::{
    IOMMU_PGFAULT_FLAGS_LAST_PAGE, IOMMU_PGFAULT_FLAGS_PASID_VALID, iommu_hwpt_pgfault,
};
use uapi::vfio::*;
use uapi::y2020::fault::*;
use uapi::y2020::transport::*;
use uapi::y2020::{Layout, v5_5, v5_10};
use zerocopy::{FromBytes, IntoBytes};

use crate::dma::Answer;
use crate::events::{FaultQueue, Reader};
use crate::objects::ObjectId;
use crate::{Interrupts, Refusal};

/// Entries of each ring (`DMA_FAULT_RING_LENGTH`). One of them is always free.
const ENTRIES: u32 = 512;

/// Where the ring begins.
const RING: u64 = PAGE_SIZE;

/// How a device asks for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// By a page request (PRI), which is answered with its PASID.
    PageRequest,
    /// By an access that stalls. It is answered by its tag alone, and with no failure beside an abort.
    Stall,
}

/// A region of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegionKind {
    Faults,
    Responses,
}

/// Both regions of a device.
#[derive(Debug)]
pub(crate) struct FaultRegions {
    layout: Layout,
    /// Its ID in its context, by which requests name it.
    device: ObjectId,
    asking: Asking,
    faults: Ring,
    responses: Ring,
    interrupts: Interrupts,
}

/// A ring with its header. The header has the same form in both: the program's index, and behind all else
/// the kernel's.
#[derive(Debug)]
struct Ring {
    memory: Arc<SharedFile>,
    entry_size: usize,
    state: Mutex<Indices>,
}

#[derive(Debug, Default)]
struct Indices {
    /// The tail of faults, the head of responses.
    programs: u32,
    /// The head of faults, the tail of responses.
    kernels: u32,
}

impl Ring {
    fn new(name: &str, entry_size: usize) -> Result<Self, Refusal> {
        let size = RING + (ENTRIES as usize * entry_size).next_multiple_of(RING as usize) as u64;
        let memory = SharedFile::anonymous(name, size).map_err(|_| Refusal::NoMemory)?;
        let ring = Self { memory: Arc::new(memory), entry_size, state: Mutex::default() };
        ring.tell(&Indices::default());
        Ok(ring)
    }

    fn size(&self) -> u64 {
        RING + (ENTRIES as usize * self.entry_size).next_multiple_of(RING as usize) as u64
    }

    /// Writes the header.
    fn tell(&self, Indices { programs, kernels }: &Indices) {
        let header = vfio_region_dma_fault {
            tail: *programs,
            entry_size: self.entry_size as u32,
            nb_entries: ENTRIES,
            offset: RING as u32,
            head: *kernels,
        };
        // the memory is ours and there
        let _ = self.memory.write(0, header.as_bytes());
    }

    fn place(&self, index: u32) -> u64 {
        RING + u64::from(index) * self.entry_size as u64
    }
}

impl FaultRegions {
    pub fn new(
        layout: Layout,
        device: ObjectId,
        asking: Asking,
        interrupts: &Interrupts,
    ) -> Result<Arc<Self>, Refusal> {
        let response = match layout {
            Layout::V5_10 => size_of::<v5_10::iommu_page_response>(),
            Layout::V5_5 | Layout::Patches => size_of::<v5_5::iommu_page_response>(),
        };
        Ok(Arc::new(Self {
            layout,
            device,
            asking,
            faults: Ring::new("softiommu:faults", size_of::<iommu_fault>())?,
            responses: Ring::new("softiommu:responses", response)?,
            interrupts: interrupts.clone(),
        }))
    }

    /// The device's ID in its context.
    pub fn device(&self) -> ObjectId {
        self.device
    }

    fn ring(&self, kind: RegionKind) -> &Ring {
        match kind {
            RegionKind::Faults => &self.faults,
            RegionKind::Responses => &self.responses,
        }
    }

    /// Both rings are empty again.
    pub fn reset(&self) {
        for ring in [&self.faults, &self.responses] {
            let mut state = ring.state.lock();
            *state = Indices::default();
            ring.tell(&state);
        }
    }

    /// Bytes of a region.
    pub fn size(&self, kind: RegionKind) -> u64 {
        self.ring(kind).size()
    }

    /// What a program maps of a region from an offset on: the ring (`vfio_pci_dma_fault_mmap`).
    pub fn map(
        &self,
        kind: RegionKind,
        offset: u64,
        length: u64,
    ) -> Result<Arc<SharedFile>, Refusal> {
        let ring = self.ring(kind);
        let end = offset.checked_add(length);
        if offset < RING || end.is_none_or(|end| end > ring.size()) {
            let rule = "not within the ring, which begins with the second page";
            return Err(Refusal::Invalid { field: "offset", value: offset, rule });
        }
        Ok(Arc::clone(&ring.memory))
    }

    /// Capabilities of a region, one after the other as they stand behind the `vfio_region_info`.
    pub fn capabilities(&self, kind: RegionKind) -> Vec<u8> {
        let start = size_of::<vfio_region_info>();
        let (subtype, id) = match kind {
            RegionKind::Faults => {
                (VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT, VFIO_REGION_INFO_CAP_DMA_FAULT)
            }
            RegionKind::Responses => (
                VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT_RESPONSE,
                VFIO_REGION_INFO_CAP_DMA_FAULT_RESPONSE,
            ),
        };
        let header = |id, next: usize| vfio_info_cap_header { id, version: 1, next: next as u32 };
        let second = start + size_of::<vfio_region_info_cap_type>();
        let third = second + size_of::<vfio_region_info_cap_fault>();
        let of_type = vfio_region_info_cap_type {
            header: header(VFIO_REGION_INFO_CAP_TYPE, second),
            r#type: VFIO_REGION_TYPE_NESTED,
            subtype,
        };
        let version = vfio_region_info_cap_fault { header: header(id, third), version: 1 };
        let sparse = vfio_region_info_cap_sparse_mmap {
            header: header(VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0),
            nr_areas: 1,
            reserved: 0,
        };
        let size = self.ring(kind).size() - RING;
        let area = vfio_region_sparse_mmap_area { offset: RING, size };
        [of_type.as_bytes(), version.as_bytes(), sparse.as_bytes(), area.as_bytes()].concat()
    }

    /// `vfio_pci_dma_fault_rw`, to the program.
    pub fn read(&self, kind: RegionKind, at: u64, to: &mut [u8]) -> Result<(), Refusal> {
        self.ring(kind).memory.read(at, to).map_err(Refusal::bad("region"))
    }

    /// The same, from the program: the first word moves its index, and what was put in is taken.
    pub fn write(
        &self,
        kind: RegionKind,
        at: u64,
        from: &[u8],
        queue: &FaultQueue,
    ) -> Result<(), Refusal> {
        let ring = self.ring(kind);
        if kind == RegionKind::Responses && at >= RING {
            return ring.memory.write(at, from).map_err(Refusal::bad("region"));
        }
        let index = u32::read_from_bytes(from).ok().filter(|index| at == 0 && *index < ENTRIES);
        let Some(index) = index else {
            let rule = "only the first word is written, with the number of an entry";
            return Err(Refusal::Invalid { field: "offset", value: at, rule });
        };
        let mut state = ring.state.lock();
        state.programs = index;
        let done = match kind {
            RegionKind::Faults => Ok(()),
            RegionKind::Responses => self.take_responses(&mut state, queue),
        };
        ring.tell(&state);
        done
    }

    /// Takes the answers that the program has put in; tells of the first that was refused.
    fn take_responses(&self, state: &mut Indices, queue: &FaultQueue) -> Result<(), Refusal> {
        let mut done = Ok(());
        while state.kernels != state.programs {
            let mut bytes = vec![0; self.responses.entry_size];
            let read = self.responses.memory.read(self.responses.place(state.kernels), &mut bytes);
            state.kernels = (state.kernels + 1) % ENTRIES;
            let answered =
                read.map_err(Refusal::bad("response")).and_then(|()| self.respond(&bytes, queue));
            done = done.and(answered);
        }
        done
    }

    /// `iommu_page_response`, `drivers/iommu/iommu.c`.
    fn respond(&self, bytes: &[u8], queue: &FaultQueue) -> Result<(), Refusal> {
        // an entry has the size of its layout, whatever it says
        let mut bytes = bytes.to_vec();
        if self.layout == Layout::V5_10 {
            let size = bytes.len() as u32;
            bytes[..4].copy_from_slice(size.as_bytes());
        }
        let argument = check(Kind::Response, self.layout, bytes.len() as u32, &bytes)?;
        let Argument::Response(response) = argument else { return Ok(()) };
        let answer = match (response.code, self.asking) {
            (IOMMU_PAGE_RESP_SUCCESS, _) => Answer::Success,
            (IOMMU_PAGE_RESP_INVALID, _) => Answer::Invalid,
            (IOMMU_PAGE_RESP_FAILURE, Asking::PageRequest) => Answer::Failure,
            // arm_smmu_page_response
            (IOMMU_PAGE_RESP_FAILURE, Asking::Stall) => Answer::Invalid,
            (value, _) => {
                let (first, last) = (IOMMU_PAGE_RESP_SUCCESS, IOMMU_PAGE_RESP_FAILURE);
                let unknown = BadArgument::UnknownNumber { field: "code", value, first, last };
                return Err(unknown.into());
            }
        };
        // before 5.9 the PASID was compared whatever the flag and the request say
        let is_old = self.layout != Layout::V5_10;
        let has_pasid = response.flags & IOMMU_PAGE_RESP_PASID_VALID != 0 || is_old;
        let is_meant = |fault: &iommu_hwpt_pgfault| {
            let needs_pasid = fault.flags & IOMMU_PGFAULT_FLAGS_PASID_VALID != 0
                && (self.asking == Asking::PageRequest || is_old);
            fault.dev_id == self.device.0
                && fault.grpid == response.grpid
                && (!needs_pasid || has_pasid && fault.pasid == response.pasid)
        };
        match queue.answer(is_meant, answer) {
            true => Ok(()),
            false => {
                let rule = "no page request waits with it and the PASID";
                Err(Refusal::Invalid { field: "grpid", value: response.grpid.into(), rule })
            }
        }
    }

    /// A fault as the program gets it.
    fn fault(&self, fault: &iommu_hwpt_pgfault) -> iommu_fault {
        let has_pasid = fault.flags & IOMMU_PGFAULT_FLAGS_PASID_VALID != 0;
        let is_last = fault.flags & IOMMU_PGFAULT_FLAGS_LAST_PAGE != 0;
        // new in 5.9
        let can_need = self.asking == Asking::PageRequest && self.layout == Layout::V5_10;
        let needs_pasid = has_pasid && can_need;
        let flags = [
            (IOMMU_FAULT_PAGE_REQUEST_PASID_VALID, has_pasid),
            (IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE, is_last),
            (IOMMU_FAULT_PAGE_RESPONSE_NEEDS_PASID, needs_pasid),
        ];
        iommu_fault::page_request(iommu_fault_page_request {
            flags: flags.iter().filter(|(_, set)| *set).fold(0, |all, (flag, _)| all | flag),
            pasid: fault.pasid,
            grpid: fault.grpid,
            perm: fault.perm, // the bits have stayed
            addr: fault.addr,
            private_data: [0; 2],
        })
    }

    /// Tells of a fault that nobody can repair; lost where the ring is full.
    pub fn tell(&self, fault: iommu_fault_unrecoverable) {
        self.put(&[iommu_fault::unrecoverable(fault)]);
    }

    /// `vfio_pci_iommu_dev_fault_handler`; false where the ring has no room for all.
    fn put(&self, records: &[iommu_fault]) -> bool {
        let mut state = self.faults.state.lock();
        let free = (state.programs + ENTRIES - state.kernels - 1) % ENTRIES;
        if records.len() > free as usize {
            return false;
        }
        for record in records {
            let at = self.faults.place(state.kernels);
            if self.faults.memory.write(at, record.as_bytes()).is_err() {
                return false;
            }
            state.kernels = (state.kernels + 1) % ENTRIES;
        }
        self.faults.tell(&state);
        drop(state);
        self.interrupts.change(|irqs| irqs.fault.clone());
        true
    }
}

/// Where the ring is full, the device is answered at once.
impl Reader for FaultRegions {
    fn take(&self, faults: &[iommu_hwpt_pgfault]) -> bool {
        let records: Vec<_> = faults.iter().map(|fault| self.fault(fault)).collect();
        self.put(&records)
    }
}
