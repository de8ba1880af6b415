//! A program with a nesting container, and a guest whose memory is mapped.

use std::sync::Arc;

use engine::{Caller, Dma, DmaFault, Engine, Node};
use mem::AddressSpace;
use profile::{Kernel, Machine};
use pt::format::X86_64;
use pt::{Prot, Rights, Root, TableMemory, TableStore};
use testkit::Client;
use uapi::Errno;
use uapi::vfio::*;
use uapi::y2020::bind::*;
use uapi::y2020::cache::*;
use uapi::y2020::transport::*;
use uapi::y2020::{Layout, v5_5, v5_10};
use zerocopy::IntoBytes;

/// What a call answers.
pub type Answer = Result<(), Errno>;

pub const OK: Answer = Ok(());
pub const INVAL: Answer = Err(Errno::EINVAL);
pub const EFAULT: Answer = Err(Errno::EFAULT);
pub const NOENT: Answer = Err(Errno::ENOENT);
pub const ACCES: Answer = Err(Errno::EACCES);
pub const BUSY: Answer = Err(Errno::EBUSY);
pub const OPNOTSUPP: Answer = Err(Errno::EOPNOTSUPP);
pub const NODEV: Answer = Err(Errno::ENODEV);
pub const NOTTY: Answer = Err(Errno::ENOTTY);

/// Both kernels, and how arguments are laid out.
pub const KERNELS: [(&str, Layout); 2] =
    [("2020", Layout::V5_10), ("2020-patches", Layout::Patches)];

/// The group of the first two devices, and of the third.
pub const GROUP: u32 = 5;
pub const OTHER: u32 = 6;
/// The devices' names.
pub const NAMES: [&str; 3] = ["0000:6a:01.0", "0000:6a:01.1", "0000:6a:02.0"];

pub const PAGE: u64 = 4096;
/// Where the guest's memory is in the program, and how many pages it has. It is mapped from IOVA 0 on.
pub const GUEST: u64 = 0x1000_0000;
pub const PAGES: u64 = 64;
/// Guest-physical pages that hold no tables; each begins with its number from 1 on.
pub const DATA: [u64; 4] = [0x1000, 0x2000, 0x3000, 0x4000];
/// The first page of which tables are made.
const TABLES: u64 = 0x10;
/// A page of arguments, behind which no memory is.
pub const EDGE: u64 = 0x2000_0000;
/// Room for what is read and written.
pub const BUFFER: u64 = 0x3000_0000;
/// Arguments, a page for each thread.
const ARGUMENTS: u64 = 0x4000_0000;
/// An address of the guest's process.
pub const VA: u64 = 0x7f12_3456_7000;

pub const NESTING: u64 = VFIO_TYPE1_NESTING_IOMMU as u64;

/// A process's table.
pub const USER: X86_64 = X86_64 {
    levels: 4,
    address_bits: 52,
    gigabyte_pages: true,
    write_protect: true,
    extended_accessed: false,
};

/// Sapphire Rapids with three devices in two groups.
pub fn machine() -> Machine {
    let mut machine = Machine::by_name("spr").unwrap().clone();
    machine.devices[0].group = GROUP;
    for (name, group) in [(NAMES[1], GROUP), (NAMES[2], OTHER)] {
        let address = name.parse().unwrap();
        let device = profile::machine::Device { address, group, ..machine.devices[0].clone() };
        machine.devices.push(device);
    }
    machine
}

/// The same with one device in the first group.
pub fn lone() -> Machine {
    let mut machine = machine();
    machine.devices.remove(1);
    machine
}

/// A program with a group and a container.
pub struct Bench {
    pub engine: Arc<Engine>,
    pub client: Client,
    pub layout: Layout,
    pub group: i32,
    pub container: i32,
    arguments: u64,
    next_table: u64,
}

impl Bench {
    /// With the group in the container, which has no driver.
    pub fn bare(engine: &Arc<Engine>, group: u32) -> Self {
        let layout = engine.kernel().api_2020().unwrap_or(Layout::V5_10);
        let client = Client::new();
        client.memory.map(GUEST, PAGES, true);
        client.memory.map(EDGE, 1, true);
        client.memory.map(BUFFER, 16, true);
        client.memory.map(ARGUMENTS, 2, true);
        let mut it = Self {
            engine: Arc::clone(engine),
            client,
            layout,
            group: -1,
            container: -1,
            arguments: ARGUMENTS,
            next_table: TABLES,
        };
        it.group = it.open(Node::VfioGroup(group)).expect("a group");
        it.container = it.open(Node::VfioContainer).expect("a container");
        it.join(it.group).expect("into the container");
        it
    }

