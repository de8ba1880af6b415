//! `softiommu`: the command line, one file a verb.

#![forbid(unsafe_code)]

mod example;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Linux's IOMMU user API in userspace: run programs on a software /dev/iommu
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Run(run::Options),
    /// The built-in example, as an ordinary program
    #[command(hide = true)]
    Example,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { run::USAGE } else { 0 });
        }
    };
    match cli.verb {
        Verb::Run(options) => run::run(options),
        Verb::Example => example::play(),
    }
}
