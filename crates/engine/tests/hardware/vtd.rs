//! VT-d (`drivers/iommu/intel`).
//!
//! | module | holds |
//! |---|---|
//! | [`alloc`] | which flags of `IOMMU_HWPT_ALLOC` which unit takes, and what can be attached of it |
//! | [`nested`] | a guest's first stage: data, order of checks, invalidation |
//! | [`attach`] | attaching devices and PASIDs, page faults, units that differ |
//! | [`info`] | hardware information, capabilities, dirty tracking |
//! | this one | IOVA ranges and read-only mappings |
//!
//! Words: the first stage (FS) has the format of the CPU's tables, the second stage (SS) its own.

mod alloc;
mod attach;
mod info;
mod nested;

use profile::Machine;
use uapi::Errno;
use uapi::iommufd::*;
use zerocopy::IntoBytes;

use crate::file::File;
use crate::host::{DEVICE, IOAS, NOBODY, hwpt_alloc};
use crate::table::{Answer, ByKernel, Calls, OK, Table};

pub const NP: u32 = IOMMU_HWPT_ALLOC_NEST_PARENT;
pub const DT: u32 = IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
pub const FAULT: u32 = IOMMU_HWPT_FAULT_ID_VALID;
pub const PA: u32 = IOMMU_HWPT_ALLOC_PASID;

/// Registers of the machine spr.
pub const CAP: u64 = 0x19ed_008c_4078_0c66;
pub const ECAP: u64 = 0x0003_ef9e_a6f0_50df;

/// Bits of CAP (VT-d 11.4.2).
pub mod cap {
    /// 57-bit second stage.
    pub const SAGAW_57: u64 = 1 << 11;
    pub const SAGAW_48: u64 = 1 << 10;
    pub const FS5LP: u64 = 1 << 60;
    /// From 57 bits of guest address to 46.
    pub const MGAW_57_TO_46: u64 = ((57 - 1) ^ (46 - 1)) << 16;
}

/// Bits of ECAP (VT-d 11.4.3).
pub mod ecap {
    pub const DT: u64 = 1 << 2;
    pub const SC: u64 = 1 << 7;
    pub const NEST: u64 = 1 << 26;
    pub const PRS: u64 = 1 << 29;
    pub const SRS: u64 = 1 << 31;
    pub const EAFS: u64 = 1 << 34;
    pub const PASID: u64 = 1 << 40;
    pub const PDS: u64 = 1 << 42;
    pub const SMTS: u64 = 1 << 43;
    pub const SLADS: u64 = 1 << 45;
    pub const SLTS: u64 = 1 << 46;
    pub const FLTS: u64 = 1 << 47;
    pub const SMPWC: u64 = 1 << 48;
}

/// Sapphire Rapids with bits of CAP and ECAP turned over. It has every bit that is named here.
pub fn spr(cap: u64, ecap: u64) -> Machine {
    File::of("spr").flip("cap", cap).flip("ecap", ecap).machine()
}

/// Sapphire Rapids under `intel_iommu=sm_off`.
pub fn sm_off() -> Machine {
    File::of("spr").set("iommu", "scalable_mode", "false").machine()
}

fn icx() -> Machine {
    File::of("icx").machine()
}

const MSI: u64 = 0xfee0_0000;
const AFTER_MSI: u64 = 0xfef0_0000;

