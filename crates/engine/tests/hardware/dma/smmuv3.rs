//! A guest's context descriptors, its commands, stalls and events.

use std::time::Duration;

use engine::{Answer, Awaited, PageRequest};
use pt::Root;
use pt::format::{Granule, VmsaStage1};
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::file::File;
use crate::host::DEVICE;

const NP: u32 = IOMMU_HWPT_ALLOC_NEST_PARENT;
const FAULT: u32 = IOMMU_HWPT_FAULT_ID_VALID;
/// The device's stream, as the guest names it.
const SID: u64 = 7;
const SSID: u32 = 3;
const ASID: u64 = 12;
const VA: u64 = 0x12_3456_7000;
const TRANSLATION: u32 = 0x10;
const BAD_DESCRIPTOR: u32 = 0xa;
/// Where the table of context descriptors is: the guest-physical page before the tables'.
const DESCRIPTORS: u64 = 0xf000;
/// log2 of how many there are.
const COUNT: u64 = 4;

const USER: VmsaStage1 = VmsaStage1 {
    granule: Granule::K4,
    input_bits: 48,
    upper: false,
    top_byte_ignored: false,
    address_bits: 48,
    marks: false,
    marks_dirty: false,
    unmarked_passes: false,
    tables_grant_all: false,
    write_or_execute: false,
    privileged_never: false,
};

/// A guest with one process, whose substream has a context descriptor.
struct Process {
    guest: Guest,
    root: Root,
    viommu: u32,
    nested: u32,
    faults: i32,
    events: i32,
}

impl Process {
    /// With stalls where the descriptor says so.
    fn new(stalls: bool) -> Self {
        let mut guest = Guest::new(&File::of("grace").machine(), Kernel::newest());
        let root = guest.table(&USER);
        let parent = guest.host.hwpt(NP).unwrap();
        let viommu = guest.host.viommu(IOMMU_VIOMMU_TYPE_ARM_SMMUV3, parent).unwrap();
        guest.host.vdevice(viommu, SID).unwrap();
        let mut events = iommu_veventq_alloc {
            viommu_id: viommu,
            r#type: IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
            veventq_depth: 8,
            ..Default::default()
        };
        guest.host.call(&mut events).unwrap();
        let mut faults = iommu_fault_alloc::default();
        guest.host.call(&mut faults).unwrap();
        // V, stage 1, the table, how many, and CD 0 for what has no substream
        let ste = iommu_hwpt_arm_smmuv3 { ste: [1 | 5 << 1 | DESCRIPTORS | COUNT << 59, 2] };
        let data_uptr = guest.host.put(ste.as_bytes());
        let nested = guest.host.hwpt_with(&mut iommu_hwpt_alloc {
            flags: FAULT,
            dev_id: DEVICE,
            pt_id: viommu,
            fault_id: faults.out_fault_id,
            data_type: IOMMU_HWPT_DATA_ARM_SMMUV3,
            data_len: 16,
            data_uptr,
            ..Default::default()
        });
        let nested = nested.unwrap();
        let (faults, events) = (faults.out_fault_fd, events.out_veventq_fd);
        let [faults, events] = [faults, events].map(u32::cast_signed);
        let mut it = Self { guest, root, viommu, nested, faults, events };
        it.describe(it.root, stalls);
        it.guest.host.attach(nested).unwrap();
        it
    }

    /// Writes the descriptor of the substream.
    fn describe(&mut self, root: Root, stalls: bool) {
        const NO_UPPER_HALF: u64 = 1 << 30;
        const VALID: u64 = 1 << 31;
        const BITS_48: u64 = 5 << 32;
        const AARCH64: u64 = 1 << 41;
        const RECORD_ABORT: u64 = 1 << 45 | 1 << 46;
        let stall = u64::from(stalls) << 44;
        let word = 16 | NO_UPPER_HALF | VALID | BITS_48 | AARCH64 | RECORD_ABORT | stall;
        let at = DESCRIPTORS + u64::from(SSID) * 64;
        self.guest.put(at, word | ASID << 48);
        self.guest.put(at + 8, root.0);
    }

