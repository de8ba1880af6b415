//! `nvme`, by a driver on the engine.

mod commands;
mod driver;
mod errors;
mod garbage;
mod stalls;
mod transfers;

use std::time::Instant;

use devices::Latency;
use devices::catalogue::Wanted;
use devices::nvme::spec::*;
use devices::nvme::{Nvme, Settings};
use engine::{Bar, Model, Msix, Vectors};
use testkit::host::IOAS;

use driver::*;

/// 64 MiB of memory.
fn small() -> Settings {
    Settings { size: Some(64 << 20), ..Settings::default() }
}

#[test]
fn it_looks_like_qemus() {
    let driver = Driver::new(&small());
    let device = &driver.device;
    assert_eq!(device.bar(0), Some(Bar { size: 0x4000, wide: true, prefetchable: false }));
    assert_eq!((1..6).find_map(|number| device.bar(number)), None);
    let msix = Some(Msix { vectors: 65, table: (0, 0x2000), pending: (0, 0x3000) });
    assert_eq!(device.vectors(), Vectors { pin: true, msi: 0, msix });
    let cap = driver.get64(CAP);
    assert_eq!((cap & 0xffff, cap >> 32 & 15, cap >> 48 & 15, cap >> 52 & 15), (2047, 0, 0, 4));
    assert_eq!((driver.get(VS), driver.get(CC), driver.get(CSTS)), (0x1_0400, 0, 0));
}

/// What is mapped is what is read.
#[test]
fn registers_of_any_width() {
    let driver = Driver::new(&small());
    let (device, memory) = (&driver.device, driver.device.memory(0).unwrap());
    device.write(0, ASQ, &0x1122_3344_5566_7788u64.to_le_bytes());
    assert_eq!(driver.get64(ASQ), 0x1122_3344_5566_7000);
    device.write(0, ASQ + 4, &7u32.to_le_bytes());
    device.write(0, ASQ + 1, &[0x10]);
    device.write(0, ASQ + 2, &[1, 2]);
    assert_eq!((driver.get(ASQ), driver.get(ASQ + 4)), (0x0201_1000, 7));
    for (register, value) in [(CAP, 0), (VS, 0), (0x38, 5), (0x40, 5), (0xffc, 5), (0x3ffc, 5)] {
        let before = driver.get(register);
        driver.set(register, value);
        assert_eq!(driver.get(register), before, "{register:#x}");
    }
    driver.set(INTMS, 6);
    driver.set(INTMC, 2);
    assert_eq!((driver.get(INTMS), driver.get(INTMC)), (4, 4));
    driver.set(AQA, u32::MAX);
    assert_eq!(driver.get(AQA), AQA_BITS);
    let (mut read, mut mapped) = (vec![0; 0x4000], vec![0; 0x4000]);
    device.read(0, 0, &mut read);
    memory.read(0, &mut mapped).unwrap();
    assert_eq!(read, mapped);
    device.reset();
    assert_eq!((driver.get64(ASQ), driver.get(INTMS), driver.get(AQA)), (0, 0, 0));
    assert_eq!(driver.get64(CAP), CAP_VALUE);
}

#[test]
fn what_cannot_be_enabled_is_fatal() {
    let mut driver = Driver::new(&small());
    let good = Driver::CONFIGURATION | CC_ENABLE;
    #[rustfmt::skip] // one configuration, one line
    let cases = [
        ("no admin queues",            0,             BASE,          good),
        ("one entry in one of them",   31 << 16,      BASE,          good),
        ("pages of 128 KiB",           31 << 16 | 31, 0x2_0000,      good | 5 << 7),
        ("pages of 64 KiB, queue not", 31 << 16 | 31, BASE + 0x1000, good | 4 << 7),
        ("reserved command set",       31 << 16 | 31, BASE,          good | 1 << 4),
        ("admin commands only",        31 << 16 | 31, BASE,          good | 7 << 4),
        ("weighted arbitration",       31 << 16 | 31, BASE,          good | 1 << 11),
    ];
    for (what, aqa, queue, cc) in cases {
        driver.set(AQA, aqa);
        driver.device.write(0, ASQ, &queue.to_le_bytes());
        driver.device.write(0, ACQ, &queue.to_le_bytes());
        driver.set(CC, cc);
        assert_eq!(driver.get(CSTS), CSTS_FATAL, "{what}");
        driver.set(CC, 0);
        assert_eq!(driver.get(CSTS), 0, "{what}");
    }
    driver.enable();
    assert!(driver.identify(cns::CONTROLLER, 0).is_ok());
}

