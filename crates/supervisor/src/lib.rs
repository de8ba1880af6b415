//! Runs a program with a machine of ours behind its `/dev/iommu`.
//!
//! [`run`] makes a directory for the run, starts the program with the shim preloaded, serves its calls
//! from the engine, and ends as the program ended.
//!
//! | module | holds |
//! |---|---|
//! | [`program`] | which file a program is, and whether the shim reaches it |
//! | [`directory`], [`page`] | the run directory; the page shared with the shim |
//! | [`life`] | start, signals, children, end, report |
//! | [`server`] | call connections, a thread each |
//! | [`dispatch`], [`caller`] | what a request means; one call, as the engine sees it |
//! | [`files`], [`readiness`] | open files: sockets that stand for them, their end, `poll` |
//! | [`objects`] | memory files that programs share |
//! | [`processes`] | `/proc`: descendants, mappings |
//! | [`functions`] | which software devices there are, and where |
//! | [`failnth`], [`status`] | the files `fail-nth` and `status` below `/proc` |
//! | [`sys`] | the calls that need `unsafe` |
//!
//! # The rules of a run
//!
//! - It lasts as long as the program. After an ordinary exit it lasts on while any process holds a
//!   descriptor of ours, since a program may put itself into the background.
//! - When the program dies by a signal, what is left of its descendants is killed, and a report says
//!   what was open.
//! - Signals sent to the supervisor are passed on; those of the terminal reach the program anyway.
//! - Before each call, every file whose last descriptor is gone is released: on Linux `close` and
//!   `exit` have released it before anybody can make another call.
//!
//! *What it doesn't do*: know what an ioctl means (the engine does).

#![deny(unsafe_code)]

mod caller;
mod directory;
mod dispatch;
mod failnth;
mod files;
mod functions;
mod life;
mod objects;
mod page;
mod processes;
mod program;
mod readiness;
mod server;
mod status;
mod sys;
mod trouble;
mod visible;

use std::ffi::OsString;

use profile::{Kernel, Machine};

pub use functions::{NoPlace, equipped, place};
pub use trouble::Trouble;

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The machine.
    pub machine: Machine,
    /// The kernel.
    pub kernel: &'static Kernel,
    /// The program: a path, or a name to look for in `PATH`.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The preloaded object.
    pub shim: &'static [u8],
    /// Tell on standard error what happens.
    pub verbose: bool,
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// Runs a program to its end.
///
/// It takes the process over: signals are blocked, children of others are reaped. So it is called
/// once, from the first thread, before there are others.
pub fn run(options: &Options) -> Result<Ending, Trouble> {
    life::run(options)
}

/// Ends this process by a signal, as the program ended, without a core of ours.
pub fn die_by(signal: i32) -> ! {
    sys::die_by(signal)
}
