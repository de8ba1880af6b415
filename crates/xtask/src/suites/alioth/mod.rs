//! Alioth, a VMM in Rust, from the registry and unmodified: it hands a device of ours to a guest on KVM, by
//! [the device's node and an IOAS](WAYS) or by its group and a type1 container.
//!
//! The guest is `guest.c`, 1.7 KB: it reads the device's configuration space and registers, which alioth has
//! mapped for it, lets an interrupt through, which makes alioth hand eventfds to VFIO, and switches off.
//! Alioth itself tells when the device is set up and guest memory is mapped for it.
//!
//! Alioth 0.12.0 cannot place a BAR that is wide and not prefetchable, as `nvme` and `ioat` have: it panics
//! after the set-up, with a word that is in [`ROWS`]. It would then wait for its dead processor for ever, so it
//! is compiled so that a panic ends it.
//!
//! *What it doesn't do*: DMA and interrupts. A guest's store to a mapped BAR comes to alioth as an access to a
//! device (`shim/src/kvm.rs`), and alioth has none where it has mapped memory (`Memory::handle_mmio`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Choice;
use super::cache::Kept;
use super::guest;
use super::place::{Place, User};
use super::runner::{Job, Machine, Under};
use crate::failure::{Failure, Result};
use crate::workspace::Workspace;
use crate::{install, process};

const CRATE: &str = "alioth-cli";
const VERSION: &str = "0.12.0";
const PROGRAM: &str = "alioth";

/// How it is compiled, besides quickly.
const BUILD: &[(&str, &str)] = &[("CARGO_PROFILE_RELEASE_PANIC", "abort")];

const GUEST: &str = include_str!("guest.c");

/// It is code of 32 bits, at 1 MiB.
#[rustfmt::skip] // as many on a line as there is room for
const GUEST_OPTIONS: &[&str] = &[
    "-m32", "-mgeneral-regs-only", "-ffreestanding", "-nostdlib", "-static", "-no-pie", "-fno-pic",
    "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fcf-protection=none",
    "-Wl,--build-id=none,--nmagic,-Ttext-segment=0x100000,--entry=start",
];

const KVM: &str = "/dev/kvm";

/// Longest run; they take a second.
const TIME_LIMIT: Duration = Duration::from_secs(180);

/// How much of the log is shown of a run that failed.
const LAST_LINES: usize = 40;

/// A way to the device.
struct Way {
    name: &'static str,
    arguments: &'static [&'static str],
    /// What alioth says when the device is set up.
    device: &'static str,
    /// What it calls that which it maps memory in.
    memory: &'static str,
}

#[rustfmt::skip] // an option and its value
const WAYS: &[Way] = &[
    Way { name: "cdev", device: "00:01.0: device: vfio-0", memory: "ioas-", arguments: &[
        "--vfio-ioas", "name=ioas0",
        "--vfio-cdev", "path=/dev/vfio/devices/vfio0,ioas=ioas0",
    ] },
    Way { name: "legacy", device: "00:01.0: device: 0-0000:6a:01.0", memory: "container-", arguments: &[
        "--vfio-container", "name=container0",
        "--vfio-group", "path=/dev/vfio/0,devices=0000:6a:01.0,container=container0",
    ] },
];

/// A device, on each way.
struct Row {
    /// As `softiommu run --device` takes it.
    device: &'static str,
    expected: Expected,
}

enum Expected {
    /// The guest runs, and all this is said.
    Runs(&'static [&'static str]),
    /// Alioth panics and says this.
    Panics(&'static str),
}

const NOT_PREFETCHABLE: Expected =
    Expected::Panics("unreachable code: 00:01.0: BAR 2 is 64-bit but not prefetchable");

#[rustfmt::skip] // one device, one line
const ROWS: &[Row] = &[
    Row { device: "igb",           expected: Expected::Runs(&[
        "guest: device 10c98086", "guest: registers 00000000 00000000 00000081 00000000",
        "enabling irqfd for MSI-X 0", "guest: vector control 00000000",
    ]) },
    Row { device: "dsa",           expected: Expected::Runs(&[
        "guest: device 0b258086", "guest: registers 00000100 00000000 00000000 00000000",
        "enabling irqfd for MSI-X 0", "guest: vector control 00000000",
    ]) },
    Row { device: "nvme,size=16M", expected: NOT_PREFETCHABLE },
    Row { device: "ioat",          expected: NOT_PREFETCHABLE },
];

/// The guest's memory, for alioth and as alioth tells it.
const MEMORY: &str = "size=64M";
const MEMORY_SIZE: &str = "size = 0x4000000";

/// The guest's last words.
const OFF: &str = "guest: off";