    fn map(&mut self, va: u64, page: u64) {
        self.guest.map(&USER, self.root, va, page, Rights::READ | Rights::WRITE);
    }

    fn remap(&mut self, va: u64, page: u64) {
        self.guest.unmap(&USER, self.root, va);
        self.map(va, page);
    }

    fn command(&mut self, cmd: [u64; 2]) {
        let kind = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3;
        let done = self.guest.host.invalidate(self.viommu, kind, &[cmd.as_bytes()]);
        assert_eq!(done, (Ok(()), 1), "{cmd:x?}");
    }

    /// What a read of a descriptor gives, of records of a size.
    fn records(&mut self, fd: i32, size: usize) -> Vec<Vec<u8>> {
        let at = self.guest.host.put(&[0; 4096]);
        let count = self.guest.host.client.read(fd, at, (size * 8) as u64).unwrap();
        let mut bytes = vec![0; count as usize];
        self.guest.host.client.memory.read(at, &mut bytes).unwrap();
        bytes.chunks_exact(size).map(<[u8]>::to_vec).collect()
    }

    /// The events that the guest gets.
    fn events(&mut self) -> Vec<[u64; 4]> {
        let header = size_of::<iommufd_vevent_header>();
        let records = self.records(self.events, header + 32);
        let words = |it: &Vec<u8>| <[u64; 4]>::read_from_bytes(&it[header..]).unwrap();
        records.iter().map(words).collect()
    }

    fn requests(&mut self) -> Vec<iommu_hwpt_pgfault> {
        let records = self.records(self.faults, size_of::<iommu_hwpt_pgfault>());
        records.iter().map(|it| iommu_hwpt_pgfault::read_from_bytes(it).unwrap()).collect()
    }
}

#[test]
fn a_process_is_reached_by_its_substream() {
    let mut it = Process::new(false);
    let dma = it.guest.dma();
    it.map(VA, DATA[0]);
    assert_eq!(read(&dma, Some(SSID), VA), Ok(1));
    assert_eq!(write(&dma, Some(SSID), VA + 8, 7), Ok(()));
    assert_eq!(it.guest.get(DATA[0] + 8), 7);
    assert!(it.events().is_empty());
    assert_eq!(read(&dma, Some(SSID + 1), VA), refused(BAD_DESCRIPTOR));
    assert_eq!(read(&dma, Some(SSID), VA + PAGE), refused(TRANSLATION));
    let events = it.events();
    let id = |it: &[u64; 4]| (it[0] & 0xff, it[0] >> 12 & 0xf_ffff, it[0] >> 32);
    let ids: Vec<_> = events.iter().map(id).collect();
    let expected = [
        (u64::from(BAD_DESCRIPTOR), u64::from(SSID) + 1, SID),
        (u64::from(TRANSLATION), u64::from(SSID), SID),
    ];
    assert_eq!(ids, expected);
    assert_eq!(events[1][2], VA + PAGE);
}

