//! Which file a name means.

use core::ffi::{CStr, c_char, c_int};

use rustix::fs::CWD;
use wire::message::Node;
use wire::page::{DEVICES, SELFTEST};
use wire::path::{self, Plain, Tree};

use crate::run::{self, Run};
use crate::sys;

/// What a name that the program gives means.
pub(crate) enum Meaning<'n> {
    /// A file that the supervisor makes.
    Node(&'static Run, Node),
    /// A file of the run, under this name, in this tree.
    Redirected(&'n CStr, Tree),
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
    if text.starts_with(b"/sys") {
        let plain = Plain::new(b"", text);
        return redirected(run, plain, text, room).unwrap_or(Meaning::Native);
    }
    if !path::is_candidate(text) {
        return Meaning::Native;
    }
    let mut base = [0; path::MAX];
    let base = if text.starts_with(b"/") { Some(&b""[..]) } else { directory(dirfd, &mut base) };
    let plain = base.and_then(|base| Plain::new(base, text));
    match plain.and_then(|plain| plain.node()) {
        Some(Node::FailNth(_)) if !run.has(SELFTEST) => Meaning::Native,
        Some(Node::VfioDevice(_)) if !run.has(DEVICES) => Meaning::Native,
        Some(node @ Node::VfioDevice(_)) => {
            let last = plain.as_ref().and_then(|plain| plain.as_bytes().get(DEVICE_NODES.len()..));
            match run.file(VFIO_CLASS, last.unwrap_or_default(), room) {
                // the system's own device of this name is not the program's
                Some(there) if !exists(there) => Meaning::Redirected(there, Tree::Dev),
                _ => Meaning::Node(run, node),
            }
        }
        Some(Node::Status(_)) if !run.is_charged() => Meaning::Native,
        Some(node) => Meaning::Node(run, node),
        None => redirected(run, plain, text, room).unwrap_or(Meaning::Native),
    }
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
    let mut base = [0; path::MAX];
    let base = if text.starts_with(b"/") { Some(&b""[..]) } else { directory(dirfd, &mut base) };
    let plain = Plain::new(base?, text)?;
    run.file(wire::DEV_TREE, plain.as_bytes().strip_prefix(b"/dev")?, room)
}

/// Where VFIO's device nodes are.
const DEVICE_NODES: &str = "/dev/vfio/devices";
/// The folder of a run that has a file for each of them.
const VFIO_CLASS: &str = "sys/class/vfio-dev";

fn exists(name: &CStr) -> bool {
    rustix::fs::access(name, rustix::fs::Access::EXISTS).is_ok()
}

/// The file of the run that stands for a name, if one of its trees has it.
fn redirected<'n>(
    run: &Run,
    plain: Option<Plain>,
    text: &[u8],
    room: &'n mut Room,
) -> Option<Meaning<'n>> {
    let plain = plain?;
    let (tree, rest) = plain.tree()?;
    let (there, folder) = match tree {
        Tree::Debug => (run.has(SELFTEST), wire::DEBUG_TREE),
        Tree::Sys => (run.has(DEVICES), wire::SYS_TREE),
        Tree::Dev => (true, wire::DEV_TREE),
    };
    // a slash at the end makes a link be followed
    let mut name = [0; path::MAX + 1];
    let end = rest.len() + usize::from(text.ends_with(b"/"));
    name.get_mut(..rest.len())?.copy_from_slice(rest);
    name.get_mut(rest.len()..end)?.fill(b'/');
    if !there {
        return None;
    }
    Some(Meaning::Redirected(run.file(folder, name.get(..end)?, room)?, tree))
}

/// The name of an open directory.
fn directory(dirfd: c_int, room: &mut [u8]) -> Option<&[u8]> {
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
    let length = rustix::fs::readlinkat_raw(CWD, link, &mut *room).ok()?;
    room.get(..length)
}
