//! Page requests, stalled accesses and their answers.
//!
//! A device that finds a page missing asks for it (PRI), by one request or by a group of them, of which
//! the last says so. An SMMU asks for the device, which waits. Either way the program reads a group and
//! answers it as a whole, and where nobody handles the group, it is answered at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use pt::Rights;
use uapi::iommufd::{
    IOMMU_PGFAULT_FLAGS_LAST_PAGE, IOMMU_PGFAULT_FLAGS_PASID_VALID, IOMMU_PGFAULT_PERM_EXEC,
    IOMMU_PGFAULT_PERM_PRIV, IOMMU_PGFAULT_PERM_READ, IOMMU_PGFAULT_PERM_WRITE, iommu_hwpt_pgfault,
};

use super::requester::{Programmed, Requester};
use crate::device::NO_PASID;
use crate::events::FaultGroup;
use crate::hw::Report;
use crate::hw::request::Request;

/// A device's request for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// None for a request without a PASID.
    pub pasid: Option<u32>,
    /// An address in the page.
    pub iova: u64,
    /// What it is wanted for.
    pub rights: Rights,
    /// Whether with privilege.
    pub privileged: bool,
    /// The group that it belongs to, of 9 bits.
    pub group: u16,
    /// Whether it is the last of the group.
    pub last: bool,
}

/// An answer to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The pages are there: try again.
    Success,
    /// They will not be.
    Invalid,
    /// Nor will any others: the device shall not ask again before it is reset (PCIe 10.4.2.1). Only the API of
    /// 2020 can say so.
    Failure,
}

/// What a device waits for an answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Awaited {
    /// A group of page requests.
    Group(u16),
    /// A stalled access, by its tag.
    Stall(u16),
}

/// What a device waits for, and the answers that came.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The device was told to ask for no more pages ([`Answer::Failure`]).
    failed: bool,
    /// Each with a number that no other has, so that a late answer to an earlier one finds nothing.
    by_name: BTreeMap<Awaited, (u64, Option<Answer>)>,
    next: u64,
    last_stall: u16,
}

impl Waiting {
    fn begin(&mut self, name: Awaited) -> u64 {
        self.next += 1;
        self.by_name.insert(name, (self.next, None));
        self.next
    }
}

impl Answers {
    /// A group begins to wait.
    fn begin(self: &Arc<Self>, name: Awaited) -> Reply {
        let number = self.state.lock().begin(name);
        Reply { to: Some((Arc::downgrade(self), name, number)) }
    }

    /// An access begins to wait, by a tag that no other waits by; none when all are taken.
    fn begin_stall(self: &Arc<Self>) -> Option<(u16, Reply)> {
        let mut state = self.state.lock();
        let tags = || (1..=u16::MAX).map(|more| state.last_stall.wrapping_add(more));
        let waiting = |tag: &u16| state.by_name.get(&Awaited::Stall(*tag));
        let free = tags().find(|tag| waiting(tag).is_none());
        // an answer that nobody came for is given up before an access is
        let answered = || tags().find(|tag| waiting(tag).is_some_and(|(_, it)| it.is_some()));
        let tag = free.or_else(answered)?;
        state.last_stall = tag;
        let name = Awaited::Stall(tag);
        let number = state.begin(name);
        Some((tag, Reply { to: Some((Arc::downgrade(self), name, number)) }))
    }

    fn give(&self, name: Awaited, number: u64, answer: Answer) {
        let mut state = self.state.lock();
        if let Some(waiting) = state.by_name.get_mut(&name)
            && waiting.0 == number
        {
            waiting.1 = Some(answer);
            state.failed |= answer == Answer::Failure;
            self.changed.notify_all();
        }
    }

    /// Whether the device was told to ask for no more pages.
    fn failed(&self) -> bool {
        self.state.lock().failed
    }

    /// The device is reset, and may ask again.
    pub fn reset(&self) {
        self.state.lock().failed = false;
    }

    pub fn wait(&self, name: Awaited, time: Duration) -> Option<Answer> {
        let until = Instant::now().checked_add(time);
        let mut state = self.state.lock();
        loop {
            if let Some((_, Some(answer))) = state.by_name.get(&name) {
                let answer = *answer;
                state.by_name.remove(&name);
                return Some(answer);
            }
            match until {
                Some(until) if Instant::now() >= until => return None,
                Some(until) => _ = self.changed.wait_until(&mut state, until),
                None => self.changed.wait(&mut state),
            }
        }
    }
}

/// Who waits for the answer to a group. Dropped without one, it is answered as invalid: what is
/// detached, replaced or closed leaves no device waiting.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    to: Option<(Weak<Answers>, Awaited, u64)>,
}

impl Reply {
    pub fn give(mut self, answer: Answer) {
        self.send(answer);
    }

