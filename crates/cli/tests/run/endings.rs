//! How a run ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::Run;
use crate::names::NO_DEVICE;

#[test]
fn statuses() {
    let run = Run::new("statuses");
    let script = run.folder.join("script");
    fs::write(&script, "#!/bin/sh\nexit 3\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let source = run.folder.join("static.c");
    let fixed = run.folder.join("static");
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let built = Command::new("cc").args(["-static", "-o"]).args([&fixed, &source]).status();
    assert!(built.is_ok_and(|status| status.success()), "cc builds a static program");
    let (script, fixed) = (script.to_str().unwrap(), fixed.to_str().unwrap());
    #[rustfmt::skip] // one command line, one line
    let cases: &[(&[&str], i32, &str)] = &[
        (&["true"],                          0,   ""),
        (&["--", "sh", "-c", "exit 7"],      7,   ""),
        (&["sh", "-c", "exit 7"],            7,   ""),
        (&["--", script],                    3,   ""),
        (&["--", "no-such-program"],         127, "softiommu: no-such-program: no such program"),
        (&["--", "/no/such/program"],        127, "softiommu: /no/such/program: no such program"),
        (&["--", "/etc/passwd"],             126, "softiommu: /etc/passwd: cannot be executed"),
        (&["--", "/tmp"],                    126, "softiommu: /tmp: cannot be executed"),
        (&["--", fixed],                     125, "is statically linked"),
        (&["--machine", "pdp11", "true"],    125, "softiommu: unknown machine \"pdp11\"; known: spr, icx, grace, genoa, riscv, q35, none, selftest; a file"),
        (&["--machine", "no.toml", "true"],  125, "softiommu: no.toml: No such file"),
        (&["--machine", "spr", "--", "test", "-c", "/dev/vfio/devices/vfio0"], 0, ""),
        (&["--machine", "spr", "--", "test", "-e", "/sys/bus/pci/devices/0000:6a:01.0/vfio-dev/vfio0/dev"], 0, ""),
        (&["--machine", "none", "--", "test", "-e", "/dev/vfio/devices/vfio0"], 1, ""),
        (&["--device", "nvme", "--", "test", "-c", "/dev/vfio/devices/vfio0"], 0, ""),
        (&["--device", "nvme,block=1", "true"], 125, "softiommu: device nvme: block is \"1\": must be"),
        (&["--device", "nvme,path=/no/file", "true"], 125, "softiommu: device nvme,path=/no/file: No such file"),
        (&["--device", "dsa", "--device", "nvme,path=/dev/null", "true"], 125, "softiommu: device nvme,path=/dev/null: a namespace has"),
        (&["--machine", "none", "--device", "nvme", "true"], 125, "softiommu: machine none has no IOMMU, and so no place"),
        (&["--no-such-option", "true"],      125, "unexpected argument"),
        (&["--", "test", "-c", "/dev/iommu"], 0,  ""),
        (&["--", "sh", "-c", "test -z \"$(ls -l /dev/iommu 2>&1 >/dev/null)\""], 0, ""),
    ];
    for (arguments, status, message) in cases {
        let output = run.command(arguments).stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*status), "{arguments:?}: {errors}");
        assert!(errors.contains(message), "{arguments:?}: {errors}");
        assert_eq!(run.leftovers(), Vec::<PathBuf>::new(), "{arguments:?}");
    }
}

#[test]
fn the_example_plays_its_story() {
    let run = Run::new("example");
    let output = run.command(&["--machine", "selftest"]).output().unwrap();
    let story = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for step in ["open", "map", "device reads", "device writes", "page fault", "page response"] {
        assert!(story.contains(step), "{step} is missing in:\n{story}");
    }
    assert!(story.trim_end().ends_with("(os error 2)"), "{story}");
}

/// Each step of guest SVA, with both kinds of page faults.
#[test]
fn the_example_plays_guest_sva() {
    let run = Run::new("sva");
    for (machine, how) in [("spr", "(group 5)"), ("grace", "(its access waits in the IOMMU)")] {
        let output = run.command(&["--machine", machine]).output().unwrap();
        let story = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let steps: Vec<_> = story.lines().map(|line| line[..14].trim_end()).collect();
        #[rustfmt::skip] // as they come
        let expected = [
            "device", "guest-sva", "function", "guest memory", "PASID", "guest maps", "bind",
            "device reads", "device writes",
            "device misses", "page request", "guest maps", "page response", "device reads",
            "guest maps", "device reads", "invalidate", "device reads",
            "unbind", "device reads",
        ];
        assert_eq!(steps, expected, "{story}");
        assert!(story.contains(how), "{story}");
    }
}

/// What the example says last of what a machine and a kernel come to.
#[test]
fn the_example_goes_as_far_as_the_machine() {
    let run = Run::new("stories");
    let file = run.folder.join("no-device.toml");
    fs::write(&file, NO_DEVICE).unwrap();
    let no_device = file.to_str().unwrap();
    #[rustfmt::skip] // one machine, one line
    let cases: &[(&[&str], &str)] = &[
        (&[],                                        "device reads   refused by the IOMMU (reason 0x59)"),
        (&["--machine", "grace"],                    "device reads   refused by the IOMMU (reason 0xa)"),
        (&["--caches", "never-keep"],                "device reads   refused by the IOMMU (reason 0x59)"),
        (&["--caches", "never-forget"],              "device reads   refused by the IOMMU (reason 0x59)"),
        (&["--kernel", "6.13"],                      "device reads   refused by the IOMMU (reason 0x71)"),
        (&["--machine", "icx"],                      "device reads   refused by the IOMMU (reason 0x6)"),
        (&["--machine", "icx", "--kernel", "6.6"],   "device reads   refused by the IOMMU (reason 0x6)"),
        (&["--machine", "genoa"],                    "device reads   refused by the IOMMU (reason 0x2)"),
        (&["--machine", "riscv"],                    "device reads   refused by the IOMMU (reason 0xd)"),
        (&["--machine", "none"],                     "device         none: this machine has neither an IOMMU nor the kernel's mock device"),
        (&["--machine", no_device],                  "device         none: no device behind an IOMMU is bound to vfio-pci"),
        (&["--machine", "spr", "--kernel", "6.2"],   "passthrough    refused: open(/dev/vfio/devices/vfio0) = ENOENT"),
    ];
    for (arguments, last) in cases {
        let output = run.command(arguments).output().unwrap();
        let story = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(story.lines().last(), Some(*last), "{arguments:?}: {story}");
    }
}

#[test]
fn signals_pass_both_ways() {
    let run = Run::new("signals");
    let killed = run.command(&["--", "sh", "-c", "kill -TERM $$"]).status().unwrap();
    assert_eq!(killed.signal(), Some(15));
    let mut child = run
        .command(&["--", "sh", "-c", "trap 'exit 9' TERM; echo; while :; do sleep 0.05; done"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // its first line says that the trap is set
    let mut line = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert_eq!(run.leftovers(), Vec::<PathBuf>::new());
}
