//! v1 alone against QEMU; all else by what it is made of.

mod qemu;

use std::collections::BTreeMap;

use pt::{Access, Rights};

use super::event::flag;
use super::*;
use crate::hw::ram::Ram;

impl Registers {
    /// Translates a request of the device whose entry it is, and marks what it uses.
    pub fn translate<M: TableMemory>(
        self,
        entry: DeviceEntry,
        request: Request,
        memory: &M,
    ) -> Result<Translation, Refused> {
        self.context(entry, request, memory)?.translate(request, memory)
    }
}

impl Refused {
    /// As it is recorded.
    pub fn record(&self, device: u16) -> [u32; 4] {
        let [low, high] = [self.address, self.address >> 32].map(|half| half as u32);
        let owner = self.owner;
        [
            u32::from(device) | (owner >> 16 & 0xf) << 16,
            owner & 0xffff | self.flags << 16 | (self.kind as u32) << 28,
            low,
            high,
        ]
    }
}

/// An EPYC of the Genoa family, but that it has PASIDs of 20 bits, and for them GCR3 tables of three levels.
const REGISTERS: Registers = Registers {
    efr: 0x25bf_732f_a229_5afe & !(0x1f << 32 | 3 << 14) | 19 << 32 | 2 << 14,
    efr2: 0x1d,
};

const TABLES: u64 = 0x10_0000;
/// Where tables of the guest are, for the guest and in memory alike. With its pages they are in what one
/// table of the host covers.
const GUEST_TABLES: u64 = 0x20_0000;
/// The last of them, of four levels.
const GUEST_ROOT: u64 = GUEST_TABLES + 0x3000;
const GUEST_PAGES: u64 = 0x24_0000;
const PAGES: u64 = 0x80_0000;
const HOST_DOMAIN: u16 = 7;

/// Bits of v2 entries: P, RW, US, A, D, NX.
mod v2 {
    pub const PRESENT: u64 = 1;
    pub const WRITE: u64 = 1 << 1;
    pub const USER: u64 = 1 << 2;
    pub const ACCESSED: u64 = 1 << 5;
    pub const DIRTY: u64 = 1 << 6;
    pub const NO_EXECUTE: u64 = 1 << 63;
    pub const ALL: u64 = PRESENT | WRITE | USER;
}

/// Bits of v1 entries: PR, A, D, IR, IW.
mod v1 {
    pub const PRESENT: u64 = 1;
    pub const ACCESSED: u64 = 1 << 5;
    pub const DIRTY: u64 = 1 << 6;
    pub const READ: u64 = 1 << 61;
    pub const WRITE: u64 = 1 << 62;
    pub const ALL: u64 = PRESENT | READ | WRITE;
}

fn memory() -> Ram {
    Ram::new(0..1 << 32, BTreeMap::new())
}

fn request(pasid: Option<u32>, iova: u64, access: Access) -> Request {
    Request { pasid, iova, access, translation_only: false }
}

/// The address of an entry of tables that are one page a level, the root's the last.
fn entry_at(tables: u64, level: u64, input: u64) -> u64 {
    tables + level * 0x1000 + (input >> (12 + 9 * level) & 0x1ff) * 8
}

/// Maps a page by v2 tables of four levels.
fn map_v2(ram: &Ram, input: u64, page: u64) {
    for level in 1..4 {
        let below = GUEST_TABLES + (level - 1) * 0x1000;
        ram.set(entry_at(GUEST_TABLES, level, input), below | v2::ALL);
    }
    ram.set(entry_at(GUEST_TABLES, 0, input), page);
}

/// Maps a page by v1 tables of three levels.
fn map_v1(ram: &Ram, input: u64, page: u64) {
    for level in 1..3 {
        let below = TABLES + (level - 1) * 0x1000;
        ram.set(entry_at(TABLES, level, input), below | level << 9 | v1::ALL);
    }
    ram.set(entry_at(TABLES, 0, input), page);
}

/// The GCR3 table of a guest, with its v2 tables for PASID 3; all of it is where the guest says.
const GCR3: u64 = GUEST_TABLES + 0x8000;
const PASID: u32 = 3;

