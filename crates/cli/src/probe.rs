//! `softiommu probe`: what a host can do, as a file.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use profile::finding::{Finding, Value};
use profile::{Profile, Requirement, Verdict};

use crate::output::finish;
use crate::subject::{self, Trouble};

/// Write down what a host can do, to be judged elsewhere
///
/// The profile goes to standard output: softiommu probe > node7.toml. What was asked is what
/// `softiommu check` asks.
///
/// Exit status: 0, or 2 when nobody could be asked.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    subject: subject::Whom,
    /// How to write it
    #[arg(long, value_enum, default_value = "toml")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A profile, for check, compare and baseline
    Toml,
    /// A local feature file for Kubernetes' Node Feature Discovery
    Nfd,
}

pub fn run(options: &Options) -> ExitCode {
    finish(probe(options))
}

fn probe(options: &Options) -> Result<(String, u8), Trouble> {
    let profile = options.subject.subject()?.profile(options.subject.device)?;
    let text = match options.format {
        Format::Toml => profile.to_toml(),
        Format::Nfd => feature_file(&profile),
    };
    Ok((text, 0))
}

/// Labels for a node: every requirement that it satisfies, and every capability that it has.
///
/// Node Feature Discovery puts `feature.node.kubernetes.io/` in front of the names.
fn feature_file(profile: &Profile) -> String {
    let mut text = String::from(
        "# What softiommu found. Put it into /etc/kubernetes/node-feature-discovery/features.d/.\n",
    );
    for requirement in Requirement::all() {
        if Verdict::of(requirement, profile).is_satisfied() {
            let _ = writeln!(text, "softiommu.{}=true", requirement.name);
        }
    }
    for (capability, finding) in profile.findings() {
        let Finding::Present(value) = finding else { continue };
        let value = match value {
            Value::Flag => "true".to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Word(word) => word.clone(),
        };
        let _ = writeln!(text, "softiommu.capability.{capability}={value}");
    }
    text
}
