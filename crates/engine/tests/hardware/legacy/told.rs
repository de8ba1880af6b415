//! What a container tells: of itself, and of the pages that devices may have written.

use mem::AddressSpace;
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::host::UNMAPPED;
use crate::table::OK;

fn start(kernel: &'static Kernel) -> Legacy {
    Legacy::with(&machine(), kernel, V2)
}

/// `VFIO_IOMMU_GET_INFO` with a size; the struct, and what stands behind it.
fn info(l: &mut Legacy, argsz: u32) -> Result<(vfio_iommu_type1_info, Vec<u8>), Errno> {
    let asked = vfio_iommu_type1_info { argsz, flags: !0, cap_offset: !0, ..Default::default() };
    let bytes = [asked.as_bytes(), &[0xee; 256]].concat();
    l.host.client.memory.write(MEMORY, &bytes).unwrap();
    l.call(l.container, VFIO_IOMMU_GET_INFO, MEMORY)?;
    let mut bytes = vec![0; 24 + 256];
    l.host.client.memory.read(MEMORY, &mut bytes).unwrap();
    let told = vfio_iommu_type1_info::read_from_bytes(&bytes[..24]).unwrap();
    Ok((told, bytes))
}

/// The chain of capabilities: ID, offset, and the bytes from there.
fn chain(bytes: &[u8], first: u32) -> Vec<(u16, usize, Vec<u8>)> {
    let (mut at, mut list) = (first as usize, Vec::new());
    while at != 0 {
        let head = vfio_info_cap_header::read_from_prefix(&bytes[at..]).unwrap().0;
        assert_eq!(head.version, 1);
        list.push((head.id, at, bytes[at..].to_vec()));
        at = head.next as usize;
    }
    list
}

#[test]
fn information() {
    let mut table = Table::default();
    // 32 bytes of migration, 12 of what is left, 16 and two ranges of 16
    let sizes: ByKernel<'_, u32> = &[("6.2", 24 + 92), ("6.6-", 24 + 96)];
    for argsz in [16, 24, 100, 115] {
        table.each(&format!("{argsz} bytes"), sizes, |kernel| {
            let mut l = start(kernel);
            let (told, bytes) = info(&mut l, argsz).unwrap();
            assert_eq!(told.flags, VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS);
            // what was not given is not written
            assert_eq!(told.cap_offset, if argsz < 24 { !0 } else { 0 });
            assert!(bytes[24..].iter().all(|byte| *byte == 0xee));
            told.argsz
        });
    }
    table.each("a byte short", &[("6.2-", INVAL)], |kernel| info(&mut start(kernel), 15).map(drop));
    table.each("nowhere", &[("6.2-", EFAULT)], |kernel| {
        let mut l = start(kernel);
        l.call(l.container, VFIO_IOMMU_GET_INFO, UNMAPPED).map(drop)
    });
    let places: ByKernel<'_, [(u16, usize); 3]> =
        &[("6.2", [(2, 24), (3, 56), (1, 68)]), ("6.6-", [(2, 24), (3, 56), (1, 72)])];
    table.each("room for all", places, |kernel| {
        let mut l = start(kernel);
        l.map(0x10000, 1).unwrap();
        l.map(0x20000, 1).unwrap();
        let (told, bytes) = info(&mut l, 256).unwrap();
        assert_eq!((told.argsz, told.cap_offset), (256, 24));
        assert_eq!(told.iova_pgsizes, 1 << 12 | 1 << 21 | 1 << 30);
        let list = chain(&bytes, told.cap_offset);
        let of = |number: usize| list[number].2.as_slice();
        let migration = vfio_iommu_type1_info_cap_migration::read_from_prefix(of(0)).unwrap().0;
        assert_eq!((migration.flags, migration.pgsize_bitmap), (0, 4096));
        assert_eq!(migration.max_dirty_bitmap_size, 1 << 28);
        let left = vfio_iommu_type1_info_dma_avail::read_from_prefix(of(1)).unwrap().0;
        assert_eq!(left.avail, 65533);
        let head = vfio_iommu_type1_info_cap_iova_range::read_from_prefix(of(2)).unwrap().0;
        assert_eq!(head.nr_iovas, 2);
        let range = |at| vfio_iova_range::read_from_prefix(&of(2)[at..]).unwrap().0;
        assert_eq!((range(16).start, range(16).end), (0, 0xfedf_ffff));
        assert_eq!(range(32).start, 0xfef0_0000);
        [0, 1, 2].map(|number| (list[number].0, list[number].1))
    });
}

fn dirty(l: &mut Legacy, argsz: u32, flags: u32, get: vfio_iommu_type1_dirty_bitmap_get) -> Answer {
    let head = vfio_iommu_type1_dirty_bitmap { argsz, flags };
    let at = l.host.client.scratch(&[head.as_bytes(), get.as_bytes()].concat());
    l.call(l.container, VFIO_IOMMU_DIRTY_PAGES, at).map(drop)
}

fn record(l: &mut Legacy) {
    dirty(l, 8, VFIO_IOMMU_DIRTY_PAGES_FLAG_START, Default::default()).unwrap();
}

