//! Stage 1 alone: both halves, sizes, and what descriptors say of permission.

use pt::format::{Granule, VmsaStage1};
use pt::{Access, Format};

use super::bench::*;
use crate::hw::smmuv3::lookup::{
    ContextDescriptor, ContextTable, DefaultSubstream, Kind, PagingTables, Registers, StreamEntry,
};

const DESCRIPTOR: u64 = 0x1000;
const LOWER: u64 = 0x1_0000_0000;
const UPPER: u64 = 0x2_0000_0000;
const PAGE: u64 = 0x3_4000_0000;
const BITS: u32 = 39;

const EPD0: u64 = 1 << 14;
const EPD1: u64 = 1 << 30;
const AFFD: u64 = 1 << 35;
const WXN: u64 = 1 << 36;
const TBI0: u64 = 1 << 38;
const TBI1: u64 = 1 << 39;
const PAN: u64 = 1 << 40;
const HD: u64 = 1 << 42;
const HA: u64 = 1 << 43;

/// Both halves of 39 bits, with granules of their own.
fn descriptor(lower: Granule, upper: Granule) -> [u64; 3] {
    let tables = PagingTables {
        t0sz: 25,
        tg0: tg0(lower),
        ips: 5,
        asid: 9,
        ttb0: LOWER,
        marks: false,
        stalls: false,
    };
    let tg1 = match upper {
        Granule::K16 => 1,
        Granule::K4 => 2,
        Granule::K64 => 3,
    };
    let [word0, word1, _] = ContextDescriptor::paging(tables).0;
    [word0 & !EPD1 | 25 << 16 | tg1 << 22, word1, UPPER]
}

fn format(granule: Granule, upper: bool) -> VmsaStage1 {
    VmsaStage1 { input_bits: BITS, upper, ..first_format(granule) }
}

fn find(
    registers: Registers,
    words: [u64; 3],
    ram: &Ram,
    iova: u64,
    access: Access,
) -> Result<u64, Kind> {
    let table = ContextTable { address: DESCRIPTOR, format: 0, log2_count: 0 };
    let entry = StreamEntry::stage1(registers, table, DefaultSubstream::Terminate, true, false);
    ram.write(DESCRIPTOR, &words);
    let request = request(None, iova, access);
    let found = entry.context(registers, request, ram);
    found
        .and_then(|context| context.translate(request, ram))
        .map(|it| it.address)
        .map_err(|event| event.kind)
}

#[test]
fn halves_and_their_ends() {
    let top = 0xa5 << 56;
    for (lower, upper) in
        [(Granule::K4, Granule::K64), (Granule::K16, Granule::K4), (Granule::K64, Granule::K16)]
    {
        let ram = Ram::new(0x4_0000_0000);
        let (low, high) = (0x7f_ffff_0123, !0x7f_ffff_ffff | 0x1_0456);
        ram.map(&format(lower, false), LOWER, low, (0, PAGE | 0x443), |at| at);
        ram.map(&format(upper, true), UPPER, high, (0, (PAGE + 0x10_0000) | 0x443), |at| at);
        let words = descriptor(lower, upper);
        let within = |granule: Granule, address: u64| address & ((1 << granule.order()) - 1);
        let (low_page, high_page) =
            (PAGE + within(lower, low), PAGE + 0x10_0000 + within(upper, high));
        let gone = Err(Kind::Translation);
        #[rustfmt::skip] // one address, one line
        let cases = [
            ("lower",                      0,    low,               Ok(low_page)),
            ("upper",                      0,    high,              Ok(high_page)),
            ("above the lower",            0,    low | 1 << 39,     gone),
            ("below the upper",            0,    high & !(1 << 39), gone),
            ("lower, top byte",            0,    low | top,         gone),
            ("lower, top byte, TBI0",      TBI0, low | top,         Ok(low_page)),
            ("lower, top byte, TBI1",      TBI1, low | top,         gone),
            ("upper, top byte",            0,    high ^ top,        gone),
            ("upper, top byte, TBI1",      TBI1, high ^ top,        Ok(high_page)),
            ("lower with bit 55, TBI0",    TBI0, low | 1 << 55,     gone),
            ("lower is off",               EPD0, low,               gone),
            ("upper while lower is off",   EPD0, high,              Ok(high_page)),
            ("upper is off",               EPD1, high,              gone),
            ("lower while upper is off",   EPD1, low,               Ok(low_page)),
        ];
        for (name, bits, iova, expected) in cases {
            let words = [words[0] | bits, words[1], words[2]];
            let found = find(RICH, words, &ram, iova, Access::READ);
            assert_eq!(found, expected, "{name}: {lower:?}, {upper:?}");
        }
    }
}

