//! Recorded kernels: what each answered to seeded calls, in `conformance/recorded/`.
//!
//! A file is called after its kernel and its seeds, `linux-6.12.117-seeds-1-200.txt.gz`. The player
//! plays the same seeds under `softiommu run --kernel 6.12.117`, and no answer may differ.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use super::TIME_LIMIT;
use super::runner::{Finished, Job, Under, User};
use crate::failure::{At, Failure, Result};
use crate::workspace::Workspace;

const FOLDER: &str = "conformance/recorded";

/// One file.
#[derive(Debug, PartialEq, Eq)]
struct Recording {
    path: PathBuf,
    kernel: String,
    seeds: u64,
}

/// Plays every recording; `extra` arguments select seeds.
pub fn run(workspace: &Workspace, user: User, bare: bool, extra: &[OsString]) -> Result {
    let recordings = all(workspace)?;
    let mut failures = Vec::new();
    for recording in &recordings {
        let name = format!("recorded-{}", recording.kernel);
        let finished = recording.job(workspace, user, bare, extra).run(workspace, &name)?;
        if let Err(failure) = recording.judge(&finished, extra.is_empty()) {
            eprintln!("{failure}");
            failures.push(recording.kernel.as_str());
        }
    }
    match failures.is_empty() {
        true => Ok(()),
        false => Err(Failure::from(format!("recorded Linux differs: {}", failures.join(", ")))),
    }
}

fn all(workspace: &Workspace) -> Result<Vec<Recording>> {
    let folder = workspace.root.join(FOLDER);
    let entries = fs::read_dir(&folder).at("list", &folder)?;
    let mut recordings: Vec<_> =
        entries.filter_map(|entry| Recording::of(entry.ok()?.path())).collect();
    if recordings.is_empty() {
        return Err(Failure::from(format!("no recording in {}", folder.display())));
    }
    recordings.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(recordings)
}

impl Recording {
    /// None for any other file.
    fn of(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let rest = name.strip_prefix("linux-")?.strip_suffix(".txt.gz")?;
        let (kernel, seeds) = rest.split_once("-seeds-")?;
        let (first, last) = seeds.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        let kernel = kernel.to_owned();
        Some(Self { path, kernel, seeds: last.checked_sub(first)? + 1 })
    }

    fn job(&self, workspace: &Workspace, user: User, bare: bool, extra: &[OsString]) -> Job {
        let mut arguments = vec!["--compare".into(), self.path.clone().into()];
        arguments.extend_from_slice(extra);
        let (machine, kernel) = ("selftest".into(), Some(self.kernel.clone()));
        let under = if bare {
            Under::Kernel
        } else {
            Under::Softiommu { machine, devices: Vec::new(), kernel }
        };
        let program = workspace.release("iommufd-player");
        Job { program, arguments, under, user, limit: TIME_LIMIT }
    }

    /// The player's own words are the report. Its exit status alone would also be that of a
    /// softiommu which started nothing, so its closing line must be there.
    fn judge(&self, finished: &Finished, whole: bool) -> Result {
        println!("Linux {}: {}", self.kernel, finished.output.trim_end());
        finished.require_success()?;
        let closing = finished.output.lines().rfind(|line| line.starts_with("seeds: "));
        let closing = closing.unwrap_or_default();
        let expected = match whole {
            true => format!("seeds: {} equal, 0 different", self.seeds),
            false => " equal, 0 different".to_owned(),
        };
        if closing.ends_with(&expected) {
            return Ok(());
        }
        let kernel = &self.kernel;
        Err(Failure::from(format!(
            "Linux {kernel}: the closing line is \"{closing}\", expected \"{expected}\""
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_recordings() {
        #[rustfmt::skip] // one name, one line
        let cases: &[(&str, Option<(&str, u64)>)] = &[
            ("linux-6.12.117-seeds-1-200.txt.gz",    Some(("6.12.117", 200))),
            ("linux-7.3.4-seeds-301-400.txt.gz",     Some(("7.3.4", 100))),
            ("linux-7.3.4-seeds-9-4.txt.gz",         None),
            ("vfio-linux-7.3.4-seeds-1-100.txt.gz",  None),
            ("README.md",                            None),
        ];
        for (name, expected) in cases {
            let found = Recording::of(PathBuf::from(name));
            let found = found.as_ref().map(|it| (it.kernel.as_str(), it.seeds));
            assert_eq!(found, *expected);
        }
    }
}
