//! Arm SMMUv3 (`drivers/iommu/arm/arm-smmu-v3`).
//!
//! | Linux's word | meaning |
//! |---|---|
//! | S1, S2 | the two stages; an S2 is a nesting parent, an S1 can be bound to a PASID |
//! | vSTE | a guest's stream table entry: its stage 1 with all its PASIDs |
//! | stall | a transaction that waits for a page; page requests (PRI) are not used |
//!
//! [`lookup`] is the hardware: what an SMMU makes of a request. The rest is Linux's driver for it.
//!
//! *What it doesn't do*: NVIDIA's command queue virtualization (types 2 and 3), which is on no machine.

mod commands;
mod dma;
pub(super) mod lookup;
mod unit;
mod y2020;

use std::ops::RangeInclusive;
use std::sync::Arc;

use profile::machine::{self, ArmSmmuv3};
use profile::registers::Field;
use profile::registers::smmuv3::*;
use profile::{Kernel, Quirk};
use pt::Translation;
use uapi::iommufd::{
    IOMMU_HW_CAP_DIRTY_TRACKING, IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED, IOMMU_HW_CAP_PCI_PASID_EXEC,
    IOMMU_HW_CAP_PCI_PASID_PRIV, IOMMU_HW_INFO_TYPE_ARM_SMMUV3, IOMMU_HW_INFO_TYPE_DEFAULT,
    IOMMU_HWPT_ALLOC_DIRTY_TRACKING, IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_ALLOC_PASID,
    IOMMU_HWPT_DATA_ARM_SMMUV3, IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
    IOMMU_VIOMMU_TYPE_ARM_SMMUV3, iommu_hw_info_arm_smmuv3, iommu_hwpt_arm_smmuv3,
    iommu_viommu_arm_smmuv3_invalidate,
};
use uapi::y2020::fault::iommu_fault_unrecoverable;
use uapi::y2020::v5_10::{iommu_cache_invalidate_info, iommu_pasid_table_config};
use zerocopy::IntoBytes;

use super::identifiers::Pool;
use super::request::Request;
use super::{
    ApplyToDevice, Attach, Context, Denied, DeviceState, Domain, Handled, Hardware, HwInfo, Leads,
    Nested as AnyNested, NestedRequest, NestedView, PagingDomain, PagingRequest, PciState, Report,
    Requests, Table as AnyTable, Users, ViommuMade, max_pasids, pci, pci_mut, reaches_driver,
    unfit, unsupported,
};
use crate::Refusal;
use crate::device::NO_PASID;
use crate::dma::{PageRequest, Programmed};
use crate::tables::{Direct, Reach};
use crate::task::{Source, Task, UserData};
use crate::viommu::Regions;

/// Where interrupt messages are mapped (`MSI_IOVA_BASE`).
const MESSAGES: RangeInclusive<u64> = 0x800_0000..=0x80f_ffff;

/// An SMMU under a kernel.
#[derive(Debug)]
pub(crate) struct Smmuv3 {
    unit: ArmSmmuv3,
    kernel: &'static Kernel,
    asids: Arc<Pool>,
    vmids: Arc<Pool>,
}

/// The ASIDs of a machine, which all its SMMUs share (`arm_smmu_asid_xa`).
pub(super) fn asids(machine: &[machine::Hardware]) -> Pool {
    let wide = machine.iter().all(|hardware| match hardware {
        machine::Hardware::ArmSmmuv3(unit) => ASID16.is_set(unit.idr[index(ASID16)].into()),
        _ => true,
    });
    Pool::new(identifiers(wide))
}

/// How many identifiers 16 or 8 bits hold; 0 is none.
fn identifiers(wide: bool) -> usize {
    if wide { (1 << 16) - 1 } else { (1 << 8) - 1 }
}

/// A paging domain. It belongs to the SMMU that it was made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    smmu: u64,
    stage: Stage,
    /// Made for a device that always writes back, so only such devices may attach.
    enforce_coherency: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    S1,
    S2,
}

