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
//! | [`fields`] | stores of any width, taken apart into registers |
//! | [`worker`] | a device's thread: what it is told to do, its way to memory, resets |
//! | [`steps`] | work in steps, by the thread or by the store that asks for it |
//! | [`latency`] | how long a completion takes |
//! | [`dmatest`] | a device for tests: any access, by script |
//! | [`ioat`] | Intel's I/OAT DMA |
//! | [`dsa`] | Intel's Data Streaming Accelerator |
//! | [`igb`] | Intel's 82576 network controller, looped back |
//! | [`nvme`] | an NVM Express controller |

#![forbid(unsafe_code)]

pub mod catalogue;
pub mod dmatest;
pub mod dsa;
mod fields;
pub mod identity;
pub mod igb;
pub mod ioat;
pub mod latency;
pub mod nvme;
pub mod registers;
mod steps;
pub mod worker;

pub use identity::Identity;
pub use latency::Latency;
