//! What a unit tells of itself, and dirty tracking.

use engine::{Cpus, Engine, Entry};
use mem::AddressSpace;
use profile::{Kernel, Machine};
use uapi::Errno;
use uapi::iommufd::*;

use super::nested::stage;
use super::{CAP, DT, ECAP, NP, cap, ecap, icx, sm_off, spr};
use crate::file::File;
use crate::host::{DEVICE, Host, IOAS, MEMORY, NOBODY, UNMAPPED};
use crate::table::{Answer, ByKernel, Calls, OK, Table};

/// The registers, as the hardware has them (`intel_iommu_hw_info`): neither the command line nor what
/// the driver makes of them shows in the bytes.
#[test]
fn hardware_information() {
    let answer = |flags: u32, cap: u64, ecap: u64| {
        let mut bytes = flags.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(cap.to_le_bytes());
        bytes.extend(ecap.to_le_bytes());
        bytes.resize(64, 0);
        (1, 24, bytes)
    };
    #[rustfmt::skip] // one unit, one line
    let rows: &[(&str, Machine, u64, u64)] = &[
        ("Sapphire Rapids", spr(0, 0),                              CAP,                ECAP),
        ("sm_off",          sm_off(),                               CAP,                ECAP),
        ("bits turned",     spr(cap::FS5LP, ecap::NEST),            CAP ^ cap::FS5LP,   ECAP ^ ecap::NEST),
        ("Ice Lake",        icx(),                                  0x8d2078c106f0466,  0xf020df),
    ];
    let mut table = Table::default();
    for (what, machine, cap, ecap) in rows {
        let expected = [("6.6", answer(0, *cap, *ecap)), ("6.7-", answer(1, *cap, *ecap))];
        table.row(what, machine, &expected, |host| {
            let (cmd, bytes) = host.hw_info(None).unwrap();
            (cmd.out_data_type, cmd.data_len, bytes)
        });
    }
}

/// Which type may be asked for.
#[test]
fn hardware_information_by_type() {
    const UNSUP: Answer = Err(Errno::EOPNOTSUPP);
    let since = |answer| [("6.6-6.15", UNSUP), ("6.17-", answer)];
    let mut table = Table::default();
    for (kind, answer) in [(0, OK), (1, OK), (2, UNSUP), (3, UNSUP), (4, UNSUP), (77, UNSUP)] {
        let what = format!("type {kind}");
        table.row(&what, &spr(0, 0), &since(answer), |host| host.hw_info(Some(kind)).map(drop));
    }
    // without the flag the field is not looked at
    table.row("no flag", &spr(0, 0), &[("6.6-", OK)], |host| {
        host.call(&mut iommu_hw_info {
            dev_id: DEVICE,
            out_data_type: 77,
            data_uptr: MEMORY,
            ..Default::default()
        })
    });
}

