//! What is mapped is what a walk finds, and nothing else.

use std::collections::BTreeMap;

use crate::common::{
    AMD, Arena, RISCV, STAGE1, STAGE2, Subject, low_bits, orders, path, rights, try_all,
};
use proptest::prelude::*;
use proptest::sample::Index;
use pt::{
    Access, Fault, MapError, Mapper, Prot, Reason, Root, TableMemory, map, release, root, unmap,
    walk,
};

fn not_present(format: &impl Subject, root: Root, input: u64, memory: &Arena) -> bool {
    let found = walk(format, root, input, Access::READ, memory);
    matches!(found, Err(Fault::Refused { reason: Reason::NotPresent, .. }))
}

/// Every size, anywhere, to anywhere, with any rights.
fn page_is_found(format: impl Subject) {
    let values = (any::<u64>(), any::<u64>(), any::<u64>(), 0..8_u8, any::<bool>());
    try_all(8, values, |(input, output, offset, asked, tracking)| {
        for order in orders(&format) {
            let inside = low_bits(order.into());
            let input = format.input(input & !inside) & !inside;
            let output = output & low_bits(format.output_bits()) & !inside;
            let prot = Prot { rights: rights(asked), tracking };
            let mut arena = Arena::at(0x8000_0000);
            let root = root(&format, &mut arena).unwrap();
            let mapped = map(&format, root, input, output, order, prot, &mut arena);
            let Some(granted) = format.granted(prot.rights) else {
                assert_eq!(mapped, Err(MapError::Rights));
                continue;
            };
            assert_eq!(mapped, Ok(()), "2^{order} bytes at {input:#x} to {output:#x}");
            for offset in [0, inside, offset & inside] {
                let access = Access::new(prot.rights);
                let found = walk(&format, root, input | offset, access, &arena).unwrap();
                assert_eq!((found.address, found.order), (output | offset, order));
                assert_eq!(found.grant.user, granted, "asked for {:?}", prot.rights);
                assert!(found.grant.privileged.contains(granted & !pt::Rights::EXECUTE));
            }
            for beside in [input.wrapping_sub(1), (input | inside).wrapping_add(1)] {
                let is = format.accepts(beside);
                assert!(!is || not_present(&format, root, beside, &arena), "{beside:#x} is there");
            }
            let again = map(&format, root, input, output, order, prot, &mut arena);
            assert_eq!(again, Err(MapError::Exists));
            let part = input..=(input | inside) - 1;
            assert_eq!(unmap(&format, root, part, &mut arena), Ok(0));
            let whole = input..=input | inside;
            let bytes = inside.saturating_add(1);
            assert_eq!(unmap(&format, root, whole, &mut arena), Ok(bytes));
            assert!(not_present(&format, root, input, &arena));
            assert_eq!(map(&format, root, input, output, order, prot, &mut arena), Ok(()));
            release(&format, root, &mut arena).unwrap();
            assert!(arena.tables.is_empty(), "tables are left: {:x?}", arena.tables.keys());
        }
    });
}

/// What cannot be said is refused.
fn unsayable_is_refused(format: impl Subject) {
    let mut arena = Arena::at(0x8000_0000);
    let root = root(&format, &mut arena).unwrap();
    let prot = Prot::new(rights(1));
    for order in 0..=u8::MAX {
        let is_size = order < 64 && format.page_sizes() >> order & 1 == 1;
        let input = format.input(0);
        let mapped = map(&format, root, input, 0, order, prot, &mut arena);
        assert_eq!(mapped == Err(MapError::Size), !is_size, "2^{order}");
        if is_size {
            let bytes = 1 << order;
            let mut map =
                |input, output| map(&format, root, input, output, order, prot, &mut arena);
            assert_eq!(map(input + bytes / 2, 0), Err(MapError::Address));
            assert_eq!(map(input + bytes, bytes / 2), Err(MapError::Address));
            let wide = (1 << format.output_bits()).max(bytes);
            assert_eq!(map(input + bytes, wide), Err(MapError::Address), "{wide:#x}");
            if !format.accepts(input ^ 1 << 55) {
                assert_eq!(map(input ^ 1 << 55, 0), Err(MapError::Address));
            }
            unmap(&format, root, input..=input + (bytes - 1), &mut arena).unwrap();
        }
        let range = format.input(0)..=format.input(0);
        let bits = crate::common::width(&format);
        let reversed = *range.start() + 1..=*range.start();
        assert_eq!(unmap(&format, root, reversed, &mut arena), Err(MapError::Address));
        if bits < 55 {
            let wide = *range.start()..=*range.start() | 1 << 55 | 1 << bits;
            let is = format.accepts(*wide.end());
            assert_eq!(unmap(&format, root, wide, &mut arena).is_err(), !is);
        }
    }
}

