//! A client of `/dev/iommu` in Rust.
//!
//! [`Iommu`] makes any [`uapi::Command`] on an open `/dev/iommu`, the kernel's or ours. It calls
//! through libc, as C programs do, so it works under `softiommu run` too.
//!
//! *What it doesn't do yet*: typed objects, and negotiation of features before they are used.

#![deny(unsafe_code)]

mod sys;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use uapi::Command;
use uapi::selftest::iommu_test_cmd;

pub use sys::SharedBuffer;

/// An open `/dev/iommu`.
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

    /// Makes a command; `cmd` holds the answer afterwards. Errors are those of the command.
    ///
    /// Pointers in `cmd` are the kernel's to judge: a bad one is `EFAULT`. Those that the kernel
    /// writes through must lead to memory that nothing else uses meanwhile.
    pub fn call<C: Command>(&self, cmd: &mut C) -> io::Result<i32> {
        sys::ioctl(self.file.as_fd(), C::IOCTL, cmd)
    }

    /// A test operation of the `selftest` machine, on an object or, for accesses, on a descriptor.
    pub fn test(
        &self,
        op: u32,
        id: u32,
        prepare: impl FnOnce(&mut iommu_test_cmd),
    ) -> io::Result<iommu_test_cmd> {
        let mut cmd = iommu_test_cmd {
            size: size_of::<iommu_test_cmd>() as u32,
            op,
            id,
            ..Default::default()
        };
        prepare(&mut cmd);
        self.call(&mut cmd)?;
        Ok(cmd)
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

/// Takes over a descriptor of which only the number is known: from a command's answer, or inherited.
pub fn adopt(number: u32) -> OwnedFd {
    sys::adopt(number)
}
