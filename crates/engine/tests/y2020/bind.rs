//! Binding a table to a PASID, and unbinding it (`intel_svm_bind_gpasid`, `intel_pasid_setup_nested`).

use profile::Machine;
use profile::machine::{Hardware, IntelVtd, PasidCapability};
use pt::Root;
use uapi::y2020::bind::*;
use uapi::y2020::transport::*;
use uapi::y2020::v5_10::iommu_gpasid_bind_data;

use super::bench::*;

const BIND: u32 = VFIO_IOMMU_NESTING_OP_BIND_PGTBL;
const UNBIND: u32 = VFIO_IOMMU_NESTING_OP_UNBIND_PGTBL;

/// PASIDs of the tests: bound, taken, another process's, and nobody's.
const BOUND: u64 = 1;
const TAKEN: u64 = 2;
const OTHERS: u64 = 3;
const NOBODYS: u64 = 4;

/// A program with these PASIDs, and another program.
fn bench(machine: &Machine, kernel: &str) -> (Bench, Bench) {
    let engine = engine(machine, kernel);
    let (mut it, mut other) = (Bench::on(&engine, GROUP), Bench::on(&engine, OTHER));
    it.process(BOUND as u32);
    it.pasid(TAKEN as u32);
    other.pasid(OTHERS as u32);
    (it, other)
}

fn unit(machine: &mut Machine) -> &mut IntelVtd {
    match &mut machine.iommus[0].hardware {
        Hardware::IntelVtd(unit) => unit,
        _ => panic!("not VT-d"),
    }
}

type Change = fn(&mut iommu_gpasid_bind_data);

/// Each refusal; where the next has another errno, a row has what is wrong with both.
#[test]
fn refusals() {
    const END: u64 = PAGES * PAGE;
    #[rustfmt::skip] // one table, one line; the answers are 5.10's and the patches'
    let rows: &[(&str, Change, [Answer; 2])] = &[
        ("as it should be",        |_| {},                                                        [OK, OK]),
        ("no format, bound",       |it| { it.format = 0; it.hpasid = BOUND },                     [INVAL, INVAL]),
        ("another's, nobody's",    |it| { it.format = 2; it.hpasid = NOBODYS },                   [INVAL, INVAL]),
        ("unknown flag, nobody's", |it| { it.vendor.flags = 1 << 6; it.hpasid = NOBODYS },        [INVAL, NOENT]),
        ("... and taken",          |it| it.vendor.flags = 1 << 6,                                 [INVAL, OK]),
        ("PASID 0",                |it| it.hpasid = 0,                                            [INVAL, INVAL]),
        ("the last PASID",         |it| it.hpasid = 0xf_ffff,                                     [NOENT, NOENT]),
        ("one more",               |it| it.hpasid = 0x10_0000,                                    [INVAL, INVAL]),
        ("of 64 bits",             |it| it.hpasid = (1 << 32) + TAKEN,                            [INVAL, INVAL]),
        ("nobody's, width",        |it| { it.hpasid = NOBODYS; it.addr_width = 1 },               [NOENT, NOENT]),
        ("another's, width",       |it| { it.hpasid = OTHERS; it.addr_width = 1 },                [ACCES, ACCES]),
        ("bound, width",           |it| { it.hpasid = BOUND; it.addr_width = 1 },                 [BUSY, BUSY]),
        ("bound, memory",          |it| { it.hpasid = BOUND; it.gpgd = u64::MAX },                [BUSY, BUSY]),
        ("no width",               |it| it.addr_width = 0,                                        [INVAL, INVAL]),
        ("39 bits",                |it| it.addr_width = 39,                                       [INVAL, INVAL]),
        ("57 bits",                |it| it.addr_width = 57,                                       [OK, OK]),
        ("64 bits",                |it| it.addr_width = 64,                                       [INVAL, INVAL]),
        ("the last page",          |it| it.gpgd = END - PAGE,                                     [OK, OK]),
        ("the end of memory",      |it| it.gpgd = END,                                            [OK, OK]),
        ("beyond it",              |it| it.gpgd = END + 1,                                        [INVAL, INVAL]),
        ("far beyond it",          |it| it.gpgd = u64::MAX,                                       [INVAL, INVAL]),
        ("the low bits",           |it| it.gpgd |= 0xfff,                                         [OK, OK]),
        ("supervisor requests",    |it| it.vendor.flags = IOMMU_SVA_VTD_GPASID_SRE,               [OK, OK]),
        ("cache disable",          |it| it.vendor.flags = IOMMU_SVA_VTD_GPASID_CD,                [INVAL, INVAL]),
        ("write through",          |it| it.vendor.flags = IOMMU_SVA_VTD_GPASID_PWT,               [INVAL, INVAL]),
        ("page cache disable",     |it| it.vendor.flags = IOMMU_SVA_VTD_GPASID_PCD,               [INVAL, INVAL]),
        ("extended memory types",  |it| it.vendor.flags = IOMMU_SVA_VTD_GPASID_EMTE,              [INVAL, INVAL]),
        ("types without a flag",   |it| { it.vendor.pat = 7; it.vendor.emt = 7 },                 [OK, OK]),
        ("a guest's PASID",        |it| { it.flags = IOMMU_SVA_GPASID_VAL; it.gpasid = 77 },      [OK, OK]),
        ("... of any size",        |it| { it.flags = IOMMU_SVA_GPASID_VAL; it.gpasid = !0 },      [OK, OK]),
        ("... without its flag",   |it| it.gpasid = 77,                                           [OK, OK]),
    ];
    for (at, (kernel, _)) in KERNELS.into_iter().enumerate() {
        for (what, change, expected) in rows {
            let (mut it, _other) = bench(&machine(), kernel);
            let root = it.table();
            let mut data = bind_data(TAKEN as u32, root);
            change(&mut data);
            assert_eq!(it.bind_with(BIND, &data), expected[at], "{kernel}: {what}");
            // what was bound before is bound still
            for device in [0, 1] {
                let dma = it.dma(device);
                assert_eq!(read(&dma, Some(BOUND as u32), VA), Ok(1), "{kernel}: {what}");
                let left = read(&dma, Some(TAKEN as u32), VA) == unbound();
                assert_eq!(left, expected[at] != OK, "{kernel}: {what}");
            }
        }
    }
}

