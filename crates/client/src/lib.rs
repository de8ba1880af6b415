//! A client of the IOMMU user API in Rust: typed, safe, and asked before it is used.
//!
//! A [`System`] is this host, or a machine and a kernel in this process; everything else is the same
//! for both. [`probe()`] finds what a device can do, by its calls in a scratch descriptor;
//! [`Device::negotiate`] asks for a whole feature, and gives either a verdict or a value
//! whose calls cannot fail for compatibility.
//!
//! | module | holds |
//! |---|---|
//! | [`system`] | this host or another: the PCI devices and IOMMUs there |
//! | [`file`] | an open file: the kernel's, or an engine's |
//! | [`soft`] | an engine in this process |
//! | [`session`] | a device under a scratch iommufd, and its calls by name |
//! | [`region`] | a part of a device, mapped or not |
//! | [`guest`] | what a guest's driver writes: entries that lead to tables, commands |
//! | [`table`], [`contexts`] | a guest's page table, and its context descriptors |
//! | [`iommu`] | a `/dev/iommu` without a device |
//! | [`mock`] | the kernel's mock device |
//! | [`mod@fingerprint`] | which generation a kernel is, by its answers |
//! | [`mod@probe`] | the dry run: each capability by its calls |
//! | [`device`] | a device, and what may be asked of it |
//! | [`mod@survey`] | a requirement under every kernel |
//! | [`feature`] | features that were asked for before they are used |
//! | [`y2020`] | the API of 2020: its calls, each by itself |
//! | [`sys`] | the calls that need `unsafe` |
//!
//! It calls through libc, as C programs do, so it works under `softiommu run` too.

#![deny(unsafe_code)]

mod contexts;
pub mod device;
pub mod feature;
mod file;
pub mod fingerprint;
mod guest;
mod iommu;
pub mod mock;
pub mod probe;
mod region;
mod session;
mod soft;
pub mod survey;
mod sys;
pub mod system;
mod table;
pub mod y2020;

pub use profile;

pub use device::{Device, NotNegotiated};
pub use fingerprint::{Fingerprint, fingerprint};
pub use iommu::Iommu;
pub use probe::{CannotAsk, probe, probe_all};
pub use region::{Region, Registers};
pub use session::Failed;
pub use survey::{Span, Survey, survey};
pub use sys::SharedBuffer;
pub use system::{Function, System};
