//! Virtual IOMMUs, and attaching: devices, PASIDs, units that differ.

use uapi::Errno;
use uapi::iommufd::*;

use super::{DT, EFR, EFR2, FAULT, INVAL, NO, NOENT, NP, PA, efr, genoa, with_iommufd};
use crate::file::File;
use crate::host::{DEVICE, IOAS, MEMORY, NOBODY, UNMAPPED, hwpt_alloc};
use crate::table::{Answer, ByKernel, Calls, OK, Table};

/// A second unit with bits of EFR turned over, and a device behind it.
fn pair(first: File, bits: u64) -> File {
    let efr = EFR ^ bits;
    first.add(&format!(
        "[[iommu]]\nname = \"ivhd1\"\nkind = \"amd\"\naddress = \"0000:80:00.2\"\n\
         efr = {efr:#x}\nefr2 = {EFR2:#x}\niommufd = true\n\
         [[device]]\naddress = \"0000:d1:00.0\"\niommu = \"ivhd1\"\nvendor = 0x1022\n\
         device = 0x14dc\nats = true\npri = true\npasid = {{ width = 16 }}\n"
    ))
}

/// The driver makes a vIOMMU of any type, and then does nothing with it
/// (`amd_iommufd_get_viommu_size`). Without `CONFIG_AMD_IOMMU_IOMMUFD` it makes none.
#[test]
fn viommus() {
    const SINCE: ByKernel<'_, Answer> = &[("7.0-", OK)];
    type Change = fn(&mut iommu_viommu_alloc);
    #[rustfmt::skip] // one call, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Change)] = &[
        ("type 1",                  SINCE,               |_| ()),
        ("type 2",                  SINCE,               |c| c.r#type = 2),
        ("any type",                SINCE,               |c| c.r#type = u32::MAX),
        ("data, which is not read", SINCE,               |c| { c.data_len = 8; c.data_uptr = UNMAPPED }),
        ("default type",            &[("7.0-", NO)],     |c| { c.r#type = 0; c.dev_id = NOBODY }),
        ("flags",                   &[("7.0-", NO)],     |c| { c.flags = 1; c.dev_id = NOBODY }),
        ("device",                  &[("7.0-", NOENT)],  |c| { c.dev_id = NOBODY; c.hwpt_id = NOBODY }),
        ("parent",                  &[("7.0-", NOENT)],  |c| c.hwpt_id = NOBODY),
        ("an IOAS as parent",       &[("7.0-", NOENT)],  |c| c.hwpt_id = IOAS),
        ("a plain hwpt as parent",  &[("7.0-", INVAL)],  |c| c.hwpt_id += 1),
    ];
    let mut table = Table::default();
    for (what, expected, change) in rows {
        for (built, file) in [("built", with_iommufd()), ("not built", genoa(0, 0))] {
            // not built, only what the core judges first differs
            let answer = expected[0].1;
            let early = ["device"].contains(what);
            let answer = if built == "built" || early { answer } else { NO };
            let expected = [("7.0-", answer)];
            table.row(&format!("{what}, {built}"), &file.machine(), &expected, |host| {
                let hwpt_id = host.parent();
                assert_eq!(host.hwpt(0), Ok(hwpt_id + 1));
                let mut cmd = iommu_viommu_alloc { hwpt_id, ..Default::default() };
                (cmd.r#type, cmd.dev_id) = (1, DEVICE);
                change(&mut cmd);
                host.call(&mut cmd)
            });
        }
    }
    // before there were parents
    for hwpt in [NOBODY, IOAS, DEVICE + 1] {
        let what = format!("6.13 to 6.19, parent {hwpt}");
        table.row(&what, &with_iommufd().machine(), &[("6.13-6.19", NO)], |host| {
            assert_eq!(host.hwpt(0), Ok(DEVICE + 1));
            host.viommu(1, hwpt).map(drop)
        });
    }
}

/// What can be done with a vIOMMU: virtual devices and queues of events, by the core alone.
#[test]
fn on_a_viommu() {
    const EXIST: Answer = Err(Errno::EEXIST);
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, Answer, Calls<Answer>)] = &[
        ("nested",                    NO,    |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.nested(v, 0, 3, &[0; 32]).map(drop) }),
        ("nested, any type",          NO,    |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.nested(v, 0, 9, &[0; 5]).map(drop) }),
        ("nested, faults",            NO,    |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.nested(v, FAULT, 3, &[0; 32]).map(drop) }),
        ("nested, no length",         INVAL, |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.nested(v, 0, 3, &[]).map(drop) }),
        ("nested, behind another",    INVAL, |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.nested_of(DEVICE + 1, v, 0, 3, &[0; 32]).map(drop) }),
        ("nested over the parent",    NO,    |h| { let p = h.parent(); h.nested(p, 0, 3, &[0; 32]).map(drop) }),
        ("nested over a plain hwpt",  NO,    |h| { let p = h.hwpt(0).unwrap(); h.nested(p, 0, 3, &[0; 32]).map(drop) }),
        ("vDEVICE",                   OK,    |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.vdevice(v, 7).map(drop) }),
        ("vDEVICE, any ID",           OK,    |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.vdevice(v, u64::MAX).map(drop) }),
        ("two of a device",           EXIST, |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.vdevice(v, 7).unwrap(); h.vdevice(v, 8).map(drop) }),
        ("vDEVICE, behind another",   INVAL, |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.vdevice_of(DEVICE + 1, v, 7).map(drop) }),
        ("parent made for another",   OK,    |h| { let p = h.hwpt_of(DEVICE + 1, IOAS, NP).unwrap(); h.viommu(1, p).map(drop) }),
        ("queue of events",           OK,    |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.veventq(v, 1, 16).map(drop) }),
        ("... of any type",           OK,    |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.veventq(v, 77, 16).map(drop) }),
        ("... of no type",            NO,    |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.veventq(v, 0, 16).map(drop) }),
        ("... twice",                 EXIST, |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.veventq(v, 1, 16).unwrap(); h.veventq(v, 1, 16).map(drop) }),
        ("hardware queue",            NO,    |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.call(&mut iommu_hw_queue_alloc { viommu_id: v, r#type: 1, length: 4096, ..Default::default() }) }),
        ("... of no length",          INVAL, |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.call(&mut iommu_hw_queue_alloc { viommu_id: v, r#type: 1, ..Default::default() }) }),
        ("... that wraps",            Err(Errno::EOVERFLOW), |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.call(&mut iommu_hw_queue_alloc { viommu_id: v, r#type: 1, length: u64::MAX, nesting_parent_iova: 4096, ..Default::default() }) }),
        ("... of no type",            NO,    |h| h.call(&mut iommu_hw_queue_alloc { viommu_id: NOBODY, ..Default::default() })),
        ("invalidate",                NO,    |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); let (answer, done) = h.invalidate(v, 0, &[&[0; 16]]); assert_eq!(done, 0); answer }),
        ("invalidate the parent",     INVAL, |h| { let p = h.parent(); let (answer, done) = h.invalidate(p, 0, &[&[0; 16]]); assert_eq!(done, 0); answer }),
        ("destroy",                   OK,    |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); let d = h.vdevice(v, 7).unwrap(); h.destroy(d).unwrap(); h.destroy(v).unwrap(); h.destroy(p) }),
    ];
    let mut table = Table::default();
    let machine = pair(with_iommufd(), 0).machine();
    for (what, answer, calls) in rows {
        table.row(what, &machine, &[("7.0-", *answer)], calls);
    }
    // a plain hwpt as parent, as long as there were no others
    let plain = [("6.7-6.12", INVAL), ("6.13-6.19", NO)];
    table.row("nested over a plain hwpt, then", &machine, &plain, |host| {
        let hwpt = host.hwpt(0).unwrap();
        host.nested(hwpt, 0, 3, &[0; 32]).map(drop)
    });
    table.row("... and a flag", &machine, &[("6.7-", NO)], |host| {
        let hwpt = host.hwpt(0).unwrap();
        host.nested(hwpt, NP, 3, &[0; 32]).map(drop)
    });
    let paging = [("6.8-6.12", NOENT), ("6.13-", INVAL)];
    table.row("invalidate a plain hwpt", &machine, &paging, |host| {
        let hwpt = host.hwpt(0).unwrap();
        host.invalidate(hwpt, 0, &[&[0; 24]]).0
    });
}

/// No PASID ever attaches: no domain of this driver has the operation, which the core looks for after
/// its own rules and before the device's PASIDs (`iommu_attach_device_pasid`).
#[test]
fn pasids() {
    const NEVER: ByKernel<'_, Answer> = &[("6.15-", NO)];
    const WRONG: ByKernel<'_, Answer> = &[("6.15-", INVAL)];
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("for PASIDs",          NEVER, |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("beyond the last",     NEVER, |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(0x10_0000, a).map(drop) }),
        ("device on it too",    NEVER, |h| { let a = h.hwpt(PA).unwrap(); h.attach(a).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("a plain hwpt",        WRONG, |h| { let a = h.hwpt(0).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("an IOAS",             WRONG, |h| h.attach_pasid(1, IOAS).map(drop)),
        ("device on the IOAS",  WRONG, |h| { h.attach(IOAS).unwrap(); let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("pt",                  &[("6.15-", NOENT)], |h| h.attach_pasid(1, NOBODY).map(drop)),
        ("too large a number",  &[("6.15-", Err(Errno::ENOSPC))], |h| h.attach_pasid(0x8000_0000, NOBODY).map(drop)),
        ("again after that",    NEVER, |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).unwrap_err(); h.attach_pasid(1, a).map(drop) }),
        ("it is not kept",      &[("6.15-", OK)], |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).unwrap_err(); h.destroy(a) }),
        ("detach",              &[("6.15-", OK)], |h| h.detach_pasid(1)),
        ("PASID 0",             &[("6.15-", OK)], |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(0, a).map(drop) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &genoa(0, 0).machine(), expected, calls);
        let none = genoa(0, 0).unset("device", "pasid").machine();
        table.row(&format!("{what}, device without"), &none, expected, calls);
    }
}

/// Page faults are never refused and never come; only a virtual function is refused.
#[test]
fn faults() {
    const YES: ByKernel<'_, Answer> = &[("6.14-", OK)];
    let function = |pri: &str| {
        let file = genoa(0, 0).set("device", "virtual_function", "true");
        file.set("device", "pri", pri)
    };
    #[rustfmt::skip] // one machine, one line
    let rows: &[(&str, File, ByKernel<'_, Answer>)] = &[
        ("Genoa",                 genoa(0, 0),                                                      YES),
        ("no PRI",                genoa(0, 0).set("device", "pri", "false"),                        YES),
        ("no ATS",                genoa(0, 0).without_ats(),                                        YES),
        ("no PPR",                genoa(efr::PPR, 0),                                               YES),
        ("virtual function, PRI", function("true"),                                                 &[("6.14-", INVAL)]),
        ("virtual function",      function("false"),                                                YES),
    ];
    let mut table = Table::default();
    for (what, file, expected) in rows {
        table.row(what, &file.machine(), expected, |host| {
            let hwpt = host.hwpt(FAULT).unwrap();
            host.attach(hwpt).map(drop)
        });
    }
}

/// What the driver knows is what all units have together, except dirty tracking, which is each unit's.
#[test]
fn units_that_differ() {
    const OTHER: u32 = DEVICE + 1;
    let same = pair(with_iommufd(), 0).machine();
    let no_hd = pair(with_iommufd(), efr::HD).machine();
    let no_gt = pair(with_iommufd(), efr::GT).machine();
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, &profile::Machine, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("another unit",            &same,  &[("6.6-", OK)],    |h| { let a = h.hwpt(0).unwrap(); h.attach_of(1, a).map(drop) }),
        ("another unit, parent",    &same,  &[("7.0-", OK)],    |h| { let a = h.hwpt(NP).unwrap(); h.attach_of(1, a).map(drop) }),
        ("another unit, v2",        &same,  &[("6.15-", OK)],   |h| { let a = h.hwpt(PA).unwrap(); h.attach_of(1, a).map(drop) }),
        ("one IOAS, one hwpt",      &no_hd, &[("6.6-", OK)],    |h| { let a = h.attach_of(0, IOAS).unwrap(); assert_eq!(h.attach_of(1, IOAS), Ok(a)); OK }),
        ("tracking, that tracks",   &no_hd, &[("6.7-", OK)],    |h| { let a = h.hwpt(DT).unwrap(); h.attach_of(0, a).map(drop) }),
        ("tracking, that does not", &no_hd, &[("6.7-", INVAL)], |h| { let a = h.hwpt(DT).unwrap(); h.attach_of(1, a).map(drop) }),
        ("tracking, made for it",   &no_hd, &[("6.7-", NO)],    |h| h.hwpt_of(OTHER, IOAS, DT).map(drop)),
        ("PASIDs, one without GT",  &no_gt, &[("6.15-", NO)],   |h| h.hwpt(PA).map(drop)),
        ("parent, one without GT",  &no_gt, &[("7.0-", NO)],    |h| h.hwpt(NP).map(drop)),
    ];
    let mut table = Table::default();
    for (what, machine, expected, calls) in rows {
        table.row(what, machine, expected, calls);
    }
    let both = [("7.0-", EFR & !efr::GT)];
    table.row("GET_HW_INFO", &no_gt, &both, |host| {
        let (_, bytes) = host.hw_info(None).unwrap();
        u64::from_le_bytes(bytes[..8].try_into().unwrap())
    });
}

/// Reading dirty pages needs no tracking; a hwpt without it has none to read.
#[test]
fn dirty_tracking() {
    let mut table = Table::default();
    for (what, flags, answer) in [("tracking", DT, OK), ("plain", 0, NO)] {
        let since = [("6.7-", answer)];
        for flag in [1, 1, 0, 0] {
            table.row(&format!("{what}, set {flag}"), &genoa(0, 0).machine(), &since, |host| {
                let hwpt_id = host.hwpt(flags).unwrap();
                host.attach(hwpt_id).unwrap();
                let set = iommu_hwpt_set_dirty_tracking { hwpt_id, ..Default::default() };
                host.call(&mut iommu_hwpt_set_dirty_tracking { flags: flag, ..set })
            });
        }
        table.row(&format!("{what}, read"), &genoa(0, 0).machine(), &since, |host| {
            let hwpt_id = host.hwpt(flags).unwrap();
            let range = iommu_hwpt_get_dirty_bitmap { hwpt_id, data: MEMORY, ..Default::default() };
            let (length, page_size) = (4096, 4096);
            host.call(&mut iommu_hwpt_get_dirty_bitmap { length, page_size, ..range })
        });
    }
    table.row("unknown flag", &genoa(0, 0).machine(), &[("6.7-", NO)], |host| {
        let flags = 2;
        host.call(&mut iommu_hwpt_set_dirty_tracking {
            flags,
            hwpt_id: NOBODY,
            ..Default::default()
        })
    });
    table.row("data for it", &genoa(0, 0).machine(), &[("6.7-", NO)], |host| {
        let data = iommu_hwpt_alloc { data_type: 3, data_len: 32, flags: DT, ..hwpt_alloc() };
        host.hwpt_with(&mut { data }).map(drop)
    });
}
