//! A guest's first stage over a nesting parent: making it, attaching it, invalidating it
//! (`drivers/iommu/intel/nested.c`, `intel_pasid_setup_nested`).

use profile::Machine;
use uapi::Errno;
use uapi::iommufd::*;
use zerocopy::IntoBytes;

use super::{DT, FAULT, NP, PA, cap, ecap, spr};
use crate::host::{DEVICE, Done, Host, IOAS, NOBODY, UNMAPPED, hwpt_alloc};
use crate::table::{Answer, ByKernel, OK, Table};

const NO: Answer = Err(Errno::EOPNOTSUPP);
const INVAL: Answer = Err(Errno::EINVAL);
const NOENT: Answer = Err(Errno::ENOENT);

/// Data of a guest's first stage.
pub fn stage(flags: u64, addr_width: u32) -> Vec<u8> {
    let data = iommu_hwpt_vtd_s1 { flags, pgtbl_addr: 0x1000, addr_width, __reserved: 0 };
    data.as_bytes().to_vec()
}

/// Parent 3, and a good call that makes a nested hwpt over it.
const PARENT: u32 = DEVICE + 1;

fn good(host: &mut Host) -> iommu_hwpt_alloc {
    assert_eq!(host.parent(), PARENT);
    let data_uptr = host.put(&stage(0, 48));
    let data = iommu_hwpt_alloc { data_type: 1, data_len: 24, data_uptr, ..hwpt_alloc() };
    iommu_hwpt_alloc { pt_id: PARENT, ..data }
}

/// The order in which a call is judged. What is in the data is not: only its length and its address.
#[test]
fn order_of_alloc() {
    type Change = fn(&mut iommu_hwpt_alloc);
    #[rustfmt::skip] // one call, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Change)] = &[
        ("good",                                 &[("6.7-", OK)],                       |_| ()),
        ("reserved, then all",                   &[("6.7-", NO)],                       |c| { c.__reserved = 1; c.data_len = 0; c.dev_id = NOBODY }),
        ("no data",                              &[("6.7-", NO)],                       |c| { c.data_type = 0; c.data_len = 0 }),
        ("no data length",                       &[("6.7", NO), ("6.8-", INVAL)],       |c| c.data_len = 0),
        ("no data type",                         &[("6.7-", INVAL)],                    |c| c.data_type = 0),
        ("device, then flag",                    &[("6.7-", NOENT)],                    |c| { c.dev_id = NOBODY; c.flags = NP }),
        ("parent",                               &[("6.7-", NO)],                       |c| c.flags = NP),
        ("dirty tracking",                       &[("6.7-", NO)],                       |c| c.flags = DT),
        ("unknown flag",                         &[("6.7-", NO)],                       |c| c.flags = 16),
        ("PASID",                                &[("6.7-6.14", NO), ("6.15-", OK)],    |c| c.flags = PA),
        ("faults, no such queue",                &[("6.7-6.8", NO), ("6.11-", NOENT)],  |c| c.flags = FAULT),
        ("flag, then type",                      &[("6.7-", NO)],                       |c| { c.flags = NP; c.data_type = 2; c.data_len = 1 }),
        ("type",                                 &[("6.7-", NO)],                       |c| c.data_type = 2),
        ("type, then length",                    &[("6.7-", NO)],                       |c| { c.data_type = 2; c.data_len = 1 }),
        ("type, then address",                   &[("6.7-", NO)],                       |c| { c.data_type = 77; c.data_uptr = UNMAPPED }),
        ("a byte short",                         &[("6.7-", INVAL)],                    |c| c.data_len = 23),
        ("a byte long",                          &[("6.7-", INVAL)],                    |c| c.data_len = 25),
        ("long, then address",                   &[("6.7-", INVAL)],                    |c| { c.data_len = 32; c.data_uptr = UNMAPPED }),
        ("address",                              &[("6.7-", Err(Errno::EFAULT))],       |c| c.data_uptr = UNMAPPED),
        ("length, then fault queue",             &[("6.11-", INVAL)],                   |c| { c.data_len = 23; c.flags = FAULT; c.fault_id = NOBODY }),
        ("address, then fault queue",            &[("6.11-", Err(Errno::EFAULT))],      |c| { c.data_uptr = UNMAPPED; c.flags = FAULT; c.fault_id = NOBODY }),
        ("fault queue",                          &[("6.11-", NOENT)],                   |c| { c.flags = FAULT; c.fault_id = NOBODY }),
        ("the parent as fault queue",            &[("6.11-", NOENT)],                   |c| { c.flags = FAULT; c.fault_id = PARENT }),
        ("pt",                                   &[("6.7-", INVAL)],                    |c| c.pt_id = NOBODY),
        ("pt, then flag",                        &[("6.7-", INVAL)],                    |c| { c.pt_id = NOBODY; c.flags = NP }),
        ("an IOAS as pt",                        &[("6.7-", NO)],                       |c| c.pt_id = IOAS),
    ];
    let mut table = Table::default();
    for (what, expected, change) in rows {
        table.row(what, &spr(0, 0), expected, |host| {
            let mut cmd = good(host);
            change(&mut cmd);
            let answer = host.hwpt_with(&mut cmd).map(drop);
            assert_eq!(host.next_id(), PARENT + 1 + u32::from(answer.is_ok()), "it left something");
            answer
        });
    }
}

