//! The machine's memory, as its IOMMUs address it.
//!
//! Pinned pages have no physical addresses that could be known here, so they get some: a page has the
//! same address however often it is pinned, as in a real machine. A [`Slot`] is 1 GiB of a memory file, or
//! of a program's private memory, from a multiple of 1 GiB on, and has a gigabyte of addresses:
//!
//! | bits | hold |
//! |---|---|
//! | 47:30 | the slot's number; below [`FIRST`] they are the tables' of a domain ([`crate::tables`]) |
//! | 29:0 | the offset in the slot |
//!
//! So an address leads to its memory without a search, a huge page's are as aligned as they are in memory,
//! and any number of mappings of one file are a handful of slots, which a device's thread has at hand.
//!
//! # Who can address what
//!
//! A slot has pages beside those that are pinned, and an address of such a page would reach it. Nobody
//! has one: addresses come from the host's tables only, which hold those of pinned pages and nothing else.
//! A guest's tables, and structures in its memory, have addresses of the guest's, which the host's tables
//! translate first, and no driver lets a device's addresses through untranslated: without tables it
//! writes an entry that blocks ([`crate::hw`]). What a cache keeps of the host's tables it forgets before
//! pages are unpinned. A slot's number is given to another one only when nobody has pinned a page of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use mem::{Backing, Extent, Fault, PAGE_SIZE, PageId, WINDOW_SIZE, Window};
use parking_lot::{Mutex, RwLock};

/// Bits of a physical address.
pub(crate) const WIDTH: u8 = 48;

/// The addresses that belong to the tables of a domain.
pub(crate) const TABLES: u64 = 1 << 42;

/// log2 of the bytes of a slot.
const SLOT_ORDER: u32 = WINDOW_SIZE.trailing_zeros();
const SLOT_PAGES: u64 = WINDOW_SIZE / PAGE_SIZE;

/// The numbers that slots have: those of the tables' addresses are none.
const FIRST: u64 = TABLES >> SLOT_ORDER;
const SLOTS: usize = (((1 << WIDTH) - TABLES) >> SLOT_ORDER) as usize;

/// A part of a memory file, or of a program's private memory.
#[derive(Debug)]
pub(crate) struct Slot {
    /// All that it may hold; there need not be memory for all of it.
    extent: Extent,
    /// Shared memory, mapped here; none where it cannot be.
    window: OnceLock<Option<Window>>,
}

/// One of our own at a time, where the CPU cannot do it in one step.
static PRIVATE_SWAPS: Mutex<()> = Mutex::new(());

impl Slot {
    /// Its memory, mapped here.
    fn window(&self) -> Option<&Window> {
        let window = self.window.get_or_init(|| match &self.extent.backing {
            Backing::Shared(file) => file.window(self.extent.first.index * PAGE_SIZE).ok(),
            Backing::Private(_) => None,
        });
        window.as_ref()
    }

    /// Whether it shows what is in the file now: nothing was cut off that may be there again.
    fn is_whole(&self) -> bool {
        let window = self.window.get().and_then(Option::as_ref);
        window.is_none_or(|window| window.is_whole())
    }
}

/// A slot at hand: what its bytes are copied by.
#[derive(Debug)]
pub(crate) struct View {
    window: Option<Window>,
    slot: Arc<Slot>,
}

impl View {
    fn new(slot: Arc<Slot>) -> Self {
        Self { window: slot.window().cloned(), slot }
    }

    /// Copies from `at` bytes into the slot.
    #[inline]
    pub fn read(&self, at: u64, to: &mut [u8]) -> Result<(), Fault> {
        match &self.window {
            Some(window) => window.read(at, to),
            None => self.in_slot(at, to.len())?.read(at, to),
        }
    }

    /// Copies to `at` bytes into the slot.
    #[inline]
    pub fn write(&self, at: u64, from: &[u8]) -> Result<(), Fault> {
        match &self.window {
            Some(window) => window.write(at, from),
            None => self.in_slot(at, from.len())?.write(at, from),
        }
    }

