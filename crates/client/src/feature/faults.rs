//! Page faults of a device, and their answers.

use std::collections::VecDeque;
use std::io;

use parking_lot::Mutex;
use profile::Requirement;
use profile::machine::Vendor;
use uapi::iommufd::{
    IOMMU_PGFAULT_FLAGS_PASID_VALID, IOMMUFD_PAGE_RESP_INVALID, IOMMUFD_PAGE_RESP_SUCCESS,
    iommu_hwpt_page_response, iommu_hwpt_pgfault,
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

/// Pages that a device asks for together: it goes on when the group is answered, which is once.
#[derive(Debug, PartialEq, Eq)]
pub struct FaultGroup {
    /// The requests; at least one.
    pub faults: Vec<PageFault>,
    /// What answers the whole group.
    cookie: u32,
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
pub struct PageFaults {
    queue: Queue,
    /// Groups that were read and not given out yet.
    waiting: Mutex<VecDeque<FaultGroup>>,
}

/// How many requests are read at once. The kernel tells whole groups, and none is larger than what an
/// IOMMU's own queue has room for (VT-d: `PRQ_SIZE`, 2048 of 32 bytes).
const MOST: usize = 2048;

impl PageFaults {
    pub(super) fn new(queue: Queue) -> Self {
        Self { queue, waiting: Mutex::default() }
    }

    pub(super) fn id(&self) -> u32 {
        self.queue.id
    }

    /// The next group of requests; none when none has come. It does not wait.
    ///
    /// Errors are those of `read(2)`.
    pub fn next(&self) -> io::Result<Option<FaultGroup>> {
        let mut waiting = self.waiting.lock();
        if waiting.is_empty() {
            waiting.extend(self.read()?);
        }
        Ok(waiting.pop_front())
    }

    fn read(&self) -> io::Result<Vec<FaultGroup>> {
        const RECORD: usize = size_of::<iommu_hwpt_pgfault>();
        let mut bytes = vec![0; MOST * RECORD];
        let read = match self.queue.file.read(&mut bytes) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        let records = bytes[..read].chunks_exact(RECORD);
        Ok(groups(records.filter_map(|it| iommu_hwpt_pgfault::read_from_bytes(it).ok())))
    }

    /// Answers a group of requests. Errors are those of `write(2)`.
    pub fn respond(&self, group: FaultGroup, response: Response) -> io::Result<()> {
        let code = match response {
            Response::Success => IOMMUFD_PAGE_RESP_SUCCESS,
            Response::Invalid => IOMMUFD_PAGE_RESP_INVALID,
        };
        let answer = iommu_hwpt_page_response { cookie: group.cookie, code };
        self.queue.file.write(answer.as_bytes()).map(drop)
    }
}

/// The kernel tells the requests of a group one after the other, with the same cookie.
fn groups(records: impl Iterator<Item = iommu_hwpt_pgfault>) -> Vec<FaultGroup> {
    let mut groups: Vec<FaultGroup> = Vec::new();
    for record in records {
        let fault = PageFault::from(record);
        match groups.last_mut() {
            Some(group) if group.cookie == record.cookie => group.faults.push(fault),
            _ => groups.push(FaultGroup { faults: vec![fault], cookie: record.cookie }),
        }
    }
    groups
}

impl From<iommu_hwpt_pgfault> for PageFault {
    fn from(fault: iommu_hwpt_pgfault) -> Self {
        let has = |flag| fault.flags & flag != 0;
        Self {
            address: fault.addr,
            pasid: has(IOMMU_PGFAULT_FLAGS_PASID_VALID).then_some(fault.pasid),
            permissions: fault.perm,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_by_group() {
        let record = |cookie, addr| iommu_hwpt_pgfault { cookie, addr, ..Default::default() };
        let found = groups([record(1, 0x1000), record(1, 0x2000), record(3, 0x3000)].into_iter());
        let told: Vec<Vec<u64>> = found
            .iter()
            .map(|group| group.faults.iter().map(|fault| fault.address).collect())
            .collect();
        assert_eq!(told, [vec![0x1000, 0x2000], vec![0x3000]]);
        assert_eq!(found.iter().map(|group| group.cookie).collect::<Vec<_>>(), [1, 3]);
    }
}
