//! What it tells of itself, and stores of any kind.

use std::time::Duration;

use devices::Latency;
use devices::dsa::spec::{opcode, status};
use proptest::prelude::*;

use super::*;

#[test]
fn capabilities() {
    let bench = bench_with("spr", Settings::default());
    #[rustfmt::skip] // one register, one line
    let cases = [
        (spec::VERSION, 4, 0x100),
        (spec::GENCAP,  8, 1 | 2 | 3 << 2 | 1 << 4 | 18 << 16 | 10 << 21 | 1 << 31),
        (spec::WQCAP,   8, 128 | 8 << 16 | 1 << 24 | 0x5f << 48 | 1 << 55),
        (spec::GRPCAP,  8, 4),
        (spec::ENGCAP,  8, 4),
        (spec::OPCAP,   8, 0x1_0003_027f),
        (spec::TABLES,  8, 0x8_0005_0004),
    ];
    for (offset, size, wanted) in cases {
        assert_eq!(bench.get(offset, size), wanted, "{offset:#x}");
        bench.set(offset, size, 0);
        assert_eq!(bench.get(offset, size), wanted, "{offset:#x}");
    }
    let settings =
        Settings { queues: 99, transfer_order: 99, page_requests: false, ..Settings::default() };
    let bench = bench_with("spr", settings);
    assert_eq!((bench.get(spec::WQCAP + 2, 1), bench.get(spec::GENCAP, 8) >> 16 & 0x1f), (8, 31));
    let bars = (0..6).filter_map(|bar| bench.device.bar(bar).map(|it| (bar, it.size)));
    assert_eq!(bars.collect::<Vec<_>>(), [(0, 0x1_0000), (2, 0x2_0000)]);
    assert!(bench.device.memory(2).unwrap().window(0).is_ok());
    assert!(bench.device.memory(1).is_none());
}

#[test]
fn the_memory_of_the_registers() {
    let bench = bench();
    let window = bench.device.memory(0).unwrap().window(0).unwrap();
    let mut state = [0; 4];
    window.read(spec::GENSTS, &mut state).unwrap();
    assert_eq!(u32::from_le_bytes(state), spec::GENSTS_ENABLED);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any stores, commands and descriptors, with resets between: no panic, no hang, and the device still
    /// works.
    #[test]
    fn nothing_breaks_it(
        latency in any::<bool>(),
        stores in prop::collection::vec(
            (0..=spec::BAR_SIZE, prop::collection::vec(any::<u8>(), 0..66), 0..20u8), 0..60,
        ),
    ) {
        let latency = match latency {
            true => Latency::Random { max: Duration::from_micros(50), seed: 7 },
            false => Latency::None,
        };
        let bench = bench_with("spr", Settings { latency, ..Settings::default() });
        bench.enable(spec::WQ_DEDICATED);
        for (offset, bytes, what) in stores {
            let byte = bytes.first().copied().unwrap_or(1);
            let mut descriptor = [0; 64];
            bytes.iter().zip(&mut descriptor).for_each(|(from, to)| *to = *from);
            let near = u64::from(byte) << 8;
            match what {
                0 => bench.device.reset(),
                1 => bench.device.set_bus_master(byte % 4 != 0),
                2 => bench.set(spec::CMD, 4, u64::from(byte % 32) << 20 | u64::from(byte >> 5)),
                3 => bench.store(LIST + near % 0x400, &bytes),
                4 => _ = bench.device.enqueue(2, offset & !63, &descriptor),
                5 => bench.device.write(2, offset * 2, &bytes),
                6..9 => bench.send(&Descriptor::new(byte % 0x21).with(|it| {
                    it.flags = offset as u32 * 0x11;
                    (it.size, it.source, it.destination) = (near as u32, IOVA + near, TO - near);
                })),
                9 => bench.send(&bench.batch(&[Descriptor::new(byte % 7); 3])),
                10..13 => bench.device.write(0, spec::WQCFG + offset % 0x240, &bytes),
                13 => bench.device.write(0, spec::GENCFG + offset % 0x80, &bytes),
                14 => bench.device.write(offset as u32 % 7, offset * 0x1_0001, &bytes),
                15 => bench.enable_again(),
                _ => bench.device.write(0, offset, &bytes),
            }
            let mut seen = [0; 16];
            bench.device.read(0, offset, &mut seen);
        }
        bench.device.set_bus_master(true);
        bench.enable_again();
        prop_assert_eq!(bench.run(&Descriptor::new(opcode::MEMMOVE)).0, status::SUCCESS);
    }
}

impl Bench<Dsa> {
    fn enable_again(&self) {
        self.device.set_bus_master(true);
        assert_eq!(self.command(command::RESET_DEVICE, 0), (0, 0));
        self.enable(spec::WQ_DEDICATED);
    }
}
