//! A VFIO device's own side: information, regions, configuration space, reset
//! (`drivers/vfio/pci/vfio_pci_core.c`, `vfio_pci_rdwr.c`, `vfio_pci_config.c` of 7.3, and alike in 6.11
//! to 7.3).

use std::sync::Arc;

use engine::{Bar, Model};
use mem::{AddressSpace, PAGE_SIZE};
use parking_lot::Mutex;
use profile::{Kernel, Machine};
use testkit::host::{Host, MEMORY, UNMAPPED};
use uapi::Errno;
use uapi::vfio::*;
use zerocopy::{FromBytes, IntoBytes};

const SIZE: u64 = 0x1000;
const CONFIG: u64 = 7 << 40;
const INVAL: Result<u64, Errno> = Err(Errno::EINVAL);
const EFAULT: Result<u64, Errno> = Err(Errno::EFAULT);
const EIO: Result<u64, Errno> = Err(Errno::EIO);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Read(u32, u64, usize),
    Write(u32, u64, Vec<u8>),
    Master(bool),
    Reset,
}

/// A device that notes what it sees. A register reads as the low byte of its offset.
#[derive(Debug, Default)]
struct Witness(Mutex<Vec<Seen>>);

impl Witness {
    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.0.lock())
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

    fn read(&self, bar: u32, offset: u64, to: &mut [u8]) {
        self.0.lock().push(Seen::Read(bar, offset, to.len()));
        (offset..).zip(to).for_each(|(at, byte)| *byte = at as u8);
    }

    fn write(&self, bar: u32, offset: u64, from: &[u8]) {
        self.0.lock().push(Seen::Write(bar, offset, from.to_vec()));
    }

    fn set_bus_master(&self, on: bool) {
        self.0.lock().push(Seen::Master(on));
    }

    fn reset(&self) {
        self.0.lock().push(Seen::Reset);
    }
}

struct Bench {
    host: Host,
    witness: Arc<Witness>,
}

impl Bench {
    fn unbound() -> Self {
        let host = Host::unbound(Machine::by_name("spr").unwrap(), Kernel::newest());
        let witness = Arc::new(Witness::default());
        assert!(host.engine.plug(0, Arc::clone(&witness) as _));
        Self { host, witness }
    }

    fn new() -> Self {
        let mut bench = Self::unbound();
        bench.host.bind(0, bench.host.fd).unwrap();
        bench.witness.seen();
        bench
    }

    fn pread(&mut self, va: u64, count: u64, at: u64) -> Result<u64, Errno> {
        let file = self.host.client.open_file(self.host.cards[0]);
        let done = file.read(&mut self.host.client, va, count, Some(at));
        done.map_err(|refusal| refusal.errno())
    }

    fn pwrite(&mut self, va: u64, count: u64, at: u64) -> Result<u64, Errno> {
        let file = self.host.client.open_file(self.host.cards[0]);
        let done = file.write(&mut self.host.client, va, count, Some(at));
        done.map_err(|refusal| refusal.errno())
    }

    fn load(&mut self, at: u64, count: usize) -> Vec<u8> {
        assert_eq!(self.pread(MEMORY, count as u64, at), Ok(count as u64));
        let mut bytes = vec![0; count];
        self.host.client.memory.read(MEMORY, &mut bytes).unwrap();
        bytes
    }

    fn store(&mut self, at: u64, bytes: &[u8]) {
        self.host.client.memory.write(MEMORY, bytes).unwrap();
        assert_eq!(self.pwrite(MEMORY, bytes.len() as u64, at), Ok(bytes.len() as u64));
    }

