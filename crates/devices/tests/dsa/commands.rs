//! Commands, and what they need.

use std::time::Duration;

use devices::Latency;
use devices::dsa::spec::{error, opcode, status};

use super::*;

const DEVICE: (u32, u32) = (command::ENABLE_DEVICE, 0);
const QUEUE: (u32, u32) = (command::ENABLE_WQ, 0);

type Change = fn(&Bench<Dsa>);

fn mode(bench: &Bench<Dsa>, mode: u32) {
    bench.set(spec::WQCFG + 8, 4, mode.into());
}

/// What keeps device and queue from being enabled: everything is as it should, but for one thing.
#[test]
fn enabling() {
    let engines = spec::GRPCFG + spec::GRPCFG_ENGINES;
    assert_eq!(engines, 0x420);
    #[rustfmt::skip] // one obstacle, one line
    let cases: &[(&str, Change, u32, u32)] = &[
        ("nothing",                |_| (),                                                 0, 0),
        ("bus mastering is off",   |it| it.device.set_bus_master(false),                   error::BUSMASTER_EN, error::DEV_NOTEN),
        ("too large",              |it| it.set(spec::WQCFG, 4, 129),                       error::WQ_SIZE_ERANGE, error::DEV_NOTEN),
        ("too large together",     |it| { it.configure(1, 1, 1); it.set(spec::GRPCFG, 1, 3) }, error::WQ_SIZE_ERANGE, error::DEV_NOTEN),
        ("group without engines",  |it| it.set(0x420, 8, 0),                               error::GRP_CONFIG, error::DEV_NOTEN),
        ("engines without queues", |it| it.set(0x460, 8, 2),                               error::GRP_CONFIG, error::DEV_NOTEN),
        ("queue without a group",  |it| { it.set(0x400, 8, 0); it.set(0x420, 8, 0) },      error::GRP_CONFIG2, error::DEV_NOTEN),
        ("queue in two groups",    |it| { it.set(0x440, 8, 1); it.set(0x460, 8, 2) },      error::GRP_CONFIG2, error::DEV_NOTEN),
        ("queue without a size",   |it| it.set(0x400, 8, 3),                               error::GRP_CONFIG2, error::DEV_NOTEN),
        ("engine in two groups",   |it| { it.set(spec::WQCFG, 4, 64); it.configure(1, 64, 1); it.set(0x440, 8, 2); it.set(0x460, 8, 1) }, error::GRP_CONFIG3, error::DEV_NOTEN),
        ("no size at all",         |it| { it.set(spec::WQCFG, 4, 0); it.set(0x400, 8, 0); it.set(0x420, 8, 0) }, 0, error::WQ_SIZE),
        ("no priority",            |it| mode(it, spec::WQ_DEDICATED),                      0, error::WQ_PRIOR),
        ("shared without PASIDs",  |it| mode(it, 1 << 4),                                  0, error::PASID_EN),
        ("shared",                 |it| mode(it, 1 << 4 | spec::WQ_PASID_EN),              0, 0),
        ("batches too large",      |it| it.set(spec::WQCFG + 12, 4, 11 << 5),              0, error::MAX_BATCH_SIZE),
        ("transfers too long",     |it| it.set(spec::WQCFG + 12, 4, 19),                   0, error::MAX_XFER_SIZE),
    ];
    for (name, change, device, queue) in cases {
        let bench = bench_with("spr", Settings::default());
        bench.configure(0, spec::TOTAL_SIZE, spec::WQ_DEDICATED);
        bench.set(spec::GRPCFG, 8, 1);
        bench.set(engines, 8, 1);
        change(&bench);
        assert_eq!(bench.command(DEVICE.0, DEVICE.1).0, *device, "{name}");
        assert_eq!(bench.get(spec::GENSTS, 4), u64::from(*device == 0), "{name}");
        assert_eq!(bench.command(QUEUE.0, QUEUE.1).0, *queue, "{name}");
        assert_eq!(bench.get(spec::WQCFG + 24, 4) >> 30, u64::from(*queue == 0), "{name}");
    }
    let bench = bench_with("spr", Settings { page_requests: false, ..Settings::default() });
    bench.configure(0, 1, spec::WQ_DEDICATED | spec::WQ_BOF);
    bench.set(spec::GRPCFG, 8, 1);
    bench.set(engines, 8, 1);
    assert_eq!(bench.command(DEVICE.0, DEVICE.1).0, 0);
    assert_eq!(bench.command(QUEUE.0, QUEUE.1).0, error::BOF_EN);
}

