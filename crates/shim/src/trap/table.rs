//! Which addresses are of a device's memory.
//!
//! Faults read the table, in a signal handler, and wait for nobody who may wait for them: a change is made by
//! one thread at a time ([`Guard`]), with its signals blocked, and a reader who meets one tries again. A
//! `fork` in the middle of a change leaves the child a table that nobody completes; who comes first there
//! ends the change.
//!
//! A mapping keeps its file open when the program closes the descriptor. So each range has a copy of it, with
//! a number out of the way, which `fork` copies and `exec` closes as it does the mapping; ranges of one file
//! share one.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::os::fd::IntoRawFd;

use rustix::net::sockopt::socket_cookie;

use crate::image::{self, Guard};
use crate::sys;

/// Ranges that a process can have. More are `ENOMEM`.
const ROOM: usize = 1024;

/// How often a reader looks at a table that is changing.
const TRIES: u32 = 100_000;

/// Addresses of a device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub start: u64,
    /// Behind the last.
    pub end: u64,
    /// The position in the file that `start` stands for.
    pub position: u64,
    /// The file.
    pub cookie: u64,
    /// Our copy of its descriptor.
    pub fd: i32,
    /// `PROT_` bits that the program asked for.
    pub prot: i32,
}

impl Range {
    /// The position that an address in it stands for.
    pub(crate) const fn position_of(&self, at: u64) -> u64 {
        self.position.wrapping_add(at.wrapping_sub(self.start))
    }

    /// What of it lies in `start..end`.
    const fn part(&self, start: u64, end: u64) -> Option<Self> {
        let start = if start > self.start { start } else { self.start };
        let end = if end < self.end { end } else { self.end };
        if start < end {
            Some(Self { start, end, position: self.position_of(start), ..*self })
        } else {
            None
        }
    }
}

/// A place in the table: empty when its end is 0.
struct Slot {
    start: AtomicU64,
    end: AtomicU64,
    position: AtomicU64,
    cookie: AtomicU64,
    /// Descriptor below, `PROT_` bits above.
    rest: AtomicU64,
}

impl Slot {
    const fn empty() -> Self {
        Self {
            start: AtomicU64::new(0),
            end: AtomicU64::new(0),
            position: AtomicU64::new(0),
            cookie: AtomicU64::new(0),
            rest: AtomicU64::new(0),
        }
    }

    fn get(&self) -> Option<Range> {
        let end = self.end.load(Ordering::Relaxed);
        let rest = self.rest.load(Ordering::Relaxed);
        (end != 0).then(|| Range {
            start: self.start.load(Ordering::Relaxed),
            end,
            position: self.position.load(Ordering::Relaxed),
            cookie: self.cookie.load(Ordering::Relaxed),
            fd: rest as i32,
            prot: (rest >> 32) as i32,
        })
    }

    fn set(&self, range: &Range) {
        self.start.store(range.start, Ordering::Relaxed);
        self.position.store(range.position, Ordering::Relaxed);
        self.cookie.store(range.cookie, Ordering::Relaxed);
        let rest = range.fd as u32 as u64 | (range.prot as u32 as u64) << 32;
        self.rest.store(rest, Ordering::Relaxed);
        self.end.store(range.end, Ordering::Relaxed);
    }
}

static SLOTS: [Slot; ROOM] = [const { Slot::empty() }; ROOM];
/// Slots from here on were never used.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Odd during a change.
static VERSION: AtomicU64 = AtomicU64::new(0);

fn used() -> &'static [Slot] {
    &SLOTS[..USED.load(Ordering::Acquire).min(ROOM)]
}

/// Reads the table, at a time when nobody changes it.
fn read<T>(look: impl Fn() -> T) -> T {
    for _ in 0..TRIES {
        let version = VERSION.load(Ordering::Acquire);
        if version.is_multiple_of(2) {
            let seen = look();
            fence(Ordering::Acquire);
            if VERSION.load(Ordering::Relaxed) == version {
                return seen;
            }
        } else if !Guard::is_taken() {
            // a fork took this process away from who was changing it
            let next = version.wrapping_add(1);
            let _ = VERSION.compare_exchange(version, next, Ordering::AcqRel, Ordering::Relaxed);
            continue;
        }
        rustix::thread::sched_yield();
    }
    look()
}

/// The range that an address is in.
pub(crate) fn find(at: u64) -> Option<Range> {
    read(|| used().iter().filter_map(Slot::get).find(|it| it.start <= at && at < it.end))
}

