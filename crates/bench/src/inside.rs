//! The engine in this process, called with as little around it as can be.

use std::io;
use std::sync::Arc;

use engine::{Caller, Engine, File, Node};
use mem::{Accounts, AddressSpace, Extent, Fault, MmId, SharedFile};
use parking_lot::Mutex;
use profile::{Kernel, Machine};
use uapi::iommufd::*;
use uapi::{Command, Errno};

use crate::measure::Target;

/// Where the argument of a call lies, and the memory to be mapped.
const ARGUMENT: u64 = 0x1000;
const MEMORY: u64 = 0x10_0000;

/// A caller in this process.
pub struct Inside {
    file: Option<File>,
    argument: Arc<Argument>,
    space: Arc<dyn AddressSpace>,
}

/// Memory that holds the argument of one call, and nothing else.
#[derive(Debug)]
struct Argument {
    id: MmId,
    bytes: Mutex<[u8; 128]>,
    accounts: Accounts,
}

impl Inside {
    /// A `/dev/iommu` of its own.
    pub fn new() -> Self {
        let (id, bytes, accounts) = (MmId::next(), Mutex::new([0; 128]), Accounts::default());
        let argument = Arc::new(Argument { id, bytes, accounts });
        let space: Arc<dyn AddressSpace> = Arc::clone(&argument) as _;
        let mut inside = Self { file: None, argument, space };
        let engine = Engine::new(&Machine::all()[0], Kernel::newest());
        inside.file = engine.open(&mut inside, Node::Iommu).ok();
        inside
    }
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

impl Inside {
    fn call<C: Command>(&mut self, cmd: &mut C) -> io::Result<()> {
        let file = self.file.clone().ok_or(io::ErrorKind::NotConnected)?;
        self.argument.bytes.lock()[..size_of::<C>()].copy_from_slice(cmd.as_bytes());
        file.ioctl(self, C::IOCTL, ARGUMENT)
            .map_err(|refusal| io::Error::other(refusal.to_string()))?;
        cmd.as_mut_bytes().copy_from_slice(&self.argument.bytes.lock()[..size_of::<C>()]);
        Ok(())
    }
}

impl Argument {
    fn range(va: u64, length: usize) -> Result<std::ops::Range<usize>, Fault> {
        let start = va.checked_sub(ARGUMENT).and_then(|start| usize::try_from(start).ok());
        let start = start.filter(|start| start + length <= 128).ok_or(Fault)?;
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
        Err(Fault) // no domain, so nothing is pinned
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

    fn file(&mut self, _: i32) -> Option<File> {
        None
    }

    fn shared_file(&mut self, _: i32) -> Result<Arc<SharedFile>, Errno> {
        Err(Errno::EBADF)
    }

    fn is_mapped(&mut self, _: &SharedFile) -> bool {
        false
    }

    fn inject_failure(&mut self) -> bool {
        false
    }
}
