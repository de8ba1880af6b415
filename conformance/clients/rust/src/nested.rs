//! A guest's tables on an SMMUv3.

use std::path::Path;
use std::sync::Arc;
use std::{fmt, ptr};

use ::iommufd_ioctls::{
    IommuFd, IommufdHwInfoData, IommufdHwptData, IommufdInvalidateData, IommufdVDevice,
    IommufdVEvent, IommufdVEventData, IommufdVEventQ, IommufdVIommu,
};
use iommufd_bindings::iommufd::*;
use vfio_ioctls::{VfioDevice, VfioIommufd, VfioOps};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::dmatest::{Action, DmaTest, Outcome};
use crate::{PAGE, Result, check};

/// The device's stream, as the guest names it.
const STREAM: u64 = 8;
/// Events that the queue holds.
const DEPTH: u32 = 16;

/// SMMUv3 7.3: the numbers of events.
const BAD_SUBSTREAM: u32 = 0x08;
const BAD_DESCRIPTOR: u32 = 0x0a;
const TRANSLATION: u32 = 0x10;

pub fn run(path: &Path) -> Result {
    let iommufd = Arc::new(IommuFd::new()?);
    let ops = Arc::new(VfioIommufd::new(Arc::clone(&iommufd), None, None)?);
    let device = Arc::new(VfioDevice::new(path, Arc::clone(&ops) as _, false)?);
    let id = device.iommufd_dev_id().ok_or("the device has no ID")?;
    let viommu = Arc::new(IommufdVIommu::new(Arc::clone(ops.ioas()), id, false)?);
    check("no queues in hardware", !viommu.hw_queue_support())?;
    let mut queue = viommu.allocate_veventq(DEPTH)?;
    let mut virtual_device =
        IommufdVDevice::new(Arc::clone(&viommu), Arc::clone(&device) as _, id, STREAM)?;
    let bypass = IommufdHwptData::Smmuv3(iommu_hwpt_arm_smmuv3 { ste: [9, 0] });
    virtual_device.install_s1_hwpt(&bypass)?;
    virtual_device.install_s1_hwpt(&bypass)?;
    let bad = IommufdHwptData::Smmuv3(iommu_hwpt_arm_smmuv3 { ste: [u64::MAX, u64::MAX] });
    check("a stream table entry that is none", virtual_device.install_s1_hwpt(&bad).is_err())?;
    // CMD_CFGI_STE is the VMM's own business, TLBI_NSNH_ALL is the hardware's
    check("invalidate all", command(&viommu, [0x30, 0])?)?;
    check("an unknown command", command(&viommu, [0xff, 0]).is_err())?;
    check("no event", queue.read_events().map_or(true, |events| events.is_empty()))?;
    let mut info = IommufdHwInfoData::Smmuv3(Default::default());
    virtual_device.hw_info(&mut info)?;
    let IommufdHwInfoData::Smmuv3(info) = info;
    check("registers of the SMMU", info.idr[0] != 0)?;

    let mut guest = Guest::new(&*ops)?;
    events(&mut guest, &device, &viommu, &mut virtual_device, &mut queue)?;
    virtual_device.uninstall_s1_hwpt(true)?;
    device.detach_hwpt()?;
    ops.vfio_dma_unmap(GUEST, PAGES * PAGE)?;
    drop(guest);

    let mut table = iommu_hwpt_alloc {
        size: size_of::<iommu_hwpt_alloc>() as u32,
        flags: iommufd_hwpt_alloc_flags_IOMMU_HWPT_ALLOC_PASID,
        dev_id: id,
        pt_id: ops.ioas().id(),
        ..Default::default()
    };
    iommufd.alloc_iommu_hwpt(&mut table)?;
    device.attach_hwpt(table.out_hwpt_id)?;
    device.attach_iommufd_pt_pasid(table.out_hwpt_id, 5)?;
    check("a PASID on an IOAS", device.attach_iommufd_pt_pasid(ops.ioas().id(), 6).is_err())?;
    device.detach_iommufd_pt_pasid(5)?;
    device.detach_hwpt()?;
    iommufd.destroy_iommu_object(table.out_hwpt_id)?;
    drop(virtual_device);
    Ok(())
}

/// A command of the guest's queue, which the SMMU is told.
fn command(viommu: &Arc<IommufdVIommu>, cmd: [u64; 2]) -> Result<bool> {
    let cmd = iommu_viommu_arm_smmuv3_invalidate { cmd };
    Ok(viommu.invalidate(&mut IommufdInvalidateData::Smmuv3(cmd))?)
}

