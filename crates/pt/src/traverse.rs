//! Going through the pages of a range, in tables of one's own.

use core::ops::RangeInclusive;

use crate::map::MapError;
use crate::memory::TableMemory;
use crate::walk::{Entry, Format, Reason, low_bits, slot, span};

/// More than the levels of any format.
pub(crate) const LEVELS: usize = 8;

/// A page that is come across.
pub(crate) struct Leaf {
    /// Its first entry.
    pub slot: u64,
    /// How many there are, one after the other.
    pub entries: u64,
    /// Its first input address.
    pub input: u64,
    /// log2 of its bytes.
    pub order: u8,
}

/// A table that is left behind.
pub(crate) struct Left {
    /// The entry that leads to it.
    pub slot: u64,
    /// Where it is.
    pub table: u64,
    /// Its words.
    pub words: u64,
    /// The first input address that it maps, and the last.
    pub first: u64,
    pub last: u64,
}

/// What is done with what is come across.
pub(crate) trait Visitor<M: TableMemory> {
    /// Whether pages matter; else tables of the last level are not looked into.
    const PAGES: bool = true;

    /// With a page, of which a part at least is in the range.
    fn leaf(&mut self, memory: &mut M, leaf: Leaf) -> Result<(), MapError<M::Error>>;

    /// With a table below the first, after all that is in it, if its end is reached.
    fn left(&mut self, _memory: &mut M, _left: Left) -> Result<(), MapError<M::Error>> {
        Ok(())
    }
}

/// Goes through the pages of a range below a table of a level, by ascending address. Bits of addresses
/// above what the table maps must be the same in the whole range.
pub(crate) fn traverse<F: Format, M: TableMemory, V: Visitor<M>>(
    format: &F,
    (table, top): (u64, u8),
    range: RangeInclusive<u64>,
    memory: &mut M,
    visitor: &mut V,
) -> Result<(), MapError<M::Error>> {
    let (mut at, last) = range.into_inner();
    let (mut path, mut level) = ([0; LEVELS], top);
    *path.get_mut(usize::from(top)).ok_or(MapError::Malformed { level: top })? = table;
    loop {
        let here = path[usize::from(level)];
        let skips = level == 0 && !V::PAGES;
        let entry_at = slot(format, here, level, at);
        let entry = if skips { 0 } else { memory.load(entry_at).map_err(MapError::Memory)? };
        let passed = match below(format, entry, level)? {
            _ if skips => span(format, level),
            Below::Nothing => format.shift(level),
            Below::Table(address) => {
                level -= 1;
                path[usize::from(level)] = address;
                continue;
            }
            Below::Leaf(order) => {
                let (input, shift) = (at & !low_bits(order.into()), format.shift(level));
                let entries = 1 << u32::from(order).saturating_sub(shift);
                let first = slot(format, here, level, input);
                visitor.leaf(memory, Leaf { slot: first, entries, input, order })?;
                shift.max(order.into())
            }
        };
        let end = at | low_bits(passed);
        while level < top {
            let inside = low_bits(span(format, level));
            if end & inside != inside {
                break;
            }
            let table = path[usize::from(level)];
            let words = 1 << format.index_bits(level);
            let (first, last) = (at & !inside, at | inside);
            level += 1;
            let slot = slot(format, path[usize::from(level)], level, at);
            visitor.left(memory, Left { slot, table, words, first, last })?;
        }
        if end >= last {
            return Ok(());
        }
        at = end + 1;
    }
}

/// What an entry of one's own leads to.
pub(crate) enum Below {
    Nothing,
    /// A table of the level below.
    Table(u64),
    /// A page of an order.
    Leaf(u8),
}

pub(crate) fn below<F: Format, E>(format: &F, entry: u64, level: u8) -> Result<Below, MapError<E>> {
    match format.decode(entry, level) {
        Err(Reason::NotPresent) => Ok(Below::Nothing),
        Ok(Entry::Leaf { order, .. }) => Ok(Below::Leaf(order)),
        Ok(Entry::Table { address, level: next, .. }) if next + 1 == level => {
            Ok(Below::Table(address))
        }
        Ok(Entry::Table { .. }) | Err(_) => Err(MapError::Malformed { level }),
    }
}
