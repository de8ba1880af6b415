//! Names below the current folder and below open folders, and what libc tells of them.
//!
//! The program is `ask.c`: it makes the calls that Rust's std does not.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::Run;

impl Run {
    /// `ask.c`, built.
    fn asker(&self) -> PathBuf {
        let asker = self.folder.join("ask");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run/ask.c");
        let built = Command::new("cc").args(["-w", "-o"]).arg(&asker).arg(source).output();
        assert!(built.is_ok_and(|output| output.status.success()), "cc builds {source}");
        asker
    }
}

/// What `ask.c` answers to some words.
fn answer(command: &mut Command, words: &str) -> String {
    let output = command.args(words.split(' ')).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{words}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn names_are_relative_to_the_systems_folders() {
    let run = Run::new("names");
    let asker = run.asker();
    #[rustfmt::skip] // one line, one question
    let cases: &[(&str, &str)] = &[
        // a device of ours says EFAULT, the container ENOTTY
        ("in /dev/vfio/devices open vfio0",                "EFAULT"),
        ("in /dev/vfio open devices/vfio0",                "EFAULT"),
        ("in /dev open vfio/devices/vfio0",                "EFAULT"),
        ("in /sys/class open ../../dev/vfio/devices/vfio0", "EFAULT"),
        ("cd /dev/vfio/devices open vfio0",                "EFAULT"),
        ("cd /dev/vfio/devices open ./vfio0",              "EFAULT"),
        ("cd /dev/vfio/devices open ../devices/vfio0",     "EFAULT"),
        ("cd /dev/vfio cd devices open vfio0",             "EFAULT"),
        ("in /dev/vfio/devices fchdir open vfio0",         "EFAULT"),
        ("in /dev/vfio/devices open vfio1",                "ENOENT"),
        ("in /dev/vfio/devices stat vfio0",                "511:0"),
        ("in /dev/vfio/devices statx vfio0",               "511:0"),
        ("in /dev/vfio/devices fstat vfio0 open-statx vfio0", "511:0 511:0"),
        ("in /dev/vfio fstat vfio fstat 0 fstat ../iommu fstat ../null", "10:196 510:0 10:122 1:3"),
        ("in /dev/vfio/devices access vfio0",              "yes"),
        ("in /dev/vfio/devices link vfio0",                "EINVAL"),
        ("in /dev/vfio/devices list-it",                   "[vfio0*]"),
        ("in /dev/vfio stat vfio stat ../iommu",           "10:196 10:122"),
        ("in /dev/vfio/devices stat vfio1 access vfio1",   "ENOENT ENOENT"),
        ("cd /dev/vfio/devices stat vfio0 access vfio0",   "511:0 yes"),
        ("cd /dev/vfio/devices list . list ..",            "[vfio0*] [0* devices vfio*]"),
        ("cd /dev/vfio/devices cd vfio0",                  "ENOTDIR"),
        ("cd /dev/vfio/devices real vfio0 real .",         "/dev/vfio/devices/vfio0 /dev/vfio/devices"),
        ("cd /dev/vfio/devices real .. real ../..",        "/dev/vfio /dev"),
        // without a hook of its own for what it opens
        ("scan /dev/vfio/devices cd /dev/vfio scan devices scan vfio", "[vfio0] [vfio0] ENOTDIR"),
        ("scan /sys/class/iommu scan /sys/class/vfio",     "[dmar0] [0]"),
        ("read /sys/class/vfio/0/dev stat /dev/vfio/0 cd /dev/vfio stat 0 stat 1", "510:0 510:0 510:0 ENOENT"),
        ("glob /dev/vfio/*/vfio* glob /dev/vfio/v*",       "[/dev/vfio/devices/vfio0] [/dev/vfio/vfio]"),
        ("glob /sys/class/iommu/*/intel-iommu/version",    "[/sys/class/iommu/dmar0/intel-iommu/version]"),
        ("glob /sys/bus/pci/devices/*/vfio-dev/vfio[0-9]", "[/sys/bus/pci/devices/0000:6a:01.0/vfio-dev/vfio0]"),
        ("cd /dev/vfio/devices glob * glob /sys/class/net/l? glob /dev/iomm?", "[vfio0] [/sys/class/net/lo] none"),
        // out of the run again
        ("cd /dev/vfio stat ../null stat ../.. cd .. stat null", "1:3 folder 1:3"),
        ("in /sys/class/iommu stat ../net stat ../../../dev/null", "folder 1:3"),
        ("cd /sys/class/iommu cd .. pwd 4096 read net/lo/address", "/sys/class 00:00:00:00:00:00"),
        ("cd /sys/class/iommu read dmar0/intel-iommu/version", "6:0"),
        ("in /sys/class list /sys/class/iommu link iommu/dmar0", "[dmar0] ../../devices/virtual/iommu/dmar0"),
        // the descriptor itself
        ("in /sys/class/iommu statx-it",                      "folder"),
        ("in /sys/class/net/lo statx-it",                     "folder"),
        // what a folder is called
        ("cd /dev/vfio/devices pwd 4096 old-pwd new-pwd name-pwd", "/dev/vfio/devices /dev/vfio/devices /dev/vfio/devices /dev/vfio/devices"),
        ("cd /dev/vfio/devices pwd 18 pwd 17 pwd 0",       "/dev/vfio/devices ERANGE EINVAL"),
        ("cd /sys/class/iommu cd dmar0 pwd 4096 cd .. pwd 4096", "/sys/devices/virtual/iommu/dmar0 /sys/devices/virtual/iommu"),
        ("cd /dev/vfio cd .. pwd 4096 cd /tmp pwd 4096 pwd 4", "/dev /tmp ERANGE"),
        ("cd /dev/vfio/devices link /proc/self/cwd",       "/dev/vfio/devices"),
        ("cd /dev/vfio/devices link-of-4 /proc/self/cwd",  "/dev"),
        ("cd /dev/vfio/devices real /proc/self/cwd",       "/dev/vfio/devices"),
        ("in /sys/class/iommu fd-link",                    "/sys/class/iommu"),
        ("cd /tmp link /proc/self/cwd link-of-4 /proc/self/cwd", "/tmp /tmp"),
    ];
    for (words, expected) in cases {
        let mut command = run.command(&["--machine", "spr", "--"]);
        assert_eq!(answer(command.arg(&asker), words), *expected, "{words}");
    }
}

/// An IOMMU without a device behind it.
pub const NO_DEVICE: &str = "name = \"m\"\nsummary = \"s\"\n[[iommu]]\nname = \"dmar0\"\nkind = \"intel-vtd\"\n\
     address = 0xd7fff000\nversion = \"6.0\"\ncap = 0x19ed008c40780c66\necap = 0x3ee9e86f050df\n";

const DEVICE: &str =
    "[[device]]\naddress = \"6a:01.0\"\niommu = \"dmar0\"\nvendor = 1\ndevice = 1\n";

#[test]
fn a_machine_shows_its_own_devices_and_no_other() {
    let run = Run::new("trees");
    let asker = run.asker();
    let file = run.folder.join("no-device.toml");
    fs::write(&file, NO_DEVICE).unwrap();
    let no_device = file.to_str().unwrap();
    let file = run.folder.join("no-node.toml");
    fs::write(&file, format!("vfio_device_cdev = false\n{NO_DEVICE}{DEVICE}")).unwrap();
    let no_node = file.to_str().unwrap();
    let classes = "list /sys/class/iommu list /sys/class/vfio-dev list /sys/class/vfio";
    let groups = "list /sys/kernel/iommu_groups list /sys/bus/pci/devices";
    let nodes = "list /dev/vfio list /dev/vfio/devices stat /dev/vfio/26 stat /dev/vfio/noiommu-0";
    let device = "stat /dev/vfio/devices/vfio0 open /dev/vfio/devices/vfio0";
    #[rustfmt::skip] // one machine, one line
    let cases: &[(&str, &str, &str)] = &[
        ("spr",      classes, "[dmar0] [vfio0] [0]"),
        ("selftest", classes, "[] [] []"),
        ("none",     classes, "[] [] []"),
        (no_device,  classes, "[dmar0] [] []"),
        (no_node,    classes, "[dmar0] [vfio0] [0]"),
        ("spr",      groups,  "[0] [0000:6a:01.0]"),
        ("selftest", groups,  "[] []"),
        ("none",     groups,  "[] [0000:00:02.0]"),
        (no_device,  groups,  "[] []"),
        ("spr",      nodes,   "[0* devices vfio*] [vfio0*] ENOENT ENOENT"),
        ("selftest", nodes,   "[vfio*] ENOENT ENOENT ENOENT"),
        ("none",     nodes,   "[vfio*] ENOENT ENOENT ENOENT"),
        (no_device,  nodes,   "[vfio*] ENOENT ENOENT ENOENT"),
        (no_node,    nodes,   "[0* vfio*] ENOENT ENOENT ENOENT"),
        ("spr",      device,  "511:0 EFAULT"),
        ("selftest", device,  "ENOENT ENOENT"),
        ("none",     device,  "ENOENT ENOENT"),
        (no_device,  device,  "ENOENT ENOENT"),
        (no_node,    device,  "ENOENT ENOENT"),
    ];
    for (machine, words, expected) in cases {
        let mut command = run.command(&["--machine", machine, "--"]);
        assert_eq!(answer(command.arg(&asker), words), *expected, "{machine}: {words}");
    }
}

#[test]
fn a_run_directory_behind_a_link() {
    let run = Run::new("linked");
    let asker = run.asker();
    let link = run.folder.join("link");
    std::os::unix::fs::symlink(&run.folder, &link).unwrap();
    let mut command = run.command(&["--machine", "spr", "--"]);
    command.env("XDG_RUNTIME_DIR", &link).arg(&asker);
    let words = "cd /dev/vfio/devices pwd 4096 real vfio0 link /proc/self/cwd open vfio0";
    let expected = "/dev/vfio/devices /dev/vfio/devices/vfio0 /dev/vfio/devices EFAULT";
    assert_eq!(answer(&mut command, words), expected);
}

#[test]
fn the_release_is_the_kernels() {
    let run = Run::new("release");
    let asker = run.asker();
    let here = |words: &str| answer(Command::new(&asker).args(["in", "/proc"]), words);
    let (host, version) = (here("release"), here("read /proc/version"));
    #[rustfmt::skip] // one kernel, one line
    let cases: &[(&[&str], &str)] = &[
        (&["--kernel", "6.13"],                           "6.13.7"),
        (&["--kernel", "6.2"],                            "6.4.0"),
        (&["--kernel", "6.12", "--machine", "selftest"],  "6.12.117"),
        (&["--machine", "none"],                          "7.3.4"),
    ];
    for (arguments, release) in cases {
        let under = |words: &str| {
            let mut command = run.command(arguments);
            answer(command.arg("--").arg(&asker), words)
        };
        let proc = "/proc/sys/kernel/osrelease";
        assert_eq!(under("release"), *release, "{arguments:?}");
        assert_eq!(under(&format!("read {proc} real {proc}")), format!("{release} {proc}"));
        assert_eq!(
            under("cd /proc/sys/kernel read osrelease open osrelease"),
            format!("{release} EACCES")
        );
        assert_eq!(under("read /proc/version"), version.replacen(&host, release, 1));
        // the rest is the host's
        assert_eq!(under("rest-of-uname"), here("rest-of-uname"));
    }
}
