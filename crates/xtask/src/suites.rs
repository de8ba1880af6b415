//! Outside suites: tests that others wrote, run unmodified under `softiommu run`.
//!
//! | suite | what it is | passes when |
//! |---|---|---|
//! | `conformance/suites/NAME.toml` | a kernel selftest, compiled by [`recipe`] from Debian's kernel source | the cases are as [`expected`] |
//! | `vfio-ioat` and others ([`vfio`]) | the kernel's selftests of VFIO, on a device each | every case passes |
//! | `recorded` | real kernels' answers to seeded calls, played by our `iommufd-player` | no answer differs |
//!
//! Compiled suites are kept in the cache under a hash of their recipe ([`mod@build`]), so a changed
//! recipe compiles again and an unchanged one costs nothing.

mod build;
mod debs;
mod expected;
mod recipe;
mod recorded;
mod runner;
mod tap;
mod vfio;

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

pub use self::build::build;
use self::expected::Suite;
pub use self::runner::User;
use self::runner::{Job, Under};
use crate::failure::{Failure, Result};
use crate::process;
use crate::workspace::Workspace;

/// Compile the outside suites, and run those that are named.
#[derive(Args)]
pub struct Options {
    /// Suites to run: a file's name of conformance/suites, vfio-ioat, vfio-dsa, vfio-igb, or recorded
    names: Vec<String>,
    /// Run every suite
    #[arg(long, conflicts_with = "names")]
    run: bool,
    /// Run as uid 65534 without any capability (as root only)
    #[arg(long)]
    as_nobody: bool,
    /// Run without softiommu, on the kernel of this machine
    #[arg(long)]
    bare: bool,
    /// Arguments for the suite's program, such as `-t simple_close`; then only failures count
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

const RECORDED: &str = "recorded";

/// Programs of ours that a run needs, by package.
const OUR_PACKAGES: &[&str] = &["softiommu", "softiommu-player"];

/// Longest run of a suite; the kernel's own take seconds.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// The verb: compiles everything, then runs what is asked for.
pub fn run(workspace: &Workspace, options: &Options) -> Result {
    let mut names = options.names.clone();
    if options.run {
        names = expected::names(workspace)?;
        names.extend(vfio::names().map(str::to_owned));
        names.push(RECORDED.into());
    }
    // A misspelt name shows before the minutes of building.
    let has_file = |name: &&String| *name != RECORDED && !vfio::names().any(|it| it == *name);
    for name in names.iter().filter(has_file) {
        Suite::load(workspace, name)?;
    }
    build(workspace)?;
    if names.iter().any(|name| name == RECORDED || !options.bare) {
        build_ours(workspace)?;
    }
    let user = if options.as_nobody { User::Nobody } else { User::Current };
    let mut failures = Vec::new();
    for name in &names {
        let done = match name.as_str() {
            RECORDED => recorded::run(workspace, user, options.bare, &options.arguments),
            name if vfio::names().any(|it| it == name) && options.bare => {
                Err(Failure::from(format!("{name}: its device is softiommu's")))
            }
            name if vfio::names().any(|it| it == name) => {
                vfio::run(workspace, name, user, &options.arguments)
            }
            name => {
                let suite = Suite::load(workspace, name)?;
                let job = selftest(workspace, &suite)?;
                let under = if options.bare { Under::Kernel } else { job.under };
                let job = Job { user, under, ..job };
                let suite = match options.arguments.as_slice() {
                    [] => suite,
                    _ => Suite::any_selection(),
                };
                run_job(workspace, name, job, &suite, &options.arguments)
            }
        };
        if let Err(failure) = done {
            eprintln!("{failure}");
            failures.push(name.as_str());
        }
    }
    match failures.is_empty() {
        true => Ok(()),
        false => Err(Failure::from(format!("failed: {}", failures.join(", ")))),
    }
}

/// Builds our programs as `cargo run --release` does.
pub fn build_ours(workspace: &Workspace) -> Result {
    let mut command = workspace.cargo(&["build", "--release"]);
    process::run(command.args(OUR_PACKAGES.iter().map(|package| format!("--package={package}"))))
}

/// Runs one kernel selftest as its file says.
pub fn run_one(workspace: &Workspace, name: &str, user: User) -> Result {
    let suite = Suite::load(workspace, name)?;
    let job = selftest(workspace, &suite)?;
    run_job(workspace, name, Job { user, ..job }, &suite, &[])
}

/// Plays the recorded kernels' calls and compares every answer.
pub fn run_recorded(workspace: &Workspace) -> Result {
    recorded::run(workspace, User::Current, false, &[])
}

fn selftest(workspace: &Workspace, suite: &Suite) -> Result<Job> {
    let program = build(workspace)?.join(&suite.program);
    let under =
        Under::Softiommu { machine: suite.machine.clone(), devices: Vec::new(), kernel: None };
    Ok(Job { program, arguments: Vec::new(), under, user: User::Current, limit: TIME_LIMIT })
}

/// How much of the output is shown of a program that stopped within or before a case.
const LAST_LINES: usize = 40;

/// Runs a job, with more arguments, and judges it.
fn run_job(
    workspace: &Workspace,
    name: &str,
    mut job: Job,
    suite: &Suite,
    extra: &[OsString],
) -> Result {
    job.arguments.extend_from_slice(extra);
    let finished = job.run(workspace, name)?;
    let log = tap::parse(&finished.output);
    let mut verdict = suite.judge(&log);
    if log.counts().fail == 0 {
        verdict.complaints.extend(finished.require_success().err().map(|e| e.to_string()));
    }
    for case in &verdict.surprising_failures {
        println!("\nFAIL {}", case.name);
        case.output.iter().for_each(|line| println!("    {line}"));
    }
    if !log.disagreements().is_empty() {
        println!("\nThe last lines, of no case that ended:");
        let last = log.rest.len().saturating_sub(LAST_LINES);
        log.rest[last..].iter().for_each(|line| println!("    {line}"));
    }
    println!("{name}: {} [{:.1} s, {}]", log.counts(), finished.took.as_secs_f64(), job.user);
    if verdict.complaints.is_empty() {
        return Ok(());
    }
    Err(Failure::from(format!(
        "{name}: not as expected:\n  {}\nwhole output: {}",
        verdict.complaints.join("\n  "),
        finished.log.display()
    )))
}
