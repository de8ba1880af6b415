//! The API of 2020: sizes by version, and the four size cases of its document for each argument and layout.

use profile::y2020::revision::{Entry, REVISIONS, Row, data_size_in};
use profile::y2020::{Argument, BadArgument, Kind, NoSize, argument, check, data_size};
use uapi::Errno;
use uapi::y2020::cache::{IOMMU_INV_GRANU_ADDR, IOMMU_INV_GRANU_DOMAIN, IOMMU_INV_GRANU_PASID};
use uapi::y2020::{IOMMU_UAPI_CAP_MASK, IOMMU_UAPI_VERSION, Layout, NR_IOMMU_UAPI_TYPE};

/// The posted table.
#[test]
fn sizes_by_type_and_version() {
    let newer = |version| Err(NoSize::Newer { version, newest: 1 });
    #[rustfmt::skip] // one question, one line
    let cases = [
        // type, version, size
        (0,        1,        Ok(72)),
        (1,        1,        Ok(48)),
        (2,        1,        Ok(20)),
        (0,        0,        Err(NoSize::VersionZero)), // the original reads before its table
        (2,        0,        Err(NoSize::VersionZero)),
        (0,        2,        newer(2)),
        (2,        u32::MAX, newer(u32::MAX)),
        (3,        1,        Err(NoSize::Type { kind: 3, types: 3 })),
        (u32::MAX, 0,        Err(NoSize::Type { kind: u32::MAX, types: 3 })),
    ];
    for (kind, version, expected) in cases {
        assert_eq!(data_size(kind, version), expected, "type {kind}, version {version}");
    }
    assert_eq!(REVISIONS.len(), NR_IOMMU_UAPI_TYPE as usize);
    assert!(REVISIONS.iter().all(|row| row.versions.len() == IOMMU_UAPI_VERSION as usize));
    assert_eq!(IOMMU_UAPI_CAP_MASK.count_ones(), NR_IOMMU_UAPI_TYPE, "a bit for each row");
}

const VTD: Entry = Entry::Member { name: "vtd", end: 72 };
const SMMU_V3: Entry = Entry::Member { name: "smmu_v3", end: 88 };
const ADDR_INFO: Entry = Entry::Member { name: "addr_info", end: 48 };
const NEW_INFO: Entry = Entry::Member { name: "new_info", end: 32 };
const CODE: Entry = Entry::Member { name: "code", end: 20 };
const NEW: Entry = Entry::Member { name: "largest_member", end: 40 };

/// The example of the patch: V2 adds members to two unions, the second shorter than what is there.
const V2: &[Row] = &[
    Row { name: "BIND_GPASID", versions: &[VTD, SMMU_V3] },
    Row { name: "CACHE_INVAL", versions: &[ADDR_INFO, NEW_INFO] },
    Row { name: "PAGE_RESP", versions: &[CODE, Entry::Unchanged] },
];

/// And V3 a data type alone.
const V3: &[Row] = &[
    Row { name: "BIND_GPASID", versions: &[VTD, SMMU_V3, Entry::Unchanged] },
    Row { name: "CACHE_INVAL", versions: &[ADDR_INFO, NEW_INFO, Entry::Unchanged] },
    Row { name: "PAGE_RESP", versions: &[CODE, Entry::Unchanged, Entry::Unchanged] },
    Row { name: "NEW_TYPE", versions: &[Entry::Absent, Entry::Absent, NEW] },
];

#[test]
fn the_examples_of_later_versions() {
    let absent = |version| Err(NoSize::TypeNewer { name: "NEW_TYPE", version, since: 3 });
    #[rustfmt::skip] // one question, one line
    let cases = [
        // table, type, version, size
        (V2, 0, 1, Ok(72)),
        (V2, 0, 2, Ok(88)),
        (V2, 1, 1, Ok(48)),
        (V2, 1, 2, Ok(48)), // the longest member, not the newest
        (V2, 2, 2, Ok(20)),
        (V2, 0, 0, Err(NoSize::VersionZero)),
        (V2, 0, 3, Err(NoSize::Newer { version: 3, newest: 2 })),
        (V2, 3, 2, Err(NoSize::Type { kind: 3, types: 3 })),
        (V3, 0, 3, Ok(88)),
        (V3, 1, 3, Ok(48)),
        (V3, 2, 3, Ok(20)),
        (V3, 3, 1, absent(1)),
        (V3, 3, 2, absent(2)),
        (V3, 3, 3, Ok(40)),
        (V3, 3, 0, Err(NoSize::VersionZero)),
    ];
    for (table, kind, version, expected) in cases {
        let types = table.len();
        let found = data_size_in(table, kind, version);
        assert_eq!(found, expected, "{types} types, type {kind}, version {version}");
    }
}

