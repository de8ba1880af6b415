//! Data, by pages and by lists.

use super::*;
use zerocopy::IntoBytes;

const SGL: u8 = 1 << 6;

/// A command whose data is described by a list of one entry.
fn by_sgl(command: Command, first: SglDescriptor) -> Command {
    let SglDescriptor { address, length, kind, .. } = first;
    let second = u64::from(length) | u64::from(kind) << 56;
    Command { flags: SGL, dptr: [address, second], ..command }
}

fn descriptor(kind: u8, address: u64, length: u32) -> SglDescriptor {
    SglDescriptor { address, length, kind, ..Default::default() }
}

/// PRPs for so many bytes of scattered pages, first of them at an offset: writes lists from an address on.
fn prps(driver: &Driver, offset: u64, length: u64, list: u64) -> ([u64; 2], Vec<(u64, usize)>) {
    // every other page, backwards
    let page = |index: u64| DATA + ((2 * (200 - index)) << 12);
    let mut places = Vec::new();
    let mut left = length;
    let mut index = 0;
    while left > 0 {
        let at = page(index) + if index == 0 { offset } else { 0 };
        let part = left.min(0x1000 - at % 0x1000);
        places.push((at, part as usize));
        left -= part;
        index += 1;
    }
    let rest: Vec<u64> = places[1..].iter().map(|(at, _)| *at).collect();
    let second = match rest.len() {
        0 => 0,
        1 => rest[0],
        _ => {
            let (mut at, mut rest) = (list, &rest[..]);
            loop {
                let slots = ((0x1000 - at % 0x1000) / 8) as usize;
                if rest.len() <= slots {
                    driver.store(at, rest.as_bytes());
                    break;
                }
                driver.store(at, rest[..slots - 1].as_bytes());
                let next = (at | 0xfff) + 1 + 0x1000;
                driver.store(at + 8 * (slots as u64 - 1), &next.to_le_bytes());
                (at, rest) = (next, &rest[slots - 1..]);
            }
            list
        }
    };
    ([places[0].0, second], places)
}

#[test]
fn pages_and_lists_of_pages() {
    let mut driver = Driver::ready(&small());
    // offset in the first page, blocks, where the list begins in its page
    #[rustfmt::skip] // one transfer, one line
    let cases = [
        (0,     1,    0), (0x200, 1,    0), (0xe00, 1,    0), (0xf00, 1,    0),
        (0,     8,    0), (4,     8,    0), (0xffc, 9,    0), (0,     16,   0),
        (0x200, 16,   0), (0,     24,   8), (0x800, 1024, 0), (0,     1024, 0),
        (0,     1024, 0xff8), (0x10, 1024, 0xfe0), (0, 200, 0xff0),
    ];
    for (number, (offset, blocks, list)) in cases.into_iter().enumerate() {
        let (seed, length) = (number as u64, blocks as usize * 512);
        let (dptr, places) = prps(&driver, offset, length as u64, LISTS + list);
        let written = noise(seed, length);
        let mut done = 0;
        for (at, part) in &places {
            driver.store(*at, &written[done..done + part]);
            done += part;
        }
        let first = 5 + 2000 * seed;
        let write = Command { dptr, ..transfer(io::WRITE, first, blocks) };
        assert_eq!(driver.run(1, write), Ok(0), "write {number}");
        assert_eq!(driver.run(1, Command { opcode: io::COMPARE, ..write }), Ok(0), "{number}");
        for (at, part) in &places {
            driver.store(*at, &vec![0; *part]);
        }
        assert_eq!(driver.run(1, Command { opcode: io::READ, ..write }), Ok(0), "read {number}");
        let read: Vec<u8> = places.iter().flat_map(|(at, part)| driver.load(*at, *part)).collect();
        assert_eq!(read, written, "{number}");
        driver.store(places[0].0, &[!written[0]]);
        let told = driver.run(1, Command { opcode: io::COMPARE, ..write });
        assert_eq!(told, Err((2, 0x85)), "{number}");
    }
}

