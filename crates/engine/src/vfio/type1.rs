//! The driver behind a container: type1 (`drivers/vfio/vfio_iommu_type1.c`).
//!
//! | Linux | here |
//! |---|---|
//! | `vfio_iommu` | [`Type1`], over one IOAS of a context of its own |
//! | `vfio_dma` | [`Mapping`]: one or, where it shows registers of devices, more areas of the IOAS |
//! | `vfio_domain` | an automatic hwpt of the IOAS |
//! | `iova_list` | what the IOAS has not reserved |
//!
//! So what a device reaches is the IOAS's business, and this module says only what the calls demand. A
//! mapping is never cut: version 2 refuses an unmap that would, and version 1 leaves alone a mapping that
//! begins before the range, and removes one that reaches beyond it.
//!
//! *What it doesn't do*: limit locked memory (`docs/decisions/0001`); let devices write to each other's
//! registers: a mapping of registers is there, and can only be read.

mod calls;
mod dirty;
mod info;
mod nested;

use std::collections::BTreeMap;
use std::sync::Arc;

use profile::Quirk;
use profile::machine::Vendor;
use uapi::vfio::*;
use uapi::y2020::IOMMU_UAPI_VERSION;
use uapi::y2020::transport::VFIO_NESTING_IOMMU_UAPI;

use crate::commands::ioas::unmap;
use crate::context::Context;
use crate::device::NO_PASID;
use crate::function::Function;
use crate::hw::{DeviceState, PciState};
use crate::ioas::map::Piece;
use crate::ioas::{Ioas, Prot};
use crate::objects::ObjectId;
use crate::pages::{AccountMode, Pages};
use crate::state::PtMode;
use crate::task::Task;
use crate::vfio::mmio;
use crate::y2020::Nested;
use crate::{Engine, Refusal};

/// How many mappings a container may have (`dma_entry_limit`).
const MAPPINGS: u32 = u16::MAX as u32;

/// The most pages that a bitmap can tell of (`DIRTY_BITMAP_PAGES_MAX`).
const BITMAP_PAGES: u64 = i32::MAX as u64;

/// A container with its driver.
#[derive(Debug)]
pub(super) struct Type1 {
    version2: bool,
    nesting: bool,
    /// What it has for guests' page tables, under the API of 2020.
    nested: Option<Nested>,
    /// Nobody else's: its objects are one IOAS, and the devices of the groups.
    context: Arc<Context>,
    ioas: ObjectId,
    /// The devices of each group.
    groups: BTreeMap<u32, Vec<ObjectId>>,
    /// By first IOVA.
    mappings: BTreeMap<u64, Mapping>,
    available: u32,
    /// Whether writes of devices are recorded.
    recording: bool,
}

/// One mapping.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    start: u64,
    last: u64,
    /// Whether its address was taken back, and a new one is to come.
    addressless: bool,
}

impl Type1 {
    /// What a kind of container asks for (`vfio_iommu_type1_open`).
    pub fn new(engine: &Arc<Engine>, kind: u64) -> Result<Self, Refusal> {
        let is = |known: u32| kind == u64::from(known);
        let nesting = is(__VFIO_RESERVED_TYPE1_NESTING_IOMMU);
        if !is(VFIO_TYPE1_IOMMU) && !is(VFIO_TYPE1v2_IOMMU) && !nesting {
            let rule = "an extension, and no type";
            return Err(Refusal::Invalid { field: "type", value: kind, rule });
        }
        let context = Arc::new(Context::new(Arc::clone(engine), AccountMode::Type1));
        let ioas = {
            let mut state = context.state.lock();
            let ioas = state.objects.add(Ioas::default());
            state.objects.publish(ioas);
            ioas
        };
        Ok(Self {
            version2: !is(VFIO_TYPE1_IOMMU),
            nesting,
            nested: None,
            context,
            ioas,
            groups: BTreeMap::new(),
            mappings: BTreeMap::new(),
            available: MAPPINGS,
            recording: false,
        })
    }

