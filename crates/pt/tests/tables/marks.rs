//! Marks of use and of writing; what tables and pages grant together.

use std::collections::BTreeSet;

use crate::common::{Arena, Subject, each_access, low_bits, orders, path, rights, try_all};
use proptest::prelude::*;
use proptest::sample::Index;
use pt::{
    Access, Dirties, Fault, MapError, Prot, Reason, Rights, Root, TableMemory, TableStore, dirty,
    map, root, walk,
};

/// One page, tracked, that grants all it can.
struct Page {
    arena: Arena,
    root: Root,
    input: u64,
    order: u8,
}

impl Page {
    fn new(format: &impl Subject, input: u64, which: Index, asked: Rights) -> Self {
        let orders = orders(format);
        Self::at(format, input, orders[which.index(orders.len())], asked)
    }

    fn at(format: &impl Subject, input: u64, order: u8, asked: Rights) -> Self {
        let mut arena = Arena::at(0x8000_0000);
        let inside = low_bits(order.into());
        let input = format.input(input & !inside) & !inside;
        let root = root(format, &mut arena).unwrap();
        let prot = Prot::new(asked).tracked();
        map(format, root, input, 0, order, prot, &mut arena).unwrap();
        arena.swaps.set(0);
        Self { arena, root, input, order }
    }

    fn walk(
        &self,
        format: &impl Subject,
        access: Access,
    ) -> Result<pt::Translation, Fault<crate::common::Outside>> {
        walk(format, self.root, self.input, access, &self.arena)
    }

    /// What is dirty in a range around the page.
    fn dirty(&self, format: &impl Subject, clear: bool) -> Vec<(u64, u8)> {
        let mut found = Vec::new();
        let inside = low_bits(self.order.into());
        // a byte of it is enough
        let byte = self.input | inside >> 1;
        let visit = |input, order| found.push((input, order));
        dirty(format, self.root, byte..=byte, clear, &self.arena, visit).unwrap();
        found
    }

    fn unmark(&mut self, entry_at: u64, marks: u64) {
        let entry = self.arena.load(entry_at).unwrap();
        self.arena.store(entry_at, entry & !marks).unwrap();
    }
}

fn any_page() -> (impl Strategy<Value = u64>, impl Strategy<Value = Index>) {
    (any::<u64>(), any::<Index>())
}

/// Hardware marks what is used, once, if it does at all.
fn use_is_marked(format: impl Subject) {
    try_all(32, any_page(), |(input, which)| {
        let mut page = Page::new(&format, input, which, Rights::READ | Rights::WRITE);
        let path = path(&format, page.root, page.input, &page.arena);
        let last = path.len() - 1;
        for (nth, &(at, _)) in path.iter().enumerate() {
            page.unmark(at, format.accessed(nth == last));
        }
        page.arena.swaps.set(0);
        let marked = path.iter().enumerate().filter(|&(nth, _)| format.accessed(nth == last) != 0);
        page.walk(&format, Access::READ).unwrap();
        assert_eq!(page.arena.swaps.get(), marked.count() as u64);
        for (nth, &(at, _)) in path.iter().enumerate() {
            let accessed = format.accessed(nth == last);
            assert_eq!(page.arena.load(at).unwrap() & accessed, accessed);
        }
        page.arena.swaps.set(0);
        page.walk(&format, Access::READ).unwrap();
        assert_eq!(page.arena.swaps.get(), 0, "what is marked stays as it is");
    });
}

/// Without hardware that marks, a page must be marked already.
fn unmarked_is_refused(format: impl Subject) {
    if !format.unmarked_faults() {
        return;
    }
    try_all(8, any_page(), |(input, which)| {
        let mut page = Page::new(&format, input, which, Rights::READ);
        let &(at, _) = path(&format, page.root, page.input, &page.arena).last().unwrap();
        // RISC-V's and Arm's
        let accessed = if page.arena.load(at).unwrap() & 1 << 10 != 0 { 1 << 10 } else { 1 << 6 };
        page.unmark(at, accessed);
        let found = page.walk(&format, Access::READ);
        assert!(matches!(found, Err(Fault::Refused { reason: Reason::Unmarked, level: _ })));
        assert_eq!(page.arena.swaps.get(), 0);
    });
}

