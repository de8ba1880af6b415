//! The story of the kernel's mock device: DMA, a page fault and its answer.
//!
//! It maps memory, lets the mock device read and write it, answers a page fault, and unmaps. On a kernel
//! with `CONFIG_IOMMUFD_TEST` it would play the same.

use std::fs::File;
use std::io::{self, Read, Write};

use client::{Iommu, SharedBuffer, adopt};
use uapi::Errno;
use uapi::iommufd::*;
use uapi::selftest::*;

use super::{At, Step, say};

/// Where the buffer is mapped, and what a device does with it.
const IOVA: u64 = 0x100_0000;
const GREETING: &[u8] = b"hello, device";
const REPLY: &[u8] = b"hello, program";

/// Whether the kernel has the mock device: a size of 0 is wrong for every command that is there.
pub fn is_there() -> bool {
    let none = Iommu::open().and_then(|iommu| iommu.call(&mut iommu_test_cmd::default()));
    none.is_err_and(|error| error.raw_os_error() == Some(Errno::EINVAL.code()))
}

pub fn story() -> Step<()> {
    let iommu = Iommu::open().at("open /dev/iommu")?;
    say("open", "/dev/iommu");
    let mut ioas = iommu_ioas_alloc { size: 12, ..Default::default() };
    iommu.call(&mut ioas).at("IOMMU_IOAS_ALLOC")?;
    let ioas = ioas.out_ioas_id;
    say("address space", format!("IOAS {ioas}"));
    let device = attach_device(&iommu, ioas)?;
    let buffer = map_buffer(&iommu, ioas)?;
    let access = open_access(&iommu, ioas)?;
    device_reads_and_writes(&iommu, &access, &buffer)?;
    page_fault(&iommu, device, ioas)?;
    unmap(&iommu, ioas)?;
    after_unmap(&iommu, &access)
}

/// A mock device and the page table that its attachment made.
#[derive(Clone, Copy)]
struct Device {
    holder: u32,
    id: u32,
}

fn attach_device(iommu: &Iommu, ioas: u32) -> Step<Device> {
    let made = iommu.test(IOMMU_TEST_OP_MOCK_DOMAIN, ioas, |_| ()).at("making a mock device")?;
    let ids: iommu_test_mock_domain = made.args_as();
    let (id, hwpt) = (ids.out_idev_id, ids.out_hwpt_id);
    say("device", format!("{id}, attached through page table {hwpt}"));
    Ok(Device { holder: ids.out_stdev_id, id })
}

fn map_buffer(iommu: &Iommu, ioas: u32) -> Step<SharedBuffer> {
    let buffer = SharedBuffer::new(64 * 1024).at("mmap")?;
    let mut map = iommu_ioas_map {
        size: 40,
        flags: IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
        ioas_id: ioas,
        user_va: buffer.address(),
        length: buffer.size(),
        iova: IOVA,
        ..Default::default()
    };
    iommu.call(&mut map).at("IOMMU_IOAS_MAP")?;
    let (last, va) = (IOVA + buffer.size() - 1, buffer.address());
    say("map", format!("IOVA {IOVA:#x}..={last:#x} is the memory at {va:#x}"));
    Ok(buffer)
}

/// A descriptor through which the mock device's side reaches the address space.
fn open_access(iommu: &Iommu, ioas: u32) -> Step<File> {
    let made = iommu.test(IOMMU_TEST_OP_CREATE_ACCESS, ioas, |_| ()).at("making an access")?;
    let args: iommu_test_create_access = made.args_as();
    Ok(adopt(args.out_access_fd).into())
}

/// One transfer of the device, from or to `bytes`.
fn transfer(iommu: &Iommu, access: &File, bytes: &mut [u8], write: bool) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let args = iommu_test_access_rw {
        iova: IOVA,
        length: bytes.len() as u64,
        uptr: bytes.as_mut_ptr().addr() as u64,
        flags: if write { MOCK_ACCESS_RW_WRITE } else { 0 } | MOCK_ACCESS_RW_SLOW_PATH,
        ..Default::default()
    };
    let id = access.as_raw_fd().cast_unsigned();
    iommu.test(IOMMU_TEST_OP_ACCESS_RW, id, |cmd| cmd.set_args(&args)).map(drop)
}

fn device_reads_and_writes(iommu: &Iommu, access: &File, buffer: &SharedBuffer) -> Step<()> {
    buffer.store(GREETING);
    let mut seen = vec![0; GREETING.len()];
    transfer(iommu, access, &mut seen, false).at("reading by the device")?;
    same(&seen, GREETING).at("reading by the device")?;
    say("device reads", format!("{:?} at IOVA {IOVA:#x}", text(&seen)));
    transfer(iommu, access, &mut REPLY.to_vec(), true).at("writing by the device")?;
    let mut seen = vec![0; REPLY.len()];
    buffer.load(&mut seen);
    same(&seen, REPLY).at("writing by the device")?;
    say("device writes", format!("{:?}, and the program sees it in its memory", text(&seen)));
    Ok(())
}