    /// `vfio_iommu_type1_check_extension`; `type1` is none before there is one. What is offered is 1, or a
    /// version.
    pub fn offers(type1: Option<&Self>, engine: &Engine, extension: u64) -> u32 {
        const V2: u32 = VFIO_TYPE1v2_IOMMU;
        let Ok(extension) = u32::try_from(extension) else { return 0 };
        let is_new = engine.kernel.has(Quirk::Type1Since512);
        let offered = match extension {
            VFIO_NESTING_IOMMU_UAPI if engine.kernel.api_2020().is_some() => {
                return IOMMU_UAPI_VERSION;
            }
            VFIO_TYPE1_IOMMU | V2 => true,
            VFIO_UNMAP_ALL => is_new,
            __VFIO_RESERVED_TYPE1_NESTING_IOMMU => engine.kernel.has(Quirk::Type1Nesting),
            VFIO_UPDATE_VADDR => is_new && type1.is_some(),
            VFIO_DMA_CC_IOMMU => {
                type1.is_some_and(|it| it.context.state.lock().is_coherent(it.ioas))
            }
            _ => false,
        };
        offered.into()
    }

    /// The devices of a group reach what is mapped from now on (`vfio_iommu_type1_attach_group`).
    pub fn attach(&mut self, task: &mut Task<'_>, group: u32) -> Result<(), Refusal> {
        if self.mappings.values().any(|mapping| mapping.addressless) {
            return Err(Refusal::Busy { what: "the container", why: "a mapping has no address" });
        }
        let engine = Arc::clone(&self.context.engine);
        let nested = engine.kernel.api_2020().filter(|_| self.nesting);
        if nested.is_some() && !self.groups.is_empty() {
            return Err(Refusal::Unfit { rule: "a nesting container has one group" });
        }
        task.allocate()?;
        let members = || engine.members(group).map(|index| &engine.functions[index]);
        for function in members() {
            self.check_fit(&engine, function)?;
        }
        if !members().all(|function| function.platform.isolated) {
            return Err(Refusal::NotIsolated);
        }
        let mut devices = Vec::new();
        let attached = members().try_for_each(|function| {
            let device = self.context.state.lock().add_device(function);
            devices.push(device);
            let table = match nested {
                Some(layout) => self.nest(task, layout, function, device)?,
                None => self.ioas,
            };
            let mut state = self.context.state.lock();
            state.change_pt(task, device, NO_PASID, table.0, PtMode::Attach).map(drop)
        });
        if let Err(refusal) = attached {
            self.give_back(&devices);
            return Err(match refusal {
                // of an IOAS; a container has another number for it
                Refusal::RangeInUse { start, .. } => in_the_way(start),
                other => other,
            });
        }
        self.groups.insert(group, devices);
        Ok(())
    }

    /// Whether a device goes with what is mapped, and with the kind of container.
    fn check_fit(&self, engine: &Engine, function: &Function) -> Result<(), Refusal> {
        let unit = function.facts.iommu.map(|index| engine.machine.iommus[index].hardware.vendor());
        let nests = match unit {
            Some(Vendor::ArmSmmuv3) => true,
            Some(Vendor::IntelVtd) => engine.kernel.api_2020().is_some(),
            _ => false,
        };
        if self.nesting && !nests {
            // iommu_enable_nesting
            let rule = "the IOMMU's driver has no nesting of this kind";
            return Err(Refusal::Unfit { rule });
        }
        let state = DeviceState::Pci(PciState::new(Arc::clone(&function.facts)));
        let reserved = function.hw.reserved(&state);
        match reserved.iter().find_map(|range| self.first_in(*range.start(), *range.end())) {
            Some(mapping) => Err(in_the_way(mapping.start)),
            None => Ok(()),
        }
    }

    /// They reach nothing from now on (`vfio_iommu_type1_detach_group`).
    pub fn detach(&mut self, group: u32) {
        if let Some(devices) = self.groups.remove(&group) {
            self.give_back(&devices);
        }
    }

    fn give_back(&mut self, devices: &[ObjectId]) {
        let mut nested = self.nested.take();
        if let Some(nested) = &mut nested {
            nested.unbind_all();
        }
        {
            let mut state = self.context.state.lock();
            for device in devices {
                state.device_detach(*device, NO_PASID);
                state.unbind(*device);
            }
        }
        if let Some(nested) = nested {
            nested.end();
        }
    }

    /// The smallest page, which all is a multiple of.
    fn page(&self) -> u64 {
        let state = self.context.state.lock();
        1 << state.objects.at::<Ioas>(self.ioas).page_sizes().trailing_zeros()
    }

