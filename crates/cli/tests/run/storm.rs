//! A program that is killed in the middle of mapping, forking and passing descriptors.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{ROLE, Run};

const DEATHS: u64 = 200;

#[test]
fn nothing_is_left() {
    let run = Run::new("storm");
    let mut told = 0;
    for death in 0..DEATHS {
        let child =
            run.client("storm").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // somewhere between the program's start and its loops, which a busy machine is late with
        let late = if told == 0 { death / 50 } else { 0 };
        thread::sleep(Duration::from_micros((death * 7919 % 40_000) << late));
        let supervisor = child.id();
        while let Some(program) = first_child(supervisor) {
            let _ = kill_process(program, Signal::KILL);
            thread::sleep(Duration::from_millis(1));
        }
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(9), "death {death}: {errors}");
        assert_eq!(run.leftovers(), Vec::<PathBuf>::new(), "death {death}");
        told += u64::from(errors.contains("left open: /dev/iommu"));
        assert_eq!(stragglers(&run), [0; 0], "death {death}");
    }
    assert!(told > 0, "no run said what was open");
    assert!(run.command(&[]).stdout(Stdio::null()).status().unwrap().success());
}

/// The program of a supervisor: its first child, or none when there is none any more.
fn first_child(pid: u32) -> Option<Pid> {
    for _ in 0..20_000 {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        if let Some(first) = children.split_ascii_whitespace().next() {
            return Pid::from_raw(first.parse().ok()?);
        }
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        if state.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z')) {
            return None;
        }
        thread::sleep(Duration::from_millis(1));
    }
    None
}

/// Living processes of this storm, known by their environment.
fn stragglers(run: &Run) -> Vec<u32> {
    let folder = format!("TMPDIR={}", run.folder.display());
    let numbers = fs::read_dir("/proc").unwrap().flatten();
    let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let has = |text: &str| environment.split(|b| *b == 0).any(|v| v == text.as_bytes());
        has(&folder) && has(&format!("{ROLE}=storm"))
    })
    .collect()
}
