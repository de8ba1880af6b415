//! A first stage over a second one: equal to one and then the other, and what each fault is called.

use proptest::prelude::*;
use pt::{Access, Rights};
use uapi::iommufd::{IOMMU_VTD_S1_SRE, IOMMU_VTD_S1_WPE, iommu_hwpt_vtd_s1};

use super::{BORDER, Ram, full, memory, of_process, without};
use crate::hw::request::Request;
use crate::hw::vtd::lookup::{PasidEntry, Refused, Registers, SecondStage, reason};

/// Guest-physical: four tables, one after the other, and then pages.
const TABLES: u64 = 0x10_0000;
const PAGES: u64 = 0x20_0000;
/// What guest-physical 0 is in host memory: what the second stage adds.
const OFFSET: u64 = 0x10_0000_0000;
/// Host-physical: the second stage's tables, and its last entries, which cover 2 MiB each.
const SECOND: u64 = 0x8000;
const SECOND_LAST: [u64; 2] = [SECOND + 0x3000, SECOND + 0x4000];

const IOVA: u64 = 0x4000;

fn entry_at(level: u64, index: u64) -> u64 {
    TABLES + 0x1000 * level + index * 8
}

/// The guest's tables in guest-physical memory: pages at iova 0, 0x1000 and so on, by their entries.
fn guest_tables(words: impl Fn(u64, u64), tables: u64, pages: &[(u64, u64)]) {
    for level in 0..3 {
        words(entry_at(level, 0), (TABLES + 0x1000 * (level + 1)) | tables);
    }
    for (index, (page, bits)) in pages.iter().enumerate() {
        words(entry_at(3, index as u64), (PAGES + page * 0x1000) | bits);
    }
}

/// A second stage that has the first 4 MiB of guest-physical memory, page by page.
fn second_stage(ram: &Ram, bits: impl Fn(u64) -> u64) {
    ram.set(SECOND, (SECOND + 0x1000) | 3);
    ram.set(SECOND + 0x1000, (SECOND + 0x2000) | 3);
    for (index, table) in SECOND_LAST.into_iter().enumerate() {
        ram.set(SECOND + 0x2000 + index as u64 * 8, table | 3);
        for page in 0..512 {
            let address = (index as u64 * 512 + page) << 12;
            ram.set(table + page * 8, (OFFSET + address) | bits(address));
        }
    }
}

/// The entry of the second stage for a guest-physical address.
fn second_entry(address: u64) -> u64 {
    SECOND_LAST[(address >> 21) as usize] + (address >> 12 & 0x1ff) * 8
}

fn second(tracks_dirty: bool) -> SecondStage {
    SecondStage { root: SECOND, levels: 4, tracks_dirty, snoops: false }
}

fn guest(flags: u64) -> iommu_hwpt_vtd_s1 {
    iommu_hwpt_vtd_s1 { flags, pgtbl_addr: TABLES, addr_width: 48, __reserved: 0 }
}

fn nested(unit: Registers, flags: u64, tracks_dirty: bool) -> PasidEntry {
    PasidEntry::nested(unit, &guest(flags), second(tracks_dirty), 2)
}

/// Both stages, with pages at 0x4000 and 0x5000.
fn both(bits: u64) -> Ram {
    let ram = memory();
    second_stage(&ram, |_| 3);
    let pages = [(0, bits); 6];
    guest_tables(|at, word| ram.set(at + OFFSET, word), 0x7, &pages);
    ram
}

fn reason_of(found: Result<pt::Translation, Refused>) -> Option<u8> {
    found.err().map(|refused| refused.reason)
}

