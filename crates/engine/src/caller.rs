//! The task that makes a call, as the engine needs to know it.

use std::fmt;
use std::sync::Arc;

use mem::{AddressSpace, SharedFile};
use uapi::Errno;

use crate::{File, Trigger};

/// What Linux calls `current`: the task that makes a call.
///
/// The supervisor implements it for a process at the other end of a socket, tests and the library
/// for themselves. Nothing here may wait for the program.
pub trait Caller {
    /// The caller's memory, in which the pointers of the call are valid (`current->mm`).
    fn memory(&self) -> &Arc<dyn AddressSpace>;

    /// Gives the caller a new descriptor for `file` (`get_unused_fd_flags` and `fd_install`);
    /// `EMFILE` when its table is full.
    fn install(&mut self, file: File) -> Result<i32, Errno>;

    /// Takes back a descriptor that [`Caller::install`] gave in this call.
    fn uninstall(&mut self, fd: i32);

    /// The file of ours behind the caller's descriptor `fd` (`fget`); none for any other file.
    fn file(&mut self, fd: i32) -> Option<File>;

    /// The shared memory behind the caller's descriptor `fd`, for `IOMMU_IOAS_MAP_FILE`:
    /// `EBADF` when it is not open, `EINVAL` when it is not memory that can be pinned.
    fn shared_file(&mut self, fd: i32) -> Result<Arc<SharedFile>, Errno>;

    /// The eventfd behind the caller's descriptor `fd` (`eventfd_ctx_fdget`): `EBADF` when it is not open,
    /// `EINVAL` when it is none.
    fn eventfd(&mut self, fd: i32) -> Result<Arc<dyn Trigger>, Errno>;

    /// Whether any process of the run still maps this object.
    fn is_mapped(&mut self, file: &SharedFile) -> bool;

    /// Asked wherever Linux allocates: true makes that allocation fail (fault injection).
    fn inject_failure(&mut self) -> bool;
}

/// Told when a file becomes readable, or has nothing to read any more.
pub trait Signal: Send + Sync + fmt::Debug {
    /// `readable` is the state now; called under the lock of the queue, so it must not call back.
    fn set(&self, readable: bool);
}
