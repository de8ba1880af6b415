//! QEMU, out of Debian's packages and unmodified, as a user without rights: Debian's kernel in it drives our
//! `nvme` through `vfio-pci`. Its processor is emulated (TCG), so it needs no KVM.
//!
//! | run | the device comes | through |
//! |---|---|---|
//! | `name` | by its address | iommufd, and the device's node |
//! | `legacy` | by its address | its group and a type1 container |
//! | `inherited` | as a descriptor that QEMU was started with | iommufd |
//! | `plugged` | as a descriptor over QMP, when the guest already runs | iommufd |
//!
//! QEMU maps the registers, so the guest's stores to them are stores of translated code that we trap.
//!
//! *What it doesn't do*: an IOMMU for the guest.

mod root;

use std::ffi::OsString;
use std::time::Duration;

use super::Choice;
use super::guest;
use super::place::{self, Place};
use super::runner::{Job, Machine};
use crate::failure::{Failure, Result};
use crate::workspace::Workspace;

/// The device of every run.
const DEVICE: &str = "nvme,size=128M";

/// The longest of them takes some ten seconds.
const TIME_LIMIT: Duration = Duration::from_secs(180);

/// How much of the log is shown of a run that failed.
const LAST_LINES: usize = 40;

/// One run.
struct Row {
    name: &'static str,
    /// How `start.c` starts QEMU; by itself without.
    start: &'static [&'static str],
    arguments: &'static [&'static str],
}

const NODE: &str = "/dev/vfio/devices/vfio0";

#[rustfmt::skip] // an option and its value
const ROWS: &[Row] = &[
    Row { name: "name", start: &[], arguments: &[
        "-object", "iommufd,id=iommufd0",
        "-device", "vfio-pci,host=0000:6a:01.0,iommufd=iommufd0",
    ] },
    Row { name: "legacy", start: &[], arguments: &[
        "-device", "vfio-pci,host=0000:6a:01.0",
    ] },
    Row { name: "inherited", start: &["inherit", NODE], arguments: &[
        "-object", "iommufd,id=iommufd0",
        "-device", "vfio-pci,id=disk,fd=9,iommufd=iommufd0",
    ] },
    Row { name: "plugged", start: &["plug", NODE], arguments: &[
        "-object", "iommufd,id=iommufd0",
        "-device", "pcie-root-port,id=root0,chassis=1",
        "-chardev", "socket,id=socket,fd=8", "-object", "monitor-qmp,id=monitor,chardev=socket",
    ] },
];

#[rustfmt::skip] // an option and its value
const QEMU: &[&str] = &[
    "/usr/bin/qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-cpu", "max", "-m", "512",
    "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio",
    "-kernel", root::KERNEL, "-initrd", root::INITRD, "-append", "console=ttyS0",
];

/// Whether it is in the cache, so that running it takes seconds.
pub fn is_built(workspace: &Workspace) -> Result<bool> {
    root::kept(workspace).map(|kept| kept.is_made())
}

/// Runs every row, or those that arguments name.
pub fn run(workspace: &Workspace, choice: &Choice) -> Result {
    if let Some(reason) = place::no_root() {
        return Err(Failure::from(format!("qemu: {reason}")));
    }
    let root = root::prepare(workspace)?;
    let place = Place::in_root(workspace, "qemu", &root)?;
    let chosen = |row: &&Row| {
        choice.arguments.is_empty() || choice.arguments.iter().any(|name| name == row.name)
    };
    let (mut passed, mut failed) = (0, 0);
    for row in ROWS.iter().filter(chosen) {
        match row.run(workspace, choice, &place) {
            Ok(()) => passed += 1,
            Err(failure) => {
                eprintln!("{failure}");
                failed += 1;
            }
        }
    }
    println!("qemu: {passed} passed, {failed} failed [{}]", place.user);
    match (passed, failed) {
        (1.., 0) => Ok(()),
        (_, 0) => Err(Failure::from("qemu: no run has such a name".to_owned())),
        _ => Err(Failure::from("qemu: not as expected".to_owned())),
    }
}

impl Row {
    fn run(&self, workspace: &Workspace, choice: &Choice, place: &Place) -> Result {
        let mut words: Vec<OsString> = Vec::new();
        if !self.start.is_empty() {
            words.push(root::START.into());
        }
        let parts = [self.start, QEMU, self.arguments];
        words.extend(parts.into_iter().flatten().map(OsString::from));
        let machine = Machine { devices: vec![DEVICE.into()], ..Machine::default() };
        let job = Job {
            place,
            program: words.remove(0).into(),
            arguments: words,
            environment: Vec::new(),
            under: choice.under(machine),
            limit: TIME_LIMIT,
        };
        let finished = job.run(workspace, &format!("qemu-{}", self.name))?;
        let complaint = finished.require_success().and_then(|()| guest::judge(&finished.output));
        if let Err(failure) = complaint {
            finished.last_lines(LAST_LINES).iter().for_each(|line| println!("    {line}"));
            let log = finished.log.display();
            let name = self.name;
            return Err(Failure::from(format!("qemu, {name}: {failure}\nwhole output: {log}")));
        }
        guest::said(&finished.output).for_each(|line| println!("    {line}"));
        println!("qemu, {}: passed [{:.1} s]", self.name, finished.took.as_secs_f64());
        Ok(())
    }
}
