//! `stat`, `access`, extended attributes and their families, for names, and `fstat` for descriptors.
//!
//! A device node of ours looks as the kernel would make it: like `/dev/null`, but for its numbers and
//! its mode. A descriptor of it looks the same; what a call has made and no name (a device by its group, a
//! queue of events) looks like the socket that it is.

use core::ffi::{c_char, c_int, c_uint, c_void};

use uapi::vfio::{VFIO_GROUP_MAJOR, VFIO_MAJOR};
use wire::message::{Node, Operation};

use crate::file::on_ours;
use crate::name::{Meaning, Room, meaning};
use crate::sys::{self, Raw, to_int};

/// What a device node of ours looks like.
#[derive(Clone, Copy)]
struct Facts {
    major: u32,
    minor: u32,
    mode: u32,
}

fn facts(node: Node) -> Option<Facts> {
    let (major, minor, permissions) = match node {
        Node::Iommu => (MISC, 122, 0o660),
        Node::VfioContainer => (MISC, 196, 0o666),
        Node::VfioGroup(number) => (VFIO_GROUP_MAJOR, number, 0o600),
        Node::VfioDevice(number) => (VFIO_MAJOR, number, 0o600),
        Node::FailNth(_) | Node::Status(_) | Node::VirtualFunctions(_) => return None,
    };
    Some(Facts { major, minor, mode: libc::S_IFCHR | permissions })
}

const MISC: u32 = 10;
const MODEL: &core::ffi::CStr = c"/dev/null";

/// The facts of a device node of ours, and the name to ask the system about.
///
/// # Safety
/// `name` must be as [`sys::text`] wants it.
unsafe fn resolve(
    dirfd: c_int,
    name: *const c_char,
    room: &mut Room,
) -> (Option<Facts>, *const c_char) {
    // SAFETY: the caller vouches for the name.
    match unsafe { meaning(dirfd, name, room) } {
        Meaning::Node(_, node) if facts(node).is_some() => (facts(node), MODEL.as_ptr()),
        Meaning::Redirected(there, _) => (None, there.as_ptr()),
        _ => (None, name),
    }
}

/// The facts of the device node that a descriptor of ours was opened by.
fn behind(fd: c_int) -> Option<Facts> {
    let value = on_ours(fd, || Operation::Identify).filter(|value| *value >= 0)?;
    facts(Node::of_value(value as i64)?)
}

/// Whether a call means its descriptor, and no name.
///
/// # Safety
/// `name` must be as [`sys::text`] wants it.
unsafe fn is_descriptor(name: *const c_char, flags: c_int) -> bool {
    // SAFETY: the caller vouches for the name.
    flags & libc::AT_EMPTY_PATH != 0 && unsafe { sys::text(name) }.is_none_or(<[u8]>::is_empty)
}

impl Facts {
    fn device(self) -> u64 {
        rustix::fs::makedev(self.major, self.minor)
    }

    fn inode(self) -> u64 {
        u64::from(self.major) * 1000 + u64::from(self.minor)
    }

    /// # Safety
    /// The kernel has just filled the struct.
    unsafe fn fill(self, to: *mut libc::stat) {
        // SAFETY: so it can be written.
        unsafe {
            (*to).st_mode = self.mode;
            (*to).st_rdev = self.device();
            (*to).st_ino = self.inode();
            (*to).st_nlink = 1;
        }
    }
}

/// # Safety
/// `to` is the program's.
unsafe fn stat_descriptor(fd: c_int, to: *mut libc::stat) -> Raw {
    // SAFETY: the call as the program made it.
    let result = unsafe { sys::raw(libc::SYS_fstat, [fd as usize, to as usize]) };
    // SAFETY: the kernel has just filled the struct, so it can be read and written.
    unsafe {
        if result == 0
            && (*to).st_mode & libc::S_IFMT == libc::S_IFSOCK
            && let Some(facts) = behind(fd)
        {
            facts.fill(to);
        }
    }
    result
}

/// # Safety
/// `name` must be as [`sys::text`] wants it; `to` is the program's.
unsafe fn stat_at(dirfd: c_int, name: *const c_char, to: *mut libc::stat, flags: c_int) -> Raw {
    // SAFETY: the caller vouches for the name and the struct.
    unsafe {
        if is_descriptor(name, flags) && dirfd >= 0 {
            return stat_descriptor(dirfd, to);
        }
    }
    let mut room: Room = [0; _];
    // SAFETY: the caller vouches for the name.
    let (node, name) = unsafe { resolve(dirfd, name, &mut room) };
    let arguments = [dirfd as usize, name as usize, to as usize, flags as usize];
    // SAFETY: the call as the program made it, or with a name of ours.
    let result = unsafe { sys::raw(libc::SYS_newfstatat, arguments) };
    if let (Some(facts), 0) = (node, result) {
        // SAFETY: the kernel has just filled the struct, so it can be written.
        unsafe { facts.fill(to) };
    }
    result
}