/// Whether any address of `start..end` is in a range.
pub(crate) fn overlaps(start: u64, end: u64) -> bool {
    if used().is_empty() {
        return false;
    }
    read(|| used().iter().filter_map(Slot::get).any(|it| it.part(start, end).is_some()))
}

/// The lowest descriptor of ours from `first` to `last`.
pub(crate) fn descriptor(first: i32, last: i32) -> Option<i32> {
    if used().is_empty() {
        return None;
    }
    let held = || used().iter().filter_map(Slot::get).map(|range| range.fd);
    read(|| held().filter(|fd| (first..=last).contains(fd)).min())
}

/// A change under way.
pub(crate) struct Change {
    _guard: Guard,
    version: u64,
}

impl Change {
    /// Waits for its turn. Readers wait for its end.
    pub(crate) fn new() -> Option<Self> {
        let guard = Guard::new()?;
        let version = VERSION.load(Ordering::Relaxed) | 1;
        VERSION.store(version, Ordering::Relaxed);
        fence(Ordering::Release);
        Some(Self { _guard: guard, version })
    }

    /// Whether as many ranges more have a place.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        SLOTS.iter().filter(|slot| slot.get().is_none()).take(more).count() == more
    }

    /// Adds a range, in a place that [`Self::has_room`] has found.
    pub(crate) fn add(&self, range: &Range) {
        if let Some((index, slot)) = SLOTS.iter().enumerate().find(|(_, it)| it.get().is_none()) {
            slot.set(range);
            USED.fetch_max(index + 1, Ordering::Release);
        }
    }

    /// What lies in `start..end`, lowest first.
    pub(crate) fn next_part(&self, start: u64, end: u64) -> Option<Range> {
        let parts = used().iter().filter_map(Slot::get).filter_map(|it| it.part(start, end));
        parts.min_by_key(|part| part.start)
    }

    /// Takes `start..end` out, and closes what no range has any more, but for the descriptor `kept`.
    pub(crate) fn remove(&self, start: u64, end: u64, kept: i32) {
        while let Some(part) = self.next_part(start, end) {
            self.cut(part.start, part.end);
            if part.fd != kept {
                self.drop_descriptor(part.fd, part.cookie);
            }
        }
    }

    /// Takes `start..end` out, and keeps every descriptor. What is left of a range may need a place more.
    pub(crate) fn cut(&self, start: u64, end: u64) {
        for slot in used() {
            let Some(range) = slot.get() else { continue };
            if range.part(start, end).is_none() {
                continue;
            }
            slot.end.store(0, Ordering::Relaxed);
            for rest in [range.part(0, start), range.part(end, u64::MAX)].into_iter().flatten() {
                self.add(&rest);
            }
        }
    }

    /// A descriptor of ours of the file of `fd`: one that is there, or a new one.
    pub(crate) fn hold(&self, fd: i32, cookie: u64) -> Option<i32> {
        let known = used().iter().filter_map(Slot::get).find(|it| it.cookie == cookie);
        if let Some(range) = known.filter(|it| is_file(it.fd, cookie)) {
            return Some(range.fd);
        }
        Some(image::high_copy(sys::borrow(fd)?).ok()?.into_raw_fd())
    }

    /// Closes a descriptor of [`Self::hold`], unless a range has it.
    pub(crate) fn drop_descriptor(&self, fd: i32, cookie: u64) {
        let is_held = used().iter().filter_map(Slot::get).any(|range| range.fd == fd);
        if !is_held && is_file(fd, cookie) {
            sys::close(fd);
        }
    }

    /// Gives ranges another descriptor: the program wants the number.
    pub(crate) fn move_descriptor(&self, fd: i32) {
        let mut moved = None;
        for slot in used() {
            let Some(range) = slot.get().filter(|range| range.fd == fd) else { continue };
            if moved.is_none() {
                let copy = sys::borrow(fd).and_then(|it| image::high_copy(it).ok());
                moved = Some(copy.map_or(-1, IntoRawFd::into_raw_fd));
            }
            slot.set(&Range { fd: moved.unwrap_or(-1), ..range });
        }
        // the old one is closed by what takes its place
    }
}

fn is_file(fd: i32, cookie: u64) -> bool {
    sys::borrow(fd).and_then(|fd| socket_cookie(fd).ok()) == Some(cookie)
}

impl Drop for Change {
    fn drop(&mut self) {
        VERSION.store(self.version.wrapping_add(1), Ordering::Release);
    }
}
