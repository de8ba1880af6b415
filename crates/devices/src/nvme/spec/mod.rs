//! Facts of NVM Express: registers, commands, statuses.
//!
//! Numbers are those of the *NVM Express Base Specification*, revision 2.0 (section numbers with "B"), and of
//! the *NVM Command Set Specification*, revision 1.0 ("N"). The controller says that it is of 1.4, as QEMU's
//! does; what is used here is the same in both.
//!
//! | register | at | holds | B |
//! |---|---|---|---|
//! | [`CAP`] | 0x00 | [`CAP_VALUE`] | 3.1.3.1 |
//! | [`VS`] | 0x08 | [`VS_VALUE`] | 3.1.3.2 |
//! | [`INTMS`], [`INTMC`] | 0x0c, 0x10 | mask of interrupts by pin: bits to set, bits to clear | 3.1.3.3 |
//! | [`CC`] | 0x14 | configuration | 3.1.3.5 |
//! | [`CSTS`] | 0x1c | status | 3.1.3.6 |
//! | [`NSSR`] | 0x20 | reset of the subsystem, by [`NSSR_VALUE`] | 3.1.3.7 |
//! | [`AQA`], [`ASQ`], [`ACQ`] | 0x24, 0x28, 0x30 | sizes and addresses of the admin queues | 3.1.3.8 |
//! | [`DOORBELLS`] | 0x1000 | tail of submission queue 0, head of completion queue 0, tail of 1, ... | T 3.1 |

mod command;
mod status;

pub use command::*;
pub use status::Status;

/// Bytes of BAR 0.
pub const BAR_SIZE: u64 = 0x4000;
/// Where the table of MSI-X is, which is the system's.
pub const MSIX_TABLE: u64 = 0x2000;
/// Where the pending bits of MSI-X are, which are the system's.
pub const MSIX_PENDING: u64 = 0x3000;
/// Queue pairs: one for administration, 64 for I/O.
pub const QUEUES: usize = 65;
/// Interrupts by MSI-X: one for each pair.
pub const VECTORS: u16 = QUEUES as u16;

/// Capabilities.
pub const CAP: u64 = 0x00;
/// Version.
pub const VS: u64 = 0x08;
/// Interrupt mask: bits to set.
pub const INTMS: u64 = 0x0c;
/// Interrupt mask: bits to clear.
pub const INTMC: u64 = 0x10;
/// Controller configuration.
pub const CC: u64 = 0x14;
/// Controller status.
pub const CSTS: u64 = 0x1c;
/// NVM subsystem reset.
pub const NSSR: u64 = 0x20;
/// Admin queue attributes.
pub const AQA: u64 = 0x24;
/// Admin submission queue base address.
pub const ASQ: u64 = 0x28;
/// Admin completion queue base address.
pub const ACQ: u64 = 0x30;
/// The first doorbell. Each has 4 bytes (CAP.DSTRD 0).
pub const DOORBELLS: u64 = 0x1000;
/// Where doorbells end: queues that the controller does not have have none here either.
pub const DOORBELLS_END: u64 = MSIX_TABLE;

/// The longest queue, in entries.
pub const QUEUE_ENTRIES: u32 = 2048;

/// CAP: the longest queue (MQES, bits 15:0, from 0), queues are contiguous (CQR, bit 16), ready within 7.5 s
/// (TO, bits 31:24), subsystem reset (NSSRS, bit 36), the NVM command set (CSS, bit 37) and command sets by
/// their identifiers (bit 43), memory pages of 4 KiB (MPSMIN 0) to 64 KiB (MPSMAX, bits 55:52).
pub const CAP_VALUE: u64 = (QUEUE_ENTRIES - 1) as u64
    | 1 << 16
    | 15 << 24
    | 1 << 36
    | 1 << 37
    | 1 << 43
    | ((PAGE_SHIFT_MAX - PAGE_SHIFT_MIN) as u64) << 52;

/// Version 1.4.0.
pub const VS_VALUE: u32 = 0x0001_0400;

/// log2 of the smallest memory page (CC.MPS 0).
pub const PAGE_SHIFT_MIN: u32 = 12;
/// log2 of the largest memory page.
pub const PAGE_SHIFT_MAX: u32 = 16;

/// CC.EN
pub const CC_ENABLE: u32 = 1;
/// CC bits that the controller holds: EN, CSS, MPS, AMS, SHN, IOSQES, IOCQES.
pub const CC_BITS: u32 = 0x00ff_fff1;
/// CC.CSS: the NVM command set.
pub const CC_CSS_NVM: u32 = 0;
/// CC.CSS: command sets by their identifiers.
pub const CC_CSS_ALL: u32 = 6;

/// CC.CSS, bits 6:4.
pub const fn cc_command_sets(cc: u32) -> u32 {
    cc >> 4 & 7
}

/// log2 of a memory page, by CC.MPS, bits 10:7.
pub const fn cc_page_shift(cc: u32) -> u32 {
    PAGE_SHIFT_MIN + (cc >> 7 & 15)
}

/// CC.AMS, bits 13:11: 0 is round robin.
pub const fn cc_arbitration(cc: u32) -> u32 {
    cc >> 11 & 7
}

/// CC.SHN, bits 15:14: 0 for none, else a shutdown is told.
pub const fn cc_shutdown(cc: u32) -> u32 {
    cc >> 14 & 3
}

/// log2 of an entry of I/O submission and completion queues: CC.IOSQES, bits 19:16, and CC.IOCQES, bits 23:20.
pub const fn cc_entry_shifts(cc: u32) -> (u32, u32) {
    (cc >> 16 & 15, cc >> 20 & 15)
}

/// CSTS.RDY
pub const CSTS_READY: u32 = 1;
/// CSTS.CFS
pub const CSTS_FATAL: u32 = 1 << 1;
/// CSTS.SHST: no shutdown, under way, complete.
pub const CSTS_SHUTDOWN: u32 = 3 << 2;
/// CSTS.SHST: shutdown under way.
pub const CSTS_SHUTTING_DOWN: u32 = 1 << 2;
/// CSTS.SHST: shutdown complete.
pub const CSTS_SHUT_DOWN: u32 = 2 << 2;
/// CSTS.NSSRO: a subsystem reset happened; written with 1, it is cleared.
pub const CSTS_SUBSYSTEM_RESET: u32 = 1 << 4;

/// What resets the subsystem: "NVMe".
pub const NSSR_VALUE: u32 = 0x4e56_4d65;

/// Entries of the admin submission queue, by AQA.ASQS, bits 11:0, from 0.
pub const fn aqa_submission(aqa: u32) -> u32 {
    (aqa & 0xfff) + 1
}

/// Entries of the admin completion queue, by AQA.ACQS, bits 27:16, from 0.
pub const fn aqa_completion(aqa: u32) -> u32 {
    (aqa >> 16 & 0xfff) + 1
}

/// AQA bits that the controller holds.
pub const AQA_BITS: u32 = 0x0fff_0fff;
