//! Registers in memory that programs map.

use std::io;
use std::sync::Arc;

use mem::{SharedFile, Window};

/// A BAR of registers. Words are read and written in one step each; what lies beyond the end reads as
/// zeros, and is not written. Clones are the same registers.
#[derive(Clone, Debug)]
pub struct Registers {
    file: Arc<SharedFile>,
    window: Window,
    size: u64,
}

impl Registers {
    /// So many bytes of zeros, at most 1 GiB. Errors are those of `memfd_create(2)` and `mmap(2)`.
    pub fn new(name: &str, size: u64) -> io::Result<Self> {
        let file = Arc::new(SharedFile::anonymous(name, size)?);
        let window = file.window(0)?;
        Ok(Self { file, window, size })
    }

    /// The memory, for [`engine::Model::memory`].
    pub fn memory(&self) -> Arc<SharedFile> {
        Arc::clone(&self.file)
    }

    fn holds(&self, at: u64, length: usize) -> bool {
        at.checked_add(length as u64).is_some_and(|end| end <= self.size)
    }

    /// Copies bytes out.
    pub fn read(&self, at: u64, to: &mut [u8]) {
        if !self.holds(at, to.len()) || self.window.read(at, to).is_err() {
            to.fill(0);
        }
    }

    /// Copies bytes in.
    pub fn write(&self, at: u64, from: &[u8]) {
        if self.holds(at, from.len()) {
            // it lies in the window
            let _ = self.window.write(at, from);
        }
    }

    /// The word of 4 bytes at a multiple of 4.
    pub fn load32(&self, at: u64) -> u32 {
        let mut word = [0; 4];
        self.read(at, &mut word);
        u32::from_le_bytes(word)
    }

    /// The word of 8 bytes at a multiple of 8.
    pub fn load64(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        self.read(at, &mut word);
        u64::from_le_bytes(word)
    }

    /// Stores a word of 4 bytes.
    pub fn store32(&self, at: u64, word: u32) {
        self.write(at, &word.to_le_bytes());
    }

    /// Stores a word of 8 bytes.
    pub fn store64(&self, at: u64, word: u64) {
        self.write(at, &word.to_le_bytes());
    }
}
