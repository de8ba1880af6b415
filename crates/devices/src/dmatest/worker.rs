//! The device's thread: it takes scripts one after the other and makes their operations.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use engine::{Answer, Awaited, Burst, Dma, DmaFault, DmaLog, PageRequest, Rights};
use parking_lot::Mutex;

use super::Settings;
use super::registers::Registers;
use super::script::{Action, Operation, Outcome, Status};
use crate::worker::{Halt, Worker};

const PAGE: u64 = 4096;

/// How often an access is tried, and its pages asked for.
const ATTEMPTS: u32 = 64;

/// A script under way.
#[derive(Debug)]
pub(super) struct Job {
    /// Operations; none in place of nonsense.
    pub script: Vec<Option<Operation>>,
    pub epoch: u64,
    /// Who gets the outcome; the registers when nobody.
    pub to: Option<Sender<Vec<Outcome>>>,
}

/// What the thread and those who tell it what to do share.
#[derive(Debug)]
pub(super) struct Shared {
    pub worker: Worker<VecDeque<Job>>,
    pub registers: Mutex<Registers>,
    pub log: Option<DmaLog>,
}

/// What one try of an access comes to.
enum Tried {
    Bytes(Vec<u8>),
    Word(u64),
    Granted(Rights),
    NotTranslated,
    /// Pages that must be asked for.
    Missing(Vec<u64>),
}

impl From<Halt> for Status {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Reset => Self::Cancelled,
            Halt::NoBusMaster => Self::NoBusMaster,
            Halt::Fault(DmaFault::Refused { code }) => Self::Refused { code },
            Halt::Fault(DmaFault::NoMemory) => Self::NoMemory,
            Halt::Fault(DmaFault::Stalled { .. }) | Halt::NotGranted => Self::NotGranted,
        }
    }
}

impl Shared {
    /// Errors are those of making memory.
    pub fn new(dma: Dma, settings: Settings) -> io::Result<Self> {
        let Settings { latency, bus_master, dma_logging } = settings;
        Ok(Self {
            worker: Worker::new(dma, latency, bus_master, VecDeque::new()),
            registers: Mutex::new(Registers::new(latency)?),
            log: dma_logging.then(DmaLog::default),
        })
    }

    /// Hands over a script; see [`Job`].
    pub fn submit(&self, script: Vec<Option<Operation>>, to: Option<Sender<Vec<Outcome>>>) {
        let epoch = self.worker.epoch();
        self.worker.tell(|jobs| jobs.push_back(Job { script, epoch, to }));
    }

    /// The thread.
    pub fn work_on(&self) {
        while let Some(job) = self.worker.next(VecDeque::pop_front) {
            let (epoch, to) = (job.epoch, job.to.clone());
            let outcomes: Vec<_> = job.script.iter().map(|it| self.make(it, epoch)).collect();
            self.worker.delay(epoch);
            match to {
                // who does not want it any more has dropped the other end
                Some(to) => _ = to.send(outcomes),
                None => self.complete(epoch, &outcomes),
            }
        }
    }

    fn complete(&self, epoch: u64, outcomes: &[Outcome]) {
        let mut registers = self.registers.lock();
        if self.worker.epoch() == epoch {
            registers.complete(outcomes);
        }
    }

    fn make(&self, operation: &Option<Operation>, epoch: u64) -> Outcome {
        let Some(operation) = operation.as_ref().filter(|it| it.is_sound()) else {
            return Outcome::of(Status::Malformed);
        };
        let mut outcome = Outcome::of(Status::Done);
        if let Err(status) = self.make_sound(operation, epoch, &mut outcome) {
            outcome.status = status;
        }
        outcome
    }

