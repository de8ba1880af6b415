//! The domains that show an IOAS, and what the hardware marked in them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use mem::{PAGE_SIZE, PageId};
use pt::{Prot as PageProt, Rights};

use super::map::hold;
use super::space::Owner;
use super::{Area, Ioas, Prot};
use crate::Refusal;
use crate::hw::PagingDomain;
use crate::objects::ObjectId;
use crate::pages::Run;
use crate::physical::Physical;
use crate::tables::Tables;
use crate::task::Task;

/// The domain of a paging hwpt, as its IOAS knows it.
#[derive(Debug)]
pub(crate) struct DomainRef {
    pub hwpt: ObjectId,
    /// The page sizes that the tables can hold, a bit each.
    pub page_sizes: u64,
    /// The IOVAs that the tables can translate.
    pub aperture: RangeInclusive<u64>,
    /// Whether what was recorded can be read only while writes are recorded.
    dirty_needs_tracking: bool,
    /// Whether it holds mappings that can only be read.
    pub read_only: bool,
    /// Whether the hardware records writes now.
    pub dirty_tracking: bool,
    /// Its tables, where devices walk any.
    tables: Option<Arc<Tables>>,
    /// Without tables: first IOVA of each table entry that a test marked dirty.
    dirty: BTreeSet<u64>,
}

/// A table entry that translates some IOVA: its first IOVA and its size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub start: u64,
    pub size: u64,
}

impl Leaf {
    /// The part within `start..=last`, which it meets.
    pub fn within(self, start: u64, last: u64) -> Self {
        let (from, to) = (self.start.max(start), (self.start + (self.size - 1)).min(last));
        Self { start: from, size: to - from + 1 }
    }
}

impl DomainRef {
    pub fn new(hwpt: ObjectId, domain: PagingDomain, tables: Option<Arc<Tables>>) -> Self {
        let PagingDomain { page_sizes, aperture, dirty_needs_tracking, read_only, .. } = domain;
        Self {
            hwpt,
            page_sizes,
            aperture,
            dirty_needs_tracking,
            read_only,
            dirty_tracking: false,
            tables,
            dirty: BTreeSet::new(),
        }
    }

    /// Lets the hardware record writes, or not.
    pub fn set_dirty_tracking(&mut self, enable: bool) {
        self.dirty_tracking = enable;
        if let Some(tables) = &self.tables {
            tables.set_records(enable);
        }
    }

    /// Writes an area into the tables.
    pub(super) fn show(
        &self,
        area: &Area,
        large_pages: bool,
        physical: &Arc<Physical>,
    ) -> Result<(), Refusal> {
        let (Some(tables), Some(hold)) = (&self.tables, &area.hold) else { return Ok(()) };
        let mut rights = Rights::empty();
        rights.set(Rights::READ, area.prot.read);
        rights.set(Rights::WRITE, area.prot.write);
        if rights.is_empty() {
            return Ok(());
        }
        let prot = PageProt { rights, tracking: tables.tracks() };
        let mut at = area.start;
        let (first, pages) = area.page_span();
        let runs = hold.runs(first, pages, physical).ok_or(Refusal::NoMemory)?;
        for Run { physical, bytes, block } in runs {
            let offset = area.byte_at(at) % PAGE_SIZE;
            let last = area.last.min(at.saturating_add(bytes - offset - 1));
            let block = if large_pages { block } else { PAGE_SIZE };
            let sizes = self.page_sizes & (2 * block - 1);
            tables.map(at..=last, physical + offset, sizes, prot)?;
            at = last.wrapping_add(1);
        }
        Ok(())
    }

    /// Takes a range out of the tables, and waits for what uses it.
    pub(super) fn hide(&self, range: RangeInclusive<u64>) {
        if let Some(tables) = &self.tables {
            tables.unmap(range);
        }
    }

    /// The smallest page, in bytes.
    pub fn granule(&self) -> u64 {
        1 << self.page_sizes.trailing_zeros()
    }

    pub(super) fn forget_dirty(&mut self, start: u64, last: u64) {
        if !self.dirty.is_empty() {
            let gone: Vec<_> = self.dirty.range(start..=last).copied().collect();
            gone.iter().for_each(|leaf| _ = self.dirty.remove(leaf));
        }
    }

    /// The largest page that fits at `iova`, and at the same place in memory, within `room` bytes.
    fn best_page(&self, at: u64, room: u64) -> u64 {
        let aligned = if at == 0 { u64::MAX } else { (1 << at.trailing_zeros()) * 2 - 1 };
        let fitting =
            if room.is_power_of_two() { room * 2 - 1 } else { room.next_power_of_two() - 1 };
        let sizes = self.page_sizes & aligned & fitting;
        if sizes == 0 { self.granule() } else { 1 << (63 - sizes.leading_zeros()) }
    }
}