fn guest_memory() -> Ram {
    let ram = memory();
    ram.set(GCR3 + u64::from(PASID) * 8, GUEST_ROOT | 1);
    for page in [0, 0x1000, 0x2000, 0x3000, 0x8000] {
        map_v1(&ram, GUEST_TABLES + page, (GUEST_TABLES + page) | v1::ALL);
    }
    ram
}

fn host(dirty: bool) -> DeviceEntry {
    DeviceEntry::host(HOST_DOMAIN, TABLES + 0x2000, 3, dirty)
}

fn guest() -> DeviceEntry {
    DeviceEntry::guest(HOST_DOMAIN, GCR3, 0, 4, false)
}

/// What `set_dte_*` writes.
#[test]
fn entries_are_as_linux_fills_them() {
    const GRANTED: u64 = 3 << 61;
    assert_eq!(DeviceEntry::BLOCKED.0, [1, 0, 0, 0]);
    assert_eq!(DeviceEntry::identity(9).0, [3 | GRANTED, 9, 0, 0]);
    let host = DeviceEntry::host(9, 0x000f_edcb_a987_6000, 6, true);
    assert_eq!(host.0, [0x000f_edcb_a987_6000 | 6 << 9 | 3 << 7 | 3 | GRANTED, 9, 0, 0]);
    let own = DeviceEntry::guest(9, 0x000f_edcb_a987_6000, 2, 5, true);
    let gcr3 = [6 << 58, 0xa987_6000 >> 15 << 16 & 0xffff_0000, 0x000f_edcb_a987_6000 >> 31 << 43];
    let flags = 3 | 1 << 54 | 1 << 55 | 2 << 56 | GRANTED;
    assert_eq!(own.0, [flags | gcr3[0], 9 | gcr3[1] | gcr3[2], 1 << 54, 0]);
    // what else a guest sets is not taken
    let nested = DeviceEntry::nested([!0, !0, !0, !0], host);
    let taken = 1 << 52 | 1 << 54 | 1 << 55 | 3 << 56 | 7 << 58;
    assert_eq!(nested.0, [host.0[0] | taken, 9 | 0xffff_0000 | !0 << 43, 3 << 54, 0]);
}

