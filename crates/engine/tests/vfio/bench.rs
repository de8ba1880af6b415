//! A program and a device that notes what reaches it.

use std::sync::Arc;

use engine::{Bar, DmaLog, Model, Vectors};
use mem::{AddressSpace, PAGE_SIZE, SharedFile};
use parking_lot::Mutex;
use profile::{Kernel, Machine};
use uapi::Errno;

use testkit::host::{Host, MEMORY};

/// Bytes of the first BAR.
pub const SIZE: u64 = 0x4000;
/// Where configuration space is in the file.
pub const CONFIG: u64 = 7 << 40;
pub const INVAL: Result<u64, Errno> = Err(Errno::EINVAL);
pub const EFAULT: Result<u64, Errno> = Err(Errno::EFAULT);
pub const EIO: Result<u64, Errno> = Err(Errno::EIO);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Read(u32, u64, usize),
    Write(u32, u64, Vec<u8>),
    Enqueue(u32, u64, Vec<u8>),
    Master(bool),
    Reset,
}

/// A device that notes what it sees. A register reads as the low byte of its offset.
#[derive(Debug, Default)]
pub struct Witness {
    seen: Mutex<Vec<Seen>>,
    vectors: Vectors,
    memory: Option<Arc<SharedFile>>,
    pub log: Option<DmaLog>,
}

impl Witness {
    /// What it has seen since the last time.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock())
    }

    fn note(&self, seen: Seen) {
        self.seen.lock().push(seen);
    }
}

impl Model for Witness {
    fn bar(&self, number: u32) -> Option<Bar> {
        match number {
            0 => Some(Bar { size: SIZE, wide: true, prefetchable: true }),
            2 => Some(Bar { size: 16, wide: false, prefetchable: false }),
            _ => None,
        }
    }

    fn memory(&self, bar: u32) -> Option<Arc<SharedFile>> {
        self.memory.clone().filter(|_| bar == 0)
    }

    fn vectors(&self) -> Vectors {
        self.vectors
    }

    fn read(&self, bar: u32, offset: u64, to: &mut [u8]) {
        self.note(Seen::Read(bar, offset, to.len()));
        (offset..).zip(to).for_each(|(at, byte)| *byte = at as u8);
    }

    fn write(&self, bar: u32, offset: u64, from: &[u8]) {
        self.note(Seen::Write(bar, offset, from.to_vec()));
    }

    fn enqueue(&self, bar: u32, offset: u64, command: &[u8; 64]) -> bool {
        self.note(Seen::Enqueue(bar, offset, command.to_vec()));
        offset == 0x40
    }

    fn dma_log(&self) -> Option<&DmaLog> {
        self.log.as_ref()
    }

    fn set_bus_master(&self, on: bool) {
        self.note(Seen::Master(on));
    }

    fn reset(&self) {
        self.note(Seen::Reset);
    }
}

/// A program with such a device, which is not bound yet or the first object but one of its iommufd.
pub struct Bench {
    pub host: Host,
    pub witness: Arc<Witness>,
}

impl Bench {
    pub fn unbound_on(machine: &str, kernel: &str, vectors: Vectors, memory: bool) -> Self {
        let kernel = Kernel::by_name(kernel).unwrap();
        Self::unbound_of(Machine::by_name(machine).unwrap(), kernel, vectors, memory)
    }

    pub fn unbound_of(
        machine: &Machine,
        kernel: &'static Kernel,
        vectors: Vectors,
        memory: bool,
    ) -> Self {
        let memory = memory.then(|| SharedFile::anonymous("witness", SIZE).unwrap().into());
        Self::unbound_with(machine, kernel, Witness { vectors, memory, ..Witness::default() })
    }

    fn unbound_with(machine: &Machine, kernel: &'static Kernel, witness: Witness) -> Self {
        let host = Host::unbound(machine, kernel);
        let witness = Arc::new(witness);
        assert!(host.engine.plug(0, Arc::clone(&witness) as _));
        Self { host, witness }
    }

    pub fn unbound() -> Self {
        Self::unbound_on("spr", "7.3", Vectors::default(), false)
    }

    pub fn new() -> Self {
        Self::unbound().bound()
    }

    /// With interrupts.
    pub fn with(vectors: Vectors) -> Self {
        Self::unbound_on("spr", "7.3", vectors, false).bound()
    }

    /// With a log of what the device writes.
    pub fn with_log(kernel: &str) -> Self {
        let (machine, kernel) =
            (Machine::by_name("spr").unwrap(), Kernel::by_name(kernel).unwrap());
        let witness = Witness { log: Some(DmaLog::default()), ..Witness::default() };
        Self::unbound_with(machine, kernel, witness).bound()
    }

    pub fn bound(mut self) -> Self {
        self.host.bind(0, self.host.fd).unwrap();
        self.witness.seen();
        self
    }

    pub fn pread(&mut self, va: u64, count: u64, at: u64) -> Result<u64, Errno> {
        let file = self.host.client.open_file(self.host.cards[0]);
        let done = file.read(&mut self.host.client, va, count, Some(at));
        done.map_err(|refusal| refusal.errno())
    }

    pub fn pwrite(&mut self, va: u64, count: u64, at: u64) -> Result<u64, Errno> {
        let file = self.host.client.open_file(self.host.cards[0]);
        let done = file.write(&mut self.host.client, va, count, Some(at));
        done.map_err(|refusal| refusal.errno())
    }

    pub fn load(&mut self, at: u64, count: usize) -> Vec<u8> {
        assert_eq!(self.pread(MEMORY, count as u64, at), Ok(count as u64));
        let mut bytes = vec![0; count];
        self.host.client.memory.read(MEMORY, &mut bytes).unwrap();
        bytes
    }

    pub fn store(&mut self, at: u64, bytes: &[u8]) {
        self.host.client.memory.write(MEMORY, bytes).unwrap();
        assert_eq!(self.pwrite(MEMORY, bytes.len() as u64, at), Ok(bytes.len() as u64));
    }

    /// A call with these words as its argument, of which `room` bytes are there; the words afterwards.
    pub fn call(&mut self, cmd: u32, words: &[u32], room: u64) -> (Result<(), Errno>, Vec<u32>) {
        let at = MEMORY + 16 * PAGE_SIZE - room;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut bytes = bytes[..bytes.len().min(room as usize)].to_vec();
        self.host.client.memory.write(at, &bytes).unwrap();
        let result = self.host.client.ioctl(self.host.cards[0], cmd, at);
        self.host.client.memory.read(at, &mut bytes).unwrap();
        let words = bytes.chunks_exact(4).map(|it| u32::from_ne_bytes(it.try_into().unwrap()));
        (result.map(drop).map_err(|refusal| refusal.errno()), words.collect())
    }
}
