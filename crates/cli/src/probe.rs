//! `softiommu probe`: what a host can do, as a file.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use profile::finding::Value;
use profile::verdict::best_of;
use profile::{Capability, Profile, Requirement, Verdict};

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
    let profiles = options.subject.subject()?.profiles(options.subject.device)?;
    if options.format == Format::Nfd {
        return Ok((feature_file(&profiles), 0));
    }
    let count = profiles.len();
    let profile = best_of(profiles, None).unwrap_or_default();
    if let (2.., Some(device)) = (count, profile.host.device) {
        eprintln!(
            "softiommu: of {count} devices this is {device}, which can do most; --device names another"
        );
    }
    Ok((profile.to_toml(), 0))
}

/// Labels for a node: every requirement that one of its devices satisfies, and every capability that one
/// has, with the greatest number of all.
///
/// Node Feature Discovery puts `feature.node.kubernetes.io/` in front of the names.
fn feature_file(profiles: &[Profile]) -> String {
    let mut text = String::from(
        "# What softiommu found. Put it into /etc/kubernetes/node-feature-discovery/features.d/.\n",
    );
    for requirement in Requirement::all() {
        if profiles.iter().any(|it| Verdict::of(requirement, it).is_satisfied()) {
            let _ = writeln!(text, "softiommu.{}=true", requirement.name);
        }
    }
    for capability in Capability::ALL {
        let values = profiles.iter().filter_map(|profile| profile.value(*capability));
        let greatest = values.reduce(|one, other| match (one, other) {
            (Value::Number(a), Value::Number(b)) if b > a => other,
            _ => one,
        });
        let Some(value) = greatest else { continue };
        let value = match value {
            Value::Flag => "true".to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Word(word) => word.clone(),
        };
        let _ = writeln!(text, "softiommu.capability.{capability}={value}");
    }
    text
}
