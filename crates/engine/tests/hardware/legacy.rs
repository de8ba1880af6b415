//! Groups and containers, the way to VFIO devices that is older than iommufd.
//!
//! | module | holds |
//! |---|---|
//! | [`any_order`] | calls in any order leave nothing behind |
//! | [`group`] | `/dev/vfio/N`: owners, lifetimes, names of devices (`drivers/vfio/group.c`) |
//! | [`container`] | `/dev/vfio/vfio` and its drivers (`drivers/vfio/container.c`) |
//! | [`mappings`], [`told`] | type1: what is mapped; what it tells (`drivers/vfio/vfio_iommu_type1.c`) |
//! | [`registers`] | mapping the registers of a device |
//! | [`posted`] | which of the calls of 2020 a container takes |
//! | this one | a program with the group of its device open, and a container |

mod any_order;
mod container;
mod group;
mod mappings;
mod posted;
mod registers;
mod told;

use std::sync::Arc;

use engine::{Caller, Node};
use mem::AddressSpace;
use profile::{Kernel, Machine};
use uapi::Errno;
use uapi::vfio::*;

use crate::file::File;
use crate::host::{Host, MEMORY};
use crate::table::{Answer, ByKernel, Table};

/// The group of the first two devices.
const GROUP: u32 = 5;
/// The group of the third.
const OTHER: u32 = 6;

const V1: u64 = VFIO_TYPE1_IOMMU as u64;
const V2: u64 = VFIO_TYPE1v2_IOMMU as u64;
const PAGE: u64 = 4096;

const INVAL: Answer = Err(Errno::EINVAL);
const EFAULT: Answer = Err(Errno::EFAULT);
const NOENT: Answer = Err(Errno::ENOENT);
const NODEV: Answer = Err(Errno::ENODEV);
const PERM: Answer = Err(Errno::EPERM);
const BUSY: Answer = Err(Errno::EBUSY);
const EXIST: Answer = Err(Errno::EEXIST);
const BADF: Answer = Err(Errno::EBADF);
const BADFD: Answer = Err(Errno::EBADFD);
const NOTTY: Answer = Err(Errno::ENOTTY);

/// Sapphire Rapids with three devices in two groups.
fn machine() -> Machine {
    let device = |address: &str, group: u32| {
        format!(
            "[[device]]\naddress = \"{address}\"\niommu = \"dmar0\"\nvendor = 0x8086\n\
             device = 0x0b25\ngroup = {group}\n"
        )
    };
    File::of("spr")
        .set("device", "group", "5")
        .add(&device("0000:6a:01.1", GROUP))
        .add(&device("0000:6a:02.0", OTHER))
        .machine()
}

/// A program with a group and a container open, and nothing done with either.
struct Legacy {
    host: Host,
    group: i32,
    container: i32,
}

impl Legacy {
    fn new(machine: &Machine, kernel: &'static Kernel) -> Self {
        let mut host = Host::unbound(machine, kernel);
        let group = machine.devices[0].group;
        let group = open(&mut host, Node::VfioGroup(group)).expect("a group");
        let container = open(&mut host, Node::VfioContainer).expect("a container");
        Self { host, group, container }
    }

    /// With the group in the container, and a driver.
    fn with(machine: &Machine, kernel: &'static Kernel, kind: u64) -> Self {
        let mut it = Self::new(machine, kernel);
        it.put(it.group, it.container).expect("into the container");
        it.call(it.container, VFIO_SET_IOMMU, kind).expect("a driver");
        it
    }

    fn open(&mut self, node: Node) -> Result<i32, Errno> {
        open(&mut self.host, node)
    }

    fn open_group(&mut self, number: u32) -> Result<i32, Errno> {
        self.open(Node::VfioGroup(number))
    }

    /// A call with a number or an address.
    fn call(&mut self, fd: i32, cmd: u32, arg: u64) -> Result<i64, Errno> {
        self.host.client.ioctl(fd, cmd, arg).map_err(|refusal| refusal.errno())
    }

