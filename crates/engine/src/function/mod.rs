//! A PCI function that programs may have (`drivers/vfio/pci`).
//!
//! | module | holds |
//! |---|---|
//! | this one | getting it, giving it back, reset |
//! | [`calls`] | the calls on it: arguments and answers |
//! | [`regions`] | where regions are in the file, and mapping them |
//! | [`transfer`] | reading and writing them |
//! | [`config`] | configuration space |
//! | [`irqs`] | interrupts |
//! | [`features`] | features, and calls that no device here serves |
//! | [`logging`] | a device's own log of what it writes |
//! | [`nested`] | regions and an interrupt for faults, under the API of 2020 |

mod calls;
mod config;
mod features;
mod irqs;
mod logging;
mod nested;
mod regions;
mod transfer;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use profile::machine;

use config::Config;
use features::Sleep;
pub use logging::DmaLog;
pub(crate) use nested::NestedFaults;
pub(crate) use transfer::Way;

use crate::dma::Requester;
use crate::hw::Hardware;
use crate::{Interrupts, Model, Vectors};

/// What a function was opened by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opener {
    /// Its character device.
    Device,
    /// Its group.
    Group,
}

/// What the machine makes of a function's interrupts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Platform {
    /// A program may have it: its messages reach only its own interrupts, or the system takes that risk.
    pub isolated: bool,
    /// More vectors of MSI-X can be had while some are on (`pci_msix_can_alloc_dyn`).
    pub dynamic_msix: bool,
    /// More than one message of MSI can be had (`MSI_FLAG_MULTI_PCI_MSI`).
    pub multiple_msi: bool,
}

/// A PCI function that programs may have.
#[derive(Debug)]
pub(crate) struct Function {
    /// Its number, of which its addresses are made.
    number: usize,
    pub facts: Arc<machine::Device>,
    pub hw: Arc<dyn Hardware>,
    pub platform: Platform,
    pub requester: Arc<Requester>,
    pub interrupts: Interrupts,
    model: OnceLock<Arc<dyn Model>>,
    config: Mutex<Config>,
    sleep: Mutex<Sleep>,
    nested: Mutex<Option<NestedFaults>>,
    /// Whether a program has it.
    held: AtomicBool,
    /// By which programs that have a physical function and its virtual ones trust each other; that of the
    /// kernel is by chance, and no program knows it.
    token: Mutex<Option<Token>>,
}

/// A UUID, as the bytes of `uuid_t`.
pub(crate) type Token = [u8; 16];

impl Function {
    pub fn new(
        number: usize,
        facts: Arc<machine::Device>,
        hw: Arc<dyn Hardware>,
        platform: Platform,
        requester: Arc<Requester>,
    ) -> Self {
        let (model, config, sleep) = (OnceLock::new(), Mutex::default(), Mutex::default());
        let interrupts = Interrupts::default();
        let (held, token) = (AtomicBool::new(false), Mutex::default());
        Self {
            number,
            facts,
            hw,
            platform,
            requester,
            interrupts,
            model,
            config,
            sleep,
            nested: Mutex::default(),
            held,
            token,
        }
    }

    /// Puts a device behind the function; false when there is one.
    pub fn plug(&self, model: Arc<dyn Model>) -> bool {
        let vectors = model.vectors();
        let new = self.model.set(model).is_ok();
        if new {
            self.interrupts.state().vectors = vectors;
        }
        new
    }

    fn vectors(&self) -> Vectors {
        self.interrupts.state().vectors
    }

    /// A program gets the function (`vfio_pci_core_enable`).
    pub fn enable(&self) {
        self.held.store(true, Ordering::Release);
        let mut config = self.config.lock();
        *config = Config::new(self);
        if let Some(model) = self.model.get() {
            model.set_bus_master(false);
            model.reset();
        }
        self.interrupts.state().reset();
        self.requester.reset();
        self.forget_faults();
    }

    /// It gives it back: DMA ends first, then its interrupts (`vfio_pci_core_disable`).
    pub fn disable(&self) {
        // and it is reset, as it is when the next one gets it
        self.enable();
        self.interrupts.state().close();
        if let Some(log) = self.model.get().and_then(|model| model.dma_log()) {
            log.stop();
        }
        *self.sleep.lock() = Sleep::default();
        self.held.store(false, Ordering::Release);
    }

    /// Whether a program has it.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Whether a token is the function's.
    pub fn has_token(&self, token: &Token) -> bool {
        self.token.lock().as_ref() == Some(token)
    }

    /// Gives it another one.
    pub fn set_token(&self, token: Token) {
        *self.token.lock() = Some(token);
    }

    /// `vfio_pci_ioctl_reset`: configuration is saved and restored, and interrupts that are on stay on.
    pub fn reset(&self) {
        self.reset_locked(&mut self.config.lock());
    }

    fn reset_locked(&self, config: &mut Config) {
        let before = Switches::of(config);
        config.wake();
        if let Some(model) = self.model.get() {
            model.reset();
        }
        self.requester.reset();
        self.interrupts.state().reset();
        self.switched(before, config);
    }

    /// Tells the device what a change of configuration space has turned on or off.
    fn switched(&self, before: Switches, config: &Config) {
        let after = Switches::of(config);
        if before.master != after.master {
            if let Some(model) = self.model.get() {
                model.set_bus_master(after.master);
            }
            self.interrupts.change(|state| state.set_master(after.master));
        }
        if before.pin_off != after.pin_off {
            self.interrupts.change(|state| state.set_pin_disabled(after.pin_off));
        }
    }
}

/// What configuration space turns on and off.
#[derive(Clone, Copy, Debug)]
struct Switches {
    master: bool,
    pin_off: bool,
}

impl Switches {
    fn of(config: &Config) -> Self {
        Self { master: config.master_is_on(), pin_off: config.pin_is_off() }
    }
}
