//! A PCI function that programs may have (`drivers/vfio/pci`).
//!
//! | module | holds |
//! |---|---|
//! | this one | getting it, giving it back, reset |
//! | [`calls`] | the calls on it: arguments and answers |
//! | [`regions`] | where regions are in the file, and mapping them |
//! | [`transfer`] | reading and writing them |
//! | [`config`] | configuration space |
//!
//! *What it doesn't do yet*: capabilities, interrupts.

mod calls;
mod config;
mod regions;
mod transfer;

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use profile::machine;

use config::Config;
pub(crate) use transfer::Way;

use crate::dma::Requester;
use crate::hw::Hardware;
use crate::{Interrupts, Model};

/// A PCI function that programs may have.
#[derive(Debug)]
pub(crate) struct Function {
    /// Its number, of which its addresses are made.
    number: usize,
    pub facts: Arc<machine::Device>,
    pub hw: Arc<dyn Hardware>,
    /// Whether its interrupt messages reach only its own interrupts.
    pub isolated: bool,
    pub requester: Arc<Requester>,
    pub interrupts: Interrupts,
    model: OnceLock<Arc<dyn Model>>,
    config: Mutex<Config>,
}

impl Function {
    pub fn new(
        number: usize,
        facts: Arc<machine::Device>,
        hw: Arc<dyn Hardware>,
        isolated: bool,
        requester: Arc<Requester>,
    ) -> Self {
        let (model, config) = (OnceLock::new(), Mutex::default());
        let interrupts = Interrupts::default();
        Self { number, facts, hw, isolated, requester, interrupts, model, config }
    }

    /// Puts a device behind the function; false when there is one.
    pub fn plug(&self, model: Arc<dyn Model>) -> bool {
        self.model.set(model).is_ok()
    }

    /// A program gets the function (`vfio_pci_core_enable`).
    pub fn enable(&self) {
        let mut config = self.config.lock();
        *config = Config::new(self);
        if let Some(model) = self.model.get() {
            model.set_bus_master(false);
            model.reset();
        }
    }

    /// It gives it back: DMA ends first (`vfio_pci_core_disable`).
    pub fn disable(&self) {
        // and it is reset, as it is when the next one gets it
        self.enable();
    }

    /// `vfio_pci_ioctl_reset`: configuration is saved and restored.
    pub fn reset(&self) {
        if let Some(model) = self.model.get() {
            model.reset();
        }
    }
}