#[test]
fn shutdown() {
    let mut driver = Driver::ready(&small());
    assert_eq!(driver.run(1, transfer(io::WRITE, 0, 1)), Ok(0));
    let on = Driver::CONFIGURATION | CC_ENABLE;
    for kind in [1 << 14, 2 << 14] {
        driver.set(CC, on | kind);
        driver.until("shut down", |it| it.get(CSTS) & CSTS_SHUTDOWN == CSTS_SHUT_DOWN);
        driver.set(CC, on & !CC_ENABLE | kind);
        assert_eq!(driver.get(CSTS), 0);
        driver.enable();
        assert_eq!(driver.get(CSTS), CSTS_READY);
    }
    // also when it was never enabled
    driver.device.reset();
    driver.set(CC, 1 << 14);
    driver.until("shut down", |it| it.get(CSTS) & CSTS_SHUTDOWN == CSTS_SHUT_DOWN);
}

#[test]
fn resets() {
    let mut driver = Driver::ready(&small());
    let reset = |driver: &Driver, what: &str| match what {
        "controller" => driver.set(CC, 0),
        "function" => driver.device.reset(),
        _ => driver.set(NSSR, NSSR_VALUE),
    };
    for what in ["controller", "function", "subsystem"] {
        for _ in 0..20 {
            for block in 0..60 {
                driver.put(1, transfer(io::READ, block, 8));
            }
            driver.ring(1);
            reset(&driver, what);
            assert_eq!(driver.get(CSTS) & CSTS_READY, 0, "{what}");
            // nothing is written any more: neither data nor completions
            let before = driver.load(BASE, (PAGES << 12) as usize);
            std::thread::yield_now();
            assert_eq!(before, driver.load(BASE, (PAGES << 12) as usize), "{what}");
            driver.enable();
            driver.create_pair(1, 64);
        }
        assert_eq!(driver.run(1, transfer(io::READ, 0, 8)), Ok(0), "{what}");
    }
    driver.set(NSSR, 1);
    assert_eq!(driver.get(CSTS), CSTS_READY | CSTS_SUBSYSTEM_RESET);
    driver.set(CC, 0);
    assert_eq!(driver.get(CSTS), CSTS_SUBSYSTEM_RESET);
    driver.set(CSTS, CSTS_SUBSYSTEM_RESET);
    assert_eq!(driver.get(CSTS), 0);
}

#[test]
fn a_queue_out_of_reach_is_fatal() {
    let mut driver = Driver::ready(&small());
    // of the data only the command fails
    let lost = Command { dptr: [NOWHERE, 0], ..transfer(io::READ, 0, 1) };
    assert_eq!(driver.run(1, lost), Err((0, 4)));
    driver.device.set_bus_master(false);
    driver.submit(1, transfer(io::READ, 0, 1));
    driver.until("fatal", |it| it.get(CSTS) == CSTS_READY | CSTS_FATAL);
    driver.device.set_bus_master(true);
    driver.enable();
    assert_eq!(driver.get(CSTS), CSTS_READY);
    driver.create_pair(1, 64);
    // completions
    driver.unmap(BASE, PAGES << 12);
    driver.submit(1, transfer(io::READ, 0, 1));
    driver.until("fatal", |it| it.get(CSTS) == CSTS_READY | CSTS_FATAL);
    driver.device.reset();
    assert_eq!(driver.get(CSTS), 0);
}

#[test]
fn interrupts() {
    let mut driver = Driver::ready(&small());
    let admin = driver.raised(0);
    assert_eq!(driver.run(1, transfer(io::READ, 0, 1)), Ok(0));
    driver.until("raised", |it| it.raised(1) == 1);
    assert_eq!(driver.raised(0), admin);
    // masked by pin, and told afterwards, while it is not taken out
    driver.set(INTMS, 1 << 1);
    driver.submit(1, transfer(io::READ, 0, 1));
    driver.until("completed", |it| {
        let status = it.load(Driver::completion(1) + 16 + 14, 2);
        status[0] & 1 == 1
    });
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert_eq!(driver.raised(1), 1);
    driver.set(INTMC, 1 << 1);
    driver.until("raised", |it| it.raised(1) == 2);
}

/// The pin is asserted while there are completions to take out; the store that takes out the last takes it back.
#[test]
fn the_pin() {
    let mut driver = Driver::without_messages("spr", &small(), |_| IOAS);
    driver.map(BASE, PAGES << 12);
    driver.enable();
    driver.create_pair(1, 64);
    driver.create_pair(2, 64);
    let until = |driver: &mut Driver, asserted| {
        let until = Instant::now() + LONG;
        while driver.is_asserted() != asserted {
            assert!(Instant::now() < until, "never so: {asserted}");
        }
    };
    // an interrupt may come late, of what was found without it
    until(&mut driver, false);
    let asserted = |driver: &mut Driver, pair| {
        driver.submit(pair, transfer(io::READ, 0, 1));
        until(driver, true);
    };
    asserted(&mut driver, 1);
    driver.wait(1);
    assert!(!driver.is_asserted(), "taken out");
    asserted(&mut driver, 1);
    driver.submit(2, transfer(io::READ, 0, 1));
    driver.until("completed", |it| it.load(Driver::completion(2) + 14, 1)[0] & 1 == 1);
    driver.wait(1);
    until(&mut driver, true);
    // masked
    driver.set(INTMS, 1 << 1);
    assert!(driver.is_asserted(), "the other");
    driver.set(INTMS, 1 << 2);
    assert!(!driver.is_asserted(), "masked");
    driver.set(INTMC, 1 << 1);
    assert!(!driver.is_asserted(), "nothing of it");
    driver.set(INTMC, 1 << 2);
    assert!(driver.is_asserted(), "unmasked");
    driver.wait(2);
    assert!(!driver.is_asserted());
    // a queue goes, and the controller
    asserted(&mut driver, 1);
    for opcode in [admin::DELETE_SQ, admin::DELETE_CQ] {
        assert_eq!(driver.admin(Command { opcode, cdw10: 1, ..none() }), Ok(0));
    }
    until(&mut driver, false);
    asserted(&mut driver, 2);
    driver.set(CC, 0);
    assert!(!driver.is_asserted(), "disabled");
}

