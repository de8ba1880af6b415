//! `/proc/PID/task/TID/fail-nth`: the call of a task that shall fail.
//!
//! Source: `proc_fail_nth_read` and `proc_fail_nth_write` (`fs/proc/base.c`), `should_fail_ex`
//! (`lib/fault-inject.c`). Writing N arms the task; each place where Linux would allocate counts down,
//! and the one that reaches 0 fails. Reading tells what is left.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use uapi::Errno;

/// A thread: process and thread number.
pub(crate) type Thread = (u32, u32);

/// Every armed thread.
#[derive(Debug, Default)]
pub(crate) struct FailNth {
    armed: AtomicUsize,
    left: Mutex<HashMap<Thread, u32>>,
}

impl FailNth {
    /// What is left for this thread: 0 when it is not armed.
    pub(crate) fn left(&self, thread: Thread) -> u32 {
        self.left.lock().get(&thread).copied().unwrap_or(0)
    }

    /// Arms a thread, or with 0 disarms it.
    pub(crate) fn set(&self, thread: Thread, left: u32) {
        let mut table = self.left.lock();
        if left == 0 {
            table.remove(&thread);
        } else {
            if table.len() > 64 {
                table.retain(|&thread, _| exists(thread));
            }
            table.insert(thread, left);
        }
        self.armed.store(table.len(), Ordering::Relaxed);
    }

    /// Counts down, and says whether this is the one that fails.
    pub(crate) fn should_fail(&self, thread: Thread) -> bool {
        if self.armed.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut table = self.left.lock();
        let Some(left) = table.get_mut(&thread) else { return false };
        *left -= 1;
        let fails = *left == 0;
        if fails {
            table.remove(&thread);
        }
        self.armed.store(table.len(), Ordering::Relaxed);
        fails
    }
}

/// Whether there is such a thread.
pub(crate) fn exists((pid, tid): Thread) -> bool {
    Path::new(&format!("/proc/{pid}/task/{tid}")).exists()
}

/// The number in a text, as `kstrtouint` with base 0 reads it.
pub(crate) fn parse(text: &[u8]) -> Result<u32, Errno> {
    let text = str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let digits = text.strip_prefix('+').unwrap_or(text);
    let (digits, base) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Err(Errno::EINVAL);
    }
    u32::from_str_radix(digits, base).map_err(|_| Errno::ERANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        #[rustfmt::skip] // one text, one line
        let cases: &[(&str, Result<u32, Errno>)] = &[
            ("0",            Ok(0)),
            ("1\n",          Ok(1)),
            ("+7",           Ok(7)),
            ("0x10",         Ok(16)),
            ("010",          Ok(8)),
            ("4294967295",   Ok(u32::MAX)),
            ("4294967296",   Err(Errno::ERANGE)),
            ("",             Err(Errno::EINVAL)),
            ("\n",           Err(Errno::EINVAL)),
            ("-1",           Err(Errno::EINVAL)),
            ("1 ",           Err(Errno::EINVAL)),
            ("08",           Err(Errno::EINVAL)),
            ("++1",          Err(Errno::EINVAL)),
        ];
        for (text, number) in cases {
            assert_eq!(parse(text.as_bytes()), *number, "{text:?}");
        }
    }

    #[test]
    fn the_nth_fails_once() {
        let table = FailNth::default();
        table.set((1, 1), 2);
        assert!(!table.should_fail((1, 2)));
        assert!(!table.should_fail((1, 1)));
        assert_eq!(table.left((1, 1)), 1);
        assert!(table.should_fail((1, 1)));
        assert_eq!(table.left((1, 1)), 0);
        assert!(!table.should_fail((1, 1)));
    }
}
