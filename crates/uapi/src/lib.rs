//! Bytes and facts of the Linux IOMMU user API, and no behaviour.
//!
//! A struct, field or constant is spelled as in the kernel's header, so that one grep finds both
//! sides. What a kernel does with a value is the engine's business; the tables here only say what
//! the kernel says, as a reminder at the place where one looks it up.
//!
//! | module | holds |
//! |---|---|
//! | [`generation`] | the releases in which this ABI changed |
//! | [`command`] | what an iommufd ioctl is: number, minimum size, size per generation; the table of all |
//! | [`iommufd`] | `include/uapi/linux/iommufd.h` of 7.3 |
//! | [`selftest`] | `IOMMU_TEST_CMD`, the kernel's own mock device |
//! | [`vfio`] | the parts of `include/uapi/linux/vfio.h` that an iommufd and its devices answer |
//! | [`y2020`] | the API of 2020: `include/uapi/linux/iommu.h` of 5.5 to 5.17, and its posted transport |
//! | [`errno`] | the error numbers these calls return |
//!
//! Layouts are those of 64-bit Linux. All padding is spelled out, so every struct is plain bytes
//! (`zerocopy`) and nothing here needs `unsafe`. The facts are held against the headers of fifteen
//! releases by `tests/header_facts`.
//!
//! **What it doesn't do:** call the kernel, check a value, or describe 32-bit layouts.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod command;
pub mod errno;
pub mod generation;
pub mod iommufd;
pub mod selftest;
pub mod vfio;
pub mod y2020;

pub use command::{COMMANDS, Command, CommandFacts};
pub use errno::Errno;
pub use generation::Generation;
