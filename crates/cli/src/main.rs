//! `softiommu`: the command line, one file a verb.

#![forbid(unsafe_code)]

mod baseline;
mod check;
mod compare;
mod devices;
mod example;
mod output;
mod probe;
mod run;
mod subject;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Linux's IOMMU user API in userspace: run programs on a software /dev/iommu, and tell what a host can
/// do before a feature is used
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Run(run::Options),
    Check(check::Options),
    Probe(probe::Options),
    Compare(compare::Options),
    Baseline(baseline::Options),
    Devices(devices::Options),
    Example(example::Options),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { usage_status() } else { 0 });
        }
    };
    match cli.verb {
        Verb::Run(options) => run::run(options),
        Verb::Check(options) => check::run(&options),
        Verb::Probe(options) => probe::run(&options),
        Verb::Compare(options) => compare::run(&options),
        Verb::Baseline(options) => baseline::run(&options),
        Verb::Devices(options) => devices::run(&options),
        Verb::Example(options) => example::play(&options),
    }
}

/// Exit status of a usage error: each verb keeps its own from those of what it runs or asks.
fn usage_status() -> u8 {
    match std::env::args_os().nth(1) {
        Some(verb) if verb == "run" => run::USAGE,
        _ => output::CANNOT_ASK,
    }
}
