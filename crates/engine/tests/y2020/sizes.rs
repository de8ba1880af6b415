//! `VFIO_IOMMU_NESTING_OP`: its header, and how long its data are, in both layouts.
//!
//! The document of 2020 (`Documentation/userspace-api/iommu.rst`) has four cases: the sizes are equal; the
//! program is older and its struct shorter; it is newer, and what the kernel does not know is 0; or is not. In
//! 5.10 the data tell their own size, in the patches their version has one, and the header how much there is.

use mem::AddressSpace;
use uapi::y2020::Layout;
use uapi::y2020::transport::*;
use zerocopy::IntoBytes;

use super::bench::*;

const BIND: u32 = VFIO_IOMMU_NESTING_OP_BIND_PGTBL;
const UNBIND: u32 = VFIO_IOMMU_NESTING_OP_UNBIND_PGTBL;
const INVALIDATE: u32 = VFIO_IOMMU_NESTING_OP_CACHE_INVLD;

/// Puts bytes where memory ends, and makes the call.
fn call_at_edge(it: &mut Bench, bytes: &[u8]) -> Answer {
    let at = EDGE + PAGE - bytes.len() as u64;
    it.client.memory.write(at, bytes).unwrap();
    it.call(it.container, VFIO_IOMMU_NESTING_OP, at).map(drop)
}

