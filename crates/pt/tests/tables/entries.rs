//! What single entries mean, bit by bit: rows from the manuals, by way of `reference/hardware.md`.

use crate::common::{AMD, RISCV, STAGE1, STAGE2, VTD_SECOND, X86};
use pt::format::riscv::Stage;
use pt::format::{AmdV1, Granule, Riscv, VmsaStage1, VmsaStage2, VtdSecondStage, X86_64};
use pt::{Access, Entry, Format, Grant, Mark, Reason, Rights};

const NONE: Rights = Rights::empty();
const R: Rights = Rights::READ;
const W: Rights = Rights::WRITE;
const X: Rights = Rights::EXECUTE;
const RW: Rights = R.union(W);
const RX: Rights = R.union(X);
const WX: Rights = W.union(X);
const RWX: Rights = Rights::all();

type Meaning = Result<Entry, Reason>;

fn page(address: u64, order: u8, user: Rights, privileged: Rights) -> Meaning {
    Ok(Entry::Leaf { address, order, grant: Grant { user, privileged } })
}

fn table(address: u64, level: u8, user: Rights, privileged: Rights) -> Meaning {
    Ok(Entry::Table { address, level, grant: Grant { user, privileged } })
}

const RESERVED: Meaning = Err(Reason::Reserved);
const NOT_PRESENT: Meaning = Err(Reason::NotPresent);
const OUTPUT: Meaning = Err(Reason::Output);
const UNMARKED: Meaning = Err(Reason::Unmarked);

/// A level, an entry, and what it means.
type Row = (u8, u64, Meaning);

#[track_caller]
fn check(format: &impl Format, rows: &[Row]) {
    for &(level, entry, meaning) in rows {
        assert_eq!(format.decode(entry, level), meaning, "{entry:#x} of level {level}");
    }
}

#[rustfmt::skip]
#[test]
fn vtd_second_stage() {
    let narrow = VtdSecondStage { address_bits: 40, largest: 1, ..VTD_SECOND };
    check(&VTD_SECOND, &[
        (0, 0x5003,                 page(0x5000, 12, RWX, RWX)),
        (0, 0x5001,                 page(0x5000, 12, RX, RX)),
        (0, 0x5002,                 page(0x5000, 12, WX, WX)),
        (0, 0x5f_f000_0000_57f8,    NOT_PRESENT),
        (0, 0x7ff0_0000_0000_5783,  page(0x5000, 12, RWX, RWX)),
        (0, 0x5803,                 RESERVED),
        (1, 0x40_0083,              page(0x40_0000, 21, RWX, RWX)),
        (1, 0x40_1083,              RESERVED),
        (1, 0x50_0083,              RESERVED),
        (1, 0x5003,                 table(0x5000, 0, RWX, RWX)),
        (1, 0x5001,                 table(0x5000, 0, RX, RX)),
        (2, 0x8000_0083,            page(0x8000_0000, 30, RWX, RWX)),
        (2, 0x8020_0083,            RESERVED),
        (3, 0x5083,                 RESERVED),
        (3, 0xf_ffff_ffff_f003,     table(0xf_ffff_ffff_f000, 2, RWX, RWX)),
    ]);
    check(&narrow, &[
        (0, 1 << 40 | 3,            RESERVED),
        (0, 1 << 39 | 3,            page(1 << 39, 12, RWX, RWX)),
        (2, 1 << 51 | 3,            RESERVED),
        (2, 0x83,                   RESERVED),
    ]);
    check(&VtdSecondStage { snoop: true, ..VTD_SECOND }, &[
        (0, 0x5803,                 page(0x5000, 12, RWX, RWX)),
    ]);
}