/// Writing is marked, told once, and marked again.
fn writing_is_marked(format: impl Subject) {
    try_all(32, any_page(), |(input, which)| {
        let page = Page::new(&format, input, which, Rights::READ | Rights::WRITE);
        let whole = if format.marks_dirty() { vec![(page.input, page.order)] } else { vec![] };
        assert!(page.dirty(&format, false).is_empty() || !format.marks_dirty());
        let read = page.walk(&format, Access::READ).unwrap();
        assert_eq!(read.dirty, !format.marks_dirty(), "a write would leave a mark");
        for _ in 0..2 {
            let found = page.walk(&format, Access::WRITE).unwrap();
            assert!(found.dirty);
            page.arena.swaps.set(0);
            assert!(page.walk(&format, Access::WRITE).unwrap().dirty);
            assert!(page.walk(&format, Access::READ).unwrap().dirty);
            assert_eq!(page.arena.swaps.get(), 0, "what is marked stays as it is");
            if format.marks_dirty() {
                assert_eq!(page.dirty(&format, false), whole);
                assert_eq!(page.dirty(&format, true), whole);
                assert_eq!(page.dirty(&format, true), []);
                let read = page.walk(&format, Access::READ).unwrap();
                assert!(!read.dirty && read.grant.user.contains(Rights::WRITE));
            }
        }
    });
}

/// A page has one state, whichever of its entries has the mark.
fn pages_of_many_entries_are_dirty_once(format: impl Subject) {
    if !format.marks_dirty() {
        return;
    }
    let values = (any::<u64>(), any::<Index>(), prop::collection::vec(any::<u64>(), 1..5));
    try_all(16, values, |(input, which, offsets)| {
        let page = Page::new(&format, input, which, Rights::READ | Rights::WRITE);
        for offset in offsets {
            let input = page.input | offset & low_bits(page.order.into());
            walk(&format, page.root, input, Access::WRITE, &page.arena).unwrap();
        }
        let (mut times, whole) = (0, page.input..=page.input | low_bits(page.order.into()));
        dirty(&format, page.root, whole, false, &page.arena, |_, _| times += 1).unwrap();
        assert_eq!(times, 1);
        assert_eq!(page.dirty(&format, true), [(page.input, page.order)]);
        assert_eq!(page.dirty(&format, true), []);
    });
}

/// What is refused is not marked as written, and what may not be written never is.
fn refused_is_not_marked(format: impl Subject) {
    try_all(16, any_page(), |(input, which)| {
        let page = Page::new(&format, input, which, Rights::READ);
        assert!(page.walk(&format, Access::WRITE).is_err());
        assert_eq!(page.dirty(&format, false), []);
    });
}

/// Entries that others change are read again, but not for ever.
fn contention_ends(format: impl Subject) {
    if !format.marks_dirty() {
        return;
    }
    try_all(16, (any::<u64>(), any::<Index>(), 0..200_u64), |(input, which, failing)| {
        let page = Page::new(&format, input, which, Rights::READ | Rights::WRITE);
        page.walk(&format, Access::READ).unwrap();
        page.arena.loads.set(0);
        page.arena.failing.set(failing);
        let found = page.walk(&format, Access::WRITE);
        assert!(page.arena.loads.get() <= 2 * u64::from(format.top() + 1) + failing);
        if failing < 100 {
            assert!(found.unwrap().dirty);
        } else if failing > 150 {
            assert!(matches!(found, Err(Fault::Contended { .. })));
        }
        page.arena.failing.set(0);
        page.walk(&format, Access::WRITE).unwrap();
        page.arena.failing.set(failing);
        let all = page.input..=page.input;
        let cleaned = dirty(&format, page.root, all, true, &page.arena, |_, _| ());
        if failing < 100 {
            assert_eq!(cleaned, Ok(()));
        } else if failing > 150 {
            assert_eq!(cleaned, Err(MapError::Contended));
        }
    });
}

