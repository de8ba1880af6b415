//! Virtual IOMMUs, virtual devices and a guest's stream table entry (STE)
//! (`arm-smmu-v3-iommufd.c`, `iommufd/viommu.c`).

use profile::Machine;
use uapi::Errno;
use uapi::iommufd::*;

use super::attach::pair;
use super::{DT, FAULT, INVAL, NO, NOENT, NP, PA, grace, idr0, part};
use crate::file::File;
use crate::host::{DEVICE, Host, IOAS, NOBODY, UNMAPPED, hwpt_alloc};
use crate::table::{Answer, ByKernel, Calls, OK, Table};

const EXIST: Answer = Err(Errno::EEXIST);
const EIO: Answer = Err(Errno::EIO);

/// Data of type 2: an entry with `V`, `Config` and a second word.
pub fn ste(valid: u64, config: u64, word1: u64) -> Vec<u8> {
    words(valid | config << 1, word1)
}

fn words(word0: u64, word1: u64) -> Vec<u8> {
    [word0.to_le_bytes(), word1.to_le_bytes()].concat()
}

/// A vIOMMU over a new parent, and a vDEVICE 7 of the first device on it.
pub fn guest(host: &mut Host) -> (u32, u32) {
    let parent = host.parent();
    let viommu = host.viommu(1, parent).expect("a vIOMMU");
    (viommu, host.vdevice(viommu, 7).expect("a vDEVICE"))
}

/// Translation by the guest's stage 1, and the two that need no vDEVICE from 6.19 on.
const TRANSLATE: u64 = 5;
const BYPASS: u64 = 4;
const ABORT: u64 = 0;