/// What the argument is about, for its size.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Bind,
    Domain,
    Pasid,
    Addr,
    Response,
    Table,
}

use Layout::{Patches, V5_5, V5_10};
use What::{Addr, Bind, Domain, Pasid, Response, Table};

impl What {
    fn kind(self) -> Kind {
        match self {
            Bind => Kind::Bind,
            Domain | Pasid | Addr => Kind::Invalidate,
            Response => Kind::Response,
            Table => Kind::Table,
        }
    }

    /// The bytes of a right argument that says it has `told` bytes. Behind the struct, `tail` fills the memory.
    fn bytes(self, layout: Layout, told: u32, tail: u8) -> Vec<u8> {
        let mut bytes = vec![0; self.size(layout)];
        let head = match layout {
            V5_5 | Patches => 0,
            V5_10 => {
                bytes[..4].copy_from_slice(&told.to_ne_bytes());
                4
            }
        };
        bytes[head] = 1; // the version
        match self {
            Bind => bytes[head + 4] = 1, // the format
            Domain => bytes[head + 5] = IOMMU_INV_GRANU_DOMAIN,
            Pasid => bytes[head + 5] = IOMMU_INV_GRANU_PASID,
            Addr => bytes[head + 5] = IOMMU_INV_GRANU_ADDR,
            Response => {}
            Table => {
                bytes[if head == 0 { 4 } else { 16 }] = 1; // the format
                bytes[if head == 0 { 17 } else { 21 }] = 1; // translate
            }
        }
        if self.kind() == Kind::Invalidate {
            bytes[head + 4] = 1; // the IOTLB
        }
        bytes.resize(bytes.len() + 64, tail);
        bytes
    }

    fn size(self, layout: Layout) -> usize {
        let old = layout != V5_10;
        match self {
            Bind => 72,
            Domain | Pasid | Addr => {
                if old {
                    48
                } else {
                    56
                }
            }
            Response => {
                if old {
                    20
                } else {
                    24
                }
            }
            Table => 32,
        }
    }
}