/// A guest's stream table entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nested {
    smmu: u64,
    ste: [u64; 2],
}

/// What an STE does with a stream (SMMUv3 5.2, `Config`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Config {
    Abort,
    Bypass,
    Stage1,
}

/// Commands that go to the hardware together (`CMDQ_BATCH_ENTRIES`, less the sync).
const BATCH: usize = 63;

const STE_VALID: u64 = 1;

/// The fields that a guest may set, in both words (`STRTAB_STE_0_NESTING_ALLOWED`, `_1_`).
const STE_ALLOWED: [u64; 2] = [0xf80f_ffff_ffff_ffff, 0x3800_00ff];

impl Nested {
    /// Whether it asks for ATS, which counts only with a stage 1.
    fn wants_ats(&self) -> bool {
        self.config() == Config::Stage1 && (self.ste[1] >> 28) & 3 == 1
    }

    fn config(&self) -> Config {
        match (self.ste[0] >> 1) & 7 {
            5 => Config::Stage1,
            4 => Config::Bypass,
            _ => Config::Abort,
        }
    }
}

impl Smmuv3 {
    /// None when the driver gives the SMMU up.
    pub fn new(unit: ArmSmmuv3, asids: Arc<Pool>, kernel: &'static Kernel) -> Option<Self> {
        let wide = VMID16.is_set(unit.idr[index(VMID16)].into());
        let model = Self { unit, kernel, asids, vmids: Arc::new(Pool::new(identifiers(wide))) };
        model.is_usable().then_some(model)
    }

    fn has(&self, quirk: Quirk) -> bool {
        self.kernel.has(quirk)
    }

    fn field(&self, field: Field) -> u64 {
        field.of(self.unit.idr[index(field)].into())
    }

    fn is_set(&self, field: Field) -> bool {
        self.field(field) != 0
    }

    /// `arm_smmu_enable_iopf`; up to 6.15 `arm_smmu_dev_enable_feature`.
    fn enable_faults(&self, device: &PciState, attach: Attach) -> Result<(), Refusal> {
        let asks = attach.begins_to_fault() && device.faulting == 0;
        if asks && !self.has(Quirk::IopfByDriver) && !self.stalls(&device.facts) {
            return Err(unfit("the device cannot stall, so its faults reach nobody"));
        }
        Ok(())
    }

    /// `arm_smmu_attach_dev`, `arm_smmu_s1_set_dev_pasid`
    fn attach_paging(&self, attach: Attach, table: Table) -> Result<(), Refusal> {
        if table.smmu != self.unit.address {
            // to a domain of another, some kernels attached nothing, and told nobody
            let ignored = attach.pasid == NO_PASID && self.has(Quirk::SmmuForeignIgnored);
            return if ignored { Ok(()) } else { Err(unfit("it is of another SMMU")) };
        }
        if attach.pasid != NO_PASID && table.stage == Stage::S2 {
            return Err(unfit("a PASID needs a stage 1"));
        }
        self.check_coherency(table.enforce_coherency)
    }

    fn check_coherency(&self, enforced: bool) -> Result<(), Refusal> {
        if enforced && !self.unit.canwbs {
            return Err(unfit("it was made for a device that always writes back (CANWBS)"));
        }
        Ok(())
    }

    /// `arm_smmu_attach_dev_nested`
    fn attach_nested(&self, nested: Nested, has_vdevice: bool) -> Result<(), Refusal> {
        if nested.smmu != self.unit.address {
            return Err(unfit("it is of another SMMU"));
        }
        let exempt = nested.config() != Config::Stage1 && self.has(Quirk::SmmuAbortNeedsNoVdevice);
        if self.has(Quirk::SmmuNeedsVdevice) && !has_vdevice && !exempt {
            return Err(Refusal::NotFound { what: "vDEVICE of the device", value: 0 });
        }
        Ok(())
    }
}

impl Hardware for Smmuv3 {
    fn is_coherent(&self) -> bool {
        self.unit.coherent
    }

