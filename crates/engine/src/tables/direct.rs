//! The direct way of a request through the host's tables.
//!
//! Where a device has no guest's tables, whether and where it reaches memory is nearly always what one
//! walk of the host's tables says. A model tells by [`Direct`] when that is so. Then [`Near`] remembers,
//! for 2 MiB of addresses, where their last entries are and what one of them came to, as the
//! paging-structure caches of hardware do. The entry of a page is read each time: one that has the same
//! bits beside its address comes to the same, with its own address.
//!
//! Only what needs no further thought is translated so. A refusal, a mark that is to be made, or an
//! address that the hardware treats apart comes to nothing here, and the model is asked
//! ([`crate::hw::Hardware::translate`]); where this comes to something, the model would say the same.
//!
//! # When what is remembered is not true any more
//!
//! An entry that is unmapped is zero, and so is all of a table to which nothing leads any more, until it is
//! taken for something else. Before that, every thread that may remember it forgets everything
//! ([`super::Tables::unmap`]).

use std::cell::Cell;
use std::ops::RangeInclusive;

use pt::{Access, Format, Root, TableMemory, Translation, walk};

use super::HostFormat;
use super::arena::{Arena, Outside, Spot};
use crate::physical;

/// Tables that alone decide about requests to read and to write without privilege.
#[derive(Clone, Debug)]
pub(crate) struct Direct {
    pub format: HostFormat,
    pub root: Root,
    /// Addresses for which the hardware does something else.
    pub except: Option<RangeInclusive<u64>>,
}

impl Direct {
    /// Whether the hardware does something else for an address of a range.
    fn excepts(&self, first: u64, last: u64) -> bool {
        self.except.as_ref().is_some_and(|it| first <= *it.end() && last >= *it.start())
    }
}

/// Where the last entries of addresses are, and what they mean, as one thread came to them lately.
#[derive(Debug)]
pub(crate) struct Near {
    parts: Box<[Part; PARTS]>,
}

/// What 2 MiB of addresses have in common.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// Which they are, and below that of which space, and whether their entries are plain.
    key: u64,
    /// What an entry of theirs is beside the address of the page.
    rest: u64,
    /// What such an entry comes to, as whoever asked put it.
    meaning: u64,
    /// Where the first of their entries is.
    first: Spot,
}

/// How entries have the address of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    /// log2 of the bytes that one maps.
    order: u8,
    /// By how many bits the address is lower.
    left: u8,
}

const PART_ORDER: u32 = 21;
const PART_MASK: u64 = (1 << PART_ORDER) - 1;
const ADDRESS: u64 = (1 << physical::WIDTH) - mem::PAGE_SIZE;

/// As many parts as 4 GiB have.
const PARTS: usize = 2048;

/// In the key of a part whose entries are not [`Layout::PLAIN`].
const NOT_PLAIN: u64 = 1 << 15;

impl Layout {
    /// Pages of 4 KiB, with their addresses.
    const PLAIN: Self = Self { order: mem::PAGE_SIZE.trailing_zeros() as u8, left: 0 };

    /// How many entries after the first that of an address is.
    #[inline]
    fn index(self, input: u64) -> u64 {
        (input & PART_MASK) >> (self.order & 63)
    }

    /// The bits of an entry, moved to their place, that tell where the page is.
    #[inline]
    fn bits(self) -> u64 {
        ADDRESS & (u64::MAX << (self.order & 63))
    }
}

impl Part {
    const NONE: Self = Self { key: u64::MAX, rest: 0, meaning: 0, first: Spot::NONE };

    /// Where the page of 4 KiB of an address is, and what its entry means.
    #[inline]
    fn find(&self, layout: Layout, input: u64, arena: &Arena) -> Option<(u64, u64)> {
        let entry = arena.at(self.first, layout.index(input))?.rotate_left(layout.left.into());
        let bits = layout.bits();
        if entry & !bits != self.rest {
            return None;
        }
        Some((entry & bits | input & ADDRESS & !bits, self.meaning))
    }
}

#[inline]
fn key(tag: u16, input: u64) -> u64 {
    input >> PART_ORDER << u16::BITS | u64::from(tag)
}

#[inline]
fn place(tag: u16, input: u64) -> usize {
    ((input >> PART_ORDER) as usize ^ usize::from(tag) << 5) % PARTS
}

impl Default for Near {
    fn default() -> Self {
        Self { parts: Box::new([Part::NONE; PARTS]) }
    }
}

impl Near {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.parts.fill(Part::NONE);
    }

    /// Where the page of an address is, and what its entry means, if that is known and the entry is plain.
    #[inline]
    pub(super) fn find(&self, tag: u16, input: u64, arena: &Arena) -> Option<(u64, u64)> {
        let part = &self.parts[place(tag, input)];
        if part.key != key(tag, input) {
            return None;
        }
        part.find(Layout::PLAIN, input, arena)
    }

    /// The same of an entry that is not plain, for a page of 4 KiB.
    pub(super) fn find_other(
        &self,
        tag: u16,
        input: u64,
        left: u8,
        arena: &Arena,
    ) -> Option<(u64, u64)> {
        let part = &self.parts[place(tag, input)];
        if part.key != key(tag, input) | NOT_PLAIN {
            return None;
        }
        part.find(Layout { order: part.first.order, left }, input, arena)
    }

    /// Walks the tables, where that takes nothing but reading, and remembers what they come to as
    /// `meaning` has it.
    pub(super) fn learn<F: Format>(
        &mut self,
        direct: &Direct,
        format: &F,
        (tag, input): (u16, u64),
        access: Access,
        arena: &Arena,
        meaning: impl FnOnce(&Translation) -> u64,
    ) -> Option<Translation> {
        let tables = Watched { arena, last: Cell::default() };
        let found = walk(format, direct.root, input, access, &tables).ok()?;
        let (Translation { order, address, .. }, (at, entry)) = (found, tables.last.get());
        let page = 1u64.checked_shl(order.into())?.wrapping_sub(1);
        if direct.excepts(input & !page, input | page) {
            return None;
        }
        let layout = Layout { order, left: direct.format.address_left() };
        let (entry, bits) = (entry.rotate_left(layout.left.into()), layout.bits());
        // an entry that has a page to itself, in a part that has nothing special
        let fits = (0..=format.top()).any(|level| format.shift(level) == u32::from(order))
            && entry & bits == address & bits
            && !direct.excepts(input & !PART_MASK, input | PART_MASK);
        let first = at.checked_sub(layout.index(input) * 8);
        let first = first.filter(|_| fits).and_then(|first| Arena::spot(first, order));
        if let Some(first) = first {
            let kind = if layout == Layout::PLAIN { 0 } else { NOT_PLAIN };
            let (key, rest, meaning) = (key(tag, input) | kind, entry & !bits, meaning(&found));
            self.parts[place(tag, input)] = Part { key, rest, meaning, first };
        }
        Some(found)
    }
}

/// Tables in which nothing can be marked, and the entry that was read last.
struct Watched<'a> {
    arena: &'a Arena,
    last: Cell<(u64, u64)>,
}

impl TableMemory for Watched<'_> {
    type Error = Outside;

    #[inline]
    fn load(&self, address: u64) -> Result<u64, Outside> {
        let entry = self.arena.load(address)?;
        self.last.set((address, entry));
        Ok(entry)
    }

    fn swap(&self, _: u64, _: u64, _: u64) -> Result<bool, Outside> {
        Err(Outside)
    }
}
