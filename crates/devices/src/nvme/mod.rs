//! `nvme`: an NVM Express controller, with namespaces in memory or in a file.
//!
//! | module | holds |
//! |---|---|
//! | [`spec`] | registers, commands, statuses, with their places in the specification |
//! | [`registers`] | what the host reads and writes: enable, shutdown, reset |
//! | [`doorbells`] | what the thread is told, and interrupts |
//! | [`controller`] | the thread: queues in turn, completions |
//! | [`queues`] | rings |
//! | [`admin`], [`identify`], [`features`], [`logs`], [`events`] | admin commands |
//! | [`io`], [`storage`] | the NVM command set, and what it reads and writes |
//! | [`transfer`], [`sgl`] | where data is: PRPs and SGLs |
//! | [`settings`] | how one is made, and asked for |
//!
//! It has the IDs, the BAR and the interrupts of QEMU's controller, so drivers take it for one. One thread does
//! everything; a command that was fetched is done before the next one, so none is ever aborted but those that
//! wait for events.
//!
//! *What it doesn't do*: coalesce interrupts, metadata and protection information, fused commands, weighted
//! arbitration, reservations, management of namespaces, firmware updates, keep alive, doorbell buffers, a
//! controller memory buffer, zones.

mod admin;
mod controller;
mod doorbells;
mod events;
mod features;
mod identify;
mod io;
mod logs;
mod queues;
mod registers;
mod settings;
mod sgl;
pub mod spec;
mod storage;
mod transfer;

use std::io::Result;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use engine::{Bar, Dma, Interrupts, Model, Msix, Vectors};
use mem::SharedFile;
use parking_lot::Mutex;

use crate::Identity;
use crate::worker::Worker;

pub use settings::{ENTRY, Settings};

use controller::Controller;
use doorbells::Desk;
use registers::Properties;

/// QEMU's NVM Express controller.
pub const IDENTITY: Identity = Identity {
    vendor: 0x1b36,
    device: 0x0010,
    class: 0x01_08_02,
    revision: 2,
    subsystem: (0x1af4, 0x1100),
};

/// The controller. Its thread ends with it.
#[derive(Debug)]
pub struct Nvme {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

/// What the registers and the thread share.
#[derive(Debug)]
struct Shared {
    worker: Worker<Desk>,
    properties: Mutex<Properties>,
}

impl Nvme {
    /// A controller that reaches memory so, once its bus mastering is on. Errors are those of the storage, and
    /// `InvalidInput` for settings that are nonsense.
    pub fn new(dma: Dma, interrupts: Interrupts, settings: &Settings) -> Result<Self> {
        let (storage, namespaces) = settings.storage()?;
        let shared = Arc::new(Shared {
            worker: Worker::new(dma, settings.latency, false, Desk::new(interrupts)),
            properties: Mutex::new(Properties::new()?),
        });
        let controller = Controller {
            shared: Arc::clone(&shared),
            serial: settings.serial(),
            storage,
            namespaces,
            errors: Default::default(),
            health: Default::default(),
            buffer: Vec::new(),
            pieces: Default::default(),
        };
        let worker = thread::Builder::new().name("nvme".into()).spawn(|| controller.work())?;
        Ok(Self { shared, worker: Some(worker) })
    }
}

impl Model for Nvme {
    fn bar(&self, number: u32) -> Option<Bar> {
        let bar = Bar { size: spec::BAR_SIZE, wide: true, prefetchable: false };
        (number == 0).then_some(bar)
    }

    fn memory(&self, bar: u32) -> Option<Arc<SharedFile>> {
        (bar == 0).then(|| self.shared.properties.lock().memory())
    }

    fn vectors(&self) -> Vectors {
        let (table, pending) = ((0, spec::MSIX_TABLE), (0, spec::MSIX_PENDING));
        let msix = Msix { vectors: spec::VECTORS, table, pending };
        Vectors { pin: true, msi: 0, msix: Some(msix) }
    }

    fn read(&self, _bar: u32, offset: u64, to: &mut [u8]) {
        self.shared.properties.lock().read(offset, to);
    }

    fn write(&self, _bar: u32, offset: u64, from: &[u8]) {
        let Shared { worker, properties, .. } = &*self.shared;
        let mut done = 0;
        // one register after the other
        while done < from.len() {
            let at = offset.saturating_add(done as u64);
            let length = (4 - at % 4).min((from.len() - done) as u64) as usize;
            let part = &from[done..done + length];
            match at {
                ..spec::DOORBELLS => properties.lock().write(at, part, worker),
                spec::DOORBELLS..spec::DOORBELLS_END => {
                    // what is not written of it is zero
                    let mut bytes = [0; 4];
                    let within = (at % 4) as usize;
                    bytes[within..within + length].copy_from_slice(part);
                    worker.tell(|desk| desk.ring(at, u32::from_le_bytes(bytes)));
                }
                _ => {}
            }
            done += length;
        }
    }

    fn set_bus_master(&self, on: bool) {
        self.shared.worker.set_bus_master(on);
    }

    fn reset(&self) {
        self.shared.properties.lock().reset_function(&self.shared.worker);
    }
}

impl Drop for Nvme {
    fn drop(&mut self) {
        self.shared.worker.stop();
        if let Some(worker) = self.worker.take() {
            // it ends after the command that it is at
            let _ = worker.join();
        }
    }
}
