//! Validity of context descriptors (5.4.2).

use pt::Access;

use super::bench::*;
use crate::hw::smmuv3::lookup::{
    Context, ContextDescriptor, ContextTable, DefaultSubstream, Kind, PagingTables, Registers,
    StreamEntry,
};

const PAGING: PagingTables = PagingTables {
    t0sz: 16,
    tg0: 0,
    ips: 5,
    asid: 9,
    ttb0: 0x8000_0000,
    marks: false,
    stalls: false,
};

const EPD0: u64 = 1 << 14;
const ENDI: u64 = 1 << 15;
const EPD1: u64 = 1 << 30;
const HD: u64 = 1 << 42;
const HA: u64 = 1 << 43;
const S: u64 = 1 << 44;
const A: u64 = 1 << 46;

/// What it is about, what changes in the registers and the descriptor, and whether it is valid.
type Case = (&'static str, fn(&mut [u32; 6], &mut [u64; 3]), bool);

fn tsz(word: &mut u64, at: u32, value: u64) {
    *word = *word & !(0x3f << at) | value << at;
}

fn httu(idr: &mut [u32; 6], httu: u32) {
    idr[0] = idr[0] & !(3 << 6) | httu << 6;
}

fn ips(words: &mut [u64; 3], ips: u64) {
    words[0] = words[0] & !(7 << 32) | ips << 32;
}

fn oas(idr: &mut [u32; 6], oas: u32) {
    idr[5] = idr[5] & !7 | oas;
}

#[rustfmt::skip] // one case, one line
const CASES: &[Case] = &[
    ("as Linux makes it",             |_, _| (),                                           true),
    ("V=0",                           |_, cd| cd[0] &= !(1 << 31),                         false),
    ("AA64=0",                        |_, cd| cd[0] &= !(1 << 41),                         false),
    ("A=0",                           |_, cd| cd[0] &= !A,                                 true),
    ("A=0 where all are aborted",     |idr, cd| { idr[0] |= 1 << 26; cd[0] &= !A },        false),
    ("S=1",                           |_, cd| cd[0] |= S,                                  true),
    ("S=1 where none stalls",         |idr, cd| { stall_model(idr, 1); cd[0] |= S },       false),
    ("S=0 where all stall",           |idr, _| stall_model(idr, 2),                        false),
    ("S=1 where all stall",           |idr, cd| { stall_model(idr, 2); cd[0] |= S },       true),
    ("big-endian",                    |_, cd| cd[0] |= ENDI,                               false),
    ("big-endian without tables",     |_, cd| cd[0] |= ENDI | EPD0 | EPD1,                 true),
    ("HA without HTTU",               |idr, cd| { httu(idr, 0); cd[0] |= HA },             false),
    ("HD without HTTU",               |idr, cd| { httu(idr, 0); cd[0] |= HD },             false),
    ("HA with HTTU of access",        |idr, cd| { httu(idr, 1); cd[0] |= HA },             true),
    ("HD with HTTU of access",        |idr, cd| { httu(idr, 1); cd[0] |= HA | HD },        false),
    ("HA, HD with HTTU",              |_, cd| cd[0] |= HA | HD,                            true),
    ("HAFT, which there is not",      |_, cd| cd[1] |= 8,                                  true),
    ("HAFT without HA",               |idr, cd| { httu(idr, 3); cd[1] |= 8 },              false),
    ("HAFT with HA",                  |idr, cd| { httu(idr, 3); cd[1] |= 8; cd[0] |= HA }, true),
    ("ASID of 16 bits",               |_, cd| cd[0] |= 0x100 << 48,                        true),
    ("ASID of 16 bits, of 8",         |idr, cd| { idr[0] &= !(1 << 12); cd[0] |= 0x100 << 48 }, false),
    ("T0SZ 15",                       |_, cd| tsz(&mut cd[0], 0, 15),                      false),
    ("T0SZ 39",                       |_, cd| tsz(&mut cd[0], 0, 39),                      true),
    ("T0SZ 40",                       |_, cd| tsz(&mut cd[0], 0, 40),                      false),
    ("T0SZ 48 with small tables",     |idr, cd| { idr[3] |= 1 << 9; tsz(&mut cd[0], 0, 48) }, true),
    ("T0SZ 48, 64 KiB",               |idr, cd| { idr[3] |= 1 << 9; tsz(&mut cd[0], 0, 48); cd[0] |= 1 << 6 }, false),
    ("T0SZ 12, 64 KiB",               |_, cd| { tsz(&mut cd[0], 0, 12); cd[0] |= 1 << 6 }, true),
    ("T0SZ 12, 64 KiB, no VAX",       |idr, cd| { idr[5] &= !(3 << 10); tsz(&mut cd[0], 0, 12); cd[0] |= 1 << 6 }, false),
    ("T0SZ 12, 16 KiB",               |_, cd| { tsz(&mut cd[0], 0, 12); cd[0] |= 2 << 6 }, false),
    ("T0SZ 15 with EPD0",             |_, cd| { tsz(&mut cd[0], 0, 15); cd[0] |= EPD0 },   true),
    ("TG0 reserved",                  |_, cd| cd[0] |= 3 << 6,                             false),
    ("no 16 KiB",                     |idr, cd| { idr[5] &= !0x20; cd[0] |= 2 << 6 },      false),
    ("TTB0 beyond IPS",               |_, cd| { ips(cd, 0); cd[1] |= 1 << 32 },   false),
    ("TTB0 beyond OAS",               |_, cd| { ips(cd, 6); cd[1] |= 1 << 48 },      false),
    ("TTB0 beyond IPS with EPD0",     |_, cd| { cd[0] |= EPD0; cd[1] |= 1 << 50 },         true),
    ("TTB0 of 52 bits, OAS of 48",    |_, cd| { ips(cd, 6); cd[0] |= 1 << 6; cd[1] |= 1 << 50 }, false),
    ("TTB0 of 52 bits, OAS of 52",    |idr, cd| { oas(idr, 6); ips(cd, 6); cd[0] |= 1 << 6; cd[1] |= 1 << 50 }, true),
    ("TTB0 of 52 bits, 4 KiB",        |idr, cd| { oas(idr, 6); ips(cd, 6); cd[1] |= 1 << 50 }, false),
    ("both halves",                   |_, cd| { cd[0] &= !EPD1; tsz(&mut cd[0], 16, 25); cd[0] |= 2 << 22 }, true),
    ("TG1 reserved",                  |_, cd| { cd[0] &= !EPD1; tsz(&mut cd[0], 16, 25) }, false),
    ("T1SZ 15",                       |_, cd| { cd[0] &= !EPD1; tsz(&mut cd[0], 16, 15); cd[0] |= 2 << 22 }, false),
    ("TTB1 beyond OAS",               |_, cd| { cd[0] &= !EPD1; tsz(&mut cd[0], 16, 16); cd[0] |= 1 << 22; cd[2] = 1 << 49 }, false),
];

#[test]
fn validity() {
    let table = ContextTable { address: 0x1000, format: 0, log2_count: 0 };
    let entry = StreamEntry::stage1(RICH, table, DefaultSubstream::Terminate, true, false);
    for (name, change, valid) in CASES {
        let (mut idr, mut words) = (RICH.0, ContextDescriptor::paging(PAGING).0);
        change(&mut idr, &mut words);
        let ram = Ram::new(0x8000_0000);
        ram.write(0x1000, &words);
        let found = entry.context(Registers(idr), request(None, 0, Access::READ), &ram);
        let expected = if *valid { None } else { Some(Kind::BadDescriptor) };
        assert_eq!(found.err().map(|event| event.kind), expected, "{name}");
    }
}

/// A stream whose requests may not stall has no descriptor that lets them.
#[test]
fn stalls_disabled() {
    let table = ContextTable { address: 0x1000, format: 0, log2_count: 0 };
    let ram = Ram::new(0x8000_0000);
    ram.write(0x1000, &ContextDescriptor::paging(PagingTables { stalls: true, ..PAGING }).0);
    for stalls in [false, true] {
        let entry = StreamEntry::stage1(RICH, table, DefaultSubstream::Terminate, stalls, false);
        let found = entry.context(RICH, request(None, 0, Access::READ), &ram);
        assert_eq!(found.is_ok(), stalls);
    }
}

/// What was found stays what it is when memory changes: a cache of descriptors may keep it.
#[test]
fn a_context_is_kept() {
    let table = ContextTable { address: 0x1000, format: 0, log2_count: 0 };
    let entry = StreamEntry::stage1(RICH, table, DefaultSubstream::Terminate, true, false);
    let ram = Ram::new(0x9000_0000);
    ram.write(0x1000, &ContextDescriptor::paging(PAGING).0);
    let format = first_format(pt::format::Granule::K4);
    ram.map(&format, PAGING.ttb0, 0x1234_5000, (0, 0xabcd_e000 | 0x443), |at| at);
    let request = request(None, 0x1234_5678, Access::READ);
    let kept: Context = entry.context(RICH, request, &ram).unwrap();
    ram.write(0x1000, &[0, 0, 0]);
    assert_eq!(kept.translate(request, &ram).unwrap().address, 0xabcd_e678);
    assert_eq!(entry.context(RICH, request, &ram).unwrap_err().kind, Kind::BadDescriptor);
}

/// A descriptor that is not in memory does as well.
#[test]
fn descriptors_of_the_hosts() {
    let table = ContextTable { address: 0, format: 0, log2_count: 4 };
    let entry = StreamEntry::stage1(RICH, table, DefaultSubstream::Bypass, true, false);
    let find = |entry: StreamEntry, pasid| {
        let find = |ssid: u32| {
            let asid = PAGING.asid + ssid as u16;
            Ok(ContextDescriptor::paging(PagingTables { asid, ..PAGING }))
        };
        let found = entry.context_with(RICH, request(pasid, 0, Access::READ), find);
        found.map(|it| it.asid()).map_err(|event| event.kind)
    };
    assert_eq!(find(entry, Some(3)), Ok(Some(PAGING.asid + 3)));
    assert_eq!(find(entry, None), Ok(None));
    assert_eq!(find(entry, Some(16)), Err(Kind::BadSubstream));
    assert_eq!(find(StreamEntry::abort(), None), Err(Kind::Off));
}
