//! What operations do, one by one and in batches.

use devices::dsa::spec::{opcode, status};

use super::*;

const OK: Record = (status::SUCCESS, 0, 0, 0, 0);

#[test]
fn moves() {
    for machine in ["spr", "grace"] {
        let bench = bench_with(machine, Settings { page_requests: false, ..Settings::default() });
        bench.enable(spec::WQ_DEDICATED);
        let data = noise(3, 0x5001);
        // apart, the same, and overlapping in both directions, by more and by less than a piece
        #[rustfmt::skip]
        let cases = [
            (FROM, TO, 1), (FROM, TO, 0x5001), (FROM + 3, TO + 5, 4095), (FROM, FROM, 0x5001),
            (FROM, FROM + 1, 0x5001), (FROM + 1, FROM, 0x5001), (FROM, FROM + 0x4000, 0x5001),
            (FROM + 0x4000, FROM, 0x5001),
        ];
        for (from, to, size) in cases {
            bench.store(from, &data);
            let it = Descriptor::new(opcode::MEMMOVE).with(|it| {
                (it.source, it.destination, it.size) = (from, to, size);
            });
            assert_eq!(bench.run(&it).0, status::SUCCESS, "{machine} {from:#x} to {to:#x}");
            let size = size as usize;
            assert_eq!(bench.load(to, size), data[..size], "{machine} {from:#x} to {to:#x}");
        }
    }
}

/// A move of several pieces, as it overlaps.
#[test]
fn long_moves() {
    let bench = bench();
    let data = noise(4, 0x9000);
    for (from, to) in [(IOVA + 0x1000, IOVA + 0x1800), (IOVA + 0x1800, IOVA + 0x1000)] {
        bench.store(from, &data);
        let it = Descriptor::new(opcode::MEMMOVE).with(|it| {
            (it.source, it.destination, it.size) = (from, to, 0x9000);
        });
        assert_eq!(bench.run(&it).0, status::SUCCESS);
        assert_eq!(bench.load(to, 0x9000), data);
    }
}

#[test]
fn fills_and_nothing() {
    let bench = bench();
    bench.store(TO, &[0xee; 16]);
    let fill = Descriptor::new(opcode::MEMFILL).with(|it| {
        (it.source, it.size) = (0x0807_0605_0403_0201, 11);
    });
    assert_eq!(bench.run(&fill), OK);
    assert_eq!(bench.load(TO, 12), [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 0xee]);
    for nothing in [opcode::NOOP, opcode::DRAIN, opcode::CFLUSH] {
        assert_eq!(bench.run(&Descriptor::new(nothing)), OK);
    }
}

/// A name, an operation, what is compared of it, the result that is expected, the record.
type Comparison<'a> = (&'a str, u8, &'a [u8], &'a [u8], u32, Option<u8>, Record);

#[test]
fn comparisons() {
    let bench = bench();
    let same = noise(5, 0x3000);
    let mut other = same.clone();
    other[0x2345] ^= 1;
    let pattern = u64::from_le_bytes(same[..8].try_into().unwrap());
    let repeated: Vec<_> = same[..8].iter().copied().cycle().take(0x3000).collect();
    #[rustfmt::skip] // one comparison, one line
    let cases: &[Comparison<'_>] = &[
        ("equal",               opcode::COMPARE, &same,     &same,  0x3000, None,    (1, 0, 0, 0, 0)),
        ("not equal",           opcode::COMPARE, &same,     &other, 0x3000, None,    (1, 1, 0x2345, 0, 0)),
        ("equal until there",   opcode::COMPARE, &same,     &other, 0x2345, None,    (1, 0, 0, 0, 0)),
        ("equal as expected",   opcode::COMPARE, &same,     &same,  0x3000, Some(0), (1, 0, 0, 0, 0)),
        ("equal unexpectedly",  opcode::COMPARE, &same,     &same,  0x3000, Some(1), (2, 0, 0, 0, 0)),
        ("a pattern",           opcode::COMPVAL, &repeated, &[],    0x2fff, None,    (1, 0, 0, 0, 0)),
        ("not a pattern",       opcode::COMPVAL, &same,     &[],    0x3000, Some(0), (2, 1, 8, 0, 0)),
    ];
    for &(name, opcode, one, two, size, expected, record) in cases {
        bench.store(FROM, one);
        bench.store(TO, two);
        let it = Descriptor::new(opcode).with(|it| {
            it.size = size;
            if opcode == opcode::COMPVAL {
                it.destination = pattern;
            }
            if let Some(expected) = expected {
                it.flags |= flag::CHECK_RESULT;
                it.tail[0] = expected.into();
            }
        });
        assert_eq!(bench.run(&it), record, "{name}");
    }
}

