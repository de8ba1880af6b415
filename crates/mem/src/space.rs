//! An address space: what user pointers of one program image mean.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Extent;

/// A user address that cannot be used so: not mapped, not permitted, or its owner is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad user address")
    }
}

impl std::error::Error for Fault {}

/// Identifies one address space for as long as the engine runs; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MmId(u64);

impl MmId {
    /// An identity that nobody had before.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Pages charged to one address space, as `/proc/PID/status` shows them.
#[derive(Debug, Default)]
pub struct Accounts {
    /// `VmPin`, in pages (`mm->pinned_vm`).
    pub pinned_vm: AtomicU64,
    /// What pinning adds to `VmLck`, in pages (`mm->locked_vm`).
    pub locked_vm: AtomicU64,
}

/// The memory of one program image: valid until it calls `exec` or dies.
///
/// Addresses and lengths are in bytes unless they are named pages. Every claim of the caller is
/// checked: a bad address is a [`Fault`], never a crash.
pub trait AddressSpace: Send + Sync + fmt::Debug {
    /// The identity of this address space.
    fn id(&self) -> MmId;

    /// False once the owner has called `exec` or died (`mmget_not_zero` fails).
    fn alive(&self) -> bool;

    /// Copies `to.len()` bytes from `va`; on a fault part of `to` may have been written.
    fn read(&self, va: u64, to: &mut [u8]) -> Result<(), Fault>;

    /// Copies `from` to `va`; on a fault part of it may have been written.
    fn write(&self, va: u64, from: &[u8]) -> Result<(), Fault>;

    /// The pages behind `pages` pages from the page-aligned `va`, in order, as
    /// `pin_user_pages_remote(FOLL_LONGTERM)` would find them.
    ///
    /// A page that is not mapped, not readable, or not writable with `writable`, is a [`Fault`].
    fn pin(self: Arc<Self>, va: u64, pages: u64, writable: bool) -> Result<Vec<Extent>, Fault>;

    /// What this address space is charged for.
    fn accounts(&self) -> &Accounts;
}
