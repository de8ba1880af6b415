//! The engine in this process, called with as little around it as can be.

use std::io;
use std::sync::Arc;

use engine::{Caller, Engine, File, Node, Refusal, Trigger};
use mem::{Accounts, AddressSpace, Extent, Fault, MmId, SharedFile};
use parking_lot::Mutex;
use profile::{Kernel, Machine};
use uapi::iommufd::*;
use uapi::{Command, Errno};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::measure::Target;

/// Where the argument of a call lies, and the memory to be mapped.
const ARGUMENT: u64 = 0x1000;
const MEMORY: u64 = 0x10_0000;

/// Where data lies that an argument points to, behind the argument.
const DATA: usize = 128;

/// A caller in this process.
pub struct Inside {
    /// Its descriptors.
    files: Vec<File>,
    /// What [`MEMORY_FILE`] stands for.
    memory: Option<Arc<SharedFile>>,
    argument: Arc<Argument>,
    space: Arc<dyn AddressSpace>,
}

/// The descriptor of `/dev/iommu`.
pub const IOMMU: i32 = 0;
/// The descriptor of the caller's memory file.
pub const MEMORY_FILE: i32 = 1000;

/// Memory that holds the argument of one call and its data, and nothing else.
#[derive(Debug)]
struct Argument {
    id: MmId,
    bytes: Mutex<[u8; 2 * DATA]>,
    accounts: Accounts,
}

impl Inside {
    /// A `/dev/iommu` of its own.
    pub fn new() -> io::Result<Self> {
        Self::on(&Engine::new(&Machine::all()[0], Kernel::newest()), None)
    }

    /// `/dev/iommu` of a machine, and a memory file.
    pub fn on(engine: &Arc<Engine>, memory: Option<Arc<SharedFile>>) -> io::Result<Self> {
        let (id, bytes, accounts) = (MmId::next(), Mutex::new([0; _]), Accounts::default());
        let argument = Arc::new(Argument { id, bytes, accounts });
        let space: Arc<dyn AddressSpace> = Arc::clone(&argument) as _;
        let mut inside = Self { files: Vec::new(), memory, argument, space };
        inside.open(engine, Node::Iommu)?;
        Ok(inside)
    }

    /// Opens a node; its descriptor.
    pub fn open(&mut self, engine: &Arc<Engine>, node: Node) -> io::Result<i32> {
        let file = engine.open(self, node).map_err(told)?;
        self.files.push(file);
        Ok(self.files.len() as i32 - 1)
    }

    /// Puts data where an argument may point to.
    pub fn put(&mut self, data: &[u8]) -> u64 {
        self.argument.bytes.lock()[DATA..][..data.len()].copy_from_slice(data);
        ARGUMENT + DATA as u64
    }

    /// A call on a descriptor with any argument.
    pub fn ioctl<A: IntoBytes + FromBytes + Immutable>(
        &mut self,
        fd: i32,
        cmd: u32,
        argument: &mut A,
    ) -> io::Result<()> {
        let file = self.file(fd).ok_or(io::ErrorKind::NotConnected)?;
        self.argument.bytes.lock()[..size_of::<A>()].copy_from_slice(argument.as_bytes());
        file.ioctl(self, cmd, ARGUMENT).map_err(told)?;
        argument.as_mut_bytes().copy_from_slice(&self.argument.bytes.lock()[..size_of::<A>()]);
        Ok(())
    }

    /// A command of `/dev/iommu`.
    pub fn call<C: Command>(&mut self, cmd: &mut C) -> io::Result<()> {
        self.ioctl(IOMMU, C::IOCTL, cmd)
    }
}

fn told(refusal: Refusal) -> io::Error {
    io::Error::other(refusal.to_string())
}

impl Target for Inside {
    fn ioas(&mut self) -> io::Result<u32> {
        let mut cmd = iommu_ioas_alloc { size: 12, ..Default::default() };
        self.call(&mut cmd)?;
        Ok(cmd.out_ioas_id)
    }

    fn option(&mut self, ioas: u32) -> io::Result<()> {
        self.call(&mut iommu_option {
            size: 24,
            option_id: IOMMU_OPTION_HUGE_PAGES,
            op: IOMMU_OPTION_OP_GET,
            object_id: ioas,
            ..Default::default()
        })
    }

    fn map(&mut self, ioas: u32, iova: u64) -> io::Result<()> {
        self.call(&mut iommu_ioas_map {
            size: 40,
            flags: IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
            ioas_id: ioas,
            user_va: MEMORY,
            length: 4096,
            iova,
            ..Default::default()
        })
    }

    fn unmap(&mut self, ioas: u32, iova: u64) -> io::Result<()> {
        self.call(&mut iommu_ioas_unmap { size: 24, ioas_id: ioas, iova, length: 4096 })
    }
}

impl Argument {
    fn range(va: u64, length: usize) -> Result<std::ops::Range<usize>, Fault> {
        let start = va.checked_sub(ARGUMENT).and_then(|start| usize::try_from(start).ok());
        let start = start.filter(|start| start + length <= 2 * DATA).ok_or(Fault)?;
        Ok(start..start + length)
    }
}

impl AddressSpace for Argument {
    fn id(&self) -> MmId {
        self.id
    }

    fn alive(&self) -> bool {
        true
    }

    fn read(&self, va: u64, to: &mut [u8]) -> Result<(), Fault> {
        to.copy_from_slice(&self.bytes.lock()[Self::range(va, to.len())?]);
        Ok(())
    }

    fn write(&self, va: u64, from: &[u8]) -> Result<(), Fault> {
        self.bytes.lock()[Self::range(va, from.len())?].copy_from_slice(from);
        Ok(())
    }

    fn pin(self: Arc<Self>, _: u64, _: u64, _: bool) -> Result<Vec<Extent>, Fault> {
        Err(Fault) // what is mapped into a domain is a file
    }

    fn accounts(&self) -> &Accounts {
        &self.accounts
    }
}

impl Caller for Inside {
    fn memory(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }

    fn install(&mut self, _: File) -> Result<i32, Errno> {
        Err(Errno::EMFILE)
    }

    fn uninstall(&mut self, _: i32) {}

    fn file(&mut self, fd: i32) -> Option<File> {
        self.files.get(usize::try_from(fd).ok()?).cloned()
    }

    fn shared_file(&mut self, fd: i32) -> Result<Arc<SharedFile>, Errno> {
        self.memory.clone().filter(|_| fd == MEMORY_FILE).ok_or(Errno::EBADF)
    }

    fn eventfd(&mut self, _: i32) -> Result<Arc<dyn Trigger>, Errno> {
        Err(Errno::EBADF)
    }

    fn is_mapped(&mut self, _: &SharedFile) -> bool {
        false
    }

    fn inject_failure(&mut self) -> bool {
        false
    }
}
