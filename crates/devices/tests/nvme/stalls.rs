//! Accesses that wait for a page (SMMUv3).

use super::*;
use uapi::iommufd::*;
use zerocopy::{FromBytes, IntoBytes};

/// A controller on a machine whose IOMMU lets accesses wait, with all but data mapped; the fault queue's
/// descriptor.
fn stalling() -> (Driver, i32) {
    let mut fd = 0;
    let mut driver = Driver::on("grace", &small(), |host| {
        let mut queue = iommu_fault_alloc::default();
        host.call(&mut queue).unwrap();
        fd = queue.out_fault_fd.cast_signed();
        let (flags, fault_id) = (IOMMU_HWPT_FAULT_ID_VALID, queue.out_fault_id);
        let alloc = iommu_hwpt_alloc { flags, fault_id, ..testkit::host::hwpt_alloc() };
        host.hwpt_with(&mut { alloc }).unwrap()
    });
    let queues = Driver::submission(1);
    driver.map(BASE, queues - BASE);
    driver.map(queues, DATA - queues);
    driver.enable();
    driver.create_pair(1, 64);
    (driver, fd)
}

/// The next fault, once it is there.
fn fault(driver: &mut Driver, fd: i32) -> iommu_hwpt_pgfault {
    let at = driver.host.client.scratch(&[]);
    let file = driver.host.client.open_file(fd);
    let size = size_of::<iommu_hwpt_pgfault>();
    let until = Instant::now() + LONG;
    while file.read(&mut driver.host.client, at, size as u64, None).unwrap() == 0 {
        assert!(Instant::now() < until, "no fault came");
        std::thread::yield_now();
    }
    iommu_hwpt_pgfault::read_from_bytes(&driver.load(at, size)).unwrap()
}

fn answer(driver: &mut Driver, fd: i32, cookie: u32, code: u32) {
    let response = iommu_hwpt_page_response { cookie, code };
    let at = driver.host.client.scratch(response.as_bytes());
    let file = driver.host.client.open_file(fd);
    let size = size_of::<iommu_hwpt_page_response>() as u64;
    assert_eq!(file.write(&mut driver.host.client, at, size, None), Ok(size));
}

#[test]
fn data_waits_for_its_page() {
    let (mut driver, fd) = stalling();
    for (code, status) in
        [(IOMMUFD_PAGE_RESP_INVALID, Err((0, 4))), (IOMMUFD_PAGE_RESP_SUCCESS, Ok(0))]
    {
        driver.submit(1, transfer(io::READ, 0, 1));
        let fault = fault(&mut driver, fd);
        assert_eq!((fault.addr & !0xfff, driver.poll(1)), (DATA, None));
        if code == IOMMUFD_PAGE_RESP_SUCCESS {
            driver.map(DATA, 0x1000);
        }
        answer(&mut driver, fd, fault.cookie, code);
        assert_eq!(Driver::told(&driver.wait(1)), status);
    }
    assert_eq!(driver.get(CSTS), CSTS_READY);
}

#[test]
fn a_reset_ends_the_wait() {
    let (mut driver, fd) = stalling();
    driver.submit(1, transfer(io::READ, 0, 1));
    let old = fault(&mut driver, fd);
    driver.enable();
    driver.create_pair(1, 64);
    driver.map(DATA, 0x1000);
    answer(&mut driver, fd, old.cookie, IOMMUFD_PAGE_RESP_SUCCESS);
    assert_eq!(driver.run(1, transfer(io::READ, 0, 1)), Ok(0));
    // a queue that waits, and the end of the device
    let queues = Driver::submission(1);
    driver.unmap(queues, DATA - queues);
    driver.ring(1);
    driver.set(DOORBELLS + 8, 9);
    fault(&mut driver, fd);
    let begin = Instant::now();
    drop(driver);
    assert!(begin.elapsed() < LONG);
}
