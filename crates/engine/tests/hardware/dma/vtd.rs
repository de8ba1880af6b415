//! A guest's first stage, by PASID.

use std::time::Duration;

use engine::{Answer, Awaited, PageRequest};
use profile::machine::Caching;
use pt::Root;
use pt::format::X86_64;
use uapi::Errno;
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::file::File;
use crate::host::DEVICE;

const PA: u32 = IOMMU_HWPT_ALLOC_PASID;
const NP: u32 = IOMMU_HWPT_ALLOC_NEST_PARENT;
const FAULT: u32 = IOMMU_HWPT_FAULT_ID_VALID;
const PASID: u32 = 5;
const VA: u64 = 0x7f12_3456_7000;
const NOT_PRESENT: u32 = 0x71;
const USER: X86_64 = X86_64 {
    levels: 4,
    address_bits: 52,
    gigabyte_pages: true,
    write_protect: true,
    extended_accessed: false,
};

/// A guest with one process, which has a PASID.
struct Process {
    guest: Guest,
    root: Root,
    nested: u32,
    /// The descriptor of the fault queue.
    faults: i32,
}

impl Process {
    fn new() -> Self {
        Self::caching("hardware")
    }

    /// On a machine that caches in this way.
    fn caching(caches: &str) -> Self {
        let mut machine = File::of("spr").machine();
        machine.caches = Caching::by_name(caches).unwrap();
        let mut guest = Guest::new(&machine, Kernel::newest());
        let root = guest.table(&USER);
        let parent = guest.host.hwpt(NP | PA).unwrap();
        guest.host.attach(parent).unwrap();
        let mut faults = iommu_fault_alloc::default();
        guest.host.call(&mut faults).unwrap();
        let data = iommu_hwpt_vtd_s1 { pgtbl_addr: root.0, addr_width: 48, ..Default::default() };
        let data_uptr = guest.host.put(data.as_bytes());
        let nested = guest.host.hwpt_with(&mut iommu_hwpt_alloc {
            flags: PA | FAULT,
            dev_id: DEVICE,
            pt_id: parent,
            fault_id: faults.out_fault_id,
            data_type: IOMMU_HWPT_DATA_VTD_S1,
            data_len: data.as_bytes().len() as u32,
            data_uptr,
            ..Default::default()
        });
        let nested = nested.unwrap();
        guest.host.attach_pasid(PASID, nested).unwrap();
        Self { guest, root, nested, faults: faults.out_fault_fd.cast_signed() }
    }

    fn map(&mut self, va: u64, page: u64) {
        self.guest.map(&USER, self.root, va, page, Rights::READ | Rights::WRITE);
    }

    fn remap(&mut self, va: u64, page: u64) {
        self.guest.unmap(&USER, self.root, va);
        self.map(va, page);
    }

    fn invalidate(&mut self, addr: u64, npages: u64, flags: u32) {
        let entry = iommu_hwpt_vtd_s1_invalidate { addr, npages, flags, ..Default::default() };
        let kind = IOMMU_HWPT_INVALIDATE_DATA_VTD_S1;
        let done = self.guest.host.invalidate(self.nested, kind, &[entry.as_bytes()]);
        assert_eq!(done, (Ok(()), 1));
    }

    /// The page requests that a read of the queue gives.
    fn requests(&mut self) -> Vec<iommu_hwpt_pgfault> {
        let at = self.guest.host.put(&[0; 4096]);
        let length = size_of::<iommu_hwpt_pgfault>() * 64;
        let count = self.guest.host.client.read(self.faults, at, length as u64).unwrap();
        let mut bytes = vec![0; count as usize];
        self.guest.host.client.memory.read(at, &mut bytes).unwrap();
        let records = bytes.chunks_exact(size_of::<iommu_hwpt_pgfault>());
        records.map(|it| iommu_hwpt_pgfault::read_from_bytes(it).unwrap()).collect()
    }

    fn answer(&mut self, cookie: u32, code: u32) -> Result<(), Errno> {
        let answer = iommu_hwpt_page_response { cookie, code };
        let at = self.guest.host.put(answer.as_bytes());
        let size = size_of::<iommu_hwpt_page_response>() as u64;
        self.guest.host.client.write(self.faults, at, size).map(|count| assert_eq!(count, size))
    }
}

#[test]
fn a_process_is_reached_by_its_own_addresses() {
    let mut it = Process::new();
    let dma = it.guest.dma();
    it.map(VA, DATA[0]);
    assert_eq!(read(&dma, Some(PASID), VA), Ok(1));
    assert_eq!(write(&dma, Some(PASID), VA + 8, 7), Ok(()));
    assert_eq!(it.guest.get(DATA[0] + 8), 7);
    // other PASIDs, and none, are others' spaces
    assert_eq!(read(&dma, Some(PASID + 1), VA), refused(0x59));
    assert_eq!(read(&dma, None, DATA[0]), Ok(1));
    assert_eq!(read(&dma, Some(PASID), VA + PAGE), refused(NOT_PRESENT));
    assert_eq!(read(&dma, Some(PASID), 1 << 60), refused(0x80));
}

