//! `cargo xtask test`: every check of CI, in order, stopping at the first that fails.

use std::time::{Duration, Instant};

use clap::Args;

use crate::failure::{Failure, Result};
use crate::suites::{self, Choice, User};
use crate::workspace::Workspace;
use crate::{arrows, fuzz, generated, install, process};

/// Run every check of CI, after installing what they need.
#[derive(Args)]
pub struct Options {
    /// Leave out the outside suites, and the Debian packages that only they need
    #[arg(long)]
    fast: bool,
}

/// One check.
struct Step {
    name: &'static str,
    /// Whether `--fast` leaves it out.
    slow: bool,
    run: fn(&Workspace) -> Result<Outcome>,
}

enum Outcome {
    Passed,
    /// The check cannot be made here, for this reason.
    Skipped(String),
}

#[rustfmt::skip] // one step, one line
const STEPS: &[Step] = &[
    Step { name: "Debian packages",           slow: true,  run: |_| passed(install::debian_packages(install::FOR_SELFTESTS)) },
    Step { name: "cargo tools",               slow: false, run: |w| passed(install::cargo_tools(w)) },
    Step { name: "format",                    slow: false, run: |w| cargo(w, &["fmt", "--all", "--check"]) },
    Step { name: "lints",                     slow: false, run: |w| cargo(w, &["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"]) },
    Step { name: "licences and sources",      slow: false, run: |w| cargo(w, &["deny", "check", "licenses", "bans", "sources"]) },
    Step { name: "arrows between crates",     slow: false, run: |w| passed(arrows::run(w)) },
    Step { name: "documentation",             slow: false, run: documentation },
    Step { name: "generated tables",          slow: false, run: |w| passed(generated::run(w, &generated::Options::default())) },
    Step { name: "tests",                     slow: false, run: |w| cargo(w, &["nextest", "run", "--workspace"]) },
    Step { name: "tests in documentation",    slow: false, run: |w| cargo(w, &["test", "--doc", "--workspace"]) },
    Step { name: "release build",             slow: true,  run: |w| passed(suites::build_ours(w)) },
    Step { name: "fuzz targets, for a little", slow: true, run: |w| passed(fuzz::smoke(w)) },
    Step { name: "compile outside suites",    slow: true,  run: |w| passed(suites::build(w).map(drop)) },
    Step { name: "iommufd",                   slow: true,  run: |w| suite(w, "iommufd", User::Current) },
    Step { name: "iommufd, no rights",        slow: true,  run: |w| suite(w, "iommufd", User::Nobody) },
    Step { name: "iommufd_fail_nth",          slow: true,  run: |w| suite(w, "iommufd_fail_nth", User::Current) },
    Step { name: "iommufd_fail_nth, no rights", slow: true, run: |w| suite(w, "iommufd_fail_nth", User::Nobody) },
    Step { name: "recorded Linux",            slow: true,  run: |w| suite(w, "recorded", User::Current) },
    Step { name: "vfio on ioat",              slow: true,  run: |w| suite(w, "vfio-ioat", User::unprivileged()) },
    Step { name: "vfio on dsa",               slow: true,  run: |w| suite(w, "vfio-dsa", User::unprivileged()) },
    Step { name: "vfio on igb",               slow: true,  run: |w| suite(w, "vfio-igb", User::unprivileged()) },
    Step { name: "DPDK on ioat and dsa",      slow: true,  run: |w| suite(w, "dmadev", User::unprivileged()) },
    Step { name: "Rust's VFIO crates",        slow: true,  run: |w| suite(w, "rust-vmm", User::unprivileged()) },
    Step { name: "alioth on igb and dsa",     slow: true,  run: alioth },
    Step { name: "User-Mode Linux on nvme",   slow: true,  run: user_mode_linux },
    Step { name: "QEMU on nvme",              slow: true,  run: qemu },
];

