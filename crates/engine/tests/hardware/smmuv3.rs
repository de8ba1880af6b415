//! Arm SMMUv3 (`drivers/iommu/arm/arm-smmu-v3`).
//!
//! | module | holds |
//! |---|---|
//! | [`nested`] | virtual IOMMUs and devices, a guest's stream table entry |
//! | [`commands`] | a guest's invalidation commands |
//! | [`attach`] | page faults by stalls, PASIDs, devices behind another SMMU |
//! | this one | flags of a hwpt, IOVA ranges, hardware information |
//!
//! Up to 6.8 a hwpt without a device attached has no aperture yet, so most rows begin with 6.11.

mod attach;
mod commands;
mod nested;

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

/// `SMMU_IDR0` to `SMMU_IDR5` of the machine grace.
pub const IDR: [u32; 6] = [0x080f_3e1f, 0x0e73_9d18, 0, 0x3c, 0, 0x0040_0075];

/// Bits of `SMMU_IDR0` (SMMUv3 6.3.1).
pub mod idr0 {
    pub const S2P: u32 = 1;
    pub const S1P: u32 = 1 << 1;
    /// From both formats of table to the 64-bit one.
    pub const TTF_AARCH32: u32 = 1 << 2;
    /// No hardware updates, so far; 1 is the access flag, 2 and 3 dirty pages too.
    pub const HTTU: u32 = 1 << 6;
    pub const ATS: u32 = 1 << 10;
    pub const ASID16: u32 = 1 << 12;
    pub const VMID16: u32 = 1 << 18;
    /// Stalls and terminates, so far; 1 is terminates only, 2 stalls only.
    pub const STALL_MODEL: u32 = 1 << 24;
}

/// Words of `IDR`, and the bits of each that are turned over.
type Changes<'c> = &'c [(usize, u32)];

/// The machine grace with bits of `SMMU_IDR0` to `SMMU_IDR5` turned over.
pub fn grace(changes: Changes<'_>) -> File {
    let mut idr = IDR;
    for (index, bits) in changes {
        idr[*index] ^= bits;
    }
    File::of("grace").set("iommu", "idr", &format!("{idr:?}"))
}

/// The machine grace with another implementation.
fn part(product: u32, variant: u32, revision: u32) -> Machine {
    let iidr = product << 20 | variant << 16 | revision << 12 | 0x43b;
    File::of("grace").set("iommu", "iidr", &format!("{iidr:#x}")).machine()
}

/// `IDR5.OAS`, from 48 bits to another size.
const fn oas(code: u32) -> (usize, u32) {
    (5, 5 ^ code)
}

