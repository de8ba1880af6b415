//! Who holds which page pinned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::{Extent, ObjectKey, PageId};

/// Every pin of every process on one machine.
///
/// A pin belongs to an *owner* (Linux's `iopt_pages`), which holds each of its pages once however
/// many of its users asked for it; different owners add up, as `pin_user_pages` does.
#[derive(Debug, Default)]
pub struct PinBoard {
    pins: Mutex<Pins>,
}

#[derive(Debug, Default)]
struct Pins {
    next: u64,
    /// (object, first page, number of the pin) -> (pages, owner)
    extents: BTreeMap<(ObjectKey, u64, u64), (u64, u64)>,
}

/// Pages held pinned until this value is dropped.
#[derive(Debug)]
pub struct Pin {
    board: Arc<PinBoard>,
    number: u64,
    extents: Vec<Extent>,
}

impl PinBoard {
    /// Records that `owner` holds these pages.
    pub fn pin(self: &Arc<Self>, owner: u64, extents: Vec<Extent>) -> Pin {
        let mut pins = self.pins.lock();
        let number = pins.next;
        pins.next += 1;
        for extent in &extents {
            let key = (extent.first.object, extent.first.index, number);
            pins.extents.insert(key, (extent.pages, owner));
        }
        Pin { board: Arc::clone(self), number, extents }
    }

    /// How many owners hold this page.
    pub fn count(&self, page: PageId) -> usize {
        let pins = self.pins.lock();
        let from = (page.object, 0, 0);
        let to = (page.object, page.index, u64::MAX);
        pins.extents
            .range(from..=to)
            .filter(|((_, first, _), (pages, _))| page.index - first < *pages)
            .map(|(_, (_, owner))| *owner)
            .collect::<BTreeSet<_>>()
            .len()
    }
}

impl Pin {
    /// The pinned pages, in order.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.board.pins.lock();
        for extent in &self.extents {
            pins.extents.remove(&(extent.first.object, extent.first.index, self.number));
        }
    }
}
