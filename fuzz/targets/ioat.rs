//! Registers and descriptors of `ioat`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::device("ioat", &[0], &[], bytes));
