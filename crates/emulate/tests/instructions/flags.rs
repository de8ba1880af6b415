//! Instructions that read, compute, and write: results and flags.

use crate::machine::Test;

const CF: u64 = 1;
const PF: u64 = 4;
const AF: u64 = 0x10;
const ZF: u64 = 0x40;
const SF: u64 = 0x80;
const OF: u64 = 0x800;
const ALL: u64 = CF | PF | AF | ZF | SF | OF;

/// What memory holds first, flags first, code, memory and flags afterwards.
type Row = (&'static str, u64, u64, &'static [u8], u64, u64);

// RCX is 0x1111111100001100
#[rustfmt::skip] // one instruction, one line
const ROWS: &[Row] = &[
    ("add b[rdi], 1: carry",       0xff, 0,   &[0x80, 0x07, 1],                   0x00, CF | PF | AF | ZF),
    ("add b[rdi], 1: overflow",    0x7f, 0,   &[0x80, 0x07, 1],                   0x80, AF | SF | OF),
    ("add d[rdi], ecx",            1,    ALL, &[0x01, 0x0f],                      0x1101, 0),
    ("add q[rdi], rcx",            !0,   0,   &[0x48, 0x01, 0x0f],                0x1111_1111_0000_10ff, CF | PF),
    ("adc b[rdi], 0",              0xff, CF,  &[0x80, 0x17, 0],                   0x00, CF | PF | AF | ZF),
    ("sub b[rdi], 1: borrow",      0,    0,   &[0x80, 0x2f, 1],                   0xff, CF | PF | AF | SF),
    ("sub b[rdi], 1: overflow",    0x80, 0,   &[0x80, 0x2f, 1],                   0x7f, AF | OF),
    ("sbb b[rdi], 0",              0,    CF,  &[0x80, 0x1f, 0],                   0xff, CF | PF | AF | SF),
    ("cmp b[rdi], 5",              5,    ALL, &[0x80, 0x3f, 5],                   5,    PF | ZF),
    ("and d[rdi], 0xf0 (83)",      0xff, CF | OF | AF, &[0x83, 0x27, 0xf0],       0xf0, PF | AF),
    ("or d[rdi], -1 (83)",         1,    CF | OF, &[0x83, 0x0f, 0xff],            0xffff_ffff, SF | PF),
    ("xor d[rdi], ecx",            0x1100, ALL, &[0x31, 0x0f],                    0,    PF | ZF | AF),
    ("test b[rdi], 0x80",          0x80, CF,  &[0xf6, 0x07, 0x80],                0x80, SF),
    ("inc b[rdi]: carry stays",    0xff, CF,  &[0xfe, 0x07],                      0,    CF | PF | AF | ZF),
    ("dec w[rdi]",                 0,    0,   &[0x66, 0xff, 0x0f],                0xffff, PF | AF | SF),
    ("not q[rdi]",                 1,    ALL, &[0x48, 0xf7, 0x17],                !1,   ALL),
    ("neg b[rdi]",                 1,    0,   &[0xf6, 0x1f],                      0xff, CF | PF | AF | SF),
    ("neg b[rdi]: none",           0,    CF,  &[0xf6, 0x1f],                      0,    PF | ZF),
    ("lock add d[rdi], ecx",       0,    0,   &[0xf0, 0x01, 0x0f],                0x1100, PF),
    ("bts d[rdi], 4",              0,    CF,  &[0x0f, 0xba, 0x2f, 4],             0x10, 0),
    ("btr d[rdi], 4",              0x10, 0,   &[0x0f, 0xba, 0x37, 4],             0,    CF),
    ("btc d[rdi], 36",             0x10, 0,   &[0x0f, 0xba, 0x3f, 36],            0,    CF),
    ("shl b[rdi], 1",              0xc0, 0,   &[0xd0, 0x27],                      0x80, CF | SF),
    ("shl b[rdi], 1: overflow",    0x40, 0,   &[0xd0, 0x27],                      0x80, SF | OF),
    ("shr b[rdi], 1",              0x81, 0,   &[0xd0, 0x2f],                      0x40, CF | OF),
    ("shr d[rdi], 4",              0xff, 0,   &[0xc1, 0x2f, 4],                   0x0f, CF | PF),
    ("sar b[rdi], 1",              0x81, OF,  &[0xd0, 0x3f],                      0xc0, CF | SF | PF),
    ("sar b[rdi], 31",             0x80, 0,   &[0xc0, 0x3f, 31],                  0xff, CF | SF | PF),
    ("shl d[rdi], 32: nothing",    7,    ALL, &[0xc1, 0x27, 32],                  7,    ALL),
    ("rol b[rdi], 1",              0x81, 0,   &[0xd0, 0x07],                      0x03, CF | OF),
    ("ror b[rdi], 1",              0x01, 0,   &[0xd0, 0x0f],                      0x80, CF | OF),
    ("ror d[rdi], 8",              0x12, 0,   &[0xc1, 0x0f, 8],                   0x1200_0000, 0),
    ("xchg [rdi], rcx",            9,    ALL, &[0x48, 0x87, 0x0f],                0x1111_1111_0000_1100, ALL),
    ("xadd d[rdi], ecx",           1,    0,   &[0x0f, 0xc1, 0x0f],                0x1101, 0),
    ("cmpxchg d[rdi], ecx: equal", 0x1000, 0, &[0x0f, 0xb1, 0x0f],                0x1100, PF | ZF),
    ("cmpxchg d[rdi], ecx: not",   0x1001, 0, &[0x0f, 0xb1, 0x0f],                0x1001, CF | PF | AF | SF),
];

