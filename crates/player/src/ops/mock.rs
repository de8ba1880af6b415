//! The mock device: `IOMMU_TEST_CMD` of a kernel built with `CONFIG_IOMMUFD_TEST`.
//!
//! The command is a union; the table says which word of it an operation uses. `w` are 32-bit words, `q`
//! 64-bit words over the same bytes.
//!
//! | operation | `id` | words in | words out |
//! |---|---|---|---|
//! | `MOCK_DOMAIN`, `_FLAGS` | IOAS or hwpt | `w3` flags | `w0` stdev, `w1` hwpt, `w2` device |
//! | `MOCK_DOMAIN_REPLACE` | stdev | `w0` IOAS or hwpt | |
//! | `MD_CHECK_MAP` | hwpt | `q0` IOVA, `q1` length, `q2` address | |
//! | `ADD_RESERVED` | IOAS | `q0` start, `q1` length | |
//! | `DIRTY` | hwpt | `w0` flags, `q1` IOVA, `q2` length, `q3` page size, `q4` bitmap | `q5` pages |
//! | `MD_CHECK_IOTLB` | nested hwpt | `w0` index, `w1` value | |
//! | `TRIGGER_IOPF` | | `w0` device, `w1` PASID, `w2` group, `w3` permissions, `q2` address | |
//! | `DEV_CHECK_CACHE` | device | `w0` index, `w1` value | |
//! | `TRIGGER_VEVENT` | | `w0` device | |
//! | `PASID_*` | stdev | `w0` PASID, `w1` IOAS or hwpt | |
//! | `CREATE_ACCESS` | IOAS | `w1` flags | `w0` descriptor |
//! | `ACCESS_RW` | descriptor | `q0` IOVA, `q1` length, `q2` buffer, `w6` flags | |

use crate::abi::{DEV_CACHE_DEFAULT, IOTLB_DEFAULT, iommu_test_cmd, test_op};
use crate::player::{Kind, Player, arena_offset, say};
use crate::sys;

/// The operation `op` on the object `id`, its words still zero.
fn command(op: u32, id: u32) -> iommu_test_cmd {
    iommu_test_cmd { op, id, ..Default::default() }
}

/// Adds a mock device, five at most; a step that would add a sixth is an empty line.
pub fn mock_domain(p: &mut Player) {
    if p.count_of(Kind::Dev) > 4 {
        return;
    }
    let op = if p.rng.chance(70) { test_op::MOCK_DOMAIN } else { test_op::MOCK_DOMAIN_FLAGS };
    let id = if p.rng.chance(80) { p.of(Kind::Ioas) } else { p.pt() };
    let mut c = command(op, id);
    if op == test_op::MOCK_DOMAIN_FLAGS {
        c.w[3] = domain_flags(p);
    }
    let flags = c.w[3];
    let done = p.test("mock_domain", &mut c);
    say!(p, " [op{op} i{id} f{flags:x}]");
    if done {
        let [stdev, hwpt, device] = [c.w[0], c.w[1], c.w[2]];
        say!(p, " st={stdev} hwpt={hwpt} dev={device}");
        for (kind, id) in [(Kind::Stdev, stdev), (Kind::Hwpt, hwpt), (Kind::Dev, device)] {
            p.remember(id);
            p.keep(kind, id);
        }
    }
}

fn domain_flags(p: &mut Player) -> u32 {
    if !p.rng.chance(80) {
        p.rng.below(8)
    } else if p.rng.below(2) != 0 {
        4
    } else {
        1
    }
}

/// Moves a mock device to another IOAS or hwpt, and prints which.
pub fn replace(p: &mut Player) {
    let stdev = p.of(Kind::Stdev);
    let pt = p.pt();
    replace_quietly(p, stdev, pt);
    say!(p, " [i{stdev} pt{pt}]");
}

/// Moves a mock device to a hwpt of `kind`, printing nothing but the answer.
pub fn attach(p: &mut Player, kind: Kind) {
    let stdev = p.of(Kind::Stdev);
    let pt = p.of(kind);
    replace_quietly(p, stdev, pt);
}

fn replace_quietly(p: &mut Player, stdev: u32, pt: u32) {
    let mut c = command(test_op::MOCK_DOMAIN_REPLACE, stdev);
    c.w[0] = pt;
    p.test("mock_replace", &mut c);
}

/// Checks that IOVAs of a hwpt lead to the pages of an address.
pub fn check_map(p: &mut Player) {
    let mut c = command(test_op::MD_CHECK_MAP, p.of(Kind::Hwpt));
    c.set_q(0, p.iova());
    c.set_q(1, p.len() & 0xffff);
    c.set_q(2, p.va());
    let asked = c;
    p.test("check_map", &mut c);
    say!(p, " [i{} {:x}+{:x} va{}]", asked.id, asked.q(0), asked.q(1), arena_offset(asked.q(2)));
}

