//! A client of the IOMMU user API in Rust: typed, safe, and asked before it is used.
//!
//! A [`System`] is this host, or a machine and a kernel in this process; everything else is the same
//! for both. [`probe()`] finds what a device can do, by its calls in a scratch descriptor;
//! [`Device::negotiate`] asks for a whole feature, and gives either a verdict or a value
//! whose calls cannot fail for compatibility.
//!
//! | module | holds |
//! |---|---|
//! | [`system`] | where calls go; the PCI devices and IOMMUs there |
//! | [`mod@file`] | an open file: the kernel's, or an engine's |
//! | [`soft`] | an engine in this process |
//! | [`session`] | a device under a scratch iommufd, and its calls by name |
//! | [`mod@fingerprint`] | which generation a kernel is, by its answers |
//! | [`mod@probe`] | the dry run: each capability by its calls |
//! | [`device`] | a device, and what may be asked of it |
//! | [`mod@survey`] | a requirement under every kernel |
//! | [`feature`] | features that were asked for before they are used |
//! | [`sys`] | the calls that need `unsafe` |
//!
//! It calls through libc, as C programs do, so it works under `softiommu run` too.

#![deny(unsafe_code)]

pub mod device;
pub mod feature;
pub mod file;
pub mod fingerprint;
pub mod probe;
mod session;
mod soft;
pub mod survey;
mod sys;
pub mod system;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use uapi::Command;
use uapi::selftest::iommu_test_cmd;

pub use profile;

pub use device::{Device, NotNegotiated};
pub use file::OpenFile;
pub use fingerprint::{Fingerprint, fingerprint};
pub use probe::{CannotAsk, probe};
pub use session::Failed;
pub use survey::{Span, Survey, probe_machine, survey};
pub use sys::SharedBuffer;
pub use system::{Function, System};

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

    /// Makes a command; see [`OpenFile::call`].
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
