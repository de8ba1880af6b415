//! Memory that no process has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mem::{Accounts, AddressSpace, Backing, Extent, Fault, MmId, ObjectKey, PAGE_SIZE, PageId};
use parking_lot::Mutex;

/// The memory of a program that is not there.
#[derive(Debug)]
pub struct FakeMemory {
    id: MmId,
    pages: Mutex<BTreeMap<u64, FakePage>>,
    gone: AtomicBool,
    accounts: Accounts,
}

#[derive(Debug)]
struct FakePage {
    bytes: Box<[u8; PAGE_SIZE as usize]>,
    writable: bool,
}

impl FakeMemory {
    /// Memory in which nothing is mapped.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            id: MmId::next(),
            pages: Mutex::default(),
            gone: AtomicBool::new(false),
            accounts: Accounts::default(),
        })
    }

    /// Maps `count` pages of zeros at a page-aligned address.
    pub fn map(&self, va: u64, count: u64, writable: bool) {
        let mut pages = self.pages.lock();
        for index in va / PAGE_SIZE..va / PAGE_SIZE + count {
            let bytes = Box::new([0; PAGE_SIZE as usize]);
            pages.insert(index, FakePage { bytes, writable });
        }
    }

    /// Lets `count` pages that are mapped be written, or not any more.
    pub fn protect(&self, va: u64, count: u64, writable: bool) {
        let first = va / PAGE_SIZE;
        let mut pages = self.pages.lock();
        pages.range_mut(first..first + count).for_each(|(_, page)| page.writable = writable);
    }

    /// Takes `count` pages away.
    pub fn unmap(&self, va: u64, count: u64) {
        let first = va / PAGE_SIZE;
        self.pages.lock().retain(|index, _| !(first..first + count).contains(index));
    }

    /// The program calls `exec` or dies.
    pub fn die(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// Applies `each` to the bytes of every page of a range.
    fn walk(
        &self,
        va: u64,
        length: usize,
        writing: bool,
        mut each: impl FnMut(&mut [u8], std::ops::Range<usize>),
    ) -> Result<(), Fault> {
        if !self.alive() {
            return Err(Fault);
        }
        let mut pages = self.pages.lock();
        let mut done = 0;
        while done < length {
            let at = va.checked_add(done as u64).ok_or(Fault)?;
            let offset = (at % PAGE_SIZE) as usize;
            let chunk = (PAGE_SIZE as usize - offset).min(length - done);
            let page = pages.get_mut(&(at / PAGE_SIZE)).ok_or(Fault)?;
            if writing && !page.writable {
                return Err(Fault);
            }
            each(&mut page.bytes[offset..offset + chunk], done..done + chunk);
            done += chunk;
        }
        Ok(())
    }
}

impl AddressSpace for FakeMemory {
    fn id(&self) -> MmId {
        self.id
    }

    fn alive(&self) -> bool {
        !self.gone.load(Ordering::Relaxed)
    }

    fn read(&self, va: u64, to: &mut [u8]) -> Result<(), Fault> {
        self.walk(va, to.len(), false, |page, range| to[range].copy_from_slice(page))
    }

    fn write(&self, va: u64, from: &[u8]) -> Result<(), Fault> {
        self.walk(va, from.len(), true, |page, range| page.copy_from_slice(&from[range]))
    }

    fn pin(self: Arc<Self>, va: u64, pages: u64, writable: bool) -> Result<Vec<Extent>, Fault> {
        let first = va / PAGE_SIZE;
        let known = self.pages.lock();
        for index in first..first.checked_add(pages).ok_or(Fault)? {
            let page = known.get(&index).ok_or(Fault)?;
            if writable && !page.writable {
                return Err(Fault);
            }
        }
        drop(known);
        let first = PageId { object: ObjectKey::Private(self.id), index: first };
        Ok(vec![Extent { first, pages, backing: Backing::Private(self) }])
    }

    fn accounts(&self) -> &Accounts {
        &self.accounts
    }
}