/// Exact, an older program's, a newer program's with 0 and with garbage in the new part, and sizes that no
/// program of any age has. The error is what is needed.
#[test]
fn the_size_cases_for_each_argument_and_layout() {
    #[rustfmt::skip] // one size, one line
    let cases: &[(What, Layout, u32, Result<(), usize>)] = &[
        // what,   layout,  told,     accepted, or bytes needed
        (Bind,     V5_5,    72,       Ok(())),
        (Bind,     V5_5,    71,       Err(72)),
        (Bind,     V5_5,    56,       Err(72)), // there was no older program that worked
        (Bind,     V5_5,    0,        Err(72)),
        (Bind,     V5_5,    80,       Ok(())),
        (Bind,     V5_5,    u32::MAX, Ok(())),
        (Bind,     Patches, 72,       Ok(())),
        (Bind,     Patches, 71,       Err(72)),
        (Bind,     Patches, 3,        Err(4)),  // not even the version
        (Bind,     Patches, 80,       Ok(())),
        (Bind,     Patches, u32::MAX, Ok(())),
        (Bind,     V5_10,   72,       Ok(())),
        (Bind,     V5_10,   71,       Ok(())),  // the vendor part is the driver's, below
        (Bind,     V5_10,   56,       Ok(())),
        (Bind,     V5_10,   55,       Err(56)),
        (Bind,     V5_10,   0,        Err(56)),
        (Bind,     V5_10,   80,       Ok(())),
        (Bind,     V5_10,   u32::MAX, Ok(())),
        (Domain,   V5_5,    48,       Ok(())),
        (Domain,   V5_5,    8,        Err(48)),
        (Domain,   V5_5,    64,       Ok(())),
        (Domain,   Patches, 48,       Ok(())),
        (Domain,   Patches, 8,        Err(48)),
        (Domain,   Patches, 64,       Ok(())),
        (Domain,   V5_10,   56,       Ok(())),
        (Domain,   V5_10,   16,       Ok(())),  // needs no member
        (Domain,   V5_10,   15,       Err(16)),
        (Domain,   V5_10,   64,       Ok(())),
        (Domain,   V5_10,   u32::MAX, Ok(())),
        (Pasid,    V5_5,    48,       Ok(())),
        (Pasid,    V5_5,    24,       Err(48)),
        (Pasid,    V5_5,    64,       Ok(())),
        (Pasid,    Patches, 48,       Ok(())),
        (Pasid,    Patches, 24,       Err(48)),
        (Pasid,    Patches, 64,       Ok(())),
        (Pasid,    V5_10,   56,       Ok(())),
        (Pasid,    V5_10,   32,       Ok(())),
        (Pasid,    V5_10,   31,       Err(32)),
        (Pasid,    V5_10,   15,       Err(16)),
        (Pasid,    V5_10,   64,       Ok(())),
        (Addr,     V5_5,    48,       Ok(())),
        (Addr,     V5_5,    47,       Err(48)),
        (Addr,     V5_5,    64,       Ok(())),
        (Addr,     Patches, 48,       Ok(())),
        (Addr,     Patches, 47,       Err(48)),
        (Addr,     Patches, 64,       Ok(())),
        (Addr,     V5_10,   56,       Ok(())),
        (Addr,     V5_10,   55,       Err(56)),
        (Addr,     V5_10,   32,       Err(56)),
        (Addr,     V5_10,   15,       Err(16)),
        (Addr,     V5_10,   64,       Ok(())),
        (Response, V5_5,    20,       Ok(())),
        (Response, V5_5,    19,       Err(20)),
        (Response, V5_5,    28,       Ok(())),
        (Response, Patches, 20,       Ok(())),
        (Response, Patches, 19,       Err(20)),
        (Response, Patches, 3,        Err(4)),
        (Response, Patches, 28,       Ok(())),
        (Response, V5_10,   24,       Ok(())),
        (Response, V5_10,   23,       Err(24)),
        (Response, V5_10,   0,        Err(24)),
        (Response, V5_10,   32,       Ok(())),
        (Table,    V5_5,    32,       Ok(())),
        (Table,    V5_5,    31,       Err(32)),
        (Table,    V5_5,    40,       Ok(())),
        (Table,    Patches, 32,       Ok(())),
        (Table,    Patches, 31,       Err(32)),
        (Table,    Patches, 40,       Ok(())),
        (Table,    V5_10,   32,       Ok(())),
        (Table,    V5_10,   31,       Err(32)), // SMMUv3 needs its part
        (Table,    V5_10,   23,       Err(24)),
        (Table,    V5_10,   40,       Ok(())),
    ];
    for &(what, layout, told, expected) in cases {
        for tail in [0, 0xff] {
            let bytes = what.bytes(layout, told, tail);
            let found = match check(what.kind(), layout, told, &bytes) {
                Ok(_) => Ok(()),
                Err(bad @ BadArgument::TooShort { need, .. }) if bad.errno() == Errno::EINVAL => {
                    Err(need)
                }
                Err(bad) => panic!("{what:?} {layout} {told}: {bad}"),
            };
            assert_eq!(found, expected, "{what:?} {layout} {told}, then {tail:#x}");
        }
    }
    for layout in Layout::ALL {
        for what in [Bind, Domain, Pasid, Addr, Response, Table] {
            let said = |size: &dyn Fn(u32) -> bool| {
                cases.iter().any(|case| (case.0, case.1) == (what, *layout) && size(case.2))
            };
            let exact = what.size(*layout) as u32;
            assert!(said(&|told| told == exact), "{what:?} {layout}: exact");
            assert!(said(&|told| told < exact), "{what:?} {layout}: older");
            assert!(said(&|told| told > exact), "{what:?} {layout}: newer, garbage");
        }
    }
}

