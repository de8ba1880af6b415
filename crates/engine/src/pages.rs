//! The memory behind mappings: Linux's `iopt_pages` (`drivers/iommu/iommufd/pages.c`).
//!
//! A [`Pages`] names memory of somebody, and pins it no earlier than needed: when an area that shows
//! it is in an IOAS with a domain, or when an access asks. However many want a page, it is pinned
//! once for its `Pages`, and once pinned it is found again although its owner unmapped it or died.
//!
//! *What it doesn't do*: enforce `RLIMIT_MEMLOCK`. A machine made for device assignment has it
//! raised; the counts that `/proc/PID/status` shows are kept (`docs/decisions/`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use mem::{
    Accounts, AddressSpace, Extent, ObjectKey, PAGE_SIZE, PageId, Pin, PinBoard, SharedFile,
};
use parking_lot::Mutex;

use crate::Refusal;
use crate::physical::{Addresses, Physical};
use crate::task::Task;

/// Whose limit pinned pages count against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountMode {
    /// The user's (`IOPT_PAGES_ACCOUNT_USER`).
    User,
    /// The address space's, as type1 does (`IOPT_PAGES_ACCOUNT_MM`).
    Mm,
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

/// The mock device's dma-buf: memory that its exporter can take away.
#[derive(Debug)]
pub struct Dmabuf {
    number: u64,
    length: u64,
    revoked: AtomicBool,
    generation: AtomicU64,
}

impl Dmabuf {
    pub(crate) fn new(length: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { number, length, revoked: AtomicBool::new(false), generation: AtomicU64::new(0) }
    }

    /// Takes the memory away, or allows new mappings again. Either way the mappings that exist lose
    /// it for good (`dma_buf_invalidate_mappings`).
    pub(crate) fn set_revoked(&self, revoked: bool) {
        self.revoked.store(revoked, Ordering::Release);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
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

/// Some pages of a [`Pages`], pinned until this value is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    /// Index of the first page in the `Pages`.
    first: u64,
    pages: u64,
    span: Arc<Span>,
}

/// Pages without a gap in physical memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub physical: u64,
    pub bytes: u64,
    /// See [`Hold::block`].
    pub block: u64,
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

