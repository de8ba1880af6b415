//! The IOMMU and its user API, as a library.
//!
//! An [`Engine`] is a machine. Opening a [`Node`] of it gives a [`File`], whose `ioctl`, `read`,
//! `write` and `mmap` answer as Linux does. Who calls is a [`Caller`]: a process behind a socket, the
//! program itself, or a test.
//!
//! | module | holds |
//! |---|---|
//! | [`call`] | the one path of every command |
//! | [`commands`] | what each command does, a file a family, and their table |
//! | [`objects`], [`state`] | the object table; how objects end |
//! | [`ioas`], [`pages`] | I/O address spaces; the memory behind mappings |
//! | [`hwpt`], [`device`], [`viommu`], [`events`], [`access`] | the other objects |
//! | [`hw`] | models of hardware |
//! | [`dma`] | the door from a device to memory, and its caches |
//! | [`tables`], [`physical`] | the tables of domains; what their addresses mean |
//! | [`bitmap`] | which pages were written, as programs are told |
//! | [`vfio`] | VFIO devices: what binds hardware to a context |
//! | [`function`], [`model`] | what programs do with them; the devices behind them |
//! | [`interrupts`] | from a device to who waits for it |
//! | [`sysfs`] | the machine as files below `/sys` |
//! | [`y2020`] | the calls of the API of 2020, carried out by all this |
//! | [`refusal`] | every reason to refuse a call, and its errno |
//!
//! Linux is the specification. Where an order of checks looks odd, it is Linux's, and the comment
//! names the function.

#![forbid(unsafe_code)]

mod access;
mod bitmap;
mod call;
mod caller;
mod commands;
mod context;
mod device;
mod dma;
mod events;
mod file;
mod function;
mod hw;
mod hwpt;
mod interrupts;
mod ioas;
mod model;
mod objects;
mod pages;
mod physical;
mod refusal;
mod sriov;
mod state;
mod sysfs;
mod tables;
mod task;
mod vfio;
mod viommu;
mod y2020;

use std::collections::BTreeMap;
use std::sync::Arc;

use mem::PinBoard;
use parking_lot::Mutex;
use profile::machine::{self, Iommu, Vendor};
use profile::{Kernel, Machine, Quirk};

pub use caller::{Caller, Signal};
pub use commands::{STATUS, Status, VFIO_STATUS, Y2020_STATUS};
pub use dma::{Answer, Awaited, Burst, Dma, DmaFault, PageRequest};
pub use file::{File, Mapping, Node};
pub use function::DmaLog;
pub use interrupts::{Interrupts, Told, Trigger, Watched};
pub use model::{Bar, Model, Msix, Vectors};
pub use objects::ObjectId;
pub use pt::Rights;
pub use refusal::Refusal;
pub use sysfs::{Cpus, Entry, Tree};

use context::Context;
use dma::Requester;
use function::{Function, Platform};
use hw::Hardware;
use hw::selftest::Selftest;
use pages::AccountMode;
use physical::Physical;
use sriov::Sriov;
use task::Task;
use vfio::container::Container;
use vfio::group::{Group, GroupFile};
use vfio::mmio::Bars;
use vfio::{Owners, VfioFile};
use y2020::pasids::Pasids;

/// One machine with its IOMMUs and its kernel, shared by all programs that run on it.
#[derive(Debug)]
pub struct Engine {
    pub(crate) machine: Machine,
    pub(crate) kernel: &'static Kernel,
    /// The hardware of the devices that the test command makes.
    pub(crate) mock: Arc<dyn Hardware>,
    /// The models of the machine's IOMMUs; none where the kernel does not drive it.
    pub(crate) models: Vec<Option<Arc<dyn Hardware>>>,
    /// The PCI functions that are with VFIO, by their number there.
    pub(crate) functions: Vec<Function>,
    /// The IOMMU groups of those, by their numbers.
    pub(crate) groups: BTreeMap<u32, Group>,
    pub(crate) bars: Bars,
    pub(crate) sriov: Sriov,
    pub(crate) owners: Mutex<Owners>,
    /// The PASIDs of the host, for the API of 2020. Locked after a context.
    pub(crate) pasids: Mutex<Pasids>,
    pub(crate) pins: Arc<PinBoard>,
    pub(crate) physical: Arc<Physical>,
}

