//! `mmap` and `memfd_create`.
//!
//! | the program maps | what happens |
//! |---|---|
//! | a descriptor of ours | the supervisor gives the object to map instead, see [`crate::trap`], too |
//! | shared anonymous memory | a memfd is mapped instead, which the supervisor gets too |
//! | a memory file (memfd, shm, hugetlbfs), shared | as asked; the supervisor gets the file too |
//! | huge pages of which the machine has none | ordinary pages, aligned as huge ones |
//! | anything else | as asked |
//!
//! With the file, the supervisor reaches pinned pages after the program has unmapped them, closed the
//! file, or died. That never makes a call fail: without a supervisor the mapping is as asked.

use core::ffi::{c_char, c_int, c_uint, c_void};
use core::ptr;
use std::os::fd::IntoRawFd;

use rustix::fs::MemfdFlags;
use rustix::process::Resource;
use wire::message::{Operation, TRAPPED};

use crate::call::Call;
use crate::run::{self, Run};
use crate::sys::{self, Raw, failure, is_failure, to_int, to_libc};
use crate::trap;

/// The arguments of `mmap`.
#[derive(Clone, Copy)]
pub(crate) struct Map {
    pub at: usize,
    pub length: usize,
    pub prot: c_int,
    pub flags: c_int,
    pub fd: c_int,
    pub offset: i64,
}

const HUGE_SHIFT: c_int = 26;
const HUGE_BITS: c_int = libc::MAP_HUGETLB | 0x3f << HUGE_SHIFT;
const FIXED: c_int = libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE;

impl Map {
    /// Maps as asked, and forgets what was there of a device's memory.
    fn native(self) -> Raw {
        let result = self.make();
        if !is_failure(result) {
            trap::forget(result as usize, self.length);
        }
        result
    }

    /// The call itself.
    pub(crate) fn make(self) -> Raw {
        let [prot, flags, fd] = [self.prot, self.flags, self.fd].map(|n| n as usize);
        // SAFETY: the call as the program made it, or one with the same effect on its memory.
        unsafe {
            sys::raw(libc::SYS_mmap, [self.at, self.length, prot, flags, fd, self.offset as usize])
        }
    }

    fn kind(self) -> c_int {
        self.flags & libc::MAP_TYPE
    }

    fn is_shared(self) -> bool {
        matches!(self.kind(), libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE)
    }

    /// Maps as the table at the top says.
    fn hooked(self) -> Raw {
        let Some(run) = run::current() else { return self.native() };
        if self.flags & libc::MAP_ANONYMOUS == 0 {
            return match run.cookie(self.fd) {
                Some(cookie) => self.ours(run, cookie),
                None => self.file(run),
            };
        }
        if let Some(size) = huge_page(self.flags) {
            let result = self.native();
            if result != failure(libc::ENOMEM) {
                return result;
            }
            let flags = self.flags & !HUGE_BITS;
            return match self.length.checked_next_multiple_of(size) {
                Some(length) => {
                    Self { flags, length, ..self }.aligned(size, |map| map.small(run, Some(size)))
                }
                None => result,
            };
        }
        self.small(run, None)
    }

    /// Anonymous memory of ordinary pages, which may stand for huge ones of some size.
    fn small(self, run: &Run, huge: Option<usize>) -> Raw {
        if self.kind() == libc::MAP_SHARED && self.flags & libc::MAP_HUGETLB == 0 {
            return self.shared_anonymous(run, huge).unwrap_or_else(|| self.native());
        }
        self.native()
    }

