//! `dsa`: Intel's Data Streaming Accelerator, version 1. It moves, fills, compares and checks memory by
//! descriptors that programs store into portals.
//!
//! | module | holds |
//! |---|---|
//! | [`spec`] | registers, descriptors, completion records, with their sources |
//! | [`device`] | the registers, commands, errors |
//! | [`queue`] | work queues: what they may, what they take |
//! | [`descriptor`] | what is wrong with a descriptor, and completion records |
//! | [`operation`] | what descriptors do |
//! | [`crc`] | the CRC |
//! | [`worker`] | making descriptors, batches, telling of their ends |
//!
//! A dedicated queue takes every store of 64 bytes to a portal of it (`MOVDIR64B`), a shared one every
//! command (`ENQCMD`) for which there is room. What a queue does not take is lost, or refused to who sent a
//! command. One engine makes everything, queue by queue in turn and in the order of each, so fences and
//! drains find everything done that they wait for.
//!
//! A page that is missing ends an operation, and the record tells where and after how many bytes; or, when
//! descriptor and queue say so (block on fault), it is asked for by a page request and waited for. Bytes count
//! by pieces of 32 KiB: some more may have been written, which whoever goes on from there writes again.
//!
//! Software copies less in a second than the hardware, so [`Settings::transfer_order`] is 18 at first, not
//! 31: Linux's selftest has 32768 transfers made of the longest size there is.
//!
//! It has MSI beside MSI-X, which the hardware has not, so that programs can try both.
//!
//! *What it doesn't do*: deltas and DIF, interrupts outside of MSI-X (IMS), the event log, read buffers,
//! performance counters, priorities, occupancy interrupts; a descriptor that a queue does not take leaves no
//! error in `SWERR`, for want of a source of its number.

mod crc;
mod descriptor;
mod device;
mod operation;
mod queue;
pub mod spec;
mod worker;

use std::io;
use std::sync::Arc;

use engine::{Bar, Dma, Interrupts, Model, Msix, Vectors};
use mem::SharedFile;
use parking_lot::Mutex;

use crate::catalogue::{Entry, LATENCY, Setting};
use crate::registers::Registers;
use crate::steps::Stepper;
use crate::worker::Worker;
use crate::{Identity, Latency};

use descriptor::Descriptor;
use device::Device;
use worker::Shared;

/// What its configuration space says (`drivers/dma/idxd/registers.h`, `PCI_DEVICE_ID_INTEL_DSA_SPR0`).
pub const IDENTITY: Identity = Identity {
    vendor: 0x8086,
    device: 0x0b25,
    class: 0x08_8000,
    revision: 0,
    subsystem: (0x8086, 0),
};

/// How a device is made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The time from a descriptor's turn to its work.
    pub latency: Latency,
    /// Queues, from 1 to 8.
    pub queues: u8,
    /// log2 of the bytes of a transfer, at most: from 12 to 31, where the hardware's is.
    pub transfer_order: u8,
    /// Whether it has ATS and page requests.
    pub page_requests: bool,
    /// Whether interrupts are to be asked for (`REQUEST_INT_HANDLE`), as in a virtual machine.
    pub handles: bool,
}

impl Default for Settings {
    /// As in hardware, but for shorter transfers: at once, eight queues, with page requests.
    fn default() -> Self {
        Self {
            latency: Latency::None,
            queues: 8,
            transfer_order: 18,
            page_requests: true,
            handles: false,
        }
    }
}

const QUEUES: Setting = Setting { name: "queues", what: "work queues, 1 to 8", default: "8" };
const TRANSFER: Setting =
    Setting { name: "transfer", what: "bytes of a transfer at most, 4K to 2G", default: "256K" };
const PAGE_REQUESTS: Setting = Setting {
    name: "page-requests",
    what: "on: operations can wait for pages that are missing; else off",
    default: "on",
};
const HANDLES: Setting = Setting {
    name: "handles",
    what: "on: interrupts are to be asked for, as in a virtual machine; else off",
    default: "off",
};

/// How it is asked for.
pub const ENTRY: Entry = Entry {
    name: "dsa",
    summary: "Intel's Data Streaming Accelerator: dedicated and shared queues, batches, PASIDs",
    identity: IDENTITY,
    shares_memory: true,
    settings: &[QUEUES, TRANSFER, PAGE_REQUESTS, HANDLES, LATENCY],
    recipe: |values| {
        let settings = Settings {
            latency: values.latency()?,
            queues: values.number(&QUEUES, 1..=spec::MAX_QUEUES as u64)? as u8,
            transfer_order: values.order(&TRANSFER, 12..=31)?,
            page_requests: values.is_on(&PAGE_REQUESTS)?,
            handles: values.is_on(&HANDLES)?,
        };
        Ok(Box::new(move |dma, interrupts| Ok(Arc::new(Dsa::new(dma, interrupts, settings)?))))
    },
};

