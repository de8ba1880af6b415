//! Fault and event queues through their descriptors, and commands that do not exist.

use crate::abi::iommu_fault_alloc;
use crate::player::{Kind, Player, say};
use crate::sys;

pub fn alloc_fault(p: &mut Player) {
    let mut c = iommu_fault_alloc { flags: p.zeroish(), ..Default::default() };
    if p.call(&mut c) {
        p.allocated(Kind::Fault, c.out_fault_id);
        p.keep_queue(c.out_fault_fd);
    }
}

/// Polls a queue, reads it without waiting, and prints every whole word that was read.
pub fn read(p: &mut Player) {
    let step = p.step;
    if p.queues.is_empty() {
        return say!(p, "{step} readfd none");
    }
    let chosen = p.rng.index(p.queues.len());
    let fd = p.queues[chosen];
    let mut buffer = [0u8; 256];
    let (ready, revents) = sys::poll(fd);
    sys::set_nonblocking(fd);
    let len = if p.rng.chance(80) { 256 } else { p.rng.index(100) };
    let answer = sys::read(fd, &mut buffer[..len]);
    say!(p, "{step} readfd{chosen} poll {ready} {:x} len{len}", i32::from(revents));
    say!(p, " -> {} {}", answer.value, answer.errno);
    let filled = usize::try_from(answer.value).unwrap_or(0).min(buffer.len());
    for word in buffer[..filled].as_chunks::<4>().0 {
        say!(p, " {:x}", u32::from_ne_bytes(*word));
    }
}

/// Answers page requests: up to two whole responses of a cookie and a code, or an odd number of bytes.
pub fn write(p: &mut Player) {
    let step = p.step;
    if p.queues.is_empty() {
        return say!(p, "{step} writefd none");
    }
    let chosen = p.rng.index(p.queues.len());
    // The first two draws are thrown away: they are of the format, their values are not.
    p.rng.below(3);
    p.rng.below(4);
    let cookie = if p.rng.chance(90) { 1 + p.rng.below(4) } else { p.rng.draw() };
    let code = p.rng.below(3);
    let len = if p.rng.chance(85) { 8 } else { p.rng.index(20) };
    let mut response = [0u8; 20];
    response[..4].copy_from_slice(&cookie.to_ne_bytes());
    response[4..8].copy_from_slice(&code.to_ne_bytes());
    let answer = sys::write(p.queues[chosen], &response[..len]);
    say!(
        p,
        "{step} writefd{chosen} [c{cookie} code{code} l{len}] -> {} {}",
        answer.value,
        answer.errno
    );
}

/// A command number that nothing has, with 64 bytes of argument.
pub fn unknown_command(p: &mut Player) {
    let mut argument = [0u8; 64];
    argument[..4].copy_from_slice(&64u32.to_ne_bytes());
    let nr = match 0x60 + p.rng.below(0x80) as u8 {
        0x80..=0x95 => 0x96 + p.rng.below(8) as u8,
        0xa0 => 0xa1,
        0x64..=0x72 => 0x7a,
        other => other,
    };
    let answer = sys::ioctl(p.iommu, nr, &mut argument);
    let step = p.step;
    say!(p, "{step} bad{nr:x} -> {} {}", answer.value, answer.errno);
}
