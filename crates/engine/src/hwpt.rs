//! Hardware page tables (`drivers/iommu/iommufd/hw_pagetable.c`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use profile::Quirk;

use crate::Refusal;
use crate::device::Device;
use crate::hw::{
    Domain, Handled, Hardware, Identifier, Nested, NestedRequest, PagingRequest, Requests, Table,
};
use crate::ioas::Ioas;
use crate::ioas::domains::DomainRef;
use crate::objects::{Object, ObjectId};
use crate::state::{PtMode, State};
use crate::tables::Tables;
use crate::task::{Task, UserData};
use crate::viommu::{Vdevice, Viommu};
use uapi::iommufd::{
    IOMMU_HWPT_ALLOC_DIRTY_TRACKING, IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_ALLOC_PASID,
    IOMMU_HWPT_FAULT_ID_VALID,
};

/// A page table that shows an IOAS.
#[derive(Debug)]
pub(crate) struct PagingHwpt {
    pub ioas: ObjectId,
    pub nest_parent: bool,
    pub pasid_compat: bool,
    /// Made by an attach to an IOAS; dies with its last attachment.
    pub auto_domain: bool,
    /// Whether the hardware can record writes in it.
    pub dirty_ops: bool,
    pub fault: Option<ObjectId>,
    pub table: Table,
    /// None for a mock device, which has no tables.
    pub tables: Option<Arc<Tables>>,
    /// Tells it from all others, in whatever context.
    pub number: u64,
    /// Whether devices' writes never bypass the CPU's caches (`enforce_cache_coherency`).
    pub coherent: bool,
    /// The hardware's identifier for it, as long as it is there.
    _identifier: Option<Identifier>,
}

/// A page table of a guest, over a nesting parent.
#[derive(Debug)]
pub(crate) struct NestedHwpt {
    pub hw: Arc<dyn Hardware>,
    pub parent: ObjectId,
    pub viommu: Option<ObjectId>,
    pub pasid_compat: bool,
    pub fault: Option<ObjectId>,
    pub domain: Nested,
    /// Tells it from all others, in whatever context.
    pub number: u64,
}

/// What attaching needs to know of a hwpt of either kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HwptView {
    pub pasid_compat: bool,
    pub auto_domain: bool,
    pub nested: bool,
    /// Whose memory it shows.
    pub ioas: ObjectId,
    pub fault: Option<ObjectId>,
    pub number: u64,
}

impl HwptView {
    /// The IOAS whose reserved IOVAs grow with a device.
    pub fn reserves(&self, task: &Task<'_>) -> Option<ObjectId> {
        (!self.nested || task.has(Quirk::ReservedForNested)).then_some(self.ioas)
    }
}

