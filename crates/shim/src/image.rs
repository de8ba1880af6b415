//! This program image: its number, and its connections to the supervisor.
//!
//! Both are in a page that the kernel wipes in the child of a `fork` (`MADV_WIPEONFORK`), so a child
//! starts with none, as a program does after `exec`. The child of a `vfork` shares the page with its
//! parent but not the descriptors: it is told by its process number, and makes a connection a call.
//!
//! A connection is a descriptor in the program's table, where the program may do anything to it. So it
//! gets a high number, the hooks of [`crate::close`] keep it from being closed, and its `SO_COOKIE` is
//! compared before each use.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt::socket_cookie,
};
use rustix::process::Resource;
use wire::message::Hello;
use zerocopy::IntoBytes;

use crate::run::{Run, SHORT};
use crate::sys;

/// What a fork must not inherit.
struct Image {
    /// 0 in a new image, [`STARTING`] while one thread makes it ready, then a random number.
    number: AtomicU64,
    /// The process of the number.
    pid: AtomicU32,
    /// 1 while a thread has the [`Guard`].
    lock: AtomicU32,
    slots: [Slot; wire::POOL],
}

const STARTING: u64 = 1;

/// A connection of the pool.
struct Slot {
    /// 0 when empty, else the descriptor plus one, with [`BUSY`] while a call has it.
    state: AtomicU64,
    cookie: AtomicU64,
}

const BUSY: u64 = 1 << 32;

impl Slot {
    const fn empty() -> Self {
        Self { state: AtomicU64::new(0), cookie: AtomicU64::new(0) }
    }

    fn fd(state: u64) -> i32 {
        (state & !BUSY) as i32 - 1
    }
}

static IMAGE: AtomicPtr<Image> = AtomicPtr::new(ptr::null_mut());

/// The connections again, in memory that a child does inherit: it closes those of its parent.
static INHERITED: [Slot; wire::POOL] = [const { Slot::empty() }; wire::POOL];

/// A connection that one call has for itself.
pub(crate) struct Connection {
    fd: i32,
    /// Its place in the pool; none when it is for one call only.
    slot: Option<usize>,
    /// Whether it served a call before, and may be stale.
    pub(crate) used: bool,
}

impl Connection {
    /// A connection from the pool, or a new one.
    pub(crate) fn take(run: &Run) -> Result<Self, Errno> {
        let image = image().ok_or(Errno::NOMEM)?;
        let number = image.start();
        if image.pid.load(Ordering::Relaxed) != process() {
            return Self::connect(run, number, None);
        }
        for (index, slot) in image.slots.iter().enumerate() {
            let state = slot.state.load(Ordering::Acquire);
            if state == 0 || state & BUSY != 0 || !swap(&slot.state, state, state | BUSY) {
                continue;
            }
            let fd = Slot::fd(state);
            let cookie = sys::borrow(fd).and_then(|fd| socket_cookie(fd).ok());
            if cookie == Some(slot.cookie.load(Ordering::Acquire)) {
                return Ok(Self { fd, slot: Some(index), used: true });
            }
            slot.state.store(0, Ordering::Release); // the program closed it, the number is another's
        }
        let empty = image.slots.iter().position(|slot| swap(&slot.state, 0, BUSY));
        let connection = Self::connect(run, number, empty);
        if let (Err(_), Some(index)) = (&connection, empty) {
            image.slots[index].state.store(0, Ordering::Release);
        }
        connection
    }

    fn connect(run: &Run, number: u64, slot: Option<usize>) -> Result<Self, Errno> {
        let mut name = [0; SHORT];
        let path = run.file(wire::SOCKET, b"", &mut name).ok_or(Errno::NAMETOOLONG)?;
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        let fd = lift(socket);
        let connection = Self { fd, slot, used: false };
        let connected = (|| {
            let fd = connection.as_fd();
            retry(|| rustix::net::connect(fd, &SocketAddrUnix::new(path)?))?;
            let hello = Hello::new(number);
            retry(|| rustix::net::send(fd, hello.as_bytes(), SendFlags::NOSIGNAL))?;
            socket_cookie(fd)
        })();
        let cookie = match connected {
            Ok(cookie) => cookie,
            Err(errno) => {
                sys::close(fd);
                return Err(errno);
            }
        };
        if let (Some(index), Some(image)) = (slot, image()) {
            for slot in [&image.slots[index], &INHERITED[index]] {
                slot.cookie.store(cookie, Ordering::Release);
                slot.state.store((fd as u64 + 1) | BUSY, Ordering::Release);
            }
        }
        Ok(connection)
    }

    /// Gives it back after a call that went well.
    pub(crate) fn put(self) {
        match (self.slot, image()) {
            (Some(index), Some(image)) => {
                let state = &image.slots[index].state;
                state.fetch_and(!BUSY, Ordering::AcqRel);
            }
            _ => sys::close(self.fd),
        }
    }

