//! An open file of the user API: the kernel's, or one of an engine in this process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use uapi::Command;
use zerocopy::{FromBytes, IntoBytes};

use crate::soft;
use crate::sys;

/// An address in the first page, where nothing is mapped.
pub const NOWHERE: u64 = 8;

/// An open `/dev/iommu`, device, or queue.
///
/// Pointers in what it is given are the kernel's to judge: a bad one is `EFAULT`. Those that the kernel
/// writes through must lead to memory that nothing else uses meanwhile, so only this crate makes calls.
#[derive(Debug)]
pub struct OpenFile(Kind);

#[derive(Debug)]
enum Kind {
    Kernel(File),
    Software(soft::Descriptor),
}

impl OpenFile {
    /// Makes a command of an iommufd; `cmd` holds the answer afterwards. Errors are those of the
    /// command.
    pub fn call<C: Command>(&self, cmd: &mut C) -> io::Result<i32> {
        self.ioctl(C::IOCTL, cmd)
    }

    /// Makes any other call whose argument is a struct that says how large it is.
    pub fn ioctl<T: FromBytes + IntoBytes>(
        &self,
        number: u32,
        argument: &mut T,
    ) -> io::Result<i32> {
        match &self.0 {
            Kind::Kernel(file) => sys::ioctl(file.as_fd(), number, argument),
            Kind::Software(file) => file.ioctl(number, address_mut(argument)),
        }
    }

    /// Makes a call whose argument is a number.
    pub fn ioctl_of_number(&self, number: u32, argument: u32) -> io::Result<i32> {
        match &self.0 {
            Kind::Kernel(file) => sys::ioctl_of_number(file.as_fd(), number, argument.into()),
            Kind::Software(file) => file.ioctl(number, argument.into()),
        }
    }

    /// `read(2)`; returns the bytes read.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Kind::Kernel(file) => io::Read::read(&mut &*file, buffer),
            Kind::Software(file) => file.read(address_mut(buffer), buffer.len(), None),
        }
    }

    /// `write(2)`; returns the bytes written.
    pub fn write(&self, buffer: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Kind::Kernel(file) => io::Write::write(&mut &*file, buffer),
            Kind::Software(file) => file.write(address(buffer), buffer.len(), None),
        }
    }

    /// `pread(2)`; returns the bytes read.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match &self.0 {
            Kind::Kernel(file) => file.read_at(buffer, at),
            Kind::Software(file) => file.read(address_mut(buffer), buffer.len(), Some(at)),
        }
    }

    /// `pwrite(2)`; returns the bytes written.
    pub fn write_at(&self, buffer: &[u8], at: u64) -> io::Result<usize> {
        match &self.0 {
            Kind::Kernel(file) => file.write_at(buffer, at),
            Kind::Software(file) => file.write(address(buffer), buffer.len(), Some(at)),
        }
    }

    /// `mmap(2)` of a part of a device, to read and write; none of an engine's, which is called instead.
    pub fn map(&self, at: u64, length: usize) -> io::Result<Option<sys::Mapping>> {
        match &self.0 {
            Kind::Kernel(file) => sys::Mapping::new(file.as_fd(), at, length).map(Some),
            Kind::Software(_) => Ok(None),
        }
    }

    /// `write(2)` of `count` bytes from an address at which nothing is.
    pub fn write_nowhere(&self, count: usize) -> io::Result<usize> {
        match &self.0 {
            Kind::Kernel(file) => sys::write_nowhere(file.as_fd(), count),
            Kind::Software(file) => file.write(NOWHERE, count, None),
        }
    }

    /// Its number, for calls that take a descriptor.
    pub fn number(&self) -> i32 {
        match &self.0 {
            Kind::Kernel(file) => file.as_raw_fd(),
            Kind::Software(file) => file.number(),
        }
    }

    /// Takes over a descriptor of which a call on this file has just told the number.
    pub fn receive(&self, number: u32) -> Self {
        Self(match &self.0 {
            Kind::Kernel(_) => Kind::Kernel(sys::adopt(number).into()),
            Kind::Software(file) => Kind::Software(file.sibling(number.cast_signed())),
        })
    }
}

/// Where something is that the kernel reads.
pub fn address<T: ?Sized>(of: &T) -> u64 {
    std::ptr::from_ref(of).expose_provenance() as u64
}

/// Where something is that the kernel writes.
pub fn address_mut<T: ?Sized>(of: &mut T) -> u64 {
    std::ptr::from_mut(of).expose_provenance() as u64
}

impl From<File> for OpenFile {
    fn from(file: File) -> Self {
        Self(Kind::Kernel(file))
    }
}

impl From<soft::Descriptor> for OpenFile {
    fn from(descriptor: soft::Descriptor) -> Self {
        Self(Kind::Software(descriptor))
    }
}
