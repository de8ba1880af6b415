//! Loads: what registers hold afterwards.

use crate::machine::{Access, Test};

const RAX: usize = 0;

#[test]
fn into_general_registers() {
    #[rustfmt::skip] // one instruction, one line: the memory at RDI is 0x87 and on
    let cases: &[(&str, &[u8], usize, u64, usize)] = &[
        ("mov al, [rdi+0x87]",     &[0x8a, 0x87, 0x87, 0, 0, 0],                   RAX, 0x1111_1111_0000_1087, 1),
        ("mov ah, [rdi+0x87]",     &[0x8a, 0xa7, 0x87, 0, 0, 0],                   RAX, 0x1111_1111_0000_8700, 1),
        ("mov ax, [rdi+0x87]",     &[0x66, 0x8b, 0x87, 0x87, 0, 0, 0],             RAX, 0x1111_1111_0000_8887, 2),
        ("mov eax, [rdi+0x87]",    &[0x8b, 0x87, 0x87, 0, 0, 0],                   RAX, 0x8a89_8887, 4),
        ("mov rax, [rdi+0x87]",    &[0x48, 0x8b, 0x87, 0x87, 0, 0, 0],             RAX, 0x8e8d_8c8b_8a89_8887, 8),
        ("movzx eax, b[rdi+0x87]", &[0x0f, 0xb6, 0x87, 0x87, 0, 0, 0],             RAX, 0x87, 1),
        ("movzx eax, w[rdi+0x87]", &[0x0f, 0xb7, 0x87, 0x87, 0, 0, 0],             RAX, 0x8887, 2),
        ("movsx eax, b[rdi+0x87]", &[0x0f, 0xbe, 0x87, 0x87, 0, 0, 0],             RAX, 0xffff_ff87, 1),
        ("movsx rax, w[rdi+0x87]", &[0x48, 0x0f, 0xbf, 0x87, 0x87, 0, 0, 0],       RAX, 0xffff_ffff_ffff_8887, 2),
        ("movsxd rax,d[rdi+0x87]", &[0x48, 0x63, 0x87, 0x87, 0, 0, 0],             RAX, 0xffff_ffff_8a89_8887, 4),
        ("movbe eax, [rdi+0x87]",  &[0x0f, 0x38, 0xf0, 0x87, 0x87, 0, 0, 0],       RAX, 0x8788_898a, 4),
        ("add eax, [rdi+0x87]",    &[0x03, 0x87, 0x87, 0, 0, 0],                   RAX, 0x8a89_9887, 4),
        ("and eax, [rdi+0x87]",    &[0x23, 0x87, 0x87, 0, 0, 0],                   RAX, 0, 4),
        ("cmovne eax, [rdi+0x87]", &[0x0f, 0x45, 0x87, 0x87, 0, 0, 0],             RAX, 0x8a89_8887, 4),
        ("cmove eax, [rdi+0x87]",  &[0x0f, 0x44, 0x87, 0x87, 0, 0, 0],             RAX, 0x1000, 4),
        ("test d[rdi+0x87], -1",   &[0xf7, 0x87, 0x87, 0, 0, 0, 255, 255, 255, 255], RAX, 0x1111_1111_0000_1000, 4),
        ("cmp b[rdi+0x87], 1",     &[0x80, 0xbf, 0x87, 0, 0, 0, 1],                RAX, 0x1111_1111_0000_1000, 1),
        ("bt d[rdi+0x87], 1",      &[0x0f, 0xba, 0xa7, 0x87, 0, 0, 0, 1],          RAX, 0x1111_1111_0000_1000, 4),
    ];
    for (name, code, register, expected, size) in cases {
        let mut test = Test::new();
        assert_eq!(test.step(code), Ok(()), "{name}");
        assert_eq!(test.accesses, [Access::Load(0x1787, *size)], "{name}");
        assert_eq!(test.cpu.general[*register], *expected, "{name}");
    }
}

#[test]
fn into_vector_registers() {
    #[rustfmt::skip] // one instruction, one line: register, bytes from memory, bytes kept above, zeros between
    let cases: &[(&str, &[u8], usize, usize, usize)] = &[
        ("movdqu xmm1, [rdi]",    &[0xf3, 0x0f, 0x6f, 0x0f],             1, 16, 16),
        ("movss xmm1, [rdi]",     &[0xf3, 0x0f, 0x10, 0x0f],             1, 4,  16),
        ("movsd xmm1, [rdi]",     &[0xf2, 0x0f, 0x10, 0x0f],             1, 8,  16),
        ("movd xmm1, [rdi]",      &[0x66, 0x0f, 0x6e, 0x0f],             1, 4,  16),
        ("movq xmm1, [rdi]",      &[0xf3, 0x0f, 0x7e, 0x0f],             1, 8,  16),
        ("vmovdqu xmm1, [rdi]",   &[0xc5, 0xfa, 0x6f, 0x0f],             1, 16, 64),
        ("vmovdqu ymm1, [rdi]",   &[0xc5, 0xfe, 0x6f, 0x0f],             1, 32, 64),
        ("vmovdqu64 zmm1, [rdi]", &[0x62, 0xf1, 0xfe, 0x48, 0x6f, 0x0f], 1, 64, 64),
    ];
    for (name, code, register, read, kept_from) in cases {
        let mut test = Test::new();
        let old = test.vectors[*register];
        assert_eq!(test.step(code), Ok(()), "{name}");
        let expected: [u8; 64] = std::array::from_fn(|index| match index {
            _ if index < *read => index as u8,
            _ if index < *kept_from => 0,
            _ => old[index],
        });
        assert_eq!(test.vectors[*register], expected, "{name}");
    }
}

#[test]
fn masks_choose_elements() {
    for (zeroing, code) in [
        (false, [0x62, 0xf1, 0xfe, 0x49, 0x6f, 0x0f]), // vmovdqu64 zmm1{k1}, [rdi]
        (true, [0x62, 0xf1, 0xfe, 0xc9, 0x6f, 0x0f]),  // {z}
    ] {
        let mut test = Test::new();
        let old = test.vectors[1];
        assert_eq!(test.step(&code), Ok(()));
        assert_eq!(test.accesses.len(), 4);
        let expected: [u8; 64] = std::array::from_fn(|index| match index / 8 {
            0 | 2 | 5 | 7 => index as u8,
            _ if zeroing => 0,
            _ => old[index],
        });
        assert_eq!(test.vectors[1], expected);
    }
}
