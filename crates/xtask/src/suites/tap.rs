//! Reading what a kernel selftest prints: TAP version 13 as `kselftest_harness.h` writes it.
//!
//! ```text
//! TAP version 13
//! 1..246
//! #  RUN           iommufd.simple_close ...
//! # iommufd.c:66:simple_close:Expected -1 (-1) != self->fd (-1)
//! not ok 1 iommufd.simple_close
//! ok 2 iommufd.cmd_fail
//! ok 3 iommufd_viommu.no_viommu.hw_queue # SKIP Skipping test for variant no_viommu
//! # Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0
//! ```
//!
//! The totals are the program's word for the same cases, so a log that was cut off, or a child
//! that printed a case's line twice, shows as a disagreement ([`Log::disagreements`]).

use std::fmt;
use std::ops::AddAssign;

/// What one run printed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Number of cases that the program announced.
    pub planned: Option<usize>,
    /// The cases, in order.
    pub cases: Vec<Case>,
    /// The program's own count, or `None` when it did not get that far.
    pub totals: Option<Counts>,
    /// What it printed after its last case, other than the totals.
    pub rest: Vec<String>,
}

/// One case.
#[derive(Debug, PartialEq, Eq)]
pub struct Case {
    /// `fixture.variant.test` or `fixture.test`.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was printed while it ran.
    pub output: Vec<String>,
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Pass,
    Fail,
    Skip,
    /// `XFAIL`, `XPASS`, `error`: no suite of ours uses them.
    Other,
}

/// Number of cases for each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub pass: usize,
    pub fail: usize,
    pub skip: usize,
    pub other: usize,
}

/// Reads a whole log. Lines that are no part of the protocol belong to the case that runs.
pub fn parse(text: &str) -> Log {
    let mut log = Log::default();
    let mut output = Vec::new();
    for line in text.lines() {
        if let Some((name, outcome)) = case_line(line) {
            let output = std::mem::take(&mut output);
            log.cases.push(Case { name: name.into(), outcome, output });
        } else if let Some(totals) = totals_line(line) {
            log.totals = Some(totals);
        } else if let Some(planned) = line.strip_prefix("1..") {
            // A skipped plan is `1..0 # SKIP reason`.
            log.planned = planned.split(' ').next().and_then(|number| number.parse().ok());
        } else {
            if line.starts_with("#  RUN ") {
                output.clear();
            }
            output.push(line.into());
        }
    }
    log.rest = output;
    log
}

impl Log {
    /// The cases, counted.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for case in &self.cases {
            match case.outcome {
                Outcome::Pass => counts.pass += 1,
                Outcome::Fail => counts.fail += 1,
                Outcome::Skip => counts.skip += 1,
                Outcome::Other => counts.other += 1,
            }
        }
        counts
    }

    /// Where plan, cases and totals contradict each other: the program died, or its output is mixed.
    pub fn disagreements(&self) -> Vec<String> {
        let mut found = Vec::new();
        match self.planned {
            None => found.push("no plan (`1..N`): did the program start?".into()),
            Some(planned) if planned != self.cases.len() => {
                found.push(format!("{planned} cases planned, {} reported", self.cases.len()));
            }
            Some(_) => {}
        }
        match self.totals {
            None => found.push("no totals: the program did not get to its end".into()),
            Some(totals) if totals != self.counts() => {
                found.push(format!("its totals say {totals}, its cases {}", self.counts()));
            }
            Some(_) => {}
        }
        found
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.pass += more.pass;
        self.fail += more.fail;
        self.skip += more.skip;
        self.other += more.other;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { pass, fail, skip, other } = self;
        write!(f, "{pass} pass, {fail} fail, {skip} skip")?;
        if *other != 0 {
            write!(f, ", {other} other")?;
        }
        Ok(())
    }
}

