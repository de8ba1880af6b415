//! What a suite must do here: `conformance/suites/NAME.toml`, with a reason for each case that does
//! not pass.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use super::tap::{Case, Log, Outcome};
use crate::failure::{At, Failure, Result};
use crate::workspace::Workspace;

const FOLDER: &str = "conformance/suites";

/// A suite's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// The program, in the folder of compiled suites.
    pub program: PathBuf,
    /// The machine of `softiommu run`.
    pub machine: String,
    /// Number of cases that pass; `None` accepts any selection of cases.
    pass: Option<usize>,
    /// Every case that the suite itself skips.
    skipped: Vec<Exception>,
    /// Every case that is known to fail.
    failed: Vec<Exception>,
}

/// A case that does not pass.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    test: String,
    reason: String,
}

/// A log held against a [`Suite`].
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
        if !path.is_file() {
            let known = names(workspace)?.join(", ");
            return Err(Failure::from(format!(
                "no suite \"{name}\"; there are: {known}, recorded"
            )));
        }
        let text = fs::read_to_string(&path).at("read", &path)?;
        Self::read(&text).map_err(|reason| Failure::from(format!("{}: {reason}", path.display())))
    }

    /// What holds for any selection of a suite's cases: at least one runs, and none fails.
    pub fn any_selection() -> Self {
        let (program, machine) = (PathBuf::new(), String::new());
        Self { program, machine, pass: None, skipped: Vec::new(), failed: Vec::new() }
    }

    /// What holds where every one of so many cases passes.
    pub fn all_pass(cases: usize) -> Self {
        Self { pass: Some(cases), ..Self::any_selection() }
    }

    fn read(text: &str) -> Result<Self, String> {
        let suite: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if suite.pass.is_none() {
            return Err("`pass`, the number of passing cases, is missing".into());
        }
        let mut seen = BTreeSet::new();
        for Exception { test, reason } in suite.skipped.iter().chain(&suite.failed) {
            if reason.trim().is_empty() {
                return Err(format!("{test}: the reason is empty"));
            }
            if !seen.insert(test) {
                return Err(format!("{test}: listed twice"));
            }
        }
        Ok(suite)
    }

    /// Holds a log against the file: the right number passes, exactly the listed cases do not.
    pub fn judge<'a>(&self, log: &'a Log) -> Verdict<'a> {
        let mut complaints = log.disagreements();
        let (skipped, failed) = (names_of(&self.skipped), names_of(&self.failed));
        let ended = |outcome| log.cases.iter().filter(move |case| case.outcome == outcome);
        let surprising_failures: Vec<_> =
            ended(Outcome::Fail).filter(|case| !failed.contains(case.name.as_str())).collect();
        complaints.extend(surprising_failures.iter().map(|case| format!("{}: fails", case.name)));
        complaints.extend(ended(Outcome::Other).map(|case| format!("{}: no plain end", case.name)));
        if log.cases.is_empty() {
            complaints.push("no case ran".into());
        }
        let Some(pass) = self.pass else { return Verdict { surprising_failures, complaints } };
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
        if passed != pass {
            complaints.push(format!("{passed} cases pass, expected {pass}"));
        }
        Verdict { surprising_failures, complaints }
    }
}

fn names_of(exceptions: &[Exception]) -> BTreeSet<&str> {
    exceptions.iter().map(|exception| exception.test.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites::tap;

    const FILE: &str = r#"
        program = "iommu/x"
        machine = "selftest"
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
        let suite = Suite::read(FILE).unwrap();
        for (lines, expected) in cases {
            let mut log = tap::parse(&format!("1..3\n{}\n", lines.join("\n")));
            log.totals = Some(log.counts());
            assert_eq!(suite.judge(&log).complaints, *expected, "{lines:?}");
        }
    }

    #[test]
    fn a_selection_must_run_and_not_fail() {
        let mut log = tap::parse("1..2\nok 1 f.p\nok 2 f.s # SKIP\n");
        log.totals = Some(log.counts());
        assert!(Suite::any_selection().judge(&log).complaints.is_empty());
        let nothing = "1..0\n# Totals: pass:0 fail:0 xfail:0 xpass:0 skip:0 error:0\n";
        assert_eq!(Suite::any_selection().judge(&tap::parse(nothing)).complaints, ["no case ran"]);
        log.cases[0].outcome = Outcome::Fail;
        log.totals = Some(log.counts());
        assert_eq!(Suite::any_selection().judge(&log).complaints, ["f.p: fails"]);
    }

    #[test]
    fn files_are_refused_with_the_reason() {
        #[rustfmt::skip] // one file, one line
        let cases: &[(&str, &str, &str)] = &[
            // replace,          by,           refusal
            ("reason = \"s\"",   "reason = \"\"", "f.s: the reason is empty"),
            ("f.b",              "f.s",        "f.s: listed twice"),
            ("pass = 1",         "",           "`pass`, the number of passing cases, is missing"),
        ];
        for (from, to, refusal) in cases {
            assert_eq!(Suite::read(&FILE.replace(from, to)).err().as_deref(), Some(*refusal));
        }
    }
}
