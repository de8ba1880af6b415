//! A VMM's way to a device, by the crates `iommufd-ioctls` and `vfio-ioctls`: `outside-client WAY BDF`.
//!
//! | way | does |
//! |---|---|
//! | `cdev` | binds a device to an iommufd, maps memory, raises an interrupt |
//! | `legacy` | the same by a group and a container |
//! | `nested` | a guest's tables on an SMMUv3: virtual IOMMU and device, event queue, invalidation, PASID |
//!
//! It ends with a failure at the first answer that is not the right one.

use std::path::PathBuf;
use std::sync::Arc;
use std::{env, process};

use ::iommufd_ioctls::{
    IommuFd, IommufdHwInfoData, IommufdHwptData, IommufdInvalidateData, IommufdVDevice,
    IommufdVIommu,
};
use iommufd_bindings::iommufd::*;
use vfio_bindings::bindings::vfio::*;
use vfio_ioctls::*;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

type Result = std::result::Result<(), Box<dyn std::error::Error>>;

const PAGE: usize = 4096;
const IOVA: u64 = 0x10_0000;

fn main() {
    let arguments: Vec<_> = env::args().collect();
    let [_, way, address] = &arguments[..] else {
        eprintln!("usage: outside-client cdev|legacy|nested BDF");
        process::exit(2);
    };
    let device = PathBuf::from("/sys/bus/pci/devices").join(address);
    let done = match way.as_str() {
        "cdev" => cdev(&device),
        "legacy" => legacy(&device),
        "nested" => nested(&device),
        other => Err(format!("no way is called {other}").into()),
    };
    match done {
        Ok(()) => println!("{way}: OK"),
        Err(error) => {
            println!("{way}: {error}");
            process::exit(1);
        }
    }
}

/// An answer, and whether it is the right one.
fn check(what: &str, right: bool) -> Result {
    println!("{what}: {}", if right { "as expected" } else { "WRONG" });
    if right { Ok(()) } else { Err(what.into()) }
}

fn cdev(path: &std::path::Path) -> Result {
    let iommufd = Arc::new(IommuFd::new()?);
    let ops = Arc::new(VfioIommufd::new(Arc::clone(&iommufd), None, None)?);
    let device = VfioDevice::new(path, Arc::clone(&ops) as _, true)?;
    check("a device's ID", device.iommufd_dev_id().is_some())?;
    use_device(&device, &*ops)
}

fn legacy(path: &std::path::Path) -> Result {
    let ops = Arc::new(VfioContainer::new(None)?);
    let device = VfioDevice::new(path, Arc::clone(&ops) as _, true)?;
    use_device(&device, &*ops)
}

/// What is the same by both ways.
fn use_device(device: &VfioDevice, ops: &dyn VfioOps) -> Result {
    let mut ids = [0; 4];
    device.region_read(VFIO_PCI_CONFIG_REGION_INDEX, &mut ids, 0);
    check("vendor and device", ids == [0x36, 0x1b, 0x10, 0x00])?;
    check("a BAR", device.get_region_size(VFIO_PCI_BAR0_REGION_INDEX) >= 0x2000)?;
    let flags = device.get_region_flags(VFIO_PCI_BAR0_REGION_INDEX);
    check("it can be mapped", flags & VFIO_REGION_INFO_FLAG_MMAP != 0)?;
    let mut version = [0; 4];
    device.region_read(VFIO_PCI_BAR0_REGION_INDEX, &mut version, 8);
    check("a register: NVMe's version", u32::from_le_bytes(version) >= 0x1_0000)?;

    let memory = vec![0_u8; 4 * PAGE];
    let start = memory.as_ptr().addr().next_multiple_of(PAGE);
    let map = |iova, size| {
        // SAFETY: the memory is there until the end, and nobody reads it.
        unsafe { ops.vfio_dma_map(iova, size, start as *mut u8) }
    };
    check("map", map(IOVA, 2 * PAGE).is_ok())?;
    check("map once more", map(IOVA, PAGE).is_err())?;
    check("map half a page", map(IOVA + 0x10_0000, PAGE / 2).is_err())?;
    check("unmap", ops.vfio_dma_unmap(IOVA, 2 * PAGE).is_ok())?;
    check("map again", map(IOVA, PAGE).is_ok())?;
    check("unmap again", ops.vfio_dma_unmap(IOVA, PAGE).is_ok())?;

    let vectors = device.get_irq_info(VFIO_PCI_MSIX_IRQ_INDEX).map_or(0, |irq| irq.count);
    check("vectors", vectors > 1)?;
    let events = [EventFd::new(EFD_NONBLOCK)?, EventFd::new(EFD_NONBLOCK)?];
    device.enable_msix(events.iter().collect())?;
    device.trigger_irq(VFIO_PCI_MSIX_IRQ_INDEX, 1)?;
    check("an interrupt", events[1].read()? == 1)?;
    check("and no other", events[0].read().is_err())?;
    device.disable_msix()?;
    check("none when it is off", device.trigger_irq(VFIO_PCI_MSIX_IRQ_INDEX, 1).is_err())?;
    device.reset();

    check("no migration", matches!(device.query_migration_support(), Ok(None)))?;
    let ranges = [DmaLoggingRange { iova: IOVA, length: 0x1000 }];
    check("no log of a device's own", device.start_dma_logging(0x1000, &ranges).is_err())?;
    drop(memory);
    Ok(())
}

