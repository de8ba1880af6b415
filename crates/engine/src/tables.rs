//! The tables of paging domains, as hardware reads them.
//!
//! A domain's tables are in an [`Arena`] of its own, in the words of the vendor's format. Devices walk
//! them without a lock while one writer at a time changes them. What is unmapped is gone when
//! [`Tables::unmap`] returns: no cache has it, and no access that used it is under way.

mod arena;
mod direct;

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pt::format::{AmdV1, Riscv, VmsaStage1, VmsaStage2, VtdSecondStage, X86_64};
use pt::map::{MapError, Mapper};
use pt::{Access, Prot, Root, TableMemory, Translation, dirty};

use crate::Refusal;
use crate::dma::Requester;
use crate::ioas::domains::Leaf;
use crate::physical::{self, Physical, Recent};
use arena::{Arena, Outside};

pub(crate) use direct::{Direct, Near};

/// The format of a domain's tables.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HostFormat {
    AmdV1(AmdV1),
    Riscv(Riscv),
    Stage1(VmsaStage1),
    Stage2(VmsaStage2),
    VtdSecondStage(VtdSecondStage),
    X86_64(X86_64),
}

/// The same for each format.
macro_rules! by_format {
    ($of:expr, $format:ident => $act:expr) => {
        match $of {
            HostFormat::AmdV1($format) => $act,
            HostFormat::Riscv($format) => $act,
            HostFormat::Stage1($format) => $act,
            HostFormat::Stage2($format) => $act,
            HostFormat::VtdSecondStage($format) => $act,
            HostFormat::X86_64($format) => $act,
        }
    };
}

impl HostFormat {
    /// By how many bits addresses in entries are lower than those of pages.
    fn address_left(&self) -> u8 {
        match self {
            Self::Riscv(_) => 2,
            _ => 0,
        }
    }
}

/// The tables of one domain.
#[derive(Debug)]
pub(crate) struct Tables {
    format: HostFormat,
    root: Root,
    arena: Arena,
    /// One writes at a time.
    writer: Mutex<()>,
    /// Whether pages are marked when they are written, at all.
    tracked: bool,
    /// Whether the hardware records writes now.
    records: AtomicBool,
    users: Mutex<Vec<Weak<Requester>>>,
}

impl Tables {
    /// Tables that map nothing. None where there is no memory.
    ///
    /// With `tracked` their pages are marked when they are written.
    pub fn new(format: HostFormat, tracked: bool) -> Option<Arc<Self>> {
        let arena = Arena::default();
        let root = by_format!(&format, format => pt::map::root(format, &mut &arena))?;
        Some(Arc::new(Self {
            format,
            root,
            arena,
            writer: Mutex::new(()),
            tracked,
            records: AtomicBool::new(false),
            users: Mutex::default(),
        }))
    }

    /// Where hardware begins to walk.
    pub fn root(&self) -> u64 {
        self.root.0
    }

    /// What their entries mean.
    pub fn format(&self) -> &HostFormat {
        &self.format
    }

    /// Whether pages are marked when they are written, at all.
    pub fn tracks(&self) -> bool {
        self.tracked
    }

    /// Whether the hardware records writes now.
    pub fn records(&self) -> bool {
        self.records.load(Ordering::Acquire)
    }

    /// A device begins to use them.
    pub fn add_user(&self, requester: &Arc<Requester>) {
        let mut users = self.users.lock();
        let user = Arc::downgrade(requester);
        users.retain(|it| it.strong_count() > 0 && !it.ptr_eq(&user));
        users.push(user);
    }

    /// A device does not use them any more, and has forgotten them.
    pub fn remove_user(&self, requester: &Arc<Requester>) {
        let user = Arc::downgrade(requester);
        self.users.lock().retain(|it| !it.ptr_eq(&user));
    }

