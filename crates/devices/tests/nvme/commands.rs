//! What commands do.

use super::*;
use zerocopy::IntoBytes;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn identify() {
    let settings = Settings { namespaces: 3, block: 4096, serial: Some("S1".into()), ..small() };
    let mut driver = Driver::new(&settings);
    driver.enable();
    let controller = driver.identify(cns::CONTROLLER, 0).unwrap();
    assert_eq!(word(&controller, 0), 0x1af4_1b36);
    assert_eq!(&controller[4..24], b"S1                  ");
    assert_eq!((controller[77], word(&controller, 80)), (7, 0x1_0400));
    assert_eq!((controller[512], controller[513], word(&controller, 516)), (0x66, 0x44, 3));
    assert!(controller[768..].starts_with(b"nqn.2014.08.org.nvmexpress:1b361af4S1 "));
    let namespace = driver.identify(cns::NAMESPACE, 3).unwrap();
    assert_eq!((word(&namespace, 0), namespace[25], namespace[26]), (16384, 1, 1));
    assert_eq!((namespace[130], namespace[134]), (9, 12));
    for (after, expected) in [(0, vec![1, 2, 3]), (2, vec![3]), (3, vec![])] {
        let list = driver.identify(cns::ACTIVE_NAMESPACES, after).unwrap();
        let list: Vec<_> =
            (0..1024).map(|it| word(&list, 4 * it)).take_while(|it| *it != 0).collect();
        assert_eq!(list, expected);
    }
    let described: Vec<_> =
        (1..4).map(|nsid| driver.identify(cns::NAMESPACE_DESCRIPTORS, nsid).unwrap()).collect();
    assert_eq!(described[0][..4], [1, 8, 0, 0]);
    assert_eq!(described[0][12..17], [4, 1, 0, 0, 0]);
    assert_ne!(described[0][4..12], described[1][4..12]);
    assert_eq!(described[2][4..12], namespace[120..128]);
    for cns in [cns::NAMESPACE_OF_COMMAND_SET, cns::CONTROLLER_OF_COMMAND_SET, cns::COMMAND_SETS] {
        assert!(driver.identify(cns, 1).is_ok(), "{cns:#x}");
    }
    assert_eq!(driver.identify(cns::NAMESPACE_OF_ANY_COMMAND_SET, 1).unwrap()[14], 1);
}

fn set_feature(feature: u8, value: u32) -> Command {
    Command { opcode: admin::SET_FEATURES, cdw10: feature.into(), cdw11: value, ..none() }
}

fn get_feature(feature: u8, select: u32, cdw11: u32) -> Command {
    let cdw10 = u32::from(feature) | select << 8;
    Command { opcode: admin::GET_FEATURES, nsid: 1, cdw10, cdw11, dptr: [DATA, 0], ..none() }
}

#[test]
fn features() {
    let mut driver = Driver::new(&small());
    driver.enable();
    // feature, what is set, what is got for what, and the default
    #[rustfmt::skip] // one feature, one line
    let cases = [
        (feature::ARBITRATION,           0x0102_0304, 0,       0x0102_0304, 7),
        (feature::TEMPERATURE_THRESHOLD, 350,         0,       350,         343),
        (feature::TEMPERATURE_THRESHOLD, 1 << 20 | 5, 1 << 20, 5,           0),
        (feature::ERROR_RECOVERY,        9,           0,       9,           0),
        (feature::VOLATILE_WRITE_CACHE,  0,           0,       0,           1),
        (feature::NUMBER_OF_QUEUES,      0,           0,       63 << 16 | 63, 63 << 16 | 63),
        (feature::INTERRUPT_COALESCING,  0x0203,      0,       0x0203,      0),
        (feature::INTERRUPT_VECTOR,      1 << 16 | 7, 7,       1 << 16 | 7, 7),
        (feature::WRITE_ATOMICITY,       1,           0,       1,           0),
        (feature::ASYNC_EVENTS,          0x1ff,       0,       0x1ff,       0),
        (feature::POWER_MANAGEMENT,      0,           0,       0,           0),
        (feature::COMMAND_SET_PROFILE,   0,           0,       0,           0),
    ];
    for (feature, value, which, got, default) in cases {
        let nsid = u32::from(feature == feature::ERROR_RECOVERY);
        assert_eq!(driver.admin(get_feature(feature, 0, which)), Ok(default), "{feature:#x}");
        let told = driver.admin(Command { nsid, ..set_feature(feature, value) });
        let expected = if feature == feature::NUMBER_OF_QUEUES { got } else { 0 };
        assert_eq!(told, Ok(expected), "{feature:#x}");
        assert_eq!(driver.admin(get_feature(feature, 0, which)), Ok(got), "{feature:#x}");
        assert_eq!(driver.admin(get_feature(feature, 1, which)), Ok(default), "{feature:#x}");
        assert_eq!(driver.admin(get_feature(feature, 2, which)), Ok(default), "{feature:#x}");
        let what = driver.admin(get_feature(feature, 3, which));
        assert_eq!(what, Ok(4 | nsid << 1), "{feature:#x}");
    }
    // none outlives a reset
    driver.enable();
    assert_eq!(driver.admin(get_feature(feature::ARBITRATION, 0, 0)), Ok(7));

    let now = 1_700_000_000_000u64;
    driver.store(DATA, &now.to_le_bytes());
    let set = Command { dptr: [DATA, 0], ..set_feature(feature::TIMESTAMP, 0) };
    assert_eq!(driver.admin(set), Ok(0));
    assert_eq!(driver.admin(get_feature(feature::TIMESTAMP, 0, 0)), Ok(0));
    let got = u64::from_le_bytes(driver.load(DATA, 8).try_into().unwrap());
    assert_eq!(got >> 48, 2, "by the host");
    assert!((now..now + 60_000).contains(&(got & ((1 << 48) - 1))));
}

