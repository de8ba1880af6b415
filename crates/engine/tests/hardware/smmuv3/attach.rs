//! Attaching: page faults by stalls, PASIDs, devices behind another SMMU.

use profile::Machine;
use uapi::Errno;
use uapi::iommufd::*;

use super::nested::{guest, ste};
use super::{DT, FAULT, INVAL, NO, NOENT, NP, PA, grace, idr0};
use crate::file::File;
use crate::host::{DEVICE, IOAS, NOBODY};
use crate::table::{Answer, ByKernel, Calls, OK, Table};

/// Grace with a second SMMU, a device behind that (the second), and another behind the first (the
/// third).
pub fn pair() -> Machine {
    let device = |bus: u32, iommu: &str| {
        format!(
            "[[device]]\naddress = \"0000:{bus:02x}:00.0\"\niommu = \"{iommu}\"\n\
             vendor = 0x19e5\ndevice = 0xa250\nrevision = 0x30\npasid = {{ width = 16 }}\n"
        )
    };
    const SECOND: &str = "smmu3.0x0000000012000000";
    let idr = super::IDR;
    File::of("grace")
        .add(&format!(
            "[[iommu]]\nname = \"{SECOND}\"\nkind = \"arm-smmuv3\"\naddress = 0x12000000\n\
             idr = {idr:?}\niidr = 0x4832243b\naidr = 1\ncanwbs = true\n"
        ))
        .add(&device(2, SECOND))
        .add(&device(3, "smmu3.0x0000000011000000"))
        .machine()
}

