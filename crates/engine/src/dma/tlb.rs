//! A cache of translations: the IOTLB, and a device's own (ATC).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use mem::PAGE_SIZE;
use profile::machine::Caching;
use pt::{Rights, Translation};

use super::tags::{TAG_BITS, TagId, TagSet};
use crate::physical;

/// What a cache tells of one page of 4 KiB, part of a page that may be larger.
///
/// | bits | hold |
/// |---|---|
/// | 63:58 | log2 of the bytes of the page that the tables map |
/// | 47:12 | where it is |
/// | 6 | whether it may be written without another walk |
/// | 5:3, 2:0 | what it grants with privilege, and without |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page(u64);

const ORDER: u32 = 58;
const ADDRESS: u64 = (1 << physical::WIDTH) - PAGE_SIZE;
const DIRTY: u32 = 6;
const PRIVILEGED: u32 = 3;

/// The bits that a [`Page`] must have for an access.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked(u64);

impl Asked {
    #[inline]
    pub fn new(rights: Rights, privileged: bool) -> Self {
        let writes = rights.contains(Rights::WRITE);
        let bits = u64::from(rights.bits()) << (u32::from(privileged) * PRIVILEGED);
        Self(bits | u64::from(writes) << DIRTY)
    }
}

impl Page {
    #[inline]
    pub fn new(translation: &Translation) -> Self {
        let Translation { address, order, grant, dirty } = translation;
        let rights = |rights: Rights| u64::from(rights.bits());
        Self(
            u64::from(*order) << ORDER
                | address & ADDRESS
                | u64::from(*dirty) << DIRTY
                | rights(grant.privileged) << PRIVILEGED
                | rights(grant.user),
        )
    }

    /// One at the address of a page, which is otherwise as another one was: see [`Page::meaning`].
    #[inline]
    pub fn like(address: u64, meaning: u64) -> Self {
        Self(address | meaning)
    }

    /// All but its address.
    pub fn meaning(self) -> u64 {
        self.0 & !ADDRESS
    }

    #[inline]
    pub fn grants(self, asked: Asked) -> bool {
        self.0 & asked.0 == asked.0
    }

    /// Where the byte of an address in the page is.
    #[inline]
    pub fn at(self, iova: u64) -> u64 {
        self.0 & ADDRESS | (iova % PAGE_SIZE)
    }

    fn order(self) -> u32 {
        (self.0 >> ORDER) as u32
    }

    /// Whether it is part of a page larger than 4 KiB.
    fn is_large(self) -> bool {
        self.order() > PAGE_SIZE.trailing_zeros()
    }
}

/// A page that is known.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The page's number, and the tag below it.
    key: u64,
    page: Page,
}

impl Entry {
    /// No tag has this number.
    const NONE: Self = Self { key: u64::MAX, page: Page(0) };

    /// Whether it is of one of some tags, and translates something in a range.
    fn meets(&self, tags: &TagSet, range: Option<&RangeInclusive<u64>>) -> bool {
        let tag = (self.key & (PAGE_SIZE - 1)) as TagId;
        let mask = (1 << self.page.order()) - 1;
        let iova = self.key >> TAG_BITS << TAG_BITS;
        self.key != Self::NONE.key
            && tags.contains(tag)
            && range
                .is_none_or(|range| iova & !mask <= *range.end() && iova | mask >= *range.start())
    }
}

const ENTRIES: usize = 4096;

/// A direct-mapped cache of translations.
#[derive(Debug)]
pub(super) struct Tlb {
    entries: Box<[Entry; ENTRIES]>,
    caching: Caching,
    /// Those that lost their place, where nothing is forgotten.
    displaced: BTreeMap<u64, Page>,
    /// Whether some entry is part of a page larger than 4 KiB.
    has_large: bool,
}

#[inline]
fn key(tag: TagId, iova: u64) -> u64 {
    iova >> TAG_BITS << TAG_BITS | u64::from(tag)
}

/// Where the page of an address is kept, if it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    key: u64,
    index: usize,
}

impl Place {
    #[inline]
    pub fn of(tag: TagId, iova: u64) -> Self {
        Self::of_key(key(tag, iova))
    }