#[rustfmt::skip]
#[test]
fn x86_64() {
    let lax = X86_64 { write_protect: false, ..X86 };
    let small = X86_64 { gigabyte_pages: false, ..X86 };
    check(&X86, &[
        (0, 0x5007,                 page(0x5000, 12, RWX, RWX)),
        (0, 0x5005,                 page(0x5000, 12, RX, RX)),
        (0, 0x5003,                 page(0x5000, 12, NONE, RWX)),
        (0, 1 << 63 | 0x5007,       page(0x5000, 12, RW, RW)),
        (0, 0x5006,                 NOT_PRESENT),
        (0, 0x7ff0_0000_0000_5fff,  page(0x5000, 12, RWX, RWX)),
        (0, 1 << 48 | 7,            RESERVED),
        (1, 0x40_0087,              page(0x40_0000, 21, RWX, RWX)),
        (1, 0x40_1087,              page(0x40_0000, 21, RWX, RWX)),
        (1, 0x40_2087,              RESERVED),
        (1, 0x50_0087,              RESERVED),
        (2, 0x4000_1087,            page(0x4000_0000, 30, RWX, RWX)),
        (2, 0x6000_0087,            RESERVED),
        (2, 0x5007,                 table(0x5000, 1, RWX, RWX)),
        (2, 0x5001,                 table(0x5000, 1, NONE, RX)),
        (3, 0x5087,                 RESERVED),
        (3, 1 << 51 | 0x5007,       RESERVED),
    ]);
    check(&lax, &[
        (0, 0x5005,                 page(0x5000, 12, RX, RWX)),
        (0, 0x5001,                 page(0x5000, 12, NONE, RWX)),
    ]);
    check(&small, &[(2, 0x4000_0087, RESERVED)]);
    check(&X86_64 { levels: 5, ..X86 }, &[(4, 0x5087, RESERVED), (4, 0x5007, table(0x5000, 3, RWX, RWX))]);
}

#[rustfmt::skip]
#[test]
fn amd_v1() {
    const PAGE: u64 = 3 << 61 | 1;
    const SIZED: u64 = PAGE | 7 << 9;
    check(&AmdV1 { levels: 6, ..AMD }, &[
        (0, PAGE | 0x5000,                       page(0x5000, 12, RWX, RWX)),
        (0, 1 << 61 | 1,                         page(0, 12, RX, RX)),
        (0, 1 << 62 | 1,                         page(0, 12, WX, WX)),
        (0, 1,                                   page(0, 12, X, X)),
        (0, PAGE & !1,                           NOT_PRESENT),
        (0, 1 << 60 | 0x7f << 52 | PAGE,         page(0, 12, RWX, RWX)),
        // sizes: a 0 below ones
        (0, SIZED | 0x4000,                      page(0x4000, 13, RWX, RWX)),
        (0, SIZED | 0x5000,                      page(0x4000, 14, RWX, RWX)),
        (0, SIZED | 0x7000,                      page(0, 16, RWX, RWX)),
        (0, SIZED | 0x7_f000,                    page(0, 20, RWX, RWX)),
        (0, SIZED | 0xf_f000,                    RESERVED),
        (1, SIZED | 0xf_f000,                    page(0, 21, RWX, RWX)),
        (1, SIZED | 0x7_f000,                    RESERVED),
        (1, PAGE | 0x40_0000,                    page(0x40_0000, 21, RWX, RWX)),
        (1, PAGE | 0x40_1000,                    page(0x40_0000, 21, RWX, RWX)),
        (2, PAGE,                                page(0, 30, RWX, RWX)),
        (2, SIZED | 0x1f_ffff_f000,              page(0, 38, RWX, RWX)),
        // no 512 GiB, and none above 2 PiB
        (3, PAGE,                                RESERVED),
        (3, SIZED | 0x3f_ffff_f000,              RESERVED),
        (3, SIZED | 0x7f_ffff_f000,              page(0, 40, RWX, RWX)),
        (4, PAGE,                                page(0, 48, RWX, RWX)),
        (4, SIZED | 0x3_ffff_ffff_f000,          page(0, 51, RWX, RWX)),
        (4, SIZED | 0x7_ffff_ffff_f000,          RESERVED),
        (4, SIZED | 0xf_ffff_ffff_f000,          RESERVED),
        (5, PAGE,                                RESERVED),
        (5, SIZED | 0x3_ffff_ffff_f000,          RESERVED),
        // tables, and those that are skipped to
        (1, PAGE | 1 << 9 | 0x5000,              table(0x5000, 0, RWX, RWX)),
        (1, 1 << 61 | 1 | 1 << 9,                table(0, 0, RX, RX)),
        (1, PAGE | 2 << 9,                       RESERVED),
        (0, PAGE | 1 << 9,                       RESERVED),
        (5, PAGE | 5 << 9,                       table(0, 4, RWX, RWX)),
        (5, PAGE | 2 << 9,                       table(0, 1, RWX, RWX)),
        (5, PAGE | 6 << 9,                       RESERVED),
    ]);
}