/// The claim may be larger than the memory behind it.
#[test]
fn memory_that_ends_too_soon() {
    #[rustfmt::skip] // one end, one line
    let cases = [
        // what,   layout,  told, readable, bytes needed, if too many
        (Bind,     V5_5,    72,   72,       None),
        (Bind,     V5_5,    80,   72,       None), // the rest is not read
        (Bind,     V5_5,    72,   71,       Some(72)),
        (Bind,     Patches, 72,   3,        Some(4)),
        (Bind,     Patches, 72,   71,       Some(72)),
        (Bind,     V5_10,   72,   72,       None),
        (Bind,     V5_10,   80,   72,       None),
        (Bind,     V5_10,   56,   56,       None),
        (Bind,     V5_10,   55,   55,       Some(56)), // comes before the size
        (Bind,     V5_10,   72,   71,       Some(72)),
        (Bind,     V5_10,   u32::MAX, 71,   Some(72)),
        (Domain,   V5_10,   16,   16,       None),
        (Domain,   V5_10,   56,   16,       Some(56)), // all that it says, though it needs less
        (Addr,     V5_10,   56,   15,       Some(16)),
        (Response, V5_5,    20,   19,       Some(20)),
        (Response, V5_10,   24,   23,       Some(24)),
        (Table,    V5_10,   32,   23,       Some(24)),
        (Table,    V5_10,   32,   31,       Some(32)),
        (Table,    V5_5,    32,   0,        Some(32)),
    ];
    for (what, layout, told, readable, expected) in cases {
        let bytes = &what.bytes(layout, told, 0)[..readable];
        let found = match check(what.kind(), layout, told, bytes) {
            Ok(_) => None,
            Err(bad @ BadArgument::Unreadable { need, have }) => {
                assert_eq!((bad.errno(), have), (Errno::EFAULT, readable));
                Some(need)
            }
            Err(bad) => panic!("{what:?} {layout} {told}: {bad}"),
        };
        assert_eq!(found, expected, "{what:?} {layout} {told}, {readable} readable");
    }
}

/// What an older program did not give is 0, and what a newer one gave too much is gone.
#[test]
fn an_argument_is_as_long_as_it_says() {
    let mut bytes = Bind.bytes(V5_10, 64, 0xff);
    bytes[56..72].fill(0xaa);
    let Ok(Argument::Bind(bind)) = check(Kind::Bind, V5_10, 0, &bytes) else { panic!() };
    assert_eq!((bind.vendor.flags, bind.vendor.pat), (0xaaaa_aaaa_aaaa_aaaa, 0), "cut at 64");

    let mut bytes = Addr.bytes(V5_5, 48, 0xff);
    bytes[40..48].copy_from_slice(&7_u64.to_ne_bytes());
    let Ok(Argument::Invalidate(info)) = check(Kind::Invalidate, V5_5, 48, &bytes) else {
        panic!()
    };
    assert_eq!((info.argsz, info.addr_info().map(|addr| addr.nb_granules)), (56, Some(7)));
}

/// Only SMMUv3's format needs SMMUv3's part.
#[test]
fn a_table_of_another_format_needs_no_part() {
    let mut bytes = Table.bytes(V5_10, 24, 0xff);
    bytes[16] = 2;
    let Ok(Argument::Table(table)) = check(Kind::Table, V5_10, 0, &bytes) else { panic!() };
    assert_eq!((table.format, table.vendor_data.version), (2, 0), "cut at 24");
}

#[test]
fn sizes_that_are_too_small_are_told() {
    #[rustfmt::skip] // one size, one line
    let cases = [
        (Bind,     V5_5,    71, "the size is 71 bytes, and the struct needs 72"),
        (Bind,     Patches, 3,  "the size is 3 bytes, and the version needs 4"),
        (Bind,     Patches, 71, "the size is 71 bytes, and its version needs 72"),
        (Bind,     V5_10,   55, "the size is 55 bytes, and what comes before `vendor` needs 56"),
        (Domain,   V5_10,   15, "the size is 15 bytes, and what comes before `granu` needs 16"),
        (Pasid,    V5_10,   31, "the size is 31 bytes, and granularity PASID needs 32"),
        (Addr,     V5_10,   55, "the size is 55 bytes, and granularity ADDR needs 56"),
        (Response, V5_10,   23, "the size is 23 bytes, and a page response needs 24"),
        (Table,    V5_10,   31, "the size is 31 bytes, and the format of SMMUv3 needs 32"),
    ];
    for (what, layout, told, expected) in cases {
        let bytes = what.bytes(layout, told, 0);
        let bad = check(what.kind(), layout, told, &bytes).expect_err(expected);
        assert_eq!(bad.to_string(), expected);
    }
    let bytes = &Bind.bytes(V5_5, 72, 0)[..9];
    assert_eq!(
        check(Kind::Bind, V5_5, 72, bytes).unwrap_err().to_string(),
        "72 bytes are needed, and 9 of the program's memory can be read"
    );
}

