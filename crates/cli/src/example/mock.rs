//! The story of the kernel's mock device: DMA, a page fault and its answer.
//!
//! It maps memory, lets the mock device read and write it, answers a page fault, and unmaps. On a kernel
//! with `CONFIG_IOMMUFD_TEST` it would play the same.

use std::io;

use client::mock::{Access, MockDevice, MockFaults};
use client::{Iommu, SharedBuffer};
use uapi::Errno;

use super::{At, Step, say};

/// Where the buffer is mapped, and what a device does with it.
const IOVA: u64 = 0x100_0000;
const GREETING: &[u8] = b"hello, device";
const REPLY: &[u8] = b"hello, program";

pub fn story() -> Step<()> {
    let iommu = Iommu::open().at("open /dev/iommu")?;
    say("open", "/dev/iommu");
    let ioas = iommu.ioas().at("IOMMU_IOAS_ALLOC")?;
    say("address space", format!("IOAS {ioas}"));
    let device = iommu.mock_device(ioas).at("making a mock device")?;
    let (id, hwpt) = (device.id, device.hwpt);
    say("device", format!("{id}, attached through page table {hwpt}"));
    let buffer = map_buffer(&iommu, ioas)?;
    let access = iommu.mock_access(ioas).at("making an access")?;
    device_reads_and_writes(&iommu, &access, &buffer)?;
    page_fault(&iommu, device, ioas)?;
    let bytes = iommu.unmap(ioas, 0, u64::MAX).at("IOMMU_IOAS_UNMAP")?;
    say("unmap", format!("{} KiB", bytes / 1024));
    after_unmap(&iommu, &access)
}

fn map_buffer(iommu: &Iommu, ioas: u32) -> Step<SharedBuffer> {
    let buffer = SharedBuffer::new(64 * 1024).at("mmap")?;
    iommu.map(ioas, IOVA, &buffer, buffer.size()).at("IOMMU_IOAS_MAP")?;
    let (last, va) = (IOVA + buffer.size() - 1, buffer.address());
    say("map", format!("IOVA {IOVA:#x}..={last:#x} is the memory at {va:#x}"));
    Ok(buffer)
}

fn device_reads_and_writes(iommu: &Iommu, access: &Access, buffer: &SharedBuffer) -> Step<()> {
    buffer.store(GREETING);
    let seen = iommu.mock_read(access, IOVA, GREETING.len()).at("reading by the device")?;
    same(&seen, GREETING).at("reading by the device")?;
    say("device reads", format!("{:?} at IOVA {IOVA:#x}", text(&seen)));
    iommu.mock_write(access, IOVA, REPLY).at("writing by the device")?;
    let mut seen = vec![0; REPLY.len()];
    buffer.load(&mut seen);
    same(&seen, REPLY).at("writing by the device")?;
    say("device writes", format!("{:?}, and the program sees it in its memory", text(&seen)));
    Ok(())
}

/// A guest's page table over a nesting parent; the device misses a page, the program answers.
fn page_fault(iommu: &Iommu, device: MockDevice, ioas: u32) -> Step<()> {
    let mut faults = match iommu.mock_faults() {
        Err(error) if error.raw_os_error() == Some(Errno::ENOTTY.code()) => {
            say("page fault", "left out: this kernel has no queues for them");
            return Ok(());
        }
        made => made.at("IOMMU_FAULT_QUEUE_ALLOC")?,
    };
    let nested = iommu.mock_nested(device, ioas, &faults);
    let (parent, nested) = nested.at("IOMMU_HWPT_ALLOC of a nested page table")?;
    let attached = iommu.mock_attach(device, nested).at("attaching the nested page table")?;
    say("nested", format!("page table {attached} of a guest, over {parent}"));
    iommu.mock_fault(device, 0xdead_b000, 7).at("making the device fault")?;
    answer_fault(&mut faults)?;
    iommu.mock_attach(device, ioas).at("attaching the address space again").map(drop)
}

fn answer_fault(faults: &mut MockFaults) -> Step<()> {
    let fault = faults.read().at("reading the page fault")?;
    let (device, address, group) = (fault.dev_id, fault.addr, fault.grpid);
    say("page fault", format!("device {device} misses {address:#x} (group {group})"));
    faults.succeed(&fault).at("answering the page fault")?;
    say("page response", format!("success, by cookie {}", fault.cookie));
    Ok(())
}

/// The same transfer as before must be refused now.
fn after_unmap(iommu: &Iommu, access: &Access) -> Step<()> {
    match iommu.mock_read(access, IOVA, 8) {
        Err(error) => {
            say("device reads", format!("refused: {error}"));
            Ok(())
        }
        Ok(_) => Err(io::Error::other("the device still reads what was unmapped")).at("the end"),
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
