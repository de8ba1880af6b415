//! What is measured, whoever answers.

use std::fmt;
use std::io;
use std::time::Instant;

/// Batches of which the median is taken.
const BATCHES: usize = 31;

/// Who answers calls.
pub trait Target {
    /// Makes an IOAS; returns its ID.
    fn ioas(&mut self) -> io::Result<u32>;

    /// Reads an option of an IOAS.
    fn option(&mut self, ioas: u32) -> io::Result<()>;

    /// Maps 4 KiB.
    fn map(&mut self, ioas: u32, iova: u64) -> io::Result<()>;

    /// Unmaps them.
    fn unmap(&mut self, ioas: u32, iova: u64) -> io::Result<()>;
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
    let ioas = target.ioas()?;
    median_ns(1_000, || target.option(ioas))
}

/// One mapping of 4 KiB that comes and goes beside `live` others.
pub fn map_unmap(target: &mut impl Target, live: u64, layout: Layout) -> io::Result<f64> {
    let ioas = target.ioas()?;
    let step = match layout {
        Layout::Adjacent => 4096,
        Layout::Gaps => 8192,
    };
    let base = 1 << 30;
    for index in 0..live {
        target.map(ioas, base + index * step)?;
    }
    // in the middle of the others, where a walk is the longest
    let iova = base + live / 2 * step;
    target.unmap(ioas, iova)?;
    median_ns(500, || {
        target.map(ioas, iova)?;
        target.unmap(ioas, iova)
    })
}
