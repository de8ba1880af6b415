//! Memory that others also touch: the program's, its children's, alive or dead.
//!
//! The IOMMU reads and writes memory that belongs to somebody else, who may unmap it, share it or
//! die at any moment. This crate is the only place that knows how:
//!
//! | word | meaning |
//! |---|---|
//! | [`AddressSpace`] | one `mm`: the memory of one program image, until its `exec` or death |
//! | [`Extent`] | consecutive pages of one backing object, still reachable after `munmap` if shared |
//! | [`PageId`] | what makes two pages the same page, seen from whatever process |
//! | [`PinBoard`] | who holds which page pinned, over all processes |
//! | [`SharedFile`] | an object that outlives its mappings: memfd, shm, hugetlbfs |
//! | [`Window`] | a part of it, mapped here |
//! | [`EventFd`] | a program's counter of events |
//! | [`Words`] | memory of our own that several threads use |
//!
//! *What it doesn't do*: private memory has no other handle than the process that owns it, so a
//! private page is gone when its owner dies or unmaps it, where Linux would keep the pinned page.

mod eventfd;
mod extent;
mod pins;
mod shared;
mod space;
mod window;
mod words;

pub mod process;

pub use eventfd::{EventFd, Watch};
pub use extent::{Backing, Extent, ObjectKey, PageId};
pub use pins::{Pin, PinBoard};
pub use shared::{SharedFile, WINDOW_SIZE};
pub use space::{Accounts, AddressSpace, Fault, MmId};
pub use window::Window;
pub use words::Words;

/// Bytes of a page on every machine that softiommu supports.
pub const PAGE_SIZE: u64 = 4096;