/// Where the aperture of a hwpt ends (`paging_domain_alloc`; from 6.19 on `compute_vasz_lg2_fs` and
/// `_ss`). A first stage has half of its width, because addresses are sign-extended.
#[test]
fn apertures() {
    const fn bits(bits: u32) -> u64 {
        (1 << bits) - 1
    }
    #[rustfmt::skip] // one unit and one hwpt, one line
    let rows: &[(&str, Machine, u32, ByKernel<'_, u64>)] = &[
        ("57 bits",                 spr(0, 0),                             0,  &[("6.6-6.12", bits(57)), ("6.13-", bits(56))]),
        ("57 bits, parent",         spr(0, 0),                             NP, &[("6.7-", bits(57))]),
        ("57 bits, dirty",          spr(0, 0),                             DT, &[("6.7-", bits(57))]),
        ("57 bits, PASID",          spr(0, 0),                             PA, &[("6.15-", bits(56))]),
        ("sm_off",                  sm_off(),                              0,  &[("6.6-", bits(57))]),
        ("no SMTS",                 spr(0, ecap::SMTS),                    0,  &[("6.6-", bits(57))]),
        ("no FS5LP",                spr(cap::FS5LP, 0),                    0,  &[("6.6-6.8", bits(57)), ("6.11-6.12", bits(48)), ("6.13-", bits(47))]),
        ("no FS5LP, parent",        spr(cap::FS5LP, 0),                    NP, &[("6.7-6.8", bits(57)), ("6.11-6.18", bits(48)), ("6.19-", bits(57))]),
        ("no FS5LP, sm_off",        File::of("spr").flip("cap", cap::FS5LP).set("iommu", "scalable_mode", "false").machine(), 0, &[("6.6-", bits(57))]),
        ("SAGAW 48",                spr(cap::SAGAW_57, 0),                 0,  &[("6.6-6.8", bits(57)), ("6.11-6.12", bits(48)), ("6.13-6.18", bits(47)), ("6.19-", bits(56))]),
        ("SAGAW 48, parent",        spr(cap::SAGAW_57, 0),                 NP, &[("6.7-6.8", bits(57)), ("6.11-", bits(48))]),
        ("MGAW 46",                 spr(cap::MGAW_57_TO_46, 0),            0,  &[("6.6-6.8", bits(57)), ("6.11-6.12", bits(46)), ("6.13-", bits(45))]),
        ("MGAW 46, parent",         spr(cap::MGAW_57_TO_46, 0),            NP, &[("6.7-6.8", bits(57)), ("6.11-", bits(46))]),
        ("no FLTS",                 spr(0, ecap::FLTS),                    0,  &[("6.6-", bits(57))]),
        ("no FLTS, no FS5LP",       spr(cap::FS5LP, ecap::FLTS),           0,  &[("6.6-", bits(57))]),
        ("no SLTS",                 spr(0, ecap::SLTS),                    0,  &[("6.6-6.12", bits(57)), ("6.13-", bits(56))]),
        ("no SLTS, SAGAW 48",       spr(cap::SAGAW_57, ecap::SLTS),        0,  &[("6.6-6.12", bits(57)), ("6.13-", bits(56))]),
        ("Ice Lake",                icx(),                                 0,  &[("6.6-6.8", bits(57)), ("6.11-", bits(48))]),
    ];
    let mut table = Table::default();
    for (what, machine, flags, expected) in rows {
        table.row(what, machine, expected, |host| {
            assert_eq!(host.ranges(), (vec![(0, u64::MAX)], 1));
            let hwpt = host.hwpt(*flags).expect("a hwpt");
            let (ranges, alignment) = host.ranges();
            assert_eq!((ranges.len(), ranges[0].0, alignment), (1, 0, 4096));
            host.destroy(hwpt).unwrap();
            assert_eq!(host.ranges(), (vec![(0, u64::MAX)], 1));
            ranges[0].1
        });
    }
}

/// Attaching a device takes the addresses of interrupt messages away, and leaving gives them back; so
/// does attaching it to a guest's first stage, on the parent's IOAS, from 6.12 on
/// (`iommufd_device_attach_reserved_iova`).
#[test]
fn reserved_ranges() {
    let whole = |last| (vec![(0, last)], 4096);
    let split = |last| (vec![(0, MSI - 1), (AFTER_MSI, last)], 4096);
    type Ranges = (Vec<(u64, u64)>, u64);
    let ss = (1 << 57) - 1;
    let fs = (1 << 56) - 1;
    let rows: [(&str, ByKernel<'_, Ranges>, Calls<Ranges>); 9] = [
        ("IOAS", &[("6.6-6.12", split(ss)), ("6.13-", split(fs))], |host| {
            host.attach(IOAS).unwrap();
            host.ranges()
        }),
        ("IOAS, and left", &[("6.6-", (vec![(0, u64::MAX)], 1))], |host| {
            host.attach(IOAS).unwrap();
            host.detach().unwrap();
            host.ranges()
        }),
        ("parent", &[("6.7-", split(ss))], |host| {
            let parent = host.parent();
            host.attach(parent).unwrap();
            host.ranges()
        }),
        ("nested", &[("6.7-6.11", whole(ss)), ("6.12-", split(ss))], |host| {
            let parent = host.parent();
            let nested = host.nested(parent, 0, 1, &nested::stage(0, 48)).unwrap();
            host.attach(nested).unwrap();
            host.ranges()
        }),
        ("from the parent to nested", &[("6.7-6.11", whole(ss)), ("6.12-", split(ss))], |host| {
            let parent = host.parent();
            host.attach(parent).unwrap();
            let nested = host.nested(parent, 0, 1, &nested::stage(0, 48)).unwrap();
            host.attach(nested).unwrap();
            host.ranges()
        }),
        ("from nested to the parent", &[("6.7-", split(ss))], |host| {
            let parent = host.parent();
            let nested = host.nested(parent, 0, 1, &nested::stage(0, 48)).unwrap();
            host.attach(nested).unwrap();
            host.attach(parent).unwrap();
            host.ranges()
        }),
        ("to another IOAS", &[("6.6-", (vec![(0, u64::MAX)], 1))], |host| {
            host.attach(IOAS).unwrap();
            let other = host.ioas();
            host.attach(other).unwrap();
            host.ranges()
        }),
        ("to nested over another IOAS", &[("6.7-", (vec![(0, u64::MAX)], 1))], |host| {
            host.attach(IOAS).unwrap();
            let other = host.ioas();
            let parent = host.hwpt_of(DEVICE, other, NP).unwrap();
            let nested = host.nested(parent, 0, 1, &nested::stage(0, 48)).unwrap();
            host.attach(nested).unwrap();
            host.ranges()
        }),
        ("PASID", &[("6.15-", whole(fs))], |host| {
            let hwpt = host.hwpt(PA).unwrap();
            host.attach_pasid(7, hwpt).unwrap();
            host.ranges()
        }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &spr(0, 0), expected, calls);
    }
}

/// Areas that were there first: an aperture or reserved range that they meet is `EADDRINUSE`.
#[test]
fn ranges_that_are_taken() {
    const RW: u32 = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE;
    const HIGH: u64 = 1 << 56;
    const BUSY: Answer = Err(Errno::EADDRINUSE);
    #[rustfmt::skip] // one IOVA and one call, one line
    let rows: &[(&str, u64, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("in the first stage's upper half", HIGH, &[("6.6-6.12", OK), ("6.13-", BUSY)],            |host| host.hwpt(0).map(drop)),
        ("... attach of the IOAS",   HIGH,    &[("6.6-6.12", OK), ("6.13-", BUSY)],                |host| host.attach(IOAS).map(drop)),
        ("... parent",               HIGH,    &[("6.7-", OK)],                                     |host| host.hwpt(NP).map(drop)),
        ("... with a bad fault queue", HIGH,  &[("6.13-", BUSY)],                                  |host| host.hwpt_with(&mut iommu_hwpt_alloc { flags: FAULT, fault_id: NOBODY, ..hwpt_alloc() }).map(drop)),
        ("beyond the second stage",  1 << 57, &[("6.6-", BUSY)],                                   |host| host.hwpt(0).map(drop)),
        ("interrupt messages",       MSI,     &[("6.6-", OK)],                                     |host| host.hwpt(0).map(drop)),
        ("... attach of the IOAS",   MSI,     &[("6.6-", BUSY)],                                   |host| host.attach(IOAS).map(drop)),
        ("... attach of a hwpt",     MSI,     &[("6.6-", BUSY)],                                   |host| { let hwpt = host.hwpt(0).unwrap(); host.attach(hwpt).map(drop) }),
        ("... attach of a PASID",    MSI,     &[("6.15-", OK)],                                    |host| { let hwpt = host.hwpt(PA).unwrap(); host.attach_pasid(7, hwpt).map(drop) }),
        ("... attach of a nested",   MSI,     &[("6.7-6.11", OK), ("6.12-", BUSY)],                |host| { let parent = host.parent(); let nested = host.nested(parent, 0, 1, &nested::stage(0, 48)).unwrap(); host.attach(nested).map(drop) }),
        ("... replace",              MSI,     &[("6.6-", BUSY)],                                   |host| { let other = host.ioas(); host.attach(other).unwrap(); host.attach(IOAS).map(drop) }),
        ("... which changes nothing", MSI,    &[("6.6-", Err(Errno::EBUSY))],                      |host| { let other = host.ioas(); let own = host.attach(other).unwrap(); host.attach(IOAS).unwrap_err(); assert_eq!(host.next_id(), own + 1); host.destroy(other) }),
    ];
    let mut table = Table::default();
    for (what, iova, expected, calls) in rows {
        table.row(what, &spr(0, 0), expected, |host| {
            host.map(*iova, RW).expect("a mapping");
            calls(host)
        });
    }
    // ranges that the program asked to keep are taken as well
    for (what, start, last, expected) in [
        ("kept messages", MSI, AFTER_MSI - 1, &[("6.6-", BUSY)][..]),
        ("kept upper half", HIGH, HIGH + 4095, &[("6.6-6.12", OK), ("6.13-", BUSY)][..]),
        ("kept low pages", 0, MSI - 1, &[("6.6-", OK)][..]),
    ] {
        table.row(what, &spr(0, 0), expected, |host| {
            let allowed_iovas = host.put(iommu_iova_range { start, last }.as_bytes());
            let cmd = iommu_ioas_allow_iovas { ioas_id: IOAS, allowed_iovas, ..Default::default() };
            host.call(&mut iommu_ioas_allow_iovas { num_iovas: 1, ..cmd }).unwrap();
            host.attach(IOAS).map(drop)
        });
    }
}

/// A nesting parent takes no read-only mapping, because of an erratum that every unit is believed to
/// have (`__domain_mapping`; from 6.19 on `vtdss_pt_iommu_set_prot`).
#[test]
fn read_only_mappings() {
    const READ: u32 = IOMMU_IOAS_MAP_READABLE;
    const WRITE: u32 = IOMMU_IOAS_MAP_WRITEABLE;
    const INVAL: Answer = Err(Errno::EINVAL);
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("parent, then map",            &[("6.7-", INVAL)], |host| { host.parent(); host.map(0x1000, READ) }),
        ("parent, then map to write",   &[("6.7-", OK)],    |host| { host.parent(); host.map(0x1000, WRITE) }),
        ("parent, then map for both",   &[("6.7-", OK)],    |host| { host.parent(); host.map(0x1000, READ | WRITE) }),
        ("map, then parent",            &[("6.7-", INVAL)], |host| { host.map(0x1000, READ).unwrap(); host.hwpt(NP).map(drop) }),
        ("map, then dirty parent",      &[("6.7-", INVAL)], |host| { host.map(0x1000, READ).unwrap(); host.hwpt(NP | DT).map(drop) }),
        ("... the parent left nothing", &[("6.7-", OK)],    |host| { host.map(0x1000, READ).unwrap(); host.hwpt(NP).unwrap_err(); assert_eq!(host.next_id(), DEVICE + 1); assert_eq!(host.ranges().1, 1); OK }),
        ("parent gone, then map",       &[("6.7-", OK)],    |host| { let parent = host.parent(); host.destroy(parent).unwrap(); host.map(0x1000, READ) }),
        ("parent of another IOAS",      &[("6.7-", OK)],    |host| { let other = host.ioas(); host.hwpt_of(DEVICE, other, NP).unwrap(); host.map(0x1000, READ) }),
        ("plain hwpt, then map",        &[("6.6-", OK)],    |host| { host.hwpt(0).unwrap(); host.map(0x1000, READ) }),
        ("dirty hwpt, then map",        &[("6.7-", OK)],    |host| { host.hwpt(DT).unwrap(); host.map(0x1000, READ) }),
        ("map, then plain hwpt",        &[("6.6-", OK)],    |host| { host.map(0x1000, READ).unwrap(); host.hwpt(0).map(drop) }),
        ("copy to the parent's IOAS",   &[("6.7-", INVAL)], |host| {
            let other = host.ioas();
            host.hwpt_of(DEVICE, other, NP).unwrap();
            host.map(0x1000, READ | WRITE).unwrap();
            host.call(&mut iommu_ioas_copy { flags: IOMMU_IOAS_MAP_FIXED_IOVA | READ, dst_ioas_id: other, src_ioas_id: IOAS, length: 4096, dst_iova: 0x1000, src_iova: 0x1000, ..Default::default() })
        }),
        ("what fails is not mapped",    &[("6.7-", Err(Errno::ENOENT))], |host| {
            host.parent();
            host.map(0x1000, READ).unwrap_err();
            host.call(&mut iommu_ioas_unmap { ioas_id: IOAS, iova: 0x1000, length: 4096, ..Default::default() })
        }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &spr(0, 0), expected, calls);
    }
}