    /// `VFIO_GROUP_SET_CONTAINER`
    fn put(&mut self, group: i32, fd: i32) -> Answer {
        let at = self.host.client.scratch(&fd.to_ne_bytes());
        self.call(group, VFIO_GROUP_SET_CONTAINER, at).map(drop)
    }

    fn take(&mut self, group: i32) -> Answer {
        self.call(group, VFIO_GROUP_UNSET_CONTAINER, 0).map(drop)
    }

    /// `VFIO_GROUP_GET_DEVICE_FD`
    fn device(&mut self, name: &str) -> Result<i32, Errno> {
        let at = self.host.client.scratch(&[name.as_bytes(), &[0]].concat());
        self.call(self.group, VFIO_GROUP_GET_DEVICE_FD, at).map(|fd| fd as i32)
    }

    /// Whether the group is viable, and has a container.
    fn status(&mut self) -> (bool, bool) {
        let mut status = vfio_group_status { argsz: 8, flags: !0 };
        self.host.vfio(self.group, VFIO_GROUP_GET_STATUS, &mut status).unwrap();
        assert_eq!(status.flags & !3, 0);
        (status.flags & 1 != 0, status.flags & 2 != 0)
    }

    fn close(&mut self, fd: i32) {
        self.host.client.close(fd);
    }

    /// `VFIO_IOMMU_MAP_DMA` of pages from the start of memory, readable and writable.
    fn map(&mut self, iova: u64, pages: u64) -> Answer {
        self.map_with(3, MEMORY, iova, pages * PAGE)
    }

    fn map_with(&mut self, flags: u32, vaddr: u64, iova: u64, size: u64) -> Answer {
        let mut map = vfio_iommu_type1_dma_map { argsz: 32, flags, vaddr, iova, size };
        self.host.vfio(self.container, VFIO_IOMMU_MAP_DMA, &mut map)
    }

    /// `VFIO_IOMMU_UNMAP_DMA`, and the size that it answers.
    fn unmap(&mut self, flags: u32, iova: u64, size: u64) -> Result<u64, Errno> {
        let mut unmap = vfio_iommu_type1_dma_unmap { argsz: 24, flags, iova, size };
        let answer = self.host.vfio(self.container, VFIO_IOMMU_UNMAP_DMA, &mut unmap);
        if answer.is_err() {
            assert_eq!(unmap.size, size, "a refused call writes nothing");
        }
        answer.map(|()| unmap.size)
    }

    /// What a device reads at an IOVA, if it reaches anything.
    fn read(&self, device: usize, iova: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        let dma = self.host.engine.dma(device).unwrap();
        dma.burst(None, |burst| burst.read(iova, &mut bytes)).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    /// Whether a device can write there.
    fn writes(&self, device: usize, iova: u64) -> bool {
        let dma = self.host.engine.dma(device).unwrap();
        dma.burst(None, |burst| burst.write(iova, &[1])).is_ok()
    }
}

fn open(host: &mut Host, node: Node) -> Result<i32, Errno> {
    let engine = Arc::clone(&host.engine);
    let file = engine.open(&mut host.client, node).map_err(|refusal| refusal.errno())?;
    host.client.install(file)
}

/// Writes a word into the program's memory, so that devices can be seen to read it.
fn mark(legacy: &Legacy, page: u64, word: u64) {
    legacy.host.client.memory.write(MEMORY + page * PAGE, &word.to_le_bytes()).unwrap();
}

/// One order of calls, with its answer in every release.
type Row<T> = (&'static str, T, fn(&mut Legacy) -> T);

/// Runs rows that have one answer in all releases.
fn always<T: std::fmt::Debug + PartialEq + Copy>(
    since: &str,
    start: impl Fn(&'static Kernel) -> Legacy,
    rows: &[Row<T>],
) {
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        let expected: ByKernel<'_, T> = &[(since, *expected)];
        table.each(what, expected, |kernel| calls(&mut start(kernel)));
    }
}