/// What is between two stages, each of which is right alone, by what is changed.
#[test]
fn faults_of_both_stages() {
    type Case = (&'static str, fn(&Ram), Access, Option<u8>);
    let (r, w) = (Access::READ, Access::WRITE);
    const LAST: u64 = TABLES + 0x3000;
    const PAGE: u64 = PAGES;
    fn second_of(ram: &Ram, address: u64, bits: u64) {
        let at = second_entry(address);
        ram.set(at, ram.word(at) & !0xfff | bits);
    }
    /// An entry of the guest's, of a level from the root.
    fn first(ram: &Ram, level: u64, word: u64) {
        let index = if level == 3 { IOVA >> 12 } else { 0 };
        ram.set(entry_at(level, index) + OFFSET, word);
    }
    #[rustfmt::skip] // one case, one line
    let cases: &[Case] = &[
        ("nothing",                              |_| {},                                     w, None),
        ("first: not there",                     |m| first(m, 3, 0),                         r, Some(0x71)),
        ("first: reserved",                      |m| first(m, 3, PAGE | 7 | 1 << 48),        r, Some(0x72)),
        ("first: no write",                      |m| first(m, 3, PAGE | 5),                  w, Some(0x85)),
        ("first: no write, read",                |m| first(m, 3, PAGE | 5),                  r, None),
        ("first: not the user's",                |m| first(m, 3, PAGE | 3),                  r, Some(0x81)),
        ("first: table where nothing is",        |m| first(m, 2, 1 << 47 | 7),               r, Some(0x76)),
        ("page: none",                           |m| second_of(m, PAGE, 0),                  r, Some(0x79)),
        ("page: where nothing is",               |m| first(m, 3, 1 << 47 | 7),               r, Some(0x79)),
        ("page: no write",                       |m| second_of(m, PAGE, 1),                  w, Some(0x85)),
        ("page: no write, read",                 |m| second_of(m, PAGE, 1),                  r, None),
        ("page: no read",                        |m| second_of(m, PAGE, 2),                  r, Some(0x86)),
        ("page: no read, written",               |m| second_of(m, PAGE, 2),                  w, None),
        ("page: reserved",                       |m| m.set(second_entry(PAGE), 1 << 48 | 3), r, Some(0x7a)),
        ("root: no read",                        |m| second_of(m, TABLES, 2),                r, Some(0x75)),
        ("root: nothing",                        |m| second_of(m, TABLES, 0),                r, Some(0x75)),
        ("root: reserved",                       |m| m.set(second_entry(TABLES), 1 << 48 | 3), r, Some(0x7a)),
        ("root: no memory",                      |m| m.set(second_entry(TABLES), BORDER | 3), r, Some(0x73)),
        ("root: no write, to mark it",           |m| second_of(m, TABLES, 1),                r, Some(0x77)),
        ("last table: no read",                  |m| second_of(m, LAST, 2),                  r, Some(0x76)),
        ("last table: nothing",                  |m| second_of(m, LAST, 0),                  r, Some(0x76)),
        ("last table: no write, to mark it",     |m| second_of(m, LAST, 1),                  r, Some(0x77)),
        ("last table: marked",                   |m| { first(m, 3, PAGE | 0x27); second_of(m, LAST, 1) }, r, None),
        ("last table: marked as read only",      |m| { first(m, 3, PAGE | 0x27); second_of(m, LAST, 1) }, w, Some(0x77)),
        ("last table: no memory",                |m| m.set(second_entry(LAST), BORDER | 3),  r, Some(0x70)),
        ("second: table not in memory",          |m| m.set(SECOND, BORDER | 3),              r, Some(0x78)),
        ("second: table reserved",               |m| m.set(SECOND, SECOND | 0x83),           r, Some(0x7a)),
        ("second: top not there",                |m| m.set(SECOND, 0),                       r, Some(0x75)),
    ];
    for (name, change, access, expected) in cases {
        let ram = both(0x7);
        change(&ram);
        let request = of_process(1, IOVA, *access);
        let entry = nested(full(), 0, false);
        assert_eq!(reason_of(entry.translate(full(), request, &ram)), *expected, "{name}");
    }
}

/// What no entry can be at fault for: widths, roots, memory that is not snooped.
#[test]
fn faults_of_roots_and_widths() {
    let read = of_process(1, IOVA, Access::READ);
    // a second stage of 39 bits
    let narrow = |guest_root| {
        let second = SecondStage { levels: 3, ..second(false) };
        let guest = iommu_hwpt_vtd_s1 { pgtbl_addr: guest_root, ..guest(0) };
        PasidEntry::nested(full(), &guest, second, 2)
    };
    let ram = both(0x7);
    assert_eq!(reason_of(narrow(1 << 39).translate(full(), read, &ram)), Some(0x74));
    let beyond_tables = both(0x7);
    // three levels begin one table later
    let three = SecondStage { levels: 3, root: SECOND + 0x1000, ..second(false) };
    let three = PasidEntry::nested(full(), &guest(0), three, 2);
    assert_eq!(reason_of(three.translate(full(), read, &beyond_tables)), None);
    beyond_tables.set(entry_at(2, 0) + OFFSET, 1 << 39 | 7);
    assert_eq!(reason_of(three.translate(full(), read, &beyond_tables)), Some(0x74));
    let beyond_page = both(0x7);
    beyond_page.set(entry_at(3, 4) + OFFSET, 1 << 39 | 7);
    assert_eq!(reason_of(three.translate(full(), read, &beyond_page)), Some(0x84));
    // MGAW is the narrower of the two
    let unit = Registers { cap: full().cap & !(0x3f << 16) | 38 << 16, ..full() };
    let wide = nested(unit, 0, false);
    assert_eq!(reason_of(wide.translate(unit, read, &beyond_page)), Some(0x84));

    let lost = SecondStage { root: BORDER, ..second(false) };
    let lost = PasidEntry::nested(full(), &guest(0), lost, 2);
    assert_eq!(reason_of(lost.translate(full(), read, &both(0x7))), Some(0x7b));
    let high = of_process(1, 1 << 47, Access::READ);
    assert_eq!(reason_of(nested(full(), 0, false).translate(full(), high, &both(0x7))), Some(0x80));

    // a unit that walks without snooping marks nothing, but needs not if all is marked
    let unit = without(profile::registers::vtd::SMPWCS);
    let marked = both(0x67);
    for level in 0..3 {
        let at = entry_at(level, 0) + OFFSET;
        marked.set(at, marked.word(at) | 0x20);
    }
    for (ram, tracks, reason) in
        [(&both(0x7), false, Some(0x90)), (&marked, false, None), (&marked, true, Some(0x7c))]
    {
        let found = nested(unit, 0, tracks).translate(unit, read, ram);
        assert_eq!(reason_of(found), reason);
    }
}

/// A guest's supervisor, by SRE and WPE.
#[test]
fn supervisors() {
    let ram = both(0x5);
    let reason = |flags, access: Access| {
        let request = of_process(1, IOVA, access.privileged());
        reason_of(nested(full(), flags, false).translate(full(), request, &ram))
    };
    let (sre, wpe) = (IOMMU_VTD_S1_SRE, IOMMU_VTD_S1_WPE);
    assert_eq!(reason(0, Access::READ), Some(0x5d));
    assert_eq!(reason(sre, Access::READ), None);
    assert_eq!(reason(sre, Access::WRITE), None);
    assert_eq!(reason(sre | wpe, Access::WRITE), Some(0x85));
    // privilege does not reach the second stage
    let at = second_entry(PAGES);
    ram.set(at, ram.word(at) & !2);
    assert_eq!(reason(sre, Access::WRITE), Some(0x85));
}

/// What is asked by ATS and may be asked for again as a page is not recorded.
#[test]
fn refusals_that_may_become_page_requests() {
    let faults = [0x71, 0x75, 0x76, 0x77, 0x79, 0x81, 0x85, 0x86];
    for code in 0..=0x91 {
        let asked = of_process(1, IOVA | 8, Access::READ);
        let refused = |translation_only, hidden| {
            Refused::new(code, Request { translation_only, ..asked }, hidden)
        };
        let recoverable = faults.contains(&code);
        assert_eq!(refused(false, false).recoverable, recoverable, "{code:#x}");
        assert_eq!(refused(false, false).address, IOVA);
        assert_eq!(refused(true, false).silent, recoverable || code == reason::MESSAGE);
        let always = [0x30, 0x31, 0x38, 0x39, 0x3a, 0x40, 0x41, 0x50, 0x58];
        assert_eq!(refused(false, true).silent, !always.contains(&code), "{code:#x}");
    }
}

/// Bits of an entry of the guest's last table, and what becomes of it.
fn leaf() -> impl Strategy<Value = (u64, u64)> {
    // P, R/W, U/S, A, D, and a reserved one, rarely
    let bits = (0_u64..128, prop::bool::weighted(0.1), prop::bool::weighted(0.9));
    (0_u64..8, bits).prop_map(|(page, (bits, reserved, present))| {
        let reserved = if reserved { 1 << 51 } else { 0 };
        (page, bits & 0x66 | reserved | u64::from(present))
    })
}

fn access() -> impl Strategy<Value = Access> {
    let rights =
        prop::sample::select(vec![Rights::READ, Rights::WRITE, Rights::READ | Rights::WRITE]);
    (rights, any::<bool>())
        .prop_map(|(rights, privileged)| Access { privileged, ..Access::new(rights) })
}

proptest! {
    /// Two stages are one after the other: the first in memory as the guest sees it, then the second on
    /// what came out; what is refused, what is marked, and the page, are the same.
    #[test]
    fn nested_is_one_stage_and_then_the_other(
        pages in prop::collection::vec(leaf(), 8),
        grants in prop::collection::vec(0_u64..4, 8),
        accesses in prop::collection::vec((0_u64..9, access()), 1..8),
        flags in 0_u64..8,
        tracks_dirty in any::<bool>(),
    ) {
        let host = memory();
        second_stage(&host, |address| match address.checked_sub(PAGES) {
            Some(page) => grants[(page >> 12) as usize % 8],
            None => 3,
        });
        let separate = (memory(), host.clone());
        guest_tables(|at, word| separate.0.set(at, word), 0x7, &pages);
        guest_tables(|at, word| host.set(at + OFFSET, word), 0x7, &pages);
        let whole = nested(full(), flags, tracks_dirty);
        // the first stage alone has the guest's flags
        let mut first = PasidEntry::first_stage(full(), TABLES, 4, false, 1);
        first.0[2] = whole.0[2];
        let second = PasidEntry::second_stage(full(), second(tracks_dirty), 2);
        for (page, access) in accesses {
            let asked = of_process(1, page << 12 | 0x234, access);
            let found = whole.translate(full(), asked, &host);
            let one = first.translate(full(), asked, &separate.0);
            let expected = one.and_then(|one| {
                // the second stage knows neither privilege nor PASID
                let asked = super::request(one.address, access);
                let two = second.translate(full(), asked, &separate.1);
                let two = two.map_err(|refused| Refused { address: page << 12, ..refused })?;
                Ok(one.then(&two))
            });
            prop_assert_eq!(found, expected);
        }
        for level in 0..4 {
            for index in 0..8 {
                let at = entry_at(level, index);
                prop_assert_eq!(host.word(at + OFFSET), separate.0.word(at));
            }
        }
        for (index, (page, _)) in pages.iter().enumerate() {
            let at = second_entry(PAGES + page * 0x1000);
            prop_assert_eq!(host.word(at), separate.1.word(at), "page {}", index);
        }
    }
}