#[test]
fn lists_of_any_form() {
    let mut driver = Driver::ready(&small());
    let written = noise(3, 4096);
    driver.store(DATA, &written);
    let whole = descriptor(sgl::DATA, DATA, 4096);
    assert_eq!(driver.run(1, by_sgl(transfer(io::WRITE, 0, 8), whole)), Ok(0));

    // a segment that leads to a last one, odd lengths, nothing, and a bucket
    let more = LISTS + 0x1008;
    #[rustfmt::skip] // one descriptor, one line
    let (first, last) = ([
        descriptor(sgl::DATA,         DATA + 0x1_0001, 1),
        descriptor(sgl::DATA,         DATA + 0x2_0ffe, 1000),
        descriptor(sgl::DATA,         NOWHERE,         0),
        descriptor(sgl::LAST_SEGMENT, more,            3 * 16),
    ], [
        descriptor(sgl::BIT_BUCKET,   NOWHERE,         95),
        descriptor(sgl::DATA,         DATA + 0x3_0000, 2900),
        descriptor(sgl::DATA,         DATA + 0x4_0000, 100),
    ]);
    driver.store(LISTS, first.as_bytes());
    driver.store(more, last.as_bytes());
    let segment = descriptor(sgl::SEGMENT, LISTS, 4 * 16);
    assert_eq!(driver.run(1, by_sgl(transfer(io::READ, 0, 8), segment)), Ok(0));
    for (at, range) in
        [(0x1_0001, 0..1), (0x2_0ffe, 1..1001), (0x3_0000, 1096..3996), (0x4_0000, 3996..4096)]
    {
        assert_eq!(driver.load(DATA + at, range.len()), written[range.clone()], "{range:?}");
    }
    // what comes from the host comes from no bucket: 95 bytes are missing
    let told = driver.run(1, by_sgl(transfer(io::WRITE, 0, 8), segment));
    assert_eq!(told, Err((0, 0x0f)));

    // more descriptors than are read at once
    let many: Vec<_> =
        (0..1024).map(|it| descriptor(sgl::DATA, DATA + 2 * (4092 - 4 * it), 4)).collect();
    driver.store(LISTS, many.as_bytes());
    let segment = descriptor(sgl::LAST_SEGMENT, LISTS, 1024 * 16);
    assert_eq!(driver.run(1, by_sgl(transfer(io::READ, 0, 8), segment)), Ok(0));
    for index in [0, 1, 127, 128, 1023] {
        let at = DATA + 2 * (4092 - 4 * index as u64);
        assert_eq!(driver.load(at, 4), written[4 * index..4 * index + 4], "{index}");
    }
}

