//! The machine's memory, as its IOMMUs address it.
//!
//! Pinned pages have no physical addresses that could be known here, so they get some. A [`Slot`] is
//! memory of one object without a hole, of at most 1 GiB, and has a range of addresses to itself:
//!
//! | bits | hold |
//! |---|---|
//! | 47:42 | log2 of the slot's pages, and one; 0 for the tables of a domain ([`crate::tables`]) |
//! | 41:0 | the slot's number among those of its size, and the offset in it |
//!
//! So an address leads to its memory without a search, and a huge page's are as aligned as they are in
//! memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use mem::{Backing, Extent, Fault, PAGE_SIZE, WINDOW_SIZE, Window};
use parking_lot::{Mutex, RwLock};

/// Bits of an address that tell a slot from others of its size, and the byte in it.
const CLASS_BITS: u32 = 42;

/// log2 of the bytes of a page, and of the largest slot.
const PAGE_ORDER: u32 = PAGE_SIZE.trailing_zeros();
const MAX_ORDER: u32 = WINDOW_SIZE.trailing_zeros();

/// Bits of a physical address.
pub(crate) const WIDTH: u8 = 48;

/// The addresses that belong to the tables of a domain.
pub(crate) const TABLES: u64 = 1 << CLASS_BITS;

/// Memory of one object without a hole.
#[derive(Debug)]
pub(crate) struct Slot {
    extent: Extent,
    /// Offset in the slot of the first byte of the extent.
    start: u64,
    /// Shared memory, mapped here; none where it cannot be.
    window: OnceLock<Option<Arc<Window>>>,
}

/// One of our own at a time, where the CPU cannot do it in one step.
static PRIVATE_SWAPS: Mutex<()> = Mutex::new(());

impl Slot {
    /// The window on its memory, and the offset in that of the slot's byte `at`.
    #[inline]
    fn window(&self, at: u64) -> Option<(&Window, u64)> {
        let in_file = self.extent.first.index * PAGE_SIZE + at - self.start;
        let window = self.window.get_or_init(|| match &self.extent.backing {
            Backing::Shared(file) => file.window(in_file).ok(),
            Backing::Private(_) => None,
        });
        window.as_deref().map(|window| (window, in_file % WINDOW_SIZE))
    }

    /// Whether `len` bytes from `at` are in it.
    fn check(&self, at: u64, len: usize) -> Result<(), Fault> {
        let bytes = self.extent.pages * PAGE_SIZE;
        let end = at.checked_sub(self.start).and_then(|at| at.checked_add(len as u64));
        if end.is_some_and(|end| end <= bytes) { Ok(()) } else { Err(Fault) }
    }

    /// Copies from `at` bytes into the slot.
    #[inline]
    pub fn read(&self, at: u64, to: &mut [u8]) -> Result<(), Fault> {
        self.check(at, to.len())?;
        match self.window(at) {
            Some((window, at)) => window.read(at, to),
            None => self.extent.read(at - self.start, to),
        }
    }

    /// Copies to `at` bytes into the slot.
    #[inline]
    pub fn write(&self, at: u64, from: &[u8]) -> Result<(), Fault> {
        self.check(at, from.len())?;
        match self.window(at) {
            Some((window, at)) => window.write(at, from),
            None => self.extent.write(at - self.start, from),
        }
    }

    /// Changes the word at `at`, a multiple of 8, from `old` to `new`; false when it is not `old`.
    ///
    /// Private memory of a program is changed by reading and writing, so that a change by the program
    /// in between is lost.
    pub fn swap(&self, at: u64, old: u64, new: u64) -> Result<bool, Fault> {
        self.check(at, 8)?;
        if let Some((window, at)) = self.window(at) {
            return window.swap(at, old, new);
        }
        let _one = PRIVATE_SWAPS.lock();
        let mut word = [0; 8];
        self.extent.read(at - self.start, &mut word)?;
        if u64::from_le_bytes(word) != old {
            return Ok(false);
        }
        self.extent.write(at - self.start, &new.to_le_bytes()).map(|()| true)
    }
}

/// All memory that is pinned.
#[derive(Debug)]
pub(crate) struct Physical {
    /// By log2 of their pages.
    classes: [RwLock<Class>; (MAX_ORDER - PAGE_ORDER + 1) as usize],
    /// Counts the slots that went away.
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Class {
    slots: Vec<Option<Arc<Slot>>>,
    free: Vec<usize>,
}

impl Default for Physical {
    fn default() -> Self {
        Self { classes: [(); _].map(|()| RwLock::default()), generation: AtomicU64::new(0) }
    }
}

/// The addresses of an extent, for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Addresses {
    physical: Arc<Physical>,
    /// The address of the first byte of each slot's memory, and the slot's pages.
    parts: Vec<(u64, u64)>,
}

/// Where a slot is: its class, its number there, and the offset in it.
fn place(address: u64) -> Option<(usize, usize, u64)> {
    let class = (address >> CLASS_BITS).checked_sub(1)? as usize;
    let order = class as u32 + PAGE_ORDER;
    let rest = address & (TABLES - 1);
    (order <= MAX_ORDER).then(|| (class, (rest >> order) as usize, rest & ((1 << order) - 1)))
}

impl Physical {
    /// Gives addresses to an extent; none are left when this is `None`.
    pub fn enter(self: &Arc<Self>, extent: &Extent) -> Option<Addresses> {
        let mut addresses = Addresses { physical: Arc::clone(self), parts: Vec::new() };
        let mut done = 0;
        while done < extent.pages {
            // no slot reaches beyond a window
            let room =
                WINDOW_SIZE / PAGE_SIZE - extent.page(done).index % (WINDOW_SIZE / PAGE_SIZE);
            let pages = room.min(extent.pages - done);
            let address = self.enter_slot(extent.slice(done, pages))?;
            addresses.parts.push((address, pages));
            done += pages;
        }
        Some(addresses)
    }

