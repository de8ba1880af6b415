//! Registers and commands of `nvme`, which begins with queues for administration in its memory.
#![no_main]

use fuzz::Write;
use libfuzzer_sys::fuzz_target;

/// AQA, ASQ, ACQ and CC: 16 entries at the start of memory, completions in its second page.
const READY: &[Write] =
    &[(0x24, 0x000f_000f), (0x28, 0x100_0000), (0x30, 0x100_1000), (0x14, 0x0046_0001)];

fuzz_target!(|bytes: &[u8]| fuzz::device("nvme,size=1M", &[0], READY, bytes));
