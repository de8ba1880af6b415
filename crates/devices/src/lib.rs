//! Software PCI functions: what stands behind a VFIO device.
//!
//! A device reaches memory only by its [`engine::Dma`], works in threads of its own, and is seen by
//! programs through [`engine::Model`]: regions of registers, and reset.
//!
//! | module | is |
//! |---|---|
//! | [`catalogue`] | which devices there are, and how one is asked for |
//! | [`identity`] | what a device says of itself |
//! | [`registers`] | registers in memory that programs map |
//! | [`worker`] | a device's thread: what it is told to do, its way to memory, resets |
//! | [`latency`] | how long a completion takes |
//! | [`dmatest`] | a device for tests: any access, by script |
//! | [`nvme`] | an NVM Express controller |

#![forbid(unsafe_code)]

pub mod catalogue;
pub mod dmatest;
pub mod identity;
pub mod latency;
pub mod nvme;
pub mod registers;
pub mod worker;

pub use identity::Identity;
pub use latency::Latency;
