//! The dry run of one device.

use profile::capability::Capability;
use profile::finding::{Cause, Finding, Host, Profile, Value};
use profile::machine::{Bdf, Vendor, may_stall};
use profile::registers::{smmuv3, vtd};
use profile::{Kernel, Quirk};
use uapi::Errno;
use uapi::iommufd::*;
use zerocopy::FromBytes;

use super::tries::{
    dirty_tracking, nested_pasid, nested_smmuv3, nested_vtd, page_faults, pasid, read_only,
    with_ioas, with_page,
};
use super::{CannotAsk, absent, commands, finish, found, set_iommu, silent};
use crate::file::OpenFile;
use crate::session::{Failed, Queue, Result, Session, Table, fault_queue, open_device, open_iommu};
use crate::system::{Function, System};

const ATTACH: &str = "VFIO_DEVICE_ATTACH_IOMMUFD_PT";
const ATTACH_PASID: &str = "VFIO_DEVICE_ATTACH_IOMMUFD_PT(PASID)";

/// The dry run of one device.
pub struct Probe<'s> {
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
    pub fn new(
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

    /// Tries everything with the device node of this number.
    pub fn run(mut self, number: u32) -> std::result::Result<Profile, CannotAsk> {
        let iommu = self.system.open_iommu().map_err(CannotAsk::no_iommufd)?;
        self.set(Capability::Iommufd, Finding::Present(Value::Flag));
        commands(&mut self.profile, &iommu);
        // needs no device, so it is known even where none can be bound
        let queue = fault_queue(&iommu).and_then(|queue| queue.end(&iommu));
        self.set(Capability::FaultQueue, found(queue));
        set_iommu(&mut self.profile, Some(&self.function.iommu));
        match open_device(self.system, number) {
            Ok(device) => {
                self.set(Capability::VfioDevice, Finding::Present(Value::Flag));
                self.bind(iommu, device)?;
            }
            Err(failed) if self.is_without_nodes(number, &failed) => {
                self.set(Capability::VfioDevice, absent(failed));
            }
            Err(failed) if failed.is_for_want() => return Err(failed.into()),
            Err(failed) => return Err(CannotAsk::NoAccess { number, reason: failed.errno }),
        }
        finish(&mut self.profile);
        match self.want() {
            Some(failed) => Err(failed.into()),
            None => Ok(self.profile),
        }
    }

    /// Whether this kernel has no device nodes, rather than that they are elsewhere.
    fn is_without_nodes(&self, number: u32, failed: &Failed) -> bool {
        let there = self.system.has_node(self.function.address, number);
        failed.errno == Errno::ENOENT && !there
    }

    fn bind(&mut self, iommu: OpenFile, device: OpenFile) -> std::result::Result<(), CannotAsk> {
        match Session::bind(iommu, device) {
            Ok(session) => {
                self.set(Capability::Bind, Finding::Present(Value::Flag));
                self.device(&session);
            }
            Err(failed) => {
                if let Some(reason) = self.taken(failed.errno) {
                    return Err(reason);
                }
                self.set(Capability::Bind, absent(failed));
            }
        }
        Ok(())
    }

    /// Who has the device, or one of its group, if that is what a refused BIND means.
    fn taken(&self, errno: Errno) -> Option<CannotAsk> {
        let address = self.function.address;
        if errno != Errno::EPERM {
            return is_taken(self.system, address, errno).then_some(CannotAsk::InUse(address));
        }
        // the other reason is interrupts that are not isolated, with which nobody has any of the group
        for (sibling, driver) in self.system.siblings(address) {
            match driver {
                Some(driver) if !is_harmless(&driver) => {
                    return Some(CannotAsk::SharedGroup { address, sibling, driver });
                }
                _ if is_in_use(self.system, sibling) => return Some(CannotAsk::InUse(sibling)),
                _ => {}
            }
        }
        None
    }

    /// A call that failed for want of memory or descriptors.
    fn want(&self) -> Option<Failed> {
        self.profile.findings().find_map(|(_, finding)| match finding {
            Finding::Absent(Cause::Refused { call, errno }) => {
                Some(Failed { call: call.clone(), errno: *errno }).filter(Failed::is_for_want)
            }
            _ => None,
        })
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

/// Whether a BIND that is refused so means that somebody has the device.
fn is_taken(system: &System, address: Bdf, errno: Errno) -> bool {
    match errno {
        Errno::EBUSY => true,
        // the other reason is memory that firmware keeps mapped for a device of the group
        Errno::EINVAL => !system.has_direct_regions(address),
        _ => false,
    }
}

/// Whether another program has a device, by binding it.
fn is_in_use(system: &System, address: Bdf) -> bool {
    let functions = system.functions();
    let number = functions.iter().find(|it| it.address == address).and_then(|it| it.vfio);
    let Some(number) = number else { return false };
    let (Ok(iommu), Ok(device)) = (open_iommu(system), open_device(system, number)) else {
        return false;
    };
    Session::bind(iommu, device).is_err_and(|failed| is_taken(system, address, failed.errno))
}

/// Whether a driver leaves the group's DMA to programs (`driver_managed_dma`).
fn is_harmless(driver: &str) -> bool {
    driver == "pci-stub" || driver == "pcieport" || driver.contains("vfio")
}

fn vendor_of(kind: u32) -> Option<Vendor> {
    match kind {
        IOMMU_HW_INFO_TYPE_INTEL_VTD => Some(Vendor::IntelVtd),
        IOMMU_HW_INFO_TYPE_ARM_SMMUV3 => Some(Vendor::ArmSmmuv3),
        IOMMU_HW_INFO_TYPE_AMD => Some(Vendor::Amd),
        _ => None,
    }
}