/// A number that no other hwpt has.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl State {
    /// A hwpt of either kind, none for other objects.
    pub fn hwpt(&self, id: ObjectId) -> Option<HwptView> {
        match self.objects.peek(id)? {
            Object::Paging(it) => Some(HwptView {
                pasid_compat: it.pasid_compat,
                auto_domain: it.auto_domain,
                nested: false,
                ioas: it.ioas,
                fault: it.fault,
                number: it.number,
            }),
            Object::Nested(it) => Some(HwptView {
                pasid_compat: it.pasid_compat,
                auto_domain: false,
                nested: true,
                ioas: self.objects.at::<PagingHwpt>(it.parent).ioas,
                fault: it.fault,
                number: it.number,
            }),
            _ => None,
        }
    }

    /// Whether no device of an IOAS bypasses the CPU's caches.
    pub fn is_coherent(&self, ioas: ObjectId) -> bool {
        let hwpts = &self.objects.at::<Ioas>(ioas).hwpts;
        hwpts.iter().all(|hwpt| self.objects.at::<PagingHwpt>(*hwpt).coherent)
    }

    /// What a device is attached to with a hwpt, as its hardware sees it.
    pub fn domain(&self, hwpt: ObjectId, device: ObjectId) -> Option<Domain> {
        match self.objects.peek(hwpt)? {
            Object::Paging(it) => Some(Domain::Paging(it.table)),
            Object::Nested(it) => {
                let viommu = it.viommu.map(|viommu| (viommu, self.virt_id_of(viommu, device)));
                Some(Domain::nested(&it.domain, viommu))
            }
            _ => None,
        }
    }

    /// Makes a paging hwpt, unpublished (`iommufd_hwpt_paging_alloc`). With `attach` the device is
    /// attached before the tables are filled.
    pub fn paging_alloc(
        &mut self,
        task: &mut Task<'_>,
        ioas: ObjectId,
        device: ObjectId,
        flags: u32,
        data: Option<UserData>,
        attach: Option<u32>,
    ) -> Result<ObjectId, Refusal> {
        let unsupported = Refusal::Unsupported { field: "flags", value: flags.into() };
        let it = self.objects.at::<Device>(device);
        let hw = Arc::clone(&it.hw);
        if (flags != 0 && !hw.has_paging_flags()) || flags & !paging_flags(task) != 0 {
            return Err(unsupported);
        }
        if flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING != 0 && !hw.has_dirty_tracking(&it.hw_state) {
            return Err(unsupported);
        }
        let both = IOMMU_HWPT_FAULT_ID_VALID | IOMMU_HWPT_ALLOC_NEST_PARENT;
        if flags & both == both && task.has(Quirk::HwptParentWithoutFaults) {
            return Err(unsupported);
        }
        task.allocate()?;
        let masked = task.has(Quirk::HwptFaultIdMasked).then_some(IOMMU_HWPT_FAULT_ID_VALID);
        let request = PagingRequest { flags: flags & !masked.unwrap_or(0), data };
        let id = self.objects.reserve();
        self.objects.hold(ioas);
        let made = self.paging_fill(task, id, (ioas, device), hw, request, attach);
        if let Err(refusal) = made {
            match self.objects.peek(id) {
                Some(_) => self.destroy(id),
                None => {
                    self.objects.take(id);
                    self.objects.put(ioas);
                }
            }
            return Err(refusal);
        }
        Ok(id)
    }

    fn paging_fill(
        &mut self,
        task: &mut Task<'_>,
        id: ObjectId,
        (ioas, device): (ObjectId, ObjectId),
        hw: Arc<dyn Hardware>,
        request: PagingRequest,
        attach: Option<u32>,
    ) -> Result<(), Refusal> {
        let hw_state = &self.objects.at::<Device>(device).hw_state;
        let mut domain = hw.alloc_paging(task, hw_state, request)?;
        let dirty_ops = request.flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING != 0;
        let tables = |format| Tables::new(format, dirty_ops).ok_or(Refusal::NoMemory);
        let tables = domain.format.map(tables).transpose()?;
        self.objects.fill(
            id,
            PagingHwpt {
                ioas,
                nest_parent: request.flags & IOMMU_HWPT_ALLOC_NEST_PARENT != 0,
                pasid_compat: request.flags & IOMMU_HWPT_ALLOC_PASID != 0,
                auto_domain: false,
                dirty_ops,
                fault: None,
                table: domain.table,
                tables: tables.clone(),
                number: next_number(),
                coherent: domain.coherent,
                _identifier: domain.identifier.take(),
            },
        );
        if let Some(pasid) = attach {
            self.hwpt_attach(task, device, pasid, id)?;
        }
        let domain = DomainRef::new(id, domain, tables);
        let added = self.objects.at_mut::<Ioas>(ioas).add_domain(task, domain);
        if let Err(refusal) = added {
            if let Some(pasid) = attach {
                self.hwpt_detach(device, pasid);
            }
            return Err(refusal);
        }
        self.objects.at_mut::<Ioas>(ioas).hwpts.push(id);
        Ok(())
    }

    /// Makes a nested hwpt on a nesting parent, unpublished (`iommufd_hwpt_nested_alloc`).
    pub fn nested_alloc(
        &mut self,
        task: &mut Task<'_>,
        parent: ObjectId,
        device: ObjectId,
        flags: u32,
        data: UserData,
    ) -> Result<ObjectId, Refusal> {
        nested_request(task, flags, data)?;
        let hw = Arc::clone(&self.objects.at::<Device>(device).hw);
        if !hw.has_nesting() {
            return Err(Refusal::Unsupported { field: "pt_id", value: parent.0.into() });
        }
        let it = self.objects.at::<PagingHwpt>(parent);
        if it.auto_domain || !it.nest_parent {
            let rule = "no nesting parent";
            return Err(Refusal::Invalid { field: "pt_id", value: parent.0.into(), rule });
        }
        self.nested_fill(task, hw, (parent, None), flags, data)
    }

    /// Makes a nested hwpt on a vIOMMU, unpublished (`iommufd_viommu_alloc_hwpt_nested`).
    pub fn nested_alloc_viommu(
        &mut self,
        task: &mut Task<'_>,
        viommu: ObjectId,
        flags: u32,
        data: UserData,
    ) -> Result<ObjectId, Refusal> {
        nested_request(task, flags, data)?;
        let it = self.objects.at::<Viommu>(viommu);
        let (hw, parent) = (Arc::clone(&it.hw), it.parent);
        self.nested_fill(task, hw, (parent, Some(viommu)), flags, data)
    }

    fn nested_fill(
        &mut self,
        task: &mut Task<'_>,
        hw: Arc<dyn Hardware>,
        (parent, viommu): (ObjectId, Option<ObjectId>),
        flags: u32,
        data: UserData,
    ) -> Result<ObjectId, Refusal> {
        task.allocate()?;
        let request = NestedRequest {
            flags: flags & !IOMMU_HWPT_FAULT_ID_VALID,
            data,
            parent: self.objects.at::<PagingHwpt>(parent).table,
            through_viommu: viommu.is_some(),
        };
        let domain = hw.alloc_nested(task, request)?;
        self.objects.hold(viommu.unwrap_or(parent));
        Ok(self.objects.add(NestedHwpt {
            hw,
            parent,
            viommu,
            pasid_compat: flags & IOMMU_HWPT_ALLOC_PASID != 0,
            fault: None,
            domain,
            number: next_number(),
        }))
    }

    /// Searches an automatic hwpt of an IOAS that takes the device, or makes one
    /// (`iommufd_device_auto_get_domain`). Returns the hwpt and, of a replace, the old one.
    pub fn auto_hwpt(
        &mut self,
        task: &mut Task<'_>,
        device: ObjectId,
        pasid: u32,
        ioas: ObjectId,
        mode: PtMode,
    ) -> Result<(ObjectId, Option<ObjectId>), Refusal> {
        for hwpt in self.objects.at::<Ioas>(ioas).hwpts.clone() {
            if !self.objects.at::<PagingHwpt>(hwpt).auto_domain {
                continue;
            }
            match self.change(task, device, pasid, hwpt, mode) {
                Ok(old) => return Ok((hwpt, old)),
                // this one does not fit the device; another may
                Err(refusal) if refusal.errno() == uapi::Errno::EINVAL => {}
                Err(refusal) => return Err(refusal),
            }
        }
        let attach = (mode == PtMode::Attach).then_some(pasid);
        let hwpt = self.paging_alloc(task, ioas, device, 0, None, attach)?;
        let old = match mode {
            PtMode::Attach => None,
            PtMode::Replace => match self.change(task, device, pasid, hwpt, mode) {
                Ok(old) => old,
                Err(refusal) => {
                    self.destroy(hwpt);
                    return Err(refusal);
                }
            },
        };
        self.objects.at_mut::<PagingHwpt>(hwpt).auto_domain = true;
        self.objects.publish(hwpt);
        Ok((hwpt, old))
    }

    /// Drops what the hardware caches of the nested hwpt or vIOMMU `id`; the errors outside [`Handled`] are
    /// of `id`, before any request is looked at (`iommufd_hwpt_invalidate`).
    pub fn invalidate(
        &mut self,
        task: &mut Task<'_>,
        id: u32,
        requests: Requests,
    ) -> Result<Handled, Refusal> {
        match self.objects.find(id)? {
            Object::Nested(_) => {
                let it = self.objects.at::<NestedHwpt>(ObjectId(id));
                let users = self.users(it.parent, it.number);
                let it = self.objects.at_mut::<NestedHwpt>(ObjectId(id));
                Ok(it.hw.invalidate_nested(task, &mut it.domain, &users, requests))
            }
            Object::Viommu(it) => {
                let hw = Arc::clone(&it.hw);
                let viommu = ObjectId(id);
                let users = self.users(it.parent, self.objects.at::<PagingHwpt>(it.parent).number);
                Ok(hw.invalidate_viommu(task, &users, requests, &mut |virt_id, apply| {
                    let vdevice = self.objects.at::<Viommu>(viommu).vdevs.get(&virt_id).copied();
                    let Some(vdevice) = vdevice else { return false };
                    let device = self.objects.at::<Vdevice>(vdevice).device;
                    if self.objects.is_alive(device) {
                        let it = self.objects.at_mut::<Device>(device.id);
                        apply(&mut it.hw_state, &it.requester);
                    }
                    true
                }))
            }
            _ if task.has(Quirk::InvalidateWrongKindEinval) => {
                Err(Refusal::WrongKind { wanted: "nested hwpt or vIOMMU", id: ObjectId(id) })
            }
            _ => Err(Refusal::NoSuchObject { kind: "nested hwpt", id: ObjectId(id) }),
        }
    }
}

