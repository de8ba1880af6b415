//! Where calls go: this host, or a machine in this process.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use engine::{Engine, Node};
use profile::machine::{Bdf, Vendor};
use profile::{Kernel, Machine};

use crate::file::OpenFile;
use crate::soft::Soft;
use crate::sys;

/// A system whose IOMMUs can be asked.
#[derive(Clone, Debug)]
pub struct System(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Host,
    Software(Arc<Soft>),
}

/// A PCI device behind an IOMMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Where it is.
    pub address: Bdf,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID.
    pub revision: u8,
    /// Its IOMMU.
    pub iommu: Unit,
    /// The number of its VFIO device node; none when it is not with VFIO.
    pub vfio: Option<u32>,
}

/// An IOMMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name below `/sys/class/iommu`.
    pub name: String,
    /// Which driver serves it; none when it is none of those known here.
    pub vendor: Option<Vendor>,
    /// Registers that its files tell, by name.
    pub registers: Vec<(&'static str, u64)>,
}

impl System {
    /// This host: its kernel, or the supervisor's under `softiommu run`.
    pub fn host() -> Self {
        Self(Kind::Host)
    }

    /// A machine with a kernel, in this process, with nothing behind its VFIO devices. It fails only where
    /// this process may not look at itself (`/proc`).
    pub fn software(machine: &Machine, kernel: &'static Kernel) -> io::Result<Self> {
        Ok(Self(Kind::Software(Soft::new(machine, kernel)?)))
    }

    /// The machine of an engine in this process, with the devices that are plugged into it. It fails only
    /// where this process may not look at itself (`/proc`).
    pub fn of(engine: Arc<Engine>) -> io::Result<Self> {
        Ok(Self(Kind::Software(Soft::of(engine)?)))
    }

    /// What it is called: the host's name, or the machine's.
    pub fn name(&self) -> String {
        match &self.0 {
            Kind::Host => sys::uname().0,
            Kind::Software(soft) => soft.machine().name.clone(),
        }
    }

    /// What `uname -r` says.
    pub fn release(&self) -> Option<String> {
        Some(match &self.0 {
            Kind::Host => sys::uname().1,
            Kind::Software(soft) => soft.kernel().release(),
        })
    }

    /// Opens `/dev/iommu`. Errors are those of `open(2)`.
    pub(crate) fn open_iommu(&self) -> io::Result<OpenFile> {
        match &self.0 {
            Kind::Host => open("/dev/iommu"),
            Kind::Software(soft) => soft.open(Node::Iommu).map(Into::into),
        }
    }

    /// Opens `/dev/vfio/devices/vfioN`. Errors are those of `open(2)`.
    pub(crate) fn open_vfio(&self, number: u32) -> io::Result<OpenFile> {
        match &self.0 {
            Kind::Host => open(&format!("/dev/vfio/devices/vfio{number}")),
            Kind::Software(soft) => soft.open(Node::VfioDevice(number)).map(Into::into),
        }
    }

    /// Opens `/dev/vfio/vfio`. Errors are those of `open(2)`.
    pub(crate) fn open_container(&self) -> io::Result<OpenFile> {
        match &self.0 {
            Kind::Host => open("/dev/vfio/vfio"),
            Kind::Software(soft) => soft.open(Node::VfioContainer).map(Into::into),
        }
    }

    /// Opens `/dev/vfio/N`. Errors are those of `open(2)`.
    pub(crate) fn open_group(&self, number: u32) -> io::Result<OpenFile> {
        match &self.0 {
            Kind::Host => open(&format!("/dev/vfio/{number}")),
            Kind::Software(soft) => soft.open(Node::VfioGroup(number)).map(Into::into),
        }
    }

    /// The number of a device's IOMMU group.
    pub(crate) fn group(&self, address: Bdf) -> Option<u32> {
        let link = self.link(&format!("bus/pci/devices/{address}/iommu_group")).ok()?;
        last_name(&link).parse().ok()
    }

    /// The IOMMUs that the kernel drives, by name.
    pub fn units(&self) -> Vec<Unit> {
        let names = self.list("class/iommu").unwrap_or_default();
        names.into_iter().map(|name| self.unit(name)).collect()
    }

    /// The PCI devices behind IOMMUs, by rising address.
    pub fn functions(&self) -> Vec<Function> {
        let names = self.list("bus/pci/devices").unwrap_or_default();
        let mut functions: Vec<_> =
            names.iter().filter_map(|name| self.function(name.parse().ok()?)).collect();
        functions.sort_by_key(|function| function.address);
        functions
    }