#[test]
fn entries_that_are_used_are_marked() {
    const ACCESSED: u64 = 1 << 5;
    const DIRTY: u64 = 1 << 6;
    let mut it = Process::new();
    let dma = it.guest.dma();
    it.map(VA, DATA[0]);
    let entry = |it: &Process| {
        let mut table = it.root.0;
        for shift in [39, 30, 21] {
            table = it.guest.get(table + (VA >> shift & 0x1ff) * 8) & 0x000f_ffff_ffff_f000;
        }
        table + (VA >> 12 & 0x1ff) * 8
    };
    let at = entry(&it);
    let clean = it.guest.get(at) & !(ACCESSED | DIRTY);
    it.guest.put(at, clean);
    read(&dma, Some(PASID), VA).unwrap();
    assert_eq!(it.guest.get(at), clean | ACCESSED);
    // the cached translation may not be written before the page is marked
    write(&dma, Some(PASID), VA, 1).unwrap();
    assert_eq!(it.guest.get(at), clean | ACCESSED | DIRTY);
}

/// `qemu11_vtd_stale.txt`, and what the manual adds (VT-d 6.2, 6.5.2): what was translated stays so
/// until the right invalidation.
#[test]
fn stale_translations() {
    let all = (0, u64::MAX, 0);
    let page = (VA, 1, 0);
    let leaf = (VA, 1, IOMMU_VTD_INV_FLAGS_LEAF);
    type Row = (&'static str, Option<(u64, u64, u32)>, u64);
    #[rustfmt::skip] // one case, one line
    let rows: &[Row] = &[
        ("no invalidation",         None,                      1),
        ("another page",            Some((VA + PAGE, 1, 0)),   1),
        ("the page",                Some(page),                2),
        ("the page, only its leaf", Some(leaf),                2),
        ("everything",              Some(all),                 2),
        ("no page and no address",  Some((0, 0, 0)),           2),
    ];
    for (name, invalidation, expected) in rows {
        let mut it = Process::new();
        let dma = it.guest.dma();
        it.map(VA, DATA[0]);
        assert_eq!(read(&dma, Some(PASID), VA), Ok(1), "{name}");
        it.remap(VA, DATA[1]);
        if let Some((addr, npages, flags)) = *invalidation {
            it.invalidate(addr, npages, flags);
        }
        assert_eq!(read(&dma, Some(PASID), VA), Ok(*expected), "{name}");
    }
}

#[test]
fn ways_to_cache() {
    // between two reads of a page that moved, others are read that want its place
    const CACHED_PAGES: u64 = 4096;
    for (caches, expected) in [("hardware", 2), ("never-forget", 1), ("never-keep", 2)] {
        let mut it = Process::caching(caches);
        let dma = it.guest.dma();
        it.map(VA, DATA[0]);
        assert_eq!(read(&dma, Some(PASID), VA), Ok(1), "{caches}");
        it.remap(VA, DATA[1]);
        let kept = if caches == "never-keep" { 2 } else { 1 };
        assert_eq!(read(&dma, Some(PASID), VA), Ok(kept), "{caches}");
        for number in 1..=16 {
            let other = VA + number * CACHED_PAGES * PAGE;
            it.map(other, DATA[2]);
            assert_eq!(read(&dma, Some(PASID), other), Ok(3), "{caches}");
        }
        assert_eq!(read(&dma, Some(PASID), VA), Ok(expected), "{caches}");
    }
}

#[test]
fn an_invalidation_of_leaves_keeps_what_leads_to_tables() {
    let mut it = Process::new();
    let dma = it.guest.dma();
    it.map(VA, DATA[0]);
    assert_eq!(read(&dma, Some(PASID), VA), Ok(1));
    // another table takes the place of the last one
    let other = it.guest.allocate(512).unwrap();
    let mut table = it.root.0;
    for shift in [39, 30] {
        table = it.guest.get(table + (VA >> shift & 0x1ff) * 8) & 0x000f_ffff_ffff_f000;
    }
    let at = table + (VA >> 21 & 0x1ff) * 8;
    let (entry, old) = (it.guest.get(at), it.guest.get(at) & 0x000f_ffff_ffff_f000);
    let index = (VA >> 12 & 0x1ff) * 8;
    let leaf = it.guest.get(old + index);
    it.guest.put(other + index, leaf & !0x000f_ffff_ffff_f000 | DATA[1]);
    it.guest.put(at, entry & !0x000f_ffff_ffff_f000 | other);
    it.invalidate(VA, 1, IOMMU_VTD_INV_FLAGS_LEAF);
    assert_eq!(read(&dma, Some(PASID), VA), Ok(1), "the old table still leads to the old page");
    it.invalidate(VA, 1, 0);
    assert_eq!(read(&dma, Some(PASID), VA), Ok(2));
}

#[test]
fn another_processs_invalidation_is_not_this_ones() {
    let mut it = Process::new();
    let dma = it.guest.dma();
    it.map(VA, DATA[0]);
    let mut other = iommu_hwpt_vtd_s1 { pgtbl_addr: it.root.0, ..Default::default() };
    other.addr_width = 48;
    let parent = 3;
    let nested = it.guest.host.nested(parent, PA, IOMMU_HWPT_DATA_VTD_S1, other.as_bytes());
    let nested = nested.unwrap();
    it.guest.host.attach_pasid(PASID + 1, nested).unwrap();
    assert_eq!(read(&dma, Some(PASID), VA), Ok(1));
    assert_eq!(read(&dma, Some(PASID + 1), VA), Ok(1));
    it.remap(VA, DATA[1]);
    it.invalidate(0, u64::MAX, 0);
    assert_eq!(read(&dma, Some(PASID), VA), Ok(2));
    assert_eq!(read(&dma, Some(PASID + 1), VA), Ok(1), "its own domain was not invalidated");
}

#[test]
fn hosts_memory_that_goes_away_is_gone_for_the_guest() {
    let mut it = Process::new();
    let dma = it.guest.dma();
    it.map(VA, DATA[0]);
    assert_eq!(read(&dma, Some(PASID), VA), Ok(1));
    let (ioas_id, length) = (IOAS, PAGES * PAGE);
    let mut unmap = iommu_ioas_unmap { ioas_id, iova: 0, length, ..Default::default() };
    it.guest.host.call(&mut unmap).unwrap();
    let gone = read(&dma, Some(PASID), VA);
    assert_eq!(gone, refused(0x75), "the root of the guest's table is not there");
}

#[test]
fn a_translation_that_a_device_keeps_ends_with_the_invalidation() {
    let mut it = Process::new();
    let dma = it.guest.dma();
    it.map(VA, DATA[0]);
    let translated = |dma: &Dma| {
        dma.burst(Some(PASID), |burst| {
            let mut bytes = [0; 8];
            let reached = burst.read_translated(VA, &mut bytes).unwrap();
            reached.then_some(u64::from_le_bytes(bytes))
        })
    };
    let ask = |dma: &Dma| {
        dma.burst(Some(PASID), |burst| burst.request_translation(VA, Rights::READ)).unwrap()
    };
    assert_eq!(translated(&dma), None);
    assert_eq!(ask(&dma), Rights::READ);
    assert_eq!(translated(&dma), Some(1));
    it.remap(VA, DATA[1]);
    assert_eq!(translated(&dma), Some(1));
    it.invalidate(VA, 1, 0);
    assert_eq!(translated(&dma), None);
    it.guest.unmap(&USER, it.root, VA);
    assert_eq!(ask(&dma), Rights::empty(), "a page request may help");
}

#[test]
fn page_requests() {
    let mut it = Process::new();
    let dma = it.guest.dma();
    let request = |iova, last| PageRequest {
        pasid: Some(PASID),
        iova,
        rights: Rights::READ,
        privileged: false,
        group: 3,
        last,
    };
    assert!(it.requests().is_empty());
    dma.request_page(request(VA + PAGE, false));
    assert!(it.requests().is_empty(), "the group is not whole");
    dma.request_page(request(VA + 8, true));
    let told = it.requests();
    let shapes: Vec<_> =
        told.iter().map(|it| (it.flags, it.pasid, it.grpid, it.perm, it.addr, it.dev_id)).collect();
    // a flag of the kernel's own goes with a PASID (`IOMMU_FAULT_PAGE_RESPONSE_NEEDS_PASID`)
    let valid = IOMMU_PGFAULT_FLAGS_PASID_VALID | 1 << 2;
    let last = valid | IOMMU_PGFAULT_FLAGS_LAST_PAGE;
    let read_only = IOMMU_PGFAULT_PERM_READ;
    assert_eq!(
        shapes,
        [(valid, PASID, 3, read_only, VA + PAGE, DEVICE), (last, PASID, 3, read_only, VA, DEVICE),]
    );
    assert_eq!(dma.wait(Awaited::Group(3), Duration::ZERO), None);
    it.map(VA, DATA[0]);
    it.answer(told[0].cookie, IOMMUFD_PAGE_RESP_SUCCESS).unwrap();
    assert_eq!(dma.wait(Awaited::Group(3), Duration::ZERO), Some(Answer::Success));
    assert_eq!(read(&dma, Some(PASID), VA), Ok(1));
    assert_eq!(it.answer(told[0].cookie, IOMMUFD_PAGE_RESP_SUCCESS), Err(Errno::EINVAL));

    // what nobody handles is answered at once
    dma.request_page(PageRequest { pasid: None, ..request(VA, true) });
    assert_eq!(dma.wait(Awaited::Group(3), Duration::ZERO), Some(Answer::Invalid));
    // so is what the driver does not hand on: privilege with access
    dma.request_page(PageRequest { privileged: true, ..request(VA, true) });
    assert_eq!(dma.wait(Awaited::Group(3), Duration::ZERO), Some(Answer::Invalid));

    // and what waits when the PASID goes away
    dma.request_page(request(VA, true));
    assert_eq!(dma.wait(Awaited::Group(3), Duration::ZERO), None);
    it.guest.host.detach_pasid(PASID).unwrap();
    assert_eq!(dma.wait(Awaited::Group(3), Duration::ZERO), Some(Answer::Invalid));
    assert_eq!(read(&dma, Some(PASID), VA), refused(0x59));
}

fn request(pasid: u32, rights: Rights) -> PageRequest {
    PageRequest { pasid: Some(pasid), iova: VA, rights, privileged: false, group: 3, last: true }
}

#[test]
fn a_stop_marker_is_told_to_nobody() {
    let mut it = Process::new();
    let dma = it.guest.dma();
    dma.request_page(request(PASID, Rights::empty()));
    assert!(it.requests().is_empty());
    assert_eq!(dma.wait(Awaited::Group(3), Duration::ZERO), None);
}

#[test]
fn a_pasid_that_is_not_attached_has_no_queue() {
    let mut it = Process::new();
    let dma = it.guest.dma();
    it.guest.host.attach(it.nested).unwrap();
    dma.request_page(request(PASID + 9, Rights::READ));
    assert!(it.requests().is_empty());
    assert_eq!(dma.wait(Awaited::Group(3), Duration::ZERO), Some(Answer::Invalid));
}

#[test]
fn half_a_group_ends_with_the_attachment() {
    let mut it = Process::new();
    let dma = it.guest.dma();
    let part = PageRequest { last: false, iova: 0xdead_0000, ..request(PASID, Rights::READ) };
    dma.request_page(part);
    it.guest.host.detach_pasid(PASID).unwrap();
    it.guest.host.attach_pasid(PASID, it.nested).unwrap();
    dma.request_page(request(PASID, Rights::READ));
    let told: Vec<_> = it.requests().iter().map(|it| it.addr).collect();
    assert_eq!(told, [VA]);
}

#[test]
fn a_late_answer_is_none_to_the_next_group() {
    let mut it = Process::new();
    let dma = it.guest.dma();
    dma.request_page(request(PASID, Rights::READ));
    let told = it.requests();
    dma.request_page(request(PASID, Rights::READ));
    it.answer(told[0].cookie, IOMMUFD_PAGE_RESP_SUCCESS).unwrap();
    assert_eq!(dma.wait(Awaited::Group(3), Duration::ZERO), None);
    let told = it.requests();
    it.answer(told[0].cookie, IOMMUFD_PAGE_RESP_SUCCESS).unwrap();
    assert_eq!(dma.wait(Awaited::Group(3), Duration::MAX), Some(Answer::Success));
}

#[test]
fn a_device_keeps_translations_of_any_number_of_pasids() {
    let mut it = Process::new();
    let dma = it.guest.dma();
    it.map(VA, DATA[0]);
    for pasid in 1000..1000 + 5000 {
        dma.burst(Some(pasid), |burst| burst.read_translated(VA, &mut [0; 8])).unwrap();
    }
    let got = dma.burst(Some(PASID), |burst| {
        let granted = burst.request_translation(VA, Rights::READ);
        (granted, burst.read_translated(VA, &mut [0; 8]))
    });
    assert_eq!(got, (Ok(Rights::READ), Ok(true)));
}

#[test]
fn a_device_without_ats_may_not_ask() {
    let mut machine = File::of("spr").machine();
    machine.devices.iter_mut().for_each(|device| device.ats = false);
    let mut guest = Guest::new(&machine, Kernel::newest());
    guest.host.attach(IOAS).unwrap();
    let dma = guest.dma();
    let got = dma.burst(None, |burst| burst.request_translation(0x1000, Rights::READ));
    assert_eq!(got, Err(DmaFault::Refused { code: 0x44 }));
}

#[test]
fn no_access_goes_on_at_address_0() {
    let mut it = Process::new();
    let dma = it.guest.dma();
    it.map(0xffff_ffff_ffff_f000, DATA[0]);
    it.map(0, DATA[1]);
    let got = dma.burst(Some(PASID), |burst| burst.read(0xffff_ffff_ffff_f000, &mut [0; 8192]));
    assert_eq!(got, Err(DmaFault::NoMemory));
}
