//! Validity of stream table entries (5.2.2), what Linux makes them of, and streams without stage 1.

use pt::Access;
use pt::format::Granule;

use super::bench::*;
use crate::hw::smmuv3::lookup::{
    ContextDescriptor, ContextTable, DefaultSubstream, Kind, Registers, SecondStage, StreamEntry,
};

/// What it is about, what changes in the registers and the entry, and whether it is valid.
type Case = (&'static str, fn(&mut [u32; 6], &mut [u64; 4]), bool);

const TABLE: ContextTable = ContextTable { address: 0x1_0000, format: 0, log2_count: 4 };

fn refusal(registers: Registers, entry: [u64; 4]) -> Option<Kind> {
    let request = request(Some(1), 0, Access::READ);
    let descriptor = |_| Ok(ContextDescriptor([1 << 31 | 1 << 41 | 1 << 30 | 1 << 14, 0, 0]));
    let found = StreamEntry(entry).context_with(registers, request, descriptor);
    // of the entry: nothing is asked of the descriptor
    found.err().map(|event| event.kind).filter(|kind| *kind != Kind::BadDescriptor)
}

fn s2(ste: &mut [u64; 4], at: u32, bits: u32, value: u64) {
    ste[2] = ste[2] & !(((1 << bits) - 1) << at) | value << at;
}

#[rustfmt::skip] // one case, one line
const CASES: &[Case] = &[
    ("as Linux makes it",              |_, _| (),                              true),
    ("V=0",                            |_, ste| ste[0] &= !1,                  false),
    ("no stage 1",                     |idr, _| idr[0] &= !2,                  false),
    ("no stage 2",                     |idr, _| idr[0] &= !1,                  false),
    ("S1STALLD",                       |_, ste| ste[1] |= 1 << 27,             true),
    ("S1STALLD where none stalls",     |idr, ste| { stall_model(idr, 1); ste[1] |= 1 << 27 }, false),
    ("S1CDMax of 21",                  |_, ste| ste[0] = ste[0] & !(31 << 59) | 21 << 59, false),
    ("two levels",                     |_, ste| ste[0] |= 1 << 4,              true),
    ("two levels without CD2L",        |idr, ste| { idr[0] &= !(1 << 19); ste[0] |= 2 << 4 }, false),
    ("S1Fmt 3 is 0",                   |idr, ste| { idr[0] &= !(1 << 19); ste[0] |= 3 << 4 }, true),
    ("S1ContextPtr beyond IAS",        |_, ste| ste[0] |= 1 << 48,             false),
    ("split ATS",                      |_, ste| ste[1] |= 2 << 28,             true),
    ("ATS and stalls of stage 2",      |_, ste| { ste[1] |= 1 << 28; ste[2] |= 1 << 57 }, false),
    ("the same without ATS",           |idr, ste| { idr[0] &= !(1 << 10); ste[1] |= 1 << 28; ste[2] |= 1 << 57 }, true),
    ("S2S where none stalls",          |idr, ste| { stall_model(idr, 1); ste[2] |= 1 << 57 }, false),
    ("no S2S where all stall",         |idr, _| stall_model(idr, 2),           false),
    ("S2AA64=0",                       |_, ste| ste[2] &= !(1 << 51),          false),
    ("S2ENDI",                         |_, ste| ste[2] |= 1 << 52,             false),
    ("S2HA, S2HD",                     |_, ste| ste[2] |= 3 << 55,             true),
    ("S2HA without HTTU",              |idr, ste| { idr[0] &= !(3 << 6); ste[2] |= 1 << 56 }, false),
    ("S2HD with HTTU of access",       |idr, ste| { idr[0] = idr[0] & !(3 << 6) | 1 << 6; ste[2] |= 3 << 55 }, false),
    ("S2TG reserved",                  |_, ste| s2(ste, 46, 2, 3),             false),
    ("no 64 KiB",                      |idr, ste| { idr[5] &= !0x40; s2(ste, 46, 2, 1) }, false),
    ("S2T0SZ beyond IAS",              |_, ste| { s2(ste, 32, 6, 15); s2(ste, 38, 2, 2) }, false),
    ("IAS of 40 by 32-bit tables",     |idr, _| { idr[0] |= 1 << 2; idr[5] &= !7 }, true),
    ("IAS of 32",                      |idr, _| idr[5] &= !7,                  false),
    ("S2T0SZ 40",                      |_, ste| { s2(ste, 32, 6, 40); s2(ste, 38, 2, 0) }, false),
    ("S2SL0 0: level 2, 16 tables",    |_, ste| { s2(ste, 32, 6, 30); s2(ste, 38, 2, 0) }, true),
    ("S2SL0 0: 17 tables",             |_, ste| { s2(ste, 32, 6, 29); s2(ste, 38, 2, 0) }, false),
    ("S2SL0 2: level 0",               |_, ste| s2(ste, 38, 2, 2),             true),
    ("S2SL0 2: no bit for level 0",    |_, ste| { s2(ste, 38, 2, 2); s2(ste, 32, 6, 25) }, false),
    ("S2SL0 3 without small tables",   |_, ste| { s2(ste, 38, 2, 3); s2(ste, 32, 6, 39) }, false),
    ("S2SL0 3 with small tables",      |idr, ste| { idr[3] |= 1 << 9; s2(ste, 38, 2, 3); s2(ste, 32, 6, 45) }, true),
    ("S2SL0 3 of 16 KiB",              |_, ste| { s2(ste, 38, 2, 3); s2(ste, 46, 2, 2) }, false),
    ("S2TTB beyond S2PS",              |_, ste| { s2(ste, 48, 3, 0); ste[3] |= 1 << 33 }, false),
    ("S2TTB of 52 bits, 4 KiB",        |idr, ste| { idr[5] = idr[5] & !7 | 6; s2(ste, 48, 3, 6); ste[3] |= 1 << 50 }, false),
    ("S2TTB of 52 bits, 64 KiB",       |idr, ste| { idr[5] = idr[5] & !7 | 6; s2(ste, 48, 3, 6); s2(ste, 46, 2, 1); ste[3] |= 1 << 50 }, true),
    ("VMID of 16 bits",                |_, ste| ste[2] |= 0x100,               true),
    ("VMID of 16 bits, of 8",          |idr, ste| { idr[0] &= !(1 << 18); ste[2] |= 0x100 }, false),
];

#[test]
fn validity() {
    let alone = StreamEntry::stage1(RICH, TABLE, DefaultSubstream::Terminate, true, false);
    let second = second_stage(Granule::K4);
    for (name, change, valid) in CASES {
        let nested = StreamEntry::nested([alone.0[0], alone.0[1]], second, false);
        let (mut idr, mut words) = (RICH.0, nested.0);
        change(&mut idr, &mut words);
        let expected = if *valid { None } else { Some(Kind::BadEntry) };
        assert_eq!(refusal(Registers(idr), words), expected, "{name}");
    }
}

#[test]
fn split_ats_is_for_two_stages() {
    let mut entry = StreamEntry::stage1(RICH, TABLE, DefaultSubstream::Terminate, true, false);
    entry.0[1] |= 2 << 28;
    assert_eq!(refusal(RICH, entry.0), Some(Kind::BadEntry));
}

/// `arm_smmu_make_nested_domain_ste`
#[test]
fn a_guests_entry() {
    let second = second_stage(Granule::K4);
    let parent = StreamEntry::stage2(second, false);
    let nested = |guest| StreamEntry::nested(guest, second, true).0;
    let [s1, s1dss] = [0b1011 | 0x4_5000 | 5 << 59, 2 | 1 << 27];
    assert_eq!(nested([0, 0]), StreamEntry::abort().0, "invalid");
    assert_eq!(nested([0b1010, 0]), StreamEntry::abort().0, "invalid, whatever else it says");
    assert_eq!(nested([0b0001, 0]), StreamEntry::abort().0, "abort");
    assert_eq!(nested([0b1001, 0]), StreamEntry::stage2(second, true).0, "bypass");
    let [word0, word1, ..] = nested([s1, s1dss]);
    assert_eq!(word0, s1 | 0b1110, "stage 1");
    assert_eq!(word1, s1dss | 1 << 19 | 1 << 28, "MEV, and the host's ATS");
    assert_eq!(nested([s1, s1dss])[2..], parent.0[2..]);
    assert_eq!(
        StreamEntry::nested([s1, 1 << 28], second, false).0[1],
        1 << 19,
        "no ATS of a guest's"
    );
    assert_eq!(StreamEntry(nested([s1, s1dss])).vmid(), second.vmid);
}

#[test]
fn fields_of_entries() {
    let entry = StreamEntry::stage1(RICH, TABLE, DefaultSubstream::Bypass, false, true);
    assert_eq!(entry.0, [0x2000_0000_0001_000b, 1 | 1 << 27 | 1 << 28, 0, 0]);
    let second = SecondStage { stalls: true, ..second_stage(Granule::K64) };
    let entry = StreamEntry::stage2(second, false);
    assert_eq!(entry.0, [0xd, 0, 0x0648_0000_0000_0007 | 0x0005_4058 << 32, S2_ROOT]);
}

#[test]
fn streams_without_stage_1() {
    let ram = Ram::new(0x8000_0000);
    let find = |entry: StreamEntry, registers, iova| {
        let request = request(None, iova, Access::WRITE);
        let found = entry.context(registers, request, &ram);
        let found = found.and_then(|context| context.translate(request, &ram));
        found.map(|it| it.address).map_err(|event| (event.kind, event.second_stage, event.recorded))
    };
    let stage2 = StreamEntry::stage2(second_stage(Granule::K4), false);
    // S2R off: only what is told as of stage 1 is recorded
    let quiet = StreamEntry([stage2.0[0], stage2.0[1], stage2.0[2] & !(1 << 58), stage2.0[3]]);
    let wide = Registers([RICH.0[0] | 1 << 2, RICH.0[1], 0, RICH.0[3], 0, RICH.0[5] & !7]);
    ram.map(&second_format(Granule::K4), S2_ROOT, 0x12_3456_7000, (0, 0x9999_9000 | 0x4c3), |at| {
        at
    });
    let size = (Kind::AddressSize, false, true);
    let cases = [
        ("off", StreamEntry::abort(), RICH, 0, Err((Kind::Off, false, false))),
        ("bypass", BYPASS, RICH, 0xffff_1234_5678, Ok(0xffff_1234_5678)),
        ("bypass beyond OAS", BYPASS, RICH, 1 << 48, Err(size)),
        ("stage 2", stage2, RICH, 0x12_3456_7abc, Ok(0x9999_9abc)),
        ("beyond S2T0SZ", stage2, RICH, 1 << 40, Err((Kind::Translation, true, true))),
        ("beyond IAS", stage2, RICH, 1 << 48, Err(size)),
        ("beyond S2T0SZ, quiet", quiet, RICH, 1 << 40, Err((Kind::Translation, true, false))),
        ("beyond IAS, quiet", quiet, RICH, 1 << 48, Err(size)),
        ("IAS is more than OAS", stage2, wide, 0x12_3456_7abc, Ok(0x9999_9abc)),
        ("and OAS limits bypass", BYPASS, wide, 1 << 32, Err(size)),
    ];
    for (name, entry, registers, iova, expected) in cases {
        assert_eq!(find(entry, registers, iova), expected, "{name}");
    }
}

#[test]
fn marks_of_stage_2() {
    const S2AFFD: u64 = 1 << 53;
    const S2HD: u64 = 1 << 55;
    const S2HA: u64 = 1 << 56;
    const PAGE: u64 = 0x9999_9000;
    let (unmarked, clean) = (0xc3, 1 << 51 | 0x443);
    #[rustfmt::skip] // one entry, one line
    let cases = [
        // the stream's bits, the page's entry, what it comes to, the entry afterwards
        (0,           unmarked, Some(Kind::Access),     unmarked),
        (S2AFFD,      unmarked, None,                   unmarked),
        (S2HA,        unmarked, None,                   unmarked | 0x400),
        (0,           clean,    Some(Kind::Permission), clean),
        (S2HA,        clean,    Some(Kind::Permission), clean),
        (S2HD,        clean,    Some(Kind::Permission), clean),
        (S2HA | S2HD, clean,    None,                   clean | 0x80),
    ];
    for (bits, leaf, refused, after) in cases {
        let ram = Ram::new(0x8000_0000);
        let slot = ram.map(&second_format(Granule::K4), S2_ROOT, 0x5000, (0, PAGE | leaf), |at| at);
        let mut entry = StreamEntry::stage2(second_stage(Granule::K4), false);
        entry.0[2] |= bits;
        let request = request(None, 0x5000, Access::WRITE);
        let context = entry.context(RICH, request, &ram).unwrap();
        let found = context.translate(request, &ram).err().map(|event| event.kind);
        assert_eq!((found, ram.get(slot)), (refused, PAGE | after), "{bits:#x}, {leaf:#x}");
    }
}