#[test]
fn results_and_flags() {
    for (name, before, flags, code, after, then) in ROWS {
        let mut test = Test::new();
        test.memory[0x700..0x708].copy_from_slice(&before.to_le_bytes());
        test.cpu.flags |= flags;
        assert_eq!(test.step(code), Ok(()), "{name}");
        let mut word = [0; 8];
        word.copy_from_slice(&test.memory[0x700..0x708]);
        assert_eq!(u64::from_le_bytes(word), *after, "{name}");
        assert_eq!(test.cpu.flags & ALL, *then, "{name}: {:#x}", test.cpu.flags);
    }
}

#[test]
fn registers_get_what_was_there() {
    let of = |code: &[u8], before: u64| {
        let mut test = Test::new();
        test.memory[0x700..0x708].copy_from_slice(&before.to_le_bytes());
        assert_eq!(test.step(code), Ok(()));
        test.cpu.general
    };
    assert_eq!(of(&[0x48, 0x87, 0x0f], 9)[1], 9); // xchg
    assert_eq!(of(&[0x0f, 0xc1, 0x0f], 1)[1], 1); // xadd, 4 bytes
    assert_eq!(of(&[0x0f, 0xb1, 0x0f], 5)[0], 5); // cmpxchg
    assert_eq!(of(&[0x0f, 0xb0, 0x0f], 5)[0], 0x1111_1111_0000_1005);
}

#[test]
fn a_bit_named_by_a_register_may_be_far() {
    for (bit, at) in [(0_i64, 0x700), (-1, 0x6fc), (-32, 0x6fc), (65, 0x708)] {
        let mut test = Test::new();
        test.memory.fill(0);
        test.cpu.general[1] = bit.cast_unsigned();
        assert_eq!(test.step(&[0x0f, 0xab, 0x0f]), Ok(()), "{bit}"); // bts [rdi], ecx
        assert_eq!(test.memory[at + (bit.rem_euclid(32) / 8) as usize], 1 << bit.rem_euclid(8));
    }
}

#[test]
fn pairs_are_compared_whole() {
    for (prefix, equal) in [(false, true), (false, false), (true, true), (true, false)] {
        let mut test = Test::new();
        let half = if prefix { 8 } else { 4 };
        let words = [7_u64, 8];
        for (index, word) in words.iter().enumerate() {
            test.memory[0x700 + index * half..][..half]
                .copy_from_slice(&word.to_le_bytes()[..half]);
        }
        (test.cpu.general[0], test.cpu.general[2]) = (7, if equal { 8 } else { 9 });
        (test.cpu.general[3], test.cpu.general[1]) = (0x55, 0x66);
        let code: &[u8] = if prefix { &[0x48, 0x0f, 0xc7, 0x0f] } else { &[0x0f, 0xc7, 0x0f] };
        assert_eq!(test.step(code), Ok(()));
        assert_eq!(test.cpu.flags & ZF != 0, equal);
        assert_eq!(test.memory[0x700], if equal { 0x55 } else { 7 });
        assert_eq!(test.memory[0x700 + half], if equal { 0x66 } else { 8 });
        assert_eq!([test.cpu.general[0], test.cpu.general[2]], words);
    }
}