/// Why it cannot be run here by this user: without KVM, or where KVM does not get alioth's guest to its end even
/// without a device, nothing is told of devices.
pub fn why_not(workspace: &Workspace, user: User) -> Result<Option<String>> {
    let place = Place::new(workspace, "alioth", user)?;
    let kvm = match kvm(&place) {
        Ok(kvm) => kvm,
        Err(failure) => return Ok(Some(failure.to_string())),
    };
    let files = Files::new(workspace, &place, kvm)?;
    let alone = files.job(&place, &[], Under::Kernel).run(workspace, "alioth-alone")?;
    let ended = alone.output.contains(OFF) && alone.require_success().is_ok();
    let why =
        || format!("KVM does not run alioth's guest without a device: {}", alone.log.display());
    Ok((!ended).then(why))
}

/// KVM's node, where the user can open it.
fn kvm(place: &Place) -> Result<PathBuf> {
    if !Path::new(KVM).exists() {
        return Err(Failure::from(format!("this machine has no {KVM}")));
    }
    let node = place.put(Path::new(KVM))?;
    let mut words = place.become_user();
    words.extend(["sh", "-c", ": < \"$0\""].map(OsString::from));
    let mut open = Command::new(&words[0]);
    open.args(&words[1..]).arg(&node).stderr(Stdio::null());
    match open.status().is_ok_and(|status| status.success()) {
        true => Ok(node),
        false => Err(Failure::from(format!("{} may not open {KVM}", place.user))),
    }
}

/// The program, compiled now when it is not in the cache.
fn prepare(workspace: &Workspace) -> Result<PathBuf> {
    let key = (CRATE, BUILD);
    let kept = Kept::new(workspace, &format!("alioth-{VERSION}"), key).get(|scratch| {
        println!("alioth: compiling it takes some minutes");
        let root = scratch.join("root");
        let mut install = install::cargo_install(workspace, CRATE, VERSION, &root);
        install.env("CARGO_TARGET_DIR", scratch.join("target")).envs(BUILD.iter().copied());
        process::run(&mut install)?;
        Ok(root.join("bin"))
    })?;
    Ok(kept.join(PROGRAM))
}

/// Compiles the guest. Alioth takes a kernel in a file of 64 bits only.
fn prepare_guest(place: &Place) -> Result<PathBuf> {
    let compiled = guest::compile(&place.writable, "guest32", GUEST, GUEST_OPTIONS)?;
    let kernel = place.writable.join("guest");
    let mut objcopy = Command::new("objcopy");
    process::run(objcopy.arg("--output-target=elf64-x86-64").arg(&compiled).arg(&kernel))?;
    place.put(&kernel)
}

/// Runs every row on every way, or those rows whose device begins with an argument.
pub fn run(workspace: &Workspace, choice: &Choice) -> Result {
    let place = Place::new(workspace, "alioth", choice.user)?;
    let kvm = kvm(&place).map_err(|failure| Failure::from(format!("alioth: {failure}")))?;
    let files = Files::new(workspace, &place, kvm)?;
    let chosen = |row: &&Row| {
        let mut starts = choice.arguments.iter().filter_map(|start| start.to_str());
        choice.arguments.is_empty() || starts.any(|start| row.device.starts_with(start))
    };
    let (mut passed, mut failed) = (0, 0);
    for row in ROWS.iter().filter(chosen) {
        for way in WAYS {
            match row.run(workspace, choice, &place, way, &files) {
                Ok(line) => {
                    println!("{line}");
                    passed += 1;
                }
                Err(failure) => {
                    eprintln!("{failure}");
                    failed += 1;
                }
            }
        }
    }
    println!("alioth: {passed} passed, {failed} failed");
    match (passed, failed) {
        (1.., 0) => Ok(()),
        (0, 0) => Err(Failure::from("alioth: no such device in its table".to_owned())),
        _ => Err(Failure::from(format!("alioth: {failed} of {} failed", passed + failed))),
    }
}

/// What a run needs, where its user can read it.
struct Files {
    kvm: PathBuf,
    program: PathBuf,
    guest: PathBuf,
}

impl Files {
    fn new(workspace: &Workspace, place: &Place, kvm: PathBuf) -> Result<Self> {
        let (program, guest) = (place.put(&prepare(workspace)?)?, prepare_guest(place)?);
        Ok(Self { kvm, program, guest })
    }

    /// A run of alioth, with more arguments.
    fn job<'p>(&self, place: &'p Place, more: &[&str], under: Under) -> Job<'p> {
        let mut command = Command::new(&self.program);
        command.args(["--log-spec", "debug", "boot", "--cpu", "count=1", "--memory", MEMORY]);
        command.arg("--hypervisor").arg(format!("kvm,dev_kvm={}", self.kvm.display()));
        command.arg("--pvh").arg(&self.guest).args(more);
        let command = process::shown(&command);
        Job {
            place,
            // its standard input must be a terminal
            program: "script".into(),
            arguments: ["--quiet", "--return", "--command", &command, "/dev/null"]
                .map(OsString::from)
                .into(),
            environment: vec![("SHELL", "/bin/sh".into())],
            under,
            limit: TIME_LIMIT,
        }
    }
}

