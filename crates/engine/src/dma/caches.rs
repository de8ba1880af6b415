//! What one thread of a device has cached, and how it is told to forget.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use profile::machine::Caching;

use super::requester::Programmed;
use super::tags::{Tag, TagId, Tags};
use super::tlb::Tlb;
use crate::hw;
use crate::physical::Recent;
use crate::tables::{Direct, Near, Path, Tables};

/// What one thread of a device has cached.
#[derive(Debug)]
pub(super) struct Port {
    caches: Mutex<Caches>,
}

/// What the structures say that lead from a requester to its tables.
#[derive(Debug)]
pub(super) struct Known {
    pub programmed: Arc<Programmed>,
    pub context: hw::Context,
    /// Tables that decide alone, where hardware caches as it does.
    pub direct: Option<Direct>,
}

impl Known {
    /// The host's tables, where they decide alone.
    pub fn tables(&self) -> Option<Arc<Tables>> {
        self.direct.as_ref().and(self.programmed.host.clone())
    }
}

#[derive(Debug)]
pub(crate) struct Caches {
    pub(super) caching: Caching,
    /// By PASID, with which of the spaces in the IOTLB it is.
    pub(super) contexts: BTreeMap<Option<u32>, (Arc<Known>, TagId)>,
    tags: Tags,
    pub(super) iotlb: Tlb,
    /// Entries of guests' tables that lead to tables, by space and the part of it that they lead to.
    pub(super) paths: BTreeMap<(TagId, u64), Path>,
    /// The device's own, by PASID.
    pub(super) atc: Tlb,
    pub(super) atc_tags: Tags,
    pub(super) recent: Recent,
    /// The host's tables that walks came through.
    pub(super) near: Near,
}

impl Port {
    pub fn new(caching: Caching) -> Self {
        let caches = Caches {
            caching,
            contexts: BTreeMap::new(),
            tags: Tags::default(),
            iotlb: Tlb::new(caching),
            paths: BTreeMap::new(),
            atc: Tlb::new(caching),
            atc_tags: Tags::default(),
            recent: Recent::default(),
            near: Near::default(),
        };
        Self { caches: Mutex::new(caches) }
    }

    /// Waits for a burst that is under way.
    pub fn lock(&self) -> MutexGuard<'_, Caches> {
        self.caches.lock()
    }
}

/// log2 of the bytes that a last-level table translates, at least.
pub(super) const PATH_ORDER: u32 = 21;
const PATH_MASK: u64 = (1 << PATH_ORDER) - 1;
/// How many paths hardware keeps.
pub(super) const PATHS: usize = 64;

/// The tag of a device's own translations for a PASID.
pub(super) fn atc_tag(pasid: Option<u32>) -> Tag {
    Tag { domain: pasid.is_some().into(), space: pasid.unwrap_or(0) }
}

pub(super) type Range = std::ops::RangeInclusive<u64>;

impl Caches {
    /// Forgets the structures that lead to tables, for some PASIDs.
    pub fn forget_contexts(&mut self, of: &dyn Fn(Option<u32>) -> bool) {
        self.contexts.retain(|pasid, _| !of(*pasid));
        self.near.clear();
    }

    /// Forgets where the host's tables are.
    pub fn forget_near(&mut self) {
        self.near.clear();
    }

    /// Forgets translations of some spaces.
    pub fn forget(&mut self, of: &dyn Fn(&Tag) -> bool, range: Option<&Range>, leaf_only: bool) {
        // what is unmapped is not held
        self.recent = Recent::default();
        let tags = self.tags.matching(of);
        if tags.numbers().is_empty() {
            return;
        }
        self.iotlb.forget(&tags, range);
        if !leaf_only {
            let meets = |part: u64| {
                let (first, last) = (part << PATH_ORDER, part << PATH_ORDER | PATH_MASK);
                range.is_none_or(|range| first <= *range.end() && last >= *range.start())
            };
            self.paths.retain(|(tag, part), _| !tags.contains(*tag) || !meets(*part));
        }
    }

    /// Forgets what the device itself keeps, for some PASIDs.
    pub fn forget_atc(&mut self, of: &dyn Fn(Option<u32>) -> bool, range: Option<&Range>) {
        let known = |tag: &Tag| of((tag.domain != 0).then_some(tag.space));
        let tags = self.atc_tags.matching(&known);
        if !tags.numbers().is_empty() {
            self.atc.forget(&tags, range);
        }
    }

    /// The number of a space in the IOTLB; when all are taken, everything is forgotten.
    pub(super) fn number(&mut self, tag: Tag) -> TagId {
        if let Some(number) = self.tags.number(tag) {
            return number;
        }
        self.tags.clear();
        self.iotlb.clear();
        self.paths.clear();
        self.near.clear();
        self.contexts.clear();
        self.tags.number(tag).unwrap_or(0)
    }
}
