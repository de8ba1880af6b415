//! Configuration space, of a device with MSI-X.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::device("nvme,size=1M", &[fuzz::CONFIG], &[], bytes));