/// Asks for the bits of a range, into a bitmap of `size` bytes.
fn get(l: &mut Legacy, iova: u64, pages: u64, bytes: u64) -> Answer {
    let bitmap = vfio_bitmap { pgsize: PAGE, size: bytes, data: MEMORY + 8 * PAGE };
    let range = vfio_iommu_type1_dirty_bitmap_get { iova, size: pages * PAGE, bitmap };
    dirty(l, 48, VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP, range)
}

/// `VFIO_IOMMU_DIRTY_PAGES`
#[test]
fn dirty_arguments() {
    const I: u64 = 0x10000;
    fn range(
        iova: u64,
        size: u64,
        pgsize: u64,
        bytes: u64,
        data: u64,
    ) -> vfio_iommu_type1_dirty_bitmap_get {
        vfio_iommu_type1_dirty_bitmap_get {
            iova,
            size,
            bitmap: vfio_bitmap { pgsize, size: bytes, data },
        }
    }
    fn ready(l: &mut Legacy) -> &mut Legacy {
        l.map(I, 2).unwrap();
        record(l);
        l
    }
    fn ask(l: &mut Legacy, it: vfio_iommu_type1_dirty_bitmap_get) -> Answer {
        dirty(ready(l), 48, 4, it)
    }
    const M: u64 = MEMORY;
    const P: u64 = PAGE;
    #[rustfmt::skip] // one argument, one line
    let rows: &[Row<Answer>] = &[
        ("start",                OK,     |l| dirty(l, 8, 1, Default::default())),
        ("start twice",          OK,     |l| { record(l); dirty(l, 8, 1, Default::default()) }),
        ("stop",                 OK,     |l| dirty(l, 8, 2, Default::default())),
        ("a byte short",         INVAL,  |l| dirty(l, 7, 1, Default::default())),
        ("no flag",              INVAL,  |l| dirty(l, 8, 0, Default::default())),
        ("two flags",            INVAL,  |l| dirty(l, 8, 3, Default::default())),
        ("unknown flag",         INVAL,  |l| dirty(l, 8, 8, Default::default())),
        ("nowhere",              EFAULT, |l| l.call(l.container, VFIO_IOMMU_DIRTY_PAGES, UNMAPPED).map(drop)),
        ("the bits",             OK,     |l| ask(l, range(I, 2 * P, P, 8, M))),
        ("no room for a range",  INVAL,  |l| dirty(ready(l), 47, 4, range(I, 2 * P, P, 8, M))),
        ("not started",          INVAL,  |l| { l.map(I, 2).unwrap(); dirty(l, 48, 4, range(I, 2 * P, P, 8, M)) }),
        ("stopped",              INVAL,  |l| { dirty(ready(l), 8, 2, Default::default()).unwrap(); dirty(l, 48, 4, range(I, 2 * P, P, 8, M)) }),
        ("no size",              INVAL,  |l| ask(l, range(I, 0, P, 8, M))),
        ("half a page",          INVAL,  |l| ask(l, range(I, P + P / 2, P, 8, M))),
        ("within a page",        INVAL,  |l| ask(l, range(I + 1, 2 * P, P, 8, M))),
        ("no page size",         INVAL,  |l| ask(l, range(I, 2 * P, 0, 8, M))),
        ("another page size",    INVAL,  |l| ask(l, range(I, 2 * P, 2 * P, 8, M))),
        ("no bitmap",            INVAL,  |l| ask(l, range(I, 2 * P, P, 0, M))),
        ("too small a bitmap",   INVAL,  |l| ask(l, range(I, 65 * P, P, 8, M))),
        ("too large a bitmap",   INVAL,  |l| ask(l, range(I, 2 * P, P, (1 << 28) + 1, M))),
        ("a bitmap nowhere",     EFAULT, |l| ask(l, range(I, 2 * P, P, 8, UNMAPPED))),
        ("a bitmap of nobody",   INVAL,  |l| ask(l, range(I, 2 * P, P, 8, 1 << 63))),
        ("cuts its mapping",     INVAL,  |l| ask(l, range(I, P, P, 8, M))),
        ("from its last page",   INVAL,  |l| ask(l, range(I + P, P, P, 8, M))),
        ("around it",            OK,     |l| ask(l, range(I - P, 4 * P, P, 8, M))),
        ("elsewhere",            OK,     |l| ask(l, range(0, P, P, 8, UNMAPPED))),
    ];
    always("6.2-", start, rows);
    let mut table = Table::default();
    let acces = Err(Errno::EACCES);
    table.each("version 1", &[("6.2-", acces)], |kernel| {
        let mut l = Legacy::with(&machine(), kernel, V1);
        l.call(l.container, VFIO_IOMMU_DIRTY_PAGES, UNMAPPED).map(drop)
    });
    let expected = [("6.2-6.17", INVAL), ("6.18-", Err(Errno::EOVERFLOW))];
    table.each("wraps", &expected, |kernel| {
        ask(&mut start(kernel), range(0u64.wrapping_sub(P), 2 * P, P, 8, M))
    });
}

