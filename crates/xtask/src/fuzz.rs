//! `cargo xtask fuzz`: the targets of the folder `fuzz`, which are made of any bytes.
//!
//! Stable Rust does: libFuzzer comes as source (for which a C++ compiler must be there), and the compiler is told
//! to count what is reached as `cargo fuzz --sanitizer none` tells it. What was found to be worth a run is kept in
//! the cache, and bytes that crash a target are named when it does.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use crate::failure::{Failure, Result};
use crate::process;
use crate::workspace::Workspace;

const TARGETS: &[&str] = &["config", "dmatest", "dsa", "igb", "ioat", "nvme"];

/// Counters of each edge, which libFuzzer looks at.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table";

/// What CI does of each: some seconds, and the same bytes each time.
const SMOKE: &[&str] = &["-runs=2000", "-seed=1", "-len_control=0", "-max_len=512", "-timeout=20"];

/// Fuzz configuration space, or the registers and descriptors of a device, until something is found
#[derive(Args)]
pub struct Options {
    /// What: config or a device
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    target: String,
    /// Options of libFuzzer, such as -max_total_time=600
    #[arg(last = true)]
    options: Vec<String>,
}

/// Fuzzes one target.
pub fn run(workspace: &Workspace, options: &Options) -> Result {
    let built = build(workspace)?;
    let corpus = workspace.cache.join("fuzz").join(&options.target);
    fs::create_dir_all(&corpus).map_err(|error| Failure::from(error.to_string()))?;
    let mut command = std::process::Command::new(built.join(&options.target));
    process::run(command.args(["-timeout=20"]).args(&options.options).arg(corpus))
}

/// Builds all, and runs each for a little.
pub fn smoke(workspace: &Workspace) -> Result {
    let built = build(workspace)?;
    for target in TARGETS {
        process::run(std::process::Command::new(built.join(target)).args(SMOKE))?;
    }
    Ok(())
}

/// The folder of the programs.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    // named, so that build scripts are made without the flags
    let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let target = workspace.target.join("fuzz");
    let arguments = ["build", "--release", "--locked", "--target", &machine];
    let mut command = workspace.cargo(&arguments);
    command.arg("--manifest-path").arg(workspace.root.join("fuzz/Cargo.toml"));
    process::run(command.env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &target))?;
    Ok(target.join(machine).join("release"))
}