fn log(number: u8, dwords: u32, offset: u32) -> Command {
    let cdw10 = u32::from(number) | (dwords - 1) << 16;
    Command { opcode: admin::GET_LOG_PAGE, cdw10, cdw12: offset, dptr: [DATA, 0], ..none() }
}

#[test]
fn log_pages() {
    let mut driver = Driver::ready(&small());
    for _ in 0..20 {
        assert_eq!(driver.run(1, transfer(io::READ, 1 << 40, 8)), Err((0, 0x80)));
    }
    assert_eq!(driver.run(1, transfer(io::READ, 0, 8)), Ok(0));
    assert_eq!(driver.run(1, transfer(io::WRITE, 0, 16)), Ok(0));
    assert_eq!(driver.admin(log(log::ERRORS, 256, 0)), Ok(0));
    let errors = driver.load(DATA, 1024);
    assert_eq!((word(&errors, 0), word(&errors, 15 * 64)), (20, 5));
    assert_eq!((errors[8], word(&errors, 24)), (1, 1));
    assert_eq!(errors[16..24], (1u64 << 40).to_le_bytes());
    assert_eq!(driver.admin(log(log::SMART, 128, 0)), Ok(0));
    let health = driver.load(DATA, 512);
    assert_eq!((health[0], u16::from_le_bytes([health[1], health[2]])), (0, 323));
    let counts: Vec<_> = (32..96).step_by(16).map(|at| word(&health, at)).collect();
    assert_eq!((counts, word(&health, 176)), (vec![1, 1, 1, 1], 20));
    assert_eq!(driver.admin(log(log::FIRMWARE, 128, 0)), Ok(0));
    assert_eq!(driver.load(DATA, 1), [1]);
    // commands of the NVM command set, by offset
    assert_eq!(driver.admin(log(log::COMMANDS, 64, 1024)), Ok(0));
    let effects = driver.load(DATA, 256);
    let effects: Vec<_> = (0..13).map(|it| word(&effects, 4 * it)).collect();
    assert_eq!(effects, [1, 3, 1, 0, 0, 1, 0, 0, 3, 3, 0, 0, 1]);
    // past the end there are zeros
    driver.store(DATA, &[0xff; 4096]);
    assert_eq!(driver.admin(log(log::SMART, 1024, 0)), Ok(0));
    assert_eq!(driver.load(DATA + 512, 3584), [0; 3584]);
}

