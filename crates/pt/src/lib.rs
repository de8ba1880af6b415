//! Page tables of IOMMUs: what a walk of them comes to.
//!
//! There is one walker, [`walk()`]. What an entry means, and how it changes when a page is used, is the
//! [`Format`]'s to say; what memory the tables are in is the [`TableMemory`]'s. A guest's tables over
//! the host's are no second walker: [`Nested`] is a memory whose every load walks the host's.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@walk`] | the walker, and what a format has to say |
//! | [`access`] | what is asked of a page, and what it grants |
//! | [`memory`] | where tables are: memory, and memory behind other tables |
//! | [`encode`] | how entries are written |
//! | [`mod@map`] | tables of one's own: mapping, unmapping |
//! | [`mod@dirty`] | which pages were written |
//! | [`format`] | the formats of VT-d, SMMUv3, AMD and RISC-V |
//!
//! Levels are counted from the last one, which is 0. Manuals count otherwise:
//!
//! | level | VT-d, AMD v2 | SMMUv3 | AMD v1 | RISC-V |
//! |---|---|---|---|---|
//! | 0 | PT | 3 | 1 | 0 |
//! | 1 | PD | 2 | 2 | 1 |
//! | 2 | PDP | 1 | 3 | 2 |
//! | 3 | PML4 | 0 | 4 | 3 |
//! | 4 | PML5 | -1 | 5 | 4 |
//! | 5 | | | 6 | |
//!
//! Out of scope: caches (the engine's), and how a device finds its root (the hardware models').

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod access;
pub mod dirty;
pub mod encode;
pub mod format;
pub mod map;
pub mod memory;
mod traverse;
pub mod walk;

pub use access::{Access, Dirties, Grant, Rights};
pub use dirty::dirty;
pub use encode::{Encode, Prot};
pub use map::{MapError, Mapper, map, release, root, unmap};
pub use memory::{Nested, NestedFault, TableMemory, TableStore};
pub use walk::{Entry, Fault, Format, Mark, Reason, Root, Translation, walk};
