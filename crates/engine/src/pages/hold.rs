//! Pinned pages: which they are, and where.

use std::sync::Arc;

use mem::{Extent, PAGE_SIZE, PageId};

use super::Span;
use crate::physical::Physical;

/// Some pages of a [`Pages`], pinned until this value is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub(super) parts: Vec<Part>,
}

#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Index of the first page in the `Pages`.
    pub first: u64,
    pub pages: u64,
    pub span: Arc<Span>,
}

/// Pages without a gap in physical memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub physical: u64,
    pub bytes: u64,
    /// See [`Hold::block`].
    pub block: u64,
}

impl Hold {
    /// The page with this index in the `Pages`.
    pub fn page(&self, index: u64) -> Option<PageId> {
        self.locate(index).map(|(extent, at)| extent.page(at))
    }

    /// Where some pages are in physical memory, run by run; none when there are no addresses left.
    pub fn runs(&self, first: u64, pages: u64, physical: &Arc<Physical>) -> Option<Vec<Run>> {
        let (mut runs, end) = (Vec::new(), first + pages);
        for part in &self.parts {
            let (from, to) = (part.first.max(first), (part.first + part.pages).min(end));
            let extents = part.span.pin.extents();
            let enter = || extents.iter().map(|extent| physical.enter(extent)).collect();
            let addresses = part.span.addresses.get_or_init(enter).as_ref()?;
            let mut at = part.span.first;
            for (extent, addresses) in extents.iter().zip(addresses) {
                for (address, pages) in addresses.parts() {
                    let (low, high) = (at.max(from), (at + pages).min(to));
                    if low < high {
                        runs.push(Run {
                            physical: address + (low - at) * PAGE_SIZE,
                            bytes: (high - low) * PAGE_SIZE,
                            block: extent.block(),
                        });
                    }
                    at += pages;
                }
            }
        }
        Some(runs)
    }

    /// Bytes around this page that are contiguous in memory, as a power of two.
    pub fn block(&self, index: u64) -> u64 {
        self.locate(index).map_or(PAGE_SIZE, |(extent, _)| extent.block())
    }

    /// The extent that holds page `index`, and the page's place in it.
    pub(super) fn locate(&self, index: u64) -> Option<(&Extent, u64)> {
        let covers = |part: &&Part| part.first <= index && index < part.first + part.pages;
        let part = self.parts.iter().find(covers)?;
        let mut at = index - part.span.first;
        for extent in part.span.pin.extents() {
            if at < extent.pages {
                return Some((extent, at));
            }
            at -= extent.pages;
        }
        None
    }
}
