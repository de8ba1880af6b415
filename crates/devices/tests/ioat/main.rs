//! `ioat` on machines: chains, completions, errors, resets.

#[path = "../common/bench.rs"]
mod bench;
#[path = "../common/faults.rs"]
mod faults;
mod registers;

use std::time::{Duration, Instant};

use devices::Latency;
use devices::ioat::{Ioat, Settings, spec};
use engine::Model;

use bench::{Bench, IOVA, NOTHING, noise};

/// Where descriptors are, and data.
const CHAIN: u64 = IOVA;
const STATUS: u64 = IOVA + 0xff8;
const FROM: u64 = IOVA + 0x1000;
const TO: u64 = IOVA + 0x8000;

const RUN: u64 = spec::CHANCTRL_ERR_COMPLETION_EN as u64 | spec::CHANCTRL_ERR_INT_EN as u64;

fn bench_with(machine: &str, settings: Settings) -> Bench<Ioat> {
    Bench::new(machine, |dma, interrupts| Ioat::new(dma, interrupts, settings).unwrap())
}

fn bench() -> Bench<Ioat> {
    bench_with("spr", Settings::default())
}

/// A descriptor: where it is, size, control, source, destination, next.
type Descriptor = (u64, u32, u32, u64, u64, u64);

fn copy(at: u64, size: u32, next: u64) -> Descriptor {
    (at, size, spec::CTL_COMPL_WRITE, FROM, TO, next)
}

impl Bench<Ioat> {
    fn put(&self, (at, size, control, source, destination, next): Descriptor) {
        let head = u64::from(size) | u64::from(control) << 32;
        let words = [head, source, destination, next, 0, 0, 0, 0];
        self.store(at, &words.map(u64::to_le_bytes).concat());
    }

    fn word(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.load(at, 8).try_into().unwrap())
    }

    fn state(&self) -> u64 {
        self.get(spec::CHANSTS, 8) & 7
    }

    fn errors(&self) -> u64 {
        self.get(spec::CHANERR, 4)
    }

    /// Resets the channel, as drivers do, and begins a chain.
    fn begin(&self, chain: u64) {
        self.set(spec::CHANERR, 4, self.errors());
        self.set(spec::CHANCMD, 1, spec::CHANCMD_RESET.into());
        assert_eq!(self.get(spec::CHANSTS, 8), spec::HALTED);
        self.set(spec::INTRCTRL, 1, spec::INTRCTRL_MSIX_VECTOR_CONTROL.into());
        self.set(spec::CHANCTRL, 2, RUN | u64::from(spec::CHANCTRL_INT_REARM));
        self.set(spec::CHANCMP, 8, STATUS);
        self.set(spec::CHAINADDR, 8, chain);
    }

    fn ring(&self, count: u64) {
        self.set(spec::DMACOUNT, 2, count);
    }

    fn settle(&self) {
        self.until("the end of a chain", |it| it.state() != spec::ACTIVE);
    }

    fn run(&self, chain: u64, count: u64) -> u64 {
        self.begin(chain);
        self.ring(count);
        self.settle();
        self.state()
    }
}

/// With no latency all is there when the store is over: nothing is waited for here.
#[test]
fn a_chain_is_made_at_once() {
    for machine in ["spr", "grace"] {
        let bench = bench_with(machine, Settings::default());
        let data = noise(1, 0x3000);
        bench.store(FROM, &data);
        bench.put((CHAIN, 0x2001, 0, FROM, TO, CHAIN + 64));
        let pattern = 0x0807_0605_0403_0201;
        bench.put((CHAIN + 64, 13, spec::OP_FILL << 24, pattern, TO + 0x2001, CHAIN + 128));
        let control = spec::CTL_NULL | spec::CTL_INT_EN | spec::CTL_COMPL_WRITE;
        bench.put((CHAIN + 128, 8, control, 0, 0, CHAIN));
        bench.begin(CHAIN);
        assert_eq!(bench.get(spec::CHANSTS, 8), spec::ARMED, "{machine}");
        bench.ring(3);
        assert_eq!(bench.get(spec::CHANSTS, 8), (CHAIN + 128) | spec::DONE, "{machine}");
        assert_eq!(bench.word(STATUS), (CHAIN + 128) | spec::DONE, "{machine}");
        assert_eq!(bench.raised(0), 1, "{machine}");
        assert_eq!(bench.load(TO, 0x2001), data[..0x2001], "{machine}");
        assert_eq!(bench.load(TO + 0x2001, 14), [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 0]);
    }
}

