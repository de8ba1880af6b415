//! Registers of a device, mapped for devices: a container takes them, an iommufd does not
//! (`vaddr_get_pfns`, `VM_PFNMAP`).

use std::sync::atomic::Ordering;

use engine::{Bar, Model};
use mem::{Accounts, AddressSpace, Backing, Extent, Fault, MmId, PageId, SharedFile};
use uapi::iommufd::*;
use zerocopy::IntoBytes;

use super::*;
use crate::host::{IOAS, UNMAPPED};
use crate::table::OK;

/// A device of four pages of registers in memory.
#[derive(Debug)]
struct Device(Arc<SharedFile>);

impl Model for Device {
    fn bar(&self, number: u32) -> Option<Bar> {
        let bar = Bar { size: 4 * PAGE, wide: true, prefetchable: false };
        (number == 0).then_some(bar)
    }

    fn memory(&self, bar: u32) -> Option<Arc<SharedFile>> {
        (bar == 0).then(|| Arc::clone(&self.0))
    }

    fn read(&self, _: u32, at: u64, to: &mut [u8]) {
        self.0.read(at, to).unwrap();
    }

    fn write(&self, _: u32, at: u64, from: &[u8]) {
        self.0.write(at, from).unwrap();
    }

    fn set_bus_master(&self, _: bool) {}

    fn reset(&self) {}
}

/// Where the program has mapped them, right behind two pages of memory.
const BAR: u64 = 0x4000_2000;

/// A program that has.
#[derive(Debug)]
struct Program {
    inner: Arc<dyn AddressSpace>,
    registers: Arc<SharedFile>,
}

impl AddressSpace for Program {
    fn id(&self) -> MmId {
        self.inner.id()
    }

    fn alive(&self) -> bool {
        self.inner.alive()
    }

    fn read(&self, va: u64, to: &mut [u8]) -> Result<(), Fault> {
        self.inner.read(va, to)
    }

    fn write(&self, va: u64, from: &[u8]) -> Result<(), Fault> {
        self.inner.write(va, from)
    }

    fn pin(self: Arc<Self>, va: u64, pages: u64, writable: bool) -> Result<Vec<Extent>, Fault> {
        let end = va.checked_add(pages * PAGE).ok_or(Fault)?;
        if end <= BAR || va >= BAR + 4 * PAGE {
            return Arc::clone(&self.inner).pin(va, pages, writable);
        }
        if writable || end > BAR + 4 * PAGE {
            return Err(Fault);
        }
        let before = BAR.saturating_sub(va) / PAGE;
        let mut extents = Vec::new();
        if before > 0 {
            extents = Arc::clone(&self.inner).pin(va, before, false)?;
        }
        let first = PageId { object: self.registers.key(), index: va.max(BAR) / PAGE - BAR / PAGE };
        let backing = Backing::Shared(Arc::clone(&self.registers));
        extents.push(Extent { first, pages: pages - before, backing });
        Ok(extents)
    }

    fn accounts(&self) -> &Accounts {
        self.inner.accounts()
    }
}

/// The program, as a caller.
struct Mapper<'l> {
    space: Arc<dyn AddressSpace>,
    client: &'l mut testkit::Client,
}

impl Caller for Mapper<'_> {
    fn memory(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }

    fn install(&mut self, file: engine::File) -> Result<i32, Errno> {
        self.client.install(file)
    }

    fn uninstall(&mut self, fd: i32) {
        self.client.uninstall(fd);
    }

    fn file(&mut self, fd: i32) -> Option<engine::File> {
        self.client.file(fd)
    }

    fn shared_file(&mut self, fd: i32) -> Result<Arc<SharedFile>, Errno> {
        self.client.shared_file(fd)
    }

    fn eventfd(&mut self, fd: i32) -> Result<Arc<dyn engine::Trigger>, Errno> {
        self.client.eventfd(fd)
    }

    fn is_mapped(&mut self, file: &SharedFile) -> bool {
        self.client.is_mapped(file)
    }

    fn inject_failure(&mut self) -> bool {
        false
    }
}

/// A call of the program that has the registers mapped.
fn call(l: &mut Legacy, registers: &Arc<SharedFile>, fd: i32, cmd: u32, argument: &[u8]) -> Answer {
    let at = l.host.client.scratch(argument);
    let inner = Arc::clone(l.host.client.memory());
    let space = Arc::new(Program { inner, registers: Arc::clone(registers) });
    let file = l.host.client.open_file(fd);
    let mut mapper = Mapper { space, client: &mut l.host.client };
    file.ioctl(&mut mapper, cmd, at).map(drop).map_err(|refusal| refusal.errno())
}

