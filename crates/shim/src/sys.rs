//! System calls without libc, and libc's `errno`.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::transmute;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};
use std::os::fd::BorrowedFd;

/// What a system call returns: a value, or an error number below 0.
pub(crate) type Raw = isize;

/// Makes a system call.
///
/// # Safety
/// As the call itself: pointers of the program are the kernel's to judge, pointers of ours must be
/// good for what the call does with them.
pub(crate) unsafe fn raw<const N: usize>(number: i64, arguments: [usize; N]) -> Raw {
    let mut a = [0usize; 6];
    for (to, from) in a.iter_mut().zip(arguments) {
        *to = from;
    }
    // SAFETY: the caller vouches for the call.
    unsafe { instruction(number as usize, a) }
}

#[cfg(target_arch = "x86_64")]
unsafe fn instruction(number: usize, a: [usize; 6]) -> Raw {
    let result: usize;
    // SAFETY: the Linux convention for x86-64; the kernel changes rax, rcx and r11 only, and memory.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result as Raw
}

#[cfg(target_arch = "aarch64")]
unsafe fn instruction(number: usize, a: [usize; 6]) -> Raw {
    let result: usize;
    // SAFETY: the Linux convention for AArch64; the kernel changes x0 only, and memory.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a[0] => result,
            in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5],
            options(nostack),
        );
    }
    result as Raw
}

/// Whether a result is an error number. Addresses may look negative, too.
pub(crate) const fn is_failure(result: Raw) -> bool {
    -4095 <= result && result < 0
}

/// Turns a result into libc's: -1 and `errno`, or the value.
pub(crate) fn to_libc(result: Raw) -> isize {
    if is_failure(result) {
        set_errno(-result as c_int);
        return -1;
    }
    result
}

/// As [`to_libc`], for functions that return an `int`.
pub(crate) fn to_int(result: Raw) -> c_int {
    to_libc(result) as c_int
}

/// A failure as a system call reports it.
pub(crate) const fn failure(errno: c_int) -> Raw {
    -(errno as Raw)
}

/// As [`failure`], of a call of rustix.
pub(crate) fn failed(errno: rustix::io::Errno) -> Raw {
    failure(errno.raw_os_error())
}

fn set_errno(errno: c_int) {
    // SAFETY: libc gives each thread a place for its error number.
    unsafe { *libc::__errno_location() = errno };
}

/// A descriptor that the program may close at any moment; none for a negative number.
pub(crate) fn borrow(fd: c_int) -> Option<BorrowedFd<'static>> {
    // SAFETY: it is used at once, for calls that are harmless on whatever file has the number.
    (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Closes a descriptor of our own.
pub(crate) fn close(fd: c_int) {
    // SAFETY: the caller owned the descriptor and does not use it again.
    unsafe { raw(libc::SYS_close, [fd as usize]) };
}

/// The text of a name given by the program; none where no name can be.
///
/// # Safety
/// Unless it is in the first 64 KiB or in the kernel's half, `name` must be a C string that stays for
/// the time of the call.
pub(crate) unsafe fn text<'a>(name: *const c_char) -> Option<&'a [u8]> {
    let address = name as isize;
    if address < 0x10000 {
        return None; // the kernel will say EFAULT
    }
    // SAFETY: the caller vouches for it.
    Some(unsafe { CStr::from_ptr(name) }.to_bytes())
}

/// Reads memory of this process, wherever it is; how many bytes there were.
///
/// By the kernel, which stops where memory ends.
pub(crate) fn read_memory(at: u64, to: &mut [u8]) -> usize {
    // SAFETY: the call only writes these bytes.
    unsafe { transfer(libc::SYS_process_vm_readv, to.as_mut_ptr() as usize, at, to.len()) }
}

/// `process_vm_readv(2)` or `process_vm_writev(2)` on this process; how many bytes were copied.
///
/// # Safety
/// What is `ours` must be good for what the call does with it. The other side is the kernel's to judge.
pub(crate) unsafe fn transfer(call: i64, ours: usize, theirs: u64, length: usize) -> usize {
    // a page at a time, since what is not there is told for each of them
    let first = length.min(0x1000 - (theirs % 0x1000) as usize);
    let local = [ours, length];
    let second = theirs.wrapping_add(first as u64) as usize;
    let remote = [theirs as usize, first, second, length - first];
    let pid = rustix::process::getpid().as_raw_nonzero().get() as usize;
    let arguments = [pid, local.as_ptr() as usize, 1, remote.as_ptr() as usize, 2, 0];
    // SAFETY: both lists are of addresses and lengths; the caller vouches for the local one.
    let done = unsafe { raw(call, arguments) };
    usize::try_from(done).unwrap_or(0)
}

/// Blocks every signal in this thread; what was blocked before.
pub(crate) fn block_signals() -> u64 {
    change_mask(libc::SIG_BLOCK, Some(u64::MAX)).unwrap_or(0)
}

/// Blocks these signals in this thread, and no others.
pub(crate) fn restore_signals(mask: u64) {
    let _ = change_mask(libc::SIG_SETMASK, Some(mask));
}

/// `rt_sigprocmask(2)`: what was blocked before, or the failure.
pub(crate) fn change_mask(how: c_int, mask: Option<u64>) -> Result<u64, Raw> {
    let mut before = 0_u64;
    let set = mask.as_ref().map_or(0, |mask| &raw const *mask as usize);
    let arguments = [how as usize, set, &raw mut before as usize, 8];
    // SAFETY: both sets are 8 bytes, as the last argument says.
    match unsafe { raw(libc::SYS_rt_sigprocmask, arguments) } {
        0 => Ok(before),
        failure => Err(failure),
    }
}

/// A function of four numbers or pointers.
pub(crate) type Four = unsafe extern "C" fn(usize, usize, usize, usize) -> c_int;
/// A function of six.
pub(crate) type Six = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize) -> c_int;