    fn hw_info(&self, device: &DeviceState, wanted: u32) -> Result<HwInfo, Refusal> {
        if wanted != IOMMU_HW_INFO_TYPE_DEFAULT && wanted != IOMMU_HW_INFO_TYPE_ARM_SMMUV3 {
            return Err(unsupported("in_data_type", wanted));
        }
        let facts = &pci(device).facts;
        let pasids = max_pasids(facts, self.pasids());
        let bits = [
            (IOMMU_HW_CAP_DIRTY_TRACKING, self.tracks_dirty()),
            (IOMMU_HW_CAP_PCI_PASID_EXEC, facts.pasid.is_some_and(|pasid| pasid.execute)),
            (IOMMU_HW_CAP_PCI_PASID_PRIV, facts.pasid.is_some_and(|pasid| pasid.privileged)),
            (IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED, !self.has_ats(facts)),
        ];
        let capabilities = bits.iter().filter(|(_, set)| *set).fold(0, |all, (bit, _)| all | bit);
        let max_pasid_log2 = pasids.checked_ilog2().unwrap_or(0) as u8;
        if !self.has(Quirk::SmmuNesting) {
            return Ok(HwInfo { capabilities, max_pasid_log2, ..Default::default() });
        }
        let info = iommu_hw_info_arm_smmuv3 {
            flags: 0,
            __reserved: 0,
            idr: self.unit.idr,
            iidr: self.unit.iidr,
            aidr: self.unit.aidr,
        };
        let (kind, data) = (IOMMU_HW_INFO_TYPE_ARM_SMMUV3, info.as_bytes().to_vec());
        Ok(HwInfo { kind, data, capabilities, max_pasid_log2 })
    }

    fn has_dirty_tracking(&self, _device: &DeviceState) -> bool {
        self.tracks_dirty()
    }

    fn reserved(&self, _device: &DeviceState) -> Vec<RangeInclusive<u64>> {
        vec![MESSAGES]
    }

    fn has_paging_flags(&self) -> bool {
        self.has(Quirk::SmmuDirtyTracking)
    }

    fn alloc_paging(
        &self,
        task: &mut Task<'_>,
        _device: &DeviceState,
        request: PagingRequest,
    ) -> Result<PagingDomain, Refusal> {
        const FLAGS: u32 =
            IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_DIRTY_TRACKING | IOMMU_HWPT_ALLOC_PASID;
        let flags = request.flags_of(FLAGS)?;
        let stage = self.stage_for(flags).ok_or(unsupported("flags", flags))?;
        task.allocate()?;
        let page_sizes = self.page_sizes();
        if page_sizes == 0 {
            return Err(Refusal::NoMemory);
        }
        let identifier = match stage {
            Stage::S1 => {
                let why = "all are in use";
                self.asids.take().ok_or(Refusal::Busy { what: "the pool of ASIDs", why })
            }
            Stage::S2 => {
                self.vmids.take().ok_or(Refusal::NoIdentifier { what: "VMID of the SMMU" })
            }
        };
        Ok(PagingDomain {
            identifier: Some(identifier?),
            coherent: self.unit.canwbs && self.has(Quirk::SmmuNesting),
            table: AnyTable::Smmuv3(Table {
                smmu: self.unit.address,
                stage,
                enforce_coherency: self.unit.canwbs && self.has(Quirk::SmmuNesting),
            }),
            format: Some(self.format(stage)),
            page_sizes,
            aperture: 0..=(u64::MAX >> (64 - self.width(stage))),
            dirty_needs_tracking: false,
            read_only: true,
        })
    }

    fn has_nesting(&self) -> bool {
        // once one operation made every domain, and only its look at the parent refused
        self.has(Quirk::SmmuDirtyTracking) && !self.has(Quirk::SmmuNesting)
    }

