//! Symbolic links and folders: `readlink`, `realpath`, `chdir` and `getcwd`, for names.
//!
//! A link of a run's own tree leads within it, as the kernel's leads within `/sys`. Where the kernel
//! tells the name of a file of the run, the program is told the system's.

use core::ffi::{CStr, c_char, c_int};
use core::ptr::{copy, copy_nonoverlapping, null_mut};

use rustix::fs::CWD;

use crate::name::{Meaning, Room, folder, linked, meaning, placeholder};
use crate::run;
use crate::sys::{self, Next, Raw};

static REALPATH: Next = Next::new(c"realpath");
static GETCWD: Next = Next::new(c"getcwd");
static GET_CURRENT_DIR_NAME: Next = Next::new(c"get_current_dir_name");

/// Finds libc's own functions, before any signal handler may need them.
pub(crate) fn resolve() {
    for next in [&REALPATH, &GETCWD, &GET_CURRENT_DIR_NAME] {
        next.address();
    }
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
    // SAFETY: the call as the program made it, or with a name of ours; then it has been made.
    sys::to_libc(unsafe {
        let result = sys::raw(libc::SYS_readlinkat, arguments);
        answer_again(dirfd, name, to, result).unwrap_or(result)
    })
}

/// Answers with the system's name where a link says a name of the run, or the beginning of one: links
/// of `/proc` do.
///
/// # Safety
/// `result` is what `readlinkat` has returned for the rest.
unsafe fn answer_again(
    dirfd: c_int,
    name: *const c_char,
    to: *mut c_char,
    result: Raw,
) -> Option<Raw> {
    let run = run::current()?;
    let length = usize::try_from(result).ok()?;
    let mut beginning = [0; wire::RUN_MAX];
    let beginning = beginning.get_mut(..length.min(wire::RUN_MAX))?;
    // SAFETY: the kernel has just written at least so many bytes.
    unsafe { copy_nonoverlapping(to.cast(), beginning.as_mut_ptr(), beginning.len()) };
    if !run.may_hold(beginning) {
        return None;
    }
    let mut room: Room = [0; _];
    // SAFETY: the kernel took the name for a C string.
    let name = unsafe { CStr::from_ptr(name) };
    let told = linked(run, sys::borrow(dirfd).unwrap_or(CWD), name, &mut room)?;
    let count = told.name.len().min(length);
    if told.is_in_run {
        // SAFETY: as many bytes as the kernel has written, or fewer.
        unsafe { copy_nonoverlapping(told.name.as_ptr(), to.cast(), count) };
    }
    told.is_in_run.then_some(count as Raw)
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
    // SAFETY: the call as the program made it, or with a name of ours; then with its result.
    unsafe { renamed(next(there.map_or(name, CStr::as_ptr), to)) }
}

/// Puts the system's name in the place of a run's own.
///
/// # Safety
/// `found` must be null or a C string that is the program's to change.
unsafe fn renamed(found: *mut c_char) -> *mut c_char {
    // SAFETY: the caller vouches for it.
    let text = unsafe { sys::text(found) };
    let system = text.and_then(|text| Some((text, run::current()?.system_name(text)?)));
    if let Some((text, (root, rest))) = system {
        let kept = rest.len() + 1; // with the end of the string
        // SAFETY: both lie in the string, which the new one is shorter than.
        unsafe {
            copy(found.add(text.len() + 1 - kept), found.add(root.count_bytes()), kept);
            copy_nonoverlapping(root.as_ptr(), found, root.count_bytes());
        }
    }
    found
}

/// The system's name of the current folder, if that is one of the run's.
fn folder_of_run(room: &mut Room) -> Option<&[u8]> {
    let folder = folder(run::current()?, libc::AT_FDCWD, room)?;
    folder.is_in_run.then_some(folder.name)
}

/// # Safety
/// `to` is null or has `size` bytes.
unsafe fn current_folder(to: *mut c_char, size: usize) -> *mut c_char {
    let Some(next) = GETCWD.sized() else { return null_mut() };
    let mut room: Room = [0; _];
    let Some(name) = folder_of_run(&mut room) else {
        // SAFETY: the call as the program made it; then with its result.
        return unsafe { renamed(next(to, size)) };
    };
    if name.len() >= size && !(to.is_null() && size == 0) {
        let errno = if size == 0 { libc::EINVAL } else { libc::ERANGE };
        sys::to_libc(sys::failure(errno));
        return null_mut();
    }
    if to.is_null() {
        let size = if size == 0 { 0 } else { size.max(libc::PATH_MAX as usize) };
        // SAFETY: asks for a string in memory of its own, which is the program's then.
        return unsafe { renamed(next(to, size)) };
    }
    // SAFETY: there is room for the name and its end.
    unsafe {
        copy_nonoverlapping(name.as_ptr(), to.cast(), name.len());
        to.add(name.len()).write(0);
    }
    to
}

/// `getcwd` with room for any path, as `getwd` has.
///
/// # Safety
/// `to` is null or has that room.
unsafe fn current_folder_in(to: *mut c_char) -> *mut c_char {
    if to.is_null() {
        sys::to_libc(sys::failure(libc::EINVAL));
        return to;
    }
    // SAFETY: the caller vouches for it.
    unsafe { current_folder(to, libc::PATH_MAX as usize) }
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
    getcwd(to: Buffer, size: usize) -> Buffer = current_folder(to, size);
    __getcwd_chk(to: Buffer, size: usize, _room: usize) -> Buffer = current_folder(to, size);
    getwd(to: Buffer) -> Buffer = current_folder_in(to);
    __getwd_chk(to: Buffer, _room: usize) -> Buffer = current_folder_in(to);
    chdir(name: Text) -> c_int = sys::to_int(change_folder(name));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn get_current_dir_name() -> Buffer {
    let mut room: Room = [0; _];
    match GET_CURRENT_DIR_NAME.none() {
        // SAFETY: the call as the program made it.
        Some(next) if folder_of_run(&mut room).is_none() => unsafe { next() },
        // SAFETY: null is no memory of the program's.
        _ => unsafe { current_folder(null_mut(), 0) },
    }
}