    /// With a container of a type, and the guest's memory mapped.
    pub fn of_type(engine: &Arc<Engine>, group: u32, kind: u64) -> Self {
        let mut it = Self::bare(engine, group);
        it.set_iommu(kind).expect("a driver");
        it.map(0, PAGES).expect("the guest's memory");
        for (number, page) in (1..).zip(DATA) {
            it.put(page, number);
        }
        it
    }

    /// Nesting.
    pub fn on(engine: &Arc<Engine>, group: u32) -> Self {
        Self::of_type(engine, group, NESTING)
    }

    /// On a machine of its own, with two devices in the group.
    pub fn new(kernel: &str) -> Self {
        Self::on(&engine(&machine(), kernel), GROUP)
    }

    /// A second thread, with a container of its own.
    pub fn thread(&self, (group, container): (i32, i32)) -> Self {
        Self {
            engine: Arc::clone(&self.engine),
            client: self.client.thread(),
            group,
            container,
            arguments: ARGUMENTS + PAGE,
            ..*self
        }
    }

    pub fn open(&mut self, node: Node) -> Result<i32, Errno> {
        let engine = Arc::clone(&self.engine);
        let file = engine.open(&mut self.client, node).map_err(|refusal| refusal.errno())?;
        self.client.install(file)
    }

    /// A call with a number or an address.
    pub fn call(&mut self, fd: i32, cmd: u32, arg: u64) -> Result<i64, Errno> {
        self.client.ioctl(fd, cmd, arg).map_err(|refusal| refusal.errno())
    }

    /// A call with bytes, and what is there after it.
    pub fn call_with(&mut self, fd: i32, cmd: u32, bytes: &[u8]) -> (Result<i64, Errno>, Vec<u8>) {
        let at = self.argument(bytes);
        let answer = self.call(fd, cmd, at);
        (answer, self.bytes(at, bytes.len()))
    }

    fn argument(&self, bytes: &[u8]) -> u64 {
        self.client.memory.write(self.arguments, bytes).unwrap();
        self.arguments
    }

    pub fn bytes(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.client.memory.read(at, &mut bytes).unwrap();
        bytes
    }

    /// `VFIO_GROUP_SET_CONTAINER`
    pub fn join(&mut self, group: i32) -> Answer {
        let at = self.argument(&self.container.to_ne_bytes());
        self.call(group, VFIO_GROUP_SET_CONTAINER, at).map(drop)
    }

    /// `VFIO_GROUP_UNSET_CONTAINER`
    pub fn leave(&mut self) -> Answer {
        self.call(self.group, VFIO_GROUP_UNSET_CONTAINER, 0).map(drop)
    }

    /// Another nesting container of the program, with a group.
    pub fn second_container(&mut self, group: u32) -> (i32, i32) {
        let group = self.open(Node::VfioGroup(group)).expect("a group");
        let container = self.open(Node::VfioContainer).expect("a container");
        let first = self.swap((group, container));
        self.join(group).expect("into the container");
        self.set_iommu(NESTING).expect("a driver");
        self.map(0, PAGES).expect("the guest's memory");
        self.swap(first)
    }

    /// The calls are for another group and container from now on; those that they were for.
    pub fn swap(&mut self, (group, container): (i32, i32)) -> (i32, i32) {
        let group = std::mem::replace(&mut self.group, group);
        (group, std::mem::replace(&mut self.container, container))
    }

    pub fn set_iommu(&mut self, kind: u64) -> Answer {
        self.call(self.container, VFIO_SET_IOMMU, kind).map(drop)
    }

    /// `VFIO_GROUP_GET_DEVICE_FD`
    pub fn device(&mut self, name: &str) -> Result<i32, Errno> {
        let at = self.argument(&[name.as_bytes(), &[0]].concat());
        self.call(self.group, VFIO_GROUP_GET_DEVICE_FD, at).map(|fd| fd as i32)
    }

    /// Maps pages of the guest's memory, from its start on.
    pub fn map(&mut self, iova: u64, pages: u64) -> Answer {
        let size = pages * PAGE;
        let map = vfio_iommu_type1_dma_map { argsz: 32, flags: 3, vaddr: GUEST, iova, size };
        self.call_with(self.container, VFIO_IOMMU_MAP_DMA, map.as_bytes()).0.map(drop)
    }

