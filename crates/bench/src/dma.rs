//! What a device's access costs, beside the crate `vm-memory` and a plain copy in the same process.
//!
//! Pages are mapped one by one (`IOMMU_IOAS_MAP_FILE`), each anywhere in a memory file, so that nothing
//! merges. Devices access random ones, [`BURST`] in a burst, as many as a chain of descriptors may have.
//! A translation is [`engine::Burst::check`], and `vm-memory`'s is `Iommu::translate` of an `Iotlb` in an
//! `RwLock`, 8 bytes each. What is copied comes from 256 pages and goes to one buffer.
//!
//! Rows that are compared alternate, batch by batch, and count the time of their thread only. Two
//! threads are timed by the clock on the wall, in windows in which nobody else had their CPUs.

mod pair;
mod world;

use std::hint::black_box;
use std::io;

use engine::Rights;
use mem::PAGE_SIZE;
use vm_memory::{Bytes, GuestAddress};

use crate::measure::{BURST, Row, medians};
use world::{GuestMemoryOfPeer, IOVA, Peer, Random, World};

/// How many times faster than `vm-memory` translations are at least, by the pages mapped.
const LEAST_HIT: f64 = 30.0;
const LEAST_MISS: f64 = 25.0;
/// How many times slower than a plain copy a read of 4 KiB is at most.
const MOST_COPY: f64 = 1.15;
/// How many times slower a thread is at most while another one works.
const MOST_SECOND: f64 = 1.3;

/// Pages of hits, and of a miss.
const HITS: [u64; 3] = [16, 256, 4096];
const MANY: u64 = 1_000_000;
const COPIED: u64 = 256;
const NESTED: u64 = 4096;

/// A goal, and whether it was reached.
struct Gate {
    text: String,
    kept: bool,
}

impl Gate {
    fn new(text: impl Into<String>, ratio: f64, limit: f64, at_least: bool) -> Self {
        let kept = if at_least { ratio >= limit } else { ratio <= limit };
        let bound = if at_least { "at least" } else { "at most" };
        Self { text: format!("{}: {ratio:.2} times ({bound} {limit})", text.into()), kept }
    }
}

/// Prints all; false when a gate is missed.
pub fn run() -> io::Result<bool> {
    println!("{:<34} {:>8} {:>9} {:>8}  baseline", "median of one run", "ns", "baseline", "ratio");
    let mut gates = Vec::new();
    for pages in HITS {
        let ratio = translate(pages, &format!("hit, {pages} pages"))?;
        if pages == 256 {
            gates.push(Gate::new("hit, 256 pages: faster than vm-memory", ratio, LEAST_HIT, true));
        }
    }
    let ratio = translate(MANY, "miss, 1,000,000 pages")?;
    gates.push(Gate::new("miss: faster than vm-memory", ratio, LEAST_MISS, true));
    two_stages()?;
    copy(64)?;
    let ratio = copy(4096)?;
    gates.push(Gate::new("read of 4 KiB: slower than a copy", ratio, MOST_COPY, false));
    let ratio = two_threads()?;
    gates.push(Gate::new("a second thread slows the first", ratio, MOST_SECOND, false));
    for gate in &gates {
        println!("{}: {}", if gate.kept { "PASS" } else { "FAIL" }, gate.text);
    }
    Ok(gates.iter().all(|gate| gate.kept))
}

/// Translations of random pages: how many times faster they are than `vm-memory`'s.
fn translate(pages: u64, name: &str) -> io::Result<f64> {
    let world = World::new(pages)?;
    let peer = Peer::of(&world)?;
    if pages < MANY {
        world.fill(&peer)?;
    }
    let addresses = random_words(pages);
    let mut rows = vec![
        Row::new(name, addresses.clone(), |iovas| check(&world, iovas)),
        Row::new("vm-memory", addresses, |iovas| translate_all(&peer, iovas)),
    ];
    faster(&mut rows)
}

/// Random words of pages from [`IOVA`] on.
fn random_words(pages: u64) -> Vec<u64> {
    let mut random = Random::new();
    let count = if pages < MANY { 1 << 16 } else { 1 << 21 };
    (0..count).map(|_| IOVA + random.below(pages * PAGE_SIZE / 8) * 8).collect()
}

fn check(world: &World, iovas: &[u64]) -> bool {
    world.dma.burst(None, |burst| {
        iovas.iter().all(|iova| black_box(burst.check(*iova, Rights::READ)).is_ok())
    })
}

fn translate_all(peer: &Peer, iovas: &[u64]) -> bool {
    iovas.iter().all(|iova| black_box(peer.translate(*iova)).is_some())
}

/// A guest's tables over the host's: no page is used again before another one had its place.
fn two_stages() -> io::Result<f64> {
    let world = World::nested(NESTED)?;
    let peer = GuestMemoryOfPeer::new(NESTED)?;
    let mut addresses = Vec::new();
    for low in Random::new().order(NESTED / 2) {
        let page = |number: u64| IOVA + 2 * number * PAGE_SIZE;
        addresses.extend([page(low), page(low + NESTED / 2)]);
    }
    let walk = |iovas: &[u64]| iovas.iter().all(|iova| black_box(peer.walk(*iova)).is_some());
    let mut rows = vec![
        Row::new("two-stage miss, 4096 pages", addresses.clone(), |iovas| check(&world, iovas)),
        Row::new("one stage, four loads of vm-memory", addresses, walk),
    ];
    slower(&mut rows)
}

