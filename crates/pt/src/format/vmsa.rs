//! Arm's VMSAv8-64: SMMUv3's stage 1 and stage 2.
//!
//! From the Arm architecture (D8, translation) and the SMMUv3 specification (3.4, 5.4). Bits 1:0 are 01 for a
//! block, 11 for a table, and at the last level 11 for a page. AP 7:6, S2AP 7:6, AF 10, address 47:12, DBM 51,
//! contiguous 52, PXN 53, UXN 54, and in tables PXN 59, UXN 60, AP 62:61.

use crate::access::{Access, Grant, Rights};
use crate::encode::{Encode, Prot};
use crate::walk::{Entry, Format, Mark, Reason, low_bits};

/// The size of the smallest pages, and of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granule {
    /// 4 KiB.
    K4,
    /// 16 KiB.
    K16,
    /// 64 KiB.
    K64,
}

/// One half of a stage-1 table: the lower addresses, or the upper ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VmsaStage1 {
    /// The size of pages.
    pub granule: Granule,
    /// Bits of an input address: 64 less TxSZ.
    pub input_bits: u32,
    /// Whether it is the upper half: all bits above are 1.
    pub upper: bool,
    /// Bits 63:56 are ignored (TBI).
    pub top_byte_ignored: bool,
    /// Bits of an output address (IPS).
    pub address_bits: u32,
    /// What is used is marked (HA); else an unmarked page is no fault only with `unmarked_passes`.
    pub marks: bool,
    /// What is written is marked (HD).
    pub marks_dirty: bool,
    /// An unmarked page is no fault (AFFD).
    pub unmarked_passes: bool,
    /// Tables take nothing away (HAD).
    pub tables_grant_all: bool,
    /// What may be written may not be executed (WXN).
    pub write_or_execute: bool,
    /// Privileged requests may not touch users' data (PAN).
    pub privileged_never: bool,
}

/// A stage-2 table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VmsaStage2 {
    /// The size of pages.
    pub granule: Granule,
    /// Bits of an input address: 64 less S2T0SZ.
    pub input_bits: u32,
    /// The level of the root (SL0); up to 16 tables lie there one after the other.
    pub top: u8,
    /// Bits of an output address (S2PS).
    pub address_bits: u32,
    /// What is used is marked (S2HA).
    pub marks: bool,
    /// What is written is marked (S2HD).
    pub marks_dirty: bool,
    /// An unmarked page is no fault (S2AFFD).
    pub unmarked_passes: bool,
}

const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 1 << 1;
/// AP\[1\]: without privilege, too.
const USER: u64 = 1 << 6;
/// AP\[2\]: to read only.
const READ_ONLY: u64 = 1 << 7;
const S2_READ: u64 = 1 << 6;
const S2_WRITE: u64 = 1 << 7;
const ACCESSED: u64 = 1 << 10;
const DIRTY_MODIFIER: u64 = 1 << 51;
const CONTIGUOUS: u64 = 1 << 52;
const NO_PRIVILEGED_EXECUTE: u64 = 1 << 53;
const NO_USER_EXECUTE: u64 = 1 << 54;
const S2_NO_EXECUTE: u64 = 1 << 54;
const TABLE_NO_PRIVILEGED_EXECUTE: u64 = 1 << 59;
const TABLE_NO_USER_EXECUTE: u64 = 1 << 60;
const TABLE_NO_USER: u64 = 1 << 61;
const TABLE_READ_ONLY: u64 = 1 << 62;

/// log2 of how many tables the root of stage 2 may be, one after the other.
const CONCATENATED: u32 = 4;

impl Granule {
    /// log2 of its bytes.
    #[inline]
    pub const fn order(self) -> u32 {
        match self {
            Self::K4 => 12,
            Self::K16 => 14,
            Self::K64 => 16,
        }
    }

    /// Bits of an index: a table fills a page.
    #[inline]
    const fn stride(self) -> u32 {
        self.order() - 3
    }

    #[inline]
    const fn shift(self, level: u8) -> u32 {
        self.order() + self.stride() * level as u32
    }

