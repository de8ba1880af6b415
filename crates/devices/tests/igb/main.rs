//! `igb` on machines: frames that come back, interrupts, faults.

#[path = "../common/bench.rs"]
mod bench;

use std::time::Duration;

use devices::Latency;
use devices::igb::{Igb, Settings, spec};
use engine::Model;
use proptest::prelude::*;

use bench::{Bench, IOVA, NOTHING, noise};

/// Where rings are, and data.
const SENT: u64 = IOVA;
const GOT: u64 = IOVA + 0x800;
const FROM: u64 = IOVA + 0x1000;
const TO: u64 = IOVA + 0x8000;
/// Descriptors of a ring.
const COUNT: u64 = 16;

const WHOLE: u32 = spec::TX_DEXT | 0x0030_0000 | spec::TX_IFCS | spec::TX_EOP;
const RECEIVED: u32 = spec::DONE | spec::RX_EOP;

const RCTL: u32 =
    spec::RCTL_EN | spec::RCTL_UPE | spec::RCTL_MPE | spec::RCTL_BAM | spec::RCTL_LBM_MAC;

fn bench() -> Bench<Igb> {
    bench_with(Settings::default())
}

fn bench_with(settings: Settings) -> Bench<Igb> {
    let make = |dma, interrupts| Igb::new(dma, interrupts, settings).unwrap();
    let bench = Bench::new("spr", make);
    bench.begin();
    bench
}

impl Bench<Igb> {
    fn set32(&self, offset: u64, value: u32) {
        self.set(offset, 4, value.into());
    }

    fn get32(&self, offset: u64) -> u32 {
        self.get(offset, 4) as u32
    }

    /// As the selftest programs it.
    fn begin(&self) {
        self.set32(spec::CTRL, spec::CTRL_RST);
        for (ring, base) in [(spec::TX, SENT), (spec::RX, GOT)] {
            self.set32(ring + spec::BASE, base as u32);
            self.set32(ring + spec::BASE + 4, (base >> 32) as u32);
            self.set32(ring + spec::LENGTH, (COUNT * 16) as u32);
            self.set32(ring + spec::HEAD, 0);
            self.set32(ring + spec::TAIL, 0);
            self.set32(ring + spec::CONTROL, spec::QUEUE_ENABLE);
        }
        self.set32(spec::RX + spec::SRRCTL, spec::SRRCTL_ADV_ONEBUF);
        self.set32(spec::RCTL, RCTL);
        self.set32(spec::TCTL, spec::TCTL_EN | spec::TCTL_PSP);
        self.set32(spec::GPIE, spec::GPIE_MSIX_MODE | spec::GPIE_EIAME);
        self.set32(spec::EIAC, 1);
        self.set32(spec::EIAM, 1);
        self.set32(spec::IVAR0, spec::IVAR_VALID.into());
    }

    /// Puts a descriptor to transmit.
    fn put(&self, index: u64, data: u64, command: u32) {
        let words = [data, command.into()];
        self.store(SENT + index * 16, words.map(u64::to_le_bytes).as_flattened());
    }

    /// Puts one to receive.
    fn take(&self, index: u64, data: u64) {
        self.store(GOT + index * 16, [data, 0].map(u64::to_le_bytes).as_flattened());
    }

    /// Status and length of one that was received.
    fn got(&self, index: u64) -> (u32, u16) {
        let bytes = self.load(GOT + index * 16, 16);
        let status = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
        (status, u16::from_le_bytes([bytes[12], bytes[13]]))
    }

    fn ring(&self, received: u64, sent: u64) {
        self.set32(spec::RX + spec::TAIL, received as u32);
        self.set32(spec::TX + spec::TAIL, sent as u32);
    }

    /// Sends one frame from the begin of the rings; what was received.
    fn send(&self, size: u32, command: u32) -> (u32, u16) {
        self.take(0, TO);
        self.put(0, FROM, command | size);
        self.ring(1, 1);
        self.got(0)
    }
}

