//! The memory behind mappings: Linux's `iopt_pages` (`drivers/iommu/iommufd/pages.c`).
//!
//! A [`Pages`] names memory of somebody, and pins it no earlier than needed: when an area that shows
//! it is in an IOAS with a domain, or when an access asks. However many want a page, it is pinned
//! once for its `Pages`, and once pinned it is found again although its owner unmapped it or died.
//!
//! [`hold`] is what is pinned, and where that is; [`copy`] reads and writes it; [`dmabuf`] is memory that
//! its exporter can take away.
//!
//! *What it doesn't do*: enforce `RLIMIT_MEMLOCK`. A machine made for device assignment has it
//! raised; the counts that `/proc/PID/status` shows are kept (`docs/decisions/`).

mod copy;
mod dmabuf;
mod hold;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use mem::{Accounts, AddressSpace, Extent, PAGE_SIZE, PageId, Pin, SharedFile};
use parking_lot::Mutex;

pub(crate) use copy::{Copy, rw};
pub use dmabuf::Dmabuf;
use hold::Part;
pub(crate) use hold::{Hold, Run};

use crate::Refusal;
use crate::physical::Addresses;
use crate::task::Task;

/// Whose limit pinned pages count against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountMode {
    /// The user's (`IOPT_PAGES_ACCOUNT_USER`).
    User,
    /// The address space's, as type1 does (`IOPT_PAGES_ACCOUNT_MM`).
    Mm,
    /// The address space's, by type1 itself: locked, and not counted as pinned (`vfio_lock_acct`).
    Type1,
    /// Nobody's: what is shown is no memory of the system.
    Nobody,
}

impl AccountMode {
    /// Whether pages count as pinned, and as locked.
    fn counts(self) -> (bool, bool) {
        match self {
            Self::User => (true, false),
            Self::Mm => (true, true),
            Self::Type1 => (false, true),
            Self::Nobody => (false, false),
        }
    }
}

/// Where the pages come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Memory of an address space, from a page-aligned address.
    User { space: Arc<dyn AddressSpace>, va: u64 },
    /// A memory file, from a page-aligned offset.
    File { file: Arc<SharedFile>, start: u64 },
    /// A descriptor whose file cannot be pinned; found out when it is tried.
    OtherFile,
    /// A dma-buf, from a page-aligned offset, as it was at the time of mapping.
    Dmabuf { buffer: Arc<Dmabuf>, start: u64, generation: u64 },
}

/// Memory that areas show.
#[derive(Debug)]
pub(crate) struct Pages {
    number: u64,
    pub source: Mutex<Source>,
    pub writable: bool,
    pub account: AccountMode,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The spans that somebody holds.
    held: Vec<Weak<Span>>,
    /// Who is charged, and for how many pages.
    charged: Option<Arc<dyn AddressSpace>>,
    pinned: u64,
}

/// Pages pinned together.
#[derive(Debug)]
struct Span {
    first: u64,
    pages: u64,
    pin: Pin,
    /// The physical addresses of each extent, once a device may use them.
    addresses: OnceLock<Option<Vec<Addresses>>>,
    of: Weak<Pages>,
}

impl Pages {
    /// Memory of the caller from any address (`iopt_alloc_user_pages`).
    pub fn of_user(
        task: &mut Task<'_>,
        va: u64,
        length: u64,
        writable: bool,
        account: AccountMode,
    ) -> Result<Arc<Self>, Refusal> {
        let overflow = Refusal::Overflow { field: "user_va", value: va };
        va.checked_add(length).ok_or(overflow)?;
        let source = Source::User { space: Arc::clone(task.memory()), va: va - va % PAGE_SIZE };
        Self::new(task, source, writable, account)
    }

