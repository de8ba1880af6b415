//! `igb`: Intel's 82576 network controller, as far as Linux's selftest drives it: one queue whose frames come
//! back.
//!
//! | module | holds |
//! |---|---|
//! | [`spec`] | its registers and descriptors, with their sources |
//! | [`registers`] | what stores to the registers do, and interrupts |
//! | [`worker`] | making frames of descriptors, and descriptors of frames |
//!
//! An access that fails stops the rings until the function is reset; the device's own reset does not help,
//! as on the hardware (the selftest's `igb_memcpy_wait` tells).
//!
//! *What it doesn't do*: a wire, so frames that do not loop are lost; addresses of its own, so only frames
//! that are received promiscuously are; other queues, header splitting, offloads, virtual functions, INTx,
//! MSI and the causes of 82575 (`ICR`). Frames are received without their check sequence. Reads have no side
//! effects: causes are cleared by writing ones, as a program must that has them cleared by interrupts.

mod registers;
pub mod spec;
mod worker;

use std::io;
use std::sync::Arc;

use engine::{Bar, Dma, Interrupts, Model, Msix, Vectors};
use mem::SharedFile;
use parking_lot::Mutex;

use crate::catalogue::{Entry, LATENCY};
use crate::registers::Registers;
use crate::steps::Stepper;
use crate::worker::Worker;
use crate::{Identity, Latency};

use registers::State;
use worker::Shared;

/// What its configuration space says (`drivers/net/ethernet/intel/igb/e1000_hw.h`, `E1000_DEV_ID_82576`).
pub const IDENTITY: Identity = Identity {
    vendor: 0x8086,
    device: 0x10c9,
    class: 0x02_0000,
    revision: 1,
    subsystem: (0x8086, 0),
};

/// How a device is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// The time from a doorbell to its descriptors.
    pub latency: Latency,
}

/// How it is asked for.
pub const ENTRY: Entry = Entry {
    name: "igb",
    summary: "Intel's 82576 network controller, as far as Linux's selftest drives it",
    identity: IDENTITY,
    shares_memory: false,
    settings: &[LATENCY],
    recipe: |values| {
        let settings = Settings { latency: values.latency()? };
        Ok(Box::new(move |dma, interrupts| Ok(Arc::new(Igb::new(dma, interrupts, settings)?))))
    },
};

/// The BAR of registers, and that of MSI-X.
const REGISTERS: u32 = 0;
const MSIX: u32 = 3;

/// The device.
#[derive(Debug)]
pub struct Igb {
    stepper: Stepper<Shared>,
    /// The table of MSI-X and its pending bits, which are the system's: what a program maps of them.
    msix: Registers,
}

impl Igb {
    /// A device that reaches memory and raises interrupts so. It fails when there is no memory or thread for
    /// it.
    pub fn new(dma: Dma, interrupts: Interrupts, settings: Settings) -> io::Result<Self> {
        let shared = Shared {
            worker: Worker::new(dma, settings.latency, false, Default::default()),
            interrupts,
            registers: Registers::new("igb", spec::BAR_SIZE)?,
            state: Mutex::new(State::new(0)),
        };
        shared.state.lock().show(&shared.registers);
        let msix = Registers::new("igb-msix", spec::MSIX_SIZE)?;
        Ok(Self { stepper: Stepper::new(shared, settings.latency)?, msix })
    }

    fn shared(&self) -> &Shared {
        self.stepper.work()
    }
}

impl Model for Igb {
    fn bar(&self, number: u32) -> Option<Bar> {
        let size = match number {
            REGISTERS => spec::BAR_SIZE,
            MSIX => spec::MSIX_SIZE,
            _ => return None,
        };
        Some(Bar { size, wide: false, prefetchable: false })
    }

    fn memory(&self, bar: u32) -> Option<Arc<SharedFile>> {
        match bar {
            REGISTERS => Some(self.shared().registers.memory()),
            MSIX => Some(self.msix.memory()),
            _ => None,
        }
    }

    fn vectors(&self) -> Vectors {
        let pending = (MSIX, spec::MSIX_PENDING);
        let msix = Msix { vectors: spec::VECTORS, table: (MSIX, 0), pending };
        Vectors { msi: 1, msix: Some(msix), ..Vectors::default() }
    }

    fn read(&self, bar: u32, offset: u64, to: &mut [u8]) {
        match bar {
            REGISTERS => self.shared().registers.read(offset, to),
            _ => self.msix.read(offset, to),
        }
    }

    fn write(&self, bar: u32, offset: u64, from: &[u8]) {
        if bar != REGISTERS {
            return;
        }
        let shared = self.shared();
        let has_work = {
            let mut state = shared.state.lock();
            let effect = state.write(offset, from);
            if effect.reset {
                state.epoch = shared.worker.reset();
            }
            shared.show(&mut state);
            effect.work && state.next().is_some()
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
        let mut state = shared.state.lock();
        *state = State::new(shared.worker.reset());
        shared.show(&mut state);
    }
}