#[rustfmt::skip]
#[test]
fn riscv() {
    let blind = Riscv { stage: Stage::First { supervisor_sees_user: false }, ..RISCV };
    let second = Riscv { stage: Stage::Second, ..RISCV };
    let plain = Riscv { napot: false, ..RISCV };
    let rich = Riscv { memory_types: true, software_bits: true, ..RISCV };
    const USED: u64 = 0xc1;
    check(&RISCV, &[
        (0, USED | 0x1e | 5 << 10,      page(0x5000, 12, RWX, RW)),
        (0, USED | 0xe | 5 << 10,       page(0x5000, 12, NONE, RWX)),
        (0, USED | 0x12,                page(0, 12, R, R)),
        (0, USED | 0x18,                page(0, 12, X, NONE)),
        (0, USED | 0x1a,                page(0, 12, RX, R)),
        (0, 0x13,                       page(0, 12, R, R)),
        (0, 0x1f & !1,                  NOT_PRESENT),
        (0, USED | 0x14,                RESERVED),
        (0, USED | 0x1c,                RESERVED),
        (0, USED | 0x1e | 1 << 54,      RESERVED),
        (0, USED | 0x1e | 1 << 58,      RESERVED),
        (0, USED | 0x1e | 1 << 59,      RESERVED),
        (0, USED | 0x1e | 1 << 60,      RESERVED),
        (0, USED | 0x1e | 1 << 61,      RESERVED),
        (0, USED | 0x1e | 1 << 62,      RESERVED),
        (0, USED | 0x33e | 1 << 53,     page(1 << 55, 12, RWX, RW)),
        // no table below the last level, and nothing of a page in one
        (0, 1,                          NOT_PRESENT),
        (1, 1 | 5 << 10,                table(0x5000, 0, RWX, RWX)),
        (1, 0x321 | 5 << 10,            table(0x5000, 0, RWX, RWX)),
        (1, 1 | 1 << 4,                 RESERVED),
        (1, 1 | 1 << 6,                 RESERVED),
        (1, 1 | 1 << 7,                 RESERVED),
        (1, 1 | 1 << 63,                RESERVED),
        // large pages; 64 KiB at the last level only
        (1, USED | 0x1e | 0x400 << 10,  page(0x40_0000, 21, RWX, RW)),
        (1, USED | 0x1e | 0x401 << 10,  RESERVED),
        (2, USED | 0x1e | 1 << 28,      page(1 << 30, 30, RWX, RW)),
        (2, USED | 0x1e | 1 << 27,      RESERVED),
        (0, 1 << 63 | USED | 0x1e | 0x18 << 10, page(0x1_8000, 16, RWX, RW)),
        (0, 1 << 63 | USED | 0x1e | 0x14 << 10, RESERVED),
        (0, 1 << 63 | USED | 0x1e | 0x1c << 10, RESERVED),
        (1, 1 << 63 | USED | 0x1e | 8 << 10, RESERVED),
    ]);
    check(&blind, &[(0, USED | 0x1e, page(0, 12, RWX, NONE))]);
    check(&second, &[
        (0, USED | 0x1e,                page(0, 12, RWX, RWX)),
        (0, USED | 0xe,                 page(0, 12, NONE, NONE)),
    ]);
    check(&plain, &[(0, 1 << 63 | USED | 0x1e | 8 << 10, RESERVED)]);
    check(&rich, &[
        (0, USED | 0x1e | 3 << 59,      page(0, 12, RWX, RW)),
        (0, USED | 0x1e | 1 << 61,      page(0, 12, RWX, RW)),
        (0, USED | 0x1e | 2 << 61,      page(0, 12, RWX, RW)),
        (0, USED | 0x1e | 3 << 61,      RESERVED),
        (1, 1 | 1 << 61,                RESERVED),
        (1, 1 | 1 << 59,                table(0, 0, RWX, RWX)),
    ]);
}

/// A page of stage 1 that a user may read and write.
const S1: u64 = 0x443;

