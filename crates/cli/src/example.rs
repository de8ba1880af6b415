//! The built-in example: an ordinary program that uses `/dev/iommu`.
//!
//! It knows nothing of softiommu. Where there is a device behind an IOMMU it plays the story of guest
//! SVA ([`guest`]), as far as the machine goes, by today's API ([`sva`]) or by that of 2020 ([`y2020`]); on
//! the machine of the kernel's mock device, that of DMA and page faults ([`mock`]).
//!
//! Another example is the argument of 2020 about checks, on machines of its own ([`compat`]).

mod compat;
mod dmatest;
mod guest;
mod mock;
mod sva;
mod y2020;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use client::System;

/// Play a built-in example, as an ordinary program
///
/// Without a name it is that of `softiommu run`, on this host or in the run that it is in. Exit status: 0, or 1
/// when a step of it fails.
#[derive(Args)]
pub struct Options {
    /// compat: the argument of 2020. One guest-SVA client on two machines, asked by one version, by flags at
    /// each call, and by requirements together
    #[arg(value_name = "NAME")]
    name: Option<Name>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    Compat,
}

/// Plays the example; fails with the step that failed.
pub fn play(options: &Options) -> ExitCode {
    let played = match options.name {
        Some(Name::Compat) => compat::argument(),
        None => here(),
    };
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err((step, error)) => {
            eprintln!("softiommu example: {step}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The story that this host allows.
fn here() -> Step<()> {
    let functions = System::host().functions();
    let device = functions.iter().find(|function| function.vfio.is_some());
    match device {
        Some(function) => sva::story(function),
        None if let Some(found) = y2020::find(&functions) => y2020::story(found),
        None if client::mock::is_there() => mock::story(),
        None => {
            let why = match System::host().units().is_empty() {
                true => "this machine has neither an IOMMU nor the kernel's mock device",
                false => "no device behind an IOMMU is bound to vfio-pci",
            };
            say("device", format!("none: {why}"));
            Ok(())
        }
    }
}

type Step<T> = Result<T, (&'static str, io::Error)>;

/// Names the step in which an error came up.
trait At<T> {
    fn at(self, step: &'static str) -> Step<T>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> At<T> for Result<T, E> {
    fn at(self, step: &'static str) -> Step<T> {
        self.map_err(|error| {
            let error = error.into();
            let error = error.downcast::<io::Error>().map_or_else(io::Error::other, |it| *it);
            (step, error)
        })
    }
}

fn say(step: &str, what: impl Display) {
    // who reads no further has heard enough
    let _ = writeln!(io::stdout(), "{step:<14} {what}");
}
