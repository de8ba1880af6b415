//! Which file a name means.
//!
//! A folder of the run has the name that it has on the system: what is relative to it, by the current
//! folder or by a descriptor, is looked up under that name.

use core::ffi::{CStr, c_char, c_int};

use rustix::fd::BorrowedFd;
use rustix::fs::{Access, CWD};
use wire::message::Node;
use wire::page::SELFTEST;
use wire::path::{self, Plain, Tree};

use crate::run::{self, Run};
use crate::sys;

/// What a name that the program gives means.
pub(crate) enum Meaning<'n> {
    /// A file that the supervisor makes.
    Node(&'static Run, Node),
    /// Another name, in this tree of the run; without a tree, of the system, and the program's name
    /// leads there out of the run.
    Redirected(&'n CStr, Option<Tree>),
    /// None of ours.
    Native,
}

/// Room for a redirected name.
pub(crate) type Room = [u8; 1024];

/// Looks a name up, relative to the directory `dirfd`.
///
/// # Safety
/// `name` must be as [`sys::text`] wants it.
pub(crate) unsafe fn meaning(dirfd: c_int, name: *const c_char, room: &mut Room) -> Meaning<'_> {
    let Some(run) = run::current() else { return Meaning::Native };
    // SAFETY: the caller vouches for it.
    let Some(text) = (unsafe { sys::text(name) }) else { return Meaning::Native };
    look_up(run, dirfd, text, room).unwrap_or(Meaning::Native)
}

fn look_up<'n>(
    run: &'static Run,
    dirfd: c_int,
    text: &[u8],
    room: &'n mut Room,
) -> Option<Meaning<'n>> {
    let (plain, from_run) = absolute(run, dirfd, text)?;
    let tree = match plain.node() {
        Some(Node::FailNth(_)) if !run.has(SELFTEST) => None,
        Some(Node::Status(_)) if !run.is_charged() => None,
        Some(Node::Iommu | Node::VfioGroup(_) | Node::VfioDevice(_))
            if !has_placeholder(run, &plain) =>
        {
            plain.tree()
        }
        Some(node) => return Some(Meaning::Node(run, node)),
        None => plain.tree(),
    };
    let (folder, rest) = match tree {
        Some((Tree::Debug, rest)) if run.has(SELFTEST) => (wire::DEBUG_TREE, rest),
        Some((Tree::Sys, rest)) => (wire::SYS_TREE, rest),
        Some((Tree::Dev, rest)) => (wire::DEV_TREE, rest),
        Some((Tree::Proc, rest)) => (wire::PROC_TREE, rest),
        _ if from_run => {
            return Some(Meaning::Redirected(finished(plain.as_bytes(), text, room)?, None));
        }
        _ => return None,
    };
    let mut name = [0; path::MAX + 2];
    let name = finished(rest, text, &mut name)?.to_bytes();
    Some(Meaning::Redirected(run.file(folder, name, room)?, tree.map(|(tree, _)| tree)))
}

/// A plain name, with a slash at the end where the program's own name makes a link be followed.
fn finished<'n>(plain: &[u8], text: &[u8], room: &'n mut [u8]) -> Option<&'n CStr> {
    let last = text.rsplit(|&b| b == b'/').next().unwrap_or_default();
    let end: &[u8] = if matches!(last, b"" | b"." | b"..") { b"/\0" } else { b"\0" };
    let name = room.get_mut(..plain.len() + end.len())?;
    let (to_plain, to_end) = name.split_at_mut_checked(plain.len())?;
    to_plain.copy_from_slice(plain);
    to_end.copy_from_slice(end);
    CStr::from_bytes_with_nul(name).ok()
}

/// The file of the run that stands for a device node where there must be one, with nothing in it.
///
/// # Safety
/// `name` must be as [`sys::text`] wants it.
pub(crate) unsafe fn placeholder(
    dirfd: c_int,
    name: *const c_char,
    room: &mut Room,
) -> Option<&CStr> {
    let run = run::current()?;
    // SAFETY: the caller vouches for it.
    let text = unsafe { sys::text(name) }?;
    let (plain, _) = absolute(run, dirfd, text)?;
    placeholder_of(run, &plain, room)
}

fn placeholder_of<'n>(run: &Run, plain: &Plain, room: &'n mut Room) -> Option<&'n CStr> {
    run.file(wire::DEV_TREE, plain.as_bytes().strip_prefix(b"/dev")?, room)
}

/// Whether the machine has a device node.
fn has_placeholder(run: &Run, plain: &Plain) -> bool {
    let mut room: Room = [0; _];
    placeholder_of(run, plain, &mut room)
        .is_some_and(|name| rustix::fs::access(name, Access::EXISTS).is_ok())
}

/// A name made absolute, and whether it is relative to a folder of the run; none where it is none of
/// ours.
fn absolute(run: &Run, dirfd: c_int, text: &[u8]) -> Option<(Plain, bool)> {
    let is_candidate = path::is_candidate(text);
    if text.starts_with(b"/") {
        let may_be_ours = is_candidate || text.starts_with(b"/sys");
        return if may_be_ours { Some((Plain::new(b"", text)?, false)) } else { None };
    }
    if !is_candidate && !path::climbs(text) {
        return None;
    }
    let mut room: Room = [0; _];
    let base = folder(run, dirfd, &mut room)?;
    if !is_candidate && !base.is_in_run {
        return None;
    }
    Some((Plain::new(base.name, text)?, base.is_in_run))
}

/// A name that the kernel tells.
pub(crate) struct Told<'n> {
    /// The system's name, where the file is one of the run's.
    pub(crate) name: &'n [u8],
    /// Whether it is.
    pub(crate) is_in_run: bool,
}

/// The folder of a descriptor, or the current one.
pub(crate) fn folder<'n>(run: &Run, dirfd: c_int, room: &'n mut Room) -> Option<Told<'n>> {
    let mut link = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
    let link = if dirfd == libc::AT_FDCWD {
        c"/proc/self/cwd"
    } else {
        let mut digits =
            10u32.checked_pow(u32::try_from(dirfd).ok()?.checked_ilog10().unwrap_or(0))?;
        for to in link.get_mut(14..)? {
            *to = b'0' + (dirfd as u32 / digits % 10) as u8;
            digits /= 10;
            if digits == 0 {
                break;
            }
        }
        CStr::from_bytes_until_nul(&link).ok()?
    };
    linked(run, CWD, link, room)
}

/// What a link says; none when that is longer than any name of ours.
pub(crate) fn linked<'n>(
    run: &Run,
    dirfd: BorrowedFd<'_>,
    link: &CStr,
    room: &'n mut Room,
) -> Option<Told<'n>> {
    let length = rustix::fs::readlinkat_raw(dirfd, link, &mut room[..]).ok()?;
    if length == room.len() {
        return None;
    }
    let Some((root, rest)) = run.system_name(room.get(..length)?) else {
        return Some(Told { name: room.get(..length)?, is_in_run: false });
    };
    let (root, rest) = (root.to_bytes(), length - rest.len()..length);
    let end = root.len() + rest.len();
    room.copy_within(rest, root.len());
    room.get_mut(..root.len())?.copy_from_slice(root);
    Some(Told { name: room.get(..end)?, is_in_run: true })
}