    /// Memory of a source.
    pub fn new(
        task: &mut Task<'_>,
        source: Source,
        writable: bool,
        account: AccountMode,
    ) -> Result<Arc<Self>, Refusal> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        task.allocate()?;
        let charged = Some(Arc::clone(task.memory()));
        Ok(Arc::new(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            source: Mutex::new(source),
            writable,
            account,
            state: Mutex::new(State { charged, ..State::default() }),
        }))
    }

    /// Whether this is a dma-buf, taken away or not.
    pub fn is_dmabuf(&self) -> bool {
        matches!(&*self.source.lock(), Source::Dmabuf { .. })
    }

    /// Whether this is a memory file.
    pub fn is_file(&self) -> bool {
        matches!(&*self.source.lock(), Source::File { .. } | Source::OtherFile)
    }

    /// The address whose alignment a chosen IOVA shall have: the virtual address, or the file offset.
    pub fn alignment_hint(&self, start_byte: u64) -> u64 {
        match &*self.source.lock() {
            Source::User { va, .. } => va.wrapping_add(start_byte),
            Source::File { start, .. } | Source::Dmabuf { start, .. } => {
                start.wrapping_add(start_byte)
            }
            Source::OtherFile => start_byte,
        }
    }

    /// A page of a dma-buf that was not taken away; `None` for all other memory.
    pub fn dmabuf_page(&self, index: u64) -> Option<PageId> {
        match &*self.source.lock() {
            Source::Dmabuf { buffer, start, generation } => {
                buffer.page(*generation, start / PAGE_SIZE + index)
            }
            _ => None,
        }
    }

    /// Pins pages, as far as nobody holds them yet.
    pub fn hold(
        self: &Arc<Self>,
        task: &mut Task<'_>,
        first: u64,
        pages: u64,
    ) -> Result<Hold, Refusal> {
        let end = first + pages;
        let mut parts = Vec::new();
        let mut at = first;
        while at < end {
            let (known, gap_end) = self.find(at, end);
            let part = match known {
                Some(span) => {
                    let pages = (span.first + span.pages).min(end) - at;
                    Part { first: at, pages, span }
                }
                None => {
                    let span = self.pin(task, at, gap_end - at)?;
                    Part { first: at, pages: span.pages, span }
                }
            };
            at += part.pages;
            parts.push(part);
        }
        Ok(Hold { parts })
    }

    /// The span that holds page `at`, or none and the first page after `at` that a span holds.
    fn find(&self, at: u64, end: u64) -> (Option<Arc<Span>>, u64) {
        let mut state = self.state.lock();
        state.held.retain(|span| span.strong_count() > 0);
        let mut gap_end = end;
        for span in state.held.iter().filter_map(Weak::upgrade) {
            if span.first <= at && at < span.first + span.pages {
                return (Some(span), end);
            }
            if span.first > at {
                gap_end = gap_end.min(span.first);
            }
        }
        (None, gap_end)
    }

    fn pin(
        self: &Arc<Self>,
        task: &mut Task<'_>,
        first: u64,
        pages: u64,
    ) -> Result<Arc<Span>, Refusal> {
        task.allocate()?;
        if task.should_fail() {
            return Err(Refusal::NotPinnable);
        }
        let extents = self.extents(task, first, pages)?;
        check_count(&extents)?;
        let pin = task.pins.pin(self.number, extents);
        let span = Arc::new(Span {
            first,
            pages,
            pin,
            addresses: OnceLock::new(),
            of: Arc::downgrade(self),
        });
        let mut state = self.state.lock();
        state.held.push(Arc::downgrade(&span));
        state.pinned += pages;
        if let Some(space) = &state.charged {
            charge(space.accounts(), self.account, pages);
        }
        Ok(span)
    }

    fn extents(&self, task: &Task<'_>, first: u64, pages: u64) -> Result<Vec<Extent>, Refusal> {
        match &*self.source.lock() {
            Source::User { space, va } => {
                if space.id() != task.memory().id() && !space.alive() {
                    return Err(Refusal::NotPinnable);
                }
                let va = va.wrapping_add(first * PAGE_SIZE);
                if space.id() == task.memory().id() {
                    fits(va, pages)?;
                }
                let pinned = Arc::clone(space).pin(va, pages, self.writable);
                // a device's registers are no pages (VM_PFNMAP)
                let memory = pinned.ok().filter(|extents| !task.bars.any_in(extents));
                memory.ok_or(Refusal::NotPinnable)
            }
            Source::File { file, start } => {
                let at = start + first * PAGE_SIZE;
                // mm/memfd.c, memfd_pin_folios(): the last byte must be in the file
                let end = at.checked_add(pages * PAGE_SIZE);
                if end.is_none_or(|end| end > file.size().unwrap_or(0)) {
                    let rule = "beyond the end of the file";
                    return Err(Refusal::Invalid { field: "start", value: at, rule });
                }
                Ok(vec![Extent {
                    first: PageId { object: file.key(), index: at / PAGE_SIZE },
                    pages,
                    backing: mem::Backing::Shared(Arc::clone(file)),
                }])
            }
            Source::OtherFile => {
                let rule = "the file is not memory that can be pinned";
                Err(Refusal::Invalid { field: "fd", value: 0, rule })
            }
            Source::Dmabuf { .. } => Err(Refusal::NotPinnable),
        }
    }

    /// Whether moving to this address space changes whom the pages are charged to.
    pub fn charges_other(&self, space: &Arc<dyn AddressSpace>) -> bool {
        self.state.lock().charged.as_ref().is_some_and(|charged| charged.id() != space.id())
    }

    /// Moves the charge to another address space (`IOMMU_IOAS_CHANGE_PROCESS`).
    pub fn charge_to(&self, space: &Arc<dyn AddressSpace>) {
        let mut state = self.state.lock();
        let pinned = state.pinned;
        if let Some(old) = state.charged.replace(Arc::clone(space)) {
            uncharge(old.accounts(), self.account, pinned);
        }
        charge(space.accounts(), self.account, pinned);
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(pages) = self.of.upgrade() else { return };
        let mut state = pages.state.lock();
        state.pinned -= self.pages;
        if let Some(space) = &state.charged {
            uncharge(space.accounts(), pages.account, self.pages);
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if let Some(space) = &state.charged {
            uncharge(space.accounts(), self.account, state.pinned);
        }
    }
}