/// A ring, by doorbells that count on, wrap at 16 bits, and come again without news.
#[test]
fn doorbells_count_from_the_chains_start() {
    let bench = bench();
    for index in 0..4 {
        let (from, to) = (FROM + index * 64, TO + index * 64);
        let next = CHAIN + (index + 1) % 4 * 64;
        bench.put((CHAIN + index * 64, 64, spec::CTL_COMPL_WRITE, from, to, next));
    }
    bench.begin(CHAIN);
    let mut rung = 0u16;
    for step in [1, 2, 0, 3, 4, 250, 0xff00, 7] {
        bench.store(FROM, &noise(rung.into(), 256));
        rung = rung.wrapping_add(step);
        bench.ring(rung.into());
        bench.settle();
        let last = CHAIN + u64::from(rung.wrapping_sub(1) % 4) * 64;
        assert_eq!(bench.get(spec::CHANSTS, 8), last | spec::DONE, "{rung} rung");
        assert_eq!(bench.word(STATUS), last | spec::DONE, "{rung} rung");
        if step >= 4 {
            assert_eq!(bench.load(TO, 256), bench.load(FROM, 256), "{rung} rung");
        }
    }
}

/// Doorbell before a chain, and chain over a chain.
#[test]
fn doorbells_out_of_order() {
    let bench = bench();
    bench.put(copy(CHAIN, 64, CHAIN));
    bench.ring(5);
    assert_eq!(bench.state(), spec::HALTED);
    bench.begin(CHAIN);
    bench.set(spec::CHAINADDR, 8, CHAIN);
    assert_eq!((bench.get(spec::CHANSTS, 8), bench.get(spec::DMACOUNT, 2)), (spec::ARMED, 0));
    bench.ring(0);
    assert_eq!(bench.state(), spec::ARMED);
    bench.ring(0xffff);
    bench.settle();
    assert_eq!(bench.get(spec::CHANSTS, 8), CHAIN | spec::DONE);
}

#[test]
fn errors() {
    let longest = 1 << 12;
    let bench = bench_with("spr", Settings { transfer_order: 12, ..Settings::default() });
    let w = spec::CTL_COMPL_WRITE;
    let (second, last) = (CHAIN + 64, IOVA + 0xffc0);
    let good = copy(CHAIN, 64, second);
    #[rustfmt::skip] // one error, one line
    let cases: &[(&str, u64, &[Descriptor], u64, u32)] = &[
        ("nothing to read",          CHAIN,     &[(CHAIN, 64, w, NOTHING, TO, 0)],              0, spec::ERR_SRC_ADDR),
        ("nothing to write",         CHAIN,     &[(CHAIN, 64, w, FROM, NOTHING, 0)],            0, spec::ERR_DEST_ADDR),
        ("reads over the end",       CHAIN,     &[(CHAIN, 128, w, last, TO, 0)],                0, spec::ERR_SRC_ADDR),
        ("reads over the last",      CHAIN,     &[(CHAIN, 64, w, u64::MAX - 8, TO, 0)],         0, spec::ERR_SRC_ADDR),
        ("writes over the last",     CHAIN,     &[(CHAIN, 64, w, FROM, u64::MAX - 8, 0)],       0, spec::ERR_DEST_ADDR),
        ("second fails",             CHAIN,     &[good, (second, 64, w, NOTHING, TO, 0)],       1, spec::ERR_SRC_ADDR),
        ("chain not there",          NOTHING,   &[],                                            0, spec::ERR_CHAIN_ADDR),
        ("chain off its multiple",   CHAIN + 8, &[],                                            0, spec::ERR_CHAIN_ADDR),
        ("next not there",           CHAIN,     &[copy(CHAIN, 64, NOTHING)],                    1, spec::ERR_NEXT_ADDR),
        ("next off its multiple",    CHAIN,     &[copy(CHAIN, 64, second + 4)],                 1, spec::ERR_NEXT_ALIGN),
        ("no bytes",                 CHAIN,     &[copy(CHAIN, 0, 0)],                           0, spec::ERR_LENGTH),
        ("no bytes of nothing",      CHAIN,     &[(CHAIN, 0, w | spec::CTL_NULL, 0, 0, 0)],     0, spec::ERR_LENGTH),
        ("too many bytes",           CHAIN,     &[copy(CHAIN, longest + 1, 0)],                 0, spec::ERR_LENGTH),
        ("fill with too many",       CHAIN,     &[(CHAIN, longest + 1, w | 1 << 24, 0, TO, 0)], 0, spec::ERR_LENGTH),
        ("no such operation",        CHAIN,     &[(CHAIN, 64, w | 2 << 24, FROM, TO, 0)],       0, spec::ERR_CONTROL),
        ("XOR is not here",          CHAIN,     &[(CHAIN, 64, w | 0x87 << 24, FROM, TO, 0)],    0, spec::ERR_CONTROL),
        ("reserved bit",             CHAIN,     &[(CHAIN, 64, w | 1 << 11, FROM, TO, 0)],       0, spec::ERR_CONTROL),
    ];
    for (name, chain, descriptors, made, error) in cases {
        descriptors.iter().for_each(|it| bench.put(*it));
        assert_eq!(bench.run(*chain, 2), spec::HALTED, "{name}");
        assert_eq!(bench.errors(), u64::from(*error), "{name}");
        let completed = if *made == 0 { 0 } else { CHAIN };
        assert_eq!(bench.get(spec::CHANSTS, 8), completed | spec::HALTED, "{name}");
        assert_eq!(bench.word(STATUS), completed | spec::HALTED, "{name}");
        assert_eq!(bench.raised(0), 1, "{name}");

        // nothing begins before a reset, and nothing is held after one
        bench.set(spec::CHAINADDR, 8, CHAIN);
        bench.ring(1);
        assert_eq!(bench.state(), spec::HALTED, "{name}");
        bench.put(copy(CHAIN, longest, CHAIN));
        assert_eq!(bench.run(CHAIN, 1), spec::DONE, "{name}");
        assert_eq!(bench.errors(), 0, "{name}");
    }
}

