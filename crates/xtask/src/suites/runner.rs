//! Running a suite's program: under `softiommu run` or bare, as us or as a user without rights.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{At, Failure, Result};
use crate::process;
use crate::scratch::{Scratch, open_to_all};
use crate::workspace::Workspace;

/// One run of a program.
pub struct Job {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub under: Under,
    pub user: User,
    /// After this time the program is killed.
    pub limit: Duration,
}

/// Whose `/dev/iommu` the program sees.
pub enum Under {
    /// That of this machine's kernel, if any.
    Kernel,
    /// Ours.
    Softiommu {
        /// The argument of `--machine`.
        machine: String,
        /// The arguments of `--device`; those of the machine where there is none.
        devices: Vec<String>,
        /// The argument of `--kernel`; the newest where there is none.
        kernel: Option<String>,
    },
}

/// Who runs the program, softiommu included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Whoever runs xtask.
    Current,
    /// Uid and gid 65534 without groups and capabilities. Only root can become it.
    Nobody,
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

#[rustfmt::skip] // as typed
const BECOME_NOBODY: &[&str] = &[
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--",
];

impl Job {
    /// Runs the job to its end. What it prints goes to a file, not a pipe: a process that it leaves
    /// behind must not keep us waiting.
    pub fn run(&self, workspace: &Workspace, name: &str) -> Result<Finished> {
        let logs = workspace.target.join("suites");
        fs::create_dir_all(&logs).at("create", &logs)?;
        let log = logs.join(format!("{name}-{}.log", self.user.word()));
        let stage = match self.user {
            User::Current => None,
            User::Nobody => Some(stage(name)?),
        };
        let mut command = self.command(workspace, stage.as_ref())?;
        let file = File::create(&log).at("create", &log)?;
        let copy = file.try_clone().at("open", &log)?;
        command.stdin(Stdio::null()).stdout(file).stderr(copy);
        // What `cargo run` sets for xtask is not for the program.
        command.env_remove("LD_LIBRARY_PATH");
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

    fn command(&self, workspace: &Workspace, stage: Option<&Scratch>) -> Result<Command> {
        let limit = format!("{}", self.limit.as_secs());
        let mut words: Vec<OsString> =
            vec!["timeout".into(), "--kill-after=10".into(), limit.into()];
        if stage.is_some() {
            words.extend(BECOME_NOBODY.iter().map(Into::into));
        }
        let place = |program: &Path| match stage {
            Some(stage) => copy_to(stage, program),
            None => Ok(program.to_path_buf()),
        };
        if let Under::Softiommu { machine, devices, kernel } = &self.under {
            words.push(place(&workspace.release("softiommu"))?.into());
            words.extend(["run", "--machine", machine].map(Into::into));
            words.extend(devices.iter().flat_map(|it| ["--device", it]).map(Into::into));
            if let Some(kernel) = kernel {
                words.extend(["--kernel", kernel].map(Into::into));
            }
            words.push("--".into());
        }
        words.push(place(&self.program)?.into());
        words.extend(self.arguments.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&workspace.root);
        if let Some(stage) = stage {
            command.current_dir(&stage.path);
            // Folders of the user that xtask runs as.
            command.env_remove("XDG_RUNTIME_DIR").env("HOME", "/nonexistent");
        }
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
}

impl User {
    fn word(self) -> &'static str {
        match self {
            User::Current => "current",
            User::Nobody => "nobody",
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            User::Current => write!(f, "uid {}", rustix::process::geteuid()),
            User::Nobody => f.write_str("uid 65534 without capabilities"),
        }
    }
}

/// A folder that everybody can read, for copies of programs: the workspace may lie where only its
/// owner gets.
fn stage(name: &str) -> Result<Scratch> {
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::from("only root can run a suite as uid 65534".to_string()));
    }
    let stage = Scratch::new(&std::env::temp_dir(), &format!("xtask-{name}"))?;
    open_to_all(&stage.path)?;
    Ok(stage)
}

fn copy_to(stage: &Scratch, program: &Path) -> Result<PathBuf> {
    let to = stage.path.join(program.file_name().unwrap_or_default());
    fs::copy(program, &to).at("copy", program)?;
    open_to_all(&to)?;
    Ok(to)
}
