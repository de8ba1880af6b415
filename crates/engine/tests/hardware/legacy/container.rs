//! `/dev/vfio/vfio`, before it has a driver and when it gets one.

use super::*;
use crate::host::UNMAPPED;
use crate::table::OK;

fn start(kernel: &'static Kernel) -> Legacy {
    Legacy::new(&machine(), kernel)
}

const SPAPR: u64 = VFIO_SPAPR_TCE_IOMMU as u64;
const CC: u64 = VFIO_DMA_CC_IOMMU as u64;
const NESTING: u64 = __VFIO_RESERVED_TYPE1_NESTING_IOMMU as u64;
const NOIOMMU: u64 = VFIO_NOIOMMU_IOMMU as u64;
const ALL: u64 = VFIO_UNMAP_ALL as u64;
const VADDR: u64 = VFIO_UPDATE_VADDR as u64;

/// `VFIO_CHECK_EXTENSION`, without and with a driver.
#[test]
fn extensions() {
    #[rustfmt::skip] // one extension, one line
    let rows: &[(u64, ByKernel<'_, (i64, i64)>)] = &[
        (V1,                    &[("6.2-", (1, 1))]),
        (SPAPR,                 &[("6.2-", (0, 0))]),
        (V2,                    &[("6.2-", (1, 1))]),
        (CC,                    &[("6.2-", (0, 1))]),
        (5,                     &[("6.2-", (0, 0))]),
        (NESTING,               &[("6.2-6.12", (1, 1)), ("6.13-", (0, 0))]),
        (7,                     &[("6.2-", (0, 0))]),
        (NOIOMMU,               &[("6.2-", (0, 0))]),
        (ALL,                   &[("6.2-", (1, 1))]),
        (VADDR,                 &[("6.2-", (0, 1))]),
        (0,                     &[("6.2-", (0, 0))]),
        (11,                    &[("6.2-", (0, 0))]),
        ((1 << 32) + V1,        &[("6.2-", (0, 0))]),
        (u64::MAX,              &[("6.2-", (0, 0))]),
    ];
    let mut table = Table::default();
    for (extension, expected) in rows {
        table.each(&format!("extension {extension}"), expected, |kernel| {
            let mut l = start(kernel);
            let before = l.call(l.container, VFIO_CHECK_EXTENSION, *extension).unwrap();
            l.put(l.group, l.container).unwrap();
            l.call(l.container, VFIO_SET_IOMMU, V1).unwrap();
            (before, l.call(l.container, VFIO_CHECK_EXTENSION, *extension).unwrap())
        });
    }
}

/// `VFIO_SET_IOMMU`
#[test]
fn drivers() {
    fn set(l: &mut Legacy, kind: u64) -> Answer {
        l.call(l.container, VFIO_SET_IOMMU, kind).map(drop)
    }
    fn put(l: &mut Legacy) -> &mut Legacy {
        l.put(l.group, l.container).unwrap();
        l
    }
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[Row<Answer>] = &[
        ("no group",                  INVAL, |l| set(l, V1)),
        ("no group, no type",         INVAL, |l| set(l, 99)),
        ("version 1",                 OK,    |l| set(put(l), V1)),
        ("version 2",                 OK,    |l| set(put(l), V2)),
        ("no type",                   NODEV, |l| set(put(l), 0)),
        ("no type at all",            NODEV, |l| set(put(l), u64::MAX)),
        ("POWER",                     NODEV, |l| set(put(l), SPAPR)),
        ("no IOMMU",                  NODEV, |l| set(put(l), NOIOMMU)),
        ("an extension",              INVAL, |l| set(put(l), ALL)),
        ("one that needs a driver",   NODEV, |l| set(put(l), VADDR)),
        ("twice",                     INVAL, |l| { set(put(l), V1).unwrap(); set(l, V1) }),
        ("after a refusal",           OK,    |l| { set(put(l), 0).unwrap_err(); set(l, V1) }),
        ("after the group left",      INVAL, |l| { set(put(l), V1).unwrap(); l.take(l.group).unwrap(); set(l, V1) }),
        ("... and came again",        OK,    |l| { set(put(l), V1).unwrap(); l.take(l.group).unwrap(); set(put(l), V2) }),
        ("a group that comes later",  OK,    |l| { set(put(l), V2).unwrap(); let g = l.open_group(OTHER).unwrap(); l.put(g, l.container) }),
        ("the version is a number",   OK,    |l| { assert_eq!(l.call(l.container, VFIO_GET_API_VERSION, 0), Ok(0)); OK }),
        ("an iommufd's call",         INVAL, |l| l.call(l.container, 0x3b81, MEMORY).map(drop)),
        ("no driver, any call",       INVAL, |l| { put(l); l.call(l.container, VFIO_IOMMU_MAP_DMA, UNMAPPED).map(drop) }),
        ("no driver, no call",        INVAL, |l| { put(l); l.call(l.container, 0, 0).map(drop) }),
        ("a driver, no call",         NOTTY, |l| { set(put(l), V2).unwrap(); l.call(l.container, 0x3b73, 0).map(drop) }),
        ("as an iommufd for a device", BADFD, |l| l.host.bind(2, l.container).map(drop)),
    ];
    always("6.6-", start, rows);
    let nesting = |name: &'static str| {
        move |kernel| {
            let mut l = Legacy::new(&File::of(name).machine(), kernel);
            set(put(&mut l), NESTING)
        }
    };
    let mut table = Table::default();
    table.each("nesting, VT-d", &[("6.11-6.12", INVAL), ("6.13-", NODEV)], nesting("spr"));
    table.each("nesting, SMMUv3", &[("6.11-6.12", OK), ("6.13-", NODEV)], nesting("grace"));
    let flat = File::of("spr").set("iommu", "interrupt_remapping", "false").machine();
    table.each("not isolated", &[("6.2-", PERM)], |kernel| {
        let mut l = Legacy::new(&flat, kernel);
        let answer = set(put(&mut l), V2);
        assert_eq!(l.call(l.container, VFIO_IOMMU_MAP_DMA, UNMAPPED), Err(Errno::EINVAL));
        answer
    });
    for name in ["icx", "grace", "genoa", "riscv"] {
        table.each(name, &[("6.13-", Some(7))], |kernel| {
            let l = Legacy::with(&File::of(name).machine(), kernel, V2);
            mark(&l, 0, 7);
            let mut l = l;
            l.map(0x100000, 1).unwrap();
            l.read(0, 0x100000)
        });
    }
}

