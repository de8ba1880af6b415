//! Registers, portals and descriptors of `dsa`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::device("dsa", &[0, 2], &[], bytes));
