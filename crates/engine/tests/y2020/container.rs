//! Versions, types, what a container tells, and what came later.

use engine::{Engine, Node};
use profile::Machine;
use profile::machine::{Hardware, IntelVtd};
use uapi::vfio::*;
use uapi::y2020::transport::*;
use zerocopy::{FromBytes, IntoBytes};

use super::bench::*;

const V1: u64 = VFIO_TYPE1_IOMMU as u64;
const V2: u64 = VFIO_TYPE1v2_IOMMU as u64;
const UAPI: u64 = VFIO_NESTING_IOMMU_UAPI as u64;
const VADDR: u64 = VFIO_UPDATE_VADDR as u64;

/// `VFIO_CHECK_EXTENSION`, before and after there is a driver.
#[test]
fn extensions() {
    #[rustfmt::skip] // one extension, one line
    let rows: &[(u64, &str, (i64, i64))] = &[
        (V1,             "2020",         (1, 1)),
        (V2,             "2020",         (1, 1)),
        (NESTING,        "2020",         (1, 1)),
        (UAPI,           "2020",         (1, 1)),
        (VADDR,          "2020",         (0, 0)),
        (5,              "2020",         (0, 0)),
        (11,             "2020",         (0, 0)),
        (UAPI + (1<<32), "2020",         (0, 0)),
        (UAPI,           "2020-patches", (1, 1)),
        (VADDR,          "2020-patches", (0, 0)),
        (NESTING,        "7.3",          (0, 0)),
    ];
    for (extension, kernel, expected) in rows {
        let mut it = Bench::bare(&engine(&lone(), kernel), GROUP);
        let before = it.call(it.container, VFIO_CHECK_EXTENSION, *extension).unwrap();
        it.set_iommu(V2).unwrap();
        let after = it.call(it.container, VFIO_CHECK_EXTENSION, *extension).unwrap();
        assert_eq!((before, after), *expected, "extension {extension}, {kernel}");
    }
}