/// An SMMU that the driver does not take (`arm_smmu_device_hw_probe`): its devices are in no group, and
/// VFIO does not offer them.
#[test]
fn given_up() {
    let commands = |log2: u32| (1, (19 ^ log2) << 21);
    #[rustfmt::skip] // one unit, one line
    let rows: &[(&str, Changes<'_>, usize)] = &[
        ("Grace",               &[],                                1),
        ("no stage",            &[(0, idr0::S1P | idr0::S2P)],      0),
        ("32-bit tables only",  &[(0, 1 << 3)],                     0),
        ("little-endian",       &[(0, 2 << 21)],                    1),
        ("big-endian",          &[(0, 3 << 21)],                    0),
        ("another endianness",  &[(0, 1 << 21)],                    0),
        ("64 commands",         &[commands(6)],                     0),
        ("128 commands",        &[commands(7)],                     1),
        ("relative bases",      &[(1, 1 << 28)],                    0),
        ("queues are preset",   &[(1, 1 << 29)],                    0),
        ("tables are preset",   &[(1, 1 << 30)],                    0),
    ];
    let mut table = Table::default();
    for (what, changes, cards) in rows {
        let machine = grace(changes).machine();
        table.each(what, &[("6.6-", (*cards, *cards))], |kernel| {
            let host = Host::unbound(&machine, kernel);
            let files = host.engine.sysfs(&engine::Cpus::new("0"));
            let units = files.keys().filter(|path| path.starts_with("class/iommu/"));
            (host.cards.len(), units.count())
        });
    }
}

/// Which hwpt is made; the device attaches to each that is (`arm_smmu_domain_alloc_paging_flags`).
#[test]
fn flags_by_unit() {
    const NEVER: ByKernel<'_, Answer> = &[("6.6-", NO)];
    const PARENT: ByKernel<'_, Answer> = &[("6.6-6.12", NO), ("6.13-", OK)];
    const PASID: ByKernel<'_, Answer> = &[("6.6-6.14", NO), ("6.15-", OK)];
    const DIRTY: ByKernel<'_, Answer> = &[("6.6-6.8", NO), ("6.11-", OK)];
    const PLAIN: ByKernel<'_, Answer> = &[("6.11-", OK)];
    let httu = |value| grace(&[(0, value * idr0::HTTU)]).machine();
    let one_stage = |other| grace(&[(0, other)]).machine();
    let rest = grace(&[(0, idr0::S1P | (2 * idr0::HTTU))]).machine();
    let flag = |key, value| File::of("grace").set("iommu", key, value).machine();
    let other = File::of("grace").set("iommu", "iidr", "0x4870043c").machine();
    #[rustfmt::skip] // one unit and one hwpt, one line
    let rows: &[(&str, Machine, u32, ByKernel<'_, Answer>)] = &[
        ("Grace",            httu(0),              0,       PLAIN),
        ("Grace",            httu(0),              NP,      PARENT),
        ("Grace",            httu(0),              DT,      NEVER),
        ("Grace",            httu(0),              NP | DT, NEVER),
        ("Grace",            httu(0),              PA,      PASID),
        ("Grace",            httu(0),              PA | NP, NEVER),
        ("Grace",            httu(0),              PA | DT, NEVER),
        ("Grace",            httu(0),              16,      NEVER),
        ("HTTU 1",           httu(1),              DT,      NEVER),
        ("HTTU 2",           httu(2),              0,       PLAIN),
        ("HTTU 2",           httu(2),              DT,      DIRTY),
        ("HTTU 2",           httu(2),              NP,      PARENT),
        ("HTTU 2",           httu(2),              NP | DT, NEVER),
        ("HTTU 2",           httu(2),              PA | DT, PASID),
        ("HTTU 2",           httu(2),              11,      NEVER),
        ("HTTU 3",           httu(3),              DT,      &[("6.6-7.1", NO), ("7.2-", OK)]),
        ("HTTU 3",           httu(3),              PA | DT, &[("6.6-7.1", NO), ("7.2-", OK)]),
        ("stage 1 only",     one_stage(idr0::S2P), 0,       PLAIN),
        ("stage 1 only",     one_stage(idr0::S2P), NP,      NEVER),
        ("stage 1 only",     one_stage(idr0::S2P), PA,      PASID),
        ("stage 2 only",     one_stage(idr0::S1P), 0,       PLAIN),
        ("stage 2 only",     one_stage(idr0::S1P), NP,      NEVER),
        ("stage 2 only",     one_stage(idr0::S1P), PA,      NEVER),
        ("stage 2, HTTU 2",  rest.clone(),         DT,      NEVER),
        ("stage 2, HTTU 2",  rest,                 PA | DT, NEVER),
        ("no CANWBS",        flag("canwbs", "false"), NP,   PARENT),
        ("no ATS",           flag("root_complex_ats", "false"), NP, PARENT),
        ("no SSIDs",         grace(&[(1, 20 << 6)]).machine(), PA, PASID),
        ("no PASIDs",        File::of("grace").set("device", "pasid", "{ width = 0 }").machine(), PA, PASID),
        ("MMU-600 r2",       part(0x483, 2, 0),    NP,      PARENT),
        ("MMU-600 r1",       part(0x483, 1, 3),    NP,      NEVER),
        ("MMU-600 r0",       part(0x483, 0, 0),    NP,      NEVER),
        ("MMU-600 r0",       part(0x483, 0, 0),    0,       PLAIN),
        ("MMU-700 r0p0",     part(0x487, 0, 0),    NP,      NEVER),
        ("MMU-700 r0p1",     part(0x487, 0, 1),    NP,      NEVER),
        ("MMU-700 r1p0",     part(0x487, 1, 0),    NP,      NEVER),
        ("MMU-700 r1p1",     part(0x487, 1, 1),    NP,      &[("6.6-7.0", NO), ("7.1-", OK)]),
        ("MMU-700 r2p0",     part(0x487, 2, 0),    NP,      NEVER),
        ("MMU-700 r1p1",     part(0x487, 1, 1),    PA,      PASID),
        ("MMU-L1",           part(0x48a, 0, 0),    NP,      PARENT),
        ("MMU-S3",           part(0x498, 0, 0),    NP,      PARENT),
        ("another's 0x487",  other,                NP,      PARENT),
    ];
    let mut table = Table::default();
    for (what, machine, flags, expected) in rows {
        table.row(&format!("{what}, flags {flags:#x}"), machine, expected, |host| {
            let answer = host.hwpt(*flags);
            if let Ok(hwpt) = answer {
                assert_eq!(host.attach(hwpt), Ok(hwpt));
            }
            answer.map(drop)
        });
    }
}

/// `FAULT`, alone and with others. 6.13's core hands it on to the driver, which does not know it.
#[test]
fn flags_with_faults() {
    const TAKEN: ByKernel<'_, Answer> = &[("6.11-6.13", NO), ("6.14-", OK)];
    let httu2 = grace(&[(0, 2 * idr0::HTTU)]).machine();
    let grace = grace(&[]).machine();
    #[rustfmt::skip] // one hwpt, one line
    let rows: &[(&Machine, u32, ByKernel<'_, Answer>)] = &[
        (&grace, FAULT,           TAKEN),
        (&grace, FAULT | NP,      &[("6.11-6.13", NO), ("6.14", OK), ("6.15-", NO)]),
        (&grace, FAULT | PA,      &[("6.11-6.14", NO), ("6.15-", OK)]),
        (&grace, FAULT | DT,      &[("6.11-", NO)]),
        (&httu2, FAULT | DT,      TAKEN),
        (&httu2, FAULT | DT | PA, &[("6.11-6.14", NO), ("6.15-", OK)]),
        (&httu2, FAULT | DT | NP, &[("6.11-", NO)]),
    ];
    let mut table = Table::default();
    for (machine, flags, expected) in rows {
        table.row(&format!("flags {flags:#x}"), machine, expected, |host| {
            host.hwpt(*flags).map(drop)
        });
    }
}

/// Two things wrong at once, and what only the driver refuses.
#[test]
fn order() {
    type Change = fn(&mut iommu_hwpt_alloc);
    #[rustfmt::skip] // one call, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Change)] = &[
        ("data",                        &[("6.11-", NO)],    |c| { c.data_type = 2; c.data_len = 16 }),
        ("flag, then data",             &[("6.11-", NO)],    |c| { c.flags = 16; c.data_type = 2; c.data_len = 16 }),
        ("type without data",           &[("6.11-", INVAL)], |c| { c.data_type = 2; c.flags = 16 }),
        ("pt, then flag",               &[("6.11-", INVAL)], |c| { c.pt_id = NOBODY; c.flags = 16 }),
        ("device, then pt",             &[("6.11-", NOENT)], |c| { c.pt_id = NOBODY; c.dev_id = NOBODY }),
        ("fault queue",                 &[("6.11-6.13", NO), ("6.14-", NOENT)], |c| { c.flags = FAULT; c.fault_id = NOBODY }),
        ("dirty, then fault queue",     &[("6.11-", NO)],    |c| { c.flags = FAULT | DT; c.fault_id = NOBODY }),
    ];
    let mut table = Table::default();
    for (what, expected, change) in rows {
        table.row(what, &grace(&[]).machine(), expected, |host| {
            let mut cmd = hwpt_alloc();
            change(&mut cmd);
            let answer = host.hwpt_with(&mut cmd).map(drop);
            assert_eq!(host.next_id(), DEVICE + 1, "it left something");
            answer
        });
    }
}

/// A kernel of 4 KiB pages needs a unit that has them (`arm_lpae_restrict_pgsizes`,
/// `iopt_table_add_domain`). Only a host that passes DMA through gets so far without.
#[test]
fn granules() {
    #[rustfmt::skip] // one unit, one line
    let rows: &[(&str, u32, Answer)] = &[
        ("4 KiB only",      6 << 4, OK),
        ("16 and 64 KiB",   1 << 4, INVAL),
        ("64 KiB only",     3 << 4, INVAL),
        ("none",            7 << 4, Err(Errno::ENOMEM)),
    ];
    let mut table = Table::default();
    for (what, bits, answer) in rows {
        let machine = grace(&[(5, *bits)]).machine();
        table.row(&format!("{what}, hwpt"), &machine, &[("6.11-", *answer)], |host| {
            host.hwpt(0).map(drop)
        });
        table.row(&format!("{what}, IOAS"), &machine, &[("6.11-", *answer)], |host| {
            host.attach(IOAS).map(drop)
        });
    }
}

/// A hwpt takes an ASID or a VMID, of which an SMMU may have 255.
#[test]
fn identifiers_run_out() {
    let machine = grace(&[(0, idr0::ASID16 | idr0::VMID16)]).machine();
    let mut table = Table::default();
    for (flags, expected) in
        [(0, [("6.13-", Err::<(), _>(Errno::EBUSY))]), (NP, [("6.13-", Err(Errno::ENOSPC))])]
    {
        table.row(&format!("flags {flags:#x}"), &machine, &expected, |host| {
            (0..256).try_for_each(|_| host.hwpt(flags).map(drop))
        });
    }
    // what is destroyed is free again
    table.row("one after the other", &machine, &[("6.13-", OK)], |host| {
        (0..300).try_for_each(|_| {
            let hwpt = host.hwpt(NP)?;
            host.destroy(hwpt)
        })
    });
}

/// Where the aperture of a hwpt ends: stage 1 has 48 bits, stage 2 as many as the SMMU puts out, and up
/// to 6.19 at least 40 where it has 32-bit tables too (`arm_smmu_domain_finalise`).
#[test]
fn apertures() {
    const fn bits(bits: u32) -> u64 {
        (1 << bits) - 1
    }
    const TTF2: (usize, u32) = (0, idr0::TTF_AARCH32);
    const S2: (usize, u32) = (0, idr0::S1P);
    const UP_TO_40: fn(u64) -> [(&'static str, u64); 2] =
        |oas| [("6.13-6.19", (1 << 40) - 1), ("7.0-", oas)];
    #[rustfmt::skip] // one unit and one hwpt, one line
    let rows: &[(&str, Changes<'_>, u32, ByKernel<'_, u64>)] = &[
        ("48 bits",                 &[],                0,  &[("6.11-", bits(48))]),
        ("48 bits, parent",         &[],                NP, &[("6.13-", bits(48))]),
        ("OAS 44",                  &[oas(4)],          0,  &[("6.11-", bits(48))]),
        ("OAS 44, parent",          &[oas(4)],          NP, &[("6.13-", bits(44))]),
        ("OAS 44, stage 2 only",    &[oas(4), S2],      0,  &[("6.11-", bits(44))]),
        ("OAS 42, parent",          &[oas(3)],          NP, &[("6.13-", bits(42))]),
        ("OAS 40, parent",          &[oas(2)],          NP, &[("6.13-", bits(40))]),
        ("OAS 36, parent",          &[oas(1)],          NP, &UP_TO_40(bits(36))),
        ("OAS 32, parent",          &[oas(0)],          NP, &UP_TO_40(bits(32))),
        ("OAS 32, 64-bit, parent",  &[oas(0), TTF2],    NP, &[("6.13-", bits(32))]),
        ("OAS 32, stage 2 only",    &[oas(0), S2],      0,  &[("6.11-6.19", bits(40)), ("7.0-", bits(32))]),
        ("OAS 32",                  &[oas(0)],          0,  &[("6.11-", bits(48))]),
        ("OAS 52",                  &[oas(6)],          0,  &[("6.11-", bits(48))]),
        ("OAS 52, parent",          &[oas(6)],          NP, &[("6.13-", bits(48))]),
        ("OAS 7, parent",           &[oas(7)],          NP, &[("6.13-", bits(48))]),
        ("VAX",                     &[(5, 1 << 10)],    0,  &[("6.11-", bits(48))]),
        ("VAX, PASID",              &[(5, 1 << 10)],    PA, &[("6.15-", bits(48))]),
    ];
    let mut table = Table::default();
    for (what, changes, flags, expected) in rows {
        table.row(what, &grace(changes).machine(), expected, |host| {
            host.hwpt(*flags).expect("a hwpt");
            let (ranges, alignment) = host.ranges();
            assert_eq!((ranges.len(), ranges[0].0, alignment), (1, 0, 4096));
            ranges[0].1
        });
    }
}

/// The window of interrupt messages, which is the kernel's own choice.
const MSI: u64 = 0x800_0000;
const AFTER_MSI: u64 = 0x810_0000;

/// Attaching a device takes the window away; attaching a PASID does not.
#[test]
fn reserved_ranges() {
    let split = |last| (vec![(0, MSI - 1), (AFTER_MSI, last)], 4096);
    let last = (1 << 48) - 1;
    type Ranges = (Vec<(u64, u64)>, u64);
    let rows: [(&str, ByKernel<'_, Ranges>, Calls<Ranges>); 4] = [
        ("IOAS", &[("6.6-", split(last))], |host| {
            host.attach(IOAS).unwrap();
            host.ranges()
        }),
        ("IOAS, and left", &[("6.6-", (vec![(0, u64::MAX)], 1))], |host| {
            host.attach(IOAS).unwrap();
            host.detach().unwrap();
            host.ranges()
        }),
        ("nested", &[("6.13-", split(last))], |host| {
            let (viommu, _) = nested::guest(host);
            let ste = nested::ste(1, 5, 0);
            let nested = host.nested(viommu, 0, 2, &ste).unwrap();
            host.attach(nested).unwrap();
            host.ranges()
        }),
        ("PASID", &[("6.15-", (vec![(0, last)], 4096))], |host| {
            let hwpt = host.hwpt(PA).unwrap();
            host.attach_pasid(7, hwpt).unwrap();
            host.ranges()
        }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &grace(&[]).machine(), expected, calls);
    }
}

/// Areas that are in the way, and areas that may be read only, which are in nobody's way here.
#[test]
fn mappings() {
    const R: u32 = IOMMU_IOAS_MAP_READABLE;
    const BUSY: Answer = Err(Errno::EADDRINUSE);
    let oas44 = grace(&[oas(4)]).machine();
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("parent, then map",      &[("6.13-", OK)],   |h| { h.parent(); h.map(0x1000, R) }),
        ("map, then parent",      &[("6.13-", OK)],   |h| { h.map(0x1000, R).unwrap(); h.hwpt(NP).map(drop) }),
        ("above 44 bits, plain",  &[("6.11-", OK)],   |h| { h.map(1 << 44, R).unwrap(); h.hwpt(0).map(drop) }),
        ("above 44 bits, parent", &[("6.13-", BUSY)], |h| { h.map(1 << 44, R).unwrap(); h.hwpt(NP).map(drop) }),
        ("in the window, hwpt",   &[("6.11-", OK)],   |h| { h.map(MSI, R).unwrap(); h.hwpt(0).map(drop) }),
        ("in the window, attach", &[("6.11-", BUSY)], |h| { h.map(MSI, R).unwrap(); h.attach(IOAS).map(drop) }),
        ("the last page of it",   &[("6.11-", BUSY)], |h| { h.map(AFTER_MSI - 4096, R).unwrap(); h.attach(IOAS).map(drop) }),
        ("after the window",      &[("6.11-", OK)],   |h| { h.map(AFTER_MSI, R).unwrap(); h.attach(IOAS).map(drop) }),
        ("attached, then map it", &[("6.11-", INVAL)], |h| { h.attach(IOAS).unwrap(); h.map(MSI, R) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &oas44, expected, calls);
    }
}

/// The registers as they are (`arm_smmu_hw_info`), whatever errata and firmware make of them.
#[test]
fn hardware_information() {
    let nothing = (0, 0, vec![0; 64]);
    let answer = |idr: [u32; 6], iidr: u32| {
        let mut bytes = vec![0; 8];
        idr.iter().chain(&[iidr, 1]).for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.resize(64, 0);
        (2, 40, bytes)
    };
    let mut odd = IDR;
    (odd[2], odd[4]) = (0x1234_5678, 0x9abc_def0);
    let odd_file = File::of("grace").set("iommu", "idr", &format!("{odd:?}"));
    #[rustfmt::skip] // one unit, one line
    let rows = [
        ("Grace",        grace(&[]).machine(),    answer(IDR, 0x4832_243b)),
        ("every word",   odd_file.machine(),      answer(odd, 0x4832_243b)),
        ("MMU-700 r0p0", part(0x487, 0, 0),       answer(IDR, 0x4870_043b)),
        ("no CANWBS",    File::of("grace").set("iommu", "canwbs", "false").machine(), answer(IDR, 0x4832_243b)),
    ];
    let mut table = Table::default();
    for (what, machine, answer) in rows {
        let expected = [("6.6-6.12", nothing.clone()), ("6.13-", answer)];
        table.row(what, &machine, &expected, |host| {
            let (cmd, bytes) = host.hw_info(None).unwrap();
            (cmd.out_data_type, cmd.data_len, bytes)
        });
    }
    for (kind, answer) in [(0, OK), (2, OK), (1, NO), (3, NO), (4, NO), (77, NO)] {
        let expected = [("6.6-6.15", NO), ("6.17-", answer)];
        table.row(&format!("type {kind}"), &grace(&[]).machine(), &expected, |host| {
            host.hw_info(Some(kind)).map(|(cmd, _)| assert_eq!(cmd.out_data_type, 2))
        });
    }
}

/// `out_capabilities` and `out_max_pasid_log2`.
#[test]
fn capabilities() {
    let device = |changes: &[(&str, &str)]| {
        let set = |file: File, (key, value): &(&str, &str)| file.set("device", key, value);
        changes.iter().fold(File::of("grace"), set)
    };
    let ats = device(&[("ats", "true")]);
    let wide = "{ width = 20, execute = true, privileged = true }";
    type Told = (u64, u8);
    #[rustfmt::skip] // one machine, one line
    let rows: &[(&str, Machine, ByKernel<'_, Told>)] = &[
        ("Grace",                grace(&[]).machine(),  &[("6.6-6.11", (0, 0)), ("6.12", (0, 16)), ("6.13-6.14", (0, 0)), ("6.15-7.0", (0, 16)), ("7.1-", (8, 16))]),
        ("PASIDs of 20 bits",    device(&[("pasid", wide)]).machine(), &[("6.12", (6, 20)), ("6.13-6.14", (0, 0)), ("6.15-7.0", (6, 20)), ("7.1-", (14, 20))]),
        ("SSIDs of 4 bits",      grace(&[(1, (20 ^ 4) << 6)]).machine(), &[("6.15-7.0", (0, 4)), ("7.1-", (8, 4))]),
        ("no SSIDs",             grace(&[(1, 20 << 6)]).machine(), &[("6.15-7.0", (0, 0)), ("7.1-", (8, 0))]),
        ("HTTU 2",               grace(&[(0, 2 * idr0::HTTU)]).machine(), &[("6.6-6.8", (0, 0)), ("6.11", (1, 0)), ("6.12", (1, 16)), ("6.13-6.14", (1, 0)), ("6.15-7.0", (1, 16)), ("7.1-", (9, 16))]),
        ("HTTU 3",               grace(&[(0, 3 * idr0::HTTU)]).machine(), &[("6.15-7.0", (0, 16)), ("7.1", (8, 16)), ("7.2-", (9, 16))]),
        ("HTTU 2, stage 2 only", grace(&[(0, (2 * idr0::HTTU) | idr0::S1P)]).machine(), &[("6.15-7.0", (1, 16)), ("7.1-", (9, 16))]),
        ("ATS",                  ats.machine(),         &[("6.15-", (0, 16))]),
        ("ATS, not the root complex", ats.clone().set("iommu", "root_complex_ats", "false").machine(), &[("6.15-7.0", (0, 16)), ("7.1-", (8, 16))]),
        ("ATS, not the SMMU",    ats.set("iommu", "idr", &format!("{:?}", [IDR[0] ^ idr0::ATS, IDR[1], 0, 0x3c, 0, IDR[5]])).machine(), &[("6.15-7.0", (0, 16)), ("7.1-", (8, 16))]),
    ];
    let mut table = Table::default();
    for (what, machine, expected) in rows {
        table.row(what, machine, expected, |host| {
            let (cmd, _) = host.hw_info(None).unwrap();
            (cmd.out_capabilities, cmd.out_max_pasid_log2)
        });
    }
}