impl Row {
    fn run(
        &self,
        workspace: &Workspace,
        choice: &Choice,
        place: &Place,
        way: &Way,
        files: &Files,
    ) -> Result<String> {
        let machine = Machine { devices: vec![self.device.into()], ..Machine::default() };
        let job = files.job(place, way.arguments, choice.under(machine));
        let name = format!("alioth-{}-{}", self.device, way.name);
        let finished = job.run(workspace, &name)?;
        let name = format!("alioth {} on {}", way.name, self.device);
        let success = finished.require_success().is_ok();
        match self.judge(way, &finished.output, success) {
            Ok(word) => {
                let took = finished.took.as_secs_f64();
                Ok(format!("{name}: {word} [{took:.1} s, {}]", place.user))
            }
            Err(reason) => {
                finished.last_lines(LAST_LINES).iter().for_each(|line| println!("    {line}"));
                let log = finished.log.display();
                Err(Failure::from(format!("{name}: {reason}\nwhole output: {log}")))
            }
        }
    }

    fn judge(&self, way: &Way, output: &str, success: bool) -> Result<&'static str, String> {
        let (before, expected) = match self.expected {
            Expected::Runs(says) => (output, [says, &[OFF]].concat()),
            Expected::Panics(how) => (output.split(how).next().unwrap_or_default(), vec![how]),
        };
        if !before.contains(way.device) {
            return Err("alioth does not say that the device is set up".to_owned());
        }
        let is_mapped = |line: &str| {
            let line = line.split_once(way.memory).map_or("", |(_, rest)| rest);
            line.contains(": mapped: 0x0000000000000000 -> ") && line.contains(MEMORY_SIZE)
        };
        if !before.lines().any(is_mapped) {
            return Err("alioth does not say that it maps the guest's memory".to_owned());
        }
        if let Some(missing) = expected.iter().find(|text| !output.contains(**text)) {
            return Err(format!("\"{missing}\" is not in its output"));
        }
        match (&self.expected, success) {
            (Expected::Runs(_), true) => Ok("the guest has read its registers"),
            (Expected::Runs(_), false) => Err("it fails".to_owned()),
            (Expected::Panics(_), false) => Ok("set up, then it panics as it must"),
            (Expected::Panics(_), true) => Err("it must fail".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET_UP: &str = "INFO [alioth::vm] 00:01.0: device: vfio-0\n";
    const MAPPED: &str =
        "ioas-8-1: mapped: 0x0000000000000000 -> 0x00007ff074000000, size = 0x4000000\n";
    const UNMAPPED: &str = "ioas-8-1: unmapped: 0x0000000000000000, size = 0x4000000\n";
    const LEGACY: &str =
        "container-8: mapped: 0x0000000000000000 -> 0x00007ff074000000, size = 0x4000000\n";
    const PANIC: &str = "internal error: 64-bit but not prefetchable\n";

    /// Row, output, whether the run succeeded, and what is told.
    type Case<'c> = (&'c Row, &'c [&'c str], bool, Result<&'c str, &'c str>);

    #[test]
    fn outputs_are_judged() {
        let row = |expected| Row { device: "igb", expected };
        let runs = row(Expected::Runs(&["guest: device 10c98086"]));
        let panics = row(Expected::Panics("64-bit but not prefetchable"));
        let no_device = Err("alioth does not say that the device is set up");
        let no_memory = Err("alioth does not say that it maps the guest's memory");
        #[rustfmt::skip] // one output, one line
        let cases: &[Case<'_>] = &[
            (&runs,   &[SET_UP, MAPPED, "guest: device 10c98086\n", "guest: off\n"],   true,  Ok("the guest has read its registers")),
            (&runs,   &[SET_UP, MAPPED, "guest: device 10c98086\n", "guest: off\n"],   false, Err("it fails")),
            (&runs,   &[SET_UP, MAPPED, "guest: device 10c98086\n"],                   true,  Err("\"guest: off\" is not in its output")),
            (&runs,   &[SET_UP, MAPPED, "guest: device ffffffff\n", "guest: off\n"],   true,  Err("\"guest: device 10c98086\" is not in its output")),
            (&runs,   &[SET_UP, UNMAPPED, "guest: device 10c98086\n", "guest: off\n"], true,  no_memory),
            (&runs,   &[SET_UP, LEGACY, "guest: device 10c98086\n", "guest: off\n"],   true,  no_memory),
            (&runs,   &[],                                                             false, no_device),
            (&panics, &[SET_UP, MAPPED, PANIC],                                        false, Ok("set up, then it panics as it must")),
            (&panics, &[SET_UP, MAPPED, PANIC],                                        true,  Err("it must fail")),
            (&panics, &[SET_UP, MAPPED, "guest: off\n"],                               true,  Err("\"64-bit but not prefetchable\" is not in its output")),
            (&panics, &[SET_UP, PANIC, MAPPED],                                        false, no_memory),
            (&panics, &[PANIC],                                                        false, no_device),
        ];
        for (row, output, success, expected) in cases {
            let told = row.judge(&WAYS[0], &output.concat(), *success);
            assert_eq!(told.as_deref().map_err(String::as_str), *expected, "{output:?}");
        }
    }
}
