//! What a program's store to a device costs, beside a plain signal.
//!
//! A store is a fault, a signal, its decoding, and a call to the supervisor and back. A load is the
//! processor's own.

use std::io;

use crate::measure::median_ns;
use crate::sys::{self, Registers};

/// Where `dmatest` has room for its script: registers that only hold what is stored.
const SCRIPT: i64 = 0x1000;

/// A signal that is sent to this thread, and its handler that does nothing.
pub fn signal_ns() -> io::Result<f64> {
    sys::handle_signals()?;
    median_ns(1_000, || {
        sys::signal();
        Ok(())
    })
}

/// A store, and a load, of a program under `softiommu run` on a machine with a device.
pub fn store_and_load_ns() -> io::Result<(f64, f64)> {
    let registers = Registers::map(SCRIPT)?;
    let mut word = 0;
    let store = median_ns(500, || {
        word += 1;
        let seen = registers.store(word);
        if seen == word { Ok(()) } else { Err(io::Error::other("a store was lost")) }
    })?;
    let load = median_ns(100_000, || {
        std::hint::black_box(registers.load());
        Ok(())
    })?;
    Ok((store, load))
}