    #[inline]
    fn of_key(key: u64) -> Self {
        // tags apart, neighbours beside each other
        Self { key, index: ((key >> TAG_BITS) ^ (key << 5)) as usize % ENTRIES }
    }
}

/// Up to how many pages are looked for one by one.
const FEW_PAGES: u64 = 32;

impl Tlb {
    pub fn new(caching: Caching) -> Self {
        let entries = Box::new([Entry::NONE; ENTRIES]);
        Self { entries, caching, displaced: BTreeMap::new(), has_large: false }
    }

    /// The page of an address, if it is known and grants an access.
    #[inline]
    pub fn find(&self, tag: TagId, iova: u64, asked: Asked) -> Option<Page> {
        self.find_at(Place::of(tag, iova), asked)
    }

    /// The same, at the place that the address has.
    #[inline]
    pub fn find_at(&self, at: Place, asked: Asked) -> Option<Page> {
        let entry = &self.entries[at.index];
        (entry.key == at.key && entry.page.grants(asked)).then_some(entry.page)
    }

    /// The same, where it lost its place: it has it again.
    pub fn recall(&mut self, tag: TagId, iova: u64, asked: Asked) -> Option<Page> {
        let at = Place::of(tag, iova);
        let page = self.displaced.remove(&at.key)?;
        self.displace(at, page);
        page.grants(asked).then_some(page)
    }

    /// Remembers a translation, as far as it is remembered at all.
    pub fn fill(&mut self, tag: TagId, iova: u64, translation: &Translation) -> Page {
        let page = Page::new(translation);
        // what is smaller than a page of ours is not the same for all of it
        let small = page.order() < PAGE_SIZE.trailing_zeros();
        if self.caching != Caching::NeverKeep && !small && tag != 0 {
            self.has_large |= page.is_large();
            self.displace(Place::of(tag, iova), page);
        }
        page
    }

    /// Remembers a page of 4 KiB at its place, where hardware's way to cache is the machine's.
    #[inline]
    pub fn put(&mut self, at: Place, page: Page) {
        self.entries[at.index % ENTRIES] = Entry { key: at.key, page };
    }

    /// The same, where the page may be part of a larger one.
    pub fn put_any(&mut self, at: Place, page: Page) {
        self.has_large |= page.is_large();
        self.put(at, page);
    }

    /// Remembers a page at its place, and where nothing is forgotten, what was there.
    fn displace(&mut self, at: Place, page: Page) {
        let old = self.entries[at.index];
        let same = [Entry::NONE.key, at.key].contains(&old.key);
        if self.caching == Caching::NeverForget && !same {
            self.displaced.insert(old.key, old.page);
        }
        self.put(at, page);
    }

    /// Forgets what translates a range, for some tags; all addresses when there is no range.
    pub fn forget(&mut self, tags: &TagSet, range: Option<&RangeInclusive<u64>>) {
        self.displaced.retain(|key, page| !Entry { key: *key, page: *page }.meets(tags, range));
        let few = range.filter(|range| (range.end() - range.start()) / PAGE_SIZE < FEW_PAGES);
        if let Some(range) = few.filter(|_| !self.has_large) {
            for page in range.start() / PAGE_SIZE..=range.end() / PAGE_SIZE {
                for tag in tags.numbers() {
                    let at = Place::of(*tag, page * PAGE_SIZE);
                    let entry = &mut self.entries[at.index];
                    if entry.key == at.key {
                        *entry = Entry::NONE;
                    }
                }
            }
            return;
        }
        self.has_large = self.displaced.values().any(|page| page.is_large());
        for entry in &mut *self.entries {
            if entry.meets(tags, range) {
                *entry = Entry::NONE;
            }
            self.has_large |= entry.page.is_large();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.fill(Entry::NONE);
        self.displaced.clear();
        self.has_large = false;
    }
}

#[cfg(test)]
mod tests {
    use pt::Grant;

    use super::super::tags::{Tag, Tags};
    use super::*;

    const READ: Asked = Asked(1);

