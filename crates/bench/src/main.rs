//! What calls and accesses cost, beside others that do the same in the same minute.
//!
//! | argument | what is measured | the baseline |
//! |---|---|---|
//! | `calls` | a call through `softiommu run`, and through the engine in-process | a native ioctl |
//! | `stores` | stores of a program to a device's memory: [`mod@stores`] | a signal, a native ioctl |
//! | `nvme` | reads of a program from an NVMe disk, through `softiommu run`: [`mod@nvme`] | the same in-process |
//! | `dma` | translations and reads of a device: [`dma`] | the crate `vm-memory`, a copy |
//!
//! Every number is the median of batches of one run, in nanoseconds. Where calls are measured no page
//! is pinned, for want of a domain: it is the way of a call and the bookkeeping of mappings.

#![deny(unsafe_code)]

mod dma;
mod inside;
mod measure;
mod nvme;
mod stores;
mod sys;

use std::env;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use clap::{Parser, ValueEnum};
use client::{Iommu, SharedBuffer, System};

use inside::Inside;
use measure::{Layout, Target, median, median_ns};

/// How many mappings are there while one more comes and goes.
const LIVE: [u64; 3] = [10, 10_000, 1_000_000];

/// How much dearer mapping may be with the most mappings than with the fewest, in-process.
const MOST_GROWTH: f64 = 4.0;

