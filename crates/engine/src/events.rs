//! Queues that a program reads: page faults and virtual events (`drivers/iommu/iommufd/eventq.c`).
//!
//! A queue belongs to an object of the table and is read through a descriptor of its own, so it has
//! its own lock, and tells a [`Signal`] when `poll(2)` shall say something else.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use profile::{Kernel, Quirk};
use uapi::iommufd::{
    IOMMU_VEVENTQ_FLAG_LOST_EVENTS, IOMMUFD_PAGE_RESP_INVALID, IOMMUFD_PAGE_RESP_SUCCESS,
    iommu_hwpt_page_response, iommu_hwpt_pgfault, iommufd_vevent_header,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::dma::{Answer, Reply};
use crate::objects::ObjectId;
use crate::{Caller, Refusal, Signal};

/// The object `IOMMU_FAULT_QUEUE_ALLOC` makes.
#[derive(Debug)]
pub(crate) struct FaultObject {
    pub queue: Arc<FaultQueue>,
}

/// The object `IOMMU_VEVENTQ_ALLOC` makes.
#[derive(Debug)]
pub(crate) struct VeventqObject {
    pub viommu: ObjectId,
    pub kind: u32,
    pub queue: Arc<VeventQueue>,
}

/// Page requests with one group ID, to be answered together.
#[derive(Debug)]
pub(crate) struct FaultGroup {
    /// The attachment that the device used.
    pub attachment: u64,
    /// The messages, the cookie still 0.
    pub faults: Vec<iommu_hwpt_pgfault>,
    /// Who waits for the answer.
    pub reply: Reply,
}

/// Takes groups as they come, in the place of a program that reads.
pub(crate) trait Reader: Send + Sync + std::fmt::Debug {
    /// Takes all of a group, or refuses it: then it is answered as invalid. Called under the lock of the
    /// queue, so it must not call back.
    fn take(&self, faults: &[iommu_hwpt_pgfault]) -> bool;
}

/// Page request groups on their way to the program and back.
#[derive(Debug)]
pub(crate) struct FaultQueue {
    kernel: &'static Kernel,
    state: Mutex<FaultState>,
}

#[derive(Debug, Default)]
struct FaultState {
    deliver: VecDeque<FaultGroup>,
    /// Delivered and not answered, by cookie.
    waiting: BTreeMap<u32, FaultGroup>,
    signal: Option<Arc<dyn Signal>>,
    reader: Option<Arc<dyn Reader>>,
}

impl FaultState {
    fn tell(&self) {
        if let Some(signal) = &self.signal {
            signal.set(!self.deliver.is_empty());
        }
    }
}

impl FaultQueue {
    pub fn new(kernel: &'static Kernel) -> Self {
        Self { kernel, state: Mutex::default() }
    }

    /// A queue that nobody reads: groups are taken as they come.
    pub fn with_reader(kernel: &'static Kernel, reader: Arc<dyn Reader>) -> Self {
        let queue = Self::new(kernel);
        queue.state.lock().reader = Some(reader);
        queue
    }

    /// A group from a device.
    pub fn push(&self, group: FaultGroup) {
        let mut state = self.state.lock();
        if let Some(reader) = &state.reader {
            if reader.take(&group.faults) {
                let youngest = state.waiting.last_key_value().map_or(0, |(cookie, _)| *cookie);
                state.waiting.insert(youngest.saturating_add(1), group);
            }
            return;
        }
        state.deliver.push_back(group);
        state.tell();
    }

    /// Answers the group that has waited longest of those that are meant, by its last page; false when
    /// there is none.
    pub fn answer(&self, is_meant: impl Fn(&iommu_hwpt_pgfault) -> bool, answer: Answer) -> bool {
        let mut state = self.state.lock();
        let last = |group: &FaultGroup| group.faults.last().is_some_and(&is_meant);
        let found = state.waiting.iter().find(|(_, group)| last(group));
        let Some(cookie) = found.map(|(cookie, _)| *cookie) else { return false };
        if let Some(group) = state.waiting.remove(&cookie) {
            group.reply.give(answer);
        }
        true
    }

    /// Answers everything that came through an attachment that ends
    /// (`iommufd_auto_response_faults`).
    pub fn drop_attachment(&self, attachment: u64) {
        let mut state = self.state.lock();
        state.deliver.retain(|group| group.attachment != attachment);
        state.waiting.retain(|_, group| group.attachment != attachment);
        state.tell();
    }

    /// Answers everything that a device waits for.
    pub fn drop_device(&self, device: ObjectId) {
        let others = |group: &FaultGroup| group.faults.iter().all(|it| it.dev_id != device.0);
        let mut state = self.state.lock();
        state.deliver.retain(others);
        state.waiting.retain(|_, group| others(group));
        state.tell();
    }

    /// `read(2)` (`iommufd_fault_fops_read`): whole groups, each with its cookie.
    pub fn read(&self, caller: &mut dyn Caller, va: u64, count: u64) -> Result<u64, Refusal> {
        let record = size_of::<iommu_hwpt_pgfault>();
        whole_records(count, record)?;
        let mut state = self.state.lock();
        let mut done = 0;
        while let Some(group) = state.deliver.pop_front() {
            let size = (group.faults.len() * record) as u64;
            if size > count - done {
                state.deliver.push_front(group);
                if done == 0 && self.kernel.has(Quirk::FaultReadNeedsRoom) {
                    let rule = "does not hold the first group";
                    return Err(Refusal::Invalid { field: "count", value: count, rule });
                }
                break;
            }
            let cookie = (1..).find(|id| !state.waiting.contains_key(id)).unwrap_or(u32::MAX);
            let mut bytes = Vec::with_capacity(group.faults.len() * record);
            for fault in &group.faults {
                bytes.extend_from_slice(iommu_hwpt_pgfault { cookie, ..*fault }.as_bytes());
            }
            if caller.memory().write(va.wrapping_add(done), &bytes).is_err() {
                if !self.kernel.has(Quirk::FaultReadKeeps) {
                    // this group is lost, and the loop went on to lose the others
                    state.deliver.clear();
                } else {
                    state.deliver.push_front(group);
                }
                if done == 0 {
                    return Err(Refusal::BadAddress { what: "buffer" });
                }
                break;
            }
            state.waiting.insert(cookie, group);
            done += size;
        }
        state.tell();
        Ok(done)
    }

    /// `write(2)` (`iommufd_fault_fops_write`): answers by cookie.
    pub fn write(&self, caller: &mut dyn Caller, va: u64, count: u64) -> Result<u64, Refusal> {
        let record = size_of::<iommu_hwpt_page_response>();
        whole_records(count, record)?;
        let mut state = self.state.lock();
        let mut done = 0;
        while done < count {
            match state.answer(caller, va.wrapping_add(done)) {
                Ok(()) => done += record as u64,
                Err(Refusal::BadAddress { .. })
                    if done == 0 && !self.kernel.has(Quirk::FaultWriteEfault) =>
                {
                    // what copy_from_user() did not copy, taken for a count of bytes written
                    return Ok(record as u64);
                }
                Err(refusal) if done == 0 => return Err(refusal),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// See [`crate::File::watch`].
    pub fn watch(&self, signal: Arc<dyn Signal>) {
        let mut state = self.state.lock();
        state.signal = Some(signal);
        state.tell();
    }
}

impl FaultState {
    fn answer(&mut self, caller: &mut dyn Caller, va: u64) -> Result<(), Refusal> {
        let mut bytes = [0; size_of::<iommu_hwpt_page_response>()];
        caller.memory().read(va, &mut bytes).map_err(Refusal::bad("buffer"))?;
        let Ok(response) = iommu_hwpt_page_response::read_from_bytes(&bytes) else {
            return Err(Refusal::BadAddress { what: "buffer" });
        };
        if ![IOMMUFD_PAGE_RESP_SUCCESS, IOMMUFD_PAGE_RESP_INVALID].contains(&response.code) {
            let (value, rule) = (response.code.into(), "is no response code");
            return Err(Refusal::Invalid { field: "code", value, rule });
        }
        let answer = match response.code {
            IOMMUFD_PAGE_RESP_SUCCESS => Answer::Success,
            _ => Answer::Invalid,
        };
        match self.waiting.remove(&response.cookie) {
            Some(group) => {
                group.reply.give(answer);
                Ok(())
            }
            None => {
                let (value, rule) = (response.cookie.into(), "no group waits for it");
                Err(Refusal::Invalid { field: "cookie", value, rule })
            }
        }
    }
}

/// Takes the events of a vIOMMU as they come, in the place of a program that reads.
pub(crate) trait EventReader: Send + Sync + std::fmt::Debug {
    /// Takes an event, or loses it.
    fn take_event(&self, data: &[u8]);
}

/// Who is told of the events of one vIOMMU, as the hardware knows them.
#[derive(Debug, Default)]
pub(crate) struct ViommuEvents {
    queues: Mutex<Vec<Arc<VeventQueue>>>,
    reader: Option<Arc<dyn EventReader>>,
}

impl ViommuEvents {
    /// Events are taken as they come, too.
    pub fn with_reader(reader: Arc<dyn EventReader>) -> Self {
        Self { reader: Some(reader), ..Self::default() }
    }

    /// A queue is made.
    pub fn add(&self, queue: &Arc<VeventQueue>) {
        self.queues.lock().push(Arc::clone(queue));
    }

    /// A queue goes away.
    pub fn remove(&self, queue: &Arc<VeventQueue>) {
        self.queues.lock().retain(|it| !Arc::ptr_eq(it, queue));
    }

    /// An event of the one type that hardware reports; lost where nobody made a queue.
    pub fn push(&self, data: &[u8]) {
        if let Some(reader) = &self.reader {
            reader.take_event(data);
        }
        self.queues.lock().iter().for_each(|queue| queue.push(data));
    }
}

/// Events of one type from one vIOMMU.
#[derive(Debug)]
pub(crate) struct VeventQueue {
    kernel: &'static Kernel,
    depth: u32,
    state: Mutex<VeventState>,
}

#[derive(Debug, Default)]
struct VeventState {
    deliver: VecDeque<Vevent>,
    sequence: u32,
    signal: Option<Arc<dyn Signal>>,
}

/// An event, or, with no data, the mark that events were lost. That mark is only ever the last.
#[derive(Debug)]
struct Vevent {
    sequence: u32,
    data: Vec<u8>,
}

impl VeventState {
    fn tell(&self) {
        if let Some(signal) = &self.signal {
            signal.set(!self.deliver.is_empty());
        }
    }
}

impl VeventQueue {
    pub fn new(depth: u32, kernel: &'static Kernel) -> Self {
        Self { kernel, depth, state: Mutex::default() }
    }

    /// An event from the hardware; when the queue is full, the mark that it was lost
    /// (`iommufd_viommu_report_event`).
    pub fn push(&self, data: &[u8]) {
        let mut state = self.state.lock();
        let sequence = state.sequence;
        state.sequence = (sequence + 1) & i32::MAX as u32;
        if state.deliver.back().is_some_and(|last| last.data.is_empty()) {
            state.deliver.pop_back();
        }
        let full = state.deliver.len() as u64 >= u64::from(self.depth);
        let data = if full { Vec::new() } else { data.to_vec() };
        state.deliver.push_back(Vevent { sequence, data });
        state.tell();
    }

    /// `read(2)` (`iommufd_veventq_fops_read`): whole events, each a header and its data.
    pub fn read(&self, caller: &mut dyn Caller, va: u64, count: u64) -> Result<u64, Refusal> {
        let header = size_of::<iommufd_vevent_header>() as u64;
        let needs_room = self.kernel.has(Quirk::VeventqReadNeedsRoom);
        if count < header && needs_room {
            let rule = "shorter than a header";
            return Err(Refusal::Invalid { field: "count", value: count, rule });
        }
        let mut state = self.state.lock();
        let mut done = 0;
        while let Some(event) = state.deliver.front() {
            let size = header + event.data.len() as u64;
            if size > count - done {
                if done == 0 && needs_room {
                    let rule = "does not hold the first event";
                    return Err(Refusal::Invalid { field: "count", value: count, rule });
                }
                break;
            }
            let flags = if event.data.is_empty() { IOMMU_VEVENTQ_FLAG_LOST_EVENTS } else { 0 };
            let head = iommufd_vevent_header { flags, sequence: event.sequence };
            let bytes = [head.as_bytes(), &event.data].concat();
            if caller.memory().write(va.wrapping_add(done), &bytes).is_err() {
                if done == 0 {
                    return Err(Refusal::BadAddress { what: "buffer" });
                }
                break;
            }
            state.deliver.pop_front();
            done += size;
        }
        state.tell();
        Ok(done)
    }

    /// See [`crate::File::watch`].
    pub fn watch(&self, signal: Arc<dyn Signal>) {
        let mut state = self.state.lock();
        state.signal = Some(signal);
        state.tell();
    }
}

fn whole_records(count: u64, record: usize) -> Result<(), Refusal> {
    if !count.is_multiple_of(record as u64) {
        return Err(Refusal::NoWholeRecords { count, record });
    }
    Ok(())
}
