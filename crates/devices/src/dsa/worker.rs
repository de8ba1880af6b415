//! Making descriptors.

use engine::{Answer, Interrupts};
use parking_lot::Mutex;

use super::descriptor::{Descriptor, Outcome};
use super::device::{Device, Failed};
use super::operation::{Operation, Pieces};
use super::queue::{Entry, Limits};
use super::spec::{self, flag, opcode, status};
use crate::registers::Registers;
use crate::steps::{Line, Notice, Step, Trouble, Work};
use crate::worker::Worker;

/// What the thread and stores share.
#[derive(Debug)]
pub(super) struct Shared {
    pub worker: Worker<Notice>,
    pub interrupts: Interrupts,
    pub registers: Registers,
    pub device: Mutex<Device>,
}

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Hand {
    job: Option<Job>,
    pieces: Pieces,
}

/// A descriptor of a queue under way.
#[derive(Debug)]
struct Job {
    queue: usize,
    line: Line,
    limits: Limits,
    batch: Option<Batch>,
    doing: Doing,
}

/// A batch under way.
#[derive(Clone, Copy, Debug)]
struct Batch {
    descriptor: Descriptor,
    /// Descriptors that are done.
    done: u32,
    failed: bool,
}

#[derive(Debug)]
enum Doing {
    /// Looks what a descriptor wants.
    Check(Descriptor),
    Operate(Descriptor, Operation),
    /// Reads the next descriptor of a batch.
    Fetch(Batch),
    /// Tells of the end of a descriptor.
    Tell(Descriptor, Outcome),
    /// Nothing more.
    Over,
}

impl Work for Shared {
    type Hand = Hand;

    const NAME: &'static str = "dsa";

    /// A batch of 512 descriptors, and a few more: 64 MiB at most.
    const AT_ONCE: u32 = 2048;

    fn worker(&self) -> &Worker<Notice> {
        &self.worker
    }

    fn step(&self, hand: &mut Hand) -> Step {
        let Hand { job: place, pieces } = hand;
        self.end(place);
        let Some(job) = place else { return self.begin(place) };
        match self.advance(job, pieces) {
            Ok(()) => {
                // what is told to be over is: a command may come next that waits for that
                if matches!(job.doing, Doing::Over) {
                    self.end(place);
                }
                Step::Done
            }
            Err(Trouble::Waits) => job.line.wait(),
            Err(Trouble::Fault(fault)) => {
                let outcome = Outcome::fault(fault);
                self.fail(job, outcome);
                Step::Done
            }
            Err(Trouble::Gone) => {
                *place = None;
                Step::Done
            }
        }
    }

    fn answer(&self, hand: &mut Hand, answer: Answer) {
        if let Some(job) = &mut hand.job {
            job.line.answer(answer);
        }
    }
}

impl Shared {
    /// Drops what is over, or was reset or aborted.
    fn end(&self, place: &mut Option<Job>) {
        let Some(job) = place else { return };
        let mut device = self.device.lock();
        let same = device.epoch == job.line.epoch;
        let over = matches!(job.doing, Doing::Over);
        if same && !over && !device.is_aborted(job.queue, job.line.pasid) {
            return;
        }
        *place = None;
        if same {
            device.running = None;
            if device.settle() {
                self.show(&mut device);
            }
        }
    }

    /// Takes the next descriptor of a queue.
    fn begin(&self, place: &mut Option<Job>) -> Step {
        let mut device = self.device.lock();
        let epoch = device.epoch;
        let Some((queue, entry)) = device.next() else { return Step::Idle };
        device.show_queue(queue, &self.registers);
        let Entry { descriptor, pasid } = entry;
        let mut line = Line::new(epoch);
        line.pasid = pasid;
        let limits = device.limits(queue);
        let doing = Doing::Check(descriptor);
        *place = Some(Job { queue, line, limits, batch: None, doing });
        Step::Begun(epoch)
    }

    /// Shows the registers, and raises the device's interrupt if it is to come.
    pub fn show(&self, device: &mut Device) {
        device.show(&self.registers);
        if std::mem::take(&mut device.interrupts) {
            // without bus mastering no message comes
            let _ = self.worker.gated(device.epoch, |_| self.interrupts.raise(0));
        }
    }

    fn advance(&self, job: &mut Job, pieces: &mut Pieces) -> Result<(), Trouble> {
        job.doing = match &mut job.doing {
            Doing::Check(descriptor) => {
                let descriptor = *descriptor;
                job.check(descriptor)
            }
            Doing::Operate(descriptor, operation) => {
                match operation.advance(&mut job.line, &self.worker, pieces)? {
                    Some(outcome) => Doing::Tell(*descriptor, outcome),
                    None => return Ok(()),
                }
            }
            Doing::Fetch(batch) => {
                let batch = *batch;
                self.fetch(job, batch)?
            }
            Doing::Tell(descriptor, outcome) => {
                let (descriptor, outcome) = (*descriptor, *outcome);
                self.tell(job, &descriptor, &outcome)?
            }
            Doing::Over => Doing::Over,
        };
        Ok(())
    }

