//! A device of the engine with memory behind it, and the same mappings in the crate `vm-memory`.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use engine::{Dma, Engine, Node};
use mem::{PAGE_SIZE, SharedFile};
use profile::{Kernel, Machine};
use uapi::iommufd::*;
use uapi::vfio::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, Iommu, IommuMemory, Iotlb, Permissions};
use zerocopy::IntoBytes;

use crate::inside::{IOMMU, Inside, MEMORY_FILE};

/// The machine: its IOMMU nests, and its first device has PASIDs.
const MACHINE: &str = "spr";

/// Where the pages are, as the device addresses them.
pub const IOVA: u64 = 1 << 32;

/// A device, attached to a mapping of pages that are mapped one by one, each anywhere in a file, so
/// that nothing merges.
pub struct World {
    inside: Inside,
    card: i32,
    ioas: u32,
    device: u32,
    memory: Arc<SharedFile>,
    /// The page of the file that each page of the mapping is.
    places: Vec<u64>,
    pub dma: Dma,
}

impl World {
    /// Maps pages, from [`IOVA`] on, and attaches the device to them.
    pub fn new(pages: u64) -> io::Result<Self> {
        let mut world = Self::mapped(pages)?;
        world.attach(world.ioas)?;
        Ok(world)
    }

    /// Maps pages from [`IOVA`] on, and attaches the device to a guest's tables in the last of them,
    /// which translate `pages` pages: every second one of the guest's, from [`IOVA`] on, so that there
    /// are two for each place of a cache with that many.
    pub fn nested(pages: u64) -> io::Result<Self> {
        let mut world = Self::mapped(pages + GuestTables::pages(2 * pages))?;
        let tables = GuestTables { at: IOVA + pages * PAGE_SIZE };
        let (memory, places) = (Arc::clone(&world.memory), world.places.clone());
        tables.write(pages, |address, word| {
            let page = places[((address - IOVA) / PAGE_SIZE) as usize];
            let at = page * PAGE_SIZE + address % PAGE_SIZE;
            memory.write(at, &word.to_le_bytes()).map_err(io::Error::other)
        })?;
        let parent = world.hwpt(world.ioas, IOMMU_HWPT_ALLOC_NEST_PARENT, None)?;
        let data =
            iommu_hwpt_vtd_s1 { pgtbl_addr: tables.at, addr_width: 48, ..Default::default() };
        let nested = world.hwpt(parent, 0, Some(data.as_bytes()))?;
        world.attach(nested)?;
        Ok(world)
    }

    fn mapped(pages: u64) -> io::Result<Self> {
        let machine = Machine::by_name(MACHINE).map_err(io::Error::other)?;
        let engine = Engine::new(machine, Kernel::newest());
        let memory = Arc::new(SharedFile::anonymous("bench", pages * PAGE_SIZE)?);
        let mut inside = Inside::on(&engine, Some(Arc::clone(&memory)))?;
        let card = inside.open(&engine, Node::VfioDevice(0))?;
        let argsz = size_of::<vfio_device_bind_iommufd>() as u32;
        let mut bind = vfio_device_bind_iommufd { argsz, iommufd: IOMMU, ..Default::default() };
        inside.ioctl(card, VFIO_DEVICE_BIND_IOMMUFD, &mut bind)?;
        let mut ioas = iommu_ioas_alloc { size: 12, ..Default::default() };
        inside.call(&mut ioas)?;
        let (ioas, device) = (ioas.out_ioas_id, bind.out_devid);
        let dma = engine.dma(0).ok_or(io::ErrorKind::NotFound)?;
        let mut world =
            Self { inside, card, ioas, device, memory, places: Random::new().order(pages), dma };
        for index in 0..pages {
            world.map(index)?;
        }
        Ok(world)
    }

    fn map(&mut self, index: u64) -> io::Result<()> {
        self.inside.call(&mut iommu_ioas_map_file {
            size: 40,
            flags: IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
            ioas_id: self.ioas,
            fd: MEMORY_FILE,
            start: self.places[index as usize] * PAGE_SIZE,
            length: PAGE_SIZE,
            iova: IOVA + index * PAGE_SIZE,
        })
    }

    fn hwpt(&mut self, pt_id: u32, flags: u32, stage: Option<&[u8]>) -> io::Result<u32> {
        let size = size_of::<iommu_hwpt_alloc>() as u32;
        let mut cmd =
            iommu_hwpt_alloc { size, flags, dev_id: self.device, pt_id, ..Default::default() };
        if let Some(data) = stage {
            cmd.data_type = IOMMU_HWPT_DATA_VTD_S1;
            cmd.data_len = data.len() as u32;
            cmd.data_uptr = self.inside.put(data);
        }
        self.inside.call(&mut cmd)?;
        Ok(cmd.out_hwpt_id)
    }

    fn attach(&mut self, pt_id: u32) -> io::Result<()> {
        let argsz = size_of::<vfio_device_attach_iommufd_pt>() as u32;
        let mut cmd = vfio_device_attach_iommufd_pt { argsz, pt_id, ..Default::default() };
        self.inside.ioctl(self.card, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &mut cmd)
    }

    /// Writes into each page which it is: by the device, and in the memory of `vm-memory`. Then both
    /// are read back, so that what is measured is known to work.
    pub fn fill(&self, peer: &Peer) -> io::Result<()> {
        let wrong = || io::Error::other("memory is not what was written");
        for index in 0..self.places.len() as u64 {
            let iova = IOVA + index * PAGE_SIZE;
            peer.memory.write_obj(index, GuestAddress(iova)).map_err(io::Error::other)?;
            let written = self.dma.burst(None, |burst| burst.write(iova, &index.to_ne_bytes()));
            written.map_err(|_| wrong())?;
        }
        for index in 0..self.places.len() as u64 {
            let iova = IOVA + index * PAGE_SIZE;
            let mut word = [0; 8];
            let read = self.dma.burst(None, |burst| burst.read(iova, &mut word));
            let there: u64 = peer.memory.read_obj(GuestAddress(iova)).map_err(io::Error::other)?;
            if read.is_err() || u64::from_ne_bytes(word) != index || there != index {
                return Err(wrong());
            }
        }
        Ok(())
    }
}

