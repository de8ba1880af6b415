//! The way to a PASID entry, and what an entry refuses by itself.

use profile::registers::vtd::{
    DT, EAFS, ERS, FSTS, NEST, PASID, PRS, PT, SC, SMPWCS, SRS, SSADS, SSTS,
};
use pt::{Access, Rights};
use uapi::iommufd::{IOMMU_VTD_S1_EAFE, IOMMU_VTD_S1_SRE, IOMMU_VTD_S1_WPE, iommu_hwpt_vtd_s1};

use super::{BORDER, Ram, full, memory, of_process, request, without};
use crate::hw::request::Request;
use crate::hw::vtd::lookup::structures::find;
use crate::hw::vtd::lookup::{PasidEntry, Registers, SecondStage, reason};

const SCALABLE: u64 = 1 << 10;
const ROOT: u64 = 0x8000;
const CONTEXT: u64 = 0x9000;
const DIRECTORY: u64 = 0xa000;
const PASIDS: u64 = 0xb000;

/// A device in the upper half of its bus, and a PASID in the second table of the directory.
const SOURCE: u16 = 0x03_82;
const NUMBER: u32 = 0x45;
const ROOT_AT: u64 = ROOT + 3 * 16 + 8;
const CONTEXT_AT: u64 = CONTEXT + 2 * 32;
const DIRECTORY_AT: u64 = DIRECTORY + 8;
const PASID_AT: u64 = PASIDS + 5 * 64;

/// What a context entry has: DTE, PASIDE.
const DEVICE: u64 = 1 | 1 << 2 | 1 << 3;
const FPD: u64 = 2;

const SECOND: SecondStage =
    SecondStage { root: 0x10_0000, levels: 4, tracks_dirty: true, snoops: true };

fn guest(flags: u64, addr_width: u32) -> iommu_hwpt_vtd_s1 {
    iommu_hwpt_vtd_s1 { flags, pgtbl_addr: 0x5000, addr_width, __reserved: 0 }
}

/// All structures, for a PASID's entry that passes addresses through.
fn structures() -> Ram {
    let ram = memory();
    ram.set(ROOT_AT, CONTEXT | 1);
    ram.set(CONTEXT_AT, DIRECTORY | DEVICE);
    ram.set(DIRECTORY_AT, PASIDS | 1);
    for (word, at) in PasidEntry::pass_through(full(), 1).0.into_iter().zip((PASID_AT..).step_by(8))
    {
        ram.set(at, word);
    }
    ram
}

fn set(ram: &Ram, at: u64, bits: u64) {
    ram.set(at, ram.word(at) | bits);
}

fn clear(ram: &Ram, at: u64, bits: u64) {
    ram.set(at, ram.word(at) & !bits);
}

/// Reason, and whether it is silent.
type Outcome = Result<(), (u8, bool)>;

fn look(ram: &Ram, rtaddr: u64, request: Request) -> Outcome {
    let found = find(full(), rtaddr, SOURCE, request, ram);
    let done = found.and_then(|entry| entry.translate(full(), request, ram));
    done.map(|_| ()).map_err(|refused| (refused.reason, refused.silent))
}