    fn make_sound(
        &self,
        operation: &Operation,
        epoch: u64,
        outcome: &mut Outcome,
    ) -> Result<(), Status> {
        match operation.action {
            Action::RequestPage { rights, group, last } => {
                let address = operation.address;
                return self.request(operation, rights, epoch, outcome, group, &[address], last);
            }
            Action::Await { group } => {
                return self.wait(Awaited::Group(group), operation.timeout, epoch);
            }
            _ => {}
        }
        for _ in 0..ATTEMPTS {
            outcome.attempts += 1;
            match self.access(operation, epoch)? {
                Ok(Tried::Bytes(bytes)) => {
                    outcome.bytes = bytes;
                    return Ok(());
                }
                Ok(Tried::Word(word)) => {
                    (outcome.value, outcome.bytes) = (word, word.to_le_bytes().to_vec());
                    return Ok(());
                }
                Ok(Tried::Granted(rights)) => {
                    outcome.granted = rights;
                    return Ok(());
                }
                Ok(Tried::NotTranslated) => return Err(Status::NotTranslated),
                Ok(Tried::Missing(pages)) => {
                    let group = operation.page_requests.unwrap_or(0);
                    let rights = operation.reach().map_or(Rights::READ, |(rights, _)| rights);
                    self.request(operation, rights, epoch, outcome, group, &pages, true)?;
                    self.wait(Awaited::Group(group), operation.timeout, epoch)?;
                }
                Err(DmaFault::Stalled { tag }) => {
                    self.wait(Awaited::Stall(tag), operation.timeout, epoch)?;
                }
                Err(fault) => return Err(Halt::Fault(fault).into()),
            }
        }
        Err(Status::NotGranted)
    }

    /// Asks for pages, as one group or as a part of it.
    #[expect(clippy::too_many_arguments, reason = "fields of a message")]
    fn request(
        &self,
        operation: &Operation,
        rights: Rights,
        epoch: u64,
        outcome: &mut Outcome,
        group: u16,
        pages: &[u64],
        ends: bool,
    ) -> Result<(), Status> {
        let Operation { pasid, privileged, .. } = *operation;
        for (index, page) in pages.iter().enumerate() {
            let last = ends && index + 1 == pages.len();
            let request = PageRequest { pasid, iova: *page, rights, privileged, group, last };
            self.worker.gated(epoch, |dma| dma.request_page(request))?;
            outcome.requests += 1;
        }
        Ok(())
    }

    /// Waits for an answer that lets the device go on.
    fn wait(&self, awaited: Awaited, time: Duration, epoch: u64) -> Result<(), Status> {
        match self.worker.wait(awaited, Some(Instant::now() + time), epoch)? {
            Some(Answer::Success) => Ok(()),
            Some(Answer::Invalid) => Err(Status::AnsweredInvalid),
            Some(Answer::Failure) => Err(Status::AnsweredFailure),
            None => Err(Status::TimedOut),
        }
    }

    fn access(&self, operation: &Operation, epoch: u64) -> Result<Result<Tried, DmaFault>, Halt> {
        self.worker.gated(epoch, |dma| {
            dma.burst(operation.pasid, |burst| {
                burst.set_privileged(operation.privileged);
                // what has a PASID goes to another address space than the one that is logged
                let log = self.log.as_ref().filter(|_| operation.pasid.is_none());
                match operation.page_requests {
                    None => access(operation, burst, log),
                    Some(_) => access_translated(operation, burst, log),
                }
            })
        })
    }
}

/// Tells the log what was written.
fn note(log: Option<&DmaLog>, address: u64, bytes: usize) {
    if let Some(log) = log {
        log.wrote(address, bytes);
    }
}

/// Writes a page after the other, so that what is written before a fault is in the log.
fn write(
    burst: &mut Burst<'_>,
    log: Option<&DmaLog>,
    address: u64,
    bytes: &[u8],
) -> Result<(), DmaFault> {
    let mut rest = bytes;
    for (at, length) in pages(address, bytes.len() as u32) {
        let (part, after) = rest.split_at(length);
        burst.write(at, part)?;
        note(log, at, length);
        rest = after;
    }
    Ok(())
}