    /// Checks what a dma-buf says to being mapped (`iopt_alloc_dmabuf_pages`).
    pub fn map_dmabuf(buffer: &Arc<Dmabuf>, start: u64, length: u64) -> Result<Source, Refusal> {
        if buffer.length <= start.wrapping_add(length).wrapping_sub(1) {
            let rule = "beyond the end of the dma-buf";
            return Err(Refusal::Invalid { field: "start", value: start, rule });
        }
        if buffer.revoked.load(Ordering::Acquire) {
            return Err(Refusal::NoDevice { what: "the dma-buf was revoked" });
        }
        let generation = buffer.generation.load(Ordering::Acquire);
        let start = start - start % PAGE_SIZE;
        Ok(Source::Dmabuf { buffer: Arc::clone(buffer), start, generation })
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
            Source::Dmabuf { buffer, start, generation }
                if buffer.generation.load(Ordering::Acquire) == *generation =>
            {
                let object = ObjectKey::Exported(buffer.number);
                Some(PageId { object, index: start / PAGE_SIZE + index })
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
                Arc::clone(space).pin(va, pages, self.writable).map_err(|_| Refusal::NotPinnable)
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

fn charge(accounts: &Accounts, mode: AccountMode, pages: u64) {
    accounts.pinned_vm.fetch_add(pages, Ordering::Relaxed);
    if mode == AccountMode::Mm {
        accounts.locked_vm.fetch_add(pages, Ordering::Relaxed);
    }
}

fn uncharge(accounts: &Accounts, mode: AccountMode, pages: u64) {
    accounts.pinned_vm.fetch_sub(pages, Ordering::Relaxed);
    if mode == AccountMode::Mm {
        accounts.locked_vm.fetch_sub(pages, Ordering::Relaxed);
    }
}

impl Hold {
    /// The page with this index in the `Pages`.
    pub fn page(&self, index: u64) -> Option<PageId> {
        self.locate(index).map(|(extent, at)| extent.page(at))
    }

    /// Where some pages are in physical memory, run by run; none when there are no addresses left.
    pub fn runs(&self, first: u64, pages: u64, physical: &Arc<Physical>) -> Option<Vec<Run>> {
        let (mut runs, end) = (Vec::new(), first + pages);
        for part in &self.parts {
            let (from, to) = (part.first.max(first), (part.first + part.pages).min(end));
            let extents = part.span.pin.extents();
            let enter = || extents.iter().map(|extent| physical.enter(extent)).collect();
            let addresses = part.span.addresses.get_or_init(enter).as_ref()?;
            let mut at = part.span.first;
            for (extent, addresses) in extents.iter().zip(addresses) {
                for (address, pages) in addresses.parts() {
                    let (low, high) = (at.max(from), (at + pages).min(to));
                    if low < high {
                        runs.push(Run {
                            physical: address + (low - at) * PAGE_SIZE,
                            bytes: (high - low) * PAGE_SIZE,
                            block: extent.block(),
                        });
                    }
                    at += pages;
                }
            }
        }
        Some(runs)
    }

    /// Bytes around this page that are contiguous in memory, as a power of two.
    pub fn block(&self, index: u64) -> u64 {
        self.locate(index).map_or(PAGE_SIZE, |(extent, _)| extent.block())
    }

    /// Copies from or to `offset` bytes from the start of the `Pages`.
    pub fn copy(&self, offset: u64, copy: &mut Copy<'_>) -> Result<(), Refusal> {
        let (mut offset, mut done) = (offset, 0);
        while done < copy.len() {
            let (extent, at) = self.locate(offset / PAGE_SIZE).ok_or(Refusal::NotPinnable)?;
            let in_extent = at * PAGE_SIZE + offset % PAGE_SIZE;
            let room = extent.pages * PAGE_SIZE - in_extent;
            let chunk = room.min((copy.len() - done) as u64) as usize;
            match copy {
                Copy::Read(to) => extent.read(in_extent, &mut to[done..done + chunk]),
                Copy::Write(from) => extent.write(in_extent, &from[done..done + chunk]),
            }
            .map_err(|_| Refusal::NotPinnable)?;
            done += chunk;
            offset += chunk as u64;
        }
        Ok(())
    }

    fn part(&self, index: u64) -> Option<&Part> {
        self.parts.iter().find(|part| part.first <= index && index < part.first + part.pages)
    }

    /// The extent that holds page `index`, and the page's place in it.
    fn locate(&self, index: u64) -> Option<(&Extent, u64)> {
        let part = self.part(index)?;
        let mut at = index - part.span.first;
        for extent in part.span.pin.extents() {
            if at < extent.pages {
                return Some((extent, at));
            }
            at -= extent.pages;
        }
        None
    }
}

/// Bytes on their way between the engine and a mapping.
pub(crate) enum Copy<'a> {
    /// From the mapping.
    Read(&'a mut [u8]),
    /// To the mapping.
    Write(&'a [u8]),
}

impl Copy<'_> {
    pub fn len(&self) -> usize {
        match self {
            Self::Read(to) => to.len(),
            Self::Write(from) => from.len(),
        }
    }

    /// The `len` bytes from `start`.
    pub fn part(&mut self, start: usize, len: usize) -> Copy<'_> {
        match self {
            Self::Read(to) => Copy::Read(&mut to[start..start + len]),
            Self::Write(from) => Copy::Write(&from[start..start + len]),
        }
    }
}

/// Copies between a buffer and a range of `Pages` (`iopt_pages_rw_access`).
///
/// The three ways of Linux differ in what they demand of the memory: within the caller's own memory
/// it is a plain copy; one page of another address space needs the rights of this copy only; all else
/// pins with the rights of the mapping.
pub(crate) fn rw(
    pages: &Arc<Pages>,
    task: &mut Task<'_>,
    start_byte: u64,
    copy: &mut Copy<'_>,
    slow: bool,
) -> Result<(), Refusal> {
    let length = copy.len() as u64;
    let (first, last) = (start_byte / PAGE_SIZE, (start_byte + length - 1) / PAGE_SIZE);
    if matches!(copy, Copy::Write(_)) && !pages.writable {
        return Err(Refusal::NotPermitted { iova: start_byte });
    }
    if pages.is_dmabuf() {
        let rule = "the CPU cannot reach a dma-buf";
        return Err(Refusal::Invalid { field: "iova", value: start_byte, rule });
    }
    let user = match &*pages.source.lock() {
        Source::User { space, va } => Some((Arc::clone(space), *va)),
        _ => None,
    };
    let Some((space, va)) = user else { return rw_pinned(pages, task, start_byte, copy) };
    if space.id() == task.memory().id() && !slow {
        let at = va.wrapping_add(start_byte);
        return match copy {
            Copy::Read(to) => space.read(at, to),
            Copy::Write(from) => space.write(at, from),
        }
        .map_err(|_| Refusal::NotPinnable);
    }
    if first != last || !space.alive() {
        return rw_pinned(pages, task, start_byte, copy);
    }
    if task.should_fail() {
        let rule = "made to fail by a test";
        return Err(Refusal::Invalid { field: "iova", value: start_byte, rule });
    }
    let writing = matches!(copy, Copy::Write(_));
    let page = space.pin(va.wrapping_add(first * PAGE_SIZE), 1, writing);
    let page = page.map_err(|_| Refusal::NotPinnable)?.remove(0);
    match copy {
        Copy::Read(to) => page.read(start_byte % PAGE_SIZE, to),
        Copy::Write(from) => page.write(start_byte % PAGE_SIZE, from),
    }
    .map_err(|_| Refusal::NotPinnable)
}

fn rw_pinned(
    pages: &Arc<Pages>,
    task: &mut Task<'_>,
    start_byte: u64,
    copy: &mut Copy<'_>,
) -> Result<(), Refusal> {
    let (first, length) = (start_byte / PAGE_SIZE, copy.len() as u64);
    let last = (start_byte + length - 1) / PAGE_SIZE;
    pages.hold(task, first, last - first + 1)?.copy(start_byte, copy)
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

/// How many owners hold the caller's page pinned.
pub(crate) fn pin_count(task: &Task<'_>, board: &PinBoard, va: u64) -> Result<usize, Refusal> {
    Ok(board.count(user_page(task, va)?))
}
