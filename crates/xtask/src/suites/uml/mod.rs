//! User-Mode Linux with `CONFIG_UML_PCI_OVER_VFIO`: a whole kernel as a client, whose own NVMe driver
//! drives our `nvme`. It needs neither KVM nor any right.
//!
//! The kernel speaks legacy VFIO (a group, a type1 container, MSI-X) and reaches registers by `pread` and
//! `pwrite`. In it [`guest::DISK`] writes 64 MiB, reads them back and compares them.

mod build;

use super::Choice;
use super::guest;
use super::place::Place;
use super::runner::{Job, Machine};
use crate::failure::{Failure, Result};
use crate::workspace::Workspace;

/// The device and the place that it has on the default machine.
const DEVICE: &str = "nvme,size=128M";
const ADDRESS: &str = "0000:6a:01.0";

/// How much of the log is shown of a run that failed.
const LAST_LINES: usize = 40;

/// Whether it is in the cache, so that running it takes seconds.
pub fn is_built(workspace: &Workspace) -> Result<bool> {
    build::kept(workspace).map(|kept| kept.is_made())
}

/// Compiles it when it is not in the cache.
pub fn prepare(workspace: &Workspace) -> Result {
    let kept = build::kept(workspace)?;
    kept.get(|scratch| build::build(workspace, scratch)).map(drop)
}

/// Runs it.
pub fn run(workspace: &Workspace, choice: &Choice) -> Result {
    prepare(workspace)?;
    let folder = build::kept(workspace)?.path;
    let place = Place::new(workspace, "uml", choice.user)?;
    let [program, initrd] =
        [build::KERNEL, build::INITRD].map(|name| place.put(&folder.join(name)));
    let mut arguments = vec!["mem=256M".into(), "panic=-1".into()];
    arguments.push(format!("initrd={}", initrd?.display()).into());
    arguments.push(format!("vfio_uml.device={ADDRESS}").into());
    arguments.extend_from_slice(&choice.arguments);
    let machine = Machine { devices: vec![DEVICE.into()], ..Machine::default() };
    let job = Job {
        place: &place,
        program: program?,
        arguments,
        environment: vec![
            // Its memory is a file there. VFIO pins none of a file system that writes files back
            // (`mm/gup.c`, `writable_file_mapping_allowed`).
            ("TMPDIR", "/dev/shm".into()),
            ("HOME", place.writable.clone().into()),
        ],
        under: choice.under(machine),
        limit: super::TIME_LIMIT,
    };
    let finished = job.run(workspace, "uml")?;
    let complaint = finished.require_success().and_then(|()| guest::judge_disk(&finished.output));
    if let Err(failure) = complaint {
        finished.last_lines(LAST_LINES).iter().for_each(|line| println!("    {line}"));
        let log = finished.log.display();
        return Err(Failure::from(format!("uml: {failure}\nwhole output: {log}")));
    }
    guest::said(&finished.output).for_each(|line| println!("    {line}"));
    println!("uml: 1 passed, 0 failed [{:.1} s, {}]", finished.took.as_secs_f64(), choice.user);
    Ok(())
}