fn access(
    operation: &Operation,
    burst: &mut Burst<'_>,
    log: Option<&DmaLog>,
) -> Result<Tried, DmaFault> {
    let address = operation.address;
    let room = |size: u32| vec![0; size as usize];
    Ok(match operation.action {
        Action::Read { size } => {
            let mut bytes = room(size);
            burst.read(address, &mut bytes)?;
            Tried::Bytes(bytes)
        }
        Action::Fetch { size } => {
            let mut bytes = room(size);
            burst.fetch(address, &mut bytes)?;
            Tried::Bytes(bytes)
        }
        Action::Write { size, pattern } => {
            write(burst, log, address, &repeat(pattern, size))?;
            Tried::Bytes(Vec::new())
        }
        Action::AtomicAdd { addend } => {
            let word = burst.update(address, |word| word.wrapping_add(addend))?;
            note(log, address, 8);
            Tried::Word(word)
        }
        Action::Translate { rights } => Tried::Granted(burst.request_translation(address, rights)?),
        Action::ReadTranslated { size } => {
            let mut bytes = room(size);
            match burst.read_translated(address, &mut bytes)? {
                true => Tried::Bytes(bytes),
                false => Tried::NotTranslated,
            }
        }
        Action::WriteTranslated { size, pattern } => {
            match burst.write_translated(address, &repeat(pattern, size))? {
                true => {
                    note(log, address, size as usize);
                    Tried::Bytes(Vec::new())
                }
                false => Tried::NotTranslated,
            }
        }
        Action::RequestPage { .. } | Action::Await { .. } => Tried::NotTranslated,
    })
}

/// Asks for translations, and accesses memory by them when all are there.
fn access_translated(
    operation: &Operation,
    burst: &mut Burst<'_>,
    log: Option<&DmaLog>,
) -> Result<Tried, DmaFault> {
    let Some((rights, size)) = operation.reach() else { return access(operation, burst, log) };
    let mut missing = Vec::new();
    for (at, _) in pages(operation.address, size) {
        if !burst.request_translation(at, rights)?.contains(rights) {
            missing.push(at);
        }
    }
    if !missing.is_empty() {
        return Ok(Tried::Missing(missing));
    }
    let mut bytes = match operation.action {
        Action::Read { size } => vec![0; size as usize],
        Action::Write { size, pattern } => repeat(pattern, size),
        _ => return access(operation, burst, log),
    };
    let reads = matches!(operation.action, Action::Read { .. });
    let mut done = 0;
    for (at, length) in pages(operation.address, size) {
        let part = &mut bytes[done..done + length];
        let kept = match operation.action {
            Action::Read { .. } => burst.read_translated(at, part)?,
            _ => burst.write_translated(at, part)?,
        };
        if !kept {
            // it had no room for the translation, or was made to forget it
            return access(operation, burst, log);
        }
        if !reads {
            note(log, at, length);
        }
        done += length;
    }
    Ok(Tried::Bytes(if reads { bytes } else { Vec::new() }))
}

/// A range in parts of one page each: address and bytes.
fn pages(address: u64, size: u32) -> impl Iterator<Item = (u64, usize)> {
    let end = address + u64::from(size);
    let mut at = address;
    std::iter::from_fn(move || {
        let next = (at | (PAGE - 1)).saturating_add(1).min(end);
        let part = (at < end).then_some((at, (next - at) as usize));
        at = next;
        part
    })
}

fn repeat(pattern: u64, size: u32) -> Vec<u8> {
    pattern.to_le_bytes().iter().copied().cycle().take(size as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_in_pages() {
        let parts = |address, size| pages(address, size).collect::<Vec<_>>();
        assert_eq!(parts(0x1000, 0), []);
        assert_eq!(parts(0xfff, 2), [(0xfff, 1), (0x1000, 1)]);
        assert_eq!(parts(0x1000, 0x2001), [(0x1000, 0x1000), (0x2000, 0x1000), (0x3000, 1)]);
        assert_eq!(parts(u64::MAX - 8, 8), [(u64::MAX - 8, 8)]);
        assert_eq!(repeat(0x0807_0605_0403_0201, 10), [1, 2, 3, 4, 5, 6, 7, 8, 1, 2]);
    }
}
