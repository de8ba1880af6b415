//! The dry run: each capability by its calls, in a scratch descriptor that leaves nothing behind.
//!
//! The calls of a capability are the ones by which a program would use it, in the same order, so the
//! first that is refused here is where that program would fail. What each try made is undone before
//! the next.
//!
//! A few things no call tells: that a page fault will never come, that a PASID is attached to nothing.
//! Those follow from what the drivers do, by kernel and device, and are told as silent.

mod tries;

use std::io;

use profile::capability::Capability;
use profile::finding::{Cause, Finding, Host, Profile, Value};
use profile::machine::{Bdf, Vendor, may_stall};
use profile::registers::{smmuv3, vtd};
use profile::{Kernel, Quirk};
use thiserror::Error;
use uapi::Errno;
use uapi::iommufd::*;
use zerocopy::FromBytes;

use crate::file::OpenFile;
use crate::fingerprint::fingerprint;
use crate::session::{Failed, Queue, Result, Session, Table, fault_queue, open_device, open_iommu};
use crate::system::{Function, System};
use tries::{
    dirty_tracking, nested_pasid, nested_smmuv3, nested_vtd, page_faults, pasid, read_only,
    with_ioas, with_page,
};

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
}

/// Finds what a device can do; without an address, the device that can do most.
///
/// A system without an IOMMU, or whose kernel offers no device, has a profile that says so.
pub fn probe(system: &System, address: Option<Bdf>) -> std::result::Result<Profile, CannotAsk> {
    let functions = system.functions();
    let (units, release) = (system.units(), system.release());
    let host = Host { name: system.name(), release, ..Host::default() };
    if units.is_empty() {
        return Ok(without_device(system, Host { device: address, ..host }));
    }
    let print = fingerprint(system).map_err(CannotAsk::NoIommufd)?;
    let kernel = Kernel::of(print.generation(host.release.as_deref()));
    let host = Host { kernel: Some(kernel.generation()), iommu: units[0].vendor, ..host };
    if !kernel.has(Quirk::VfioCdev) {
        let device = address.or(functions.first().map(|function| function.address));
        return Ok(without_device(system, Host { device, ..host }));
    }
    let tried = candidates(&functions, address)?;
    let (mut profiles, mut failed) = (Vec::new(), None);
    for (function, number) in tried {
        let host =
            Host { device: Some(function.address), iommu: function.iommu.vendor, ..host.clone() };
        match Probe::new(system, kernel, function, host).run(number) {
            Ok(profile) => profiles.push(profile),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let score = |profile: &Profile| {
        profile.findings().filter(|(_, finding)| matches!(finding, Finding::Present(_))).count()
    };
    // of equal ones the first; there is at least one
    let best = profiles.into_iter().rev().max_by_key(score);
    best.ok_or_else(|| failed.unwrap_or_else(|| CannotAsk::NoDevice(names(&functions))))
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
fn without_device(system: &System, host: Host) -> Profile {
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
    set_iommu(&mut profile);
    finish(&mut profile);
    profile
}

/// Which kind of IOMMU it is, as sysfs tells.
fn set_iommu(profile: &mut Profile) {
    let finding = match profile.host.iommu {
        Some(vendor) => Finding::Present(Value::Word(vendor.name().to_owned())),
        None => silent("reading /sys/class/iommu", "there is no IOMMU that the kernel drives"),
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

const ATTACH: &str = "VFIO_DEVICE_ATTACH_IOMMUFD_PT";
const ATTACH_PASID: &str = "VFIO_DEVICE_ATTACH_IOMMUFD_PT(PASID)";

/// The dry run of one device.
struct Probe<'s> {
    system: &'s System,
    kernel: &'static Kernel,
    function: &'s Function,
    profile: Profile,
}

/// What makes a guest's page faults come, or not.
#[derive(Clone, Copy)]
enum Faults {
    /// Without a PASID.
    Device,
    /// With one.
    Pasid,
}

impl<'s> Probe<'s> {
    fn new(
        system: &'s System,
        kernel: &'static Kernel,
        function: &'s Function,
        host: Host,
    ) -> Self {
        let mut profile = Profile::new(host);
        let registers = function.iommu.registers.iter();
        profile.host.registers =
            registers.map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Self { system, kernel, function, profile }
    }

    fn run(mut self, number: u32) -> std::result::Result<Profile, CannotAsk> {
        let iommu = open_iommu(self.system);
        let iommu = iommu.map_err(|it| CannotAsk::NoIommufd(error(it.errno)))?;
        self.set(Capability::Iommufd, Finding::Present(Value::Flag));
        commands(&mut self.profile, &iommu);
        // needs no device, so it is known even where none can be bound
        let queue = fault_queue(&iommu).and_then(|queue| queue.end(&iommu));
        self.set(Capability::FaultQueue, found(queue));
        let device = open_device(self.system, number)
            .map_err(|failed| CannotAsk::NoAccess { number, reason: failed.errno })?;
        self.set(Capability::VfioDevice, Finding::Present(Value::Flag));
        set_iommu(&mut self.profile);
        match Session::bind(iommu, device) {
            Ok(session) => {
                self.set(Capability::Bind, Finding::Present(Value::Flag));
                self.device(&session);
            }
            Err(failed) if self.is_in_use(failed.errno) => {
                return Err(CannotAsk::InUse(self.function.address));
            }
            Err(failed) => self.set(Capability::Bind, absent(failed)),
        }
        finish(&mut self.profile);
        Ok(self.profile)
    }

    /// Whether a refused BIND means that somebody has the device, or one of its group.
    fn is_in_use(&self, errno: Errno) -> bool {
        match errno {
            Errno::EBUSY => true,
            // the other reason is memory that firmware keeps mapped for a device of the group
            Errno::EINVAL => !self.system.has_direct_regions(self.function.address),
            // the other reason is interrupts that are not isolated
            Errno::EPERM => self.system.group_size(self.function.address) > 1,
            _ => false,
        }
    }

    fn set(&mut self, capability: Capability, finding: Finding) {
        self.profile.set(capability, finding);
    }

    fn device(&mut self, session: &Session) {
        self.hw_info(session);
        self.attach(session);
        self.set(Capability::DirtyTracking, found(dirty_tracking(session)));
        let queue = fault_queue(&session.iommu).ok();
        if let Some(queue) = &queue {
            let faults = page_faults(session, queue.id);
            self.set_faults(Capability::PageFaults, faults, Faults::Device);
        }
        self.nesting(session, queue.as_ref());
        self.pasids(session);
        self.pasid_nesting(session, queue.as_ref());
        if let Some(queue) = queue {
            let _ = queue.end(&session.iommu);
        }
    }

    /// What the IOMMU tells of itself.
    fn hw_info(&mut self, session: &Session) {
        let (info, data) = match session.hw_info() {
            Ok(info) => info,
            Err(failed) => {
                for capability in [Capability::HwInfo, Capability::PasidWidth, Capability::Ats] {
                    self.set(capability, absent(failed.clone()));
                }
                return;
            }
        };
        const CALL: &str = "IOMMU_GET_HW_INFO";
        self.registers(info.out_data_type, &data);
        let vendor = vendor_of(info.out_data_type);
        let told = vendor.map_or(silent(CALL, "it tells nothing of the IOMMU"), |vendor| {
            Finding::Present(Value::Word(vendor.name().to_owned()))
        });
        self.set(Capability::HwInfo, told);
        self.guest_addresses();
        let bit = |bit: u64, what| match info.out_capabilities & bit {
            0 => silent(CALL, what),
            _ => Finding::Present(Value::Flag),
        };
        if self.kernel.has(Quirk::HwInfoPasid) {
            let width = match info.out_max_pasid_log2 {
                0 => silent(CALL, "it says that there are no PASIDs"),
                width => Finding::Present(Value::Number(width.into())),
            };
            self.set(Capability::PasidWidth, width);
            let execute = bit(IOMMU_HW_CAP_PCI_PASID_EXEC, "it says that they may not execute");
            let privileged =
                bit(IOMMU_HW_CAP_PCI_PASID_PRIV, "it says that they may not be privileged");
            if info.out_max_pasid_log2 > 0 {
                self.set(Capability::PasidExecute, execute);
                self.set(Capability::PasidPrivileged, privileged);
            }
        } else {
            let unknown = || Finding::Unknown("no call of this kernel tells".to_owned());
            self.set(Capability::PasidWidth, unknown());
            self.set(Capability::PasidExecute, unknown());
            self.set(Capability::PasidPrivileged, unknown());
        }
        let ats = match info.out_capabilities & IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED {
            _ if !self.kernel.has(Quirk::HwInfoAts) => {
                Finding::Unknown("no call of this kernel tells".to_owned())
            }
            0 => Finding::Present(Value::Flag),
            _ => silent(CALL, "it says that the device cannot use it"),
        };
        self.set(Capability::Ats, ats);
    }

    /// Notes the registers in a vendor's answer.
    fn registers(&mut self, kind: u32, data: &[u8]) {
        let mut note = |name: &str, value: u64| {
            self.profile.host.registers.insert(name.to_owned(), value);
        };
        match kind {
            IOMMU_HW_INFO_TYPE_INTEL_VTD => {
                if let Ok((info, _)) = iommu_hw_info_vtd::read_from_prefix(data) {
                    note("CAP", info.cap_reg);
                    note("ECAP", info.ecap_reg);
                }
            }
            IOMMU_HW_INFO_TYPE_ARM_SMMUV3 => {
                if let Ok((info, _)) = iommu_hw_info_arm_smmuv3::read_from_prefix(data) {
                    for (number, idr) in info.idr.iter().enumerate() {
                        note(&format!("IDR{number}"), (*idr).into());
                    }
                }
            }
            IOMMU_HW_INFO_TYPE_AMD => {
                if let Ok((info, _)) = iommu_hw_info_amd::read_from_prefix(data) {
                    note("EFR", info.efr);
                    note("EFR2", info.efr2);
                }
            }
            _ => {}
        }
    }

    /// How far a guest's own tables reach, by the registers.
    fn guest_addresses(&mut self) {
        let register = |name: &str| self.profile.host.registers.get(name).copied();
        let vendor = self.profile.value(Capability::HwInfo).cloned();
        let width = match vendor {
            Some(Value::Word(word)) if word == Vendor::IntelVtd.name() => {
                register("CAP").map(|cap| if vtd::FS5LP.is_set(cap) { 57 } else { 48 })
            }
            Some(Value::Word(word)) if word == Vendor::ArmSmmuv3.name() => {
                register("IDR5").map(|idr5| if smmuv3::VAX.is_set(idr5) { 52 } else { 48 })
            }
            _ => None,
        };
        let finding = match width {
            Some(width) => Finding::Present(Value::Number(width)),
            None => Finding::Absent(Cause::Needs(Capability::HwInfo)),
        };
        self.set(Capability::GuestAddressWidth, finding);
    }

    fn attach(&mut self, session: &Session) {
        let tried = with_ioas(session, |ioas| {
            session.attach(ioas, None)?;
            let ranges = session.iova_ranges(ioas);
            session.detach(None)?;
            ranges
        });
        match tried {
            Err(failed) => self.set(Capability::Attach, absent(failed)),
            Ok(ranges) => {
                self.set(Capability::Attach, Finding::Present(Value::Flag));
                let last = ranges.iter().map(|range| range.last).max().unwrap_or(0);
                let width = Value::Number(u64::BITS - last.leading_zeros());
                self.set(Capability::IovaWidth, Finding::Present(width));
            }
        }
    }

    /// A guest's tables under the device itself.
    fn nesting(&mut self, session: &Session, queue: Option<&Queue>) {
        let mut tried = Vec::new();
        let parent = with_page(session, |ioas, page| {
            let flags = IOMMU_HWPT_ALLOC_NEST_PARENT;
            let parent = session.hwpt(ioas, Table { flags, ..Table::default() })?;
            tried.push((Capability::NestingReadOnly, found(read_only(session, ioas, page))));
            tried.extend(nested_vtd(session, parent, queue));
            let is_smmuv3 = self.function.iommu.vendor == Some(Vendor::ArmSmmuv3);
            tried.extend(nested_smmuv3(session, parent, queue, is_smmuv3));
            session.destroy(parent)
        });
        self.set(Capability::NestingParent, found(parent));
        for (capability, finding) in tried {
            match (capability, finding) {
                (Capability::NestingPageFaults, Finding::Present(_)) => {
                    self.set_faults(capability, Ok(()), Faults::Device);
                }
                // of two vendors' ways to the same, the one that works; else the first
                (Capability::NestingPageFaults, finding) => {
                    if !matches!(self.profile.get(capability), Finding::Present(_)) {
                        self.set(capability, finding);
                    }
                }
                (capability, finding) => self.set(capability, finding),
            }
        }
    }

    /// Address spaces of the host's by PASID.
    fn pasids(&mut self, session: &Session) {
        self.set_pasid(Capability::PasidAttach, found(pasid(session)));
    }

    /// A guest's tables by PASID, as VT-d has them.
    fn pasid_nesting(&mut self, session: &Session, queue: Option<&Queue>) {
        let mut tried = Vec::new();
        let parent = with_page(session, |ioas, _| {
            let flags = IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_PASID;
            let parent = session.hwpt(ioas, Table { flags, ..Table::default() })?;
            let attached = session.attach(parent, None);
            if attached.is_ok() {
                let nested = nested_pasid(session, parent, None);
                tried.push((Capability::PasidNesting, found(nested)));
                if let Some(queue) = queue {
                    let nested = nested_pasid(session, parent, Some(queue.id));
                    tried.push((Capability::PasidPageFaults, found(nested)));
                }
                session.detach(None)?;
            }
            session.destroy(parent)?;
            attached
        });
        self.set(Capability::PasidNestingParent, found(parent));
        for (capability, finding) in tried {
            match (capability, finding) {
                (Capability::PasidPageFaults, Finding::Present(_)) => {
                    self.set_faults(capability, Ok(()), Faults::Pasid);
                }
                (capability, finding) => self.set_pasid(capability, finding),
            }
        }
    }

    /// A device without PASIDs attaches any of them, to nothing.
    fn set_pasid(&mut self, capability: Capability, finding: Finding) {
        let none = matches!(self.profile.get(Capability::PasidWidth), Finding::Absent(_));
        let finding = match finding {
            Finding::Present(_) if none => {
                silent(ATTACH_PASID, "the device has no PASIDs, and nothing is attached")
            }
            finding => finding,
        };
        self.set(capability, finding);
    }

    /// A device attaches to a queue whose faults never come.
    fn set_faults(&mut self, capability: Capability, tried: Result<()>, faults: Faults) {
        if tried.is_err() {
            return self.set(capability, found(tried));
        }
        let what = match self.function.iommu.vendor {
            Some(Vendor::IntelVtd) => match faults {
                Faults::Device if !self.kernel.has(Quirk::VtdRidFaults) => {
                    Some("this kernel answers requests without a PASID itself")
                }
                _ => None,
            },
            Some(Vendor::ArmSmmuv3) if !self.kernel.has(Quirk::SmmuStallsDelivered) => {
                Some("with this kernel no stall reaches the queue")
            }
            Some(Vendor::ArmSmmuv3) if !self.stalls() => {
                Some("the device cannot stall, so no fault comes")
            }
            Some(Vendor::ArmSmmuv3) => None,
            Some(Vendor::Amd) => Some("its driver answers every request itself"),
            Some(Vendor::Riscv) | None => Some("the driver handles no page requests"),
        };
        let finding = what.map_or(Finding::Present(Value::Flag), |what| match faults {
            Faults::Device => silent(ATTACH, what),
            Faults::Pasid => silent(ATTACH_PASID, what),
        });
        match faults {
            Faults::Device => self.set(capability, finding),
            Faults::Pasid => self.set_pasid(capability, finding),
        }
    }

    /// Whether an SMMUv3 lets the device stall (`arm_smmu_probe_device`).
    fn stalls(&self) -> bool {
        let listed = {
            let Function { vendor, device, revision, .. } = *self.function;
            may_stall(vendor, device, revision)
        };
        let idr0 = self.profile.host.registers.get("IDR0").copied().unwrap_or(0);
        match smmuv3::STALL_MODEL.of(idr0) {
            0 => listed,
            2 => true,
            _ => false,
        }
    }
}

fn vendor_of(kind: u32) -> Option<Vendor> {
    match kind {
        IOMMU_HW_INFO_TYPE_INTEL_VTD => Some(Vendor::IntelVtd),
        IOMMU_HW_INFO_TYPE_ARM_SMMUV3 => Some(Vendor::ArmSmmuv3),
        IOMMU_HW_INFO_TYPE_AMD => Some(Vendor::Amd),
        _ => None,
    }
}

fn error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.code())
}