#[rustfmt::skip]
#[test]
fn vmsa_stage1() {
    let plain = VmsaStage1 { marks: false, marks_dirty: false, ..STAGE1 };
    check(&plain, &[
        // AP: by a user, to read only. What a user may write nobody privileged executes
        (0, 0x5000 | S1,                    page(0x5000, 12, RWX, RW)),
        (0, 0x4c3,                          page(0, 12, RX, RX)),
        (0, 0x403,                          page(0, 12, X, RWX)),
        (0, 0x483,                          page(0, 12, X, RX)),
        (0, 1 << 54 | 0x403,                page(0, 12, NONE, RWX)),
        (0, 1 << 54 | S1,                   page(0, 12, RW, RW)),
        (0, 1 << 53 | 0x403,                page(0, 12, X, RW)),
        (0, 1 << 53 | 0x4c3,                page(0, 12, RX, R)),
        // what hardware does not mark as written may not be
        (0, 1 << 51 | 0x4c3,                page(0, 12, RX, RX)),
        (0, 0x442,                          NOT_PRESENT),
        (0, 0x441,                          NOT_PRESENT),
        (0, 0x43,                           UNMARKED),
        (0, 0xf80_0000_0000_0b3c | S1,      page(0, 12, RWX, RW)),
        (0, 1 << 52 | 0x1_3000 | S1,        page(0x1_3000, 16, RWX, RW)),
        // blocks
        (1, 0x40_0000 | S1 & !2,            page(0x40_0000, 21, RWX, RW)),
        (1, 0x40_f000 | S1 & !2,            page(0x40_0000, 21, RWX, RW)),
        (1, 1 << 52 | S1 & !2,              page(0, 25, RWX, RW)),
        (2, S1 & !2,                        page(0, 30, RWX, RW)),
        (3, S1 & !2,                        NOT_PRESENT),
        // tables
        (3, 0x5003,                         table(0x5000, 2, RWX, RWX)),
        (1, 1 << 60 | 0x5003,               table(0x5000, 0, RW, RWX)),
        (1, 1 << 59 | 0x5003,               table(0x5000, 0, RWX, RW)),
        (1, 1 << 61 | 0x5003,               table(0x5000, 0, X, RWX)),
        (1, 1 << 62 | 0x5003,               table(0x5000, 0, RX, RX)),
        (1, 3 << 61 | 0x5003,               table(0x5000, 0, X, RX)),
    ]);
    check(&STAGE1, &[
        (0, 0x43,                           page(0, 12, RWX, RW)),
        (0, 1 << 51 | 0x4c3,                page(0, 12, RWX, RW)),
        (0, 0x4c3,                          page(0, 12, RX, RX)),
    ]);
    check(&VmsaStage1 { unmarked_passes: true, ..plain }, &[(0, 0x43, page(0, 12, RWX, RW))]);
    check(&VmsaStage1 { tables_grant_all: true, ..plain }, &[
        (1, 0xf << 59 | 0x5003,             table(0x5000, 0, RWX, RWX)),
    ]);
    check(&VmsaStage1 { write_or_execute: true, ..plain }, &[
        (0, S1,                             page(0, 12, RW, RW)),
        (0, 0x403,                          page(0, 12, X, RW)),
        (0, 0x4c3,                          page(0, 12, RX, RX)),
    ]);
    check(&VmsaStage1 { privileged_never: true, ..plain }, &[
        (0, S1,                             page(0, 12, RWX, NONE)),
        (0, 0x4c3,                          page(0, 12, RX, X)),
        (0, 0x403,                          page(0, 12, X, RWX)),
    ]);
    // output addresses: too wide is told before unmarked, for tables too
    check(&VmsaStage1 { address_bits: 40, ..plain }, &[
        (0, 1 << 40 | 0x43,                 OUTPUT),
        (0, 1 << 39 | S1,                   page(1 << 39, 12, RWX, RW)),
        (2, 1 << 47 | 3,                    OUTPUT),
    ]);
    check(&VmsaStage1 { granule: Granule::K16, ..plain }, &[
        (0, 0xf000 | S1,                    page(0xc000, 14, RWX, RW)),
        (0, 1 << 52 | S1,                   page(0, 21, RWX, RW)),
        (1, S1 & !2,                        page(0, 25, RWX, RW)),
        (1, 1 << 52 | S1 & !2,              page(0, 30, RWX, RW)),
        (2, S1 & !2,                        NOT_PRESENT),
    ]);
    let k64 = VmsaStage1 { granule: Granule::K64, ..plain };
    check(&k64, &[
        (0, 0xf000 | S1,                    page(0, 16, RWX, RW)),
        (0, 1 << 52 | S1,                   page(0, 21, RWX, RW)),
        (1, S1 & !2,                        page(0, 29, RWX, RW)),
        (1, 1 << 52 | S1 & !2,              page(0, 34, RWX, RW)),
        (2, S1 & !2,                        NOT_PRESENT),
    ]);
    check(&VmsaStage1 { address_bits: 52, ..k64 }, &[
        (0, 0xa000 | S1,                    page(0xa << 48, 16, RWX, RW)),
        (2, 0x6000 | S1 & !2,               page(0x6 << 48, 42, RWX, RW)),
        (1, 0x5_f003,                       table(0xf << 48 | 0x5_0000, 0, RWX, RWX)),
    ]);
}

