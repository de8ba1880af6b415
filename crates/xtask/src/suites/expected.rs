//! What a suite must do here: `conformance/suites/NAME.toml`, with a reason for each case that does
//! not pass.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::place::Place;
use super::runner::Machine;
use super::tap::{Case, Log, Outcome};
use crate::failure::{At, Failure, Result};
use crate::workspace::Workspace;

const FOLDER: &str = "conformance/suites";

/// A suite's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// The machine of `softiommu run`: a name, or a file by its path in the workspace.
    machine: String,
    /// Each `--device` of `softiommu run`.
    #[serde(default)]
    devices: Vec<String>,
    /// The arguments of every program.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// The programs, in the order in which they run.
    #[serde(rename = "program")]
    pub programs: Vec<Program>,
}

/// A program of a suite.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Where it is in the folder of compiled suites.
    pub path: PathBuf,
    /// Its own machine, in place of the suite's.
    machine: Option<String>,
    /// Number of cases that pass.
    pass: usize,
    /// Every case that the program itself skips.
    #[serde(default)]
    skipped: Vec<Exception>,
    /// Every case that is known to fail.
    #[serde(default)]
    failed: Vec<Exception>,
}

/// A case that does not pass.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    test: String,
    reason: String,
}

/// A log held against what is expected.
pub struct Verdict<'a> {
    /// Cases that fail and are not known to.
    pub surprising_failures: Vec<&'a Case>,
    /// Everything that is not as expected, one line each; empty when the suite passes.
    pub complaints: Vec<String>,
}

/// The names of all suites, sorted.
pub fn names(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root.join(FOLDER);
    let entries = fs::read_dir(&folder).at("list", &folder)?;
    let files = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: BTreeSet<_> =
        files.filter_map(|file| Some(file.strip_suffix(".toml")?.to_string())).collect();
    Ok(names.into_iter().collect())
}

impl Suite {
    /// Reads a suite's file.
    pub fn load(workspace: &Workspace, name: &str) -> Result<Self> {
        let path = workspace.root.join(FOLDER).join(format!("{name}.toml"));
        let text = fs::read_to_string(&path).at("read", &path)?;
        Self::read(&text).map_err(|reason| Failure::from(format!("{}: {reason}", path.display())))
    }

    fn read(text: &str) -> Result<Self, String> {
        let suite: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        for program in &suite.programs {
            program.check().map_err(|reason| format!("{}: {reason}", program.path.display()))?;
        }
        Ok(suite)
    }

    /// The machine that a program of the suite runs on.
    pub fn machine(&self, program: &Program, place: &Place, root: &Path) -> Result<Machine> {
        let name = program.machine.as_ref().unwrap_or(&self.machine);
        let machine = match name.contains('/') {
            true => place.put(&root.join(name))?.into(),
            false => name.into(),
        };
        Ok(Machine { machine: Some(machine), devices: self.devices.clone(), ..Machine::default() })
    }
}

impl Program {
    fn check(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for Exception { test, reason } in self.skipped.iter().chain(&self.failed) {
            if reason.trim().is_empty() {
                return Err(format!("{test}: the reason is empty"));
            }
            if !seen.insert(test) {
                return Err(format!("{test}: listed twice"));
            }
        }
        Ok(())
    }

    /// Its name, without the folder.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Holds a log against the file: the right number passes, exactly the listed cases do not.
    pub fn judge<'a>(&self, log: &'a Log) -> Verdict<'a> {
        let (skipped, failed) = (names_of(&self.skipped), names_of(&self.failed));
        let mut verdict = judge(log, &failed);
        let ended = |outcome| log.cases.iter().filter(move |case| case.outcome == outcome);
        let complaints = &mut verdict.complaints;
        for case in ended(Outcome::Skip).filter(|case| !skipped.contains(case.name.as_str())) {
            complaints.push(format!("{}: skips and is not listed", case.name));
        }
        for (listed, outcome, word) in
            [(skipped, Outcome::Skip, "skip"), (failed, Outcome::Fail, "fail")]
        {
            let found: BTreeSet<_> = ended(outcome).map(|case| case.name.as_str()).collect();
            let stale = listed.difference(&found);
            complaints.extend(stale.map(|test| format!("{test}: does not {word}, unlist it")));
        }
        let passed = log.counts().pass;
        if passed != self.pass {
            complaints.push(format!("{passed} cases pass, expected {}", self.pass));
        }
        verdict
    }
}