    /// Changes the word at `at`, a multiple of 8, from `old` to `new`; false when it is not `old`.
    ///
    /// Private memory of a program is changed by reading and writing, so that a change by the program
    /// in between is lost.
    pub fn swap(&self, at: u64, old: u64, new: u64) -> Result<bool, Fault> {
        if let Some(window) = &self.window {
            return window.swap(at, old, new);
        }
        let extent = self.in_slot(at, 8)?;
        let _one = PRIVATE_SWAPS.lock();
        let mut word = [0; 8];
        extent.read(at, &mut word)?;
        if u64::from_le_bytes(word) != old {
            return Ok(false);
        }
        extent.write(at, &new.to_le_bytes()).map(|()| true)
    }

    /// The slot's memory, where `len` bytes from `at` are in it.
    fn in_slot(&self, at: u64, len: usize) -> Result<&Extent, Fault> {
        let end = at.checked_add(len as u64).ok_or(Fault)?;
        if end <= WINDOW_SIZE { Ok(&self.slot.extent) } else { Err(Fault) }
    }
}

/// All memory that is pinned.
#[derive(Debug, Default)]
pub(crate) struct Physical {
    slots: RwLock<Slots>,
    /// Counts the slots that went away.
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Slots {
    /// By their number.
    slots: Vec<Option<Used>>,
    free: Vec<usize>,
    known: BTreeMap<Name, usize>,
}

#[derive(Debug)]
struct Used {
    slot: Arc<Slot>,
    name: Name,
    /// How many extents have addresses in it.
    users: u64,
}

/// What makes two slots the same: how their memory is reached, and which part of it they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    /// The address of the backing, which is held as long as the slot.
    backing: usize,
    part: u64,
}

impl Name {
    fn of(extent: &Extent) -> Self {
        let backing = match &extent.backing {
            Backing::Shared(file) => Arc::as_ptr(file).addr(),
            Backing::Private(space) => Arc::as_ptr(space).addr(),
        };
        Self { backing, part: extent.first.index / SLOT_PAGES }
    }
}

/// The addresses of an extent, for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Addresses {
    physical: Arc<Physical>,
    /// The address of the first page in each slot, and how many pages are in it.
    parts: Vec<(u64, u64)>,
}

/// The number of the slot that has an address; none for that of a table.
fn number(address: u64) -> Option<usize> {
    (address >> SLOT_ORDER).checked_sub(FIRST).map(|number| number as usize)
}

impl Physical {
    /// Gives addresses to an extent; none are left when this is `None`.
    pub fn enter(self: &Arc<Self>, extent: &Extent) -> Option<Addresses> {
        let mut addresses = Addresses { physical: Arc::clone(self), parts: Vec::new() };
        let mut done = 0;
        while done < extent.pages {
            let at = extent.page(done).index % SLOT_PAGES;
            let pages = (SLOT_PAGES - at).min(extent.pages - done);
            let number = self.slots.write().enter(&extent.slice(done, pages))?;
            let start = (FIRST + number as u64) << SLOT_ORDER;
            addresses.parts.push((start + at * PAGE_SIZE, pages));
            done += pages;
        }
        Some(addresses)
    }

    /// The memory at an address.
    fn view(&self, address: u64) -> Option<View> {
        let slots = self.slots.read();
        let used = slots.slots.get(number(address)?)?.as_ref()?;
        let slot = Arc::clone(&used.slot);
        drop(slots);
        Some(View::new(slot))
    }
}

impl Slots {
    /// The number of the slot that a part of an extent is in.
    fn enter(&mut self, extent: &Extent) -> Option<usize> {
        let name = Name::of(extent);
        let known = self.known.get(&name).copied();
        let used = known.and_then(|number| Some((number, self.slots[number].as_mut()?)));
        if let Some((number, used)) = used.filter(|(_, used)| used.slot.is_whole()) {
            used.users += 1;
            return Some(number);
        }
        let first = PageId { index: name.part * SLOT_PAGES, ..extent.first };
        let extent = Extent { first, pages: SLOT_PAGES, backing: extent.backing.clone() };
        let slot = Arc::new(Slot { extent, window: OnceLock::new() });
        let used = Some(Used { slot, name, users: 1 });
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number] = used;
                number
            }
            None if self.slots.len() == SLOTS => return None,
            None => {
                self.slots.push(used);
                self.slots.len() - 1
            }
        };
        self.known.insert(name, number);
        Some(number)
    }

    /// An extent leaves a slot; gives whether it was the last.
    fn leave(&mut self, number: usize) -> bool {
        let Some(used) = &mut self.slots[number] else { return false };
        used.users -= 1;
        if used.users != 0 {
            return false;
        }
        if self.known.get(&used.name) == Some(&number) {
            self.known.remove(&used.name);
        }
        self.slots[number] = None;
        self.free.push(number);
        true
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        let mut slots = self.physical.slots.write();
        for number in self.parts.iter().filter_map(|(address, _)| number(*address)) {
            if slots.leave(number) {
                self.physical.generation.fetch_add(1, Ordering::Release);
            }
        }
    }
}