/// Libc's own version of a function that is hooked here.
pub(crate) struct Next {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Next {
    /// The function of this name.
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self { name, found: AtomicPtr::new(null_mut()) }
    }

    /// Finds it; null when nobody has it.
    pub(crate) fn address(&self) -> *mut c_void {
        let mut found = self.found.load(Ordering::Acquire);
        if found.is_null() {
            // SAFETY: the name is a C string.
            found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
            self.found.store(found, Ordering::Release);
        }
        found
    }

    /// The function of two pointers that returns a pointer, as `fopen`.
    pub(crate) fn two(
        &self,
    ) -> Option<unsafe extern "C" fn(*const c_char, *const c_char) -> *mut c_void> {
        let found = self.address();
        // SAFETY: only used for names with this signature.
        (!found.is_null()).then(|| unsafe { transmute(found) })
    }

    /// The function of a name and a buffer that returns a pointer, as `realpath`.
    pub(crate) fn two_mut(
        &self,
    ) -> Option<unsafe extern "C" fn(*const c_char, *mut c_char) -> *mut c_char> {
        let found = self.address();
        // SAFETY: only used for names with this signature.
        (!found.is_null()).then(|| unsafe { transmute(found) })
    }

    /// The function of a buffer and its size that returns a pointer, as `getcwd`.
    pub(crate) fn sized(&self) -> Option<unsafe extern "C" fn(*mut c_char, usize) -> *mut c_char> {
        let found = self.address();
        // SAFETY: only used for names with this signature.
        (!found.is_null()).then(|| unsafe { transmute(found) })
    }

    /// The function without arguments that returns a pointer, as `get_current_dir_name`.
    pub(crate) fn none(&self) -> Option<unsafe extern "C" fn() -> *mut c_char> {
        let found = self.address();
        // SAFETY: only used for names with this signature.
        (!found.is_null()).then(|| unsafe { transmute(found) })
    }

    /// The function of one pointer that returns a pointer, as `opendir`.
    pub(crate) fn one(&self) -> Option<unsafe extern "C" fn(*const c_char) -> *mut c_void> {
        let found = self.address();
        // SAFETY: only used for names with this signature.
        (!found.is_null()).then(|| unsafe { transmute(found) })
    }

    /// The function of four numbers or pointers that returns an `int`, as `scandir`.
    pub(crate) fn four(&self) -> Option<Four> {
        let found = self.address();
        // SAFETY: only used for names whose arguments are passed like that.
        (!found.is_null()).then(|| unsafe { transmute(found) })
    }

    /// The function of six numbers or pointers, or fewer, that returns an `int`, as `pselect`.
    pub(crate) fn six(&self) -> Option<Six> {
        let found = self.address();
        // SAFETY: only used for names whose arguments are passed like that.
        (!found.is_null()).then(|| unsafe { transmute(found) })
    }

    /// The function of a signal and a handler that returns a handler, as `signal`.
    pub(crate) fn handler(&self) -> Option<unsafe extern "C" fn(c_int, usize) -> usize> {
        let found = self.address();
        // SAFETY: only used for names with this signature.
        (!found.is_null()).then(|| unsafe { transmute(found) })
    }
}