/// All devices of all groups reach what is mapped, before and after they come.
#[test]
fn groups_of_a_container() {
    let mut table = Table::default();
    let expected = [
        [Some(7), Some(7), None],
        [Some(7), Some(7), Some(7)],
        [None, None, Some(7)],
        [None, None, None],
    ];
    table.each("as they come and go", &[("6.2-", expected)], |kernel| {
        let mut l = Legacy::with(&machine(), kernel, V2);
        mark(&l, 0, 7);
        let see = |l: &Legacy| [0, 1, 2].map(|device| l.read(device, 0x10000));
        l.map(0x10000, 1).unwrap();
        let first = see(&l);
        let other = l.open_group(OTHER).unwrap();
        l.put(other, l.container).unwrap();
        let both = see(&l);
        l.take(l.group).unwrap();
        let second = see(&l);
        l.take(other).unwrap();
        [first, both, second, see(&l)]
    });
    // what a group brings must not meet what is mapped, and no mapping may be without its address
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[Row<Answer>] = &[
        ("an address was taken back",  BUSY, |l| { l.map(0x10000, 1).unwrap(); l.unmap(4, 0x10000, PAGE).unwrap(); let g = l.open_group(OTHER).unwrap(); l.put(g, l.container) }),
        ("... and given anew",         OK,   |l| { l.map(0x10000, 1).unwrap(); l.unmap(4, 0x10000, PAGE).unwrap(); l.map_with(4, MEMORY, 0x10000, PAGE).unwrap(); let g = l.open_group(OTHER).unwrap(); l.put(g, l.container) }),
        ("a refused group is nobody's", OK,  |l| { l.map(0x10000, 1).unwrap(); l.unmap(4, 0x10000, PAGE).unwrap(); let g = l.open_group(OTHER).unwrap(); l.put(g, l.container).unwrap_err(); l.put(g, l.host.fd) }),
    ];
    always("6.2-", |kernel| Legacy::with(&machine(), kernel, V2), rows);
}
