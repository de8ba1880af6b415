//! A requirement under every kernel.

use std::fmt;

use profile::machine::Bdf;
use profile::verdict::{Outcome, best_of};
use profile::{Kernel, Machine, Requirement, Verdict};

use crate::probe::{CannotAsk, probe_all};
use crate::system::System;

/// The verdicts of one machine, by rising kernel.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The machine.
    pub machine: String,
    /// What each kernel comes to.
    pub verdicts: Vec<(&'static Kernel, Verdict)>,
}

/// Kernels, one after the other, that come to the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: &'static Kernel,
    /// The last.
    pub last: &'static Kernel,
    /// Whether the requirement is met.
    pub outcome: Outcome,
    /// Where a program fails, or else what is missing or not known.
    pub reason: String,
}

/// Judges a requirement on a machine under every kernel, each by a dry run.
pub fn survey(
    requirement: &Requirement,
    machine: &Machine,
    device: Option<Bdf>,
) -> Result<Survey, CannotAsk> {
    let mut verdicts = Vec::new();
    for kernel in Kernel::all() {
        let system = System::software(machine, kernel).map_err(CannotAsk::NoMachine)?;
        let profiles = probe_all(&system, device)?;
        let profile = best_of(profiles, Some(requirement)).unwrap_or_default();
        verdicts.push((kernel, Verdict::of(requirement, &profile)));
    }
    Ok(Survey { machine: machine.name.clone(), verdicts })
}

impl fmt::Display for Span {
    /// Its kernels: `6.2`, or `6.6 to 6.8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{} to {}", self.first, self.last),
        }
    }
}

impl Survey {
    /// The first kernel that satisfies the requirement.
    pub fn first_satisfying(&self) -> Option<&'static Kernel> {
        self.verdicts.iter().find(|(_, it)| it.is_satisfied()).map(|(kernel, _)| *kernel)
    }

    /// The kernel from which on every one satisfies the requirement. A back-port may be before it.
    pub fn satisfying_since(&self) -> Option<&'static Kernel> {
        let lasting = self.verdicts.iter().rev().take_while(|(_, it)| it.is_satisfied());
        lasting.last().map(|(kernel, _)| *kernel)
    }

    /// The kernels by what they come to.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for (kernel, verdict) in &self.verdicts {
            let (outcome, reason) = (verdict.outcome(), verdict.reason());
            match spans.last_mut() {
                Some(span) if span.outcome == outcome && span.reason == reason => {
                    span.last = kernel
                }
                _ => spans.push(Span { first: kernel, last: kernel, outcome, reason }),
            }
        }
        spans
    }
}
