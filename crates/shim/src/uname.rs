//! `uname`: the release is that of the kernel that the run behaves as. The rest is the host's.

use core::ffi::{c_char, c_int};

use crate::run;
use crate::sys::{self, to_int};

#[unsafe(no_mangle)]
unsafe extern "C" fn uname(to: *mut libc::utsname) -> c_int {
    // SAFETY: the call as the program made it.
    let result = unsafe { sys::raw(libc::SYS_uname, [to as usize]) };
    if let (0, Some(run)) = (result, run::current()) {
        // SAFETY: the kernel has just filled the struct, so it can be written.
        unsafe { (*to).release = run.release().map(|byte| byte as c_char) };
    }
    to_int(result)
}