/// Of many pages the written ones are told, by their order, with those that the range only touches.
fn dirty_pages_of_a_range(format: impl Subject) {
    if !format.marks_dirty() {
        return;
    }
    let written = prop::collection::vec(0..2000_u64, 0..40);
    let range = (0..2000_u64, 0..2000_u64);
    try_all(8, (any::<u64>(), written, range), |(near, written, (first, last))| {
        let mut arena = Arena::at(0x8000_0000);
        let root = root(&format, &mut arena).unwrap();
        let least = orders(&format)[0];
        let near = format.input(near & !low_bits(27)) & !low_bits(27);
        if !format.accepts(near | 2000 << least) {
            return;
        }
        let end = near | ((2000 << least) - 1);
        let prot = Prot::new(Rights::READ | Rights::WRITE).tracked();
        let mut mapper = pt::Mapper::new(&format, root, &mut arena);
        mapper.map_range(near..=end, 0x4000_0000, u64::MAX, prot).unwrap();
        let mut expected = BTreeSet::new();
        let (first, last) = (first.min(last), first.max(last));
        let (first, last) = (near | first << least, near | last << least | 0x123);
        for page in written {
            let input = near | page << least;
            let order = walk(&format, root, input, Access::WRITE, &arena).unwrap().order;
            let inside = low_bits(order.into());
            if input & !inside <= last && input | inside >= first {
                expected.insert((input & !inside, order));
            }
        }
        let mut found = Vec::new();
        let visit = |input, order| found.push((input, order));
        dirty(&format, root, first..=last, true, &arena, visit).unwrap();
        assert!(found.is_sorted());
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    });
}

/// What tables and the page grant is what all of them do.
fn tables_and_page_grant_together(format: impl Subject) {
    let restricted = prop::collection::vec(0..8_u8, 8);
    let values = (any::<u64>(), any::<Index>(), 1..8_u8, restricted, any::<bool>());
    try_all(64, values, |(input, which, asked, restricted, restricts)| {
        let Some(mut granted) = format.granted(rights(asked)) else { return };
        let mut page = Page::new(&format, input, which, rights(asked));
        let path = path(&format, page.root, page.input, &page.arena);
        let (_, tables) = path.split_last().unwrap();
        for (&(at, _), taken) in tables.iter().zip(restricted).filter(|_| restricts) {
            let entry = page.arena.load(at).unwrap();
            let (entry, taken) = format.restrict(entry, rights(taken));
            page.arena.store(at, entry).unwrap();
            granted -= taken;
        }
        for access in each_access() {
            let found = page.walk(&format, access);
            match found {
                Ok(found) => {
                    assert_eq!(found.grant.user, granted);
                    assert!(granted.contains(access.rights));
                }
                Err(Fault::Refused { reason: Reason::Privilege | Reason::Rights(_), .. }) => {
                    assert!(!granted.contains(access.rights), "{access:?} of {granted:?}");
                }
                // without a right to read or to write VT-d has no table
                Err(Fault::Refused { reason: Reason::NotPresent, .. }) => {
                    assert!(!granted.intersects(Rights::READ | Rights::WRITE));
                }
                Err(fault) => panic!("{fault:?}"),
            }
        }
    });
}

/// RISC-V: a page may count as written whenever it is first used.
#[test]
fn written_with_first_use() {
    let format = crate::common::RISCV;
    let access = Access { dirties: Dirties::WithUse, ..Access::READ };
    let mut page = Page::at(&format, 0x1000, 12, Rights::READ | Rights::WRITE);
    page.walk(&format, access).unwrap();
    assert_eq!(page.dirty(&format, false), [], "it was used before");
    let &(at, _) = path(&format, page.root, page.input, &page.arena).last().unwrap();
    page.unmark(at, 1 << 6);
    page.walk(&format, access).unwrap();
    assert_eq!(page.dirty(&format, false), [(page.input, page.order)]);
}

crate::common::tests!(
    use_is_marked,
    unmarked_is_refused,
    writing_is_marked,
    pages_of_many_entries_are_dirty_once,
    refused_is_not_marked,
    contention_ends,
    dirty_pages_of_a_range,
    tables_and_page_grant_together,
);
