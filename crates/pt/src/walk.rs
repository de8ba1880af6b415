//! The walker, and what a format has to say.

use crate::access::{Access, Grant, Rights};
use crate::memory::TableMemory;

/// Where a walk begins: the address of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Root(pub u64);

/// What entries mean, and how they change. Unless a format says otherwise, tables are of 4 KiB.
pub trait Format {
    /// Whether a table that does not grant what is asked ends a walk; else only the page decides.
    const TABLES_DENY: bool;

    /// The level of the root.
    fn top(&self) -> u8;

    /// The lowest bit of an input address that a level's index has.
    #[inline]
    fn shift(&self, level: u8) -> u32 {
        12 + 9 * u32::from(level)
    }

    /// How many bits a level's index has.
    #[inline]
    fn index_bits(&self, _level: u8) -> u32 {
        9
    }

    /// Whether an address is one that the tables can translate: wide enough, canonical.
    fn accepts(&self, input: u64) -> bool;

    /// What an entry of a level means.
    fn decode(&self, entry: u64, level: u8) -> Result<Entry, Reason>;

    /// What becomes of an entry that a walk uses: the page's, or a table's.
    fn mark(&self, entry: u64, level: u8, is_leaf: bool, access: Access) -> Mark;
}

/// What an entry means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It leads to a table.
    Table {
        /// Where it is.
        address: u64,
        /// Its level, below that of the entry.
        level: u8,
        /// What it grants to everything below.
        grant: Grant,
    },
    /// It maps a page.
    Leaf {
        /// Where the page is; bits below its size are ignored.
        address: u64,
        /// log2 of its bytes.
        order: u8,
        /// What it grants.
        grant: Grant,
    },
}

/// What becomes of an entry that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It stays as it is.
    Keep,
    /// It becomes this, in one step.
    Store(u64),
    /// The program should have marked it.
    Fault(Reason),
}

impl Mark {
    /// What makes an entry another, or the same.
    #[inline]
    pub(crate) fn change(entry: u64, new: u64) -> Self {
        if new == entry { Self::Keep } else { Self::Store(new) }
    }
}

/// What is wrong with an address or an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The input address is too wide, or not canonical.
    Input,
    /// Nothing is there.
    NotPresent,
    /// Bits are set that must not be.
    Reserved,
    /// An output address is too wide.
    Output,
    /// The entry was not marked as used, or as written, and the hardware may not.
    Unmarked,
    /// It grants nothing at all to this privilege.
    Privilege,
    /// It does not grant these.
    Rights(Rights),
}

/// Why an address has no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<E> {
    /// The tables do not translate it.
    Refused {
        /// Why.
        reason: Reason,
        /// The level at which that was found.
        level: u8,
    },
    /// An entry cannot be read.
    Load {
        /// Why.
        error: E,
        /// Its level.
        level: u8,
    },
    /// An entry cannot be marked.
    Store {
        /// Why.
        error: E,
        /// Its level.
        level: u8,
    },
    /// An entry was changed by others each time that it was to be marked.
    Contended {
        /// Its level.
        level: u8,
    },
    /// It was translated, and what is there cannot be had.
    Target(E),
}

/// What an address is translated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Translation {
    /// The output address.
    pub address: u64,
    /// log2 of the bytes of the page that it is in.
    pub order: u8,
    /// What the page and the tables grant.
    pub grant: Grant,
    /// Whether it may be written without another walk: no entry is left to be marked.
    pub dirty: bool,
}

impl Translation {
    /// An address that needs none.
    pub const fn identity(address: u64) -> Self {
        Self { address, order: 63, grant: Grant::ALL, dirty: true }
    }

    /// The first byte of the page, and the last, as output addresses.
    pub const fn page(&self) -> (u64, u64) {
        let mask = low_bits(self.order as u32);
        (self.address & !mask, self.address | mask)
    }

    /// Two stages, one after the other: the smaller page, and what both grant. The rights of the second
    /// stage are the same for every privilege.
    pub const fn then(&self, second: &Self) -> Self {
        Self {
            address: second.address,
            order: if self.order < second.order { self.order } else { second.order },
            grant: self.grant.and(second.grant),
            dirty: self.dirty && second.dirty,
        }
    }
}

/// How often an entry that others change is read again.
pub(crate) const ATTEMPTS: usize = 128;