#[test]
fn events() {
    let mut driver = Driver::ready(&small());
    let request = Command { opcode: admin::ASYNC_EVENT_REQUEST, ..none() };
    let cids: Vec<_> = (0..4).map(|_| driver.submit(0, request)).collect();
    assert_eq!(driver.admin(request), Err((1, 5)));
    let expect = |driver: &mut Driver, cid: u16, result: u32| {
        let entry = driver.wait(0);
        assert_eq!((entry.cid, Driver::told(&entry)), (cid, Ok(result)));
    };
    driver.set(DOORBELLS + 8 * 9, 1);
    expect(&mut driver, cids[0], 0x1_0000);
    // the next of its type waits for the log
    driver.set(DOORBELLS + 8, 64);
    driver.set(DOORBELLS + 8, 65);
    let retained = Command { cdw10: 1 << 16 | 1 << 15 | 1, ..log(log::ERRORS, 1, 0) };
    assert_eq!(driver.admin(retained), Ok(0));
    assert_eq!(driver.admin(log(log::ERRORS, 16, 0)), Ok(0));
    expect(&mut driver, cids[1], 0x1_0100);
    // as libvfn's test: a threshold below the temperature
    assert_eq!(driver.admin(set_feature(feature::TEMPERATURE_THRESHOLD, 200)), Ok(0));
    assert_eq!(driver.admin(set_feature(feature::ASYNC_EVENTS, 1 << 1)), Ok(0));
    assert_eq!(driver.admin(set_feature(feature::TEMPERATURE_THRESHOLD, 200)), Ok(0));
    expect(&mut driver, cids[2], 0x2_0101);
    assert_eq!(driver.admin(log(log::SMART, 1, 0)), Ok(0));
    assert_eq!(driver.load(DATA, 1), [2]);
    // the last is aborted; others cannot be
    let abort = |cid: u16| Command { opcode: admin::ABORT, cdw10: u32::from(cid) << 16, ..none() };
    let told = driver.submit(0, abort(cids[3]));
    let (first, second) = (driver.wait(0), driver.wait(0));
    assert_eq!((first.cid, Driver::told(&first)), (told, Ok(0)));
    assert_eq!((second.cid, Driver::told(&second)), (cids[3], Err((0, 7))));
    assert_eq!(driver.admin(abort(cids[3])), Ok(1));
    // doorbells that are not there at all
    driver.set(DOORBELLS + 0xffc, 0);
    assert_eq!(driver.admin(log(log::ERRORS, 16, 0)), Ok(0));
    let cid = driver.submit(0, request);
    expect(&mut driver, cid, 0x1_0000);
}

#[test]
fn blocks_that_are_not_written() {
    let mut driver = Driver::ready(&small());
    driver.store(DATA, &[0xaa; 4096]);
    let fill = |driver: &mut Driver| {
        for first in (0..64).step_by(8) {
            assert_eq!(driver.run(1, transfer(io::WRITE, first, 8)), Ok(0));
        }
    };
    let zeros = |driver: &mut Driver| -> Vec<u64> {
        let at = DATA + 0x10_000;
        let is_zero = |driver: &mut Driver, block: u64| {
            let read = Command { dptr: [at, 0], ..transfer(io::READ, block, 1) };
            assert_eq!(driver.run(1, read), Ok(0));
            driver.load(at, 512) == [0; 512]
        };
        (0..64).filter(|block| is_zero(driver, *block)).collect()
    };
    fill(&mut driver);
    assert_eq!(zeros(&mut driver), []);
    assert_eq!(driver.run(1, transfer(io::WRITE_ZEROES, 9, 5)), Ok(0));
    assert_eq!(zeros(&mut driver), [9, 10, 11, 12, 13]);

    fill(&mut driver);
    let range = |first, blocks| BlockRange { attributes: 0, blocks, first };
    let list = DATA + 0x2_0000;
    driver.store(list, [range(3, 2), range(50, 0), range(63, 1)].as_bytes());
    let manage = |cdw11| Command {
        opcode: io::DATASET_MANAGEMENT,
        nsid: 1,
        cdw10: 2,
        cdw11,
        dptr: [list, 0],
        ..none()
    };
    assert_eq!(driver.run(1, manage(1)), Ok(0));
    assert_eq!(zeros(&mut driver), []);
    assert_eq!(driver.run(1, manage(io::DEALLOCATE)), Ok(0));
    assert_eq!(zeros(&mut driver), [3, 4, 63]);
    driver.store(list, range(1 << 17, 1).as_bytes());
    assert_eq!(driver.run(1, manage(io::DEALLOCATE)), Err((0, 0x80)));

    // in larger blocks, and all empty
    let format = |number| Command { opcode: admin::FORMAT_NVM, nsid: 1, cdw10: number, ..none() };
    assert_eq!(driver.admin(format(1)), Ok(0));
    let told = driver.identify(cns::NAMESPACE, 1).unwrap();
    assert_eq!((word(&told, 0), told[26]), (16384, 1));
    assert_eq!(driver.run(1, transfer(io::READ, 0, 1)), Ok(0));
    assert_eq!(driver.load(DATA, 4096), [0; 4096]);
    assert_eq!(driver.run(1, transfer(io::VERIFY, 16383, 1)), Ok(0));
    assert_eq!(driver.run(1, transfer(io::VERIFY, 16383, 2)), Err((0, 0x80)));
}
