//! A VMM's way to a device, by the crates `iommufd-ioctls` and `vfio-ioctls`: `outside-client WAY BDF`.
//!
//! | way | does |
//! |---|---|
//! | `cdev` | binds a device to an iommufd, maps memory, raises an interrupt |
//! | `legacy` | the same by a group and a container |
//! | `nested` | a guest's tables on an SMMUv3: virtual IOMMU and device, events, invalidation, PASID |
//! | `logging` | which pages a device has written, by its own log |
//! | `logging-legacy` | the same by a group and a container |
//!
//! It ends with a failure at the first answer that is not the right one.

mod dmatest;
mod logging;
mod nested;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, process};

use ::iommufd_ioctls::IommuFd;
use vfio_bindings::bindings::vfio::*;
use vfio_ioctls::*;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const PAGE: usize = 4096;
const IOVA: u64 = 0x10_0000;

fn main() {
    let arguments: Vec<_> = env::args().collect();
    let [_, way, address] = &arguments[..] else {
        eprintln!("usage: outside-client cdev|legacy|nested|logging|logging-legacy BDF");
        process::exit(2);
    };
    let device = PathBuf::from("/sys/bus/pci/devices").join(address);
    let done = match way.as_str() {
        "cdev" => cdev(&device),
        "legacy" => legacy(&device),
        "nested" => nested::run(&device),
        "logging" => with_cdev(&device).and_then(|(device, ops)| logging::run(&device, &*ops)),
        "logging-legacy" => {
            with_container(&device).and_then(|(device, ops)| logging::run(&device, &*ops))
        }
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

/// A device by its character device, on an IOAS.
fn with_cdev(path: &Path) -> Result<(VfioDevice, Arc<VfioIommufd>)> {
    let iommufd = Arc::new(IommuFd::new()?);
    let ops = Arc::new(VfioIommufd::new(Arc::clone(&iommufd), None, None)?);
    let device = VfioDevice::new(path, Arc::clone(&ops) as _, true)?;
    Ok((device, ops))
}

/// A device by its group, in a container.
fn with_container(path: &Path) -> Result<(VfioDevice, Arc<VfioContainer>)> {
    let ops = Arc::new(VfioContainer::new(None)?);
    let device = VfioDevice::new(path, Arc::clone(&ops) as _, true)?;
    Ok((device, ops))
}

fn cdev(path: &Path) -> Result {
    let (device, ops) = with_cdev(path)?;
    check("a device's ID", device.iommufd_dev_id().is_some())?;
    use_device(&device, &*ops)
}

fn legacy(path: &Path) -> Result {
    let (device, ops) = with_container(path)?;
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
