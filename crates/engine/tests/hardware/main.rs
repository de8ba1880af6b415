//! The models of vendors' IOMMU drivers, held against the kernel's source.
//!
//! What a row expects was read in the source of the release that it names, or in notes on it, never in
//! the engine. So a row that fails says that one of the two readings of Linux is wrong.
//!
//! | module | holds |
//! |---|---|
//! | [`vtd`], [`smmuv3`], [`amd`], [`riscv`] | a vendor each: what its driver answers, release by release |
//! | [`vfio`] | VFIO character devices: binding, attaching, closing |
//! | [`legacy`] | groups, and containers of VFIO's own |
//! | [`container`] | what the type1 container's calls tell of the hardware |
//! | [`dma`] | what devices reach, and what caches keep |
//! | [`file`] | a machine's file with values changed |
//! | [`table`] | rows of expectations by release |

mod amd;
mod container;
mod dma;
mod file;
mod legacy;
mod riscv;
mod smmuv3;
mod table;
mod vfio;
mod vtd;

use testkit::host;