    /// `arm_vsmmu_alloc_domain_nested`
    fn alloc_nested(
        &self,
        task: &mut Task<'_>,
        request: NestedRequest,
    ) -> Result<AnyNested, Refusal> {
        let NestedRequest { flags, data, through_viommu, .. } = request;
        if !through_viommu || flags != 0 {
            return Err(unsupported("flags", flags));
        }
        let whole = size_of::<iommu_hwpt_arm_smmuv3>();
        let it: iommu_hwpt_arm_smmuv3 = data.load(task, IOMMU_HWPT_DATA_ARM_SMMUV3, whole)?;
        let ste = valid_ste(it.ste)?;
        task.allocate()?;
        Ok(AnyNested::Smmuv3(Nested { smmu: self.unit.address, ste }))
    }

    fn attach(&self, device: &mut DeviceState, attach: Attach) -> Result<(), Refusal> {
        let state = pci_mut(device);
        self.enable_faults(state, attach)?;
        if reaches_driver(attach, max_pasids(&state.facts, self.pasids()))? {
            match attach.domain {
                None => {}
                Some(Domain::Paging(AnyTable::Smmuv3(table))) => {
                    self.attach_paging(attach, table)?;
                }
                Some(Domain::Nested(NestedView::Smmuv3(nested), viommu)) => {
                    let has_vdevice = viommu.is_some_and(|(_, virt_id)| virt_id.is_some());
                    self.attach_nested(nested, has_vdevice)?;
                }
                Some(_) => return Err(unfit("it is of another driver")),
            }
        }
        state.count_faulting(attach);
        Ok(())
    }

    /// `arm_vsmmu_cache_invalidate`
    fn invalidate_viommu(
        &self,
        task: &mut Task<'_>,
        users: &Users,
        requests: Requests,
        apply: &mut ApplyToDevice<'_>,
    ) -> Handled {
        const KIND: u32 = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3;
        let commands: Vec<iommu_viommu_arm_smmuv3_invalidate> = match requests.load_all(task, KIND)
        {
            Ok(commands) => commands,
            Err(refused) => return refused,
        };
        let mut batch = Vec::with_capacity(BATCH);
        for (index, command) in (0..).zip(commands) {
            match self.convert(command.cmd, apply) {
                Ok(command) => batch.push(command),
                // those since the last full batch count as done, and were never sent
                Err(refusal) => return (index, Err(refusal)),
            }
            if batch.len() == BATCH {
                batch.drain(..).for_each(|command| self.execute(users, &command));
            }
        }
        batch.iter().for_each(|command| self.execute(users, command));
        (requests.count, Ok(()))
    }

    /// Context descriptors are in the guest's memory.
    fn guests_own_pasids(&self) -> bool {
        true
    }

    fn context(
        &self,
        programmed: &Programmed,
        request: &Request,
        memory: &Reach<'_>,
    ) -> Result<Context, Denied> {
        self.read_context(programmed, request, memory)
    }

    fn translate(
        &self,
        context: &Context,
        request: &Request,
        memory: &Reach<'_>,
    ) -> Result<Translation, Denied> {
        self.walk(context, request, memory)
    }

    fn direct(&self, context: &Context) -> Option<Direct> {
        let Leads::Smmuv3(context) = context.leads else { return None };
        context.direct()
    }

    /// Page requests by PRI are answered by the driver (`arm_smmu_handle_ppr`).
    fn report_of(&self, _request: &PageRequest) -> Report {
        Report::Refuse
    }