/// DPDK's driver (`ioat_completed_status`) loses a completion when what it submits again after an error is
/// done before its next look. Hardware is slower; without latency this device is not.
#[test]
fn what_comes_after_an_error_is_done_at_once() {
    let bench = bench();
    for index in 0..4 {
        let at = CHAIN + index * 64;
        let from = if index == 1 { NOTHING } else { FROM };
        bench.put((at, 64, spec::CTL_COMPL_WRITE, from, TO, at + 64));
    }
    bench.begin(CHAIN);
    bench.ring(4);
    assert_eq!(bench.word(STATUS), CHAIN | spec::HALTED);
    bench.begin(CHAIN + 128);
    assert_eq!(bench.get(spec::CHANSTS, 8), spec::ARMED);
    bench.ring(2);
    assert_eq!(bench.word(STATUS), (CHAIN + 192) | spec::DONE);
}

/// What is not mapped is neither moved nor told of by an interrupt, when errors tell nothing.
#[test]
fn errors_that_tell_nothing() {
    let bench = bench();
    bench.store(TO, &[7; 64]);
    for (source, destination) in [(NOTHING, TO), (FROM, NOTHING)] {
        let control = spec::CTL_INT_EN | spec::CTL_COMPL_WRITE;
        bench.put((CHAIN, 64, control, source, destination, 0));
        bench.store(STATUS, &[0; 8]);
        bench.begin(CHAIN);
        bench.set(spec::CHANCTRL, 2, 0);
        bench.ring(1);
        bench.settle();
        assert_eq!((bench.state(), bench.word(STATUS), bench.raised(0)), (spec::HALTED, 0, 0));
        assert_eq!(bench.load(TO, 64), [7; 64]);
    }
}

#[test]
fn completions_that_cannot_be_written() {
    let bench = bench();
    bench.put(copy(CHAIN, 64, CHAIN));
    for to in [NOTHING, STATUS + 4, 0] {
        bench.begin(CHAIN);
        bench.set(spec::CHANCMP, 8, to);
        bench.ring(1);
        bench.settle();
        assert_eq!(bench.get(spec::CHANSTS, 8), CHAIN | spec::HALTED, "{to:#x}");
        assert_eq!(bench.errors(), u64::from(spec::ERR_COMPLETION_ADDR), "{to:#x}");
    }
}

