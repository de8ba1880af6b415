//! Machines: the files under `profiles/machines`, and those of users.
//!
//! A machine is its IOMMUs, by their registers and by what firmware and kernel parameters make of them,
//! and the PCI devices behind them. It is the same under every kernel; what a kernel does with it is the
//! engine's business.
//!
//! Every value of a shipped file has its source, in a table `source` beside it.

mod read;

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use thiserror::Error;

use crate::names::{instead_of, named, shipped};
use crate::text::{BadFile, Result, Source, Value, is_path, read_file};
use read::read;

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The name, as `--machine` takes it.
    pub name: String,
    /// What it is, in one line.
    pub summary: String,
    /// Whether `IOMMU_TEST_CMD` and fault injection are there (`CONFIG_IOMMUFD_TEST`).
    pub test_command: bool,
    /// Whether devices that are with VFIO have nodes below `/dev/vfio/devices`, since 6.6
    /// (`CONFIG_VFIO_DEVICE_CDEV`).
    pub vfio_device_cdev: bool,
    /// What is behind `/dev/vfio/vfio`.
    pub vfio_container: Container,
    /// Whether devices whose messages reach more than their own interrupts can be bound all the same
    /// (`iommufd.allow_unsafe_interrupts`).
    pub unsafe_interrupts: bool,
    /// How its IOMMUs and devices cache.
    pub caches: Caching,
    /// Its IOMMUs.
    pub iommus: Vec<Iommu>,
    /// Its PCI devices, by rising address.
    pub devices: Vec<Device>,
    unsourced: Vec<String>,
}

/// An IOMMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iommu {
    /// Its name below `/sys/class/iommu`.
    pub name: String,
    /// Whether messages of devices reach only their own interrupts; else binding is `EPERM`.
    pub interrupt_remapping: bool,
    /// Registers, and what the system makes of them.
    pub hardware: Hardware,
}

/// A vendor's hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hardware {
    /// Intel VT-d.
    IntelVtd(IntelVtd),
    /// Arm SMMUv3.
    ArmSmmuv3(ArmSmmuv3),
    /// AMD-Vi.
    Amd(Amd),
    /// RISC-V IOMMU.
    Riscv(Riscv),
}

named! {
    /// How long the caches of IOMMUs and devices keep what nothing made them forget.
    Caching:
    /// As hardware: until room is needed.
    Hardware = "hardware",
    /// Always: each missing invalidation shows.
    NeverForget = "never-forget",
    /// Not at all: none shows.
    NeverKeep = "never-keep",
}

named! {
    /// What is behind `/dev/vfio/vfio`: a choice of who built the kernel. A group can be put under an
    /// iommufd either way.
    Container:
    /// A container of VFIO's own, with its type1 driver (`CONFIG_VFIO_CONTAINER`), as distributions have.
    Type1 = "type1",
    /// An iommufd (`CONFIG_IOMMUFD_VFIO_CONTAINER`).
    Iommufd = "iommufd",
}

impl Caching {
    /// The one of a name; else what to do about the name.
    pub fn by_name(name: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.iter().find(|it| it.name() == name).copied();
        found.ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|it| it.name()).collect();
            format!("known: {}", known.join(", "))
        })
    }
}

named! {
    /// Which vendor's driver serves an IOMMU.
    Vendor:
    /// `drivers/iommu/intel`
    IntelVtd = "intel-vtd",
    /// `drivers/iommu/arm/arm-smmu-v3`
    ArmSmmuv3 = "arm-smmuv3",
    /// `drivers/iommu/amd`
    Amd = "amd",
    /// `drivers/iommu/riscv`
    Riscv = "riscv",
}

impl Vendor {
    /// Reads a name.
    pub(crate) fn read(value: &Value<'_, '_>) -> Result<Self> {
        let known: Vec<_> = Self::ALL.iter().map(|vendor| (vendor.name(), *vendor)).collect();
        value.one_of("kind of IOMMU", &known)
    }
}

impl Hardware {
    /// The vendor.
    pub const fn vendor(&self) -> Vendor {
        match self {
            Self::IntelVtd(_) => Vendor::IntelVtd,
            Self::ArmSmmuv3(_) => Vendor::ArmSmmuv3,
            Self::Amd(_) => Vendor::Amd,
            Self::Riscv(_) => Vendor::Riscv,
        }
    }
}