/// What makes a vIOMMU possible: nesting, and memory that stays coherent whatever the guest says.
#[test]
fn viommu_by_unit() {
    let no_canwbs = || File::of("grace").set("iommu", "canwbs", "false");
    let fwb = grace(&[(3, 1 << 8)]);
    #[rustfmt::skip] // one unit, one line
    let rows: &[(&str, Machine, ByKernel<'_, Answer>)] = &[
        ("CANWBS",               grace(&[]).machine(),     &[("6.13-", OK)]),
        ("neither",              no_canwbs().machine(),    &[("6.13-", NO)]),
        ("FWB",                  fwb.clone().set("iommu", "canwbs", "false").machine(), &[("6.13-6.14", NO), ("6.15-", OK)]),
        ("both",                 fwb.machine(),            &[("6.13-", OK)]),
        ("no SSIDs",             grace(&[(1, 20 << 6)]).machine(), &[("6.13-", OK)]),
        ("no ATS",               grace(&[(0, idr0::ATS)]).machine(), &[("6.13-", OK)]),
    ];
    let mut table = Table::default();
    for (what, machine, expected) in rows {
        table.row(what, machine, expected, |host| {
            let parent = host.parent();
            let answer = host.viommu(1, parent).map(drop);
            assert_eq!(host.next_id(), parent + 1 + u32::from(answer.is_ok()), "it left something");
            answer
        });
    }
    table.row("MMU-700 r1p1", &part(0x487, 1, 1), &[("7.1-", OK)], |host| {
        let parent = host.parent();
        host.viommu(1, parent).map(drop)
    });
}

/// Up to 6.16 the driver judges the type after the core has judged the parent, then before.
#[test]
fn order_of_viommu() {
    const PARENT: u32 = DEVICE + 1;
    const PLAIN: u32 = DEVICE + 2;
    const NEVER: ByKernel<'_, Answer> = &[("6.13-", NO)];
    const LATE: ByKernel<'_, Answer> = &[("6.13-6.15", NOENT), ("6.17-", NO)];
    let nests = grace(&[]).machine();
    let narrow = File::of("grace").set("iommu", "canwbs", "false").machine();
    let not = part(0x487, 0, 0);
    type Change = fn(&mut iommu_viommu_alloc);
    #[rustfmt::skip] // one call, one line
    let rows: &[(&str, &Machine, ByKernel<'_, Answer>, Change)] = &[
        ("good",                     &nests,  &[("6.13-", OK)],     |_| ()),
        ("flags, then device",       &nests,  NEVER,                |c| { c.flags = 1; c.dev_id = NOBODY }),
        ("default type, then device", &nests, NEVER,                |c| { c.r#type = 0; c.dev_id = NOBODY }),
        ("device, then type",        &nests,  &[("6.13-", NOENT)],  |c| { c.r#type = 9; c.dev_id = NOBODY }),
        ("type",                     &nests,  NEVER,                |c| c.r#type = 9),
        ("Tegra's type",             &nests,  NEVER,                |c| c.r#type = 2),
        ("parent",                   &nests,  &[("6.13-", NOENT)],  |c| c.hwpt_id = NOBODY),
        ("an IOAS as parent",        &nests,  &[("6.13-", NOENT)],  |c| c.hwpt_id = IOAS),
        ("a plain hwpt as parent",   &nests,  &[("6.13-", INVAL)],  |c| c.hwpt_id = PLAIN),
        ("type and parent",          &nests,  LATE,                 |c| { c.r#type = 9; c.hwpt_id = NOBODY }),
        ("type and a plain hwpt",    &nests,  &[("6.13-6.15", INVAL), ("6.17-", NO)], |c| { c.r#type = 9; c.hwpt_id = PLAIN }),
        ("no CANWBS, and parent",    &narrow, LATE,                 |c| c.hwpt_id = NOBODY),
        ("no CANWBS, a plain hwpt",  &narrow, &[("6.13-6.15", INVAL), ("6.17-", NO)], |c| c.hwpt_id = PLAIN),
        ("no nesting, and parent",   &not,    LATE,                 |c| c.hwpt_id = NOBODY),
        ("no nesting, a plain hwpt", &not,    &[("6.13-6.15", INVAL), ("6.17-", NO)], |c| c.hwpt_id = PLAIN),
        ("data, which is not read",  &nests,  &[("6.17-", OK)],     |c| { c.data_len = 24; c.data_uptr = UNMAPPED }),
        ("reserved, not read either", &nests, &[("6.17-", OK)],     |c| c.__reserved = 1),
    ];
    let mut table = Table::default();
    for (what, machine, expected, change) in rows {
        table.row(what, machine, expected, |host| {
            // a machine that does not nest has a plain hwpt in the parent's place
            host.hwpt(NP).or_else(|_| host.hwpt(0)).unwrap();
            assert_eq!(host.hwpt(0), Ok(PLAIN));
            let mut cmd = iommu_viommu_alloc { r#type: 1, dev_id: DEVICE, ..Default::default() };
            cmd.hwpt_id = PARENT;
            change(&mut cmd);
            host.call(&mut cmd)
        });
    }
    table.row("parent of another SMMU", &pair(), &[("6.13-", INVAL)], |host| {
        let parent = host.parent();
        host.viommu_of(DEVICE + 1, 1, parent).map(drop)
    });
}

/// The order of checks, and how many a device may have: from 6.17 on one.
#[test]
fn vdevices() {
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("one",                       &[("6.13-", OK)],    |h| { guest(h); OK }),
        ("vIOMMU, then device",       &[("6.13-", NOENT)], |h| h.vdevice_of(NOBODY, NOBODY, 7).map(drop)),
        ("a parent as vIOMMU",        &[("6.13-", NOENT)], |h| { let p = h.parent(); h.vdevice(p, 7).map(drop) }),
        ("device",                    &[("6.13-", NOENT)], |h| { let (v, _) = guest(h); h.vdevice_of(NOBODY, v, 8).map(drop) }),
        ("an IOAS as device",         &[("6.13-", NOENT)], |h| { let (v, _) = guest(h); h.vdevice_of(IOAS, v, 8).map(drop) }),
        ("a second of a device",      &[("6.13-6.15", OK), ("6.17-", EXIST)], |h| { let (v, _) = guest(h); h.vdevice(v, 8).map(drop) }),
        ("... on another vIOMMU",     &[("6.13-6.15", OK), ("6.17-", EXIST)], |h| { guest(h); let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.vdevice(v, 7).map(drop) }),
        ("the same ID",               &[("6.13-", EXIST)], |h| { let (v, _) = guest(h); h.vdevice(v, 7).map(drop) }),
        ("... of another device",     &[("6.13-", EXIST)], |h| { let (v, _) = guest(h); h.vdevice_of(DEVICE + 2, v, 7).map(drop) }),
        ("another device",            &[("6.13-", OK)],    |h| { let (v, _) = guest(h); h.vdevice_of(DEVICE + 2, v, 8).map(drop) }),
        ("behind another SMMU",       &[("6.13-", INVAL)], |h| { let (v, _) = guest(h); h.vdevice_of(DEVICE + 1, v, 7).map(drop) }),
        ("a new one after the old",   &[("6.13-", OK)],    |h| { let (v, d) = guest(h); h.destroy(d).unwrap(); h.vdevice(v, 7).map(drop) }),
        ("... after a refused one",   &[("6.13-", OK)],    |h| { let (v, _) = guest(h); h.vdevice_of(DEVICE + 2, v, 7).unwrap_err(); h.vdevice_of(DEVICE + 2, v, 8).map(drop) }),
        ("an ID of 64 bits",          &[("6.13-", OK)],    |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.vdevice(v, u64::MAX).map(drop) }),
        ("vIOMMU in use",             &[("6.13-", Err(Errno::EBUSY))], |h| { let (v, _) = guest(h); h.destroy(v) }),
        ("parent in use",             &[("6.13-", Err(Errno::EBUSY))], |h| { let p = h.parent(); h.viommu(1, p).unwrap(); h.destroy(p) }),
        ("all go in order",           &[("6.13-", OK)],    |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); let d = h.vdevice(v, 7).unwrap(); h.destroy(d).unwrap(); h.destroy(v).unwrap(); h.destroy(p) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &pair(), expected, calls);
    }
}

/// The order in which `IOMMU_HWPT_ALLOC` over a vIOMMU is judged. The contents come after the length
/// and the address, the fault queue last.
#[test]
fn order_of_nested() {
    type Change = fn(&mut iommu_hwpt_alloc);
    const EFAULT: Answer = Err(Errno::EFAULT);
    #[rustfmt::skip] // one call, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Change)] = &[
        ("good",                      &[("6.13-", OK)],     |_| ()),
        ("reserved",                  &[("6.13-", NO)],     |c| { c.__reserved = 1; c.dev_id = NOBODY }),
        ("no data",                   &[("6.13-", NO)],     |c| { c.data_type = 0; c.data_len = 0 }),
        ("no length",                 &[("6.13-", INVAL)],  |c| c.data_len = 0),
        ("no type",                   &[("6.13-", INVAL)],  |c| c.data_type = 0),
        ("device, then flag",         &[("6.13-", NOENT)],  |c| { c.dev_id = NOBODY; c.flags = NP }),
        ("another SMMU, then flag",   &[("6.13-", INVAL)],  |c| { c.dev_id = DEVICE + 1; c.flags = NP }),
        ("another device of it",      &[("6.13-", OK)],     |c| c.dev_id = DEVICE + 2),
        ("parent",                    &[("6.13-", NO)],     |c| c.flags = NP),
        ("dirty tracking",            &[("6.13-", NO)],     |c| c.flags = DT),
        ("PASID",                     &[("6.13-", NO)],     |c| c.flags = PA),
        ("PASID, then type",          &[("6.13-", NO)],     |c| { c.flags = PA; c.data_type = 1 }),
        ("type",                      &[("6.13-", INVAL)],  |c| c.data_type = 1),
        ("type, then length",         &[("6.13-", INVAL)],  |c| { c.data_type = 77; c.data_len = 1 }),
        ("a byte short",              &[("6.13-", INVAL)],  |c| c.data_len = 15),
        ("a byte long",               &[("6.13-", INVAL)],  |c| c.data_len = 17),
        ("length, then address",      &[("6.13-", INVAL)],  |c| { c.data_len = 24; c.data_uptr = UNMAPPED }),
        ("address",                   &[("6.13-", EFAULT)], |c| c.data_uptr = UNMAPPED),
        ("address, then fault queue", &[("6.13-", EFAULT)], |c| { c.data_uptr = UNMAPPED; c.flags = FAULT; c.fault_id = NOBODY }),
        ("fault queue",               &[("6.13-", NOENT)],  |c| { c.flags = FAULT; c.fault_id = NOBODY }),
        // over the parent itself there is no operation, and nothing else is looked at
        ("over the parent",           &[("6.13-", NO)],     |c| c.pt_id -= 1),
        ("... type",                  &[("6.13-", NO)],     |c| { c.pt_id -= 1; c.data_type = 1 }),
        ("... length",                &[("6.13-", NO)],     |c| { c.pt_id -= 1; c.data_len = 1 }),
        ("over a vDEVICE",            &[("6.13-", INVAL)],  |c| c.pt_id += 1),
    ];
    let mut table = Table::default();
    for (what, expected, change) in rows {
        table.row(what, &pair(), expected, |host| {
            let (pt_id, vdevice) = guest(host);
            let data_uptr = host.put(&ste(1, TRANSLATE, 0));
            let data = iommu_hwpt_alloc { data_type: 2, data_len: 16, data_uptr, ..hwpt_alloc() };
            let mut cmd = iommu_hwpt_alloc { pt_id, ..data };
            change(&mut cmd);
            let answer = host.hwpt_with(&mut cmd).map(drop);
            assert_eq!(host.next_id(), vdevice + 1 + u32::from(answer.is_ok()), "left something");
            answer
        });
    }
    // before there were vIOMMUs there was no parent either
    table.row("a plain hwpt", &pair(), &[("6.11-6.12", INVAL), ("6.13-", NO)], |host| {
        let hwpt = host.hwpt(0).unwrap();
        host.nested(hwpt, 0, 2, &ste(1, TRANSLATE, 0)).map(drop)
    });
    table.row("... and a flag", &pair(), &[("6.11-", NO)], |host| {
        let hwpt = host.hwpt(0).unwrap();
        host.nested(hwpt, NP, 2, &ste(1, TRANSLATE, 0)).map(drop)
    });
}

/// Which entries are taken (`arm_smmu_validate_vste`): an entry that is not valid may have anything in
/// it, another only what a guest may choose.
#[test]
fn entries() {
    const WORD0: u64 = 0xf80f_ffff_ffff_ffff;
    const WORD1: u64 = 0x3800_00ff;
    const EATS: u64 = 1 << 28;
    const VALID: u64 = 1;
    let config = |config: u64| VALID | config << 1;
    #[rustfmt::skip] // one entry, one line
    let rows: &[(&str, u64, u64, Answer)] = &[
        ("abort",                      config(0),                 0,            OK),
        ("bypass",                     config(4),                 0,            OK),
        ("translate",                  config(5),                 0,            OK),
        ("not valid",                  0,                         0,            OK),
        ("not valid, anything else",   !1,                        u64::MAX,     OK),
        ("Config 1",                   config(1),                 0,            EIO),
        ("Config 2",                   config(2),                 0,            EIO),
        ("Config 3",                   config(3),                 0,            EIO),
        ("both stages",                config(7),                 0,            EIO),
        ("stage 2",                    config(6),                 0,            EIO),
        ("every field of word 0",      WORD0 & !(7 << 1) | 5 << 1, 0,           OK),
        ("bit 52",                     config(5) | 1 << 52,       0,            EIO),
        ("bit 58",                     config(5) | 1 << 58,       0,            EIO),
        ("S1CDMax",                    config(5) | 1 << 59,       0,            OK),
        ("S1DSS to S1CSH",             config(5),                 0xff,         OK),
        ("bit 8 of word 1",            config(5),                 1 << 8,       EIO),
        ("S1STALLD",                   config(5),                 1 << 27,      OK),
        ("bit 26 of word 1",           config(5),                 1 << 26,      EIO),
        ("bit 30 of word 1",           config(5),                 1 << 30,      EIO),
        ("EATS full",                  config(5),                 EATS,         OK),
        ("EATS split",                 config(5),                 2 * EATS,     EIO),
        ("EATS 3",                     config(5),                 3 * EATS,     EIO),
        ("EATS of a bypass",           config(4),                 EATS,         OK),
        ("EATS split of an abort",     config(0),                 2 * EATS,     EIO),
        ("every field of word 1",      config(5),                 WORD1 & !(2 * EATS), OK),
        ("a context pointer anywhere", config(5) | 0xf_ffff_ffff_ffc0, 0,       OK),
    ];
    let mut table = Table::default();
    let machine = grace(&[]).machine();
    for (what, word0, word1, answer) in rows {
        table.row(what, &machine, &[("6.13-", *answer)], |host| {
            let (viommu, _) = guest(host);
            host.nested(viommu, 0, 2, &words(*word0, *word1)).map(drop)
        });
    }
    table.row("entry, then fault queue", &machine, &[("6.13-", EIO)], |host| {
        let (pt_id, _) = guest(host);
        let data_uptr = host.put(&ste(1, 7, 0));
        host.hwpt_with(&mut iommu_hwpt_alloc {
            flags: FAULT,
            fault_id: NOBODY,
            pt_id,
            data_type: 2,
            data_len: 16,
            data_uptr,
            ..hwpt_alloc()
        })
        .map(drop)
    });
}

/// When a device must have a vDEVICE on the entry's vIOMMU to attach to it
/// (`arm_smmu_attach_prepare_vmaster`).
#[test]
fn attach_needs_vdevice() {
    fn without(host: &mut Host) -> u32 {
        let parent = host.parent();
        host.viommu(1, parent).unwrap()
    }
    fn attach(host: &mut Host, viommu: u32, valid: u64, config: u64) -> Answer {
        let nested = host.nested(viommu, 0, 2, &ste(valid, config, 0)).unwrap();
        host.attach(nested).map(|used| assert_eq!(used, nested))
    }
    const ALWAYS: ByKernel<'_, Answer> = &[("6.13-", OK)];
    const TRANSLATED: ByKernel<'_, Answer> = &[("6.13-6.14", OK), ("6.15-", NOENT)];
    const NOT: ByKernel<'_, Answer> = &[("6.13-6.14", OK), ("6.15-6.18", NOENT), ("6.19-", OK)];
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("with, translate",      ALWAYS,     |h| { let (v, _) = guest(h); attach(h, v, 1, TRANSLATE) }),
        ("with, bypass",         ALWAYS,     |h| { let (v, _) = guest(h); attach(h, v, 1, BYPASS) }),
        ("with, abort",          ALWAYS,     |h| { let (v, _) = guest(h); attach(h, v, 1, ABORT) }),
        ("with, not valid",      ALWAYS,     |h| { let (v, _) = guest(h); attach(h, v, 0, 0) }),
        ("without, translate",   TRANSLATED, |h| { let v = without(h); attach(h, v, 1, TRANSLATE) }),
        ("without, bypass",      NOT,        |h| { let v = without(h); attach(h, v, 1, BYPASS) }),
        ("without, abort",       NOT,        |h| { let v = without(h); attach(h, v, 1, ABORT) }),
        ("without, not valid",   NOT,        |h| { let v = without(h); attach(h, v, 0, TRANSLATE) }),
        ("on another vIOMMU",    TRANSLATED, |h| { guest(h); let v = without(h); attach(h, v, 1, TRANSLATE) }),
        ("of another device",    TRANSLATED, |h| { let v = without(h); h.vdevice_of(DEVICE + 2, v, 7).unwrap(); attach(h, v, 1, TRANSLATE) }),
        ("made later",           ALWAYS,     |h| { let v = without(h); let n = h.nested(v, 0, 2, &ste(1, TRANSLATE, 0)).unwrap(); h.vdevice(v, 7).unwrap(); h.attach(n).map(drop) }),
        ("gone before",          TRANSLATED, |h| { let (v, d) = guest(h); h.destroy(d).unwrap(); attach(h, v, 1, TRANSLATE) }),
        ("gone after",           ALWAYS,     |h| { let (v, d) = guest(h); attach(h, v, 1, TRANSLATE).unwrap(); h.destroy(d) }),
        ("bypass, then translate", &[("6.13-6.14", OK)], |h| { let v = without(h); attach(h, v, 1, BYPASS).unwrap(); attach(h, v, 1, TRANSLATE) }),
        ("refused, and left where it was", &[("6.15-", Err(Errno::EBUSY))], |h| { let p = h.parent(); h.attach(p).unwrap(); let v = h.viommu(1, p).unwrap(); attach(h, v, 1, TRANSLATE).unwrap_err(); let plain = h.attach(p).unwrap(); h.destroy(plain) }),
        ("behind another SMMU",  &[("6.13-", INVAL)], |h| { let (v, _) = guest(h); let n = h.nested(v, 0, 2, &ste(1, TRANSLATE, 0)).unwrap(); h.attach_of(1, n).map(drop) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &pair(), expected, calls);
    }
    table.row("bypass, then translate, late", &pair(), &[("6.19-", NOENT)], |host| {
        let viommu = without(host);
        attach(host, viommu, 1, BYPASS).unwrap();
        attach(host, viommu, 1, TRANSLATE)
    });
}

/// Queues of events: the core asks no driver whether it knows the type.
#[test]
fn event_queues() {
    const BUSY: Answer = Err(Errno::EBUSY);
    let limit: ByKernel<'_, Answer> = &[("6.15-7.1", OK), ("7.2-", INVAL)];
    #[rustfmt::skip] // one call, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("type 1",             &[("6.15-", OK)],    |h| { let (v, _) = guest(h); h.veventq(v, 1, 16).map(drop) }),
        ("Tegra's type",       &[("6.15-", OK)],    |h| { let (v, _) = guest(h); h.veventq(v, 2, 16).map(drop) }),
        ("any type",           &[("6.15-", OK)],    |h| { let (v, _) = guest(h); h.veventq(v, 999, 16).map(drop) }),
        ("two types",          &[("6.15-", OK)],    |h| { let (v, _) = guest(h); h.veventq(v, 1, 16).unwrap(); h.veventq(v, 2, 16).map(drop) }),
        ("a type twice",       &[("6.15-", EXIST)], |h| { let (v, _) = guest(h); h.veventq(v, 1, 16).unwrap(); h.veventq(v, 1, 16).map(drop) }),
        ("no type, no depth",  &[("6.15-", NO)],    |h| h.veventq(NOBODY, 0, 0).map(drop)),
        ("no depth",           &[("6.15-", INVAL)], |h| h.veventq(NOBODY, 1, 0).map(drop)),
        ("vIOMMU",             &[("6.15-", NOENT)], |h| h.veventq(NOBODY, 1, 1).map(drop)),
        ("the deepest",        &[("6.15-", OK)],    |h| { let (v, _) = guest(h); h.veventq(v, 1, 1 << 19).map(drop) }),
        ("deeper",             limit,               |h| { let (v, _) = guest(h); h.veventq(v, 1, (1 << 19) + 1).map(drop) }),
        ("open, so in use",    &[("6.15-", BUSY)],  |h| { let (v, _) = guest(h); let q = h.veventq(v, 1, 16).unwrap(); h.destroy(q) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &grace(&[]).machine(), expected, calls);
    }
    // queues that the hardware reads are Tegra's
    table.row("hardware queue", &grace(&[]).machine(), &[("6.17-", NO)], |host| {
        let (viommu_id, _) = guest(host);
        host.call(&mut iommu_hw_queue_alloc {
            viommu_id,
            r#type: 1,
            length: 4096,
            ..Default::default()
        })
    });
}
