//! Work in steps, by a device's thread or by the store that asks for it.
//!
//! A device without latency is done before the program's store is over, as no thread could be that is woken
//! first. So whoever rings works itself, one short step after the other; what takes more of them than
//! [`Work::AT_ONCE`], or waits for an answer of the program, is left to the thread.
//!
//! | word | meaning |
//! |---|---|
//! | [`Work`] | a device: what its next step is |
//! | hand | what is under way, and buffers. Who has it works, nobody else does |
//! | [`Line`] | how the work under way reaches memory |
//!
//! Locks are taken in this order: hand, the device's registers, then those of [`crate::worker`].

mod line;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engine::{Answer, Awaited};
use parking_lot::Mutex;

use crate::Latency;
use crate::worker::Worker;

pub(crate) use line::{Fault, Line, Trouble};

/// How long a wait for an answer goes on without a look at what the device was told since.
const SLICE: Duration = Duration::from_millis(5);

/// Whether there may be something to do.
#[derive(Debug, Default)]
pub(crate) struct Notice(bool);

/// What a step comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is nothing to do.
    Idle,
    /// There may be more to do.
    Done,
    /// The work that was begun takes a completion's time first. It is of this epoch.
    Begun(u64),
    /// The work that was begun takes this time first. It is of this epoch.
    Pauses(Duration, u64),
    /// The work of this epoch waits for an answer.
    Waits(Awaited, u64),
}

/// A device that works in steps.
pub(crate) trait Work: fmt::Debug + Send + Sync + 'static {
    /// What is under way.
    type Hand: fmt::Debug + Default + Send;

    /// Of its thread.
    const NAME: &'static str;

    /// Steps that a store makes at most. Not a time, so that what is done when it is over depends on nothing
    /// else.
    const AT_ONCE: u32;

    fn worker(&self) -> &Worker<Notice>;

    /// Makes a step: short, and without waiting.
    fn step(&self, hand: &mut Self::Hand) -> Step;

    /// An answer came to what is under way.
    fn answer(&self, hand: &mut Self::Hand, answer: Answer);
}

/// A device at work. Its thread ends with it.
#[derive(Debug)]
pub(crate) struct Stepper<W: Work> {
    shared: Arc<Shared<W>>,
    thread: Option<JoinHandle<()>>,
    latency: Latency,
}

#[derive(Debug)]
struct Shared<W: Work> {
    work: W,
    hand: Mutex<W::Hand>,
}

impl<W: Work> Stepper<W> {
    /// A device at work, with the latency that its [`Worker`] has. It fails when there is no thread for it.
    pub fn new(work: W, latency: Latency) -> io::Result<Self> {
        let shared = Arc::new(Shared { work, hand: Mutex::default() });
        let thread = {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(W::NAME.into()).spawn(move || shared.run())?
        };
        Ok(Self { shared, thread: Some(thread), latency })
    }

    /// The device.
    pub fn work(&self) -> &W {
        &self.shared.work
    }

    /// There may be something to do.
    pub fn ring(&self) {
        if self.latency == Latency::None && self.shared.at_once() {
            return;
        }
        self.work().worker().tell(|notice| notice.0 = true);
    }
}

impl<W: Work> Drop for Stepper<W> {
    fn drop(&mut self) {
        self.work().worker().stop();
        if let Some(thread) = self.thread.take() {
            // it ends at the next step
            let _ = thread.join();
        }
    }
}

impl<W: Work> Shared<W> {
    fn step(&self) -> Step {
        self.work.step(&mut self.hand.lock())
    }

    /// Works as long as a store may; whether nothing is left to do.
    fn at_once(&self) -> bool {
        for _ in 0..W::AT_ONCE {
            match self.step() {
                Step::Idle => return true,
                Step::Waits(..) => return false,
                Step::Done | Step::Begun(_) | Step::Pauses(..) => {}
            }
        }
        false
    }

    /// The thread.
    fn run(&self) {
        let worker = self.work.worker();
        while worker.next(|notice| std::mem::take(&mut notice.0).then_some(())).is_some() {
            // what is left when the device goes is not done
            while !worker.is_stopped() {
                match self.step() {
                    Step::Idle => break,
                    Step::Done => {}
                    Step::Begun(epoch) => worker.delay(epoch),
                    Step::Pauses(time, epoch) => worker.pause(epoch, time),
                    Step::Waits(awaited, epoch) => {
                        let until = Some(Instant::now() + SLICE);
                        if let Ok(Some(answer)) = worker.wait(awaited, until, epoch) {
                            self.work.answer(&mut self.hand.lock(), answer);
                        }
                    }
                }
            }
        }
    }
}