    fn page(address: u64, order: u8, grant: Grant, dirty: bool) -> Translation {
        Translation { address, order, grant, dirty }
    }

    #[test]
    fn a_page_grants_what_its_translation_does() {
        let (read, write) = (Rights::READ, Rights::WRITE);
        let (reads, both) = (Grant::both(read), Grant::both(read | write));
        let mine = Grant { user: Rights::empty(), privileged: Rights::all() };
        #[rustfmt::skip] // one page, one line
        let cases = [
            (reads, true,  read,            false, true),
            (reads, true,  write,           false, false),
            (both,  true,  write,           false, true),
            (both,  false, write,           false, false),
            (both,  false, read,            false, true),
            (both,  true,  read | write,    true,  true),
            (mine,  true,  read,            false, false),
            (mine,  true,  read,            true,  true),
            (mine,  false, write,           true,  false),
            (both,  true,  Rights::EXECUTE, false, false),
        ];
        for (grant, dirty, rights, privileged, granted) in cases {
            let mut tlb = Tlb::new(Caching::Hardware);
            let filled = tlb.fill(1, 0x5123, &page(0x7fff_ffff_f123, 12, grant, dirty));
            assert_eq!(filled.at(0x5008), 0x7fff_ffff_f008);
            let found = tlb.find(1, 0x5ff8, Asked::new(rights, privileged));
            assert_eq!(found, granted.then_some(filled), "{grant:?} {dirty} {rights:?}");
        }
    }

    #[test]
    fn what_is_kept_and_for_whom() {
        #[rustfmt::skip] // one way, one line
        let cases = [
            (Caching::Hardware,    1, 12, true),
            (Caching::Hardware,    1, 11, false),
            (Caching::Hardware,    0, 12, false),
            (Caching::NeverKeep,   1, 12, false),
            (Caching::NeverForget, 1, 12, true),
        ];
        for (caching, tag, order, kept) in cases {
            let mut tlb = Tlb::new(caching);
            tlb.fill(tag, 0, &page(0x5000, order, Grant::ALL, true));
            let found = |tag| tlb.find(tag, 0, READ).is_some();
            assert_eq!(found(tag), kept, "{caching:?} {tag} {order}");
            assert!(!found(2), "another space's");
        }
    }

    #[test]
    fn a_large_page_goes_with_any_of_its_addresses_and_then_few_are_looked_for() {
        let mut tags = Tags::default();
        let tag = tags.number(Tag { domain: 1, space: 1 }).unwrap();
        let set = tags.matching(&|_| true);
        let mut tlb = Tlb::new(Caching::Hardware);
        tlb.fill(tag, 0x20_3000, &page(0x40_0000, 21, Grant::ALL, true));
        tlb.fill(tag, 0x5000, &page(0x5000, 12, Grant::ALL, true));
        assert!(tlb.has_large);
        tlb.forget(&set, Some(&(0x3f_f000..=0x3f_ffff)));
        assert_eq!(tlb.find(tag, 0x20_3000, READ), None);
        assert!(tlb.find(tag, 0x5000, READ).is_some());
        assert!(!tlb.has_large);
        tlb.forget(&set, Some(&(0x5fff..=0x5fff)));
        assert_eq!(tlb.find(tag, 0x5000, READ), None);
    }

    #[test]
    fn what_is_never_forgotten_loses_its_place_only() {
        let (mut tags, other) = (Tags::default(), ENTRIES as u64 * PAGE_SIZE);
        let tag = tags.number(Tag { domain: 1, space: 1 }).unwrap();
        let mut tlb = Tlb::new(Caching::NeverForget);
        let first = tlb.fill(tag, 0, &page(0x5000, 12, Grant::ALL, true));
        tlb.fill(tag, other, &page(0x6000, 12, Grant::ALL, true));
        assert_eq!(tlb.find(tag, 0, READ), None);
        assert_eq!(tlb.recall(tag, 0, READ), Some(first));
        tlb.forget(&tags.matching(&|_| true), Some(&(other..=other)));
        assert_eq!(tlb.recall(tag, other, READ), None);
        assert_eq!(tlb.find(tag, 0, READ), Some(first));
    }
}
