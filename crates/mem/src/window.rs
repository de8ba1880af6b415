//! Pages of a shared file, mapped here.
//!
//! A program can make its file shorter at any time, and the next touch of a page that is gone is a
//! `SIGBUS` for whoever maps it. So the first [`Window`] of a process installs a handler, which puts an
//! empty page where the lost one was: the device that goes on using it sees zeros, as it would see the
//! page that Linux keeps pinned for it. All other bus errors go where they went before.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::mm::{MapFlags, ProtFlags};

use crate::Fault;

/// Part of a shared file, mapped into this process until the last clone of this is dropped.
///
/// Others write to it at any time, so nothing of it can be borrowed: its bytes are copied. Offsets
/// are in bytes from its start; what does not lie in it is a [`Fault`].
#[derive(Clone, Debug)]
pub struct Window {
    /// The mapping's, so that a copy waits for one load less.
    start: NonNull<u8>,
    len: usize,
    writable: bool,
    mapping: Arc<Mapping>,
}

/// What the clones of a window have in common.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
    writable: bool,
    place: usize,
}

// SAFETY: the mapping belongs to no thread, and its bytes are only ever copied or used as atomics.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}
// SAFETY: as above.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes from byte `at` of a file whose memory comes in pages of `block` bytes; all
    /// three are multiples of such pages. Pages beyond the end of the file read as zeros.
    ///
    /// Errors are those of `mmap(2)`, and `ENOMEM` when too many windows are open.
    pub fn new(fd: &OwnedFd, at: u64, len: usize, block: u64) -> io::Result<Self> {
        install();
        let map = |prot| {
            let flags = MapFlags::SHARED | MapFlags::NORESERVE;
            // SAFETY: a new mapping where the kernel finds room.
            unsafe { rustix::mm::mmap(ptr::null_mut(), len, prot, flags, fd.as_fd(), at) }
        };
        let both = map(ProtFlags::READ | ProtFlags::WRITE);
        let writable = both.is_ok();
        let start = both.or_else(|_| map(ProtFlags::READ))?.cast();
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut mapping = Self { start, len, writable, place: usize::MAX };
        mapping.place = enter(start.as_ptr() as usize, len, block as usize)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(mapping)
    }

    /// See [`Window::is_whole`].
    pub fn is_whole(&self) -> bool {
        PLACES.get(self.place).is_some_and(|place| !place.cut.load(Ordering::Acquire))
    }
}

impl Window {
    pub(crate) fn on(mapping: Arc<Mapping>) -> Self {
        let Mapping { start, len, writable, .. } = *mapping;
        Self { start, len, writable, mapping }
    }

    /// Whether it still shows nothing but the file: no page of it was lost.
    pub fn is_whole(&self) -> bool {
        self.mapping.is_whole()
    }

    /// Where `len` bytes from `at` are.
    #[inline]
    fn within(&self, at: u64, len: usize) -> Result<*mut u8, Fault> {
        let at = usize::try_from(at).map_err(|_| Fault)?;
        let end = at.checked_add(len).ok_or(Fault)?;
        if end > self.len {
            return Err(Fault);
        }
        // SAFETY: within the mapping.
        Ok(unsafe { self.start.as_ptr().add(at) })
    }

    /// Copies from `at`. Aligned words of 4 and 8 bytes are read in one step.
    #[inline]
    pub fn read(&self, at: u64, to: &mut [u8]) -> Result<(), Fault> {
        let from = self.within(at, to.len())?;
        match to.len() {
            8 if from.cast::<u64>().is_aligned() => {
                // SAFETY: in the mapping, aligned, and used as an atomic.
                let word = unsafe { AtomicU64::from_ptr(from.cast()) }.load(Ordering::Acquire);
                to.copy_from_slice(&word.to_ne_bytes());
            }
            4 if from.cast::<u32>().is_aligned() => {
                // SAFETY: in the mapping, aligned, and used as an atomic.
                let word = unsafe { AtomicU32::from_ptr(from.cast()) }.load(Ordering::Acquire);
                to.copy_from_slice(&word.to_ne_bytes());
            }
            // SAFETY: both have that many bytes. Who writes there meanwhile makes the copy a mix of
            // old and new bytes, as for a device.
            len => unsafe { ptr::copy_nonoverlapping(from, to.as_mut_ptr(), len) },
        }
        Ok(())
    }

