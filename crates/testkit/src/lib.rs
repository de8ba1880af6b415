//! What tests need to call the engine as a program does, with no process and no socket.
//!
//! | type | stands for |
//! |---|---|
//! | [`FakeMemory`] | the memory of a program: a map of pages, with holes |
//! | [`Client`] | a program: memory, a descriptor table, the failures that a test wants |
//! | [`Host`](host::Host) | a program that has a machine's devices bound, and one short call for each command |
//! | [`recorded`] | a program that was run on real Linux, and what it was answered |

#![forbid(unsafe_code)]

mod client;
pub mod host;
mod memory;
pub mod recorded;

pub use client::Client;
pub use memory::FakeMemory;
