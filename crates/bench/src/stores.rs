//! What a program's store to a device costs, beside a plain signal.
//!
//! A store is a fault, a signal, its decoding, and a call to the supervisor and back. A load is the
//! processor's own.

use std::io;

use client::System;
use client::feature::PASSTHROUGH;
use uapi::vfio::VFIO_PCI_BAR0_REGION_INDEX;

use crate::measure::median_ns;
use crate::sys;

/// Where `dmatest` has room for its script: registers that only hold what is stored.
const SCRIPT: u64 = 0x1000;

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
    let system = System::host();
    let functions = system.functions();
    let function = functions.first().ok_or(io::ErrorKind::NotFound)?;
    let device = system.device(function.address).open_unasked(&PASSTHROUGH);
    let device = device.map_err(io::Error::other)?;
    let bar = device.region(VFIO_PCI_BAR0_REGION_INDEX).map_err(io::Error::other)?;
    let registers = bar.map(2 * SCRIPT)?;
    let mut word = 0;
    let store = median_ns(500, || {
        word += 1;
        registers.store(SCRIPT, word)?;
        if registers.load(SCRIPT)? == word {
            Ok(())
        } else {
            Err(io::Error::other("a store was lost"))
        }
    })?;
    let load = median_ns(100_000, || {
        std::hint::black_box(registers.load(SCRIPT)?);
        Ok(())
    })?;
    Ok((store, load))
}