#[rustfmt::skip]
#[test]
fn vmsa_stage2() {
    let plain = VmsaStage2 { marks: false, marks_dirty: false, ..STAGE2 };
    check(&plain, &[
        (0, 0x54c3,                         page(0x5000, 12, RWX, RWX)),
        (0, 0x5443,                         page(0x5000, 12, RX, RX)),
        (0, 0x5483,                         page(0x5000, 12, WX, WX)),
        (0, 0x5403,                         page(0x5000, 12, X, X)),
        (0, 1 << 51 | 0x443,                page(0, 12, RX, RX)),
        (0, 1 << 53 | 0x4c3,                page(0, 12, RWX, RW)),
        (0, 2 << 53 | 0x4c3,                page(0, 12, RW, RW)),
        (0, 3 << 53 | 0x4c3,                page(0, 12, RW, RWX)),
        (0, 0xc3,                           UNMARKED),
        (0, 1 << 52 | 0x4c3,                page(0, 16, RWX, RWX)),
        // of stage 2 tables take nothing away
        (1, 0xf << 59 | 0x5003,             table(0x5000, 0, RWX, RWX)),
        (1, 0x4c1,                          page(0, 21, RWX, RWX)),
        (3, 0x4c1,                          NOT_PRESENT),
    ]);
    check(&STAGE2, &[
        (0, 0xc3,                           page(0, 12, RWX, RWX)),
        (0, 1 << 51 | 0x443,                page(0, 12, RWX, RWX)),
        (0, 1 << 51 | 0x403,                page(0, 12, WX, WX)),
    ]);
    check(&VmsaStage2 { address_bits: 44, ..plain }, &[(0, 1 << 44 | 0x4c3, OUTPUT)]);
}

/// What addresses are taken: the first that is not, and the last that is.
#[rustfmt::skip]
#[test]
fn input_addresses() {
    let upper = VmsaStage1 { upper: true, ..STAGE1 };
    let tagged = VmsaStage1 { top_byte_ignored: true, ..STAGE1 };
    fn check(format: &impl Format, rows: &[(u64, bool)]) {
        for &(input, is) in rows {
            assert_eq!(format.accepts(input), is, "{input:#x}");
        }
    }
    check(&X86, &[(0x7fff_ffff_ffff, true), (0x8000_0000_0000, false), (0xffff_7fff_ffff_ffff, false), (0xffff_8000_0000_0000, true)]);
    check(&X86_64 { levels: 5, ..X86 }, &[(0xff_ffff_ffff_ffff, true), (0x100_0000_0000_0000, false), (0xff00_0000_0000_0000, true)]);
    check(&VTD_SECOND, &[(0xffff_ffff_ffff, true), (0x1_0000_0000_0000, false)]);
    check(&VtdSecondStage { input_bits: 46, ..VTD_SECOND }, &[(1 << 46, false)]);
    check(&VtdSecondStage { levels: 3, ..VTD_SECOND }, &[(1 << 39, false)]);
    check(&AMD, &[(0xffff_ffff_ffff, true), (0x1_0000_0000_0000, false)]);
    check(&AmdV1 { levels: 6, ..AMD }, &[(u64::MAX, true)]);
    check(&RISCV, &[(0x3f_ffff_ffff, true), (0x40_0000_0000, false), (0xffff_ffc0_0000_0000, true)]);
    check(&Riscv { stage: Stage::Second, ..RISCV }, &[(0x1ff_ffff_ffff, true), (0x200_0000_0000, false)]);
    check(&Riscv { levels: 5, stage: Stage::Second, ..RISCV }, &[(0x7ff_ffff_ffff_ffff, true), (0x800_0000_0000_0000, false)]);
    check(&STAGE1, &[(0xffff_ffff_ffff, true), (0x1_0000_0000_0000, false), (0xff00_0000_0000_0000, false)]);
    check(&tagged, &[(0xff00_0000_0000_0000, true), (0xff01_0000_0000_0000, false)]);
    check(&upper, &[(0xffff_0000_0000_0000, true), (0xfffe_0000_0000_0000, false), (0, false)]);
    check(&STAGE2, &[(0xffff_ffff_ffff, true), (0x1_0000_0000_0000, false)]);
    check(&VmsaStage2 { top: 1, ..STAGE2 }, &[((1 << 34) - 1, true), (1 << 34, false)]);
}