impl Ioas {
    /// Adds the domain of a hwpt (`iopt_table_add_domain`): pins and shows all areas.
    pub fn add_domain(&mut self, task: &mut Task<'_>, domain: DomainRef) -> Result<(), Refusal> {
        let alignment = self.iova_alignment.max(domain.granule());
        if alignment > PAGE_SIZE {
            let rule = "the domain cannot hold pages of 4 KiB";
            return Err(Refusal::Invalid { field: "page size", value: alignment, rule });
        }
        if alignment != self.iova_alignment {
            self.check_alignment(alignment)?;
        }
        let owner = Owner::Domain(domain.hwpt);
        let added = self.enter_domain(task, &domain, owner);
        if let Err(refusal) = added {
            self.unreserve(owner);
            if self.domains.is_empty() {
                self.areas.values_mut().for_each(|area| area.hold = None);
            }
            return Err(refusal);
        }
        self.iova_alignment = alignment;
        self.domains.push(domain);
        Ok(())
    }

    fn enter_domain(
        &mut self,
        task: &mut Task<'_>,
        domain: &DomainRef,
        owner: Owner,
    ) -> Result<(), Refusal> {
        let (first, last) = (*domain.aperture.start(), *domain.aperture.end());
        if first != 0 {
            self.reserve(task, 0, first - 1, owner)?;
        }
        if last != u64::MAX {
            self.reserve(task, last + 1, u64::MAX, owner)?;
        }
        task.allocate()?;
        if self.domains.is_empty() {
            self.pin_areas(task)?;
        }
        let readable = self.areas.values().find(|area| area.prot.is_read_only());
        if let Some(area) = readable.filter(|_| !domain.read_only) {
            return Err(Refusal::ReadOnly { iova: area.start });
        }
        self.areas.values().try_for_each(|area| domain.show(area, self.large_pages, task.physical))
    }

    /// Pins every area, or none.
    fn pin_areas(&mut self, task: &mut Task<'_>) -> Result<(), Refusal> {
        let mut holds = Vec::with_capacity(self.areas.len());
        for area in self.areas.values() {
            holds.push(hold(task, area)?);
        }
        for (area, hold) in self.areas.values_mut().zip(holds) {
            area.hold = hold;
        }
        Ok(())
    }

    /// Whether every domain holds mappings of this kind.
    pub(super) fn check_prot(&self, iova: u64, prot: Prot) -> Result<(), Refusal> {
        if prot.is_read_only() && self.domains.iter().any(|domain| !domain.read_only) {
            return Err(Refusal::ReadOnly { iova });
        }
        Ok(())
    }

    /// The page sizes that every domain has, a bit each: sizes below the CPU's page count as the CPU's
    /// page (`vfio_update_pgsize_bitmap`).
    pub fn page_sizes(&self) -> u64 {
        let sizes = self.domains.iter().fold(u64::MAX, |sizes, domain| sizes & domain.page_sizes);
        match sizes & (PAGE_SIZE - 1) {
            0 => sizes,
            _ => sizes & !(PAGE_SIZE - 1) | PAGE_SIZE,
        }
    }

    /// Takes the domain of a hwpt away (`iopt_table_remove_domain`).
    pub fn remove_domain(&mut self, hwpt: ObjectId) {
        if let Some(at) = self.domains.iter().position(|domain| domain.hwpt == hwpt) {
            self.domains.swap_remove(at);
        }
        if self.domains.is_empty() {
            self.areas.values_mut().for_each(|area| area.hold = None);
        }
        self.unreserve(Owner::Domain(hwpt));
        // shrinking cannot fail
        let _ = self.update_alignment();
    }

    /// Adds an access that demands an alignment (`iopt_add_access`). Returns its place in the list.
    pub fn add_access(
        &mut self,
        task: &mut Task<'_>,
        access: ObjectId,
        alignment: u64,
    ) -> Result<u32, Refusal> {
        task.allocate()?;
        let place = (0..).find(|place| !self.accesses.contains_key(place)).unwrap_or(0);
        self.accesses.insert(place, (access, alignment));
        if let Err(refusal) = self.update_alignment() {
            self.accesses.remove(&place);
            return Err(refusal);
        }
        Ok(place)
    }

    /// Takes an access away.
    pub fn remove_access(&mut self, place: u32) {
        self.accesses.remove(&place);
        let _ = self.update_alignment();
    }

    /// The accesses in the order in which they are told of an unmap.
    pub fn access_list(&self) -> Vec<ObjectId> {
        self.accesses.values().map(|(access, _)| *access).collect()
    }

    /// Allows or forbids table entries larger than a page (`IOMMU_OPTION_HUGE_PAGES`).
    pub fn set_large_pages(&mut self, allow: bool) -> Result<(), Refusal> {
        if allow {
            self.large_pages = true;
            return self.update_alignment();
        }
        if !self.large_pages {
            return Ok(());
        }
        if !self.domains.is_empty() && !self.areas.is_empty() {
            let rule = "a domain has mappings already";
            return Err(Refusal::Invalid { field: "val64", value: 0, rule });
        }
        self.large_pages = false;
        let updated = self.update_alignment();
        self.large_pages = updated.is_err();
        updated
    }

