//! What is measured, whoever answers.

use std::fmt;
use std::io;
use std::time::Instant;

use uapi::Command;
use uapi::iommufd::*;

/// Batches of which the median is taken.
const BATCHES: usize = 31;

/// Who answers calls.
pub trait Target {
    /// Makes a command.
    fn call<C: Command>(&mut self, cmd: &mut C) -> io::Result<()>;

    /// The address of memory to map, 64 KiB.
    fn memory(&self) -> u64;
}

/// How live mappings lie.
#[derive(Clone, Copy, Debug)]
pub enum Layout {
    /// One next to the other.
    Adjacent,
    /// A free page between each and the next.
    Gaps,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Adjacent => "adjacent",
            Self::Gaps => "with gaps",
        })
    }
}

/// Median over batches of the time of one call, in nanoseconds.
pub fn median_ns(per_batch: u32, mut call: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    let mut times = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..per_batch {
            call()?;
        }
        times.push(start.elapsed().as_nanos() as f64 / f64::from(per_batch));
    }
    times.sort_by(f64::total_cmp);
    Ok(times[BATCHES / 2])
}

/// Reading an option of an IOAS.
pub fn cheapest(target: &mut impl Target) -> io::Result<f64> {
    let ioas = alloc(target)?;
    let mut cmd = iommu_option {
        size: 24,
        option_id: IOMMU_OPTION_HUGE_PAGES,
        op: IOMMU_OPTION_OP_GET,
        object_id: ioas,
        ..Default::default()
    };
    median_ns(1_000, || target.call(&mut cmd))
}

/// One mapping of 4 KiB that comes and goes beside `live` others.
pub fn map_unmap(target: &mut impl Target, live: u64, layout: Layout) -> io::Result<f64> {
    let ioas = alloc(target)?;
    let step = match layout {
        Layout::Adjacent => 4096,
        Layout::Gaps => 8192,
    };
    let base = 1 << 30;
    for index in 0..live {
        target.call(&mut map(ioas, target.memory(), base + index * step))?;
    }
    // in the middle of the others, where a walk is the longest
    let iova = base + live / 2 * step;
    target.call(&mut unmap(ioas, iova))?;
    let memory = target.memory();
    median_ns(500, || {
        target.call(&mut map(ioas, memory, iova))?;
        target.call(&mut unmap(ioas, iova))
    })
}

fn alloc(target: &mut impl Target) -> io::Result<u32> {
    let mut cmd = iommu_ioas_alloc { size: 12, ..Default::default() };
    target.call(&mut cmd)?;
    Ok(cmd.out_ioas_id)
}

fn map(ioas_id: u32, user_va: u64, iova: u64) -> iommu_ioas_map {
    iommu_ioas_map {
        size: 40,
        flags: IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
        ioas_id,
        user_va,
        length: 4096,
        iova,
        ..Default::default()
    }
}

fn unmap(ioas_id: u32, iova: u64) -> iommu_ioas_unmap {
    iommu_ioas_unmap { size: 24, ioas_id, iova, length: 4096 }
}
