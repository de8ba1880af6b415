//! The calls, and how often each is made.

use super::{ARENA, Player, say};
use mem::PAGE_SIZE;

/// Makes a call and says so.
type Call = fn(&mut Player);

/// Calls with their weights, in the order in which a draw counts them off.
pub(super) const CALLS: &[(Call, u32)] = &[
    (bind, 3),
    (attach, 6),
    (detach, 3),
    (info, 4),
    (region, 6),
    (irq, 5),
    (set_irqs, 10),
    (reset, 1),
    (feature, 8),
    (hot_reset_info, 1),
    (read_config, 6),
    (write_config, 4),
    (read_other, 2),
    (read_bar, 2),
    (mmap, 4),
    (ioas, 3),
    (map, 5),
    (unmap, 3),
    (hwpt, 3),
    (destroy, 3),
    (unknown, 2),
];

/// Configuration space in the file.
const CONFIG: u64 = 7 << 40;
const NO_DESCRIPTOR: u32 = 999;
const IOVA: u64 = 0x1000_0000;

fn word(fd: i32) -> u32 {
    fd.cast_unsigned()
}

fn low(value: u64) -> u32 {
    value as u32
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

fn wide(words: &[u32]) -> u64 {
    u64::from(words[0]) | u64::from(words[1]) << 32
}

pub(super) fn bind(p: &mut Player) {
    let k = p.random.below(20);
    let flags = p.random.flags(0) & !1;
    let fd = match k {
        0 => u32::MAX,
        1 => word(p.other),
        2 => NO_DESCRIPTOR,
        _ => word(p.iommu),
    };
    let size = p.random.either(50, 16, 24);
    let mut words = [0, flags, fd, 0, 0, 0];
    let done = p.call("bind", p.device, 0x76, &mut words, size);
    say!(p, " [f{:x} k{}]", words[1], k.min(3));
    if done {
        (p.bound, p.device_id) = (true, words[3]);
        say!(p, " dev={}", words[3]);
    }
}

pub(super) fn attach(p: &mut Player) {
    let usual = p.random.either(80, 0, 1);
    let (flags, pt) = (p.random.flags(usual), p.some_table());
    let mut words = [0, flags, pt, p.random.below(4)];
    let size = if flags & 1 != 0 { 16 } else { p.random.either(50, 12, 16) };
    let done = p.call("attach", p.device, 0x77, &mut words, size);
    say!(p, " [f{flags:x} pt{pt}]");
    if done {
        say!(p, " hwpt={}", words[2]);
    }
}

fn detach(p: &mut Player) {
    let usual = p.random.either(85, 0, 1);
    let flags = p.random.flags(usual);
    let mut words = [0, flags, p.random.below(4)];
    let size = if flags & 1 != 0 { 12 } else { 8 };
    p.call("detach", p.device, 0x78, &mut words, size);
    say!(p, " [f{flags:x}]");
}

fn info(p: &mut Player) {
    let size = p.random.either(50, 16, 20);
    let mut words = [0; 6];
    if p.call("info", p.device, 0x6b, &mut words, size) {
        say!(p, " flags={:x} regions={} irqs={}", words[1], words[2], words[3]);
    }
}

fn region(p: &mut Player) {
    let index = if p.random.chance(85) { p.random.below(9) } else { p.random.below(40) };
    let mut words = [0, 0, index, 0, 0, 0, 0, 0];
    let done = p.call("region", p.device, 0x6c, &mut words, 32);
    say!(p, " [{index}]");
    if done {
        say!(p, " rw={:x} off={:x}", words[1] & 3, wide(&words[6..]));
    }
}

fn irq(p: &mut Player) {
    let index = if p.random.chance(85) { p.random.below(5) } else { p.random.below(30) };
    let mut words = [0, 0, index, 0];
    let done = p.call("irq", p.device, 0x6d, &mut words, 16);
    say!(p, " [{index}]");
    match (done, index) {
        (false, _) => {}
        (true, 2) => {
            say!(p, " flags={:x}{}", words[1], if words[3] > 1 { " many" } else { " few" });
        }
        (true, _) => say!(p, " flags={:x} n={}", words[1], words[3]),
    }
}

fn set_irqs(p: &mut Player) {
    const FLAGS: [u32; 12] =
        [0x21, 0x22, 0x24, 0x0c, 0x14, 0x09, 0x11, 0x20, 0x04, 0x01, 0x2c, 0x27];
    let flags = if p.random.chance(96) {
        let known = p.random.either(70, 3, 12);
        FLAGS[p.random.below(known) as usize]
    } else {
        p.random.word()
    };
    let index = if p.random.chance(75) { 2 } else { p.random.below(8) };
    let start = if p.random.chance(75) { 0 } else { p.random.below(4) };
    let count = if p.random.chance(60) { 1 } else { p.random.below(5) };
    let mut words = [0; 16];
    words[1..5].copy_from_slice(&[flags, index, start, count]);
    for at in 0..count as usize {
        words[5 + at] = match flags & 4 {
            0 => p.random.below(2),
            _ if p.random.chance(85) => word(p.eventfd),
            _ => p.random.either(50, u32::MAX, NO_DESCRIPTOR),
        };
    }
    let data = match flags & 6 {
        4 | 6 => 4 * count,
        2 => count,
        _ => 0,
    };
    p.call("set_irqs", p.device, 0x6e, &mut words, 20 + data);
    let fired = p.client.events(p.eventfd);
    say!(p, " [f{flags:x} i{index} s{start} c{count}] fired={fired}");
}

fn reset(p: &mut Player) {
    let answer = p.client.ioctl(p.device, super::command(0x6f), 0);
    say!(p, "reset -> ");
    p.say_answer(answer.as_ref());
}

fn feature(p: &mut Player) {
    let feature = p.random.below(15);
    let mut operation = 1 << (16 + p.random.below(3));
    if p.random.chance(30) {
        operation |= 1 << (16 + p.random.below(3));
    }
    if p.random.chance(4) {
        operation |= 1 << p.random.below(32);
    }
    let size = p.random.either(60, 8, 40);
    let mut words = [0; 10];
    words[1] = feature | operation;
    p.call("feature", p.device, 0x75, &mut words, size);
    say!(p, " [{feature} op{:x}]", operation >> 16);
}

fn hot_reset_info(p: &mut Player) {
    let size = p.random.either(50, 12, 200);
    let mut words = [0; 64];
    if p.call("hot_info", p.device, 0x70, &mut words, size) {
        say!(p, " f={:x}", words[1]);
    }
}

fn read_config(p: &mut Player) {
    let at = if p.random.chance(70) {
        p.random.below(64)
    } else if p.random.chance(60) {
        p.random.below(4096)
    } else {
        4090 + p.random.below(20)
    };
    let count = if p.random.chance(70) { 1 << p.random.below(3) } else { p.random.below(40) };
    let (done, bytes) = p.read(count, CONFIG + u64::from(at));
    say!(p, "cfg {at:x}+{count} -> ");
    p.say_answer(done.as_ref());
    if at == 6 && done.as_ref().is_ok_and(|done| *done > 0) {
        say!(p, " {:02x}", bytes[0] & 0x10);
    }
    if at == 4 && done == Ok(2) {
        say!(p, " cmd={:02x}", bytes[0] & 7);
    }
}

fn write_config(p: &mut Player) {
    const PLACES: [u32; 8] = [4, 0x10, 0x14, 0x30, 0x3c, 0x0c, 0, 0x2c];
    let at = PLACES[p.random.below(8) as usize];
    let count = match at {
        4 => 2,
        0x3c | 0x0c => 1,
        _ => 4,
    };
    let mut bytes = [p.random.either(50, 0xff, 0); 8];
    if at == 4 {
        bytes[0] = p.random.below(8) as u8;
        bytes[1] = p.random.below(8) as u8 & 4;
    }
    let place = CONFIG + u64::from(at);
    let done = p.write(&bytes[..count], place);
    say!(p, "cfgw {at:x}+{count} -> ");
    p.say_answer(done.as_ref());
    let (done, bytes) = p.read(count as u32, place);
    if at == 4 && done == Ok(2) {
        say!(p, " {:x}", u16::from_le_bytes([bytes[0], bytes[1]]) & 0x407);
    }
}

fn read_other(p: &mut Player) {
    let index = if p.random.chance(50) { 8 + p.random.below(4) } else { 1 + p.random.below(6) };
    let (done, _) = p.read(4, u64::from(index) << 40);
    say!(p, "region{index} read -> ");
    p.say_answer(done.as_ref());
}

fn read_bar(p: &mut Player) {
    let at =
        if p.random.chance(80) { 4 * p.random.below(16) } else { (1 << 30) + p.random.below(64) };
    let (done, _) = p.read(4, at.into());
    say!(p, "bar0 {at:x} -> ");
    p.say_answer(done.as_ref());
}

fn mmap(p: &mut Player) {
    let index = if p.random.chance(60) { 0 } else { p.random.below(10) };
    let length = if p.random.chance(80) { 4096 } else { 4096 + p.random.below(8192) };
    let odd = !p.random.chance(90);
    let shared = p.random.chance(90);
    let offset = (u64::from(index) << 40) + if odd { 512 } else { 0 };
    let whole = u64::from(length).next_multiple_of(PAGE_SIZE);
    let answer = p.file().mmap(offset, whole, shared, false);
    let (kind, odd) = (if shared { "s" } else { "p" }, if odd { " odd" } else { "" });
    say!(p, "mmap r{index} l{length} {kind}{odd} -> ");
    p.say_answer(answer.as_ref().map(|_| 0));
}

pub(super) fn ioas(p: &mut Player) {
    let mut words = [0; 3];
    if p.call("ioas", p.iommu, 0x81, &mut words, 12) {
        p.ioas = words[2];
        say!(p, " id={}", words[2]);
    }
}

fn map(p: &mut Player) {
    let va = ARENA + PAGE_SIZE * u64::from(p.random.below(8));
    let length = PAGE_SIZE * u64::from(1 + p.random.below(4));
    let iova = IOVA + PAGE_SIZE * u64::from(p.random.below(64));
    let ioas = p.ioas;
    let pairs = [va, length, iova].map(|value| [low(value), high(value)]);
    let mut words = [0, 7, ioas, 0, 0, 0, 0, 0, 0, 0];
    words[4..].copy_from_slice(pairs.as_flattened());
    p.call("map", p.iommu, 0x85, &mut words, 40);
    say!(p, " [i{ioas} {iova:x}+{length:x}]");
}

fn unmap(p: &mut Player) {
    let iova = match p.random.chance(30) {
        true => 0,
        false => IOVA + PAGE_SIZE * u64::from(p.random.below(64)),
    };
    let length = PAGE_SIZE * u64::from(1 + p.random.below(4));
    let length = if iova == 0 { u64::MAX } else { length };
    let ioas = p.ioas;
    let mut words = [0, ioas, low(iova), high(iova), low(length), high(length)];
    p.call("unmap", p.iommu, 0x86, &mut words, 24);
    say!(p, " [i{ioas} {iova:x}] len={:x}", wide(&words[4..]));
}

fn hwpt(p: &mut Player) {
    let device = if p.random.chance(90) { p.device_id } else { p.random.below(9) };
    let mut words = [0, 0, device, p.ioas, 0, 0, 0, 0, 0, 0, 0, 0];
    if p.call("hwpt", p.iommu, 0x89, &mut words, 48) {
        p.hwpt = words[4];
        say!(p, " id={}", words[4]);
    }
}

fn destroy(p: &mut Player) {
    let id = p.some_table();
    p.call("destroy", p.iommu, 0x80, &mut [0, id], 8);
    say!(p, " [{id}]");
}

fn unknown(p: &mut Player) {
    let nr = if p.random.chance(50) { 0x79 + p.random.below(4) } else { 0x64 + p.random.below(7) };
    let answer = p.plain_call(nr, 32);
    say!(p, "bad{nr:x} -> ");
    p.say_answer(answer.as_ref());
}