/// Which hwpt may be the parent. The type of the data is judged after that, by the driver.
#[test]
fn parents() {
    let nested = |host: &mut Host, pt| host.nested(pt, 0, 1, &stage(0, 48)).map(drop);
    let alien = |host: &mut Host, pt| host.nested(pt, 0, 2, &stage(0, 48)).map(drop);
    type Calls<'c> = &'c dyn Fn(&mut Host) -> Answer;
    #[rustfmt::skip] // one parent, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<'_>)] = &[
        ("a parent",                   &[("6.7-", OK)],    &|h| { let pt = h.hwpt(NP).unwrap(); nested(h, pt) }),
        ("a parent that tracks",       &[("6.7-", OK)],    &|h| { let pt = h.hwpt(NP | DT).unwrap(); nested(h, pt) }),
        ("a parent for PASIDs",        &[("6.15-", OK)],   &|h| { let pt = h.hwpt(NP | PA).unwrap(); nested(h, pt) }),
        ("an attached parent",         &[("6.7-", OK)],    &|h| { let pt = h.hwpt(NP).unwrap(); h.attach(pt).unwrap(); nested(h, pt) }),
        ("two over one parent",        &[("6.7-", OK)],    &|h| { let pt = h.hwpt(NP).unwrap(); nested(h, pt).unwrap(); nested(h, pt) }),
        ("a plain hwpt",               &[("6.7-", INVAL)], &|h| { let pt = h.hwpt(0).unwrap(); nested(h, pt) }),
        ("a hwpt that tracks",         &[("6.7-", INVAL)], &|h| { let pt = h.hwpt(DT).unwrap(); nested(h, pt) }),
        ("the IOAS's own",             &[("6.7-", INVAL)], &|h| { let pt = h.attach(IOAS).unwrap(); nested(h, pt) }),
        ("plain hwpt, alien type",     &[("6.7-", INVAL)], &|h| { let pt = h.hwpt(0).unwrap(); alien(h, pt) }),
        ("plain hwpt, flag of a parent", &[("6.7-", NO)],  &|h| { let pt = h.hwpt(0).unwrap(); h.nested(pt, NP, 1, &stage(0, 48)).map(drop) }),
        ("a nested hwpt",              &[("6.7-", INVAL)], &|h| { let pt = h.parent(); let pt = h.nested(pt, 0, 1, &stage(0, 48)).unwrap(); nested(h, pt) }),
        ("a device",                   &[("6.7-", INVAL)], &|h| nested(h, DEVICE)),
        ("a parent in use goes not",   &[("6.7-", Err(Errno::EBUSY))], &|h| { let pt = h.parent(); nested(h, pt).unwrap(); h.destroy(pt) }),
        ("... and goes after its child", &[("6.7-", OK)],  &|h| { let pt = h.parent(); let child = h.nested(pt, 0, 1, &stage(0, 48)).unwrap(); h.destroy(child).unwrap(); h.destroy(pt) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &spr(0, 0), expected, calls);
    }
}