#[test]
fn commands_that_are_refused() {
    let bench = bench_with("spr", Settings::default());
    use command::*;
    for name in [DRAIN_ALL, ABORT_ALL, DRAIN_PASID, ABORT_PASID] {
        assert_eq!(bench.command(name, 0).0, error::DEV_NOT_EN);
    }
    for name in [DISABLE_WQ, DRAIN_WQ, ABORT_WQ, RESET_WQ] {
        assert_eq!(bench.command(name, 1).0, error::DEV_NOT_EN);
    }
    assert_eq!(bench.command(DISABLE_DEVICE, 0).0, error::DIS_DEV_EN);
    bench.enable(spec::WQ_DEDICATED);
    assert_eq!(bench.command(ENABLE_DEVICE, 0).0, error::DEV_ENABLED);
    assert_eq!(bench.command(ENABLE_WQ, 0).0, error::WQ_ENABLED);
    assert_eq!(bench.command(ENABLE_WQ, 8).0, error::INVAL_WQIDX);
    for operand in [0, 1 << 8, 1 << 16 | 1] {
        assert_eq!(bench.command(DISABLE_WQ, operand).0, error::INVAL_WQIDX);
    }
    assert_eq!(bench.command(DISABLE_WQ, 3).0, error::DEV_NOT_EN);
    for name in [0, REQUEST_INT_HANDLE, RELEASE_INT_HANDLE, 15, 31] {
        assert_eq!(bench.command(name, 1).0, error::INVAL_CMD);
    }
    assert_eq!(bench.get(spec::CMDCAP, 4), 0x1ffe);
}

/// What is enabled keeps its configuration; what is disabled gives it up for another.
#[test]
fn configuration_is_written_while_disabled() {
    let bench = bench();
    let before: Vec<_> = (0..8).map(|word| bench.get(spec::WQCFG + 4 * word, 4)).collect();
    for word in [0, 4, 8, 12, 32] {
        bench.set(spec::WQCFG + word, 4, 0xffff_ffff);
    }
    bench.set(spec::GRPCFG, 8, 0xff);
    bench.set(spec::GENCFG, 4, 0xff);
    let after: Vec<_> = (0..8).map(|word| bench.get(spec::WQCFG + 4 * word, 4)).collect();
    assert_eq!(before, after);
    assert_eq!((bench.get(spec::GRPCFG, 8), bench.get(spec::GENCFG, 4)), (1, 0));
    assert_eq!(bench.command(command::DISABLE_WQ, 1), (0, 0));
    bench.set(spec::WQCFG, 4, 7);
    bench.set(spec::WQCFG + 8, 4, 0x3fff_ffff);
    assert_eq!((bench.get(spec::WQCFG, 4), bench.get(spec::WQCFG + 8, 4)), (128, 0x3fff_ffff));
    assert_eq!(bench.command(command::DISABLE_DEVICE, 0), (0, 0));
    bench.set(spec::WQCFG, 4, 7);
    bench.set(spec::GENCFG, 4, 0xff);
    assert_eq!((bench.get(spec::WQCFG, 4), bench.get(spec::GENCFG, 4)), (7, 0xff));
    assert_eq!(bench.get(spec::GENSTS, 4), 0);
}

/// Draining waits for everything, aborting for nothing; a disabled queue takes nothing more.
#[test]
fn drains_and_aborts() {
    let fill = Descriptor::new(opcode::MEMFILL).quiet().with(|it| it.source = u64::MAX);
    use command::*;
    for (name, operand, drains, enabled) in [
        (DRAIN_ALL, 0, true, true),
        (DRAIN_WQ, 1, true, true),
        (DISABLE_WQ, 1, true, false),
        (DISABLE_DEVICE, 0, true, false),
        (ABORT_ALL, 0, false, true),
        (ABORT_WQ, 1, false, true),
        (RESET_WQ, 1, false, false),
        (DRAIN_PASID, 0, false, true),
    ] {
        // what is to be aborted is never done, however long we wait for a CPU
        let is_awaited = drains || name == DRAIN_PASID;
        let time = if is_awaited { Duration::from_millis(2) } else { Duration::from_secs(1000) };
        let latency = Latency::Fixed(time);
        let bench = bench_with("spr", Settings { latency, ..Settings::default() });
        bench.enable(spec::WQ_DEDICATED);
        for index in 0..16 {
            bench.send(&fill.with(|it| it.destination += 64 * index));
        }
        assert_eq!(bench.command(name, operand), (0, 0), "{name}");
        let last = bench.load(TO + 15 * 64, 1)[0];
        if name != DRAIN_PASID {
            assert_eq!(last, if drains { 0xff } else { 0 }, "{name}");
            assert_eq!(bench.get(spec::WQCFG + 24, 2), 0, "{name}");
        }
        let state = bench.get(spec::WQCFG + 24, 4) >> 30;
        assert_eq!(state, u64::from(enabled), "{name}");
        assert_eq!(bench.get(spec::GENSTS, 4), u64::from(name != DISABLE_DEVICE), "{name}");
    }
}

