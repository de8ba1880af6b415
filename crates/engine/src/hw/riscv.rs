//! RISC-V IOMMU (`drivers/iommu/riscv`).
//!
//! Linux's driver has no `capable` operation, so that nothing behind it can be bound. Binding is an
//! extension of ours; all else answers as the unchanged driver would: one stage of paging, and nothing
//! that a flag could ask for.

pub(super) mod lookup;

use profile::registers::riscv::*;
use profile::{Kernel, Quirk, machine};
use pt::Translation;
use pt::format::riscv::Stage;
use uapi::iommufd::IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED;

use super::request::Request;
use super::{
    Attach, Context, Denied, DeviceState, Domain, Hardware, HwInfo, Leads, PagingDomain,
    PagingRequest, Table as AnyTable, pci_mut, unfit, unsupported,
};
use crate::Refusal;
use crate::dma::{Programmed, Tag};
use crate::tables::{Direct, HostFormat, Reach};
use crate::task::Task;

/// An IOMMU under a kernel.
#[derive(Debug)]
pub(crate) struct Riscv {
    pub unit: machine::Riscv,
    pub kernel: &'static Kernel,
}

/// A paging domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    /// Bits of input address.
    width: u32,
}

impl Riscv {
    /// The widest mode; one bit of it is a sign.
    fn width(&self) -> Option<u32> {
        let modes = [(SV57, 57), (SV48, 48), (SV39, 39)];
        let widest = modes.iter().find(|(mode, _)| mode.is_set(self.unit.capabilities));
        widest.map(|(_, width)| *width)
    }

    fn page_sizes(&self, width: u32) -> u64 {
        let svnapot = 1 << 16;
        let common = 1 << 12 | 1 << 21 | 1 << 30;
        match (self.kernel.has(Quirk::RiscvGenericPt), width) {
            (_, 39) if !self.kernel.has(Quirk::RiscvGenericPt) => common,
            (false, _) => common | 1 << 39,
            (true, 39) => common | svnapot,
            (true, 48) => common | svnapot | 1 << 39,
            (true, _) => common | svnapot | 1 << 39 | 1 << 48,
        }
    }
}

impl Hardware for Riscv {
    fn hw_info(&self, _device: &DeviceState, _wanted: u32) -> Result<HwInfo, Refusal> {
        Ok(HwInfo { capabilities: IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED, ..Default::default() })
    }

    fn has_dirty_tracking(&self, _device: &DeviceState) -> bool {
        false
    }

    fn has_paging_flags(&self) -> bool {
        false
    }

    /// `riscv_iommu_alloc_paging_domain`
    fn alloc_paging(
        &self,
        task: &mut Task<'_>,
        _device: &DeviceState,
        request: PagingRequest,
    ) -> Result<PagingDomain, Refusal> {
        if let Some(data) = request.data {
            return Err(unsupported("data_type", data.kind));
        }
        let no_mode = "the IOMMU has neither Sv39 nor Sv48 nor Sv57";
        let width = self.width().ok_or(Refusal::NoDevice { what: no_mode })?;
        task.allocate()?;
        Ok(PagingDomain {
            table: AnyTable::Riscv(Table { width }),
            format: Some(HostFormat::Riscv(pt::format::Riscv {
                levels: ((width - 12) / 9) as u8,
                stage: Stage::First { supervisor_sees_user: false },
                marks: false,
                napot: true,
                memory_types: true,
                software_bits: false,
            })),
            page_sizes: self.page_sizes(width),
            aperture: 0..=(u64::MAX >> (65 - width)),
            dirty_needs_tracking: false,
            read_only: true,
            coherent: false,
            identifier: None,
        })
    }

    /// `riscv_iommu_attach_paging_domain`
    fn attach(&self, device: &mut DeviceState, attach: Attach) -> Result<(), Refusal> {
        match attach.domain {
            None => {}
            Some(Domain::Paging(AnyTable::Riscv(table))) if self.width() >= Some(table.width) => {}
            Some(Domain::Paging(AnyTable::Riscv(_))) => {
                return Err(Refusal::NoDevice { what: "the IOMMU lacks the table's mode" });
            }
            Some(_) => return Err(unfit("it is of another driver")),
        }
        pci_mut(device).count_faulting(attach);
        Ok(())
    }

    fn context(
        &self,
        programmed: &Programmed,
        request: &Request,
        _memory: &Reach<'_>,
    ) -> Result<Context, Denied> {
        if request.translation_only {
            return Err(Denied::for_good(lookup::DISALLOWED));
        }
        let tables = programmed.host.as_ref().filter(|_| request.pasid.is_none());
        let leads = match tables.map(|tables| (tables.format(), tables.root())) {
            Some((HostFormat::Riscv(format), root)) => {
                Leads::Riscv(lookup::Context::first_stage(*format, root))
            }
            _ => Leads::Nowhere,
        };
        Ok(Context { tag: Tag { domain: programmed.domain, space: 0 }, leads })
    }

    fn translate(
        &self,
        context: &Context,
        request: &Request,
        memory: &Reach<'_>,
    ) -> Result<Translation, Denied> {
        let Leads::Riscv(context) = context.leads else {
            return Err(Denied::for_good(lookup::BLOCKED));
        };
        let found = context.translate(*request, memory);
        found.map_err(|refused| Denied::for_good(refused.cause))
    }

    fn direct(&self, context: &Context) -> Option<Direct> {
        let Leads::Riscv(context) = context.leads else { return None };
        context.direct()
    }
}
