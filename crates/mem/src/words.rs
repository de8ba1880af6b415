//! Words that are read and written by several threads at once.

use std::io;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// Bytes of a huge page of the CPU's.
const HUGE: usize = 2 << 20;

/// So many words, 0 at first, in huge pages of the CPU's where they fill some and the system has them.
///
/// Who reads words here and there, as a walker of tables does, otherwise waits for walks of the CPU's, too.
#[derive(Debug)]
pub struct Words {
    start: NonNull<AtomicU64>,
    len: usize,
    /// Bytes of the mapping before them.
    skipped: u32,
}

// SAFETY: it owns its words, which are atomics.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Takes memory for `len` words. Errors are those of `mmap(2)`.
    pub fn new(len: usize) -> io::Result<Self> {
        let (own, align) = Self::layout(len).ok_or(io::ErrorKind::OutOfMemory)?;
        let bytes = own + align - 1;
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping where the kernel finds room.
        let mapping = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), bytes, prot, flags) }?;
        let skipped = mapping.addr().next_multiple_of(align) - mapping.addr();
        // SAFETY: the mapping has room for it before its words.
        let start = unsafe { mapping.byte_add(skipped) };
        if own >= HUGE {
            // SAFETY: our own memory, whose contents stay. It is only advice.
            let _ = unsafe { rustix::mm::madvise(start, own, Advice::LinuxHugepage) };
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len, skipped: skipped as u32 })
    }

    /// The bytes of so many words, and of what their start is a multiple.
    fn layout(len: usize) -> Option<(usize, usize)> {
        let bytes = len.checked_mul(8).filter(|bytes| *bytes < isize::MAX as usize)?;
        Some((bytes, if bytes >= HUGE { HUGE } else { 1 }))
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    #[inline]
    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: its own words, aligned as mappings are, for which zero is a value.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        let Some((own, align)) = Self::layout(self.len) else { return };
        // SAFETY: its own mapping, which nothing refers to any more.
        let _ = unsafe {
            let mapping = self.start.as_ptr().byte_sub(self.skipped as usize);
            rustix::mm::munmap(mapping.cast(), own + align - 1)
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn words_are_zero_and_keep_what_they_get() {
        for len in [1, 512, HUGE / 8, HUGE / 8 + 1] {
            let words = Words::new(len).unwrap();
            assert_eq!(words.len(), len);
            assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
            words[len - 1].store(7, Ordering::Relaxed);
            assert_eq!(words[len - 1].load(Ordering::Relaxed), 7);
            assert!(len * 8 < HUGE || words.as_ptr().addr().is_multiple_of(HUGE));
        }
        for len in [0, usize::MAX] {
            assert!(Words::new(len).is_err());
        }
    }
}