/// `out_capabilities` and `out_max_pasid_log2`. Dirty tracking is 1, PASIDs that execute 2, privileged
/// PASIDs 4, no ATS 8.
#[test]
fn capabilities() {
    let device = |key, value| File::of("spr").set("device", key, value).machine();
    type Told = (u64, u8);
    #[rustfmt::skip] // one machine, one line
    let rows: &[(&str, Machine, ByKernel<'_, Told>)] = &[
        ("Sapphire Rapids",   spr(0, 0),                      &[("6.6", (0, 0)), ("6.7-6.11", (1, 0)), ("6.12", (5, 20)), ("6.13-6.14", (1, 0)), ("6.15-", (5, 20))]),
        ("sm_off",            sm_off(),                       &[("6.6-", (0, 0))]),
        ("no SLADS",          spr(0, ecap::SLADS),            &[("6.6-6.11", (0, 0)), ("6.12", (4, 20)), ("6.13-6.14", (0, 0)), ("6.15-", (4, 20))]),
        ("no SMPWC",          spr(0, ecap::SMPWC),            &[("6.7-6.11", (1, 0)), ("6.12", (4, 20)), ("6.13-6.14", (1, 0)), ("6.15", (5, 20)), ("6.17-", (4, 20))]),
        ("no ECAP.PASID",     spr(0, ecap::PASID),            &[("6.7-", (1, 0))]),
        ("PSS 9",             spr(0, (19 ^ 9) << 35),         &[("6.15-", (5, 10))]),
        ("PASIDs of 8 bits",  device("pasid", "{ width = 8, execute = true, privileged = false }"),  &[("6.12", (3, 8)), ("6.13-6.14", (1, 0)), ("6.15-", (3, 8))]),
        ("no ATS capability", File::of("spr").without_ats().machine(), &[("6.15-7.0", (5, 20)), ("7.1-", (13, 20))]),
        ("no ECAP.DT",        spr(0, ecap::DT),               &[("6.15-7.0", (5, 20)), ("7.1-", (13, 20))]),
        ("no PRI capability", device("pri", "false"),         &[("6.15-", (5, 20))]),
        ("Ice Lake",          icx(),                          &[("6.6-", (0, 0))]),
        ("Ice Lake, no ATS",  File::of("icx").without_ats().machine(), &[("6.6-7.0", (0, 0)), ("7.1-", (8, 0))]),
    ];
    let mut table = Table::default();
    for (what, machine, expected) in rows {
        table.row(what, machine, expected, |host| {
            let (cmd, _) = host.hw_info(None).unwrap();
            (cmd.out_capabilities, cmd.out_max_pasid_log2)
        });
    }
}

/// The call itself: what is judged first, and a buffer of another length than the registers'.
#[test]
fn hardware_information_arguments() {
    const NO: Answer = Err(Errno::EOPNOTSUPP);
    const NOENT: Answer = Err(Errno::ENOENT);
    const EFAULT: Answer = Err(Errno::EFAULT);
    /// The byte that becomes `out_max_pasid_log2`, in.
    const PASID_BYTE: ByKernel<'_, Answer> =
        &[("6.6-6.11", NO), ("6.12", OK), ("6.13-6.14", NO), ("6.15-", OK)];
    type Change = fn(&mut iommu_hw_info);
    #[rustfmt::skip] // one call, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Change)] = &[
        ("good",                      &[("6.6-", OK)],                       |_| ()),
        ("flag, then device",         &[("6.6-", NO)],                       |c| { c.flags = 2; c.dev_id = NOBODY }),
        ("reserved, then device",     &[("6.6-", NO)],                       |c| { c.__reserved[2] = 1; c.dev_id = NOBODY }),
        ("out_max_pasid_log2 in",     PASID_BYTE,                            |c| c.out_max_pasid_log2 = 1),
        ("device",                    &[("6.6-", NOENT)],                    |c| c.dev_id = NOBODY),
        ("an IOAS as device",         &[("6.6-", NOENT)],                    |c| c.dev_id = IOAS),
        ("device, then buffer",       &[("6.6-", NOENT)],                    |c| { c.dev_id = NOBODY; c.data_uptr = UNMAPPED }),
        ("device, then type",         &[("6.6-6.15", NO), ("6.17-", NOENT)], |c| { c.flags = 1; c.out_data_type = 77; c.dev_id = NOBODY }),
        ("type, then buffer",         &[("6.6-", NO)],                       |c| { c.flags = 1; c.out_data_type = 77; c.data_uptr = UNMAPPED }),
        ("buffer",                    &[("6.6-", EFAULT)],                   |c| c.data_uptr = UNMAPPED),
        ("no buffer, of no length",   &[("6.6-", OK)],                       |c| { c.data_uptr = 0; c.data_len = 0 }),
        ("off the end",               &[("6.6-", EFAULT)],                   |c| c.data_uptr = MEMORY + 16 * 4096 - 24),
    ];
    let mut table = Table::default();
    for (what, expected, change) in rows {
        table.row(what, &spr(0, 0), expected, |host| {
            let (dev_id, data_len, data_uptr) = (DEVICE, 32, MEMORY);
            let mut cmd = iommu_hw_info { dev_id, data_len, data_uptr, ..Default::default() };
            change(&mut cmd);
            let answer = host.call(&mut cmd);
            if answer.is_ok() {
                assert_eq!(cmd.data_len, 24, "what the kernel has");
            }
            answer
        });
    }
    // as much as there is room for, and zeros after what there is
    for (room, kept) in [(0, 0), (8, 8), (24, 24), (25, 25), (40, 40)] {
        table.row(&format!("{room} bytes"), &spr(0, 0), &[("6.6-", kept)], |host| {
            let data_uptr = host.put(&[0xee; 64]);
            let (dev_id, data_len) = (DEVICE, room);
            host.call(&mut iommu_hw_info { dev_id, data_len, data_uptr, ..Default::default() })
                .unwrap();
            let mut bytes = [0; 64];
            host.client.memory.read(data_uptr, &mut bytes).unwrap();
            64 - bytes.iter().rev().take_while(|byte| **byte == 0xee).count()
        });
    }
}

