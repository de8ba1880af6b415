//! Running a suite's program: under `softiommu run` or bare.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::place::Place;
use crate::failure::{At, Failure, Result};
use crate::process;
use crate::workspace::Workspace;

/// One run of a program.
pub struct Job<'p> {
    /// Where, and as whom.
    pub place: &'p Place,
    /// The program, as the place has it.
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// Variables that it has besides ours.
    pub environment: Vec<(&'static str, OsString)>,
    pub under: Under,
    /// After this time the program is killed.
    pub limit: Duration,
}

/// Whose `/dev/iommu` and `/dev/vfio` the program sees.
pub enum Under {
    /// Those of this machine's kernel, if any.
    Kernel,
    /// Ours.
    Softiommu(Machine),
}

/// The options of `softiommu run`.
#[derive(Clone, Default)]
pub struct Machine {
    /// `--machine`; the default one where there is none.
    pub machine: Option<OsString>,
    /// `--kernel`; the newest where there is none.
    pub kernel: Option<String>,
    /// `--caches`; as the machine says where there is none.
    pub caches: Option<&'static str>,
    /// Each `--device`.
    pub devices: Vec<String>,
}

/// A run that ended.
pub struct Finished {
    /// Standard output and error, as they came.
    pub output: String,
    /// The file with the same.
    pub log: PathBuf,
    pub took: Duration,
    command: String,
    status: ExitStatus,
}

impl Job<'_> {
    /// Runs the job to its end. What it prints goes to a file, not a pipe: a process that it leaves
    /// behind must not keep us waiting.
    pub fn run(&self, workspace: &Workspace, name: &str) -> Result<Finished> {
        let logs = workspace.target.join("suites");
        fs::create_dir_all(&logs).at("create", &logs)?;
        let log = logs.join(format!("{name}-{}.log", self.place.user.word()));
        let mut command = self.command(workspace)?;
        let file = File::create(&log).at("create", &log)?;
        let copy = file.try_clone().at("open", &log)?;
        command.stdin(Stdio::null()).stdout(file).stderr(copy);
        let shown = process::shown(&command);
        eprintln!("$ {shown}");
        let start = Instant::now();
        let status = command
            .status()
            .map_err(|error| Failure::from(format!("cannot start `{shown}`: {error}")))?;
        let took = start.elapsed();
        let output = fs::read(&log).at("read", &log)?;
        let output = String::from_utf8_lossy(&output).into_owned();
        Ok(Finished { output, log, took, command: shown, status })
    }

    fn command(&self, workspace: &Workspace) -> Result<Command> {
        let limit = format!("{}", self.limit.as_secs());
        let mut words: Vec<OsString> =
            vec!["timeout".into(), "--kill-after=10".into(), limit.into()];
        words.extend(self.place.become_user());
        if let Under::Softiommu(Machine { machine, kernel, caches, devices }) = &self.under {
            words.push(self.place.put(&workspace.release("softiommu"))?.into());
            words.push("run".into());
            let options = machine.iter().cloned().map(|it| ("--machine", it));
            let options = options.chain(kernel.iter().map(|it| ("--kernel", it.into())));
            let options = options.chain(caches.iter().map(|it| ("--caches", it.into())));
            let options = options.chain(devices.iter().map(|it| ("--device", it.into())));
            words.extend(options.flat_map(|(name, value)| [name.into(), value]));
            words.push("--".into());
        }
        words.push(self.program.clone().into());
        words.extend(self.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        self.place.shield(&mut command);
        command.envs(self.environment.iter().cloned());
        Ok(command)
    }
}

impl Finished {
    /// A failure unless the program ended with status 0.
    pub fn require_success(&self) -> Result {
        if self.status.success() {
            return Ok(());
        }
        Err(Failure::from(format!("`{}` ended with {}", self.command, self.status)))
    }

    /// Whether it was killed at its limit, by timeout(1).
    pub fn ran_out_of_time(&self) -> bool {
        self.status.code() == Some(124)
    }

    /// The last lines of the output, for people.
    pub fn last_lines(&self, count: usize) -> Vec<&str> {
        let lines: Vec<_> = self.output.lines().collect();
        lines[lines.len().saturating_sub(count)..].to_vec()
    }
}