/// Each entry of a contiguous page is its part's, or they are all alike: 16 entries, and what is added
/// from one to the next.
#[test]
fn entries_of_large_pages() {
    fn check(format: &impl Subject, step: u64) {
        let mut arena = Arena::at(0x8000_0000);
        let root = root(format, &mut arena).unwrap();
        map(format, root, 0x1_0000, 0x23_0000, 16, Prot::new(rights(1)), &mut arena).unwrap();
        let first = path(format, root, 0x1_0000, &arena).last().unwrap().0;
        let entries = |n: u64| arena.load(first + 8 * n).unwrap();
        for n in 0..16 {
            assert_eq!(entries(n), entries(0) + n * step, "{format:?}: {n}");
        }
        assert_eq!((entries(16), arena.load(first - 8)), (0, Ok(0)));
    }
    check(&STAGE1, 0x1000);
    check(&STAGE2, 0x1000);
    check(&AMD, 0);
    check(&RISCV, 0);
}

/// A mapper keeps its place, and leaves it: pages on both sides of where tables of each level end.
fn a_mapper_finds_its_place(format: impl Subject) {
    let place = (any::<Index>(), -2..2_i64);
    let values = (any::<u64>(), prop::collection::vec(place, 1..24));
    try_all(32, values, |(near, places)| {
        let least = orders(&format)[0];
        let mut arena = Arena::at(0x8000_0000);
        let root = root(&format, &mut arena).unwrap();
        let mut mapper = Mapper::new(&format, root, &mut arena);
        let mut mapped = BTreeMap::new();
        for (nth, (level, pages)) in places.into_iter().enumerate() {
            let level = level.index(usize::from(format.top()) + 1) as u8;
            let end = low_bits(format.shift(level) + format.index_bits(level));
            let input = (format.input(near) | end).wrapping_add_signed(1 + pages * (1 << least));
            if !format.accepts(input) || mapped.contains_key(&input) {
                continue;
            }
            let output = (nth as u64) << least;
            mapper.map(input, output, least, Prot::new(rights(1))).unwrap();
            mapped.insert(input, output);
        }
        for (&input, &output) in &mapped {
            let found = walk(&format, root, input, Access::READ, &arena).unwrap();
            assert_eq!(found.address, output);
        }
    });
}

/// What is done to tables.
#[derive(Clone, Debug)]
enum Step {
    Map { size: Index, slot: u64, output: u64, rights: u8 },
    MapRange { slot: u64, pages: u64, output: u64, sizes: u64 },
    UnmapPage(Index),
    UnmapRange { size: Index, slot: u64, pages: u64 },
}

/// A page of the model: its last input address, output address, order, and what it grants.
type Page = (u64, u64, u8, pt::Rights);

struct Model<F> {
    format: F,
    /// All is near this.
    near: u64,
    pages: BTreeMap<u64, Page>,
}

impl<F: Subject> Model<F> {
    fn overlaps(&self, first: u64, last: u64) -> bool {
        self.pages.range(..=last).next_back().is_some_and(|(_, page)| page.0 >= first)
    }

    fn unmap(&mut self, first: u64, last: u64) -> u64 {
        let before = self.pages.len();
        let mut bytes = 0_u64;
        self.pages.retain(|&start, page| {
            let inside = start >= first && page.0 <= last;
            if inside {
                bytes += page.0 - start + 1;
            }
            !inside
        });
        assert!(before >= self.pages.len());
        bytes
    }

    /// A slot of the least size.
    fn least(&self, slot: u64) -> Option<u64> {
        let input = self.near.checked_add(slot << orders(&self.format)[0])?;
        self.format.accepts(input).then_some(input)
    }

    /// A slot of a size near where all is, and the bytes of a slot.
    fn place(&self, size: Index, slot: u64) -> Option<(u64, u8)> {
        let orders: Vec<_> = orders(&self.format).into_iter().filter(|&order| order < 40).collect();
        let order = orders[size.index(orders.len())];
        let start = (self.near & !low_bits(order.into())).checked_add(slot << order)?;
        let fits =
            self.format.accepts(start) && self.format.accepts(start | low_bits(order.into()));
        fits.then_some((start, order))
    }
}

