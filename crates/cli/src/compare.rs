//! `softiommu compare`: what a virtual machine would lose or gain by moving.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use profile::fleet::{Change, Comparison, Relation, compare};
use profile::{Profile, Requirement, Verdict};
use serde_json::{Value as Json, json};

use crate::output::{self, Format, document, finish};
use crate::subject::{Subject, Trouble};

/// Tell what a virtual machine would lose or gain by moving from one host to another
///
/// A host is a profile that `softiommu probe` wrote (a path with a slash or .toml), a machine with or
/// without a kernel (spr@6.15), or `host` for this one.
///
/// Exit status: 0 when nothing is lost, 1 when something is, or may be, 2 when nobody could be asked or a
/// file is wrong. With --requirement it counts whether each of its needs is met.
#[derive(Args)]
pub struct Options {
    /// The host that it is on
    #[arg(value_name = "FROM")]
    from: String,
    /// The host that it would move to
    #[arg(value_name = "TO")]
    to: String,
    /// Compare only what a feature needs
    #[arg(long, value_name = "REQUIREMENT")]
    requirement: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(options: &Options) -> ExitCode {
    finish(compare_hosts(options))
}

fn compare_hosts(options: &Options) -> Result<(String, u8), Trouble> {
    let requirement = options.requirement.as_deref().map(Requirement::load).transpose();
    let requirement = requirement.map_err(|error| error.to_string())?;
    let profile = |name: &str| Subject::by_name(name)?.profile(requirement.as_ref());
    let (from, to) = (profile(&options.from)?, profile(&options.to)?);
    let comparison = compare(&from, &to, requirement.as_ref());
    let kept = [Relation::Identical, Relation::Superset].contains(&comparison.relation());
    let status = u8::from(!kept);
    let text = match options.format {
        Format::Json => document(&in_json(options, &comparison)),
        Format::Text => in_words(options, &comparison, requirement.as_ref(), (&from, &to)),
    };
    Ok((text, status))
}

fn in_words(
    options: &Options,
    comparison: &Comparison,
    requirement: Option<&Requirement>,
    (from, to): (&Profile, &Profile),
) -> String {
    let (a, b) = (&options.from, &options.to);
    let mut text = match comparison.relation() {
        Relation::Identical => format!("{b} has what {a} has\n"),
        Relation::Superset => format!("{b} has all that {a} has, and more\n"),
        Relation::Subset => format!("{b} lacks something that {a} has\n"),
        Relation::Incompatible => {
            format!("{b} lacks something that {a} has, and has something that {a} lacks\n")
        }
        Relation::Unknown => format!("it is not known whether {b} has all that {a} has\n"),
    };
    if let Some(requirement) = requirement {
        for (name, profile) in [(a, from), (b, to)] {
            let verdict = Verdict::of(requirement, profile);
            let said = if verdict.is_satisfied() { "satisfies" } else { "does not satisfy" };
            let _ = writeln!(text, "  {name} {said} {}", requirement.name);
        }
    }
    let parts = [
        ("lost", &comparison.lost),
        ("gained", &comparison.gained),
        ("not known", &comparison.unknown),
    ];
    for (title, changes) in parts.into_iter().filter(|(_, changes)| !changes.is_empty()) {
        let _ = writeln!(text, "\n{title}");
        let mut rows = vec![["".to_owned(), a.clone(), b.clone()]];
        rows.extend(
            changes.iter().map(|it| [it.capability.to_string(), it.from.clone(), it.to.clone()]),
        );
        text.push_str(&output::table("  ", &rows));
    }
    text
}

fn in_json(options: &Options, comparison: &Comparison) -> Json {
    let relation = match comparison.relation() {
        Relation::Identical => "identical",
        Relation::Superset => "superset",
        Relation::Subset => "subset",
        Relation::Incompatible => "incompatible",
        Relation::Unknown => "unknown",
    };
    let changes = |changes: &[Change]| -> Vec<Json> {
        let one = |it: &Change| json!({ "capability": it.capability.name(), "from": it.from, "to": it.to });
        changes.iter().map(one).collect()
    };
    json!({
        "from": options.from,
        "to": options.to,
        "requirement": options.requirement,
        "relation": relation,
        "lost": changes(&comparison.lost),
        "gained": changes(&comparison.gained),
        "unknown": changes(&comparison.unknown),
    })
}