    /// Whether a level may have blocks, with output addresses of so many bits.
    #[inline]
    const fn has_blocks(self, level: u8, address_bits: u32) -> bool {
        match (self, level) {
            (Self::K4, 1 | 2) | (Self::K16 | Self::K64, 1) => true,
            (Self::K64, 2) => address_bits == 52,
            _ => false,
        }
    }

    /// log2 of how many entries of a level a contiguous page has.
    #[inline]
    const fn contiguous(self, level: u8) -> u32 {
        match (self, level) {
            (Self::K4, _) => 4,
            (Self::K16, 0) => 7,
            (Self::K16, _) => 5,
            (Self::K64, _) => 5,
        }
    }

    /// The output address in an entry; with 64 KiB and 52 bits its top is in bits 15:12.
    #[inline]
    const fn address(self, entry: u64, address_bits: u32) -> u64 {
        let low = entry & low_bits(48) & !low_bits(self.order());
        match (self, address_bits) {
            (Self::K64, 52) => low | (entry >> 12 & 0xf) << 48,
            _ => low,
        }
    }

    /// The bits in which an entry has an output address: the reverse of `address`.
    #[inline]
    const fn encoded(self, address: u64, address_bits: u32) -> u64 {
        let low = address & low_bits(48) & !low_bits(self.order());
        match (self, address_bits) {
            (Self::K64, 52) => low | (address >> 48 & 0xf) << 12,
            _ => low,
        }
    }

    #[inline]
    const fn table(self, address: u64, address_bits: u32) -> u64 {
        VALID | TABLE_OR_PAGE | self.encoded(address, address_bits)
    }

    /// A page's entry without what it grants.
    #[inline]
    const fn leaf(self, address: u64, order: u8, level: u8, address_bits: u32) -> u64 {
        let kind = if level == 0 { VALID | TABLE_OR_PAGE } else { VALID };
        let contiguous = if order as u32 > self.shift(level) { CONTIGUOUS } else { 0 };
        kind | contiguous | ACCESSED | self.encoded(address, address_bits)
    }

    /// The level of the root for input addresses of so many bits.
    #[inline]
    const fn top(self, input_bits: u32) -> u8 {
        let bits = input_bits.saturating_sub(self.order());
        (bits.div_ceil(self.stride()).saturating_sub(1)) as u8
    }

    /// What a descriptor is, apart from what it grants: table, page or block, and where it leads.
    #[inline]
    fn decode(self, entry: u64, level: u8, address_bits: u32) -> Result<(bool, u64, u8), Reason> {
        if entry & VALID == 0 {
            return Err(Reason::NotPresent);
        }
        let is_table = level > 0 && entry & TABLE_OR_PAGE != 0;
        // a page at the last level has the bit, a block above it has not
        let is_leaf = match level {
            0 => entry & TABLE_OR_PAGE != 0,
            _ => !is_table && self.has_blocks(level, address_bits),
        };
        if !is_table && !is_leaf {
            return Err(Reason::NotPresent);
        }
        let address = self.address(entry, address_bits);
        if address & !low_bits(address_bits) != 0 {
            return Err(Reason::Output);
        }
        let mut order = self.shift(level);
        if is_leaf && entry & CONTIGUOUS != 0 {
            order += self.contiguous(level);
        }
        Ok((is_leaf, address & !low_bits(if is_leaf { self.shift(level) } else { 0 }), order as u8))
    }
}

/// The sizes of a table's pages: of blocks, and of the contiguous ones that fit.
#[inline]
fn page_sizes(format: &impl Format, granule: Granule, address_bits: u32) -> u64 {
    let has_pages = |&level: &u8| level == 0 || granule.has_blocks(level, address_bits);
    (0..=format.top()).filter(has_pages).fold(0, |sizes, level| {
        let (shift, contiguous) = (granule.shift(level), granule.contiguous(level));
        let fits = contiguous <= format.index_bits(level);
        sizes | 1 << shift | if fits { 1 << (shift + contiguous) } else { 0 }
    })
}

/// Whether an unmarked page is no fault.
#[inline]
fn check_accessed(entry: u64, marks: bool, passes: bool) -> Result<(), Reason> {
    let fine = entry & ACCESSED != 0 || marks || passes;
    if fine { Ok(()) } else { Err(Reason::Unmarked) }
}