    /// Closes it: the supervisor is gone, or has closed its end.
    pub(crate) fn discard(self) {
        if let (Some(index), Some(image)) = (self.slot, image()) {
            image.slots[index].state.store(0, Ordering::Release);
        }
        sys::close(self.fd);
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: it is open for as long as the value lives, unless the program closes it by a raw
        // system call, and then calls on it do no harm to us.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

/// Whether a descriptor is ours and none of the program's business.
pub(crate) fn is_connection(fd: i32) -> bool {
    find(fd).is_some()
}

/// Frees the number `fd`, which the program wants for itself.
pub(crate) fn move_away(fd: i32) {
    // A call that has the connection right now is waited for, within reason.
    for _ in 0..100_000 {
        let Some((index, slot)) = find(fd) else { return };
        let state = slot.state.load(Ordering::Acquire);
        if state & BUSY != 0 {
            rustix::thread::sched_yield();
        } else if Slot::fd(state) == fd && swap(&slot.state, state, state | BUSY) {
            let moved = sys::borrow(fd)
                .and_then(|old| rustix::io::fcntl_dupfd_cloexec(old, fd + 1).ok())
                .map_or(0, |new| new.into_raw_fd() as u64 + 1);
            INHERITED[index].state.store(moved, Ordering::Release);
            slot.state.store(moved, Ordering::Release);
            return;
        }
    }
}

fn find(fd: i32) -> Option<(usize, &'static Slot)> {
    let image = IMAGE.load(Ordering::Acquire);
    // SAFETY: what is published is an `Image` that stays for good.
    let image = unsafe { image.as_ref() }?;
    let wanted = u64::try_from(fd).ok()? + 1;
    let holds = |slot: &Slot| slot.state.load(Ordering::Acquire) & !BUSY == wanted;
    image.slots.iter().enumerate().find(|(_, slot)| holds(slot))
}

/// The connections from `first` to `last`.
pub(crate) fn connections(first: u32, last: u32) -> impl Iterator<Item = u32> {
    // SAFETY: what is published is an `Image` that stays for good.
    let image = unsafe { IMAGE.load(Ordering::Acquire).as_ref() };
    let slots = image.into_iter().flat_map(|image| &image.slots);
    let numbers = slots.map(|slot| Slot::fd(slot.state.load(Ordering::Acquire)));
    let numbers = numbers.filter_map(|number| u32::try_from(number).ok());
    numbers.filter(move |number| (first..=last).contains(number))
}

impl Image {
    /// The number of this image, made at the first call.
    fn start(&self) -> u64 {
        loop {
            match self.number.load(Ordering::Acquire) {
                0 => self.make(),
                STARTING => rustix::thread::sched_yield(),
                number => return number,
            }
        }
    }

    /// Closes the connections of the parent and chooses a number.
    ///
    /// Signals are blocked, so that no handler of this thread can wait for us.
    fn make(&self) {
        let blocked = sys::block_signals();
        if swap(&self.number, 0, STARTING) {
            for slot in &INHERITED {
                let fd = Slot::fd(slot.state.swap(0, Ordering::AcqRel));
                let cookie = sys::borrow(fd).and_then(|fd| socket_cookie(fd).ok());
                if cookie.is_some() && cookie == Some(slot.cookie.load(Ordering::Acquire)) {
                    sys::close(fd);
                }
            }
            self.pid.store(process(), Ordering::Relaxed);
            let mut number = [0; 8];
            let _ = rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty());
            let number = u64::from_ne_bytes(number) | 2; // neither 0 nor STARTING
            self.number.store(number, Ordering::Release);
        }
        sys::restore_signals(blocked);
    }
}

/// The page, made at the first call.
fn image() -> Option<&'static Image> {
    const { assert!(size_of::<Image>() <= 4096) };
    let mut page = IMAGE.load(Ordering::Acquire);
    if page.is_null() {
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping at an address that the kernel chooses.
        let new = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), 4096, prot, flags) }.ok()?;
        // SAFETY: the page is new and nobody else's. Without the advice (before 4.14) a child is told
        // by its process number.
        let _ = unsafe { rustix::mm::madvise(new, 4096, Advice::LinuxWipeOnFork) };
        page = new.cast();
        let published =
            IMAGE.compare_exchange(ptr::null_mut(), page, Ordering::AcqRel, Ordering::Acquire);
        if let Err(other) = published {
            // SAFETY: nobody has seen the page.
            let _ = unsafe { rustix::mm::munmap(new, 4096) };
            page = other;
        }
    }
    // SAFETY: the page is never unmapped, and all its bytes, zero at first, are atomics.
    Some(unsafe { &*page })
}

/// Another number for a descriptor, out of those that programs see and `select(2)` can name.
pub(crate) fn high_copy(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let limit = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(1024);
    let high = limit.min(1024).saturating_sub(wire::POOL as u64 * 2) as i32;
    rustix::io::fcntl_dupfd_cloexec(fd, high)
}

/// Moves a descriptor up.
fn lift(socket: OwnedFd) -> i32 {
    let lifted = high_copy(socket.as_fd());
    let socket = socket.into_raw_fd();
    match lifted {
        Ok(lifted) => {
            sys::close(socket);
            lifted.into_raw_fd()
        }
        Err(_) => socket,
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

fn swap(state: &AtomicU64, from: u64, to: u64) -> bool {
    state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Whether this is the child of a `vfork`, whose memory is its parent's.
pub(crate) fn is_vfork_child() -> bool {
    let Some(image) = image() else { return false };
    image.start();
    image.pid.load(Ordering::Relaxed) != process()
}

fn process() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get().unsigned_abs()
}

/// Changes of what this process keeps about itself come one after the other. Signals are blocked meanwhile,
/// so that no handler of this thread can wait for us. The child of a `fork` finds nobody inside.
pub(crate) struct Guard {
    image: &'static Image,
    blocked: u64,
}

impl Guard {
    /// Waits for its turn; none without memory for the page.
    pub(crate) fn new() -> Option<Self> {
        let image = image()?;
        let blocked = sys::block_signals();
        let free = || image.lock.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
        while free().is_err() {
            rustix::thread::sched_yield();
        }
        Some(Self { image, blocked })
    }

    /// Whether any thread of this process has one.
    pub(crate) fn is_taken() -> bool {
        image().is_some_and(|image| image.lock.load(Ordering::Acquire) != 0)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.image.lock.store(0, Ordering::Release);
        sys::restore_signals(self.blocked);
    }
}
