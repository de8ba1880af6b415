//! Tables of one's own: mapping, unmapping.
//!
//! [`Mapper`] keeps its place: pages that follow one another are written without walking from the root
//! for each. The functions beside it are for one call.
//!
//! Tables are made when a page needs them. They are given back when all that they map is unmapped in one
//! call, when a page takes the place of one that is empty, and with the root ([`release`]). Walkers may
//! read meanwhile: a table is empty when it is linked, and no link is left when it is given back.
//!
//! *Not for tables that others write*: what this module did not write is `Malformed`, or takes long.

use core::ops::RangeInclusive;

use crate::encode::{Encode, Prot};
use crate::memory::TableStore;
use crate::traverse::{Below, LEVELS, Leaf, Left, Visitor, below, traverse};
use crate::walk::{Entry, Format, Reason, Root, low_bits, slot, span};

/// Why something is not mapped, or unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError<E> {
    /// Pages have no such size.
    Size,
    /// An address is not a multiple of the size, or too wide for the tables.
    Address,
    /// No page grants this, or none is asked for.
    Rights,
    /// Something is mapped there.
    Exists,
    /// There is no memory for a table.
    NoTable,
    /// An entry is not of this module's making.
    Malformed {
        /// Its level.
        level: u8,
    },
    /// An entry was changed by others each time that it was to be changed.
    Contended,
    /// A table cannot be read or written.
    Memory(E),
}

/// Makes an empty root. None when there is no memory for it.
pub fn root<F: Format>(format: &F, store: &mut impl TableStore) -> Option<Root> {
    store.allocate(1 << format.index_bits(format.top())).map(Root)
}

/// Maps a page of 2^`order` bytes.
///
/// # Errors
///
/// All but `Contended`. Nothing is mapped then; tables that were made are kept.
pub fn map<F: Encode, S: TableStore>(
    format: &F,
    root: Root,
    input: u64,
    output: u64,
    order: u8,
    prot: Prot,
    store: &mut S,
) -> Result<(), MapError<S::Error>> {
    Mapper::new(format, root, store).map(input, output, order, prot)
}

/// Unmaps the pages that are wholly in a range; gives their bytes (2^64 is told as one less).
///
/// # Errors
///
/// `Address` when the range is not one that the tables can map, `Malformed`, `Memory`.
pub fn unmap<F: Encode, S: TableStore>(
    format: &F,
    root: Root,
    range: RangeInclusive<u64>,
    store: &mut S,
) -> Result<u64, MapError<S::Error>> {
    Mapper::new(format, root, store).unmap(range)
}

/// Gives all tables back, and the root.
///
/// # Errors
///
/// `Malformed`, `Memory`; the tables that were not come to are kept then.
pub fn release<F: Format, S: TableStore>(
    format: &F,
    root: Root,
    store: &mut S,
) -> Result<(), MapError<S::Error>> {
    free(format, (root.0, format.top()), store)
}

/// A writer of tables, at the place where it wrote last.
#[derive(Debug)]
pub struct Mapper<'t, F, S> {
    format: &'t F,
    store: &'t mut S,
    /// The sizes that pages may have.
    sizes: u64,
    /// The tables on the way to `reached`, by level, from `lowest` up to the root.
    path: [u64; LEVELS],
    reached: u64,
    lowest: u8,
}

impl<'t, F: Encode, S: TableStore> Mapper<'t, F, S> {
    /// A writer of the tables at a root.
    pub fn new(format: &'t F, root: Root, store: &'t mut S) -> Self {
        let (sizes, lowest) = (format.page_sizes(), format.top());
        Self { format, store, sizes, path: [root.0; LEVELS], reached: 0, lowest }
    }

    /// Maps a page of 2^`order` bytes: see [`map`].
    pub fn map(
        &mut self,
        input: u64,
        output: u64,
        order: u8,
        prot: Prot,
    ) -> Result<(), MapError<S::Error>> {
        if self.sizes.checked_shr(order.into()).unwrap_or(0) & 1 == 0 {
            return Err(MapError::Size);
        }
        let inside = low_bits(order.into());
        let aligned = (input | output) & inside == 0;
        if !aligned || !self.format.accepts(input) || !self.format.accepts(input | inside) {
            return Err(MapError::Address);
        }
        let level = self.level_of(order);
        let part = self.format.shift(level);
        self.check(output, order, level, prot)?;
        let table = self.table(input, level)?;
        let first = slot(self.format, table, level, input);
        let entries = 1 << (u32::from(order) - part);
        for entry in 0..entries {
            self.check_empty(first.wrapping_add(entry << 3), level)?;
        }
        for entry in 0..entries {
            let leaf = self.format.leaf(output | entry << part, order, level, prot);
            self.replace(first.wrapping_add(entry << 3), level, leaf)?;
        }
        Ok(())
    }