#[test]
fn containers_take_them() {
    const I: u64 = 0x10000;
    type Map = (u32, u64, u64);
    #[rustfmt::skip] // rights, address, pages; the answer, and the pages that count
    let rows: &[(&str, Map, Answer, u64)] = &[
        ("all",                   (3, BAR, 4),            OK,     0),
        ("one",                   (3, BAR + PAGE, 1),     OK,     0),
        ("to read",               (1, BAR, 4),            OK,     0),
        ("to write",              (2, BAR, 4),            OK,     0),
        ("beyond their end",      (3, BAR, 5),            EFAULT, 0),
        ("memory and they",       (3, BAR - 2 * PAGE, 4), OK,     2),
        ("no memory and they",    (3, BAR - 3 * PAGE, 4), EFAULT, 0),
        ("memory",                (3, BAR - 2 * PAGE, 2), OK,     2),
        ("nothing",               (3, UNMAPPED, 1),       EFAULT, 0),
    ];
    for kind in [V1, V2] {
        for (what, (flags, vaddr, pages), expected, counted) in rows {
            let mut l = Legacy::with(&machine(), Kernel::newest(), kind);
            let registers = Arc::new(SharedFile::anonymous("registers", 4 * PAGE).unwrap());
            registers.write(0, &7_u64.to_le_bytes()).unwrap();
            assert!(l.host.engine.plug(0, Arc::new(Device(Arc::clone(&registers)))));
            l.host.client.memory.map(BAR - 2 * PAGE, 2, true);
            let (flags, vaddr, size) = (*flags, *vaddr, pages * PAGE);
            let map = vfio_iommu_type1_dma_map { argsz: 32, flags, vaddr, iova: I, size };
            let container = l.container;
            let answer = call(&mut l, &registers, container, VFIO_IOMMU_MAP_DMA, map.as_bytes());
            assert_eq!(answer, *expected, "{what}");
            let locked = || l.host.client.memory.accounts().locked_vm.load(Ordering::Relaxed);
            assert_eq!(locked(), *counted, "{what}");
            if vaddr == BAR && answer.is_ok() {
                assert_eq!(l.read(1, I), (flags & 1 != 0).then_some(7), "{what}");
                assert!(!l.writes(1, I), "{what}: a store that the device does not see");
            }
            let unmapped = l.unmap(0, I, size);
            assert_eq!(unmapped, Ok(if answer.is_ok() { size } else { 0 }), "{what}");
            assert_eq!(l.read(1, I), None, "{what}");
            assert_eq!(l.host.client.memory.accounts().locked_vm.load(Ordering::Relaxed), 0);
        }
    }
}

#[test]
fn an_iommufd_does_not() {
    let registers = Arc::new(SharedFile::anonymous("registers", 4 * PAGE).unwrap());
    let mut l = Legacy::new(&machine(), Kernel::newest());
    assert!(l.host.engine.plug(0, Arc::new(Device(Arc::clone(&registers)))));
    l.put(l.group, l.host.fd).unwrap();
    l.device("0000:6a:01.0").unwrap();
    let fd = l.host.fd;
    for flags in [1, 2, 3] {
        let map = vfio_iommu_type1_dma_map { argsz: 32, flags, vaddr: BAR, iova: 0, size: PAGE };
        let answer = call(&mut l, &registers, fd, VFIO_IOMMU_MAP_DMA, map.as_bytes());
        assert_eq!(answer, EFAULT, "by the container's call, rights {flags}");
        let rights = [0, IOMMU_IOAS_MAP_READABLE, IOMMU_IOAS_MAP_WRITEABLE];
        let map = iommu_ioas_map {
            size: 40,
            flags: IOMMU_IOAS_MAP_FIXED_IOVA
                | if flags & 1 != 0 { rights[1] } else { 0 }
                | if flags & 2 != 0 { rights[2] } else { 0 },
            ioas_id: IOAS + 1,
            user_va: BAR,
            length: PAGE,
            ..Default::default()
        };
        let answer = call(&mut l, &registers, fd, 0x3b85, map.as_bytes());
        assert_eq!(answer, EFAULT, "by its own, rights {flags}");
    }
}
