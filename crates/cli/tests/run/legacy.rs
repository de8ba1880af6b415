//! Drivers of the time before iommufd: groups and containers, by `legacy.c`.

use std::path::PathBuf;
use std::process::Command;

use crate::Run;

impl Run {
    /// `legacy.c`, built.
    fn legacy(&self) -> PathBuf {
        let program = self.folder.join("legacy");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run/legacy.c");
        let built = Command::new("cc").args(["-w", "-o"]).arg(&program).arg(source).output();
        assert!(built.is_ok_and(|output| output.status.success()), "cc builds {source}");
        program
    }
}

#[test]
fn drivers_open_their_device_through_its_group() {
    let run = Run::new("legacy");
    let program = run.legacy();
    for machine in ["spr", "icx", "grace", "genoa"] {
        for container in ["/dev/vfio/vfio", "/dev/iommu"] {
            for kind in ["1", "3"] {
                let device = device_of(machine);
                let mut command = run.command(&["--machine", machine, "--"]);
                let output =
                    command.arg(&program).args([container, kind, &device]).output().unwrap();
                let told = String::from_utf8_lossy(&output.stdout);
                let errors = String::from_utf8_lossy(&output.stderr);
                let what = format!("{machine}, {container}, type {kind}: {told}{errors}");
                assert!(output.status.success() && told.is_empty() && errors.is_empty(), "{what}");
            }
        }
    }
}

/// The first device of a machine.
fn device_of(machine: &str) -> String {
    profile::Machine::by_name(machine).unwrap().devices[0].address.to_string()
}