/// A guest's page table over a nesting parent; the device misses a page, the program answers.
fn page_fault(iommu: &Iommu, device: Device, ioas: u32) -> Step<()> {
    let mut queue = iommu_fault_alloc { size: 16, ..Default::default() };
    match iommu.call(&mut queue) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOTTY.code()) => {
            say("page fault", "left out: this kernel has no queues for them");
            return Ok(());
        }
        made => made.at("IOMMU_FAULT_QUEUE_ALLOC")?,
    };
    let mut faults = File::from(adopt(queue.out_fault_fd));
    let mut parent = iommu_hwpt_alloc {
        size: 48,
        flags: IOMMU_HWPT_ALLOC_NEST_PARENT,
        dev_id: device.id,
        pt_id: ioas,
        ..Default::default()
    };
    iommu.call(&mut parent).at("IOMMU_HWPT_ALLOC of a nesting parent")?;
    let config = iommu_hwpt_selftest { iotlb: IOMMU_TEST_IOTLB_DEFAULT, pagetable_type: 0 };
    let mut nested = iommu_hwpt_alloc {
        flags: IOMMU_HWPT_FAULT_ID_VALID,
        pt_id: parent.out_hwpt_id,
        data_type: IOMMU_HWPT_DATA_SELFTEST,
        data_len: size_of_val(&config) as u32,
        data_uptr: (&raw const config).addr() as u64,
        fault_id: queue.out_fault_id,
        ..parent
    };
    iommu.call(&mut nested).at("IOMMU_HWPT_ALLOC of a nested page table")?;
    let attached =
        attach(iommu, device, nested.out_hwpt_id).at("attaching the nested page table")?;
    say("nested", format!("page table {attached} of a guest, over {}", parent.out_hwpt_id));
    let request = iommu_test_trigger_iopf {
        dev_id: device.id,
        pasid: 0,
        grpid: 7,
        perm: IOMMU_PGFAULT_PERM_READ,
        addr: 0xdead_b000,
    };
    iommu
        .test(IOMMU_TEST_OP_TRIGGER_IOPF, 0, |cmd| cmd.set_args(&request))
        .at("making the device fault")?;
    answer_fault(&mut faults)?;
    attach(iommu, device, ioas).at("attaching the address space again").map(drop)
}

fn attach(iommu: &Iommu, device: Device, pt_id: u32) -> io::Result<u32> {
    let args = iommu_test_mock_domain_replace { pt_id };
    let prepare = |cmd: &mut iommu_test_cmd| cmd.set_args(&args);
    let done = iommu.test(IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE, device.holder, prepare)?;
    Ok(done.args_as::<iommu_test_mock_domain_replace>().pt_id)
}

fn answer_fault(faults: &mut File) -> Step<()> {
    use zerocopy::{FromBytes, IntoBytes};
    let mut bytes = [0; size_of::<iommu_hwpt_pgfault>()];
    faults.read_exact(&mut bytes).at("reading the page fault")?;
    let fault = iommu_hwpt_pgfault::read_from_bytes(&bytes)
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
        .at("reading the page fault")?;
    let (device, address, group) = (fault.dev_id, fault.addr, fault.grpid);
    say("page fault", format!("device {device} misses {address:#x} (group {group})"));
    let response =
        iommu_hwpt_page_response { cookie: fault.cookie, code: IOMMUFD_PAGE_RESP_SUCCESS };
    faults.write_all(response.as_bytes()).at("answering the page fault")?;
    say("page response", format!("success, by cookie {}", fault.cookie));
    Ok(())
}

fn unmap(iommu: &Iommu, ioas: u32) -> Step<()> {
    let mut unmap = iommu_ioas_unmap { size: 24, ioas_id: ioas, iova: 0, length: u64::MAX };
    iommu.call(&mut unmap).at("IOMMU_IOAS_UNMAP")?;
    say("unmap", format!("{} KiB", unmap.length / 1024));
    Ok(())
}

/// The same transfer as before must be refused now.
fn after_unmap(iommu: &Iommu, access: &File) -> Step<()> {
    match transfer(iommu, access, &mut [0; 8], false) {
        Err(error) => {
            say("device reads", format!("refused: {error}"));
            Ok(())
        }
        Ok(()) => Err(io::Error::other("the device still reads what was unmapped")).at("the end"),
    }
}

fn same(seen: &[u8], wanted: &[u8]) -> io::Result<()> {
    if seen == wanted {
        Ok(())
    } else {
        Err(io::Error::other(format!("{:?} came instead", text(seen))))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