    /// The mapping that holds `iova`.
    fn holder(&self, iova: u64) -> Option<&Mapping> {
        let (_, mapping) = self.mappings.range(..=iova).next_back()?;
        (mapping.last >= iova).then_some(mapping)
    }

    /// The first mapping that meets `start..=last`.
    fn first_in(&self, start: u64, last: u64) -> Option<Mapping> {
        let after = || self.mappings.range(start..=last).next().map(|(_, mapping)| mapping);
        self.holder(start).or_else(after).copied()
    }

    /// `vfio_dma_do_map`
    fn map(
        &mut self,
        task: &mut Task<'_>,
        request: &vfio_iommu_type1_dma_map,
    ) -> Result<(), Refusal> {
        let vfio_iommu_type1_dma_map { flags, vaddr, iova, size, .. } = *request;
        let last = last_of(task, "iova", iova, size)?;
        last_of(task, "vaddr", vaddr, size)?;
        let prot = Prot {
            read: flags & VFIO_DMA_MAP_FLAG_READ != 0,
            write: flags & VFIO_DMA_MAP_FLAG_WRITE != 0,
        };
        if (prot.read || prot.write) == (flags & VFIO_DMA_MAP_FLAG_VADDR != 0) {
            let rule = "needs a right, or VADDR and no right";
            return Err(Refusal::Invalid { field: "flags", value: flags.into(), rule });
        }
        if (size | iova | vaddr) & (self.page() - 1) != 0 {
            let rule = "no whole pages";
            return Err(Refusal::Invalid { field: "size", value: size, rule });
        }
        let found = self.first_in(iova, last);
        if flags & VFIO_DMA_MAP_FLAG_VADDR != 0 {
            return self.set_address(task, found, iova, last);
        }
        if found.is_some() {
            return Err(Refusal::Mapped { start: iova, last });
        }
        if self.available == 0 {
            return Err(Refusal::NoIdentifier { what: "mapping of the container" });
        }
        self.context.state.lock().objects.at::<Ioas>(self.ioas).check_iova(iova, size)?;
        task.allocate()?;
        self.show(task, iova, vaddr, size, prot)?;
        if self.recording && size / self.page() > BITMAP_PAGES {
            self.hide(iova, last);
            let rule = "more than a bitmap can tell";
            return Err(Refusal::Invalid { field: "size", value: size, rule });
        }
        self.mappings.insert(iova, Mapping { start: iova, last, addressless: false });
        self.available -= 1;
        Ok(())
    }

    /// Shows memory of the caller (`vfio_pin_map_dma`).
    fn show(
        &self,
        task: &mut Task<'_>,
        iova: u64,
        va: u64,
        size: u64,
        prot: Prot,
    ) -> Result<(), Refusal> {
        let mut state = self.context.state.lock();
        let ioas = state.objects.at_mut::<Ioas>(self.ioas);
        // the last page that there is is no memory, but not beyond the address space
        va.checked_add(size).ok_or(Refusal::NotPinnable)?;
        let pages = Pages::of_user(task, va, size, prot.write, AccountMode::Type1)?;
        let piece = Piece { pages, start_byte: 0, length: size };
        match ioas.map(task, &[piece], size, Some(iova), prot) {
            Err(Refusal::NotPinnable) => {
                let shown = mmio::map(task, ioas, iova, va, size, prot);
                drop(state);
                shown.inspect_err(|_| self.hide(iova, iova + (size - 1)))
            }
            other => other.map(drop),
        }
    }

    fn hide(&self, start: u64, last: u64) {
        // no access holds anything of a container, and its mappings are whole
        let _ = unmap(&mut self.context.state.lock(), self.ioas, start, last);
    }

    /// A mapping whose address was taken back gets another one, of the caller. Its pages stay those that
    /// are pinned, and count against the caller from now on (`vfio_change_dma_owner`).
    fn set_address(
        &mut self,
        task: &Task<'_>,
        found: Option<Mapping>,
        iova: u64,
        last: u64,
    ) -> Result<(), Refusal> {
        let found = found.ok_or(Refusal::NotFound { what: "iova", value: iova })?;
        if !found.addressless || (found.start, found.last) != (iova, last) {
            let rule = "not one mapping whose address was taken back";
            return Err(Refusal::Invalid { field: "iova", value: iova, rule });
        }
        let state = self.context.state.lock();
        let areas = &state.objects.at::<Ioas>(self.ioas).areas;
        for area in areas.range(iova..=last).map(|(_, area)| area) {
            if area.pages.charges_other(task.memory()) {
                area.pages.charge_to(task.memory());
            }
        }
        self.mappings.insert(iova, Mapping { addressless: false, ..found });
        Ok(())
    }

