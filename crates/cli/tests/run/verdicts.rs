//! `softiommu check`, `probe`, `compare` and `baseline`: the same verdict in a machine of ours and under
//! `softiommu run`, exit statuses, and files that are wrong.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use profile::{Kernel, Machine, Requirement};
use serde_json::Value as Json;

use super::Run;

const SOFTIOMMU: &str = env!("CARGO_BIN_EXE_softiommu");

fn softiommu(arguments: &[&str]) -> Output {
    Command::new(SOFTIOMMU).args(arguments).output().unwrap()
}

/// A verdict without the name of the host, which differs.
fn verdict(output: &Output) -> Json {
    let mut verdict: Json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    verdict.as_object_mut().unwrap().remove("machine");
    verdict["host"]["name"].take();
    verdict
}

/// The dry run on the supervisor's machine is the one in a machine of this process.
#[test]
fn a_verdict_is_the_same_under_run() {
    let run = Run::new("verdicts");
    let requirements = Requirement::all();
    let ask = |number: usize, machine: &str| {
        for (index, kernel) in Kernel::all().iter().map(Kernel::to_string).enumerate() {
            // there are more kernels, so each machine is asked for every requirement
            let requirement = requirements[(number + index) % requirements.len()].name.as_str();
            let asked = ["--machine", machine, "--kernel", &kernel];
            let format = ["--format", "json"];
            let here = softiommu(&[&["check", requirement][..], &asked, &format].concat());
            let mut under = run.command(&asked);
            under.args(["--", SOFTIOMMU, "check", requirement, "--host"]).args(format);
            let under = under.output().unwrap();
            let what = format!("{requirement} on {machine}, {kernel}");
            assert_eq!(verdict(&here), verdict(&under), "{what}");
            assert_eq!(here.status.code(), under.status.code(), "{what}");
        }
    };
    // most of the time is waiting
    std::thread::scope(|scope| {
        for (number, machine) in Machine::all().iter().enumerate() {
            scope.spawn(move || ask(number, &machine.name));
        }
    });
}