fn sequence_agrees_with_a_model(format: impl Subject) {
    let step = prop_oneof![
        4 => (any::<Index>(), 0..5_u64, any::<u64>(), 1..8_u8)
            .prop_map(|(size, slot, output, rights)| Step::Map { size, slot, output, rights }),
        2 => (0..40_u64, 1..60_u64, any::<u64>(), any::<u64>())
            .prop_map(|(slot, pages, output, sizes)| Step::MapRange { slot, pages, output, sizes }),
        2 => any::<Index>().prop_map(Step::UnmapPage),
        1 => (any::<Index>(), 0..5_u64, 1..5_u64)
            .prop_map(|(size, slot, pages)| Step::UnmapRange { size, slot, pages }),
    ];
    let near = prop_oneof![Just(0_u64), any::<u64>()];
    let values =
        (near, prop::collection::vec(step, 1..40), prop::option::of(0..12_u64), any::<u64>());
    try_all(48, values, |(near, steps, tables, probe)| {
        let mut arena = Arena::at(0x8000_0000);
        let root = root(&format, &mut arena).unwrap();
        arena.left = tables;
        let mut model =
            Model { format, near: format.input(near) & !low_bits(21), pages: BTreeMap::new() };
        for step in steps {
            play(&mut model, &step, root, &mut arena);
            let mut probes: Vec<_> = model.pages.keys().copied().collect();
            probes.extend(model.pages.values().map(|page| page.0.wrapping_add(1)));
            probes.push(model.near.wrapping_add(probe & 0x3f_ffff));
            for input in probes.into_iter().filter(|&input| format.accepts(input)) {
                check(&model, root, input, &arena);
            }
        }
        arena.left = None;
        release(&format, root, &mut arena).unwrap();
        assert!(arena.tables.is_empty(), "tables are left: {:x?}", arena.tables.keys());
    });
}

fn play<F: Subject>(model: &mut Model<F>, step: &Step, root: Root, arena: &mut Arena) {
    let format = model.format;
    match *step {
        Step::Map { size, slot, output, rights: asked } => {
            let Some((input, order)) = model.place(size, slot) else { return };
            let (inside, prot) = (low_bits(order.into()), Prot::new(rights(asked)));
            let output = output & low_bits(format.output_bits()) & !inside;
            let mapped = map(&format, root, input, output, order, prot, arena);
            match (format.granted(prot.rights), model.overlaps(input, input | inside)) {
                (None, _) => assert_eq!(mapped, Err(MapError::Rights)),
                (_, true) => assert!(matches!(mapped, Err(MapError::Exists | MapError::NoTable))),
                (Some(granted), false) if mapped.is_ok() => {
                    model.pages.insert(input, (input | inside, output, order, granted));
                }
                _ => assert_eq!((mapped, arena.left), (Err(MapError::NoTable), Some(0))),
            }
        }
        Step::MapRange { slot, pages, output, sizes } => {
            let least = orders(&format)[0];
            let Some(input) = model.least(slot) else { return };
            let last = input + ((pages << least) - 1);
            if !format.accepts(last) {
                return;
            }
            let output =
                (output & low_bits(format.output_bits() - 1)) >> 20 << 20 | input & 0xf_ffff;
            let prot = Prot::new(pt::Rights::READ);
            let sizes = sizes | 1 << least;
            let mapped =
                Mapper::new(&format, root, arena).map_range(input..=last, output, sizes, prot);
            if model.overlaps(input, last) {
                assert!(matches!(mapped, Err(MapError::Exists | MapError::NoTable)));
            } else if mapped.is_err() {
                assert_eq!((mapped, arena.left), (Err(MapError::NoTable), Some(0)));
            } else {
                let mut at = input;
                while at <= last {
                    let to = output + (at - input);
                    let fits = |order: &u8| {
                        let inside = low_bits((*order).into());
                        sizes >> order & 1 == 1 && (at | to) & inside == 0 && inside <= last - at
                    };
                    let order = orders(&format).into_iter().filter(fits).max().unwrap();
                    let end = at | low_bits(order.into());
                    let granted = format.granted(prot.rights).unwrap();
                    model.pages.insert(at, (end, to, order, granted));
                    at = end + 1;
                }
            }
        }
        Step::UnmapPage(which) => {
            if model.pages.is_empty() {
                return;
            }
            let nth = which.index(model.pages.len());
            let (first, last) =
                model.pages.iter().nth(nth).map(|(&first, page)| (first, page.0)).unwrap();
            let bytes = model.unmap(first, last);
            assert_eq!(unmap(&format, root, first..=last, arena), Ok(bytes));
        }
        Step::UnmapRange { size, slot, pages } => {
            let Some((first, order)) = model.place(size, slot) else { return };
            let last = first.saturating_add((pages << order) - 1);
            if !format.accepts(last) {
                return;
            }
            let bytes = model.unmap(first, last);
            assert_eq!(unmap(&format, root, first..=last, arena), Ok(bytes));
        }
    }
}

fn check<F: Subject>(model: &Model<F>, root: Root, input: u64, arena: &Arena) {
    let page = model.pages.range(..=input).next_back().filter(|(_, page)| page.0 >= input);
    match page {
        None => assert!(not_present(&model.format, root, input, arena), "{input:#x} is there"),
        Some((first, &(_, output, order, granted))) => {
            let found = walk(&model.format, root, input, Access::new(granted), arena).unwrap();
            assert_eq!((found.address, found.order), (output + (input - first), order));
            assert_eq!(found.grant.user, granted);
        }
    }
}

crate::common::tests!(
    page_is_found,
    a_mapper_finds_its_place,
    unsayable_is_refused,
    sequence_agrees_with_a_model
);
