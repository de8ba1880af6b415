//! What a program sees of the machine below `/sys`.
//!
//! | path | holds |
//! |---|---|
//! | `bus/pci/devices/BDF` | the device ([`device`]), its IOMMU, its group |
//! | `bus/pci/devices/BDF/vfio-dev/vfioN` | that it is with VFIO, and the number of its node, if it has one |
//! | `class/vfio/N` | a group whose devices are with VFIO, and the number of its node |
//! | `class/iommu/NAME` | an IOMMU: registers (`drivers/iommu/iommu-sysfs.c` and the vendors' files) |
//! | `kernel/iommu_groups/N` | the group: devices, type, reserved regions |
//! | `module/NAME` | modules of VFIO and their parameters ([`modules`]) |
//!
//! *What it doesn't do*: take writes, but for the number of virtual functions ([`crate::sriov`]); hold
//! memory of a device, which programs get from VFIO alone.

mod cpus;
mod device;
mod modules;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use profile::Quirk;
use profile::machine::{Bdf, Hardware as Registers, Iommu};
use profile::registers::vtd::SAGAW;
use uapi::vfio::{VFIO_GROUP_MAJOR, VFIO_MAJOR};

pub use cpus::Cpus;

use crate::Engine;
use crate::function::Function;
use crate::hw::{DeviceState, PciState, vtd};

/// A file of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A folder, where it is not implied by what is in it.
    Folder,
    /// A file with this text.
    Text(String),
    /// A file with these bytes.
    Bytes(Vec<u8>),
    /// A file of this size that nobody opens.
    Closed(u64),
    /// A symbolic link, relative to its own folder.
    Link(String),
}

/// Files by path, without `/sys` and without a slash in front.
pub type Tree = BTreeMap<String, Entry>;

impl Engine {
    /// The names of the machine's device nodes, without `/dev` and without a slash in front.
    pub fn device_nodes(&self) -> Vec<String> {
        let numbers = self.present().map(|(number, _)| number).filter(|_| self.has_device_nodes());
        let vfio = numbers.map(|number| format!("vfio/devices/vfio{number}"));
        let groups = self.present_groups().into_iter().map(|number| format!("vfio/{number}"));
        let iommu = self.kernel.has(Quirk::Iommufd).then(|| "iommu".to_owned());
        iommu.into_iter().chain(["vfio/vfio".to_owned()]).chain(groups).chain(vfio).collect()
    }

    /// The functions that are with VFIO and can be seen, with their numbers.
    fn present(&self) -> impl Iterator<Item = (usize, &Function)> {
        let all = self.functions.iter().enumerate();
        all.filter(|(_, function)| self.is_present(function.facts.address))
    }

    /// The groups of those.
    pub(crate) fn present_groups(&self) -> BTreeSet<u32> {
        self.present().map(|(_, function)| function.facts.group).collect()
    }

    /// The machine's part of `/sys`, with the processors that are near to its devices.
    pub fn sysfs(&self, cpus: &Cpus) -> Tree {
        let mut tree = Tree::new();
        // since 6.1
        let has_class = self.kernel.has(Quirk::Iommufd);
        let vfio_dev = has_class.then_some("class/vfio-dev");
        let always = ["bus/pci/devices", "class/iommu", "class/vfio", "kernel/iommu_groups"];
        for folder in always.into_iter().chain(vfio_dev) {
            tree.insert(folder.to_owned(), Entry::Folder);
        }
        for (index, iommu) in self.machine.iommus.iter().enumerate() {
            if self.models[index].is_some() {
                self.add_iommu(&mut tree, index, iommu);
            }
        }
        modules::add(&mut tree, &self.machine, self.kernel);
        for device in &self.machine.devices {
            let address = device.address;
            if !self.is_present(address) {
                continue;
            }
            let mut functions = self.functions.iter();
            let function = functions.find(|function| function.facts.address == address);
            device::add(&mut tree, device, function, cpus);
            if let Some(count) = self.virtual_functions(address) {
                device::add_physical(&mut tree, device, count);
            }
        }
        for (number, function) in self.present().filter(|_| has_class) {
            let device = folder_of(function.facts.address);
            let vfio = format!("{device}/vfio-dev/vfio{number}");
            let mut uevent = String::new();
            if self.has_device_nodes() {
                text(&mut tree, format!("{vfio}/dev"), format_args!("{VFIO_MAJOR}:{number}"));
                let node = format!("DEVNAME=vfio/devices/vfio{number}");
                uevent = format!("MAJOR={VFIO_MAJOR}\nMINOR={number}\n{node}\n");
            }
            tree.insert(format!("{vfio}/uevent"), Entry::Text(uevent));
            link(&mut tree, format!("{vfio}/device"), &device);
            link(&mut tree, format!("class/vfio-dev/vfio{number}"), &vfio);
        }
        for group in self.present_groups() {
            let folder = format!("devices/virtual/vfio/{group}");
            // Linux gives minor numbers out in turn; the group's own is as good, and known from its name
            text(&mut tree, format!("{folder}/dev"), format_args!("{VFIO_GROUP_MAJOR}:{group}"));
            let numbers = format!("MAJOR={VFIO_GROUP_MAJOR}\nMINOR={group}\n");
            let uevent = Entry::Text(format!("{numbers}DEVNAME=vfio/{group}\n"));
            tree.insert(format!("{folder}/uevent"), uevent);
            link(&mut tree, format!("class/vfio/{group}"), &folder);
        }
        self.add_groups(&mut tree);
        tree
    }

