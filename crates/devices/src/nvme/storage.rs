//! What namespaces are stored in: memory, or a file of the host's.
//!
//! Both are a file: memory is one without a name, whose pages are there once they are written. Namespaces of
//! the same size follow each other in it. Nothing here trusts the file to keep its length: what is missing
//! fails as a bad medium does.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, MemfdFlags};

/// Zeros that are written at once where a hole cannot be made.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The bytes of all namespaces.
#[derive(Debug)]
pub(super) struct Storage {
    file: File,
    /// Whether it loses what is not synchronised.
    volatile: bool,
}

impl Storage {
    /// Memory, all zeros. Errors are those of `memfd_create(2)` and `ftruncate(2)`.
    pub fn memory(bytes: u64) -> io::Result<Self> {
        let file = File::from(rustix::fs::memfd_create("nvme", MemfdFlags::CLOEXEC)?);
        file.set_len(bytes)?;
        Ok(Self { file, volatile: false })
    }

    /// A file that is there; its length, too. Errors are those of `open(2)`.
    pub fn file(path: &Path) -> io::Result<(Self, u64)> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok((Self { file, volatile: true }, bytes))
    }

    pub fn read(&self, at: u64, to: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(to, at)
    }

    /// The file is as long as the namespaces, which are in it.
    pub fn write(&self, at: u64, from: &[u8]) -> io::Result<()> {
        self.file.write_all_at(from, at)
    }

    /// Makes zeros for which nothing is kept. It fails on file systems that cannot (`fallocate(2)`).
    pub fn deallocate(&self, at: u64, bytes: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.file, flags, at, bytes)?)
    }

    /// Makes zeros, at least one.
    pub fn clear(&self, at: u64, bytes: u64) -> io::Result<()> {
        if self.deallocate(at, bytes).is_ok() {
            return Ok(());
        }
        let end = at.saturating_add(bytes);
        let mut at = at;
        while at < end {
            let length = ZEROS.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            self.write(at, &ZEROS[..length])?;
            at += length as u64;
        }
        Ok(())
    }

    /// Returns when everything that was written is there to stay.
    pub fn sync(&self) -> io::Result<()> {
        if self.volatile { self.file.sync_data() } else { Ok(()) }
    }
}

/// A part of the storage that is counted in blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Namespace {
    /// Its first byte.
    pub first: u64,
    pub bytes: u64,
    /// log2 of the bytes of a block.
    pub shift: u32,
}

impl Namespace {
    pub fn blocks(&self) -> u64 {
        self.bytes >> self.shift
    }

    /// Where blocks are, and their bytes; none when not all are there.
    pub fn place(&self, block: u64, count: u64) -> Option<(u64, u64)> {
        let end = block.checked_add(count)?;
        let within = end <= self.blocks();
        within.then(|| (self.first + (block << self.shift), count << self.shift))
    }
}
