//! Two stages are the first, then the second: QEMU has nested rows only for one granule and one page size.

use pt::format::Granule;
use pt::{Access, Rights, Translation};

use super::bench::*;
use crate::hw::smmuv3::lookup::{
    Class, ContextDescriptor, ContextTable, DefaultSubstream, Event, PagingTables, StreamEntry,
};

const IOVA: u64 = 0x7f12_3456_7890;
const IPA: u64 = 0x5a_4000_0000;
const PA: u64 = 0x33_c000_0000;
const DESCRIPTOR: u64 = 0x2_0000_0000;
const S1_ROOT: u64 = 0x2_1000_0000;
/// Stage 1's tables lie here further up than stage 2 is told of them.
const SHIFT: u64 = 0x10_0000_0000;

/// Levels, leaves of stage 1 (AF, AP, UXN, PXN, DBM), and of stage 2 (AF, S2AP, XN, DBM).
const LEVELS: [u8; 2] = [0, 1];
const FIRST: [u64; 8] =
    [0x440, 0x4c0, 0x400, 0x480, 0x040, 0x440 | 3 << 53, 0x4c0 | 1 << 51, 0x040 | 1 << 53];
const SECOND: [u64; 7] = [0x4c0, 0x440, 0x480, 0x400, 0x0c0, 0x4c0 | 2 << 53, 0x4c0 | 1 << 53];

fn accesses() -> impl Iterator<Item = Access> {
    let kinds =
        [Access::READ, Access::WRITE, Access::EXECUTE, Access::new(Rights::READ | Rights::WRITE)];
    kinds.into_iter().flat_map(|access| [access, access.privileged()])
}

#[derive(Clone, Copy, Debug)]
struct Case {
    granules: [Granule; 2],
    levels: [u8; 2],
    leaves: [u64; 2],
    marks: bool,
    access: Access,
}

impl Case {
    fn leaf(level: u8, address: u64, bits: u64) -> u64 {
        address | bits | if level == 0 { 3 } else { 1 }
    }

    /// Stage 1's tables and descriptor, at `place` of their addresses; gives where the page's entry is.
    fn first(&self, ram: &Ram, place: impl Fn(u64) -> u64 + Copy) -> u64 {
        let format = first_format(self.granules[0]);
        let paging = PagingTables {
            t0sz: 16,
            tg0: tg0(self.granules[0]),
            ips: 5,
            asid: 9,
            ttb0: S1_ROOT,
            marks: self.marks,
            stalls: false,
        };
        ram.write(place(DESCRIPTOR), &ContextDescriptor::paging(paging).0);
        let leaf = Self::leaf(self.levels[0], IPA, self.leaves[0]);
        ram.map(&format, S1_ROOT, IOVA, (self.levels[0], leaf), place)
    }

    fn second(&self, ram: &Ram, ipa: u64) {
        let format = second_format(self.granules[1]);
        let leaf = Self::leaf(self.levels[1], PA, self.leaves[1]);
        ram.map(&format, S2_ROOT, ipa, (self.levels[1], leaf), |at| at);
    }

    /// Maps what stage 1 is in, to read and to write.
    fn tables(&self, ram: &Ram, pages: impl IntoIterator<Item = u64>) {
        let format = second_format(self.granules[1]);
        let page = |at: u64| at & !0xffff;
        for ipa in pages {
            for at in (page(ipa)..page(ipa) + 0x1_0000).step_by(1 << self.granules[1].order()) {
                ram.map(&format, S2_ROOT, at, (0, (at + SHIFT) | 0x4c3), |at| at);
            }
        }
    }
}

fn translate(
    entry: StreamEntry,
    ram: &Ram,
    iova: u64,
    access: Access,
) -> Result<Translation, Event> {
    let request = request(None, iova, access);
    entry.context(RICH, request, ram)?.translate(request, ram)
}

fn check(case: Case) -> bool {
    let table = ContextTable { address: DESCRIPTOR, format: 0, log2_count: 0 };
    let alone = StreamEntry::stage1(RICH, table, DefaultSubstream::Terminate, true, false);
    let second = StreamEntry::stage2(second_stage(case.granules[1]), false);
    let nested =
        StreamEntry::nested([alone.0[0], alone.0[1]], second_stage(case.granules[1]), false);

    let (one, other, both) =
        (Ram::new(0x2_2000_0000), Ram::new(0x8000_0000), Ram::new(0x2_2000_0000));
    let first_leaf = case.first(&one, |at| at);
    case.first(&both, |at| at + SHIFT);
    // tables of stage 2 are elsewhere, and stage 1 knows nothing of them
    let tables = (0x2_2000_0000..0x2_2003_0000).step_by(0x1_0000);
    case.tables(&both, tables.chain([DESCRIPTOR, S1_ROOT]));

    let expected = translate(alone, &one, IOVA, case.access);
    let ipa = expected.map_or(IPA, |found| found.address);
    case.second(&other, ipa);
    case.second(&both, ipa);
    let found = translate(nested, &both, IOVA, case.access);
    let expected = expected.and_then(|first| {
        let then = translate(second, &other, first.address, case.access);
        // what was asked is told as it was asked
        let then = then.map_err(|event| Event { iova: IOVA, ..event });
        then.map(|second| first.then(&second))
    });
    assert_eq!(found, expected, "{case:x?}");
    if let Err(event) = found {
        assert_eq!(event.class, Class::Input, "{case:x?}");
    }
    assert_eq!(both.get(first_leaf + SHIFT), one.get(first_leaf), "{case:x?}: marks of stage 1");
    found.is_ok()
}

#[test]
fn two_stages_are_one_after_the_other() {
    let (mut passed, mut refused) = (0, 0);
    for granules in GRANULES.iter().flat_map(|one| GRANULES.map(|other| [*one, other])) {
        for levels in LEVELS.iter().flat_map(|one| LEVELS.map(|other| [*one, other])) {
            for leaves in FIRST.iter().flat_map(|one| SECOND.map(|other| [*one, other])) {
                for access in accesses() {
                    for marks in [false, true] {
                        let ok = check(Case { granules, levels, leaves, marks, access });
                        *if ok { &mut passed } else { &mut refused } += 1;
                    }
                }
            }
        }
    }
    println!("{passed} pass, {refused} are refused");
    assert!(passed > 1000 && refused > 1000, "{passed} pass, {refused} are refused");
}