/// The low bits of a table's address are not looked at.
#[test]
fn low_bits() {
    let mut it = Bench::new("2020");
    let root = it.table();
    it.enter(root, VA, DATA[0]);
    it.pasid(1);
    assert_eq!(it.bind(1, Root(root.0 | 0xfff)), OK);
    assert_eq!(read(&it.dma(0), Some(1), VA), Ok(1));
}

/// What the unit and the devices have not.
#[test]
fn hardware() {
    const WIDTH: PasidCapability = PasidCapability { width: 16, execute: false, privileged: false };
    type Row = (&'static str, fn(&mut Machine), Change, Answer);
    #[rustfmt::skip] // one machine, one line
    let rows: &[Row] = &[
        ("all of it",                 |_| {},                                       |_| {},                        OK),
        ("no PASIDs, nobody's",       |it| it.devices[0].pasid = None,              |it| it.hpasid = NOBODYS,      INVAL),
        ("... of the second",         |it| it.devices[1].pasid = None,              |_| {},                        INVAL),
        ("PASIDs of 16 bits",         |it| it.devices[0].pasid = Some(WIDTH),       |it| it.hpasid = NOBODYS,      INVAL),
        ("four levels, 57 bits",      |it| unit(it).cap &= !(1 << 60),              |it| it.addr_width = 57,       INVAL),
        ("four levels",               |it| unit(it).cap &= !(1 << 60),              |_| {},                        OK),
        ("no supervisor requests",    |it| unit(it).ecap &= !(1 << 31),             |it| it.vendor.flags = IOMMU_SVA_VTD_GPASID_SRE,  INVAL),
        ("no extended accessed flag", |it| unit(it).ecap &= !(1 << 34),             |it| it.vendor.flags = IOMMU_SVA_VTD_GPASID_EAFE, INVAL),
        ("an extended accessed flag", |it| unit(it).ecap |= 1 << 34,                |it| it.vendor.flags = IOMMU_SVA_VTD_GPASID_EAFE, OK),
        ("no page requests",          |it| it.devices[0].pri = false,               |_| {},                        OK),
        ("no ATS",                    |it| it.devices[1].ats = false,               |_| {},                        OK),
    ];
    for (what, change, data, expected) in rows {
        let mut machine = machine();
        change(&mut machine);
        let engine = engine(&machine, "2020");
        let mut it = Bench::on(&engine, GROUP);
        it.pasid(TAKEN as u32);
        let root = it.table();
        let mut asked = bind_data(TAKEN as u32, root);
        data(&mut asked);
        assert_eq!(it.bind_with(BIND, &asked), *expected, "{what}");
        for device in [0, 1] {
            let left = read(&it.dma(device), Some(TAKEN as u32), VA) == unbound();
            assert_eq!(left, *expected != OK, "{what}: device {device}");
        }
    }
}

/// The end of what is mapped (`dmar_domain->max_addr`).
#[test]
fn memory() {
    fn unmapped(it: &mut Bench) {
        it.unmap(0, 0, PAGES).unwrap();
    }
    type Row = (&'static str, fn(&mut Bench), u64, Answer);
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[Row] = &[
        ("nothing, at 0",          unmapped,                                                    0,                OK),
        ("nothing, at the first",  unmapped,                                                    1,                INVAL),
        ("a page far away",        |it| { unmapped(it); it.map(1 << 30, 1).unwrap() },          1 << 30,          OK),
        ("... and below it",       |it| { unmapped(it); it.map(1 << 30, 1).unwrap() },          PAGE,             OK),
        ("... and beyond it",      |it| { unmapped(it); it.map(1 << 30, 1).unwrap() },          (1 << 30) + 4097, INVAL),
        ("which is unmapped",      |it| { unmapped(it); it.map(1 << 30, 1).unwrap(); it.unmap(0, 1 << 30, 1).unwrap() }, 1 << 31, INVAL),
    ];
    for (what, calls, gpgd, expected) in rows {
        let mut it = Bench::new("2020");
        it.pasid(1);
        calls(&mut it);
        assert_eq!(it.bind(1, Root(*gpgd)), *expected, "{what}");
    }
}

#[test]
fn unbinding() {
    #[rustfmt::skip] // one table, one line
    let rows: &[(&str, Change, Answer, bool)] = &[
        ("as it was bound",         |_| {},                             OK,    true),
        ("another table",           |it| it.gpgd = 0,                   OK,    true),
        ("another width",           |it| it.addr_width = 1,             OK,    true),
        ("unknown vendor's flags",  |it| it.vendor.flags = !0,          OK,    true),
        ("no format",               |it| it.format = 0,                 OK,    true),
        ("not bound",               |it| it.hpasid = TAKEN,             OK,    false),
        ("nobody's",                |it| it.hpasid = NOBODYS,           NOENT, false),
        ("another's",               |it| it.hpasid = OTHERS,            ACCES, false),
        ("PASID 0",                 |it| it.hpasid = 0,                 NOENT, false),
        ("beyond all",              |it| it.hpasid = 0x10_0000,         INVAL, false),
        ("-1",                      |it| it.hpasid = 0xffff_ffff,       INVAL, false),
        ("the upper half",          |it| it.hpasid = (1 << 32) + BOUND, OK,    true),
    ];
    for (kernel, _) in KERNELS {
        for (what, change, expected, ends) in rows {
            let (mut it, _other) = bench(&machine(), kernel);
            let mut data = bind_data(BOUND as u32, Root(0));
            change(&mut data);
            assert_eq!(it.bind_with(UNBIND, &data), *expected, "{kernel}: {what}");
            for device in [0, 1] {
                let left = read(&it.dma(device), Some(BOUND as u32), VA) == Ok(1);
                assert_eq!(left, !ends, "{kernel}: {what}, device {device}");
            }
            assert_eq!(it.unbind(BOUND as u32), OK, "{kernel}: {what}: again");
            let root = it.table();
            assert_eq!(it.bind(BOUND as u32, root), OK, "{kernel}: {what}: the PASID is free");
        }
    }
}

/// An allocation that fails leaves nothing bound, and no object behind.
#[test]
fn no_memory() {
    for fails in 0..100 {
        let mut it = Bench::new("2020");
        it.pasid(1);
        let root = it.table();
        it.enter(root, VA, DATA[0]);
        it.client.fail_after = Some(fails);
        let bound = it.bind(1, root);
        it.client.fail_after = None;
        let see = |it: &Bench| [0, 1].map(|device| read(&it.dma(device), Some(1), VA).ok());
        if bound == OK {
            assert!(fails > 0 && see(&it) == [Some(1); 2]);
            return;
        }
        assert_eq!(see(&it), [None; 2], "{fails}");
        assert_eq!((it.bind(1, root), see(&it)), (OK, [Some(1); 2]), "{fails}");
    }
    panic!("it never succeeds");
}
