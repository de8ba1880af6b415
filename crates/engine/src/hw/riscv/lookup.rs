//! What a RISC-V IOMMU makes of a request: device context, process context, two stages.
//!
//! From the RISC-V IOMMU specification, version 1.0, sections 2 (structures), 2.3 (translation) and 3.2
//! (fault causes). Held against the reference model: `riscv_reference`.
//!
//! | the manual's word | ours |
//! |---|---|
//! | process ID | PASID |
//! | device ID | given beside a request |
//!
//! *What it doesn't do*: MSI page tables, Sv32, big-endian tables, requests by ATS and translated ones.

#[cfg(test)]
mod directory;
mod stages;
#[cfg(test)]
mod tests;

pub(crate) use stages::Context;

use pt::{Access, Rights};

/// Why a request is refused; what a fault record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub cause: u32,
    /// `iotval2`
    pub detail: u64,
    /// Whether nothing of it is recorded (DTF).
    pub silent: bool,
}

/// Causes (table 11).
mod cause {
    pub const DMA_DISABLED: u32 = 256;
    pub const DDT_LOAD: u32 = 257;
    pub const DDT_INVALID: u32 = 258;
    pub const DDT_MISCONFIGURED: u32 = 259;
    pub const DISALLOWED: u32 = 260;
    pub const MSI_LOAD: u32 = 268;
    pub const DDT_CORRUPT: u32 = 272;
    pub const PDT_CORRUPT: u32 = 273;
}

/// Causes that are recorded whatever the device context says: those before it, and broken memory.
const LOUD: [u32; 7] = [
    cause::DMA_DISABLED,
    cause::DDT_LOAD,
    cause::DDT_INVALID,
    cause::DDT_MISCONFIGURED,
    cause::MSI_LOAD,
    cause::DDT_CORRUPT,
    cause::PDT_CORRUPT,
];

/// Access fault, page fault and guest-page fault, by what the request does.
fn causes(access: Access) -> [u32; 3] {
    match access.rights {
        rights if rights.contains(Rights::EXECUTE) => [1, 12, 20],
        rights if rights.contains(Rights::WRITE) => [7, 15, 23],
        _ => [5, 13, 21],
    }
}

/// A request of a kind that the device may not make.
pub(crate) const DISALLOWED: u32 = cause::DISALLOWED;

/// What the driver's blocked domain makes of a request: all inbound transactions are disallowed.
pub(crate) const BLOCKED: u32 = cause::DMA_DISABLED;

impl Refused {
    fn new(cause: u32) -> Self {
        Self { cause, detail: 0, silent: false }
    }

    /// The same of a device whose context may ask for silence.
    fn unless_silent(self, silent: bool) -> Self {
        Self { silent: silent && !LOUD.contains(&self.cause), ..self }
    }
}