/// Guest-physical address of the guest's memory.
const GUEST: u64 = 0x10_0000;
/// Its pages: the context descriptor, tables of four levels, and data.
const PAGES: usize = 7;
const DESCRIPTOR: usize = 0;
const LEVELS: [usize; 4] = [1, 2, 3, 4];
const DATA: [usize; 2] = [5, 6];
/// An address of the guest's driver; the page after it is not in its table at first.
const ADDRESS: u64 = 0x12_3456_7000;

/// A guest's memory, in which the guest's driver has written its tables.
struct Guest {
    start: *mut u8,
    _memory: Vec<u8>,
}

impl Guest {
    fn new(ops: &dyn VfioOps) -> Result<Self> {
        let mut memory = vec![0; (PAGES + 1) * PAGE];
        let skipped = memory.as_ptr().align_offset(PAGE);
        let mut it = Self { start: memory.as_mut_ptr().wrapping_add(skipped), _memory: memory };
        // SAFETY: the memory is there until it is unmapped, and reached by raw pointers alone.
        unsafe { ops.vfio_dma_map(GUEST, PAGES * PAGE, it.start)? };
        it.describe(true);
        for (level, table) in LEVELS.iter().enumerate().take(3) {
            // SMMUv3 3.4, Arm ARM D8.3: a table
            it.put(*table, index(ADDRESS, level), physical(LEVELS[level + 1]) | 3);
        }
        it.map(ADDRESS, DATA[0]);
        Ok(it)
    }

    /// A word of a page.
    fn at(&self, page: usize, word: usize) -> *mut u64 {
        self.start.wrapping_add(page * PAGE + word * 8).cast()
    }

    fn put(&mut self, page: usize, word: usize, value: u64) {
        // SAFETY: the callers' pages and words are in the memory, at a multiple of 8.
        unsafe { ptr::write_volatile(self.at(page, word), value) };
    }

    fn get(&self, page: usize, word: usize) -> u64 {
        // SAFETY: as for `put`.
        unsafe { ptr::read_volatile(self.at(page, word)) }
    }

    /// SMMUv3 5.4: a context descriptor of tables of 4 KiB pages for 48 bits, in the lower half.
    fn describe(&mut self, valid: bool) {
        const CACHED_SHARED: u64 = 1 << 8 | 1 << 10 | 3 << 12;
        const NO_UPPER_HALF: u64 = 1 << 30;
        const BITS_48: u64 = 5 << 32;
        const AARCH64: u64 = 1 << 41;
        const RECORD_ABORT: u64 = 1 << 45 | 1 << 46;
        const OWN_ASID: u64 = 1 << 47 | 12 << 48;
        let walk = 16 | CACHED_SHARED | NO_UPPER_HALF | BITS_48 | AARCH64;
        self.put(DESCRIPTOR, 1, physical(LEVELS[0]));
        self.put(DESCRIPTOR, 3, 0xff);
        let word = walk | RECORD_ABORT | OWN_ASID | u64::from(valid) << 31;
        self.put(DESCRIPTOR, 0, word);
    }

    fn map(&mut self, address: u64, page: usize) {
        // for programs, shared, accessed, not global
        const PAGE_OF_ALL: u64 = 3 | 1 << 6 | 3 << 8 | 1 << 10 | 1 << 11;
        self.put(LEVELS[3], index(address, 3), physical(page) | PAGE_OF_ALL);
    }
}

fn physical(page: usize) -> u64 {
    GUEST + (page * PAGE) as u64
}

fn index(address: u64, level: usize) -> usize {
    (address >> (39 - 9 * level)) as usize & 0x1ff
}

/// An event record's fields (SMMUv3 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    kind: u32,
    stream: u64,
    /// None where it is not valid; `C_BAD_SUBSTREAMID` has no flag for that.
    substream: Option<u64>,
    stalls: bool,
    reads: bool,
    class: u64,
    address: u64,
}

/// What was translated: the address that the device gave.
const INPUT: u64 = 2;

impl Record {
    fn of(event: &IommufdVEvent) -> Option<Self> {
        let Some(IommufdVEventData::Smmuv3(data)) = &event.data else { return None };
        let [head, syndrome, address, _] = data.evt.map(u64::from_le);
        let kind = head as u32 & 0xff;
        let valid = head & 1 << 11 != 0 || kind == BAD_SUBSTREAM;
        Some(Self {
            kind,
            stream: head >> 32,
            substream: valid.then_some(head >> 12 & 0xf_ffff),
            stalls: syndrome & 1 << 31 != 0,
            reads: syndrome & 1 << 35 != 0,
            class: syndrome >> 40 & 3,
            address,
        })
    }

    /// One without an address.
    fn of_structure(kind: u32, substream: Option<u64>) -> Self {
        let stream = STREAM;
        Self { kind, stream, substream, stalls: false, reads: false, class: 0, address: 0 }
    }

