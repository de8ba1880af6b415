//! What the kernel's driver programmed for a device, and who is told when that changes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use profile::machine::{self, Caching};

use super::burst::DmaFault;
use super::caches::{Caches, Port, Range};
use super::request::{Answers, Requests};
use super::tags::Tag;
use crate::device::NO_PASID;
use crate::events::{FaultQueue, ViommuEvents};
use crate::hw::request::Request;
use crate::hw::{Denied, Hardware, NestedView, Table};
use crate::physical::Physical;
use crate::tables::Tables;

/// What the driver wrote for a requester, or for one of its PASIDs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Programmed {
    /// The host's tables; none blocks everything.
    pub host: Option<Arc<Tables>>,
    /// The device.
    pub facts: Option<Arc<machine::Device>>,
    /// What the model remembers of the host's tables.
    pub table: Option<Table>,
    /// A guest's own, over them.
    pub guest: Option<NestedView>,
    /// What the hardware tags translations by.
    pub domain: u64,
    /// Where page requests go.
    pub faults: Option<Arc<FaultQueue>>,
    /// The number of the attachment, and of the device in its context, for page requests.
    pub attachment: u64,
    pub device: u32,
    /// Where a guest's events go, and the ID by which the guest knows the device.
    pub events: Option<(u64, Arc<ViommuEvents>)>,
}

/// A device as an IOMMU sees it.
pub(crate) struct Requester {
    pub hw: Arc<dyn Hardware>,
    pub physical: Arc<Physical>,
    caching: Caching,
    /// By PASID; [`NO_PASID`] is for requests without one.
    programmed: RwLock<BTreeMap<u32, Arc<Programmed>>>,
    ports: Mutex<Vec<Weak<Port>>>,
    pub(super) requests: Requests,
    pub(super) answers: Arc<Answers>,
}

impl Requester {
    pub fn new(hw: Arc<dyn Hardware>, physical: &Arc<Physical>, caching: Caching) -> Arc<Self> {
        Arc::new(Self {
            hw,
            physical: Arc::clone(physical),
            caching,
            programmed: RwLock::default(),
            ports: Mutex::default(),
            requests: Requests::default(),
            answers: Arc::default(),
        })
    }

    pub(super) fn add_port(&self) -> Arc<Port> {
        let port = Arc::new(Port::new(self.caching));
        let mut ports = self.ports.lock();
        ports.retain(|port| port.strong_count() > 0);
        ports.push(Arc::downgrade(&port));
        port
    }

    /// What is programmed for a request.
    pub fn programmed(&self, pasid: Option<u32>) -> Arc<Programmed> {
        let programmed = self.programmed.read();
        let of_device = programmed.get(&NO_PASID);
        let guests = of_device.filter(|it| self.has_guests_pasids(it));
        let found = match pasid {
            None => of_device,
            Some(pasid) => guests.or_else(|| programmed.get(&pasid)),
        };
        found.cloned().unwrap_or_default()
    }

    /// Whether all PASIDs are the guest's that has the device.
    pub(super) fn has_guests_pasids(&self, of_device: &Programmed) -> bool {
        of_device.guest.is_some() && self.hw.guests_own_pasids()
    }

    /// What is attached to a PASID.
    pub(super) fn attached(&self, pasid: u32) -> Option<Arc<Programmed>> {
        self.programmed.read().get(&pasid).cloned()
    }

    /// Changes what is programmed, and lets the hardware forget what was; none for nothing.
    pub fn program(self: &Arc<Self>, pasid: u32, new: Option<Programmed>) {
        let host = new.as_ref().and_then(|new| new.host.clone());
        // before anything can be cached of them
        if let Some(tables) = &host {
            tables.add_user(self);
        }
        let (old, now) = {
            let mut programmed = self.programmed.write();
            let old = match new {
                Some(new) => programmed.insert(pasid, Arc::new(new)),
                None => programmed.remove(&pasid),
            };
            (old, programmed.clone())
        };
        let left = old.as_ref().and_then(|old| old.host.clone());
        // what a guest shares an identifier with is the guest's to invalidate, as long as it is there
        let stays =
            old.as_ref().is_some_and(|old| self.has_guests_pasids(old) && is_same(&left, &host));
        let concerns = |it: Option<u32>| match it {
            None => pasid == NO_PASID,
            Some(it) => it == pasid || pasid == NO_PASID && self.hw.guests_own_pasids(),
        };
        self.each_port(|caches| {
            caches.forget_contexts(&concerns);
            if let Some(old) = old.as_ref().filter(|_| !stays) {
                caches.forget(&|tag| tag.domain == old.domain, None, false);
            }
            caches.forget_atc(&concerns, None);
        });
        let is_left = |tables: &Arc<Tables>| {
            !now.values().any(|it| it.host.as_ref().is_some_and(|it| Arc::ptr_eq(it, tables)))
        };
        if let Some(tables) = left.filter(is_left) {
            tables.remove_user(self);
        }
        if !now.values().any(|it| it.faults.is_some()) {
            self.forget_requests();
        }
    }

