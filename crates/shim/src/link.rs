//! Symbolic links and folders: `readlink`, `realpath` and `chdir`, for names.
//!
//! A link of a run's own tree leads within it, as the kernel's leads within `/sys`.

use core::ffi::{c_char, c_int};
use core::ptr::null_mut;

use crate::name::{Meaning, Room, meaning, placeholder};
use crate::run;
use crate::sys::{self, Next};

static REALPATH: Next = Next::new(c"realpath");

/// Finds libc's own functions, before any signal handler may need them.
pub(crate) fn resolve() {
    REALPATH.address();
}

/// # Safety
/// `name` must be as [`sys::text`] wants it; `to` is the program's.
unsafe fn readlink_at(dirfd: c_int, name: *const c_char, to: *mut c_char, size: usize) -> isize {
    let mut room: Room = [0; _];
    // SAFETY: the caller vouches for the name.
    let name = match unsafe { meaning(dirfd, name, &mut room) } {
        Meaning::Redirected(there, _) => there.as_ptr(),
        // a device node is no link
        Meaning::Node(..) => return sys::to_libc(sys::failure(libc::EINVAL)),
        Meaning::Native => name,
    };
    let arguments = [dirfd as usize, name as usize, to as usize, size];
    // SAFETY: the call as the program made it, or with a name of ours.
    sys::to_libc(unsafe { sys::raw(libc::SYS_readlinkat, arguments) })
}

/// # Safety
/// `name` must be as [`sys::text`] wants it; `to` is null or has room for any path.
unsafe fn real_path(name: *const c_char, to: *mut c_char) -> *mut c_char {
    let Some(next) = REALPATH.two_mut() else { return null_mut() };
    let mut room: Room = [0; _];
    // SAFETY: the caller vouches for the name.
    let there = match unsafe { meaning(libc::AT_FDCWD, name, &mut room) } {
        Meaning::Redirected(there, _) => Some(there),
        // SAFETY: the caller vouches for the name.
        Meaning::Node(..) => unsafe { placeholder(libc::AT_FDCWD, name, &mut room) },
        Meaning::Native => None,
    };
    let Some(there) = there else {
        // SAFETY: the call as the program made it.
        return unsafe { next(name, to) };
    };
    // SAFETY: the call with a name of ours.
    let found: *mut c_char = unsafe { next(there.as_ptr(), to) };
    // SAFETY: libc returns null or a C string that is the program's to change.
    let Some(text) = (unsafe { sys::text(found) }) else { return found };
    if let Some((root, rest)) = run::current().and_then(|run| run.system_name(text)) {
        let kept = rest.len() + 1; // with the end of the string
        // SAFETY: both lie in libc's string, which the new one is shorter than.
        unsafe {
            let rest = found.add(text.len() + 1 - kept);
            core::ptr::copy(rest, found.add(root.count_bytes()), kept);
            core::ptr::copy_nonoverlapping(root.as_ptr(), found, root.count_bytes());
        }
    }
    found
}

/// # Safety
/// `name` must be as [`sys::text`] wants it.
unsafe fn change_folder(name: *const c_char) -> isize {
    let mut room: Room = [0; _];
    // SAFETY: the caller vouches for the name.
    let name = match unsafe { meaning(libc::AT_FDCWD, name, &mut room) } {
        Meaning::Redirected(there, _) => there.as_ptr(),
        // no folder
        Meaning::Node(..) => c"/dev/null".as_ptr(),
        Meaning::Native => name,
    };
    // SAFETY: the call as the program made it, or with a name of ours.
    unsafe { sys::raw(libc::SYS_chdir, [name as usize]) }
}

macro_rules! hooks {
    ($($hook:ident ($($argument:ident: $type:ty),*) -> $result:ty = $body:expr;)+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $hook($($argument: $type),*) -> $result {
            // SAFETY: the pointers are the program's promise to libc.
            unsafe { $body }
        }
    )+};
}

type Text = *const c_char;
type Buffer = *mut c_char;

hooks! {
    readlink(name: Text, to: Buffer, size: usize) -> isize =
        readlink_at(libc::AT_FDCWD, name, to, size);
    __readlink_chk(name: Text, to: Buffer, size: usize, _room: usize) -> isize =
        readlink_at(libc::AT_FDCWD, name, to, size);
    readlinkat(dirfd: c_int, name: Text, to: Buffer, size: usize) -> isize =
        readlink_at(dirfd, name, to, size);
    __readlinkat_chk(dirfd: c_int, name: Text, to: Buffer, size: usize, _room: usize) -> isize =
        readlink_at(dirfd, name, to, size);
    realpath(name: Text, to: Buffer) -> Buffer = real_path(name, to);
    __realpath_chk(name: Text, to: Buffer, _room: usize) -> Buffer = real_path(name, to);
    canonicalize_file_name(name: Text) -> Buffer = real_path(name, null_mut());
    chdir(name: Text) -> c_int = sys::to_int(change_folder(name));
}