/// Registers of a VT-d unit (VT-d 11.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntelVtd {
    /// Physical address of the registers.
    pub address: u64,
    /// Major and minor version.
    pub version: (u8, u8),
    /// Capability register.
    pub cap: u64,
    /// Extended capability register.
    pub ecap: u64,
    /// Whether the kernel uses scalable mode where there is one (`intel_iommu=sm_on`).
    pub scalable_mode: bool,
}

/// Registers of an SMMUv3 (SMMUv3 6.3), and what firmware says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArmSmmuv3 {
    /// Physical address of the registers.
    pub address: u64,
    /// `SMMU_IDR0` to `SMMU_IDR5`.
    pub idr: [u32; 6],
    /// Implementer.
    pub iidr: u32,
    /// Architecture.
    pub aidr: u32,
    /// Whether its walks are coherent (IORT `COHACC`, device tree `dma-coherent`).
    pub coherent: bool,
    /// Whether firmware promises that devices always write back (IORT `CANWBS`).
    pub canwbs: bool,
    /// Whether the root complex passes ATS.
    pub root_complex_ats: bool,
}

/// Registers of an AMD IOMMU (AMD IOMMU 3.4), and what the system makes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amd {
    /// The PCI function that it is.
    pub address: Bdf,
    /// Extended feature register.
    pub efr: u64,
    /// Extended feature 2 register.
    pub efr2: u64,
    /// Bits of virtual address (IVinfo, VASIZE).
    pub va_bits: u32,
    /// Whether the CPU uses five-level page tables.
    pub cpu_la57: bool,
    /// `CONFIG_AMD_IOMMU_IOMMUFD`
    pub iommufd: bool,
}

/// Registers of a RISC-V IOMMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Riscv {
    /// `capabilities`
    pub capabilities: u64,
}

/// A PCI device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where it is.
    pub address: Bdf,
    /// Index of its IOMMU in the machine, if it has one.
    pub iommu: Option<usize>,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID.
    pub revision: u8,
    /// Class, subclass and programming interface.
    pub class: u32,
    /// Vendor and device ID of the subsystem.
    pub subsystem: (u16, u16),
    /// What it is on PCI Express; none on older buses.
    pub express: Option<Express>,
    /// How many virtual functions it may have, as a physical one.
    pub total_vfs: u16,
    /// IOMMU group; devices of one group have one owner.
    pub group: u32,
    /// Whether it has the ATS capability.
    pub ats: bool,
    /// Whether it has the PRI capability.
    pub pri: bool,
    /// Its PASID capability.
    pub pasid: Option<PasidCapability>,
    /// Whether it is a virtual function; ATS is its own, PRI and PASID are those of its physical one.
    pub virtual_function: bool,
    /// The software device behind it, with its settings, as `softiommu run --device` takes it.
    pub model: String,
}

named! {
    /// What a function is on PCI Express (PCIe 7.5.3.2).
    Express:
    /// Below a port.
    Endpoint = "endpoint",
    /// In the root complex.
    Integrated = "integrated",
}

/// PASID capability (PCIe 7.8.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasidCapability {
    /// Bits, at most 20.
    pub width: u8,
    /// Execute permission is supported.
    pub execute: bool,
    /// Privileged mode is supported.
    pub privileged: bool,
}

impl Device {
    /// Whether it is in the kernel's list of PCI devices that can stall
    /// (`drivers/pci/quirks.c`, `quirk_huawei_pcie_sva`).
    pub fn is_listed_to_stall(&self) -> bool {
        may_stall(self.vendor, self.device, self.revision)
    }
}

/// Whether a PCI device is in the kernel's list of those that can stall
/// (`drivers/pci/quirks.c`, `quirk_huawei_pcie_sva`).
pub fn may_stall(vendor: u16, device: u16, revision: u8) -> bool {
    const HUAWEI: u16 = 0x19e5;
    const DEVICES: [u16; 6] = [0xa250, 0xa251, 0xa255, 0xa256, 0xa258, 0xa259];
    vendor == HUAWEI && DEVICES.contains(&device) && [0x21, 0x30].contains(&revision)
}