    /// The device is reset: it may ask for pages again.
    pub fn reset(&self) {
        self.answers.reset();
    }

    /// Waits for the bursts under way, thread by thread, and changes what is cached.
    pub fn each_port(&self, mut act: impl FnMut(&mut Caches)) {
        let ports: Vec<_> = self.ports.lock().iter().filter_map(Weak::upgrade).collect();
        ports.iter().for_each(|port| act(&mut port.lock()));
    }

    /// A guest invalidates what one of its tables translated, in the IOTLB and in the device: pages of a
    /// range, or everything; with `leaf_only` what led to tables is kept.
    pub fn forget_domain(&self, domain: u64, range: Option<&Range>, leaf_only: bool) {
        let programmed = self.programmed.read().clone();
        let attached = |pasid: Option<u32>| {
            let it = programmed.get(&pasid.unwrap_or(NO_PASID));
            it.is_some_and(|it| it.domain == domain)
        };
        self.each_port(|caches| {
            caches.forget(&|tag| tag.domain == domain, range, leaf_only);
            caches.forget_atc(&attached, range);
        });
    }

    /// Hardware begins or ends to record writes in the host's tables.
    pub fn host_switched(&self, tables: &Arc<Tables>) {
        self.each_port(|caches| caches.forget_contexts(&|_| true));
        self.host_changed(tables, &(0..=u64::MAX));
    }

    /// The host's tables changed: what was translated by them is forgotten. What a guest's tables over
    /// them translated is forgotten as a whole, since nobody knows which addresses of the guest's it was.
    pub fn host_changed(&self, tables: &Arc<Tables>, range: &Range) {
        let programmed = self.programmed.read().clone();
        let uses =
            |it: &&Arc<Programmed>| it.host.as_ref().is_some_and(|it| Arc::ptr_eq(it, tables));
        let (nested, paging): (Vec<_>, Vec<_>) =
            programmed.values().filter(uses).partition(|it| it.guest.is_some());
        let has_left = tables.has_left();
        self.each_port(|caches| {
            if has_left {
                caches.forget_near();
            }
            if !paging.is_empty() {
                let of = |tag: &Tag| paging.iter().any(|it| it.domain == tag.domain);
                // of a guest that had it before, with the same identifier, all goes
                let guests = |tag: &Tag| self.hw.guests_own_pasids() && tag.space != 0 && of(tag);
                caches.forget(&guests, None, false);
                caches.forget(&of, Some(range), false);
                caches.forget_atc(&|_| true, Some(range));
            }
            if !nested.is_empty() {
                caches.forget(&|tag| nested.iter().any(|it| it.domain == tag.domain), None, false);
                caches.forget_atc(&|_| true, None);
            }
        });
    }

    /// Tells of a refusal what the hardware tells, and what the device gets.
    pub(super) fn refuse(
        &self,
        programmed: &Programmed,
        request: &Request,
        denied: Denied,
    ) -> DmaFault {
        let stalls = denied.stalls && programmed.faults.is_some();
        if let Some(tag) = stalls.then(|| self.stall(programmed, request)).flatten() {
            return DmaFault::Stalled { tag };
        }
        if let (Some(record), Some((id, events))) = (denied.event, &programmed.events) {
            events.push(&self.hw.event_for_guest(record, *id));
        }
        DmaFault::Refused { code: denied.code }
    }
}

fn is_same(one: &Option<Arc<Tables>>, other: &Option<Arc<Tables>>) -> bool {
    one.as_ref().zip(other.as_ref()).is_some_and(|(one, other)| Arc::ptr_eq(one, other))
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requester").field("programmed", &*self.programmed.read()).finish()
    }
}