/// The guest's tables over the host's are one after the other: for all that pages of both may grant, and
/// all that may be asked.
#[test]
fn amd_nested_is_one_stage_after_the_other() {
    let ram = guest_memory();
    let bits = |number: u64, all: &[u64]| -> u64 {
        all.iter().enumerate().map(|(at, bit)| if number >> at & 1 != 0 { *bit } else { 0 }).sum()
    };
    let pages = 0..16 * 8;
    for page in pages.clone() {
        let grants = bits(page, &[v2::PRESENT, v2::WRITE, v2::USER, v2::NO_EXECUTE]);
        map_v2(&ram, page << 12, (GUEST_PAGES + (page << 12)) | grants);
        let grants = bits(page >> 4, &[v1::PRESENT, v1::READ, v1::WRITE]);
        map_v1(&ram, GUEST_PAGES + (page << 12), (PAGES + (page << 12)) | grants);
    }
    let nested = DeviceEntry::nested(guest().0, host(false));
    let read_and_write = Access::new(Rights::READ | Rights::WRITE);
    let asked = [Access::READ, Access::WRITE, Access::EXECUTE, read_and_write];
    let (mut translated, mut refused) = (0, 0);
    for (page, access) in pages.flat_map(|page| asked.map(|access| (page, access))) {
        for access in [access, access.privileged()] {
            let ask = request(Some(PASID), page << 12 | 0x88, access);
            let found = REGISTERS.translate(nested, ask, &ram);
            let first = REGISTERS.translate(guest(), ask, &ram);
            let both = first.and_then(|first| {
                let second = request(None, first.address, access);
                Ok(first.then(&REGISTERS.translate(host(false), second, &ram)?))
            });
            assert_eq!(found, both, "{page:#x} {access:?}");
            match found {
                Ok(found) => {
                    assert_eq!(found.address, PAGES + (page << 12) + 0x88);
                    assert!(found.grant.denied(access).is_empty());
                    translated += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert_eq!((translated, refused), (54, 970), "translated and refused");
}

#[test]
fn a_gcr3_table_has_one_to_three_levels() {
    // what is in a level below is another table for each PASID
    let level = |glx: u32, level: u32| GCR3 + u64::from(glx * 4 + level) * 0x1000;
    let pasids = [(0, 0), (0, 0x1ff), (1, 0x200), (1, 0x3_fe03), (2, 0x4_0000), (2, 0xa_aa55)];
    for (glx, pasid) in pasids {
        let ram = memory();
        for at in 0..=glx {
            let found = if at == 0 { GUEST_ROOT } else { level(glx, at - 1) };
            let index = u64::from(pasid) >> (9 * at) & 0x1ff;
            ram.set(level(glx, at) + index * 8, found | 1);
        }
        map_v2(&ram, 0x5000, GUEST_PAGES | v2::ALL);
        let entry = |glx: u32| DeviceEntry::guest(2, level(glx, glx), glx as u8, 4, false);
        let translate = |glx: u32, pasid: u32| {
            let ask = request(Some(pasid), 0x5004, Access::READ);
            REGISTERS.translate(entry(glx), ask, &ram)
        };
        let found = translate(glx, pasid).map(|found| found.address);
        assert_eq!(found, Ok(GUEST_PAGES | 4), "PASID {pasid:#x}");
        // another PASID, and one that has more bits than the levels
        for other in [pasid ^ 1, pasid | 1 << (9 * (glx + 1)).min(20)] {
            let refused = translate(glx, other).unwrap_err();
            let expected = (Kind::PageFault, flag::GUEST | flag::USER, other, false);
            let flags = refused.flags;
            assert_eq!((refused.kind, flags, refused.owner, refused.recoverable), expected);
        }
    }
}

/// A context, found once, does not see what becomes of the tables that led to it; of those that it leads
/// to it does.
#[test]
fn a_context_can_be_kept() {
    let ram = guest_memory();
    map_v2(&ram, 0x5000, GUEST_PAGES | v2::ALL);
    map_v1(&ram, GUEST_PAGES, PAGES | v1::ALL);
    let nested = DeviceEntry::nested(guest().0, host(false));
    let ask = request(Some(PASID), 0x5004, Access::READ);
    let kept = REGISTERS.context(nested, ask, &ram).unwrap();
    assert_eq!((kept.domain, kept.pasid), (HOST_DOMAIN, Some(PASID)));
    ram.set(GCR3 + u64::from(PASID) * 8, 0);
    assert_eq!(kept.translate(ask, &ram).map(|found| found.address), Ok(PAGES | 4));
    assert!(REGISTERS.context(nested, ask, &ram).is_err());
    ram.set(entry_at(GUEST_TABLES, 0, 0x5000), 0);
    assert!(kept.translate(ask, &ram).is_err());
}

/// A case: the entry, the request, what is changed in memory, and the event, or the address.
type Case = (
    &'static str,
    fn() -> DeviceEntry,
    (Option<u32>, u64, Access),
    fn(&Ram),
    Result<u64, ([u32; 4], bool)>,
);

#[test]
fn amd_requests() {
    const NESTED: fn() -> DeviceEntry = || DeviceEntry::nested(guest().0, host(false));
    const OWN: fn() -> DeviceEntry = || DeviceEntry::guest(4, GCR3, 0, 4, true);
    const GUEST: fn() -> DeviceEntry = guest;
    const HOST: fn() -> DeviceEntry = || host(false);
    const NOTHING: fn(&Ram) = |_| ();
    const FAULT: u32 = 2 << 28;
    const NO_TABLE: u32 = 4 << 28;
    const LEAF: fn(&Ram, u64) = |ram, entry| ram.set(entry_at(GUEST_TABLES, 0, 0x5000), entry);
    const TOP: fn(&Ram, u64) = |ram, entry| ram.set(entry_at(GUEST_TABLES, 3, 0x5000), entry);
    const HOSTS: fn(&Ram, u64, u64) = |ram, page, entry| ram.set(entry_at(TABLES, 0, page), entry);
    const P: Option<u32> = Some(PASID);
    const R: Access = Access::READ;
    const W: Access = Access::WRITE;
    const X: Access = Access::EXECUTE;
    let guest = PASID | FAULT;
    let domain = u32::from(HOST_DOMAIN) | FAULT;
    #[rustfmt::skip] // one case, one line
    let cases: &[Case] = &[
        ("pass",                    || DeviceEntry([0; 4]), (P, 0x5004, W), NOTHING, Ok(0x5004)),
        ("identity",                || DeviceEntry::identity(1), (None, 0x5004, W), NOTHING, Ok(0x5004)),
        ("identity has no PASIDs",  || DeviceEntry::identity(1), (P, 0x5004, R), NOTHING, Err(([9, guest | 0x05 << 16, 0x5004, 0], false))),
        ("blocked",                 || DeviceEntry::BLOCKED, (None, 0x5004, R), NOTHING, Err(([9, FAULT, 0x5004, 0], false))),
        ("reserved bits",           || DeviceEntry([0x8000_0000_0000_0003, 0, 0, 0]), (None, 0x5004, R), NOTHING, Err(([9, 1 << 28 | 0x80 << 16, 0x5004, 0], false))),
        ("GLX of 3",                || DeviceEntry::guest(1, GCR3, 3, 4, false), (None, 0x5004, R), NOTHING, Err(([9, 1 << 28, 0x5004, 0], false))),
        ("host",                    HOST, (None, GUEST_PAGES | 4, W), NOTHING, Ok(PAGES | 4)),
        ("host, too wide",          HOST, (None, 1 << 39, W), NOTHING, Err(([9, domain | 0x20 << 16, 0, 0x80], false))),
        ("host, not there",         HOST, (None, 0x7004, R), NOTHING, Err(([9, domain, 0x7004, 0], true))),
        ("host, no size",           HOST, (None, GUEST_PAGES, R), |ram| HOSTS(ram, GUEST_PAGES, 0x3fff_f000 | 7 << 9 | v1::ALL), Err(([9, domain | 0x10 << 16, 0x24_0000, 0], false))),
        ("host, no memory",         HOST, (None, GUEST_PAGES, R), |ram| ram.set(entry_at(TABLES, 1, GUEST_PAGES), 1 << 40 | 1 << 9 | v1::ALL), Err(([9, 7 | NO_TABLE, 0x200, 0x100], false))),
        ("execute is read",         HOST, (None, GUEST_PAGES, X), |ram| HOSTS(ram, GUEST_PAGES, PAGES | v1::PRESENT | v1::WRITE), Err(([9, domain | 0x50 << 16, 0x24_0000, 0], true))),
        ("guest",                   GUEST, (P, 0x5004, W), NOTHING, Ok(GUEST_PAGES | 4)),
        ("guest, without PASID",    GUEST, (None, 0x5004, W), NOTHING, Ok(0x5004)),
        ("guest, not canonical",    GUEST, (P, 1 << 47, R), NOTHING, Err(([9, guest | 0x05 << 16, 0, 0x8000], false))),
        ("guest, not there",        GUEST, (P, 0x7004, W), NOTHING, Err(([9, guest | 0x25 << 16, 0x7004, 0], true))),
        ("guest, supervisor's",     GUEST, (P, 0x5004, R), |ram| LEAF(ram, GUEST_PAGES | v2::PRESENT), Err(([9, guest | 0x55 << 16, 0x5004, 0], true))),
        ("guest, by a supervisor",  GUEST, (P, 0x5004, R.privileged()), |ram| LEAF(ram, GUEST_PAGES | v2::PRESENT), Ok(GUEST_PAGES | 4)),
        ("guest, supervisor writes read-only", GUEST, (P, 0x5004, W.privileged()), |ram| LEAF(ram, GUEST_PAGES | v2::PRESENT), Err(([9, guest | 0x71 << 16, 0x5004, 0], true))),
        ("guest, not to execute",   GUEST, (P, 0x5004, X), |ram| LEAF(ram, GUEST_PAGES | v2::ALL | v2::NO_EXECUTE), Err(([9, guest | 0x57 << 16, 0x5004, 0], true))),
        ("guest, reserved",         GUEST, (P, 0x5004, R), |ram| TOP(ram, GUEST_PAGES | v2::ALL | 1 << 7), Err(([9, guest | 0x95 << 16, 0x5004, 0], false))),
        ("guest, GCR3 reserved",    GUEST, (P, 0x5004, R), |ram| ram.set(GCR3 + 24, GUEST_ROOT | 3), Err(([9, guest | 0x95 << 16, 0x5004, 0], false))),
        ("own, without PASID",      OWN, (None, 0x5004, R), |ram| ram.set(GCR3, GUEST_ROOT | 1), Ok(GUEST_PAGES | 4)),
        ("own, not there",          OWN, (None, 0x7004, R.privileged()), |ram| ram.set(GCR3, GUEST_ROOT | 1), Err(([9, FAULT | 0x05 << 16, 0x7004, 0], true))),
        ("nested",                  NESTED, (P, 0x5004, W), NOTHING, Ok(PAGES | 4)),
        ("nested, without PASID",   NESTED, (None, GUEST_PAGES | 4, W), NOTHING, Ok(PAGES | 4)),
        ("nested, guest's not there", NESTED, (P, 0x7004, R), NOTHING, Err(([9, guest | 0x05 << 16, 0x7004, 0], true))),
        ("nested, page not there",  NESTED, (P, 0x5004, W), |ram| HOSTS(ram, GUEST_PAGES, 0), Err(([9, domain | 0x20 << 16, 0x24_0004, 0], true))),
        ("nested, table not there", NESTED, (P, 0x5004, W), |ram| HOSTS(ram, GUEST_TABLES, 0), Err(([9, domain, 0x20_0028, 0], true))),
        ("nested, table not to mark", NESTED, (P, 0x5004, R), |ram| HOSTS(ram, GUEST_TABLES, GUEST_TABLES | v1::PRESENT | v1::READ), Err(([9, domain | 0x70 << 16, 0x20_0028, 0], true))),
        ("nested, GCR3 not there",  NESTED, (P, 0x5004, W), |ram| HOSTS(ram, GCR3, 0), Err(([9, domain, 0x20_8018, 0], true))),
        ("nested, no memory",       NESTED, (P, 0x5004, R), |ram| HOSTS(ram, GUEST_TABLES, 1 << 40 | v1::ALL), Err(([9, PASID | NO_TABLE | 0x05 << 16, 0x28, 0x100], false))),
        ("wide PASID",              GUEST, (Some(0x8_1234), 0x5004, R), NOTHING, Err(([9 | 8 << 16, 0x1234 | FAULT | 0x05 << 16, 0x5004, 0], false))),
    ];
    for (name, entry, (pasid, iova, access), change, expected) in cases {
        let ram = guest_memory();
        map_v2(&ram, 0x5000, GUEST_PAGES | v2::ALL);
        map_v1(&ram, GUEST_PAGES, PAGES | v1::ALL);
        change(&ram);
        let found = REGISTERS.translate(entry(), request(*pasid, *iova, *access), &ram);
        let found = found.map(|found| found.address);
        let found = found.map_err(|refused| (refused.record(9), refused.recoverable));
        assert_eq!(found, *expected, "{name}: {found:x?}, not {expected:x?}");
    }
    // what was asked is told otherwise when only the translation is
    let only = Request { translation_only: true, ..request(P, 0x7004, W) };
    let refused = REGISTERS.translate(GUEST(), only, &guest_memory()).unwrap_err();
    assert_eq!(refused.flags, flag::TRANSLATION | flag::GUEST | flag::USER);
}

/// What an entry may ask for, the IOMMU must have.
#[test]
fn amd_features() {
    let nested = DeviceEntry::nested(guest().0, host(false));
    let own = DeviceEntry::guest(1, GCR3, 0, 4, true);
    let five = DeviceEntry::guest(1, GCR3, 0, 5, false);
    let glx = DeviceEntry::guest(1, GCR3, 2, 4, false);
    let levels = |levels: u8| DeviceEntry::host(1, TABLES, levels, false);
    let fault = |registers: Registers, entry: DeviceEntry| {
        let refused = registers.context(entry, request(Some(PASID), 0, Access::READ), &memory());
        refused.unwrap_err()
    };
    let illegal = |efr: u64, entry: DeviceEntry| {
        let efr = REGISTERS.efr & !efr;
        let refused = fault(Registers { efr, ..REGISTERS }, entry);
        (refused.kind == Kind::IllegalEntry).then_some(refused.flags & flag::RESERVED != 0)
    };
    let cases = [
        ("guests", 1 << 4, nested, Some(true)),
        ("guests without PASID", 1 << 48, own, Some(true)),
        ("page requests", 1 << 1, guest().with_page_requests(), Some(true)),
        ("dirty", 1 << 52, host(true), Some(true)),
        ("five levels of the guest", 3 << 12, five, Some(false)),
        ("three levels of GCR3", 1 << 15, glx, Some(false)),
        ("five levels of the host", 3 << 10, levels(5), Some(false)),
    ];
    for (name, lacking, entry, expected) in cases {
        assert_eq!(illegal(lacking, entry), expected, "without {name}");
        assert_eq!(illegal(0, entry), None, "with {name}");
    }
    assert_eq!(illegal(0, levels(7)), Some(false), "seven levels of the host");
    // GCR3TRPMode: whose address the GCR3 table has
    let ram = guest_memory();
    map_v2(&ram, 0x5000, GUEST_PAGES | v2::ALL);
    map_v1(&ram, GUEST_PAGES, PAGES | v1::ALL);
    map_v1(&ram, GCR3, 0);
    let ask = request(Some(PASID), 0x5004, Access::READ);
    let physical = Registers { efr2: 0, ..REGISTERS };
    assert_eq!(physical.translate(nested, ask, &ram).map(|found| found.address), Ok(PAGES | 4));
    assert!(REGISTERS.translate(nested, ask, &ram).is_err());
}

/// Guests' entries are marked always, the host's where HAD says so: pages that are used, and those in
/// which tables are.
#[test]
fn amd_marks() {
    for dirty in [false, true] {
        let ram = guest_memory();
        map_v2(&ram, 0x5000, GUEST_PAGES | v2::ALL);
        map_v1(&ram, GUEST_PAGES, PAGES | v1::ALL);
        let nested = DeviceEntry::nested(guest().0, host(dirty));
        let guest_leaf = || ram.word(entry_at(GUEST_TABLES, 0, 0x5000)) & 0x60;
        let host_leaf = |page| ram.word(entry_at(TABLES, 0, page)) & 0x60;
        let host = |marks: u64| if dirty { marks } else { 0 };
        let read = REGISTERS.translate(nested, request(Some(PASID), 0x5004, Access::READ), &ram);
        assert!(!read.unwrap().dirty);
        assert_eq!(guest_leaf(), v2::ACCESSED);
        assert_eq!(host_leaf(GUEST_PAGES), host(v1::ACCESSED));
        // the guest's entry was marked, and so its page written
        assert_eq!(host_leaf(GUEST_TABLES), host(v1::ACCESSED | v1::DIRTY));
        assert_eq!(host_leaf(GCR3), host(v1::ACCESSED));
        let write = REGISTERS.translate(nested, request(Some(PASID), 0x5004, Access::WRITE), &ram);
        assert!(write.unwrap().dirty);
        assert_eq!(guest_leaf(), v2::ACCESSED | v2::DIRTY);
        assert_eq!(host_leaf(GUEST_PAGES), host(v1::ACCESSED | v1::DIRTY));
    }
}
