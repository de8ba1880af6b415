//! AMD-Vi (`drivers/iommu/amd`).
//!
//! | Linux's word | meaning |
//! |---|---|
//! | v1 | tables of the host: dirty tracking, nesting parents |
//! | v2 | tables as the CPU's, which a PASID would need; no PASID can be attached all the same |
//!
//! No release up to 7.3 puts a guest's table on a nesting parent, attaches a PASID, or hands a page
//! fault to a program.

pub(super) mod lookup;

use std::ops::RangeInclusive;

use profile::machine;
use profile::registers::amd::*;
use profile::{Kernel, Quirk};
use pt::Translation;
use pt::format::{AmdV1, X86_64};
use uapi::iommufd::{
    IOMMU_HW_CAP_DIRTY_TRACKING, IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED, IOMMU_HW_INFO_TYPE_AMD,
    IOMMU_HW_INFO_TYPE_DEFAULT, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, IOMMU_HWPT_ALLOC_NEST_PARENT,
    IOMMU_HWPT_ALLOC_PASID, iommu_hw_info_amd,
};
use zerocopy::IntoBytes;

use lookup::{DeviceEntry, Registers};

use super::request::Request;
use super::{
    Attach, Context, Denied, DeviceState, Domain, Hardware, HwInfo, Leads, PagingDomain,
    PagingRequest, Table as AnyTable, max_pasids, pci, pci_mut, unfit, unsupported,
};
use crate::Refusal;
use crate::device::NO_PASID;
use crate::dma::{Programmed, Tag};
use crate::physical;
use crate::tables::{Direct, HostFormat, Reach};
use crate::task::Task;

/// Where interrupt messages go (`amd_iommu_get_resv_regions`).
const MESSAGES: RangeInclusive<u64> = 0xfee0_0000..=0xfeef_ffff;

/// The type of the event of a device that asks for what it may not.
const INVALID_DEVICE_REQUEST: u32 = 8;

/// Hyper-transport's own addresses.
const HYPER_TRANSPORT: RangeInclusive<u64> = 0xfd_0000_0000..=0xff_ffff_ffff;

/// All powers of two from 4 KiB to 2 PiB, without 512 GiB.
const V1_PAGE_SIZES: u64 = 0x000f_ff7f_ffff_f000;

/// 4 KiB, 2 MiB and 1 GiB.
const V2_PAGE_SIZES: u64 = 1 << 12 | 1 << 21 | 1 << 30;

/// An IOMMU under a kernel.
#[derive(Debug)]
pub(crate) struct Amd {
    /// With the features that all IOMMUs of the machine have (`get_global_efr`).
    unit: machine::Amd,
    /// Whether this one itself can record writes.
    own_dirty: bool,
    kernel: &'static Kernel,
}