/// What holds for any selection of a program's cases: at least one runs, and none fails.
pub fn judge_selection(log: &Log) -> Verdict<'_> {
    judge(log, &BTreeSet::new())
}

fn judge<'a>(log: &'a Log, failed: &BTreeSet<&str>) -> Verdict<'a> {
    let mut complaints = log.disagreements();
    let ended = |outcome| log.cases.iter().filter(move |case| case.outcome == outcome);
    let surprising_failures: Vec<_> =
        ended(Outcome::Fail).filter(|case| !failed.contains(case.name.as_str())).collect();
    complaints.extend(surprising_failures.iter().map(|case| format!("{}: fails", case.name)));
    complaints.extend(ended(Outcome::Other).map(|case| format!("{}: no plain end", case.name)));
    if log.cases.is_empty() {
        complaints.push("no case ran".into());
    }
    Verdict { surprising_failures, complaints }
}

fn names_of(exceptions: &[Exception]) -> BTreeSet<&str> {
    exceptions.iter().map(|exception| exception.test.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites::tap;

    const FILE: &str = r#"
        machine = "selftest"
        [[program]]
        path = "iommu/x"
        pass = 1
        skipped = [{ test = "f.s", reason = "s" }]
        failed = [{ test = "f.b", reason = "b" }]
    "#;

    #[test]
    fn logs_are_judged() {
        #[rustfmt::skip] // one log, one line
        let cases: &[(&[&str], &[&str])] = &[
            (&["ok 1 f.p", "ok 2 f.s # SKIP", "not ok 3 f.b"],             &[]),
            (&["not ok 1 f.p", "ok 2 f.s # SKIP", "not ok 3 f.b"],         &["f.p: fails", "0 cases pass, expected 1"]),
            (&["ok 1 f.p # SKIP", "ok 2 f.s # SKIP", "not ok 3 f.b"],      &["f.p: skips and is not listed", "0 cases pass, expected 1"]),
            (&["ok 1 f.p", "ok 2 f.s", "not ok 3 f.b"],                    &["f.s: does not skip, unlist it", "2 cases pass, expected 1"]),
            (&["ok 1 f.p", "ok 2 f.s # SKIP", "ok 3 f.b"],                 &["f.b: does not fail, unlist it", "2 cases pass, expected 1"]),
            (&["ok 1 f.p # XFAIL", "ok 2 f.s # SKIP", "not ok 3 f.b"],     &["f.p: no plain end", "0 cases pass, expected 1"]),
        ];
        let program = &Suite::read(FILE).unwrap().programs[0];
        for (lines, expected) in cases {
            let mut log = tap::parse(&format!("1..3\n{}\n", lines.join("\n")));
            log.totals = Some(log.counts());
            assert_eq!(program.judge(&log).complaints, *expected, "{lines:?}");
        }
    }

    #[test]
    fn a_selection_must_run_and_not_fail() {
        let mut log = tap::parse("1..2\nok 1 f.p\nok 2 f.s # SKIP\n");
        log.totals = Some(log.counts());
        assert!(judge_selection(&log).complaints.is_empty());
        let nothing = "1..0\n# Totals: pass:0 fail:0 xfail:0 xpass:0 skip:0 error:0\n";
        assert_eq!(judge_selection(&tap::parse(nothing)).complaints, ["no case ran"]);
        log.cases[0].outcome = Outcome::Fail;
        log.totals = Some(log.counts());
        assert_eq!(judge_selection(&log).complaints, ["f.p: fails"]);
    }

    #[test]
    fn files_are_refused_with_the_reason() {
        #[rustfmt::skip] // one file, one line
        let cases: &[(&str, &str, &str)] = &[
            // replace,          by,           refusal
            ("reason = \"s\"",   "reason = \"\"", "iommu/x: f.s: the reason is empty"),
            ("f.b",              "f.s",        "iommu/x: f.s: listed twice"),
        ];
        for (from, to, refusal) in cases {
            assert_eq!(Suite::read(&FILE.replace(from, to)).err().as_deref(), Some(*refusal));
        }
    }
}
