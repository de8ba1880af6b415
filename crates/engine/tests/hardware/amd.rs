//! AMD-Vi (`drivers/iommu/amd`).
//!
//! It has two formats of page table: v1, its own, for programs by default and for dirty tracking and
//! nesting parents, and v2, the CPU's, for PASIDs.
//!
//! | module | holds |
//! |---|---|
//! | [`guest`] | virtual IOMMUs, which need `CONFIG_AMD_IOMMU_IOMMUFD`, and attaching |
//! | this one | flags of a hwpt, IOVA ranges, hardware information |

mod guest;

use profile::Machine;
use uapi::Errno;
use uapi::iommufd::*;

use crate::file::File;
use crate::host::{DEVICE, Host, IOAS, NOBODY, hwpt_alloc};
use crate::table::{Answer, ByKernel, Calls, OK, Table};

pub const NP: u32 = IOMMU_HWPT_ALLOC_NEST_PARENT;
pub const DT: u32 = IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
pub const FAULT: u32 = IOMMU_HWPT_FAULT_ID_VALID;
pub const PA: u32 = IOMMU_HWPT_ALLOC_PASID;

pub const NO: Answer = Err(Errno::EOPNOTSUPP);
pub const INVAL: Answer = Err(Errno::EINVAL);
pub const NOENT: Answer = Err(Errno::ENOENT);

/// Registers of the machine genoa.
pub const EFR: u64 = 0x25bf_732f_a229_5afe;
pub const EFR2: u64 = 0x1d;

/// Bits of EFR, all of which Genoa has (AMD IOMMU 3.4.14).
pub mod efr {
    pub const PPR: u64 = 1 << 1;
    pub const GT: u64 = 1 << 4;
    /// From six levels, 2, to another number.
    pub const fn hats(value: u64) -> u64 {
        (2 ^ value) << 10
    }
    /// Five levels of v2; without it four.
    pub const GATS: u64 = 1 << 12;
    pub const GLX: u64 = 1 << 14;
    /// From 16 bits of PASID, 15, to another number.
    pub const fn pasmax(value: u64) -> u64 {
        (15 ^ value) << 32
    }
    pub const GIO: u64 = 1 << 48;
    pub const EPH: u64 = 1 << 50;
    pub const HD: u64 = 1 << 52;
}

/// Bits of EFR2.
pub mod efr2 {
    /// Genoa has it.
    pub const GCR3TRP: u64 = 1 << 3;
    /// Genoa has it not.
    pub const HT_RANGE_IGNORE: u64 = 1 << 11;
}

/// The machine genoa with bits of EFR and EFR2 turned over.
pub fn genoa(efr: u64, efr2: u64) -> File {
    File::of("genoa").flip("efr", efr).flip("efr2", efr2)
}

fn four_levels(efr: u64) -> File {
    genoa(efr, 0).set("iommu", "cpu_la57", "false")
}

