//! `softiommu baseline`: what all hosts of a fleet have.

use std::process::ExitCode;

use clap::Args;
use profile::fleet::baseline;
use profile::{Requirement, Verdict};

use crate::check::headline;
use crate::output::finish;
use crate::subject::{Subject, Trouble};

/// Write down what all hosts have: the most that a virtual machine may use to run on each of them
///
/// A host is a profile that `softiommu probe` wrote (a path with a slash or .toml), a machine with or
/// without a kernel (spr@6.15), or `host` for this one. The baseline is a profile itself.
///
/// Exit status: 0; with --requirement 1 when the baseline does not satisfy it, which is told on standard
/// error; 2 when nobody could be asked or a file is wrong.
#[derive(Args)]
pub struct Options {
    /// The hosts
    #[arg(value_name = "HOST", required = true)]
    hosts: Vec<String>,
    /// A feature that the baseline should satisfy
    #[arg(long, value_name = "REQUIREMENT")]
    requirement: Option<String>,
}

pub fn run(options: &Options) -> ExitCode {
    finish(baseline_of(options))
}

fn baseline_of(options: &Options) -> Result<(String, u8), Trouble> {
    let requirement = options.requirement.as_deref().map(Requirement::load).transpose();
    let requirement = requirement.map_err(|error| error.to_string())?;
    let profile = |name: &String| Subject::by_name(name)?.profile(requirement.as_ref());
    let profiles = options.hosts.iter().map(profile).collect::<Result<Vec<_>, _>>()?;
    let common = baseline(&profiles);
    let verdict = requirement.map(|requirement| Verdict::of(&requirement, &common));
    let status = u8::from(verdict.as_ref().is_some_and(|verdict| !verdict.is_satisfied()));
    if let Some(verdict) = &verdict {
        eprint!("{}", headline(verdict));
        if let Some(missing) = verdict.missing.first() {
            eprintln!("  {}: {}", missing.need, missing.why);
        }
    }
    Ok((common.to_toml(), status))
}