    fn add_iommu(&self, tree: &mut Tree, index: usize, iommu: &Iommu) {
        let folder = folder_of_iommu(iommu);
        link(tree, format!("class/iommu/{}", iommu.name), &folder);
        tree.insert(format!("{folder}/devices"), Entry::Folder);
        let mut file = |name: &str, value: std::fmt::Arguments<'_>| {
            text(tree, format!("{folder}/{name}"), value);
        };
        match &iommu.hardware {
            Registers::IntelVtd(unit) => {
                let (major, minor) = unit.version;
                file("intel-iommu/version", format_args!("{major}:{minor}"));
                file("intel-iommu/address", format_args!("{:x}", unit.address));
                file("intel-iommu/cap", format_args!("{:x}", unit.cap));
                file("intel-iommu/ecap", format_args!("{:x}", unit.ecap));
                let domains = vtd::domain_ids(unit.cap);
                file("intel-iommu/domains_supported", format_args!("{domains}"));
                let used = if SAGAW.is_set(unit.cap) { 1 } else { 0 };
                file("intel-iommu/domains_used", format_args!("{used}"));
            }
            Registers::Amd(unit) => {
                file("amd-iommu/features", format_args!("{:x}:{:x}", unit.efr, unit.efr2));
            }
            Registers::ArmSmmuv3(_) | Registers::Riscv(_) => {}
        }
        let behind = self.machine.devices.iter().filter(|it| it.iommu == Some(index));
        for device in behind.filter(|it| self.is_present(it.address)) {
            let path = folder_of(device.address);
            link(tree, format!("{folder}/devices/{}", device.address), &path);
            link(tree, format!("{path}/iommu"), &folder);
        }
    }

    fn add_groups(&self, tree: &mut Tree) {
        for device in self.machine.devices.iter().filter(|it| self.is_present(it.address)) {
            let model = device.iommu.and_then(|index| self.models[index].as_ref());
            let Some(model) = model else { continue };
            let group = format!("kernel/iommu_groups/{}", device.group);
            let folder = folder_of(device.address);
            link(tree, format!("{folder}/iommu_group"), &group);
            link(tree, format!("{group}/devices/{}", device.address), &folder);
            text(tree, format!("{group}/type"), format_args!("DMA"));
            let state = DeviceState::Pci(PciState::new(device.clone().into()));
            let mut regions = String::new();
            for (number, range) in model.reserved(&state).iter().enumerate() {
                let kind = if number == 0 { "msi" } else { "reserved" };
                let (first, last) = (range.start(), range.end());
                // writing to a string cannot fail
                let _ = writeln!(regions, "{first:#018x} {last:#018x} {kind}");
            }
            tree.insert(format!("{group}/reserved_regions"), Entry::Text(regions));
        }
    }
}

fn folder_of(address: Bdf) -> String {
    let Bdf { segment, bus, .. } = address;
    format!("devices/pci{segment:04x}:{bus:02x}/{address}")
}

fn folder_of_iommu(iommu: &Iommu) -> String {
    let name = &iommu.name;
    match &iommu.hardware {
        Registers::IntelVtd(_) | Registers::Riscv(_) => format!("devices/virtual/iommu/{name}"),
        Registers::Amd(unit) => format!("{}/iommu/{name}", folder_of(unit.address)),
        Registers::ArmSmmuv3(_) => format!("devices/platform/arm-smmu-v3.0.auto/iommu/{name}"),
    }
}

/// A file of one line.
fn text(tree: &mut Tree, path: String, value: std::fmt::Arguments<'_>) {
    tree.insert(path, Entry::Text(format!("{value}\n")));
}

/// A link from one path to another, both without `/sys`.
fn link(tree: &mut Tree, from: String, to: &str) {
    let up = "../".repeat(from.matches('/').count());
    tree.insert(from, Entry::Link(format!("{up}{to}")));
}
