//! Features, and calls that nothing serves (`vfio_ioctl_device_feature`).

use engine::{Msix, Vectors};
use mem::AddressSpace;
use profile::{Kernel, Machine};
use uapi::Errno;
use uapi::vfio::*;

use crate::bench::*;

const GET: u32 = VFIO_DEVICE_FEATURE_GET;
const SET: u32 = VFIO_DEVICE_FEATURE_SET;
const PROBE: u32 = VFIO_DEVICE_FEATURE_PROBE;

type Answer = Result<(), Errno>;
const OK: Answer = Ok(());
const INVAL: Answer = Err(Errno::EINVAL);
const NOTTY: Answer = Err(Errno::ENOTTY);
const BADF: Answer = Err(Errno::EBADF);
const FAULT: Answer = Err(Errno::EFAULT);
const NODEV: Answer = Err(Errno::ENODEV);
const NOSPC: Answer = Err(Errno::ENOSPC);

#[test]
fn features() {
    const TOKEN: u32 = VFIO_DEVICE_FEATURE_PCI_VF_TOKEN;
    const MIGRATION: u32 = VFIO_DEVICE_FEATURE_MIGRATION;
    const ENTRY: u32 = VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY;
    const WAKEUP: u32 = VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP;
    const EXIT: u32 = VFIO_DEVICE_FEATURE_LOW_POWER_EXIT;
    const START: u32 = VFIO_DEVICE_FEATURE_DMA_LOGGING_START;
    const STOP: u32 = VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP;
    const REPORT: u32 = VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT;
    const PRECOPY: u32 = VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2;
    type Row = (&'static str, &'static [u32], u64, [Answer; 3]);
    #[rustfmt::skip] // one call, one line
    let rows: &[Row] = &[
        // what,              argument,                room, answer of 6.12, of 7.3, and there of a physical function
        ("too short",         &[7, ENTRY | SET],        64,   [INVAL, INVAL, INVAL]),
        ("not there",         &[8],                     4,    [FAULT, FAULT, FAULT]),
        ("unknown flag",      &[8, ENTRY | SET | 1 << 19], 64, [INVAL, INVAL, INVAL]),
        ("get and set",       &[8, 99 | GET | SET],     64,   [INVAL, INVAL, INVAL]),
        ("unknown feature",   &[8, 99 | GET],           64,   [NOTTY, NOTTY, NOTTY]),
        ("nothing asked",     &[8, ENTRY],              64,   [INVAL, INVAL, INVAL]),
        ("entry",             &[8, ENTRY | SET],        64,   [OK, OK, OK]),
        ("entry, get",        &[8, ENTRY | GET],        64,   [INVAL, INVAL, INVAL]),
        ("entry, probe",      &[8, ENTRY | PROBE],      64,   [OK, OK, OK]),
        ("entry, probe set",  &[8, ENTRY | PROBE | SET], 64,  [OK, OK, OK]),
        ("entry, probe get",  &[8, ENTRY | PROBE | GET], 64,  [INVAL, INVAL, INVAL]),
        ("probe both",        &[8, ENTRY | PROBE | GET | SET], 64, [INVAL, INVAL, INVAL]),
        ("exit",              &[8, EXIT | SET],         64,   [OK, OK, OK]),
        ("wakeup, no data",   &[8, WAKEUP | SET],       64,   [INVAL, INVAL, INVAL]),
        ("wakeup, beyond",    &[16, WAKEUP | SET],      8,    [FAULT, FAULT, FAULT]),
        ("wakeup, nobody",    &[16, WAKEUP | SET, !0, 0], 64, [INVAL, INVAL, INVAL]),
        ("wakeup, closed",    &[16, WAKEUP | SET, 999, 0], 64, [BADF, BADF, BADF]),
        ("wakeup, no event",  &[16, WAKEUP | SET, 0, 0], 64,  [INVAL, INVAL, INVAL]),
        ("wakeup, probe",     &[8, WAKEUP | PROBE],     64,   [OK, OK, OK]),
        ("token",             &[24, TOKEN | SET, 1, 2, 3, 4], 64, [NOTTY, NOTTY, OK]),
        ("token, short",      &[23, TOKEN | SET, 1, 2, 3, 4], 64, [NOTTY, NOTTY, INVAL]),
        ("token, beyond",     &[24, TOKEN | SET],       8,    [NOTTY, NOTTY, FAULT]),
        ("token, get",        &[24, TOKEN | GET],       64,   [NOTTY, NOTTY, INVAL]),
        ("migration",         &[16, MIGRATION | GET],   64,   [NOTTY, NOTTY, NOTTY]),
        ("a log",             &[32, START | SET],       64,   [NOTTY, NOTTY, NOTTY]),
        ("a log, probe",      &[8, START | PROBE],      64,   [NOTTY, NOTTY, NOTTY]),
        ("its stop",          &[8, STOP | SET],         64,   [NOTTY, NOTTY, NOTTY]),
        ("its report",        &[40, REPORT | GET],      64,   [NOTTY, NOTTY, NOTTY]),
        ("its new start",     &[8, PRECOPY | SET],      64,   [NOTTY, INVAL, INVAL]),
        ("its new start",     &[8, PRECOPY | PROBE],    64,   [NOTTY, INVAL, INVAL]),
    ];
    let mut physical = Machine::by_name("spr").unwrap().clone();
    physical.devices[0].total_vfs = 7;
    let plain = Machine::by_name("spr").unwrap();
    let subjects = [(plain, "6.12"), (plain, "7.3"), (&physical, "7.3")];
    for (what, words, room, answers) in rows {
        for ((machine, kernel), answer) in subjects.iter().zip(answers) {
            let kernel = Kernel::by_name(kernel).unwrap();
            let bench = Bench::unbound_of(machine, kernel, Vectors::default(), false);
            let (done, _) = bench.bound().call(VFIO_DEVICE_FEATURE, words, *room);
            assert_eq!(done, *answer, "{what}, {kernel}");
        }
    }
}

