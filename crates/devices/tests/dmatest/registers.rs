//! The device by its registers.

use devices::dmatest::spec::{self, Operation, Outcome};
use proptest::prelude::*;

use super::*;

impl Bench {
    fn get(&self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.device.read(0, offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn set(&self, offset: u64, value: u32) {
        self.device.write(0, offset, &value.to_le_bytes());
    }

    fn put(&self, script: &[Operation]) {
        for (index, operation) in script.iter().enumerate() {
            let at = spec::SCRIPT + (index * size_of::<Operation>()) as u64;
            self.device.write(0, at, operation.as_bytes());
        }
    }

    fn settle(&self) {
        let until = Instant::now() + LONG;
        while self.get(spec::STATUS) == spec::RUNNING {
            assert!(Instant::now() < until, "the script does not end");
            std::thread::yield_now();
        }
    }

    fn outcomes(&self, script: &[Operation]) -> Vec<Outcome> {
        self.put(script);
        self.set(spec::DOORBELL, script.len() as u32);
        assert_eq!(self.get(spec::ERROR), 0);
        self.settle();
        assert_eq!(self.get(spec::STATUS), spec::COMPLETE);
        let outcome = |index: usize| {
            let mut bytes = [0; size_of::<Outcome>()];
            let at = spec::RESULTS + (index * bytes.len()) as u64;
            self.device.read(0, at, &mut bytes);
            Outcome::read_from_bytes(&bytes).unwrap()
        };
        (0..script.len()).map(outcome).collect()
    }

    fn data(&self, outcome: &Outcome) -> Vec<u8> {
        let mut bytes = vec![0; outcome.data_size as usize];
        self.device.read(0, spec::DATA + u64::from(outcome.data_offset), &mut bytes);
        bytes
    }
}

fn access(action: u32, address: u64, size: u32) -> Operation {
    Operation { action, address, size, ..Default::default() }
}

#[test]
fn scripts() {
    let bench = Bench::attached("spr");
    assert_eq!(bench.get(spec::ID).to_le_bytes(), *b"dmat");
    assert_eq!(bench.get(spec::STATUS), spec::IDLE);
    bench.store(b"abcdefgh");
    let script = [
        access(spec::READ, IOVA, 3),
        Operation { pattern: 1, ..access(spec::ATOMIC_ADD, IOVA, 0) },
        access(spec::READ, 0x1000, 3),
        access(spec::READ, IOVA, 2),
        access(77, IOVA, 2),
        Operation { flags: 1 << 9, ..access(spec::READ, IOVA, 2) },
        Operation { rights: 7, ..access(spec::TRANSLATE, IOVA, 0) },
    ];
    let outcomes = bench.outcomes(&script);
    let statuses: Vec<_> = outcomes.iter().map(|it| it.status).collect();
    use spec::*;
    assert_eq!(statuses, [DONE, DONE, REFUSED, DONE, MALFORMED, MALFORMED, DONE]);
    assert_eq!(bench.data(&outcomes[0]), b"abc");
    assert_eq!(outcomes[1].value, u64::from_le_bytes(*b"abcdefgh"));
    assert_ne!(outcomes[2].code, 0);
    assert_eq!(bench.data(&outcomes[3]), b"bb");
    assert_eq!(outcomes[6].value & 3, 3);
    assert_eq!(bench.get(COMPLETED), 1);
}

#[test]
fn what_has_no_room_is_left_out() {
    let mut bench = Bench::attached("spr");
    for page in 1..8 {
        bench.host.map(IOVA + page * 4096, RW).unwrap();
    }
    let script = [access(spec::READ, IOVA, spec::SIZE_MAX), access(spec::READ, IOVA, 1)];
    let outcomes = bench.outcomes(&script);
    assert_eq!((outcomes[0].status, outcomes[0].data_size), (spec::DONE, spec::SIZE_MAX));
    assert_eq!((outcomes[1].status, outcomes[1].data_size), (spec::DONE, 0));
}

#[test]
fn doorbells_that_are_not_taken() {
    let bench = Bench::attached("spr");
    for count in [0, spec::OPERATIONS as u32 + 1, u32::MAX] {
        bench.set(spec::DOORBELL, count);
        assert_eq!((bench.get(spec::ERROR), bench.get(spec::STATUS)), (spec::ERROR_COUNT, 0));
        bench.set(spec::ERROR, 1);
        assert_eq!(bench.get(spec::ERROR), 0);
    }
    bench.set(spec::LATENCY_KIND, spec::LATENCY_FIXED);
    bench.device.write(0, spec::LATENCY, &u64::MAX.to_le_bytes());
    bench.put(&[access(spec::READ, IOVA, 1)]);
    bench.set(spec::DOORBELL, 1);
    bench.set(spec::DOORBELL, 1);
    assert_eq!((bench.get(spec::ERROR), bench.get(spec::STATUS)), (spec::ERROR_BUSY, 1));
    bench.set(spec::RESET, 1);
    assert_eq!((bench.get(spec::ERROR), bench.get(spec::STATUS)), (0, spec::IDLE));
    assert_eq!((bench.get(spec::LATENCY_KIND), bench.get(spec::LATENCY)), (0, 0));
    assert_eq!(bench.get(spec::SCRIPT), 0);
    let outcomes = bench.outcomes(&[access(spec::READ, IOVA, 1)]);
    assert_eq!(outcomes[0].status, spec::DONE);
}

#[test]
fn writes_of_any_width() {
    let bench = Bench::new("spr");
    bench.device.write(0, spec::SEED + 1, &[0xaa, 0xbb]);
    assert_eq!(bench.get(spec::SEED), 0xbb_aa00);
    bench.device.write(0, spec::SEED + 3, &[1, 2, 3]);
    assert_eq!((bench.get(spec::SEED), bench.get(spec::SEED + 4)), (0x01bb_aa00, 0x0302));
    bench.device.write(0, spec::ID, &[0xff; 12]);
    assert_eq!((bench.get(spec::ID), bench.get(spec::STATUS)), (spec::ID_VALUE, spec::IDLE));
    bench.device.write(0, spec::RESULTS, &[0xff; 8]);
    bench.device.write(0, spec::DATA, &[0xff; 8]);
    assert_eq!((bench.get(spec::RESULTS), bench.get(spec::DATA)), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any writes, anywhere, with resets between: no panic, no hang, and the device still works.
    #[test]
    fn nothing_breaks_it(writes in prop::collection::vec(
        (0..=spec::BAR_SIZE, prop::collection::vec(any::<u8>(), 0..80), 0..12u8), 0..60,
    )) {
        let bench = Bench::attached("spr");
        for (offset, bytes, what) in writes {
            match what {
                0 => bench.device.reset(),
                1 => bench.set(spec::DOORBELL, u32::from(bytes.first().copied().unwrap_or(1))),
                2 => bench.device.set_bus_master(bytes.len() % 2 == 0),
                3 => bench.put(&[access(u32::from(bytes.first().copied().unwrap_or(1)) % 10, IOVA, 9)]),
                _ => bench.device.write(0, offset % 0x2000, &bytes),
            }
            let mut seen = [0; 16];
            bench.device.read(0, offset, &mut seen);
        }
        bench.device.reset();
        bench.device.set_bus_master(true);
        let outcomes = bench.outcomes(&[access(spec::READ, IOVA, 1)]);
        prop_assert_eq!(outcomes[0].status, spec::DONE);
    }
}
