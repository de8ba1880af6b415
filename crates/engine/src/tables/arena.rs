//! Memory for tables.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use mem::{PAGE_SIZE, Words};
use parking_lot::Mutex;
use pt::{TableMemory, TableStore};

use crate::physical;

/// Words in a page.
const WORDS: u64 = PAGE_SIZE / 8;
const PAGE_ORDER: u32 = PAGE_SIZE.trailing_zeros();

/// The first chunk is a page; the others are twice as large as the one before.
const CHUNKS: usize = (physical::TABLES.trailing_zeros() - PAGE_ORDER) as usize;

/// Pages of words, which never move: they can be read while more are taken.
///
/// Pages are numbered from 1, so that the highest bit of a page's number tells its chunk.
#[derive(Debug)]
pub(super) struct Arena {
    chunks: [OnceLock<Words>; CHUNKS.next_power_of_two()],
    pages: Mutex<Pages>,
}

#[derive(Debug)]
struct Pages {
    /// The first page that nobody had.
    next: u64,
    free: Vec<u64>,
    /// Given back, but a walker may be in them.
    left: Vec<u64>,
}

/// Where a word is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    word: u32,
    chunk: u8,
    /// What whoever asked wants to know with it.
    pub order: u8,
}

impl Spot {
    /// Where no word is.
    pub const NONE: Self = Self { word: 0, chunk: u8::MAX, order: 0 };
}

/// An address where no table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outside;

impl Default for Arena {
    fn default() -> Self {
        let pages = Pages { next: 1, free: Vec::new(), left: Vec::new() };
        Self {
            chunks: [const { OnceLock::new() }; CHUNKS.next_power_of_two()],
            pages: Mutex::new(pages),
        }
    }
}

impl Arena {
    /// The chunk of a page, and the page's place there.
    fn place(page: u64) -> Option<(usize, u64)> {
        let highest = page.checked_ilog2()?;
        let chunk = highest as usize;
        (chunk < CHUNKS).then_some((chunk, page - (1 << highest)))
    }

    #[inline]
    fn word(&self, address: u64) -> Result<&AtomicU64, Outside> {
        let (chunk, page) = Self::place(address >> PAGE_ORDER).ok_or(Outside)?;
        let index = page * WORDS + address % PAGE_SIZE / 8;
        self.chunks[chunk].get().and_then(|chunk| chunk.get(index as usize)).ok_or(Outside)
    }

    /// Where the word at an address is, whatever arena it is in; none when it is too far.
    pub fn spot(address: u64, order: u8) -> Option<Spot> {
        let (chunk, page) = Self::place(address >> PAGE_ORDER)?;
        let word = page * WORDS + address % PAGE_SIZE / 8;
        Some(Spot { word: word.try_into().ok()?, chunk: chunk as u8, order })
    }

    /// The word so many words after a spot.
    #[inline]
    pub fn at(&self, spot: Spot, index: u64) -> Option<u64> {
        let chunk = self.chunks[usize::from(spot.chunk) % CHUNKS.next_power_of_two()].get()?;
        Some(chunk.get(spot.word as usize + index as usize)?.load(Ordering::Acquire))
    }

    /// Whether pages were given back that cannot be taken yet.
    pub fn has_left(&self) -> bool {
        !self.pages.lock().left.is_empty()
    }

    /// What was given back can be taken: no walker is in it any more.
    pub fn recycle(&self) {
        let mut pages = self.pages.lock();
        let Pages { free, left, .. } = &mut *pages;
        free.append(left);
    }
}

impl TableMemory for Arena {
    type Error = Outside;

    #[inline]
    fn load(&self, address: u64) -> Result<u64, Outside> {
        self.word(address).map(|word| word.load(Ordering::Acquire))
    }

    fn swap(&self, address: u64, old: u64, new: u64) -> Result<bool, Outside> {
        let word = self.word(address)?;
        Ok(word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok())
    }
}

impl TableStore for &Arena {
    fn store(&mut self, address: u64, word: u64) -> Result<(), Outside> {
        self.word(address)?.store(word, Ordering::Release);
        Ok(())
    }

    /// Tables of a page; a root may have more, and is made first.
    fn allocate(&mut self, words: u64) -> Option<u64> {
        let wanted = words.div_ceil(WORDS);
        let mut pages = self.pages.lock();
        let again = if wanted == 1 { pages.free.pop() } else { None };
        let page = match again {
            Some(page) => page,
            None => {
                let page = pages.next.next_multiple_of(wanted);
                let (chunk, place) = Arena::place(page)?;
                if place + wanted > 1 << chunk {
                    return None;
                }
                let words = WORDS << chunk;
                if self.chunks[chunk].get().is_none() {
                    // pages are taken by one at a time
                    let _ = self.chunks[chunk].set(Words::new(words as usize).ok()?);
                }
                pages.next = page + wanted;
                page
            }
        };
        drop(pages);
        for index in 0..wanted * WORDS {
            self.store(page * PAGE_SIZE + index * 8, 0).ok()?;
        }
        Some(page * PAGE_SIZE)
    }

    fn free(&mut self, address: u64, words: u64) {
        let first = address / PAGE_SIZE;
        self.pages.lock().left.extend(first..first + words.div_ceil(WORDS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_keep_their_words_as_the_arena_grows() {
        let arena = Arena::default();
        let root = (&arena).allocate(16 * WORDS).unwrap();
        assert_eq!(root % (16 * PAGE_SIZE), 0);
        let tables: Vec<_> = (0..1000).map(|_| (&arena).allocate(WORDS).unwrap()).collect();
        for (number, table) in tables.iter().enumerate() {
            (&arena).store(table + 8, number as u64).unwrap();
        }
        for (number, table) in tables.iter().enumerate() {
            assert_eq!(arena.load(table + 8), Ok(number as u64));
            assert_eq!(arena.load(*table), Ok(0));
        }
    }

    #[test]
    fn a_table_is_taken_again_only_when_no_walker_is_in_it() {
        let arena = Arena::default();
        let table = (&arena).allocate(WORDS).unwrap();
        (&arena).store(table, 5).unwrap();
        (&arena).free(table, WORDS);
        assert_ne!((&arena).allocate(WORDS), Some(table));
        arena.recycle();
        assert_eq!((&arena).allocate(WORDS), Some(table));
        assert_eq!(arena.load(table), Ok(0));
    }

    #[test]
    fn outside_is_nothing() {
        let arena = Arena::default();
        for address in [0, 8, PAGE_SIZE, 1 << 20, 1 << 41, u64::MAX] {
            assert_eq!(arena.load(address), Err(Outside));
        }
    }
}