impl VmsaStage1 {
    /// The lower half, without anything that is optional.
    pub const fn lower(granule: Granule, input_bits: u32, address_bits: u32) -> Self {
        Self {
            granule,
            input_bits,
            upper: false,
            top_byte_ignored: false,
            address_bits,
            marks: false,
            marks_dirty: false,
            unmarked_passes: false,
            tables_grant_all: false,
            write_or_execute: false,
            privileged_never: false,
        }
    }

    #[inline]
    fn page_grant(&self, entry: u64) -> Grant {
        let mut data = Rights::READ;
        let clean = entry & DIRTY_MODIFIER != 0 && self.marks_dirty;
        data.set(Rights::WRITE, entry & READ_ONLY == 0 || clean);
        let writes = data.contains(Rights::WRITE);
        let is_users = entry & USER != 0;
        let mut user = if is_users { data } else { Rights::empty() };
        let hidden = is_users && self.privileged_never;
        let mut privileged = if hidden { Rights::empty() } else { data };
        // what is not a user's to read may still be one's to execute
        let users = is_users && writes;
        user.set(
            Rights::EXECUTE,
            entry & NO_USER_EXECUTE == 0 && !(users && self.write_or_execute),
        );
        // what a user may write no privileged request executes
        let never = users || writes && self.write_or_execute;
        privileged.set(Rights::EXECUTE, entry & NO_PRIVILEGED_EXECUTE == 0 && !never);
        Grant { user, privileged }
    }

    #[inline]
    fn table_grant(&self, entry: u64) -> Grant {
        let mut grant = Grant::ALL;
        if self.tables_grant_all {
            return grant;
        }
        if entry & TABLE_READ_ONLY != 0 {
            grant = grant.and(Grant::both(Rights::WRITE.complement()));
        }
        if entry & TABLE_NO_USER != 0 {
            grant.user = Rights::EXECUTE;
        }
        if entry & TABLE_NO_USER_EXECUTE != 0 {
            grant.user.remove(Rights::EXECUTE);
        }
        if entry & TABLE_NO_PRIVILEGED_EXECUTE != 0 {
            grant.privileged.remove(Rights::EXECUTE);
        }
        grant
    }
}

impl Format for VmsaStage1 {
    const TABLES_DENY: bool = false;

    #[inline]
    fn top(&self) -> u8 {
        self.granule.top(self.input_bits)
    }

    #[inline]
    fn shift(&self, level: u8) -> u32 {
        self.granule.shift(level)
    }

    #[inline]
    fn index_bits(&self, level: u8) -> u32 {
        self.granule.stride().min(self.input_bits.saturating_sub(self.shift(level)))
    }

    #[inline]
    fn accepts(&self, input: u64) -> bool {
        let judged = low_bits(if self.top_byte_ignored { 56 } else { 64 });
        let above = judged & !low_bits(self.input_bits);
        input & above == if self.upper { above } else { 0 }
    }

    #[inline]
    fn decode(&self, entry: u64, level: u8) -> Result<Entry, Reason> {
        let (is_leaf, address, order) = self.granule.decode(entry, level, self.address_bits)?;
        if !is_leaf {
            let grant = self.table_grant(entry);
            return Ok(Entry::Table { address, level: level - 1, grant });
        }
        check_accessed(entry, self.marks, self.unmarked_passes)?;
        Ok(Entry::Leaf { address, order, grant: self.page_grant(entry) })
    }

    #[inline]
    fn mark(&self, entry: u64, _level: u8, is_leaf: bool, access: Access) -> Mark {
        let writes = is_leaf && self.marks_dirty && access.is_write();
        let new = if writes && entry & DIRTY_MODIFIER != 0 { entry & !READ_ONLY } else { entry };
        Mark::change(entry, if is_leaf && self.marks { new | ACCESSED } else { new })
    }
}

impl Format for VmsaStage2 {
    const TABLES_DENY: bool = false;

    #[inline]
    fn top(&self) -> u8 {
        self.top
    }

    #[inline]
    fn shift(&self, level: u8) -> u32 {
        self.granule.shift(level)
    }

    #[inline]
    fn index_bits(&self, level: u8) -> u32 {
        let left = self.input_bits.saturating_sub(self.shift(level));
        if level == self.top { left } else { self.granule.stride() }
    }

