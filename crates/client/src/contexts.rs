//! A guest's context descriptors, for an SMMUv3, written as the guest's kernel writes them.

use thiserror::Error;
use zerocopy::IntoBytes;

use crate::SharedBuffer;
use crate::guest::{CONTEXT_LOG2, GuestTable, context_descriptor, without_stalls};

/// A table of context descriptors, one for each PASID, in guest memory of its own: one piece.
///
/// A descriptor that is changed the SMMU has read before it may remember until it is told of the change.
#[derive(Debug)]
pub struct ContextTable {
    memory: SharedBuffer,
    start: u64,
    log2_count: u32,
}

/// A PASID that a table has no descriptor for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("PASID {0:#x} is beyond the table of context descriptors")]
pub struct BeyondTable(pub u32);

impl ContextTable {
    /// Bytes of a table of `1 << log2_count` descriptors.
    pub(crate) const fn size(log2_count: u32) -> usize {
        1 << (log2_count + CONTEXT_LOG2)
    }

    /// An empty table in memory of that size, which the guest has at an address.
    pub(crate) fn new(memory: SharedBuffer, start: u64, log2_count: u32) -> Self {
        Self { memory, start, log2_count }
    }

    /// Its guest-physical address.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// log2 of how many descriptors it has.
    pub fn log2_count(&self) -> u32 {
        self.log2_count
    }

    /// Lets a PASID walk a page table, with the PASID for an ASID.
    pub fn set(&self, pasid: u32, table: GuestTable) -> Result<(), BeyondTable> {
        self.write(pasid, context_descriptor(pasid, table))
    }

    /// The same for what is not to wait for pages: an access that misses one is refused. So must be all of a
    /// device that cannot stall.
    pub fn set_without_stalls(&self, pasid: u32, table: GuestTable) -> Result<(), BeyondTable> {
        self.write(pasid, without_stalls(context_descriptor(pasid, table)))
    }

    /// Takes it away.
    pub fn clear(&self, pasid: u32) -> Result<(), BeyondTable> {
        self.write(pasid, [0; 8])
    }

    fn write(&self, pasid: u32, words: [u64; 8]) -> Result<(), BeyondTable> {
        if pasid >> self.log2_count != 0 {
            return Err(BeyondTable(pasid));
        }
        let at = (pasid as usize) << CONTEXT_LOG2;
        // the word that makes it valid comes last, and goes first
        if words[0] == 0 {
            self.memory.store_at(at, &[0; 8]);
        }
        self.memory.store_at(at + 8, words[1..].as_bytes());
        self.memory.store_at(at, words[0].as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_so_many_pasids() {
        let memory = SharedBuffer::new(ContextTable::size(2)).unwrap();
        let table = ContextTable::new(memory, 0x1000, 2);
        let root = GuestTable::four_levels(0x5000).unwrap();
        assert_eq!(table.set(4, root), Err(BeyondTable(4)));
        let word = |offset: usize| table.memory.load_word(offset);
        assert_eq!(table.set(3, root), Ok(()));
        assert_eq!([word(0xc0), word(0xc8)], [context_descriptor(3, root)[0], 0x5000]);
        assert_eq!(table.clear(3), Ok(()));
        assert_eq!([word(0xc0), word(0xc8), word(0x80)], [0; 3]);
    }
}