/// `VFIO_SET_IOMMU`, and groups that come later.
#[test]
fn types() {
    fn second(it: &mut Bench, kind: u64) -> Answer {
        it.set_iommu(kind).unwrap();
        let group = it.open(Node::VfioGroup(OTHER)).unwrap();
        it.join(group)
    }
    fn both(it: &mut Bench, kind: u64) -> Answer {
        let group = it.open(Node::VfioGroup(OTHER)).unwrap();
        it.join(group).unwrap();
        it.set_iommu(kind)
    }
    // of a second group that was refused
    fn after(it: &mut Bench) -> Answer {
        it.set_iommu(NESTING).unwrap();
        let group = it.open(Node::VfioGroup(OTHER)).unwrap();
        it.join(group).unwrap_err();
        it.leave().unwrap();
        it.join(group).unwrap();
        it.set_iommu(NESTING)
    }
    type Row = (&'static str, Answer, fn(&mut Bench) -> Answer);
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[Row] = &[
        ("version 1",                    OK,    |it| it.set_iommu(V1)),
        ("nesting",                      OK,    |it| it.set_iommu(NESTING)),
        ("the version is no type",       INVAL, |it| it.set_iommu(UAPI)),
        ("what came later is none",      NODEV, |it| it.set_iommu(VADDR)),
        ("twice",                        INVAL, |it| { it.set_iommu(NESTING).unwrap(); it.set_iommu(NESTING) }),
        ("two groups, then nesting",     INVAL, |it| both(it, NESTING)),
        ("... and then plain",           OK,    |it| { both(it, NESTING).unwrap_err(); it.set_iommu(V2) }),
        ("nesting, then another group",  INVAL, |it| second(it, NESTING)),
        ("... which is nobody's",        OK,    after),
        ("plain, then another group",    OK,    |it| second(it, V2)),
        ("the group leaves and returns", OK,    |it| { it.set_iommu(NESTING).unwrap(); it.leave().unwrap(); it.join(it.group).unwrap(); it.set_iommu(NESTING) }),
        ("... and takes another type",   OK,    |it| { it.set_iommu(NESTING).unwrap(); it.leave().unwrap(); it.join(it.group).unwrap(); it.set_iommu(V2) }),
    ];
    for (kernel, _) in KERNELS {
        for (what, expected, calls) in rows {
            let mut it = Bench::bare(&engine(&machine(), kernel), GROUP);
            assert_eq!(calls(&mut it), *expected, "{kernel}: {what}");
        }
    }
}

/// What memory fails at does not leave half a container.
#[test]
fn no_memory() {
    let engine = engine(&machine(), "2020");
    for fails in 0..100 {
        let mut it = Bench::bare(&engine, GROUP);
        it.client.fail_after = Some(fails);
        let set = it.set_iommu(NESTING);
        it.client.fail_after = None;
        if set == OK {
            return assert!(fails > 0);
        }
        assert_eq!(it.set_iommu(NESTING), OK, "after the allocation {fails}");
        it.pasid(1);
    }
    panic!("it never succeeds");
}

/// The capabilities of `VFIO_IOMMU_GET_INFO`: ID, version, and the bytes behind.
fn chain(it: &mut Bench) -> Vec<(u16, u16, Vec<u8>)> {
    const ROOM: usize = 1024;
    let mut bytes = vec![0xee; ROOM];
    bytes[..4].copy_from_slice(&(ROOM as u32).to_ne_bytes());
    let (answer, bytes) = it.call_with(it.container, VFIO_IOMMU_GET_INFO, &bytes);
    assert_eq!(answer, Ok(0));
    let (info, _) = vfio_iommu_type1_info::read_from_prefix(&bytes).unwrap();
    assert_eq!((info.argsz, info.flags), (ROOM as u32, 3));
    let mut found = Vec::new();
    let mut at = info.cap_offset as usize;
    while at != 0 {
        let (head, _) = vfio_info_cap_header::read_from_prefix(&bytes[at..]).unwrap();
        let end = if head.next == 0 { at + 64 } else { head.next as usize };
        found.push((head.id, head.version, bytes[at + 8..end].to_vec()));
        at = head.next as usize;
    }
    // what is told to be needed is what is needed
    let room = |argsz: u32| {
        let mut bytes = vec![0; ROOM];
        bytes[..4].copy_from_slice(&argsz.to_ne_bytes());
        bytes
    };
    let (_, told) = it.call_with(it.container, VFIO_IOMMU_GET_INFO, &room(24));
    let (short, _) = vfio_iommu_type1_info::read_from_prefix(&told).unwrap();
    assert_eq!((short.flags, short.cap_offset), (3, 0));
    let (_, told) = it.call_with(it.container, VFIO_IOMMU_GET_INFO, &room(short.argsz));
    let (whole, _) = vfio_iommu_type1_info::read_from_prefix(&told).unwrap();
    assert_eq!((whole.argsz, whole.cap_offset), (short.argsz, info.cap_offset));
    let (_, told) = it.call_with(it.container, VFIO_IOMMU_GET_INFO, &room(short.argsz - 1));
    let (less, _) = vfio_iommu_type1_info::read_from_prefix(&told).unwrap();
    assert_eq!((less.argsz, less.cap_offset), (short.argsz, 0));
    found
}

fn ids(it: &mut Bench) -> Vec<(u16, u16)> {
    chain(it).iter().map(|(id, version, _)| (*id, *version)).collect()
}

#[test]
fn capabilities() {
    const MIGRATION: (u16, u16) = (2, 1);
    const IOVA: (u16, u16) = (1, 1);
    const THIRD: (u16, u16) = (3, 1);
    type Row = (&'static str, u64, &'static str, &'static [(u16, u16)]);
    #[rustfmt::skip] // one container, one line
    let rows: &[Row] = &[
        ("2020",         NESTING, "nesting",      &[MIGRATION, IOVA, THIRD]),
        ("2020-patches", NESTING, "nesting",      &[MIGRATION, IOVA, THIRD]),
        ("2020",         V2,      "no DMA_AVAIL", &[MIGRATION, IOVA]),
        ("2020",         V1,      "version 1",    &[MIGRATION, IOVA]),
        ("7.3",          V2,      "DMA_AVAIL",    &[MIGRATION, THIRD, IOVA]),
    ];
    for (kernel, kind, what, expected) in rows {
        let mut it = Bench::of_type(&engine(&lone(), kernel), GROUP, *kind);
        assert_eq!(ids(&mut it), *expected, "{kernel}: {what}");
    }
    // with the group it is gone
    let mut it = Bench::on(&engine(&lone(), "2020"), GROUP);
    it.leave().unwrap();
    it.join(it.group).unwrap();
    it.set_iommu(V2).unwrap();
    assert_eq!(ids(&mut it), [MIGRATION, IOVA]);
}

fn unit(machine: &mut Machine) -> &mut IntelVtd {
    match &mut machine.iommus[0].hardware {
        Hardware::IntelVtd(unit) => unit,
        _ => panic!("not VT-d"),
    }
}

fn info(engine: &std::sync::Arc<Engine>) -> iommu_nesting_info {
    let mut it = Bench::on(engine, GROUP);
    let (_, _, bytes) = chain(&mut it).pop().unwrap();
    iommu_nesting_info::read_from_prefix(&bytes).unwrap().0
}

/// `iommu_nesting_info`: the unit's registers, of which a guest sees some bits.
#[test]
fn what_is_told_of_nesting() {
    const PASID: u64 = 1 << 40;
    const SHOWN_CAP: u64 = 1 << 56 | 1 << 60;
    const SHOWN_ECAP: u64 = 1 << 29 | 1 << 30 | 1 << 31 | 1 << 34 | PASID;
    const PSS: u64 = 0x1f << 35;
    type Row = (&'static str, fn(&mut IntelVtd), u32, u16);
    #[rustfmt::skip] // one unit, one line
    let rows: &[Row] = &[
        ("as it is",           |_| {},                                     7, 20),
        ("no five levels",     |it| it.cap &= !(1 << 60),                  7, 20),
        ("no large pages",     |it| it.cap &= !(1 << 56),                  7, 20),
        ("no page requests",   |it| it.ecap &= !(1 << 29),                 7, 20),
        ("no supervisor",      |it| it.ecap &= !(1 << 31),                 7, 20),
        ("extended accessed",  |it| it.ecap |= 1 << 34,                    7, 20),
        ("PASIDs of 16 bits",  |it| it.ecap = it.ecap & !PSS | 15 << 35,   7, 16),
        ("no PASIDs",          |it| it.ecap &= !PASID,                     4, 0),
    ];
    for (what, change, features, pasid_bits) in rows {
        let mut machine = lone();
        change(unit(&mut machine));
        let IntelVtd { cap, ecap, .. } = *unit(&mut machine);
        let told = info(&engine(&machine, "2020"));
        let width = told.addr_width;
        let expected = iommu_nesting_info {
            argsz: 56,
            flags: 0,
            format: 1,
            features: *features,
            addr_width: width,
            pasid_bits: *pasid_bits,
            padding: [0; 12],
            vendor: iommu_nesting_info_vtd {
                cap_reg: cap & SHOWN_CAP,
                ecap_reg: ecap & SHOWN_ECAP,
                ..Default::default()
            },
        };
        assert_eq!(told, expected, "{what}");
        assert!([48, 57].contains(&width), "{what}: {width}");
    }
}

#[test]
fn what_came_later_is_refused() {
    type Row = (&'static str, Answer, fn(&mut Bench) -> Answer);
    fn feature(it: &mut Bench, flags: u32) -> Answer {
        let device = it.device(NAMES[0]).unwrap();
        it.call_with(device, VFIO_DEVICE_FEATURE, [8, flags].as_bytes()).0.map(drop)
    }
    #[rustfmt::skip] // one call, one line
    let rows: &[Row] = &[
        ("/dev/iommu",             NOENT, |it| it.open(Node::Iommu).map(drop)),
        ("a device's node",        NOENT, |it| it.open(Node::VfioDevice(0)).map(drop)),
        ("UNMAP_DMA, ALL",         INVAL, |it| it.unmap(VFIO_DMA_UNMAP_FLAG_ALL, 0, 0)),
        ("UNMAP_DMA, VADDR",       INVAL, |it| it.unmap(VFIO_DMA_UNMAP_FLAG_VADDR, 0, PAGES)),
        ("UNMAP_DMA",              OK,    |it| it.unmap(0, 0, PAGES)),
        ("low power",              NOTTY, |it| feature(it, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY)),
        ("... probed",             NOTTY, |it| feature(it, VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY)),
        ("DMA logging",            NOTTY, |it| feature(it, VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START)),
        ("a bind to an iommufd",   NOTTY, |it| { let device = it.device(NAMES[0]).unwrap(); it.call_with(device, VFIO_DEVICE_BIND_IOMMUFD, &[16; 16]).0.map(drop) }),
        ("... as the container",   EFAULT, |it| it.call(it.container, VFIO_IOMMU_PASID_REQUEST, 8).map(drop)),
    ];
    for (kernel, _) in KERNELS {
        for (what, expected, calls) in rows {
            let mut it = Bench::on(&engine(&lone(), kernel), GROUP);
            assert_eq!(calls(&mut it), *expected, "{kernel}: {what}");
        }
    }
}

/// What any container does, one with tables does: which pages may have been written.
#[test]
fn written_pages() {
    const START: u32 = VFIO_IOMMU_DIRTY_PAGES_FLAG_START;
    const STOP: u32 = VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP;
    const GET: u32 = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
    for kind in [V2, NESTING] {
        let mut it = Bench::of_type(&engine(&lone(), "2020"), GROUP, kind);
        if kind == NESTING {
            it.process(1);
        }
        let mut call = |flags| {
            // argsz, flags; iova, size, and of the bitmap pgsize, size, data
            let argument = [48 | u64::from(flags) << 32, 0, PAGES * PAGE, PAGE, 8, BUFFER];
            it.call_with(it.container, VFIO_IOMMU_DIRTY_PAGES, argument.as_bytes()).0.map(drop)
        };
        assert_eq!([GET, START, GET, STOP, GET].map(&mut call), [INVAL, OK, OK, OK, INVAL]);
        assert_eq!(it.bytes(BUFFER, 8), [0xff; 8], "type {kind}");
    }
}

/// The calls of 2020 are not those of a released kernel, nor of other containers.
#[test]
fn calls_without_nesting() {
    #[rustfmt::skip] // one container, one line
    let rows: &[(&str, u64, [Answer; 2])] = &[
        ("2020",         V2,      [OPNOTSUPP, OPNOTSUPP]),
        ("2020-patches", V1,      [OPNOTSUPP, OPNOTSUPP]),
        ("7.3",          V2,      [NOTTY, NOTTY]),
        ("6.12",         V2,      [NOTTY, NOTTY]),
    ];
    for (kernel, kind, expected) in rows {
        let mut it = Bench::of_type(&engine(&lone(), kernel), GROUP, *kind);
        let taken = it.alloc(1, 1).map(drop);
        let invalidated = it.invalidate(&of_domain(1));
        assert_eq!([taken, invalidated], *expected, "{kernel}, type {kind}");
    }
    // nor before there is a driver
    let mut it = Bench::bare(&engine(&lone(), "2020"), GROUP);
    assert_eq!(it.alloc(1, 1).map(drop), INVAL);
}