    /// Whether there is a PCI function, behind an IOMMU or not.
    pub fn has_function(&self, address: Bdf) -> bool {
        self.list(&format!("bus/pci/devices/{address}")).is_ok()
    }

    fn function(&self, address: Bdf) -> Option<Function> {
        let folder = format!("bus/pci/devices/{address}");
        let number = |file: &str| self.hex(&format!("{folder}/{file}"));
        let iommu = self.link(&format!("{folder}/iommu")).ok()?;
        let nodes = self.list(&format!("{folder}/vfio-dev")).unwrap_or_default();
        Some(Function {
            address,
            vendor: number("vendor")? as u16,
            device: number("device")? as u16,
            revision: number("revision").unwrap_or(0) as u8,
            iommu: self.unit(last_name(&iommu)),
            vfio: nodes.iter().find_map(|name| name.strip_prefix("vfio")?.parse().ok()),
        })
    }

    fn unit(&self, name: String) -> Unit {
        let folder = format!("class/iommu/{name}");
        let number = |file: &str| self.hex(&format!("{folder}/{file}"));
        let mut registers = Vec::new();
        let vendor = if let Some(ecap) = number("intel-iommu/ecap") {
            registers.extend(number("intel-iommu/cap").map(|cap| ("CAP", cap)));
            registers.push(("ECAP", ecap));
            Some(Vendor::IntelVtd)
        } else if let Ok(features) = self.read(&format!("{folder}/amd-iommu/features")) {
            let words = ["EFR", "EFR2"].into_iter().zip(features.trim().split(':'));
            let parsed =
                words.filter_map(|(n, word)| Some((n, u64::from_str_radix(word, 16).ok()?)));
            registers.extend(parsed);
            Some(Vendor::Amd)
        } else if name.starts_with("smmu3.") {
            Some(Vendor::ArmSmmuv3)
        } else {
            name.starts_with("riscv-iommu@").then_some(Vendor::Riscv)
        };
        Unit { name, vendor, registers }
    }

    /// Whether firmware keeps memory mapped for a device, so that it cannot be bound.
    pub fn has_direct_regions(&self, address: Bdf) -> bool {
        let file = format!("bus/pci/devices/{address}/iommu_group/reserved_regions");
        self.read(&file).is_ok_and(|text| text.lines().any(|line| line.ends_with(" direct")))
    }

    /// The other devices in the IOMMU group of a device, and the names of their drivers.
    pub fn siblings(&self, address: Bdf) -> Vec<(Bdf, Option<String>)> {
        let folder = format!("bus/pci/devices/{address}/iommu_group/devices");
        let names = self.list(&folder).unwrap_or_default();
        let others = names.iter().filter_map(|name| name.parse().ok()).filter(|it| *it != address);
        let driver = |it: Bdf| self.link(&format!("bus/pci/devices/{it}/driver")).ok();
        others.map(|it| (it, driver(it).map(|path| last_name(&path)))).collect()
    }

    /// Whether the kernel has a device node for a function that is with VFIO, wherever it may be: it has
    /// none without `CONFIG_VFIO_DEVICE_CDEV`.
    pub fn has_node(&self, address: Bdf, number: u32) -> bool {
        self.read(&format!("bus/pci/devices/{address}/vfio-dev/vfio{number}/dev")).is_ok()
    }

    /// A number in a file below `/sys`, in hexadecimal with or without `0x`.
    fn hex(&self, path: &str) -> Option<u64> {
        let text = self.read(path).ok()?;
        let text = text.trim();
        u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
    }

    fn read(&self, path: &str) -> io::Result<String> {
        match &self.0 {
            Kind::Host => fs::read_to_string(below_sys(path)),
            Kind::Software(soft) => soft.read(path),
        }
    }

    fn link(&self, path: &str) -> io::Result<String> {
        match &self.0 {
            Kind::Host => Ok(fs::read_link(below_sys(path))?.to_string_lossy().into_owned()),
            Kind::Software(soft) => soft.link(path),
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        match &self.0 {
            Kind::Host => {
                let entries = fs::read_dir(below_sys(path))?;
                let name =
                    |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
                let mut names: Vec<_> = entries.filter_map(name).collect();
                names.sort_unstable();
                Ok(names)
            }
            Kind::Software(soft) => soft.list(path),
        }
    }
}

fn below_sys(path: &str) -> impl AsRef<Path> {
    format!("/sys/{path}")
}

fn last_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

fn open(path: &str) -> io::Result<OpenFile> {
    Ok(OpenOptions::new().read(true).write(true).open(path)?.into())
}
