//! Stores: every width, every form of address, every kind of register.

use emulate::Trouble;

use crate::machine::{Access, CODE, FS, GS, Nowhere, Test, store};

type Row = (&'static str, &'static [u8], fn() -> Vec<Access>);

fn bytes(at: u64, register: usize, range: std::ops::Range<usize>) -> Access {
    Access::Store(at, range.map(|index| (register * 16 + index) as u8).collect())
}

// RAX is 0x1111111100001000, each next register 0x100 more; RBX, RSP, RBP, RSI, RDI, R12, R13 have no
// upper half: 0x1300, 0x1400, 0x1500, 0x1600, 0x1700, 0x1c00, 0x1d00.
#[rustfmt::skip] // one instruction, one line
const STORES: &[Row] = &[
    // widths and sources
    ("mov [rdi], al",              &[0x88, 0x07],                               || vec![store(0x1700, 1, 0)]),
    ("mov [rdi], ch",              &[0x88, 0x2f],                               || vec![store(0x1700, 1, 0x11)]),
    ("mov [rdi], sil",             &[0x40, 0x88, 0x37],                         || vec![store(0x1700, 1, 0)]),
    ("mov [rdi], cx",              &[0x66, 0x89, 0x0f],                         || vec![store(0x1700, 2, 0x1100)]),
    ("mov [rdi], ecx",             &[0x89, 0x0f],                               || vec![store(0x1700, 4, 0x1100)]),
    ("mov [rdi], rcx",             &[0x48, 0x89, 0x0f],                         || vec![store(0x1700, 8, 0x1111_1111_0000_1100)]),
    ("mov [rdi], r9d",             &[0x44, 0x89, 0x0f],                         || vec![store(0x1700, 4, 0x1900)]),
    ("mov [rdi], r15",             &[0x4c, 0x89, 0x3f],                         || vec![store(0x1700, 8, 0x1111_1111_0000_1f00)]),
    ("mov byte [rdi], 0x5a",       &[0xc6, 0x07, 0x5a],                         || vec![store(0x1700, 1, 0x5a)]),
    ("mov word [rdi], 0x1234",     &[0x66, 0xc7, 0x07, 0x34, 0x12],             || vec![store(0x1700, 2, 0x1234)]),
    ("mov dword [rdi], -2",        &[0xc7, 0x07, 0xfe, 0xff, 0xff, 0xff],       || vec![store(0x1700, 4, 0xffff_fffe)]),
    ("mov qword [rdi], -2",        &[0x48, 0xc7, 0x07, 0xfe, 0xff, 0xff, 0xff], || vec![store(0x1700, 8, !1)]),
    ("movnti [rdi], ecx",          &[0x0f, 0xc3, 0x0f],                         || vec![store(0x1700, 4, 0x1100)]),
    ("movnti [rdi], rcx",          &[0x48, 0x0f, 0xc3, 0x0f],                   || vec![store(0x1700, 8, 0x1111_1111_0000_1100)]),
    ("movbe [rdi], cx",            &[0x66, 0x0f, 0x38, 0xf1, 0x0f],             || vec![store(0x1700, 2, 0x0011)]),
    ("movbe [rdi], ecx",           &[0x0f, 0x38, 0xf1, 0x0f],                   || vec![store(0x1700, 4, 0x0011_0000)]),
    ("movbe [rdi], rcx",           &[0x48, 0x0f, 0x38, 0xf1, 0x0f],             || vec![store(0x1700, 8, 0x0011_0000_1111_1111)]),
    ("movdiri [rdi], ecx",         &[0x0f, 0x38, 0xf9, 0x0f],                   || vec![store(0x1700, 4, 0x1100)]),
    ("movdiri [rdi], rcx",         &[0x48, 0x0f, 0x38, 0xf9, 0x0f],             || vec![store(0x1700, 8, 0x1111_1111_0000_1100)]),
    ("sete [rdi]",                 &[0x0f, 0x94, 0x07],                         || vec![store(0x1700, 1, 0)]),
    ("setne [rdi]",                &[0x0f, 0x95, 0x07],                         || vec![store(0x1700, 1, 1)]),
    // addresses
    ("mov [rdi+0x10], ecx",        &[0x89, 0x4f, 0x10],                         || vec![store(0x1710, 4, 0x1100)]),
    ("mov [rdi-0x10], ecx",        &[0x89, 0x4f, 0xf0],                         || vec![store(0x16f0, 4, 0x1100)]),
    ("mov [rdi+0x810], ecx",       &[0x89, 0x8f, 0x10, 8, 0, 0],                || vec![store(0x1f10, 4, 0x1100)]),
    ("mov [rbp], ecx",             &[0x89, 0x4d, 0],                            || vec![store(0x1500, 4, 0x1100)]),
    ("mov [rsp], ecx",             &[0x89, 0x0c, 0x24],                         || vec![store(0x1400, 4, 0x1100)]),
    ("mov [r12], ecx",             &[0x41, 0x89, 0x0c, 0x24],                   || vec![store(0x1c00, 4, 0x1100)]),
    ("mov [r13], ecx",             &[0x41, 0x89, 0x4d, 0],                      || vec![store(0x1d00, 4, 0x1100)]),
    ("mov [rsi+rbx], ecx",         &[0x89, 0x0c, 0x1e],                         || vec![store(0x2900, 4, 0x1100)]),
    ("mov [rbp+rbx*1+1], cl",      &[0x88, 0x4c, 0x1d, 1],                      || vec![store(0x2801, 1, 0)]),
    ("mov [rbx*2-0x600], ecx",     &[0x89, 0x0c, 0x5d, 0, 0xfa, 0xff, 0xff],    || vec![store(0x2000, 4, 0x1100)]),
    ("mov [rbx*4-0x3000], ecx",    &[0x89, 0x0c, 0x9d, 0, 0xd0, 0xff, 0xff],    || vec![store(0x1c00, 4, 0x1100)]),
    ("mov [rbx+r12*8-0xd800],ecx", &[0x42, 0x89, 0x8c, 0xe3, 0, 0x28, 0xff, 0xff], || vec![store(0x1b00, 4, 0x1100)]),
    ("mov [0x1010], ecx",          &[0x89, 0x0c, 0x25, 0x10, 0x10, 0, 0],       || vec![store(0x1010, 4, 0x1100)]),
    ("mov [moffs 0x1018], eax",    &[0xa3, 0x18, 0x10, 0, 0, 0, 0, 0, 0],       || vec![store(0x1018, 4, 0x1000)]),
    ("mov [rip-0x3fe006], ecx",    &[0x89, 0x0d, 0xfa, 0x1f, 0xc0, 0xff],       || vec![store(CODE + 6 - 0x3f_e006, 4, 0x1100)]),
    ("mov [edx], ecx (67)",        &[0x67, 0x89, 0x0a],                         || vec![store(0x1200, 4, 0x1100)]),
    ("mov [ecx+edx], ecx (67)",    &[0x67, 0x89, 0x0c, 0x11],                   || vec![store(0x2300, 4, 0x1100)]),
    ("mov [fs:0x10], ecx",         &[0x64, 0x89, 0x0c, 0x25, 0x10, 0, 0, 0],    || vec![store(FS + 0x10, 4, 0x1100)]),
    ("mov [gs:0x10], ecx",         &[0x65, 0x89, 0x0c, 0x25, 0x10, 0, 0, 0],    || vec![store(GS + 0x10, 4, 0x1100)]),
    // the stack
    ("push rcx",                   &[0x51],                                     || vec![store(0x13f8, 8, 0x1111_1111_0000_1100)]),
    ("push cx",                    &[0x66, 0x51],                               || vec![store(0x13fe, 2, 0x1100)]),
    ("push -1",                    &[0x6a, 0xff],                               || vec![store(0x13f8, 8, !0)]),
    ("push 0x12345678",            &[0x68, 0x78, 0x56, 0x34, 0x12],             || vec![store(0x13f8, 8, 0x1234_5678)]),
    ("push [rdi]",                 &[0xff, 0x37],                               || vec![Access::Load(0x1700, 8), store(0x13f8, 8, 0x0706_0504_0302_0100)]),
    ("pop [rdi]",                  &[0x8f, 0x07],                               || vec![Access::Load(0x1400, 8), store(0x1700, 8, 0x0706_0504_0302_0100)]),
    ("pop [rsp] (after)",          &[0x8f, 0x04, 0x24],                         || vec![Access::Load(0x1400, 8), store(0x1408, 8, 0x0706_0504_0302_0100)]),
    // vectors
    ("movups [rdi], xmm1",         &[0x0f, 0x11, 0x0f],                         || vec![bytes(0x1700, 1, 0..16)]),
    ("movupd [rdi], xmm1",         &[0x66, 0x0f, 0x11, 0x0f],                   || vec![bytes(0x1700, 1, 0..16)]),
    ("movaps [rdi], xmm9",         &[0x44, 0x0f, 0x29, 0x0f],                   || vec![bytes(0x1700, 9, 0..16)]),
    ("movapd [rdi], xmm1",         &[0x66, 0x0f, 0x29, 0x0f],                   || vec![bytes(0x1700, 1, 0..16)]),
    ("movdqu [rdi], xmm1",         &[0xf3, 0x0f, 0x7f, 0x0f],                   || vec![bytes(0x1700, 1, 0..16)]),
    ("movdqa [rdi], xmm1",         &[0x66, 0x0f, 0x7f, 0x0f],                   || vec![bytes(0x1700, 1, 0..16)]),
    ("movntdq [rdi], xmm1",        &[0x66, 0x0f, 0xe7, 0x0f],                   || vec![bytes(0x1700, 1, 0..16)]),
    ("movntps [rdi], xmm1",        &[0x0f, 0x2b, 0x0f],                         || vec![bytes(0x1700, 1, 0..16)]),
    ("movntpd [rdi], xmm1",        &[0x66, 0x0f, 0x2b, 0x0f],                   || vec![bytes(0x1700, 1, 0..16)]),
    ("movss [rdi], xmm1",          &[0xf3, 0x0f, 0x11, 0x0f],                   || vec![bytes(0x1700, 1, 0..4)]),
    ("movsd [rdi], xmm1",          &[0xf2, 0x0f, 0x11, 0x0f],                   || vec![bytes(0x1700, 1, 0..8)]),
    ("movd [rdi], xmm1",           &[0x66, 0x0f, 0x7e, 0x0f],                   || vec![bytes(0x1700, 1, 0..4)]),
    ("movq [rdi], xmm1 (7e)",      &[0x66, 0x48, 0x0f, 0x7e, 0x0f],             || vec![bytes(0x1700, 1, 0..8)]),
    ("movq [rdi], xmm1 (d6)",      &[0x66, 0x0f, 0xd6, 0x0f],                   || vec![bytes(0x1700, 1, 0..8)]),
    ("movlps [rdi], xmm1",         &[0x0f, 0x13, 0x0f],                         || vec![bytes(0x1700, 1, 0..8)]),
    ("movhps [rdi], xmm1",         &[0x0f, 0x17, 0x0f],                         || vec![bytes(0x1700, 1, 8..16)]),
    ("movhpd [rdi], xmm1",         &[0x66, 0x0f, 0x17, 0x0f],                   || vec![bytes(0x1700, 1, 8..16)]),
    ("pextrb [rdi], xmm1, 5",      &[0x66, 0x0f, 0x3a, 0x14, 0x0f, 5],          || vec![bytes(0x1700, 1, 5..6)]),
    ("pextrw [rdi], xmm1, 3",      &[0x66, 0x0f, 0x3a, 0x15, 0x0f, 3],          || vec![bytes(0x1700, 1, 6..8)]),
    ("pextrd [rdi], xmm1, 7",      &[0x66, 0x0f, 0x3a, 0x16, 0x0f, 7],          || vec![bytes(0x1700, 1, 12..16)]),
    ("pextrq [rdi], xmm1, 1",      &[0x66, 0x48, 0x0f, 0x3a, 0x16, 0x0f, 1],    || vec![bytes(0x1700, 1, 8..16)]),
    ("extractps [rdi], xmm1, 2",   &[0x66, 0x0f, 0x3a, 0x17, 0x0f, 2],          || vec![bytes(0x1700, 1, 8..12)]),
    ("vmovups [rdi], xmm1",        &[0xc5, 0xf8, 0x11, 0x0f],                   || vec![bytes(0x1700, 1, 0..16)]),
    ("vmovups [rdi], ymm1",        &[0xc5, 0xfc, 0x11, 0x0f],                   || vec![bytes(0x1700, 1, 0..32)]),
    ("vmovdqu [rdi], ymm1",        &[0xc5, 0xfe, 0x7f, 0x0f],                   || vec![bytes(0x1700, 1, 0..32)]),
    ("vmovdqa [rdi], ymm9",        &[0xc5, 0x7d, 0x7f, 0x0f],                   || vec![bytes(0x1700, 9, 0..32)]),
    ("vmovntdq [rdi], ymm1",       &[0xc5, 0xfd, 0xe7, 0x0f],                   || vec![bytes(0x1700, 1, 0..32)]),
    ("vmovd [rdi], xmm1",          &[0xc5, 0xf9, 0x7e, 0x0f],                   || vec![bytes(0x1700, 1, 0..4)]),
    ("vmovq [rdi], xmm1",          &[0xc5, 0xf9, 0xd6, 0x0f],                   || vec![bytes(0x1700, 1, 0..8)]),
    ("vmovss [rdi], xmm1",         &[0xc5, 0xfa, 0x11, 0x0f],                   || vec![bytes(0x1700, 1, 0..4)]),
    ("vmovsd [rdi], xmm1",         &[0xc5, 0xfb, 0x11, 0x0f],                   || vec![bytes(0x1700, 1, 0..8)]),
    ("vextracti128 [rdi],ymm1,1",  &[0xc4, 0xe3, 0x7d, 0x39, 0x0f, 1],          || vec![bytes(0x1700, 1, 16..32)]),
    ("vextracti64x4 [rdi],zmm1,1", &[0x62, 0xf3, 0xfd, 0x48, 0x3b, 0x0f, 1],    || vec![bytes(0x1700, 1, 32..64)]),
    ("vmovdqu64 [rdi], zmm1",      &[0x62, 0xf1, 0xfe, 0x48, 0x7f, 0x0f],       || vec![bytes(0x1700, 1, 0..64)]),
    ("vmovdqu64 [rdi], zmm17",     &[0x62, 0xe1, 0xfe, 0x48, 0x7f, 0x0f],       || vec![Access::Store(0x1700, (0..64).map(|i| (17 * 16 + i) as u8).collect())]),
    ("vmovdqu64 [rdi+64], zmm1",   &[0x62, 0xf1, 0xfe, 0x48, 0x7f, 0x4f, 1],    || vec![bytes(0x1740, 1, 0..64)]),
    ("vmovntdq [rdi], zmm1",       &[0x62, 0xf1, 0x7d, 0x48, 0xe7, 0x0f],       || vec![bytes(0x1700, 1, 0..64)]),
    ("vmovdqu64 [rdi]{k1}, zmm1",  &[0x62, 0xf1, 0xfe, 0x49, 0x7f, 0x0f],       || [0, 2, 5, 7].map(|i| bytes(0x1700 + i as u64 * 8, 1, i * 8..i * 8 + 8)).into()),
    ("vmovdqu8 [rdi]{k1}, xmm1",   &[0x62, 0xf1, 0x7f, 0x09, 0x7f, 0x0f],       || [0, 2, 5, 7].map(|i| bytes(0x1700 + i as u64, 1, i..i + 1)).into()),
    ("vpmaskmovd [rdi], xmm7, xmm8 (none)", &[0xc4, 0x62, 0x41, 0x8e, 0x07],    || vec![]),
    ("vpmaskmovd [rdi], xmm8, xmm1 (all)",  &[0xc4, 0xe2, 0x39, 0x8e, 0x0f],    || (0..4).map(|i| bytes(0x1700 + i as u64 * 4, 1, i * 4..i * 4 + 4)).collect()),
];