/// The BAR of registers, and that of portals.
const REGISTERS: u32 = 0;
const PORTALS: u32 = 2;

/// The device.
#[derive(Debug)]
pub struct Dsa {
    stepper: Stepper<Shared>,
    settings: Settings,
    /// Reads as zeros.
    portals: Registers,
}

impl Dsa {
    /// A device that reaches memory and raises interrupts so. It fails when there is no memory or thread for
    /// it.
    pub fn new(dma: Dma, interrupts: Interrupts, settings: Settings) -> io::Result<Self> {
        let settings = Settings {
            queues: settings.queues.clamp(1, spec::MAX_QUEUES as u8),
            transfer_order: settings.transfer_order.clamp(12, 31),
            ..settings
        };
        let shared = Shared {
            worker: Worker::new(dma, settings.latency, false, Default::default()),
            interrupts,
            registers: Registers::new("dsa", spec::BAR_SIZE)?,
            device: Mutex::new(Device::new(settings, 0, false)),
        };
        device::show_facts(settings, &shared.registers);
        shared.device.lock().show(&shared.registers);
        let portals = Registers::new("dsa portals", spec::PORTALS_SIZE)?;
        Ok(Self { stepper: Stepper::new(shared, settings.latency)?, settings, portals })
    }

    fn shared(&self) -> &Shared {
        self.stepper.work()
    }

    /// A descriptor arrives at a portal; whether it was taken.
    fn submit(&self, offset: u64, bytes: &[u8; spec::DESCRIPTOR_SIZE], command: bool) -> bool {
        let portal = offset / spec::PORTAL_SIZE;
        let queue = (portal / spec::PORTALS) as usize;
        let descriptor = Descriptor::decode(bytes);
        let shared = self.shared();
        let taken = {
            let mut device = shared.device.lock();
            let taken = device.take(queue, &descriptor, command, portal & 1 != 0);
            if taken {
                device.show_queue(queue, &shared.registers);
            }
            taken
        };
        if taken {
            self.stepper.ring();
        }
        taken
    }
}

impl Model for Dsa {
    fn bar(&self, number: u32) -> Option<Bar> {
        let size = match number {
            REGISTERS => spec::BAR_SIZE,
            PORTALS => spec::PORTALS_SIZE,
            _ => return None,
        };
        Some(Bar { size, wide: true, prefetchable: true })
    }

    fn memory(&self, bar: u32) -> Option<Arc<SharedFile>> {
        match bar {
            REGISTERS => Some(self.shared().registers.memory()),
            PORTALS => Some(self.portals.memory()),
            _ => None,
        }
    }

    fn vectors(&self) -> Vectors {
        let msix = Msix {
            vectors: spec::VECTORS,
            table: (REGISTERS, spec::MSIX_TABLE),
            pending: (REGISTERS, spec::MSIX_PENDING),
        };
        Vectors { msi: 1, msix: Some(msix), ..Vectors::default() }
    }

    fn read(&self, bar: u32, offset: u64, to: &mut [u8]) {
        match bar {
            REGISTERS => self.shared().registers.read(offset, to),
            _ => to.fill(0),
        }
    }

    fn write(&self, bar: u32, offset: u64, from: &[u8]) {
        if bar == PORTALS {
            // smaller ones are no descriptors
            if let Ok(bytes) = from.try_into() {
                self.submit(offset, bytes, false);
            }
            return;
        }
        let shared = self.shared();
        let mut device = shared.device.lock();
        if device.write(offset, from) {
            device.epoch = shared.worker.reset();
        }
        shared.show(&mut device);
        drop(device);
        // an aborted one makes room for the next
        self.stepper.ring();
    }

    fn enqueue(&self, bar: u32, offset: u64, command: &[u8; 64]) -> bool {
        bar == PORTALS && self.submit(offset, command, true)
    }

    fn set_bus_master(&self, on: bool) {
        let shared = self.shared();
        shared.device.lock().bus_master = on;
        shared.worker.set_bus_master(on);
    }

    fn reset(&self) {
        let shared = self.shared();
        let mut device = shared.device.lock();
        let epoch = shared.worker.reset();
        *device = Device::new(self.settings, epoch, device.bus_master);
        shared.show(&mut device);
    }
}
