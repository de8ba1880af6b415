//! A cache of translations: the IOTLB, and a device's own (ATC).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use mem::PAGE_SIZE;
use profile::machine::Caching;
use pt::{Access, Grant, Translation};

use crate::physical::Slot;

/// A translation space in the cache: what hardware tags entries with.
///
/// | hardware | `domain` | `space` |
/// |---|---|---|
/// | VT-d | domain ID | PASID |
/// | SMMUv3 | VMID | ASID |
/// | AMD | domain ID | PASID |
/// | RISC-V | GSCID | PSCID |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tag {
    pub domain: u64,
    pub space: u32,
}

/// The number of a [`Tag`] in one cache. 0 is none.
pub(super) type TagId = u16;

/// The tags of a cache, numbered.
#[derive(Debug, Default)]
pub(super) struct Tags {
    numbers: BTreeMap<Tag, TagId>,
}

/// Some tags of a cache, by their numbers.
#[derive(Debug)]
pub(super) struct TagSet {
    numbers: Vec<TagId>,
    bits: [u64; MAX_TAGS / 64 + 1],
}

/// As many tags as entries can tell apart.
const MAX_TAGS: usize = (1 << TAG_BITS) - 1;
const TAG_BITS: u32 = PAGE_SIZE.trailing_zeros();

impl Tags {
    /// The number that a tag has; none when it has none.
    pub fn known(&self, tag: Tag) -> Option<TagId> {
        self.numbers.get(&tag).copied()
    }

    /// The number of a tag; none when there is no number left.
    pub fn number(&mut self, tag: Tag) -> Option<TagId> {
        self.known(tag).or_else(|| {
            (self.numbers.len() < MAX_TAGS).then(|| {
                let number = self.numbers.len() as TagId + 1;
                self.numbers.insert(tag, number);
                number
            })
        })
    }

    /// The tags for which something holds.
    pub fn matching(&self, holds: &dyn Fn(&Tag) -> bool) -> TagSet {
        let matching = self.numbers.iter().filter(|(tag, _)| holds(tag));
        let numbers: Vec<_> = matching.map(|(_, number)| *number).collect();
        let mut bits = [0; _];
        numbers.iter().for_each(|number| bits[usize::from(number / 64)] |= 1 << (number % 64));
        TagSet { numbers, bits }
    }

    pub fn clear(&mut self) {
        self.numbers.clear();
    }
}

impl TagSet {
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    pub fn contains(&self, number: TagId) -> bool {
        self.bits[usize::from(number / 64)] & 1 << (number % 64) != 0
    }
}

/// The translation of one page of 4 KiB, part of a page that may be larger.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The page number, and the tag below it; 0 is none.
    key: u64,
    /// Offset of the page in its slot.
    pub offset: u64,
    pub slot: Option<Arc<Slot>>,
    grant: Grant,
    /// Whether it may be written without another walk.
    dirty: bool,
    /// log2 of the bytes of the page that the tables map.
    order: u8,
}

impl Entry {
    const NONE: Self =
        Self { key: 0, offset: 0, slot: None, grant: Grant::ALL, dirty: false, order: 0 };

    /// Whether it translates something in a range.
    fn meets(&self, range: &RangeInclusive<u64>) -> bool {
        let mask = pages_mask(self.order);
        let iova = self.key >> TAG_BITS << TAG_BITS;
        iova & !mask <= *range.end() && iova | mask >= *range.start()
    }

    /// Whether it is part of a page larger than 4 KiB.
    fn is_large(&self) -> bool {
        u32::from(self.order) > TAG_BITS
    }

    fn tag(&self) -> TagId {
        (self.key & (PAGE_SIZE - 1)) as TagId
    }
}

fn pages_mask(order: u8) -> u64 {
    1u64.checked_shl(order.into()).unwrap_or(0).wrapping_sub(1)
}

const ENTRIES: usize = 4096;
/// Where a translation is that is used once.
const SPARE: usize = ENTRIES;

