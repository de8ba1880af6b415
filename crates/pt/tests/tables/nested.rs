//! Tables behind tables: the same as one after the other, for every pair of formats.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use crate::common::{AMD, RISCV, STAGE1, STAGE2, VTD_SECOND, X86};
use crate::common::{
    Arena, Outside, Subject, for_each_format, low_bits, orders, rights, try_all, width,
};
use proptest::prelude::*;
use pt::format::riscv::Stage;
use pt::format::{AmdV1, Granule, Riscv, VmsaStage1, VmsaStage2, VtdSecondStage, X86_64};
use pt::{
    Access, Fault, Nested, Prot, Reason, Rights, Root, TableMemory, Translation, dirty, map, root,
    walk,
};

/// What the guest has: so many bits of addresses.
const GUEST_BITS: u32 = 25;
/// Where its memory is for the host.
const HOST: u64 = 1 << 32;

/// A page of the second stage, by the model: where it is for the host, and what it grants.
type Chunk = (u64, Rights);

/// The guest's memory by the model: no tables of the host, but a map.
struct Model {
    order: u8,
    chunks: BTreeMap<u64, Chunk>,
    guest: Arena,
    written: RefCell<BTreeSet<u64>>,
}

impl Model {
    /// The second stage.
    fn second(&self, address: u64, asked: Rights) -> Result<(u64, Rights), Reason> {
        let &(host, granted) =
            self.chunks.get(&(address >> self.order)).ok_or(Reason::NotPresent)?;
        if !granted.contains(asked) {
            return Err(Reason::Rights(asked - granted));
        }
        if asked.contains(Rights::WRITE) {
            self.written.borrow_mut().insert(address >> self.order);
        }
        Ok((host | address & low_bits(self.order.into()), granted))
    }
}

impl TableMemory for Model {
    type Error = Outside;

    fn load(&self, address: u64) -> Result<u64, Outside> {
        self.second(address, Rights::READ).map_err(|_| Outside)?;
        self.guest.load(address)
    }

    fn swap(&self, address: u64, old: u64, new: u64) -> Result<bool, Outside> {
        self.second(address, Rights::WRITE).map_err(|_| Outside)?;
        self.guest.swap(address, old, new)
    }
}

/// The host's memory: the second stage's tables, and the guest's memory elsewhere.
struct Host {
    order: u8,
    tables: Arena,
    /// What of the guest is where, by chunks.
    guests: BTreeMap<u64, u64>,
    guest: Arena,
}

impl Host {
    fn guest_address(&self, address: u64) -> Result<u64, Outside> {
        let chunk = self.guests.get(&(address >> self.order)).ok_or(Outside)?;
        Ok(chunk << self.order | address & low_bits(self.order.into()))
    }
}

impl TableMemory for Host {
    type Error = Outside;

    fn load(&self, address: u64) -> Result<u64, Outside> {
        self.tables.load(address).or_else(|_| self.guest.load(self.guest_address(address)?))
    }

    fn swap(&self, address: u64, old: u64, new: u64) -> Result<bool, Outside> {
        match self.guest_address(address) {
            Ok(guest) => self.guest.swap(guest, old, new),
            Err(Outside) => self.tables.swap(address, old, new),
        }
    }
}

/// A fault without the memory's part in it.
fn plain<E>(fault: Fault<E>) -> Fault<()> {
    match fault {
        Fault::Refused { reason, level } => Fault::Refused { reason, level },
        Fault::Load { level, .. } => Fault::Load { error: (), level },
        Fault::Store { level, .. } => Fault::Store { error: (), level },
        Fault::Contended { level } => Fault::Contended { level },
        Fault::Target(_) => Fault::Target(()),
    }
}

/// A page of the guest's: its size, its slot, where it leads, what it grants.
type GuestPage = (u8, u64, u64, u8);

#[derive(Clone, Debug)]
struct Plan {
    near: u64,
    pages: Vec<GuestPage>,
    /// The second stage's pages' size, how they are shuffled, and what they grant: an entry each.
    order: u8,
    key: u64,
    grants: Vec<u8>,
    accesses: Vec<(u8, u64, u8, bool)>,
}

fn plans() -> impl Strategy<Value = Plan> {
    let pages = prop::collection::vec((any::<u8>(), 0..3_u64, any::<u64>(), 1..8_u8), 1..4);
    // mostly everything
    let grant = prop_oneof![12 => Just(7_u8), 1 => Just(1), 1 => Just(0), 1 => any::<u8>()];
    let grants = prop::collection::vec(grant, 7);
    let access = (any::<u8>(), any::<u64>(), 1..8_u8, any::<bool>());
    let accesses = prop::collection::vec(access, 1..5);
    (any::<u64>(), pages, any::<u8>(), any::<u64>(), grants, accesses).prop_map(
        |(near, pages, order, key, grants, accesses)| Plan {
            near,
            pages,
            order,
            key,
            grants,
            accesses,
        },
    )
}

/// An order of a format that is small enough for the guest.
fn small_order(format: &impl Subject, choice: u8) -> u8 {
    let orders: Vec<_> = orders(format).into_iter().filter(|&order| order <= 21).collect();
    orders[usize::from(choice) % orders.len()]
}

