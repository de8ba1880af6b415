//! What tests need to call the engine as a program does, with no process and no socket.
//!
//! | type | stands for |
//! |---|---|
//! | [`FakeMemory`] | the memory of a program: a map of pages, with holes |
//! | [`Client`] | a program: memory, a descriptor table, the failures that a test wants |
//! | [`recorded`] | a program that was run on real Linux, and what it was answered |

#![forbid(unsafe_code)]

mod client;
mod memory;
pub mod recorded;

pub use client::Client;
pub use memory::FakeMemory;
