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
use std::time::Duration;

use mem::EventFd;
use parking_lot::{Mutex, MutexGuard, RwLock};

pub(crate) use state::{Kind, Messages, State};

/// Told that an interrupt was raised (an `eventfd`).
pub trait Trigger: Send + Sync + fmt::Debug {
    /// Adds one to what was raised. It waits for nothing: who changes what a program waits for waits for it.
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
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Read by who is about to tell triggers, from before its look at the state; locked before that.
    telling: RwLock<()>,
}

/// How long is waited for who tells a trigger. Only a program that fills its own counter at that moment has
/// it take longer ([`EventFd::add_one`]), and loses what it loses.
const SETTLED: Duration = Duration::from_secs(1);

impl Interrupts {
    /// Raises an interrupt.
    pub fn raise(&self, vector: u32) {
        self.change(|state| state.raise(vector));
    }

    /// What raised an interrupt is over: without other reasons the pin is no longer asserted. Messages are
    /// not taken back.
    pub fn lower(&self, vector: u32) {
        self.state().lower(vector);
    }

    /// Who is told of a message from now on; nobody where it is none. Programs say so by VFIO; this is for
    /// devices that are used without it.
    pub fn connect(&self, vector: u32, trigger: Option<Arc<dyn Trigger>>) {
        self.change(|state| state.connect_alone(vector, trigger));
    }

    /// Unmasks the pin, which may tell its program again.
    pub(crate) fn unmask_pin(&self) {
        self.change(State::unmask_pin);
    }

    /// What unmasks the pin, as long as there are interrupts.
    pub(crate) fn unmasker(&self) -> Told {
        let shared = Arc::downgrade(&self.shared);
        Box::new(move || {
            if let Some(shared) = shared.upgrade() {
                Self { shared }.unmask_pin();
            }
        })
    }

    /// Changes the state, and tells the triggers that come of it when that is no longer locked.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T)
    where
        T: IntoIterator<Item = Arc<dyn Trigger>>,
    {
        let _telling = self.shared.telling.read_recursive();
        let told = change(&mut self.state());
        told.into_iter().for_each(|trigger| trigger.raise());
    }

    /// Returns when nobody is told any more of what was raised before: who waited until now has been
    /// (`synchronize_irq`).
    pub(crate) fn settle(&self) {
        drop(self.shared.telling.try_write_for(SETTLED));
    }

    /// The state, to look at and to change where nobody is to be told.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock()
    }
}
