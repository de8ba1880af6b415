//! A `/dev/iommu` without a device: address spaces alone.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use uapi::Command;
use uapi::iommufd::*;

use crate::session::size;
use crate::{SharedBuffer, sys};

/// An open `/dev/iommu` of this host, as a descriptor that can be passed on.
#[derive(Debug)]
pub struct Iommu {
    file: File,
}

impl Iommu {
    /// Opens `/dev/iommu`; errors are those of `open(2)`.
    pub fn open() -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/iommu")?;
        Ok(Self { file })
    }

    /// Makes an empty address space; returns its ID.
    pub fn ioas(&self) -> io::Result<u32> {
        let mut cmd = iommu_ioas_alloc { size: size::<iommu_ioas_alloc>(), ..Default::default() };
        self.call(&mut cmd)?;
        Ok(cmd.out_ioas_id)
    }

    /// Reads whether an address space may use huge pages: about the cheapest command there is.
    pub fn huge_pages(&self, ioas: u32) -> io::Result<bool> {
        let mut cmd = iommu_option {
            size: size::<iommu_option>(),
            option_id: IOMMU_OPTION_HUGE_PAGES,
            op: IOMMU_OPTION_OP_GET,
            object_id: ioas,
            ..Default::default()
        };
        self.call(&mut cmd)?;
        Ok(cmd.val64 != 0)
    }

    /// Places the first `length` bytes of a buffer at an IOVA, for reads and writes by devices. Errors
    /// are those of `IOMMU_IOAS_MAP`; `EINVAL` when the buffer is shorter.
    pub fn map(&self, ioas: u32, iova: u64, buffer: &SharedBuffer, length: u64) -> io::Result<()> {
        if length > buffer.size() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut cmd = iommu_ioas_map {
            size: size::<iommu_ioas_map>(),
            flags: IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
            ioas_id: ioas,
            user_va: buffer.address(),
            length,
            iova,
            ..Default::default()
        };
        self.call(&mut cmd).map(drop)
    }

    /// Takes away what is mapped in a range; returns its bytes.
    pub fn unmap(&self, ioas: u32, iova: u64, length: u64) -> io::Result<u64> {
        let size = size::<iommu_ioas_unmap>();
        let mut cmd = iommu_ioas_unmap { size, ioas_id: ioas, iova, length };
        self.call(&mut cmd)?;
        Ok(cmd.length)
    }

    /// Destroys an object.
    pub fn destroy(&self, id: u32) -> io::Result<()> {
        self.call(&mut iommu_destroy { size: size::<iommu_destroy>(), id }).map(drop)
    }

    /// Makes any command; see [`OpenFile`](crate::file::OpenFile) for pointers.
    pub(crate) fn call<C: Command>(&self, cmd: &mut C) -> io::Result<i32> {
        sys::ioctl(self.file.as_fd(), C::IOCTL, cmd)
    }
}

impl From<OwnedFd> for Iommu {
    /// A `/dev/iommu` that somebody else opened: inherited, or received over a socket.
    fn from(fd: OwnedFd) -> Self {
        Self { file: fd.into() }
    }
}

impl AsFd for Iommu {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
