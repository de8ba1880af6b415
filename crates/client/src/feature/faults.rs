//! Page faults of a device, and their answers.

use std::io;

use profile::Requirement;
use profile::machine::Vendor;
use uapi::iommufd::{
    IOMMU_PGFAULT_FLAGS_LAST_PAGE, IOMMU_PGFAULT_FLAGS_PASID_VALID, IOMMUFD_PAGE_RESP_INVALID,
    IOMMUFD_PAGE_RESP_SUCCESS, iommu_hwpt_page_response, iommu_hwpt_pgfault,
};
use zerocopy::{FromBytes, IntoBytes};

use super::passthrough::map;
use super::{Feature, shipped};
use crate::SharedBuffer;
use crate::session::{Failed, Queue, Session, Table};

/// See [`FaultingDevice`].
#[derive(Clone, Copy, Debug)]
pub struct PageFaultsFeature;

/// Asks for a device whose page faults come to this process.
pub const PAGE_FAULTS: PageFaultsFeature = PageFaultsFeature;

/// A device attached to an address space in which pages may be missing.
#[derive(Debug)]
pub struct FaultingDevice {
    session: Session,
    ioas: u32,
    faults: PageFaults,
}

impl Feature for PageFaultsFeature {
    type Value = FaultingDevice;

    fn requirement(&self) -> &'static Requirement {
        shipped("page-faults")
    }

    #[expect(private_interfaces, reason = "only this crate makes features")]
    fn set_up(&self, session: Session, _iommu: Option<Vendor>) -> Result<FaultingDevice, Failed> {
        let ioas = session.ioas()?;
        session.attach(ioas, None)?;
        let faults = PageFaults::new(session.fault_queue()?);
        let hwpt = session.hwpt(ioas, Table { fault: Some(faults.id()), ..Table::default() })?;
        // in place of the first, which up to 6.14 is what turns ATS on
        session.attach(hwpt, None)?;
        Ok(FaultingDevice { session, ioas, faults })
    }
}

impl FaultingDevice {
    /// Places a buffer at an IOVA, for reads and writes by the device.
    pub fn map(&self, iova: u64, buffer: &SharedBuffer) -> Result<(), Failed> {
        map(&self.session, self.ioas, iova, buffer)
    }

    /// Its page faults.
    pub fn faults(&self) -> &PageFaults {
        &self.faults
    }
}

/// A page that a device asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFault {
    /// The address, on a page border.
    pub address: u64,
    /// The PASID of the request, if it has one.
    pub pasid: Option<u32>,
    /// What the device wants to do: `IOMMU_PGFAULT_PERM_*`.
    pub permissions: u32,
    /// Whether the group of requests ends with this one.
    pub last: bool,
    /// What answers the whole group.
    cookie: u32,
}

/// How a page request group is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// The pages are there now: the device tries again.
    Success,
    /// They will not come: the device gives up.
    Invalid,
}

/// The queue of a device's page faults.
#[derive(Debug)]
pub struct PageFaults(Queue);

impl PageFaults {
    pub(super) fn new(queue: Queue) -> Self {
        Self(queue)
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id
    }

    /// The requests that have come, by whole groups; empty when there are none. It does not wait.
    ///
    /// Errors are those of `read(2)`.
    pub fn next(&self) -> io::Result<Vec<PageFault>> {
        const RECORD: usize = size_of::<iommu_hwpt_pgfault>();
        let mut bytes = [0; 64 * RECORD];
        let read = match self.0.file.read(&mut bytes) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        let records = bytes[..read].chunks_exact(RECORD);
        let parsed = records.filter_map(|record| iommu_hwpt_pgfault::read_from_bytes(record).ok());
        Ok(parsed.map(PageFault::from).collect())
    }

    /// Answers the group of a request. Errors are those of `write(2)`; `EINVAL` when it was answered.
    pub fn respond(&self, fault: &PageFault, response: Response) -> io::Result<()> {
        let code = match response {
            Response::Success => IOMMUFD_PAGE_RESP_SUCCESS,
            Response::Invalid => IOMMUFD_PAGE_RESP_INVALID,
        };
        let answer = iommu_hwpt_page_response { cookie: fault.cookie, code };
        self.0.file.write(answer.as_bytes()).map(drop)
    }
}

impl From<iommu_hwpt_pgfault> for PageFault {
    fn from(fault: iommu_hwpt_pgfault) -> Self {
        let has = |flag| fault.flags & flag != 0;
        Self {
            address: fault.addr,
            pasid: has(IOMMU_PGFAULT_FLAGS_PASID_VALID).then_some(fault.pasid),
            permissions: fault.perm,
            last: has(IOMMU_PGFAULT_FLAGS_LAST_PAGE),
            cookie: fault.cookie,
        }
    }
}
