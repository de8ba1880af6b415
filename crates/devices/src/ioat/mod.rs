//! `ioat`: Intel's I/OAT DMA (QuickData Technology), one channel that copies and fills memory by chains of
//! descriptors.
//!
//! | module | holds |
//! |---|---|
//! | [`spec`] | its registers and descriptors, with their sources |
//! | [`channel`] | what stores to the registers do |
//! | [`worker`] | making descriptors |
//!
//! What is read of memory and written there is made piece by piece, so what stands before a fault is moved.
//! Descriptors are made one after the other, so fences mean nothing. A completion is written when the chain
//! was made as far as its count said: a program that looks later sees no more of hardware either. What is
//! told comes in this order: `CHANERR`, completion, `CHANSTS`, interrupt. Interrupts come by MSI-X.
//!
//! The configuration space of the hardware has error registers beside `CHANERR` (`CHANERR_INT`, 0x180,
//! `DMAUNCERRSTS`, 0x148); here they read 0, as on hardware that saw no parity error.
//!
//! *What it doesn't do*: XOR and PQ, DCA, page breaks, super extended descriptors, INTx.

mod channel;
pub mod spec;
mod worker;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use engine::{Bar, Dma, Interrupts, Model, Msix, Vectors};
use mem::SharedFile;
use parking_lot::Mutex;

use crate::catalogue::{Entry, LATENCY, Setting};
use crate::registers::Registers;
use crate::steps::Stepper;
use crate::worker::Worker;
use crate::{Identity, Latency};

use channel::{Channel, Effect};
use worker::Shared;

/// What its configuration space says (`include/linux/pci_ids.h`, `PCI_DEVICE_ID_INTEL_IOAT_SKX`).
pub const IDENTITY: Identity = Identity {
    vendor: 0x8086,
    device: 0x2021,
    class: 0x08_8000,
    revision: 4,
    subsystem: (0x8086, 0),
};

/// What the register of the version says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// 3.3, as Skylake's, and what Linux's selftest drives.
    #[default]
    V3_3,
    /// 3.4, as Ice Lake's: with this one only, DPDK tells of failures of single operations.
    V3_4,
}

/// How a device is made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What the register of the version says.
    pub version: Version,
    /// The time from a doorbell to its descriptors.
    pub latency: Latency,
    /// The same for the first doorbell of a chain, where it is not zero: a channel that was reset needs longer.
    pub start: Duration,
    /// log2 of the bytes of a transfer, at most: from 12 to 20, where the hardware's is.
    pub transfer_order: u8,
}

impl Default for Settings {
    /// At once. Transfers are shorter than the hardware's, as software copies less in a second:
    /// Linux's selftest has 65535 transfers made of the longest size there is.
    fn default() -> Self {
        let (latency, start) = (Latency::None, Duration::ZERO);
        Self { version: Version::V3_3, latency, start, transfer_order: 18 }
    }
}

const VERSION: Setting = Setting {
    name: "version",
    what: "3.3 as Linux's selftest drives, or 3.4 with which DPDK tells of failures",
    default: "3.3",
};
const TRANSFER: Setting =
    Setting { name: "transfer", what: "bytes of a transfer at most, 4K to 1M", default: "256K" };
const START: Setting = Setting {
    name: "start",
    what: "time to a chain's first completion, such as after an error, where it is not the latency",
    default: "0",
};

/// How it is asked for.
pub const ENTRY: Entry = Entry {
    name: "ioat",
    summary: "Intel's I/OAT DMA: copies and fills memory by chains of descriptors",
    identity: IDENTITY,
    shares_memory: false,
    settings: &[VERSION, TRANSFER, LATENCY, START],
    recipe: |values| {
        let version = match values.text(&VERSION) {
            "3.3" => Version::V3_3,
            "3.4" => Version::V3_4,
            _ => return Err(values.bad(&VERSION, "must be 3.3 or 3.4")),
        };
        let transfer_order = values.order(&TRANSFER, 12..=20)?;
        let (latency, start) = (values.latency()?, values.time(&START)?);
        let settings = Settings { version, latency, start, transfer_order };
        Ok(Box::new(move |dma, interrupts| Ok(Arc::new(Ioat::new(dma, interrupts, settings)?))))
    },
};

/// The device.
#[derive(Debug)]
pub struct Ioat {
    stepper: Stepper<Shared>,
    settings: Settings,
}

impl Ioat {
    /// A device that reaches memory and raises interrupts so. It fails when there is no memory or thread for
    /// it.
    pub fn new(dma: Dma, interrupts: Interrupts, settings: Settings) -> io::Result<Self> {
        let transfer_order = settings.transfer_order.clamp(12, 20);
        let settings = Settings { transfer_order, ..settings };
        let shared = Shared {
            worker: Worker::new(dma, settings.latency, false, Default::default()),
            interrupts,
            registers: Registers::new("ioat", spec::BAR_SIZE)?,
            channel: Mutex::new(Channel::new(0)),
            longest: 1 << transfer_order,
            start: settings.start,
        };
        // only the thread waits
        let slowest = match settings.latency {
            Latency::None if !settings.start.is_zero() => Latency::Fixed(settings.start),
            latency => latency,
        };
        let device = Self { stepper: Stepper::new(shared, slowest)?, settings };
        device.show_facts();
        Ok(device)
    }

    fn shared(&self) -> &Shared {
        self.stepper.work()
    }

    /// Registers that only tell.
    fn show_facts(&self) {
        let registers = &self.shared().registers;
        let version = match self.settings.version {
            Version::V3_3 => 0x33,
            Version::V3_4 => 0x34,
        };
        registers.write(spec::CHANCNT, &[1]);
        registers.write(spec::XFERCAP, &[self.settings.transfer_order]);
        registers.write(spec::VERSION, &[version]);
        registers.store32(spec::DMA_CAP, spec::DMA_CAP_FILL_BLOCK);
        self.shared().channel.lock().show(registers);
    }
}

impl Model for Ioat {
    fn bar(&self, number: u32) -> Option<Bar> {
        let bar = Bar { size: spec::BAR_SIZE, wide: true, prefetchable: false };
        (number == 0).then_some(bar)
    }

    fn memory(&self, bar: u32) -> Option<Arc<SharedFile>> {
        (bar == 0).then(|| self.shared().registers.memory())
    }

    fn vectors(&self) -> Vectors {
        let msix =
            Msix { vectors: 1, table: (0, spec::MSIX_TABLE), pending: (0, spec::MSIX_PENDING) };
        Vectors { msi: 1, msix: Some(msix), ..Vectors::default() }
    }

    fn read(&self, _bar: u32, offset: u64, to: &mut [u8]) {
        self.shared().registers.read(offset, to);
    }

    fn write(&self, _bar: u32, offset: u64, from: &[u8]) {
        let shared = self.shared();
        let has_work = {
            let mut channel = shared.channel.lock();
            let effect = channel.write(offset, from);
            if effect == Effect::End {
                channel.epoch = shared.worker.reset();
            }
            channel.show(&shared.registers);
            effect != Effect::Nothing && channel.has_work()
        };
        if has_work {
            self.stepper.ring();
        }
    }

    fn set_bus_master(&self, on: bool) {
        self.shared().worker.set_bus_master(on);
    }

    fn reset(&self) {
        let shared = self.shared();
        let mut channel = shared.channel.lock();
        *channel = Channel::new(shared.worker.reset());
        channel.show(&shared.registers);
    }
}
