//! QEMU, out of Debian's packages and unmodified, as a user without rights: Debian's kernel in it drives our
//! `nvme` through `vfio-pci`. Its processor is emulated (TCG), so it needs no KVM.
//!
//! | run | the device comes | through |
//! |---|---|---|
//! | `name` | by its address | iommufd, and the device's node |
//! | `legacy` | by its address | its group and a type1 container |
//! | `inherited` | as a descriptor that QEMU was started with | iommufd |
//! | `plugged` | as a descriptor over QMP, when the guest already runs | iommufd |
//! | `nested` | by its address | iommufd, and VT-d in two stages |
//!
//! In the last one QEMU's `intel-iommu` gives the guest an IOMMU whose tables ours walks over QEMU's own
//! (`IOMMU_HWPT_DATA_VTD_S1`), and a program of the guest drives the device on VFIO: what it has unmapped,
//! the device cannot reach.
//!
//! QEMU maps the registers, so the guest's stores to them are stores of translated code that we trap.
//!
//! *What it doesn't do*: PASIDs, SVA.

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
    guest: &'static Guest,
}

/// What the guest starts.
struct Guest {
    initrd: &'static str,
    /// Linux's command line.
    line: &'static str,
    judge: fn(&str) -> Result,
}

const DISK: &Guest = &Guest { initrd: root::DISK, line: "console=ttyS0", judge: guest::judge_disk };
const NESTED: &Guest = &Guest {
    initrd: root::NESTED,
    // its own driver would have the device first
    line: "console=ttyS0 intel_iommu=on initcall_blacklist=nvme_init",
    judge: guest::judge_nested,
};

const NODE: &str = "/dev/vfio/devices/vfio0";

#[rustfmt::skip] // an option and its value
const ROWS: &[Row] = &[
    Row { name: "name", start: &[], guest: DISK, arguments: &[
        "-object", "iommufd,id=iommufd0",
        "-device", "vfio-pci,host=0000:6a:01.0,iommufd=iommufd0",
    ] },
    Row { name: "legacy", start: &[], guest: DISK, arguments: &[
        "-device", "vfio-pci,host=0000:6a:01.0",
    ] },
    Row { name: "inherited", start: &["inherit", NODE], guest: DISK, arguments: &[
        "-object", "iommufd,id=iommufd0",
        "-device", "vfio-pci,id=disk,fd=9,iommufd=iommufd0",
    ] },
    Row { name: "plugged", start: &["plug", NODE], guest: DISK, arguments: &[
        "-object", "iommufd,id=iommufd0",
        "-device", "pcie-root-port,id=root0,chassis=1",
        "-chardev", "socket,id=socket,fd=8", "-object", "monitor-qmp,id=monitor,chardev=socket",
    ] },
    Row { name: "nested", start: &[], guest: NESTED, arguments: &[
        "-object", "iommufd,id=iommufd0",
        "-device", "intel-iommu,scalable-mode=on,fsts=on,caching-mode=on",
        "-device", "vfio-pci,host=0000:6a:01.0,iommufd=iommufd0",
    ] },
];

#[rustfmt::skip] // an option and its value
const QEMU: &[&str] = &[
    "/usr/bin/qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-cpu", "max", "-m", "512",
    "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio",
    "-kernel", root::KERNEL,
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
        let guest = ["-initrd", self.guest.initrd, "-append", self.guest.line];
        let parts = [self.start, QEMU, &guest, self.arguments];
        words.extend(parts.into_iter().flatten().map(OsString::from));
        // each invalidation that QEMU does not pass on shows
        let caches = Some("never-forget");
        let machine = Machine { caches, devices: vec![DEVICE.into()], ..Machine::default() };
        let job = Job {
            place,
            program: words.remove(0).into(),
            arguments: words,
            environment: Vec::new(),
            under: choice.under(machine),
            limit: TIME_LIMIT,
        };
        let finished = job.run(workspace, &format!("qemu-{}", self.name))?;
        let complaint =
            finished.require_success().and_then(|()| (self.guest.judge)(&finished.output));
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