fn nested(path: &std::path::Path) -> Result {
    let iommufd = Arc::new(IommuFd::new()?);
    let ops = Arc::new(VfioIommufd::new(Arc::clone(&iommufd), None, None)?);
    let device = Arc::new(VfioDevice::new(path, Arc::clone(&ops) as _, false)?);
    let id = device.iommufd_dev_id().ok_or("the device has no ID")?;
    let viommu = Arc::new(IommufdVIommu::new(Arc::clone(ops.ioas()), id, false)?);
    check("no queues in hardware", !viommu.hw_queue_support())?;
    let mut queue = viommu.allocate_veventq(16)?;
    let mut virtual_device =
        IommufdVDevice::new(Arc::clone(&viommu), Arc::clone(&device) as _, id, 8)?;
    let bypass = IommufdHwptData::Smmuv3(iommu_hwpt_arm_smmuv3 { ste: [9, 0] });
    virtual_device.install_s1_hwpt(&bypass)?;
    virtual_device.install_s1_hwpt(&bypass)?;
    let bad = IommufdHwptData::Smmuv3(iommu_hwpt_arm_smmuv3 { ste: [u64::MAX, u64::MAX] });
    check("a stream table entry that is none", virtual_device.install_s1_hwpt(&bad).is_err())?;
    // CMD_CFGI_STE is the VMM's own business, TLBI_NSNH_ALL is the hardware's
    let command = |first| iommu_viommu_arm_smmuv3_invalidate { cmd: [first, 0] };
    let mut all = IommufdInvalidateData::Smmuv3(command(0x30));
    check("invalidate all", viommu.invalidate(&mut all)?)?;
    let mut none = IommufdInvalidateData::Smmuv3(command(0xff));
    check("an unknown command", viommu.invalidate(&mut none).is_err())?;
    check("no event", queue.read_events().map_or(true, |events| events.is_empty()))?;
    let mut info = IommufdHwInfoData::Smmuv3(Default::default());
    virtual_device.hw_info(&mut info)?;
    let IommufdHwInfoData::Smmuv3(info) = info;
    check("registers of the SMMU", info.idr[0] != 0)?;
    virtual_device.uninstall_s1_hwpt(true)?;
    device.detach_hwpt()?;

    let mut table = iommu_hwpt_alloc {
        size: size_of::<iommu_hwpt_alloc>() as u32,
        flags: iommufd_hwpt_alloc_flags_IOMMU_HWPT_ALLOC_PASID,
        dev_id: id,
        pt_id: ops.ioas().id(),
        ..Default::default()
    };
    iommufd.alloc_iommu_hwpt(&mut table)?;
    device.attach_hwpt(table.out_hwpt_id)?;
    device.attach_iommufd_pt_pasid(table.out_hwpt_id, 5)?;
    check("a PASID on an IOAS", device.attach_iommufd_pt_pasid(ops.ioas().id(), 6).is_err())?;
    device.detach_iommufd_pt_pasid(5)?;
    device.detach_hwpt()?;
    iommufd.destroy_iommu_object(table.out_hwpt_id)?;
    drop(virtual_device);
    Ok(())
}
