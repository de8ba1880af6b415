//! Which pages were written.

use core::ops::RangeInclusive;

use crate::encode::Encode;
use crate::map::{MapError, table_of_range};
use crate::memory::TableMemory;
use crate::traverse::{Leaf, Visitor, traverse};
use crate::walk::{ATTEMPTS, Root};

/// Tells of each page of which a part is in a range, and that was written: its first input address, and
/// log2 of its bytes. With `clear` it is marked as clean before.
///
/// A page with several entries was written if one says so. Who caches translations must drop those of
/// pages that were cleaned: a write through one leaves no mark.
///
/// # Errors
///
/// `Address` when the range is not one that the tables can map, `Contended` when an entry is changed by
/// others each time that it is to be cleaned, `Malformed` and `Memory`. What was told until then holds.
pub fn dirty<F: Encode, M: TableMemory>(
    format: &F,
    root: Root,
    range: RangeInclusive<u64>,
    clear: bool,
    memory: &M,
    visit: impl FnMut(u64, u8),
) -> Result<(), MapError<M::Error>> {
    let top = table_of_range(format, root, &range)?;
    let mut memory = memory;
    traverse(format, top, range, &mut memory, &mut Written { format, clear, visit })
}

struct Written<'f, F, V> {
    format: &'f F,
    clear: bool,
    visit: V,
}

impl<F: Encode, M: TableMemory, V: FnMut(u64, u8)> Visitor<M> for Written<'_, F, V> {
    fn leaf(&mut self, memory: &mut M, leaf: Leaf) -> Result<(), MapError<M::Error>> {
        let (mut was_written, mut result) = (false, Ok(()));
        for entry in 0..leaf.entries {
            match self.entry(leaf.slot.wrapping_add(entry << 3), memory) {
                Ok(written) => was_written |= written,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        // also if another of its entries fails: the mark is gone
        if was_written {
            (self.visit)(leaf.input, leaf.order);
        }
        result
    }
}

impl<F: Encode, V> Written<'_, F, V> {
    fn entry<M: TableMemory>(&self, at: u64, memory: &M) -> Result<bool, MapError<M::Error>> {
        for _ in 0..ATTEMPTS {
            let entry = memory.load(at).map_err(MapError::Memory)?;
            let written = self.format.is_dirty(entry);
            if !written || !self.clear {
                return Ok(written);
            }
            let cleaned = self.format.cleaned(entry);
            if memory.swap(at, entry, cleaned).map_err(MapError::Memory)? {
                return Ok(true);
            }
        }
        Err(MapError::Contended)
    }
}