/// Written from the manual (SMMUv3 4.3 to 4.5, 3.21): what was translated, or read of a descriptor,
/// stays so until the right command.
#[test]
fn stale_translations() {
    const CFGI_CD: u64 = 0x05;
    const CFGI_CD_ALL: u64 = 0x06;
    const NH_ALL: u64 = 0x10;
    const NH_ASID: u64 = 0x11;
    const NH_VA: u64 = 0x12;
    const NH_VAA: u64 = 0x13;
    const ATC_INV: u64 = 0x40;
    const NSNH_ALL: u64 = 0x30;
    let asid = |op: u64, asid: u64| op | asid << 48;
    let stream = |op: u64, ssid: u32| op | SID << 32 | u64::from(ssid) << 12;
    type Row = (&'static str, Option<[u64; 2]>, u64);
    #[rustfmt::skip] // one case, one line
    let rows: &[Row] = &[
        ("no command",                  None,                                   1),
        ("another ASID",                Some([asid(NH_ASID, ASID + 1), 0]),     1),
        ("the ASID",                    Some([asid(NH_ASID, ASID), 0]),         2),
        ("another page",                Some([asid(NH_VA, ASID), VA + PAGE]),   1),
        ("the page of another ASID",    Some([asid(NH_VA, ASID + 1), VA]),      1),
        ("the page",                    Some([asid(NH_VA, ASID), VA]),          2),
        ("the page, only its leaf",     Some([asid(NH_VA, ASID), VA | 1]),      2),
        ("the page of all ASIDs",       Some([NH_VAA, VA]),                     2),
        ("all of the VMID",             Some([NH_ALL, 0]),                      2),
        ("all that is not secure",      Some([NSNH_ALL, 0]),                    2),
        ("the descriptor",              Some([stream(CFGI_CD, SSID), 1]),       1),
        ("all descriptors",             Some([stream(CFGI_CD_ALL, 0), 0]),      1),
        ("the device's own cache",      Some([stream(ATC_INV, SSID) | 1 << 11, 52]), 1),
    ];
    for (name, command, expected) in rows {
        let mut it = Process::new(false);
        let dma = it.guest.dma();
        it.map(VA, DATA[0]);
        assert_eq!(read(&dma, Some(SSID), VA), Ok(1), "{name}");
        it.remap(VA, DATA[1]);
        if let Some(command) = command {
            it.command(*command);
        }
        assert_eq!(read(&dma, Some(SSID), VA), Ok(*expected), "{name}");
    }
}

#[test]
fn a_descriptor_is_kept_until_the_command_for_it() {
    let mut it = Process::new(false);
    let dma = it.guest.dma();
    it.map(VA, DATA[0]);
    assert_eq!(read(&dma, Some(SSID), VA), Ok(1));
    let other = it.guest.table(&USER);
    it.describe(other, false);
    it.command([0x10, 0]);
    assert_eq!(read(&dma, Some(SSID), VA), Ok(1), "the descriptor is still the old one");
    it.command([0x05 | SID << 32 | u64::from(SSID + 1) << 12, 1]);
    it.command([0x10, 0]);
    assert_eq!(read(&dma, Some(SSID), VA), Ok(1), "another descriptor was invalidated");
    it.command([0x05 | SID << 32 | u64::from(SSID) << 12, 1]);
    assert_eq!(read(&dma, Some(SSID), VA), Ok(1), "the translation is still in the IOTLB");
    it.command([0x10, 0]);
    assert_eq!(read(&dma, Some(SSID), VA), refused(TRANSLATION));
}

#[test]
fn a_stalled_access_waits_for_its_page() {
    let mut it = Process::new(true);
    let dma = it.guest.dma();
    let Err(DmaFault::Stalled { tag }) = write(&dma, Some(SSID), VA + 8, 5) else {
        panic!("it was to stall")
    };
    assert!(it.events().is_empty(), "it is told by a page request");
    let told = it.requests();
    let shapes: Vec<_> =
        told.iter().map(|it| (it.flags, it.pasid, it.grpid, it.perm, it.addr)).collect();
    let flags = IOMMU_PGFAULT_FLAGS_PASID_VALID | IOMMU_PGFAULT_FLAGS_LAST_PAGE;
    assert_eq!(shapes, [(flags, SSID, tag.into(), IOMMU_PGFAULT_PERM_WRITE, VA + 8)]);
    assert_eq!(dma.wait(Awaited::Stall(tag), Duration::ZERO), None);
    it.map(VA, DATA[0]);
    let answer =
        iommu_hwpt_page_response { cookie: told[0].cookie, code: IOMMUFD_PAGE_RESP_SUCCESS };
    let at = it.guest.host.put(answer.as_bytes());
    it.guest.host.client.write(it.faults, at, 8).unwrap();
    assert_eq!(dma.wait(Awaited::Stall(tag), Duration::ZERO), Some(Answer::Success));
    assert_eq!(write(&dma, Some(SSID), VA + 8, 5), Ok(()));
    assert_eq!(it.guest.get(DATA[0] + 8), 5);

    // one that waits when the device is detached is aborted
    let Err(DmaFault::Stalled { tag }) = read(&dma, Some(SSID), VA + PAGE) else {
        panic!("it was to stall")
    };
    it.guest.host.detach().unwrap();
    assert_eq!(dma.wait(Awaited::Stall(tag), Duration::ZERO), Some(Answer::Invalid));
}

#[test]
fn memory_unmapped_while_the_device_is_detached_is_gone() {
    let mut it = Process::new(false);
    let dma = it.guest.dma();
    it.map(VA, DATA[0]);
    assert_eq!(read(&dma, Some(SSID), VA), Ok(1));
    it.guest.host.detach().unwrap();
    let (ioas_id, length) = (IOAS, PAGES * PAGE);
    let mut unmap = iommu_ioas_unmap { ioas_id, iova: 0, length, ..Default::default() };
    it.guest.host.call(&mut unmap).unwrap();
    // all but the page that was read comes again
    let kept = iommu_ioas_map {
        flags: IOMMU_IOAS_MAP_FIXED_IOVA | READ | WRITE,
        ioas_id: IOAS,
        user_va: GUEST + 0x2000,
        length: length - 0x2000,
        iova: 0x2000,
        ..Default::default()
    };
    it.guest.host.call(&mut { kept }).unwrap();
    it.guest.host.attach(it.nested).unwrap();
    assert_eq!(read(&dma, Some(SSID), VA), refused(TRANSLATION));
}

#[test]
fn page_requests_are_no_stalls() {
    let mut it = Process::new(true);
    let dma = it.guest.dma();
    let request = |group| PageRequest {
        pasid: Some(SSID),
        iova: VA,
        rights: Rights::READ,
        privileged: false,
        group,
        last: true,
    };
    dma.request_page(request(1));
    assert_eq!(dma.wait(Awaited::Group(1), Duration::ZERO), Some(Answer::Invalid));
    dma.request_page(request(1));
    let stalled = dma.burst(Some(SSID), |burst| burst.update(VA, |word| word + 1));
    let Err(DmaFault::Stalled { tag }) = stalled else { panic!("it was to stall") };
    let told = it.requests();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].perm, IOMMU_PGFAULT_PERM_WRITE, "an event has one bit for both");
    assert_eq!(dma.wait(Awaited::Stall(tag), Duration::ZERO), None);
}