    /// Maps a range to as many bytes from `output` on, by the largest pages that fit and that are of
    /// `sizes` (bit n: 2^n bytes; `u64::MAX` for all that the format has).
    ///
    /// # Errors
    ///
    /// Those of [`map`]; nothing is mapped then. `Address`, too, when no page fits.
    pub fn map_range(
        &mut self,
        range: RangeInclusive<u64>,
        output: u64,
        sizes: u64,
        prot: Prot,
    ) -> Result<(), MapError<S::Error>> {
        let (first, last) = range.into_inner();
        let (sizes, mut at) = (sizes & self.sizes, first);
        if first > last || output.checked_add(last - first).is_none() {
            return Err(MapError::Address);
        }
        loop {
            let to = output + (at - first);
            let done = match largest(sizes, at | to, last - at) {
                Some(order) => self.map(at, to, order, prot).map(|()| at | low_bits(order.into())),
                None => Err(MapError::Address),
            };
            match done {
                Ok(end) if end == last => return Ok(()),
                Ok(end) => at = end + 1,
                Err(error) => {
                    if at > first {
                        // what cannot be undone either cannot be helped
                        let _ = self.unmap(first..=at - 1);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Unmaps the pages that are wholly in a range: see [`unmap`].
    pub fn unmap(&mut self, range: RangeInclusive<u64>) -> Result<u64, MapError<S::Error>> {
        // tables that are known may be given back
        self.lowest = self.format.top();
        let root = Root(self.path[usize::from(self.lowest)]);
        let top = table_of_range(self.format, root, &range)?;
        let mut unmap = Unmap { range: range.clone(), bytes: 0 };
        traverse(self.format, top, range, self.store, &mut unmap)?;
        Ok(unmap.bytes)
    }

    /// The level whose entries a page has.
    fn level_of(&self, order: u8) -> u8 {
        let reaches = |level: u8| self.format.shift(level) <= order.into();
        (0..self.format.top()).find(|level| !reaches(level + 1)).unwrap_or(self.format.top())
    }

    /// Whether a page's entry says what it is to say.
    fn check(
        &self,
        output: u64,
        order: u8,
        level: u8,
        prot: Prot,
    ) -> Result<(), MapError<S::Error>> {
        let entry = self.format.leaf(output, order, level, prot);
        match self.format.decode(entry, level) {
            _ if prot.rights.is_empty() => Err(MapError::Rights),
            Ok(Entry::Leaf { address, order: is, grant }) => {
                if address & !low_bits(order.into()) != output || is != order {
                    return Err(MapError::Address);
                }
                let granted = grant.user.contains(prot.rights);
                if granted { Ok(()) } else { Err(MapError::Rights) }
            }
            Err(Reason::NotPresent) => Err(MapError::Rights),
            _ => Err(MapError::Address),
        }
    }

    /// The table of a level that an input address leads to; made where there is none.
    fn table(&mut self, input: u64, level: u8) -> Result<u64, MapError<S::Error>> {
        let (format, top) = (self.format, self.format.top());
        let mut at = self.lowest.max(level);
        let differs = input ^ self.reached;
        while at < top && differs & !low_bits(span(format, at)) != 0 {
            at += 1;
        }
        (self.lowest, self.reached) = (at, input);
        while at > level {
            let entry_at = slot(format, self.path[usize::from(at)], at, input);
            let entry = self.store.load(entry_at).map_err(MapError::Memory)?;
            let next = match below(format, entry, at)? {
                Below::Table(address) => address,
                Below::Leaf(_) => return Err(MapError::Exists),
                Below::Nothing => {
                    let words = 1 << format.index_bits(at - 1);
                    let made = self.store.allocate(words).ok_or(MapError::NoTable)?;
                    self.link(entry_at, at, made, words)?;
                    made
                }
            };
            at -= 1;
            self.path[usize::from(at)] = next;
            self.lowest = at;
        }
        Ok(self.path[usize::from(level)])
    }

    /// Makes an entry lead to a new table.
    fn link(
        &mut self,
        entry_at: u64,
        level: u8,
        table: u64,
        words: u64,
    ) -> Result<(), MapError<S::Error>> {
        let entry = self.format.table(table, level);
        let linked = match below::<F, S::Error>(self.format, entry, level) {
            Ok(Below::Table(address)) if address == table => {
                self.store.store(entry_at, entry).map_err(MapError::Memory)
            }
            // memory for tables is where entries do not reach
            _ => Err(MapError::NoTable),
        };
        linked.inspect_err(|_| self.store.free(table, words))
    }

    /// Whether there are no pages where an entry is.
    fn check_empty(&mut self, entry_at: u64, level: u8) -> Result<(), MapError<S::Error>> {
        let entry = self.store.load(entry_at).map_err(MapError::Memory)?;
        match below(self.format, entry, level)? {
            Below::Nothing => Ok(()),
            Below::Leaf(_) => Err(MapError::Exists),
            Below::Table(table) => {
                let all = 0..=low_bits(span(self.format, level - 1));
                traverse(self.format, (table, level - 1), all, self.store, &mut Refuse)
            }
        }
    }

    /// Writes an entry where no pages are; a table that it led to is given back.
    fn replace(&mut self, entry_at: u64, level: u8, leaf: u64) -> Result<(), MapError<S::Error>> {
        let old = self.store.load(entry_at).map_err(MapError::Memory)?;
        self.store.store(entry_at, leaf).map_err(MapError::Memory)?;
        match below(self.format, old, level)? {
            Below::Table(table) => free(self.format, (table, level - 1), self.store),
            _ => Ok(()),
        }
    }
}

/// The root of a range that the tables can map: one whose addresses are all of the same half.
pub(crate) fn table_of_range<F: Format, E>(
    format: &F,
    root: Root,
    range: &RangeInclusive<u64>,
) -> Result<(u64, u8), MapError<E>> {
    let (first, last, top) = (*range.start(), *range.end(), format.top());
    let same_half = (first ^ last) & !low_bits(span(format, top)) == 0;
    if first > last || !same_half || !format.accepts(first) || !format.accepts(last) {
        return Err(MapError::Address);
    }
    Ok((root.0, top))
}

/// The largest page for an address (of which any bit may be the input's or the output's) that goes no
/// further than `more` bytes after its first.
fn largest(sizes: u64, address: u64, more: u64) -> Option<u8> {
    let aligned = low_bits(address.trailing_zeros() + 1);
    let fitting = match more.checked_add(1) {
        Some(bytes) => low_bits(u64::BITS - bytes.leading_zeros()),
        None => u64::MAX,
    };
    (sizes & aligned & fitting).checked_ilog2().map(|order| order as u8)
}

/// Gives a table back, and all below it.
fn free<F: Format, S: TableStore>(
    format: &F,
    (table, level): (u64, u8),
    store: &mut S,
) -> Result<(), MapError<S::Error>> {
    let all = 0..=low_bits(span(format, level));
    traverse(format, (table, level), all, store, &mut Free)?;
    store.free(table, 1 << format.index_bits(level));
    Ok(())
}

struct Unmap {
    range: RangeInclusive<u64>,
    bytes: u64,
}

impl<S: TableStore> Visitor<S> for Unmap {
    fn leaf(&mut self, store: &mut S, leaf: Leaf) -> Result<(), MapError<S::Error>> {
        let inside = low_bits(leaf.order.into());
        if !self.range.contains(&leaf.input) || !self.range.contains(&(leaf.input | inside)) {
            return Ok(());
        }
        for entry in 0..leaf.entries {
            let at = leaf.slot.wrapping_add(entry << 3);
            store.store(at, 0).map_err(MapError::Memory)?;
        }
        self.bytes = self.bytes.saturating_add(inside).saturating_add(1);
        Ok(())
    }

    fn left(&mut self, store: &mut S, left: Left) -> Result<(), MapError<S::Error>> {
        if self.range.contains(&left.first) && self.range.contains(&left.last) {
            store.store(left.slot, 0).map_err(MapError::Memory)?;
            store.free(left.table, left.words);
        }
        Ok(())
    }
}

/// Refuses pages.
struct Refuse;

impl<S: TableStore> Visitor<S> for Refuse {
    fn leaf(&mut self, _store: &mut S, _leaf: Leaf) -> Result<(), MapError<S::Error>> {
        Err(MapError::Exists)
    }
}

/// Gives tables back.
struct Free;

impl<S: TableStore> Visitor<S> for Free {
    const PAGES: bool = false;

    fn leaf(&mut self, _store: &mut S, _leaf: Leaf) -> Result<(), MapError<S::Error>> {
        Ok(())
    }

    fn left(&mut self, store: &mut S, left: Left) -> Result<(), MapError<S::Error>> {
        store.free(left.table, left.words);
        Ok(())
    }
}
