//! Stores of any kind.

use proptest::prelude::*;

use super::*;

#[test]
fn stores_of_any_width() {
    let bench = bench();
    bench.put(copy(CHAIN, 64, CHAIN));
    // control, command and doorbell in one, before there is a chain
    bench.device.write(0, spec::CHANCTRL, &[0x14, 0, 0, 0, spec::CHANCMD_RESET, 0, 1, 0]);
    assert_eq!(bench.get(spec::CHANCTRL, 2), 0);
    assert_eq!((bench.state(), bench.get(spec::DMACOUNT, 2)), (spec::HALTED, 1));
    // an address by halves, and by bytes
    bench.set(spec::CHAINADDR, 4, CHAIN);
    bench.set(spec::CHAINADDR + 4, 4, 0);
    assert_eq!(bench.get(spec::CHANSTS, 8), spec::ARMED);
    for byte in 0..8 {
        bench.set(spec::CHANCMP + byte, 1, STATUS >> (8 * byte));
    }
    assert_eq!(bench.get(spec::CHANCMP, 8), STATUS);
    bench.device.write(0, spec::CHANCMD + 1, &[0, 1, 0]);
    assert_eq!(bench.get(spec::CHANSTS, 8), CHAIN | spec::DONE);
    assert_eq!(bench.word(STATUS), CHAIN | spec::DONE);
    // what only tells is not written
    bench.device.write(0, 0, &[0xff; 64]);
    bench.set(spec::CHANSTS, 8, u64::MAX);
    assert_eq!((bench.get(spec::VERSION, 1), bench.get(spec::XFERCAP, 1)), (0x33, 18));
    assert_eq!(bench.get(spec::CHANSTS, 8), CHAIN | spec::DONE);
    bench.set(spec::CHANERR_MASK, 4, 0xabcd);
    assert_eq!(bench.get(spec::CHANERR_MASK, 4), 0xabcd);
}

/// What programs map is what is read.
#[test]
fn the_memory_of_the_registers() {
    let bench = bench();
    let memory = bench.device.memory(0).unwrap();
    let window = memory.window(0).unwrap();
    let mut state = [0; 8];
    bench.begin(CHAIN);
    window.read(spec::CHANSTS, &mut state).unwrap();
    assert_eq!(u64::from_le_bytes(state), spec::ARMED);
    assert!(bench.device.memory(1).is_none());
    assert_eq!((bench.device.bar(0).unwrap().size, bench.device.bar(1)), (spec::BAR_SIZE, None));
    assert_eq!(bench.device.vectors().msix.unwrap().vectors, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any stores, any descriptors, with resets between: no panic, no hang, and the device still works.
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
        let bench = bench_with("spr", Settings { latency, ..Settings::default() });
        for (offset, bytes, what) in stores {
            let byte = bytes.first().copied().unwrap_or(1);
            match what {
                0 => bench.device.reset(),
                1 => bench.ring(u64::from(byte) * 0x101),
                2 => bench.device.set_bus_master(byte % 2 == 0),
                3 => bench.begin(CHAIN + u64::from(byte % 4) * 64),
                4 => bench.store(CHAIN + u64::from(byte % 4) * 64, &bytes),
                5 => bench.put(copy(CHAIN, u32::from(byte) * 99, CHAIN + u64::from(byte % 4) * 64)),
                6 => bench.set(spec::CHANCMD, 1, 1 << (byte % 8)),
                7..12 => bench.device.write(0, spec::CHANNEL + offset % 0x40, &bytes),
                12 => bench.device.write(offset as u32 % 7, offset * 0x1_0001, &bytes),
                _ => bench.device.write(0, offset, &bytes),
            }
            let mut seen = [0; 16];
            bench.device.read(0, offset, &mut seen);
        }
        bench.device.reset();
        bench.device.set_bus_master(true);
        bench.put(copy(CHAIN, 64, CHAIN));
        prop_assert_eq!(bench.run(CHAIN, 1), spec::DONE);
    }
}
