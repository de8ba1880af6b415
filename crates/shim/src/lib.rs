//! The object that is preloaded into the program.
//!
//! It takes the place of the libc functions by which a program reaches a device node, decides whether
//! a call is ours, and if so passes it to the supervisor. It has no state about descriptors: the
//! kernel tells which open file a descriptor is (`SO_COOKIE`), the shared page whether that may be one
//! of ours ([`wire::page`]), the supervisor the rest. So `dup`, `fork`, `exec`, `SCM_RIGHTS` and
//! `close` need no help.
//!
//! | module | holds |
//! |---|---|
//! | [`sys`] | system calls without libc, and libc's `errno` |
//! | [`run`] | the run this process belongs to: its directory and the shared page |
//! | [`image`] | this program image: its number and its connections, new after `fork` and `exec` |
//! | [`call`] | one call: request, answer, descriptor |
//! | [`name`] | which file a name means |
//! | [`trap`] | a device's memory in the program: stores |
//! | [`signal`] | signals of faults, which the program and [`trap`] share |
//! | [`kvm`] | calls of KVM that meet files and memory of ours |
//! | [`open`], [`stat`], [`link`], [`list`], [`stdio`], [`file`], [`memory`], [`close`], [`uname`] | the hooks |
//!
//! # Rules
//!
//! - A hook may run at any time after relocation: before our constructor, in a signal handler, in the
//!   child of `vfork`. Nothing is locked, allocated, or kept in thread-local storage.
//! - A plain system call is made directly, so `errno` is touched only when a hook fails. Only `fopen`,
//!   `realpath`, `getcwd` and what lists a folder go on to libc's own.
//! - No libc function that is hooked here is called, not even through std: std's files and `println`
//!   call `read` and `write`, and dropping an `OwnedFd` calls `close`.
//! - Pointers of the program are passed on as numbers. The exceptions are names of files, which are
//!   looked at as libc's own functions would.
//! - Hooks are `extern "C"`: a panic ends the process, it never unwinds into the program.
//!
//! *What it doesn't do*: programs without libc, 32-bit programs; `nftw` and `fts`, which open folders
//! inside; the link in `/proc/self/fd` shows a socket, and so does `fstat` of what was opened by no name.

mod call;
mod close;
mod file;
mod image;
mod kvm;
mod link;
mod list;
mod memory;
mod name;
mod open;
mod run;
#[cfg(target_arch = "x86_64")]
mod signal;
mod stat;
mod stdio;
mod sys;
mod trap;
mod uname;

/// Joins the run before the program can change its environment or its root directory.
extern "C" fn constructor() {
    let _ = run::current();
    stdio::resolve();
    link::resolve();
    list::resolve();
    trap::start();
}

// SAFETY: the section holds pointers to functions that the dynamic linker calls once, after those of
// the objects that this one depends on; `constructor` takes no arguments and ignores those passed.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;
