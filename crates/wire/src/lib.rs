//! What the shim inside the program and the supervisor outside agree on.
//!
//! | module | holds |
//! |---|---|
//! | [`message`] | the fixed-size messages of a call connection |
//! | [`page`] | the shared page by which the shim knows that a call is no business of ours |
//! | [`path`] | the file names that the supervisor serves |
//!
//! # A run
//!
//! `softiommu run` makes a directory and names it in [`RUN_VARIABLE`]. It holds the files below.
//! A call connection is a `SOCK_SEQPACKET` connection to [`SOCKET`]; it starts with one
//! [`message::Hello`], which is not answered, and then carries one [`message::Request`] and one
//! [`message::Answer`] in turn. A connection belongs to one process; a process has as many as it has
//! calls in flight.
//!
//! # A descriptor of ours
//!
//! is one end of a socket pair whose other end the supervisor holds. Its number says nothing:
//! `SO_COOKIE` is what identifies the open file, in whatever process and under whatever number it is
//! held. The shim keeps no table; it asks the kernel for the cookie and the supervisor for the rest.
//!
//! *What it doesn't do:* sockets, memory, or any call of the operating system.

#![no_std]
#![forbid(unsafe_code)]

pub mod message;
pub mod page;
pub mod path;

/// The environment variable that names the run directory.
pub const RUN_VARIABLE: &str = "SOFTIOMMU_RUN";
/// The socket to call, in the run directory.
pub const SOCKET: &str = "calls";
/// The shared page ([`page`]), in the run directory.
pub const PAGE: &str = "page";
/// The preloaded object, in the run directory.
pub const SHIM: &str = "libsoftiommu.so";
/// What stands for `/sys/kernel/debug`, in the run directory.
pub const DEBUG_TREE: &str = "debug";
/// What stands for parts of `/sys`, in the run directory.
pub const SYS_TREE: &str = "sys";
/// What stands for `/dev/vfio`, in the run directory: a file for each device node, with nothing in it.
pub const DEV_TREE: &str = "dev";
/// What stands for files of `/proc` that tell the kernel's release, in the run directory.
pub const PROC_TREE: &str = "proc";
/// The longest name of a run directory, in bytes: the socket's name must fit `sockaddr_un`.
pub const RUN_MAX: usize = 96;
/// Call connections that a process keeps; a call beyond that makes one for itself.
pub const POOL: usize = 32;

/// Whether this ioctl may give the program a new descriptor, so that a number must be reserved.
///
/// The supervisor cannot choose a number in another process, and waiting for one in the middle of a
/// call would make the engine wait for the program. So the shim reserves the lowest free number
/// before a call that may need it, as the kernel's `get_unused_fd_flags` does.
pub const fn may_install(cmd: u32) -> bool {
    const FAULT_QUEUE_ALLOC: u32 = 0x3b8e;
    const VEVENTQ_ALLOC: u32 = 0x3b93;
    const TEST_CMD: u32 = 0x3ba0;
    const VFIO_GROUP_GET_DEVICE_FD: u32 = 0x3b6a;
    const VFIO_DEVICE_FEATURE: u32 = 0x3b75;
    matches!(
        cmd,
        FAULT_QUEUE_ALLOC
            | VEVENTQ_ALLOC
            | TEST_CMD
            | VFIO_GROUP_GET_DEVICE_FD
            | VFIO_DEVICE_FEATURE
    )
}