#[test]
fn arrive_as_they_are_made() {
    for (name, code, expected) in STORES {
        let mut test = Test::new();
        let result = test.step(code);
        assert_eq!((result, &test.accesses), (Ok(()), &expected()), "{name}");
        assert_eq!(test.cpu.rip, CODE + code.len() as u64, "{name}");
        assert_eq!(test.cpu.flags, 0x202, "{name}");
    }
}

#[test]
fn that_fail_change_nothing() {
    #[rustfmt::skip] // one instruction, one line
    let cases: &[(&[u8], u64)] = &[
        (&[0x89, 0x08],                         0x1111_1111_0000_1000), // mov [rax], ecx
        (&[0xff, 0x00],                         0x1111_1111_0000_1000), // inc [rax]
        (&[0x8f, 0x00],                         0x1111_1111_0000_1000), // pop [rax]
        (&[0x48, 0x0f, 0xc1, 0x08],             0x1111_1111_0000_1000), // xadd [rax], rcx
        (&[0x48, 0x87, 0x08],                   0x1111_1111_0000_1000), // xchg [rax], rcx
        (&[0x89, 0x0c, 0x25, 0xfe, 0x2f, 0, 0], 0x2ffe),                // mov [0x2ffe], ecx: the end
    ];
    for (code, at) in cases {
        let mut test = Test::new();
        assert_eq!(test.step(code), Err(Trouble::Fault(Nowhere(*at))), "{code:02x?}");
    }
}

#[test]
fn others_are_unknown() {
    #[rustfmt::skip] // one instruction, one line
    let cases: &[&[u8]] = &[
        &[],                                    // nothing
        &[0x48, 0xc7, 0x07, 0xfe],              // cut off
        &[0x0f, 0x0b],                          // ud2
        &[0xd9, 0x17],                          // fst [rdi]
        &[0x0f, 0x7f, 0x07],                    // movq [rdi], mm0
        &[0x8c, 0x1f],                          // mov [rdi], ds
        &[0x0f, 0xae, 0x07],                    // fxsave [rdi]
        &[0xff, 0x17],                          // call [rdi]
        &[0xff, 0x27],                          // jmp [rdi]
        &[0x74, 0x10],                          // je
        &[0xc8, 1, 0, 0],                       // enter
        &[0x66, 0x0f, 0x58, 0x07],              // addpd xmm0, [rdi]
        &[0x62, 0xf2, 0x7d, 0x49, 0xa0, 0x04, 0x0f], // vpscatterdd
    ];
    for code in cases {
        let mut test = Test::new();
        assert_eq!(test.step(code), Err(Trouble::Unknown), "{code:02x?}");
        assert_eq!(test.accesses, [], "{code:02x?}");
    }
}
