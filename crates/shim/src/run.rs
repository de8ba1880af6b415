//! The run that this process belongs to.

use core::ffi::{CStr, c_char};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags};
use wire::page;

/// A run: where its files are, and its shared page.
pub(crate) struct Run {
    directory: [u8; wire::RUN_MAX],
    length: usize,
    page: NonNull<u8>,
}

/// Null until it is known; [`NONE`] when there is no run.
static CURRENT: AtomicPtr<Run> = AtomicPtr::new(ptr::null_mut());
/// Room for the name of any of our own files.
pub(crate) const SHORT: usize = wire::RUN_MAX + 32;
const NONE: *mut Run = ptr::without_provenance_mut(align_of::<Run>());

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// The run of this process, if any.
pub(crate) fn current() -> Option<&'static Run> {
    let mut run = CURRENT.load(Ordering::Acquire);
    if run.is_null() {
        run = join();
    }
    // SAFETY: what is published, except `NONE`, is a `Run` that stays as it is for good.
    (!ptr::eq(run, NONE)).then(|| unsafe { &*run })
}

/// Finds the run by the environment. Several threads may do so at once, with the same result.
fn join() -> *mut Run {
    let found = directory().and_then(Run::open).and_then(Run::publishable).unwrap_or(NONE);
    match CURRENT.compare_exchange(ptr::null_mut(), found, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => found,
        Err(other) => other, // ours stays mapped and unused
    }
}

fn directory() -> Option<&'static [u8]> {
    // SAFETY: libc sets it before any constructor runs; it is null or a list of C strings that ends
    // with null.
    let mut next = unsafe { environ };
    while !next.is_null() {
        // SAFETY: the list has not ended yet.
        let entry = unsafe { *next };
        if entry.is_null() {
            break;
        }
        // SAFETY: entries are C strings, and stay while nobody changes the environment; the result is
        // copied at once.
        let entry = unsafe { CStr::from_ptr(entry) }.to_bytes();
        let value = entry.strip_prefix(wire::RUN_VARIABLE.as_bytes());
        if let Some(value) = value.and_then(|rest| rest.strip_prefix(b"=")) {
            return Some(value);
        }
        // SAFETY: the list goes on until its null.
        next = unsafe { next.add(1) };
    }
    None
}

impl Run {
    fn open(directory: &[u8]) -> Option<Self> {
        let mut run = Self {
            directory: [0; wire::RUN_MAX],
            length: directory.len(),
            page: NonNull::dangling(),
        };
        run.directory.get_mut(..run.length)?.copy_from_slice(directory);
        let mut name = [0; SHORT];
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(run.file(wire::PAGE, b"", &mut name)?, flags, Mode::empty());
        let fd = fd.ok()?;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let page = unsafe {
            rustix::mm::mmap(ptr::null_mut(), page::SIZE, ProtFlags::READ, MapFlags::SHARED, &fd, 0)
        };
        crate::sys::close(std::os::fd::IntoRawFd::into_raw_fd(fd));
        run.page = NonNull::new(page.ok()?.cast())?;
        Some(run)
    }

    /// Moves the value to memory that is never freed. There may be no allocator yet.
    fn publishable(self) -> Option<*mut Self> {
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping at an address that the kernel chooses.
        let memory =
            unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), size_of::<Self>(), prot, flags) };
        let memory: *mut Self = memory.ok()?.cast();
        // SAFETY: the mapping is new, large enough, and aligned to a page.
        unsafe { memory.write(self) };
        Some(memory)
    }

    /// The name of a file of the run, followed by `rest`.
    pub(crate) fn file<'n>(&self, file: &str, rest: &[u8], name: &'n mut [u8]) -> Option<&'n CStr> {
        let parts = [self.directory.get(..self.length)?, b"/", file.as_bytes(), rest, b"\0"];
        let mut end = 0;
        for part in parts {
            name.get_mut(end..end + part.len())?.copy_from_slice(part);
            end += part.len();
        }
        CStr::from_bytes_with_nul(name.get(..end)?).ok()
    }

    /// What a name in one of the run's trees stands for: below which folder, and what.
    pub(crate) fn system_name<'p>(&self, path: &'p [u8]) -> Option<(&'static CStr, &'p [u8])> {
        let rest = path.strip_prefix(self.directory.get(..self.length)?)?.strip_prefix(b"/")?;
        let below = |tree: &str| rest.strip_prefix(tree.as_bytes());
        let trees = [
            (wire::SYS_TREE, c"/sys"),
            (wire::DEV_TREE, c"/dev"),
            (wire::DEBUG_TREE, c"/sys/kernel/debug"),
            (wire::PROC_TREE, c"/proc"),
        ];
        trees.into_iter().find_map(|(tree, system)| Some((system, below(tree)?)))
    }

    /// Whether this is a name in the run directory, or the beginning of one.
    pub(crate) fn may_hold(&self, beginning: &[u8]) -> bool {
        let directory = self.directory.get(..self.length).unwrap_or_default();
        beginning.iter().zip(directory).all(|(one, other)| one == other)
    }

    /// Whether the run has this feature, a bit of [`page`].
    pub(crate) fn has(&self, feature: u32) -> bool {
        self.word(page::FEATURES) & feature != 0
    }

    /// What `uname -r` says, and zeros to the end.
    pub(crate) fn release(&self) -> [u8; page::RELEASE_BYTES] {
        // SAFETY: within the page, and nobody changes it during the run.
        unsafe { self.page.add(page::RELEASE).cast().read() }
    }

    /// Whether any process was charged for pinned pages.
    pub(crate) fn is_charged(&self) -> bool {
        self.word(page::CHARGED) != 0
    }

    /// The cookie of a descriptor that may be one of ours.
    pub(crate) fn cookie(&self, fd: i32) -> Option<u64> {
        if self.word(page::LIVE) == 0 {
            return None;
        }
        let cookie = rustix::net::sockopt::socket_cookie(crate::sys::borrow(fd)?).ok()?;
        let (byte, mask) = page::bit(cookie);
        // SAFETY: `bit` stays within the filter, which is within the page; the supervisor changes it
        // at any time, so it is read as an atomic.
        let byte = unsafe { self.page.add(page::FILTER + byte).cast::<AtomicU8>().as_ref() };
        (byte.load(Ordering::Acquire) & mask != 0).then_some(cookie)
    }

    fn word(&self, offset: usize) -> u32 {
        // SAFETY: the offsets of `page` are aligned words within it; the supervisor changes them at any
        // time, so they are read as atomics.
        let word = unsafe { self.page.add(offset).cast::<AtomicU32>().as_ref() };
        word.load(Ordering::Acquire)
    }
}

// SAFETY: all of it is constant, but for the page, which is only read, and as atomics.
unsafe impl Sync for Run {}