    /// The devices that use them.
    pub fn users(&self) -> Vec<Arc<Requester>> {
        self.users.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn each_user(&self, act: impl Fn(&Requester)) {
        self.users().iter().for_each(|user| act(user));
    }

    /// Maps a range to as many bytes from a physical address on, by the largest pages of `sizes` (a bit
    /// for each).
    pub fn map(
        &self,
        range: RangeInclusive<u64>,
        physical: u64,
        sizes: u64,
        prot: Prot,
    ) -> Result<(), Refusal> {
        let _one = self.writer.lock();
        let mut store = &self.arena;
        let mapped = by_format!(&self.format, format => {
            Mapper::new(format, self.root, &mut store).map_range(range, physical, sizes, prot)
        });
        // the domain's aperture, sizes and rights are those of the format, and areas never overlap
        let wants_memory = |error: &MapError<_>| matches!(error, MapError::NoTable);
        debug_assert!(mapped.as_ref().err().is_none_or(wants_memory), "{mapped:?}");
        mapped.map_err(|_| Refusal::NoMemory)
    }

    /// Unmaps all pages in a range, and waits for what uses them.
    pub fn unmap(self: &Arc<Self>, range: RangeInclusive<u64>) {
        let _one = self.writer.lock();
        let mut store = &self.arena;
        let unmapped = by_format!(&self.format, format => {
            Mapper::new(format, self.root, &mut store).unmap(range.clone())
        });
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
        self.changed(&range);
        self.arena.recycle();
    }

    /// Pages of a range changed: whoever cached them forgets, and accesses that used them are over.
    ///
    /// Each thread of each device that uses the tables is waited for, also where nothing is cached of the
    /// range: a burst under way may have read an entry that is gone now, and be about to use it.
    fn changed(self: &Arc<Self>, range: &RangeInclusive<u64>) {
        self.each_user(|user| user.host_changed(self, range));
    }

    /// Where the page of 4 KiB of an address is, and what its entry means, if it is like one that was
    /// learned: see [`Near`]. Only of entries that are plain.
    #[inline]
    pub fn find(&self, near: &Near, tag: u16, input: u64) -> Option<(u64, u64)> {
        near.find(tag, input, &self.arena)
    }

    /// The same, of all others.
    pub fn find_other(&self, near: &Near, tag: u16, input: u64) -> Option<(u64, u64)> {
        near.find_other(tag, input, self.format.address_left(), &self.arena)
    }

    /// Whether tables were given back that a thread may remember, and are not taken for anything else yet.
    pub fn has_left(&self) -> bool {
        self.arena.has_left()
    }

    /// Translates an address of a space, where that takes nothing but reading these tables, and remembers
    /// how: see [`Near`].
    pub fn learn(
        &self,
        near: &mut Near,
        direct: &Direct,
        space: (u16, u64),
        access: Access,
        meaning: impl FnOnce(&Translation) -> u64,
    ) -> Option<Translation> {
        by_format!(&direct.format, format => {
            near.learn(direct, format, space, access, &self.arena, meaning)
        })
    }

    /// Lets the hardware record writes, or not.
    pub fn set_records(self: &Arc<Self>, records: bool) {
        if self.records.swap(records, Ordering::AcqRel) != records {
            self.each_user(|user| user.host_switched(self));
        }
    }

    /// The pages written that meet a range; with `clear` they are clean from now on.
    pub fn dirty(self: &Arc<Self>, range: RangeInclusive<u64>, clear: bool) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        let visit = |start, order| leaves.push(Leaf { start, size: 1u64 << order });
        let (root, arena) = (self.root, &self.arena);
        let told = by_format!(&self.format, format => {
            dirty(format, root, range.clone(), clear, &arena, visit)
        });
        debug_assert!(told.is_ok(), "{told:?}");
        if clear && !leaves.is_empty() {
            self.changed(&range);
        }
        leaves
    }
}

/// Entries of a guest's tables that a walk used, by address, from the root on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Path {
    entries: [(u64, u64); 5],
    len: usize,
}

impl Path {
    fn push(&mut self, address: u64, entry: u64) {
        if let Some(place) = self.entries.get_mut(self.len) {
            *place = (address, entry);
            self.len += 1;
        }
    }

    fn entry(&mut self, address: u64) -> Option<&mut u64> {
        let known = self.entries[..self.len].iter_mut().find(|(at, _)| *at == address);
        known.map(|(_, entry)| entry)
    }

    fn remove(&mut self, address: u64) {
        // no entry is at this address
        self.entries.iter_mut().filter(|(at, _)| *at == address).for_each(|(at, _)| *at = u64::MAX);
    }

    /// Without the last one, which maps the page.
    fn tables(self) -> Self {
        Self { len: self.len.saturating_sub(1), ..self }
    }
}

/// Memory as the tables of a device lead through it: the domain's tables, and what is pinned.
#[derive(Debug)]
pub(crate) struct Reach<'a> {
    tables: Option<&'a Tables>,
    physical: &'a Physical,
    recent: RefCell<&'a mut Recent>,
    /// Entries that are not read again.
    known: RefCell<Path>,
    used: RefCell<Path>,
}

impl<'a> Reach<'a> {
    pub fn new(tables: Option<&'a Tables>, physical: &'a Physical, recent: &'a mut Recent) -> Self {
        let (known, used) = (RefCell::default(), RefCell::default());
        Self { tables, physical, recent: RefCell::new(recent), known, used }
    }

    /// The same, where these entries of a guest's are known, whatever is in memory now.
    pub fn knowing(self, path: Path) -> Self {
        Self { known: RefCell::new(path), ..self }
    }

    /// The entries of the guest's that led to tables.
    pub fn path(self) -> Path {
        self.used.into_inner().tables()
    }
}

impl TableMemory for Reach<'_> {
    type Error = Outside;

    #[inline]
    fn load(&self, address: u64) -> Result<u64, Outside> {
        if address < physical::TABLES {
            return self.tables.ok_or(Outside)?.arena.load(address);
        }
        let known = self.known.borrow_mut().entry(address).copied();
        let entry = match known {
            Some(entry) => entry,
            None => {
                let mut recent = self.recent.borrow_mut();
                let (view, at) = recent.view(self.physical, address).ok_or(Outside)?;
                let mut word = [0; 8];
                view.read(at, &mut word).map_err(|_| Outside)?;
                u64::from_le_bytes(word)
            }
        };
        let mut used = self.used.borrow_mut();
        match used.entry(address) {
            Some(place) => *place = entry,
            None => used.push(address, entry),
        }
        Ok(entry)
    }

    fn swap(&self, address: u64, old: u64, new: u64) -> Result<bool, Outside> {
        if address < physical::TABLES {
            return self.tables.ok_or(Outside)?.arena.swap(address, old, new);
        }
        let mut recent = self.recent.borrow_mut();
        let (view, at) = recent.view(self.physical, address).ok_or(Outside)?;
        let swapped = view.swap(at, old, new).map_err(|_| Outside)?;
        if !swapped {
            self.known.borrow_mut().remove(address);
        } else if let Some(entry) = self.used.borrow_mut().entry(address) {
            *entry = new;
        }
        Ok(swapped)
    }
}
