//! Faults of a device, and answers to them, by the rings in its regions.

use std::io;

use uapi::y2020::fault::*;
use uapi::y2020::transport::*;
use uapi::y2020::{Layout, v5_5, v5_10};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Region;
use crate::feature::Response;

/// The regions of a device for faults.
#[derive(Debug)]
pub struct Faults {
    pub(super) faults: Region,
    pub(super) responses: Region,
    pub(super) layout: Layout,
}

/// What a device tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A page that it asks for.
    Page(PageRequest),
    /// What nobody can repair, and nobody answers.
    Unrecoverable(Unrecoverable),
}

/// An access that was refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unrecoverable(iommu_fault_unrecoverable);

impl Unrecoverable {
    /// Why: `IOMMU_FAULT_REASON_*`.
    pub fn reason(&self) -> u32 {
        self.0.reason
    }

    /// The PASID, if it is told.
    pub fn pasid(&self) -> Option<u32> {
        (self.0.flags & IOMMU_FAULT_UNRECOV_PASID_VALID != 0).then_some(self.0.pasid)
    }

    /// The address of the access, if it is told.
    pub fn address(&self) -> Option<u64> {
        (self.0.flags & IOMMU_FAULT_UNRECOV_ADDR_VALID != 0).then_some(self.0.addr)
    }

    /// The address of the structure that could not be read, if it is that.
    pub fn fetched(&self) -> Option<u64> {
        (self.0.flags & IOMMU_FAULT_UNRECOV_FETCH_ADDR_VALID != 0).then_some(self.0.fetch_addr)
    }

    /// What the access was: `IOMMU_FAULT_PERM_*`, none where it is not told.
    pub fn rights(&self) -> u32 {
        self.0.perm
    }
}

/// A page that a device asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest(iommu_fault_page_request);

impl PageRequest {
    /// The address: of a page request on a page border, of a stalled access as it is.
    pub fn address(&self) -> u64 {
        self.0.addr
    }

    /// The PASID, if it has one.
    pub fn pasid(&self) -> Option<u32> {
        (self.0.flags & IOMMU_FAULT_PAGE_REQUEST_PASID_VALID != 0).then_some(self.0.pasid)
    }

    /// The group that it belongs to, whose last request is answered for all.
    pub fn group(&self) -> u32 {
        self.0.grpid
    }

    /// Whether it is the last of its group.
    pub fn is_last(&self) -> bool {
        self.0.flags & IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE != 0
    }

    /// What it is wanted for: `IOMMU_FAULT_PERM_*`.
    pub fn rights(&self) -> u32 {
        self.0.perm
    }
}

impl Faults {
    /// The next fault that has come. Errors are those of `pread(2)` and `pwrite(2)`.
    pub fn next(&self) -> io::Result<Option<Fault>> {
        loop {
            let header: vfio_region_dma_fault = self.read(&self.faults, 0)?;
            if header.tail == header.head {
                return Ok(None);
            }
            let fault: iommu_fault =
                self.read(&self.faults, place(header.offset, header.entry_size, header.tail))?;
            let next = (header.tail + 1) % header.nb_entries.max(1);
            self.faults.write(0, &next.to_ne_bytes())?;
            let request = fault.prm().map(|it| Fault::Page(PageRequest(it)));
            let event = || fault.event().map(|it| Fault::Unrecoverable(Unrecoverable(it)));
            // there are no others
            if let Some(fault) = request.or_else(event) {
                return Ok(Some(fault));
            }
        }
    }

    /// The next page request that has come. What nobody can repair, and nobody answers, is left out.
    pub fn next_page(&self) -> io::Result<Option<PageRequest>> {
        loop {
            match self.next()? {
                Some(Fault::Page(request)) => return Ok(Some(request)),
                Some(Fault::Unrecoverable(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// Answers the last request of a group. Errors are those of `pwrite(2)`; `EINVAL` when none waits.
    pub fn respond(&self, request: &PageRequest, response: Response) -> io::Result<()> {
        let code = match response {
            Response::Success => IOMMU_PAGE_RESP_SUCCESS,
            Response::Invalid => IOMMU_PAGE_RESP_INVALID,
        };
        let header: vfio_region_dma_fault_response = self.read(&self.responses, 0)?;
        let at = place(header.offset, header.entry_size, header.head);
        let version = IOMMU_PAGE_RESP_VERSION_1;
        let flags = request.pasid().map_or(0, |_| IOMMU_PAGE_RESP_PASID_VALID);
        let iommu_fault_page_request { pasid, grpid, .. } = request.0;
        match self.layout {
            Layout::V5_10 => {
                let argsz = size_of::<v5_10::iommu_page_response>() as u32;
                let entry =
                    v5_10::iommu_page_response { argsz, version, flags, pasid, grpid, code };
                self.put(at, &entry)
            }
            Layout::V5_5 | Layout::Patches => {
                let entry = v5_5::iommu_page_response { version, flags, pasid, grpid, code };
                self.put(at, &entry)
            }
        }?;
        let next = (header.head + 1) % header.nb_entries.max(1);
        self.responses.write(0, &next.to_ne_bytes())
    }

    fn put<T: IntoBytes + Immutable>(&self, at: u64, entry: &T) -> io::Result<()> {
        self.responses.write(at, entry.as_bytes())
    }

    fn read<T: FromBytes + IntoBytes>(&self, region: &Region, at: u64) -> io::Result<T> {
        let mut value = T::new_zeroed();
        region.read(at, value.as_mut_bytes()).map(|()| value)
    }
}

fn place(offset: u32, entry_size: u32, index: u32) -> u64 {
    u64::from(offset) + u64::from(entry_size) * u64::from(index)
}
