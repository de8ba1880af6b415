//! Page requests, stalled accesses and their answers.
//!
//! A device that finds a page missing asks for it (PRI), by one request or by a group of them, of which
//! the last says so. An SMMU asks for the device, which waits. Either way the program reads a group and
//! answers it as a whole, and where nobody handles the group, it is answered at once.

use std::collections::{BTreeMap, VecDeque};
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
}

/// Answers that came, by group, or by the tag of a stalled access.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    came: Mutex<BTreeMap<u16, VecDeque<Answer>>>,
    changed: Condvar,
}

impl Answers {
    fn give(&self, tag: u16, answer: Answer) {
        self.came.lock().entry(tag).or_default().push_back(answer);
        self.changed.notify_all();
    }

    pub fn wait(&self, tag: u16, time: Duration) -> Option<Answer> {
        let until = Instant::now() + time;
        let mut came = self.came.lock();
        loop {
            if let Some(answer) = came.get_mut(&tag).and_then(VecDeque::pop_front) {
                return Some(answer);
            }
            if self.changed.wait_until(&mut came, until).timed_out() {
                return came.get_mut(&tag).and_then(VecDeque::pop_front);
            }
        }
    }
}

/// Who waits for the answer to a group. Dropped without one, it is answered as invalid: what is
/// detached, replaced or closed leaves no device waiting.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    to: Option<(Weak<Answers>, u16)>,
}

impl Reply {
    pub fn give(mut self, answer: Answer) {
        self.send(answer);
    }

    fn send(&mut self, answer: Answer) {
        if let Some((answers, tag)) = self.to.take()
            && let Some(answers) = answers.upgrade()
        {
            answers.give(tag, answer);
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
    next_stall: u16,
}

impl Requester {
    /// `iommu_report_device_fault`, `drivers/iommu/io-pgfault.c`.
    pub(super) fn request_page(&self, request: PageRequest) {
        let mut state = self.requests.state.lock();
        let handler = self.handler(request.pasid).filter(|_| self.hw.reports(&request));
        let message = message(&request);
        if !request.last {
            // what is not the last of its group needs no answer
            state.partial.extend(handler.is_some().then_some(message));
            return;
        }
        let (mut faults, rest): (Vec<_>, Vec<_>) =
            state.partial.drain(..).partition(|it| it.grpid == message.grpid);
        state.partial = rest;
        drop(state);
        let reply = Reply { to: Some((Arc::downgrade(&self.answers), request.group)) };
        // without a handler the reply is dropped, which answers it
        if let Some(programmed) = handler {
            faults.push(message);
            push(&programmed, faults, reply);
        }
    }

    /// An access waits for a page; gives its tag.
    pub(super) fn stall(&self, programmed: &Programmed, request: &Request) -> u16 {
        let tag = {
            let mut state = self.requests.state.lock();
            state.next_stall = state.next_stall.wrapping_add(1);
            state.next_stall
        };
        let reply = Reply { to: Some((Arc::downgrade(&self.answers), tag)) };
        let message = message(&PageRequest {
            pasid: request.pasid,
            iova: request.iova,
            rights: request.access.rights,
            privileged: request.access.privileged,
            group: tag,
            last: true,
        });
        // the whole address, not the page's
        push(programmed, vec![iommu_hwpt_pgfault { addr: request.iova, ..message }], reply);
        tag
    }

    /// Who handles page requests (`find_fault_handler`, `drivers/iommu/io-pgfault.c`): a PASID that is
    /// not attached belongs to the guest's own table, if one is attached to the device itself.
    fn handler(&self, pasid: Option<u32>) -> Option<Arc<Programmed>> {
        let handler = self
            .attached(pasid.unwrap_or(NO_PASID))
            .or_else(|| self.attached(NO_PASID).filter(|it| it.guest.is_some()))?;
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
