//! Accesses: what is found, what is walked, what is refused.

use std::sync::Arc;

use mem::PAGE_SIZE;
use profile::machine::Caching;
use pt::{Access, Grant, Rights, Translation};

use super::caches::{Caches, Known, PATH_ORDER, PATHS, atc_tag};
use super::requester::Requester;
use super::tags::TagId;
use super::tlb::{Asked, Page, Place};
use crate::hw::Denied;
use crate::hw::request::Request;
use crate::physical::View;
use crate::tables::{Reach, Tables};

/// What tables grant by themselves.
const PLAIN: Rights = Rights::READ.union(Rights::WRITE);

/// Why a device does not reach memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmaFault {
    /// The IOMMU refuses: the transaction is aborted, and the fault recorded as the hardware does.
    Refused {
        /// The reason, as the hardware's manual counts them.
        code: u32,
    },
    /// The transaction waits (SMMUv3): when [`super::Dma::wait`] for this tag gives success, it is to
    /// be tried again.
    Stalled {
        /// Its tag.
        tag: u16,
    },
    /// Nothing is there: the memory's owner is gone, or there is no such address.
    NoMemory,
}

/// Accesses of one device with one PASID, or without.
#[derive(Debug)]
pub struct Burst<'a> {
    requester: &'a Requester,
    caches: &'a mut Caches,
    pasid: Option<u32>,
    /// The space in the IOTLB; 0 until the structures were read.
    tag: TagId,
    privileged: bool,
    /// The host's tables, once it is known that they decide alone.
    tables: Option<Arc<Tables>>,
}

impl<'a> Burst<'a> {
    pub(super) fn new(
        requester: &'a Requester,
        caches: &'a mut Caches,
        pasid: Option<u32>,
    ) -> Self {
        let tag = caches.contexts.get(&pasid).map_or(0, |(_, tag)| *tag);
        Self { requester, caches, pasid, tag, privileged: false, tables: None }
    }

    /// The accesses that follow are made with privilege, or without.
    pub fn set_privileged(&mut self, privileged: bool) {
        self.privileged = privileged;
    }

    /// Reads memory. What is read before a fault stays read; nothing is after the last address.
    #[inline]
    pub fn read(&mut self, iova: u64, to: &mut [u8]) -> Result<(), DmaFault> {
        if is_in_page(iova, to.len()) {
            return self.read_page(Rights::READ, iova, to);
        }
        self.read_pages(Rights::READ, iova, to)
    }

    /// Reads memory in order to execute it.
    pub fn fetch(&mut self, iova: u64, to: &mut [u8]) -> Result<(), DmaFault> {
        self.read_pages(Rights::READ | Rights::EXECUTE, iova, to)
    }

    fn read_pages(&mut self, rights: Rights, iova: u64, to: &mut [u8]) -> Result<(), DmaFault> {
        let (mut at, mut rest) = (Some(iova), to);
        while !rest.is_empty() {
            let here = at.ok_or(DmaFault::NoMemory)?;
            let (chunk, after) = rest.split_at_mut(in_page(here).min(rest.len()));
            self.read_page(rights, here, chunk)?;
            at = here.checked_add(chunk.len() as u64);
            rest = after;
        }
        Ok(())
    }

    #[inline(always)]
    fn read_page(&mut self, rights: Rights, iova: u64, to: &mut [u8]) -> Result<(), DmaFault> {
        let page = self.find(iova, rights)?;
        let (view, at) = self.view(page.at(iova))?;
        view.read(at, to).map_err(|_| DmaFault::NoMemory)
    }

    /// Writes memory. What is written before a fault stays written; nothing is after the last address.
    #[inline]
    pub fn write(&mut self, iova: u64, from: &[u8]) -> Result<(), DmaFault> {
        if is_in_page(iova, from.len()) {
            return self.write_page(iova, from);
        }
        self.write_pages(iova, from)
    }