/// Where a walk begins, and how large the first table is.
#[rustfmt::skip]
#[test]
fn roots() {
    let stage1 = |granule, input_bits| VmsaStage1 { granule, input_bits, ..STAGE1 };
    let rows = [
        (stage1(Granule::K4, 48), 3, 9), (stage1(Granule::K4, 39), 2, 9),
        (stage1(Granule::K4, 40), 3, 1), (stage1(Granule::K4, 25), 1, 4),
        (stage1(Granule::K16, 48), 3, 1), (stage1(Granule::K16, 47), 2, 11),
        (stage1(Granule::K64, 48), 2, 6), (stage1(Granule::K64, 52), 2, 10),
        (stage1(Granule::K64, 42), 1, 13),
    ];
    for (format, top, bits) in rows {
        assert_eq!((format.top(), format.index_bits(top)), (top, bits), "{format:?}");
    }
    let second = Riscv { stage: Stage::Second, ..RISCV };
    assert_eq!((second.index_bits(2), second.index_bits(1)), (11, 9));
    let wide = VmsaStage2 { input_bits: 43, top: 2, ..STAGE2 };
    assert_eq!((wide.index_bits(2), wide.index_bits(1)), (13, 9));
}

/// What becomes of a page's entry, and of a table's, that is read, and that is written.
#[rustfmt::skip]
#[test]
fn marks() {
    fn check(format: &impl Format, level: u8, is_leaf: bool, entry: u64, read: Mark, write: Mark) {
        assert_eq!(format.mark(entry, level, is_leaf, Access::READ), read, "{entry:#x} is read");
        assert_eq!(format.mark(entry, level, is_leaf, Access::WRITE), write, "{entry:#x} is written");
    }
    use Mark::{Keep, Store};
    const UNMARKED: Mark = Mark::Fault(Reason::Unmarked);
    check(&X86, 0, true, 0x7, Store(0x27), Store(0x67));
    check(&X86, 0, true, 0x27, Keep, Store(0x67));
    check(&X86, 0, true, 0x67, Keep, Keep);
    check(&X86, 1, false, 0x7, Store(0x27), Store(0x27));
    check(&X86_64 { extended_accessed: true, ..X86 }, 1, false, 0x27, Store(0x427), Store(0x427));
    check(&VTD_SECOND, 0, true, 0x3, Store(0x103), Store(0x303));
    check(&VTD_SECOND, 1, false, 0x3, Store(0x103), Store(0x103));
    check(&VtdSecondStage { marks: false, ..VTD_SECOND }, 0, true, 0x3, Keep, Keep);
    check(&AMD, 0, true, 0x1, Store(0x21), Store(0x61));
    check(&AMD, 1, false, 0x1, Store(0x21), Store(0x21));
    check(&AmdV1 { marks: false, ..AMD }, 0, true, 0x1, Keep, Keep);
    check(&RISCV, 0, true, 0x17, Store(0x57), Store(0xd7));
    check(&RISCV, 0, true, 0x57, Keep, Store(0xd7));
    check(&RISCV, 0, true, 0x13, Store(0x53), Store(0x53));
    check(&RISCV, 1, false, 0x1, Keep, Keep);
    check(&Riscv { marks: false, ..RISCV }, 0, true, 0x17, UNMARKED, UNMARKED);
    check(&Riscv { marks: false, ..RISCV }, 0, true, 0x57, Keep, UNMARKED);
    const DBM: u64 = 1 << 51;
    check(&STAGE1, 0, true, DBM | 0xc3, Store(DBM | 0x4c3), Store(DBM | 0x443));
    check(&STAGE1, 0, true, 0x43, Store(0x443), Store(0x443));
    check(&STAGE1, 1, false, 0x3, Keep, Keep);
    check(&VmsaStage1 { marks_dirty: false, ..STAGE1 }, 0, true, DBM | 0x4c3, Keep, Keep);
    check(&STAGE2, 0, true, DBM | 0x43, Store(DBM | 0x443), Store(DBM | 0x4c3));
    check(&STAGE2, 1, false, 0x3, Keep, Keep);
    check(&VmsaStage2 { marks: false, ..STAGE2 }, 0, true, DBM | 0x43, Keep, Store(DBM | 0xc3));
}
