//! `fopen`: libc opens the file inside, where no hook sees it.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr::null_mut;

use rustix::fs::OFlags;

use crate::name::{Meaning, Room, meaning};
use crate::open::{open_node, writes};
use crate::sys::{self, Next, to_int};

static FOPEN: Next = Next::new(c"fopen");
static FOPEN64: Next = Next::new(c"fopen64");

/// Finds libc's own functions, before any signal handler may need them.
pub(crate) fn resolve() {
    for next in [&FOPEN, &FOPEN64] {
        next.address();
    }
}

/// # Safety
/// Both must be C strings.
unsafe fn open_stream(name: *const c_char, mode: *const c_char, next: &Next) -> *mut c_void {
    let mut room: Room = [0; _];
    // SAFETY: name and mode are the program's promise to libc.
    let (meaning, mode_text) =
        unsafe { (meaning(libc::AT_FDCWD, name, &mut room), CStr::from_ptr(mode)) };
    let flags = flags(mode_text);
    let name = match meaning {
        Meaning::Node(run, node) => match open_node(run, node, flags.bits() as c_int) {
            Some(result) => {
                let fd = to_int(result);
                if fd < 0 {
                    return null_mut();
                }
                // SAFETY: the descriptor is new and goes to the stream; the mode is a C string.
                return unsafe { libc::fdopen(fd, mode) }.cast();
            }
            None => name,
        },
        Meaning::Redirected(_, Some(tree)) if tree.is_fixed() && writes(flags.bits() as c_int) => {
            to_int(sys::failure(libc::EACCES));
            return null_mut();
        }
        Meaning::Redirected(there, _) => there.as_ptr(),
        Meaning::Native => name,
    };
    // SAFETY: the call as the program made it, or with a name of ours.
    next.two().map_or(null_mut(), |next| unsafe { next(name, mode) })
}

/// The flags of `open` for a mode of `fopen`, as far as they matter for a file that exists.
fn flags(mode: &CStr) -> OFlags {
    let mode = mode.to_bytes();
    let access = match mode.first() {
        _ if mode.contains(&b'+') => OFlags::RDWR,
        Some(b'r') => OFlags::RDONLY,
        _ => OFlags::WRONLY,
    };
    if mode.contains(&b'e') { access | OFlags::CLOEXEC } else { access }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fopen(name: *const c_char, mode: *const c_char) -> *mut c_void {
    // SAFETY: the pointers are the program's promise to libc.
    unsafe { open_stream(name, mode, &FOPEN) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fopen64(name: *const c_char, mode: *const c_char) -> *mut c_void {
    // SAFETY: the pointers are the program's promise to libc.
    unsafe { open_stream(name, mode, &FOPEN64) }
}
