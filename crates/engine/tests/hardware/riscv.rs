//! RISC-V IOMMU (`drivers/iommu/riscv`).
//!
//! No release up to 7.3 lets a program bind a device behind it, because the driver does not say that its
//! walks are coherent. The machine riscv is an extension that does; the rest is what the unchanged
//! driver answers: plain hwpts, and nothing else.

use profile::Machine;
use uapi::Errno;
use uapi::iommufd::*;

use crate::file::File;
use crate::host::{DEVICE, Host, IOAS, MEMORY, NOBODY};
use crate::table::{Answer, ByKernel, Calls, OK, Table};

const NO: Answer = Err(Errno::EOPNOTSUPP);
const INVAL: Answer = Err(Errno::EINVAL);
const NOENT: Answer = Err(Errno::ENOENT);

/// Bits of `capabilities`, all of which the machine riscv has (RISC-V IOMMU 5.3).
const SV48: u64 = 1 << 10;
const SV57: u64 = 1 << 11;
const CAPABILITIES: u64 = 0x1f8_030e_8e10;

fn riscv(bits: u64) -> File {
    File::of("riscv").flip("capabilities", bits)
}

/// There is a driver from 6.13 on.
#[test]
fn devices() {
    let mut table = Table::default();
    table.each("devices", &[("6.6-6.12", 0), ("6.13-", 1)], |kernel| {
        Host::unbound(&riscv(0).machine(), kernel).cards.len()
    });
}

/// Every flag, and everything that is not a plain hwpt.
#[test]
fn only_plain() {
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("plain",                     &[("6.13-", OK)],    |h| { let a = h.hwpt(0)?; h.attach(a).map(|used| assert_eq!(used, a)) }),
        ("parent",                    &[("6.13-", NO)],    |h| h.hwpt(IOMMU_HWPT_ALLOC_NEST_PARENT).map(drop)),
        ("dirty tracking",            &[("6.13-", NO)],    |h| h.hwpt(IOMMU_HWPT_ALLOC_DIRTY_TRACKING).map(drop)),
        ("faults",                    &[("6.13-", NO)],    |h| h.hwpt(IOMMU_HWPT_FAULT_ID_VALID).map(drop)),
        ("PASID",                     &[("6.13-", NO)],    |h| h.hwpt(IOMMU_HWPT_ALLOC_PASID).map(drop)),
        ("unknown flag",              &[("6.13-", NO)],    |h| h.hwpt(16).map(drop)),
        ("flag, then pt",             &[("6.13-", INVAL)], |h| h.hwpt_of(DEVICE, NOBODY, 16).map(drop)),
        ("data",                      &[("6.13-", NO)],    |h| h.nested(IOAS, 0, 1, &[0; 24]).map(drop)),
        ("nested",                    &[("6.13-", NO)],    |h| { let a = h.hwpt(0).unwrap(); h.nested(a, 0, 1, &[0; 24]).map(drop) }),
        ("nested, no length",         &[("6.13-", INVAL)], |h| { let a = h.hwpt(0).unwrap(); h.nested(a, 0, 1, &[]).map(drop) }),
        ("nested, device",            &[("6.13-", NOENT)], |h| { let a = h.hwpt(0).unwrap(); h.nested_of(NOBODY, a, 0, 1, &[0; 24]).map(drop) }),
        ("vIOMMU",                    &[("6.13-", NO)],    |h| { let a = h.hwpt(0).unwrap(); h.viommu(1, a).map(drop) }),
        ("vIOMMU, parent",            &[("6.13-", NO)],    |h| h.viommu(1, NOBODY).map(drop)),
        ("vIOMMU, device",            &[("6.13-", NOENT)], |h| h.viommu_of(NOBODY, 1, NOBODY).map(drop)),
        ("invalidate",                &[("6.13-", INVAL)], |h| { let a = h.hwpt(0).unwrap(); h.invalidate(a, 0, &[&[0; 24]]).0 }),
        ("set dirty tracking",        &[("6.13-", NO)],    |h| { let hwpt_id = h.hwpt(0).unwrap(); h.call(&mut iommu_hwpt_set_dirty_tracking { hwpt_id, flags: 1, ..Default::default() }) }),
        ("read dirty pages",          &[("6.13-", NO)],    |h| { let hwpt_id = h.hwpt(0).unwrap(); h.call(&mut iommu_hwpt_get_dirty_bitmap { hwpt_id, length: 4096, page_size: 4096, data: MEMORY, ..Default::default() }) }),
        ("... not aligned",           &[("6.13-", INVAL)], |h| { let hwpt_id = h.hwpt(0).unwrap(); h.call(&mut iommu_hwpt_get_dirty_bitmap { hwpt_id, iova: 1, length: 4096, page_size: 4096, data: MEMORY, ..Default::default() }) }),
        ("PASID of a plain hwpt",     &[("6.15-", INVAL)], |h| { let a = h.hwpt(0).unwrap(); h.attach_pasid(1, a).map(drop) }),
        ("PASID of an IOAS",          &[("6.15-", INVAL)], |h| h.attach_pasid(1, IOAS).map(drop)),
        ("PASID 0",                   &[("6.15-", OK)],    |h| h.attach_pasid(0, IOAS).map(drop)),
        ("a fault queue",             &[("6.13-", OK)],    |h| { h.fault_queue(); OK }),
        ("read-only mapping",         &[("6.13-", OK)],    |h| { h.attach(IOAS).unwrap(); h.map(0x1000, IOMMU_IOAS_MAP_READABLE) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &riscv(0).machine(), expected, calls);
    }
}