#[test]
fn statuses_and_messages() {
    let run = Run::new("verdict-statuses");
    let file = |name: &str, text: &str| -> PathBuf {
        let path = run.folder.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let head = "name = \"r\"\nsummary = \"s\"\n[[variant]]\nname = \"v\"\n";
    let bad = file("bad.toml", &format!("{head}needs = [\"nesting-parrent\"]\n"));
    let good = file("good.toml", &format!("{head}needs = [{{ pasid-width = 16 }}]\n"));
    let bad_profile = file("profile.toml", "[host]\nname = \"h\"\n[present]\npasid-with = 3\n");
    let unit = "name = \"m\"\nsummary = \"s\"\n[[iommu]]\nname = \"dmar0\"\nkind = \"intel-vtd\"\n\
                address = 0xfed90000\nversion = \"6.0\"\ncap = 0x19ed008c40780c66\n\
                ecap = 0x3ef9ea6f050df\n";
    let device = |number: u8, rest: &str| {
        format!(
            "[[device]]\naddress = \"{number}:0.0\"\niommu = \"dmar0\"\nvendor = 1\ndevice = 1\n{rest}\n"
        )
    };
    let (faulting, wide) =
        (device(1, "ats = true\npri = true"), device(2, "pasid = { width = 20 }"));
    let two = file("two.toml", &format!("{unit}{faulting}{wide}"));
    let group = [device(1, "group = 5"), device(2, "group = 5")].concat();
    let open = file("open.toml", &format!("{unit}interrupt_remapping = false\n{group}"));
    let nodeless = file("nodeless.toml", &format!("vfio_device_cdev = false\n{unit}{faulting}"));
    let lonely = file("lonely.toml", unit);
    let without =
        file("without.toml", "[host]\nname = \"h\"\n[absent]\niommu = { missing = \"iommu\" }\n");
    let (two, open, lonely) =
        (two.to_str().unwrap(), open.to_str().unwrap(), lonely.to_str().unwrap());
    let (without, nodeless) = (without.to_str().unwrap(), nodeless.to_str().unwrap());
    let (bad, good) = (bad.to_str().unwrap(), good.to_str().unwrap());
    let bad_profile = bad_profile.to_str().unwrap();
    #[rustfmt::skip] // one command line, one line
    let cases: &[(&[&str], i32, &str)] = &[
        (&["check", "guest-sva", "--machine", "spr"],                      0, "guest-sva on spr, Linux 7.3, device 0000:6a:01.0: satisfied"),
        (&["check", "guest-sva", "--machine", "spr", "--kernel", "6.14"],  1, "The first kernel that satisfies it is 6.15."),
        (&["check", "guest-sva", "--machine", "icx"],                      1, "No kernel satisfies it."),
        (&["check", "guest-sva", "--machine", "none"],                     1, "guest-sva on none: NOT satisfied: there is no IOMMU that its kernel drives"),
        (&["check", good, "--machine", "genoa"],                           1, "pasid-width is 15"),
        (&["check", good, "--machine", "spr", "--device", "6a:01.0"],      0, "satisfied"),
        (&["check", "passthrough", "--machine", "spr", "--device", "0:1.0"], 2, "0000:00:01.0 is no device behind an IOMMU here; there are 0000:6a:01.0"),
        (&["check", "passthrough", "--machine", "spr", "--device", "x"],   2, "\"x\" is no PCI address"),
        (&["check", "guest_sva", "--machine", "spr"],                      2, "unknown requirement \"guest_sva\"; did you mean guest-sva?"),
        (&["check", "guest-sva", "--machine", "sprr"],                     2, "unknown machine \"sprr\"; did you mean spr?"),
        (&["check", "guest-sva", "--machine", "spr", "--kernel", "6.16"],  2, "6.16 has the ABI of 6.15: ask for that"),
        (&["check", "guest-sva", "--kernel", "6.15"],                      2, "--machine"),
        (&["check", "guest-sva", "--host", "--machine", "spr"],            2, "cannot be used with"),
        (&["check", bad, "--machine", "spr"],                              2, "bad.toml:5: `variant[0].needs[0]` is \"nesting-parrent\": no such capability; did you mean \"nesting-parent\"?"),
        (&["check", "guest-sva", "--profile", bad_profile],                2, "profile.toml:4: unknown key `present.pasid-with`; did you mean `pasid-width`?"),
        (&["check", "guest-sva", "--profile", "/no/such.toml"],            2, "/no/such.toml: No such file or directory"),
        (&["check", "pasid", "--machine", two],                            0, "pasid on m, Linux 7.3, device 0000:02:00.0: satisfied"),
        (&["check", "page-faults", "--machine", two],                      0, "page-faults on m, Linux 7.3, device 0000:01:00.0: satisfied"),
        (&["probe", "--machine", two],                                     0, "of 2 devices this is 0000:0"),
        (&["probe", "--machine", two, "--format", "nfd"],                  0, "softiommu.pasid=true"),
        (&["check", "passthrough", "--machine", open],                     1, "a setting: interrupt remapping"),
        (&["check", "passthrough", "--machine", nodeless],                 1, "a setting: a kernel with CONFIG_VFIO_DEVICE_CDEV=y"),
        (&["check", "passthrough", "--machine", nodeless],                 1, "open(/dev/vfio/devices/vfio0) = ENOENT"),
        (&["check", "passthrough", "--machine", lonely],                   2, "no device behind an IOMMU is with VFIO"),
        (&["check", "passthrough", "--machine", "none", "--device", "9:0.0"], 2, "0000:09:00.0 is no device behind an IOMMU here"),
        (&["check", "guest-sva", "--profile", without],                    1, "guest-sva on h: NOT satisfied: there is no IOMMU that its kernel drives"),
        (&["check", "--matrix", "guest-sva"],                              0, "6.15 to 7.3   yes"),
        (&["compare", "spr@6.15", "spr@6.13"],                             1, "spr@6.13 lacks something that spr@6.15 has"),
        (&["compare", "spr@6.13", "spr@6.15"],                             1, "it is not known whether spr@6.15 has all that spr@6.13 has"),
        (&["compare", "spr@6.15", "spr@7.3"],                              0, "spr@7.3 has all that spr@6.15 has, and more"),
        (&["compare", "spr@6.15", "spr@6.15"],                             0, "spr@6.15 has what spr@6.15 has"),
        (&["compare", "spr", "icx", "--requirement", "passthrough"],       0, "icx has what spr has"),
        (&["compare", "spr", "icx", "--requirement", "nested"],            1, "icx does not satisfy nested"),
        (&["compare", "spr", "nowhere"],                                   2, "unknown machine \"nowhere\""),
        (&["baseline", "spr", "icx", "--requirement", "guest-sva"],        1, "guest-sva on baseline of spr@7.3, icx@7.3, Linux 7.3: NOT satisfied"),
        (&["baseline", "spr", "icx"],                                      0, "iova-width = 48"),
        (&["baseline"],                                                    2, "required"),
        (&["probe", "--machine", "spr", "--format", "nfd"],                0, "softiommu.guest-sva=true"),
    ];
    for (arguments, status, message) in cases {
        let output = softiommu(arguments);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(message), "{arguments:?}: {said}");
        assert_eq!(output.status.code(), Some(*status), "{arguments:?}: {said}");
    }
}

/// Where descriptors have run out nothing is known, and nobody else's descriptor is touched.
#[test]
fn want_is_no_verdict() {
    let run = Run::new("want");
    for most in 4..12 {
        let script = format!("exec 0<&-; ulimit -n {most}; exec \"$0\" check passthrough --host");
        let output = run.command(&["--", "sh", "-c", &script, SOFTIOMMU]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let status = output.status.code();
        assert!(matches!(status, Some(0 | 2 | 125 | 127)), "{most}: {status:?} {said}");
        if status == Some(2) {
            assert!(said.contains("EMFILE, which tells nothing"), "{most}: {said}");
        }
    }
}

/// A profile that was written is judged as its host was.
#[test]
fn a_profile_stands_for_its_host() {
    let run = Run::new("profiles");
    for (machine, kernel) in [("spr", "7.3"), ("grace", "6.15"), ("genoa", "7.0"), ("icx", "6.6")] {
        let asked = ["--machine", machine, "--kernel", kernel];
        let written = softiommu(&[&["probe"][..], &asked].concat());
        let file = run.folder.join(format!("{machine}.toml"));
        fs::write(&file, &written.stdout).unwrap();
        for requirement in ["guest-sva", "nested", "page-faults"] {
            let format = ["--format", "json"];
            let here = softiommu(&[&["check", requirement][..], &asked, &format].concat());
            let read = ["check", requirement, "--profile", file.to_str().unwrap()];
            let read = softiommu(&[&read[..], &format].concat());
            assert_eq!(verdict(&here), verdict(&read), "{requirement} on {machine}, {kernel}");
        }
    }
}
