//! `VFIO_IOMMU_MAP_DMA` and `VFIO_IOMMU_UNMAP_DMA` of a container.

use std::sync::atomic::Ordering;

use mem::AddressSpace;

use super::*;
use crate::host::UNMAPPED;
use crate::table::OK;

/// Interrupt messages, where nothing can be mapped.
const MSI: u64 = 0xfee0_0000;
const OVERFLOW: Answer = Err(Errno::EOVERFLOW);

fn version_1(kernel: &'static Kernel) -> Legacy {
    Legacy::with(&machine(), kernel, V1)
}

fn version_2(kernel: &'static Kernel) -> Legacy {
    Legacy::with(&machine(), kernel, V2)
}

#[test]
fn map_arguments() {
    const TOP: u64 = 0u64.wrapping_sub(PAGE);
    type Map = (u32, u32, u64, u64, u64);
    let same = |answer| [("6.2-", answer)];
    let since = |before, after| [("6.2-6.17", before), ("6.18-", after)];
    let m = MEMORY;
    #[rustfmt::skip] // argsz, flags, vaddr, iova, size
    let rows: &[(&str, Map, ByKernel<'_, Answer>)] = &[
        ("good",                      (32, 3, m, 0, PAGE),            &same(OK)),
        ("read only",                 (32, 1, m, 0, PAGE),            &same(OK)),
        ("write only",                (32, 2, m, 0, PAGE),            &same(OK)),
        ("longer",                    (99, 3, m, 0, PAGE),            &same(OK)),
        ("a byte short",              (31, 3, m, 0, PAGE),            &same(INVAL)),
        ("an unknown flag",           (32, 11, m, 0, PAGE),           &same(INVAL)),
        ("no right",                  (32, 0, m, 0, PAGE),            &same(INVAL)),
        ("an address and a right",    (32, 5, m, 0, PAGE),            &same(INVAL)),
        ("an address of nothing",     (32, 4, m, 0, PAGE),            &same(NOENT)),
        ("no size",                   (32, 3, m, 0, 0),               &same(INVAL)),
        ("half a page",               (32, 3, m, 0, PAGE / 2),        &same(INVAL)),
        ("IOVA within a page",        (32, 3, m, 1, PAGE),            &same(INVAL)),
        ("address within a page",     (32, 3, m + 1, 0, PAGE),        &same(INVAL)),
        ("IOVA wraps",                (32, 3, m, TOP, 2 * PAGE),      &since(INVAL, OVERFLOW)),
        ("address wraps",             (32, 3, TOP, 0, 2 * PAGE),      &since(INVAL, OVERFLOW)),
        ("wraps, then rights",        (32, 0, m, TOP, 2 * PAGE),      &since(INVAL, OVERFLOW)),
        ("wraps, then page",          (32, 3, m + 1, TOP, 2 * PAGE),  &since(INVAL, OVERFLOW)),
        ("the last page of IOVAs",    (32, 3, m, TOP, PAGE),          &same(INVAL)),
        ("the last page of memory",   (32, 3, TOP, 0, PAGE),          &same(EFAULT)),
        ("interrupt messages",        (32, 3, m, MSI, PAGE),          &same(INVAL)),
        ("into them",                 (32, 3, m, MSI - PAGE, 2 * PAGE), &same(INVAL)),
        ("no memory",                 (32, 3, UNMAPPED, 0, PAGE),     &same(EFAULT)),
        ("memory that ends",          (32, 3, m, 0, 17 * PAGE),       &same(EFAULT)),
        ("no memory, no IOVA",        (32, 3, UNMAPPED, MSI, PAGE),   &same(INVAL)),
    ];
    let mut table = Table::default();
    for (what, (argsz, flags, vaddr, iova, size), expected) in rows {
        for kind in [V1, V2] {
            table.each(&format!("{what}, type {kind}"), expected, |kernel| {
                let mut l = Legacy::with(&machine(), kernel, kind);
                let (vaddr, iova, size) = (*vaddr, *iova, *size);
                let mut map =
                    vfio_iommu_type1_dma_map { argsz: *argsz, flags: *flags, vaddr, iova, size };
                let answer = l.host.vfio(l.container, VFIO_IOMMU_MAP_DMA, &mut map);
                // a first stage has no pages that can only be written
                let readable = answer.is_ok() && (flags & 1 != 0 || l.read(0, iova).is_some());
                assert_eq!(l.read(0, iova).is_some(), readable);
                assert_eq!(l.writes(0, iova), answer.is_ok() && flags & 2 != 0);
                answer
            });
        }
    }
    table.each("nowhere", &[("6.2-", EFAULT)], |kernel| {
        let mut l = version_2(kernel);
        l.call(l.container, VFIO_IOMMU_MAP_DMA, UNMAPPED).map(drop)
    });
}

/// Mappings and others, and their addresses.
#[test]
fn mappings() {
    const I: u64 = 0x10000;
    /// Takes the address of the first two pages back.
    fn taken(l: &mut Legacy) -> &mut Legacy {
        l.map(I, 2).unwrap();
        assert_eq!(l.unmap(4, I, 2 * PAGE), Ok(2 * PAGE));
        l
    }
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[Row<Answer>] = &[
        ("the same again",             EXIST, |l| { l.map(I, 1).unwrap(); l.map(I, 1) }),
        ("its last page",              EXIST, |l| { l.map(I, 2).unwrap(); l.map(I + PAGE, 2) }),
        ("around it",                  EXIST, |l| { l.map(I, 1).unwrap(); l.map(I - PAGE, 3) }),
        ("beside it",                  OK,    |l| { l.map(I, 1).unwrap(); l.map(I + PAGE, 1).unwrap(); l.map(I - PAGE, 1) }),
        ("exists, and no memory",      EXIST, |l| { l.map(I, 1).unwrap(); l.map_with(3, UNMAPPED, I, PAGE) }),
        ("unmapped",                   OK,    |l| { l.map(I, 1).unwrap(); l.unmap(0, I, PAGE).unwrap(); l.map(I, 1) }),
        ("memory that goes",           OK,    |l| { l.map(I, 1).unwrap(); l.host.client.memory.unmap(MEMORY, 1); l.unmap(0, I, PAGE).map(drop) }),
        ("an address given anew",      OK,    |l| taken(l).map_with(4, MEMORY, I, 2 * PAGE)),
        ("... to what has one",        INVAL, |l| { l.map(I, 1).unwrap(); l.map_with(4, MEMORY, I, PAGE) }),
        ("... twice",                  INVAL, |l| { taken(l).map_with(4, MEMORY, I, 2 * PAGE).unwrap(); l.map_with(4, MEMORY, I, 2 * PAGE) }),
        ("... to a part",              INVAL, |l| taken(l).map_with(4, MEMORY, I, PAGE)),
        ("... to more",                INVAL, |l| taken(l).map_with(4, MEMORY, I, 3 * PAGE)),
        ("... elsewhere",              NOENT, |l| taken(l).map_with(4, MEMORY, I + 2 * PAGE, PAGE)),
        ("... that is none",           OK,    |l| taken(l).map_with(4, UNMAPPED, I, 2 * PAGE)),
        ("taken back twice",           INVAL, |l| taken(l).unmap(4, I, 2 * PAGE).map(drop)),
        ("... with others",            INVAL, |l| { taken(l).map(I + 2 * PAGE, 1).unwrap(); l.unmap(4, I, 3 * PAGE).map(drop) }),
        ("... which keep theirs",      OK,    |l| { taken(l).map(I - PAGE, 1).unwrap(); l.unmap(6, 0, 0).unwrap_err(); l.unmap(4, I - PAGE, PAGE).map(drop) }),
        ("devices reach it still",     OK,    |l| { mark(l, 0, 9); assert_eq!(taken(l).read(0, I), Some(9)); OK }),
        ("it is unmapped so",          OK,    |l| taken(l).unmap(0, I, 2 * PAGE).map(drop)),
        ("all addresses",              OK,    |l| { l.map(I, 1).unwrap(); l.map(0, 2).unwrap(); assert_eq!(l.unmap(6, 0, 0), Ok(3 * PAGE)); OK }),
        ("address, and a bitmap",      INVAL, |l| l.unmap(5, I, PAGE).map(drop)),
    ];
    always("6.2-", version_2, rows);
}

/// Version 2 cuts nothing, and says so; version 1 says that nothing was there, or takes all.
#[test]
fn unmap() {
    const I: u64 = 0x10000;
    type Unmap = (u32, u64, u64);
    type Bytes = Result<u64, Errno>;
    const E: Bytes = Err(Errno::EINVAL);
    const TOP: u64 = 0u64.wrapping_sub(PAGE);
    let same = |answer| [("6.2-", answer)];
    let since = |before, after| [("6.2-6.17", before), ("6.18-", after)];
    // pages 0 and 1 are one mapping, page 2 is another, page 3 is none, page 4 is one
    #[rustfmt::skip] // flags, IOVA, size; the answer of version 1, and of version 2
    let rows: &[(&str, Unmap, Bytes, Bytes)] = &[
        ("one",                  (0, I, 2 * PAGE),            Ok(2 * PAGE), Ok(2 * PAGE)),
        ("two",                  (0, I, 3 * PAGE),            Ok(3 * PAGE), Ok(3 * PAGE)),
        ("all, and holes",       (0, 0, 1 << 30),             Ok(4 * PAGE), Ok(4 * PAGE)),
        ("its first page",       (0, I, PAGE),                Ok(2 * PAGE), E),
        ("its last page",        (0, I + PAGE, PAGE),         Ok(0),        E),
        ("from its last page",   (0, I + PAGE, 2 * PAGE),     Ok(0),        E),
        ("into it",              (0, I - PAGE, 2 * PAGE),     Ok(2 * PAGE), E),
        ("a hole",               (0, I + 3 * PAGE, PAGE),     Ok(0),        Ok(0)),
        ("nothing",              (0, 0, PAGE),                Ok(0),        Ok(0)),
        ("everything",           (2, 0, 0),                   Ok(4 * PAGE), Ok(4 * PAGE)),
        ("everything, a size",   (2, 0, PAGE),                E,            E),
        ("everything, an IOVA",  (2, PAGE, 0),                E,            E),
        ("no size",              (0, I, 0),                   E,            E),
        ("half a page",          (0, I, PAGE / 2),            E,            E),
        ("within a page",        (0, I + 1, PAGE),            E,            E),
        ("an unknown flag",      (8, I, 2 * PAGE),            E,            E),
        ("a bitmap, no room",    (1, I, 2 * PAGE),            E,            E),
    ];
    let mut table = Table::default();
    let four = |kernel, kind| {
        let mut l = Legacy::with(&machine(), kernel, kind);
        for (page, count) in [(0, 2), (2, 1), (4, 1)] {
            l.map(I + page * PAGE, count).unwrap();
        }
        l
    };
    let mapped = |l: &Legacy| {
        let pages = [0, 1, 2, 3, 4].map(|page| l.read(0, I + page * PAGE).is_some());
        pages.iter().filter(|is| **is).count() as u64 * PAGE
    };
    for (what, (flags, iova, size), first, second) in rows {
        for (kind, expected) in [(V1, first), (V2, second)] {
            table.each(&format!("{what}, type {kind}"), &same(*expected), |kernel| {
                let mut l = four(kernel, kind);
                let answer = l.unmap(*flags, *iova, *size);
                assert_eq!(mapped(&l), 4 * PAGE - answer.unwrap_or(0));
                answer
            });
        }
    }
    table.each("wraps", &since(E, Err(Errno::EOVERFLOW)), |kernel| {
        four(kernel, V2).unmap(0, TOP, 2 * PAGE)
    });
    table.each("a byte short", &same(E), |kernel| {
        let mut l = version_2(kernel);
        let mut unmap = vfio_iommu_type1_dma_unmap { argsz: 23, size: PAGE, ..Default::default() };
        l.host.vfio(l.container, VFIO_IOMMU_UNMAP_DMA, &mut unmap).map(|()| 0)
    });
    table.each("nowhere", &same(Err(Errno::EFAULT)), |kernel| {
        let mut l = version_2(kernel);
        l.call(l.container, VFIO_IOMMU_UNMAP_DMA, UNMAPPED).map(|_| 0)
    });
}

/// Locked pages are counted, and not as pinned ones; those of registers are not
/// (`vfio_lock_acct`).
#[test]
fn accounts() {
    let counted = |l: &Legacy| {
        let accounts = l.host.client.memory.accounts();
        (accounts.locked_vm.load(Ordering::Relaxed), accounts.pinned_vm.load(Ordering::Relaxed))
    };
    let mut l = version_1(Kernel::newest());
    assert_eq!(counted(&l), (0, 0));
    l.map(0x10000, 3).unwrap();
    l.map(0x20000, 2).unwrap();
    assert_eq!(counted(&l), (5, 0));
    l.unmap(0, 0x10000, 3 * PAGE).unwrap();
    assert_eq!(counted(&l), (2, 0));
    l.map_with(3, UNMAPPED, 0x10000, PAGE).unwrap_err();
    assert_eq!(counted(&l), (2, 0));
    // with the last group all mappings go
    l.take(l.group).unwrap();
    assert_eq!(counted(&l), (0, 0));
    l.put(l.group, l.container).unwrap();
    l.call(l.container, VFIO_SET_IOMMU, V1).unwrap();
    assert_eq!(l.unmap(2, 0, 0), Ok(0));
}

/// `dma_entry_limit`
#[test]
fn as_many_as_there_may_be() {
    let mut l = version_2(Kernel::newest());
    for number in 0..65535 {
        l.map(0x1_0000_0000 + number * PAGE, 1).unwrap();
    }
    assert_eq!(l.map(0, 1), Err(Errno::ENOSPC));
    // before what is judged later, and after what is judged before
    assert_eq!(l.map(MSI, 1), Err(Errno::ENOSPC));
    assert_eq!(l.map(0x1_0000_0000, 1), EXIST);
    assert_eq!(l.unmap(0, 0x1_0000_0000, PAGE), Ok(PAGE));
    assert_eq!(l.map(0, 1), OK);
    assert_eq!(l.unmap(2, 0, 0), Ok(65535 * PAGE));
}
