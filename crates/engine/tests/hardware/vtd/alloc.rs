//! `IOMMU_HWPT_ALLOC` of a paging hwpt (`intel_iommu_domain_alloc_paging_flags`; up to 6.12
//! `intel_iommu_domain_alloc_user`).

use profile::Machine;
use uapi::Errno;
use uapi::iommufd::*;

use super::{DT, FAULT, NP, PA, cap, ecap, sm_off, spr};
use crate::file::File;
use crate::host::{DEVICE, IOAS, NOBODY, hwpt_alloc};
use crate::table::{Answer, ByKernel, OK, Table};

/// Makes the machine of a row.
type Unit = fn() -> Machine;

/// What becomes of a hwpt: it is made and a device attaches, or one of the two is refused.
#[derive(Debug, PartialEq)]
enum Made {
    Works,
    Refused(Errno),
    AttachRefused(Errno),
}

use Made::Works;

/// Every flag by itself and together, on units that lack something. The answer to a flag that the
/// release does not know is the core's; `FAULT` has a table of its own.
#[test]
fn flags_by_unit() {
    const NO: Made = Made::Refused(Errno::EOPNOTSUPP);
    /// The object is made, and then no device can be attached to it.
    const IDLE: Made = Made::AttachRefused(Errno::EINVAL);
    /// Since the flag is there.
    const NP_OK: ByKernel<'_, Made> = &[("6.6", NO), ("6.7-", Works)];
    const PA_OK: ByKernel<'_, Made> = &[("6.6-6.14", NO), ("6.15-", Works)];
    const NEVER: ByKernel<'_, Made> = &[("6.6-", NO)];
    #[rustfmt::skip] // one unit and one hwpt, one line
    let rows: &[(&str, Unit, u32, ByKernel<'_, Made>)] = &[
        ("everything",          || spr(0, 0),                             0,            &[("6.6-", Works)]),
        ("everything",          || spr(0, 0),                             NP,           NP_OK),
        ("everything",          || spr(0, 0),                             DT,           NP_OK),
        ("everything",          || spr(0, 0),                             NP | DT,      NP_OK),
        ("everything",          || spr(0, 0),                             PA,           PA_OK),
        ("everything",          || spr(0, 0),                             PA | NP,      PA_OK),
        ("everything",          || spr(0, 0),                             PA | DT,      PA_OK),
        ("everything",          || spr(0, 0),                             PA | NP | DT, PA_OK),
        ("everything",          || spr(0, 0),                             16,           NEVER),
        ("everything",          || spr(0, 0),                             1 << 31,      NEVER),
        ("sm_off",              sm_off,                                   0,            &[("6.6-", Works)]),
        ("sm_off",              sm_off,                                   NP,           NEVER),
        ("sm_off",              sm_off,                                   DT,           NEVER),
        ("sm_off",              sm_off,                                   NP | DT,      NEVER),
        ("sm_off",              sm_off,                                   PA,           PA_OK),
        ("sm_off",              sm_off,                                   PA | NP,      NEVER),
        ("no SMTS",             || spr(0, ecap::SMTS),                    0,            &[("6.6-", Works)]),
        ("no SMTS",             || spr(0, ecap::SMTS),                    NP,           NEVER),
        ("no SMTS",             || spr(0, ecap::SMTS),                    DT,           NEVER),
        ("no SMTS",             || spr(0, ecap::SMTS),                    PA,           PA_OK),
        ("Ice Lake",            || File::of("icx").machine(),             0,            &[("6.6-", Works)]),
        ("Ice Lake",            || File::of("icx").machine(),             NP,           NEVER),
        ("Ice Lake",            || File::of("icx").machine(),             DT,           NEVER),
        ("Ice Lake",            || File::of("icx").machine(),             PA,           PA_OK),
        ("no NEST",             || spr(0, ecap::NEST),                    0,            &[("6.6-", Works)]),
        ("no NEST",             || spr(0, ecap::NEST),                    NP,           NEVER),
        ("no NEST",             || spr(0, ecap::NEST),                    NP | DT,      NEVER),
        ("no NEST",             || spr(0, ecap::NEST),                    DT,           NP_OK),
        ("no NEST",             || spr(0, ecap::NEST),                    PA | NP,      NEVER),
        ("no NEST",             || spr(0, ecap::NEST),                    PA | DT,      PA_OK),
        // up to 6.10 a unit with a first stage only uses it; 6.11 and 6.12 make a second stage
        ("no SLTS",             || spr(0, ecap::SLTS),                    0,            &[("6.6-6.8", Works), ("6.11-6.12", IDLE), ("6.13-", Works)]),
        ("no SLTS",             || spr(0, ecap::SLTS),                    NP,           &[("6.11-6.12", IDLE), ("6.13-", NO)]),
        ("no SLTS",             || spr(0, ecap::SLTS),                    DT,           &[("6.6-6.8", NO), ("6.11-6.12", IDLE), ("6.13-", NO)]),
        ("no SLTS",             || spr(0, ecap::SLTS),                    NP | DT,      &[("6.6-6.8", NO), ("6.11-6.12", IDLE), ("6.13-", NO)]),
        ("no SLTS",             || spr(0, ecap::SLTS),                    PA,           PA_OK),
        ("no FLTS",             || spr(0, ecap::FLTS),                    0,            &[("6.6-", Works)]),
        ("no FLTS",             || spr(0, ecap::FLTS),                    NP,           NP_OK),
        ("no FLTS",             || spr(0, ecap::FLTS),                    DT,           NP_OK),
        ("no FLTS",             || spr(0, ecap::FLTS),                    PA,           PA_OK),
        ("no FLTS",             || spr(0, ecap::FLTS),                    PA | NP,      PA_OK),
        // with neither, which needs a host that passes DMA through: up to 6.16 a first stage is made
        ("neither stage",       || spr(0, ecap::SLTS | ecap::FLTS),       0,            &[("6.14-6.15", IDLE), ("6.17-", NO)]),
        ("neither stage",       || spr(0, ecap::SLTS | ecap::FLTS),       NP,           &[("6.14-", NO)]),
        ("neither stage",       || spr(0, ecap::SLTS | ecap::FLTS),       DT,           &[("6.14-", NO)]),
        ("neither stage",       || spr(0, ecap::SLTS | ecap::FLTS),       PA,           &[("6.14", NO), ("6.15", IDLE), ("6.17-", NO)]),
        ("no SLADS",            || spr(0, ecap::SLADS),                   0,            &[("6.6-", Works)]),
        ("no SLADS",            || spr(0, ecap::SLADS),                   NP,           NP_OK),
        ("no SLADS",            || spr(0, ecap::SLADS),                   DT,           NEVER),
        ("no SLADS",            || spr(0, ecap::SLADS),                   NP | DT,      NEVER),
        ("no SLADS",            || spr(0, ecap::SLADS),                   PA | DT,      NEVER),
        ("SLADS without SMPWC", || spr(0, ecap::SMPWC),                   0,            &[("6.6-", Works)]),
        ("SLADS without SMPWC", || spr(0, ecap::SMPWC),                   NP,           NP_OK),
        ("SLADS without SMPWC", || spr(0, ecap::SMPWC),                   DT,           &[("6.7-6.11", Works), ("6.12", NO), ("6.13-6.15", Works), ("6.17-", NO)]),
        ("SLADS without SMPWC", || spr(0, ecap::SMPWC),                   NP | DT,      &[("6.7-6.11", Works), ("6.12", NO), ("6.13-6.15", Works), ("6.17-", NO)]),
        ("no SC",               || spr(0, ecap::SC),                      NP | DT,      NP_OK),
        ("no PRS",              || spr(0, ecap::PRS),                     NP | DT,      NP_OK),
        ("no PDS",              || spr(0, ecap::PDS),                     NP | DT,      NP_OK),
        ("no PASID",            || spr(0, ecap::PASID),                   PA,           PA_OK),
        ("no FS5LP",            || spr(cap::FS5LP, 0),                    NP | DT,      NP_OK),
        ("device without PASID", || File::of("icx").flip("ecap", 0).machine(), PA,      PA_OK),
    ];
    let mut table = Table::default();
    for (what, machine, flags, expected) in rows {
        let what = format!("{what}, flags {flags:#x}");
        table.row(&what, &machine(), expected, |host| match host.hwpt(*flags) {
            Err(errno) => {
                assert_eq!(host.next_id(), DEVICE + 1, "it left something");
                Made::Refused(errno)
            }
            Ok(hwpt) => match host.attach(hwpt) {
                Ok(used) if used == hwpt => Works,
                Ok(used) => panic!("attached to {used}"),
                Err(errno) => Made::AttachRefused(errno),
            },
        });
    }
}

/// `FAULT` says nothing of the stage and is not judged by what the device can do.
#[test]
fn flags_with_faults() {
    const NO: Answer = Err(Errno::EOPNOTSUPP);
    const TAKEN: ByKernel<'_, Answer> = &[("6.11-6.12", NO), ("6.13-", OK)];
    const WITH_PASID: ByKernel<'_, Answer> = &[("6.11-6.14", NO), ("6.15-", OK)];
    const WITH_PARENT: ByKernel<'_, Answer> =
        &[("6.11-6.12", NO), ("6.13-6.14", OK), ("6.15-", NO)];
    const NEVER: ByKernel<'_, Answer> = &[("6.11-", NO)];
    #[rustfmt::skip] // one unit and one hwpt, one line
    let rows: &[(&str, Unit, u32, ByKernel<'_, Answer>)] = &[
        ("everything", || spr(0, 0),              FAULT,           TAKEN),
        ("everything", || spr(0, 0),              FAULT | DT,      TAKEN),
        ("everything", || spr(0, 0),              FAULT | NP,      WITH_PARENT),
        ("everything", || spr(0, 0),              FAULT | NP | DT, WITH_PARENT),
        ("everything", || spr(0, 0),              FAULT | PA,      WITH_PASID),
        ("everything", || spr(0, 0),              FAULT | PA | DT, WITH_PASID),
        ("everything", || spr(0, 0),              15,              NEVER),
        ("everything", || spr(0, 0),              FAULT | 16,      NEVER),
        ("sm_off",     sm_off,                    FAULT,           TAKEN),
        ("sm_off",     sm_off,                    FAULT | NP,      NEVER),
        ("no PRS",     || spr(0, ecap::PRS),      FAULT,           TAKEN),
        ("no NEST",    || spr(0, ecap::NEST),     FAULT | NP,      NEVER),
        ("no SLADS",   || spr(0, ecap::SLADS),    FAULT | DT,      NEVER),
        ("no PRI",     || File::of("spr").set("device", "pri", "false").machine(), FAULT, TAKEN),
    ];
    let mut table = Table::default();
    for (what, machine, flags, expected) in rows {
        let what = format!("{what}, flags {flags:#x}");
        table.row(&what, &machine(), expected, |host| host.hwpt(*flags).map(drop));
    }
}

/// Two things wrong at once: what is judged first (`iommufd_hwpt_alloc`, then
/// `iommufd_hwpt_paging_alloc`, then the driver, the fault queue last).
#[test]
fn order() {
    const NO: Answer = Err(Errno::EOPNOTSUPP);
    const INVAL: Answer = Err(Errno::EINVAL);
    const NOENT: Answer = Err(Errno::ENOENT);
    type Change = fn(&mut iommu_hwpt_alloc);
    #[rustfmt::skip] // one call, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Change)] = &[
        ("reserved, then data without a type",  &[("6.7-", NO)],                          |c| { c.__reserved = 1; c.data_len = 24 }),
        ("reserved, then device",               &[("6.6-", NO)],                          |c| { c.__reserved = 1; c.dev_id = NOBODY }),
        ("data without a type, then device",    &[("6.7-", INVAL)],                       |c| { c.data_len = 24; c.dev_id = NOBODY }),
        ("type without data, then device",      &[("6.7", NOENT), ("6.8-", INVAL)],       |c| { c.data_type = 1; c.dev_id = NOBODY }),
        ("type without data",                   &[("6.7", OK), ("6.8-", INVAL)],          |c| c.data_type = 1),
        ("device, then pt",                     &[("6.6-", NOENT)],                       |c| { c.dev_id = NOBODY; c.pt_id = NOBODY }),
        ("device, then flag",                   &[("6.6", NO), ("6.7-", NOENT)],          |c| { c.dev_id = NOBODY; c.flags = 1 << 20 }),
        ("an IOAS as device",                   &[("6.6-", NOENT)],                       |c| c.dev_id = IOAS),
        ("pt",                                  &[("6.6", NOENT), ("6.7-", INVAL)],       |c| c.pt_id = NOBODY),
        ("a device as pt",                      &[("6.6", NOENT), ("6.7-", INVAL)],       |c| c.pt_id = DEVICE),
        ("pt, then flag",                       &[("6.6", NO), ("6.7-", INVAL)],          |c| { c.pt_id = NOBODY; c.flags = 1 << 20 }),
        ("flag, then data",                     &[("6.7-", NO)],                          |c| { c.flags = 1 << 20; c.data_type = 1; c.data_len = 24 }),
        ("data of a guest's stage",             &[("6.7-", NO)],                          |c| { c.data_type = 1; c.data_len = 24 }),
        ("data of any kind",                    &[("6.7-", NO)],                          |c| { c.data_type = 77; c.data_len = 1 }),
        ("... with a good flag",                &[("6.7-", NO)],                          |c| { c.flags = NP; c.data_type = 77; c.data_len = 1 }),
        ("fault queue",                         &[("6.11-6.12", NO), ("6.13-", NOENT)],   |c| { c.flags = FAULT; c.fault_id = NOBODY }),
        ("an IOAS as fault queue",              &[("6.11-6.12", NO), ("6.13-", NOENT)],   |c| { c.flags = FAULT; c.fault_id = IOAS }),
        ("parent with faults, then queue",      &[("6.11-6.12", NO), ("6.13-6.14", NOENT), ("6.15-", NO)],  |c| { c.flags = FAULT | NP; c.fault_id = NOBODY }),
        ("flag, then fault queue",              &[("6.11-", NO)],                         |c| { c.flags = FAULT | 16; c.fault_id = NOBODY }),
        ("fault queue without its flag",        &[("6.11-", OK)],                         |c| c.fault_id = NOBODY),
    ];
    let mut table = Table::default();
    for (what, expected, change) in rows {
        table.row(what, &spr(0, 0), expected, |host| {
            let mut cmd = hwpt_alloc();
            change(&mut cmd);
            let answer = host.hwpt_with(&mut cmd).map(drop);
            let next = DEVICE + 1 + u32::from(answer.is_ok());
            assert_eq!(host.next_id(), next, "it left something");
            answer
        });
    }
}

/// A unit for whose two stages there is no common width is not used, in scalable mode
/// (`__iommu_calculate_sagaw`): its devices are in no group, and VFIO does not offer them.
#[test]
fn no_common_width() {
    let only_57 = File::of("spr").flip("cap", cap::FS5LP | cap::SAGAW_48);
    let off = only_57.clone().set("iommu", "scalable_mode", "false");
    #[rustfmt::skip] // one unit, one line
    let rows: &[(&str, Machine, usize)] = &[
        ("57 and 48 bits",       only_57.machine(), 0),
        ("... sm_off",           off.machine(),     1),
        ("no width at all",      spr(cap::SAGAW_48 | cap::SAGAW_57, 0), 0),
        ("... first stage only", spr(cap::SAGAW_48 | cap::SAGAW_57, ecap::SLTS), 1),
    ];
    let mut table = Table::default();
    for (what, machine, cards) in rows {
        table.each(what, &[("6.11-", *cards)], |kernel| {
            crate::host::Host::unbound(machine, kernel).cards.len()
        });
    }
}

/// Up to 6.13 the driver gives up where scalable mode, used or not, has neither stage
/// (`intel_cap_audit`).
#[test]
fn no_stage_in_common() {
    let neither = ecap::SLTS | ecap::FLTS;
    let off = File::of("spr").flip("ecap", neither).set("iommu", "scalable_mode", "false");
    #[rustfmt::skip] // one unit, one line
    let rows: &[(&str, Machine, ByKernel<'_, usize>)] = &[
        ("neither",        spr(0, neither),               &[("6.6-6.13", 0)]),
        ("neither, off",   off.machine(),                 &[("6.6-6.13", 0), ("6.14-", 1)]),
        ("nor SMTS",       spr(0, neither | ecap::SMTS),  &[("6.6-", 1)]),
    ];
    let mut table = Table::default();
    for (what, machine, expected) in rows {
        table
            .each(what, expected, |kernel| crate::host::Host::unbound(machine, kernel).cards.len());
    }
}
