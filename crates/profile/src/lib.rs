//! What kernels and machines can do.
//!
//! | module | holds |
//! |---|---|
//! | [`kernel`] | Linux releases and their quirks |
//! | [`text`] | strict reading of TOML: what is wrong, and where |

#![forbid(unsafe_code)]

pub mod kernel;
mod text;

pub use kernel::{Kernel, Quirk};
pub use text::BadFile;