    /// `vfio_dma_do_unmap`; how many bytes.
    fn unmap(
        &mut self,
        task: &Task<'_>,
        request: &vfio_iommu_type1_dma_unmap,
        bitmap: Option<&vfio_bitmap>,
    ) -> Result<u64, Refusal> {
        let vfio_iommu_type1_dma_unmap { flags, iova, size, .. } = *request;
        let page = self.page();
        let refuse = |field, value, rule| Err(Refusal::Invalid { field, value, rule });
        if iova & (page - 1) != 0 {
            return refuse("iova", iova, "no whole pages");
        }
        let all = flags & VFIO_DMA_UNMAP_FLAG_ALL != 0;
        let last = match all {
            true if iova != 0 || size != 0 => return refuse("size", size, "ALL takes no range"),
            true => u64::MAX,
            false if size & (page - 1) != 0 => return refuse("size", size, "no whole pages"),
            false => last_of(task, "iova", iova, size)?,
        };
        if bitmap.is_some_and(|bitmap| !self.recording || bitmap.pgsize != page) {
            return refuse("pgsize", page, "nothing is recorded, or pages are of another size");
        }
        if self.version2 && !all && self.cuts(iova, last) {
            return refuse("iova", iova, "the range would cut a mapping");
        }
        if flags & VFIO_DMA_UNMAP_FLAG_VADDR != 0 {
            return self.take_addresses(iova, last);
        }
        let mut bytes = 0_u64;
        while let Some(mapping) = self.first_in(iova, last).filter(|it| it.start >= iova) {
            if let Some(bitmap) = bitmap {
                dirty::tell(task, bitmap.data, mapping, iova, page)?;
            }
            self.hide(mapping.start, mapping.last);
            self.mappings.remove(&mapping.start);
            self.available += 1;
            bytes = bytes.wrapping_add(mapping.size());
        }
        Ok(bytes)
    }

    /// Whether a range begins or ends inside of a mapping.
    fn cuts(&self, start: u64, last: u64) -> bool {
        self.holder(start).is_some_and(|mapping| mapping.start != start)
            || self.holder(last).is_some_and(|mapping| mapping.last != last)
    }

    /// The mappings of a range lose their addresses, or none when one has none.
    fn take_addresses(&mut self, iova: u64, last: u64) -> Result<u64, Refusal> {
        let first = self.first_in(iova, last).map_or(iova, |mapping| mapping.start);
        if first < iova {
            return Ok(0);
        }
        let found = || self.mappings.range(iova..=last).map(|(_, mapping)| mapping);
        if let Some(mapping) = found().find(|mapping| mapping.addressless) {
            let (value, rule) = (mapping.start, "its address was taken back already");
            return Err(Refusal::Invalid { field: "iova", value, rule });
        }
        let bytes = found().fold(0_u64, |bytes, mapping| bytes.wrapping_add(mapping.size()));
        self.mappings.range_mut(iova..=last).for_each(|(_, mapping)| mapping.addressless = true);
        Ok(bytes)
    }

    /// For people: what is in it.
    pub fn describe(&self) -> String {
        format!("{} groups, {} mapped", self.groups.len(), self.mappings.len())
    }
}

impl Mapping {
    fn size(&self) -> u64 {
        (self.last - self.start).wrapping_add(1)
    }
}

/// The last byte of a range of a caller, which is not empty.
fn last_of(task: &Task<'_>, field: &'static str, start: u64, size: u64) -> Result<u64, Refusal> {
    if size == 0 {
        return Err(Refusal::Invalid { field: "size", value: 0, rule: "must not be 0" });
    }
    start.checked_add(size - 1).ok_or_else(|| match task.has(Quirk::Type1Overflows) {
        true => Refusal::Overflow { field, value: start },
        false => {
            let rule = "reaches beyond the address space";
            Refusal::Invalid { field, value: start, rule }
        }
    })
}

fn in_the_way(iova: u64) -> Refusal {
    let rule = "a device of the group cannot use what is mapped here";
    Refusal::Invalid { field: "iova", value: iova, rule }
}
