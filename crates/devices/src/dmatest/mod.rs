//! `dmatest`: a device made for tests. It makes any access that PCI knows, in the order of a script.
//!
//! | module | holds |
//! |---|---|
//! | [`spec`] | its registers |
//! | [`script`] | operations and their outcomes |
//! | [`registers`] | what the BAR holds |
//! | [`worker`] | its thread |
//!
//! A work item is a script. Tests in the same process hand it over by [`DmaTest::run`] or
//! [`DmaTest::start`], programs by registers; one thread makes them all, one after the other.
//!
//! Page faults are handled in both ways there are. With PRI, an access with page requests asks for
//! translations first (ATS), requests the pages that are missing as one group, waits for the answer, and
//! asks again. With stalls, the IOMMU keeps the access until it is answered, and every access is tried
//! again then, since a device does not see that.
//!
//! Made so, it logs what it writes without a PASID, for a program that is to move it to another machine.
//!
//! *What it doesn't do*: raise interrupts.

mod registers;
mod script;
pub mod spec;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use engine::{Bar, Dma, DmaLog, Model};
use mem::SharedFile;

use crate::Identity;
use crate::catalogue::{Entry, LATENCY, Setting};

pub use crate::Latency;
pub use script::{Action, Operation, Outcome, Status};

use worker::Shared;

/// How a device is made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long completions take.
    pub latency: Latency,
    /// Whether it may reach memory from the start. Under VFIO the program says that.
    pub bus_master: bool,
    /// Whether it has a log of what it writes ([`DmaLog`]).
    pub dma_logging: bool,
}

impl Default for Settings {
    /// Completes at once, may reach memory, and has no log.
    fn default() -> Self {
        Self { latency: Latency::None, bus_master: true, dma_logging: false }
    }
}

/// vfio-pci itself offers no such log, so neither does a device that nobody asks it of.
const DMA_LOGGING: Setting = Setting {
    name: "dma-logging",
    what: "on: it logs what it writes, for VFIO_DEVICE_FEATURE_DMA_LOGGING_START; else off",
    default: "off",
};

/// How it is asked for. Its numbers are nobody's.
pub const ENTRY: Entry = Entry {
    name: "dmatest",
    summary: "makes any access that it is told to: PASIDs, ATS, page requests, stalls",
    identity: Identity {
        vendor: 0x1234,
        device: 0x7e57,
        revision: 1,
        class: 0xff_0000,
        subsystem: (0, 0),
    },
    shares_memory: true,
    settings: &[DMA_LOGGING, LATENCY],
    recipe: |values| {
        let (latency, dma_logging) = (values.latency()?, values.is_on(&DMA_LOGGING)?);
        let settings = Settings { latency, bus_master: false, dma_logging };
        Ok(Box::new(move |dma, _| Ok(Arc::new(DmaTest::new(dma, settings)?))))
    },
};

/// The device. Its thread ends with it.
#[derive(Debug)]
pub struct DmaTest {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

/// A script under way. Dropped, the script goes on.
#[derive(Debug)]
pub struct Running(Receiver<Vec<Outcome>>);

impl Running {
    /// What became of each operation, in their order; none when the script is not done in time.
    pub fn wait(&self, time: Duration) -> Option<Vec<Outcome>> {
        self.0.recv_timeout(time).ok()
    }
}

impl DmaTest {
    /// A device that reaches memory so. It fails when there is no thread for it, or no memory.
    pub fn new(dma: Dma, settings: Settings) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(dma, settings)?);
        let worker = {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("dmatest".into()).spawn(move || shared.work_on())?
        };
        Ok(Self { shared, worker: Some(worker) })
    }

    /// Makes a script, and waits for its end; what became of each operation.
    pub fn run(&self, script: &[Operation]) -> Vec<Outcome> {
        // the thread answers each job, and lives as long as this
        self.start(script).0.recv().unwrap_or_default()
    }

    /// Makes a script meanwhile.
    pub fn start(&self, script: &[Operation]) -> Running {
        let (to, from) = channel();
        let script = script.iter().copied().map(Some).collect();
        self.shared.submit(script, Some(to));
        Running(from)
    }

    /// Completions take another time from now on, until a reset.
    pub fn set_latency(&self, latency: Latency) {
        self.shared.worker.set_latency(latency);
    }
}

impl Model for DmaTest {
    fn bar(&self, number: u32) -> Option<Bar> {
        let bar = Bar { size: spec::BAR_SIZE, wide: true, prefetchable: false };
        (number == 0).then_some(bar)
    }

    fn memory(&self, bar: u32) -> Option<Arc<SharedFile>> {
        (bar == 0).then(|| self.shared.registers.lock().memory())
    }

    fn read(&self, _bar: u32, offset: u64, to: &mut [u8]) {
        self.shared.registers.lock().read(offset, to);
    }

    fn write(&self, _bar: u32, offset: u64, from: &[u8]) {
        let mut registers = self.shared.registers.lock();
        let effects = registers.write(offset, from);
        if let Some(latency) = effects.latency {
            self.shared.worker.set_latency(latency);
        }
        if let Some(script) = effects.start {
            self.shared.submit(script, None);
        }
        drop(registers);
        if effects.reset {
            self.reset();
        }
    }

    fn dma_log(&self) -> Option<&DmaLog> {
        self.shared.log.as_ref()
    }

    fn set_bus_master(&self, on: bool) {
        self.shared.worker.set_bus_master(on);
    }

    fn reset(&self) {
        let mut registers = self.shared.registers.lock();
        self.shared.worker.reset();
        let latency = registers.reset();
        self.shared.worker.set_latency(latency);
    }
}

impl Drop for DmaTest {
    fn drop(&mut self) {
        self.shared.worker.stop();
        if let Some(worker) = self.worker.take() {
            // it ends at the next operation, whatever it does
            let _ = worker.join();
        }
    }
}
