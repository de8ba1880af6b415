//! `MOVDIR64B`, `ENQCMD`, `ENQCMDS`.

use emulate::Trouble;

use crate::machine::{Access, Nowhere, Test};

const MOVDIR64B: &[u8] = &[0x66, 0x0f, 0x38, 0xf8, 0x3e]; // rdi, [rsi]
const MOVDIR64B_32: &[u8] = &[0x67, 0x66, 0x0f, 0x38, 0xf8, 0x16]; // edx, [esi]
const ENQCMD: &[u8] = &[0xf2, 0x0f, 0x38, 0xf8, 0x3e];
const ENQCMDS: &[u8] = &[0xf3, 0x0f, 0x38, 0xf8, 0x3e];

fn line() -> Vec<u8> {
    (0..64).map(|index| index | 0x80).collect()
}

fn test() -> Test {
    let mut test = Test::new();
    test.memory[0x600..0x640].copy_from_slice(&line());
    test.cpu.flags |= 0x8d5;
    test
}

#[test]
fn sixty_four_bytes_are_one_store() {
    for (code, at) in [(MOVDIR64B, 0x1700), (MOVDIR64B_32, 0x1200)] {
        let mut test = test();
        assert_eq!(test.step(code), Ok(()));
        assert_eq!(test.accesses, [Access::Load(0x1600, 64), Access::Store(at, line())]);
        assert_eq!(test.cpu.flags, 0xad7);
    }
}

#[test]
fn commands_are_accepted_or_not() {
    for (code, fourth, accepts) in [(ENQCMD, 3, true), (ENQCMDS, 0x83, true), (ENQCMD, 3, false)] {
        let mut test = test();
        test.accepts = accepts;
        assert_eq!(test.step(code), Ok(()));
        let mut command = line();
        command[3] = fourth;
        assert_eq!(test.accesses, [Access::Load(0x1600, 64), Access::Enqueue(0x1700, command)]);
        assert_eq!(test.cpu.flags, if accepts { 0x202 } else { 0x242 });
    }
}

#[test]
fn places_must_fit() {
    let mut test = test();
    test.cpu.general[7] = 0x1720;
    assert_eq!(test.step(MOVDIR64B), Err(Trouble::Unknown));
    test.cpu.general[7] = 0x1700;
    test.cpu.general[6] = 0x2fe0;
    assert_eq!(test.step(MOVDIR64B), Err(Trouble::Fault(Nowhere(0x2fe0))));
    assert_eq!(test.accesses, []);
}

#[test]
fn are_known_by_their_bytes() {
    #[rustfmt::skip] // one instruction, one line
    let cases: &[(&[u8], Option<u64>)] = &[
        (MOVDIR64B,                       Some(0x1700)),
        (MOVDIR64B_32,                    Some(0x1200)),
        (ENQCMD,                          Some(0x1700)),
        (ENQCMDS,                         Some(0x1700)),
        (&[0x0f, 0x38, 0xf9, 0x0f],       Some(0x1700)), // movdiri [rdi], ecx
        (&[0x48, 0x0f, 0x38, 0xf9, 0x0f], Some(0x1700)),
        (&[0x89, 0x0f],                   None),
        (&[0x0f, 0x0b],                   None),
        (&[],                             None),
    ];
    for (code, at) in cases {
        let mut test = test();
        let cpu = test.cpu;
        assert_eq!(emulate::portal(code, &cpu, &mut test), *at, "{code:02x?}");
    }
}