/// TTB is as if aligned to the size of its table.
#[test]
fn roots_are_aligned() {
    let ram = Ram::new(0x4_0000_0000);
    let format = VmsaStage1 { input_bits: 33, ..first_format(Granule::K4) };
    // 33 bits leave 3 of the index: a table of 64 bytes
    assert_eq!(format.index_bits(format.top()), 3);
    ram.map(&format, LOWER, 0x1_2345_6000, (0, PAGE | 0x443), |at| at);
    let mut words = descriptor(Granule::K4, Granule::K4);
    words[0] = words[0] & !0x3f | 31;
    for (low, expected) in [(0x30, Ok(PAGE)), (0x40, Err(Kind::Translation))] {
        words[1] = LOWER | low;
        assert_eq!(find(RICH, words, &ram, 0x1_2345_6000, Access::READ), expected, "{low:#x}");
    }
}

/// What it is about, the SMMU, bits of the descriptor's words, of the table's entry, the page's entry, the
/// request, and what it comes to.
type Case = (&'static str, Registers, [u64; 2], u64, u64, Access, Result<u64, Kind>);

#[test]
fn permission() {
    let (read, write, execute) = (Access::READ, Access::WRITE, Access::EXECUTE);
    let [had0, e0pd0] = [1 << 1, 1 << 2];
    let no_user_write = 3 << 61;
    let lacks = |at: usize, bit: u32| {
        let mut idr = RICH.0;
        idr[at] &= !bit;
        Registers(idr)
    };
    let (user, kernel, refused) = (0x443, 0x403, Err(Kind::Permission));
    let clean = user | 0x80 | 1 << 51;
    #[rustfmt::skip] // one request, one line
    let cases: &[Case] = &[
        ("a user's page",            RICH, [0, 0],     0, user,            write,               Ok(PAGE)),
        ("the kernel's page",        RICH, [0, 0],     0, kernel,          read,                refused),
        ("with privilege",           RICH, [0, 0],     0, kernel,          write.privileged(),  Ok(PAGE)),
        ("PAN",                      RICH, [PAN, 0],   0, user,            read.privileged(),   refused),
        ("PAN, the kernel's page",   RICH, [PAN, 0],   0, kernel,          read.privileged(),   Ok(PAGE)),
        ("executed",                 RICH, [0, 0],     0, user,            execute,             Ok(PAGE)),
        ("UXN",                      RICH, [0, 0],     0, user | 1 << 54,  execute,             refused),
        ("PXN",                      RICH, [0, 0],     0, kernel | 1 << 53, execute.privileged(), refused),
        ("a user writes it",         RICH, [0, 0],     0, user,            execute.privileged(), refused),
        ("WXN",                      RICH, [WXN, 0],   0, user,            execute,             refused),
        ("WXN, read-only",           RICH, [WXN, 0],   0, user | 0x80,     execute,             Ok(PAGE)),
        ("unmarked",                 RICH, [0, 0],     0, user & !0x400,   read,                Err(Kind::Access)),
        ("unmarked, AFFD",           RICH, [AFFD, 0],  0, user & !0x400,   read,                Ok(PAGE)),
        ("clean",                    RICH, [0, 0],     0, clean,           write,               refused),
        ("clean, HD without HA",     RICH, [HD, 0],    0, clean,           write,               refused),
        ("clean, HA",                RICH, [HA, 0],    0, clean,           write,               refused),
        ("clean, HA and HD",         RICH, [HA | HD, 0], 0, clean,         write,               Ok(PAGE)),
        ("tables deny",              RICH, [0, 0],     no_user_write, user, read,               refused),
        ("tables deny writing",      RICH, [0, 0],     1 << 62, user,      write,               refused),
        ("HAD0",                     RICH, [0, had0],  no_user_write, user, write,              Ok(PAGE)),
        ("HAD0, which there is not", lacks(3, 4), [0, had0], no_user_write, user, write,        refused),
        ("E0PD0",                    RICH, [0, e0pd0], 0, user,            read,                Err(Kind::Translation)),
        ("E0PD0 with privilege",     RICH, [0, e0pd0], 0, user,            read.privileged(),   Ok(PAGE)),
        ("E0PD0, which there is not", lacks(3, 1 << 13), [0, e0pd0], 0, user, read,             Ok(PAGE)),
    ];
    for (name, registers, bits, on_tables, leaf, access, expected) in cases {
        let ram = Ram::new(0x4_0000_0000);
        let format = format(Granule::K4, false);
        ram.map(&format, LOWER, 0x5000, (0, PAGE | leaf), |at| at);
        ram.set(LOWER, ram.get(LOWER) | on_tables);
        let words = descriptor(Granule::K4, Granule::K4);
        let words = [words[0] | bits[0], words[1] | bits[1], words[2]];
        assert_eq!(find(*registers, words, &ram, 0x5000, *access), *expected, "{name}");
    }
}

/// With 64 KiB, addresses of 52 bits in and out.
#[test]
fn addresses_of_52_bits() {
    let ram = Ram::new(0x4_0000_0000);
    let wide = Registers([RICH.0[0], RICH.0[1], 0, RICH.0[3], 0, RICH.0[5] & !7 | 6]);
    let format = VmsaStage1 { input_bits: 52, ..first_format(Granule::K64) };
    let iova = 0x000f_1234_5678_9abc;
    // bits 51:48 of the output are in 15:12
    ram.map(&format, LOWER, iova, (0, 0x1234_5678_0000 | 0x9000 | 0x443), |at| at);
    let mut words = descriptor(Granule::K64, Granule::K64);
    words[0] = words[0] & !(0x3f | 7 << 32) | 12 | 6 << 32;
    assert_eq!(find(wide, words, &ram, iova, Access::READ), Ok(0x0009_1234_5678_9abc));
    assert_eq!(find(RICH, words, &ram, iova, Access::READ), Ok(0x1234_5678_9abc), "OAS of 48");
    words[0] = words[0] & !(7 << 32) | 2 << 32;
    assert_eq!(find(wide, words, &ram, iova, Access::READ), Err(Kind::AddressSize), "IPS of 40");
}

/// With outputs of 52 bits, roots are aligned to 64 bytes though the table be smaller.
#[test]
fn roots_of_52_bits() {
    let ram = Ram::new(0x4_0000_0000);
    let wide = Registers([RICH.0[0], RICH.0[1], 0, RICH.0[3], 0, RICH.0[5] & !7 | 6]);
    let format = VmsaStage1 { input_bits: 44, ..first_format(Granule::K64) };
    assert_eq!(format.index_bits(format.top()), 2);
    ram.map(&format, LOWER, 0x5_0000, (0, PAGE | 0x443), |at| at);
    let mut words = descriptor(Granule::K64, Granule::K64);
    words[1] |= 0x20;
    for (ips, expected) in [(5, Err(Kind::Translation)), (6, Ok(PAGE))] {
        words[0] = words[0] & !(0x3f | 7 << 32) | 20 | ips << 32;
        assert_eq!(find(wide, words, &ram, 0x5_0000, Access::READ), expected, "IPS {ips}");
    }
}