/// Which hwpt is made; the device attaches to each that is (`amd_iommu_domain_alloc_paging_flags`).
#[test]
fn flags_by_unit() {
    const PLAIN: ByKernel<'_, Answer> = &[("6.6-", OK)];
    const NEVER: ByKernel<'_, Answer> = &[("6.6-", NO)];
    const DIRTY: ByKernel<'_, Answer> = &[("6.6", NO), ("6.7-", OK)];
    const PARENT: ByKernel<'_, Answer> = &[("6.6-6.19", NO), ("7.0-", OK)];
    const PASID: ByKernel<'_, Answer> = &[("6.6-6.14", NO), ("6.15-", OK)];
    #[rustfmt::skip] // one unit and one hwpt, one line
    let rows: &[(&str, File, u32, ByKernel<'_, Answer>)] = &[
        ("Genoa",              genoa(0, 0),             0,       PLAIN),
        ("Genoa",              genoa(0, 0),             DT,      DIRTY),
        ("Genoa",              genoa(0, 0),             NP,      PARENT),
        ("Genoa",              genoa(0, 0),             NP | DT, PARENT),
        ("Genoa",              genoa(0, 0),             PA,      PASID),
        ("Genoa",              genoa(0, 0),             PA | DT, NEVER),
        ("Genoa",              genoa(0, 0),             PA | NP, NEVER),
        ("Genoa",              genoa(0, 0),             11,      NEVER),
        ("Genoa",              genoa(0, 0),             16,      NEVER),
        ("no HD",              genoa(efr::HD, 0),       0,       PLAIN),
        ("no HD",              genoa(efr::HD, 0),       DT,      NEVER),
        ("no HD",              genoa(efr::HD, 0),       NP | DT, NEVER),
        ("no HD",              genoa(efr::HD, 0),       NP,      PARENT),
        ("no GT",              genoa(efr::GT, 0),       0,       PLAIN),
        ("no GT",              genoa(efr::GT, 0),       DT,      DIRTY),
        ("no GT",              genoa(efr::GT, 0),       NP,      NEVER),
        ("no GT",              genoa(efr::GT, 0),       PA,      NEVER),
        ("no GIO",             genoa(efr::GIO, 0),      NP,      NEVER),
        ("no GIO",             genoa(efr::GIO, 0),      PA,      NEVER),
        ("no PPR",             genoa(efr::PPR, 0),      NP,      PARENT),
        ("no PPR",             genoa(efr::PPR, 0),      PA,      NEVER),
        ("no EPH",             genoa(efr::EPH, 0),      NP,      PARENT),
        ("no EPH",             genoa(efr::EPH, 0),      PA,      NEVER),
        ("no GCR3TRP",         genoa(0, efr2::GCR3TRP), NP,      NEVER),
        ("no GCR3TRP",         genoa(0, efr2::GCR3TRP), NP | DT, NEVER),
        ("no GCR3TRP",         genoa(0, efr2::GCR3TRP), PA,      PASID),
        // the levels of the CPU's tables and of v2 must be the same
        ("CPU five, v2 four",  genoa(efr::GATS, 0),     PA,      NEVER),
        ("CPU five, v2 four",  genoa(efr::GATS, 0),     0,       PLAIN),
        ("CPU four, v2 five",  four_levels(0),          PA,      PASID),
        ("both four",          four_levels(efr::GATS),  PA,      PASID),
        // without v1 (HATS 3) what is left is v2
        ("HATS 0",             genoa(efr::hats(0), 0),  DT,      DIRTY),
        ("HATS 1",             genoa(efr::hats(1), 0),  NP,      PARENT),
        ("HATS 3",             genoa(efr::hats(3), 0),  0,       PLAIN),
        ("HATS 3",             genoa(efr::hats(3), 0),  DT,      &[("6.6", NO), ("6.7-6.15", OK), ("6.17-", NO)]),
        ("HATS 3",             genoa(efr::hats(3), 0),  NP,      NEVER),
        ("HATS 3",             genoa(efr::hats(3), 0),  PA,      PASID),
        ("HATS 3, no PPR",     genoa(efr::hats(3) | efr::PPR, 0), 0, PLAIN),
        // a GCR3 table of one level holds 512 PASIDs
        ("GLX 0",              genoa(efr::GLX, 0),      0,       PLAIN),
        ("GLX 0",              genoa(efr::GLX, 0),      PA,      &[("6.6-6.14", NO), ("6.15-", INVAL)]),
        ("GLX 0, 8 bits",      genoa(efr::GLX, 0).set("device", "pasid", "{ width = 8 }"), PA, PASID),
        ("GLX 0, 9 bits",      genoa(efr::GLX, 0).set("device", "pasid", "{ width = 9 }"), PA, PASID),
        ("GLX 0, 10 bits",     genoa(efr::GLX, 0).set("device", "pasid", "{ width = 10 }"), PA, &[("6.6-6.14", NO), ("6.15-", INVAL)]),
        ("no PASIDs",          genoa(0, 0).unset("device", "pasid"), PA, PASID),
        ("nothing at all",     genoa(0, 0).without_ats().unset("device", "pasid"), PA, PASID),
    ];
    let mut table = Table::default();
    for (what, file, flags, expected) in rows {
        let what = format!("{what}, flags {flags:#x}");
        table.row(&what, &file.machine(), expected, |host| {
            let hwpt = host.hwpt(*flags)?;
            host.attach(hwpt).map(|used| assert_eq!(used, hwpt))
        });
    }
}

/// A unit with neither format translates nothing, so VFIO offers no device behind it. Before 6.17 HATS
/// is not looked at.
#[test]
fn no_format_left() {
    let neither = genoa(efr::hats(3) | efr::GT, 0).machine();
    let mut table = Table::default();
    table.each("devices", &[("6.6-6.15", 1), ("6.17-", 0)], |kernel| {
        Host::unbound(&neither, kernel).cards.len()
    });
}

/// `FAULT` is taken, though no page fault ever comes. 6.13's core hands it on to the driver, which does
/// not know it.
#[test]
fn flags_with_faults() {
    const TAKEN: ByKernel<'_, Answer> = &[("6.11-6.13", NO), ("6.14-", OK)];
    const NEVER: ByKernel<'_, Answer> = &[("6.11-", NO)];
    #[rustfmt::skip] // one hwpt, one line
    let rows: &[(u64, u32, ByKernel<'_, Answer>)] = &[
        (0,       FAULT,           TAKEN),
        (0,       FAULT | DT,      TAKEN),
        (0,       FAULT | NP,      NEVER),
        (0,       FAULT | NP | DT, NEVER),
        (0,       FAULT | PA,      &[("6.11-6.14", NO), ("6.15-", OK)]),
        (0,       FAULT | PA | DT, NEVER),
        (efr::HD, FAULT | DT,      NEVER),
    ];
    let mut table = Table::default();
    for (bits, flags, expected) in rows {
        table.row(&format!("flags {flags:#x}"), &genoa(*bits, 0).machine(), expected, |host| {
            let hwpt = host.hwpt(*flags)?;
            host.attach(hwpt).map(drop)
        });
    }
}

/// Two things wrong at once.
#[test]
fn order() {
    type Change = fn(&mut iommu_hwpt_alloc);
    #[rustfmt::skip] // one call, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Change)] = &[
        ("data",                     &[("6.7-", NO)],                        |c| { c.data_type = 3; c.data_len = 32 }),
        ("data and a good flag",     &[("6.7-", NO)],                        |c| { c.flags = DT; c.data_type = 3; c.data_len = 32 }),
        ("pt, then flag",            &[("6.7-", INVAL)],                     |c| { c.pt_id = NOBODY; c.flags = 16 }),
        ("device, then flag",        &[("6.7-", NOENT)],                     |c| { c.dev_id = NOBODY; c.flags = 16 }),
        ("fault queue",              &[("6.11-6.13", NO), ("6.14-", NOENT)], |c| { c.flags = FAULT; c.fault_id = NOBODY }),
        ("flag, then fault queue",   &[("6.11-", NO)],                       |c| { c.flags = FAULT | PA | DT; c.fault_id = NOBODY }),
    ];
    let mut table = Table::default();
    for (what, expected, change) in rows {
        table.row(what, &genoa(0, 0).machine(), expected, |host| {
            let mut cmd = hwpt_alloc();
            change(&mut cmd);
            let answer = host.hwpt_with(&mut cmd).map(drop);
            assert_eq!(host.next_id(), DEVICE + 1, "it left something");
            answer
        });
    }
}

/// Where the aperture of a hwpt ends. Up to 6.15 nobody looks at HATS, and v2 has all its bits; later
/// it leaves the upper half out, which a PASID cannot reach (`dma_max_address`, from 6.19 on
/// `amd_iommu_domain_alloc_paging_v1` and `_v2`).
#[test]
fn apertures() {
    const fn bits(bits: u32) -> u64 {
        (1 << bits) - 1
    }
    const ALL: u64 = u64::MAX;
    let narrow = |bits: &str, hats| genoa(efr::hats(hats), 0).set("iommu", "va_bits", bits);
    #[rustfmt::skip] // one unit and one hwpt, one line
    let rows: &[(&str, File, u32, ByKernel<'_, u64>)] = &[
        ("HATS 2",             genoa(0, 0),              0,  &[("6.6-", ALL)]),
        ("HATS 2, dirty",      genoa(0, 0),              DT, &[("6.7-", ALL)]),
        ("HATS 2, parent",     genoa(0, 0),              NP, &[("7.0-", ALL)]),
        ("HATS 1",             genoa(efr::hats(1), 0),   0,  &[("6.6-6.15", ALL), ("6.17-", bits(57))]),
        ("HATS 0",             genoa(efr::hats(0), 0),   0,  &[("6.6-6.15", ALL), ("6.17-", bits(48))]),
        ("HATS 0, dirty",      genoa(efr::hats(0), 0),   DT, &[("6.7-6.15", ALL), ("6.17-", bits(48))]),
        ("HATS 0, parent",     genoa(efr::hats(0), 0),   NP, &[("7.0-", bits(48))]),
        ("HATS 3, so v2",      genoa(efr::hats(3), 0),   0,  &[("6.6-6.15", ALL), ("6.17-", bits(56))]),
        ("48 bits",            narrow("48", 2),          0,  &[("6.6-7.1", ALL), ("7.2-", bits(48))]),
        ("48 bits, parent",    narrow("48", 2),          NP, &[("7.0-7.1", ALL), ("7.2-", bits(48))]),
        ("52 bits, HATS 1",    narrow("52", 1),          0,  &[("6.6-6.15", ALL), ("6.17-7.1", bits(57)), ("7.2-", bits(52))]),
        ("52 bits, HATS 0",    narrow("52", 0),          0,  &[("6.6-6.15", ALL), ("6.17-", bits(48))]),
        ("48 bits, v2",        narrow("48", 2),          PA, &[("6.15", bits(57)), ("6.17-", bits(56))]),
        ("v2, five levels",    genoa(0, 0),              PA, &[("6.15", bits(57)), ("6.17-", bits(56))]),
        ("v2, four levels",    four_levels(0),           PA, &[("6.15", bits(48)), ("6.17-", bits(47))]),
        ("v2 only, four levels", four_levels(efr::hats(3)), 0, &[("6.6-6.15", ALL), ("6.17-", bits(47))]),
    ];
    let mut table = Table::default();
    for (what, file, flags, expected) in rows {
        table.row(what, &file.machine(), expected, |host| {
            host.hwpt(*flags).expect("a hwpt");
            let (ranges, alignment) = host.ranges();
            assert_eq!((ranges.len(), ranges[0].0, alignment), (1, 0, 4096));
            ranges[0].1
        });
    }
}

/// Interrupt messages, and hyper-transport's addresses unless EFR2 says that they are as others.
#[test]
fn reserved_ranges() {
    const MSI: u64 = 0xfee0_0000;
    const AFTER_MSI: u64 = 0xfef0_0000;
    const HT: u64 = 0xfd_0000_0000;
    const AFTER_HT: u64 = 0x100_0000_0000;
    let with = |last| (vec![(0, MSI - 1), (AFTER_MSI, HT - 1), (AFTER_HT, last)], 4096);
    let without = |last| (vec![(0, MSI - 1), (AFTER_MSI, last)], 4096);
    let ignored = genoa(0, efr2::HT_RANGE_IGNORE).machine();
    type Ranges = (Vec<(u64, u64)>, u64);
    #[rustfmt::skip] // one unit, one line
    let rows: &[(&str, Machine, ByKernel<'_, Ranges>)] = &[
        ("Genoa",           genoa(0, 0).machine(),             &[("6.6-", with(u64::MAX))]),
        ("HT range ignore", ignored,                           &[("6.6-6.15", with(u64::MAX)), ("6.17-", without(u64::MAX))]),
        ("HATS 0",          genoa(efr::hats(0), 0).machine(),  &[("6.6-6.15", with(u64::MAX)), ("6.17-", with((1 << 48) - 1))]),
    ];
    let mut table = Table::default();
    for (what, machine, expected) in rows {
        table.row(what, machine, expected, |host| {
            host.attach(IOAS).unwrap();
            let ranges = host.ranges();
            host.detach().unwrap();
            assert_eq!(host.ranges(), (vec![(0, u64::MAX)], 1));
            ranges
        });
    }
}

/// Areas that are in the way, and areas that may be read only, which are in nobody's way here.
#[test]
fn mappings() {
    const R: u32 = IOMMU_IOAS_MAP_READABLE;
    const BUSY: Answer = Err(Errno::EADDRINUSE);
    const TOP: u64 = u64::MAX - 0x1fff;
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("parent, then map",        &[("7.0-", OK)],                  |h| { h.parent(); h.map(0x1000, R) }),
        ("map, then parent",        &[("7.0-", OK)],                  |h| { h.map(0x1000, R).unwrap(); h.hwpt(NP).map(drop) }),
        ("hyper-transport, hwpt",   &[("6.6-", OK)],                  |h| { h.map(0xfd_0000_0000, R).unwrap(); h.hwpt(0).map(drop) }),
        ("hyper-transport, attach", &[("6.6-", BUSY)],                |h| { h.map(0xff_ffff_f000, R).unwrap(); h.attach(IOAS).map(drop) }),
        ("messages, attach",        &[("6.6-", BUSY)],                |h| { h.map(0xfee0_0000, R).unwrap(); h.attach(IOAS).map(drop) }),
        ("the top, v1",             &[("6.6-", OK)],                  |h| { h.map(TOP, R).unwrap(); h.hwpt(0).map(drop) }),
        ("the top, v2",             &[("6.15-", BUSY)],               |h| { h.map(TOP, R).unwrap(); h.hwpt(PA).map(drop) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &genoa(0, 0).machine(), expected, calls);
    }
}

fn with_iommufd() -> File {
    genoa(0, 0).set("iommu", "iommufd", "true")
}

/// The registers are told from 7.0 on, to a kernel that was built for it; else nothing, whatever is
/// asked for.
#[test]
fn hardware_information() {
    let nothing = (0, 0, vec![0; 64]);
    let told = |efr: u64, efr2: u64| {
        let mut bytes = [efr.to_le_bytes(), efr2.to_le_bytes()].concat();
        bytes.resize(64, 0);
        (4, 16, bytes)
    };
    let mut table = Table::default();
    let info = |host: &mut Host, asked| {
        let (cmd, bytes) = host.hw_info(asked).unwrap();
        (cmd.out_data_type, cmd.data_len, bytes)
    };
    let never = [("6.6-", nothing.clone())];
    table.row("not built", &genoa(0, 0).machine(), &never, |host| info(host, None));
    let since = [("6.6-6.19", nothing.clone()), ("7.0-", told(EFR, EFR2))];
    table.row("built", &with_iommufd().machine(), &since, |host| info(host, None));
    let changed = with_iommufd().flip("efr", efr::HD).flip("efr2", 1 << 11).machine();
    let since = [("7.0-", told(EFR ^ efr::HD, EFR2 | 1 << 11))];
    table.row("bits turned", &changed, &since, |host| info(host, None));
    for kind in [0, 1, 2, 3, 4, 77] {
        let nothing = [("6.17-", nothing.clone())];
        table.row(&format!("not built, type {kind}"), &genoa(0, 0).machine(), &nothing, |host| {
            info(host, Some(kind))
        });
        let ours = if [0, 4].contains(&kind) { OK } else { NO };
        let built = [("6.6-6.15", NO), ("6.17-6.19", OK), ("7.0-", ours)];
        table.row(&format!("built, type {kind}"), &with_iommufd().machine(), &built, |host| {
            host.hw_info(Some(kind)).map(drop)
        });
    }
}

/// `out_capabilities` and `out_max_pasid_log2`. The number of PASIDs is one less than a power of two,
/// so that 16 bits are told as 15; what a PASID may do is never told.
#[test]
fn capabilities() {
    let width = |width: &str| {
        let value = format!("{{ width = {width}, execute = true, privileged = true }}");
        genoa(0, 0).set("device", "pasid", &value)
    };
    type Told = (u64, u8);
    #[rustfmt::skip] // one machine, one line
    let rows: &[(&str, File, ByKernel<'_, Told>)] = &[
        ("Genoa",             genoa(0, 0),                     &[("6.6", (0, 0)), ("6.7-6.11", (1, 0)), ("6.12", (1, 15)), ("6.13-6.14", (1, 0)), ("6.15-", (1, 15))]),
        ("built for iommufd", with_iommufd(),                  &[("6.15-", (1, 15))]),
        ("PASIDs of 20 bits", width("20"),                     &[("6.12", (1, 15)), ("6.13-6.14", (1, 0)), ("6.15-", (1, 15))]),
        ("PASIDs of 15 bits", width("15"),                     &[("6.15-", (1, 15))]),
        ("PASIDs of 8 bits",  width("8"),                      &[("6.15-", (1, 8))]),
        ("PASmax 7",          genoa(efr::pasmax(7), 0),        &[("6.15-", (1, 7))]),
        ("PASmax 0",          genoa(efr::pasmax(0), 0),        &[("6.15-", (1, 0))]),
        // which stops Linux
        ("PASmax 31",         genoa(efr::pasmax(31), 0),       &[("6.15-", (1, 15))]),
        ("no PASIDs",         genoa(0, 0).unset("device", "pasid"), &[("6.15-", (1, 0))]),
        ("CPU five, v2 four", genoa(efr::GATS, 0),             &[("6.15-", (1, 15))]),
        ("no HD",             genoa(efr::HD, 0),               &[("6.7-6.11", (0, 0)), ("6.12", (0, 15)), ("6.13-6.14", (0, 0)), ("6.15-", (0, 15))]),
        ("HATS 3",            genoa(efr::hats(3), 0),          &[("6.15", (1, 15)), ("6.17-", (0, 15))]),
        ("no GT",             genoa(efr::GT, 0),               &[("6.12-7.0", (1, 0)), ("7.1-", (9, 0))]),
        ("no PPR",            genoa(efr::PPR, 0),              &[("6.15-7.0", (1, 15)), ("7.1-", (9, 15))]),
        ("no EPH",            genoa(efr::EPH, 0),              &[("6.15-7.0", (1, 15)), ("7.1-", (9, 15))]),
        ("no GIO",            genoa(efr::GIO, 0),              &[("6.15-7.0", (1, 15)), ("7.1-", (9, 15))]),
        ("no ATS",            genoa(0, 0).without_ats(), &[("6.15-7.0", (1, 15)), ("7.1-", (9, 15))]),
    ];
    let mut table = Table::default();
    for (what, file, expected) in rows {
        table.row(what, &file.machine(), expected, |host| {
            let (cmd, _) = host.hw_info(None).unwrap();
            (cmd.out_capabilities, cmd.out_max_pasid_log2)
        });
    }
    // v2 turns the device's PASIDs on, with nothing that they may do
    table.row("attached to v2", &width("16").machine(), &[("6.15-", (1, 15))], |host| {
        let hwpt = host.hwpt(PA).unwrap();
        host.attach(hwpt).unwrap();
        let (cmd, _) = host.hw_info(None).unwrap();
        (cmd.out_capabilities, cmd.out_max_pasid_log2)
    });
}
