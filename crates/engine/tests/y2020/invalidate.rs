//! What each invalidation lets be forgotten: of two pages of a PASID, and one of another.

use engine::Dma;
use pt::{Rights, Root, TableMemory, TableStore};
use uapi::y2020::cache::*;
use uapi::y2020::v5_10::iommu_cache_invalidate_info;

use super::bench::*;

const IOTLB: u8 = IOMMU_CACHE_INV_TYPE_IOTLB;
const DEV: u8 = IOMMU_CACHE_INV_TYPE_DEV_IOTLB;
const CONTEXTS: u8 = IOMMU_CACHE_INV_TYPE_PASID;
const BOTH: u8 = IOTLB | DEV;

/// The PASID that is named, and the other.
const P: u32 = 1;
const Q: u32 = 2;
/// One that is taken and not bound, and one of another process.
const TAKEN: u32 = 3;
const OTHERS: u32 = 4;

/// What is translated: two pages of P, of which the second is 16 pages away, and one of Q.
const PLACES: [(u32, u64); 3] = [(P, VA), (P, VA + 16 * PAGE), (Q, VA)];

/// Whether each place is still in the IOTLB, and in the device.
type Kept = ([bool; 3], [bool; 3]);

const ALL: Kept = ([true; 3], [true; 3]);
const NOTHING: Kept = ([false; 3], [false; 3]);
/// Everything but the first place, but P, or but all places is kept.
const BUT_PAGE: Kept = ([false, true, true], [false, true, true]);
const BUT_P: Kept = ([false, false, true], [false, false, true]);

/// A program whose device has translated all places, which then changed.
struct Stale {
    it: Bench,
    other: Bench,
    dma: Dma,
}

impl Stale {
    fn new(kernel: &str) -> Self {
        let engine = engine(&machine(), kernel);
        let (mut it, mut other) = (Bench::on(&engine, GROUP), Bench::on(&engine, OTHER));
        let roots = [P, Q].map(|pasid| it.process(pasid));
        it.enter(roots[0], PLACES[1].1, DATA[0]);
        it.pasid(TAKEN);
        other.pasid(OTHERS);
        let dma = it.dma(0);
        for (pasid, va) in PLACES {
            assert_eq!(read(&dma, Some(pasid), va), Ok(1));
            let granted =
                dma.burst(Some(pasid), |burst| burst.request_translation(va, Rights::READ));
            assert_eq!(granted, Ok(Rights::READ));
        }
        let root = |pasid: u32| -> Root { roots[pasid as usize - 1] };
        for (pasid, va) in PLACES {
            it.replace(root(pasid), va, DATA[1]);
        }
        Self { it, other, dma }
    }

    fn kept(&self) -> Kept {
        let of_device = PLACES.map(|(pasid, va)| {
            let mut bytes = [0; 8];
            let reached =
                self.dma.burst(Some(pasid), |burst| burst.read_translated(va, &mut bytes));
            assert!(bytes[0] <= 1, "what a device keeps is what was there");
            reached.unwrap()
        });
        let of_unit = PLACES.map(|(pasid, va)| read(&self.dma, Some(pasid), va).unwrap() == 1);
        (of_unit, of_device)
    }
}

fn run(rows: &[(&str, iommu_cache_invalidate_info, Answer, Kept)]) {
    for (kernel, _) in KERNELS {
        for (what, info, expected, kept) in rows {
            let mut stale = Stale::new(kernel);
            let answer = stale.it.invalidate(info);
            assert_eq!((answer, stale.kept()), (*expected, *kept), "{kernel}: {what}");
            drop(stale.other);
        }
    }
}

