//! A part of a device: its registers in a BAR, or its configuration space.

use std::io;
use std::sync::Arc;

use crate::file::OpenFile;

/// A region of a VFIO device. As long as it is there, the device stays open.
#[derive(Debug)]
pub struct Region {
    pub(crate) file: Arc<OpenFile>,
    pub(crate) start: u64,
    pub(crate) size: u64,
}

impl Region {
    /// Its bytes; 0 where the device has no such region.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads registers. Errors are those of `pread(2)`; `UnexpectedEof` past the end.
    pub fn read(&self, at: u64, to: &mut [u8]) -> io::Result<()> {
        let count = self.file.read_at(to, self.position(at, to.len())?)?;
        if count == to.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Writes registers. Errors are those of `pwrite(2)`; `UnexpectedEof` past the end.
    pub fn write(&self, at: u64, from: &[u8]) -> io::Result<()> {
        let count = self.file.write_at(from, self.position(at, from.len())?)?;
        if count == from.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn position(&self, at: u64, length: usize) -> io::Result<u64> {
        let end = at.checked_add(length as u64).filter(|end| *end <= self.size);
        end.map(|_| self.start + at).ok_or(io::ErrorKind::UnexpectedEof.into())
    }
}
