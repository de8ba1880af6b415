//! Tests of [`lookup`](super), by subject.

mod bench;
mod composition;
mod descriptors;
mod entries;
mod faults;
mod halves;
mod qemu;
mod substreams;