/// Dirty tracking is set and read on every hwpt that was made for it, attached or not.
#[test]
fn dirty_tracking() {
    const NO: Answer = Err(Errno::EOPNOTSUPP);
    const NOENT: Answer = Err(Errno::ENOENT);
    fn set(host: &mut Host, hwpt_id: u32, flags: u32) -> Answer {
        host.call(&mut iommu_hwpt_set_dirty_tracking { hwpt_id, flags, ..Default::default() })
    }
    fn read(host: &mut Host, hwpt_id: u32, length: u64) -> Answer {
        let (page_size, data) = (4096, MEMORY);
        let range = iommu_hwpt_get_dirty_bitmap { length, page_size, data, ..Default::default() };
        host.call(&mut iommu_hwpt_get_dirty_bitmap { hwpt_id, ..range })
    }
    const EMPTY: ByKernel<'_, Answer> = &[
        ("6.7-6.11", OK),
        ("6.12", Err(Errno::EINVAL)),
        ("6.13-7.2", OK),
        ("7.3", Err(Errno::EINVAL)),
    ];
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("on",                    &[("6.7-", OK)],    |h| { let a = h.hwpt(DT).unwrap(); set(h, a, 1) }),
        ("on twice",              &[("6.7-", OK)],    |h| { let a = h.hwpt(DT).unwrap(); set(h, a, 1).unwrap(); set(h, a, 1) }),
        ("off, never on",         &[("6.7-", OK)],    |h| { let a = h.hwpt(DT).unwrap(); set(h, a, 0) }),
        ("attached",              &[("6.7-", OK)],    |h| { let a = h.hwpt(DT).unwrap(); h.attach(a).unwrap(); set(h, a, 1) }),
        ("parent",                &[("6.7-", OK)],    |h| { let a = h.hwpt(NP | DT).unwrap(); set(h, a, 1) }),
        ("parent, child attached", &[("6.7-", OK)],   |h| { let a = h.hwpt(NP | DT).unwrap(); let n = h.nested(a, 0, 1, &stage(0, 48)).unwrap(); h.attach(n).unwrap(); set(h, a, 1) }),
        ("not made for it",       &[("6.7-", NO)],    |h| { let a = h.hwpt(NP).unwrap(); set(h, a, 1) }),
        ("not made for it, off",  &[("6.7-", NO)],    |h| { let a = h.hwpt(0).unwrap(); set(h, a, 0) }),
        ("a child",               &[("6.7-", NOENT)], |h| { let a = h.hwpt(NP | DT).unwrap(); let n = h.nested(a, 0, 1, &stage(0, 48)).unwrap(); set(h, n, 1) }),
        ("an IOAS",               &[("6.7-", NOENT)], |h| set(h, IOAS, 1)),
        ("flag, then hwpt",       &[("6.7-", NO)],    |h| set(h, NOBODY, 2)),
        ("read, off",             &[("6.7-", OK)],    |h| { let a = h.hwpt(DT).unwrap(); read(h, a, 4096) }),
        ("read, on",              &[("6.7-", OK)],    |h| { let a = h.hwpt(DT).unwrap(); set(h, a, 1).unwrap(); read(h, a, 4096) }),
        ("read, not made for it", &[("6.7-", NO)],    |h| { let a = h.hwpt(0).unwrap(); read(h, a, 4096) }),
        ("read, not aligned",     &[("6.7-", Err(Errno::EINVAL))], |h| { let a = h.hwpt(0).unwrap(); read(h, a, 1) }),
        ("read of nothing",       EMPTY,              |h| { let a = h.hwpt(DT).unwrap(); read(h, a, 0) }),
        ("read, hwpt",            &[("6.7-", NOENT)], |h| read(h, NOBODY, 1)),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &spr(0, 0), expected, calls);
    }
}

/// `domains_supported` below `/sys/class/iommu` (`cap_ndoms`).
#[test]
fn domain_ids() {
    #[rustfmt::skip] // bits of CAP to turn over, and what they make of ND
    let rows: &[(&str, u64, &str)] = &[
        ("ND 0", 6, "16\n"),
        ("ND 1", 7, "64\n"),
        ("ND 6", 0, "65536\n"),
        ("ND 7, which is reserved", 1, "262144\n"),
    ];
    for (what, bits, expected) in rows {
        let engine = Engine::new(&spr(*bits, 0), Kernel::newest());
        let files = engine.sysfs(&Cpus::new("0"));
        let file = files.get("devices/virtual/iommu/dmar0/intel-iommu/domains_supported");
        assert_eq!(file, Some(&Entry::Text((*expected).to_owned())), "{what}");
    }
}
