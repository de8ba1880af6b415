//! Interrupts of a function: from a device's wire or message to the program that waits for it.
//!
//! A device raises its interrupts by number. What becomes of one depends on the kind that the program has
//! turned on ([`state`]); how programs say so is [`crate::function`]'s.
//!
//! | kind | a raised interrupt |
//! |---|---|
//! | none | asserts the pin, if the device has one |
//! | pin | asserts the pin, which tells the program and masks itself, until [`Interrupts::lower`] |
//! | MSI | is a message; lost while nobody waits |
//! | MSI-X | is a message; waits while nobody does (the pending bit of a masked vector, PCI 7.7.2) |
//!
//! Messages are writes of the device: without bus mastering there are none.
//!
//! *What it doesn't do*: remap them, or write to a CPU. Nobody but the program is told.

mod state;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use mem::EventFd;
use parking_lot::{Mutex, MutexGuard};

pub(crate) use state::{Kind, Messages, State};

/// Told that an interrupt was raised (an `eventfd`).
pub trait Trigger: Send + Sync + fmt::Debug {
    /// Adds one to what was raised. It waits for nothing.
    fn raise(&self);

    /// Lets the program raise: `told` is called each time, and what was raised is taken, until what is
    /// returned is dropped. None where it cannot be.
    fn watch(self: Arc<Self>, _told: Told) -> Option<Watched> {
        None
    }
}

/// Called when a program raises.
pub type Told = Box<dyn Fn() + Send>;

/// That a program's raising is waited for, until this is dropped.
pub type Watched = Box<dyn Any + Send>;

impl Trigger for EventFd {
    fn raise(&self) {
        self.add_one();
    }

    fn watch(self: Arc<Self>, told: Told) -> Option<Watched> {
        let watch = EventFd::watch(self, told).ok()?;
        Some(Box::new(watch))
    }
}

/// The interrupts of a device, by their numbers. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Interrupts {
    state: Arc<Mutex<State>>,
}

impl Interrupts {
    /// Raises an interrupt.
    pub fn raise(&self, vector: u32) {
        let trigger = self.state().raise(vector);
        tell(trigger);
    }

    /// What raised an interrupt is over: without other reasons the pin is no longer asserted. Messages are
    /// not taken back.
    pub fn lower(&self, vector: u32) {
        self.state().lower(vector);
    }

    /// Who is told of a message from now on; nobody where it is none. Programs say so by VFIO; this is for
    /// devices that are used without it.
    pub fn connect(&self, vector: u32, trigger: Option<Arc<dyn Trigger>>) {
        let waiting = self.state().connect_alone(vector, trigger);
        tell(waiting);
    }

    /// Unmasks the pin, which may tell its program again.
    pub(crate) fn unmask_pin(&self) {
        let trigger = self.state().unmask_pin();
        tell(trigger);
    }

    /// What unmasks the pin, as long as there are interrupts.
    pub(crate) fn unmasker(&self) -> Told {
        let state = Arc::downgrade(&self.state);
        Box::new(move || {
            if let Some(state) = state.upgrade() {
                Self { state }.unmask_pin();
            }
        })
    }

    /// The state, to look at and to change; no trigger is told while it is locked.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Tells triggers, with nothing locked.
pub(crate) fn tell(triggers: impl IntoIterator<Item = Arc<dyn Trigger>>) {
    triggers.into_iter().for_each(|trigger| trigger.raise());
}