/// A buffer of a device.
#[repr(align(4096))]
struct Buffer([u8; PAGE_SIZE as usize]);

/// Reads of so many bytes, at random places of pages: how many times slower they are than copies
/// between memory of this process.
fn copy(bytes: usize) -> io::Result<f64> {
    let world = World::new(COPIED)?;
    let peer = Peer::of(&world)?;
    world.fill(&peer)?;
    let mut memory = vec![0u8; (COPIED + 1) as usize * PAGE_SIZE as usize];
    let aligned = memory.as_ptr().align_offset(PAGE_SIZE as usize);
    let pages: &mut [u8] = &mut memory[aligned..];
    pages.fill(1);
    let pages: &[u8] = pages;
    let mut random = Random::new();
    let places = COPIED * PAGE_SIZE / bytes as u64;
    let offsets: Vec<_> = (0..1 << 16).map(|_| random.below(places) * bytes as u64).collect();
    let sources: Vec<&[u8]> = offsets.iter().map(|at| &pages[*at as usize..][..bytes]).collect();
    let iovas: Vec<_> = offsets.iter().map(|at| IOVA + at).collect();
    let mut buffers = [const { Buffer([0; PAGE_SIZE as usize]) }; 3];
    let [of_engine, of_copy, of_peer] = &mut buffers;
    let read = |iovas: &[u64]| {
        world.dma.burst(None, |burst| {
            iovas.iter().all(|iova| {
                let done = burst.read(*iova, &mut of_engine.0[..bytes]);
                black_box(&mut of_engine.0);
                done.is_ok()
            })
        })
    };
    let copy = |indices: &[u64]| {
        for index in indices {
            of_copy.0[..bytes].copy_from_slice(sources[*index as usize]);
            black_box(&mut of_copy.0);
        }
        true
    };
    let read_peer = |iovas: &[u64]| {
        iovas.iter().all(|iova| {
            let done = peer.memory.read_slice(&mut of_peer.0[..bytes], GuestAddress(*iova));
            black_box(&mut of_peer.0);
            done.is_ok()
        })
    };
    let mut rows = vec![
        Row::new(format!("read of {bytes} B"), iovas.clone(), read),
        Row::new("a copy", (0..offsets.len() as u64).collect(), copy),
        Row::new(format!("read of {bytes} B by vm-memory"), iovas, read_peer),
    ];
    slower(&mut rows)
}

/// Hits of one thread while another one makes as many, with caches of its own.
fn two_threads() -> io::Result<f64> {
    let world = World::new(COPIED)?;
    let peer = Peer::of(&world)?;
    let (addresses, second) = (random_words(COPIED), world.dma.clone());
    let mut at = [0; 4];
    let [a, b, c, d] = &mut at;
    let next = |at: &mut usize| {
        *at = (*at + STEP) % addresses.len();
        &addresses[*at..][..STEP]
    };
    let dma = |dma: &engine::Dma, iovas: &[u64]| {
        for iovas in iovas.chunks(BURST) {
            dma.burst(None, |burst| {
                for iova in iovas {
                    let _ = black_box(burst.check(*iova, Rights::READ));
                }
            });
        }
    };
    let (alone, together) = pair::slowdown(|| dma(&world.dma, next(a)), || dma(&second, next(b)))?;
    let (peer_alone, peer_together) =
        pair::slowdown(|| _ = translate_all(&peer, next(c)), || _ = translate_all(&peer, next(d)))?;
    let each = |time: f64| time / STEP as f64;
    line("hit beside another thread", each(together), each(alone), together / alone, "alone");
    let ratio = peer_together / peer_alone;
    line("vm-memory beside another thread", each(peer_together), each(peer_alone), ratio, "alone");
    Ok(together / alone)
}

/// Accesses between two looks at the clock: some bursts.
const STEP: usize = 32 * BURST;

/// Measures rows and prints them; how many times faster the first is than the second.
fn faster(rows: &mut [Row<'_>]) -> io::Result<f64> {
    let times = medians(rows)?;
    let ratio = times[1] / times[0];
    line(&rows[0].name, times[0], times[1], ratio, &rows[1].name);
    Ok(ratio)
}

/// Measures rows and prints them; how many times slower the first is than the second, and, only
/// printed, those after it.
fn slower(rows: &mut [Row<'_>]) -> io::Result<f64> {
    let times = medians(rows)?;
    for (row, time) in rows.iter().zip(&times).filter(|(row, _)| row.name != rows[1].name) {
        line(&row.name, *time, times[1], time / times[1], &rows[1].name);
    }
    Ok(times[0] / times[1])
}

fn line(name: &str, ns: f64, baseline: f64, ratio: f64, of: &str) {
    println!("{name:<34} {ns:>8.2} {baseline:>9.2} {ratio:>8.2}  {of}");
}
