//! Page requests of the device under test, and their answers.

use mem::AddressSpace;
use uapi::iommufd::*;
use zerocopy::{FromBytes, IntoBytes};

use crate::bench::Bench;
use testkit::host::hwpt_alloc;

impl<M: engine::Model> Bench<M> {
    /// Attaches a page table whose faults come to a queue; the queue's descriptor.
    pub fn with_faults(&mut self) -> i32 {
        let mut queue = iommu_fault_alloc::default();
        self.host.call(&mut queue).unwrap();
        let fault_id = queue.out_fault_id;
        let flags = IOMMU_HWPT_FAULT_ID_VALID;
        let hwpt = self.host.hwpt_with(&mut iommu_hwpt_alloc { flags, fault_id, ..hwpt_alloc() });
        self.host.attach(hwpt.unwrap()).unwrap();
        queue.out_fault_fd.cast_signed()
    }

    /// The next fault, once it is there, which is in the page of an address; its cookie.
    pub fn fault_at(&mut self, queue: i32, address: u64) -> u32 {
        const RECORD: usize = size_of::<iommu_hwpt_pgfault>();
        let at = self.host.client.scratch(&[]);
        let file = self.host.client.open_file(queue);
        let until = std::time::Instant::now() + crate::bench::LONG;
        while file.read(&mut self.host.client, at, RECORD as u64, None).unwrap() == 0 {
            assert!(std::time::Instant::now() < until, "no page request came");
            std::thread::yield_now();
        }
        let mut bytes = [0; RECORD];
        self.host.client.memory.read(at, &mut bytes).unwrap();
        let fault = iommu_hwpt_pgfault::read_from_bytes(&bytes).unwrap();
        assert_eq!(fault.addr & !0xfff, address & !0xfff);
        fault.cookie
    }

    pub fn answer(&mut self, queue: i32, cookie: u32, success: bool) {
        let code = if success { IOMMUFD_PAGE_RESP_SUCCESS } else { IOMMUFD_PAGE_RESP_INVALID };
        let response = iommu_hwpt_page_response { cookie, code };
        let at = self.host.client.scratch(response.as_bytes());
        let file = self.host.client.open_file(queue);
        let count = size_of::<iommu_hwpt_page_response>() as u64;
        assert_eq!(file.write(&mut self.host.client, at, count, None), Ok(count));
    }
}