#[test]
fn sums() {
    let bench = bench();
    bench.store(FROM, b"123456789");
    let sum = |opcode| {
        Descriptor::new(opcode).with(|it| {
            (it.destination, it.size) = (if opcode == opcode::CRCGEN { 0 } else { TO }, 9);
        })
    };
    assert_eq!(bench.run(&sum(opcode::CRCGEN)), (1, 0, 0, 0, 0xe306_9283));
    assert_eq!(bench.run(&sum(opcode::COPY_CRC)), (1, 0, 0, 0, 0xe306_9283));
    assert_eq!(bench.load(TO, 9), b"123456789");
    // in two parts, the seed once in the descriptor and once in memory
    let (.., first) = bench.run(&sum(opcode::CRCGEN).with(|it| it.size = 4));
    let rest = sum(opcode::CRCGEN).with(|it| (it.source, it.size) = (FROM + 4, 5));
    let seeded = rest.with(|it| it.tail[0] = first);
    assert_eq!(bench.run(&seeded).4, 0xe306_9283);
    bench.store(TO, &first.to_le_bytes());
    let read = rest.with(|it| {
        it.flags |= flag::READ_SEED;
        it.tail[1] = TO;
    });
    assert_eq!(bench.run(&read).4, 0xe306_9283);
}

#[test]
fn dualcast() {
    let bench = bench();
    let data = noise(6, 0x1234);
    bench.store(FROM, &data);
    let it = Descriptor::new(opcode::DUALCAST).with(|it| {
        (it.size, it.tail[0]) = (0x1234, TO + 0x3000);
    });
    assert_eq!(bench.run(&it), OK);
    assert_eq!((bench.load(TO, 0x1234), bench.load(TO + 0x3000, 0x1234)), (data.clone(), data));
}

/// Every store to the one address of a portal counts, and each batch moves its own data.
#[test]
fn a_burst_of_32_descriptors() {
    for latency in
        [devices::Latency::None, devices::Latency::Fixed(core::time::Duration::from_micros(20))]
    {
        let bench = bench_with("spr", Settings { latency, ..Settings::default() });
        bench.enable(spec::WQ_DEDICATED);
        let data = noise(7, 32 * 64);
        bench.store(FROM, &data);
        for index in 0..32 {
            bench.send(&Descriptor::new(opcode::MEMMOVE).quiet().with(|it| {
                it.source = FROM + index * 64;
                it.destination = TO + (31 - index) * 64;
                if index == 31 {
                    it.flags |= flag::RCR | flag::RCI;
                    it.handle = 3;
                }
            }));
        }
        bench.until("the last record", |it| it.load(RECORD, 1) != [0]);
        let turned: Vec<_> = data.chunks(64).rev().flatten().copied().collect();
        assert_eq!(bench.load(TO, 32 * 64), turned);
        bench.until("the interrupt", |it| it.raised(3) == 1);
        assert_eq!(bench.error(), None);
    }
}

#[test]
fn batches() {
    let bench = bench();
    let data = noise(8, 0x400);
    bench.store(FROM, &data);
    let moves: Vec<_> = (0..16)
        .map(|index| {
            Descriptor::new(opcode::MEMMOVE).quiet().with(|it| {
                (it.source, it.destination) = (FROM + index * 64, TO + index * 64);
            })
        })
        .collect();
    assert_eq!(
        bench.run(&bench.batch(&moves).with(|it| it.record -= 32)),
        (status::SUCCESS, 0, 16, 0, 0)
    );
    assert_eq!(bench.load(TO, 0x400), data);
    // none of them wanted a record
    assert_eq!(bench.load(RECORD, 32), [0; 32]);
}

/// One that fails stops what is fenced, and nothing else.
#[test]
fn batches_in_which_one_fails() {
    let bench = bench();
    for fence in [None, Some(1), Some(2), Some(3)] {
        let moves: Vec<_> = (0..4)
            .map(|index: u64| {
                Descriptor::new(opcode::MEMFILL).quiet().with(|it| {
                    it.record = RECORD - 32 * (4 - index);
                    (it.source, it.destination) = (u64::MAX, TO + index * 64);
                    if index == 1 {
                        it.destination = NOTHING;
                    }
                    if fence == Some(index) {
                        it.flags |= flag::FENCE;
                    }
                })
            })
            .collect();
        bench.store(RECORD - 128, &[0; 128]);
        bench.store(TO, &[0; 256]);
        let made = fence.filter(|fence| *fence > 1).unwrap_or(4);
        let record = bench.run(&bench.batch(&moves));
        assert_eq!(record, (status::BATCH_FAIL, 0, made as u32, 0, 0), "{fence:?}");
        for index in 0..4 {
            let wanted = if index != 1 && index < made { 0xff } else { 0 };
            assert_eq!(bench.load(TO + index * 64, 1), [wanted], "{fence:?} {index}");
        }
        let failed = bench.record_at(RECORD - 96);
        assert_eq!(failed, (status::PAGE_FAULT | status::WRITE, 0, 0, NOTHING, 0), "{fence:?}");
        assert_eq!(bench.record_at(RECORD - 128), (0, 0, 0, 0, 0), "{fence:?}");
    }
}

#[test]
fn batches_that_are_not_there() {
    let bench = bench();
    let last = IOVA + (bench::PAGES << 12) - 64;
    bench.store(last, &Descriptor::new(opcode::NOOP).quiet().encode());
    let it = Descriptor::new(opcode::BATCH).with(|it| (it.source, it.size) = (last, 2));
    assert_eq!(bench.run(&it), (status::BATCH_PAGE_FAULT, 0, 1, last + 64, 0));
}
