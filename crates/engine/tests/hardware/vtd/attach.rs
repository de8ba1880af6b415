//! Attaching devices and PASIDs: page faults, domain IDs, units that differ.

use profile::Machine;
use uapi::Errno;
use uapi::iommufd::*;

use super::nested::stage;
use super::{CAP, DT, ECAP, FAULT, NP, PA, cap, ecap, sm_off, spr};
use crate::file::File;
use crate::host::{DEVICE, Host, IOAS, NOBODY};
use crate::table::{Answer, ByKernel, Calls, OK, Table};

const INVAL: Answer = Err(Errno::EINVAL);
const NODEV: Answer = Err(Errno::ENODEV);
const NOENT: Answer = Err(Errno::ENOENT);

/// Sapphire Rapids whose device has another value.
fn device(key: &str, value: &str) -> Machine {
    File::of("spr").set("device", key, value).machine()
}

/// A hwpt for page faults attaches where page requests are possible. Up to 6.14 the device's ATS must
/// be on, which only a paging hwpt does (`intel_iommu_enable_iopf`), so it is reached by a replace; from
/// 6.15 on both are turned on as the device is found (`iommu_enable_pci_pri`).
#[test]
fn faults_by_capability() {
    // fresh, and replacing a paging hwpt
    type Row<'r> = (&'r str, Machine, ByKernel<'r, Answer>, ByKernel<'r, Answer>);
    const NEVER: ByKernel<'_, Answer> = &[("6.13-", NODEV)];
    const VF: ByKernel<'_, Answer> = &[("6.13-", INVAL)];
    #[rustfmt::skip] // one machine, one line
    let rows: &[Row<'_>] = &[
        ("everything",          spr(0, 0),                 &[("6.13-6.14", NODEV), ("6.15-", OK)], &[("6.13-", OK)]),
        ("no NEST",             spr(0, ecap::NEST),        &[("6.13-6.14", NODEV), ("6.15-", OK)], &[("6.13-", OK)]),
        ("no ECAP.PASID",       spr(0, ecap::PASID),       &[("6.13-6.14", NODEV), ("6.15-", OK)], &[("6.13-", OK)]),
        ("device without PASID", File::of("spr").flip("ecap", 0).set("device", "pasid", "{ width = 1 }").machine(), &[("6.13-6.14", NODEV), ("6.15-", OK)], &[("6.13-", OK)]),
        ("no PRS",              spr(0, ecap::PRS),         NEVER,                                  NEVER),
        ("no PDS",              spr(0, ecap::PDS),         &[("6.13-6.14", NODEV), ("6.15", OK), ("6.17-", NODEV)], &[("6.13-6.15", OK), ("6.17-", NODEV)]),
        ("no ECAP.DT",          spr(0, ecap::DT),          NEVER,                                  NEVER),
        ("no ATS capability",   File::of("spr").without_ats().machine(), NEVER,                                  NEVER),
        ("no PRI capability",   device("pri", "false"),    NEVER,                                  NEVER),
        ("sm_off",              sm_off(),                  NEVER,                                  NEVER),
        ("no SMTS",             spr(0, ecap::SMTS),        NEVER,                                  NEVER),
        ("virtual function",    device("virtual_function", "true"), VF,                            VF),
        ("... no PRI",          File::of("spr").set("device", "virtual_function", "true").set("device", "pri", "false").machine(), NEVER, NEVER),
    ];
    let mut table = Table::default();
    for (what, machine, fresh, replacing) in rows {
        table.row(&format!("{what}, fresh"), machine, fresh, |host| {
            let hwpt = host.hwpt(FAULT).unwrap();
            host.attach(hwpt).map(drop)
        });
        table.row(&format!("{what}, replacing"), machine, replacing, |host| {
            host.attach(IOAS).unwrap();
            let hwpt = host.hwpt(FAULT).unwrap();
            host.attach(hwpt).map(drop)
        });
    }
}