    #[inline]
    fn accepts(&self, input: u64) -> bool {
        // of more than 16 tables as the root there are no entries
        let most = self.granule.shift(self.top) + self.granule.stride() + CONCATENATED;
        input <= low_bits(self.input_bits.min(most))
    }

    #[inline]
    fn decode(&self, entry: u64, level: u8) -> Result<Entry, Reason> {
        let (is_leaf, address, order) = self.granule.decode(entry, level, self.address_bits)?;
        if !is_leaf {
            return Ok(Entry::Table { address, level: level - 1, grant: Grant::ALL });
        }
        check_accessed(entry, self.marks, self.unmarked_passes)?;
        let mut rights = Rights::empty();
        rights.set(Rights::READ, entry & S2_READ != 0);
        let clean = entry & DIRTY_MODIFIER != 0 && self.marks_dirty;
        rights.set(Rights::WRITE, entry & S2_WRITE != 0 || clean);
        // XN 54:53: 00 all, 01 without privilege, 10 nobody, 11 with privilege
        let executes = entry >> 53 & 3;
        let mut grant = Grant::both(rights);
        grant.user.set(Rights::EXECUTE, executes <= 1);
        grant.privileged.set(Rights::EXECUTE, executes == 0 || executes == 3);
        Ok(Entry::Leaf { address, order, grant })
    }

    #[inline]
    fn mark(&self, entry: u64, _level: u8, is_leaf: bool, access: Access) -> Mark {
        let writes = is_leaf && self.marks_dirty && access.is_write();
        let new = if writes && entry & DIRTY_MODIFIER != 0 { entry | S2_WRITE } else { entry };
        Mark::change(entry, if is_leaf && self.marks { new | ACCESSED } else { new })
    }
}

impl Encode for VmsaStage1 {
    #[inline]
    fn page_sizes(&self) -> u64 {
        page_sizes(self, self.granule, self.address_bits)
    }

    #[inline]
    fn table(&self, address: u64, _level: u8) -> u64 {
        self.granule.table(address, self.address_bits)
    }

    #[inline]
    fn leaf(&self, address: u64, order: u8, level: u8, prot: Prot) -> u64 {
        let mut entry = self.granule.leaf(address, order, level, self.address_bits) | USER;
        if !prot.rights.contains(Rights::WRITE) {
            entry |= READ_ONLY;
        } else if prot.tracking && self.marks_dirty {
            entry |= READ_ONLY | DIRTY_MODIFIER;
        }
        if !prot.rights.contains(Rights::EXECUTE) {
            entry |= NO_USER_EXECUTE | NO_PRIVILEGED_EXECUTE;
        }
        entry
    }

    #[inline]
    fn is_dirty(&self, entry: u64) -> bool {
        entry & (DIRTY_MODIFIER | READ_ONLY) == DIRTY_MODIFIER
    }

    #[inline]
    fn cleaned(&self, entry: u64) -> u64 {
        entry | READ_ONLY
    }
}

impl Encode for VmsaStage2 {
    #[inline]
    fn page_sizes(&self) -> u64 {
        page_sizes(self, self.granule, self.address_bits)
    }

    #[inline]
    fn table(&self, address: u64, _level: u8) -> u64 {
        self.granule.table(address, self.address_bits)
    }

    #[inline]
    fn leaf(&self, address: u64, order: u8, level: u8, prot: Prot) -> u64 {
        let mut entry = self.granule.leaf(address, order, level, self.address_bits);
        if prot.rights.contains(Rights::READ) {
            entry |= S2_READ;
        }
        if prot.rights.contains(Rights::WRITE) {
            let tracked = prot.tracking && self.marks_dirty;
            entry |= if tracked { DIRTY_MODIFIER } else { S2_WRITE };
        }
        if !prot.rights.contains(Rights::EXECUTE) {
            entry |= S2_NO_EXECUTE;
        }
        entry
    }

    #[inline]
    fn is_dirty(&self, entry: u64) -> bool {
        let written = DIRTY_MODIFIER | S2_WRITE;
        entry & written == written
    }

    #[inline]
    fn cleaned(&self, entry: u64) -> u64 {
        entry & !S2_WRITE
    }
}