/// The widest format that there is, less the half that sign extension takes; nothing is reserved, not
/// even for interrupt messages.
#[test]
fn ranges() {
    #[rustfmt::skip] // one unit, one line
    let rows: &[(&str, u64, u32)] = &[
        ("Sv57",         0,           56),
        ("Sv57 alone",   SV48,        56),
        ("Sv48",         SV57,        47),
        ("Sv39",         SV57 | SV48, 38),
    ];
    let mut table = Table::default();
    for (what, bits, width) in rows {
        let expected = (vec![(0, (1_u64 << width) - 1)], 4096);
        for attach in [false, true] {
            let what = format!("{what}, attached {attach}");
            let expected = [("6.13-", expected.clone())];
            table.row(&what, &riscv(*bits).machine(), &expected, |host| {
                if attach {
                    host.attach(IOAS).unwrap();
                } else {
                    host.hwpt(0).unwrap();
                }
                host.ranges()
            });
        }
    }
}

/// The driver tells nothing, and since it says of nothing that it can do it, nor of ATS.
#[test]
fn hardware_information() {
    let mut table = Table::default();
    let expected = [("6.13-7.0", (0, 0, 0, 0)), ("7.1-", (0, 0, 8, 0))];
    let told = |host: &mut Host, asked| {
        let (cmd, bytes) = host.hw_info(asked).unwrap();
        assert_eq!(bytes, vec![0; 64]);
        (cmd.out_data_type, cmd.data_len, cmd.out_capabilities, cmd.out_max_pasid_log2)
    };
    let plain = riscv(0).machine();
    let able = riscv(0)
        .set("device", "ats", "true")
        .set("device", "pri", "true")
        .set("device", "pasid", "{ width = 20, execute = true }")
        .machine();
    for machine in [&plain, &able] {
        table.row("no type", machine, &expected, |host| told(host, None));
    }
    for kind in [0, 1, 4, 77] {
        let expected = [("6.17-7.0", (0, 0, 0, 0)), ("7.1-", (0, 0, 8, 0))];
        table.row(&format!("type {kind}"), &plain, &expected, |host| told(host, Some(kind)));
    }
    table.row("type, before", &plain, &[("6.13-6.15", NO)], |host| host.hw_info(Some(0)).map(drop));
}

/// A unit that has not the format of a hwpt is `ENODEV`, which ends the search in an IOAS
/// (`riscv_iommu_attach_paging_domain`).
#[test]
fn units_that_differ() {
    const SECOND: &str = "riscv-iommu@0001:00:01.0";
    let pair = |bits: u64| -> Machine {
        let capabilities = CAPABILITIES ^ bits;
        riscv(0)
            .add(&format!(
                "[[iommu]]\nname = \"{SECOND}\"\nkind = \"riscv\"\ncapabilities = {capabilities:#x}\n\
                 [[device]]\naddress = \"0001:00:02.0\"\niommu = \"{SECOND}\"\nvendor = 0x1b36\n\
                 device = 0x10\n"
            ))
            .machine()
    };
    const NODEV: Answer = Err(Errno::ENODEV);
    #[rustfmt::skip] // one unit and one order of calls, one line
    let rows: &[(&str, u64, Answer, Calls<Answer>)] = &[
        ("alike",              0,    OK,    |h| { let a = h.hwpt(0).unwrap(); h.attach_of(1, a).map(drop) }),
        ("alike, IOAS",        0,    OK,    |h| { let a = h.attach(IOAS).unwrap(); h.attach_of(1, IOAS).map(|b| assert_eq!(a, b)) }),
        ("no Sv57",            SV57, NODEV, |h| { let a = h.hwpt(0).unwrap(); h.attach_of(1, a).map(drop) }),
        ("no Sv57, IOAS",      SV57, NODEV, |h| { h.attach(IOAS).unwrap(); h.attach_of(1, IOAS).map(drop) }),
        ("no Sv57, made for it", SV57, OK,  |h| { let a = h.hwpt_of(DEVICE + 1, IOAS, 0).unwrap(); h.attach_of(0, a).map(drop) }),
        ("no Sv57, its own",   SV57, OK,    |h| h.attach_of(1, IOAS).map(drop)),
    ];
    let mut table = Table::default();
    for (what, bits, answer, calls) in rows {
        table.row(what, &pair(*bits), &[("6.13-", *answer)], calls);
    }
}