/// Every cache with every granularity. Where ATS is on, what the IOTLB forgets the device forgets, too.
#[test]
fn combinations() {
    type Row = (u8, u8, Answer, Kept);
    const ONLY_DEV_P: Kept = ([true; 3], [false, false, true]);
    const ONLY_DEV_PAGE: Kept = ([true; 3], [false, true, true]);
    #[rustfmt::skip] // one combination, one line
    let rows: &[Row] = &[
        (IOTLB,    IOMMU_INV_GRANU_DOMAIN, OK,    NOTHING),
        (IOTLB,    IOMMU_INV_GRANU_PASID,  OK,    BUT_P),
        (IOTLB,    IOMMU_INV_GRANU_ADDR,   OK,    BUT_PAGE),
        (DEV,      IOMMU_INV_GRANU_DOMAIN, INVAL, ALL),
        (DEV,      IOMMU_INV_GRANU_PASID,  OK,    ONLY_DEV_P),
        (DEV,      IOMMU_INV_GRANU_ADDR,   OK,    ONLY_DEV_PAGE),
        // what is known of a PASID itself is always up to date
        (CONTEXTS, IOMMU_INV_GRANU_DOMAIN, OK,    ALL),
        (CONTEXTS, IOMMU_INV_GRANU_PASID,  OK,    ALL),
        (CONTEXTS, IOMMU_INV_GRANU_ADDR,   INVAL, ALL),
    ];
    let told: Vec<_> =
        rows.iter().map(|(cache, by, answer, _)| (*cache, *by, *answer == OK)).collect();
    assert_eq!(told, COMBINATIONS);
    let rows: Vec<_> = rows
        .iter()
        .map(|(cache, granularity, expected, kept)| {
            let info = match *granularity {
                IOMMU_INV_GRANU_DOMAIN => of_domain(*cache),
                IOMMU_INV_GRANU_PASID => of_pasid(*cache, P),
                _ => of_pages(*cache, P, VA, 1),
            };
            ("a combination", info, *expected, *kept)
        })
        .collect();
    run(&rows);
    #[rustfmt::skip] // several caches, one line
    let rows: &[(&str, iommu_cache_invalidate_info, Answer, Kept)] = &[
        ("both of a page",            of_pages(BOTH, P, VA, 1),      OK,    BUT_PAGE),
        ("both of a PASID",           of_pasid(BOTH, P),             OK,    BUT_P),
        ("all three of a PASID",      of_pasid(BOTH | CONTEXTS, P),  OK,    BUT_P),
        ("two of all",                of_domain(IOTLB | CONTEXTS),   OK,    NOTHING),
        ("one that has none of all",  of_domain(BOTH),               INVAL, ALL),
        ("one that has none of pages", of_pages(IOTLB | CONTEXTS, P, VA, 1), INVAL, ALL),
    ];
    run(rows);
}

/// Which pages, and of whom.
#[test]
fn reaches() {
    let addr = |flags, addr, granule_size, nb_granules| iommu_inv_addr_info {
        flags,
        archid: 0,
        pasid: P.into(),
        addr,
        granule_size,
        nb_granules,
    };
    const NAMED: u32 = IOMMU_INV_ADDR_FLAGS_PASID;
    const LEAF: u32 = IOMMU_INV_ADDR_FLAGS_LEAF;
    const ARCHID: u32 = IOMMU_INV_ADDR_FLAGS_ARCHID;
    const FAR: u64 = VA + 16 * PAGE;
    let pages = |first, granule, count| of_addr_info(IOTLB, addr(NAMED, first, granule, count));
    let flags = |flags| of_addr_info(IOTLB, addr(flags, VA, PAGE, 1));
    let pasid = |cache, flags, pasid| {
        of_pasid_info(cache, iommu_inv_pasid_info { flags, archid: 9, pasid })
    };
    const BUT_FAR: Kept = ([true, false, true], [true, false, true]);
    #[rustfmt::skip] // one invalidation, one line
    let rows: &[(&str, iommu_cache_invalidate_info, Answer, Kept)] = &[
        ("another page",                pages(VA + PAGE, PAGE, 1),     OK,    ALL),
        ("the second page",             pages(FAR, PAGE, 1),           OK,    BUT_FAR),
        ("no pages are one",            pages(VA, PAGE, 0),            OK,    BUT_PAGE),
        ("nor are no bytes",            pages(VA, 0, 1),               OK,    BUT_PAGE),
        ("a byte of the page",          pages(VA + 0xfff, 1, 1),       OK,    BUT_PAGE),
        ("a power of two, aligned",     pages(VA - 7 * PAGE, PAGE, 4), OK,    ALL),
        ("... and not",                 pages(VA - 2 * PAGE, PAGE, 4), OK,    BUT_PAGE),
        ("five are eight",              pages(VA & !(8 * PAGE - 1), PAGE, 5), OK, BUT_PAGE),
        ("... in the device",           of_pages(DEV, P, VA & !(8 * PAGE - 1), 5), OK, ([true; 3], [false, true, true])),
        ("both pages",                  pages(VA, PAGE, 32),           OK,    BUT_P),
        ("large granules",              pages(VA, 1 << 21, 1),         OK,    BUT_P),
        ("all there are",               pages(0, PAGE, 1 << 52),       OK,    ALL),
        ("... and less than 2^64",      pages(0, PAGE, (1 << 52) - 1), OK,    BUT_P),
        ("... as small ones",           pages(VA, 1, u64::MAX),        OK,    BUT_P),
        ("more than there are",         pages(VA, u64::MAX, u64::MAX), OK,    BUT_PAGE),
        ("address 0",                   pages(0, PAGE, 1),             OK,    ALL),
        ("the last address",            pages(u64::MAX, PAGE, 1),      OK,    ALL),
        ("only leaves",                 flags(NAMED | LEAF),           OK,    BUT_PAGE),
        ("another tag",                 flags(NAMED | ARCHID),         OK,    BUT_PAGE),
        ("no PASID is 0",               flags(0),                      NOENT, ALL),
        ("... with its tag",            flags(ARCHID),                 NOENT, ALL),
        ("another PASID",               of_pages(IOTLB, Q, FAR, 1),    OK,    ALL),
        ("Q",                           of_pasid(IOTLB, Q),            OK,    ([true, true, false], [true, true, false])),
        ("PASID and tag",               pasid(IOTLB, 3, P.into()),     OK,    BUT_P),
        ("only a tag",                  pasid(IOTLB, 2, P.into()),     NOENT, ALL),
        ("the upper half of a PASID",   pasid(IOTLB, 1, (1 << 32) + u64::from(P)), OK, BUT_P),
        ("not bound",                   of_pasid(IOTLB, TAKEN),        INVAL, ALL),
        ("another process's",           of_pasid(IOTLB, OTHERS),       ACCES, ALL),
        ("nobody's",                    of_pasid(DEV, 77),             NOENT, ALL),
        ("no cache",                    of_pasid(0, P),                OK,    ALL),
        ("... of nobody's",             of_pasid(0, 77),               OK,    ALL),
        ("... of all",                  of_domain(0),                  OK,    ALL),
    ];
    run(rows);
}

