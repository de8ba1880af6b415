//! Stores to a device's memory that is mapped. The program is `stores.c`.

#![cfg(target_arch = "x86_64")]

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::Run;

const SEGV: i32 = 11;
const ILL: i32 = 4;
const BUS: i32 = 7;

/// `stores.c`, built like this.
fn build(run: &Run, optimised: &str) -> PathBuf {
    let program = run.folder.join(format!("stores{optimised}"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run/stores.c");
    let built = Command::new("cc")
        .args(["-w", "-pthread", "-mno-red-zone", optimised, "-o"])
        .arg(&program)
        .arg(source)
        .output();
    let built = built.expect("cc");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
}

fn play(run: &Run, program: &PathBuf, words: &[&str]) -> Output {
    let mut command = run.command(&["--machine", "spr", "--"]);
    command.arg(program).args(words).output().unwrap()
}

fn part(name: &str) {
    let run = Run::new(&format!("stores-{name}"));
    for optimised in ["-O0", "-O2"] {
        let output = play(&run, &build(&run, optimised), &[name]);
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{optimised}: {:?} {said}{errors}", output.status);
        print!("{optimised}: {said}");
        assert_eq!(errors, "", "{optimised}");
    }
}

macro_rules! parts {
    ($($(#[$doc:meta])+ $name:ident = $part:literal;)+) => {$(
        $(#[$doc])+
        #[test]
        fn $name() {
            part($part);
        }
    )+};
}

parts! {
    /// Every form of store does to the device's memory, registers and flags what it does to memory.
    forms_are_as_on_memory = "forms";
    /// MOVDIR64B, MOVDIRI and ENQCMD, by the processor or without it.
    sixty_four_bytes_at_once = "portal";
    /// The program's own handlers get what is theirs, with their masks and flags.
    handlers_get_what_is_theirs = "handlers";
    /// Blocked signals do not keep stores from being made.
    blocked_signals_do_no_harm = "masks";
    /// Threads store at once.
    threads_store_at_once = "threads";
    /// Stores need no descriptor of their own, and little stack.
    little_is_enough = "scarce";
    /// Children of a fork store, too.
    children_store_too = "forks";
    /// Parts of a mapping are taken away, changed, moved.
    mappings_change = "unmap";
    /// A mapping keeps the device open when its descriptor is closed.
    a_mapping_keeps_the_device = "closed";
    /// A device whose memory is off takes no store.
    memory_that_is_off_is_a_bus_error = "bus";
    /// Each doorbell is seen, before the next load.
    doorbells_are_seen_one_by_one = "doorbells";
    /// Timers interrupt a program that stores, and jump away.
    signals_come_between_stores = "alarms";
    /// A fork while other threads map and unmap.
    forks_of_busy_threads_are_whole = "busy-forks";
    /// What is executed starts anew.
    executed_programs_start_anew = "execs";
}

/// What would end the program without us ends it the same way.
#[test]
fn deaths_are_the_programs_own() {
    let run = Run::new("stores-die");
    let program = build(&run, "-O2");
    #[rustfmt::skip] // one death, one line
    let cases = [
        ("null",    SEGV, ""),
        ("ignored", SEGV, ""),
        ("blocked", SEGV, ""),
        ("raised",  SEGV, ""),
        ("ill",     ILL,  ""),
        ("bus",     BUS,  ""),
        ("unknown", SEGV, "in a way that is not known: instruction dd "),
    ];
    for (how, signal, said) in cases {
        let output = play(&run, &program, &["die", how]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(signal), "{how}: {errors}");
        assert!(errors.contains(said), "{how}: {errors}");
    }
}
