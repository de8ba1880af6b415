//! Two threads, and what the second does to the first.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::measure::{median, thread_time};

/// For how long it is looked at a time, and how often with each.
const WINDOW: Duration = Duration::from_millis(2);
const WINDOWS: usize = 61;
/// How often at most, until there are enough windows in which nobody else had either CPU.
const TRIES: usize = 4000;
/// The part of a window that a thread must have run.
const CLEAN: f64 = 0.97;

/// What the second thread is told, and tells.
#[derive(Default)]
struct Second {
    runs: AtomicBool,
    ends: AtomicBool,
    /// Nanoseconds for which it has run.
    time: AtomicU64,
}

/// Nanoseconds of a step of the first thread: while the second does nothing, and while it makes steps,
/// too. Each thread makes steps by a function of its own.
///
/// Only windows count in which both had a CPU to themselves nearly all the time.
pub fn slowdown(
    mut first: impl FnMut(),
    mut second: impl FnMut() + Send,
) -> io::Result<(f64, f64)> {
    let shared = Second::default();
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            pin(1);
            while !shared.ends.load(Ordering::Acquire) {
                if shared.runs.load(Ordering::Acquire) {
                    second();
                    let time = thread_time().as_nanos() as u64;
                    shared.time.store(time, Ordering::Release);
                } else {
                    thread::park_timeout(WINDOW);
                }
            }
        });
        pin(0);
        let mut times = [Vec::new(), Vec::new()];
        for attempt in 0..TRIES {
            let together = attempt % 2;
            shared.runs.store(together == 1, Ordering::Release);
            other.thread().unpark();
            // until it has begun, or ended
            thread::sleep(Duration::from_micros(200));
            if let Some(time) = window(&mut first, &shared, together == 1) {
                times[together].push(time);
            }
            if times.iter().all(|times| times.len() >= WINDOWS) {
                break;
            }
        }
        shared.ends.store(true, Ordering::Release);
        other.thread().unpark();
        if times.iter().any(|times| times.len() < WINDOWS / 4) {
            return Err(io::Error::other("the CPUs are never free for both threads"));
        }
        let [alone, together] = &mut times;
        Ok((median(alone), median(together)))
    })
}

/// Nanoseconds of a step in a window; none when someone else had a CPU.
fn window(first: &mut impl FnMut(), shared: &Second, together: bool) -> Option<f64> {
    let (start, ran, others) = (Instant::now(), thread_time(), shared.time.load(Ordering::Acquire));
    let mut steps = 0;
    while start.elapsed() < WINDOW {
        first();
        steps += 1;
    }
    let wall = start.elapsed().as_nanos() as f64;
    let ran = (thread_time() - ran).as_nanos() as f64;
    let other = (shared.time.load(Ordering::Acquire) - others) as f64;
    let clean = ran > CLEAN * wall && (!together || other > CLEAN * wall);
    clean.then(|| wall / f64::from(steps))
}

/// Keeps this thread on a CPU, if it may.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    let _ = sched_setaffinity(None, &set);
}
