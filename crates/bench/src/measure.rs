//! What is measured, whoever answers.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

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
    Ok(median(&mut times))
}

/// Makes accesses to addresses; false when one failed.
type Accesses<'a> = Box<dyn FnMut(&[u64]) -> bool + 'a>;

/// Something that is measured beside others of its process: accesses, made some at a time.
pub struct Row<'a> {
    /// What it is called.
    pub name: String,
    /// What is accessed, in turn.
    addresses: Vec<u64>,
    at: usize,
    /// Makes as many accesses as there are addresses; false when one failed.
    act: Accesses<'a>,
    /// [`BURST`]s in a batch.
    per_batch: u32,
    /// Nanoseconds of an access, of each batch.
    times: Vec<f64>,
}

/// How many accesses are made at a time.
pub const BURST: usize = 64;

/// For how long a batch runs, at least, and how many there are of each row. A batch also has every address once:
/// what the row before has left in the CPU's caches is gone after the first of them.
const BATCH: Duration = Duration::from_millis(4);
const ROUNDS: usize = 15;

impl<'a> Row<'a> {
    /// Accesses to these addresses, again and again; as many as whole bursts have.
    pub fn new(
        name: impl Into<String>,
        addresses: Vec<u64>,
        act: impl FnMut(&[u64]) -> bool + 'a,
    ) -> Self {
        let (act, times) = (Box::new(act), Vec::new());
        let per_batch = addresses.len().div_ceil(BURST) as u32;
        Self { name: name.into(), addresses, at: 0, act, per_batch, times }
    }

    /// One burst.
    fn step(&mut self) -> io::Result<()> {
        if self.at + BURST > self.addresses.len() {
            self.at = 0;
        }
        let addresses = &self.addresses[self.at..][..BURST];
        self.at += BURST;
        let done = (self.act)(addresses);
        done.then_some(()).ok_or_else(|| io::Error::other(format!("{}: a fault", self.name)))
    }

    /// The time of a batch, by the clock of this thread.
    fn batch(&mut self) -> io::Result<Duration> {
        let start = thread_time();
        for _ in 0..self.per_batch {
            self.step()?;
        }
        Ok(thread_time() - start)
    }
}

/// How long this thread has run. What it lost to others does not count.
pub fn thread_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

/// The median of each row, in nanoseconds of an access. A batch of each is one round, so that what
/// happens to the machine meanwhile happens to all.
pub fn medians(rows: &mut [Row<'_>]) -> io::Result<Vec<f64>> {
    for row in &mut *rows {
        while row.batch()? < BATCH {
            row.per_batch *= 2;
        }
    }
    for _ in 0..ROUNDS {
        for row in &mut *rows {
            let time = row.batch()?.as_nanos() as f64;
            row.times.push(time / f64::from(row.per_batch) / BURST as f64);
        }
    }
    Ok(rows.iter_mut().map(|row| median(&mut row.times)).collect())
}

/// The middle one.
pub fn median(of: &mut [f64]) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
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