/// Every page that is mapped may have been written; the other bits of its first word stay, and what is
/// not mapped is not told of.
#[test]
fn bits() {
    /// Maps runs of pages, from page 256 on, and asks for `pages` of them from `first`.
    fn told(runs: &[(u64, u64)], first: u64, pages: u64, before: u64) -> Vec<u64> {
        let mut l = start(Kernel::newest());
        l.host.client.memory.map(0x80_0000, 512, true);
        let at = |page: u64| (256 + page) * PAGE;
        for (page, count) in runs {
            l.map_with(3, 0x80_0000, at(*page), count * PAGE).unwrap();
        }
        record(&mut l);
        let words = pages.div_ceil(64) as usize;
        let bytes = before.to_le_bytes().repeat(words + 1);
        l.host.client.memory.write(MEMORY + 8 * PAGE, &bytes).unwrap();
        get(&mut l, at(first), pages, words as u64 * 8).unwrap();
        let mut bytes = vec![0; 8 * (words + 1)];
        l.host.client.memory.read(MEMORY + 8 * PAGE, &mut bytes).unwrap();
        let list = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        list.collect()
    }
    type Run = (u64, u64);
    const ALL: u64 = u64::MAX;
    const X: u64 = 1 << 63 | 1 << 40;
    #[rustfmt::skip] // runs; first page and how many; the bitmap before, and after
    let rows: &[(&[Run], Run, u64, &[u64])] = &[
        (&[],                     (0, 64),   X, &[X, X]),
        (&[(0, 64)],              (0, 64),   X, &[ALL, X]),
        (&[(0, 1)],               (0, 64),   X, &[1, X]),
        (&[(0, 2), (2, 1)],       (0, 64),   X, &[7, X]),
        (&[(1, 2)],               (0, 64),   X, &[6 | X, X]),
        (&[(62, 4)],              (0, 128),  X, &[3 << 62 | X, 3, X]),
        (&[(0, 200)],             (0, 256),  X, &[ALL, ALL, ALL, 0xff, X]),
        (&[(3, 200)],             (3, 256),  X, &[ALL, ALL, ALL, 0xff, X]),
        (&[(60, 140)],            (0, 200),  X, &[0xf << 60 | X, ALL, ALL, 0xff, X]),
        (&[(0, 3), (64, 3)],      (64, 64),  X, &[7, X]),
    ];
    for (runs, (first, pages), before, after) in rows {
        assert_eq!(told(runs, *first, *pages, *before), *after, "{runs:?} from {first}");
    }
}

/// An unmap that tells of what it unmaps.
#[test]
fn unmapped_bits() {
    const I: u64 = 0x10000;
    fn unmap(l: &mut Legacy, argsz: u32, pages: u64, bitmap: vfio_bitmap) -> Answer {
        let (iova, size) = (I, pages * PAGE);
        let head = vfio_iommu_type1_dma_unmap { argsz, flags: 1, iova, size };
        let at = l.host.client.scratch(&[head.as_bytes(), bitmap.as_bytes()].concat());
        l.call(l.container, VFIO_IOMMU_UNMAP_DMA, at).map(drop)
    }
    fn ready(l: &mut Legacy) -> &mut Legacy {
        l.map(I, 2).unwrap();
        l.map(I + 3 * PAGE, 1).unwrap();
        record(l);
        l
    }
    const GOOD: vfio_bitmap = vfio_bitmap { pgsize: PAGE, size: 8, data: MEMORY };
    #[rustfmt::skip] // one argument, one line
    let rows: &[Row<Answer>] = &[
        ("good",             OK,     |l| unmap(ready(l), 48, 2, GOOD)),
        ("no room",          INVAL,  |l| unmap(ready(l), 47, 2, GOOD)),
        ("not recorded",     INVAL,  |l| { l.map(I, 2).unwrap(); unmap(l, 48, 2, GOOD) }),
        ("another page",     INVAL,  |l| unmap(ready(l), 48, 2, vfio_bitmap { pgsize: 512, ..GOOD })),
        ("no bitmap",        INVAL,  |l| unmap(ready(l), 48, 2, vfio_bitmap { size: 0, ..GOOD })),
        ("cuts a mapping",   INVAL,  |l| unmap(ready(l), 48, 1, GOOD)),
        ("nowhere",          EFAULT, |l| unmap(ready(l), 48, 2, vfio_bitmap { data: UNMAPPED, ..GOOD })),
    ];
    always("6.2-", start, rows);
    let mut l = start(Kernel::newest());
    assert_eq!(unmap(ready(&mut l), 48, 4, GOOD), OK);
    let mut word = [0; 8];
    l.host.client.memory.read(MEMORY, &mut word).unwrap();
    assert_eq!(u64::from_le_bytes(word), 0b1011);
    assert_eq!(l.read(0, I), None);
    // told to nobody, and mapped still
    let nowhere = vfio_bitmap { data: UNMAPPED, ..GOOD };
    l.map(I, 2).unwrap();
    assert_eq!(unmap(&mut l, 48, 2, nowhere), EFAULT);
    assert!(l.read(0, I).is_some());
}