    /// A call with these words as its argument, of which `room` bytes are there; the words afterwards.
    fn call(&mut self, cmd: u32, words: &[u32], room: u64) -> (Result<(), Errno>, Vec<u32>) {
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

#[test]
fn nothing_works_before_a_bind() {
    let mut bench = Bench::unbound();
    let calls = [
        VFIO_DEVICE_GET_INFO,
        VFIO_DEVICE_GET_REGION_INFO,
        VFIO_DEVICE_GET_IRQ_INFO,
        VFIO_DEVICE_RESET,
    ];
    for cmd in calls {
        assert_eq!(bench.call(cmd, &[32; 8], 32).0, Err(Errno::EINVAL), "{cmd:#x}");
    }
    assert_eq!(bench.pread(MEMORY, 0, 0), INVAL);
    assert_eq!(bench.pwrite(MEMORY, 4, 0), INVAL);
    assert_eq!(bench.witness.seen(), []);
    let other = Arc::new(Witness::default());
    assert!(!bench.host.engine.plug(0, Arc::clone(&other) as _));
    assert!(!bench.host.engine.plug(9, other));
}

#[test]
fn information() {
    const INFO: u32 = VFIO_DEVICE_GET_INFO;
    const REGION: u32 = VFIO_DEVICE_GET_REGION_INFO;
    const IRQ: u32 = VFIO_DEVICE_GET_IRQ_INFO;
    let (inval, efault) = (Err(Errno::EINVAL), Err(Errno::EFAULT));
    type Row = (&'static str, u32, &'static [u32], u64, Result<(), Errno>, &'static [u32]);
    #[rustfmt::skip] // one call, one line
    let rows: &[Row] = &[
        ("device",              INFO,   &[24, 7, 7, 7, 7, 7, 7],       64, Ok(()),  &[24, 3, 9, 5, 0, 0, 7]),
        ("larger",              INFO,   &[64, 7, 7, 7, 7, 7, 7],       64, Ok(()),  &[64, 3, 9, 5, 0, 0, 7]),
        ("of before 6.6",       INFO,   &[20, 7, 7, 7, 7, 7, 7],       64, Ok(()),  &[20, 3, 9, 5, 0, 7, 7]),
        ("what is needed",      INFO,   &[16, 7, 7, 7, 7, 7, 7],       64, Ok(()),  &[16, 3, 9, 5, 7, 7, 7]),
        ("too short",           INFO,   &[15, 7, 7, 7, 7, 7, 7],       64, inval,   &[15, 7, 7, 7, 7, 7, 7]),
        ("not there",           INFO,   &[24, 7, 7],                   12, efault,  &[24, 7, 7]),
        ("no room to answer",   INFO,   &[24, 7, 7, 7],                16, efault,  &[24, 3, 9, 5]),
        ("BAR0",                REGION, &[32, 7, 0, 7, 7, 7, 7, 7],    64, Ok(()),  &[32, 3, 0, 7, 0x1000, 0, 0, 0]),
        ("upper half of BAR0",  REGION, &[32, 7, 1, 7, 7, 7, 7, 7],    64, Ok(()),  &[32, 0, 1, 7, 0, 0, 0, 0x100]),
        ("BAR2",                REGION, &[99, 7, 2, 7, 7, 7, 7, 7],    64, Ok(()),  &[99, 3, 2, 7, 16, 0, 0, 0x200]),
        ("BAR5",                REGION, &[32, 7, 5, 7, 7, 7, 7, 7],    64, Ok(()),  &[32, 0, 5, 7, 0, 0, 0, 0x500]),
        ("ROM",                 REGION, &[32, 7, 6, 7, 7, 7, 7, 7],    64, Ok(()),  &[32, 0, 6, 7, 0, 0, 0, 0x600]),
        ("configuration space", REGION, &[32, 7, 7, 7, 7, 7, 7, 7],    64, Ok(()),  &[32, 3, 7, 7, 256, 0, 0, 0x700]),
        ("VGA",                 REGION, &[32, 7, 8, 7, 7, 7, 7, 7],    64, inval,   &[32, 7, 8, 7, 7, 7, 7, 7]),
        ("no region",           REGION, &[32, 7, 9, 7, 7, 7, 7, 7],    64, inval,   &[32, 7, 9, 7, 7, 7, 7, 7]),
        ("too short",           REGION, &[31, 7, 0, 7, 7, 7, 7, 7],    64, inval,   &[31, 7, 0, 7, 7, 7, 7, 7]),
        ("not there",           REGION, &[32, 7, 9, 7],                16, efault,  &[32, 7, 9, 7]),
        ("pin",                 IRQ,    &[16, 7, 0, 7, 7],             64, Ok(()),  &[16, 7, 0, 0, 7]),
        ("MSI-X",               IRQ,    &[16, 7, 2, 7, 7],             64, Ok(()),  &[16, 9, 2, 0, 7]),
        ("last kind",           IRQ,    &[16, 7, 4, 7, 7],             64, Ok(()),  &[16, 9, 4, 0, 7]),
        ("no kind",             IRQ,    &[16, 7, 5, 7, 7],             64, inval,   &[16, 7, 5, 7, 7]),
        ("too short",           IRQ,    &[15, 7, 0, 7, 7],             64, inval,   &[15, 7, 0, 7, 7]),
        ("not there",           IRQ,    &[16, 7],                      8,  efault,  &[16, 7]),
    ];
    for (what, cmd, words, room, answer, after) in rows {
        let mut bench = Bench::new();
        let (result, told) = bench.call(*cmd, words, *room);
        assert_eq!((result, told.as_slice()), (*answer, *after), "{what}");
    }
}

#[test]
fn transfers() {
    let last = i64::MAX as u64;
    type Row = (&'static str, u64, u64, u64, Result<u64, Errno>);
    #[rustfmt::skip] // one transfer, one line
    let rows: &[Row] = &[
        // what,                 va,       count,    position,         answer of both
        ("a register",           MEMORY,   4,        0x10,             Ok(4)),
        ("nothing",              MEMORY,   0,        0x10,             Ok(0)),
        ("nothing, nowhere",     MEMORY,   0,        99 << 40,         Ok(0)),
        ("up to the end",        MEMORY,   99,       SIZE - 3,         Ok(3)),
        ("beyond the end",       MEMORY,   1,        SIZE,             INVAL),
        ("no BAR",               MEMORY,   1,        1 << 40,          INVAL),
        ("ROM",                  MEMORY,   1,        6 << 40,          INVAL),
        ("VGA",                  MEMORY,   1,        8 << 40,          INVAL),
        ("no region",            MEMORY,   1,        9 << 40,          INVAL),
        ("no region at all",     MEMORY,   1,        last - 1,         INVAL),
        ("past all positions",   MEMORY,   2,        last,             INVAL),
        ("negative count",       MEMORY,   1 << 63,  0,                EFAULT),
        ("no memory",            UNMAPPED, 4,        0,                EFAULT),
        ("all of it",            MEMORY,   SIZE,     0,                Ok(SIZE)),
        ("configuration",        MEMORY,   256,      CONFIG,           Ok(256)),
        ("beyond it",            MEMORY,   256,      CONFIG + 1,       EFAULT),
        ("a BAR first",          UNMAPPED, 4,        SIZE,             INVAL),
    ];
    for (what, va, count, position, answer) in rows {
        let mut bench = Bench::new();
        assert_eq!(bench.pread(*va, *count, *position), *answer, "reading {what}");
        assert_eq!(bench.pwrite(*va, *count, *position), *answer, "writing {what}");
    }
}

#[test]
fn accesses_reach_the_device_as_wide_as_they_can() {
    let mut bench = Bench::new();
    assert_eq!(bench.load(0x13, 6), [0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
    use Seen::*;
    assert_eq!(bench.witness.seen(), [Read(0, 0x13, 1), Read(0, 0x14, 4), Read(0, 0x18, 1)]);
    bench.store(2 << 40, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    let parts = [Write(2, 0, vec![1, 2, 3, 4, 5, 6, 7, 8]), Write(2, 8, vec![9, 10])];
    assert_eq!(bench.witness.seen(), parts);
    // what is there before memory ends is written
    let end = MEMORY + 16 * PAGE_SIZE;
    bench.host.client.memory.write(end - 8, &[7; 8]).unwrap();
    assert_eq!(bench.pwrite(end - 8, 16, 0), EFAULT);
    assert_eq!(bench.witness.seen(), [Write(0, 0, vec![7; 8])]);
    assert_eq!(bench.pread(end - 8, 16, 0), EFAULT);
}

#[test]
fn the_files_own_position() {
    let mut bench = Bench::new();
    let file = bench.host.client.open_file(bench.host.cards[0]);
    let client = &mut bench.host.client;
    assert_eq!(file.read(client, MEMORY, 4, None), Ok(4));
    assert_eq!(file.write(client, MEMORY, 8, None), Ok(8));
    assert_eq!(file.read(client, MEMORY, 1, None), Ok(1));
    assert!(file.has_positions());
    use Seen::*;
    let bytes = vec![0, 1, 2, 3];
    let seen = [Read(0, 0, 4), Write(0, 4, bytes), Write(0, 8, vec![0; 4]), Read(0, 12, 1)];
    assert_eq!(bench.witness.seen(), seen);
}

#[test]
fn configuration_space() {
    let mut bench = Bench::new();
    let header = bench.load(CONFIG, 64);
    // vendor, device, memory on, status, revision and class of spr's device
    assert_eq!(header[..16], [0x86, 0x80, 0x25, 0x0b, 2, 0, 0, 0, 0, 0, 0x80, 8, 0, 0, 0, 0]);
    let bar = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let first = bar(&header[16..24]);
    assert_eq!((first & 0xfff, first >> 44), (0xc, 2), "{first:#x}");
    assert_eq!(header[28..], [0; 36]);

    // how large a BAR is
    bench.store(CONFIG + 16, &[0xff; 24]);
    let sized = bench.load(CONFIG + 16, 24);
    assert_eq!(bar(&sized[..8]), !0xfff | 0xc);
    assert_eq!(sized[8..], [0xf0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

    // what else may be written
    bench.witness.seen();
    bench.store(CONFIG, &[0xff; 16]);
    let header = bench.load(CONFIG, 16);
    assert_eq!(header, [0x86, 0x80, 0x25, 0x0b, 0x46, 5, 0, 0, 0, 0, 0x80, 8, 0xff, 0, 0, 0]);
    assert_eq!(bench.witness.seen(), [Seen::Master(true)]);
    bench.store(CONFIG + 0x30, &[0xff; 208]);
    let rest = bench.load(CONFIG + 0x30, 208);
    assert!(rest.iter().enumerate().all(|(at, byte)| (at == 12) == (*byte == 0xff)), "{rest:?}");
}

#[test]
fn memory_that_is_off() {
    let mut bench = Bench::new();
    bench.store(CONFIG + 4, &[0, 0]);
    assert_eq!(bench.pread(MEMORY, 4, 0), EIO);
    assert_eq!(bench.pwrite(MEMORY, 4, 0), EIO);
    assert_eq!(bench.witness.seen(), []);
    bench.store(CONFIG + 4, &[2]);
    assert_eq!(bench.pread(MEMORY, 4, 0), Ok(4));
}

#[test]
fn resets() {
    let mut bench = Bench::unbound();
    bench.host.bind(0, bench.host.fd).unwrap();
    use Seen::*;
    assert_eq!(bench.witness.seen(), [Master(false), Reset], "bind");
    bench.store(CONFIG + 4, &[6]);
    bench.store(CONFIG + 0x3c, &[9]);
    bench.witness.seen();
    let answer = bench.host.client.ioctl(bench.host.cards[0], VFIO_DEVICE_RESET, UNMAPPED);
    assert_eq!(answer, Ok(0));
    assert_eq!(bench.witness.seen(), [Reset], "reset");
    assert_eq!(bench.load(CONFIG + 4, 1), [6], "configuration is restored");
    bench.host.client.close(bench.host.cards[0]);
    assert_eq!(bench.witness.seen(), [Master(false), Reset], "close");
    let card = bench.host.open_card(0).unwrap();
    bench.host.cards[0] = card;
    bench.host.bind_card(card, bench.host.fd).unwrap();
    assert_eq!(bench.load(CONFIG + 4, 1), [2]);
    assert_eq!(bench.load(CONFIG + 0x3c, 1), [0]);
}

#[test]
fn a_function_without_a_device() {
    let mut host = Host::new(Machine::by_name("spr").unwrap(), Kernel::newest());
    let mut info = vfio_region_info { argsz: 32, ..Default::default() };
    let card = host.cards[0];
    host.vfio(card, VFIO_DEVICE_GET_REGION_INFO, &mut info).unwrap();
    assert_eq!((info.flags, info.size), (0, 0));
    let file = host.client.open_file(card);
    assert!(file.read(&mut host.client, MEMORY, 4, Some(0)).is_err());
    assert_eq!(file.read(&mut host.client, MEMORY, 64, Some(CONFIG)), Ok(64));
    let mut bytes = [0; 64];
    host.client.memory.read(MEMORY, &mut bytes).unwrap();
    assert_eq!(u16::read_from_bytes(&bytes[..2]).unwrap().as_bytes(), [0x86, 0x80]);
    assert_eq!(bytes[0x10..0x28], [0; 24]);
}
