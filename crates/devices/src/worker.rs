//! The thread of a device: what it is told to do, and its way to memory.
//!
//! A [`Worker`] is shared by the thread and by whoever writes to the device's registers. It holds what is to
//! be done, of the device's own type `T`, and the [`engine::Dma`] behind a gate:
//!
//! | word | meaning |
//! |---|---|
//! | epoch | counts resets. What is done for an earlier epoch reaches memory no more |
//! | gate | held while memory is accessed: who has changed epoch or bus mastering knows that nothing goes on |
//! | desk | what is to be done, and whether the thread shall end |
//!
//! Locks are taken in this order: the device's registers, then desk or gate, never both of these. The closures
//! that are given here run under one of them: they take no lock of the device's and wait for nothing.

use std::time::{Duration, Instant};

use engine::{Answer, Awaited, Burst, Dma, DmaFault};
use parking_lot::{Condvar, Mutex};

use crate::latency::{Clock, Latency};

/// How often an access that stalls is tried.
const ATTEMPTS: u32 = 64;

/// How long a wait for an answer goes on without a look at resets.
const SLICE: Duration = Duration::from_millis(5);

/// What a device's thread and those who tell it what to do share.
#[derive(Debug)]
pub struct Worker<T> {
    dma: Dma,
    gate: Mutex<Gate>,
    desk: Mutex<Desk<T>>,
    /// Something to do, or a reset.
    news: Condvar,
    latency: Mutex<Clock>,
}

#[derive(Debug)]
struct Gate {
    epoch: u64,
    bus_master: bool,
}

#[derive(Debug)]
struct Desk<T> {
    work: T,
    /// As in [`Gate`].
    epoch: u64,
    stop: bool,
}

/// Why a device does not go on with an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// A reset came first.
    Reset,
    /// Its bus mastering is off.
    NoBusMaster,
    /// The access failed.
    Fault(DmaFault),
    /// It waited for a page, and was told that there will be none, or found none again and again.
    NotGranted,
}

impl<T> Worker<T> {
    /// A device that reaches memory so, in epoch 0.
    pub fn new(dma: Dma, latency: Latency, bus_master: bool, work: T) -> Self {
        Self {
            dma,
            gate: Mutex::new(Gate { epoch: 0, bus_master }),
            desk: Mutex::new(Desk { work, epoch: 0, stop: false }),
            news: Condvar::new(),
            latency: Mutex::new(Clock::new(latency)),
        }
    }

    /// What is begun now belongs to this epoch.
    pub fn epoch(&self) -> u64 {
        self.gate.lock().epoch
    }

    /// Whether the thread shall end.
    pub fn is_stopped(&self) -> bool {
        self.desk.lock().stop
    }

    /// Changes what is to be done, and wakes the thread.
    pub fn tell<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.desk.lock().work);
        self.news.notify_all();
        result
    }

    /// The thread's next job: waits until there is one; none when the thread shall end.
    pub fn next<J>(&self, mut take: impl FnMut(&mut T) -> Option<J>) -> Option<J> {
        let mut desk = self.desk.lock();
        loop {
            if desk.stop {
                return None;
            }
            if let Some(job) = take(&mut desk.work) {
                return Some(job);
            }
            self.news.wait(&mut desk);
        }
    }

    /// Completions take another time from now on.
    pub fn set_latency(&self, latency: Latency) {
        *self.latency.lock() = Clock::new(latency);
    }

    /// Waits as long as a completion takes, or until a reset.
    pub fn delay(&self, epoch: u64) {
        let delay = self.latency.lock().next_delay();
        delay.into_iter().for_each(|delay| self.pause(epoch, delay));
    }

    /// Waits so long, or until a reset.
    pub fn pause(&self, epoch: u64, time: Duration) {
        let until = Instant::now() + time;
        let mut desk = self.desk.lock();
        while !desk.stop && desk.epoch <= epoch {
            if self.news.wait_until(&mut desk, until).timed_out() {
                return;
            }
        }
    }

    /// Whether the device may reach memory. When it returns, it does not any more if it may not.
    pub fn set_bus_master(&self, on: bool) {
        self.gate.lock().bus_master = on;
    }

    /// Begins an epoch; gives it. When it returns, memory is not accessed any more for an earlier one.
    pub fn reset(&self) -> u64 {
        let epoch = {
            let mut gate = self.gate.lock();
            gate.epoch += 1;
            gate.epoch
        };
        let mut desk = self.desk.lock();
        desk.epoch = desk.epoch.max(epoch);
        self.news.notify_all();
        epoch
    }

    /// Ends the thread, and what it does.
    pub fn stop(&self) {
        self.desk.lock().stop = true;
        self.reset();
    }

    /// Does something with memory, unless the device may not.
    pub fn gated<R>(&self, epoch: u64, act: impl FnOnce(&Dma) -> R) -> Result<R, Halt> {
        let gate = self.gate.lock();
        if gate.epoch != epoch {
            return Err(Halt::Reset);
        }
        if !gate.bus_master {
            return Err(Halt::NoBusMaster);
        }
        Ok(act(&self.dma))
    }

    /// Reaches memory in one burst, which is made again from its start after an access that stalled was
    /// answered.
    pub fn burst<R>(
        &self,
        epoch: u64,
        pasid: Option<u32>,
        mut act: impl FnMut(&mut Burst<'_>) -> Result<R, DmaFault>,
    ) -> Result<R, Halt> {
        for _ in 0..ATTEMPTS {
            match self.gated(epoch, |dma| dma.burst(pasid, &mut act))? {
                Ok(result) => return Ok(result),
                Err(DmaFault::Stalled { tag }) => {
                    // whoever detaches answers, so that is no wait without an end
                    match self.wait(Awaited::Stall(tag), None, epoch)? {
                        Some(Answer::Success) => {}
                        Some(Answer::Invalid | Answer::Failure) | None => {
                            return Err(Halt::NotGranted);
                        }
                    }
                }
                Err(fault) => return Err(Halt::Fault(fault)),
            }
        }
        Err(Halt::NotGranted)
    }

    /// Waits for an answer to the device; none when it does not come in time.
    pub fn wait(
        &self,
        awaited: Awaited,
        until: Option<Instant>,
        epoch: u64,
    ) -> Result<Option<Answer>, Halt> {
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let slice = left.map_or(SLICE, |left| left.min(SLICE));
            if let Some(answer) = self.dma.wait(awaited, slice) {
                return Ok(Some(answer));
            }
            if self.epoch() != epoch {
                return Err(Halt::Reset);
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
        }
    }
}
