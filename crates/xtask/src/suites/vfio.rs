//! Linux's selftests of VFIO (`tools/testing/selftests/vfio`): each program, on each device that it has a
//! driver for.
//!
//! | suite | device | cases |
//! |---|---|---|
//! | `vfio-ioat` | `ioat`, 8086:2021 | 141, in seven programs |
//! | `vfio-dsa` | `dsa`, 8086:0b25 | 141, in seven programs |
//! | `vfio-igb` | `igb`, 8086:10c9 | 61, in four programs |
//!
//! A program gets the device's address as its last argument. The network controller has the programs in which
//! it is more than an address: others take the time of its driver's sleeps, and see nothing else.

use std::ffi::OsString;

use super::expected::Suite;
use super::runner::{Job, Under, User};
use super::{TIME_LIMIT, build, run_job};
use crate::failure::{Failure, Result};
use crate::workspace::Workspace;

/// A program, how many cases it has, and whether it is run on the network controller, too.
struct Program {
    name: &'static str,
    cases: usize,
    on_igb: bool,
}

/// The program that drives the device.
const DRIVER: &str = "vfio_pci_driver_test";

#[rustfmt::skip] // one program, one line
const PROGRAMS: &[Program] = &[
    Program { name: "vfio_iommufd_setup_test",        cases: 6,  on_igb: true },
    Program { name: "vfio_pci_device_test",           cases: 5,  on_igb: true },
    Program { name: "vfio_dma_mapping_test",          cases: 30, on_igb: false },
    Program { name: "vfio_dma_mapping_mmio_test",     cases: 15, on_igb: true },
    Program { name: "vfio_pci_device_init_perf_test", cases: 5,  on_igb: false },
    Program { name: "vfio_pci_sriov_uapi_test",       cases: 45, on_igb: false },
    Program { name: DRIVER,                           cases: 35, on_igb: true },
];

/// The suites, by the devices of `softiommu run --device`.
const SUITES: &[(&str, &str)] = &[("vfio-ioat", "ioat"), ("vfio-dsa", "dsa"), ("vfio-igb", "igb")];

/// The machine, and where its first device is.
const MACHINE: &str = "spr";
const ADDRESS: &str = "0000:6a:01.0";

/// The names of these suites.
pub fn names() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|(name, _)| *name)
}

fn programs(device: &str) -> impl Iterator<Item = &'static Program> {
    PROGRAMS.iter().filter(move |program| device != "igb" || program.on_igb)
}

/// Runs the programs of a suite, one after the other; all of them, whatever fails. `extra` arguments select
/// cases of the driver's program: then only failures of these count.
pub fn run(workspace: &Workspace, name: &str, user: User, extra: &[OsString]) -> Result {
    let found = SUITES.iter().find(|(suite, _)| *suite == name);
    let (_, device) = found.ok_or_else(|| Failure::from(format!("no suite \"{name}\"")))?;
    let folder = build(workspace)?;
    let mut failures = Vec::new();
    for program in programs(device).filter(|it| extra.is_empty() || it.name == DRIVER) {
        let under = Under::Softiommu {
            machine: MACHINE.into(),
            devices: vec![(*device).to_owned()],
            kernel: None,
        };
        let job = Job {
            program: folder.join("vfio").join(program.name),
            arguments: extra.iter().cloned().chain([ADDRESS.into()]).collect(),
            under,
            user,
            limit: TIME_LIMIT,
        };
        let suite = match extra {
            [] => Suite::all_pass(program.cases),
            _ => Suite::any_selection(),
        };
        let label = format!("{name}-{}", program.name);
        if let Err(failure) = run_job(workspace, &label, job, &suite, &[]) {
            eprintln!("{failure}");
            failures.push(program.name);
        }
    }
    match failures.is_empty() {
        true => Ok(()),
        false => Err(Failure::from(format!("{name}: not as expected: {}", failures.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites::recipe;

    #[test]
    fn every_program_is_compiled_and_every_case_counted() {
        let compiled = recipe::SUITES.iter().find(|(suite, _)| *suite == "vfio").unwrap().1;
        let mut listed: Vec<_> = PROGRAMS.iter().map(|program| program.name).collect();
        listed.sort_unstable();
        assert_eq!(listed, compiled);
        let cases = |device| programs(device).map(|program| program.cases).sum::<usize>();
        assert_eq!((cases("ioat"), cases("dsa"), cases("igb")), (141, 141, 61));
    }
}
