//! `softiommu check`: whether a whole feature will work.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use client::{Span, Survey, survey};
use profile::finding::{Cause, Finding, Value};
use profile::verdict::{Outcome, Remedy, Verdict, best_of};
use profile::{Capability, Machine, Requirement};
use serde_json::{Value as Json, json};

use crate::output::{self, Format, document, finish};
use crate::subject::{self, Subject, Trouble};

/// Tell whether a whole feature will work, before it is used
///
/// On this host each capability is tried in a scratch descriptor, with a device that is bound to
/// vfio-pci, and undone. With --machine the same is done in a machine of ours, and the verdict under
/// every kernel is told as well.
///
/// Exit status: 0 when the requirement is satisfied, 1 when it is not, or not known to be, 2 when nobody
/// could be asked or a file is wrong. A host without an IOMMU satisfies nothing: 1.
#[derive(Args)]
pub struct Options {
    #[arg(value_name = "REQUIREMENT", help = wanted())]
    requirement: String,
    #[command(flatten)]
    subject: subject::Whom,
    /// A profile that `softiommu probe` wrote, instead of this host
    #[arg(long, value_name = "FILE", conflicts_with_all = ["machine", "kernel", "host", "device"])]
    profile: Option<String>,
    /// Every machine under every kernel
    #[arg(long, conflicts_with_all = ["machine", "kernel", "host", "device", "profile"])]
    matrix: bool,
    /// How to print it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// What a requirement may be.
fn wanted() -> String {
    let names: Vec<_> = Requirement::all().iter().map(|it| it.name.as_str()).collect();
    format!("What is wanted: {}, or a file", names.join(", "))
}

pub fn run(options: &Options) -> ExitCode {
    finish(check(options))
}

fn check(options: &Options) -> Result<(String, u8), Trouble> {
    let requirement = Requirement::load(&options.requirement).map_err(|error| error.to_string())?;
    if options.matrix {
        return Ok((matrix(&requirement, options.format)?, 0));
    }
    let subject = match &options.profile {
        Some(file) => Subject::File(file.clone()),
        None => options.subject.subject()?,
    };
    let profiles = subject.profiles(options.subject.device)?;
    let profile = best_of(profiles, Some(&requirement)).unwrap_or_default();
    let verdict = Verdict::of(&requirement, &profile);
    let survey = match &subject {
        Subject::Machine(machine, _) if !machine.iommus.is_empty() => {
            let surveyed = survey(&requirement, machine, profile.host.device);
            Some(surveyed.map_err(|error| error.to_string())?)
        }
        _ => None,
    };
    let status = u8::from(!verdict.is_satisfied());
    let iommu = profile.get(Capability::Iommu);
    let without_iommu = matches!(iommu, Finding::Absent(Cause::NoIommu)) && status != 0;
    let text = match options.format {
        Format::Json => document(&in_json(&verdict, survey.as_ref())),
        Format::Text if without_iommu => {
            let mut text = headline(&verdict);
            text.truncate(text.trim_end().len());
            text.push_str(WITHOUT_IOMMU);
            text + &survey.map_or(String::new(), |survey| kernels(&survey))
        }
        Format::Text => {
            let mut text = in_words(&requirement, &verdict);
            if let Some(survey) = survey {
                text.push_str(&kernels(&survey));
            }
            text
        }
    };
    Ok((text, status))
}

/// Why a host without an IOMMU satisfies nothing.
const WITHOUT_IOMMU: &str = ": there is no IOMMU that its kernel drives; if the machine has one, switch it \
     on in firmware, and boot without intel_iommu=off, amd_iommu=off or iommu=off\n";

/// The verdict in one line.
pub fn headline(verdict: &Verdict) -> String {
    let host = &verdict.host;
    let mut text = format!("{} on {}", verdict.requirement, host.name);
    if let Some(kernel) = host.kernel {
        let _ = write!(text, ", Linux {kernel}");
    }
    if let Some(device) = host.device {
        let _ = write!(text, ", device {device}");
    }
    let outcome = match verdict.outcome() {
        Outcome::Satisfied => "satisfied",
        Outcome::Missing => "NOT satisfied",
        Outcome::Unknown => "not known",
    };
    let _ = writeln!(text, ": {outcome}");
    text
}

fn in_words(requirement: &Requirement, verdict: &Verdict) -> String {
    let mut text = headline(verdict);
    let _ = writeln!(text, "  {}", requirement.summary);
    if let Some(failure) = &verdict.first_failure {
        let _ = writeln!(text, "\nA program that does not ask fails at\n  {failure}");
    } else if verdict.outcome() == Outcome::Missing {
        let _ =
            writeln!(text, "\nA program that does not ask sees no call fail; it does not work.");
    }
    if !verdict.missing.is_empty() {
        let _ = writeln!(text, "\nmissing");
    }
    for missing in &verdict.missing {
        let _ = writeln!(text, "  {}: {}", missing.need, missing.need.capability.says());
        let _ = writeln!(text, "    because  {}", missing.why);
        for remedy in &missing.remedies {
            let _ = writeln!(text, "    needs    {remedy}");
        }
    }
    if !verdict.unknown.is_empty() {
        let _ = writeln!(text, "\nnot known");
    }
    for (need, reason) in &verdict.unknown {
        let _ = writeln!(text, "  {need}: {reason}");
    }
    if !verdict.satisfied.is_empty() {
        let _ = writeln!(text, "\nsatisfied");
        let rows: Vec<_> = verdict
            .satisfied
            .iter()
            .map(|(need, value)| [need.to_string(), value.to_string()])
            .collect();
        text.push_str(&output::table("  ", &rows));
    }
    text
}

/// What every kernel comes to, and which is the first that satisfies.
fn kernels(survey: &Survey) -> String {
    let mut text = format!("\nkernels on {}\n", survey.machine);
    let rows: Vec<_> = survey.spans().iter().map(row).collect();
    text.push_str(&output::table("  ", &rows));
    let (first, since) = (survey.first_satisfying(), survey.satisfying_since());
    let _ = match (first, since) {
        (None, _) => writeln!(text, "No kernel satisfies it."),
        (Some(first), Some(since)) if first != since => writeln!(
            text,
            "The first kernel that satisfies it is {first}; from {since} on every one does."
        ),
        (Some(first), _) => writeln!(text, "The first kernel that satisfies it is {first}."),
    };
    text
}

fn row(span: &Span) -> [String; 3] {
    [span.to_string(), mark(span.outcome).to_owned(), span.reason.clone()]
}

fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Satisfied => "yes",
        Outcome::Missing => "no",
        Outcome::Unknown => "?",
    }
}

