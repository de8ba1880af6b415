//! Which descriptor a request uses: tables of one level and of two, and requests without a substream.

use pt::Access;
use pt::format::Granule;

use super::bench::*;
use crate::hw::smmuv3::lookup::{
    ContextDescriptor, ContextTable, DefaultSubstream, Kind, PagingTables, Registers, StreamEntry,
};

const TABLE: u64 = 0x1_0000_0000;
const L2_TABLES: u64 = 0x1_1000_0000;
/// What a guest calls an address lies here further up.
const SHIFT: u64 = 0x10_0000_0000;

/// A descriptor that tells its substream by its ASID.
fn descriptor(ssid: u32) -> [u64; 3] {
    let asid = ssid as u16 ^ 0x5a5a;
    let tables =
        PagingTables { t0sz: 16, tg0: 0, ips: 5, asid, ttb0: 0, marks: false, stalls: false };
    ContextDescriptor::paging(tables).0
}

/// Where the descriptor of a substream is; L1 entries lead to tables that are not in order.
fn put(ram: &Ram, format: u8, ssid: u32, shift: u64) {
    let index = u64::from(ssid);
    let at = match format {
        1 | 2 => {
            let split = if format == 1 { 6 } else { 10 };
            let table = L2_TABLES + ((index >> split) ^ 3) * (64 << split);
            ram.set(TABLE + shift + (index >> split) * 8, table | 1);
            table + (index & ((1 << split) - 1)) * 64
        }
        _ => TABLE + index * 64,
    };
    ram.write(at + shift, &descriptor(ssid));
}

/// The entries to try: stage 1 alone, and over stage 2.
fn entries(format: u8, log2_count: u8, default: DefaultSubstream) -> [(StreamEntry, u64); 2] {
    let table = ContextTable { address: TABLE, format, log2_count };
    let alone = StreamEntry::stage1(RICH, table, default, true, false);
    let second = second_stage(Granule::K4);
    [(alone, 0), (StreamEntry::nested([alone.0[0], alone.0[1]], second, false), SHIFT)]
}

/// Stage 2 in blocks of 2 MiB, over all that is used here.
fn map_second_stage(ram: &Ram) {
    let format = second_format(Granule::K4);
    for (from, size) in [(TABLE, 0x400_0000), (L2_TABLES, 0x800_0000)] {
        for ipa in (from..from + size).step_by(0x20_0000) {
            ram.map(&format, S2_ROOT, ipa, (1, (ipa + SHIFT) | 0x4c1), |at| at);
        }
    }
}

/// The ASID of the descriptor that is used, or why there is none.
fn find(entry: StreamEntry, ram: &Ram, pasid: Option<u32>) -> Result<Option<u16>, Kind> {
    let context = entry.context(RICH, request(pasid, 0, Access::READ), ram);
    context.map(|it| it.asid()).map_err(|event| event.kind)
}

fn used(ssid: u32) -> Result<Option<u16>, Kind> {
    Ok(Some(ssid as u16 ^ 0x5a5a))
}

#[test]
fn tables_of_descriptors() {
    const SSIDS: [u32; 9] = [1, 2, 63, 64, 65, 1023, 1024, 1025, 0xf_ffff];
    for format in [0, 1, 2, 3] {
        for log2_count in [1, 5, 6, 7, 10, 11, 16, 20] {
            for (entry, shift) in entries(format, log2_count, DefaultSubstream::Terminate) {
                let ram = Ram::new(0x8000_0000);
                map_second_stage(&ram);
                let inside = |ssid: u32| ssid >> log2_count == 0;
                for ssid in SSIDS.into_iter().chain([0]).filter(|ssid| inside(*ssid)) {
                    put(&ram, format, ssid, shift);
                }
                for ssid in SSIDS.into_iter().chain([0]) {
                    let expected = if inside(ssid) { used(ssid) } else { Err(Kind::BadSubstream) };
                    let found = find(entry, &ram, Some(ssid));
                    assert_eq!(found, expected, "format {format}, 2^{log2_count}, {ssid:#x}");
                }
            }
        }
    }
}

