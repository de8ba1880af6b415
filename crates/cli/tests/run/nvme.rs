//! The driver of the example `nvme`, on a disk of ours.

#[path = "../../examples/nvme/driver.rs"]
mod driver;

use std::io;

use client::System;
use client::feature::PASSTHROUGH;

use crate::Run;

/// Longer than both queues, so that they go round.
const READS: u64 = 2_000;

/// The program's part.
pub fn reads() -> io::Result<()> {
    let system = System::host();
    let function = system.functions().into_iter().next().ok_or(io::ErrorKind::NotFound)?;
    let device = system.device(function.address).open_unasked(&PASSTHROUGH);
    let mut disk = driver::Nvme::start(device.map_err(io::Error::other)?)?;
    let reads = disk.read_at_random(|done| done < READS)?;
    let expected = READS..READS + u64::from(driver::DEPTH);
    expected
        .contains(&reads)
        .then_some(())
        .ok_or_else(|| io::Error::other(format!("{reads} reads")))
}

#[test]
fn the_example_reads() {
    let run = Run::new("nvme");
    for device in ["nvme,size=1M", "nvme,size=4096,block=4096,latency=0..100us"] {
        let output = run.client_with(&["--device", device], "nvme").output().unwrap();
        assert!(output.status.success(), "{device}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let output = run.client_on("spr", "nvme").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("the device is no NVM Express controller"), "{told}");
}
