//! Outside suites: programs that others wrote, run unmodified under `softiommu run`.
//!
//! | suite | what it is | passes when |
//! |---|---|---|
//! | `conformance/suites/NAME.toml` | kernel selftests, compiled by [`recipe`] from Debian's kernel source | the cases are as [`expected`] |
//! | `recorded` | real kernels' answers to seeded calls, played by our `iommufd-player` | no answer differs |
//! | `dmadev` | DPDK's test of DMA devices, out of Debian's packages | it says so, at each latency ([`mod@dmadev`]) |
//! | `rust-vmm` | a program on the Rust registry's `iommufd-ioctls` and `vfio-ioctls` | every answer is right |
//! | `alioth` | the VMM `alioth-cli` of the Rust registry, on KVM | its guest reads the device, each way ([`mod@alioth`]) |
//! | `qemu` | QEMU out of Debian's packages, and Debian's kernel in it | its guest reads what it wrote, each way ([`mod@qemu`]) |
//! | `uml` | User-Mode Linux and its NVMe driver, compiled from Debian's kernel source | it reads what it wrote ([`mod@uml`]) |
//!
//! What takes long to get is kept in the cache under a hash of its recipe ([`cache`]), so a changed recipe
//! makes it again and an unchanged one costs nothing.

mod alioth;
mod build;
mod cache;
mod debs;
mod dmadev;
mod expected;
mod guest;
mod place;
mod qemu;
mod recipe;
mod recorded;
mod runner;
mod rust_vmm;
mod tap;
mod uml;

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

pub use self::build::build;
use self::expected::{Program, Suite};
use self::place::Place;
pub use self::place::User;
use self::runner::{Job, Machine, Under};
use crate::failure::{Failure, Result};
use crate::process;
use crate::workspace::Workspace;

/// Compile the outside suites, and run those that are named.
#[derive(Args)]
pub struct Options {
    /// Suites to run: a file's name of conformance/suites, `recorded`, `dmadev`, `rust-vmm`, `alioth`, `uml` or
    /// `qemu`
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
    /// Arguments for the suite's programs, such as `-t simple_close`; then only failures count
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// How suites are run.
#[derive(Clone)]
pub struct Choice {
    /// As whom.
    pub user: User,
    /// On the kernel of this machine, without softiommu.
    pub bare: bool,
    /// Further arguments for the programs.
    pub arguments: Vec<OsString>,
}

impl Choice {
    /// The whole suite under softiommu.
    pub fn whole(user: User) -> Self {
        Self { user, bare: false, arguments: Vec::new() }
    }

