//! The kernel's mock device (`IOMMU_TEST_CMD`, `CONFIG_IOMMUFD_TEST`): a device that reads, writes and
//! faults when it is told to.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use uapi::Errno;
use uapi::iommufd::*;
use uapi::selftest::*;
use zerocopy::{FromBytes, IntoBytes};

use crate::file::{address, address_mut};
use crate::session::size;
use crate::{Iommu, sys};

/// A mock device, and what holds it.
#[derive(Clone, Copy, Debug)]
pub struct MockDevice {
    /// Its ID.
    pub id: u32,
    /// The page table that it was attached through at first.
    pub hwpt: u32,
    holder: u32,
}

/// The mock device's way into an address space.
#[derive(Debug)]
pub struct Access(File);

/// Page faults of mock devices, and their answers.
#[derive(Debug)]
pub struct MockFaults {
    id: u32,
    file: File,
}

/// Whether a kernel has the mock device: a size of 0 is wrong for every command that is there.
pub fn is_there() -> bool {
    let none = Iommu::open().and_then(|iommu| iommu.call(&mut iommu_test_cmd::default()));
    none.is_err_and(|error| error.raw_os_error() == Some(Errno::EINVAL.code()))
}

impl Iommu {
    /// Makes a mock device that is attached to an address space.
    pub fn mock_device(&self, ioas: u32) -> io::Result<MockDevice> {
        let ids: iommu_test_mock_domain =
            self.test(IOMMU_TEST_OP_MOCK_DOMAIN, ioas, |_| ())?.args_as();
        Ok(MockDevice { id: ids.out_idev_id, hwpt: ids.out_hwpt_id, holder: ids.out_stdev_id })
    }

    /// Attaches a mock device to something else; returns the page table that it is attached to.
    pub fn mock_attach(&self, device: MockDevice, pt: u32) -> io::Result<u32> {
        let args = iommu_test_mock_domain_replace { pt_id: pt };
        let op = IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE;
        let done = self.test(op, device.holder, |cmd| cmd.set_args(&args))?;
        Ok(done.args_as::<iommu_test_mock_domain_replace>().pt_id)
    }

    /// Makes an access to an address space.
    pub fn mock_access(&self, ioas: u32) -> io::Result<Access> {
        let made = self.test(IOMMU_TEST_OP_CREATE_ACCESS, ioas, |_| ())?;
        let args: iommu_test_create_access = made.args_as();
        Ok(Access(sys::adopt(args.out_access_fd).into()))
    }

    /// The device reads bytes at an IOVA.
    pub fn mock_read(&self, access: &Access, iova: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.transfer(access, iova, bytes.as_mut_slice(), 0)?;
        Ok(bytes)
    }

    /// The device writes bytes at an IOVA.
    pub fn mock_write(&self, access: &Access, iova: u64, bytes: &[u8]) -> io::Result<()> {
        self.transfer(access, iova, &mut bytes.to_vec(), MOCK_ACCESS_RW_WRITE)
    }

    fn transfer(&self, access: &Access, iova: u64, bytes: &mut [u8], way: u32) -> io::Result<()> {
        let args = iommu_test_access_rw {
            iova,
            length: bytes.len() as u64,
            uptr: address_mut(bytes),
            flags: way | MOCK_ACCESS_RW_SLOW_PATH,
            ..Default::default()
        };
        let fd = access.0.as_raw_fd().cast_unsigned();
        self.test(IOMMU_TEST_OP_ACCESS_RW, fd, |cmd| cmd.set_args(&args)).map(drop)
    }

    /// Makes a queue for page faults.
    pub fn mock_faults(&self) -> io::Result<MockFaults> {
        let mut cmd = iommu_fault_alloc { size: size::<iommu_fault_alloc>(), ..Default::default() };
        self.call(&mut cmd)?;
        Ok(MockFaults { id: cmd.out_fault_id, file: sys::adopt(cmd.out_fault_fd).into() })
    }

    /// Makes a nesting parent on an address space, and on it a guest's page table whose faults come to a
    /// queue; returns the IDs of both.
    pub fn mock_nested(
        &self,
        device: MockDevice,
        ioas: u32,
        faults: &MockFaults,
    ) -> io::Result<(u32, u32)> {
        let mut parent = iommu_hwpt_alloc {
            size: size::<iommu_hwpt_alloc>(),
            flags: IOMMU_HWPT_ALLOC_NEST_PARENT,
            dev_id: device.id,
            pt_id: ioas,
            ..Default::default()
        };
        self.call(&mut parent)?;
        let config = iommu_hwpt_selftest { iotlb: IOMMU_TEST_IOTLB_DEFAULT, pagetable_type: 0 };
        let mut nested = iommu_hwpt_alloc {
            flags: IOMMU_HWPT_FAULT_ID_VALID,
            pt_id: parent.out_hwpt_id,
            data_type: IOMMU_HWPT_DATA_SELFTEST,
            data_len: size_of_val(&config) as u32,
            data_uptr: address(&config),
            fault_id: faults.id,
            ..parent
        };
        self.call(&mut nested)?;
        Ok((parent.out_hwpt_id, nested.out_hwpt_id))
    }

    /// Lets a device fault: it reads at an address where nothing is, in a group of this number.
    pub fn mock_fault(&self, device: MockDevice, address: u64, group: u32) -> io::Result<()> {
        let request = iommu_test_trigger_iopf {
            dev_id: device.id,
            pasid: 0,
            grpid: group,
            perm: IOMMU_PGFAULT_PERM_READ,
            addr: address,
        };
        self.test(IOMMU_TEST_OP_TRIGGER_IOPF, 0, |cmd| cmd.set_args(&request)).map(drop)
    }

    /// A test operation on an object or, for accesses, on a descriptor.
    fn test(
        &self,
        op: u32,
        id: u32,
        prepare: impl FnOnce(&mut iommu_test_cmd),
    ) -> io::Result<iommu_test_cmd> {
        let size = size_of::<iommu_test_cmd>() as u32;
        let mut cmd = iommu_test_cmd { size, op, id, ..Default::default() };
        prepare(&mut cmd);
        self.call(&mut cmd)?;
        Ok(cmd)
    }
}

impl MockFaults {
    /// Waits for a page fault.
    pub fn read(&mut self) -> io::Result<iommu_hwpt_pgfault> {
        let mut bytes = [0; size_of::<iommu_hwpt_pgfault>()];
        self.file.read_exact(&mut bytes)?;
        iommu_hwpt_pgfault::read_from_bytes(&bytes).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Answers the group of a page fault: the page is there now.
    pub fn succeed(&mut self, fault: &iommu_hwpt_pgfault) -> io::Result<()> {
        let code = IOMMUFD_PAGE_RESP_SUCCESS;
        let response = iommu_hwpt_page_response { cookie: fault.cookie, code };
        self.file.write_all(response.as_bytes())
    }
}
