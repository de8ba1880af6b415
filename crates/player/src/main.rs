//! `iommufd-player`: seeded call sequences against `/dev/iommu`, printed line by line.
//!
//! Real kernels were asked these sequences once and what they printed was kept
//! (`conformance/recorded/`). Played elsewhere, the same seed must print the same bytes; the first
//! differing line of a seed is the first call that was answered differently.
//!
//! ```text
//! iommufd-player FIRST_SEED LAST_SEED STEPS
//! iommufd-player --compare RECORDING [FIRST_SEED LAST_SEED]
//! ```
//!
//! A line reads:
//!
//! ```text
//! 17 map sz+0 -> 0 0 [f7 i2 va8192 len4000 iova1000000] iova=1000000
//! |  |   |      | |   the arguments                     the outputs
//! |  |   |      | errno
//! |  |   |      return value
//! |  |   size field minus the true struct size
//! |  call
//! step
//! ```
//!
//! The program is a client like any other: it calls libc ([`sys`]), and it depends on no other crate of
//! this workspace, so that a mistake in a layout or a constant there cannot hide itself here.
//!
//! | module | holds |
//! |---|---|
//! | [`rng`] | the random stream of a seed |
//! | [`abi`] | the argument structs |
//! | [`frame`] | size fields that are off |
//! | [`player`] | what a sequence knows and how it chooses |
//! | [`ops`] | the operations and their weights |
//! | [`seed`] | one seed from the first step to the last, in its own process |
//! | [`mod@compare`] | a recording against what is played now |
//!
//! *What it doesn't do:* know any right answer. A seed that no kernel was asked shows nothing.
//!
//! Derived from `difffuzz.c`, with which it agrees byte for byte, but for one thing: it hands out every
//! line at once, where C's buffered output loses the last ones of a sequence that is killed.

mod abi;
mod compare;
mod frame;
mod ops;
mod player;
mod rng;
mod seed;
mod sys;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, error::ErrorKind};

/// Plays seeded call sequences against /dev/iommu and prints one line per call.
///
/// Exit status: 0 played, or all seeds equal; 1 some seed differs; 2 could not run.
#[derive(Parser)]
#[command(override_usage = "iommufd-player FIRST_SEED LAST_SEED STEPS\n       \
                            iommufd-player --compare RECORDING [FIRST_SEED LAST_SEED]")]
struct Arguments {
    /// Play the seeds of this recording (gzip) and print where the answers differ from it.
    #[arg(long, value_name = "RECORDING")]
    compare: Option<PathBuf>,
    /// First and last seed, and without --compare the steps of each.
    #[arg(value_name = "NUMBER", num_args = 0..=3)]
    numbers: Vec<u64>,
}

/// Exit statuses.
const SOME_DIFFER: u8 = 1;
const COULD_NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match (&arguments.compare, arguments.numbers.as_slice()) {
        (None, &[first, last, steps]) => play(first, last, steps),
        (Some(recording), &[]) => compare(recording, None),
        (Some(recording), &[first, last]) => compare(recording, Some(first..=last)),
        _ => Arguments::command().error(ErrorKind::WrongNumberOfValues, "see the usage").exit(),
    }
}

fn play(first: u64, last: u64, steps: u64) -> ExitCode {
    let Ok(steps) = u32::try_from(steps) else {
        Arguments::command().error(ErrorKind::ValueValidation, "too many steps").exit()
    };
    match seed::play_all(first, last, steps) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => could_not_run(&error),
    }
}

fn compare(recording: &std::path::Path, seeds: Option<std::ops::RangeInclusive<u64>>) -> ExitCode {
    match compare::run(recording, seeds) {
        Ok(tally) if tally.different == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(SOME_DIFFER),
        Err(error) => could_not_run(&error),
    }
}

fn could_not_run(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("iommufd-player: {error}");
    ExitCode::from(COULD_NOT_RUN)
}
