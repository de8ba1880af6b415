//! The programs that the tests run. Each ends with a failure when an answer is not the right one.

use std::env;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::{self, Child, Command};
use std::thread;

use crate::{ROLE, nvme};
use client::{Iommu, SharedBuffer};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The descriptor that a child inherits, and its number among the callers.
const DESCRIPTOR: &str = "SOFTIOMMU_TEST_FD";
/// The IOAS that all callers use.
const IOAS: &str = "SOFTIOMMU_TEST_IOAS";

/// Rounds of four calls that each of four callers makes: 102,400 calls.
const ROUNDS: u64 = 6_400;

/// Plays the part that the environment names; nothing in an ordinary test run.
#[test]
fn main() {
    let Ok(role) = env::var(ROLE) else { return };
    let done = match role.as_str() {
        "share" => share(),
        "share-child" => inherited().and_then(|iommu| call_in_turn(&iommu, ioas(), [2, 3])),
        "nvme" => nvme::reads(),
        "pass" => pass(),
        "pass-child" => inherited().and_then(|iommu| alloc(&iommu).map(drop)),
        "sriov" => crate::sysfs::make_virtual_function(),
        "sysfs" => crate::sysfs::look(),
        "storm" => storm(),
        "storm-child" => inherited().and_then(|iommu| map_for_ever(&iommu, ioas())),
        other => Err(io::Error::other(format!("no part is called {other}"))),
    };
    if let Err(error) = done {
        eprintln!("{role}: {error}");
        process::exit(1);
    }
}

fn wrong<T>(what: &str) -> io::Result<T> {
    Err(io::Error::other(what.to_owned()))
}

fn inherited() -> io::Result<Iommu> {
    let number = env::var(DESCRIPTOR).ok().and_then(|number| number.parse().ok());
    // SAFETY: the parent left it open for this process, whose only owner this is.
    let adopt = |number| unsafe { OwnedFd::from_raw_fd(number) };
    number.map(|number| Iommu::from(adopt(number))).ok_or(io::ErrorKind::NotFound.into())
}

fn ioas() -> u32 {
    env::var(IOAS).ok().and_then(|id| id.parse().ok()).unwrap_or(0)
}

/// This executable as a child that has the same descriptor.
fn child(role: &str, fd: &OwnedFd, ioas: u32) -> io::Result<Child> {
    Command::new(env::current_exe()?)
        .args(["--exact", "client::main", "--nocapture"])
        .env(ROLE, role)
        .env(DESCRIPTOR, fd.as_raw_fd().to_string())
        .env(IOAS, ioas.to_string())
        .spawn()
}

fn finished(mut child: Child) -> io::Result<()> {
    if child.wait()?.success() { Ok(()) } else { wrong("the child failed") }
}

fn alloc(iommu: &Iommu) -> io::Result<u32> {
    match iommu.ioas()? {
        0 => wrong("an IOAS without an ID"),
        ioas => Ok(ioas),
    }
}

fn unmap(iommu: &Iommu, ioas: u32, iova: u64, length: u64) -> io::Result<()> {
    match iommu.unmap(ioas, iova, length)? {
        unmapped if unmapped == length => Ok(()),
        _ => wrong("another length than was mapped"),
    }
}

/// Two threads and two processes on one descriptor, each with IOVAs and lengths of its own.
fn share() -> io::Result<()> {
    let iommu = Iommu::open()?;
    let ioas = alloc(&iommu)?;
    let copy = rustix::io::dup(iommu.as_fd())?;
    let child = child("share-child", &copy, ioas)?;
    call_in_turn(&iommu, ioas, [0, 1])?;
    finished(child)?;
    drop(copy);
    // all that was made is gone: the lowest free ID is the next one
    if alloc(&iommu)? == ioas + 1 { Ok(()) } else { wrong("an object is left over") }
}

fn call_in_turn(iommu: &Iommu, ioas: u32, callers: [u64; 2]) -> io::Result<()> {
    thread::scope(|scope| {
        let threads = callers.map(|caller| scope.spawn(move || rounds(iommu, ioas, caller)));
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| wrong("a thread panicked")))
    })
}

fn rounds(iommu: &Iommu, ioas: u32, caller: u64) -> io::Result<()> {
    let buffer = SharedBuffer::new(1 << 16)?;
    for round in 0..ROUNDS {
        let length = 4096 * (1 + (round + caller) % 8);
        let iova = ((caller + 1) << 32) + (round % 16) * 0x10_0000;
        iommu.map(ioas, iova, &buffer, length)?;
        let own = alloc(iommu)?;
        unmap(iommu, ioas, iova, length)?;
        iommu.destroy(own)?;
    }
    Ok(())
}

/// A descriptor after `dup`, in a child after `fork` and `exec`, and received over a socket.
fn pass() -> io::Result<()> {
    let iommu = Iommu::open()?;
    let first = alloc(&iommu)?;
    let copy = rustix::io::dup(iommu.as_fd())?;
    finished(child("pass-child", &copy, 0)?)?;
    let received = Iommu::from(over_a_socket(copy)?);
    drop(iommu);
    // the same open file still: the child's IOAS is there, and the first one
    received.destroy(first)?;
    received.destroy(first + 1)?;
    match received.destroy(first + 2) {
        Err(error) if error.raw_os_error() == Some(2) => Ok(()),
        _ => wrong("an IOAS that nobody made"),
    }
}

fn over_a_socket(fd: OwnedFd) -> io::Result<OwnedFd> {
    let (one, other) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let fds = [fd.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(&one, &[IoSlice::new(b"x")], &mut control, SendFlags::empty())?;
    drop(fd);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(&other, &mut buffers, &mut control, RecvFlags::empty())?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message
            && let Some(fd) = fds.next()
        {
            return Ok(fd);
        }
    }
    wrong("no descriptor came")
}

/// Maps, forks and passes descriptors until it is killed.
fn storm() -> io::Result<()> {
    let iommu = Iommu::open()?;
    let ioas = alloc(&iommu)?;
    let copy = rustix::io::dup(iommu.as_fd())?;
    let _child = child("storm-child", &copy, ioas)?;
    thread::scope(|scope| {
        scope.spawn(|| map_for_ever(&iommu, ioas));
        loop {
            let _received = over_a_socket(rustix::io::dup(iommu.as_fd())?)?;
            let mut short = child("pass-child", &copy, 0)?;
            short.wait()?;
        }
    })
}

fn map_for_ever(iommu: &Iommu, ioas: u32) -> io::Result<()> {
    let buffer = SharedBuffer::new(1 << 16)?;
    let base = u64::from(process::id()) << 24;
    loop {
        for page in 0..16 {
            iommu.map(ioas, base + page * 4096, &buffer, 4096)?;
        }
        unmap(iommu, ioas, base, 16 * 4096)?;
    }
}
