//! What the project does to itself: `cargo xtask VERB`.
//!
//! | verb | file | does |
//! |---|---|---|
//! | `test` | [`mod@test`] | every check of CI, in order, and installs what they need |
//! | `arrows` | [`arrows`] | holds the crate graph against the table of allowed arrows |
//! | `generated` | [`generated`] | checks or rewrites the marked tables of the README |
//! | `fuzz` | [`mod@fuzz`] | fuzzes devices |
//! | `suites` | [`suites`] | downloads, compiles and runs the kernel's own tests |
//!
//! Exit status: 0 when all is well, 1 when a check failed, 2 for a wrong command line.
//!
//! **What it doesn't do:** change the system beyond `apt-get install`, its package sources included;
//! everything else lands in the cache folder (`.cache`, or `SOFTIOMMU_CACHE`) or in cargo's target
//! folder, and a clone without either gets them again.

#![forbid(unsafe_code)]

mod arrows;
mod failure;
mod fuzz;
mod generated;
mod install;
mod process;
mod scratch;
mod suites;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Result;
use crate::workspace::Workspace;

/// Checks, generated documents and outside suites of softiommu.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Test(test::Options),
    /// Hold the crate graph against the table of allowed arrows
    Arrows,
    Generated(generated::Options),
    Fuzz(fuzz::Options),
    Suites(suites::Options),
}

fn main() -> ExitCode {
    match run(CommandLine::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result {
    let workspace = Workspace::find()?;
    match verb {
        Verb::Test(options) => test::run(&workspace, &options),
        Verb::Arrows => arrows::run(&workspace),
        Verb::Generated(options) => generated::run(&workspace, &options),
        Verb::Fuzz(options) => fuzz::run(&workspace, &options),
        Verb::Suites(options) => suites::run(&workspace, &options),
    }
}