/// The same for a guest's first stage, which takes page faults from 6.11 on, and which leaves ATS off
/// up to 6.14.
#[test]
fn faults_of_nested() {
    fn faulting(host: &mut Host) -> u32 {
        let parent = host.parent();
        host.nested(parent, FAULT, 1, &stage(0, 48)).expect("a nested hwpt with faults")
    }
    const SINCE_615: ByKernel<'_, Answer> = &[("6.11-6.14", NODEV), ("6.15-", OK)];
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, Machine, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("fresh",                      spr(0, 0), SINCE_615,         |h| { let it = faulting(h); h.attach(it).map(drop) }),
        ("replacing the IOAS",         spr(0, 0), &[("6.11-", OK)],  |h| { h.attach(IOAS).unwrap(); let it = faulting(h); h.attach(it).map(drop) }),
        ("replacing its parent",       spr(0, 0), &[("6.11-", OK)],  |h| { let p = h.parent(); h.attach(p).unwrap(); let it = h.nested(p, FAULT, 1, &stage(0, 48)).unwrap(); h.attach(it).map(drop) }),
        ("replacing a plain nested",   spr(0, 0), SINCE_615,         |h| { h.attach(IOAS).unwrap(); let p = h.parent(); let plain = h.nested(p, 0, 1, &stage(0, 48)).unwrap(); h.attach(plain).unwrap(); let it = h.nested(p, FAULT, 1, &stage(0, 48)).unwrap(); h.attach(it).map(drop) }),
        ("replacing one with faults",  spr(0, 0), &[("6.11-", OK)],  |h| { h.attach(IOAS).unwrap(); let p = h.parent(); let one = h.nested(p, FAULT, 1, &stage(0, 48)).unwrap(); h.attach(one).unwrap(); let it = h.nested(p, FAULT, 1, &stage(0, 48)).unwrap(); h.attach(it).map(drop) }),
        ("... and back to plain, and again", spr(0, 0), SINCE_615,   |h| { h.attach(IOAS).unwrap(); let p = h.parent(); let it = h.nested(p, FAULT, 1, &stage(0, 48)).unwrap(); h.attach(it).unwrap(); let plain = h.nested(p, 0, 1, &stage(0, 48)).unwrap(); h.attach(plain).unwrap(); h.attach(it).map(drop) }),
        ("after a detach",             spr(0, 0), SINCE_615,         |h| { h.attach(IOAS).unwrap(); h.detach().unwrap(); let it = faulting(h); h.attach(it).map(drop) }),
        ("no PDS",                     spr(0, ecap::PDS), &[("6.11", OK), ("6.12", NODEV), ("6.13-6.15", OK), ("6.17-", NODEV)], |h| { h.attach(IOAS).unwrap(); let it = faulting(h); h.attach(it).map(drop) }),
        ("no PRI capability",          device("pri", "false"), &[("6.11-", NODEV)], |h| { h.attach(IOAS).unwrap(); let it = faulting(h); h.attach(it).map(drop) }),
        ("virtual function",           device("virtual_function", "true"), &[("6.11-", INVAL)], |h| { h.attach(IOAS).unwrap(); let it = faulting(h); h.attach(it).map(drop) }),
        ("... no PRI",                 File::of("spr").set("device", "virtual_function", "true").set("device", "pri", "false").machine(), &[("6.11-6.12", INVAL), ("6.13-", NODEV)], |h| { h.attach(IOAS).unwrap(); let it = faulting(h); h.attach(it).map(drop) }),
        // the fault queue is judged before the width
        ("bad width, fresh",           spr(0, 0), &[("6.11-6.14", NODEV), ("6.15-", INVAL)], |h| { let p = h.parent(); let it = h.nested(p, FAULT, 1, &stage(0, 39)).unwrap(); h.attach(it).map(drop) }),
        ("bad width, replacing",       spr(0, 0), &[("6.11-", INVAL)], |h| { h.attach(IOAS).unwrap(); let p = h.parent(); let it = h.nested(p, FAULT, 1, &stage(0, 39)).unwrap(); h.attach(it).map(drop) }),
        ("bad width, no PRI",          device("pri", "false"), &[("6.11-", NODEV)], |h| { h.attach(IOAS).unwrap(); let p = h.parent(); let it = h.nested(p, FAULT, 1, &stage(0, 39)).unwrap(); h.attach(it).map(drop) }),
        // what was there stays
        ("refused, and left where it was", device("pri", "false"), &[("6.11-", Err(Errno::EBUSY))], |h| { let p = h.parent(); h.attach(p).unwrap(); let it = h.nested(p, FAULT, 1, &stage(0, 48)).unwrap(); h.attach(it).unwrap_err(); h.destroy(it).unwrap(); h.destroy(p) }),
    ];
    let mut table = Table::default();
    for (what, machine, expected, calls) in rows {
        table.row(what, machine, expected, calls);
    }
}

