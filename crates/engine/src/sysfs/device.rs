//! The folder of a PCI function (`drivers/pci/pci-sysfs.c`, `pci-driver.c`, `iov.c`).
//!
//! | file | holds |
//! |---|---|
//! | `vendor`, `device`, `subsystem_vendor`, `subsystem_device`, `class`, `revision` | what it is |
//! | `config` | configuration space, as it is when nobody has the function |
//! | `resource`, `resourceN` | where its BARs are; the second is as large as the BAR, and cannot be opened |
//! | `modalias`, `uevent` | the same for programs that load drivers |
//! | `enable`, `irq`, `driver_override` | that no driver of the kernel uses it |
//! | `numa_node`, `local_cpus`, `local_cpulist` | that it is near to every processor |
//! | `sriov_*`, `virtfnN`, `physfn` | its virtual functions, or its physical one |
//! | `driver`, `subsystem` | links |

use std::fmt::Write;

use profile::machine::{Bdf, Device};

use super::cpus::Cpus;
use super::{Entry, Tree, folder_of, link, text};
use crate::Bar;
use crate::function::Function;
use crate::sriov::{OFFSET, STRIDE, virtual_address};

/// Lines of `resource`: BARs, expansion ROM, BARs of virtual functions (`PCI_BRIDGE_RESOURCES` with
/// `CONFIG_PCI_IOV`).
const RESOURCES: u32 = 13;

const MEMORY: u64 = 0x200;
const PREFETCHABLE: u64 = 0x2000;
const SIZE_ALIGNED: u64 = 0x4_0000;
const WIDE: u64 = 0x10_0000;

/// Adds the folder of a device; `function` is there when it is with VFIO.
pub(super) fn add(tree: &mut Tree, device: &Device, function: Option<&Function>, cpus: &Cpus) {
    let folder = folder_of(device.address);
    link(tree, format!("bus/pci/devices/{}", device.address), &folder);
    link(tree, format!("{folder}/subsystem"), "bus/pci");
    let (subsystem_vendor, subsystem_device) = device.subsystem;
    let mut file = |name: &str, value: std::fmt::Arguments<'_>| {
        text(tree, format!("{folder}/{name}"), value);
    };
    file("vendor", format_args!("{:#06x}", device.vendor));
    file("device", format_args!("{:#06x}", device.device));
    file("subsystem_vendor", format_args!("{subsystem_vendor:#06x}"));
    file("subsystem_device", format_args!("{subsystem_device:#06x}"));
    file("revision", format_args!("{:#04x}", device.revision));
    file("class", format_args!("{:#08x}", device.class));
    file("irq", format_args!("0"));
    file("enable", format_args!("0"));
    file("driver_override", format_args!("(null)"));
    file("numa_node", format_args!("-1"));
    file("local_cpus", format_args!("{}", cpus.mask));
    file("local_cpulist", format_args!("{}", cpus.list));
    let alias = modalias(device);
    file("modalias", format_args!("{alias}"));
    let driver = if function.is_some() { "DRIVER=vfio-pci\n" } else { "" };
    let uevent = format_args!(
        "{driver}PCI_CLASS={:04X}\nPCI_ID={:04X}:{:04X}\nPCI_SUBSYS_ID={subsystem_vendor:04X}:{subsystem_device:04X}\n\
         PCI_SLOT_NAME={}\nMODALIAS={alias}",
        device.class, device.vendor, device.device, device.address,
    );
    file("uevent", uevent);
    let Some(function) = function else { return };
    tree.insert(format!("{folder}/config"), Entry::Bytes(function.hardware_config()));
    link(tree, format!("{folder}/driver"), "bus/pci/drivers/vfio-pci");
    link(tree, format!("bus/pci/drivers/vfio-pci/{}", device.address), &folder);
    let mut resources = String::new();
    for number in 0..RESOURCES {
        let (start, last, flags) = function.placed(number).map_or((0, 0, 0), |(start, bar)| {
            tree.insert(format!("{folder}/resource{number}"), Entry::Closed(bar.size));
            (start, start + (bar.size - 1), flags_of(&bar))
        });
        // writing to a string cannot fail
        let _ = writeln!(resources, "{start:#018x} {last:#018x} {flags:#018x}");
    }
    tree.insert(format!("{folder}/resource"), Entry::Text(resources));
}

/// `modalias_show`
fn modalias(device: &Device) -> String {
    let Device { vendor, device: id, class, subsystem: (subvendor, subdevice), .. } = device;
    let (base, sub, interface) = (class >> 16 & 0xff, class >> 8 & 0xff, class & 0xff);
    format!(
        "pci:v{vendor:08X}d{id:08X}sv{subvendor:08X}sd{subdevice:08X}bc{base:02X}sc{sub:02X}i{interface:02X}"
    )
}

/// What the kernel makes of the low bits of a BAR (`decode_bar`, `__pci_read_base`).
fn flags_of(bar: &Bar) -> u64 {
    let mut flags = MEMORY | SIZE_ALIGNED;
    if bar.wide {
        flags |= WIDE | 0x4;
    }
    if bar.prefetchable {
        flags |= PREFETCHABLE | 0x8;
    }
    flags
}

/// Adds what a physical function tells of its virtual ones, of which `count` are there.
pub(super) fn add_physical(tree: &mut Tree, device: &Device, count: u16) {
    let folder = folder_of(device.address);
    let mut file = |name: &str, value: std::fmt::Arguments<'_>| {
        text(tree, format!("{folder}/{name}"), value);
    };
    file("sriov_totalvfs", format_args!("{}", device.total_vfs));
    file("sriov_numvfs", format_args!("{count}"));
    file("sriov_offset", format_args!("{OFFSET}"));
    file("sriov_stride", format_args!("{STRIDE}"));
    file("sriov_vf_device", format_args!("{:x}", device.device));
    file("sriov_drivers_autoprobe", format_args!("1"));
    file("sriov_vf_total_msix", format_args!("0"));
    for number in 0..count {
        let Some(address) = virtual_address(device.address, number) else { break };
        add_virtual(tree, device.address, number, address);
    }
}

fn add_virtual(tree: &mut Tree, physical: Bdf, number: u16, address: Bdf) {
    let (physical, own) = (folder_of(physical), folder_of(address));
    link(tree, format!("{physical}/virtfn{number}"), &own);
    link(tree, format!("{own}/physfn"), &physical);
}
