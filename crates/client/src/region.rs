//! A part of a device: its registers in a BAR, or its configuration space.

use std::io;
use std::sync::Arc;

use crate::file::OpenFile;
use crate::sys::Mapping;

/// A region of a VFIO device. As long as it is there, the device stays open.
#[derive(Clone, Debug)]
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

    /// Maps its first bytes. Errors are those of `mmap(2)`; `UnexpectedEof` past the end.
    pub fn map(&self, length: u64) -> io::Result<Registers> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let mapping = self.file.map(self.position(0, length)?, length)?;
        Ok(Registers { region: self.clone(), mapping })
    }

    fn position(&self, at: u64, length: usize) -> io::Result<u64> {
        let end = at.checked_add(length as u64).filter(|end| *end <= self.size);
        end.map(|_| self.start + at).ok_or(io::ErrorKind::UnexpectedEof.into())
    }
}

/// The first bytes of a region, mapped: words of 4 bytes, each loaded or stored in one step. Of an engine
/// in this process nothing is mapped; each access is a call.
#[derive(Debug)]
pub struct Registers {
    region: Region,
    mapping: Option<Mapping>,
}

impl Registers {
    /// Loads a word, at a multiple of 4. It is an error where it is not mapped.
    pub fn load(&self, at: u64) -> io::Result<u32> {
        let Some(mapping) = &self.mapping else {
            let mut word = [0; 4];
            return self.region.read(at, &mut word).map(|()| u32::from_le_bytes(word));
        };
        mapping.load(at).ok_or(io::ErrorKind::InvalidInput.into())
    }

    /// Stores a word, at a multiple of 4: the device sees what was stored to memory before. It is an
    /// error where it is not mapped.
    pub fn store(&self, at: u64, word: u32) -> io::Result<()> {
        let Some(mapping) = &self.mapping else {
            return self.region.write(at, &word.to_le_bytes());
        };
        mapping.store(at, word).ok_or(io::ErrorKind::InvalidInput.into())
    }
}