    fn shared_anonymous(self, run: &Run, huge: Option<usize>) -> Option<Raw> {
        let limit = rustix::process::getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        if self.length == 0 || self.length as u64 > limit {
            return None; // a file of that size would be refused
        }
        let create = |flags| rustix::fs::memfd_create(c"softiommu-shared", flags);
        let memory = create(MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL)
            .or_else(|_| create(MemfdFlags::CLOEXEC)); // before 6.3
        let memory = memory.ok()?;
        let result = rustix::fs::ftruncate(&memory, self.length as u64).ok().map(|()| {
            let fd = std::os::fd::AsRawFd::as_raw_fd(&memory);
            Self { flags: self.flags & !libc::MAP_ANONYMOUS, fd, offset: 0, ..self }.native()
        });
        let memory = memory.into_raw_fd();
        if let Some(size) = huge {
            mark(memory, size);
        }
        let mapped = result.filter(|&result| !is_failure(result));
        if mapped.is_some() {
            register(run, memory);
        }
        sys::close(memory);
        mapped
    }

    /// A file of the program's.
    fn file(self, run: &Run) -> Raw {
        if !is_memory(self.fd) {
            return self.native();
        }
        let result = match emulated(self.fd) {
            Some(size) => {
                let flags = self.flags & !HUGE_BITS;
                Self { flags, ..self }.aligned(size, Self::native)
            }
            None => self.native(),
        };
        if self.is_shared() && !is_failure(result) {
            register(run, self.fd);
        }
        result
    }

    /// A descriptor of ours.
    fn ours(self, run: &Run, cookie: u64) -> Raw {
        if self.length == 0 || self.offset & 0xfff != 0 {
            return failure(libc::EINVAL);
        }
        let operation = Operation::Mmap {
            offset: self.offset as u64,
            length: self.length as u64,
            prot: self.prot as u32,
            flags: self.flags as u32,
        };
        let reply = match Call::on(self.fd, cookie, operation).make(run) {
            Ok(reply) => reply,
            Err(errno) => return sys::failed(errno),
        };
        match (reply.result(), reply.fd()) {
            (None, _) => self.native(),
            (Some(result), None) => {
                if result < 0 {
                    result
                } else {
                    failure(libc::ENODEV)
                }
            }
            (Some(value), Some(fd)) => {
                let instead = Self { fd, offset: reply.extra() as i64, ..self };
                let result = match value as i64 {
                    TRAPPED => trap::map(self, instead, cookie),
                    _ => instead.native(),
                };
                sys::close(fd);
                result
            }
        }
    }

    /// Maps at a multiple of `size`, unless the program says where.
    fn aligned(self, size: usize, map: impl FnOnce(Self) -> Raw) -> Raw {
        if self.flags & FIXED != 0 {
            return if self.at.is_multiple_of(size) { map(self) } else { failure(libc::EINVAL) };
        }
        let Some(room) = self.length.checked_add(size) else { return failure(libc::ENOMEM) };
        let reserve = Self {
            at: 0,
            length: room,
            prot: libc::PROT_NONE,
            flags: libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            fd: -1,
            offset: 0,
        };
        let start = reserve.native();
        if is_failure(start) {
            return start;
        }
        let start = start as usize;
        let at = start.next_multiple_of(size);
        let result = map(Self { at, flags: self.flags | libc::MAP_FIXED, ..self });
        if is_failure(result) {
            unmap(start, room);
            return result;
        }
        let end = at + self.length.next_multiple_of(0x1000);
        unmap(start, at - start);
        unmap(end, start + room - end);
        result
    }
}

fn unmap(at: usize, length: usize) {
    if length > 0 {
        // SAFETY: a part of a reservation of ours that nobody knows.
        unsafe { sys::raw(libc::SYS_munmap, [at, length]) };
    }
}

/// The size of huge pages that can be emulated, of `mmap` or `memfd_create` flags.
fn huge_page(flags: c_int) -> Option<usize> {
    if flags & libc::MAP_HUGETLB == 0 {
        return None;
    }
    huge_size(flags)
}

fn huge_size(flags: c_int) -> Option<usize> {
    match flags >> HUGE_SHIFT & 0x3f {
        0 | 21 => Some(2 << 20),
        30 => Some(1 << 30),
        _ => None,
    }
}

/// Gives the supervisor a file. It does no harm when that fails.
fn register(run: &Run, fd: c_int) {
    if let Some(fd) = sys::borrow(fd) {
        let _ = Call::new(Operation::Register).attach(fd).make(run);
    }
}

