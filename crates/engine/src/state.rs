//! What one `/dev/iommu` holds, and how it ends.

use crate::access::Access;
use crate::device::{Device, NO_PASID};
use crate::events::VeventqObject;
use crate::hw::selftest::MockHolder;
use crate::hwpt::{NestedHwpt, PagingHwpt};
use crate::ioas::Ioas;
use crate::objects::{Object, ObjectId, ObjectTable};
use crate::pages::AccountMode;
use crate::viommu::{HwQueue, Regions, Vdevice, Viommu};
use crate::{Caller, Refusal};

/// Attach anew, or replace what is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PtMode {
    Attach,
    Replace,
}

/// The state of a context, under its lock.
#[derive(Debug)]
pub(crate) struct State {
    pub objects: ObjectTable,
    /// The IOAS that the type1 calls mean.
    pub vfio_ioas: Option<ObjectId>,
    pub account: AccountMode,
    pub regions: Regions,
}

impl State {
    pub fn new(account: AccountMode) -> Self {
        Self {
            objects: ObjectTable::default(),
            vfio_ioas: None,
            account,
            regions: Regions::default(),
        }
    }

    /// `IOMMU_DESTROY`: ends an object that nothing uses.
    pub fn remove(&mut self, caller: &mut dyn Caller, id: u32) -> Result<(), Refusal> {
        let object = self.objects.find(id)?;
        let id = ObjectId(id);
        let mapped = match object {
            Object::Viommu(viommu) => viommu.region.and_then(|at| self.regions.at(at)),
            _ => None,
        };
        if mapped.is_some_and(|region| caller.is_mapped(&region.file)) {
            return Err(Refusal::Busy { what: "the vIOMMU", why: "its region is mapped" });
        }
        let users = self.objects.users(id) - 1;
        if users != 0 {
            return Err(Refusal::InUse { id, users });
        }
        self.destroy(id);
        Ok(())
    }

    /// Ends an object whatever its users, and lets go of what it used.
    pub fn destroy(&mut self, id: ObjectId) {
        if self.vfio_ioas == Some(id) {
            self.vfio_ioas = None;
        }
        match self.objects.peek(id) {
            Some(Object::Access(_)) => self.access_disconnect(id),
            Some(Object::Selftest(_)) => self.end_mock(id),
            _ => {}
        }
        if let Some(object) = self.objects.take(id) {
            self.let_go(id, object);
        }
    }

    fn let_go(&mut self, id: ObjectId, object: Object) {
        match object {
            Object::Access(_) | Object::Device(_) | Object::Fault(_) => {}
            Object::Ioas(_) | Object::Selftest(_) => {}
            Object::HwQueue(it) => self.end_queue(it),
            Object::Paging(it) => self.end_paging(id, it),
            Object::Nested(it) => self.end_nested(it),
            Object::Vdevice(it) => self.end_vdevice(it),
            Object::Veventq(it) => self.end_veventq(id, it),
            Object::Viommu(it) => {
                if let Some(offset) = it.region {
                    self.regions.remove(offset);
                }
                self.objects.put(it.parent);
            }
        }
    }

    fn end_paging(&mut self, id: ObjectId, it: PagingHwpt) {
        let ioas = self.objects.at_mut::<Ioas>(it.ioas);
        if let Some(at) = ioas.hwpts.iter().position(|hwpt| *hwpt == id) {
            ioas.hwpts.remove(at);
            ioas.remove_domain(id);
        }
        if let Some(fault) = it.fault {
            self.objects.put(fault);
        }
        self.objects.put(it.ioas);
    }

    fn end_nested(&mut self, it: NestedHwpt) {
        if let Some(fault) = it.fault {
            self.objects.put(fault);
        }
        self.objects.put(it.viommu.unwrap_or(it.parent));
    }

    fn end_vdevice(&mut self, it: Vdevice) {
        self.objects.at_mut::<Viommu>(it.viommu).vdevs.remove(&it.virt_id);
        self.objects.put(it.viommu);
        if self.objects.is_alive(it.device) {
            self.objects.at_mut::<Device>(it.device.id).vdevice = None;
        }
    }

    fn end_veventq(&mut self, id: ObjectId, it: VeventqObject) {
        let viommu = self.objects.at_mut::<Viommu>(it.viommu);
        viommu.veventqs.retain(|queue| *queue != id);
        viommu.events.remove(&it.queue);
        self.objects.put(it.viommu);
    }

    fn end_queue(&mut self, it: HwQueue) {
        self.objects.at_mut::<Viommu>(it.viommu).queues.remove(&it.index);
        if let Some(previous) = it.previous {
            self.objects.put(previous);
        }
        self.destroy(it.access);
        self.objects.put(it.viommu);
    }

    /// The mock device goes away with its holder (`iommufd_selftest_destroy`).
    fn end_mock(&mut self, id: ObjectId) {
        let device = self.objects.at::<MockHolder>(id).device;
        self.device_detach(device, NO_PASID);
        self.unbind(device);
    }

    /// Takes a device away (`iommufd_device_unbind`). Its vDEVICE goes with it and leaves a
    /// tombstone. A device with PASIDs still attached stays until the context is closed.
    pub fn unbind(&mut self, device: ObjectId) {
        if let Some(vdevice) = self.objects.at::<Device>(device).vdevice
            && let Some(Object::Vdevice(it)) = self.objects.bury(vdevice)
        {
            self.end_vdevice(it);
        }
        self.objects.put(device);
        if self.objects.users(device) == 1 {
            self.destroy(device);
        }
    }

    /// The IOAS of the type1 calls.
    pub fn compat_ioas(&self) -> Result<ObjectId, Refusal> {
        self.vfio_ioas.ok_or(Refusal::NoDevice { what: "no IOAS was set for the type1 calls" })
    }

    /// For people: how many objects of which kind.
    pub fn describe(&self) -> String {
        let mut kinds: Vec<(&str, usize)> = Vec::new();
        let mut mappings = 0;
        for (_, object) in self.objects.iter() {
            if let Object::Ioas(ioas) = object {
                mappings += ioas.areas.len();
            }
            match kinds.iter_mut().find(|(kind, _)| *kind == object.kind()) {
                Some((_, count)) => *count += 1,
                None => kinds.push((object.kind(), 1)),
            }
        }
        if kinds.is_empty() {
            return "no objects".to_owned();
        }
        let mut words: Vec<_> = kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        if mappings > 0 {
            words.push(format!("{mappings} mapped"));
        }
        words.join(", ")
    }

    /// The accesses that are told of an unmap in an IOAS.
    pub fn accesses_of(&self, ioas: ObjectId) -> Vec<ObjectId> {
        let list = self.objects.at::<Ioas>(ioas).access_list();
        list.into_iter().filter(|id| !self.objects.at::<Access>(*id).internal).collect()
    }
}
