//! The memory of another process.
//!
//! A [`Process`] is one `mm` of one process that the supervisor may trace (its descendant, or the same
//! user's). It is reached from outside, so nothing that the program does can crash us:
//!
//! | what | by |
//! |---|---|
//! | bytes | `process_vm_readv(2)`, `process_vm_writev(2)`: they obey the protection of the mapping |
//! | mappings | `PROCMAP_QUERY` (6.11), else the text of `/proc/PID/maps` ([`vma`]) |
//! | life | an open `/proc/PID/mem`, which holds the `mm` it was opened on: after `exec` or death it reads as empty, whoever has the number by then |
//! | descriptors | `pidfd_getfd(2)` (5.6) |
//!
//! # Pinning
//!
//! [`AddressSpace::pin`] follows `pin_user_pages(FOLL_LONGTERM)` (`mm/gup.c`): a hole is a fault, a
//! writable pin needs a writable mapping, any other needs a readable one; device memory
//! (`VM_IO`, `VM_PFNMAP`) and pages past the end of a file are faults, which one byte read from the
//! first and the last page of the mapping tells; a file that is written back cannot be pinned for
//! writing (`writable_file_mapping_allowed`).
//!
//! A shared page belongs to its file, so its pages stay reachable when the process is gone. The file
//! comes from [`SharedObjects`], else from the process's descriptors, its mappings (which takes
//! `CAP_CHECKPOINT_RESTORE`) or its name. When none leads to it (System V shared memory, a mapping
//! whose descriptor was closed before anybody looked) the page still has the file's identity, and its
//! bytes are reached through the process.
//!
//! *What it doesn't do*: private pages are not held; `userfaultfd` and `mremap` are not followed.

mod bytes;
mod shared;
mod vma;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};

pub use shared::{SharedObjects, is_pinnable_memory};
pub use vma::mapped_objects;

use crate::{Accounts, AddressSpace, Backing, Extent, Fault, MmId, ObjectKey, PAGE_SIZE, PageId};

use vma::{Maps, Vma};

/// One `mm` of a process outside.
pub struct Process {
    id: MmId,
    pid: Pid,
    pidfd: OwnedFd,
    maps: Maps,
    memory: OwnedFd,
    accounts: Accounts,
    objects: Arc<dyn SharedObjects>,
}

impl Process {
    /// The memory that process `pid` has now. Errors are those of `open(2)` on its `/proc` files.
    pub fn open(pid: Pid, objects: Arc<dyn SharedObjects>) -> io::Result<Self> {
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        let file = |name: &str, flags| {
            let path = format!("/proc/{}/{name}", pid.as_raw_nonzero());
            rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
        };
        Ok(Self {
            id: MmId::next(),
            pid,
            maps: Maps::new(file("maps", OFlags::RDONLY)?),
            memory: file("mem", OFlags::RDONLY)?,
            pidfd,
            accounts: Accounts::default(),
            objects,
        })
    }

    /// Its process number. Another process may have it once this one is dead.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// A copy of its descriptor `fd`. Errors are those of `pidfd_getfd(2)`.
    pub fn descriptor(&self, fd: i32) -> io::Result<OwnedFd> {
        Ok(rustix::process::pidfd_getfd(self.pidfd.as_fd(), fd, PidfdGetfdFlags::empty())?)
    }

    /// The pages of `vma` from `va` on, as one extent.
    fn extent(
        self: &Arc<Self>,
        vma: &Vma,
        va: u64,
        pages: u64,
        writable: bool,
    ) -> Result<Extent, Fault> {
        let permitted = if writable { vma.writable } else { vma.readable };
        if !permitted {
            return Err(Fault);
        }
        // Ordinary anonymous memory has a page at every address; anything else is asked.
        let ordinary = vma.writable && vma.ino == 0;
        if !ordinary && vma.readable {
            self.probe(va)?;
            self.probe(va + (pages - 1) * PAGE_SIZE)?;
        }
        if !vma.shared {
            let first = PageId { object: ObjectKey::Private(self.id), index: va / PAGE_SIZE };
            let space: Arc<dyn AddressSpace> = Arc::<Self>::clone(self);
            return Ok(Extent { first, pages, backing: Backing::Private(space) });
        }
        let object = ObjectKey::Shared { dev: vma.dev, ino: vma.ino };
        let index = (vma.offset + (va - vma.start)) / PAGE_SIZE;
        let backing = self.backing_of_shared(vma, object, va / PAGE_SIZE, index, writable)?;
        Ok(Extent { first: PageId { object, index }, pages, backing })
    }

    fn probe(&self, va: u64) -> Result<(), Fault> {
        self.read(va, &mut [0])
    }
}

impl AddressSpace for Process {
    fn id(&self) -> MmId {
        self.id
    }

    fn alive(&self) -> bool {
        // Nothing is mapped at 0, so a living mm answers EIO; a dead one has nothing to read.
        !matches!(rustix::io::pread(&self.memory, &mut [0u8], 0), Ok(0))
    }

    fn read(&self, va: u64, to: &mut [u8]) -> Result<(), Fault> {
        bytes::read(self.pid, va, to).or_else(|gone| {
            gone.other_thread(self.pid)
                .map_or(Err(Fault), |tid| bytes::read(tid, va, to).map_err(|_| Fault))
        })
    }

    fn write(&self, va: u64, from: &[u8]) -> Result<(), Fault> {
        bytes::write(self.pid, va, from).or_else(|gone| {
            gone.other_thread(self.pid)
                .map_or(Err(Fault), |tid| bytes::write(tid, va, from).map_err(|_| Fault))
        })
    }

    fn pin(self: Arc<Self>, va: u64, pages: u64, writable: bool) -> Result<Vec<Extent>, Fault> {
        let length = pages.checked_mul(PAGE_SIZE).filter(|&n| n > 0).ok_or(Fault)?;
        let last = va.checked_add(length - 1).ok_or(Fault)?;
        let mut extents: Vec<Extent> = Vec::new();
        let mut at = va;
        loop {
            let vma = self.maps.find(at).ok_or(Fault)?;
            let end = vma.last.min(last);
            let here = (end - at) / PAGE_SIZE + 1;
            let extent = self.extent(&vma, at, here, writable)?;
            match extents.last_mut() {
                Some(before) if continues(before, &extent) => before.pages += here,
                _ => extents.push(extent),
            }
            if end == last {
                return Ok(extents);
            }
            at = end + 1;
        }
    }

    fn accounts(&self) -> &Accounts {
        &self.accounts
    }
}

/// Whether `next` is the continuation of `before`, reached in the same way.
fn continues(before: &Extent, next: &Extent) -> bool {
    let same = match (&before.backing, &next.backing) {
        (Backing::Shared(a), Backing::Shared(b)) => Arc::ptr_eq(a, b),
        (Backing::Private(_), Backing::Private(_)) => {
            matches!(before.first.object, ObjectKey::Private(_))
        }
        _ => false,
    };
    same && before.page(before.pages) == next.first
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid.as_raw_nonzero())
    }
}