#[test]
fn frames_come_back() {
    let bench = bench();
    let mut index = 0;
    for round in 0..20u64 {
        let size = 60 + round as u32 * 50;
        let data: Vec<_> = noise(round, size as usize).iter().map(|byte| byte & !1).collect();
        bench.store(FROM, &data);
        bench.put(index, FROM, WHOLE | spec::TX_RS | size);
        bench.take(index, TO);
        let next = (index + 1) % COUNT;
        bench.ring(next, next);
        assert_eq!(bench.got(index), (RECEIVED, size as u16), "{round}");
        assert_eq!(bench.load(TO, size as usize), data, "{round}");
        assert_eq!(bench.load(SENT + index * 16 + 12, 4), [1, 0, 0, 0], "{round}");
        let heads = [spec::TX, spec::RX].map(|ring| u64::from(bench.get32(ring + spec::HEAD)));
        assert_eq!(heads, [next, next], "{round}");
        index = next;
    }
}

/// A frame of several descriptors, and one that fills several buffers.
#[test]
fn frames_in_parts() {
    let bench = bench();
    let data: Vec<_> = noise(1, 1000).iter().map(|byte| byte & !1).collect();
    bench.store(FROM, &data);
    // buffers of 256 bytes
    bench.set32(spec::RCTL, RCTL | 3 << spec::RCTL_BSIZE_SHIFT);
    bench.put(0, FROM, spec::TX_DEXT | spec::TX_CONTEXT);
    bench.put(1, FROM, spec::TX_DEXT | 300);
    bench.put(2, FROM + 300, WHOLE | 700);
    (0..4).for_each(|index| bench.take(index, TO + index * 0x1000));
    bench.ring(4, 3);
    for (index, size) in [(0, 256), (1, 256), (2, 256), (3, 232)] {
        let status = if index == 3 { RECEIVED } else { spec::DONE };
        assert_eq!(bench.got(index), (status, size), "{index}");
        let from = index as usize * 256;
        let got = bench.load(TO + index * 0x1000, size.into());
        assert_eq!(got, data[from..from + usize::from(size)], "{index}");
    }
}