/// Runs the steps and prints what each took.
pub fn run(workspace: &Workspace, options: &Options) -> Result {
    let start = Instant::now();
    let mut done: Vec<(&Step, Duration, &str)> = Vec::new();
    let mut failure = None;
    for (index, step) in STEPS.iter().enumerate() {
        let step_start = Instant::now();
        println!("\n=== {}/{} {} [{}]", index + 1, STEPS.len(), step.name, shown(start.elapsed()));
        let outcome = match step.slow && options.fast {
            true => Ok(Outcome::Skipped("--fast".into())),
            false => (step.run)(workspace),
        };
        let word = match outcome {
            Ok(Outcome::Passed) => "passed",
            Ok(Outcome::Skipped(reason)) => {
                println!("skipped: {reason}");
                "skipped"
            }
            Err(reason) => {
                eprintln!("{}: {reason}", step.name);
                failure = Some(Failure::from(format!("step \"{}\" failed, see above", step.name)));
                "failed"
            }
        };
        done.push((step, step_start.elapsed(), word));
        if failure.is_some() {
            break;
        }
    }
    print_summary(&done, start.elapsed());
    failure.map_or(Ok(()), Err)
}

fn print_summary(done: &[(&Step, Duration, &str)], total: Duration) {
    println!("\n=== summary [{}]", shown(total));
    for (step, took, word) in done {
        println!("{:>8}  {word:7}  {}", shown(*took), step.name);
    }
    for step in &STEPS[done.len()..] {
        println!("{:>8}  {:7}  {}", "", "not run", step.name);
    }
    let count = |word| done.iter().filter(|(_, _, found)| *found == word).count();
    let (passed, failed, skipped) = (count("passed"), count("failed"), count("skipped"));
    println!("steps: {passed} passed, {failed} failed, {skipped} skipped");
}

/// `12.3 s`, or `4:05 min` from one minute on.
fn shown(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 60.. => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

fn passed(result: Result) -> Result<Outcome> {
    result.map(|()| Outcome::Passed)
}

fn cargo(workspace: &Workspace, arguments: &[&str]) -> Result<Outcome> {
    let mut command = workspace.cargo(arguments);
    passed(process::run(command.env("PATH", install::path_with_tools(workspace))))
}

fn documentation(workspace: &Workspace) -> Result<Outcome> {
    let mut command = workspace.cargo(&["doc", "--no-deps", "--workspace"]);
    passed(process::run(command.env("RUSTDOCFLAGS", "-Dwarnings")))
}

fn suite(workspace: &Workspace, name: &str, user: User) -> Result<Outcome> {
    if let (User::Nobody, false) = (user, rustix::process::geteuid().is_root()) {
        let reason = "this run is by an ordinary user already; root makes it a second run";
        return Ok(Outcome::Skipped(reason.into()));
    }
    passed(suites::run_one(workspace, name, &Choice::whole(user)))
}

/// It needs KVM, which not every machine has.
fn alioth(workspace: &Workspace) -> Result<Outcome> {
    let user = User::unprivileged();
    match suites::why_no_alioth(workspace, user)? {
        Some(reason) => Ok(Outcome::Skipped(reason)),
        None => suite(workspace, "alioth", user),
    }
}

/// Compiling it takes minutes, so that is left to whoever wants it run.
fn user_mode_linux(workspace: &Workspace) -> Result<Outcome> {
    if !suites::has_uml(workspace)? {
        let reason =
            "it is not in the cache; `cargo xtask suites uml` compiles it, in some minutes";
        return Ok(Outcome::Skipped(reason.into()));
    }
    suite(workspace, "uml", User::unprivileged())
}

/// A quarter of a gigabyte is left to whoever wants it run.
fn qemu(workspace: &Workspace) -> Result<Outcome> {
    match suites::why_no_qemu(workspace)? {
        Some(reason) => Ok(Outcome::Skipped(reason)),
        None => suite(workspace, "qemu", User::Nobody),
    }
}