    fn under(&self, machine: Machine) -> Under {
        if self.bare { Under::Kernel } else { Under::Softiommu(machine) }
    }
}

/// A suite that is no kernel selftest.
type Runner = fn(&Workspace, &Choice) -> Result;

const RUNNERS: &[(&str, Runner)] = &[
    ("recorded", recorded::run),
    ("dmadev", dmadev::run),
    ("rust-vmm", rust_vmm::run),
    ("alioth", alioth::run),
    ("uml", uml::run),
    ("qemu", qemu::run),
];

/// Programs of ours that a run needs, by package.
const OUR_PACKAGES: &[&str] = &["softiommu", "softiommu-player"];

/// Longest run of a program; the kernel's own take seconds.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// The verb: compiles the kernel's suites, then runs what is asked for.
pub fn run(workspace: &Workspace, options: &Options) -> Result {
    let files = expected::names(workspace)?;
    let all: Vec<_> =
        files.into_iter().chain(RUNNERS.iter().map(|(name, _)| (*name).to_owned())).collect();
    // A misspelt name shows before the minutes of building.
    if let Some(unknown) = options.names.iter().find(|name| !all.contains(name)) {
        let known = all.join(", ");
        return Err(Failure::from(format!("no suite \"{unknown}\"; there are: {known}")));
    }
    let names = if options.run { all } else { options.names.clone() };
    build(workspace)?;
    if names.iter().any(|name| name == "recorded" || !options.bare) {
        build_ours(workspace)?;
    }
    let Options { as_nobody, bare, ref arguments, .. } = *options;
    let user = if as_nobody { User::Nobody } else { User::Current };
    let choice = Choice { user, bare, arguments: arguments.clone() };
    let mut failures = Vec::new();
    for name in &names {
        if let Err(failure) = run_one(workspace, name, &choice) {
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

/// Runs one suite.
pub fn run_one(workspace: &Workspace, name: &str, choice: &Choice) -> Result {
    match RUNNERS.iter().find(|(known, _)| *known == name) {
        Some((_, run)) => run(workspace, choice),
        None => run_selftests(workspace, name, choice),
    }
}

/// Why alioth cannot be run here by a user.
pub fn why_no_alioth(workspace: &Workspace, user: User) -> Result<Option<String>> {
    alioth::why_not(workspace, user)
}

/// Whether User-Mode Linux is in the cache.
pub fn has_uml(workspace: &Workspace) -> Result<bool> {
    uml::is_built(workspace)
}

/// Why QEMU cannot be run here, or not within seconds.
pub fn why_no_qemu(workspace: &Workspace) -> Result<Option<String>> {
    let reason = place::no_root();
    Ok(reason.or((!qemu::is_built(workspace)?).then(|| {
        "it is not in the cache; `cargo xtask suites qemu` downloads it, in a minute".to_owned()
    })))
}

/// Runs the programs of a file, all of them even when one fails.
fn run_selftests(workspace: &Workspace, name: &str, choice: &Choice) -> Result {
    let suite = Suite::load(workspace, name)?;
    let folder = build(workspace)?;
    let place = Place::new(workspace, name, choice.user)?;
    let (mut total, mut failures) = (tap::Counts::default(), Vec::new());
    for program in &suite.programs {
        let machine = suite.machine(program, &place, &workspace.root)?;
        let arguments = suite.arguments.iter().map(Into::into);
        let job = Job {
            place: &place,
            program: place.put(&folder.join(&program.path))?,
            arguments: choice.arguments.iter().cloned().chain(arguments).collect(),
            environment: Vec::new(),
            under: choice.under(machine),
            limit: TIME_LIMIT,
        };
        let (counts, judged) = run_job(workspace, name, program, &job, choice)?;
        total += counts;
        failures.extend(judged.err().map(|failure| failure.to_string()));
    }
    if suite.programs.len() > 1 {
        println!("{name}: {total}, in {} programs [{}]", suite.programs.len(), choice.user);
    }
    match failures.is_empty() {
        true => Ok(()),
        false => Err(Failure::from(failures.join("\n"))),
    }
}

/// How much of the output is shown of a program that stopped within or before a case.
const LAST_LINES: usize = 40;

/// Runs a program and judges it. Arguments that were chosen select part of its cases, so the expected
/// counts do not apply.
fn run_job(
    workspace: &Workspace,
    suite: &str,
    program: &Program,
    job: &Job<'_>,
    choice: &Choice,
) -> Result<(tap::Counts, Result)> {
    let name = match program.name() {
        own if own == suite => own,
        own => format!("{suite}: {own}"),
    };
    let finished = job.run(workspace, &name.replace(": ", "-"))?;
    let log = tap::parse(&finished.output);
    let mut verdict = match choice.arguments.is_empty() {
        true => program.judge(&log),
        false => expected::judge_selection(&log),
    };
    let counts = log.counts();
    if counts.fail == 0 {
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
    println!("{name}: {counts} [{:.1} s, {}]", finished.took.as_secs_f64(), choice.user);
    let judged = match verdict.complaints.is_empty() {
        true => Ok(()),
        false => Err(Failure::from(format!(
            "{name}: not as expected:\n  {}\nwhole output: {}",
            verdict.complaints.join("\n  "),
            finished.log.display()
        ))),
    };
    Ok((counts, judged))
}