/// A name, a change, the bytes and the command of a frame, what is received.
type Sent = (&'static str, fn(&Bench<Igb>), u32, u32, (u32, u16));

#[test]
fn frames_that_do_not_arrive() {
    let arrived = (RECEIVED, 64);
    let lost = (0, 0);
    #[rustfmt::skip] // one reason, one line
    let cases: &[Sent] = &[
        ("none",              |_| (),                                                         64,   WHOLE, arrived),
        ("no loop",           |it| it.set32(spec::RCTL, RCTL & !spec::RCTL_LBM_MAC),          64,   WHOLE, lost),
        ("loop in the PHY",   |it| { it.set32(spec::RCTL, RCTL & !spec::RCTL_LBM_MAC); it.set32(spec::MDIC, 0x0420_4000) }, 64, WHOLE, arrived),
        ("receives nothing",  |it| it.set32(spec::RCTL, RCTL & !spec::RCTL_EN),               64,   WHOLE, lost),
        ("transmits nothing", |it| it.set32(spec::TCTL, 0),                                   64,   WHOLE, lost),
        ("queue disabled",    |it| it.set32(spec::RX + spec::CONTROL, 0),                     64,   WHOLE, lost),
        ("another disabled",  |it| it.set32(spec::TX + spec::CONTROL, 0),                     64,   WHOLE, lost),
        ("another form",      |it| it.set32(spec::RX + spec::SRRCTL, 0),                      64,   WHOLE, lost),
        ("for another",       |it| it.set32(spec::RCTL, RCTL & !spec::RCTL_UPE),              64,   WHOLE, lost),
        ("for many",          |it| { it.set32(spec::RCTL, RCTL & !spec::RCTL_MPE); it.store(FROM, &[1]) }, 64, WHOLE, lost),
        ("for all",           |it| { it.set32(spec::RCTL, RCTL & !spec::RCTL_MPE); it.store(FROM, &[0xff; 6]) }, 64, WHOLE, arrived),
        ("no check sequence", |_| (),                                                         64,   WHOLE & !spec::TX_IFCS, lost),
        ("not whole",         |_| (),                                                         64,   WHOLE & !spec::TX_EOP, lost),
        ("made longer",       |_| (),                                                         1,    WHOLE, (RECEIVED, 60)),
        ("too short",         |it| it.set32(spec::TCTL, spec::TCTL_EN),                       59,   WHOLE, lost),
        ("too long",          |_| (),                                                         1519, WHOLE, lost),
        ("long",              |it| it.set32(spec::RCTL, RCTL | spec::RCTL_LPE),               1519, WHOLE, (RECEIVED, 1519)),
        ("much too long",     |it| it.set32(spec::RCTL, RCTL | spec::RCTL_LPE),               9725, WHOLE, lost),
        ("tail off the ring", |it| it.set32(spec::TX + spec::LENGTH, 0),                      64,   WHOLE, lost),
    ];
    for (name, change, size, command, wanted) in cases {
        let bench = bench();
        change(&bench);
        assert_eq!(bench.send(*size, *command), *wanted, "{name}");
    }
    // no room, and then there is
    let bench = bench();
    bench.put(0, FROM, WHOLE | 64);
    bench.put(1, FROM, WHOLE | 64);
    bench.take(0, TO);
    bench.ring(0, 1);
    assert_eq!(bench.got(0), lost);
    bench.ring(1, 2);
    assert_eq!(bench.got(0), arrived);
}

#[test]
fn interrupts() {
    let bench = bench();
    // masked, cleared, and no more there
    bench.send(64, WHOLE);
    assert_eq!((bench.raised(0), bench.get32(spec::EICR)), (0, 1));
    bench.set32(spec::EICR, u32::MAX);
    bench.set32(spec::EIMS, 1);
    assert_eq!((bench.raised(0), bench.get32(spec::EICR)), (0, 0));
    // set by hand: clears and masks itself
    bench.set32(spec::EICS, 1);
    assert_eq!((bench.raised(0), bench.get32(spec::EICR), bench.get32(spec::EIMS)), (1, 0, 0));
    bench.set32(spec::EICS, 1);
    assert_eq!((bench.raised(0), bench.get32(spec::EICR)), (0, 1));
    bench.set32(spec::EIMS, 1);
    assert_eq!((bench.raised(0), bench.get32(spec::EICR)), (1, 0));
    // by a frame that was sent, through another vector, which does neither
    bench.set32(spec::IVAR0, 0x8380);
    bench.set32(spec::EIMS, 8);
    bench.begin_again();
    bench.send(64, WHOLE | spec::TX_RS);
    assert_eq!((bench.raised(3), bench.get32(spec::EICR), bench.get32(spec::EIMS)), (1, 9, 8));
    bench.set32(spec::EICS, 8);
    assert_eq!(bench.raised(3), 0);
    bench.set32(spec::EIMC, 8);
    bench.set32(spec::EICR, 8);
    bench.set32(spec::EICS, 8);
    assert_eq!(bench.raised(3), 0);
    // not without MSI-X
    bench.set32(spec::GPIE, 0);
    bench.set32(spec::EIMS, 8);
    assert_eq!(bench.raised(3), 0);
}

impl Bench<Igb> {
    /// Both rings from their begin.
    fn begin_again(&self) {
        for ring in [spec::TX, spec::RX] {
            self.set32(ring + spec::TAIL, 0);
            self.set32(ring + spec::HEAD, 0);
        }
    }
}

#[test]
fn the_phy() {
    let bench = bench();
    let write = |phy: u32, register: u32| {
        let names = phy << spec::MDIC_PHY_SHIFT | register << spec::MDIC_REG_SHIFT;
        bench.set32(spec::MDIC, names | spec::MDIC_OP_WRITE | 0x1234);
        bench.set32(spec::MDIC, names | spec::MDIC_OP_READ);
        bench.get32(spec::MDIC)
    };
    assert_eq!(write(1, 4) & 0xf000_ffff, spec::MDIC_READY | 0x1234);
    assert_eq!(write(2, 4) & 0xf000_0000, spec::MDIC_READY | spec::MDIC_ERROR);
    bench.set32(spec::MDIC, 1 << spec::MDIC_PHY_SHIFT);
    assert_ne!(bench.get32(spec::MDIC) & spec::MDIC_ERROR, 0);
}

/// Nothing is moved or told, and nothing more is made before a reset of the function.
#[test]
fn a_fault_stops_it() {
    type Break = fn(&Bench<Igb>);
    let breaks: [Break; 5] = [
        |it| it.put(0, NOTHING, WHOLE | 64),
        |it| it.take(0, NOTHING),
        |it| it.set32(spec::TX + spec::BASE, NOTHING as u32),
        |it| it.set32(spec::RX + spec::BASE, NOTHING as u32),
        |it| it.device.set_bus_master(false),
    ];
    for breaks in breaks {
        let bench = bench();
        bench.set32(spec::EIMS, 1);
        bench.store(TO, &[7; 64]);
        bench.take(0, TO);
        bench.put(0, FROM, WHOLE | 64);
        breaks(&bench);
        bench.ring(1, 1);
        assert_eq!((bench.load(TO, 64), bench.got(0), bench.raised(0)), (vec![7; 64], (0, 0), 0));
        // the device's own reset leaves that
        bench.device.set_bus_master(true);
        bench.begin();
        assert_eq!(bench.send(64, WHOLE), (0, 0));
        bench.device.reset();
        bench.begin();
        assert_eq!(bench.send(64, WHOLE), (RECEIVED, 64));
    }
}

#[test]
fn resets() {
    let latency = Latency::Fixed(Duration::from_secs(1000));
    let bench = bench_with(Settings { latency });
    assert_eq!(bench.get32(spec::EECD), spec::EECD_READ);
    let reset: [fn(&Bench<Igb>); 2] =
        [|it| it.device.reset(), |it| it.set32(spec::CTRL, spec::CTRL_RST | spec::CTRL_SLU)];
    for reset in reset {
        bench.begin();
        bench.set32(spec::CTRL, spec::CTRL_SLU);
        assert_ne!(bench.get32(spec::STATUS) & spec::STATUS_LU, 0);
        assert_eq!(bench.send(64, WHOLE), (0, 0));
        reset(&bench);
        for offset in [spec::CTRL, spec::TCTL, spec::TX, spec::TX + spec::TAIL, spec::GPIE] {
            assert_eq!(bench.get32(offset), 0, "{offset:#x}");
        }
        assert_eq!(bench.get32(spec::STATUS) & spec::STATUS_LU, 0);
    }
}

/// The selftest sends 4095 frames at once; a store does not wait for all of them.
#[test]
fn a_long_ring() {
    let bench = bench();
    bench.store(FROM, &[2; 64]);
    for index in 0..COUNT {
        bench.put(index, FROM, WHOLE | 64);
        bench.take(index, TO);
    }
    bench.ring(COUNT - 1, COUNT - 1);
    bench.until("the last frame", |it| it.got(COUNT - 2) == (RECEIVED, 64));
    assert_eq!(bench.got(COUNT - 1), (0, 0));
    let memory = bench.device.memory(0).unwrap().window(0).unwrap();
    let mut head = [0; 4];
    memory.read(spec::TX + spec::HEAD, &mut head).unwrap();
    assert_eq!(u64::from(u32::from_le_bytes(head)), COUNT - 1);
    let bars = (0..6).filter_map(|bar| bench.device.bar(bar).map(|it| (bar, it.size)));
    assert_eq!(bars.collect::<Vec<_>>(), [(0, 0x2_0000), (3, 0x4000)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any stores, rings of any size, with resets between: no panic, no hang, and the device still works.
    #[test]
    fn nothing_breaks_it(
        latency in any::<bool>(),
        stores in prop::collection::vec(
            (0..=spec::BAR_SIZE, prop::collection::vec(any::<u8>(), 0..66), 0..16u8), 0..60,
        ),
    ) {
        let latency = match latency {
            true => Latency::Random { max: Duration::from_micros(50), seed: 7 },
            false => Latency::None,
        };
        let bench = bench_with(Settings { latency });
        for (offset, bytes, what) in stores {
            let byte = bytes.first().copied().unwrap_or(1);
            let near = u64::from(byte) * 16 % 0x400;
            match what {
                0 => bench.device.reset(),
                1 => bench.device.set_bus_master(byte % 4 != 0),
                2 => bench.store(SENT + near, &bytes),
                3 => bench.store(GOT + near, &bytes),
                4 => bench.put(near / 16, FROM + near, (offset as u32).wrapping_mul(0x1_0101)),
                5 => bench.take(near / 16, TO + near),
                6 => bench.ring(near / 16, u64::from(byte) * 3),
                7 => bench.begin(),
                8..11 => bench.device.write(0, spec::TX + offset % 0x30, &bytes),
                11 => bench.device.write(0, spec::RX + offset % 0x30, &bytes),
                12 => bench.device.write(0, spec::GPIE + offset % 0x80, &bytes),
                13 => bench.device.write(offset as u32 % 7, offset * 0x1_0001, &bytes),
                _ => bench.device.write(0, offset, &bytes),
            }
            let mut seen = [0; 16];
            bench.device.read(0, offset, &mut seen);
        }
        bench.device.reset();
        bench.device.set_bus_master(true);
        bench.begin();
        bench.store(FROM, &[0; 64]);
        bench.send(64, WHOLE);
        bench.until("a frame", |it| it.got(0) == (RECEIVED, 64));
    }
}
