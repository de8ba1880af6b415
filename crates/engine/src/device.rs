//! Devices and what they are attached to (`drivers/iommu/iommufd/device.c`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use profile::Quirk;

use crate::Refusal;
use crate::dma::{Programmed, Requester};
use crate::events::FaultObject;
use crate::hw::{Attach, DeviceState, Hardware, Replaced, Users};
use crate::hwpt::{HwptView, PagingHwpt};
use crate::ioas::Ioas;
use crate::ioas::space::Owner;
use crate::objects::{Object, ObjectId};
use crate::state::{PtMode, State};
use crate::task::Task;
use crate::viommu::{Vdevice, Viommu};

/// The PASID that means requests without one (`IOMMU_NO_PASID`).
pub(crate) const NO_PASID: u32 = 0;

/// A device bound to a context.
#[derive(Debug)]
pub(crate) struct Device {
    pub hw: Arc<dyn Hardware>,
    pub hw_state: DeviceState,
    /// The device as the IOMMU sees it.
    pub requester: Arc<Requester>,
    /// The IOMMU group of a PCI device: its devices are attached to the same.
    pub group: Option<u32>,
    pub vdevice: Option<ObjectId>,
    /// By PASID; [`NO_PASID`] is the requester ID itself.
    pub attached: BTreeMap<u32, Attachment>,
}

/// One attachment; a new one has a new number, so that late answers find nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attachment {
    pub hwpt: ObjectId,
    pub number: u64,
}

impl Attachment {
    fn new(hwpt: ObjectId) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { hwpt, number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }
}

impl State {
    /// Attaches or replaces by an ID that a caller gave, of a hwpt or of an IOAS
    /// (`iommufd_device_change_pt`). Returns the hwpt used.
    pub fn change_pt(
        &mut self,
        task: &mut Task<'_>,
        device: ObjectId,
        pasid: u32,
        pt_id: u32,
        mode: PtMode,
    ) -> Result<ObjectId, Refusal> {
        if task.should_fail() {
            return Err(Refusal::NoSuchObject { kind: "object", id: ObjectId(pt_id) });
        }
        let id = ObjectId(pt_id);
        let (hwpt, old) = match self.objects.find(pt_id)? {
            Object::Paging(_) | Object::Nested(_) => {
                (id, self.change(task, device, pasid, id, mode)?)
            }
            Object::Ioas(_) => self.auto_hwpt(task, device, pasid, id, mode)?,
            _ => return Err(Refusal::WrongKind { wanted: "IOAS or hwpt", id }),
        };
        if let Some(old) = old {
            self.hwpt_put(old);
        }
        if mode == PtMode::Attach {
            self.objects.hold(device);
        }
        Ok(hwpt)
    }

    /// Attaches or replaces; of a replace, returns the hwpt that lost the device.
    pub fn change(
        &mut self,
        task: &mut Task<'_>,
        device: ObjectId,
        pasid: u32,
        hwpt: ObjectId,
        mode: PtMode,
    ) -> Result<Option<ObjectId>, Refusal> {
        match mode {
            PtMode::Attach => self.hwpt_attach(task, device, pasid, hwpt).map(|()| None),
            PtMode::Replace => self.hwpt_replace(task, device, pasid, hwpt),
        }
    }

    /// `iommufd_hw_pagetable_attach`
    pub fn hwpt_attach(
        &mut self,
        task: &mut Task<'_>,
        device: ObjectId,
        pasid: u32,
        hwpt: ObjectId,
    ) -> Result<(), Refusal> {
        task.allocate()?;
        if self.objects.at::<Device>(device).attached.contains_key(&pasid) {
            return Err(Refusal::Busy { what: "the PASID", why: "it is attached already" });
        }
        let view = self.view(hwpt)?;
        self.check_group(device, pasid, hwpt)?;
        let reserves = view.reserves(task);
        self.reserve_for(task, &[device], pasid, reserves)?;
        let attachment = Attachment::new(hwpt);
        let attached = self.attach_reserved(task, device, pasid, attachment, view);
        if let Err(refusal) = attached {
            self.unreserve_for(&[device], pasid, reserves);
            return Err(refusal);
        }
        self.objects.at_mut::<Device>(device).attached.insert(pasid, attachment);
        self.objects.hold(hwpt);
        Ok(())
    }