/// In the order of the checks: each change leaves those of the rows above alone.
#[test]
fn what_stops_a_request_on_its_way() {
    type Case = (&'static str, fn(&Ram), Outcome);
    const LOUD: bool = false;
    const SILENT: bool = true;
    #[rustfmt::skip] // one case, one line
    let cases: &[Case] = &[
        ("nothing",                         |_| {},                                         Ok(())),
        ("contexts beyond memory",        |r| r.set(ROOT_AT, BORDER | 1),                 Err((0x40, LOUD))),
        ("no root entry",                   |r| r.set(ROOT_AT, 0xffe),                      Err((0x39, LOUD))),
        ("reserved bit in it",              |r| set(r, ROOT_AT, 1 << 11),                   Err((0x3a, LOUD))),
        ("address too wide in it",          |r| set(r, ROOT_AT, 1 << 48),                   Err((0x3a, LOUD))),
        ("the other half is not asked",     |r| r.set(ROOT_AT - 8, u64::MAX),               Ok(())),
        ("no context entry",                |r| clear(r, CONTEXT_AT, 1),                    Err((0x41, LOUD))),
        ("reserved bit in it",              |r| set(r, CONTEXT_AT, 1 << 5),                 Err((0x42, LOUD))),
        ("RID_PRIV",                        |r| r.set(CONTEXT_AT + 8, 1 << 20),             Err((0x42, LOUD))),
        ("its third word",                  |r| r.set(CONTEXT_AT + 16, 1),                  Err((0x42, LOUD))),
        ("its last word",                   |r| r.set(CONTEXT_AT + 24, 1 << 63),            Err((0x42, LOUD))),
        ("the largest RID_PASID",           |r| r.set(CONTEXT_AT + 8, (1 << 13) - 1),       Ok(())),
        ("RID_PASID too large",             |r| r.set(CONTEXT_AT + 8, 1 << 13),             Err((0x43, LOUD))),
        ("the same, and FPD",               |r| { r.set(CONTEXT_AT + 8, 1 << 13); set(r, CONTEXT_AT, FPD) },
                                                                                            Err((0x43, SILENT))),
        ("a larger directory",              |r| { r.set(CONTEXT_AT + 8, 1 << 13); set(r, CONTEXT_AT, 1 << 9) },
                                                                                            Ok(())),
        ("PASIDs disabled",                 |r| clear(r, CONTEXT_AT, 1 << 3),               Err((0x45, LOUD))),
        ("directory beyond memory",         |r| r.set(CONTEXT_AT, BORDER | DEVICE),         Err((0x50, LOUD))),
        ("the same, and FPD",               |r| r.set(CONTEXT_AT, BORDER | DEVICE | FPD),   Err((0x50, LOUD))),
        ("no directory entry",              |r| clear(r, DIRECTORY_AT, 1),                  Err((0x51, LOUD))),
        ("the same, with its own FPD",      |r| r.set(DIRECTORY_AT, FPD),                   Err((0x51, LOUD))),
        ("the same, with the device's FPD", |r| { clear(r, DIRECTORY_AT, 1); set(r, CONTEXT_AT, FPD) },
                                                                                            Err((0x51, SILENT))),
        ("reserved bit in it",              |r| set(r, DIRECTORY_AT, 1 << 2),               Err((0x52, LOUD))),
        ("table beyond memory",             |r| r.set(DIRECTORY_AT, BORDER | FPD | 1),      Err((0x58, LOUD))),
        ("no PASID entry",                  |r| clear(r, PASID_AT, 1),                      Err((0x59, LOUD))),
        ("the same, with its own FPD",      |r| r.set(PASID_AT, FPD),                       Err((0x59, LOUD))),
        ("the same, with FPD above",        |r| { clear(r, PASID_AT, 1); set(r, DIRECTORY_AT, FPD) },
                                                                                            Err((0x59, SILENT))),
        ("reserved bit in it",              |r| set(r, PASID_AT, 1 << 5),                   Err((0x5a, LOUD))),
        ("its last word",                   |r| r.set(PASID_AT + 56, 1),                    Err((0x5a, LOUD))),
        ("ignored bits",                    |r| r.set(PASID_AT + 16, 3 << 5),               Ok(())),
        ("no such translation",             |r| set(r, PASID_AT, 5 << 6),                   Err((0x5b, LOUD))),
        ("the same, with its own FPD",      |r| set(r, PASID_AT, 5 << 6 | FPD),             Err((0x5b, SILENT))),
    ];
    let asked = of_process(NUMBER, 0x1000, Access::READ);
    for (name, change, expected) in cases {
        let ram = structures();
        change(&ram);
        assert_eq!(look(&ram, ROOT | SCALABLE, asked), *expected, "{name}");
    }
}

#[test]
fn what_stops_kinds_of_requests() {
    let read = |pasid| of_process(pasid, 0x1000, Access::READ);
    let ats = Request { translation_only: true, ..read(NUMBER) };
    let without_pasid = request(0x1000, Access::READ);
    let ram = structures();
    assert_eq!(look(&ram, ROOT, read(NUMBER)), Err((0x31, false)));
    assert_eq!(look(&ram, ROOT, without_pasid), Err((0x30, false)));
    assert_eq!(look(&ram, 1 << 48 | SCALABLE, without_pasid), Err((0x30, false)));
    assert_eq!(look(&ram, BORDER | SCALABLE, without_pasid), Err((0x38, false)));
    assert_eq!(look(&ram, ROOT | SCALABLE, read(1 << 13)), Err((0x46, false)));
    assert_eq!(look(&ram, ROOT | SCALABLE, without_pasid), Err((0x51, false)));
    ram.set(CONTEXT_AT + 8, NUMBER.into());
    assert_eq!(look(&ram, ROOT | SCALABLE, without_pasid), Ok(()));
    assert_eq!(look(&ram, ROOT | SCALABLE, ats), Ok(()));
    clear(&ram, CONTEXT_AT, 1 << 2);
    assert_eq!(look(&ram, ROOT | SCALABLE, ats), Err((0x44, false)));
    clear(&ram, CONTEXT_AT, 1 << 3);
    assert_eq!(look(&ram, ROOT | SCALABLE, read(NUMBER)), Err((0x45, false)));
    assert_eq!(look(&ram, ROOT | SCALABLE, without_pasid), Ok(()));
    // what is above hides what is found below, in tables too
    for at in [CONTEXT_AT, DIRECTORY_AT, PASID_AT] {
        let ram = structures();
        set(&ram, at, FPD);
        let beyond = of_process(NUMBER, 1 << 48, Access::READ);
        assert_eq!(look(&ram, ROOT | SCALABLE, beyond), Err((reason::OUTPUT_BEYOND, true)));
    }
}

/// What a unit lacks is reserved, or no translation.
#[test]
fn what_a_unit_lacks() {
    let supervisor = guest(IOMMU_VTD_S1_SRE | IOMMU_VTD_S1_WPE, 48);
    let first = PasidEntry::first_stage(full(), 0x5000, 4, false, 1);
    let with = |entry: PasidEntry, word: usize, bits: u64| {
        let mut words = entry.0;
        words[word] |= bits;
        PasidEntry(words)
    };
    let plain = SecondStage { tracks_dirty: false, snoops: false, ..SECOND };
    #[rustfmt::skip] // one case, one line
    let cases = [
        (FSTS,   first,                                                          0x5b),
        (SSTS,   PasidEntry::second_stage(full(), plain, 2),                     0x5b),
        (NEST,   PasidEntry::nested(full(), &guest(0, 48), plain, 2),            0x5b),
        (PT,     PasidEntry::pass_through(full(), 1),                            0x5b),
        (SRS,    PasidEntry::nested(full(), &supervisor, plain, 2),              0x5a),
        (EAFS,   PasidEntry::nested(full(), &guest(IOMMU_VTD_S1_EAFE, 48), plain, 2), 0x5a),
        (SSADS,  PasidEntry::second_stage(full(), SecondStage { tracks_dirty: true, ..plain }, 2), 0x5a),
        (SC,     PasidEntry::first_stage(full(), 0x5000, 4, true, 1),            0x5a),
        (SMPWCS, first,                                                          0x5a),
        (ERS,    with(first, 2, 2),                                              0x5a),
    ];
    for (field, entry, reason) in cases {
        let asked = request(0x1000, Access::READ);
        let check = |unit: Registers| entry.check(unit, asked).err();
        assert_eq!((check(full()), check(without(field))), (None, Some(reason)), "{field:?}");
    }
    for (field, bit) in [(DT, 1 << 2), (PASID, 1 << 3), (PRS, 1 << 4)] {
        let ram = structures();
        ram.set(CONTEXT_AT, DIRECTORY | 1 | bit);
        ram.set(CONTEXT_AT + 8, NUMBER.into());
        let found = find(without(field), ROOT | SCALABLE, SOURCE, request(0, Access::READ), &ram);
        assert_eq!(found.unwrap_err().reason, 0x42, "{field:?}");
    }
    // widths: three, four and five levels, each only where it is
    for (levels, sagaw) in [(3, 0b0010), (4, 0b0100), (5, 0b1000)] {
        let entry = PasidEntry::second_stage(full(), SecondStage { levels, ..SECOND }, 2);
        let with = |widths: u64| Registers { cap: full().cap & !(31 << 8) | widths << 8, ..full() };
        let check = |unit| entry.check(unit, request(0, Access::READ)).err();
        assert_eq!(check(with(sagaw)), None);
        assert_eq!(check(with(31 & !sagaw)), Some(0x5b));
    }
    let five = PasidEntry::nested(full(), &guest(0, 57), SECOND, 2);
    let four_only = Registers { cap: full().cap & !(1 << 60), ..full() };
    let check = |unit| five.check(unit, request(0, Access::READ)).err();
    assert_eq!((check(full()), check(four_only)), (None, Some(0x5b)));
}

/// The words that Linux writes.
#[test]
fn as_linux_fills_it() {
    let flags = IOMMU_VTD_S1_SRE | IOMMU_VTD_S1_WPE | IOMMU_VTD_S1_EAFE;
    let nested = |flags, width, second| PasidEntry::nested(full(), &guest(flags, width), second, 7);
    let plain = SecondStage { tracks_dirty: false, snoops: false, levels: 3, ..SECOND };
    #[rustfmt::skip] // one case, one line
    let cases = [
        (PasidEntry::BLOCKED,                                [0, 0, 0]),
        (PasidEntry::first_stage(full(), 0x5fff, 4, false, 1), [0x4d, 0x0080_0001, 0x5000]),
        (PasidEntry::first_stage(full(), 0x5000, 5, true, 1), [0x4d, 0x0180_0001, 0x5004]),
        (PasidEntry::second_stage(full(), SECOND, 2),        [0x10_0289, 0x0080_0002, 0]),
        (PasidEntry::second_stage(full(), plain, 2),         [0x10_0085, 0x0080_0002, 0]),
        (PasidEntry::pass_through(full(), 1),                [0x10d, 0x0080_0001, 0]),
        (nested(0, 48, plain),                               [0x10_00c5, 0x0080_0007, 0x5000]),
        (nested(flags, 57, SECOND),                          [0x10_02c9, 0x0180_0007, 0x5095]),
        // without SRE there is no WPE
        (nested(IOMMU_VTD_S1_WPE, 48, plain),                [0x10_00c5, 0x0080_0007, 0x5000]),
    ];
    for (entry, words) in cases {
        assert_eq!((&entry.0[..3], &entry.0[3..]), (&words[..], &[0; 5][..]), "{entry:x?}");
    }
}

#[test]
fn privilege_and_execution_go_with_a_pasid() {
    let entry = PasidEntry::pass_through(full(), 1);
    let (ram, execute) = (memory(), Access::EXECUTE);
    let reason = |entry: PasidEntry, request| {
        entry.translate(full(), request, &ram).err().map(|refused| refused.reason)
    };
    let (pasid, none) = (of_process(1, 0, execute), request(0, execute));
    assert_eq!((reason(entry, pasid), reason(entry, none)), (Some(0x5c), None));
    let access = Access::READ.privileged();
    let (pasid, none) = (of_process(1, 0, access), request(0, access));
    assert_eq!((reason(entry, pasid), reason(entry, none)), (Some(0x5d), None));
    // what is cached lets through no more
    let grant = |request| entry.translate(full(), request, &ram).unwrap().grant;
    let user = grant(of_process(1, 0, Access::READ));
    assert_eq!((user.user, user.privileged), (Rights::READ | Rights::WRITE, Rights::empty()));
    let all = grant(request(0, Access::READ));
    assert_eq!((all.user, all.privileged), (Rights::all(), Rights::all()));
    assert_eq!(reason(PasidEntry::BLOCKED, none), Some(0x59));
}

/// Messages are none of translation's business; a page that is cached has no interrupt address.
#[test]
fn interrupt_addresses() {
    let (entry, ram) = (PasidEntry::pass_through(full(), 1), memory());
    for iova in [0xfee0_0000, 0xfeef_fffc] {
        let refused = |request| entry.translate(full(), request, &ram).unwrap_err();
        let process = refused(of_process(1, iova, Access::WRITE));
        assert_eq!((process.reason, process.silent, process.recoverable), (0x87, false, false));
        let message = refused(request(iova, Access::WRITE));
        assert_eq!((message.reason, message.silent), (reason::MESSAGE, true));
    }
    let order = |iova| entry.translate(full(), request(iova, Access::READ), &ram).unwrap().order;
    let orders = [0, 0xfedf_ffff, 0xfef0_0000, 1 << 40].map(order);
    assert_eq!(orders, [31, 21, 20, 40]);
    // a second stage that leads there
    let (second, at) = (PasidEntry::second_stage(full(), SECOND, 2), 0x10_0000);
    ram.set(at, 0x10_1003);
    ram.set(0x10_1000, 0xc000_0083);
    let reason =
        |iova| second.translate(full(), request(iova, Access::READ), &ram).map(|it| it.order);
    assert_eq!(reason(0x3ee0_0000).unwrap_err().reason, 0x87);
    assert_eq!((reason(0x3edf_f000), reason(0)), (Ok(21), Ok(29)));
}