/// `vm-memory`, with the mappings of a [`World`].
pub struct Peer {
    /// Memory as a device addresses it.
    pub memory: IommuMemory<GuestMemoryMmap, LockedIotlb>,
}

/// The crate has no IOMMU of its own, only what one is made of; its tests make it so.
pub struct LockedIotlb(RwLock<Iotlb>);

impl fmt::Debug for LockedIotlb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockedIotlb")
    }
}

impl Iommu for LockedIotlb {
    type IotlbGuard<'a> = RwLockReadGuard<'a, Iotlb>;

    fn translate(
        &self,
        iova: GuestAddress,
        length: usize,
        access: Permissions,
    ) -> Result<vm_memory::iommu::IotlbIterator<Self::IotlbGuard<'_>>, vm_memory::iommu::Error>
    {
        let iotlb = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Iotlb::lookup(iotlb, iova, length, access).map_err(|_| {
            let iova_range = vm_memory::iommu::IovaRange { base: iova, length };
            vm_memory::iommu::Error::CannotResolve { iova_range, reason: "not mapped".into() }
        })
    }
}

impl Peer {
    /// The mappings of a world, over memory of the same size.
    pub fn of(world: &World) -> io::Result<Self> {
        let bytes = world.places.len() * PAGE_SIZE as usize;
        let backend = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), bytes)]);
        let backend = backend.map_err(io::Error::other)?;
        let mut iotlb = Iotlb::new();
        for (index, place) in world.places.iter().enumerate() {
            let (iova, page) = (IOVA + index as u64 * PAGE_SIZE, PAGE_SIZE as usize);
            let to = GuestAddress(place * PAGE_SIZE);
            iotlb
                .set_mapping(GuestAddress(iova), to, page, Permissions::ReadWrite)
                .map_err(io::Error::other)?;
        }
        let iommu = LockedIotlb(RwLock::new(iotlb));
        Ok(Self { memory: IommuMemory::new(backend, iommu, true, ()) })
    }

    /// Where an address is in the memory.
    pub fn translate(&self, iova: u64) -> Option<u64> {
        let access = Permissions::Read;
        let mut found = self.memory.iommu().translate(GuestAddress(iova), 8, access).ok()?;
        found.next().map(|range| range.base.0)
    }
}

/// Memory of a guest in which its tables are, in one piece: what a walker over `vm-memory` has.
pub struct GuestMemoryOfPeer {
    memory: GuestMemoryMmap,
    tables: GuestTables,
}

impl GuestMemoryOfPeer {
    /// The tables of [`World::nested`].
    pub fn new(pages: u64) -> io::Result<Self> {
        let tables = GuestTables { at: IOVA };
        let bytes = GuestTables::pages(2 * pages) * PAGE_SIZE;
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(IOVA), bytes as usize)]);
        let memory: GuestMemoryMmap = memory.map_err(io::Error::other)?;
        tables.write(pages, |address, word| {
            memory.write_obj(word, GuestAddress(address)).map_err(io::Error::other)
        })?;
        Ok(Self { memory, tables })
    }

    /// Walks the tables, and does nothing else: no rights, no marks, no second stage.
    pub fn walk(&self, iova: u64) -> Option<u64> {
        let mut table = self.tables.at;
        for level in (0..4).rev() {
            let at = table + (iova >> (12 + 9 * level) & 511) * 8;
            let entry: u64 =
                self.memory.load(GuestAddress(at), std::sync::atomic::Ordering::Acquire).ok()?;
            if entry & 1 == 0 {
                return None;
            }
            table = entry & 0xf_ffff_ffff_f000;
        }
        Some(table | (iova % PAGE_SIZE))
    }
}

/// A guest's tables: four levels of x86-64, from their root on.
struct GuestTables {
    at: u64,
}

impl GuestTables {
    /// How many pages those have that map so many pages from [`IOVA`] on.
    fn pages(mapped: u64) -> u64 {
        3 + mapped.div_ceil(512)
    }

    /// Lets every second page from [`IOVA`] on be one of as many pages from there on, in any order.
    fn write(&self, pages: u64, mut put: impl FnMut(u64, u64) -> io::Result<()>) -> io::Result<()> {
        // present, writable, for users, used, written
        const FLAGS: u64 = 0x67;
        let table = |number: u64| self.at + number * PAGE_SIZE;
        let index = |level: u32| (IOVA >> (12 + 9 * level) & 511) * 8;
        put(table(0) + index(3), table(1) | FLAGS)?;
        put(table(1) + index(2), table(2) | FLAGS)?;
        for number in 0..(2 * pages).div_ceil(512) {
            put(table(2) + index(1) + number * 8, table(3 + number) | FLAGS)?;
        }
        for (number, place) in Random::new().order(pages).into_iter().enumerate() {
            put(table(3) + number as u64 * 16, (IOVA + place * PAGE_SIZE) | FLAGS)?;
        }
        Ok(())
    }
}

/// Numbers that look random, the same in each run (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        Self(1)
    }

    /// A number below a limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % limit
    }

    /// The numbers below a limit, each once.
    pub fn order(&mut self, limit: u64) -> Vec<u64> {
        let mut order: Vec<_> = (0..limit).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, self.below(at as u64 + 1) as usize);
        }
        order
    }
}
