//! Registers and descriptors of `igb`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::device("igb", &[0], &[], bytes));
