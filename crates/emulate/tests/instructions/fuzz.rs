//! Any bytes, and any bytes that begin as instructions do that access memory.

use proptest::prelude::*;

use crate::machine::{CODE, Test};

fn is_sound(code: &[u8], general: [u64; 16], flags: u64) {
    let mut test = Test::new();
    (test.cpu.general, test.cpu.flags) = (general, flags);
    let length = emulate::length(code);
    let before = test.cpu;
    match test.step(code) {
        Err(_) => assert_eq!(test.cpu, before),
        // at the instruction, if it goes on, or behind it
        Ok(()) => {
            let behind = length.map(|length| CODE + length as u64);
            assert!(test.cpu.rip == CODE || Some(test.cpu.rip) == behind);
        }
    }
    assert!(test.accesses.len() <= 512);
    let cpu = before;
    let _ = emulate::portal(code, &cpu, &mut test);
}

/// What the maps of instructions begin with.
const MAPS: &[&[u8]] = &[&[], &[0x0f], &[0x0f, 0x38], &[0x0f, 0x3a]];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn any_bytes(
        code in prop::collection::vec(any::<u8>(), 0..16),
        near in any::<bool>(),
        general in any::<[u64; 16]>(),
        flags in any::<u64>(),
    ) {
        let general = if near { general.map(|it| 0x1000 + it % 0x2000) } else { general };
        is_sound(&code, general, flags);
    }

    #[test]
    fn any_instruction_of_a_known_kind(
        prefixes in prop::collection::vec(prop::sample::select(&[0x66, 0x67, 0xf2, 0xf3, 0x64, 0x65, 0xf0][..]), 0..3),
        rex in prop::option::of(0x40_u8..0x50),
        map in prop::sample::select(MAPS),
        rest in prop::collection::vec(any::<u8>(), 10),
        general in any::<[u64; 16]>(),
        flags in any::<u64>(),
    ) {
        let code: Vec<_> = prefixes.into_iter().chain(rex).chain(map.iter().copied()).chain(rest).take(15).collect();
        is_sound(&code, general.map(|it| 0x1000 + it % 0x2000), flags);
    }

    #[test]
    fn any_vector_instruction(
        form in prop::sample::select(&[0x62_u8, 0xc4, 0xc5][..]),
        rest in prop::collection::vec(any::<u8>(), 12),
        general in any::<[u64; 16]>(),
    ) {
        let code: Vec<_> = std::iter::once(form).chain(rest).collect();
        is_sound(&code, general.map(|it| 0x1000 + it % 0x2000), 0);
    }
}
