//! How entries are written.

use crate::access::Rights;
use crate::walk::Format;

/// What a page that is mapped is to grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prot {
    /// These, with privilege and without. A format that cannot take one away grants it, as in Linux's
    /// drivers: reading (x86-64, SMMUv3 stage 1, RISC-V's pages that may be written), executing (VT-d's
    /// second stage, AMD v1).
    pub rights: Rights,
    /// The page is to be marked when it is written, and is not yet. It must be set for all pages of
    /// tables whose dirty pages may be asked for.
    pub tracking: bool,
}

impl Prot {
    /// These rights, and no tracking.
    pub const fn new(rights: Rights) -> Self {
        Self { rights, tracking: false }
    }

    /// The same with tracking.
    pub const fn tracked(self) -> Self {
        Self { tracking: true, ..self }
    }
}

/// A format that can be written.
///
/// A page larger than what an entry of its level maps has several entries there, each of which is its
/// part's: SMMUv3's contiguous pages, AMD v1's sizes, RISC-V's 64 KiB.
pub trait Encode: Format {
    /// The sizes that pages may have: bit n is set for 2^n bytes.
    fn page_sizes(&self) -> u64;

    /// An entry of a level that leads to a table of the level below and takes nothing away. What
    /// hardware marks in it is set.
    fn table(&self, address: u64, level: u8) -> u64;

    /// An entry of a level for a page of 2^`order` bytes, `address` being where its part is. It is marked
    /// as used; as written, too, unless that is tracked. VT-d's second stage and AMD v1 have no marks at
    /// first, as in Linux.
    ///
    /// What cannot be said is left out: who writes entries decodes them to see that it was.
    fn leaf(&self, address: u64, order: u8, level: u8, prot: Prot) -> u64;

    /// Whether a page's entry tells that it was written since it was cleaned.
    fn is_dirty(&self, entry: u64) -> bool;

    /// A dirty page's entry, clean.
    fn cleaned(&self, entry: u64) -> u64;
}