#[test]
fn first_level_entries() {
    for format in [1, 2] {
        let [(alone, _), (nested, _)] = entries(format, 12, DefaultSubstream::Substream0);
        let ram = Ram::new(0x8000_0000);
        map_second_stage(&ram);
        for shift in [0, SHIFT] {
            put(&ram, format, 0, shift);
            put(&ram, format, 1, shift);
        }
        let l1 = ram.get(TABLE);
        assert_eq!(find(alone, &ram, Some(1)), used(1));
        ram.set(TABLE, l1 & !1);
        ram.set(TABLE + SHIFT, l1 & !1);
        assert_eq!(find(alone, &ram, Some(1)), Err(Kind::BadSubstream), "it is not valid");
        assert_eq!(find(nested, &ram, None), Err(Kind::BadSubstream), "nor for the default");
        ram.set(TABLE, l1 | 1 << 50);
        assert_eq!(find(alone, &ram, Some(1)), Err(Kind::BadSubstream), "it is beyond OAS");
        ram.set(TABLE, l1 | ((64 << if format == 1 { 6 } else { 10 }) - 2));
        assert_eq!(find(alone, &ram, Some(1)), used(1), "bits below the table's size");
    }
}

/// Bits of the pointer below the size of its table do not count.
#[test]
fn tables_are_aligned() {
    for (format, bits) in [(0, 0x3_ffc0), (1, 0x1c0), (2, 0)] {
        let [(mut entry, _), _] = entries(format, 12, DefaultSubstream::Terminate);
        entry.0[0] |= bits;
        let ram = Ram::new(0x8000_0000);
        put(&ram, format, 0x841, 0);
        assert_eq!(find(entry, &ram, Some(0x841)), used(0x841), "format {format}");
    }
}

#[test]
fn requests_without_a_substream() {
    use DefaultSubstream::{Bypass, Substream0, Terminate};
    let bypass = Ok(None);
    let disabled = Err(Kind::StreamDisabled);
    #[rustfmt::skip] // one default, one line
    let cases = [
        // S1DSS, without, with 0, with 1
        (Terminate,  disabled, used(0),  used(1)),
        (Bypass,     bypass,   used(0),  used(1)),
        (Substream0, used(0),  disabled, used(1)),
    ];
    for format in [0, 1, 2] {
        for (default, without, zero, one) in cases {
            for (entry, shift) in entries(format, 4, default) {
                let ram = Ram::new(0x8000_0000);
                map_second_stage(&ram);
                put(&ram, format, 0, shift);
                put(&ram, format, 1, shift);
                let found = [None, Some(0), Some(1)].map(|pasid| find(entry, &ram, pasid));
                assert_eq!(found, [without, zero, one], "{default:?}, format {format}");
            }
        }
    }
    // the reserved value is as 0
    let [(mut entry, _), _] = entries(0, 4, Terminate);
    entry.0[1] |= 3;
    assert_eq!(find(entry, &Ram::new(0), None), disabled);
}

#[test]
fn no_substreams() {
    let ram = Ram::new(0x8000_0000);
    map_second_stage(&ram);
    put(&ram, 0, 0, 0);
    put(&ram, 0, 0, SHIFT);
    for (entry, _) in entries(0, 0, DefaultSubstream::Terminate) {
        assert_eq!(find(entry, &ram, None), used(0), "S1DSS is for substreams");
        assert_eq!(find(entry, &ram, Some(0)), Err(Kind::BadSubstream));
    }
    let stage2 = StreamEntry::stage2(second_stage(Granule::K4), false);
    for entry in [BYPASS, stage2] {
        assert_eq!(find(entry, &ram, None), Ok(None));
        assert_eq!(find(entry, &ram, Some(0)), Err(Kind::BadSubstream));
    }
    // without any in the SMMU, what the entry says of them is ignored
    let poor = Registers([RICH.0[0], 16, 0, RICH.0[3], 0, RICH.0[5]]);
    let [(entry, _), _] = entries(1, 9, DefaultSubstream::Terminate);
    let context = entry.context(poor, request(None, 0, Access::READ), &ram).unwrap();
    assert_eq!(Ok(context.asid()), used(0));
    let refused = entry.context(poor, request(Some(1), 0, Access::READ), &ram).unwrap_err();
    assert_eq!(refused.kind, Kind::BadSubstream);
}
