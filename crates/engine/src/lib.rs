//! The IOMMU and its user API, as a library.
//!
//! An [`Engine`] is a machine. Opening a [`Node`] of it gives a [`File`], whose `ioctl`, `read`,
//! `write` and `mmap` answer as Linux does. Who calls is a [`Caller`]: a process behind a socket, the
//! program itself, or a test.
//!
//! | module | holds |
//! |---|---|
//! | [`call`] | the one path of every command |
//! | [`commands`] | what each command does, a file a family, and their table |
//! | [`objects`], [`state`] | the object table; how objects end |
//! | [`ioas`], [`pages`] | I/O address spaces; the memory behind mappings |
//! | [`hwpt`], [`device`], [`viommu`], [`events`], [`access`] | the other objects |
//! | [`hw`], [`machine`] | models of hardware; the machines made of them |
//! | [`refusal`] | every reason to refuse a call, and its errno |
//!
//! Linux is the specification. Where an order of checks looks odd, it is Linux's, and the comment
//! names the function.

#![forbid(unsafe_code)]

mod access;
mod call;
mod caller;
mod commands;
mod context;
mod device;
mod events;
mod file;
mod hw;
mod hwpt;
mod ioas;
mod machine;
mod objects;
mod pages;
mod refusal;
mod state;
mod task;
mod viommu;

use std::sync::Arc;

use mem::PinBoard;
use profile::Kernel;

pub use caller::{Caller, Signal};
pub use commands::{STATUS, Status};
pub use file::{File, Node};
pub use machine::{MACHINES, Machine};
pub use objects::ObjectId;
pub use refusal::Refusal;

use context::Context;
use hw::Hardware;
use hw::selftest::Selftest;
use pages::AccountMode;

/// One machine with its IOMMU and its kernel, shared by all programs that run on it.
#[derive(Debug)]
pub struct Engine {
    pub(crate) machine: &'static Machine,
    pub(crate) kernel: &'static Kernel,
    /// The hardware of the devices that the test command makes.
    pub(crate) mock: Arc<dyn Hardware>,
    pub(crate) pins: Arc<PinBoard>,
}

impl Engine {
    /// A machine with a kernel, in which nothing is open.
    pub fn new(machine: &'static Machine, kernel: &'static Kernel) -> Arc<Self> {
        Arc::new(Self {
            machine,
            kernel,
            mock: Arc::new(Selftest { kernel }),
            pins: Arc::default(),
        })
    }

    /// The machine.
    pub fn machine(&self) -> &'static Machine {
        self.machine
    }

    /// `open(2)` of a device node.
    pub fn open(self: &Arc<Self>, caller: &mut dyn Caller, node: Node) -> Result<File, Refusal> {
        if caller.inject_failure() {
            return Err(Refusal::NoMemory);
        }
        // type1 accounts pages to the address space, and so does its stand-in
        let account = match node {
            Node::Iommu => AccountMode::User,
            Node::VfioContainer => AccountMode::Mm,
        };
        let context = Context::new(Arc::clone(self), account);
        Ok(File::new(file::Kind::Iommu(Arc::new(context))))
    }
}