#[test]
fn headers() {
    const PLAIN: u64 = 3;
    type Row = (&'static str, u64, usize, [u32; 2], Answer);
    #[rustfmt::skip] // one call, one line
    let rows: &[Row] = &[
        // what,                    type,    bytes, argsz, flags,         answer
        ("not all there",           PLAIN,   7,     [7, 9],               EFAULT),
        ("too short",               PLAIN,   8,     [7, 9],               INVAL),
        ("no size",                 NESTING, 8,     [0, INVALIDATE],      INVAL),
        ("unknown flags",           PLAIN,   8,     [8, 1 << 16 | BIND],  INVAL),
        ("no such operation",       PLAIN,   8,     [8, 3],               INVAL),
        ("nor the last",            PLAIN,   8,     [8, 0xffff],          INVAL),
        ("not nesting, bind",       PLAIN,   8,     [8, BIND],            OPNOTSUPP),
        ("not nesting, unbind",     PLAIN,   8,     [8, UNBIND],          OPNOTSUPP),
        ("not nesting, invalidate", PLAIN,   8,     [8, INVALIDATE],      OPNOTSUPP),
    ];
    for (kernel, _) in KERNELS {
        for (what, kind, bytes, words, expected) in rows {
            let mut it = Bench::of_type(&engine(&lone(), kernel), GROUP, *kind);
            let answer = call_at_edge(&mut it, &words.as_bytes()[..*bytes]);
            assert_eq!(answer, *expected, "{kernel}: {what}");
        }
    }
}

/// The unit has no PASIDs, so there is no table that could be bound; caches can be invalidated.
#[test]
fn features() {
    let mut machine = lone();
    if let profile::machine::Hardware::IntelVtd(unit) = &mut machine.iommus[0].hardware {
        unit.ecap &= !(1 << 40);
    }
    for (kernel, layout) in KERNELS {
        let mut it = Bench::on(&engine(&machine, kernel), GROUP);
        assert_eq!(it.alloc(1, 1).map(drop), OPNOTSUPP);
        for operation in [BIND, UNBIND] {
            assert_eq!(call_at_edge(&mut it, [8, operation].as_bytes()), OPNOTSUPP, "{kernel}");
        }
        let data = invalidate_bytes(layout, &of_domain(1));
        assert_eq!(it.operate(INVALIDATE, &data), OK, "{kernel}");
    }
}

/// What the data are.
#[derive(Clone, Copy, Debug)]
enum Data {
    Bind,
    Unbind,
    Domain,
    Pasid,
    Addr,
}

impl Data {
    fn operation(self) -> u32 {
        match self {
            Data::Bind => BIND,
            Data::Unbind => UNBIND,
            Data::Domain | Data::Pasid | Data::Addr => INVALIDATE,
        }
    }

    fn bytes(self, it: &mut Bench) -> Vec<u8> {
        const IOTLB: u8 = 1;
        let (bound, free) = (1, 2);
        let invalidation = match self {
            Data::Bind => return bind_bytes(it.layout, &bind_data(free, it.table())),
            Data::Unbind => return bind_bytes(it.layout, &bind_data(bound, it.table())),
            Data::Domain => of_domain(IOTLB),
            Data::Pasid => of_pasid(IOTLB, bound),
            Data::Addr => of_pages(IOTLB, bound, VA, 1),
        };
        invalidate_bytes(it.layout, &invalidation)
    }
}

/// So many bytes are said to be there, and so many are, the last of them `tail` where the kernel knows none.
fn four_cases(kernel: &str, rows: &[(&str, Data, u32, usize, u8, Answer)]) {
    for (what, data, told, there, tail, expected) in rows {
        let mut it = Bench::on(&engine(&lone(), kernel), GROUP);
        it.process(1);
        it.pasid(2);
        let mut bytes = data.bytes(&mut it);
        if it.layout == Layout::V5_10 {
            bytes[..4].copy_from_slice(&told.to_ne_bytes());
        }
        bytes.resize(*there, *tail);
        let argsz = told.saturating_add(8);
        let bytes = [[argsz, data.operation()].as_bytes(), &bytes].concat();
        let answer = call_at_edge(&mut it, &bytes);
        assert_eq!(answer, *expected, "{kernel}: {data:?}, {what}");
    }
}

#[test]
fn sizes_of_5_10() {
    use Data::*;
    #[rustfmt::skip] // one size, one line
    let rows: &[(&str, Data, u32, usize, u8, Answer)] = &[
        // what,                      data,   told,     there, tail, answer
        ("exact",                     Bind,   72,       72,    0,    OK),
        ("older: without vendor",     Bind,   56,       72,    0,    INVAL),
        ("... part of it",            Bind,   71,       72,    0,    INVAL),
        ("... less",                  Bind,   55,       72,    0,    INVAL),
        ("... nothing",               Bind,   0,        72,    0,    INVAL),
        ("newer, 0",                  Bind,   80,       80,    0,    OK),
        ("newer, garbage",            Bind,   80,       80,    0xff, OK),
        ("newest",                    Bind,   u32::MAX, 72,    0,    OK),
        ("memory ends",               Bind,   72,       71,    0,    EFAULT),
        ("... behind what is known",  Bind,   80,       72,    0,    OK),
        ("... before the size counts", Bind,  55,       55,    0,    EFAULT),
        ("... where vendor begins",   Bind,   56,       56,    0,    INVAL),
        ("exact",                     Unbind, 72,       72,    0,    OK),
        ("older: without vendor",     Unbind, 56,       56,    0,    OK),
        ("... part of it",            Unbind, 71,       71,    0,    OK),
        ("... less",                  Unbind, 55,       72,    0,    INVAL),
        ("newer, garbage",            Unbind, 80,       80,    0xff, OK),
        ("memory ends",               Unbind, 72,       71,    0,    EFAULT),
        ("... before the size counts", Unbind, 0,       55,    0,    EFAULT),
        ("exact",                     Domain, 56,       56,    0,    OK),
        ("older: without granu",      Domain, 16,       16,    0,    OK),
        ("... less",                  Domain, 15,       16,    0,    INVAL),
        ("memory ends",               Domain, 17,       16,    0,    EFAULT),
        ("exact",                     Pasid,  56,       56,    0,    OK),
        ("older: its own member",     Pasid,  32,       32,    0,    OK),
        ("... less",                  Pasid,  31,       56,    0,    INVAL),
        ("memory ends",               Pasid,  32,       31,    0,    EFAULT),
        ("... before the size counts", Pasid, 31,       15,    0,    EFAULT),
        ("... after it",              Pasid,  31,       16,    0,    INVAL),
        ("exact",                     Addr,   56,       56,    0,    OK),
        ("older",                     Addr,   55,       56,    0,    INVAL),
        ("... without granu",         Addr,   16,       56,    0,    INVAL),
        ("newer, 0",                  Addr,   64,       64,    0,    OK),
        ("newer, garbage",            Addr,   64,       64,    0xff, OK),
        ("newest",                    Addr,   u32::MAX, 56,    0,    OK),
        ("memory ends",               Addr,   56,       55,    0,    EFAULT),
    ];
    four_cases("2020", rows);
}

#[test]
fn sizes_of_the_patches() {
    use Data::*;
    #[rustfmt::skip] // one size, one line
    let rows: &[(&str, Data, u32, usize, u8, Answer)] = &[
        // what,             data,   told,         there, tail, answer
        ("exact",            Bind,   72,           72,    0,    OK),
        ("older",            Bind,   71,           72,    0,    INVAL),
        ("... nothing",      Bind,   0,            72,    0,    INVAL),
        ("newer, 0",         Bind,   80,           80,    0,    OK),
        ("newer, garbage",   Bind,   80,           80,    0xff, OK),
        ("newest",           Bind,   u32::MAX - 8, 72,    0,    OK),
        ("memory ends",      Bind,   72,           71,    0,    EFAULT),
        ("... at once",      Bind,   72,           3,     0,    EFAULT),
        ("exact",            Unbind, 72,           72,    0,    OK),
        ("older",            Unbind, 56,           72,    0,    INVAL),
        ("newer, garbage",   Unbind, 80,           80,    0xff, OK),
        ("memory ends",      Unbind, 72,           71,    0,    EFAULT),
        ("exact",            Domain, 48,           48,    0,    OK),
        ("older",            Domain, 16,           48,    0,    INVAL),
        ("memory ends",      Domain, 48,           47,    0,    EFAULT),
        ("exact",            Pasid,  48,           48,    0,    OK),
        ("older",            Pasid,  24,           48,    0,    INVAL),
        ("exact",            Addr,   48,           48,    0,    OK),
        ("older",            Addr,   47,           48,    0,    INVAL),
        ("newer, 0",         Addr,   56,           56,    0,    OK),
        ("newer, garbage",   Addr,   56,           56,    0xff, OK),
        ("memory ends",      Addr,   48,           47,    0,    EFAULT),
    ];
    four_cases("2020-patches", rows);
}

/// What the data say, but for what a driver looks at.
#[test]
fn contents() {
    type Row = (&'static str, Data, usize, usize, u8, [Answer; 2]);
    #[rustfmt::skip] // one byte, one line; the answers are 5.10's and the patches'
    let rows: &[Row] = &[
        // what,                     data,         at in 5.10, in the patches, byte, answers
        ("version 0",                Data::Bind,   4,  0,  0, [INVAL, INVAL]),
        ("version 2",                Data::Bind,   4,  0,  2, [INVAL, INVAL]),
        ("unknown flag",             Data::Bind,   16, 8,  2, [INVAL, OK]),
        ("padding",                  Data::Bind,   55, 52, 1, [INVAL, OK]),
        ("unknown format",           Data::Unbind, 8,  4,  2, [INVAL, OK]),
        ("no format",                Data::Unbind, 8,  4,  0, [OK, OK]),
        ("version 0",                Data::Unbind, 4,  0,  0, [INVAL, INVAL]),
        ("padding",                  Data::Unbind, 48, 44, 1, [INVAL, OK]),
        ("version 0",                Data::Addr,   4,  0,  0, [INVAL, INVAL]),
        ("version 2",                Data::Domain, 4,  0,  2, [INVAL, INVAL]),
        ("unknown cache",            Data::Addr,   8,  4,  9, [INVAL, OK]),
        ("no cache",                 Data::Addr,   8,  4,  0, [OK, OK]),
        ("unknown granularity",      Data::Domain, 9,  5,  3, [INVAL, INVAL]),
        ("the last granularity",     Data::Domain, 9,  5,  255, [INVAL, INVAL]),
        ("unknown flag of addresses", Data::Addr,  16, 8,  9, [INVAL, OK]),
        ("unknown flag of a PASID",  Data::Pasid,  16, 8,  5, [INVAL, OK]),
        ("padding",                  Data::Pasid,  15, 7,  1, [INVAL, OK]),
    ];
    for (at, (kernel, layout)) in KERNELS.into_iter().enumerate() {
        for (what, data, new, old, byte, expected) in rows {
            let mut it = Bench::on(&engine(&lone(), kernel), GROUP);
            it.process(1);
            it.pasid(2);
            let mut bytes = data.bytes(&mut it);
            bytes[if layout == Layout::V5_10 { *new } else { *old }] = *byte;
            let answer = it.operate(data.operation(), &bytes);
            assert_eq!(answer, expected[at], "{kernel}: {data:?}, {what}");
        }
    }
}