/// A paging domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    version: Version,
    dirty: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Amd {
    /// None when the driver finds no format that it could use (`PD_MODE_NONE`).
    pub fn new(
        unit: machine::Amd,
        machine: &[machine::Hardware],
        kernel: &'static Kernel,
    ) -> Option<Self> {
        let all = || {
            machine.iter().filter_map(|hardware| match hardware {
                machine::Hardware::Amd(unit) => Some(unit),
                _ => None,
            })
        };
        let own_dirty = HD.is_set(unit.efr);
        let efr = all().fold(u64::MAX, |common, unit| common & unit.efr);
        let efr2 = all().fold(u64::MAX, |common, unit| common & unit.efr2);
        let model = Self { unit: machine::Amd { efr, efr2, ..unit }, own_dirty, kernel };
        (model.has_v1() || model.has_v2()).then_some(model)
    }

    fn registers(&self) -> Registers {
        Registers { efr: self.unit.efr, efr2: self.unit.efr2 }
    }

    fn has(&self, quirk: Quirk) -> bool {
        self.kernel.has(quirk)
    }

    /// `v2_pgtbl_supported`
    fn has_v2(&self) -> bool {
        self.has(Quirk::AmdV2) && GIO.is_set(self.unit.efr) && GT.is_set(self.unit.efr)
    }

    /// `amd_iommu_hatdis`
    fn has_v1(&self) -> bool {
        HATS.of(self.unit.efr) != 3 || !self.has(Quirk::AmdHatsCounted)
    }

    /// `amd_iommu_gt_ppr_supported`
    fn has_page_requests(&self) -> bool {
        let efr = self.unit.efr;
        let guest = GIO.is_set(efr) || !self.has(Quirk::AmdV2);
        GT.is_set(efr) && PPR.is_set(efr) && EPH.is_set(efr) && guest
    }

    /// The tables of a paging domain. They have all levels from the start, where Linux adds some as
    /// addresses grow.
    fn format(&self, version: Version, marks: bool) -> HostFormat {
        match version {
            Version::V1 => HostFormat::AmdV1(AmdV1 { levels: 6, marks }),
            Version::V2 => HostFormat::X86_64(X86_64 {
                levels: self.guest_levels() as u8,
                address_bits: physical::WIDTH.into(),
                gigabyte_pages: true,
                write_protect: true,
                extended_accessed: false,
            }),
        }
    }

    fn guest_levels(&self) -> u32 {
        if self.unit.cpu_la57 && GATS.of(self.unit.efr) == 1 { 5 } else { 4 }
    }

    /// `amd_iommu_pasid_supported`
    fn takes_pasids(&self) -> bool {
        let levels = !self.unit.cpu_la57 || self.guest_levels() == 5;
        levels && self.has_page_requests()
    }

    fn tracks_dirty(&self) -> bool {
        self.own_dirty && self.has_v1()
    }

    /// `iommu->iommu.max_pasids`: one less than a power of two. More than 16 bits stop the kernel
    /// (`PASID_MASK`, `iommu_init_pci`), so here there are no more.
    fn pasids(&self) -> u32 {
        let efr = self.unit.efr;
        let bits = (PASMAX.of(efr) + 1).min(16);
        if GT.is_set(efr) { (1 << bits) - 1 } else { 0 }
    }

    fn has_ats(&self, device: &machine::Device) -> bool {
        device.ats && self.has_page_requests()
    }

    /// Whether the driver's part for iommufd is there.
    fn has_iommufd(&self) -> bool {
        self.unit.iommufd && self.has(Quirk::AmdNestParent)
    }

    /// `amd_iommu_domain_alloc_paging_flags`, before 6.13 `amd_iommu_domain_alloc_user`.
    fn version_for(&self, flags: u32) -> Option<Version> {
        let v1 = self.has_v1().then_some(Version::V1);
        let efr = self.unit.efr;
        match flags {
            0 => v1.or(self.has_v2().then_some(Version::V2)),
            IOMMU_HWPT_ALLOC_PASID => self.takes_pasids().then_some(Version::V2),
            _ if flags & IOMMU_HWPT_ALLOC_PASID != 0 => None,
            _ => {
                let parent = flags & IOMMU_HWPT_ALLOC_NEST_PARENT != 0;
                let nests = self.has(Quirk::AmdNestParent)
                    && GT.is_set(efr)
                    && GIO.is_set(efr)
                    && GCR3TRP.is_set(self.unit.efr2);
                let dirty = flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING != 0;
                v1.filter(|_| (!parent || nests) && (!dirty || self.tracks_dirty()))
            }
        }
    }

    fn aperture_last(&self, version: Version) -> u64 {
        let bits = match version {
            // once the half of the addresses that is the guest kernel's was counted, too
            Version::V2 => {
                9 * self.guest_levels() + if self.has(Quirk::AmdV2Half) { 11 } else { 12 }
            }
            Version::V1 if !self.has(Quirk::AmdHatsCounted) => 64,
            Version::V1 => self.host_bits(),
        };
        u64::MAX >> (64 - bits)
    }

    /// Bits of address of v1 tables.
    fn host_bits(&self) -> u32 {
        let levels = ((HATS.of(self.unit.efr) as u32 + 3) * 9 + 21).min(64);
        if self.has(Quirk::AmdVaSizeCounted) { levels.min(self.unit.va_bits) } else { levels }
    }

    fn page_sizes(&self, version: Version) -> u64 {
        if version == Version::V2 {
            return V2_PAGE_SIZES;
        }
        if !self.has(Quirk::AmdPageSizesCapped) {
            return !0xfff & !(1 << 39);
        }
        let bits = self.host_bits();
        match (self.has(Quirk::AmdVaSizeCounted), self.has(Quirk::AmdGenericPt)) {
            // all that is smaller than the whole table
            (true, _) => V1_PAGE_SIZES & ((1 << (bits - 1)) - 1),
            (false, true) if bits < 64 => V1_PAGE_SIZES & ((1 << bits) - 1),
            _ => V1_PAGE_SIZES,
        }
    }

    /// Whether tables of GCR3 for a device's PASIDs have more levels than the IOMMU (`get_gcr3_levels`).
    fn is_too_deep(&self, device: &machine::Device) -> bool {
        let pasids = max_pasids(device, self.pasids()).max(1);
        let bits = u32::BITS - (pasids - 1).leading_zeros();
        u64::from(bits.div_ceil(9).saturating_sub(1)) > GLX.of(self.unit.efr)
    }
}

impl Hardware for Amd {
    fn hw_info(&self, device: &DeviceState, wanted: u32) -> Result<HwInfo, Refusal> {
        let tells = self.has_iommufd();
        if tells && wanted != IOMMU_HW_INFO_TYPE_DEFAULT && wanted != IOMMU_HW_INFO_TYPE_AMD {
            return Err(unsupported("in_data_type", wanted));
        }
        let facts = &pci(device).facts;
        let dirty = if self.tracks_dirty() { IOMMU_HW_CAP_DIRTY_TRACKING } else { 0 };
        let no_ats = if self.has_ats(facts) { 0 } else { IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED };
        let info = iommu_hw_info_amd { efr: self.unit.efr, efr2: self.unit.efr2 };
        Ok(HwInfo {
            kind: if tells { IOMMU_HW_INFO_TYPE_AMD } else { IOMMU_HW_INFO_TYPE_DEFAULT },
            data: if tells { info.as_bytes().to_vec() } else { Vec::new() },
            capabilities: dirty | no_ats,
            max_pasid_log2: max_pasids(facts, self.pasids()).checked_ilog2().unwrap_or(0) as u8,
        })
    }

