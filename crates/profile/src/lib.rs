//! What kernels and machines can do, and whether that is enough.
//!
//! | module | holds |
//! |---|---|
//! | [`kernel`] | Linux releases and their quirks |
//! | [`machine`] | IOMMUs and PCI devices of machines |
//! | [`registers`] | fields of the registers of IOMMUs |
//! | [`capability`] | what a program can do, by name, and what it takes |
//! | [`finding`] | profiles: what was found of each capability on a host |
//! | [`requirement`] | what a feature is composed of |
//! | [`verdict`] | whether a feature will work on a host, and what is missing |
//! | [`fleet`] | hosts beside each other |
//! | [`layout`] | structs of user APIs as data, and a judge of how one became another |
//! | [`y2020`] | the API of 2020: what a version of it knows, and which arguments it takes |
//! | [`names`] | enums with names in files, and files that are shipped |
//! | [`text`] | strict reading of TOML: what is wrong, and where |
//!
//! Kernels, machines, capabilities and requirements are files under `profiles/`. *What it doesn't do*:
//! ask a host; that is `client`.

#![forbid(unsafe_code)]

pub mod capability;
pub mod finding;
pub mod fleet;
pub mod kernel;
pub mod layout;
pub mod machine;
mod names;
pub mod registers;
pub mod requirement;
mod text;
pub mod verdict;
pub mod y2020;

pub use capability::Capability;
pub use finding::{Cause, Finding, Profile};
pub use kernel::{Kernel, Quirk};
pub use machine::Machine;
pub use requirement::Requirement;
pub use text::BadFile;
pub use verdict::Verdict;