#[test]
fn lists_that_are_refused() {
    let mut driver = Driver::ready(&small());
    let data = |length| descriptor(sgl::DATA, DATA, length);
    let last = |length| descriptor(sgl::LAST_SEGMENT, LISTS, length);
    let segment = |length| descriptor(sgl::SEGMENT, LISTS, length);
    type Row = (&'static str, SglDescriptor, Vec<SglDescriptor>, (u8, u8));
    #[rustfmt::skip] // one list, one line
    let cases: Vec<Row> = vec![
        ("too short",                 data(4095),              vec![],                       (0, 0x0f)),
        ("too long",                  data(4097),              vec![],                       (0, 0x0f)),
        ("keyed",                     descriptor(0x40, 0, 0),  vec![],                       (0, 0x11)),
        ("offset of a memory buffer", descriptor(0x01, 0, 4096), vec![],                     (0, 0x11)),
        ("no descriptor",             last(0),                 vec![],                       (0, 0x0d)),
        ("half a descriptor",         last(24),                vec![],                       (0, 0x0d)),
        ("list is not there",         descriptor(sgl::SEGMENT, NOWHERE, 16), vec![],         (0, 0x04)),
        ("at the end of everything",  descriptor(sgl::SEGMENT, u64::MAX - 7, 16), vec![],    (0, 0x04)),
        ("data is not there",         last(16), vec![descriptor(sgl::DATA, NOWHERE, 4096)],  (0, 0x04)),
        ("data beyond everything",    last(16), vec![descriptor(sgl::DATA, u64::MAX, 4096)], (0, 0x04)),
        ("segment is not at the end", segment(32), vec![last(16), data(4096)],               (0, 0x0e)),
        ("segment after the last",    last(32), vec![data(4096), last(16)],                  (0, 0x0d)),
        ("keyed, in a list",          last(16), vec![descriptor(0x40, 0, 4096)],             (0, 0x11)),
        ("ring of segments",          segment(16), vec![segment(16)],                        (0, 0x0e)),
        ("endless segment",           last(0xffff_fff0), vec![],                             (0, 0x0e)),
        ("less than the data",        last(32), vec![data(4), data(4088)],                   (0, 0x0f)),
    ];
    for (what, first, list, status) in cases {
        driver.store(LISTS, list.as_bytes());
        let told = driver.run(1, by_sgl(transfer(io::READ, 0, 8), first));
        assert_eq!(told, Err(status), "{what}");
    }
    let reserved = Command { flags: 3 << 6, ..transfer(io::READ, 0, 1) };
    assert_eq!(driver.run(1, reserved), Err((0, 2)));
}

#[test]
fn pages_that_are_refused() {
    let mut driver = Driver::ready(&small());
    driver.store(LISTS, [DATA, DATA + 0x1000, DATA + 0x2004].as_bytes());
    driver.store(LISTS + 0x1ff8, &(LISTS + 8).to_le_bytes());
    #[rustfmt::skip] // one pair of pointers, one line
    let cases = [
        ("first is between words",        8,    DATA + 2,     0,              (0, 0x13)),
        ("second has an offset",          16,   DATA,         DATA + 0x1200,  (0, 0x13)),
        ("list is between words",         24,   DATA,         LISTS + 4,      (0, 0x13)),
        ("entry has an offset",           32,   DATA,         LISTS,          (0, 0x13)),
        ("list leads to one with offset", 1024, DATA,         LISTS + 0x1ff8, (0, 0x13)),
        ("list is not there",             24,   DATA,         NOWHERE,        (0, 0x04)),
        ("second is not there",           16,   DATA,         NOWHERE,        (0, 0x04)),
        ("end of everything",             8,    u64::MAX - 3, 0,              (0, 0x04)),
        ("nothing there",                 8,    0,            0,              (0, 0x04)),
        ("too much",                      1025, DATA,         LISTS,          (0, 0x02)),
    ];
    for (what, blocks, first, second, status) in cases {
        for opcode in [io::READ, io::WRITE, io::COMPARE] {
            let command = Command { dptr: [first, second], ..transfer(opcode, 0, blocks) };
            assert_eq!(driver.run(1, command), Err(status), "{what}");
        }
    }
}

#[test]
fn queues_go_round() {
    let mut driver = Driver::ready(&small());
    driver.create_pair(2, 7);
    driver.create_pair(3, 1024);
    for pair in 1..4 {
        let size = [64, 7, 1024][pair - 1];
        for round in 0..5u64 {
            let count = (size - 1).min(500);
            let cids: Vec<u16> = (0..count)
                .map(|index| {
                    let at = (round * 10_000 + index as u64) % 60_000;
                    driver.put(pair, transfer(io::READ, at, 1))
                })
                .collect();
            driver.ring(pair);
            for cid in cids {
                let entry = driver.wait(pair);
                assert_eq!((entry.cid, Driver::told(&entry)), (cid, Ok(0)), "queue {pair}");
                assert!(u32::from(entry.sq_head) < size as u32);
            }
        }
    }
}

/// A host that does not take completions out gets no more than there is room for, and nothing is lost.
#[test]
fn completions_wait_for_room() {
    let mut driver = Driver::ready(&small());
    driver.create_pair(2, 4);
    // a longer submission queue for the same completions
    let delete = Command { opcode: admin::DELETE_SQ, cdw10: 2, ..none() };
    assert_eq!(driver.admin(delete), Ok(0));
    let at = Driver::submission(3);
    let opcode = admin::CREATE_SQ;
    let create =
        Command { opcode, cdw10: 63 << 16 | 3, cdw11: 2 << 16 | 1, dptr: [at, 0], ..none() };
    assert_eq!(driver.admin(create), Ok(0));
    for index in 0..10u16 {
        let command = Command { cid: 100 + index, ..transfer(io::READ, 0, 1) };
        driver.store(at + 64 * u64::from(index), command.as_bytes());
    }
    driver.set(DOORBELLS + 8 * 3, 10);
    for index in 0..10 {
        if index % 3 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let entry = driver.wait(2);
        assert_eq!((entry.cid, entry.sq_id), (100 + index, 3));
    }
}