#[test]
fn completions_take_their_time_and_a_reset_none() {
    let time = std::time::Duration::from_millis(20);
    let mut driver = Driver::ready(&Settings { latency: Latency::Fixed(time), ..small() });
    let begin = Instant::now();
    assert_eq!(driver.run(1, transfer(io::READ, 0, 1)), Ok(0));
    assert!(begin.elapsed() >= time);
    let long = Latency::Fixed(std::time::Duration::from_secs(1000));
    let mut driver = Driver::new(&Settings { latency: long, ..small() });
    driver.enable();
    driver.submit(0, Command { opcode: admin::IDENTIFY, cdw10: 1, dptr: [DATA, 0], ..none() });
    driver.until("data", |it| it.load(DATA, 2) == [0x36, 0x1b]);
    let begin = Instant::now();
    driver.device.reset();
    drop(driver);
    assert!(begin.elapsed() < LONG);
}

#[test]
fn settings_that_are_nonsense() {
    let driver = Driver::new(&small());
    let cases = [
        Settings { namespaces: 0, ..small() },
        Settings { namespaces: 257, ..small() },
        Settings { block: 1024, ..small() },
        Settings { block: 0, ..small() },
        Settings { size: Some(4095), ..small() },
        Settings { size: Some(u64::MAX), ..small() },
        Settings { size: Some(u64::MAX), namespaces: 2, ..small() },
        Settings { path: Some("/nonexistent/file".into()), ..small() },
        Settings { path: Some("/dev/null".into()), ..small() },
    ];
    for settings in cases {
        let dma = driver.host.engine.dma(0).unwrap();
        let made = Nvme::new(dma, engine::Interrupts::default(), &settings);
        assert!(made.is_err(), "{settings:?}");
    }
}

#[test]
fn as_it_is_asked_for() {
    let driver = Driver::new(&small());
    let make = |text: &str| {
        let wanted = Wanted::parse(text).unwrap();
        let dma = driver.host.engine.dma(0).unwrap();
        (wanted.recipe)(dma, engine::Interrupts::default())
    };
    for text in ["nvme", "nvme,size=1M,namespaces=2,block=4096,serial=A,latency=0..1ms"] {
        let model = make(text).unwrap();
        let mut cap = [0; 8];
        model.read(0, CAP, &mut cap);
        assert_eq!(u64::from_le_bytes(cap), CAP_VALUE, "{text}");
    }
    assert!(make("nvme,path=/nonexistent/file").is_err());
}

#[test]
fn a_file() {
    let path = std::env::temp_dir().join(format!("softiommu-nvme-{}", std::process::id()));
    std::fs::write(&path, noise(7, 3 << 20)).unwrap();
    let settings = Settings { size: None, path: Some(path.clone()), namespaces: 2, ..small() };
    let mut driver = Driver::ready(&settings);
    let told = driver.identify(cns::NAMESPACE, 2).unwrap();
    assert_eq!(u64::from_le_bytes(told[..8].try_into().unwrap()), (3 << 20) / 2 / 512);
    let second = |opcode, cdw12| Command { nsid: 2, cdw12, ..transfer(opcode, 1, 8) };
    assert_eq!(driver.run(1, second(io::READ, 7)), Ok(0));
    let at = (3 << 20) / 2 + 512;
    assert_eq!(driver.load(DATA, 4096), noise(7, 3 << 20)[at..at + 4096]);
    driver.store(DATA, &[0xab; 4096]);
    assert_eq!(driver.run(1, second(io::WRITE, 7 | io::FUA)), Ok(0));
    assert_eq!(driver.run(1, Command { opcode: io::FLUSH, nsid: 2, ..none() }), Ok(0));
    assert_eq!(std::fs::read(&path).unwrap()[at..at + 4096], [0xab; 4096]);
    // somebody makes it shorter
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
    assert_eq!(driver.run(1, second(io::READ, 7)), Err((2, 0x81)));
    assert_eq!(driver.run(1, transfer(io::READ, 0, 8)), Ok(0));
    std::fs::remove_file(&path).unwrap();
}
