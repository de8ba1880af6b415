//! The API of 2020: what a version of it knows, and which arguments it takes.
//!
//! | module | holds |
//! |---|---|
//! | [`revision`] | the patches' table of versions and data types, and the size it gives for both |
//! | [`argument`] | whether the bytes of a program are an argument, in each of three layouts |
//!
//! The structs are in [`uapi::y2020`]; how they may be extended is in [`crate::layout`]. *What it doesn't do*:
//! carry an argument out.

pub mod argument;
pub mod revision;

pub use argument::{Argument, BadArgument, Kind, check};
pub use revision::{NoSize, data_size};
