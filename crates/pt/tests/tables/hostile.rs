//! Tables of any bytes: a walk of them ends, soon, and touches nothing but what it is given.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::common::{Arena, Outside, Subject, try_all};
use proptest::prelude::*;
use pt::{
    Access, Dirties, Encode, Entry, Fault, Format, Grant, Mark, Prot, Reason, Rights, Root,
    TableMemory, TableStore, walk,
};

/// Memory of a size in which each word has some value, chosen by a seed: often one that leads on.
struct Hostile<'f, F> {
    format: &'f F,
    seed: u64,
    first: u64,
    bytes: u64,
    stored: RefCell<HashMap<u64, u64>>,
    loads: Cell<u32>,
    outside: Cell<u32>,
    failing: Cell<u32>,
}

fn mixed(seed: u64) -> u64 {
    let seed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ seed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ seed >> 31
}

impl<F: Encode> Hostile<'_, F> {
    fn word(&self, address: u64) -> u64 {
        let any = mixed(self.seed ^ address);
        let more = mixed(any);
        let levels = u64::from(self.format.top()) + 1;
        // often a page has entries of a level, and they lead to one of the level below
        let level =
            if more & 0x80 == 0 { more >> 8 & 7 } else { (address - self.first) >> 12 } % levels;
        let below =
            (more >> 16) % (self.bytes >> 12) / levels * levels + (level + levels - 1) % levels;
        // or anywhere, also a little beyond
        let inside = match more >> 12 & 3 {
            0 => 0,
            1 => (more >> 16) % ((self.bytes >> 12) + 2),
            _ => below,
        };
        let (table, level) = (self.first + (inside << 12), level as u8);
        let prot = Prot { rights: Rights::from_bits_truncate(any as u8), tracking: more & 16 != 0 };
        let orders = crate::common::orders(self.format);
        let order = orders[(more >> 40) as usize % orders.len()];
        // a page's place is often one that there may be
        let fine = [u64::MAX, 7 << 36, 0, 0][(more >> 5) as usize & 3];
        match more & 7 {
            0 => any,
            1 | 2 => self.format.leaf(any & fine, order, level, prot),
            3 => self.format.table(table, level) ^ 1 << (any & 63),
            4 => self.format.leaf(any & fine, order, level, prot) ^ 1 << (any & 63),
            _ => self.format.table(table, level.max(1)),
        }
    }
}

impl<F: Encode> TableMemory for Hostile<'_, F> {
    type Error = Outside;

    fn load(&self, address: u64) -> Result<u64, Outside> {
        assert_eq!(address % 8, 0, "a word is aligned");
        self.loads.set(self.loads.get() + 1);
        if address.wrapping_sub(self.first) >= self.bytes {
            self.outside.set(self.outside.get() + 1);
            return Err(Outside);
        }
        let stored = self.stored.borrow().get(&address).copied();
        Ok(stored.unwrap_or_else(|| self.word(address)))
    }

    fn swap(&self, address: u64, old: u64, new: u64) -> Result<bool, Outside> {
        assert!(address.wrapping_sub(self.first) < self.bytes, "only what was read is changed");
        if self.failing.get() > 0 {
            self.failing.set(self.failing.get() - 1);
            return Ok(false);
        }
        assert_eq!(self.load(address), Ok(old), "an entry changes from what was read");
        self.stored.borrow_mut().insert(address, new);
        Ok(true)
    }
}

fn walk_ends(format: impl Subject) {
    let access = (0..8_u8, any::<bool>(), 0..3_u8).prop_map(|(rights, privileged, dirties)| {
        let dirties = [Dirties::No, Dirties::WithUse, Dirties::Yes][usize::from(dirties)];
        Access { rights: Rights::from_bits_truncate(rights), privileged, dirties }
    });
    let levels = u64::from(format.top()) + 1;
    let root = prop_oneof![
        6 => (0..0x20_u64).prop_map(move |page| 0x10_0000 + (((page + 1) * levels - 1) << 12)),
        2 => (0..0x20_u64).prop_map(|page| 0x10_0000 + (page << 12)),
        1 => any::<u64>(),
        1 => Just(u64::MAX),
        1 => Just(0x10_0ff8_u64),
    ];
    let failing = prop_oneof![8 => Just(0), 1 => 0..200_u32];
    let values = (any::<u64>(), any::<u64>(), root, access, failing, prop::bool::weighted(0.1));
    let found = Cell::new(0);
    try_all(3000, values, |(seed, bits, root, access, failing, any_input)| {
        let memory = Hostile {
            format: &format,
            seed,
            first: 0x10_0000,
            bytes: 0x20_0000,
            stored: RefCell::default(),
            loads: Cell::new(0),
            outside: Cell::new(0),
            failing: Cell::new(failing),
        };
        let input = if any_input { bits } else { format.input(bits) };
        let result = walk(&format, Root(root), input, access, &memory);
        let levels = u32::from(format.top()) + 1;
        // each is read, and read again when it is swapped
        assert!(memory.loads.get() <= levels * 2 + failing, "{} loads", memory.loads.get());
        match memory.outside.get() {
            0 => assert!(!matches!(result, Err(Fault::Load { .. }))),
            1 => assert!(matches!(result, Err(Fault::Load { error: Outside, .. }))),
            more => panic!("{more} loads outside"),
        }
        let refused = Err(Fault::Refused { reason: Reason::Input, level: format.top() });
        assert_eq!(result == refused, !format.accepts(input));
        if let Ok(translation) = result {
            found.set(found.get() + 1);
            assert!(translation.grant.denied(access).is_empty());
            let inside = crate::common::low_bits(translation.order.into());
            assert_eq!(translation.address & inside, input & inside);
        }
    });
    assert!(found.get() > 10, "{} translations: too few to tell", found.get());
}

crate::common::tests!(walk_ends);

/// A format whose tables lead to tables of the same level.
struct Circle;

impl Format for Circle {
    const TABLES_DENY: bool = true;

    fn top(&self) -> u8 {
        2
    }

    fn accepts(&self, _input: u64) -> bool {
        true
    }

    fn decode(&self, _entry: u64, level: u8) -> Result<Entry, Reason> {
        Ok(Entry::Table { address: 0x10_0000, level, grant: Grant::ALL })
    }

    fn mark(&self, _entry: u64, _level: u8, _is_leaf: bool, _access: Access) -> Mark {
        Mark::Keep
    }
}

/// A walk ends whatever a format says.
#[test]
fn circles_are_refused() {
    let mut arena = Arena::at(0x10_0000);
    arena.allocate(512);
    let found = walk(&Circle, Root(0x10_0000), 0, Access::READ, &arena);
    assert_eq!(found, Err(Fault::Refused { reason: Reason::Reserved, level: 2 }));
}
