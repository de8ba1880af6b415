//! A small program on the Rust registry's `iommufd-ioctls` and `vfio-ioctls`, by which Rust's VMMs use VFIO:
//! `conformance/clients/rust`, a workspace of its own with its own lock file.

use std::fs;
use std::path::PathBuf;

use super::Choice;
use super::cache::Kept;
use super::place::Place;
use super::runner::{Job, Machine};
use crate::failure::{At, Failure, Result};
use crate::process;
use crate::workspace::Workspace;

const FOLDER: &str = "conformance/clients/rust";
const PROGRAM: &str = "outside-client";

/// What it is made from.
const SOURCES: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "src/main.rs",
    "src/dmatest.rs",
    "src/logging.rs",
    "src/nested.rs",
];

/// One run: what it plays, the machine and device that it plays it on, where that is.
const ROWS: &[(&str, &str, &[&str], &str)] = &[
    ("cdev", "spr", &["nvme,size=16M"], "0000:6a:01.0"),
    ("legacy", "spr", &["nvme,size=16M"], "0000:6a:01.0"),
    ("nested", "grace", &[], "0000:01:00.0"),
    ("logging", "spr", &["dmatest,dma-logging=on"], "0000:6a:01.0"),
    ("logging-legacy", "spr", &["dmatest,dma-logging=on"], "0000:6a:01.0"),
];

/// How much of the log is shown of a run that failed.
const LAST_LINES: usize = 40;

/// The program, compiled now when it is not in the cache.
fn prepare(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.root.join(FOLDER);
    let mut key = Vec::new();
    for source in SOURCES {
        let path = folder.join(source);
        key.push(fs::read(&path).at("read", &path)?);
    }
    let kept = Kept::new(workspace, "rust-vmm", key).get(|scratch| {
        let mut cargo = workspace.cargo(&["build", "--release", "--locked"]);
        cargo.current_dir(&folder).env("CARGO_TARGET_DIR", scratch.join("target"));
        process::run(&mut cargo)?;
        let kept = scratch.join("kept");
        fs::create_dir(&kept).at("create", &kept)?;
        let to = kept.join(PROGRAM);
        fs::rename(scratch.join("target/release").join(PROGRAM), &to).at("create", &to)?;
        Ok(kept)
    })?;
    Ok(kept.join(PROGRAM))
}

/// Runs every row.
pub fn run(workspace: &Workspace, choice: &Choice) -> Result {
    let place = Place::new(workspace, "rust-vmm", choice.user)?;
    let program = place.put(&prepare(workspace)?)?;
    let (mut passed, mut failed) = (0, 0);
    for (way, machine, devices, address) in ROWS {
        let devices = devices.iter().map(|device| (*device).to_owned()).collect();
        let machine = Machine { machine: Some(machine.into()), devices, ..Machine::default() };
        let job = Job {
            place: &place,
            program: program.clone(),
            arguments: vec![way.into(), address.into()],
            environment: Vec::new(),
            under: choice.under(machine),
            limit: super::TIME_LIMIT,
        };
        let finished = job.run(workspace, &format!("rust-vmm-{way}"))?;
        if finished.require_success().is_ok() && finished.output.contains(&format!("{way}: OK")) {
            let checks = finished.output.matches(": as expected").count();
            println!("rust-vmm {way}: {checks} answers as expected [{}]", choice.user);
            passed += 1;
        } else {
            finished.last_lines(LAST_LINES).iter().for_each(|line| println!("    {line}"));
            eprintln!("rust-vmm {way}: failed, whole output: {}", finished.log.display());
            failed += 1;
        }
    }
    println!("rust-vmm: {passed} passed, {failed} failed");
    match failed {
        0 => Ok(()),
        _ => Err(Failure::from(format!("rust-vmm: {failed} of {} failed", ROWS.len()))),
    }
}