/// A direct-mapped cache of translations.
#[derive(Debug)]
pub(super) struct Tlb {
    caching: Caching,
    /// And a spare one.
    entries: Box<[Entry]>,
    /// Those that lost their place, where nothing is forgotten.
    displaced: BTreeMap<u64, Entry>,
    /// Whether some entry is part of a page larger than 4 KiB.
    has_large: bool,
}

fn key(tag: TagId, iova: u64) -> u64 {
    iova >> TAG_BITS << TAG_BITS | u64::from(tag)
}

fn place(key: u64) -> usize {
    // tags apart, neighbours beside each other
    ((key >> TAG_BITS) ^ (key << 5)) as usize % ENTRIES
}

/// Up to how many pages are looked for one by one.
const FEW_PAGES: u64 = 32;

impl Tlb {
    pub fn new(caching: Caching) -> Self {
        let entries = vec![Entry::NONE; ENTRIES + 1].into_boxed_slice();
        Self { caching, entries, displaced: BTreeMap::new(), has_large: false }
    }

    #[inline]
    pub fn entry(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    /// The entry that translates an address for an access.
    #[inline]
    pub fn find(&self, tag: TagId, iova: u64, access: Access) -> Option<usize> {
        let key = key(tag, iova);
        let index = place(key);
        let entry = &self.entries[index];
        let fits = entry.key == key
            && entry.grant.denied(access).is_empty()
            && (entry.dirty || !access.is_write());
        fits.then_some(index)
    }

    /// Brings a displaced entry back.
    #[cold]
    pub fn recall(&mut self, tag: TagId, iova: u64, access: Access) -> Option<usize> {
        let entry = self.displaced.remove(&key(tag, iova))?;
        self.put(entry);
        self.find(tag, iova, access)
    }

    /// Remembers a translation, as far as it is remembered at all.
    pub fn fill(
        &mut self,
        tag: TagId,
        iova: u64,
        translation: &Translation,
        memory: (&Arc<Slot>, u64),
    ) -> usize {
        let (slot, offset) = memory;
        let entry = Entry {
            key: key(tag, iova),
            offset: offset & !(PAGE_SIZE - 1),
            slot: Some(Arc::clone(slot)),
            grant: translation.grant,
            dirty: translation.dirty,
            order: translation.order,
        };
        // what is smaller than a page of ours is not the same for all of it
        let small = u32::from(entry.order) < TAG_BITS;
        if self.caching == Caching::NeverKeep || small || tag == 0 {
            self.entries[SPARE] = entry;
            return SPARE;
        }
        self.has_large |= entry.is_large();
        self.put(entry)
    }

    fn put(&mut self, entry: Entry) -> usize {
        let index = place(entry.key);
        let same = entry.key == self.entries[index].key;
        let old = std::mem::replace(&mut self.entries[index], entry);
        if self.caching == Caching::NeverForget && old.key != 0 && !same {
            self.displaced.insert(old.key, old);
        }
        index
    }

    /// Forgets what translates a range, for some tags; all addresses when there is no range.
    pub fn forget(&mut self, tags: &TagSet, range: Option<&RangeInclusive<u64>>) {
        self.entries[SPARE] = Entry::NONE;
        let meets = |entry: &Entry| {
            entry.key != 0
                && tags.contains(entry.tag())
                && range.is_none_or(|range| entry.meets(range))
        };
        self.displaced.retain(|_, entry| !meets(entry));
        let few = range.filter(|range| (range.end() - range.start()) / PAGE_SIZE < FEW_PAGES);
        if let Some(range) = few.filter(|_| !self.has_large) {
            for page in range.start() / PAGE_SIZE..=range.end() / PAGE_SIZE {
                for tag in &tags.numbers {
                    let key = key(*tag, page * PAGE_SIZE);
                    let entry = &mut self.entries[place(key)];
                    if entry.key == key {
                        *entry = Entry::NONE;
                    }
                }
            }
            return;
        }
        self.has_large = self.displaced.values().any(Entry::is_large);
        for entry in &mut self.entries {
            if meets(entry) {
                *entry = Entry::NONE;
            }
            self.has_large |= entry.is_large();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.fill(Entry::NONE);
        self.displaced.clear();
        self.has_large = false;
    }
}
