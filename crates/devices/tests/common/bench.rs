//! A machine with a device on it, whose memory and interrupts tests see.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Dma, Interrupts, Model, Trigger};
use mem::AddressSpace;
use parking_lot::Mutex;
use profile::{Kernel, Machine};
use uapi::iommufd::*;

use testkit::host::{Host, IOAS, MEMORY};

/// Where the program's memory is for the device: [`PAGES`] pages.
pub const IOVA: u64 = 0x100_0000;
pub const PAGES: u64 = 16;
/// Where nothing is.
pub const NOTHING: u64 = 0x4000_0000;

/// Longer than anything takes here.
pub const LONG: Duration = Duration::from_secs(20);

/// A machine whose first device is the one under test, and its program.
#[derive(Debug)]
pub struct Bench<M> {
    pub host: Host,
    pub device: Arc<M>,
    raised: Arc<Mutex<BTreeMap<u32, u32>>>,
}

/// Counts what it is told.
struct Counter(u32, Arc<Mutex<BTreeMap<u32, u32>>>);

impl Trigger for Counter {
    fn raise(&self) {
        *self.1.lock().entry(self.0).or_default() += 1;
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counter({})", self.0)
    }
}

impl<M: Model> Bench<M> {
    /// Attached to an IOAS that has the program's memory, and may reach it.
    pub fn new(machine: &str, make: impl FnOnce(Dma, Interrupts) -> M) -> Self {
        let bench = Self::apart(machine, make);
        bench.attached()
    }

    /// Neither attached nor allowed to reach memory.
    pub fn apart(machine: &str, make: impl FnOnce(Dma, Interrupts) -> M) -> Self {
        let host = Host::new(Machine::by_name(machine).unwrap(), Kernel::newest());
        let (interrupts, raised) = (Interrupts::default(), Arc::default());
        for vector in 0..16 {
            let counter = Counter(vector, Arc::clone(&raised));
            interrupts.connect(vector, Some(Arc::new(counter)));
        }
        let device = Arc::new(make(host.engine.dma(0).unwrap(), interrupts));
        Self { host, device, raised }
    }

    fn attached(mut self) -> Self {
        self.host.attach(IOAS).unwrap();
        self.map(0, PAGES);
        self.device.set_bus_master(true);
        self
    }

    /// Maps pages of the program's memory, where they are for the device.
    pub fn map(&mut self, first: u64, count: u64) {
        self.map_with(IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE, first, count);
    }

    /// The same, with rights.
    pub fn map_with(&mut self, flags: u32, first: u64, count: u64) {
        let mut cmd = iommu_ioas_map {
            flags: flags | IOMMU_IOAS_MAP_FIXED_IOVA,
            ioas_id: IOAS,
            user_va: MEMORY + first * 4096,
            length: count * 4096,
            iova: IOVA + first * 4096,
            ..Default::default()
        };
        self.host.call(&mut cmd).unwrap();
    }

    /// Writes the program's memory, by the device's address.
    pub fn store(&self, iova: u64, bytes: &[u8]) {
        self.host.client.memory.write(MEMORY + iova - IOVA, bytes).unwrap();
    }

    /// Reads it.
    pub fn load(&self, iova: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.host.client.memory.read(MEMORY + iova - IOVA, &mut bytes).unwrap();
        bytes
    }

    /// A register of so many bytes.
    pub fn get(&self, offset: u64, size: usize) -> u64 {
        let mut bytes = [0; 8];
        self.device.read(0, offset, &mut bytes[..size]);
        u64::from_le_bytes(bytes)
    }

    pub fn set(&self, offset: u64, size: usize, value: u64) {
        self.device.write(0, offset, &value.to_le_bytes()[..size]);
    }

    /// How often an interrupt was raised since the last time it was asked.
    pub fn raised(&self, vector: u32) -> u32 {
        self.raised.lock().remove(&vector).unwrap_or(0)
    }

    /// Waits for something.
    pub fn until(&self, what: &str, mut is: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + LONG;
        while !is(self) {
            assert!(Instant::now() < until, "{what}: never");
            std::thread::yield_now();
        }
    }
}

/// Bytes that differ from place to place.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed;
    (0..size)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}
