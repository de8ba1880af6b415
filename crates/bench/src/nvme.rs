//! What a read from an NVMe disk costs a program: the driver of the example `nvme`, which has as many reads on
//! their way as its [`driver::DEPTH`], on the device of the machine `q35`.
//!
//! In-process, a doorbell is a call of the engine; under `softiommu run` it is a store that traps.

#[path = "../../cli/examples/nvme/driver.rs"]
mod driver;

use std::io;
use std::time::Instant;

use client::System;
use client::feature::PASSTHROUGH;
use devices::catalogue::Wanted;
use engine::Engine;
use profile::{Kernel, Machine};

use crate::measure::median;

/// The machine, and its device.
pub const MACHINE: &str = "q35";
const DEVICE: &str = "nvme";

/// How often each is measured, batches of a measurement, and reads of a batch.
pub const ROUNDS: usize = 7;
const BATCHES: usize = 5;
const READS: u64 = 50_000;

/// Nanoseconds of a read in-process, with the device in a thread of this process.
pub fn inside_ns() -> io::Result<f64> {
    let machine = Machine::by_name(MACHINE).map_err(io::Error::other)?;
    let engine = Engine::new(machine, Kernel::newest());
    let wanted = Wanted::parse(DEVICE).map_err(io::Error::other)?;
    if let (Some(dma), Some(interrupts)) = (engine.dma(0), engine.interrupts(0)) {
        engine.plug(0, (wanted.recipe)(dma, interrupts)?);
    }
    read_ns(&System::of(engine)?)
}

/// Nanoseconds of a read from the first device of a system, by a clock on the wall.
pub fn read_ns(system: &System) -> io::Result<f64> {
    let functions = system.functions();
    let function = functions.first().ok_or(io::ErrorKind::NotFound)?;
    let device = system.device(function.address).open_unasked(&PASSTHROUGH);
    let mut disk = driver::Nvme::start(device.map_err(io::Error::other)?)?;
    let mut times = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let start = Instant::now();
        let reads = disk.read_at_random(|done| done < READS)?;
        times.push(start.elapsed().as_nanos() as f64 / reads as f64);
    }
    Ok(median(&mut times))
}