#[test]
fn interrupts_come_once_until_they_are_armed() {
    let bench = bench();
    bench.put((CHAIN, 8, spec::CTL_NULL | spec::CTL_INT_EN, 0, 0, CHAIN));
    bench.begin(CHAIN);
    for count in 1..=3 {
        bench.ring(count);
    }
    assert_eq!(bench.raised(0), 1);
    assert_eq!(bench.get(spec::CHANCTRL, 2), RUN | 1);
    bench.set(spec::CHANCTRL, 2, RUN);
    bench.ring(4);
    assert_eq!(bench.raised(0), 0);
    bench.set(spec::CHANCTRL, 2, RUN | 1);
    bench.ring(5);
    assert_eq!((bench.raised(0), bench.get(spec::CHANCTRL, 2)), (1, RUN | 1));
    bench.set(spec::INTRCTRL, 1, 0);
    bench.set(spec::CHANCTRL, 2, RUN | 1);
    bench.ring(6);
    assert_eq!(bench.raised(0), 0);
}

#[test]
fn suspend_and_resume() {
    let latency = Latency::Fixed(Duration::from_millis(20));
    let bench = bench_with("spr", Settings { latency, ..Settings::default() });
    bench.put(copy(CHAIN, 64, CHAIN));
    bench.begin(CHAIN);
    bench.ring(2);
    // done where we wait for a CPU that long: then it suspends as what is done does
    assert!([spec::ACTIVE, spec::DONE].contains(&bench.state()));
    bench.set(spec::CHANCMD, 1, spec::CHANCMD_SUSPEND.into());
    bench.until("suspended", |it| it.state() == spec::SUSPENDED);
    bench.ring(3);
    assert_eq!(bench.state(), spec::SUSPENDED);
    bench.set(spec::CHANCMD, 1, spec::CHANCMD_RESUME.into());
    bench.settle();
    assert_eq!(bench.get(spec::CHANSTS, 8), CHAIN | spec::DONE);

    // what is done suspends at once, and a new chain needs no resume
    bench.set(spec::CHANCMD, 1, spec::CHANCMD_SUSPEND.into());
    assert_eq!(bench.state(), spec::SUSPENDED);
    bench.set(spec::CHAINADDR, 8, CHAIN);
    bench.ring(1);
    bench.settle();
    assert_eq!(bench.state(), spec::DONE);
}

/// The time passes before anything is read.
#[test]
fn latency() {
    let latency = Latency::Fixed(Duration::from_millis(30));
    let bench = bench_with("spr", Settings { latency, ..Settings::default() });
    bench.put(copy(CHAIN, 64, CHAIN));
    // once more where we wait for a CPU that long
    bench.until("a CPU in time", |bench| {
        bench.store(FROM, &[0; 64]);
        bench.store(STATUS, &[0; 8]);
        bench.begin(CHAIN);
        let rung = Instant::now();
        bench.ring(1);
        let seen = (bench.state(), bench.word(STATUS));
        bench.store(FROM, &[9; 64]);
        let in_time = rung.elapsed() < Duration::from_millis(30);
        bench.settle();
        assert!(rung.elapsed() >= Duration::from_millis(30));
        if in_time {
            assert_eq!(seen, (spec::ACTIVE, 0));
            assert_eq!(bench.load(TO, 64), [9; 64]);
        }
        in_time
    });
}

/// The first doorbell of a chain has a time of its own, and no other has.
#[test]
fn the_start_of_a_chain() {
    let start = Duration::from_millis(30);
    let latency = Latency::Fixed(Duration::from_secs(1000));
    for latency in [Latency::None, latency] {
        let bench = bench_with("spr", Settings { latency, start, ..Settings::default() });
        bench.put(copy(CHAIN, 64, CHAIN));
        for _ in 0..2 {
            bench.begin(CHAIN);
            let rung = Instant::now();
            bench.ring(1);
            bench.settle();
            assert!(rung.elapsed() >= start);
            assert_eq!(bench.state(), spec::DONE);
            bench.ring(2);
            if latency == Latency::None {
                bench.settle();
            }
            let expected = if latency == Latency::None { spec::DONE } else { spec::ACTIVE };
            assert_eq!(bench.state(), expected);
        }
    }
}

