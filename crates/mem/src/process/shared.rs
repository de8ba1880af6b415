//! The objects behind shared mappings.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::{Process, Vma};
use crate::{
    Accounts, AddressSpace, Backing, Extent, Fault, MmId, ObjectKey, PAGE_SIZE, SharedFile,
};

/// Memory files that are known by identity, and kept for as long as somebody may need them.
pub trait SharedObjects: Send + Sync + fmt::Debug {
    /// The object, open for writing too when `writable`.
    fn find(&self, key: ObjectKey, writable: bool) -> Option<Arc<SharedFile>>;

    /// Makes an object known that was found by other means.
    fn add(&self, file: SharedFile) -> Arc<SharedFile>;
}

/// Whether this is a memory file: tmpfs (memfd and shm are such) or hugetlbfs.
pub fn is_pinnable_memory(fd: impl AsFd) -> bool {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;
    let regular = rustix::fs::fstat(&fd)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    let magic = rustix::fs::fstatfs(&fd).map_or(0, |fs| fs.f_type as u64 & 0xffff_ffff);
    regular && matches!(magic, TMPFS_MAGIC | HUGETLBFS_MAGIC)
}

impl Process {
    /// How the bytes of a shared mapping are reached: page `va_page` of the process is page `index`
    /// of the object.
    pub(super) fn backing_of_shared(
        self: &Arc<Self>,
        vma: &Vma,
        key: ObjectKey,
        va_page: u64,
        index: u64,
        writable: bool,
    ) -> Result<Backing, Fault> {
        if let Some(file) = self.objects.find(key, writable) {
            return Ok(Backing::Shared(file));
        }
        let Some(fd) = self.search(vma, key, writable) else {
            let space = Arc::new(Window {
                process: Arc::clone(self),
                shift: va_page.wrapping_sub(index).wrapping_mul(PAGE_SIZE),
            });
            return Ok(Backing::Private(space));
        };
        let memory = is_pinnable_memory(&fd);
        if writable && !memory {
            return Err(Fault); // it is written back: FOLL_LONGTERM refuses
        }
        let file = SharedFile::new(fd).map_err(|_| Fault)?;
        let file = if memory { self.objects.add(file) } else { Arc::new(file) };
        Ok(Backing::Shared(file))
    }

    /// Opens the object of a mapping by what the process has.
    fn search(&self, vma: &Vma, key: ObjectKey, writable: bool) -> Option<OwnedFd> {
        let usable = |fd: &OwnedFd| {
            let same = rustix::fs::fstat(fd).is_ok_and(|stat| SharedFile::key_of(&stat) == key);
            let flags = rustix::fs::fcntl_getfl(fd).unwrap_or(OFlags::PATH);
            let mode = flags & OFlags::ACCMODE;
            let fits = mode == OFlags::RDWR || (mode == OFlags::RDONLY && !writable);
            same && fits && !flags.contains(OFlags::PATH)
        };
        let access = if writable { OFlags::RDWR } else { OFlags::RDONLY } | OFlags::CLOEXEC;
        let open = |path: String| {
            // Looked at before it is opened: opening a device may do something.
            let stat = rustix::fs::stat(&path).ok().filter(|stat| {
                FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                    && SharedFile::key_of(stat) == key
            });
            stat.and_then(|_| rustix::fs::open(path, access, Mode::empty()).ok()).filter(usable)
        };
        let proc = format!("/proc/{}", self.pid().as_raw_nonzero());
        let mapped = format!("{proc}/map_files/{:x}-{:x}", vma.start, vma.last + 1);
        self.search_descriptors(&proc, key, usable)
            .or_else(|| open(mapped))
            .or_else(|| self.maps.path(vma.start).and_then(open))
    }

    fn search_descriptors(
        &self,
        proc: &str,
        key: ObjectKey,
        usable: impl Fn(&OwnedFd) -> bool,
    ) -> Option<OwnedFd> {
        let entries = std::fs::read_dir(format!("{proc}/fd")).ok()?;
        entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let stat =
                    rustix::fs::statat(rustix::fs::CWD, entry.path(), AtFlags::empty()).ok()?;
                let number = entry.file_name().to_str()?.parse().ok()?;
                (SharedFile::key_of(&stat) == key).then(|| self.descriptor(number).ok())?
            })
            .find(|fd| usable(fd))
    }
}

/// A shared mapping whose object cannot be opened: offsets in the object, bytes in the process.
struct Window {
    process: Arc<Process>,
    /// What must be added to an offset in the object, modulo 2^64.
    shift: u64,
}

impl AddressSpace for Window {
    fn id(&self) -> MmId {
        self.process.id()
    }

    fn alive(&self) -> bool {
        self.process.alive()
    }

    fn read(&self, offset: u64, to: &mut [u8]) -> Result<(), Fault> {
        self.process.read(offset.wrapping_add(self.shift), to)
    }

    fn write(&self, offset: u64, from: &[u8]) -> Result<(), Fault> {
        self.process.write(offset.wrapping_add(self.shift), from)
    }

    fn pin(self: Arc<Self>, _: u64, _: u64, _: bool) -> Result<Vec<Extent>, Fault> {
        Err(Fault) // pages are pinned through the process itself
    }

    fn accounts(&self) -> &Accounts {
        self.process.accounts()
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shared memory in {:?}", self.process)
    }
}