    /// `arm_vmaster_report_event`: with the stream ID of the guest's.
    fn event_for_guest(&self, mut event: [u64; 4], virt_id: u64) -> Vec<u8> {
        event[0] = event[0] & u64::from(u32::MAX) | virt_id << 32;
        event.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn pasid_table(
        &self,
        config: &iommu_pasid_table_config,
        devices: &[&DeviceState],
    ) -> Result<UserData, Refusal> {
        let entry = iommu_hwpt_arm_smmuv3 { ste: self.entry(config, devices)? };
        let len = size_of_val(&entry) as u32;
        Ok(UserData { kind: IOMMU_HWPT_DATA_ARM_SMMUV3, source: Source::engine(&entry), len })
    }

    fn guest_invalidation(
        &self,
        info: &iommu_cache_invalidate_info,
        virt_ids: &[u64],
    ) -> Result<Vec<Requests>, Refusal> {
        let commands = self.commands(info, virt_ids)?.into_iter();
        let requests = commands.map(|cmd| iommu_viommu_arm_smmuv3_invalidate { cmd });
        Ok(requests
            .map(|request| Requests {
                kind: IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
                source: Source::engine(&request),
                entry_len: size_of_val(&request) as u32,
                count: 1,
            })
            .collect())
    }

    fn fault_of_event(&self, event: &[u8]) -> Option<(u64, iommu_fault_unrecoverable)> {
        y2020::fault_of(event)
    }

    fn has_viommus(&self) -> bool {
        self.has(Quirk::SmmuNesting)
    }

    /// `arm_smmu_get_viommu_size`; before 6.17 the first checks of `arm_vsmmu_alloc`.
    fn check_viommu(&self, kind: u32) -> Result<(), Refusal> {
        let known = kind == IOMMU_VIOMMU_TYPE_ARM_SMMUV3 && self.nests();
        let first = self.has(Quirk::ViommuTypeFirst);
        if !known || (first && !self.is_write_back()) {
            return Err(unsupported("type", kind));
        }
        Ok(())
    }

    /// `arm_vsmmu_init`; before 6.17 the last checks of `arm_vsmmu_alloc`.
    fn init_viommu(
        &self,
        _task: &mut Task<'_>,
        parent: AnyTable,
        _data: Option<UserData>,
        _regions: &mut Regions,
    ) -> Result<ViommuMade, Refusal> {
        match parent {
            AnyTable::Smmuv3(parent) if parent.smmu == self.unit.address => {}
            _ => return Err(unfit("the nesting parent is of another SMMU")),
        }
        if !self.is_write_back() {
            return Err(unsupported("type", IOMMU_VIOMMU_TYPE_ARM_SMMUV3));
        }
        Ok(ViommuMade::default())
    }
}

/// `arm_smmu_validate_vste`
fn valid_ste(ste: [u64; 2]) -> Result<[u64; 2], Refusal> {
    if ste[0] & STE_VALID == 0 {
        return Ok([0; 2]);
    }
    if ste[0] & !STE_ALLOWED[0] != 0 || ste[1] & !STE_ALLOWED[1] != 0 {
        return Err(Refusal::Hardware { why: "the STE has a field that a guest may not set" });
    }
    if ![0, 4, 5].contains(&((ste[0] >> 1) & 7)) {
        return Err(Refusal::Hardware { why: "the STE is neither abort nor bypass nor stage 1" });
    }
    if (ste[1] >> 28) & 3 > 1 {
        return Err(Refusal::Hardware { why: "the STE's EATS is neither 0 nor 1" });
    }
    Ok(ste)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it is, the entry, and what is taken of it.
    type Case = (&'static str, [u64; 2], Option<[u64; 2]>);

    #[test]
    fn stream_table_entries() {
        #[rustfmt::skip] // one entry, one line
        let cases: &[Case] = &[
            ("invalid: the rest is not looked at", [0xffff_ffff_ffff_fffe, u64::MAX], Some([0, 0])),
            ("abort",                   [1, 0],                 Some([1, 0])),
            ("bypass",                  [0b1001, 0],            Some([0b1001, 0])),
            ("stage 1",                 [0b1011 | 0x1_0000, 0], Some([0b1011 | 0x1_0000, 0])),
            ("stage 2",                 [0b1101, 0],            None),
            ("a bit of the host's",     [1 | 1 << 52, 0],       None),
            ("a bit of the second word", [1, 1 << 8],           None),
            ("ATS on",                  [0b1011, 1 << 28],      Some([0b1011, 1 << 28])),
            ("ATS split",               [0b1011, 2 << 28],      None),
        ];
        for (name, ste, expected) in cases {
            assert_eq!(valid_ste(*ste).ok(), *expected, "{name}");
        }
    }
}