impl Addresses {
    /// Its parts in order: the address of the first page of each, and how many pages it has.
    pub fn parts(&self) -> &[(u64, u64)] {
        &self.parts
    }
}

/// Slots that were looked up lately, by one thread.
#[derive(Debug)]
pub(crate) struct Recent {
    generation: u64,
    /// With their numbers, and one that no slot has for none.
    views: [(u64, Option<View>); RECENT],
    /// The number that was looked up last, and its place: most accesses are in the same slot as the one
    /// before, and then the CPU need not wait for the address to know where the slot's memory is.
    last: (u64, usize),
}

const RECENT: usize = 64;

impl Default for Recent {
    fn default() -> Self {
        Self { generation: 0, views: [const { (u64::MAX, None) }; RECENT], last: (u64::MAX, 0) }
    }
}

impl Recent {
    /// The memory at an address, and the offset in it.
    ///
    /// An address that was read from a table after this one's generation was, means the slot that the
    /// table's writer meant: a number is given to another slot only after the generation has changed.
    #[inline(always)]
    pub fn view(&mut self, physical: &Physical, address: u64) -> Option<(&View, u64)> {
        let (number, offset) = (address >> SLOT_ORDER, address % WINDOW_SIZE);
        let is_last =
            self.generation == physical.generation.load(Ordering::Acquire) && self.last.0 == number;
        if !is_last {
            self.go_to(physical, address)?;
        }
        self.views[self.last.1 % RECENT].1.as_ref().map(|view| (view, offset))
    }

    /// Makes the slot of an address the last one.
    fn go_to(&mut self, physical: &Physical, address: u64) -> Option<()> {
        let number = address >> SLOT_ORDER;
        let place = number as usize % RECENT;
        let is_known = self.generation == physical.generation.load(Ordering::Acquire)
            && self.views[place].0 == number;
        if !is_known {
            self.look_up(physical, address)?;
        }
        self.last = (number, place);
        Some(())
    }

