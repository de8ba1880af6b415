//! A guest on KVM that has a device's memory. The program is `kvm.c`.

#![cfg(target_arch = "x86_64")]

use std::process::Command;

use crate::Run;

#[test]
fn a_guest_stores_to_a_device() {
    let run = Run::new("kvm");
    let program = run.folder.join("kvm");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run/kvm.c");
    let built = Command::new("cc").args(["-w", "-o"]).arg(&program).arg(source).output();
    assert!(built.is_ok_and(|output| output.status.success()), "cc builds {source}");
    let mut command = run.command(&["--machine", "spr", "--"]);
    let output = command.arg(&program).arg("/dev/vfio/devices/vfio0").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{told}{errors}");
    assert!(told.is_empty() || told.starts_with("skipped: "), "{told}");
    print!("{told}");
}
