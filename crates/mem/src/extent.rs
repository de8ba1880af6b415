//! Pages and their identity.

use std::fmt;
use std::sync::Arc;

use crate::{AddressSpace, Fault, MmId, PAGE_SIZE, SharedFile};

/// The object that pages belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// A file: memfd, shm, hugetlbfs or a mapped file. The page index is the offset in pages.
    Shared {
        /// Device number of the file system.
        dev: u64,
        /// Inode number.
        ino: u64,
    },
    /// Memory of one address space only. The page index is the virtual address in pages.
    Private(MmId),
    /// Memory that a device or an exporter owns (a dma-buf), by a number of its own.
    Exported(u64),
}

/// One page, the same value from whatever process it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId {
    /// The object the page belongs to.
    pub object: ObjectKey,
    /// Its index in the object, in pages.
    pub index: u64,
}

/// How the bytes of an extent are reached.
#[derive(Clone)]
pub enum Backing {
    /// Through the object itself: works after `munmap` and after the death of the program.
    Shared(Arc<SharedFile>),
    /// Through the address space that owns the memory; the page index is the address.
    Private(Arc<dyn AddressSpace>),
}

/// Consecutive pages of one object.
#[derive(Clone)]
pub struct Extent {
    /// The first page.
    pub first: PageId,
    /// How many pages, at least 1.
    pub pages: u64,
    /// How to reach their bytes.
    pub backing: Backing,
}

impl Extent {
    /// The page `index` pages after the first.
    pub fn page(&self, index: u64) -> PageId {
        PageId { object: self.first.object, index: self.first.index + index }
    }

    /// The `pages` pages from page `start` of this extent.
    pub fn slice(&self, start: u64, pages: u64) -> Self {
        Self { first: self.page(start), pages, backing: self.backing.clone() }
    }

    /// Bytes of memory around each page that are contiguous, as a power of two: what lets an IOMMU
    /// map them by one large entry. A page, except in huge pages.
    pub fn block(&self) -> u64 {
        match &self.backing {
            Backing::Shared(file) => file.block(),
            Backing::Private(_) => PAGE_SIZE,
        }
    }

    /// Copies from `offset` bytes into the extent.
    pub fn read(&self, offset: u64, to: &mut [u8]) -> Result<(), Fault> {
        let at = self.first.index * PAGE_SIZE + offset;
        match &self.backing {
            Backing::Shared(file) => file.read(at, to),
            Backing::Private(space) if space.alive() => space.read(at, to),
            Backing::Private(_) => Err(Fault),
        }
    }

    /// Copies to `offset` bytes into the extent.
    pub fn write(&self, offset: u64, from: &[u8]) -> Result<(), Fault> {
        let at = self.first.index * PAGE_SIZE + offset;
        match &self.backing {
            Backing::Shared(file) => file.write(at, from),
            Backing::Private(space) if space.alive() => space.write(at, from),
            Backing::Private(_) => Err(Fault),
        }
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}+{:#x}..{} pages", self.first.object, self.first.index, self.pages)
    }
}