#[test]
fn resets_end_what_is_under_way() {
    let latency = Latency::Fixed(Duration::from_secs(1000));
    let bench = bench_with("spr", Settings { latency, ..Settings::default() });
    bench.put(copy(CHAIN, 64, CHAIN));
    let reset: [fn(&Bench<Ioat>); 4] = [
        |it| it.device.reset(),
        |it| it.set(spec::CHANCMD, 1, spec::CHANCMD_RESET.into()),
        |it| it.set(spec::CHANCMD, 1, spec::CHANCMD_ABORT.into()),
        // two commands at once
        |it| it.set(spec::CHANCMD, 1, (spec::CHANCMD_SUSPEND | spec::CHANCMD_RESUME).into()),
    ];
    for reset in reset {
        bench.begin(CHAIN);
        bench.ring(1);
        assert_eq!(bench.state(), spec::ACTIVE);
        reset(&bench);
        assert_eq!(bench.state(), spec::HALTED);
    }
    assert_eq!(bench.errors(), u64::from(spec::ERR_CHANCMD));
    bench.device.reset();
    for offset in [spec::CHANERR, spec::CHANCTRL, spec::INTRCTRL, spec::CHAINADDR, spec::CHANCMP] {
        assert_eq!(bench.get(offset, 1), 0, "{offset:#x}");
    }
    assert_eq!((bench.get(spec::VERSION, 1), bench.get(spec::XFERCAP, 1)), (0x33, 18));
    assert_eq!(bench.load(TO, 64), [0; 64]);
}

/// A chain without an end is left to the thread, and ends by a reset: no more is written after it.
#[test]
fn a_reset_in_the_middle_of_a_long_chain() {
    let bench = bench();
    bench.store(FROM, &[1; 0x4000]);
    bench.put((CHAIN, 0x4000, 0, FROM, TO - 0x1000, CHAIN));
    for _ in 0..8 {
        bench.begin(CHAIN);
        bench.ring(0xffff);
        bench.device.reset();
        bench.store(TO, &[5; 64]);
        assert_eq!(bench.state(), spec::HALTED);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(bench.load(TO, 64), [5; 64]);
    }
}

#[test]
fn bus_mastering() {
    let bench = bench();
    bench.store(FROM, &[3; 64]);
    bench.put((CHAIN, 64, spec::CTL_INT_EN, FROM, TO, CHAIN));
    bench.device.set_bus_master(false);
    assert_eq!(bench.run(CHAIN, 1), spec::HALTED);
    assert_eq!((bench.load(TO, 64), bench.raised(0)), (vec![0; 64], 0));
    bench.device.set_bus_master(true);
    assert_eq!(bench.run(CHAIN, 1), spec::DONE);
    assert_eq!((bench.load(TO, 64), bench.raised(0)), (vec![3; 64], 1));
}

/// An access that stalls waits for its answer, and the store that rang does not.
#[test]
fn stalls() {
    let make = |dma, interrupts| Ioat::new(dma, interrupts, Settings::default()).unwrap();
    let mut bench: Bench<Ioat> = Bench::apart("grace", make);
    bench.device.set_bus_master(true);
    let queue = bench.with_faults();
    bench.map(0, 8);
    bench.store(FROM, &[4; 0x1800]);
    bench.put((CHAIN, 0x1800, 0, FROM, TO - 0x800, CHAIN));
    bench.begin(CHAIN);
    bench.ring(1);
    assert_eq!(bench.state(), spec::ACTIVE);
    let cookie = bench.fault_at(queue, TO);
    bench.map(8, 1);
    bench.answer(queue, cookie, true);
    bench.settle();
    assert_eq!(bench.state(), spec::DONE);
    assert_eq!(bench.load(TO - 0x800, 0x1800), [4; 0x1800]);

    bench.put((CHAIN, 64, 0, TO + 0x1000, TO, CHAIN));
    bench.begin(CHAIN);
    bench.ring(1);
    let cookie = bench.fault_at(queue, TO + 0x1000);
    bench.answer(queue, cookie, false);
    bench.settle();
    assert_eq!((bench.state(), bench.errors()), (spec::HALTED, spec::ERR_SRC_ADDR.into()));

    // nobody answers, and the device is reset
    bench.begin(CHAIN);
    bench.ring(1);
    bench.fault_at(queue, TO + 0x1000);
    bench.device.reset();
    assert_eq!(bench.state(), spec::HALTED);
}

