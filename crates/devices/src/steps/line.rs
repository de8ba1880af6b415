//! How work that is under way reaches memory.

use std::ops::Range;

use engine::{Answer, Awaited, Burst, DmaFault, PageRequest, Rights};
use mem::PAGE_SIZE;

use super::{Notice, Step};
use crate::worker::{Halt, Worker};

/// The group of page requests that devices of one queue of work use: one request is under way at most.
const GROUP: u16 = 0;

/// Why work does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A reset came: the work is to be dropped.
    Gone,
    /// It waits for an answer, and is to be tried again then.
    Waits,
    /// An access failed.
    Fault(Fault),
}

/// An access that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub at: u64,
    pub write: bool,
    /// Whether the page was asked for by the device, and there will be none.
    pub asked: bool,
}

/// The way to memory of a piece of work.
#[derive(Debug)]
pub(crate) struct Line {
    pub epoch: u64,
    pub pasid: Option<u32>,
    /// Counts with a PASID only: other requests do not tell.
    pub privileged: bool,
    /// Whether pages that are missing are asked for (ATS and PRI).
    pub asks: bool,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    name: Awaited,
    fault: Fault,
    answer: Option<Answer>,
}

impl Line {
    /// Requests without a PASID, for work of an epoch.
    pub fn new(epoch: u64) -> Self {
        Self { epoch, pasid: None, privileged: false, asks: false, waiting: None }
    }

    /// What a step comes to that could not be made for now.
    pub fn wait(&self) -> Step {
        let awaited = self.waiting.as_ref().map(|waiting| waiting.name);
        awaited.map_or(Step::Done, |awaited| Step::Waits(awaited, self.epoch))
    }

    /// The answer came.
    pub fn answer(&mut self, answer: Answer) {
        if let Some(waiting) = &mut self.waiting {
            waiting.answer = Some(answer);
        }
    }

    /// Reads memory; what is read before a fault stays read.
    pub fn read(
        &mut self,
        worker: &Worker<Notice>,
        iova: u64,
        to: &mut [u8],
    ) -> Result<(), Trouble> {
        let asks = self.asks;
        self.reach(worker, iova, to.len(), Rights::READ, |burst, at, range| match asks {
            true => burst.read_translated(at, &mut to[range]),
            false => burst.read(at, &mut to[range]).map(|()| true),
        })
    }

    /// Writes memory; what is written before a fault stays written.
    pub fn write(
        &mut self,
        worker: &Worker<Notice>,
        iova: u64,
        from: &[u8],
    ) -> Result<(), Trouble> {
        let asks = self.asks;
        let rights = Rights::WRITE;
        self.reach(worker, iova, from.len(), rights, |burst, at, range| match asks {
            true => burst.write_translated(at, &from[range]),
            false => burst.write(at, &from[range]).map(|()| true),
        })
    }

    /// Accesses memory, part by part of a page each; false where there is no translation for it.
    fn reach(
        &mut self,
        worker: &Worker<Notice>,
        iova: u64,
        length: usize,
        rights: Rights,
        mut access: impl FnMut(&mut Burst<'_>, u64, Range<usize>) -> Result<bool, DmaFault>,
    ) -> Result<(), Trouble> {
        self.take_answer()?;
        let (pasid, asks) = (self.pasid, self.asks);
        let privileged = self.privileged && pasid.is_some();
        let failed = worker.gated(self.epoch, |dma| {
            dma.burst(pasid, |burst| {
                burst.set_privileged(privileged);
                let mut done = 0;
                while done < length {
                    let Some(at) = iova.checked_add(done as u64) else {
                        return Some((iova, Some(DmaFault::NoMemory)));
                    };
                    let size = ((PAGE_SIZE - at % PAGE_SIZE) as usize).min(length - done);
                    let granted = match asks {
                        true => burst.request_translation(at, rights),
                        false => Ok(rights),
                    };
                    let reached = match granted {
                        Ok(granted) if granted.contains(rights) => {
                            access(burst, at, done..done + size)
                        }
                        Ok(_) => Ok(false),
                        Err(fault) => Err(fault),
                    };
                    match reached {
                        Ok(true) => done += size,
                        Ok(false) => return Some((at, None)),
                        Err(fault) => return Some((at, Some(fault))),
                    }
                }
                None
            })
        });
        let write = rights.contains(Rights::WRITE);
        let fault = |at, asked| Fault { at, write, asked };
        match failed {
            Ok(None) => Ok(()),
            Err(Halt::Reset) => Err(Trouble::Gone),
            Err(_) => Err(Trouble::Fault(fault(iova, false))),
            Ok(Some((at, Some(DmaFault::Stalled { tag })))) => {
                Err(self.wait_for(Awaited::Stall(tag), fault(at, false)))
            }
            Ok(Some((at, Some(_)))) => Err(Trouble::Fault(fault(at, false))),
            Ok(Some((at, None))) => {
                let (pasid, privileged) = (self.pasid, self.privileged && self.pasid.is_some());
                let request =
                    PageRequest { pasid, iova: at, rights, privileged, group: GROUP, last: true };
                match worker.gated(self.epoch, |dma| dma.request_page(request)) {
                    Ok(()) => Err(self.wait_for(Awaited::Group(GROUP), fault(at, true))),
                    Err(Halt::Reset) => Err(Trouble::Gone),
                    Err(_) => Err(Trouble::Fault(fault(at, false))),
                }
            }
        }
    }

    fn take_answer(&mut self) -> Result<(), Trouble> {
        let Some(waiting) = self.waiting.take() else { return Ok(()) };
        match waiting.answer {
            Some(Answer::Success) => Ok(()),
            Some(Answer::Invalid | Answer::Failure) => Err(Trouble::Fault(waiting.fault)),
            None => {
                self.waiting = Some(waiting);
                Err(Trouble::Waits)
            }
        }
    }

    fn wait_for(&mut self, name: Awaited, fault: Fault) -> Trouble {
        self.waiting = Some(Waiting { name, fault, answer: None });
        Trouble::Waits
    }
}
