//! The API of 2020 from outside: the story by an ordinary program, and the argument.

use std::process::{Command, Output};

use crate::Run;

const README: &str = include_str!("../../../../README.md");

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// The labels of the lines of a story, whose addresses differ from run to run.
fn labels(story: &str) -> Vec<String> {
    let label = |line: &str| line.get(..14).unwrap_or(line).trim().to_owned();
    story.lines().map(label).collect()
}

#[test]
fn the_story_is_todays() {
    let run = Run::new("y2020");
    let play = |options: &[&str]| {
        let output = run.command(options).output().unwrap();
        let (told, errors) = text(&output);
        assert!(output.status.success() && errors.is_empty(), "{options:?}: {told}{errors}");
        told
    };
    let today = play(&["--machine", "spr"]);
    let from = |story: &str| {
        let labels = labels(story);
        let start = labels.iter().position(|label| label == "guest memory").unwrap();
        labels[start..].to_vec()
    };
    for kernel in ["2020", "2020-patches"] {
        let told = play(&["--kernel", kernel]);
        assert!(told.contains("version        1\n"), "{kernel}: {told}");
        assert_eq!(from(&told), from(&today), "{kernel}");
    }
    #[rustfmt::skip] // one machine, one line
    let others = [
        ("genoa", "nesting        refused: VFIO_SET_IOMMU(TYPE1_NESTING) = EINVAL\n"),
        ("icx",   "nesting        refused: VFIO_SET_IOMMU(TYPE1_NESTING) = ENODEV\n"),
        ("none",  "device         none: "),
    ];
    for (machine, line) in others {
        let told = play(&["--machine", machine, "--kernel", "2020"]);
        assert!(told.contains(line), "{machine}: {told}");
    }
}

#[test]
fn what_came_later_is_not_there() {
    let run = Run::new("y2020-later");
    let script = "ls /dev/iommu /dev/vfio/devices /sys/class/vfio-dev /sys/module/iommufd; ls /dev/vfio; uname -r";
    let output = run.command(&["--kernel", "2020", "--", "sh", "-c", script]).output().unwrap();
    let (told, errors) = text(&output);
    assert_eq!(told, "0\nvfio\n5.9.0\n", "{errors}");
    assert_eq!(errors.matches("No such file or directory").count(), 4, "{errors}");
}

/// The argument is as the README shows it.
#[test]
fn the_argument() {
    let this = env!("CARGO_BIN_EXE_softiommu");
    let output = Command::new(this).args(["example", "compat"]).output().unwrap();
    let (told, errors) = text(&output);
    assert!(output.status.success() && errors.is_empty(), "{told}{errors}");
    let shown = README.split("```text\n").map(|part| part.split("```").next().unwrap_or_default());
    assert!(shown.into_iter().any(|block| block == told), "the README does not show this:\n{told}");
    // each machine is asked in three ways, and only asking together is right about both
    let machines: Vec<_> = told.split("\nmachine ").skip(1).collect();
    let [whole, lacking] = machines.as_slice() else { panic!("two machines: {told}") };
    let verdicts = |machine: &str| {
        let starts = ["one version    ", "each call      ", "together       "];
        starts.map(|start| {
            let line = machine.lines().find_map(|line| line.strip_prefix(start)).unwrap();
            line.split([':', ' ']).next().unwrap().to_owned()
        })
    };
    assert_eq!(verdicts(whole), ["refused", "accepted", "accepted"]);
    assert_eq!(whole.matches("4 of 4 pages written").count(), 2);
    assert_eq!(verdicts(lacking), ["accepted", "accepted", "refused"]);
    assert_eq!(lacking.matches("2 of 4 pages written").count(), 2);
    assert!(lacking.contains("refused before the guest starts: pasid-page-faults\n"));
}

/// Who reads no further has heard enough.
#[test]
fn the_argument_before_a_closed_pipe() {
    let this = env!("CARGO_BIN_EXE_softiommu");
    let script = "\"$0\" example compat | head -n 1";
    let output = Command::new("sh").args(["-c", script, this]).output().unwrap();
    let (told, errors) = text(&output);
    assert!(told.starts_with("client ") && errors.is_empty(), "{told}{errors}");
}

/// Today's questions are of today's API.
#[test]
fn no_check_by_a_kernel_that_was_posted() {
    let this = env!("CARGO_BIN_EXE_softiommu");
    for arguments in [
        &["check", "guest-sva", "--machine", "spr", "--kernel", "2020"][..],
        &["probe", "--machine", "spr", "--kernel", "2020"],
    ] {
        let output = Command::new(this).args(arguments).output().unwrap();
        let (_, errors) = text(&output);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains("kernel 2020 has no /dev/iommu to ask"), "{errors}");
    }
}