/// An SMMU with fields of ID registers changed: the register, its mask, and the bits.
fn grace(changes: &[(usize, u32, u32)]) -> Machine {
    let mut machine = File::of("grace").machine();
    for unit in &mut machine.iommus {
        if let profile::machine::Hardware::ArmSmmuv3(unit) = &mut unit.hardware {
            for (index, mask, bits) in changes {
                unit.idr[*index] = unit.idr[*index] & !mask | bits;
            }
        }
    }
    machine
}

#[test]
fn smaller_identifiers_suffice() {
    // SSIDSIZE of 16, without VMID16 and ASID16
    let machine = grace(&[(1, 0x7c0, 16 << 6), (0, 1 << 18 | 1 << 12, 0)]);
    let mut guest = Guest::new(&machine, Kernel::newest());
    for _ in 0..300 {
        let id = guest.host.hwpt(0).unwrap();
        guest.host.destroy(id).unwrap();
    }
    let dma = guest.dma();
    for flags in [0, NP] {
        let hwpt = guest.host.hwpt(flags).unwrap();
        guest.host.attach(hwpt).unwrap();
        assert_eq!(read(&dma, None, 0x1000), Ok(1), "flags {flags}");
    }
}

#[test]
fn a_domain_that_tracks_is_written_before_and_after() {
    // HTTU of 2: written pages are marked
    let mut guest = Guest::new(&grace(&[(0, 3 << 6, 2 << 6)]), Kernel::newest());
    let hwpt = guest.host.hwpt(IOMMU_HWPT_ALLOC_DIRTY_TRACKING).unwrap();
    guest.host.attach(hwpt).unwrap();
    let dma = guest.dma();
    assert_eq!(write(&dma, None, 0x1000, 1), Ok(()));
    for flags in [IOMMU_HWPT_DIRTY_TRACKING_ENABLE, 0] {
        let mut track =
            iommu_hwpt_set_dirty_tracking { hwpt_id: hwpt, flags, ..Default::default() };
        guest.host.call(&mut track).unwrap();
        assert_eq!(write(&dma, None, 0x2000, 1), Ok(()));
    }
}