/// The flags of a paging hwpt that the kernel knows.
fn paging_flags(task: &Task<'_>) -> u32 {
    known_flags(
        task,
        &[
            (Quirk::HwptFlags, IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_DIRTY_TRACKING),
            (Quirk::HwptFaultIdPaging, IOMMU_HWPT_FAULT_ID_VALID),
            (Quirk::HwptPasid, IOMMU_HWPT_ALLOC_PASID),
        ],
    )
}

/// The flags of a nested hwpt that the kernel knows.
fn nested_flags(task: &Task<'_>) -> u32 {
    known_flags(
        task,
        &[
            (Quirk::HwptFaultId, IOMMU_HWPT_FAULT_ID_VALID),
            (Quirk::HwptPasid, IOMMU_HWPT_ALLOC_PASID),
        ],
    )
}

fn known_flags(task: &Task<'_>, rows: &[(Quirk, u32)]) -> u32 {
    rows.iter().filter(|(quirk, _)| task.has(*quirk)).fold(0, |known, (_, flags)| known | flags)
}

fn nested_request(task: &Task<'_>, flags: u32, data: UserData) -> Result<(), Refusal> {
    if flags & !nested_flags(task) != 0 {
        return Err(Refusal::Unsupported { field: "flags", value: flags.into() });
    }
    if data.len == 0 {
        return Err(Refusal::Unsupported { field: "data_len", value: 0 });
    }
    Ok(())
}
