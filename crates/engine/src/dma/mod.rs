//! The only door from a device to memory.
//!
//! A device has a [`Dma`] for each thread that works for it. Memory is reached in a [`Burst`]: a closure
//! during which what is translated stays so. Whoever unmaps, detaches or invalidates waits for the
//! bursts that are under way, so after that nothing uses the old translation any more.
//!
//! | module | holds |
//! |---|---|
//! | [`burst`] | accesses: what is found, what is walked, what is refused |
//! | [`caches`] | what is cached, and forgotten |
//! | [`tlb`], [`tags`] | caches of translations, and by what they tell them apart |
//! | [`requester`] | what the kernel's driver programmed for a device, and who is told when that changes |
//! | [`request`] | page requests, stalled accesses and their answers |
//!
//! Three caches stand between a request and the tables, each of which forgets only what it is told to:
//! the IOTLB, the one for PASID and context structures, and the device's own, if it has ATS. Beside them
//! the way through the tables is remembered: a guest's entries that led to tables, which an invalidation
//! may leave alone, and where the host's last entries are, which nobody can tell from reading all of them.

mod burst;
mod caches;
mod request;
mod requester;
mod tags;
mod tlb;

use std::sync::Arc;
use std::time::Duration;

pub use burst::{Burst, DmaFault};
pub use request::{Answer, Awaited, PageRequest};

pub(crate) use caches::Caches;
pub(crate) use request::Reply;
pub(crate) use requester::{Programmed, Requester};
pub(crate) use tags::Tag;

use caches::Port;

/// A device's way to memory, for one thread of it. A clone has caches of its own.
#[derive(Debug)]
pub struct Dma {
    requester: Arc<Requester>,
    port: Arc<Port>,
}

impl Dma {
    pub(crate) fn new(requester: &Arc<Requester>) -> Self {
        Self { requester: Arc::clone(requester), port: requester.add_port() }
    }

    /// Reaches memory, by requests with a PASID or without.
    ///
    /// The closure shall be short and wait for nothing: calls on the engine may wait for its end.
    pub fn burst<T>(&self, pasid: Option<u32>, act: impl FnOnce(&mut Burst<'_>) -> T) -> T {
        act(&mut Burst::new(&self.requester, &mut self.port.lock(), pasid))
    }

    /// Asks for a page (PRI). The answer comes by [`Dma::wait`], once for each group, and only to the
    /// request that is the last of its group.
    pub fn request_page(&self, request: PageRequest) {
        self.requester.request_page(request);
    }

    /// Waits for the answer to the latest page request group of a number, or to a stalled access; none
    /// when there is none in time.
    pub fn wait(&self, awaited: Awaited, time: Duration) -> Option<Answer> {
        self.requester.answers.wait(awaited, time)
    }
}

impl Clone for Dma {
    fn clone(&self) -> Self {
        Self::new(&self.requester)
    }
}
