//! Software PCI functions: what stands behind a VFIO device.
//!
//! A device reaches memory only by its [`engine::Dma`], works in threads of its own, and is seen by
//! programs through [`engine::Model`]: regions of registers, and reset.
//!
//! | module | is |
//! |---|---|
//! | [`registers`] | registers in memory that programs map |
//! | [`dmatest`] | a device for tests: any access, by script |

#![forbid(unsafe_code)]

pub mod dmatest;
pub mod registers;