    fn write_pages(&mut self, iova: u64, from: &[u8]) -> Result<(), DmaFault> {
        let (mut at, mut rest) = (Some(iova), from);
        while !rest.is_empty() {
            let here = at.ok_or(DmaFault::NoMemory)?;
            let (chunk, after) = rest.split_at(in_page(here).min(rest.len()));
            self.write_page(here, chunk)?;
            at = here.checked_add(chunk.len() as u64);
            rest = after;
        }
        Ok(())
    }

    #[inline]
    fn write_page(&mut self, iova: u64, from: &[u8]) -> Result<(), DmaFault> {
        let page = self.find(iova, Rights::WRITE)?;
        let (view, at) = self.view(page.at(iova))?;
        view.write(at, from).map_err(|_| DmaFault::NoMemory)
    }

    /// Changes the word of 8 bytes at an address, a multiple of 8, in one step; gives what it was.
    pub fn update(&mut self, iova: u64, change: impl Fn(u64) -> u64) -> Result<u64, DmaFault> {
        let page = self.find(iova, Rights::READ | Rights::WRITE)?;
        let (view, at) = self.view(page.at(iova & !7))?;
        loop {
            let mut bytes = [0; 8];
            view.read(at, &mut bytes).map_err(|_| DmaFault::NoMemory)?;
            let old = u64::from_le_bytes(bytes);
            if view.swap(at, old, change(old)).map_err(|_| DmaFault::NoMemory)? {
                return Ok(old);
            }
        }
    }

    /// Whether an address can be accessed so: translates it, marks what that uses, and copies nothing.
    #[inline]
    pub fn check(&mut self, iova: u64, rights: Rights) -> Result<(), DmaFault> {
        match self.find_quickly(iova, rights) {
            Some(_) => Ok(()),
            None => self.check_by_hardware(iova, rights),
        }
    }

    #[cold]
    fn check_by_hardware(&mut self, iova: u64, rights: Rights) -> Result<(), DmaFault> {
        self.by_hardware(iova, rights).map(drop)
    }

    fn access(&self, rights: Rights) -> Access {
        let access = Access::new(rights);
        if self.privileged { access.privileged() } else { access }
    }

    /// The memory at a physical address, and the offset in it.
    #[inline(always)]
    fn view(&mut self, address: u64) -> Result<(&View, u64), DmaFault> {
        self.caches.recent.view(&self.requester.physical, address).ok_or(DmaFault::NoMemory)
    }

    /// The page of an address.
    #[inline(always)]
    fn find(&mut self, iova: u64, rights: Rights) -> Result<Page, DmaFault> {
        match self.find_quickly(iova, rights) {
            Some(page) => Ok(page),
            None => self.by_hardware(iova, rights),
        }
    }

    /// The page of an address that is in the IOTLB, or nearly.
    #[inline(always)]
    fn find_quickly(&mut self, iova: u64, rights: Rights) -> Option<Page> {
        let (at, asked) = (Place::of(self.tag, iova), Asked::new(rights, self.privileged));
        let known = self.caches.iotlb.find_at(at, asked);
        known.or_else(|| self.directly(iova, at, asked))
    }

    /// The page of an address of which the entry is known to be like others before, in the host's tables.
    ///
    /// Misses of a burst overlap in the CPU, which waits for several entries at once, for as long as
    /// nothing here makes one wait for another: there is no locked instruction, no count of references,
    /// and little to do at all. What is done for each access is part of its caller, since a CPU that copies
    /// looks ahead by some hundred instructions only.
    #[inline(always)]
    fn directly(&mut self, iova: u64, at: Place, asked: Asked) -> Option<Page> {
        let tables = self.tables.as_ref()?;
        let (address, meaning) = tables.find(&self.caches.near, self.tag, iova)?;
        let page = Page::like(address, meaning);
        if !page.grants(asked) {
            return None;
        }
        self.caches.iotlb.put(at, page);
        Some(page)
    }