/// An invalidation of leaves keeps what leads to tables.
#[test]
fn leaves() {
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    for (flags, expected) in [(IOMMU_INV_ADDR_FLAGS_LEAF, 1), (0, 2)] {
        let mut it = Bench::new("2020");
        let root = it.process(P);
        let dma = it.dma(0);
        assert_eq!(read(&dma, Some(P), VA), Ok(1));
        // another table takes the place of the last one
        let mut table = root.0;
        for shift in [39, 30] {
            table = it.load(table + (VA >> shift & 0x1ff) * 8).unwrap() & ADDRESS;
        }
        let (at, index) = (table + (VA >> 21 & 0x1ff) * 8, (VA >> 12 & 0x1ff) * 8);
        let entry = it.load(at).unwrap();
        let leaf = it.load((entry & ADDRESS) + index).unwrap();
        let other = it.allocate(512).unwrap();
        it.put(other + index, leaf & !ADDRESS | DATA[1]);
        it.put(at, entry & !ADDRESS | other);
        let flags = flags | IOMMU_INV_ADDR_FLAGS_PASID;
        let (pasid, archid) = (P.into(), 0);
        let (granule_size, nb_granules) = (PAGE, 1);
        let info =
            iommu_inv_addr_info { flags, archid, pasid, addr: VA, granule_size, nb_granules };
        it.invalidate(&of_addr_info(IOTLB, info)).unwrap();
        assert_eq!(read(&dma, Some(P), VA), Ok(expected), "{flags:#x}");
    }
}

/// Both devices of a group are told.
#[test]
fn every_device() {
    let mut stale = Stale::new("2020");
    let other = stale.it.dma(1);
    assert_eq!(read(&other, Some(Q), VA), Ok(2));
    let root = stale.it.process(5);
    assert_eq!(read(&other, Some(5), VA), Ok(1));
    stale.it.replace(root, VA, DATA[1]);
    assert_eq!(read(&other, Some(5), VA), Ok(1));
    stale.it.invalidate(&of_pages(IOTLB, 5, VA, 1)).unwrap();
    assert_eq!(read(&other, Some(5), VA), Ok(2));
}