    fn attach_reserved(
        &mut self,
        task: &mut Task<'_>,
        device: ObjectId,
        pasid: u32,
        attachment: Attachment,
        view: HwptView,
    ) -> Result<(), Refusal> {
        if task.should_fail() {
            let (value, rule) = (attachment.hwpt.0.into(), "made to fail by a test");
            return Err(Refusal::Invalid { field: "pt_id", value, rule });
        }
        self.check_faults(task, device, view)?;
        self.check_pasid(device, pasid, view)?;
        task.allocate()?;
        self.hardware_attach(device, pasid, Some(attachment), None)
    }

    /// `iommufd_device_do_replace`
    fn hwpt_replace(
        &mut self,
        task: &mut Task<'_>,
        device: ObjectId,
        pasid: u32,
        hwpt: ObjectId,
    ) -> Result<Option<ObjectId>, Refusal> {
        let attached = self.objects.at::<Device>(device).attached.get(&pasid).copied();
        let Some(old) = attached else {
            let rule = "nothing is attached that could be replaced";
            return Err(Refusal::Invalid { field: "pasid", value: pasid.into(), rule });
        };
        if old.hwpt == hwpt {
            return Ok(None);
        }
        let view = self.view(hwpt)?;
        let old_view = self.view(old.hwpt)?;
        let (enters, leaves) = (view.reserves(task), old_view.reserves(task));
        let group = self.attached_in_group(device, pasid);
        if enters != leaves {
            self.reserve_for(task, &group, pasid, enters)?;
        }
        let new: Vec<_> = group.iter().map(|member| (*member, Attachment::new(hwpt))).collect();
        let replaced = self.replace_reserved(task, device, pasid, &new, view);
        if enters != leaves {
            let left = if replaced.is_ok() { leaves } else { enters };
            self.unreserve_for(&group, pasid, left);
        }
        replaced?;
        for (member, attachment) in &new {
            let attached = self.objects.at::<Device>(*member).attached[&pasid];
            if !task.has(Quirk::ReplaceLeavesFaults) || old_view.fault == view.fault {
                self.answer_faults(attached);
            }
            self.objects.at_mut::<Device>(*member).attached.insert(pasid, *attachment);
            self.objects.hold(hwpt);
            if *member != device {
                self.objects.put(old.hwpt);
            }
        }
        // the caller lets go of the last one
        Ok(Some(old.hwpt))
    }

