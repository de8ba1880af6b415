//! `MOVS`, `STOS`, `LODS`.

use crate::machine::{Access, CODE, Test, store};

#[test]
fn one_element() {
    #[rustfmt::skip] // one instruction, one line: code, RSI and RDI afterwards, accesses
    let cases: &[(&[u8], [u64; 2], &[Access])] = &[
        (&[0xaa],             [0x1600, 0x1701], &[store(0x1700, 1, 0)]),
        (&[0x66, 0xab],       [0x1600, 0x1702], &[store(0x1700, 2, 0x1000)]),
        (&[0xab],             [0x1600, 0x1704], &[store(0x1700, 4, 0x1000)]),
        (&[0x48, 0xab],       [0x1600, 0x1708], &[store(0x1700, 8, 0x1111_1111_0000_1000)]),
        (&[0xa4],             [0x1601, 0x1701], &[Access::Load(0x1600, 1), store(0x1700, 1, 0)]),
        (&[0xa5],             [0x1604, 0x1704], &[Access::Load(0x1600, 4), store(0x1700, 4, 0x0302_0100)]),
        (&[0x48, 0xa5],       [0x1608, 0x1708], &[Access::Load(0x1600, 8), store(0x1700, 8, 0x0706_0504_0302_0100)]),
        (&[0xad],             [0x1604, 0x1700], &[Access::Load(0x1600, 4)]),
    ];
    for (code, after, expected) in cases {
        let mut test = Test::new();
        assert_eq!(test.step(code), Ok(()), "{code:02x?}");
        assert_eq!(&test.accesses, expected, "{code:02x?}");
        assert_eq!(test.cpu.general[6..8], *after, "{code:02x?}");
    }
}

#[test]
fn backwards_when_told_so() {
    let mut test = Test::new();
    test.cpu.flags |= 0x400;
    assert_eq!(test.step(&[0x48, 0xa5]), Ok(()));
    assert_eq!(test.cpu.general[6..8], [0x15f8, 0x16f8]);
}

#[test]
fn repetitions_end_at_zero() {
    for (count, then) in [(0, 2), (1, 2), (3, 2), (256, 2), (257, 0)] {
        let mut test = Test::new();
        test.cpu.general[1] = count;
        assert_eq!(test.step(&[0xf3, 0xab]), Ok(()), "{count}");
        let made = count.min(256);
        assert_eq!(test.accesses.len() as u64, made, "{count}");
        assert_eq!(test.cpu.general[1], count - made, "{count}");
        assert_eq!(test.cpu.general[7], 0x1700 + 4 * made, "{count}");
        assert_eq!(test.cpu.rip, CODE + then, "{count}");
    }
}

#[test]
fn a_fault_comes_at_its_element() {
    let mut test = Test::new();
    (test.cpu.general[1], test.cpu.general[7]) = (4, 0x2ff8);
    assert_eq!(test.step(&[0xf3, 0xab]), Ok(()));
    assert_eq!((test.cpu.general[1], test.cpu.general[7], test.cpu.rip), (2, 0x3000, CODE));
    assert!(test.step(&[0xf3, 0xab]).is_err());
}
