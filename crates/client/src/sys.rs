//! The calls that need `unsafe`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

use zerocopy::{FromBytes, IntoBytes};

pub(crate) fn ioctl<T: FromBytes + IntoBytes>(
    fd: BorrowedFd<'_>,
    number: u32,
    argument: &mut T,
) -> io::Result<i32> {
    // SAFETY: the argument is plain bytes, whatever is written to it, and says itself how many the
    // kernel may write; what its pointers lead to is this crate's promise, see `OpenFile`.
    let result =
        unsafe { libc::ioctl(fd.as_raw_fd(), number.into(), std::ptr::from_mut(argument)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// An `ioctl(2)` whose argument is a number, by its definition.
pub(crate) fn ioctl_of_number(fd: BorrowedFd<'_>, number: u32, argument: u64) -> io::Result<i32> {
    // SAFETY: only this crate makes calls, and these take no pointer.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), number.into(), argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The names of the host and of its kernel's release, by `uname(2)`.
pub(crate) fn uname() -> (String, String) {
    // SAFETY: plain bytes, of which zeros are some.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: it writes the struct; it fails only for an address that is none.
    unsafe { libc::uname(&mut names) };
    let text = |bytes: &[libc::c_char]| {
        let bytes: Vec<u8> = bytes.iter().map(|byte| *byte as u8).take_while(|b| *b != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    (text(&names.nodename), text(&names.release))
}

/// `write(2)` from an address at which nothing is.
pub(crate) fn write_nowhere(fd: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
    let nowhere = std::ptr::without_provenance(super::file::NOWHERE as usize);
    // SAFETY: the kernel judges the pointer, and reads nothing.
    let result = unsafe { libc::write(fd.as_raw_fd(), nowhere, count) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

pub(crate) fn adopt(number: u32) -> OwnedFd {
    // SAFETY: a call has just given this number to us, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(number.cast_signed()) }
}

/// A device's memory, mapped: only words of 4 bytes, each in one step.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u32>,
    length: usize,
}

impl Mapping {
    /// Maps a part of a device. Errors are those of `mmap(2)`.
    pub fn new(fd: BorrowedFd<'_>, at: u64, length: usize) -> io::Result<Self> {
        let offset = at.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        let start = map(length, fd.as_raw_fd(), offset)?;
        Ok(Self { start: start.cast(), length })
    }

    /// The word at an offset; none off a multiple of 4, or beyond the end.
    pub fn load(&self, offset: u64) -> Option<u32> {
        // SAFETY: within the mapping; volatile, since a device has it.
        self.word(offset).map(|word| unsafe { word.read_volatile() })
    }

    /// Stores a word, after everything that was stored to memory before.
    pub fn store(&self, offset: u64, value: u32) -> Option<()> {
        let word = self.word(offset)?;
        fence(Ordering::SeqCst);
        // SAFETY: within the mapping; volatile, since a device has it.
        unsafe { word.write_volatile(value) };
        Some(())
    }

    fn word(&self, offset: u64) -> Option<NonNull<u32>> {
        let offset = usize::try_from(offset).ok()?;
        let within = offset.is_multiple_of(4) && offset < self.length;
        // SAFETY: within the mapping, which has whole pages.
        within.then(|| unsafe { self.start.byte_add(offset) })
    }
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it was ever given out.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// A new shared mapping to read and write, at an address that the kernel chooses.
fn map(length: usize, fd: i32, offset: i64) -> io::Result<NonNull<u8>> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: nothing is where the kernel places it.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, offset) };
    match NonNull::new(start.cast()) {
        Some(start) if start.as_ptr() as isize != -1 => Ok(start),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Memory that a device may read and write at any time: only whole bytes, only copies.
#[derive(Debug)]
pub struct SharedBuffer {
    start: NonNull<u8>,
    length: usize,
    /// By it an engine in this process reaches the memory without calls.
    _file: OwnedFd,
}

impl SharedBuffer {
    /// Maps `length` bytes of zeros, rounded up to whole pages, shared with children. Errors are those
    /// of `memfd_create(2)`, `ftruncate(2)` and `mmap(2)`.
    pub fn new(length: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let length = length.checked_next_multiple_of(page).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: the name is a string; the descriptor is new, or none.
        let number = unsafe { libc::memfd_create(c"buffer".as_ptr(), libc::MFD_CLOEXEC) };
        let file =
            File::from(adopt(u32::try_from(number).map_err(|_| io::Error::last_os_error())?));
        file.set_len(length as u64)?;
        let start = map(length, file.as_raw_fd(), 0)?;
        Ok(Self { start, length, _file: file.into() })
    }

    /// Its address, for commands.
    pub fn address(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.length as u64
    }

    /// Copies bytes out, from the start.
    pub fn load(&self, to: &mut [u8]) {
        for (index, byte) in to.iter_mut().enumerate().take(self.length) {
            // SAFETY: within the mapping; volatile, since a device may write it.
            *byte = unsafe { self.start.add(index).read_volatile() };
        }
    }

    /// Copies bytes out from an offset on, as far as there are any.
    pub fn load_at(&self, offset: usize, to: &mut [u8]) {
        for (index, byte) in (offset..self.length).zip(to) {
            // SAFETY: within the mapping; volatile, since a device may write it.
            *byte = unsafe { self.start.add(index).read_volatile() };
        }
    }

    /// Loads 8 bytes in one step; what is loaded after them is no older. They are 0 where the offset is no
    /// multiple of 8, or beyond the end.
    pub fn load_word(&self, offset: usize) -> u64 {
        if !offset.is_multiple_of(8) || offset >= self.length {
            return 0;
        }
        // SAFETY: within the mapping, which has whole pages; volatile, since a device may write it.
        let word = unsafe { self.start.add(offset).cast::<u64>().read_volatile() };
        fence(Ordering::Acquire);
        word
    }

    /// Stores 8 bytes in one step, so that nobody sees a part of them. It is none where the offset is no
    /// multiple of 8, or beyond the end.
    pub fn store_word(&self, offset: usize, word: u64) {
        if offset.is_multiple_of(8) && offset < self.length {
            // SAFETY: within the mapping, which has whole pages; volatile, since a device may read it.
            unsafe { self.start.add(offset).cast::<u64>().write_volatile(word) };
        }
    }

    /// Copies bytes in, at the start.
    pub fn store(&self, from: &[u8]) {
        self.store_at(0, from);
    }

    /// Copies bytes in from an offset on, as far as there is room.
    pub fn store_at(&self, offset: usize, from: &[u8]) {
        for (index, byte) in (offset..self.length).zip(from) {
            // SAFETY: within the mapping; volatile, since a device may read it.
            unsafe { self.start.add(index).write_volatile(*byte) };
        }
    }
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for SharedBuffer {}

impl Drop for SharedBuffer {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it was ever given out.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