/// # Safety
/// As [`stat_at`].
unsafe fn statx_at(
    dirfd: c_int,
    name: *const c_char,
    flags: c_int,
    mask: c_uint,
    to: *mut libc::statx,
) -> Raw {
    let mut room: Room = [0; _];
    // SAFETY: the caller vouches for the name.
    let (node, name) = unsafe { resolve(dirfd, name, &mut room) };
    let arguments = [dirfd as usize, name as usize, flags as usize, mask as usize, to as usize];
    // SAFETY: the call as the program made it, or with a name of ours.
    let result = unsafe { sys::raw(libc::SYS_statx, arguments) };
    if result != 0 {
        return result;
    }
    // SAFETY: the kernel has just filled the struct, so it can be read; the caller vouches for the name.
    let is_socket = unsafe {
        is_descriptor(name, flags) && u32::from((*to).stx_mode) & libc::S_IFMT == libc::S_IFSOCK
    };
    let node = if is_socket { behind(dirfd) } else { node };
    if let Some(facts) = node {
        // SAFETY: the kernel has just filled the struct, so it can be written.
        unsafe {
            (*to).stx_mode = facts.mode as u16;
            (*to).stx_rdev_major = facts.major;
            (*to).stx_rdev_minor = facts.minor;
            (*to).stx_ino = facts.inode();
            (*to).stx_nlink = 1;
        }
    }
    result
}

/// # Safety
/// `name` must be as [`sys::text`] wants it.
unsafe fn access_at(dirfd: c_int, name: *const c_char, mode: c_int, flags: c_int) -> Raw {
    let mut room: Room = [0; _];
    // SAFETY: the caller vouches for the name.
    let (node, name) = unsafe { resolve(dirfd, name, &mut room) };
    if node.is_some() {
        return match mode {
            mode if mode & !7 != 0 => sys::failure(libc::EINVAL),
            mode if mode & libc::X_OK != 0 => sys::failure(libc::EACCES),
            _ => 0,
        };
    }
    let arguments = [dirfd as usize, name as usize, mode as usize, flags as usize];
    // SAFETY: the call as the program made it, or with a name of ours.
    unsafe {
        match flags {
            0 => sys::raw(libc::SYS_faccessat, arguments),
            _ => sys::raw(libc::SYS_faccessat2, arguments),
        }
    }
}

macro_rules! hooks {
    ($( $($hook:ident)+ ($($argument:ident: $type:ty),*) = $body:expr; )+) => {$(
        hooks!(@each [$($hook)+] ($($argument: $type),*) $body);
    )+};
    (@each [$hook:ident $($more:ident)*] ($($argument:ident: $type:ty),*) $body:expr) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $hook($($argument: $type),*) -> c_int {
            // SAFETY: the pointers are the program's promise to libc.
            to_int(unsafe { $body })
        }
        hooks!(@each [$($more)*] ($($argument: $type),*) $body);
    };
    (@each [] ($($argument:ident: $type:ty),*) $body:expr) => {};
}

type Text = *const c_char;
type Stat = *mut libc::stat;
const HERE: c_int = libc::AT_FDCWD;
const LINK: c_int = libc::AT_SYMLINK_NOFOLLOW;

// On 64-bit Linux the large-file struct is the same. The `__x` names are those of glibc before 2.33,
// whose version argument has one value on these machines.
hooks! {
    stat stat64 (name: Text, to: Stat) = stat_at(HERE, name, to, 0);
    lstat lstat64 (name: Text, to: Stat) = stat_at(HERE, name, to, LINK);
    fstat fstat64 (fd: c_int, to: Stat) = stat_descriptor(fd, to);
    __fxstat __fxstat64 (_version: c_int, fd: c_int, to: Stat) = stat_descriptor(fd, to);
    fstatat fstatat64 (dirfd: c_int, name: Text, to: Stat, flags: c_int) =
        stat_at(dirfd, name, to, flags);
    __xstat __xstat64 (_version: c_int, name: Text, to: Stat) = stat_at(HERE, name, to, 0);
    __lxstat __lxstat64 (_version: c_int, name: Text, to: Stat) = stat_at(HERE, name, to, LINK);
    __fxstatat __fxstatat64 (
        _version: c_int, dirfd: c_int, name: Text, to: Stat, flags: c_int
    ) = stat_at(dirfd, name, to, flags);
    statx (dirfd: c_int, name: Text, flags: c_int, mask: c_uint, to: *mut libc::statx) =
        statx_at(dirfd, name, flags, mask, to);
    access (name: Text, mode: c_int) = access_at(HERE, name, mode, 0);
    faccessat (dirfd: c_int, name: Text, mode: c_int, flags: c_int) =
        access_at(dirfd, name, mode, flags);
    euidaccess eaccess (name: Text, mode: c_int) = access_at(HERE, name, mode, libc::AT_EACCESS);
}

macro_rules! attributes {
    ($($hook:ident = $number:ident ($($argument:ident: $type:ty),*);)+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $hook(name: Text, $($argument: $type),*) -> isize {
            let mut room: Room = [0; _];
            // SAFETY: the name is the program's promise to libc.
            let (_, name) = unsafe { resolve(HERE, name, &mut room) };
            // SAFETY: the call as the program made it, or with a name of ours.
            let result = unsafe { sys::raw(libc::$number, [name as usize, $($argument as usize),*]) };
            sys::to_libc(result)
        }
    )+};
}

attributes! {
    getxattr = SYS_getxattr (attribute: Text, to: *mut c_void, size: usize);
    lgetxattr = SYS_lgetxattr (attribute: Text, to: *mut c_void, size: usize);
    listxattr = SYS_listxattr (to: *mut c_char, size: usize);
    llistxattr = SYS_llistxattr (to: *mut c_char, size: usize);
}