    fn has_dirty_tracking(&self, _device: &DeviceState) -> bool {
        self.tracks_dirty()
    }

    fn reserved(&self, _device: &DeviceState) -> Vec<RangeInclusive<u64>> {
        let ordinary =
            HT_RANGE_IGNORE.is_set(self.unit.efr2) && self.has(Quirk::AmdHyperTransportOptional);
        if ordinary { vec![MESSAGES] } else { vec![MESSAGES, HYPER_TRANSPORT] }
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
        let version = self.version_for(flags).ok_or(unsupported("flags", flags))?;
        task.allocate()?;
        Ok(PagingDomain {
            table: AnyTable::Amd(Table {
                version,
                dirty: flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING != 0,
            }),
            format: Some(self.format(version, flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING != 0)),
            page_sizes: self.page_sizes(version),
            aperture: 0..=self.aperture_last(version),
            dirty_needs_tracking: !self.has(Quirk::AmdGenericPt),
            read_only: true,
            coherent: true,
            identifier: None,
        })
    }

    fn has_nesting(&self) -> bool {
        // once one operation made every domain, and only its look at the parent refused
        !self.has(Quirk::AmdV2)
    }

    /// `amd_iommu_attach_device`. No domain of this driver can be attached to a PASID.
    fn attach(&self, device: &mut DeviceState, attach: Attach) -> Result<(), Refusal> {
        let table = match attach.domain {
            Some(Domain::Paging(AnyTable::Amd(table))) => Some(table),
            None => None,
            Some(_) => return Err(unfit("it is of another driver")),
        };
        if attach.pasid != NO_PASID && table.is_some() {
            return Err(unsupported("pasid", attach.pasid));
        }
        if table.is_some_and(|table| table.dirty) && !self.own_dirty {
            return Err(unfit("it tracks dirty pages, which the IOMMU cannot (EFR.HDSup)"));
        }
        let state = pci_mut(device);
        if table.is_some_and(|it| it.version == Version::V2) && self.is_too_deep(&state.facts) {
            return Err(unfit("the device has more PASIDs than tables of GCR3 hold (EFR.GLXSup)"));
        }
        state.count_faulting(attach);
        Ok(())
    }

    /// No domain of this driver is attached to a PASID.
    fn context(
        &self,
        programmed: &Programmed,
        request: &Request,
        memory: &Reach<'_>,
    ) -> Result<Context, Denied> {
        let domain = programmed.domain as u16;
        // what has no ATS may not ask
        let has_ats = programmed.facts.as_ref().is_some_and(|facts| facts.ats);
        if request.translation_only && !has_ats {
            return Err(Denied::for_good(INVALID_DEVICE_REQUEST));
        }
        let tables = programmed.host.as_ref().filter(|_| request.pasid.is_none());
        let context = match tables.map(|tables| (tables.format(), tables)) {
            Some((HostFormat::X86_64(format), tables)) => {
                Ok(lookup::Context::own(domain, *format, tables.root()))
            }
            Some((HostFormat::AmdV1(format), tables)) => {
                let (root, records) = (tables.root(), tables.records());
                let entry = DeviceEntry::host(domain, root, format.levels, records);
                self.registers().context(entry, *request, memory)
            }
            _ => self.registers().context(DeviceEntry::BLOCKED, *request, memory),
        };
        let tag = Tag { domain: programmed.domain, space: 0 };
        context.map(|context| Context { tag, leads: Leads::Amd(context) }).map_err(denied)
    }

    fn translate(
        &self,
        context: &Context,
        request: &Request,
        memory: &Reach<'_>,
    ) -> Result<Translation, Denied> {
        let Leads::Amd(context) = context.leads else { return Err(Denied::for_good(0)) };
        context.translate(*request, memory).map_err(denied)
    }

    fn direct(&self, context: &Context) -> Option<Direct> {
        let Leads::Amd(context) = context.leads else { return None };
        context.direct()
    }

    fn has_viommus(&self) -> bool {
        self.has_iommufd()
    }

    /// Any type at all (`amd_iommufd_get_viommu_size`).
    fn check_viommu(&self, _kind: u32) -> Result<(), Refusal> {
        Ok(())
    }
}

fn denied(refused: lookup::Refused) -> Denied {
    let code = refused.kind as u32;
    Denied { code, recoverable: refused.recoverable, stalls: false, event: None }
}