/// Fields that are judged when a device attaches, and not before. An unknown flag is never refused.
#[test]
fn fields_at_attach() {
    const SRE: u64 = IOMMU_VTD_S1_SRE;
    const EAFE: u64 = IOMMU_VTD_S1_EAFE;
    const WPE: u64 = IOMMU_VTD_S1_WPE;
    const ALWAYS: ByKernel<'_, Answer> = &[("6.7-", OK)];
    const NEVER: ByKernel<'_, Answer> = &[("6.7-", INVAL)];
    #[rustfmt::skip] // one unit and one stage, one line
    let rows: &[(&str, Machine, u64, u32, ByKernel<'_, Answer>)] = &[
        ("four levels",           spr(0, 0),            0,                48, ALWAYS),
        ("five levels",           spr(0, 0),            0,                57, ALWAYS),
        ("... no FS5LP, no FLTS", spr(cap::FS5LP, ecap::FLTS), 0,         57, NEVER),
        ("four, no FS5LP",        spr(cap::FS5LP, ecap::FLTS), 0,         48, ALWAYS),
        ("three levels",          spr(0, 0),            0,                39, NEVER),
        ("no width",              spr(0, 0),            0,                0,  NEVER),
        ("all the width",         spr(0, 0),            0,                64, NEVER),
        ("width + 2^8",           spr(0, 0),            0,         48 | 256,  NEVER),
        ("every flag",            spr(0, 0),            SRE | EAFE | WPE, 48, ALWAYS),
        ("unknown flags",         spr(0, 0),            !7,               48, ALWAYS),
        ("SRE, no SRS",           spr(0, ecap::SRS),    SRE,              48, NEVER),
        ("WPE, no SRS",           spr(0, ecap::SRS),    WPE,              48, ALWAYS),
        ("EAFE, no EAFS",         spr(0, ecap::EAFS),   EAFE,             48, NEVER),
        ("SRE, no EAFS",          spr(0, ecap::EAFS),   SRE,              48, ALWAYS),
        ("EAFE, no SRS",          spr(0, ecap::SRS),    EAFE,             48, ALWAYS),
        ("no FLTS",               spr(0, ecap::FLTS),   0,                48, ALWAYS),
        ("no SC",                 spr(0, ecap::SC),     0,                48, ALWAYS),
        ("no PASID",              spr(0, ecap::PASID),  0,                48, ALWAYS),
    ];
    let mut table = Table::default();
    for (what, machine, flags, width, expected) in rows {
        table.row(what, machine, expected, |host| {
            let parent = host.parent();
            let nested = host.nested(parent, 0, 1, &stage(*flags, *width)).expect("a nested hwpt");
            host.attach(nested).map(|used| assert_eq!(used, nested))
        });
    }
    // the guest's table may be anywhere, and the padding anything
    table.row("any address", &spr(0, 0), ALWAYS, |host| {
        let parent = host.parent();
        let data = iommu_hwpt_vtd_s1 {
            pgtbl_addr: u64::MAX,
            addr_width: 48,
            __reserved: u32::MAX,
            ..Default::default()
        };
        let nested = host.nested(parent, 0, 1, data.as_bytes()).unwrap();
        host.attach(nested).map(drop)
    });
    // the parent's table has five levels up to 6.10, until a device attaches to it and shortens it
    let narrow = spr(cap::SAGAW_57, 0);
    let first = [("6.7-6.8", Err(Errno::ENODEV)), ("6.11-", OK)];
    table.row("parent that is too deep", &narrow, &first, |host| {
        let parent = host.parent();
        let nested = host.nested(parent, 0, 1, &stage(0, 48)).unwrap();
        host.attach(nested).map(drop)
    });
    table.row("... and was shortened", &narrow, ALWAYS, |host| {
        let parent = host.parent();
        host.attach(parent).unwrap();
        let nested = host.nested(parent, 0, 1, &stage(0, 48)).unwrap();
        host.attach(nested).map(drop)
    });
}

/// An attach that fails leaves the device where it was, for the API.
#[test]
fn failed_attach() {
    let mut table = Table::default();
    let machine = spr(0, 0);
    table.row("from nothing", &machine, &[("6.7-", OK)], |host| {
        let parent = host.parent();
        let bad = host.nested(parent, 0, 1, &stage(0, 39)).unwrap();
        assert_eq!(host.attach(bad), Err(Errno::EINVAL));
        assert_eq!(host.ranges().0.len(), 1, "nothing is reserved");
        host.destroy(bad)
    });
    table.row("from the parent", &machine, &[("6.7-", Err(Errno::EBUSY))], |host| {
        let parent = host.parent();
        host.attach(parent).unwrap();
        let bad = host.nested(parent, 0, 1, &stage(0, 39)).unwrap();
        assert_eq!(host.attach(bad), Err(Errno::EINVAL));
        host.destroy(bad).unwrap();
        assert_eq!(host.ranges().0.len(), 2, "still reserved");
        host.destroy(parent)
    });
    table.row("from its good brother", &machine, &[("6.7-", Ok(DEVICE + 2))], |host| {
        let parent = host.parent();
        let good = host.nested(parent, 0, 1, &stage(0, 48)).unwrap();
        let bad = host.nested(parent, 0, 1, &stage(0, 39)).unwrap();
        host.attach(good).unwrap();
        assert_eq!(host.attach(bad), Err(Errno::EINVAL));
        assert_eq!(host.destroy(good), Err(Errno::EBUSY));
        host.attach(good)
    });
}

/// `IOMMU_HWPT_INVALIDATE` of a nested hwpt (`intel_nested_cache_invalidate_user`). `entry_num` comes
/// back as the number of entries that were done.
#[test]
fn invalidate() {
    fn entry(addr: u64, npages: u64, flags: u32, reserved: u32) -> Vec<u8> {
        let entry = iommu_hwpt_vtd_s1_invalidate { addr, npages, flags, __reserved: reserved };
        entry.as_bytes().to_vec()
    }
    let ok = entry(0x1000, 1, 0, 0);
    const E: fn(Errno, u32) -> Done = |errno, done| (Err(errno), done);
    #[rustfmt::skip] // one array, one line
    let rows: &[(&str, u32, Vec<Vec<u8>>, Done)] = &[
        ("one entry",                0, vec![ok.clone()],                                         (Ok(()), 1)),
        ("three entries",            0, vec![ok.clone(); 3],                                      (Ok(()), 3)),
        ("leaves only",              0, vec![entry(0, 1, 1, 0)],                                  (Ok(()), 1)),
        ("everything",               0, vec![entry(0, u64::MAX, 0, 0)],                           (Ok(()), 1)),
        ("everything but not from 0", 0, vec![entry(0x1000, u64::MAX, 0, 0)],                     E(Errno::EINVAL, 0)),
        ("not aligned",              0, vec![ok.clone(), entry(0x1001, 1, 0, 0)],                 E(Errno::EINVAL, 1)),
        ("flag, then alignment",     0, vec![ok.clone(), ok.clone(), entry(1, 1, 2, 0)],          E(Errno::EOPNOTSUPP, 2)),
        ("reserved",                 0, vec![entry(0, 1, 0, 1)],                                  E(Errno::EOPNOTSUPP, 0)),
        ("good after bad",           0, vec![entry(1, 1, 0, 0), ok.clone()],                      E(Errno::EINVAL, 0)),
        ("type",                     1, vec![ok.clone()],                                         E(Errno::EINVAL, 0)),
        ("type, then entry",         1, vec![entry(1, 1, 2, 1)],                                  E(Errno::EINVAL, 0)),
        ("entries too short",        0, vec![ok[..16].to_vec(); 2],                               E(Errno::EINVAL, 0)),
        ("entries too long",         0, vec![[&ok[..], &[0; 8]].concat(); 2],                     E(Errno::EINVAL, 0)),
        ("no entries",               0, vec![],                                                   (Ok(()), 0)),
        ("no entries, type",         1, vec![],                                                   E(Errno::EINVAL, 0)),
    ];
    let mut table = Table::default();
    for (what, kind, entries, done) in rows {
        table.row(what, &spr(0, 0), &[("6.8-", *done)], |host| {
            let mut cmd = good(host);
            let nested = host.hwpt_with(&mut cmd).unwrap();
            let entries: Vec<_> = entries.iter().map(|entry| &entry[..]).collect();
            // attached or not
            let apart = host.invalidate(nested, *kind, &entries);
            host.attach(nested).unwrap();
            assert_eq!(host.invalidate(nested, *kind, &entries), apart);
            apart
        });
    }
}

/// What is judged before the driver is asked (`iommufd_hwpt_invalidate`).
#[test]
fn order_of_invalidate() {
    const BAD: fn(Errno) -> Done = |errno| (Err(errno), 0);
    let inval = BAD(Errno::EINVAL);
    let noent = BAD(Errno::ENOENT);
    let wrong_kind = [("6.8-6.12", noent), ("6.13-", inval)];
    // limits came late, and with a back-port
    let limit =
        |before| [("6.8-6.11", before), ("6.12", inval), ("6.13-7.1", before), ("7.2-", inval)];
    let entries: fn(Errno, u32) -> Done = |errno, done| (Err(errno), done);
    type Change = fn(&mut iommu_hwpt_invalidate);
    #[rustfmt::skip] // one call, one line
    let rows: &[(&str, ByKernel<'_, Done>, Change)] = &[
        ("reserved, then all",       &[("6.8-", BAD(Errno::EOPNOTSUPP))], |c| { c.__reserved = 1; c.data_uptr = 0; c.hwpt_id = NOBODY }),
        ("no address, then object",  &[("6.8-", inval)],                  |c| { c.data_uptr = 0; c.hwpt_id = NOBODY }),
        ("no length, then object",   &[("6.8-", inval)],                  |c| { c.entry_len = 0; c.hwpt_id = NOBODY }),
        ("object",                   &[("6.8-", noent)],                  |c| c.hwpt_id = NOBODY),
        ("object, no entries",       &[("6.8-", noent)],                  |c| { c.hwpt_id = NOBODY; c.entry_num = 0 }),
        ("the parent",               &wrong_kind,                         |c| c.hwpt_id = PARENT),
        ("an IOAS",                  &wrong_kind,                         |c| c.hwpt_id = IOAS),
        ("object, then type",        &[("6.8-", noent)],                  |c| { c.hwpt_id = NOBODY; c.data_type = 9 }),
        ("address",                  &[("6.8-", BAD(Errno::EFAULT))],     |c| c.data_uptr = UNMAPPED),
        ("nothing, nowhere",         &[("6.8-", (Ok(()), 0))],            |c| { c.entry_num = 0; c.entry_len = 0; c.data_uptr = 0 }),
        ("nothing of any length",    &[("6.8-", (Ok(()), 0))],            |c| { c.entry_num = 0; c.entry_len = 5000 }),
        ("longer than a page",       &limit(inval),                       |c| c.entry_len = 4097),
        ("... then object",          &limit(noent),                       |c| { c.entry_len = 4097; c.hwpt_id = NOBODY }),
        ("too many, then object",    &limit(noent),                       |c| { c.entry_num = (1 << 19) + 1; c.hwpt_id = NOBODY }),
        ("many, off the end",        &[("6.8-", entries(Errno::EFAULT, 0x1_0000 / 24))], |c| c.entry_num = 1 << 19),
    ];
    let mut table = Table::default();
    for (what, expected, change) in rows {
        table.row(what, &spr(0, 0), expected, |host| {
            let mut cmd = good(host);
            let hwpt_id = host.hwpt_with(&mut cmd).unwrap();
            let data_uptr = host.put(&[0; 0x1_0000]);
            let mut cmd = iommu_hwpt_invalidate {
                hwpt_id,
                data_uptr,
                entry_len: 24,
                entry_num: 1,
                ..Default::default()
            };
            change(&mut cmd);
            host.invalidate_with(cmd)
        });
    }
}

/// There is no vIOMMU on VT-d: the driver has no operation for it, which is noticed before the parent
/// is looked at.
#[test]
fn viommu() {
    let mut table = Table::default();
    #[rustfmt::skip] // one call, one line
    let rows: &[(&str, u32, u32, u32, Answer)] = &[
        ("a parent",                    DEVICE, 1, PARENT, NO),
        ("any type",                    DEVICE, 9, PARENT, NO),
        ("no such parent",              DEVICE, 1, NOBODY, NO),
        ("default type, then device",   NOBODY, 0, PARENT, NO),
        ("device",                      NOBODY, 1, PARENT, NOENT),
    ];
    for (what, device, kind, parent, answer) in rows {
        table.row(what, &spr(0, 0), &[("6.13-", *answer)], |host| {
            host.parent();
            host.viommu_of(*device, *kind, *parent).map(drop)
        });
    }
}