/// A device that cannot stall has no page faults; who turns them on changed, and with it what a device
/// that cannot is told (`iommufd_fault_iopf_enable`; from 6.16 on `arm_smmu_enable_iopf`).
#[test]
fn faults() {
    const YES: ByKernel<'_, Answer> = &[("6.14-", OK)];
    const LATE: ByKernel<'_, Answer> = &[("6.14-6.15", INVAL), ("6.17-", OK)];
    const VF: ByKernel<'_, Answer> = &[("6.14-", INVAL)];
    let model = |bits| grace(&[(0, bits * idr0::STALL_MODEL)]);
    let unlisted = |file: File| file.set("device", "device", "0xa252").machine();
    let function = |pri: &str| {
        let file = File::of("grace").set("device", "virtual_function", "true");
        file.set("device", "ats", "true").set("device", "pri", pri).machine()
    };
    #[rustfmt::skip] // one machine, one line
    let rows: &[(&str, Machine, ByKernel<'_, Answer>)] = &[
        ("may stall",              model(0).machine(),     YES),
        ("device not listed",      unlisted(model(0)),     LATE),
        ("another revision",       File::of("grace").set("device", "revision", "0x22").machine(), LATE),
        ("the other revision",     File::of("grace").set("device", "revision", "0x21").machine(), YES),
        ("SMMU does not stall",    model(1).machine(),     LATE),
        ("SMMU only stalls",       model(2).machine(),     YES),
        ("... device not listed",  unlisted(model(2)),     YES),
        ("virtual function, PRI",  function("true"),       VF),
        ("virtual function",       function("false"),      YES),
    ];
    let mut table = Table::default();
    for (what, machine, expected) in rows {
        table.row(&format!("{what}, paging"), machine, expected, |host| {
            let hwpt = host.hwpt(FAULT).unwrap();
            host.attach(hwpt).map(drop)
        });
        // 6.13 has page faults of nested hwpts only
        let first = [("6.13", expected[0].1)];
        let all = [&first[..], expected].concat();
        table.row(&format!("{what}, nested"), machine, &all, |host| {
            let (viommu, _) = guest(host);
            let nested = host.nested(viommu, FAULT, 2, &ste(1, 5, 0)).unwrap();
            host.attach(nested).map(drop)
        });
    }
}

/// PASIDs attach to a stage 1 that was made for them (`arm_smmu_s1_set_dev_pasid`).
#[test]
fn pasids() {
    const YES: ByKernel<'_, Answer> = &[("6.15-", OK)];
    const NEVER: ByKernel<'_, Answer> = &[("6.15-", INVAL)];
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("for PASIDs",             YES,   |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).map(|used| assert_eq!(used, a)) }),
        ("the last",               YES,   |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(0xffff, a).map(drop) }),
        ("beyond the last",        NEVER, |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(0x1_0000, a).map(drop) }),
        ("too large a number",     &[("6.15-", Err(Errno::ENOSPC))], |h| h.attach_pasid(0x8000_0000, NOBODY).map(drop)),
        ("replace",                YES,   |h| { let a = h.hwpt(PA).unwrap(); let b = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).unwrap(); h.attach_pasid(1, b).unwrap(); h.destroy(a) }),
        ("a plain hwpt",           NEVER, |h| { let a = h.hwpt(0).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("a parent",               NEVER, |h| { let a = h.parent(); h.attach_pasid(1, a).map(drop) }),
        ("an IOAS",                NEVER, |h| h.attach_pasid(1, IOAS).map(drop)),
        ("pt",                     &[("6.15-", NOENT)], |h| h.attach_pasid(1, NOBODY).map(drop)),
        ("a guest's entry",        NEVER, |h| { let (v, _) = guest(h); let n = h.nested(v, 0, 2, &ste(1, 5, 0)).unwrap(); h.attach_pasid(1, n).map(drop) }),
        ("device on a parent",     NEVER, |h| { let p = h.parent(); h.attach(p).unwrap(); let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("device on a guest's entry", NEVER, |h| { let (v, _) = guest(h); let n = h.nested(v, 0, 2, &ste(1, 5, 0)).unwrap(); h.attach(n).unwrap(); let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("device on one for PASIDs", YES, |h| { let a = h.hwpt(PA).unwrap(); h.attach(a).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("then device to a parent", NEVER, |h| { let p = h.parent(); let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).unwrap(); h.attach(p).map(drop) }),
        ("then device to a guest's entry", NEVER, |h| { let (v, _) = guest(h); let n = h.nested(v, 0, 2, &ste(1, 5, 0)).unwrap(); let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).unwrap(); h.attach(n).map(drop) }),
        ("faults",                 YES,   |h| { let a = h.hwpt(PA | FAULT).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("PASID 0",                YES,   |h| h.attach_pasid(0, IOAS).map(drop)),
        ("behind another SMMU",    NEVER, |h| { let a = h.hwpt_of(DEVICE + 1, IOAS, PA).unwrap(); h.attach_pasid(1, a).map(drop) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &pair(), expected, calls);
    }
    let httu2 = grace(&[(0, 2 * idr0::HTTU)]).machine();
    table.row("tracking", &httu2, YES, |host| {
        let hwpt = host.hwpt(PA | DT).unwrap();
        host.attach_pasid(1, hwpt).map(drop)
    });
    let unlisted = File::of("grace").set("device", "device", "0xa252").machine();
    let late = [("6.15", INVAL), ("6.17-", OK)];
    table.row("faults, cannot stall", &unlisted, &late, |host| {
        let hwpt = host.hwpt(PA | FAULT).unwrap();
        host.attach_pasid(1, hwpt).map(drop)
    });
}

/// Devices and SMMUs without PASIDs. An SMMU without SSIDs leaves a device that has PASIDs with one,
/// which is the device itself; a device without has no limit, because nothing is done for it.
#[test]
fn pasids_without_pasids() {
    let without = File::of("grace").unset("device", "pasid").machine();
    #[rustfmt::skip] // one machine and one PASID, one line
    let rows: &[(&str, &Machine, u32, Answer)] = &[
        ("no SSIDs",            &grace(&[(1, 20 << 6)]).machine(),       1,           INVAL),
        ("SSIDs of 4 bits",     &grace(&[(1, (20 ^ 4) << 6)]).machine(), 15,          OK),
        ("... and one more",    &grace(&[(1, (20 ^ 4) << 6)]).machine(), 16,          INVAL),
        ("device without",      &without,                                1,           OK),
        ("device without, any", &without,                                0x7fff_ffff, OK),
    ];
    let mut table = Table::default();
    for (what, machine, pasid, answer) in rows {
        table.row(what, machine, &[("6.15-", *answer)], |host| {
            let hwpt = host.hwpt(PA).unwrap();
            host.attach_pasid(*pasid, hwpt).map(drop)
        });
    }
}

/// A hwpt belongs to an SMMU. From 6.14 to 6.15 attaching a device behind another one says that it
/// succeeded (`arm_smmu_attach_dev` returns what it was born with).
#[test]
fn another_smmu() {
    const OWN: ByKernel<'_, Answer> = &[("6.11-6.13", INVAL), ("6.14-6.15", OK), ("6.17-", INVAL)];
    let mut table = Table::default();
    table.row("hwpt", &pair(), OWN, |host| {
        let hwpt = host.hwpt(0).unwrap();
        host.attach_of(1, hwpt).map(drop)
    });
    let parent = [("6.13", INVAL), ("6.14-6.15", OK), ("6.17-", INVAL)];
    table.row("parent", &pair(), &parent, |host| {
        let hwpt = host.hwpt(NP).unwrap();
        host.attach_of(1, hwpt).map(drop)
    });
    table.row("same SMMU", &pair(), &[("6.11-", OK)], |host| {
        let hwpt = host.hwpt(0).unwrap();
        host.attach_of(2, hwpt).map(drop)
    });
    // so its IOAS makes a second hwpt, or does not
    let shared = [("6.11-6.13", false), ("6.14-6.15", true), ("6.17-", false)];
    table.row("IOAS", &pair(), &shared, |host| {
        let first = host.attach(IOAS).unwrap();
        let second = host.attach_of(1, IOAS).unwrap();
        assert_eq!(host.attach_of(2, IOAS), Ok(first));
        first == second
    });
}

/// Dirty tracking is on for good where there is any.
#[test]
fn dirty_tracking() {
    let httu2 = grace(&[(0, 2 * idr0::HTTU)]).machine();
    let set =
        |hwpt_id, flags| iommu_hwpt_set_dirty_tracking { hwpt_id, flags, ..Default::default() };
    let mut table = Table::default();
    for (what, flags, expected) in [("tracking", DT, OK), ("plain", 0, NO)] {
        for (how, flag) in [("on", 1), ("off", 0)] {
            let what = format!("{what}, {how}");
            table.row(&what, &httu2, &[("6.11-", expected)], |host| {
                let hwpt = host.hwpt(flags).unwrap();
                host.call(&mut set(hwpt, flag))
            });
        }
        table.row(&format!("{what}, read"), &httu2, &[("6.11-", expected)], |host| {
            let hwpt_id = host.hwpt(flags).unwrap();
            let data = host.put(&[0; 8]);
            let (length, page_size) = (4096, 4096);
            let range = iommu_hwpt_get_dirty_bitmap { length, page_size, ..Default::default() };
            host.call(&mut iommu_hwpt_get_dirty_bitmap { hwpt_id, data, ..range })
        });
    }
}