/// Refuses more pages at once than a machine has: Linux is out of memory before it has pinned them, and here
/// the tables for memory that nobody has touched would be made without an end.
fn check_count(extents: &[Extent]) -> Result<(), Refusal> {
    let blocks = extents.iter().map(|extent| extent.pages / (extent.block() / PAGE_SIZE).max(1));
    match blocks.sum::<u64>() {
        0..=MOST_AT_ONCE => Ok(()),
        _ => Err(Refusal::NoMemory),
    }
}

/// 512 GiB of pages of 4 KiB; more of huge ones.
const MOST_AT_ONCE: u64 = 1 << 27;

fn charge(accounts: &Accounts, mode: AccountMode, pages: u64) {
    let (pinned, locked) = mode.counts();
    accounts.pinned_vm.fetch_add(if pinned { pages } else { 0 }, Ordering::Relaxed);
    accounts.locked_vm.fetch_add(if locked { pages } else { 0 }, Ordering::Relaxed);
}

fn uncharge(accounts: &Accounts, mode: AccountMode, pages: u64) {
    let (pinned, locked) = mode.counts();
    accounts.pinned_vm.fetch_sub(if pinned { pages } else { 0 }, Ordering::Relaxed);
    accounts.locked_vm.fetch_sub(if locked { pages } else { 0 }, Ordering::Relaxed);
}

/// `gup_fast_fallback`, `mm/gup.c`: pages of the caller may not end beyond the last address.
fn fits(va: u64, pages: u64) -> Result<(), Refusal> {
    let overflow = Refusal::Overflow { field: "user_va", value: va };
    va.checked_add(pages * PAGE_SIZE).map(drop).ok_or(overflow)
}

/// The page of the caller at an address, for the mock device's checks.
pub(crate) fn user_page(task: &Task<'_>, va: u64) -> Result<PageId, Refusal> {
    fits(va & !(PAGE_SIZE - 1), 1)?;
    let space = Arc::clone(task.memory());
    let extents = space.pin(va & !(PAGE_SIZE - 1), 1, false);
    extents
        .ok()
        .and_then(|extents| extents.first().map(|extent| extent.page(0)))
        .ok_or(Refusal::BadAddress { what: "uptr" })
}

#[cfg(test)]
mod tests {
    use mem::Backing;

    use super::*;

    #[test]
    fn not_more_pages_at_once_than_a_machine_has() {
        const GIB: u64 = 1 << 30;
        #[rustfmt::skip] // bytes of the memory, bytes of its pages, whether they can be pinned at once
        let cases = [
            (512 * GIB,             PAGE_SIZE, true),
            (512 * GIB + PAGE_SIZE, PAGE_SIZE, false),
            (16 << 40,              PAGE_SIZE, false),
            (16 << 40,              GIB,       true),
        ];
        for (bytes, block, fits) in cases {
            let file = Arc::new(SharedFile::anonymous("memory", 0).unwrap().with_block(block));
            let first = PageId { object: file.key(), index: 0 };
            let backing = Backing::Shared(file);
            let extent = Extent { first, pages: bytes / PAGE_SIZE, backing };
            assert_eq!(check_count(&[extent]).is_ok(), fits, "{bytes:#x} of {block:#x}");
        }
    }
}