    /// The same for what is not as plain: large pages, and tables that have addresses elsewhere.
    fn nearly_directly(&mut self, iova: u64, asked: Asked) -> Option<Page> {
        let tables = self.tables.as_ref()?;
        let (address, meaning) = tables.find_other(&self.caches.near, self.tag, iova)?;
        let page = Page::like(address, meaning);
        if !page.grants(asked) {
            return None;
        }
        self.caches.iotlb.put_any(Place::of(self.tag, iova), page);
        Some(page)
    }

    /// The page of an address, by all that the hardware does to translate it.
    #[cold]
    fn by_hardware(&mut self, iova: u64, rights: Rights) -> Result<Page, DmaFault> {
        let (access, asked) = (self.access(rights), Asked::new(rights, self.privileged));
        if let Some(page) = self.nearly_directly(iova, asked) {
            return Ok(page);
        }
        let request = Request { pasid: self.pasid, iova, access, translation_only: false };
        let known = self.known(&request)?;
        // the structures may have been forgotten, and what they led to not
        let iotlb = &mut self.caches.iotlb;
        let found = iotlb.find(self.tag, iova, asked);
        let found = found
            .or_else(|| iotlb.recall(self.tag, iova, asked))
            .or_else(|| self.directly(iova, Place::of(self.tag, iova), asked))
            .or_else(|| self.nearly_directly(iova, asked))
            .or_else(|| self.learn(&known, &request));
        if let Some(page) = found {
            return Ok(page);
        }
        let translation = self
            .translate(&known, &request)
            .map_err(|denied| self.requester.refuse(&known.programmed, &request, denied))?;
        self.view(translation.address)?;
        Ok(self.caches.iotlb.fill(self.tag, iova, &translation))
    }

    /// The page of an address that nothing but the host's tables translates; the next one near it is found
    /// directly.
    fn learn(&mut self, known: &Known, request: &Request) -> Option<Page> {
        let (tables, direct) = (known.programmed.host.as_ref()?, known.direct.as_ref()?);
        let Request { iova, access, .. } = *request;
        if access.privileged || !PLAIN.contains(access.rights) {
            return None;
        }
        // privilege and execution are not for the tables alone to grant
        let plain = |found: &Translation| {
            let grant = Grant { user: found.grant.user & PLAIN, privileged: Rights::empty() };
            Translation { grant, ..*found }
        };
        let meaning = |found: &Translation| Page::new(&plain(found)).meaning();
        let near = &mut self.caches.near;
        let translation = plain(&tables.learn(near, direct, (self.tag, iova), access, meaning)?);
        self.view(translation.address).ok()?;
        Some(self.caches.iotlb.fill(self.tag, iova, &translation))
    }

    /// The structures that lead to the tables, from the cache or from memory.
    fn known(&mut self, request: &Request) -> Result<Arc<Known>, DmaFault> {
        if let Some((known, tag)) = self.caches.contexts.get(&self.pasid) {
            self.tag = *tag;
            self.tables = known.tables();
            return Ok(Arc::clone(known));
        }
        let programmed = self.requester.programmed(self.pasid);
        let Requester { hw, physical, .. } = self.requester;
        let reach = Reach::new(programmed.host.as_deref(), physical, &mut self.caches.recent);
        let context = hw.context(&programmed, request, &reach);
        let context =
            context.map_err(|denied| self.requester.refuse(&programmed, request, denied))?;
        self.tag = self.caches.number(context.tag);
        let hardware = self.caches.caching == Caching::Hardware;
        let direct = programmed.guest.is_none().then(|| hw.direct(&context)).flatten();
        let known = Arc::new(Known { programmed, context, direct: direct.filter(|_| hardware) });
        if self.caches.caching != Caching::NeverKeep {
            self.tables = known.tables();
            self.caches.contexts.insert(self.pasid, (Arc::clone(&known), self.tag));
        }
        Ok(known)
    }

