//! A driver, as `drivers/nvme/host/pci.c` sets a controller up: disable, admin queues, enable, identify, number
//! of queues, I/O queues.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use devices::nvme::spec::*;
use devices::nvme::{Nvme, Settings};
use engine::{Model, Trigger};
use mem::AddressSpace;
use profile::{Kernel, Machine};
use testkit::host::{Host, IOAS};
use uapi::iommufd::*;
use zerocopy::{FromBytes, IntoBytes};

/// Where the program's memory is, for itself and for the device.
pub const BASE: u64 = 0x1000_0000;
/// Its pages.
pub const PAGES: u64 = 1024;
/// Queues are in the first pages: submission queue, completion queue, of 16 pages each, a pair after the other.
const QUEUE_BYTES: u64 = 16 << 12;
/// Where data is.
pub const DATA: u64 = BASE + 0x10_0000;
/// Where lists are.
pub const LISTS: u64 = BASE + 0x30_0000;
/// Where nothing is mapped.
pub const NOWHERE: u64 = 0x4000_0000;

pub const LONG: Duration = Duration::from_secs(20);

/// Counts interrupts.
#[derive(Default)]
pub struct Counter(AtomicU32);

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counter")
    }
}

impl Trigger for Counter {
    fn raise(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A queue pair of the host's.
#[derive(Clone, Copy, Debug)]
struct Pair {
    size: u32,
    tail: u32,
    head: u32,
    phase: bool,
}

/// A program with a controller.
#[derive(Debug)]
pub struct Driver {
    pub host: Host,
    pub device: Arc<Nvme>,
    pairs: [Option<Pair>; 4],
    next_cid: u16,
    raised: Vec<Arc<Counter>>,
}

/// What a completion says: status code type and code, and dword 0.
pub type Told = Result<u32, (u8, u8)>;

impl Driver {
    /// A machine with a controller that is not enabled, and memory for it.
    pub fn new(settings: &Settings) -> Self {
        let mut driver = Self::on("spr", settings, |_| IOAS);
        driver.map(BASE, PAGES << 12);
        driver
    }

    /// One on a machine, attached to what there is chosen, with nothing mapped.
    pub fn on(machine: &str, settings: &Settings, choose: impl FnOnce(&mut Host) -> u32) -> Self {
        let driver = Self::without_messages(machine, settings, choose);
        let interrupts = driver.host.engine.interrupts(0).unwrap();
        for (vector, counter) in driver.raised.iter().enumerate() {
            interrupts.connect(vector as u32, Some(Arc::clone(counter) as _));
        }
        driver
    }

    /// The same, whose interrupts assert the pin of the function, behind which it is.
    pub fn without_messages(
        machine: &str,
        settings: &Settings,
        choose: impl FnOnce(&mut Host) -> u32,
    ) -> Self {
        let mut host = Host::new(Machine::by_name(machine).unwrap(), Kernel::newest());
        let table = choose(&mut host);
        host.attach(table).unwrap();
        let (dma, interrupts) = (host.engine.dma(0).unwrap(), host.engine.interrupts(0).unwrap());
        let raised: Vec<_> = (0..VECTORS).map(|_| Arc::new(Counter::default())).collect();
        let device = Arc::new(Nvme::new(dma, interrupts, settings).unwrap());
        host.engine.plug(0, Arc::clone(&device) as _);
        device.set_bus_master(true);
        let driver = Self { host, device, pairs: [None; 4], next_cid: 0, raised };
        driver.host.client.memory.map(BASE, PAGES, true);
        driver
    }

    /// One that is ready for I/O, by queue pair 1.
    pub fn ready(settings: &Settings) -> Self {
        let mut driver = Self::new(settings);
        driver.enable();
        driver.create_pair(1, 64);
        driver
    }

    /// Maps memory to where it is for the program.
    pub fn map(&mut self, at: u64, length: u64) {
        self.host
            .call(&mut iommu_ioas_map {
                flags: IOMMU_IOAS_MAP_FIXED_IOVA
                    | IOMMU_IOAS_MAP_READABLE
                    | IOMMU_IOAS_MAP_WRITEABLE,
                ioas_id: IOAS,
                user_va: at,
                length,
                iova: at,
                ..Default::default()
            })
            .unwrap();
    }

    pub fn unmap(&mut self, iova: u64, length: u64) {
        let cmd = iommu_ioas_unmap { ioas_id: IOAS, iova, length, ..Default::default() };
        self.host.call(&mut { cmd }).unwrap();
    }

    pub fn store(&self, at: u64, bytes: &[u8]) {
        self.host.client.memory.write(at, bytes).unwrap();
    }

    pub fn load(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.host.client.memory.read(at, &mut bytes).unwrap();
        bytes
    }

    pub fn get(&self, register: u64) -> u32 {
        let mut bytes = [0; 4];
        self.device.read(0, register, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    pub fn get64(&self, register: u64) -> u64 {
        let mut bytes = [0; 8];
        self.device.read(0, register, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    pub fn set(&self, register: u64, value: u32) {
        self.device.write(0, register, &value.to_le_bytes());
    }

    /// Whether the pin is asserted, as the configuration space says.
    pub fn is_asserted(&mut self) -> bool {
        const STATUS: u64 = (7 << 40) + 6;
        let file = self.host.client.open_file(self.host.cards[0]);
        let at = self.host.client.scratch(&[]);
        assert_eq!(file.read(&mut self.host.client, at, 1, Some(STATUS)), Ok(1));
        let mut status = [0];
        self.host.client.memory.read(at, &mut status).unwrap();
        status[0] & 8 != 0
    }

    /// How often an interrupt was raised.
    pub fn raised(&self, vector: usize) -> u32 {
        self.raised[vector].0.load(Ordering::SeqCst)
    }

    pub fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + LONG;
        while !is_so(self) {
            assert!(Instant::now() < until, "{what}: never");
            std::thread::yield_now();
        }
    }

    pub const CONFIGURATION: u32 = 6 << 16 | 4 << 20;

    /// `nvme_pci_configure_admin_queue`
    pub fn enable(&mut self) {
        self.set(CC, 0);
        self.until("disabled", |it| it.get(CSTS) & CSTS_READY == 0);
        self.pairs = [None; 4];
        self.begin_pair(0, 32);
        self.set(AQA, 31 << 16 | 31);
        self.device.write(0, ASQ, &Self::submission(0).to_le_bytes());
        self.device.write(0, ACQ, &Self::completion(0).to_le_bytes());
        self.set(CC, Self::CONFIGURATION | CC_ENABLE);
        self.until("enabled", |it| it.get(CSTS) & CSTS_READY != 0);
    }

    pub fn submission(pair: usize) -> u64 {
        BASE + 2 * QUEUE_BYTES * pair as u64
    }

    pub fn completion(pair: usize) -> u64 {
        Self::submission(pair) + QUEUE_BYTES
    }

    fn begin_pair(&mut self, pair: usize, size: u32) {
        self.store(Self::completion(pair), &vec![0; QUEUE_BYTES as usize]);
        self.pairs[pair] = Some(Pair { size, tail: 0, head: 0, phase: true });
    }

    /// `nvme_create_queue`
    pub fn create_pair(&mut self, pair: usize, size: u32) {
        self.begin_pair(pair, size);
        let cdw10 = (size - 1) << 16 | pair as u32;
        let dptr = |at| [at, 0];
        let (opcode, cdw11) = (admin::CREATE_CQ, (pair as u32) << 16 | 3);
        let create = Command { opcode, cdw10, cdw11, dptr: dptr(Self::completion(pair)), ..none() };
        assert_eq!(self.admin(create), Ok(0));
        let opcode = admin::CREATE_SQ;
        let cdw11 = (pair as u32) << 16 | 1;
        let create = Command { opcode, cdw10, cdw11, dptr: dptr(Self::submission(pair)), ..none() };
        assert_eq!(self.admin(create), Ok(0));
    }

    /// Puts a command in, and does not ring; its identifier.
    pub fn put(&mut self, pair: usize, command: Command) -> u16 {
        let cid = self.next_cid;
        self.next_cid = self.next_cid.wrapping_add(1);
        let state = self.pairs[pair].as_mut().unwrap();
        let at = Self::submission(pair) + 64 * u64::from(state.tail);
        state.tail = (state.tail + 1) % state.size;
        self.store(at, Command { cid, ..command }.as_bytes());
        cid
    }

    pub fn ring(&self, pair: usize) {
        self.set(DOORBELLS + 8 * pair as u64, self.pairs[pair].unwrap().tail);
    }

    pub fn submit(&mut self, pair: usize, command: Command) -> u16 {
        let cid = self.put(pair, command);
        self.ring(pair);
        cid
    }

    /// The next completion, if it is there.
    pub fn poll(&mut self, pair: usize) -> Option<Completion> {
        let state = self.pairs[pair].unwrap();
        let at = Self::completion(pair) + 16 * u64::from(state.head);
        let entry = Completion::read_from_bytes(&self.load(at, 16)).unwrap();
        if (entry.status & 1 != 0) != state.phase {
            return None;
        }
        let head = (state.head + 1) % state.size;
        self.pairs[pair] = Some(Pair { head, phase: state.phase ^ (head == 0), ..state });
        self.set(DOORBELLS + 8 * pair as u64 + 4, head);
        Some(entry)
    }

    /// Waits for the next completion.
    pub fn wait(&mut self, pair: usize) -> Completion {
        let until = Instant::now() + LONG;
        loop {
            if let Some(entry) = self.poll(pair) {
                return entry;
            }
            assert!(Instant::now() < until, "no completion in queue {pair}");
            std::thread::yield_now();
        }
    }

    pub fn told(entry: &Completion) -> Told {
        match Status::from_field(entry.status).code() {
            (0, 0) => Ok(entry.result),
            code => Err(code),
        }
    }

    /// One command, and what became of it.
    pub fn run(&mut self, pair: usize, command: Command) -> Told {
        let cid = self.submit(pair, command);
        let entry = self.wait(pair);
        assert_eq!((entry.cid, entry.sq_id), (cid, pair as u16), "{command:?}");
        Self::told(&entry)
    }

    pub fn admin(&mut self, command: Command) -> Told {
        self.run(0, command)
    }

    /// A data structure of Identify.
    pub fn identify(&mut self, cns: u8, nsid: u32) -> Result<Vec<u8>, (u8, u8)> {
        let opcode = admin::IDENTIFY;
        let command = Command { opcode, nsid, cdw10: cns.into(), dptr: [DATA, 0], ..none() };
        self.admin(command).map(|_| self.load(DATA, 4096))
    }
}

/// A command with nothing in it.
pub fn none() -> Command {
    Command::default()
}

/// Reads or writes so many blocks of namespace 1, at the start of [`DATA`].
pub fn transfer(opcode: u8, first: u64, blocks: u32) -> Command {
    Command {
        opcode,
        nsid: 1,
        dptr: [DATA, DATA + 0x1000],
        cdw10: first as u32,
        cdw11: (first >> 32) as u32,
        cdw12: blocks - 1,
        ..none()
    }
}

/// Bytes that differ from place to place.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..size).map(|_| byte()).collect()
}