    pub fn unmap(&mut self, flags: u32, iova: u64, pages: u64) -> Answer {
        let size = pages * PAGE;
        let unmap = vfio_iommu_type1_dma_unmap { argsz: 24, flags, iova, size };
        self.call_with(self.container, VFIO_IOMMU_UNMAP_DMA, unmap.as_bytes()).0.map(drop)
    }

    /// `VFIO_IOMMU_PASID_REQUEST`
    pub fn request(&mut self, flags: u32, min: u32, max: u32) -> Result<i64, Errno> {
        let words = [16, flags, min, max];
        self.call_with(self.container, VFIO_IOMMU_PASID_REQUEST, words.as_bytes()).0
    }

    pub fn alloc(&mut self, min: u32, max: u32) -> Result<i64, Errno> {
        self.request(VFIO_IOMMU_FLAG_ALLOC_PASID, min, max)
    }

    pub fn free(&mut self, min: u32, max: u32) -> Answer {
        self.request(VFIO_IOMMU_FLAG_FREE_PASID, min, max).map(|answer| assert_eq!(answer, 0))
    }

    /// One PASID.
    pub fn pasid(&mut self, number: u32) {
        assert_eq!(self.alloc(number, number), Ok(number.into()));
    }

    /// `VFIO_IOMMU_NESTING_OP`
    pub fn operate(&mut self, operation: u32, data: &[u8]) -> Answer {
        let argsz = 8 + data.len() as u32;
        let bytes = [[argsz, operation].as_bytes(), data].concat();
        let (answer, after) = self.call_with(self.container, VFIO_IOMMU_NESTING_OP, &bytes);
        assert_eq!(after, bytes, "nothing is written back");
        answer.map(|answer| assert_eq!(answer, 0))
    }

    /// Binds, or unbinds, as the data say.
    pub fn bind_with(&mut self, operation: u32, data: &v5_10::iommu_gpasid_bind_data) -> Answer {
        self.operate(operation, &bind_bytes(self.layout, data))
    }

    pub fn bind(&mut self, pasid: u32, root: Root) -> Answer {
        self.bind_with(VFIO_IOMMU_NESTING_OP_BIND_PGTBL, &bind_data(pasid, root))
    }

    pub fn unbind(&mut self, pasid: u32) -> Answer {
        self.bind_with(VFIO_IOMMU_NESTING_OP_UNBIND_PGTBL, &bind_data(pasid, Root(0)))
    }

    pub fn invalidate(&mut self, info: &v5_10::iommu_cache_invalidate_info) -> Answer {
        self.operate(VFIO_IOMMU_NESTING_OP_CACHE_INVLD, &invalidate_bytes(self.layout, info))
    }

    /// A PASID that walks a table with one page.
    pub fn process(&mut self, pasid: u32) -> Root {
        let root = self.table();
        self.enter(root, VA, DATA[0]);
        self.pasid(pasid);
        self.bind(pasid, root).expect("a table");
        root
    }

    /// An empty table.
    pub fn table(&mut self) -> Root {
        pt::root(&USER, self).expect("room for a table")
    }

    /// What tables there were, there are no more.
    pub fn forget_tables(&mut self) {
        self.next_table = TABLES;
        let empty = vec![0; ((PAGES - TABLES) * PAGE) as usize];
        self.client.memory.write(GUEST + TABLES * PAGE, &empty).unwrap();
    }

    /// Enters a page into a table.
    pub fn enter(&mut self, root: Root, va: u64, page: u64) {
        let prot = Prot::new(Rights::READ | Rights::WRITE);
        pt::map(&USER, root, va, page, 12, prot, self).expect("a page");
    }

    /// Enters another one in its place.
    pub fn replace(&mut self, root: Root, va: u64, page: u64) {
        pt::unmap(&USER, root, va..=va + PAGE - 1, self).expect("no page");
        self.enter(root, va, page);
    }

    /// Writes a word of the guest's memory.
    pub fn put(&mut self, at: u64, word: u64) {
        self.client.memory.write(GUEST + at, &word.to_le_bytes()).unwrap();
    }

    pub fn dma(&self, device: usize) -> Dma {
        self.engine.dma(device).expect("a device")
    }
}

impl TableMemory for Bench {
    type Error = ();