/// Measure calls and accesses of devices, beside others that do the same.
#[derive(Parser)]
struct Cli {
    /// The softiommu to measure [default: the one beside this program]
    #[arg(long)]
    softiommu: Option<PathBuf>,
    /// What is measured
    #[arg(value_enum, default_value = "all")]
    part: Part,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    All,
    /// Calls of programs
    Calls,
    /// Stores of programs to a device's memory
    Stores,
    /// Reads of programs from a disk
    Nvme,
    /// Accesses of devices
    Dma,
    /// Calls of a program that is under `softiommu run`, for `calls`
    #[value(hide = true)]
    Under,
    /// The same for `stores`
    #[value(hide = true)]
    StoresUnder,
    /// The same for `nvme`
    #[value(hide = true)]
    NvmeUnder,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.part {
        Part::All => all(cli.softiommu),
        Part::Calls => calls(cli.softiommu),
        Part::Stores => stores(cli.softiommu),
        Part::StoresUnder => stores_under(),
        Part::Nvme => nvme(cli.softiommu),
        Part::NvmeUnder => nvme_under(),
        Part::Dma => dma::run(),
        Part::Under => under(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("softiommu-bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn all(softiommu: Option<PathBuf>) -> io::Result<bool> {
    let calls = calls(softiommu.clone())?;
    let stores = stores(softiommu.clone())?;
    let nvme = nvme(softiommu)?;
    Ok(dma::run()? && calls && stores && nvme)
}

/// Prints what stores cost, as multiples of a signal.
fn stores(softiommu: Option<PathBuf>) -> io::Result<bool> {
    let signal = stores::signal_ns()?;
    println!("{:<42} {:>10} {:>10}", "median of one run", "ns", "x signal");
    line("signal round trip", signal, signal);
    line("native ioctl", native_ioctl()?, signal);
    run_under(softiommu, &["--machine", "spr"], "stores-under", signal)?;
    Ok(true)
}

/// The part of `stores` under `softiommu run`.
fn stores_under() -> io::Result<bool> {
    let (store, load) = stores::store_and_load_ns()?;
    let mut outside = Outside { iommu: Iommu::open()?, memory: SharedBuffer::new(1 << 16)? };
    println!("cheapest call\t{}", measure::cheapest(&mut outside)?);
    println!("store to a BAR\t{store}");
    println!("load from a BAR\t{load}");
    Ok(true)
}

/// Prints what reads from a disk cost, as multiples of those in-process.
fn nvme(softiommu: Option<PathBuf>) -> io::Result<bool> {
    let (mut inside, mut under) = (Vec::new(), Vec::new());
    // in turn, so that what happens to the machine meanwhile happens to both
    for _ in 0..nvme::ROUNDS {
        inside.push(nvme::inside_ns()?);
        let told = told_under(&softiommu, &["--machine", nvme::MACHINE], "nvme-under")?;
        under.extend(told.into_iter().map(|(_, cost)| cost));
    }
    let (inside, under) = (median(&mut inside), median(&mut under));
    println!("{:<42} {:>10} {:>10}", "median of one run", "ns", "x inside");
    line("in-process: NVMe read of 4 KiB, 32 deep", inside, inside);
    line("run: NVMe read of 4 KiB, 32 deep", under, inside);
    Ok(true)
}

/// The part of `nvme` under `softiommu run`.
fn nvme_under() -> io::Result<bool> {
    println!("NVMe read\t{}", nvme::read_ns(&System::host())?);
    Ok(true)
}

/// Prints all; false when the gate is missed.
fn calls(softiommu: Option<PathBuf>) -> io::Result<bool> {
    let native = native_ioctl()?;
    println!("{:<42} {:>10} {:>10}", "median of one run", "ns", "x native");
    line("native ioctl", native, native);
    let mut inside = Inside::new()?;
    line("in-process: cheapest call", measure::cheapest(&mut inside)?, native);
    let mut growth = Vec::new();
    for layout in [Layout::Adjacent, Layout::Gaps] {
        for live in LIVE {
            let cost = measure::map_unmap(&mut Inside::new()?, live, layout)?;
            line(&format!("in-process: map+unmap, {live} {layout}"), cost, native);
            growth.push(cost);
        }
    }
    run_under(softiommu, &[], "under", native)?;
    let mut kept = true;
    for (layout, costs) in [Layout::Adjacent, Layout::Gaps].iter().zip(growth.chunks(LIVE.len())) {
        let grown = costs[LIVE.len() - 1] / costs[0];
        let verdict = if grown <= MOST_GROWTH { "PASS" } else { "FAIL" };
        kept &= grown <= MOST_GROWTH;
        println!(
            "{verdict}: in-process growth from 10 to 1,000,000 {layout}: {grown:.2} times (at most {MOST_GROWTH})"
        );
    }
    Ok(kept)
}

/// Prints what a part of this program finds under `softiommu run`.
fn run_under(
    softiommu: Option<PathBuf>,
    arguments: &[&str],
    part: &str,
    one: f64,
) -> io::Result<()> {
    for (name, cost) in told_under(&softiommu, arguments, part)? {
        line(&format!("run: {name}"), cost, one);
    }
    Ok(())
}

/// Starts a part of this program, as an ordinary program under `softiommu run`; what it tells.
fn told_under(
    softiommu: &Option<PathBuf>,
    arguments: &[&str],
    part: &str,
) -> io::Result<Vec<(String, f64)>> {
    let this = env::current_exe()?;
    let softiommu = softiommu.clone().unwrap_or_else(|| this.with_file_name("softiommu"));
    if !softiommu.exists() {
        let text = format!("{}: not there; `cargo build --release` makes it", softiommu.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    let output = Command::new(softiommu)
        .arg("run")
        .args(arguments)
        .arg("--")
        .arg(this)
        .arg(part)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other("the part under `run` failed"));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let told = text.lines().filter_map(|text| text.rsplit_once('\t'));
    Ok(told.map(|(name, cost)| (name.to_owned(), cost.parse().unwrap_or(f64::NAN))).collect())
}

/// The part under `softiommu run`: a line a number, a tab before it.
fn under() -> io::Result<bool> {
    let mut outside = Outside { iommu: Iommu::open()?, memory: SharedBuffer::new(1 << 16)? };
    println!("cheapest call\t{}", measure::cheapest(&mut outside)?);
    for live in LIVE {
        let mut outside = Outside { iommu: Iommu::open()?, memory: SharedBuffer::new(1 << 16)? };
        let cost = measure::map_unmap(&mut outside, live, Layout::Adjacent)?;
        println!("map+unmap, {live} {}\t{cost}", Layout::Adjacent);
    }
    Ok(true)
}

/// The device node.
struct Outside {
    iommu: Iommu,
    memory: SharedBuffer,
}

impl Target for Outside {
    fn ioas(&mut self) -> io::Result<u32> {
        self.iommu.ioas()
    }

    fn option(&mut self, ioas: u32) -> io::Result<()> {
        self.iommu.huge_pages(ioas).map(drop)
    }

    fn map(&mut self, ioas: u32, iova: u64) -> io::Result<()> {
        self.iommu.map(ioas, iova, &self.memory, 4096)
    }

    fn unmap(&mut self, ioas: u32, iova: u64) -> io::Result<()> {
        self.iommu.unmap(ioas, iova, 4096).map(drop)
    }
}

/// `FIONREAD` on an empty pipe: about the cheapest ioctl that does anything.
fn native_ioctl() -> io::Result<f64> {
    let (read, _write) = rustix::pipe::pipe()?;
    median_ns(2_000, || rustix::io::ioctl_fionread(&read).map(drop).map_err(io::Error::from))
}

fn line(name: &str, ns: f64, native: f64) {
    println!("{name:<42} {ns:>10.0} {:>10.1}", ns / native);
}