    fn send(&mut self, answer: Answer) {
        if let Some((answers, name, number)) = self.to.take()
            && let Some(answers) = answers.upgrade()
        {
            answers.give(name, number, answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.send(Answer::Invalid);
    }
}

/// What a device has asked for.
#[derive(Debug, Default)]
pub(super) struct Requests {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests whose groups are not whole.
    partial: Vec<iommu_hwpt_pgfault>,
}

/// As many requests wait for the last of their groups; more are lost, as where a queue overflows.
const MAX_PARTIAL: usize = 512;

impl Requester {
    /// `iommu_report_device_fault`, `drivers/iommu/io-pgfault.c`.
    pub(super) fn request_page(&self, request: PageRequest) {
        let report = self.hw.report_of(&request);
        if report == Report::Drop {
            return;
        }
        // held until the group is in the queue, so that a detach finds it there
        let mut state = self.requests.state.lock();
        let handler = self.handler(request.pasid).filter(|_| report == Report::Deliver);
        let mut message = message(&request);
        message.flags |= self.hw.page_request_flags(&request);
        if !request.last {
            // what is not the last of its group needs no answer
            let room = state.partial.len() < MAX_PARTIAL;
            state.partial.extend((handler.is_some() && room).then_some(message));
            return;
        }
        let (mut faults, rest): (Vec<_>, Vec<_>) =
            state.partial.drain(..).partition(|it| it.grpid == message.grpid);
        state.partial = rest;
        let reply = self.answers.begin(Awaited::Group(request.group));
        if self.answers.failed() {
            return reply.give(Answer::Failure);
        }
        // without a handler the reply is dropped, which answers it
        if let Some(programmed) = handler {
            faults.push(message);
            push(&programmed, faults, reply);
        }
    }

    /// An access waits for a page; gives its tag, none when no more can wait.
    pub(super) fn stall(&self, programmed: &Programmed, request: &Request) -> Option<u16> {
        let (tag, reply) = self.answers.begin_stall()?;
        let mut rights = request.access.rights;
        // the event has one bit for both (RnW)
        rights.set(Rights::READ, rights.contains(Rights::READ) && !rights.contains(Rights::WRITE));
        let message = message(&PageRequest {
            pasid: request.pasid,
            iova: request.iova,
            rights,
            privileged: request.access.privileged,
            group: tag,
            last: true,
        });
        // the whole address, not the page's
        push(programmed, vec![iommu_hwpt_pgfault { addr: request.iova, ..message }], reply);
        Some(tag)
    }

    /// Nobody handles page requests any more (`iopf_queue_remove_device`).
    pub fn forget_requests(&self) {
        self.requests.state.lock().partial.clear();
    }

    /// Who handles page requests (`find_fault_handler`, `drivers/iommu/io-pgfault.c`): a PASID that is
    /// not attached belongs to the guest's own table, if one is attached to the device itself.
    fn handler(&self, pasid: Option<u32>) -> Option<Arc<Programmed>> {
        let handler = self
            .attached(pasid.unwrap_or(NO_PASID))
            .or_else(|| self.attached(NO_PASID).filter(|it| self.has_guests_pasids(it)))?;
        handler.faults.is_some().then_some(handler)
    }
}

fn push(programmed: &Programmed, faults: Vec<iommu_hwpt_pgfault>, reply: Reply) {
    let Some(queue) = &programmed.faults else { return };
    let faults = faults
        .into_iter()
        .map(|fault| iommu_hwpt_pgfault { dev_id: programmed.device, ..fault })
        .collect();
    queue.push(FaultGroup { attachment: programmed.attachment, faults, reply });
}

fn message(request: &PageRequest) -> iommu_hwpt_pgfault {
    let bits = [
        (IOMMU_PGFAULT_PERM_READ, request.rights.contains(Rights::READ)),
        (IOMMU_PGFAULT_PERM_WRITE, request.rights.contains(Rights::WRITE)),
        (IOMMU_PGFAULT_PERM_EXEC, request.rights.contains(Rights::EXECUTE)),
        (IOMMU_PGFAULT_PERM_PRIV, request.privileged),
    ];
    let flags = [
        (IOMMU_PGFAULT_FLAGS_PASID_VALID, request.pasid.is_some()),
        (IOMMU_PGFAULT_FLAGS_LAST_PAGE, request.last),
    ];
    let all = |rows: &[(u32, bool)]| {
        rows.iter().filter(|(_, set)| *set).fold(0, |all, (bit, _)| all | bit)
    };
    iommu_hwpt_pgfault {
        flags: all(&flags),
        pasid: request.pasid.unwrap_or(0),
        grpid: request.group.into(),
        perm: all(&bits),
        addr: request.iova & !(mem::PAGE_SIZE - 1),
        ..Default::default()
    }
}