    /// The next descriptor of a batch, or its end.
    fn fetch(&self, job: &mut Job, batch: Batch) -> Result<Doing, Trouble> {
        let Batch { descriptor, done, failed } = batch;
        let end = |job: &mut Job| {
            let status = if failed { status::BATCH_FAIL } else { status::SUCCESS };
            job.batch = None;
            Doing::Tell(descriptor, Outcome { status, done, ..Outcome::default() })
        };
        if done == descriptor.size {
            return Ok(end(job));
        }
        job.line.asks = descriptor.has(flag::BOF) && job.limits.asks;
        job.line.privileged = descriptor.privileged;
        let at = descriptor.source.wrapping_add(u64::from(done) * spec::DESCRIPTOR_SIZE as u64);
        let mut bytes = [0; spec::DESCRIPTOR_SIZE];
        job.line.read(&self.worker, at, &mut bytes)?;
        let next = Descriptor::decode(&bytes);
        // what stands before the fence has failed
        if failed && next.has(flag::FENCE) {
            return Ok(end(job));
        }
        // it is of whom the batch is
        Ok(Doing::Check(next.of(&descriptor)))
    }

    /// Writes a completion record if there is to be one, then raises an interrupt.
    fn tell(
        &self,
        job: &mut Job,
        descriptor: &Descriptor,
        outcome: &Outcome,
    ) -> Result<Doing, Trouble> {
        let failed = job.failed(descriptor);
        let records = failed.has_record() && outcome.status != status::CRA_ALIGN;
        if records && (descriptor.has(flag::RCR) || outcome.status != status::SUCCESS) {
            let record = outcome.encode();
            // the status comes last
            let rest = descriptor.record.wrapping_add(8);
            job.line.write(&self.worker, rest, &record[8..])?;
            job.line.write(&self.worker, descriptor.record, &record[..8])?;
        }
        if !records && !outcome.is_success() {
            self.record_error(job, &failed, outcome);
        }
        if descriptor.has(flag::RCI) && outcome.status != status::INT_HANDLE_INVAL {
            let raise = |_: &_| self.interrupts.raise(descriptor.handle.into());
            let _ = self.worker.gated(job.line.epoch, raise);
        }
        Ok(job.after(!outcome.is_success()))
    }

    fn record_error(&self, job: &Job, failed: &Failed, outcome: &Outcome) {
        let mut device = self.device.lock();
        if device.epoch == job.line.epoch {
            device.record_error(failed, outcome);
            self.show(&mut device);
        }
    }

    /// An access failed.
    fn fail(&self, job: &mut Job, fault: Outcome) {
        job.doing = match &job.doing {
            Doing::Operate(descriptor, operation) => {
                Doing::Tell(*descriptor, operation.ends_by(fault))
            }
            Doing::Fetch(Batch { descriptor, done, .. }) => {
                let (descriptor, done) = (*descriptor, *done);
                job.batch = None;
                let status = status::BATCH_PAGE_FAULT;
                Doing::Tell(descriptor, Outcome { status, done, ..fault })
            }
            Doing::Tell(descriptor, _) => {
                let failed = job.failed(descriptor);
                let status = status::CRA_XLAT | status::WRITE;
                self.record_error(job, &failed, &Outcome { status, ..fault });
                job.after(true)
            }
            Doing::Check(_) | Doing::Over => Doing::Over,
        };
    }
}

impl Job {
    fn check(&mut self, descriptor: Descriptor) -> Doing {
        self.line.asks = descriptor.has(flag::BOF) && self.limits.asks;
        // one that must not be is told of without
        self.line.privileged = descriptor.privileged && self.limits.privileged;
        match descriptor.check(&self.limits, self.batch.is_some()) {
            Err(outcome) => Doing::Tell(descriptor, outcome),
            Ok(()) if descriptor.opcode == opcode::BATCH => {
                let batch = Batch { descriptor, done: 0, failed: false };
                self.batch = Some(batch);
                Doing::Fetch(batch)
            }
            Ok(()) => Doing::Operate(descriptor, Operation::new(descriptor)),
        }
    }

    fn failed(&self, descriptor: &Descriptor) -> Failed {
        let (queue, pasid) = (self.queue, self.line.pasid);
        let index = self.batch.map(|batch| batch.done);
        Failed { descriptor: *descriptor, queue, pasid, index }
    }

    /// What comes after a descriptor.
    fn after(&mut self, failed: bool) -> Doing {
        let Some(batch) = &mut self.batch else { return Doing::Over };
        batch.done += 1;
        batch.failed |= failed;
        Doing::Fetch(*batch)
    }
}