/// A resume that comes while the completion of the suspend waits for its page is not lost.
#[test]
fn a_resume_before_the_suspend_is_told() {
    let make = |dma, interrupts| Ioat::new(dma, interrupts, Settings::default()).unwrap();
    let mut bench: Bench<Ioat> = Bench::apart("grace", make);
    bench.device.set_bus_master(true);
    let queue = bench.with_faults();
    bench.map(0, 8);
    let data = TO + 0x1000;
    bench.put((CHAIN, 64, spec::CTL_COMPL_WRITE, data, FROM, CHAIN));
    bench.begin(CHAIN);
    bench.set(spec::CHANCMP, 8, TO);
    bench.ring(2);
    let cookie = bench.fault_at(queue, data);
    bench.set(spec::CHANCMD, 1, spec::CHANCMD_SUSPEND.into());
    bench.map(9, 1);
    bench.answer(queue, cookie, true);
    let cookie = bench.fault_at(queue, TO);
    bench.set(spec::CHANCMD, 1, spec::CHANCMD_RESUME.into());
    bench.map(8, 1);
    bench.answer(queue, cookie, true);
    bench.until("the end of the chain", |it| it.word(TO) == CHAIN | spec::DONE);
    bench.settle();
    assert_eq!(bench.state(), spec::DONE);
}

/// Drivers look for an error in memory, then read what it is (DPDK's `ioat_completed`, Linux's `ioat_cleanup`):
/// it is told before its completion, which here waits for its page.
#[test]
fn errors_are_told_before_their_completion() {
    let make = |dma, interrupts| Ioat::new(dma, interrupts, Settings::default()).unwrap();
    let mut bench: Bench<Ioat> = Bench::apart("grace", make);
    bench.device.set_bus_master(true);
    let queue = bench.with_faults();
    bench.map(0, 8);
    bench.put((CHAIN, 0, spec::CTL_COMPL_WRITE, FROM, FROM, CHAIN));
    bench.begin(CHAIN);
    bench.set(spec::CHANCMP, 8, TO);
    bench.ring(1);
    let cookie = bench.fault_at(queue, TO);
    assert_eq!((bench.state(), bench.errors()), (spec::ACTIVE, spec::ERR_LENGTH.into()));
    // and it is told once
    bench.set(spec::CHANERR, 4, spec::ERR_LENGTH.into());
    bench.map(8, 1);
    bench.answer(queue, cookie, true);
    bench.settle();
    assert_eq!(bench.word(TO), spec::HALTED);
    assert_eq!((bench.state(), bench.errors()), (spec::HALTED, 0));
}

/// Whoever sees a completion finds the channel in its state by the next store, as DPDK's `ioat_dev_stop`
/// takes for granted; and whoever sees the state finds the completion.
#[test]
fn completions_and_states_come_together() {
    let latency = Latency::Fixed(Duration::from_micros(1));
    let bench = bench_with("spr", Settings { latency, ..Settings::default() });
    bench.put(copy(CHAIN, 64, CHAIN));
    for round in 0..500 {
        bench.store(STATUS, &[0; 8]);
        bench.begin(CHAIN);
        bench.ring(1);
        if round % 2 == 0 {
            bench.until("a completion", |it| it.word(STATUS) != 0);
            bench.set(spec::CHANCMD, 1, spec::CHANCMD_SUSPEND.into());
            assert_eq!(bench.state(), spec::SUSPENDED, "round {round}");
        } else {
            bench.settle();
            assert_eq!(bench.word(STATUS), CHAIN | spec::DONE, "round {round}");
        }
    }
}

/// A device goes while it works or waits: its thread ends, so it is gone at once.
#[test]
fn a_device_that_goes_in_the_middle_of_its_work() {
    let gone = |name: &str, device: std::sync::Arc<Ioat>| {
        let (to, from) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(device);
            to.send(())
        });
        assert_eq!(from.recv_timeout(bench::LONG), Ok(()), "{name}");
    };
    let latency = Latency::Fixed(Duration::from_secs(1000));
    for (name, settings) in [
        ("a long chain", Settings::default()),
        ("a completion's time", Settings { latency, ..Settings::default() }),
    ] {
        let bench = bench_with("spr", settings);
        bench.put((CHAIN, 0x4000, 0, FROM, TO - 0x1000, CHAIN));
        bench.begin(CHAIN);
        bench.ring(0xffff);
        gone(name, bench.device);
    }
    let make = |dma, interrupts| Ioat::new(dma, interrupts, Settings::default()).unwrap();
    let mut bench: Bench<Ioat> = Bench::apart("grace", make);
    bench.device.set_bus_master(true);
    let queue = bench.with_faults();
    bench.map(0, 8);
    bench.put((CHAIN, 64, 0, TO + 0x1000, TO, CHAIN));
    bench.begin(CHAIN);
    bench.ring(1);
    bench.fault_at(queue, TO + 0x1000);
    gone("a page that nobody answers for", bench.device);
}
