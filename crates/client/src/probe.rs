//! The dry run: each capability by its calls, in a scratch descriptor that leaves nothing behind.
//!
//! The calls of a capability are the ones by which a program would use it, in the same order, so the
//! first that is refused here is where that program would fail. What each try made is undone before
//! the next.
//!
//! A few things no call tells: that a page fault will never come, that a PASID is attached to nothing.
//! Those follow from what the drivers do, by kernel and device, and are told as silent.

mod device;
mod tries;

use std::io;

use profile::capability::Capability;
use profile::finding::{Cause, Finding, Host, Profile, Value};
use profile::machine::Bdf;
use profile::verdict::best_of;
use profile::{Kernel, Quirk};
use thiserror::Error;
use uapi::Errno;
use uapi::iommufd::*;

use crate::file::OpenFile;
use crate::fingerprint::fingerprint;
use crate::session::{Failed, Result, fault_queue, open_device, open_iommu};
use crate::system::{Function, System, Unit};
use device::Probe;

/// Why nothing could be found out. Each is one line that says what to do.
#[derive(Debug, Error)]
pub enum CannotAsk {
    /// There is an IOMMU, and no `/dev/iommu`.
    #[error("/dev/iommu cannot be opened: {0}; load the module iommufd, and be root or its group")]
    NoIommufd(io::Error),
    /// No device may be taken for the dry run.
    #[error(
        "no device behind an IOMMU is with VFIO, so nothing can be tried: bind one to vfio-pci \
         (echo vfio-pci > /sys/bus/pci/devices/BDF/driver_override; echo BDF > \
         /sys/bus/pci/drivers_probe); there are {0}"
    )]
    NoDevice(String),
    /// The device that was named is not there.
    #[error("{address} is no device behind an IOMMU here; there are {known}")]
    UnknownDevice {
        /// What was named.
        address: Bdf,
        /// What there is.
        known: String,
    },
    /// The device that was named is not with VFIO.
    #[error(
        "{0} is not with VFIO, so nothing can be tried: bind it to vfio-pci (echo vfio-pci > \
         /sys/bus/pci/devices/{0}/driver_override; echo {0} > /sys/bus/pci/drivers_probe)"
    )]
    NotWithVfio(Bdf),
    /// The device may not be opened.
    #[error("/dev/vfio/devices/vfio{number} cannot be opened: {reason}; be root or its owner")]
    NoAccess {
        /// The number of its device node.
        number: u32,
        /// What the system says.
        reason: Errno,
    },
    /// Another program has the device.
    #[error("{0} is in use by another program, so nothing can be tried: ask while it is free")]
    InUse(Bdf),
    /// A driver of the kernel has a device of its IOMMU group.
    #[error(
        "{address} cannot be had alone: {sibling}, of the same IOMMU group, is with the driver {driver}; \
         bind all devices of the group to vfio-pci"
    )]
    SharedGroup {
        /// What was to be asked.
        address: Bdf,
        /// The other one.
        sibling: Bdf,
        /// Its driver.
        driver: String,
    },
    /// Memory or descriptors have run out.
    #[error(
        "{0}, which tells nothing of what there is: give more memory, locked memory (ulimit -l) or \
         descriptors (ulimit -n), and ask again"
    )]
    Failed(#[from] Failed),
    /// A machine of ours cannot be made in this process.
    #[error("a machine cannot be made in this process: {0}; /proc must be there")]
    NoMachine(io::Error),
}

impl CannotAsk {
    /// Opening `/dev/iommu` failed.
    pub(crate) fn no_iommufd(error: io::Error) -> Self {
        let failed = Failed::new("open(/dev/iommu)", &error);
        if failed.is_for_want() { Self::Failed(failed) } else { Self::NoIommufd(error) }
    }
}

/// Finds what a device can do; without an address, the device that can do most.
pub fn probe(system: &System, address: Option<Bdf>) -> std::result::Result<Profile, CannotAsk> {
    Ok(best_of(probe_all(system, address)?, None).unwrap_or_default())
}

