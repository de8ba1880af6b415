//! Whatever is written, there is an answer, and a reset brings the controller back.

use super::*;
use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

/// It answers a driver that begins anew, and stores what it is told to.
fn works(driver: &mut Driver) {
    driver.device.set_bus_master(true);
    driver.device.reset();
    driver.enable();
    driver.create_pair(1, 64);
    let data = noise(9, 512);
    driver.store(DATA, &data);
    assert_eq!(driver.run(1, transfer(io::WRITE, 77, 1)), Ok(0));
    driver.store(DATA, &[0; 512]);
    assert_eq!(driver.run(1, transfer(io::READ, 77, 1)), Ok(0));
    assert_eq!(driver.load(DATA, 512), data);
}

/// Addresses that lead somewhere, mostly, and not to the queues.
fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0x100..PAGES).prop_map(|page| BASE + (page << 12)),
        2 => (0x10_0000..PAGES << 12).prop_map(|at| BASE + at),
        1 => any::<u64>(),
        1 => Just(u64::MAX - 7),
    ]
}

fn write() -> impl Strategy<Value = (u64, Vec<u8>)> {
    let registers = prop_oneof![0..0x40u64, 0x1000..0x1220u64, 0..0x4000u64];
    let sound = (address(), 0..8u32).prop_map(|(at, which)| match which {
        0 => (ASQ, at.to_le_bytes().to_vec()),
        1 => (ACQ, at.to_le_bytes().to_vec()),
        2 => (CC, (Driver::CONFIGURATION | CC_ENABLE).to_le_bytes().to_vec()),
        3 => (CC, 0u32.to_le_bytes().to_vec()),
        4 => (AQA, 0x001f_001fu32.to_le_bytes().to_vec()),
        5 => (NSSR, NSSR_VALUE.to_le_bytes().to_vec()),
        _ => (DOORBELLS, (at as u32 >> 12 & 31).to_le_bytes().to_vec()),
    });
    prop_oneof![
        sound,
        (registers, 0..4u32, any::<u64>()).prop_map(|(at, width, value)| {
            let width = 1 << width;
            (at & !(width - 1), value.to_le_bytes()[..width as usize].to_vec())
        }),
    ]
}

/// A command that is right in some of its parts.
fn command() -> impl Strategy<Value = Command> {
    let opcode = prop_oneof![8 => 0..0x10u8, 1 => Just(0x80), 1 => any::<u8>()];
    let flags = prop_oneof![4 => Just(0u8), 3 => Just(0x40), 1 => any::<u8>()];
    let small = || prop_oneof![0..20u32, (0..70u32).prop_map(|it| it << 16 | it), any::<u32>()];
    let second = prop_oneof![
        address(),
        (0..4u64, 0..70_000u64).prop_map(|(kind, length)| kind << 60 | length)
    ];
    (opcode, flags, 0..4u32, address(), second, small(), small(), small()).prop_map(
        |(opcode, flags, nsid, first, second, cdw10, cdw11, cdw12)| Command {
            opcode,
            flags,
            nsid,
            dptr: [first, second],
            cdw10,
            cdw11,
            cdw12,
            ..none()
        },
    )
}

/// Bytes that lead somewhere when they are taken for addresses or descriptors.
fn lead_on(driver: &Driver, seed: u64) {
    let words: Vec<u64> = noise(seed, 0x8000)
        .chunks_exact(8)
        .map(|it| {
            let word = u64::read_from_bytes(it).unwrap();
            match word % 3 {
                0 => DATA + (((word >> 40) % (PAGES - 0x100)) << 12),
                1 => (((word >> 20) % 5) << 60) | ((word >> 40) % 4096 * 16),
                _ => word,
            }
        })
        .collect();
    driver.store(LISTS, words.as_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn registers(
        writes in prop::collection::vec(write(), 1..60),
        seed in any::<u64>(),
        masters in any::<bool>(),
    ) {
        let mut driver = Driver::new(&small());
        driver.store(BASE, &noise(seed, 0x2_0000));
        driver.device.set_bus_master(masters);
        for (at, bytes) in &writes {
            driver.device.write(0, *at, bytes);
            let mut read = vec![0; bytes.len()];
            driver.device.read(0, *at, &mut read);
        }
        works(&mut driver);
    }

    /// Each command is answered, but those that wait for events.
    #[test]
    fn commands(
        commands in prop::collection::vec((0..2usize, command()), 1..50),
        seed in any::<u64>(),
    ) {
        let mut driver = Driver::ready(&small());
        lead_on(&driver, seed);
        for (pair, command) in &commands {
            let mut command = *command;
            let deletes = matches!(command.opcode, admin::DELETE_SQ | admin::DELETE_CQ);
            if *pair == 0 && deletes {
                // not the pair that is in use
                command.cdw10 |= 2;
            }
            let cid = driver.submit(*pair, command);
            if *pair == 0 && command.opcode == admin::ASYNC_EVENT_REQUEST {
                continue;
            }
            while driver.wait(*pair).cid != cid {}
        }
        prop_assert_eq!(driver.get(CSTS), CSTS_READY);
        works(&mut driver);
    }

    #[test]
    fn queues_full_of_noise(seed in any::<u64>(), tail in 1..32u32) {
        let mut driver = Driver::ready(&small());
        lead_on(&driver, seed);
        driver.store(Driver::submission(0), &noise(seed, 64 * 32));
        driver.store(Driver::submission(1), &noise(!seed, 64 * 64));
        driver.set(DOORBELLS, tail);
        driver.set(DOORBELLS + 8, tail);
        driver.set(DOORBELLS + 12, seed as u32 % 64);
        works(&mut driver);
    }
}
