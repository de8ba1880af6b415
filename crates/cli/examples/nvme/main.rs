//! Reads from an NVMe disk, 4 KiB at random places, and tells how many times a second.
//!
//! It is an ordinary program with a VFIO driver in it, and knows nothing of softiommu:
//!
//! ```sh
//! cargo build --release && cargo build --release --example nvme
//! target/release/softiommu run --device nvme,size=1G -- target/release/examples/nvme
//! ```
//!
//! On a host with an IOMMU it takes any NVMe disk that is bound to `vfio-pci`. It writes nothing to it.

mod driver;

use std::error::Error;
use std::time::{Duration, Instant};

use clap::Parser;
use client::System;
use client::feature::PASSTHROUGH;
use driver::{DEPTH, Nvme};
use profile::machine::Bdf;

/// Read 4 KiB at random places of an NVMe disk, and tell how many times a second.
#[derive(Parser)]
struct Cli {
    /// The disk's address [default: the first device that is bound to vfio-pci]
    device: Option<Bdf>,
    /// For how long
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How many reads at most
    #[arg(long, default_value_t = u64::MAX)]
    reads: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    let system = System::host();
    let first = || system.functions().into_iter().find(|it| it.vfio.is_some());
    let address = cli.device.or_else(|| first().map(|it| it.address));
    let address = address.ok_or("no device is bound to vfio-pci")?;
    let mut disk = Nvme::start(system.device(address).open_unasked(&PASSTHROUGH)?)?;
    let start = Instant::now();
    let end = start + Duration::from_secs(cli.seconds);
    let reads = disk.read_at_random(|done| done < cli.reads && Instant::now() < end)?;
    let rate = reads as f64 / start.elapsed().as_secs_f64();
    println!("{address}: {reads} reads of 4 KiB, {DEPTH} at a time: {rate:.0} a second");
    Ok(())
}