/// Segment, bus, device and function of a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bdf {
    /// Segment, or domain.
    pub segment: u16,
    /// Bus.
    pub bus: u8,
    /// Device, below 32.
    pub device: u8,
    /// Function, below 8.
    pub function: u8,
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, bus, device, function } = self;
        write!(f, "{segment:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

/// The text is no address of a PCI function.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{0}\" is no PCI address; write it as 0000:6a:01.0")]
pub struct BadBdf(String);

/// Takes what `Display` prints, and it without the segment 0.
impl FromStr for Bdf {
    type Err = BadBdf;

    fn from_str(text: &str) -> Result<Self, BadBdf> {
        let parse = || {
            let (rest, function) = text.split_once('.')?;
            let mut parts = rest.rsplit(':');
            let hex = |part: &str| {
                let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit());
                digits.then(|| u16::from_str_radix(part, 16).ok())?
            };
            let bdf = Self {
                device: u8::try_from(hex(parts.next()?)?).ok().filter(|device| *device < 32)?,
                bus: u8::try_from(hex(parts.next()?)?).ok()?,
                segment: parts.next().map_or(Some(0), hex)?,
                function: u8::try_from(hex(function)?).ok().filter(|function| *function < 8)?,
            };
            parts.next().is_none().then_some(bdf)
        };
        parse().ok_or_else(|| BadBdf(text.to_owned()))
    }
}

/// No machine has this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown machine \"{name}\"; {remedy}")]
pub struct UnknownMachine {
    name: String,
    remedy: String,
}

/// A machine cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoMachine {
    /// No shipped machine has this name.
    #[error(transparent)]
    Unknown(#[from] UnknownMachine),
    /// Its file is wrong.
    #[error(transparent)]
    Bad(#[from] BadFile),
}

shipped!("machines": "spr" "icx" "grace" "genoa" "riscv" "q35" "none" "selftest");

static MACHINES: LazyLock<Vec<Machine>> = LazyLock::new(|| {
    FILES.iter().map(|file| file.parse(read).expect("profiles/machines is tested")).collect()
});

impl Machine {
    /// Every machine that is shipped.
    pub fn all() -> &'static [Self] {
        &MACHINES
    }

    /// The shipped machine with this name.
    pub fn by_name(name: &str) -> Result<&'static Self, UnknownMachine> {
        MACHINES.iter().find(|machine| machine.name == name).ok_or_else(|| {
            let names = MACHINES.iter().map(|machine| machine.name.as_str());
            UnknownMachine { name: name.to_owned(), remedy: instead_of(name, names) }
        })
    }

    /// The shipped machine with this name, or, where it has a slash or ends with `.toml`, the one in the
    /// file of this name.
    pub fn load(name: &str) -> Result<Self, NoMachine> {
        if !is_path(name) {
            return Ok(Self::by_name(name)?.clone());
        }
        Ok(Self::parse(name, &read_file(name)?)?)
    }

    /// Reads a machine file; `name` is for errors.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        Source { name, text }.parse(read)
    }

    /// The values without a source; none in shipped files.
    pub fn unsourced(&self) -> &[String] {
        &self.unsourced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_files() {
        for (file, machine) in FILES.iter().zip(Machine::all()) {
            assert_eq!(file.parse(read).as_ref(), Ok(machine), "{}", file.name);
            assert!(file.name.ends_with(&format!("/{}.toml", machine.name)), "{}", file.name);
            assert!(machine.unsourced.is_empty(), "{}: {:?}", file.name, machine.unsourced);
        }
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../profiles/machines");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), FILES.len());
    }

    #[test]
    fn addresses() {
        #[rustfmt::skip] // one text, one line
        let cases: &[(&str, Option<&str>)] = &[
            ("0000:6a:01.0",  Some("0000:6a:01.0")),
            ("6a:1f.7",       Some("0000:6a:1f.7")),
            ("ffff:ff:00.0",  Some("ffff:ff:00.0")),
            ("0000:6a:20.0",  None),
            ("0000:6a:01.8",  None),
            ("0000:6a:01",    None),
            ("1:0000:6a:01.0", None),
            ("+000:6a:01.0",  None),
            ("",              None),
        ];
        for (text, expected) in cases {
            let read = text.parse::<Bdf>().ok().map(|bdf| bdf.to_string());
            assert_eq!(read.as_deref(), *expected, "{text}");
        }
    }
}
