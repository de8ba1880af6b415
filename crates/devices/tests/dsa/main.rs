//! `dsa` on machines: queues, operations, batches, errors, page faults, commands.

#[path = "../common/bench.rs"]
mod bench;
mod commands;
#[path = "../common/faults.rs"]
mod faults;
mod operations;
mod queues;
mod registers;
mod wrong;

use devices::dsa::spec::{self, command, flag};
use devices::dsa::{Dsa, Settings};
use engine::Model;

use bench::{Bench, IOVA, NOTHING, noise};

/// Where things are: descriptors of a batch, completion records, data.
const LIST: u64 = IOVA;
const RECORD: u64 = IOVA + 0xfe0;
const FROM: u64 = IOVA + 0x1000;
const TO: u64 = IOVA + 0x8000;

const RECORDS: u32 = flag::CRAV | flag::RCR;

/// A descriptor, by its fields.
#[derive(Clone, Copy)]
struct Descriptor {
    head: u32,
    flags: u32,
    opcode: u8,
    record: u64,
    source: u64,
    destination: u64,
    size: u32,
    handle: u16,
    reserved: u16,
    tail: [u64; 3],
}

impl Descriptor {
    fn new(opcode: u8) -> Self {
        Self {
            head: 0,
            flags: RECORDS,
            opcode,
            record: RECORD,
            source: FROM,
            destination: TO,
            size: 64,
            handle: 0,
            reserved: 0,
            tail: [0; 3],
        }
    }

    /// Without a completion record, if it succeeds.
    fn quiet(mut self) -> Self {
        self.flags = flag::CRAV;
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn encode(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..4].copy_from_slice(&self.head.to_le_bytes());
        bytes[4..8].copy_from_slice(&(self.flags | u32::from(self.opcode) << 24).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.record.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.source.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.destination.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.size.to_le_bytes());
        bytes[36..38].copy_from_slice(&self.handle.to_le_bytes());
        bytes[38..40].copy_from_slice(&self.reserved.to_le_bytes());
        bytes[40..].copy_from_slice(self.tail.map(u64::to_le_bytes).as_flattened());
        bytes
    }
}

/// A completion record: status, result, bytes, fault, value.
type Record = (u8, u8, u32, u64, u64);

fn bench_with(machine: &str, settings: Settings) -> Bench<Dsa> {
    Bench::new(machine, |dma, interrupts| Dsa::new(dma, interrupts, settings).unwrap())
}

/// With the first queue enabled, dedicated and with all the room.
fn bench() -> Bench<Dsa> {
    let bench = bench_with("spr", Settings::default());
    bench.enable(spec::WQ_DEDICATED);
    bench
}

impl Bench<Dsa> {
    /// A command: error and result.
    fn command(&self, name: u32, operand: u32) -> (u32, u32) {
        self.set(spec::CMD, 4, (name << spec::CMD_SHIFT | operand).into());
        let active = u64::from(spec::CMDSTS_ACTIVE);
        self.until("the end of a command", |it| it.get(spec::CMDSTS, 4) & active == 0);
        let status = self.get(spec::CMDSTS, 4) as u32;
        (status & 0xff, status >> spec::CMDSTS_RESULT_SHIFT)
    }

    /// Configures a queue: its size, mode and longest transfers.
    fn configure(&self, queue: u64, size: u32, mode: u32) {
        let at = spec::WQCFG + queue * spec::CONFIG_SIZE;
        self.set(at, 4, size.into());
        self.set(at + 8, 4, u64::from(mode) | 1 << 4);
        self.set(at + 12, 4, u64::from(18 | spec::BATCH_ORDER << 5));
    }

    /// Makes the first queue one of such a mode, and all that it takes.
    fn enable(&self, mode: u32) {
        self.configure(0, spec::TOTAL_SIZE, mode);
        self.set(spec::GRPCFG, 8, 1);
        self.set(spec::GRPCFG + spec::GRPCFG_ENGINES, 8, 1);
        assert_eq!(self.command(command::ENABLE_DEVICE, 0), (0, 0));
        assert_eq!(self.command(command::ENABLE_WQ, 0), (0, 0));
    }

    /// Stores a descriptor into the first queue's portal.
    fn send(&self, descriptor: &Descriptor) {
        self.device.write(2, 0, &descriptor.encode());
    }

    fn record_at(&self, at: u64) -> Record {
        let bytes = self.load(at, 32);
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        (bytes[0], bytes[1], (word(0) >> 32) as u32, word(8), word(16))
    }

    /// Its record, once it is there.
    fn run(&self, descriptor: &Descriptor) -> Record {
        self.store(descriptor.record, &[0; 32]);
        self.send(descriptor);
        self.until("a completion record", |it| it.load(descriptor.record, 1) != [0]);
        self.record_at(descriptor.record)
    }

    /// Puts descriptors of a batch, and gives the batch.
    fn batch(&self, descriptors: &[Descriptor]) -> Descriptor {
        for (index, descriptor) in descriptors.iter().enumerate() {
            self.store(LIST + 64 * index as u64, &descriptor.encode());
        }
        Descriptor::new(spec::opcode::BATCH).with(|it| {
            (it.source, it.destination, it.size) = (LIST, 0, descriptors.len() as u32);
        })
    }

    /// The error that no record told: status, operation, fault; it is acknowledged.
    fn error(&self) -> Option<(u8, u8, u64)> {
        let first = self.get(spec::SWERR, 8);
        self.set(spec::SWERR, 8, spec::SWERR_ACK);
        assert_eq!(self.get(spec::SWERR, 8) & spec::SWERR_ACK, 0);
        let told = ((first >> 8) as u8, (first >> 32) as u8, self.get(spec::SWERR + 16, 8));
        (first & 1 != 0).then_some(told)
    }
}