    fn enter_slot(&self, extent: Extent) -> Option<u64> {
        let start = extent.first.index * PAGE_SIZE % extent.block();
        let order = (start + extent.pages * PAGE_SIZE).next_power_of_two().trailing_zeros();
        let class = (order - PAGE_ORDER) as usize;
        let slot = Some(Arc::new(Slot { extent, start, window: OnceLock::new() }));
        let mut slots = self.classes[class].write();
        let number = match slots.free.pop() {
            Some(number) => {
                slots.slots[number] = slot;
                number
            }
            None if slots.slots.len() >> (CLASS_BITS - order) != 0 => return None,
            None => {
                slots.slots.push(slot);
                slots.slots.len() - 1
            }
        };
        Some((class as u64 + 1) << CLASS_BITS | (number as u64) << order | start)
    }

    /// The memory at an address, and the offset in it.
    pub fn slot(&self, address: u64) -> Option<(Arc<Slot>, u64)> {
        let (class, number, offset) = place(address)?;
        let slots = self.classes[class].read();
        Some((Arc::clone(slots.slots.get(number)?.as_ref()?), offset))
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        for (address, _) in &self.parts {
            let Some((class, number, _)) = place(*address) else { continue };
            let mut slots = self.physical.classes[class].write();
            slots.slots[number] = None;
            slots.free.push(number);
            self.physical.generation.fetch_add(1, Ordering::Release);
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
    slots: [Option<(u64, Arc<Slot>)>; RECENT],
}

const RECENT: usize = 64;

impl Default for Recent {
    fn default() -> Self {
        Self { generation: 0, slots: [const { None }; RECENT] }
    }
}

impl Recent {
    /// The memory at an address, and the offset in it.
    ///
    /// An address that was read from a table after this one's generation was, means the slot that the
    /// table's writer meant: a number is given to another slot only after the generation has changed.
    #[inline]
    pub fn slot(&mut self, physical: &Physical, address: u64) -> Option<(&Arc<Slot>, u64)> {
        let generation = physical.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.slots = [const { None }; RECENT];
            self.generation = generation;
        }
        let (class, number, offset) = place(address)?;
        let name = address - offset;
        let at = &mut self.slots[(number ^ class << 3) % RECENT];
        if at.as_ref().is_none_or(|(known, _)| *known != name) {
            let (slot, _) = physical.slot(address)?;
            *at = Some((name, slot));
        }
        at.as_ref().map(|(_, slot)| (slot, offset))
    }
}

#[cfg(test)]
mod tests {
    use mem::{PageId, SharedFile};

    use super::*;

    fn extent(file: &Arc<SharedFile>, first: u64, pages: u64) -> Extent {
        let first = PageId { object: file.key(), index: first };
        Extent { first, pages, backing: Backing::Shared(Arc::clone(file)) }
    }

    #[test]
    fn an_address_leads_to_its_byte() {
        let file = Arc::new(SharedFile::anonymous("memory", 64 * PAGE_SIZE).unwrap());
        let physical = Arc::new(Physical::default());
        let ranges: Vec<_> = [(0, 1), (3, 5), (8, 8), (40, 24)]
            .iter()
            .map(|(first, pages)| (*first, *pages, physical.enter(&extent(&file, *first, *pages))))
            .collect();
        for (first, pages, range) in &ranges {
            let range = range.as_ref().unwrap();
            for index in 0..*pages {
                let [(start, length)] = range.parts() else { panic!("one part") };
                assert_eq!(length, pages);
                let address = start + index * PAGE_SIZE;
                let (slot, at) = physical.slot(address + 16).unwrap();
                slot.write(at, &(first + index).to_le_bytes()).unwrap();
                let mut word = [0; 8];
                file.read((first + index) * PAGE_SIZE + 16, &mut word).unwrap();
                assert_eq!(u64::from_le_bytes(word), first + index);
            }
        }
    }

    #[test]
    fn what_follows_a_slot_is_not_in_it() {
        let file = Arc::new(SharedFile::anonymous("memory", 8 * PAGE_SIZE).unwrap());
        let physical = Arc::new(Physical::default());
        let range = physical.enter(&extent(&file, 1, 3)).unwrap();
        let address = range.parts()[0].0 + 2 * PAGE_SIZE;
        let (slot, at) = physical.slot(address).unwrap();
        assert!(slot.read(at, &mut [0; 4096]).is_ok());
        assert!(slot.read(at, &mut [0; 4097]).is_err());
        assert!(slot.read(at + PAGE_SIZE, &mut [0]).is_err());
        assert!(slot.write(u64::MAX, &[0]).is_err());
    }

    #[test]
    fn a_slot_that_went_away_is_not_found_again() {
        let file = Arc::new(SharedFile::anonymous("memory", 8 * PAGE_SIZE).unwrap());
        let physical = Arc::new(Physical::default());
        let mut recent = Recent::default();
        let range = physical.enter(&extent(&file, 1, 1)).unwrap();
        let address = range.parts()[0].0;
        let (first, _) = recent.slot(&physical, address).unwrap();
        let first = Arc::clone(first);
        drop(range);
        assert!(recent.slot(&physical, address).is_none());
        let again = physical.enter(&extent(&file, 2, 1)).unwrap();
        assert_eq!(again.parts()[0].0, address, "the address is given again");
        let (second, _) = recent.slot(&physical, address).unwrap();
        assert!(!Arc::ptr_eq(&first, second));
    }
}
