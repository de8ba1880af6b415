//! The registers of `dmatest`: one BAR of 64 KiB. All numbers are little-endian.
//!
//! | offset | bytes | register | access |
//! |---|---|---|---|
//! | [`ID`] | 4 | [`ID_VALUE`] | read |
//! | [`VERSION`] | 4 | [`VERSION_VALUE`] | read |
//! | [`STATUS`] | 4 | [`IDLE`], [`RUNNING`], [`COMPLETE`] | read |
//! | [`DOORBELL`] | 4 | runs so many operations of the script, from its start | write, reads 0 |
//! | [`ERROR`] | 4 | why the last doorbell was not taken; any write clears it | both |
//! | [`RESET`] | 4 | any write but 0 resets the device, as the function's reset does | write, reads 0 |
//! | [`LATENCY_KIND`] | 4 | [`LATENCY_NONE`], [`LATENCY_FIXED`], [`LATENCY_RANDOM`] | both |
//! | [`LATENCY`] | 8 | nanoseconds from the end of a script to its completion, or the most of them | both |
//! | [`SEED`] | 8 | of random latencies; a write begins the sequence anew | both |
//! | [`COMPLETED`] | 4 | scripts that were completed since the last reset | read |
//! | [`SCRIPT`] | 64 each | [`Operation`], [`OPERATIONS`] of them | both |
//! | [`RESULTS`] | 32 each | [`Outcome`], one for each operation | read |
//! | [`DATA`] | [`DATA_SIZE`] | what the operations read | read |
//!
//! A write may have any width. It changes its bytes and leaves the others; a register that acts when it
//! is written acts once for each word of four bytes that is touched. What is not in the table reads 0 and
//! is not written.
//!
//! A script is copied when its doorbell rings. Its results and data are there when [`STATUS`] says
//! [`COMPLETE`], and stay until the next script completes. Each operation is made, whatever became of
//! those before.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Size of the BAR.
pub const BAR_SIZE: u64 = 0x1_0000;

/// Offset of the identification.
pub const ID: u64 = 0x00;
/// What it says: `dmat`.
pub const ID_VALUE: u32 = u32::from_le_bytes(*b"dmat");
/// Offset of the version of this layout.
pub const VERSION: u64 = 0x04;
/// This version.
pub const VERSION_VALUE: u32 = 1;
/// Offset of the state.
pub const STATUS: u64 = 0x08;
/// State: no script was started since the last reset.
pub const IDLE: u32 = 0;
/// State: a script is under way.
pub const RUNNING: u32 = 1;
/// State: the last script is done.
pub const COMPLETE: u32 = 2;
/// Offset of the doorbell.
pub const DOORBELL: u64 = 0x0c;
/// Offset of the error.
pub const ERROR: u64 = 0x10;
/// Error: a script was under way.
pub const ERROR_BUSY: u32 = 1;
/// Error: no operation, or more than there is room for.
pub const ERROR_COUNT: u32 = 2;
/// Offset of the reset.
pub const RESET: u64 = 0x14;
/// Offset of the number of scripts.
pub const COMPLETED: u64 = 0x18;
/// Offset of the kind of latency.
pub const LATENCY_KIND: u64 = 0x1c;
/// Latency: none. So are unknown kinds.
pub const LATENCY_NONE: u32 = 0;
/// Latency: always the same.
pub const LATENCY_FIXED: u32 = 1;
/// Latency: between nothing and the latency.
pub const LATENCY_RANDOM: u32 = 2;
/// Offset of the latency. More than [`LATENCY_MAX`] counts as that.
pub const LATENCY: u64 = 0x20;
/// The longest latency in nanoseconds.
pub const LATENCY_MAX: u64 = 10_000_000_000;
/// Offset of the seed.
pub const SEED: u64 = 0x28;

/// Offset of the script.
pub const SCRIPT: u64 = 0x1000;
/// Operations of the longest script.
pub const OPERATIONS: usize = 64;
/// Offset of the results.
pub const RESULTS: u64 = 0x2000;
/// Offset of the data.
pub const DATA: u64 = 0x8000;
/// Bytes of the data.
pub const DATA_SIZE: usize = 0x8000;

/// An operation of a script.
///
/// | field | is |
/// |---|---|
/// | `action` | what is done |
/// | `flags` | `FLAG_` bits |
/// | `address` | an IOVA |
/// | `pasid` | counts only with [`FLAG_PASID`] |
/// | `size` | bytes of a read, write or fetch, [`SIZE_MAX`] at most |
/// | `pattern` | 8 bytes that a write repeats; the addend of [`ATOMIC_ADD`] |
/// | `rights` | `RIGHT_` bits of [`TRANSLATE`] and [`REQUEST_PAGE`] |
/// | `group` | page request group, of 9 bits |
/// | `timeout` | milliseconds to wait for each answer |
/// | `reserved` | 0 |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[expect(missing_docs, reason = "fields are described in the table")]
pub struct Operation {
    pub action: u32,
    pub flags: u32,
    pub address: u64,
    pub pasid: u32,
    pub size: u32,
    pub pattern: u64,
    pub rights: u32,
    pub group: u32,
    pub timeout: u32,
    pub reserved: [u32; 5],
}

