//! Interrupts of a function: from a device's wire or message to the program that waits for it.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// Told that an interrupt was raised (an `eventfd`).
pub trait Trigger: Send + Sync + fmt::Debug {
    /// Adds one to what was raised. It waits for nothing.
    fn raise(&self);
}

/// The interrupts of a device, by their numbers. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Interrupts {
    /// Who is told of each, by its number.
    waiting: Arc<Mutex<Vec<Waiting>>>,
}

type Waiting = Option<Arc<dyn Trigger>>;

impl Interrupts {
    /// Raises an interrupt, if somebody waits for it.
    pub fn raise(&self, vector: u32) {
        let trigger = self.waiting.lock().get(vector as usize).cloned().flatten();
        if let Some(trigger) = trigger {
            trigger.raise();
        }
    }

    /// Who is told of an interrupt from now on; nobody where it is none.
    pub fn connect(&self, vector: u32, trigger: Option<Arc<dyn Trigger>>) {
        let mut triggers = self.waiting.lock();
        let vector = vector as usize;
        if triggers.len() <= vector {
            triggers.resize(vector + 1, None);
        }
        triggers[vector] = trigger;
    }
}
