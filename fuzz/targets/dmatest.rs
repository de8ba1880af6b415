//! Registers and scripts of `dmatest`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::device("dmatest", &[0], &[], bytes));
