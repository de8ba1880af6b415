//! Where tables are: memory, and memory behind other tables.

use crate::access::{Access, Dirties, Rights};
use crate::walk::{Fault, Format, Root, walk};

/// Memory in which tables are: words of 8 bytes at addresses that are multiples of 8.
pub trait TableMemory {
    /// Why a word cannot be had.
    type Error;

    /// Reads a word.
    fn load(&self, address: u64) -> Result<u64, Self::Error>;

    /// Changes a word from `old` to `new` in one step; false when it is not `old` any more.
    fn swap(&self, address: u64, old: u64, new: u64) -> Result<bool, Self::Error>;
}

/// Memory in which tables can be made. One writer at a time; walkers may read meanwhile.
pub trait TableStore: TableMemory {
    /// Stores a word in one step.
    fn store(&mut self, address: u64, word: u64) -> Result<(), Self::Error>;

    /// Takes memory for a table: so many words (a power of two), all 0, at a multiple of their size. None
    /// when there is none left.
    fn allocate(&mut self, words: u64) -> Option<u64>;

    /// Takes a table back. Nothing leads to it any more, but a walker may still be in it: memory that
    /// walkers share must not be used anew while one is.
    fn free(&mut self, address: u64, words: u64);
}

impl<M: TableMemory> TableMemory for &M {
    type Error = M::Error;

    fn load(&self, address: u64) -> Result<u64, M::Error> {
        (**self).load(address)
    }

    fn swap(&self, address: u64, old: u64, new: u64) -> Result<bool, M::Error> {
        (**self).swap(address, old, new)
    }
}

/// Memory behind tables: what is addressed is translated first, each time.
#[derive(Clone, Copy, Debug)]
pub struct Nested<F, M> {
    format: F,
    root: Root,
    memory: M,
    /// How its words are read.
    read: Access,
}

/// Why a word behind tables cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NestedFault<E> {
    /// The address that was to be translated.
    pub address: u64,
    /// Whether it was to be changed.
    pub write: bool,
    /// What came of it.
    pub fault: Fault<E>,
}

impl<F: Format, M: TableMemory> Nested<F, M> {
    /// The memory behind tables of a format.
    pub fn new(format: F, root: Root, memory: M) -> Self {
        Self { format, root, memory, read: Access::READ }
    }

    /// The same, where pages that are read may count as written (RISC-V, since entries in them may be
    /// marked).
    pub fn read_as(self, dirties: Dirties) -> Self {
        Self { read: Access { dirties, ..Access::READ }, ..self }
    }

    fn reach<T>(
        &self,
        address: u64,
        access: Access,
        act: impl FnOnce(u64) -> Result<T, M::Error>,
    ) -> Result<T, NestedFault<M::Error>> {
        let write = access.rights.contains(Rights::WRITE);
        let failed = |fault| NestedFault { address, write, fault };
        let found = walk(&self.format, self.root, address, access, &self.memory).map_err(failed)?;
        act(found.address).map_err(|error| failed(Fault::Target(error)))
    }
}

impl<F: Format, M: TableMemory> TableMemory for Nested<F, M> {
    type Error = NestedFault<M::Error>;

    fn load(&self, address: u64) -> Result<u64, Self::Error> {
        self.reach(address, self.read, |found| self.memory.load(found))
    }

    fn swap(&self, address: u64, old: u64, new: u64) -> Result<bool, Self::Error> {
        self.reach(address, Access::WRITE, |found| self.memory.swap(found, old, new))
    }
}