/// Translates an address by the tables at a root, and marks what it uses.
///
/// Each entry is decoded before anything else: what is not there or malformed is told before what is
/// not granted. An entry that changes between being read and being marked is read again.
pub fn walk<F: Format, M: TableMemory>(
    format: &F,
    root: Root,
    input: u64,
    access: Access,
    memory: &M,
) -> Result<Translation, Fault<M::Error>> {
    let (mut table, mut level, mut grant) = (root.0 & !7, format.top(), Grant::ALL);
    let refused = |reason, level| Fault::Refused { reason, level };
    if !format.accepts(input) {
        return Err(refused(Reason::Input, level));
    }
    loop {
        let at = slot(format, table, level, input);
        let (used, entry) = use_entry(format, at, level, &mut grant, access, memory)?;
        match used {
            Entry::Table { address, level: next, .. } => {
                if next >= level {
                    return Err(refused(Reason::Reserved, level));
                }
                // what no index has is zero, or there is no such page
                if next + 1 != level && input & skipped(format, level, next) != 0 {
                    return Err(refused(Reason::NotPresent, level));
                }
                (table, level) = (address, next);
            }
            Entry::Leaf { address, order, .. } => {
                let mask = low_bits(order.into());
                let again = format.mark(entry, level, true, Access::WRITE);
                let address = address & !mask | input & mask;
                return Ok(Translation { address, order, grant, dirty: again == Mark::Keep });
            }
        }
    }
}

/// Where the entry of a table is that an input address selects. Addresses wrap: a table may be anywhere.
pub(crate) fn slot<F: Format>(format: &F, table: u64, level: u8, input: u64) -> u64 {
    let index = input.checked_shr(format.shift(level)).unwrap_or(0);
    table.wrapping_add((index & low_bits(format.index_bits(level))) << 3)
}

/// log2 of the bytes that a table of a level maps.
pub(crate) fn span<F: Format>(format: &F, level: u8) -> u32 {
    format.shift(level) + format.index_bits(level)
}

/// The bits of an input address that no index has when a table of a level leads to one much lower.
fn skipped<F: Format>(format: &F, level: u8, next: u8) -> u64 {
    low_bits(format.shift(level)) & !low_bits(span(format, next))
}

/// Reads an entry, judges and marks it; gives what it means, and what it is now.
fn use_entry<F: Format, M: TableMemory>(
    format: &F,
    at: u64,
    level: u8,
    granted: &mut Grant,
    access: Access,
    memory: &M,
) -> Result<(Entry, u64), Fault<M::Error>> {
    let refused = |reason| Fault::Refused { reason, level };
    for _ in 0..ATTEMPTS {
        let entry = memory.load(at).map_err(|error| Fault::Load { error, level })?;
        let decoded = format.decode(entry, level).map_err(refused)?;
        let (is_leaf, grant) = match decoded {
            Entry::Table { grant, .. } => (false, grant),
            Entry::Leaf { grant, .. } => (true, grant),
        };
        let grant = granted.and(grant);
        if is_leaf || F::TABLES_DENY {
            judge(grant, access).map_err(refused)?;
        }
        let marked = match format.mark(entry, level, is_leaf, access) {
            Mark::Keep => entry,
            Mark::Fault(reason) => return Err(refused(reason)),
            Mark::Store(new) => match memory.swap(at, entry, new) {
                Ok(true) => new,
                Ok(false) => continue,
                Err(error) => return Err(Fault::Store { error, level }),
            },
        };
        *granted = grant;
        return Ok((decoded, marked));
    }
    Err(Fault::Contended { level })
}

fn judge(grant: Grant, access: Access) -> Result<(), Reason> {
    if grant.to(access.privileged).is_empty() {
        return Err(Reason::Privilege);
    }
    match grant.denied(access) {
        denied if denied.is_empty() => Ok(()),
        denied => Err(Reason::Rights(denied)),
    }
}

/// The lowest bits of a word.
pub(crate) const fn low_bits(count: u32) -> u64 {
    if count >= u64::BITS { u64::MAX } else { (1 << count) - 1 }
}

/// Whether what is above the lowest bits of an address repeats the highest of them.
#[inline]
pub(crate) const fn is_canonical(input: u64, width: u32) -> bool {
    let unused = u64::BITS.saturating_sub(width);
    ((input << unused) as i64 >> unused) as u64 == input
}