/// Finds what each device can do, or one; there is at least one profile. A device that cannot be asked is
/// left out where another can.
///
/// A system without an IOMMU, or whose kernel offers no device, has a profile that says so.
pub fn probe_all(
    system: &System,
    address: Option<Bdf>,
) -> std::result::Result<Vec<Profile>, CannotAsk> {
    let functions = system.functions();
    let (units, release) = (system.units(), system.release());
    let host = Host { name: system.name(), release, ..Host::default() };
    if let Some(address) = address
        && !system.has_function(address)
    {
        return Err(CannotAsk::UnknownDevice { address, known: names(&functions) });
    }
    let Some(unit) = units.first() else {
        return Ok(vec![without_device(system, Host { device: address, ..host }, None)]);
    };
    let print = fingerprint(system)?;
    let kernel = Kernel::of(print.generation(host.release.as_deref()));
    let host = Host { kernel: Some(kernel.generation()), iommu: unit.vendor, ..host };
    if !kernel.has(Quirk::VfioCdev) {
        let device = address.or(functions.first().map(|function| function.address));
        return Ok(vec![without_device(system, Host { device, ..host }, Some(unit))]);
    }
    let (mut profiles, mut failed) = (Vec::new(), None);
    for (function, number) in candidates(&functions, address)? {
        let host =
            Host { device: Some(function.address), iommu: function.iommu.vendor, ..host.clone() };
        match Probe::new(system, kernel, function, host).run(number) {
            Ok(profile) => profiles.push(profile),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        Some(failed) if profiles.is_empty() => Err(failed),
        _ => Ok(profiles),
    }
}

/// The devices to try, with the numbers of their nodes.
fn candidates(
    functions: &[Function],
    address: Option<Bdf>,
) -> std::result::Result<Vec<(&Function, u32)>, CannotAsk> {
    let Some(address) = address else {
        let with_vfio: Vec<_> = functions.iter().filter_map(|it| Some((it, it.vfio?))).collect();
        return match with_vfio.is_empty() {
            true => Err(CannotAsk::NoDevice(names(functions))),
            false => Ok(with_vfio),
        };
    };
    let unknown = || CannotAsk::UnknownDevice { address, known: names(functions) };
    let function = functions.iter().find(|it| it.address == address).ok_or_else(unknown)?;
    let number = function.vfio.ok_or(CannotAsk::NotWithVfio(address))?;
    Ok(vec![(function, number)])
}

fn names(functions: &[Function]) -> String {
    let names: Vec<_> = functions.iter().map(|function| function.address.to_string()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The profile of a system that has no device to try.
fn without_device(system: &System, host: Host, unit: Option<&Unit>) -> Profile {
    let mut profile = Profile::new(host);
    match open_iommu(system) {
        Err(failed) => profile.set(Capability::Iommufd, absent(failed)),
        Ok(iommu) => {
            profile.set(Capability::Iommufd, Finding::Present(Value::Flag));
            commands(&mut profile, &iommu);
            let queue = fault_queue(&iommu).and_then(|queue| queue.end(&iommu));
            profile.set(Capability::FaultQueue, found(queue));
        }
    }
    profile.set(Capability::VfioDevice, found(open_device(system, 0).map(drop)));
    set_iommu(&mut profile, unit);
    finish(&mut profile);
    profile
}

/// Which kind of IOMMU it is, as sysfs tells.
fn set_iommu(profile: &mut Profile, unit: Option<&Unit>) {
    let finding = match unit {
        None => Finding::Absent(Cause::NoIommu),
        Some(Unit { vendor: Some(vendor), .. }) => {
            Finding::Present(Value::Word(vendor.name().to_owned()))
        }
        Some(Unit { name, vendor: None, .. }) => {
            silent("reading /sys/class/iommu", &format!("{name} is of no kind that is known here"))
        }
    };
    profile.set(Capability::Iommu, finding);
}

/// Commands whose presence is all there is to know.
fn commands(profile: &mut Profile, iommu: &OpenFile) {
    let map_file = iommu.call(&mut iommu_ioas_map_file::default());
    let change = iommu.call(&mut iommu_ioas_change_process::default());
    let commands = [
        (Capability::MapFile, "IOMMU_IOAS_MAP_FILE", map_file),
        (Capability::ChangeProcess, "IOMMU_IOAS_CHANGE_PROCESS", change),
    ];
    for (capability, name, result) in commands {
        // size 0 is wrong for every command that is there
        let missing = result.err().filter(|e| e.raw_os_error() == Some(Errno::ENOTTY.code()));
        let finding = match missing {
            Some(error) => absent(Failed::new(name, &error)),
            None => Finding::Present(Value::Flag),
        };
        profile.set(capability, finding);
    }
}

/// What was not come to needs something that is not there.
fn finish(profile: &mut Profile) {
    for capability in Capability::ALL {
        if profile.findings().any(|(known, _)| known == *capability) {
            continue;
        }
        let absent = |it: &&Capability| matches!(profile.get(**it), Finding::Absent(_));
        if let Some(needs) = capability.after().iter().find(absent) {
            profile.set(*capability, Finding::Absent(Cause::Needs(*needs)));
        }
    }
}

fn found(result: Result<()>) -> Finding {
    match result {
        Ok(()) => Finding::Present(Value::Flag),
        Err(failed) => absent(failed),
    }
}

fn absent(Failed { call, errno }: Failed) -> Finding {
    Finding::Absent(Cause::Refused { call, errno })
}

fn silent(call: &str, what: &str) -> Finding {
    Finding::Absent(Cause::Silent { call: call.to_owned(), what: what.to_owned() })
}