pub fn add_reserved(p: &mut Player) {
    let mut c = command(test_op::ADD_RESERVED, p.of(Kind::Ioas));
    c.set_q(0, p.page_iova());
    c.set_q(1, 4096 + p.pages(4));
    let asked = c;
    p.test("add_reserved", &mut c);
    say!(p, " [i{} {:x}+{:x}]", asked.id, asked.q(0), asked.q(1));
}

/// Marks arbitrary pages of 64 KiB as dirty.
pub fn mark_dirty(p: &mut Player) {
    let mut bitmap = [u64::from(p.rng.draw()), 0, 0, 0];
    let mut c = command(test_op::DIRTY, p.of(Kind::Hwpt));
    c.set_q(1, p.page_iova());
    c.set_q(2, 65536);
    c.set_q(3, 4096);
    c.set_q(4, sys::address(&mut bitmap));
    let asked = c;
    let done = p.test("dirty_mark", &mut c);
    say!(p, " [i{} {:x}]", asked.id, asked.q(1));
    if done {
        say!(p, " nr={}", c.q(5));
    }
}

pub fn check_iotlb(p: &mut Player) {
    let nest = p.of(Kind::Nest);
    check_entry(p, "check_iotlb", command(test_op::MD_CHECK_IOTLB, nest), IOTLB_DEFAULT);
}

pub fn check_cache(p: &mut Player) {
    let device = p.of(Kind::Dev);
    check_entry(p, "check_cache", command(test_op::DEV_CHECK_CACHE, device), DEV_CACHE_DEFAULT);
}

/// Checks that an entry holds `fresh`, its value when nothing invalidated it, or 0.
fn check_entry(p: &mut Player, name: &str, mut c: iommu_test_cmd, fresh: u32) {
    c.w[0] = p.rng.below(5);
    c.w[1] = if p.rng.chance(60) { fresh } else { 0 };
    let asked = c;
    p.test(name, &mut c);
    say!(p, " [i{} {} {:x}]", asked.id, asked.w[0], asked.w[1]);
}

pub fn trigger_iopf(p: &mut Player) {
    let mut c = command(test_op::TRIGGER_IOPF, 0);
    c.w[0] = p.of(Kind::Dev);
    c.w[1] = if p.rng.chance(60) { u32::MAX } else { p.rng.below(4) };
    c.w[2] = p.rng.below(4);
    c.w[3] = p.rng.below(8);
    c.set_q(2, p.iova());
    let asked = c;
    p.test("trigger_iopf", &mut c);
    say!(p, " [d{} p{:x} g{}]", asked.w[0], asked.w[1], asked.w[2]);
}

pub fn trigger_vevent(p: &mut Player) {
    let mut c = command(test_op::TRIGGER_VEVENT, 0);
    let device = p.of(Kind::Dev);
    c.w[0] = device;
    p.test("trigger_vevent", &mut c);
    say!(p, " [d{device}]");
}

/// Attaches, replaces, detaches or checks the domain of a PASID, sometimes one past the device's.
pub fn pasid(p: &mut Player) {
    let op = test_op::PASID_ATTACH + p.rng.below(4);
    let mut c = command(op, p.of(Kind::Stdev));
    c.w[0] = any_pasid(p);
    c.w[1] = p.pt();
    let asked = c;
    p.test("pasid", &mut c);
    say!(p, " [op{op} i{} p{} pt{}]", asked.id, asked.w[0], asked.w[1]);
}

fn any_pasid(p: &mut Player) -> u32 {
    if p.rng.chance(85) {
        p.rng.below(5)
    } else if p.rng.chance(50) {
        1024
    } else {
        1 << 20
    }
}

/// Opens an access to an IOAS and reads or writes through it once: two calls, two lines.
///
/// `hash` tells what a read brought, and for a failed one that the buffer stayed as it was.
pub fn access(p: &mut Player) {
    let ioas = p.of(Kind::Ioas);
    let mut c = command(test_op::CREATE_ACCESS, ioas);
    let done = p.test("create_access", &mut c);
    say!(p, " [i{ioas}]");
    if done {
        access_rw(p, c.w[0]);
        sys::close(c.w[0] as i32);
    }
}

fn access_rw(p: &mut Player, access: u32) {
    let mut buffer = vec![0x5a_u8; 8192];
    let mut c = command(test_op::ACCESS_RW, access);
    c.set_q(0, p.iova());
    c.set_q(1, 1 + u64::from(p.rng.below(8000)));
    c.set_q(2, sys::address(&mut buffer));
    c.w[6] = access_flags(p);
    let asked = c;
    p.next_line();
    p.test("access_rw", &mut c);
    let writes = asked.w[6] & 1 != 0;
    let hash = if writes { 0 } else { hash(&buffer) };
    say!(p, " [{:x}+{:x} f{}] hash={hash:x}", asked.q(0), asked.q(1), asked.w[6]);
}

fn access_flags(p: &mut Player) -> u32 {
    if p.rng.chance(50) {
        1
    } else if p.rng.chance(50) {
        0
    } else {
        4 + p.rng.below(2)
    }
}

fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |hash: u32, byte| hash.wrapping_mul(31).wrapping_add((*byte).into()))
}