    #[cold]
    fn look_up(&mut self, physical: &Physical, address: u64) -> Option<()> {
        let generation = physical.generation.load(Ordering::Acquire);
        if generation != self.generation {
            *self = Self { generation, ..Self::default() };
        }
        let number = address >> SLOT_ORDER;
        let view = physical.view(address)?;
        self.views[number as usize % RECENT] = (number, Some(view));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use mem::SharedFile;

    use super::*;

    fn file(pages: u64) -> Arc<SharedFile> {
        Arc::new(SharedFile::anonymous("memory", pages * PAGE_SIZE).unwrap())
    }

    fn extent(file: &Arc<SharedFile>, first: u64, pages: u64) -> Extent {
        let first = PageId { object: file.key(), index: first };
        Extent { first, pages, backing: Backing::Shared(Arc::clone(file)) }
    }

    fn word_of(view: Option<(&View, u64)>) -> u64 {
        let (view, at) = view.unwrap();
        let mut word = [0; 8];
        view.read(at, &mut word).unwrap();
        u64::from_le_bytes(word)
    }

    #[test]
    fn an_address_leads_to_its_byte() {
        let (file, physical) = (file(2 * SLOT_PAGES), Arc::new(Physical::default()));
        let mut recent = Recent::default();
        for (first, pages) in [(0, 1), (3, 5), (8, 8), (SLOT_PAGES - 2, 4), (SLOT_PAGES, 1)] {
            let addresses = physical.enter(&extent(&file, first, pages)).unwrap();
            let pages_of = |(start, pages): &(u64, u64)| {
                let start = *start;
                (0..*pages).map(move |index| start + index * PAGE_SIZE)
            };
            let all: Vec<_> = addresses.parts().iter().flat_map(pages_of).collect();
            assert_eq!(all.len() as u64, pages);
            for (index, address) in (first..).zip(all) {
                file.write(index * PAGE_SIZE + 16, &index.to_le_bytes()).unwrap();
                assert_eq!(word_of(recent.view(&physical, address + 16)), index);
            }
        }
    }

    #[test]
    fn a_page_has_one_address() {
        let (file, other) = (file(8), file(8));
        let physical = Arc::new(Physical::default());
        let address = |file, first, pages| {
            let addresses = physical.enter(&extent(file, first, pages)).unwrap();
            (addresses.parts()[0].0, addresses)
        };
        let (first, _held) = address(&file, 0, 8);
        for index in 0..8 {
            assert_eq!(address(&file, index, 1).0, first + index * PAGE_SIZE);
        }
        assert_ne!(address(&other, 0, 1).0, first, "another file's");
    }

    #[test]
    fn nothing_reaches_out_of_a_slot() {
        let (file, physical) = (file(2 * SLOT_PAGES), Arc::new(Physical::default()));
        let addresses = physical.enter(&extent(&file, SLOT_PAGES - 1, 2)).unwrap();
        let mut recent = Recent::default();
        let (view, at) = recent.view(&physical, addresses.parts()[0].0).unwrap();
        assert!(view.read(at, &mut [0; 4096]).is_ok());
        assert!(view.read(at, &mut [0; 4097]).is_err());
        assert!(view.read(at + PAGE_SIZE, &mut [0]).is_err());
        assert!(view.write(u64::MAX, &[0]).is_err());
        assert!(recent.view(&physical, 0).is_none(), "a table's");
        assert!(recent.view(&physical, u64::MAX).is_none());
    }

    #[test]
    fn a_slot_is_there_until_the_last_of_its_pages_is_left() {
        let (one, other) = (file(8), file(8));
        let physical = Arc::new(Physical::default());
        let mut recent = Recent::default();
        one.write(PAGE_SIZE, &1u64.to_le_bytes()).unwrap();
        other.write(PAGE_SIZE, &2u64.to_le_bytes()).unwrap();
        let (first, second) = (extent(&one, 1, 1), extent(&one, 1, 3));
        let (first, second) = (physical.enter(&first).unwrap(), physical.enter(&second).unwrap());
        let address = first.parts()[0].0;
        drop(first);
        assert_eq!(word_of(recent.view(&physical, address)), 1);
        drop(second);
        assert!(recent.view(&physical, address).is_none());
        let again = physical.enter(&extent(&other, 1, 1)).unwrap();
        assert_eq!(again.parts()[0].0, address, "the address is given again");
        assert_eq!(word_of(recent.view(&physical, address)), 2);
    }

    #[test]
    fn pages_that_come_again_have_other_addresses() {
        let (file, physical) = (file(4), Arc::new(Physical::default()));
        let mut recent = Recent::default();
        let old = physical.enter(&extent(&file, 3, 1)).unwrap();
        let lost = old.parts()[0].0;
        let object = File::from(file.as_fd().try_clone_to_owned().unwrap());
        object.set_len(PAGE_SIZE).unwrap();
        assert_eq!(word_of(recent.view(&physical, lost)), 0);
        object.set_len(4 * PAGE_SIZE).unwrap();
        file.write(3 * PAGE_SIZE, &7u64.to_le_bytes()).unwrap();
        let new = physical.enter(&extent(&file, 3, 1)).unwrap();
        assert_eq!(word_of(recent.view(&physical, new.parts()[0].0)), 7);
        assert_eq!(word_of(recent.view(&physical, lost)), 0, "whoever had the old ones keeps them");
        drop(old);
        let third = physical.enter(&extent(&file, 3, 1)).unwrap();
        assert_eq!(third.parts(), new.parts());
    }
}