/// The largest access.
pub const SIZE_MAX: u32 = DATA_SIZE as u32;

/// Action: read memory.
pub const READ: u32 = 1;
/// Action: write memory.
pub const WRITE: u32 = 2;
/// Action: read memory in order to execute it.
pub const FETCH: u32 = 3;
/// Action: add to the word of 8 bytes at an address that is a multiple of 8, in one step.
pub const ATOMIC_ADD: u32 = 4;
/// Action: ask for a translation (ATS), and keep it.
pub const TRANSLATE: u32 = 5;
/// Action: read memory of one page by a translation that is kept.
pub const READ_TRANSLATED: u32 = 6;
/// Action: write memory of one page by a translation that is kept.
pub const WRITE_TRANSLATED: u32 = 7;
/// Action: ask for a page (PRI), and do not wait.
pub const REQUEST_PAGE: u32 = 8;
/// Action: wait for the answer to a group of page requests.
pub const AWAIT: u32 = 9;

/// Flag: with a PASID.
pub const FLAG_PASID: u32 = 1 << 0;
/// Flag: with privilege.
pub const FLAG_PRIVILEGED: u32 = 1 << 1;
/// Flag of an access: translations are asked for first, and pages that are not there are requested, as
/// one group, until they are. A read or write of [`READ`] or [`WRITE`] is then made by the translations.
pub const FLAG_PAGE_REQUESTS: u32 = 1 << 2;
/// Flag of [`REQUEST_PAGE`]: it is the last of its group, which is answered.
pub const FLAG_LAST: u32 = 1 << 3;
/// Every flag.
pub const FLAGS: u32 = FLAG_PASID | FLAG_PRIVILEGED | FLAG_PAGE_REQUESTS | FLAG_LAST;

/// Right: to read.
pub const RIGHT_READ: u32 = 1 << 0;
/// Right: to write.
pub const RIGHT_WRITE: u32 = 1 << 1;
/// Right: to execute.
pub const RIGHT_EXECUTE: u32 = 1 << 2;

/// What became of an operation.
///
/// | field | is |
/// |---|---|
/// | `status` | how it ended |
/// | `code` | of [`REFUSED`]: the reason, as the IOMMU's manual counts them |
/// | `value` | of [`ATOMIC_ADD`]: what the word was; of [`TRANSLATE`]: the `RIGHT_` bits granted |
/// | `data_offset`, `data_size` | where in [`DATA`] the bytes are that it read |
/// | `attempts` | how often the access was tried; an access that stalls is tried again |
/// | `requests` | page requests that it made |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[expect(missing_docs, reason = "fields are described in the table")]
pub struct Outcome {
    pub status: u32,
    pub code: u32,
    pub value: u64,
    pub data_offset: u32,
    pub data_size: u32,
    pub attempts: u32,
    pub requests: u32,
}

/// Status: it succeeded.
pub const DONE: u32 = 1;
/// Status: the IOMMU refused the access.
pub const REFUSED: u32 = 2;
/// Status: the address is translated, and no memory is there any more.
pub const NO_MEMORY: u32 = 3;
/// Status: a page request or a stalled access was answered: there will be no page.
pub const ANSWERED_INVALID: u32 = 4;
/// Status: no answer came in time.
pub const TIMED_OUT: u32 = 5;
/// Status: the device keeps no translation for this access.
pub const NOT_TRANSLATED: u32 = 6;
/// Status: the answers were favourable, and the page is still not there.
pub const NOT_GRANTED: u32 = 7;
/// Status: the device may not reach memory, since its bus mastering is off.
pub const NO_BUS_MASTER: u32 = 8;
/// Status: a reset came first.
pub const CANCELLED: u32 = 9;
/// Status: the operation is nonsense.
pub const MALFORMED: u32 = 10;
/// Status: a page request was answered: there will be no page, and the device shall ask for no others before it
/// is reset.
pub const ANSWERED_FAILURE: u32 = 11;

const _: () = assert!(size_of::<Operation>() == 64 && size_of::<Outcome>() == 32);
const _: () = assert!(SCRIPT as usize + OPERATIONS * size_of::<Operation>() <= RESULTS as usize);
const _: () = assert!(RESULTS as usize + OPERATIONS * size_of::<Outcome>() <= DATA as usize);
const _: () = assert!(DATA + DATA_SIZE as u64 == BAR_SIZE);