/// A device that may sleep is reached all the same, and wakes for good where somebody is told.
#[test]
fn low_power() {
    const SLEEP: [u32; 2] = [8, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY | SET];
    const WAKE: [u32; 2] = [8, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT | SET];
    let mut bench = Bench::unbound_on("spr", "7.3", Vectors::default(), true).bound();
    let feature = |bench: &mut Bench, words: &[u32]| bench.call(VFIO_DEVICE_FEATURE, words, 64).0;
    let file = bench.host.client.open_file(bench.host.cards[0]);
    let store = || file.store(0, &[1]).map_err(|refusal| refusal.errno());
    assert_eq!(feature(&mut bench, &SLEEP), OK);
    assert_eq!(feature(&mut bench, &SLEEP), INVAL);
    assert_eq!(store(), Err(Errno::EIO), "what is mapped is away");
    assert_eq!(bench.load(0, 1), [0]);
    assert_eq!(feature(&mut bench, &WAKE), OK);
    assert_eq!(feature(&mut bench, &WAKE), OK);
    assert_eq!(store(), OK);

    let event = bench.host.client.new_eventfd();
    let with = VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP | SET;
    let wakeup = [16, with, event.cast_unsigned(), 0];
    assert_eq!(feature(&mut bench, &wakeup), OK);
    assert_eq!(bench.host.client.events(event), 0);
    assert_eq!(bench.load(0, 1), [0]);
    assert_eq!(bench.host.client.events(event), 1, "a transfer wakes it");
    assert_eq!(store(), OK);
    assert_eq!(feature(&mut bench, &wakeup), OK);
    assert_eq!(feature(&mut bench, &wakeup), OK, "the call itself wakes it");
    assert_eq!(bench.host.client.events(event), 1);
    bench.host.client.close(bench.host.cards[0]);
}

#[test]
fn calls_that_nothing_serves() {
    const INFO: u32 = VFIO_DEVICE_GET_PCI_HOT_RESET_INFO;
    const RESET: u32 = VFIO_DEVICE_PCI_HOT_RESET;
    const EVENT: u32 = VFIO_DEVICE_IOEVENTFD;
    let msix = Some(Msix { vectors: 4, table: (0, 0x2000), pending: (0, 0x3000) });
    let vectors = Vectors { msix, ..Vectors::default() };
    type Row = (&'static str, u32, &'static [u32], u64, Answer);
    #[rustfmt::skip] // one call, one line
    let rows: &[Row] = &[
        ("info of a bus reset",     INFO,  &[12, 0, 0],                     64, NODEV),
        ("too short",               INFO,  &[11, 0, 0],                     64, INVAL),
        ("not there",               INFO,  &[12, 0],                        8,  FAULT),
        ("bus reset",               RESET, &[12, 0, 0],                     64, NODEV),
        ("with groups",             RESET, &[12, 0, 1],                     64, INVAL),
        ("with flags",              RESET, &[12, 1, 0],                     64, INVAL),
        ("too short",               RESET, &[11, 0, 0],                     64, INVAL),
        ("not there",               RESET, &[12, 0],                        8,  FAULT),
        ("no such store",           EVENT, &[28, 4, 0, 0, 1, 0, !0, 0],     64, NODEV),
        ("no room for a store",     EVENT, &[28, 4, 0, 0, 1, 0, 0, 0],      64, NOSPC),
        ("no descriptor",           EVENT, &[28, 4, 0, 0, 1, 0, !1, 0],     64, INVAL),
        ("two widths",              EVENT, &[28, 6, 0, 0, 1, 0, !0, 0],     64, INVAL),
        ("no width",                EVENT, &[28, 0, 0, 0, 1, 0, !0, 0],     64, INVAL),
        ("unknown flag",            EVENT, &[28, 20, 0, 0, 1, 0, !0, 0],    64, INVAL),
        ("in the table of MSI-X",   EVENT, &[28, 4, 0x203c, 0, 1, 0, !0, 0], 64, INVAL),
        ("into it",                 EVENT, &[28, 8, 0x1ffc, 0, 1, 0, !0, 0], 64, INVAL),
        ("after it",                EVENT, &[28, 4, 0x2040, 0, 1, 0, !0, 0], 64, NODEV),
        ("over the end of the BAR", EVENT, &[28, 4, 0x3ffe, 0, 1, 0, !0, 0], 64, INVAL),
        ("no BAR",                  EVENT, &[28, 4, 0, 0x100, 1, 0, !0, 0], 64, INVAL),
        ("configuration space",     EVENT, &[28, 4, 0, 0x700, 1, 0, !0, 0], 64, INVAL),
        ("too short",               EVENT, &[27, 4, 0, 0, 1, 0, !0, 0],     64, INVAL),
        ("not there",               EVENT, &[28, 4, 0, 0, 1, 0],            24, FAULT),
        ("graphics",                0x3b72, &[32],                          64, NOTTY),
        ("container",               0x3b64, &[32],                          64, NOTTY),
    ];
    for (what, cmd, words, room, answer) in rows {
        let mut bench = Bench::unbound_on("spr", "7.3", vectors, false).bound();
        assert_eq!(bench.call(*cmd, words, *room).0, *answer, "{what}");
    }
    let mut bench = Bench::unbound_on("spr", "7.3", vectors, false);
    bench.host.client.memory.write(testkit::host::MEMORY, &[12]).unwrap();
    assert_eq!(bench.call(INFO, &[12, 0, 0], 64).0, INVAL, "unbound");
}