    fn load(&self, address: u64) -> Result<u64, ()> {
        let mut bytes = [0; 8];
        self.client.memory.read(GUEST + address, &mut bytes).map_err(drop)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn swap(&self, _address: u64, _old: u64, _new: u64) -> Result<bool, ()> {
        Err(())
    }
}

impl TableStore for Bench {
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

pub fn engine(machine: &Machine, kernel: &str) -> Arc<Engine> {
    Engine::new(machine, Kernel::by_name(kernel).unwrap())
}

/// What binds a table.
pub fn bind_data(pasid: u32, root: Root) -> v5_10::iommu_gpasid_bind_data {
    v5_10::iommu_gpasid_bind_data {
        argsz: size_of::<v5_10::iommu_gpasid_bind_data>() as u32,
        version: IOMMU_GPASID_BIND_VERSION_1,
        format: IOMMU_PASID_FORMAT_INTEL_VTD,
        addr_width: 48,
        gpgd: root.0,
        hpasid: pasid.into(),
        ..Default::default()
    }
}

/// The same in a layout.
pub fn bind_bytes(layout: Layout, data: &v5_10::iommu_gpasid_bind_data) -> Vec<u8> {
    if layout == Layout::V5_10 {
        return data.as_bytes().to_vec();
    }
    let v5_10::iommu_gpasid_bind_data { version, format, flags, gpgd, hpasid, gpasid, .. } = *data;
    let mut padding = [0; 12];
    padding[..8].copy_from_slice(&data.padding);
    let (addr_width, vtd) = (data.addr_width, data.vendor);
    let old = v5_5::iommu_gpasid_bind_data {
        version,
        format,
        flags,
        gpgd,
        hpasid,
        gpasid,
        addr_width,
        padding,
        vtd,
    };
    old.as_bytes().to_vec()
}

fn invalidation(cache: u8, granularity: u8) -> v5_10::iommu_cache_invalidate_info {
    v5_10::iommu_cache_invalidate_info {
        argsz: size_of::<v5_10::iommu_cache_invalidate_info>() as u32,
        version: IOMMU_CACHE_INVALIDATE_INFO_VERSION_1,
        cache,
        granularity,
        ..Default::default()
    }
}

/// An invalidation of all.
pub fn of_domain(cache: u8) -> v5_10::iommu_cache_invalidate_info {
    invalidation(cache, IOMMU_INV_GRANU_DOMAIN)
}

/// Of a PASID.
pub fn of_pasid(cache: u8, pasid: u32) -> v5_10::iommu_cache_invalidate_info {
    let (flags, pasid) = (IOMMU_INV_PASID_FLAGS_PASID, pasid.into());
    of_pasid_info(cache, iommu_inv_pasid_info { flags, archid: 0, pasid })
}

pub fn of_pasid_info(cache: u8, it: iommu_inv_pasid_info) -> v5_10::iommu_cache_invalidate_info {
    let mut info = invalidation(cache, IOMMU_INV_GRANU_PASID);
    info.granu.as_mut_bytes()[..16].copy_from_slice(it.as_bytes());
    info
}

/// Of pages of a PASID.
pub fn of_pages(
    cache: u8,
    pasid: u32,
    addr: u64,
    nb_granules: u64,
) -> v5_10::iommu_cache_invalidate_info {
    let (flags, pasid) = (IOMMU_INV_ADDR_FLAGS_PASID, pasid.into());
    let it = iommu_inv_addr_info { flags, archid: 0, pasid, addr, granule_size: PAGE, nb_granules };
    of_addr_info(cache, it)
}

pub fn of_addr_info(cache: u8, it: iommu_inv_addr_info) -> v5_10::iommu_cache_invalidate_info {
    let mut info = invalidation(cache, IOMMU_INV_GRANU_ADDR);
    info.granu.as_mut_bytes().copy_from_slice(it.as_bytes());
    info
}

/// An invalidation in a layout.
pub fn invalidate_bytes(layout: Layout, info: &v5_10::iommu_cache_invalidate_info) -> Vec<u8> {
    if layout == Layout::V5_10 {
        return info.as_bytes().to_vec();
    }
    let v5_10::iommu_cache_invalidate_info { version, cache, granularity, granu, .. } = *info;
    let padding = [info.padding[0], info.padding[1]];
    let old = v5_5::iommu_cache_invalidate_info { version, cache, granularity, padding, granu };
    old.as_bytes().to_vec()
}

/// Reads a word by a device.
pub fn read(dma: &Dma, pasid: Option<u32>, iova: u64) -> Result<u64, DmaFault> {
    let mut bytes = [0; 8];
    dma.burst(pasid, |burst| burst.read(iova, &mut bytes)).map(|()| u64::from_le_bytes(bytes))
}

/// What VT-d says where a PASID has no table (`PASID-table entry not present`).
pub fn unbound() -> Result<u64, DmaFault> {
    Err(DmaFault::Refused { code: 0x59 })
}