    /// Copies to `at`. Aligned words of 4 and 8 bytes are written in one step.
    #[inline]
    pub fn write(&self, at: u64, from: &[u8]) -> Result<(), Fault> {
        let to = self.within(at, from.len())?;
        if !self.writable {
            return Err(Fault);
        }
        match *from {
            [a, b, c, d, e, f, g, h] if to.cast::<u64>().is_aligned() => {
                let word = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
                // SAFETY: in the mapping, aligned, and used as an atomic.
                unsafe { AtomicU64::from_ptr(to.cast()) }.store(word, Ordering::Release);
            }
            [a, b, c, d] if to.cast::<u32>().is_aligned() => {
                let word = u32::from_ne_bytes([a, b, c, d]);
                // SAFETY: in the mapping, aligned, and used as an atomic.
                unsafe { AtomicU32::from_ptr(to.cast()) }.store(word, Ordering::Release);
            }
            // SAFETY: both have that many bytes; whoever reads or writes there meanwhile sees a mix.
            _ => unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) },
        }
        Ok(())
    }

    /// Changes the word at `at`, a multiple of 8, from `old` to `new` in one step; false when it is
    /// not `old`.
    pub fn swap(&self, at: u64, old: u64, new: u64) -> Result<bool, Fault> {
        let word = self.within(at, 8)?.cast::<u64>();
        if !self.writable || !word.is_aligned() {
            return Err(Fault);
        }
        // SAFETY: in the mapping, aligned, and used as an atomic.
        let word = unsafe { AtomicU64::from_ptr(word) };
        Ok(word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some(place) = PLACES.get(self.place) {
            place.len.store(0, Ordering::Release);
        }
        // SAFETY: our own mapping, which nothing refers to any more.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// A window, as the handler finds it; free while `len` is 0.
struct Place {
    start: AtomicUsize,
    len: AtomicUsize,
    block: AtomicUsize,
    /// Whether a page of it was lost.
    cut: AtomicBool,
}

/// As many windows as can be open.
static PLACES: [Place; 4096] = [const {
    Place {
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        block: AtomicUsize::new(0),
        cut: AtomicBool::new(false),
    }
}; 4096];

/// What `len` of a place is while its other fields are written: no address is in it.
const TAKEN: usize = 1;

fn enter(start: usize, len: usize, block: usize) -> Option<usize> {
    let free = |place: &Place| {
        place.len.compare_exchange(0, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    let found = PLACES.iter().position(free)?;
    PLACES[found].start.store(start, Ordering::Release);
    PLACES[found].block.store(block, Ordering::Release);
    PLACES[found].cut.store(false, Ordering::Release);
    PLACES[found].len.store(len, Ordering::Release);
    Some(found)
}

/// The page of a window that holds an address, and its bytes; the window is marked as cut.
fn page_at(address: usize) -> Option<(usize, usize)> {
    PLACES.iter().find_map(|place| {
        let len = place.len.load(Ordering::Acquire);
        let offset = address.wrapping_sub(place.start.load(Ordering::Acquire));
        let block = place.block.load(Ordering::Acquire);
        (len > TAKEN && offset < len).then(|| {
            place.cut.store(true, Ordering::Release);
            (address - offset % block, block)
        })
    })
}

/// What the process did about bus errors before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

fn install() {
    BEFORE.get_or_init(|| {
        // SAFETY: zero is a valid value of both; the handler below calls nothing but mmap(2).
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_bus_error as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &action, &mut before);
            before
        }
    });
}

extern "C" fn on_bus_error(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gave it for this signal.
    let address = unsafe { (*info).si_addr() } as usize;
    // one that somebody sent has no address
    // SAFETY: as above.
    let is_fault = unsafe { (*info).si_code } > 0;
    if let Some((page, len)) = is_fault.then(|| page_at(address)).flatten() {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: a page of a window of ours, whose bytes are lost.
        let mapped = unsafe { libc::mmap(page as *mut c_void, len, prot, flags, -1, 0) };
        if mapped != libc::MAP_FAILED {
            return;
        }
    }
    pass_on(signal, info, context);
}

/// Does what the process did before.
fn pass_on(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(before) = BEFORE.get() else { return };
    match before.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // the instruction is tried again, and ends the process
            // SAFETY: a value that the kernel gave.
            unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
        }
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the flag says that it is a function of this type.
            let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without the flag it is a function of this type.
            let handler: extern "C" fn(i32) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{PAGE_SIZE, SharedFile};

    #[test]
    fn a_file_and_its_window_are_the_same_memory() {
        let file = SharedFile::anonymous("window", 4 * PAGE_SIZE).unwrap();
        let window = file.window(0).unwrap();
        file.write(5, b"hello").unwrap();
        let mut bytes = [0; 5];
        window.read(5, &mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        window.write(PAGE_SIZE, &7u64.to_ne_bytes()).unwrap();
        assert_eq!(window.swap(PAGE_SIZE, 6, 8), Ok(false));
        assert_eq!(window.swap(PAGE_SIZE, 7, 8), Ok(true));
        let mut word = [0; 8];
        file.read(PAGE_SIZE, &mut word).unwrap();
        assert_eq!(u64::from_ne_bytes(word), 8);
        assert!(window.read(u64::MAX, &mut word).is_err());
        assert!(window.swap(4, 0, 0).is_err());
    }

    #[test]
    fn pages_that_are_cut_off_read_as_zeros() {
        let file = SharedFile::anonymous("window", 4 * PAGE_SIZE).unwrap();
        let window = file.window(0).unwrap();
        window.write(3 * PAGE_SIZE, b"lost").unwrap();
        rustix::fs::ftruncate(&file, PAGE_SIZE).unwrap();
        let mut bytes = [1; 4];
        window.read(3 * PAGE_SIZE, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 4]);
        window.write(2 * PAGE_SIZE, b"gone").unwrap();
    }

    #[test]
    fn pages_that_come_again_are_seen_by_a_new_window() {
        let file = SharedFile::anonymous("window", 4 * PAGE_SIZE).unwrap();
        let old = file.window(0).unwrap();
        rustix::fs::ftruncate(&file, PAGE_SIZE).unwrap();
        let mut bytes = [1; 4];
        old.read(3 * PAGE_SIZE, &mut bytes).unwrap();
        rustix::fs::ftruncate(&file, 4 * PAGE_SIZE).unwrap();
        file.write(3 * PAGE_SIZE, b"anew").unwrap();
        file.window(0).unwrap().read(3 * PAGE_SIZE, &mut bytes).unwrap();
        assert_eq!(&bytes, b"anew");
    }
}
