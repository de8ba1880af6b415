//! Which kind of interrupts is on, who waits, and what is raised (`drivers/vfio/pci/vfio_pci_intrs.c`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Trigger, Watched};
use crate::Vectors;

/// A kind of interrupts that a program turns on, with its state (`vfio_pci_core_device.irq_type`).
#[derive(Debug, Default)]
pub(crate) enum Kind {
    #[default]
    None,
    /// By pin. It may be on with nobody waiting.
    Pin {
        trigger: Option<Arc<dyn Trigger>>,
        masked: bool,
        /// The program unmasks it by an eventfd.
        unmask: Option<Watched>,
    },
    /// By message: MSI.
    Msi(Messages),
    /// By message: MSI-X.
    Msix(Messages),
}

/// Messages that are on.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    /// How many the system has given (`pci_alloc_irq_vectors`).
    pub allocated: u32,
    /// Who waits for each.
    pub waiting: BTreeMap<u32, Arc<dyn Trigger>>,
}

/// The interrupts of a function.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub kind: Kind,
    /// What the device has.
    pub vectors: Vectors,
    /// The pin is off in the command register (`virq_disabled`).
    pub pin_disabled: bool,
    /// The device may send messages.
    master: bool,
    /// Who is told of errors, and that the system wants the device back.
    pub error: Option<Arc<dyn Trigger>>,
    pub request: Option<Arc<dyn Trigger>>,
    /// Who is told of faults, where they come by a region of the function (the API of 2020).
    pub fault: Option<Arc<dyn Trigger>>,
    /// Vectors that assert the pin.
    asserted: BTreeSet<u32>,
    /// Messages of MSI-X that wait.
    pending: BTreeSet<u32>,
}

/// The most vectors that a function can have (PCI 7.7.2.2). Numbers beyond it are a device's mistake.
const MOST_VECTORS: u32 = 2048;

type Told = Option<Arc<dyn Trigger>>;

impl State {
    pub fn raise(&mut self, vector: u32) -> Told {
        match &self.kind {
            Kind::Pin { .. } | Kind::None if self.vectors.pin && vector < MOST_VECTORS => {
                self.asserted.insert(vector);
                self.check_pin()
            }
            Kind::Msi(messages) if self.master => messages.waiting.get(&vector).cloned(),
            Kind::Msix(messages) if self.master && messages.waiting.contains_key(&vector) => {
                messages.waiting.get(&vector).cloned()
            }
            Kind::Msix(_) if vector < MOST_VECTORS => {
                self.pending.insert(vector);
                None
            }
            _ => None,
        }
    }

    pub fn lower(&mut self, vector: u32) {
        self.asserted.remove(&vector);
    }

    /// Whether the pin is asserted (PCI 7.5.1.1.4, interrupt status).
    pub fn is_asserted(&self) -> bool {
        !self.asserted.is_empty()
    }

    /// Whether a message waits (PCI 7.7.2, pending bits).
    pub fn is_pending(&self, vector: u32) -> bool {
        self.pending.contains(&vector)
    }

    /// The pin as the interrupt controller sees it: asserted and not masked, it is handled
    /// (`vfio_intx_handler`).
    fn check_pin(&mut self) -> Told {
        let asserted = self.is_asserted();
        match &mut self.kind {
            Kind::Pin { trigger, masked, .. } if asserted && !*masked => {
                *masked = true;
                trigger.clone().filter(|_| !self.pin_disabled)
            }
            _ => None,
        }
    }

    /// `vfio_send_intx_eventfd`
    pub fn pin_trigger(&self) -> Told {
        match &self.kind {
            Kind::Pin { trigger, .. } if !self.pin_disabled => trigger.clone(),
            _ => None,
        }
    }

    /// `vfio_pci_intx_mask`
    pub fn mask_pin(&mut self) {
        if let Kind::Pin { masked, .. } = &mut self.kind {
            *masked = true;
        }
    }

    /// `vfio_pci_intx_unmask_handler`: a pin that is still asserted stays masked and tells again.
    pub fn unmask_pin(&mut self) -> Told {
        let asserted = self.is_asserted();
        match &mut self.kind {
            Kind::Pin { masked, .. } if *masked && !self.pin_disabled => *masked = asserted,
            _ => return None,
        }
        if asserted { self.pin_trigger() } else { None }
    }

    /// The command register turns the pin off, or on again (`vfio_basic_config_write`).
    pub fn set_pin_disabled(&mut self, disabled: bool) -> Told {
        if self.pin_disabled == disabled {
            return None;
        }
        self.pin_disabled = disabled;
        if disabled {
            self.mask_pin();
            return None;
        }
        self.unmask_pin()
    }

    /// Turns the pin on (`vfio_intx_enable`).
    pub fn enable_pin(&mut self, trigger: Option<Arc<dyn Trigger>>) -> Told {
        self.kind = Kind::Pin { trigger, masked: self.pin_disabled, unmask: None };
        self.check_pin()
    }

    /// Says who waits for a message; one that waits itself is told at once.
    pub fn connect(&mut self, vector: u32, trigger: Option<Arc<dyn Trigger>>) -> Told {
        let (Kind::Msi(messages) | Kind::Msix(messages)) = &mut self.kind else { return None };
        let Some(trigger) = trigger else {
            messages.waiting.remove(&vector);
            return None;
        };
        messages.waiting.insert(vector, Arc::clone(&trigger));
        (self.master && self.pending.remove(&vector)).then_some(trigger)
    }

    /// The same, for a device that is used without VFIO.
    pub fn connect_alone(&mut self, vector: u32, trigger: Option<Arc<dyn Trigger>>) -> Told {
        if !matches!(self.kind, Kind::Msix(_)) {
            self.kind = Kind::Msix(Messages::default());
            self.master = true;
        }
        self.connect(vector, trigger)
    }

    /// Turns everything of the kind off (`vfio_intx_disable`, `vfio_msi_disable`).
    pub fn turn_off(&mut self) {
        self.kind = Kind::None;
        self.pending.clear();
    }

    /// Whether the device may send messages from now on. Those that wait are told.
    pub fn set_master(&mut self, on: bool) -> Vec<Arc<dyn Trigger>> {
        self.master = on;
        let Kind::Msix(messages) = &self.kind else { return Vec::new() };
        if !on {
            return Vec::new();
        }
        let ready = |vector: &u32| messages.waiting.contains_key(vector);
        let ready: Vec<_> = self.pending.iter().copied().filter(ready).collect();
        ready.iter().for_each(|vector| _ = self.pending.remove(vector));
        ready.iter().map(|vector| Arc::clone(&messages.waiting[vector])).collect()
    }

    /// The device was reset: it asserts nothing, and nothing waits.
    pub fn reset(&mut self) {
        self.asserted.clear();
        self.pending.clear();
    }

    /// The program gives the device back.
    pub fn close(&mut self) {
        *self = Self { vectors: self.vectors, ..Self::default() };
    }
}