/// Every machine under every kernel.
fn matrix(requirement: &Requirement, format: Format) -> Result<String, Trouble> {
    let mut surveys = Vec::new();
    for machine in Machine::all().iter().filter(|machine| !machine.test_command) {
        surveys.push(survey(requirement, machine, None).map_err(|error| error.to_string())?);
    }
    if format == Format::Json {
        let machines: serde_json::Map<_, _> =
            surveys.iter().map(|survey| (survey.machine.clone(), survey_in_json(survey))).collect();
        return Ok(document(&json!({ "requirement": requirement.name, "machines": machines })));
    }
    let mut text = format!("{}: {}\n\n", requirement.name, requirement.summary);
    let mut rows = vec![
        ["machine", "kernels", "", "where a program that does not ask fails"].map(str::to_owned),
    ];
    for survey in &surveys {
        for (number, span) in survey.spans().iter().enumerate() {
            let [kernels, mark, reason] = row(span);
            let name = if number == 0 { survey.machine.clone() } else { String::new() };
            rows.push([name, kernels, mark, reason]);
        }
    }
    text.push_str(&output::table("", &rows));
    Ok(text)
}

fn in_json(verdict: &Verdict, survey: Option<&Survey>) -> Json {
    let mut document = verdict_in_json(verdict);
    if let Some(survey) = survey {
        document["machine"] = survey_in_json(survey);
    }
    document
}

/// A verdict for programs.
fn verdict_in_json(verdict: &Verdict) -> Json {
    let host = &verdict.host;
    let missing: Vec<_> = verdict
        .missing
        .iter()
        .map(|it| {
            let remedies: Vec<_> = it.remedies.iter().map(remedy_in_json).collect();
            let (capability, need) = (it.need.capability.name(), it.need.to_string());
            json!({ "capability": capability, "need": need, "why": it.why, "remedies": remedies })
        })
        .collect();
    let unknown: Vec<_> = verdict
        .unknown
        .iter()
        .map(|(need, why)| json!({ "capability": need.capability.name(), "need": need.to_string(), "why": why }))
        .collect();
    let satisfied: Vec<_> = verdict
        .satisfied
        .iter()
        .map(|(need, value)| {
            let (capability, need) = (need.capability.name(), need.to_string());
            json!({ "capability": capability, "need": need, "value": value_in_json(value) })
        })
        .collect();
    json!({
        "requirement": verdict.requirement,
        "variant": verdict.variant,
        "outcome": outcome_in_json(verdict.outcome()),
        "host": {
            "name": host.name,
            "kernel": host.kernel.map(|it| it.to_string()),
            "release": host.release,
            "device": host.device.map(|it| it.to_string()),
            "iommu": host.iommu.map(|it| it.name()),
        },
        "first_failure": verdict.first_failure.as_ref().map(|it| {
            json!({ "call": it.call, "errno": it.errno.name() })
        }),
        "missing": missing,
        "unknown": unknown,
        "satisfied": satisfied,
    })
}

fn remedy_in_json(remedy: &Remedy) -> Json {
    let (kind, value) = match remedy {
        Remedy::Kernel(since) => ("kernel", since.to_string()),
        Remedy::Setting(says) => ("setting", says.clone()),
        Remedy::Hardware(says) => ("hardware", says.clone()),
    };
    json!({ "kind": kind, "needs": value })
}

fn value_in_json(value: &Value) -> Json {
    match value {
        Value::Flag => true.into(),
        Value::Number(number) => (*number).into(),
        Value::Word(word) => word.as_str().into(),
    }
}

fn survey_in_json(survey: &Survey) -> Json {
    let kernels: Vec<_> = survey
        .verdicts
        .iter()
        .map(|(kernel, verdict)| {
            let outcome = outcome_in_json(verdict.outcome());
            json!({ "kernel": kernel.to_string(), "outcome": outcome, "why": verdict.reason() })
        })
        .collect();
    let first = survey.first_satisfying().map(ToString::to_string);
    let since = survey.satisfying_since().map(ToString::to_string);
    json!({
        "name": survey.machine,
        "first_kernel": first,
        "every_kernel_since": since,
        "kernels": kernels,
    })
}

fn outcome_in_json(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Satisfied => "satisfied",
        Outcome::Missing => "missing",
        Outcome::Unknown => "unknown",
    }
}