    /// `iopt_calculate_iova_alignment`
    fn update_alignment(&mut self) -> Result<(), Refusal> {
        let large = if self.large_pages { 1 } else { PAGE_SIZE };
        let domains = self.domains.iter().map(DomainRef::granule).max().unwrap_or(1);
        let accesses = self.accesses.values().map(|(_, alignment)| *alignment).max().unwrap_or(1);
        let alignment = large.max(domains).max(accesses);
        if alignment > self.iova_alignment {
            self.check_alignment(alignment)?;
        }
        self.iova_alignment = alignment;
        Ok(())
    }

    /// Whether all areas conform to a larger alignment.
    fn check_alignment(&self, alignment: u64) -> Result<(), Refusal> {
        let mask = alignment - 1;
        let bad = self.areas.values().find(|area| {
            (area.start | (area.last.wrapping_add(1)) | area.page_offset()) & mask != 0
        });
        match bad {
            Some(area) => Err(Refusal::RangeInUse { start: area.start, last: area.last }),
            None => Ok(()),
        }
    }

    /// The page that the domains show at `iova`, and the byte in it (`iova_to_phys`).
    pub fn translate(&self, iova: u64) -> Option<(PageId, u64)> {
        let area = self.area_at(iova)?;
        let index = area.page_at(iova);
        let page = match &area.hold {
            Some(hold) => hold.page(index),
            None => area.pages.dmabuf_page(index),
        }?;
        Some((page, area.byte_at(iova) % PAGE_SIZE))
    }

    /// Marks the table entry that translates `iova` dirty; nothing where none does.
    pub fn mark_dirty(&mut self, domain: usize, iova: u64) {
        let Some(area) = self.area_at(iova) else { return };
        if area.hold.is_none() {
            return;
        }
        let leaf = self.leaf(&self.domains[domain], area, iova);
        self.domains[domain].dirty.insert(leaf.start);
    }

    /// The dirty entries that translate `iova..=last`; with `clear` they are clean from now on.
    pub fn take_dirty(&mut self, domain: usize, iova: u64, last: u64, clear: bool) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        let it = &self.domains[domain];
        if let Some(tables) = &it.tables {
            let tells = !it.dirty_needs_tracking || it.dirty_tracking;
            let (parts, _) = self.contiguous(iova, last);
            let ranges = parts.into_iter().map(|(_, first, last)| first..=last);
            return ranges.filter(|_| tells).flat_map(|it| tables.dirty(it, clear)).collect();
        }
        if it.dirty.is_empty() || (it.dirty_needs_tracking && !it.dirty_tracking) {
            return leaves;
        }
        let (parts, _) = self.contiguous(iova, last);
        for (start, first, last) in parts {
            let area = &self.areas[&start];
            let known = &self.domains[domain];
            // an entry that began before the part can reach into it
            let before = known.dirty.range(area.start..first).next_back();
            let inside = known.dirty.range(first..=last);
            for at in before.into_iter().chain(inside) {
                let leaf = self.leaf(known, area, *at);
                if leaf.start + (leaf.size - 1) >= first {
                    leaves.push(leaf);
                }
            }
        }
        if clear {
            for leaf in &leaves {
                self.domains[domain].dirty.remove(&leaf.start);
            }
        }
        leaves
    }

    /// Cleans every entry of a domain.
    pub fn clean(&mut self, domain: usize) {
        self.domains[domain].dirty.clear();
        let it = &self.domains[domain];
        if let Some(tables) = &it.tables {
            // area by area: some kernels count more addresses to the aperture than the tables translate
            // (`Quirk::AmdV2Half`, for one), and a range with such an address is refused as a whole
            self.areas.values().for_each(|area| _ = tables.dirty(area.start..=area.last, true));
        }
    }

    /// The table entry that the map path would have made for `iova`.
    ///
    /// Linux maps each physically contiguous run by the largest entries that fit
    /// (`drivers/iommu/generic_pt/iommu_pt.h`, `NS(map_range)`), page by page without large pages.
    fn leaf(&self, domain: &DomainRef, area: &Area, iova: u64) -> Leaf {
        let index = area.page_at(iova);
        let block = area.hold.as_ref().map_or(PAGE_SIZE, |hold| hold.block(index));
        let block = if self.large_pages { block } else { PAGE_SIZE };
        let byte = area.byte_at(iova);
        let run_start = area.start.max(iova.saturating_sub(byte % block));
        let run_last = area.last.min(iova + (block - 1 - byte % block));
        let mut at = run_start;
        loop {
            let room = run_last - at + 1;
            let place = at | (area.byte_at(at) % block);
            let size = domain.best_page(place, room);
            if iova - at < size {
                return Leaf { start: at, size };
            }
            at += size;
        }
    }
}
