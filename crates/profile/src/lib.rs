//! What kernels and machines can do.
//!
//! | module | holds |
//! |---|---|
//! | [`kernel`] | Linux releases and their quirks |
//! | [`machine`] | IOMMUs and PCI devices of machines |
//! | [`registers`] | fields of the registers of IOMMUs |
//! | [`text`] | strict reading of TOML: what is wrong, and where |

#![forbid(unsafe_code)]

pub mod kernel;
pub mod machine;
pub mod registers;
mod text;

pub use kernel::{Kernel, Quirk};
pub use machine::Machine;
pub use text::BadFile;