/// PASIDs on a unit that has them. Which hwpt a PASID takes is the core's rule
/// (`iommufd_hwpt_pasid_compat`), the rest the driver's (`intel_iommu_set_dev_pasid`).
#[test]
fn pasids() {
    const YES: ByKernel<'_, Answer> = &[("6.15-", OK)];
    const NEVER: ByKernel<'_, Answer> = &[("6.15-", INVAL)];
    const ABSENT: ByKernel<'_, Answer> = &[("6.15-", NOENT)];
    const FULL: ByKernel<'_, Answer> = &[("6.15-", Err(Errno::ENOSPC))];
    const BUSY: ByKernel<'_, Answer> = &[("6.15-", Err(Errno::EBUSY))];
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("for PASIDs",                  YES,    |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).map(|used| assert_eq!(used, a)) }),
        ("twice the same",              YES,    |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("two PASIDs on one",           YES,    |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).unwrap(); h.attach_pasid(2, a).map(drop) }),
        ("replace",                     YES,    |h| { let a = h.hwpt(PA).unwrap(); let b = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).unwrap(); h.attach_pasid(1, b).unwrap(); h.destroy(a) }),
        ("detached",                    YES,    |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).unwrap(); h.detach_pasid(1).unwrap(); h.destroy(a) }),
        ("attached, so in use",         BUSY,   |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).unwrap(); h.destroy(a) }),
        ("detach of what is not",       YES,    |h| h.detach_pasid(1)),
        ("detach beyond all",           YES,    |h| h.detach_pasid(u32::MAX)),
        ("detach of -EINVAL",           YES,    |h| h.detach_pasid(0xffff_ffea)),
        ("the last",                    YES,    |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(0xf_ffff, a).map(drop) }),
        ("beyond the last",             NEVER,  |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(0x10_0000, a).map(drop) }),
        ("the largest number",          NEVER,  |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(0x7fff_ffff, a).map(drop) }),
        ("too large a number",          FULL,   |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(0x8000_0000, a).map(drop) }),
        ("... before pt",               FULL,   |h| h.attach_pasid(u32::MAX, NOBODY).map(drop)),
        ("-EINVAL as a number",         NEVER,  |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(0xffff_ffea, a).map(drop) }),
        ("... before pt",               ABSENT, |h| h.attach_pasid(0xffff_ffea, NOBODY).map(drop)),
        ("pt",                          ABSENT, |h| h.attach_pasid(1, NOBODY).map(drop)),
        ("a device as pt",              NEVER,  |h| h.attach_pasid(1, DEVICE).map(drop)),
        ("pt of a replace",             ABSENT, |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).unwrap(); h.attach_pasid(1, NOBODY).map(drop) }),
        ("an IOAS",                     NEVER,  |h| h.attach_pasid(1, IOAS).map(drop)),
        ("an IOAS in place",            NEVER,  |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).unwrap(); h.attach_pasid(1, IOAS).map(drop) }),
        ("a plain hwpt",                NEVER,  |h| { let a = h.hwpt(0).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("a plain hwpt in place",       NEVER,  |h| { let a = h.hwpt(PA).unwrap(); let b = h.hwpt(0).unwrap(); h.attach_pasid(1, a).unwrap(); h.attach_pasid(1, b).map(drop) }),
        ("a parent for PASIDs",         YES,    |h| { let a = h.hwpt(PA | NP).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("a hwpt that tracks",          &[("6.15-7.0", INVAL), ("7.1-", OK)], |h| { let a = h.hwpt(PA | DT).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("... in place",                &[("6.15-7.0", INVAL), ("7.1-", OK)], |h| { let a = h.hwpt(PA).unwrap(); let b = h.hwpt(PA | DT).unwrap(); h.attach_pasid(1, a).unwrap(); h.attach_pasid(1, b).map(drop) }),
        ("faults",                      YES,    |h| { let a = h.hwpt(PA | FAULT).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("nested for PASIDs",           YES,    |h| { let p = h.parent(); let a = h.nested(p, PA, 1, &stage(0, 48)).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("nested, faults",              YES,    |h| { let p = h.parent(); let a = h.nested(p, PA | FAULT, 1, &stage(0, 48)).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("nested of another width",     NEVER,  |h| { let p = h.parent(); let a = h.nested(p, PA, 1, &stage(0, 39)).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("nested, over a parent that tracks", YES, |h| { let p = h.hwpt(NP | DT).unwrap(); let a = h.nested(p, PA, 1, &stage(0, 48)).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("plain nested",                NEVER,  |h| { let p = h.parent(); let a = h.nested(p, 0, 1, &stage(0, 48)).unwrap(); h.attach_pasid(1, a).map(drop) }),
        // the device itself and its PASIDs
        ("device on the IOAS",          NEVER,  |h| { h.attach(IOAS).unwrap(); let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("device on a plain hwpt",      NEVER,  |h| { let b = h.hwpt(0).unwrap(); h.attach(b).unwrap(); let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("device on a hwpt for PASIDs", YES,    |h| { let a = h.hwpt(PA).unwrap(); h.attach(a).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("then device to the IOAS",     NEVER,  |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(1, a).unwrap(); h.attach(IOAS).map(drop) }),
        ("then device to a plain hwpt", NEVER,  |h| { let a = h.hwpt(PA).unwrap(); let b = h.hwpt(0).unwrap(); h.attach(a).unwrap(); h.attach_pasid(1, a).unwrap(); h.attach(b).map(drop) }),
        ("... and after its PASID left", YES,   |h| { let a = h.hwpt(PA).unwrap(); let b = h.hwpt(0).unwrap(); h.attach(a).unwrap(); h.attach_pasid(1, a).unwrap(); h.detach_pasid(1).unwrap(); h.attach(b).map(drop) }),
        ("device leaves, PASID stays",  BUSY,   |h| { let a = h.hwpt(PA).unwrap(); h.attach(a).unwrap(); h.attach_pasid(1, a).unwrap(); h.detach().unwrap(); h.destroy(a) }),
        // PASID 0 is the device itself, in another book
        ("PASID 0",                     YES,    |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(0, a).map(drop) }),
        ("PASID 0 to the IOAS",         YES,    |h| h.attach_pasid(0, IOAS).map(drop)),
        ("PASID 0 to a plain hwpt",     YES,    |h| { let a = h.hwpt(0).unwrap(); h.attach_pasid(0, a).map(drop) }),
        ("PASID 0, beside a PASID",     NEVER,  |h| { let a = h.hwpt(PA).unwrap(); let b = h.hwpt(0).unwrap(); h.attach_pasid(1, a).unwrap(); h.attach_pasid(0, b).map(drop) }),
        ("PASID 0, device attached",    BUSY,   |h| { let a = h.hwpt(PA).unwrap(); h.attach(a).unwrap(); h.attach_pasid(0, a).map(drop) }),
        ("... device on another",       BUSY,   |h| { let a = h.hwpt(PA).unwrap(); h.attach(IOAS).unwrap(); h.attach_pasid(0, a).map(drop) }),
        ("... to its IOAS",             BUSY,   |h| { h.attach(IOAS).unwrap(); h.attach_pasid(0, IOAS).map(drop) }),
        ("device after PASID 0",        BUSY,   |h| { h.attach_pasid(0, IOAS).unwrap(); h.attach(IOAS).map(drop) }),
        ("PASID 0 replaces",            YES,    |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(0, IOAS).unwrap(); h.attach_pasid(0, a).map(drop) }),
        ("device detach leaves PASID 0", BUSY,  |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(0, a).unwrap(); h.detach().unwrap(); h.destroy(a) }),
        ("detach of PASID 0",           YES,    |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(0, a).unwrap(); h.detach_pasid(0).unwrap(); h.destroy(a) }),
        ("... not of the device",       BUSY,   |h| { let a = h.hwpt(PA).unwrap(); h.attach(a).unwrap(); h.detach_pasid(0).unwrap(); h.destroy(a) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &spr(0, 0), expected, calls);
    }
}

/// PASIDs of a device that has none: they attach, to nothing (`__iommu_set_group_pasid`). 6.15 turned
/// page faults on before that, and so noticed.
#[test]
fn pasids_without_pasids() {
    const YES: ByKernel<'_, Answer> = &[("6.15-", OK)];
    let no_width = File::of("spr").set("device", "pasid", "{ width = 0 }");
    let narrow = device("pasid", "{ width = 4 }");
    #[rustfmt::skip] // one machine and one hwpt, one line
    let rows: &[(&str, Machine, u32, u32, ByKernel<'_, Answer>)] = &[
        ("no ECAP.PASID",      spr(0, ecap::PASID), PA,         7,         YES),
        ("any PASID",          spr(0, ecap::PASID), PA,         0xf_ffff,  YES),
        ("up to the largest",  spr(0, ecap::PASID), PA,         0x7fff_ffff, YES),
        ("a plain hwpt",       spr(0, ecap::PASID), 0,          7,         &[("6.15-", INVAL)]),
        ("tracking",           spr(0, ecap::PASID), PA | DT,    7,         YES),
        ("sm_off",             sm_off(),            PA,         7,         YES),
        ("sm_off, faults",     sm_off(),            PA | FAULT, 7,         &[("6.15", NODEV), ("6.17-", OK)]),
        ("Ice Lake",           File::of("icx").machine(), PA,   7,         YES),
        ("16 PASIDs",          narrow.clone(),      PA,         15,        YES),
        ("... and a 17th",     narrow,              PA,         16,        &[("6.15-", INVAL)]),
        ("one PASID",          no_width.machine(),  PA,         1,         &[("6.15-", INVAL)]),
        ("faults, no PRI",     device("pri", "false"), PA | FAULT, 7,      &[("6.15-", NODEV)]),
    ];
    let mut table = Table::default();
    for (what, machine, flags, pasid, expected) in rows {
        table.row(what, machine, expected, |host| {
            let hwpt = host.hwpt(*flags).unwrap();
            host.attach_pasid(*pasid, hwpt)?;
            assert_eq!(host.destroy(hwpt), Err(Errno::EBUSY), "it is in the books");
            host.detach_pasid(*pasid).unwrap();
            host.destroy(hwpt)
        });
    }
}

/// A unit with few domain IDs: each hwpt that is attached takes one, two are the kernel's
/// (`domain_attach_iommu`).
#[test]
fn domain_ids() {
    // CAP.ND is 6, which is 65536; 0 is 16
    let machine = spr(6, 0);
    let mut table = Table::default();
    table.row("a hwpt each", &machine, &[("6.15-", (14, Errno::ENOSPC))], |host| {
        for pasid in 1.. {
            let hwpt = host.hwpt(PA).unwrap();
            if let Err(errno) = host.attach_pasid(pasid, hwpt) {
                return (pasid - 1, errno);
            }
            assert!(pasid < 100, "there is no end");
        }
        unreachable!()
    });
    table.row("one hwpt", &machine, &[("6.15-", OK)], |host| {
        let hwpt = host.hwpt(PA).unwrap();
        (1..100).try_for_each(|pasid| host.attach_pasid(pasid, hwpt).map(drop))
    });
    table.row("one after the other", &machine, &[("6.15-", OK)], |host| {
        (1..100).try_for_each(|_| {
            let hwpt = host.hwpt(PA)?;
            host.attach_pasid(1, hwpt)?;
            host.detach_pasid(1)
        })
    });
}

/// Sapphire Rapids with a second unit, some of whose bits are turned over, and a device behind it.
fn pair(cap: u64, ecap: u64) -> Machine {
    let (cap, ecap) = (CAP ^ cap, ECAP ^ ecap);
    File::of("spr")
        .add(&format!(
            "[[iommu]]\nname = \"dmar1\"\nkind = \"intel-vtd\"\naddress = 0xab3fc000\n\
             version = \"6.0\"\ncap = {cap:#x}\necap = {ecap:#x}\n\
             [[device]]\naddress = \"0000:7a:01.0\"\niommu = \"dmar1\"\nvendor = 0x8086\n\
             device = 0x0b25\nats = true\npri = true\npasid = {{ width = 20 }}\n"
        ))
        .machine()
}

/// A hwpt made for a device attaches to one behind another unit as far as the units are alike
/// (`prepare_domain_attach_device` up to 6.12, then `paging_domain_compatible`).
#[test]
fn units_that_differ() {
    /// The device that a hwpt is made for; the other attaches.
    const FULL: u32 = DEVICE;
    const LESS: u32 = DEVICE + 1;
    const FL1GP: u64 = 1 << 56;
    const SSLPS_1G: u64 = 1 << 35;
    const YES: ByKernel<'_, Answer> = &[("6.7-", OK)];
    const NEVER: ByKernel<'_, Answer> = &[("6.7-", INVAL)];
    const EQUAL: ByKernel<'_, Answer> = &[("6.7-6.12", OK), ("6.13-6.15", INVAL), ("6.17-", OK)];
    const SUBSET: ByKernel<'_, Answer> = &[("6.7-6.12", OK), ("6.13-", INVAL)];
    const COHERENT: ByKernel<'_, Answer> = &[("6.7-6.12", OK), ("6.13-6.18", INVAL), ("6.19-", OK)];
    #[rustfmt::skip] // one unit and one hwpt, one line
    let rows: &[(&str, Machine, u32, u32, ByKernel<'_, Answer>)] = &[
        ("alike",              pair(0, 0),             FULL, 0,  YES),
        ("alike, parent",      pair(0, 0),             FULL, NP, YES),
        ("alike, tracking",    pair(0, 0),             FULL, DT, YES),
        ("SC",                 pair(0, ecap::SC),      FULL, 0,  &[("6.7-6.18", INVAL), ("6.19-", OK)]),
        ("SC, second stage",   pair(0, ecap::SC),      FULL, NP, NEVER),
        ("without SC",         pair(0, ecap::SC),      LESS, NP, YES),
        ("SLADS",              pair(0, ecap::SLADS),   FULL, DT, NEVER),
        ("SLADS, not tracking", pair(0, ecap::SLADS),  FULL, NP, YES),
        ("NEST",               pair(0, ecap::NEST),    FULL, NP, &[("6.7-6.15", OK), ("6.17-", INVAL)]),
        ("NEST, plain",        pair(0, ecap::NEST),    FULL, 0,  YES),
        ("SMPWC",              pair(0, ecap::SMPWC),   FULL, 0,  SUBSET),
        ("SMPWC, parent",      pair(0, ecap::SMPWC),   FULL, NP, SUBSET),
        ("without SMPWC",      pair(0, ecap::SMPWC),   LESS, 0,  COHERENT),
        ("without SMPWC, parent", pair(0, ecap::SMPWC), LESS, NP, COHERENT),
        ("FL1GP",              pair(FL1GP, 0),         FULL, 0,  SUBSET),
        ("without FL1GP",      pair(FL1GP, 0),         LESS, 0,  EQUAL),
        ("FL1GP, parent",      pair(FL1GP, 0),         FULL, NP, YES),
        ("1 GiB",              pair(SSLPS_1G, 0),      FULL, NP, SUBSET),
        ("without 1 GiB",      pair(SSLPS_1G, 0),      LESS, NP, EQUAL),
        ("1 GiB, first stage", pair(SSLPS_1G, 0),      FULL, 0,  YES),
        ("FLTS",               pair(0, ecap::FLTS),    FULL, 0,  &[("6.7-6.12", OK), ("6.13-", INVAL)]),
        ("FLTS, parent",       pair(0, ecap::FLTS),    FULL, NP, YES),
        ("SLTS, parent",       pair(0, ecap::SLTS),    FULL, NP, &[("6.11-", INVAL)]),
        ("SLTS, first stage",  pair(0, ecap::SLTS),    FULL, 0,  &[("6.7-6.8", OK), ("6.11-6.12", INVAL), ("6.13-", OK)]),
        ("57 bits, parent",    pair(cap::SAGAW_57, 0), FULL, NP, &[("6.7-6.8", OK), ("6.11-", INVAL)]),
        ("48 bits, parent",    pair(cap::SAGAW_57, 0), LESS, NP, YES),
        ("57 bits, first stage", pair(cap::FS5LP, 0),  FULL, 0,  &[("6.7-6.8", OK), ("6.11-", INVAL)]),
        ("48 bits, first stage", pair(cap::FS5LP, 0),  LESS, 0,  YES),
        ("first stage, SAGAW", pair(cap::SAGAW_57, 0), FULL, 0,  &[("6.7-6.8", OK), ("6.11-6.18", INVAL), ("6.19-", OK)]),
        ("MGAW, parent",       pair(cap::MGAW_57_TO_46, 0), FULL, NP, &[("6.7-6.8", OK), ("6.11-", INVAL)]),
        ("MGAW less, parent",  pair(cap::MGAW_57_TO_46, 0), LESS, NP, YES),
    ];
    let mut table = Table::default();
    for (what, machine, made_for, flags, expected) in rows {
        table.row(what, machine, expected, |host| {
            let hwpt = host.hwpt_of(*made_for, IOAS, *flags).expect("a hwpt");
            host.attach_of((LESS - made_for) as usize, hwpt).map(drop)
        });
    }
}

/// A device that cannot use the hwpt that its IOAS has gets another one.
#[test]
fn one_hwpt_for_units_that_are_alike() {
    #[rustfmt::skip] // one unit, one line
    let rows: &[(&str, Machine, ByKernel<'_, bool>)] = &[
        ("alike",         pair(0, 0),             &[("6.6-", true)]),
        ("no SC",         pair(0, ecap::SC),      &[("6.6-6.18", false), ("6.19-", true)]),
        ("no NEST",       pair(0, ecap::NEST),    &[("6.6-", true)]),
        ("no SMPWC",      pair(0, ecap::SMPWC),   &[("6.6-6.12", true), ("6.13-", false)]),
        ("no FLTS",       pair(0, ecap::FLTS),    &[("6.6-6.12", true), ("6.13-", false)]),
    ];
    let mut table = Table::default();
    for (what, machine, expected) in rows {
        table.row(what, machine, expected, |host| {
            let one = host.attach_of(0, IOAS).unwrap();
            let two = host.attach_of(1, IOAS).unwrap();
            assert!([one, one + 1].contains(&two));
            one == two
        });
    }
}

/// A guest's first stage on units that differ: its parent must fit, and the device that is named when
/// it is made need not be behind the parent's unit, only one that nests.
#[test]
fn nested_on_units_that_differ() {
    const NO: Answer = Err(Errno::EOPNOTSUPP);
    type Row<'r> = (&'r str, Machine, Answer, ByKernel<'r, Answer>);
    #[rustfmt::skip] // one unit, one line
    let rows: &[Row<'_>] = &[
        ("alike",       pair(0, 0),             OK, &[("6.7-", OK)]),
        ("no NEST",     pair(0, ecap::NEST),    NO, &[("6.7-6.15", OK), ("6.17-", INVAL)]),
        ("no SC",       pair(0, ecap::SC),      OK, &[("6.7-", INVAL)]),
        ("no SMPWC",    pair(0, ecap::SMPWC),   OK, &[("6.7-6.12", OK), ("6.13-", INVAL)]),
        ("48 bits",     pair(cap::SAGAW_57, 0), OK, &[("6.7-6.18", NODEV), ("6.19-", INVAL)]),
        ("no SRS",      pair(0, ecap::SRS),     OK, &[("6.7-", INVAL)]),
        ("no FLTS",     pair(0, ecap::FLTS),    OK, &[("6.7-", OK)]),
    ];
    let mut table = Table::default();
    for (what, machine, made, attached) in rows {
        let data = stage(IOMMU_VTD_S1_SRE, 48);
        table.row(&format!("{what}, made"), machine, &[("6.7-", *made)], |host| {
            let parent = host.parent();
            host.nested_of(DEVICE + 1, parent, 0, 1, &data).map(drop)
        });
        table.row(&format!("{what}, attached"), machine, attached, |host| {
            let parent = host.parent();
            let nested = host.nested(parent, 0, 1, &data).unwrap();
            host.attach_of(1, nested).map(drop)
        });
    }
}