#[test]
fn a_command_that_wants_an_interrupt() {
    let bench = bench();
    bench.set(spec::CMD, 4, (spec::CMD_INT_REQ | command::DRAIN_ALL << spec::CMD_SHIFT).into());
    bench.until("the interrupt", |it| it.raised(0) == 1);
    assert_eq!(bench.get(spec::INTCAUSE, 4), u64::from(spec::INTCAUSE_CMD));
}

#[test]
fn interrupts_that_are_asked_for() {
    let bench = bench_with("spr", Settings { handles: true, ..Settings::default() });
    bench.enable(spec::WQ_DEDICATED);
    use command::*;
    assert_eq!(bench.get(spec::CMDCAP, 4), 0x7ffe);
    let it = Descriptor::new(opcode::NOOP).with(|it| {
        it.flags |= flag::RCI;
        it.handle = 2;
    });
    assert_eq!(bench.run(&it).0, status::INT_HANDLE_INVAL);
    for operand in [0, 9, spec::CMD_INT_HANDLE_IMS | 2] {
        assert_eq!(bench.command(REQUEST_INT_HANDLE, operand).0, error::INVAL_INT_IDX);
    }
    assert_eq!(bench.command(REQUEST_INT_HANDLE, 2), (0, 2));
    assert_eq!((bench.run(&it).0, bench.raised(2)), (status::SUCCESS, 1));
    assert_eq!(bench.command(RELEASE_INT_HANDLE, 3).0, error::NO_HANDLE);
    assert_eq!(bench.command(RELEASE_INT_HANDLE, 2), (0, 0));
    assert_eq!((bench.run(&it).0, bench.raised(2)), (status::INT_HANDLE_INVAL, 0));
}

#[test]
fn resets() {
    let latency = Latency::Fixed(Duration::from_secs(1000));
    let reset: [fn(&Bench<Dsa>); 2] =
        [|it| it.device.reset(), |it| _ = it.command(command::RESET_DEVICE, 0)];
    for reset in reset {
        let bench = bench_with("spr", Settings { latency, ..Settings::default() });
        bench.enable(spec::WQ_DEDICATED);
        for _ in 0..4 {
            bench.send(&Descriptor::new(opcode::MEMFILL));
        }
        // a drain that does not end
        bench.set(spec::CMD, 4, (command::DRAIN_ALL << spec::CMD_SHIFT).into());
        assert_eq!(bench.get(spec::CMDSTS, 4), u64::from(spec::CMDSTS_ACTIVE));
        reset(&bench);
        for (offset, wanted) in
            [(spec::CMDSTS, 0), (spec::GENSTS, 0), (spec::WQCFG, 0), (spec::GRPCFG, 0)]
        {
            assert_eq!(bench.get(offset, 4), wanted, "{offset:#x}");
        }
        assert_eq!(bench.get(spec::WQCAP, 8) & 0xffff, 128);
        bench.enable(spec::WQ_DEDICATED);
        assert_eq!(bench.load(RECORD, 32), [0; 32]);
    }
}

#[test]
fn bus_mastering_is_taken_away() {
    let bench = bench();
    bench.device.set_bus_master(false);
    let it = Descriptor::new(opcode::MEMFILL).with(|it| {
        it.flags |= flag::RCI;
        (it.source, it.handle) = (5, 1);
    });
    bench.send(&it);
    assert_eq!(bench.error().map(|it| it.0), Some(status::CRA_XLAT));
    assert_eq!((bench.load(TO, 8), bench.raised(1)), (vec![0; 8], 0));
    bench.device.set_bus_master(true);
    assert_eq!((bench.run(&it).0, bench.raised(1)), (status::SUCCESS, 1));
}