    fn translate(&mut self, known: &Known, request: &Request) -> Result<Translation, Denied> {
        let Known { programmed, context, .. } = known;
        let Requester { hw, physical, .. } = self.requester;
        let Caches { caching, recent, paths, .. } = self.caches;
        let reach = Reach::new(programmed.host.as_deref(), physical, recent);
        // the host's own tables are never changed without an invalidation of everything
        if programmed.guest.is_none() || *caching == Caching::NeverKeep {
            return hw.translate(context, request, &reach);
        }
        let part = (self.tag, request.iova >> PATH_ORDER);
        let reach = reach.knowing(paths.get(&part).copied().unwrap_or_default());
        let translation = hw.translate(context, request, &reach)?;
        if *caching == Caching::Hardware && paths.len() >= PATHS {
            paths.pop_first();
        }
        paths.insert(part, reach.path());
        Ok(translation)
    }
}

/// Translated by the device itself (ATS).
impl Burst<'_> {
    /// Asks for a translation, and keeps it; gives what it grants. Nothing is granted where a page
    /// request may help, and nothing is kept then.
    pub fn request_translation(&mut self, iova: u64, rights: Rights) -> Result<Rights, DmaFault> {
        let access = self.access(rights);
        let request = Request { pasid: self.pasid, iova, access, translation_only: true };
        let known = self.known(&request)?;
        let translation = match self.translate(&known, &request) {
            Ok(translation) => translation,
            Err(denied) if denied.recoverable => return Ok(Rights::empty()),
            Err(denied) => return Err(self.requester.refuse(&known.programmed, &request, denied)),
        };
        self.view(translation.address)?;
        let caches = &mut *self.caches;
        let tag = caches.atc_tags.number(atc_tag(self.pasid)).unwrap_or_else(|| {
            caches.atc_tags.clear();
            caches.atc.clear();
            caches.atc_tags.number(atc_tag(self.pasid)).unwrap_or(0)
        });
        // what was not asked for is not marked, so not granted
        let granted = translation.grant.to(self.privileged) & (rights | Rights::READ);
        let grant = Grant::both(granted);
        caches.atc.fill(tag, iova, &Translation { grant, ..translation });
        Ok(granted)
    }

    /// Reads memory by translations that the device asked for; false where it has none.
    pub fn read_translated(&mut self, iova: u64, to: &mut [u8]) -> Result<bool, DmaFault> {
        let Some(address) = self.translated(iova, Rights::READ, to.len()) else {
            return Ok(false);
        };
        let (view, at) = self.view(address)?;
        view.read(at, to).map(|()| true).map_err(|_| DmaFault::NoMemory)
    }

    /// Writes memory by translations that the device asked for; false where it has none.
    pub fn write_translated(&mut self, iova: u64, from: &[u8]) -> Result<bool, DmaFault> {
        let Some(address) = self.translated(iova, Rights::WRITE, from.len()) else {
            return Ok(false);
        };
        let (view, at) = self.view(address)?;
        view.write(at, from).map(|()| true).map_err(|_| DmaFault::NoMemory)
    }

    /// Where memory in one page is.
    fn translated(&mut self, iova: u64, rights: Rights, len: usize) -> Option<u64> {
        if len > in_page(iova) {
            return None;
        }
        let asked = Asked::new(rights, self.privileged);
        let caches = &mut *self.caches;
        let tag = caches.atc_tags.known(atc_tag(self.pasid))?;
        let found = caches.atc.find(tag, iova, asked);
        found.or_else(|| caches.atc.recall(tag, iova, asked)).map(|page| page.at(iova))
    }
}

/// Whether there are bytes from an address on, and all in its page.
#[inline]
fn is_in_page(at: u64, len: usize) -> bool {
    (1..=in_page(at)).contains(&len)
}

/// Bytes from an address to the end of its page.
#[inline]
fn in_page(at: u64) -> usize {
    (PAGE_SIZE - at % PAGE_SIZE) as usize
}