/// The driver of VT-d needs its part, and unbind does not.
#[test]
fn the_part_for_vtd() {
    type Edit = fn(&mut [u8]);
    #[rustfmt::skip] // one argument, one line
    let cases: &[(Layout, u32, Edit, Result<(), &str>)] = &[
        (V5_10, 72, |_| (),       Ok(())),
        (V5_10, 80, |_| (),       Ok(())),
        (V5_10, 71, |_| (),       Err("the size is 71 bytes, and the format of VT-d needs 72")),
        (V5_10, 56, |_| (),       Err("the size is 56 bytes, and the format of VT-d needs 72")),
        (V5_10, 72, |b| b[8] = 0, Err("`format` is 0; 1 to 1 are known")),
        (V5_10, 72, |b| b[56] = 0x3f, Ok(())),
        (V5_10, 72, |b| b[56] = 0x40, Err("`vendor.vtd.flags` is 0x40, of which only 0x3f is known; leave the other bits 0")),
        (V5_5,  72, |b| b[56] = 0x40, Ok(())), // not looked at yet
        (V5_5,  72, |b| b[4] = 2, Err("`format` is 2; 1 to 1 are known")),
    ];
    for (layout, told, edit, expected) in cases {
        let mut bytes = Bind.bytes(*layout, *told, 0);
        edit(&mut bytes);
        let Ok(Argument::Bind(bind)) = check(Kind::Bind, *layout, *told, &bytes) else { panic!() };
        let found = argument::vtd(*layout, &bind).map(drop).map_err(|bad| bad.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{layout} {told}");
    }
}

/// One thing is wrong, and in 5.10's order the first of two.
#[test]
fn contents_that_are_refused() {
    type Edit = fn(&mut [u8]);
    const NO: Option<&str> = None;
    const BITS: &str = "of which only";
    #[rustfmt::skip] // one mistake, one line
    let cases: &[(What, Layout, Edit, Option<&str>)] = &[
        (Bind,     V5_5,    |b| b[0] = 2,              Some("`version` is 2; the only one is 1")),
        (Bind,     Patches, |b| b[0] = 2,              Some("`version` is 2; this kernel knows up to 1, so build the struct of that one")),
        (Bind,     Patches, |b| b[0] = 0,              Some("`version` is 0; the first is 1")),
        (Bind,     V5_10,   |b| b[4] = 0,              Some("`version` is 0; the only one is 1")),
        (Bind,     V5_10,   |b| b[8] = 0,              NO), // the driver's
        (Bind,     V5_10,   |b| b[8] = 2,              Some("`format` is 2; 0 to 1 are known")),
        (Bind,     V5_10,   |b| b[16] = 2,             Some("`flags` is 0x2, of which only 0x1 is known; leave the other bits 0")),
        (Bind,     V5_10,   |b| b[23] = 0x80,          Some("`flags` is 0x8000000000000000, of which only 0x1 is known; leave the other bits 0")),
        (Bind,     V5_10,   |b| b[55] = 1,             Some("`padding` is not 0 in its byte 7; it must be 0, so that it can get a meaning later")),
        (Bind,     V5_10,   |b| { b[4] = 9; b[8] = 9 },   Some("`version` is 9")),
        (Bind,     V5_10,   |b| { b[8] = 9; b[16] = 9 },  Some("`format` is 9")),
        (Bind,     V5_10,   |b| { b[16] = 9; b[48] = 9 }, Some("`flags` is 0x9")),
        (Bind,     V5_5,    |b| { b[8] = 2; b[44] = 1 },  NO), // flags and padding were not looked at
        (Domain,   V5_5,    |b| b[0] = 2,              Some("`version` is 2; the only one is 1")),
        (Domain,   V5_5,    |b| { b[4] = 9; b[6] = 1 }, NO),
        (Domain,   V5_5,    |b| b[5] = 3,              Some("`granularity` is 3; 0 to 2 are known")),
        (Domain,   V5_5,    |b| b[4] = 2,              Some("cache 0x2 has no invalidation of granularity 0")),
        (Domain,   V5_10,   |b| b[4] = 2,              Some("`version` is 2; the only one is 1")),
        (Domain,   V5_10,   |b| b[8] = 9,              Some("`cache` is 0x9, of which only 0x7 is known; leave the other bits 0")),
        (Domain,   V5_10,   |b| b[9] = 3,              Some("`granularity` is 3; 0 to 2 are known")),
        (Domain,   V5_10,   |b| b[8] = 3,              Some("cache 0x2 has no invalidation of granularity 0")),
        (Domain,   V5_10,   |b| b[8] = 5,              NO),
        (Domain,   V5_10,   |b| b[8] = 0,              NO),
        (Domain,   V5_10,   |b| b[16] = 0xff,          NO), // no member is looked at
        (Domain,   V5_10,   |b| b[15] = 1,             Some("`padding` is not 0 in its byte 5")),
        (Pasid,    V5_10,   |b| b[8] = 7,              NO),
        (Pasid,    V5_10,   |b| b[16] = 3,             NO),
        (Pasid,    V5_10,   |b| b[16] = 4,             Some("`granu.pasid_info.flags` is 0x4, of which only 0x3 is known; leave the other bits 0")),
        (Pasid,    V5_5,    |b| b[8] = 4,              NO),
        (Addr,     V5_10,   |b| b[8] = 3,              NO),
        (Addr,     V5_10,   |b| b[8] = 4,              Some("cache 0x4 has no invalidation of granularity 2")),
        (Addr,     Patches, |b| b[4] = 4,              Some("cache 0x4 has no invalidation of granularity 2")),
        (Addr,     V5_10,   |b| b[16] = 7,             NO),
        (Addr,     V5_10,   |b| b[16] = 8,             Some("`granu.addr_info.flags` is 0x8, of which only 0x7 is known; leave the other bits 0")),
        (Addr,     V5_10,   |b| { b[8] = 8; b[9] = 3 },  Some("`cache` is 0x8")),
        (Addr,     V5_10,   |b| { b[8] = 4; b[16] = 8 }, Some("cache 0x4")),
        (Addr,     V5_10,   |b| { b[10] = 1; b[16] = 8 }, Some("`granu.addr_info.flags`")),
        (Response, V5_5,    |b| b[0] = 0,              Some("`version` is 0; the only one is 1")),
        (Response, V5_5,    |b| b[4] = 2,              Some("`flags` is 0x2, of which only 0x1 is known; leave the other bits 0")),
        (Response, V5_10,   |b| b[4] = 2,              Some("`version` is 2; the only one is 1")),
        (Response, V5_10,   |b| b[8] = 2,              Some(BITS)),
        (Response, V5_10,   |b| b[8] = 1,              NO),
        (Response, V5_10,   |b| b[20] = 9,             NO), // the driver's
        (Table,    V5_5,    |b| b[17] = 0,             Some("`config` is 0; 1 to 3 are known")),
        (Table,    V5_5,    |b| b[0] = 2,              Some("`version` is 2; the only one is 1")),
        (Table,    V5_10,   |b| b[21] = 4,             Some("`config` is 4; 1 to 3 are known")),
        (Table,    V5_10,   |b| b[21] = 3,             NO),
        (Table,    V5_10,   |b| b[4] = 0,              Some("`version` is 0; the only one is 1")),
        (Table,    V5_10,   |b| b[22] = 1,             NO),
    ];
    for (what, layout, edit, expected) in cases {
        let told = what.size(*layout) as u32;
        let mut bytes = what.bytes(*layout, told, 0);
        edit(&mut bytes);
        let found = check(what.kind(), *layout, told, &bytes);
        let text = found.map_err(|bad| (bad.errno(), bad.to_string()));
        match (text, expected) {
            (Ok(_), None) => {}
            (Err((Errno::EINVAL, text)), Some(expected)) => {
                assert!(text.contains(expected), "{what:?} {layout}: {text}, expected {expected}");
            }
            (found, expected) => panic!("{what:?} {layout}: {found:?}, expected {expected:?}"),
        }
    }
}

/// No bytes make it panic, and no length is trusted.
#[test]
fn garbage_is_refused_or_taken_but_never_more() {
    let mut seed = 0x2020_u64;
    let mut random = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as u32
    };
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..random() % 100).map(|_| random() as u8 & random() as u8).collect();
        let told = random() >> (random() % 31);
        for layout in Layout::ALL {
            for kind in [Kind::Bind, Kind::Invalidate, Kind::Response, Kind::Table] {
                let taken = check(kind, *layout, told, &bytes);
                if let Err(bad) = taken {
                    assert!(matches!(bad.errno(), Errno::EINVAL | Errno::EFAULT), "{bad}");
                }
            }
        }
    }
}
