//! Stores and commands of a program to a BAR that it has mapped.

#[path = "hardware/host.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod host;

use std::sync::Arc;

use engine::{Bar, File, Model};
use mem::{AddressSpace, SharedFile};
use parking_lot::Mutex;
use profile::{Kernel, Machine};
use uapi::Errno;

use host::{Host, MEMORY};

const SIZE: u64 = 0x2000;
const CONFIG: u64 = 7 << 40;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Write(u64, Vec<u8>),
    Command(u64, Vec<u8>),
}

/// A device that notes what it sees, and takes every other command.
#[derive(Debug)]
struct Portal {
    memory: Arc<SharedFile>,
    seen: Mutex<Vec<Seen>>,
}

impl Model for Portal {
    fn bar(&self, number: u32) -> Option<Bar> {
        (number < 2).then_some(Bar { size: SIZE, wide: false, prefetchable: false })
    }

    fn memory(&self, bar: u32) -> Option<Arc<SharedFile>> {
        (bar == 0).then(|| Arc::clone(&self.memory))
    }

    fn read(&self, _: u32, _: u64, to: &mut [u8]) {
        to.fill(0);
    }

    fn write(&self, _: u32, offset: u64, from: &[u8]) {
        self.seen.lock().push(Seen::Write(offset, from.to_vec()));
    }

    fn enqueue(&self, _: u32, offset: u64, command: &[u8; 64]) -> bool {
        let mut seen = self.seen.lock();
        seen.push(Seen::Command(offset, command.to_vec()));
        seen.len() % 2 == 1
    }

    fn set_bus_master(&self, _: bool) {}

    fn reset(&self) {}
}

struct Bench {
    host: Host,
    portal: Arc<Portal>,
}

impl Bench {
    fn unbound() -> Self {
        let host = Host::unbound(Machine::by_name("spr").unwrap(), Kernel::newest());
        let memory = Arc::new(SharedFile::anonymous("portal", SIZE).unwrap());
        let portal = Arc::new(Portal { memory, seen: Mutex::default() });
        assert!(host.engine.plug(0, Arc::clone(&portal) as _));
        Self { host, portal }
    }

    fn new() -> Self {
        let mut bench = Self::unbound();
        bench.host.bind(0, bench.host.fd).unwrap();
        bench
    }

    fn file(&self) -> File {
        self.host.client.open_file(self.host.cards[0])
    }

    fn store(&self, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.file().store(at, bytes).map_err(|refusal| refusal.errno())
    }

    fn enqueue(&self, at: u64) -> Result<bool, Errno> {
        self.file().enqueue(at, &[5; 64]).map_err(|refusal| refusal.errno())
    }

    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.portal.seen.lock())
    }

    fn set_command(&mut self, command: u8) {
        let file = self.file();
        self.host.client.memory.write(MEMORY, &[command]).unwrap();
        file.write_at(&mut self.host.client, MEMORY, 1, CONFIG + 4).unwrap();
    }
}

#[test]
fn mappings_are_trapped() {
    let bench = Bench::new();
    let mapping = bench.file().mmap(0x1000, 0x1000, true, false).unwrap();
    assert!(mapping.trapped && mapping.offset == 0x1000);
    assert_eq!(mapping.object.key(), bench.portal.memory.key());
    let refused = bench.file().mmap(1 << 40, 0x1000, true, false);
    assert_eq!(refused.unwrap_err().errno(), Errno::EINVAL, "it has no memory");
}

#[test]
fn a_line_is_one_write_and_others_are_accesses() {
    let bench = Bench::new();
    let bytes: Vec<u8> = (0..64).collect();
    type Row = (u64, usize, &'static [(u64, usize)]);
    #[rustfmt::skip] // one store, one line
    let cases: &[Row] = &[
        (0x00, 1,  &[(0x00, 1)]),
        (0x03, 1,  &[(0x03, 1)]),
        (0x02, 2,  &[(0x02, 2)]),
        (0x04, 4,  &[(0x04, 4)]),
        (0x08, 8,  &[(0x08, 8)]),
        (0x10, 16, &[(0x10, 8), (0x18, 8)]),
        (0x01, 4,  &[(0x01, 1), (0x02, 2), (0x04, 1)]),
        (0x40, 32, &[(0x40, 8), (0x48, 8), (0x50, 8), (0x58, 8)]),
        (0x40, 64, &[(0x40, 64)]),
        (0x44, 16, &[(0x44, 4), (0x48, 8), (0x50, 4)]),
    ];
    for (at, length, expected) in cases {
        assert_eq!(bench.store(*at, &bytes[..*length]), Ok(()));
        let expected: Vec<_> = expected
            .iter()
            .map(|(offset, size)| {
                let start = (offset - at) as usize;
                Seen::Write(*offset, bytes[start..start + size].to_vec())
            })
            .collect();
        assert_eq!(bench.seen(), expected, "{length} bytes at {at:#x}");
    }
}

#[test]
fn commands_are_taken_or_not() {
    let bench = Bench::new();
    assert_eq!(bench.enqueue(0x1040), Ok(true));
    assert_eq!(bench.enqueue(0x1040), Ok(false));
    assert_eq!(
        bench.seen(),
        [Seen::Command(0x1040, vec![5; 64]), Seen::Command(0x1040, vec![5; 64])]
    );
}

#[test]
fn others_are_refused() {
    let mut bench = Bench::new();
    #[rustfmt::skip] // one place, one line
    let places = [
        ("config space",      CONFIG + 4),
        ("behind the BAR",    SIZE),
        ("across its end",    SIZE - 4),
        ("a BAR that is not", 5 << 40),
        ("no region",         9 << 40),
        ("anywhere",          u64::MAX),
    ];
    for (what, at) in places {
        assert!(bench.store(at, &[0; 8]).is_err(), "{what}");
        assert!(bench.enqueue(at).is_err(), "{what}");
    }
    assert!(bench.enqueue(0x20).is_err(), "off its multiple");
    bench.set_command(0);
    assert!(bench.store(0, &[1]).is_err() && bench.enqueue(0).is_err(), "memory is off");
    bench.set_command(2);
    assert!(bench.store(0, &[1]).is_ok());
    let unbound = Bench::unbound();
    assert!(unbound.store(0, &[1]).is_err() && unbound.enqueue(0).is_err(), "not bound");
    assert_eq!((bench.seen().len(), unbound.seen().len()), (1, 0));
    let iommu = bench.host.client.open_file(bench.host.fd);
    assert!(iommu.store(0, &[1]).is_err() && iommu.enqueue(0, &[0; 64]).is_err());
}