/// The first stage's tables, and the input addresses of its pages.
fn first_stage(a: &impl Subject, plan: &Plan) -> (Arena, Root, Vec<(u64, u64, u8)>) {
    let mut guest = Arena::at(0x10_0000);
    let root = root(a, &mut guest).unwrap();
    let mut pages = Vec::new();
    for &(order, slot, output, asked) in &plan.pages {
        let order = small_order(a, order);
        let inside = low_bits(order.into());
        let input = a.input(plan.near & !low_bits(23) | slot << order);
        let output = output & low_bits(GUEST_BITS) & !inside;
        let prot = Prot::new(rights(asked)).tracked();
        if map(a, root, input, output, order, prot, &mut guest).is_ok() {
            pages.push((input, output, order));
        }
    }
    assert!(guest.next < 1 << GUEST_BITS, "the guest is too small");
    (guest, root, pages)
}

/// Tries two formats; how many addresses were translated.
fn pair(a: impl Subject, b: impl Subject) -> u32 {
    let translated = Cell::new(0);
    // else it could be no second stage here
    if b.accepts(0) && width(&b) >= GUEST_BITS {
        try_all(4, plans(), |plan| translated.set(translated.get() + compare(a, b, &plan)));
    }
    translated.get()
}

fn compare(a: impl Subject, b: impl Subject, plan: &Plan) -> u32 {
    let (guest, root_a, pages) = first_stage(&a, plan);
    let order = small_order(&b, plan.order);
    // the second stage has what the tables are in, and the pages
    let mut touched = BTreeSet::new();
    for (&table, words) in &guest.tables {
        touched.extend(table >> order..=(table + words.len() as u64 * 8 - 1) >> order);
    }
    for &(_, output, size) in &pages {
        touched.extend(output >> order..=(output | low_bits(size.into())) >> order);
    }
    let mut tables = Arena::at(1 << 39);
    let root_b = root(&b, &mut tables).unwrap();
    let (mut chunks, mut guests) = (BTreeMap::new(), BTreeMap::new());
    for chunk in touched {
        let key = plan.key & low_bits(GUEST_BITS - u32::from(order));
        let host = HOST + ((chunk ^ key) << order);
        let asked = rights(plan.grants[(chunk % 7) as usize]);
        let prot = Prot::new(asked).tracked();
        if map(&b, root_b, chunk << order, host, order, prot, &mut tables).is_ok() {
            chunks.insert(chunk, (host, b.granted(asked).unwrap()));
        }
        guests.insert(host >> order, chunk);
    }
    let host = Host { order, tables, guests, guest: guest.clone() };
    let model = Model { order, chunks, guest, written: RefCell::default() };
    let mut translated = 0;
    for &(page, offset, asked, privileged) in &plan.accesses {
        let (input, _, size) =
            pages.get(usize::from(page) % 4).copied().unwrap_or((a.input(offset), 0, 0));
        let input = input | offset & low_bits(size.into());
        let access = Access { privileged, ..Access::new(rights(asked)) };
        let found = both(&a, root_a, &b, root_b, input, access, &host);
        assert_eq!(found, modelled(&a, root_a, input, access, &model));
        translated += u32::from(found.is_ok());
    }
    // the marks are where the model has them
    for (at, words) in &model.guest.tables {
        assert_eq!(host.guest.tables.get(at), Some(words));
    }
    if b.marks_dirty() {
        let mut found = BTreeSet::new();
        let all = 0..=low_bits(GUEST_BITS);
        dirty(&b, root_b, all, true, &host, |input, _| {
            found.insert(input >> order);
        })
        .unwrap();
        assert_eq!(found, model.written.into_inner());
    }
    translated
}

/// Where an address leads, the smaller page, and what is granted; or the fault, and of which stage.
type Outcome = Result<(u64, u8, Rights), (u8, Fault<()>)>;

fn both(
    a: &impl Subject,
    root_a: Root,
    b: &impl Subject,
    root_b: Root,
    input: u64,
    access: Access,
    host: &Host,
) -> Outcome {
    let nested = Nested::new(*b, root_b, host);
    let first = walk(a, root_a, input, access, &nested).map_err(|fault| (1, plain(fault)))?;
    let user = Access { privileged: false, ..access };
    let second = walk(b, root_b, first.address, user, host);
    let second = second.map_err(|fault| (2, without_level(fault)))?;
    let Translation { address, order, .. } = first.then(&second);
    // the first stage's formats as second ones know of privilege, which a guest's memory has none of
    Ok((address, order, first.grant.to(access.privileged) & second.grant.user))
}

fn modelled(a: &impl Subject, root_a: Root, input: u64, access: Access, model: &Model) -> Outcome {
    let first = walk(a, root_a, input, access, model).map_err(|fault| (1, plain(fault)))?;
    let second = model.second(first.address, access.rights);
    let (address, granted) =
        second.map_err(|reason| (2, without_level(Fault::Refused::<()> { reason, level: 0 })))?;
    let order = first.order.min(model.order);
    Ok((address, order, first.grant.to(access.privileged) & granted))
}

/// The model has no levels, and tells nothing of privilege.
fn without_level<E>(fault: Fault<E>) -> Fault<()> {
    match plain(fault) {
        Fault::Refused { reason: Reason::Privilege | Reason::Rights(_), .. } => {
            Fault::Refused { reason: Reason::Privilege, level: 0 }
        }
        Fault::Refused { reason, .. } => Fault::Refused { reason, level: 0 },
        fault => fault,
    }
}

fn nested_is_one_after_the_other(a: impl Subject) {
    let mut translated = 0;
    macro_rules! with {
        ($name:ident, $b:expr) => {
            translated += pair(a, $b);
        };
    }
    for_each_format!(with);
    assert!(translated > 10, "{translated} translations: too few to tell");
}

crate::common::tests!(nested_is_one_after_the_other);