/// Whether this is a file of memory: tmpfs, memfd, shm, hugetlbfs.
fn is_memory(fd: c_int) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const HUGETLBFS: u64 = 0x9584_58f6;
    let magic = sys::borrow(fd).and_then(|fd| rustix::fs::fstatfs(fd).ok()).map(|fs| fs.f_type);
    matches!(magic.map(|magic| magic as u64 & 0xffff_ffff), Some(TMPFS | HUGETLBFS))
}

// A memfd that stands for one of huge pages is marked by its write-life hint, which is kept with the
// inode, whoever holds it, and means nothing to tmpfs.
const SET_HINT: usize = 1036;
const GET_HINT: usize = 1035;
const HINT_2M: u64 = 4;
const HINT_1G: u64 = 5;

/// The huge page size that this memfd pretends to have.
fn emulated(fd: c_int) -> Option<usize> {
    let mut hint = 0u64;
    // SAFETY: writes one u64.
    unsafe { sys::raw(libc::SYS_fcntl, [fd as usize, GET_HINT, &raw mut hint as usize]) };
    match hint {
        HINT_2M => Some(2 << 20),
        HINT_1G => Some(1 << 30),
        _ => None,
    }
}

/// `memfd_create(2)` for the program.
fn create(name: *const c_char, flags: c_uint) -> Raw {
    let native = |flags: c_uint| {
        // SAFETY: the call as the program made it, or with fewer flags.
        unsafe { sys::raw(libc::SYS_memfd_create, [name as usize, flags as usize]) }
    };
    let fd = native(flags);
    if fd < 0 || flags & libc::MFD_HUGETLB == 0 || run::current().is_none() {
        return fd;
    }
    let Some(size) = huge_size(flags as c_int) else { return fd };
    if can_map(flags, size) {
        return fd;
    }
    sys::close(fd as c_int);
    let fd = native(flags & !(HUGE_BITS as c_uint | libc::MFD_HUGETLB));
    if fd >= 0 {
        mark(fd as c_int, size);
    }
    fd
}

/// Lets a memory file stand for one of huge pages.
fn mark(fd: c_int, size: usize) {
    let hint = if size == 1 << 30 { HINT_1G } else { HINT_2M };
    // SAFETY: reads one u64.
    unsafe { sys::raw(libc::SYS_fcntl, [fd as usize, SET_HINT, &raw const hint as usize]) };
}

/// Whether there is a huge page to have, tried on a file that nobody sees.
fn can_map(flags: c_uint, size: usize) -> bool {
    let flags = (flags & HUGE_BITS as c_uint & !(libc::MAP_HUGETLB as c_uint))
        | libc::MFD_HUGETLB
        | libc::MFD_CLOEXEC;
    let name = c"softiommu-probe".as_ptr() as usize;
    // SAFETY: the name is a C string.
    let fd = unsafe { sys::raw(libc::SYS_memfd_create, [name, flags as usize]) };
    if fd < 0 {
        return false;
    }
    let (prot, flags, fd) = (libc::PROT_READ, libc::MAP_SHARED, fd as c_int);
    let at = Map { at: 0, length: size, prot, flags, fd, offset: 0 }.native();
    let mapped = !is_failure(at);
    if mapped {
        unmap(at as usize, size);
    }
    sys::close(fd);
    mapped
}

macro_rules! mmap {
    ($($hook:ident)+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $hook(
            at: *mut c_void,
            length: usize,
            prot: c_int,
            flags: c_int,
            fd: c_int,
            offset: i64,
        ) -> *mut c_void {
            let map = Map { at: at as usize, length, prot, flags, fd, offset };
            // What failed is -1, which is `MAP_FAILED`.
            ptr::with_exposed_provenance_mut(to_libc(map.hooked()) as usize)
        }
    )+};
}

mmap!(mmap mmap64);

#[unsafe(no_mangle)]
unsafe extern "C" fn memfd_create(name: *const c_char, flags: c_uint) -> c_int {
    to_int(create(name, flags))
}
