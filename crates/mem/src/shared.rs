//! Objects that outlive their mappings.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::fs::{MemfdFlags, Stat};
use rustix::io::Errno;

use crate::window::Mapping;
use crate::{Fault, ObjectKey, PAGE_SIZE, Window};

/// Bytes of a file that one window shows; a multiple of every huge page's.
pub const WINDOW_SIZE: u64 = 1 << 30;

/// A file whose pages programs share: memfd, shm or hugetlbfs.
///
/// Holding it keeps the pages alive after `munmap`, `close` and death, as pinned pages are.
#[derive(Debug)]
pub struct SharedFile {
    fd: OwnedFd,
    key: ObjectKey,
    block: u64,
    /// The parts that are mapped here, by their number.
    windows: Mutex<BTreeMap<u64, Weak<Mapping>>>,
}

impl SharedFile {
    /// Takes over a descriptor; errors are those of `fstat(2)`.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let stat = rustix::fs::fstat(&fd)?;
        let (key, windows) = (Self::key_of(&stat), Mutex::default());
        Ok(Self { fd, key, block: PAGE_SIZE, windows })
    }

    /// Says that the file's memory comes in huge pages of `block` bytes, a power of two.
    pub fn with_block(mut self, block: u64) -> Self {
        self.block = block;
        self
    }

    /// Bytes of memory that are contiguous, as a power of two: the size of its pages, huge or not.
    pub fn block(&self) -> u64 {
        self.block
    }

    /// A new memory file of `len` bytes, named for `/proc`.
    pub fn anonymous(name: &str, len: u64) -> io::Result<Self> {
        let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&fd, len)?;
        Self::new(fd)
    }

    /// The identity of a file with this `stat`.
    pub fn key_of(stat: &Stat) -> ObjectKey {
        ObjectKey::Shared { dev: stat.st_dev, ino: stat.st_ino }
    }

    /// The identity of this object.
    pub fn key(&self) -> ObjectKey {
        self.key
    }

    /// The size in bytes now.
    pub fn size(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.fd)?.st_size.unsigned_abs())
    }

    /// The part that holds byte `at`, mapped: the [`WINDOW_SIZE`] bytes from the multiple of it before.
    ///
    /// Errors are those of `mmap(2)`, and `ENOMEM` when too many are mapped.
    pub fn window(&self, at: u64) -> io::Result<Window> {
        let number = at / WINDOW_SIZE;
        let mut windows = self.windows.lock();
        let known = windows.get(&number).and_then(Weak::upgrade);
        if let Some(mapping) = known.filter(|mapping| mapping.is_whole()) {
            return Ok(Window::on(mapping));
        }
        windows.retain(|_, mapping| mapping.strong_count() > 0);
        let (at, len) = (number * WINDOW_SIZE, WINDOW_SIZE as usize);
        let mapping = Arc::new(Mapping::new(&self.fd, at, len, self.block)?);
        windows.insert(number, Arc::downgrade(&mapping));
        Ok(Window::on(mapping))
    }

    /// Copies from byte `at`. Past the end of the file is a [`Fault`].
    pub fn read(&self, mut at: u64, mut to: &mut [u8]) -> Result<(), Fault> {
        while !to.is_empty() {
            match rustix::io::pread(&self.fd, &mut *to, at) {
                Ok(0) => return Err(Fault),
                Ok(n) => {
                    to = &mut to[n..];
                    at += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(_) => return Err(Fault),
            }
        }
        Ok(())
    }

    /// Copies to byte `at`. Does not make the file longer: past its end is a [`Fault`].
    pub fn write(&self, mut at: u64, mut from: &[u8]) -> Result<(), Fault> {
        let end = at.checked_add(from.len() as u64).ok_or(Fault)?;
        if end > self.size().map_err(|_| Fault)? {
            return Err(Fault);
        }
        while !from.is_empty() {
            match rustix::io::pwrite(&self.fd, from, at) {
                Ok(0) => return Err(Fault),
                Ok(n) => {
                    from = &from[n..];
                    at += n as u64;
                }
                Err(Errno::INTR) => {}
                Err(_) => return Err(Fault),
            }
        }
        Ok(())
    }
}

impl AsFd for SharedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