    fn replace_reserved(
        &mut self,
        task: &mut Task<'_>,
        device: ObjectId,
        pasid: u32,
        new: &[(ObjectId, Attachment)],
        view: HwptView,
    ) -> Result<(), Refusal> {
        self.check_faults(task, device, view)?;
        self.check_pasid(device, pasid, view)?;
        task.allocate()?;
        for (done, (member, attachment)) in new.iter().enumerate() {
            let old = self.objects.at::<Device>(*member).attached[&pasid];
            let attached = self.hardware_attach(*member, pasid, Some(*attachment), Some(old.hwpt));
            if let Err(refusal) = attached {
                for (member, attachment) in &new[..done] {
                    // where it was, it can be again
                    let old = self.objects.at::<Device>(*member).attached[&pasid];
                    let _ = self.hardware_attach(*member, pasid, Some(old), Some(attachment.hwpt));
                }
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Ends an attachment and lets go of the hwpt; false when there was none
    /// (`iommufd_hw_pagetable_detach`).
    pub fn hwpt_detach(&mut self, device: ObjectId, pasid: u32) -> bool {
        let attached = self.objects.at_mut::<Device>(device).attached.remove(&pasid);
        let Some(attachment) = attached else { return false };
        // the blocked domain takes every device
        let _ = self.hardware_attach(device, pasid, None, Some(attachment.hwpt));
        let ioas = self.hwpt(attachment.hwpt).map(|view| view.ioas);
        self.unreserve_for(&[device], pasid, ioas);
        self.answer_faults(attachment);
        self.hwpt_put(attachment.hwpt);
        true
    }

    /// `iommufd_device_detach`
    pub fn device_detach(&mut self, device: ObjectId, pasid: u32) {
        if self.hwpt_detach(device, pasid) {
            self.objects.put(device);
        }
    }

    /// Lets go of a hwpt; an automatic one dies with its last user (`iommufd_hw_pagetable_put`).
    pub fn hwpt_put(&mut self, hwpt: ObjectId) {
        self.objects.put(hwpt);
        let auto = self.hwpt(hwpt).is_some_and(|view| view.auto_domain);
        if auto && self.objects.users(hwpt) == 1 {
            self.destroy(hwpt);
        }
    }

    fn view(&self, hwpt: ObjectId) -> Result<HwptView, Refusal> {
        self.hwpt(hwpt).ok_or(Refusal::WrongKind { wanted: "hwpt", id: hwpt })
    }

    /// The devices of a context in the group of a device, itself included.
    fn group_of(&self, device: ObjectId) -> Vec<ObjectId> {
        let Some(group) = self.objects.at::<Device>(device).group else { return vec![device] };
        let devices = self.objects.iter().filter_map(|(id, object)| match object {
            Object::Device(it) if it.group == Some(group) => Some(id),
            _ => None,
        });
        devices.collect()
    }

    /// Those of them that are attached.
    fn attached_in_group(&self, device: ObjectId, pasid: u32) -> Vec<ObjectId> {
        let mut devices = self.group_of(device);
        devices.retain(|it| self.objects.at::<Device>(*it).attached.contains_key(&pasid));
        devices
    }

    /// `iommufd_hwpt_pasid_compat`: what is attached belongs to the group.
    fn check_pasid(&self, device: ObjectId, pasid: u32, hwpt: HwptView) -> Result<(), Refusal> {
        let group = self.group_of(device);
        let attached = || group.iter().map(|it| &self.objects.at::<Device>(*it).attached);
        let refuse = |rule| Err(Refusal::Invalid { field: "pasid", value: pasid.into(), rule });
        if pasid == NO_PASID {
            let pasids = attached().any(|it| it.range(NO_PASID + 1..).next().is_some());
            if !hwpt.pasid_compat && pasids {
                return refuse("PASIDs are attached, and the hwpt was made without ALLOC_PASID");
            }
            return Ok(());
        }
        if !hwpt.pasid_compat {
            return refuse("the hwpt was made without ALLOC_PASID");
        }
        let mut rids = attached().filter_map(|it| self.hwpt(it.get(&NO_PASID)?.hwpt));
        if rids.any(|rid| !rid.pasid_compat) {
            return refuse("the device itself is attached to a hwpt without ALLOC_PASID");
        }
        Ok(())
    }

    /// Devices of one group are attached to the same (`iommufd_hw_pagetable_attach`).
    fn check_group(&self, device: ObjectId, pasid: u32, hwpt: ObjectId) -> Result<(), Refusal> {
        let others = self.attached_in_group(device, pasid);
        let elsewhere =
            |it: &ObjectId| self.objects.at::<Device>(*it).attached[&pasid].hwpt != hwpt;
        if others.iter().any(elsewhere) {
            let rule = "another device of the IOMMU group is attached elsewhere";
            return Err(Refusal::Unfit { rule });
        }
        Ok(())
    }

    /// Takes the IOVAs that devices cannot use out of an IOAS
    /// (`iopt_table_enforce_dev_resv_regions`); a PASID takes none.
    fn reserve_for(
        &mut self,
        task: &mut Task<'_>,
        devices: &[ObjectId],
        pasid: u32,
        ioas: Option<ObjectId>,
    ) -> Result<(), Refusal> {
        let Some(ioas) = ioas.filter(|_| pasid == NO_PASID) else { return Ok(()) };
        for device in devices {
            let it = self.objects.at::<Device>(*device);
            let ranges = it.hw.reserved(&it.hw_state);
            let owner = Owner::Device(*device);
            let space = self.objects.at_mut::<Ioas>(ioas);
            let reserved = ranges
                .iter()
                .try_for_each(|range| space.reserve(task, *range.start(), *range.end(), owner));
            if let Err(refusal) = reserved {
                self.unreserve_for(devices, pasid, Some(ioas));
                return Err(refusal);
            }
        }
        Ok(())
    }

    fn unreserve_for(&mut self, devices: &[ObjectId], pasid: u32, ioas: Option<ObjectId>) {
        let Some(ioas) = ioas.filter(|_| pasid == NO_PASID) else { return };
        for device in devices {
            self.objects.at_mut::<Ioas>(ioas).unreserve(Owner::Device(*device));
        }
    }

    /// Virtual functions share the page requests of their physical one
    /// (`iommufd_hwpt_compatible_device`; up to 6.12 `iommufd_fault_iopf_enable`).
    fn check_faults(
        &self,
        task: &Task<'_>,
        device: ObjectId,
        view: HwptView,
    ) -> Result<(), Refusal> {
        let facts = self.objects.at::<Device>(device).hw_state.facts();
        let shared = facts.is_some_and(|facts| {
            facts.virtual_function && (facts.pri || task.has(Quirk::FaultsRefusedForAnyVf))
        });
        if view.fault.is_some() && shared {
            let rule = "a virtual function cannot have a fault queue";
            return Err(Refusal::Unfit { rule });
        }
        Ok(())
    }

    /// Tells the hardware (`iommu_attach_group_handle`, `iommu_attach_device_pasid` and their
    /// replace and detach forms, `drivers/iommu/iommu.c`).
    fn hardware_attach(
        &mut self,
        device: ObjectId,
        pasid: u32,
        attachment: Option<Attachment>,
        old: Option<ObjectId>,
    ) -> Result<(), Refusal> {
        let new = attachment.map(|attachment| attachment.hwpt);
        let (view, old) = (new.and_then(|it| self.hwpt(it)), old.and_then(|it| self.hwpt(it)));
        let attach = Attach {
            pasid,
            domain: new.and_then(|hwpt| self.domain(hwpt, device)),
            number: view.map(|view| view.number),
            faults: view.is_some_and(|view| view.fault.is_some()),
            replaces: old.map(|old| Replaced { number: old.number, faults: old.fault.is_some() }),
        };
        let it = self.objects.at_mut::<Device>(device);
        it.hw.attach(&mut it.hw_state, attach)?;
        let hw = Arc::clone(&it.hw);
        if let Some(Object::Paging(paging)) = new.and_then(|hwpt| self.objects.peek_mut(hwpt)) {
            paging.table = hw.settled(paging.table);
        }
        let programmed = attachment.map(|attachment| self.programmed(attachment, device));
        self.objects.at::<Device>(device).requester.program(pasid, programmed);
        Ok(())
    }

    /// What the driver writes for a device that is attached to a hwpt.
    fn programmed(&self, attachment: Attachment, device: ObjectId) -> Programmed {
        let queue = |fault: ObjectId| Arc::clone(&self.objects.at::<FaultObject>(fault).queue);
        let facts = self.objects.at::<Device>(device).hw_state.shared_facts();
        let (attachment, hwpt) = (attachment.number, attachment.hwpt);
        let known = Programmed { attachment, device: device.0, facts, ..Programmed::default() };
        match self.objects.peek(hwpt) {
            Some(Object::Paging(it)) => Programmed {
                host: it.tables.clone(),
                table: Some(it.table),
                domain: it.number,
                faults: it.fault.map(queue),
                ..known
            },
            Some(Object::Nested(it)) => {
                let parent = self.objects.at::<PagingHwpt>(it.parent);
                let events = it.viommu.and_then(|viommu| {
                    let virt_id = self.virt_id_of(viommu, device)?;
                    Some((virt_id, Arc::clone(&self.objects.at::<Viommu>(viommu).events)))
                });
                Programmed {
                    host: parent.tables.clone(),
                    table: Some(parent.table),
                    guest: Some(it.domain.view()),
                    domain: if it.hw.guests_own_pasids() { parent.number } else { it.number },
                    faults: it.fault.map(queue),
                    events,
                    ..known
                }
            }
            _ => known,
        }
    }

    /// The devices whose caches may have translations of a guest's table over a parent.
    pub fn users(&self, parent: ObjectId, number: u64) -> Users {
        let parent = self.objects.at::<PagingHwpt>(parent);
        let requesters = parent.tables.as_ref().map(|tables| tables.users()).unwrap_or_default();
        Users { domain: number, requesters }
    }

    /// The ID that a vIOMMU knows a device by (`iommufd_viommu_get_vdev_id`).
    pub fn virt_id_of(&self, viommu: ObjectId, device: ObjectId) -> Option<u64> {
        let vdevs = &self.objects.at::<Viommu>(viommu).vdevs;
        let device = self.objects.handle(device);
        let known = |id: &ObjectId| self.objects.at::<Vdevice>(*id).device == device;
        vdevs.iter().find(|(_, id)| known(id)).map(|(virt_id, _)| *virt_id)
    }

    /// Answers what came through an attachment that ends.
    fn answer_faults(&self, attachment: Attachment) {
        let fault = self.hwpt(attachment.hwpt).and_then(|view| view.fault);
        if let Some(fault) = fault {
            self.objects.at::<FaultObject>(fault).queue.drop_attachment(attachment.number);
        }
    }
}
