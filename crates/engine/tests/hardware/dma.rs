//! What devices reach: by the host's tables, by a guest's, and by what caches still have.
//!
//! | module | holds |
//! |---|---|
//! | [`paging`] | the host's tables of every vendor, dirty pages, revocation |
//! | [`vtd`] | a guest's first stage by PASID, stale caches, page requests |
//! | [`smmuv3`] | a guest's context descriptors, its commands, stalls, events |
//! | this one | a guest: its memory, and tables in it |

mod paging;
mod smmuv3;
mod vtd;

use engine::{Burst, Dma, DmaFault};
use mem::AddressSpace;
use profile::{Kernel, Machine};
use pt::{Encode, Prot, Rights, TableMemory, TableStore};
use uapi::iommufd::*;

use crate::host::{Host, IOAS};

/// Where the guest's memory is in the program.
const GUEST: u64 = 0x1000_0000;
/// How many pages it has.
const PAGES: u64 = 64;
/// Guest-physical pages that hold no tables.
const DATA: [u64; 4] = [0x1000, 0x2000, 0x3000, 0x4000];
/// The guest-physical pages from which tables are taken.
const TABLES: u64 = 0x10;

const PAGE: u64 = 4096;
const READ: u32 = IOMMU_IOAS_MAP_READABLE;
const WRITE: u32 = IOMMU_IOAS_MAP_WRITEABLE;

/// A program with a guest.
struct Guest {
    host: Host,
    next_table: u64,
}

impl Guest {
    /// A guest whose memory is mapped from IOVA 0 on.
    fn new(machine: &Machine, kernel: &'static Kernel) -> Self {
        let mut host = Host::new(machine, kernel);
        host.client.memory.map(GUEST, PAGES, true);
        host.call(&mut iommu_ioas_map {
            flags: IOMMU_IOAS_MAP_FIXED_IOVA | READ | WRITE,
            ioas_id: IOAS,
            user_va: GUEST,
            length: PAGES * PAGE,
            iova: 0,
            ..Default::default()
        })
        .expect("guest memory");
        let mut guest = Self { host, next_table: TABLES };
        for (number, page) in (1..).zip(DATA) {
            guest.put(page, number);
        }
        guest
    }

    fn put(&mut self, at: u64, word: u64) {
        self.host.client.memory.write(GUEST + at, &word.to_le_bytes()).unwrap();
    }

    fn get(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.host.client.memory.read(GUEST + at, &mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }

    fn dma(&self) -> Dma {
        self.host.engine.dma(0).expect("a device")
    }

    /// An empty table of a format.
    fn table(&mut self, format: &impl Encode) -> pt::Root {
        pt::root(format, self).expect("room for a table")
    }

    /// Maps a page of the guest's.
    fn map(&mut self, format: &impl Encode, root: pt::Root, va: u64, page: u64, rights: Rights) {
        pt::map(format, root, va, page, 12, Prot::new(rights), self).expect("a page");
    }

    /// Unmaps a page of the guest's.
    fn unmap(&mut self, format: &impl Encode, root: pt::Root, va: u64) {
        pt::unmap(format, root, va..=va + PAGE - 1, self).expect("no page");
    }
}

/// Tables are in guest memory.
impl TableMemory for Guest {
    type Error = ();

    fn load(&self, address: u64) -> Result<u64, ()> {
        Ok(self.get(address))
    }

    fn swap(&self, _address: u64, _old: u64, _new: u64) -> Result<bool, ()> {
        Err(())
    }
}

impl TableStore for Guest {
    fn store(&mut self, address: u64, word: u64) -> Result<(), ()> {
        self.put(address, word);
        Ok(())
    }

    fn allocate(&mut self, words: u64) -> Option<u64> {
        let page = self.next_table;
        self.next_table += (words * 8).div_ceil(PAGE);
        (self.next_table <= PAGES).then_some(page * PAGE)
    }

    fn free(&mut self, _address: u64, _words: u64) {}
}

/// Reads a word.
fn read(dma: &Dma, pasid: Option<u32>, iova: u64) -> Result<u64, DmaFault> {
    dma.burst(pasid, |burst| read_in(burst, iova))
}

fn read_in(burst: &mut Burst<'_>, iova: u64) -> Result<u64, DmaFault> {
    let mut bytes = [0; 8];
    burst.read(iova, &mut bytes).map(|()| u64::from_le_bytes(bytes))
}

/// Writes a word.
fn write(dma: &Dma, pasid: Option<u32>, iova: u64, word: u64) -> Result<(), DmaFault> {
    dma.burst(pasid, |burst| burst.write(iova, &word.to_le_bytes()))
}

fn refused<T>(code: u32) -> Result<T, DmaFault> {
    Err(DmaFault::Refused { code })
}
