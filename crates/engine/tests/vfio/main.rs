//! A VFIO device's own side: information, regions, configuration space, interrupts, features, reset
//! (`drivers/vfio/pci` of 7.3, and alike in 6.11 to 7.3).
//!
//! | module | holds |
//! |---|---|
//! | [`regions`] | information, transfers, mapping, reset |
//! | [`config`] | configuration space |
//! | [`irqs`] | interrupts |
//! | [`features`] | features, and calls that nothing serves |
//! | [`logging`] | the log of what a device writes |
//! | [`recorded`] | what real kernels answered |

mod bench;
mod config;
mod features;
mod irqs;
mod logging;
mod recorded;
mod regions;