impl Engine {
    /// A machine with a kernel, in which nothing is open.
    pub fn new(machine: &Machine, kernel: &'static Kernel) -> Arc<Self> {
        let mut machine = machine.clone();
        let sriov = Sriov::of(&mut machine);
        let models = hw::models(&machine, kernel);
        let physical = Arc::default();
        let mut functions = Vec::new();
        for device in &machine.devices {
            let Some((index, Some(hw))) = device.iommu.map(|index| (index, &models[index])) else {
                continue;
            };
            // vfio-pci takes no device whose DMA is not coherent (__vfio_register_dev)
            if hw.is_coherent() {
                let requester = Requester::new(Arc::clone(hw), &physical, machine.caches);
                let platform = platform_of(&machine, &machine.iommus[index], kernel);
                let facts = Arc::new(device.clone());
                let number = functions.len();
                functions.push(Function::new(number, facts, Arc::clone(hw), platform, requester));
            }
        }
        Arc::new(Self {
            kernel,
            mock: Arc::new(Selftest { kernel }),
            groups: Self::groups_of(&functions),
            functions,
            bars: Bars::default(),
            models,
            sriov,
            owners: Mutex::default(),
            pasids: Mutex::default(),
            pins: Arc::default(),
            physical,
            machine,
        })
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The kernel.
    pub fn kernel(&self) -> &'static Kernel {
        self.kernel
    }

    /// The PCI function that VFIO knows by a number; none when there is no such.
    pub fn function(&self, number: usize) -> Option<&machine::Device> {
        self.functions.get(number).map(|function| &*function.facts)
    }

    /// The way to memory of the PCI function that VFIO knows by a number; none when there is no such.
    pub fn dma(&self, number: usize) -> Option<Dma> {
        self.functions.get(number).map(|function| Dma::new(&function.requester))
    }

    /// The interrupts of the PCI function that VFIO knows by a number; none when there is no such.
    pub fn interrupts(&self, number: usize) -> Option<Interrupts> {
        self.functions.get(number).map(|function| function.interrupts.clone())
    }

    /// Puts a device behind the PCI function that VFIO knows by a number; false when there is no such
    /// function, or one behind it already.
    pub fn plug(&self, number: usize, model: Arc<dyn Model>) -> bool {
        let Some(function) = self.functions.get(number) else { return false };
        self.bars.add(&*model);
        function.plug(model)
    }

    /// `open(2)` of a device node.
    pub fn open(self: &Arc<Self>, caller: &mut dyn Caller, node: Node) -> Result<File, Refusal> {
        if caller.inject_failure() {
            return Err(Refusal::NoMemory);
        }
        let has_iommufd = self.kernel.has(Quirk::Iommufd);
        // type1 accounts pages to the address space, and so does its stand-in
        let account = match (node, self.machine.vfio_container) {
            (Node::Iommu, _) if !has_iommufd => {
                // `IOMMU_MINOR`
                return Err(Refusal::NotFound { what: "misc device", value: 122 });
            }
            (Node::Iommu, _) => AccountMode::User,
            (Node::VfioContainer, machine::Container::Iommufd) if has_iommufd => AccountMode::Mm,
            (Node::VfioContainer, _) => {
                let container = Arc::new(Container::new(Arc::clone(self)));
                return Ok(File::new(file::Kind::Container(container)));
            }
            (Node::VfioGroup(number), _) if !self.present_groups().contains(&number) => {
                return Err(Refusal::NotFound { what: "VFIO group", value: number.into() });
            }
            (Node::VfioGroup(number), _) => {
                let group = Arc::new(GroupFile::open(self, number)?);
                return Ok(File::new(file::Kind::Group(group)));
            }
            (Node::VfioDevice(number), _) => return self.open_device(number),
        };
        let context = Context::new(Arc::clone(self), account);
        Ok(File::new(file::Kind::Iommu(Arc::new(context))))
    }

    /// A call of `caller`, as the inner parts see it.
    pub(crate) fn task<'a>(&'a self, caller: &'a mut dyn Caller) -> Task<'a> {
        let Self { pins, physical, bars, kernel, .. } = self;
        Task { caller, pins, physical, bars, kernel }
    }

    /// Whether functions that are with VFIO have nodes below `/dev/vfio/devices`.
    pub(crate) fn has_device_nodes(&self) -> bool {
        self.kernel.has(Quirk::VfioCdev) && self.machine.vfio_device_cdev
    }

    fn open_device(self: &Arc<Self>, number: u32) -> Result<File, Refusal> {
        let index = number as usize;
        let there = |function: &Function| self.is_present(function.facts.address);
        if !self.functions.get(index).is_some_and(there) || !self.has_device_nodes() {
            return Err(Refusal::NotFound { what: "VFIO device", value: number.into() });
        }
        Ok(File::new(file::Kind::Vfio(VfioFile::new(Arc::clone(self), index))))
    }
}

/// What becomes of the interrupts of devices behind an IOMMU.
fn platform_of(machine: &Machine, iommu: &Iommu, kernel: &Kernel) -> Platform {
    let remapped = iommu.interrupt_remapping;
    // arch/x86/kernel/apic/msi.c; controllers of Arm and RISC-V have no MSI_FLAG_PCI_MSIX_ALLOC_DYN
    let x86 = matches!(iommu.hardware.vendor(), Vendor::IntelVtd | Vendor::Amd);
    Platform {
        isolated: remapped || machine.unsafe_interrupts,
        dynamic_msix: x86 && kernel.has(Quirk::VfioDynamicMsix),
        multiple_msi: remapped || !x86,
    }
}
