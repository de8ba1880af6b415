//! `opendir`, `readdir`, `scandir` and `glob`: libc opens the folder inside, where no hook sees it.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::null_mut;

use libc::dirent64;
use wire::path::{self, Plain};

use crate::name::{Meaning, Room, folder, meaning};
use crate::run;
use crate::sys::Next;

static OPENDIR: Next = Next::new(c"opendir");
static READDIR: Next = Next::new(c"readdir");
static SCANDIR: Next = Next::new(c"scandir");
static GLOB: Next = Next::new(c"glob");

/// Finds libc's own functions, before any signal handler may need them.
pub(crate) fn resolve() {
    for next in [&OPENDIR, &READDIR, &SCANDIR, &GLOB] {
        next.address();
    }
}

/// The folder to open for the name of one.
///
/// # Safety
/// `name` must be as [`crate::sys::text`] wants it.
unsafe fn there(name: *const c_char, room: &mut Room) -> *const c_char {
    // SAFETY: the caller vouches for the name.
    match unsafe { meaning(libc::AT_FDCWD, name, room) } {
        Meaning::Redirected(there, _) => there.as_ptr(),
        // no folder
        Meaning::Node(..) => c"/dev/null".as_ptr(),
        Meaning::Native => name,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn opendir(name: *const c_char) -> *mut c_void {
    let mut room: Room = [0; _];
    // SAFETY: the name is the program's promise to libc, the call as it made it or with a name of ours.
    OPENDIR.one().map_or(null_mut(), |next| unsafe { next(there(name, &mut room)) })
}

/// Whether an entry that looks like a file is that of a device node.
///
/// # Safety
/// `entry` is what `readdir` has returned for `dir`.
unsafe fn is_node(dir: *mut c_void, entry: *const dirent64) -> Option<bool> {
    let run = run::current()?;
    // SAFETY: the entry is null or good until the next call on `dir`, its name a C string.
    let name = unsafe {
        if entry.is_null() || (*entry).d_type != libc::DT_REG {
            return None;
        }
        CStr::from_ptr((&raw const (*entry).d_name).cast()).to_bytes()
    };
    if !path::is_candidate(name) {
        return None;
    }
    let mut room: Room = [0; _];
    // SAFETY: the caller vouches for `dir`.
    let folder = folder(run, unsafe { libc::dirfd(dir.cast()) }, &mut room)?;
    Some(folder.is_in_run && Plain::new(folder.name, name)?.node().is_some())
}

macro_rules! readdir {
    ($($hook:ident)+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $hook(dir: *mut c_void) -> *mut dirent64 {
            let Some(next) = READDIR.one() else { return null_mut() };
            // SAFETY: the call as the program made it; the entry is libc's own, to be written.
            unsafe {
                let entry: *mut dirent64 = next(dir.cast()).cast();
                if is_node(dir, entry) == Some(true) {
                    (*entry).d_type = libc::DT_CHR;
                }
                entry
            }
        }
    )+};
}

// On 64-bit Linux the large-file struct is the same.
readdir!(readdir readdir64);

/// An argument that is passed on as it is.
type Word = usize;

macro_rules! scandir {
    ($($hook:ident)+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $hook(name: *const c_char, to: Word, choose: Word, sort: Word) -> c_int {
            let mut room: Room = [0; _];
            // SAFETY: the name is the program's promise to libc, the call as it made it or with a name
            // of ours.
            SCANDIR.four().map_or(-1, |next| unsafe { next(there(name, &mut room) as usize, to, choose, sort) })
        }
    )+};
}

scandir!(scandir scandir64);

/// `glob_t` of glibc.
#[repr(C)]
struct Found {
    count: usize,
    names: usize,
    offset: usize,
    flags: c_int,
    close: unsafe extern "C" fn(*mut libc::DIR) -> c_int,
    read: unsafe extern "C" fn(*mut c_void) -> *mut dirent64,
    open: unsafe extern "C" fn(*const c_char) -> *mut c_void,
    lstat: unsafe extern "C" fn(*const c_char, *mut libc::stat) -> c_int,
    stat: unsafe extern "C" fn(*const c_char, *mut libc::stat) -> c_int,
}

macro_rules! glob {
    ($($hook:ident)+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $hook(pattern: Word, flags: c_int, failed: Word, to: *mut Found) -> c_int {
            let Some(next) = GLOB.four() else { return libc::GLOB_ABORTED };
            let ours = flags & libc::GLOB_ALTDIRFUNC == 0 && run::current().is_some();
            let with = if ours { flags | libc::GLOB_ALTDIRFUNC } else { flags };
            // SAFETY: the call as the program made it, or with functions that it would call itself.
            unsafe {
                if ours {
                    (*to).close = libc::closedir;
                    (*to).read = readdir;
                    (*to).open = opendir;
                    (*to).lstat = libc::lstat;
                    (*to).stat = libc::stat;
                }
                let result = next(pattern, with as usize, failed, to as usize);
                if ours {
                    (*to).flags &= !libc::GLOB_ALTDIRFUNC;
                }
                result
            }
        }
    )+};
}

glob!(glob glob64);