/// `ok 3 NAME`, `ok 3 NAME # SKIP reason`, `not ok 4 NAME`.
fn case_line(line: &str) -> Option<(&str, Outcome)> {
    let (passed, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ")?),
    };
    let (number, rest) = rest.split_once(' ')?;
    number.parse::<usize>().ok()?;
    let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
    let outcome = match directive.split_whitespace().next() {
        Some("SKIP") => Outcome::Skip,
        Some("XFAIL" | "XPASS" | "error") => Outcome::Other,
        _ if passed => Outcome::Pass,
        _ => Outcome::Fail,
    };
    Some((name.trim_end(), outcome))
}

/// `# Totals: pass:241 fail:0 xfail:0 xpass:0 skip:5 error:0`
fn totals_line(line: &str) -> Option<Counts> {
    let mut counts = Counts::default();
    for word in line.strip_prefix("# Totals: ")?.split_whitespace() {
        let (name, number) = word.split_once(':')?;
        let number: usize = number.parse().ok()?;
        match name {
            "pass" => counts.pass += number,
            "fail" => counts.fail += number,
            "skip" => counts.skip += number,
            _ => counts.other += number,
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cases() {
        #[rustfmt::skip] // one line, one line
        let cases: &[(&str, Option<(&str, Outcome)>)] = &[
            ("ok 1 iommufd.simple_close",                 Some(("iommufd.simple_close", Outcome::Pass))),
            ("not ok 12 a.b.c",                           Some(("a.b.c", Outcome::Fail))),
            ("ok 3 a.b # SKIP no such variant",           Some(("a.b", Outcome::Skip))),
            ("ok 3 a.b # XFAIL known",                    Some(("a.b", Outcome::Other))),
            ("ok 3 a.b #  a note",                        Some(("a.b", Outcome::Pass))),
            ("not ok 3 a.b # timed out",                  Some(("a.b", Outcome::Fail))),
            ("#            OK  iommufd.simple_close",     None),
            ("# ok 1 a.b",                                None),
            ("ok then",                                   None),
            ("ok x y",                                    None),
        ];
        for (line, expected) in cases {
            assert_eq!(case_line(line), *expected, "{line:?}");
        }
    }

    const WHOLE: &str = "\
TAP version 13
1..3
# Starting 3 tests from 2 test cases.
#  RUN           f.bad ...
# f.c:66:bad:Expected -1 (-1) != self->fd (-1)
#          FAIL  f.bad
not ok 1 f.bad
#  RUN           f.good ...
#            OK  f.good
ok 2 f.good
#  RUN           g.v.skipped ...
#      SKIP      not here
ok 3 g.v.skipped # SKIP not here
# FAILED: 2 / 3 tests passed.
# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0
";

    #[test]
    fn a_whole_log() {
        let log = parse(WHOLE);
        assert_eq!(log.disagreements(), Vec::<String>::new());
        assert_eq!(log.totals, Some(Counts { pass: 1, fail: 1, skip: 1, other: 0 }));
        assert_eq!(log.cases.len(), 3);
        assert_eq!(log.cases[0].output[1], "# f.c:66:bad:Expected -1 (-1) != self->fd (-1)");
        assert_eq!(log.cases[1].output.len(), 2);
        assert_eq!(log.rest, ["# FAILED: 2 / 3 tests passed."]);
    }

    #[test]
    fn logs_that_contradict_themselves() {
        let lines: Vec<_> = WHOLE.lines().collect();
        let without = |dropped: usize| {
            let kept = lines.iter().enumerate().filter(|(index, _)| *index != dropped);
            kept.map(|(_, line)| format!("{line}\n")).collect::<String>()
        };
        #[rustfmt::skip] // one log, one line
        let cases: &[(String, &[&str])] = &[
            (without(1),    &["no plan (`1..N`): did the program start?"]),
            (without(9),    &["3 cases planned, 2 reported", "its totals say 1 pass, 1 fail, 1 skip, its cases 0 pass, 1 fail, 1 skip"]),
            (without(14),   &["no totals: the program did not get to its end"]),
            (String::new(), &["no plan (`1..N`): did the program start?", "no totals: the program did not get to its end"]),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).disagreements(), *expected, "{text}");
        }
    }
}