    fn of_translation(reads: bool, address: u64) -> Self {
        let it = Self::of_structure(TRANSLATION, None);
        Self { reads, class: INPUT, address, ..it }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, stream, reads, address, .. } = self;
        let access = if *reads { "read" } else { "write" };
        write!(f, "event {kind:#04x}, stream {stream:#x}, {access}, address {address:#x}")
    }
}

/// Whether a descriptor can be read now.
fn is_ready(epoll: &Epoll) -> Result<bool> {
    Ok(epoll.wait(0, &mut [EpollEvent::default()])? == 1)
}

/// What a guest's tables do not translate comes to the guest as an event.
fn events(
    guest: &mut Guest,
    device: &VfioDevice,
    viommu: &Arc<IommufdVIommu>,
    virtual_device: &mut IommufdVDevice,
    queue: &mut IommufdVEventQ,
) -> Result {
    // SMMUv3 5.2: valid, stage 1, one context descriptor; its walks are cached and shared
    let entry = [1 | 5 << 1 | physical(DESCRIPTOR), 1 << 2 | 1 << 4 | 3 << 6];
    let entry = IommufdHwptData::Smmuv3(iommu_hwpt_arm_smmuv3 { ste: entry });
    virtual_device.install_s1_hwpt(&entry)?;
    let dmatest = DmaTest::new(device)?;
    let epoll = Epoll::new()?;
    let readable = EpollEvent::new(EventSet::IN, 0);
    epoll.ctl(ControlOperation::Add, queue.as_raw_fd(), readable)?;

    let next = ADDRESS + PAGE as u64;
    let write = |address| dmatest.run(Action::Write, address, 8, None);
    check("a write by the guest's table", write(ADDRESS + 16)? == Outcome::Done)?;
    check("it is in the guest's page", guest.get(DATA[0], 2) == 1)?;
    check("the queue is empty", !is_ready(&epoll)?)?;

    let refused = Outcome::Refused(TRANSLATION);
    let read = dmatest.run(Action::Read, next + 0x128, 8, None)?;
    check("a read of what is not in the table", read == refused)?;
    check("the queue can be read", is_ready(&epoll)?)?;
    let [event] = &queue.read_events()?[..] else { return Err("not one event".into()) };
    println!("{}", Record::of(event).ok_or("no record of an SMMUv3")?);
    check("the header of the first", (event.header.sequence, event.header.flags) == (0, 0))?;
    let record = Record::of_translation(true, next + 0x128);
    check("F_TRANSLATION of the virtual stream", Record::of(event) == Some(record))?;
    check("the queue is empty again", !is_ready(&epoll)?)?;

    check("a write across the end of what is in the table", write(next - 4)? == refused)?;
    let substream = dmatest.run(Action::Write, ADDRESS, 8, Some(3))?;
    check("a substream without a descriptor", substream == Outcome::Refused(BAD_SUBSTREAM))?;
    guest.describe(false);
    check(
        "a descriptor that the guest took away is still cached",
        write(ADDRESS)? == Outcome::Done,
    )?;
    check("CMD_CFGI_CD", command(viommu, [0x05 | STREAM << 32, 1])?)?;
    check("it is away", write(ADDRESS)? == Outcome::Refused(BAD_DESCRIPTOR))?;
    let events = queue.read_events()?;
    let sequence: Vec<_> = events.iter().map(|it| (it.header.sequence, it.lost)).collect();
    check("three more events", sequence == [(1, 0), (2, 0), (3, 0)])?;
    let records: Vec<_> = events.iter().filter_map(Record::of).collect();
    let expected = [
        Record::of_translation(false, next),
        Record::of_structure(BAD_SUBSTREAM, Some(3)),
        Record::of_structure(BAD_DESCRIPTOR, None),
    ];
    check("their records", records == expected)?;

    guest.describe(true);
    check("CMD_CFGI_CD_ALL", command(viommu, [0x06 | STREAM << 32, 0])?)?;
    guest.map(next, DATA[1]);
    check("what the guest put into its table is found", write(next)? == Outcome::Done)?;
    check("it is in the other page", guest.get(DATA[1], 0) == 1)?;

    let beyond = next + PAGE as u64;
    for _ in 0..DEPTH + 4 {
        write(beyond)?;
    }
    let events = queue.read_events()?;
    let lost = events.last().ok_or("no events")?;
    check("as many events as the queue holds", events.len() == DEPTH as usize + 1)?;
    check("and then that some are lost", lost.data.is_none() && lost.header.flags == 1)?;
    check("as many as there were", lost.header.sequence == 3 + DEPTH + 4)?;
    Ok(())
}
