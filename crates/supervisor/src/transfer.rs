//! What a call does to an open file.

use std::sync::Arc;

use engine::{Caller, Refusal};
use mem::SharedFile;
use parking_lot::Mutex;
use uapi::Errno;
use wire::message::{Answer, Buffer};

use crate::caller::Call;
use crate::failnth;
use crate::files::{OpenFile, Target};

/// What the system call returns.
pub(crate) fn answered(result: Result<i64, Errno>) -> Answer {
    match result {
        Ok(value) => Answer::done(value),
        Err(errno) => Answer::refused(errno.code()),
    }
}

fn errno(refusal: Refusal) -> Errno {
    refusal.errno()
}

impl Target {
    /// `ioctl(2)`
    pub(crate) fn ioctl(&self, call: &mut Call<'_>, cmd: u32, arg: u64) -> Result<i64, Errno> {
        match self {
            Self::Engine(file) => file.ioctl(call, cmd, arg).map_err(errno),
            Self::FailNth(..) => Err(Errno::ENOTTY),
        }
    }

    /// `mmap(2)`
    pub(crate) fn mmap(
        &self,
        offset: u64,
        length: u64,
        prot: u32,
        flags: u32,
    ) -> Result<(Arc<SharedFile>, u64), Errno> {
        let shared = matches!(flags as i32 & libc::MAP_TYPE, libc::MAP_SHARED | 3);
        let exec = prot as i32 & libc::PROT_EXEC != 0;
        match self {
            Self::Engine(file) => file.mmap(offset, length, shared, exec).map_err(errno),
            Self::FailNth(..) => Err(Errno::ENODEV),
        }
    }
}

/// `read(2)`, `readv(2)`, `pread(2)`
pub(crate) fn read(
    file: &OpenFile,
    target: &Target,
    call: &mut Call<'_>,
    buffer: Buffer,
    at: Option<u64>,
) -> Result<i64, Errno> {
    has_position(file, at)?;
    each(call, buffer, |call, done, va, count| match target {
        Target::Engine(file) => file.read(call, va, count).map_err(errno),
        Target::FailNth(thread, position) => {
            let text = format!("{}\n", call.fail_nth().left(*thread));
            let mut position = Position::new(at, done, position);
            let rest = text.as_bytes().get(position.index()..).unwrap_or_default();
            let rest = &rest[..rest.len().min(usize::try_from(count).unwrap_or(usize::MAX))];
            call.memory().write(va, rest).map_err(|_| Errno::EFAULT)?;
            position.advance(rest.len() as u64);
            Ok(rest.len() as u64)
        }
    })
}

/// `write(2)`, `writev(2)`, `pwrite(2)`
pub(crate) fn write(
    file: &OpenFile,
    target: &Target,
    call: &mut Call<'_>,
    buffer: Buffer,
    at: Option<u64>,
) -> Result<i64, Errno> {
    has_position(file, at)?;
    each(call, buffer, |call, _, va, count| match target {
        Target::Engine(file) => file.write(call, va, count).map_err(errno),
        Target::FailNth(thread, _) => {
            // `kstrtouint_from_user` looks at no more than this.
            let mut text = [0; 12];
            let text = &mut text[..count.min(12) as usize];
            call.memory().read(va, text).map_err(|_| Errno::EFAULT)?;
            let left = failnth::parse(text)?;
            if !failnth::exists(*thread) {
                return Err(Errno::ESRCH);
            }
            call.fail_nth().set(*thread, left);
            Ok(count)
        }
    })
}

/// Files that no name leads to are streams.
fn has_position(file: &OpenFile, at: Option<u64>) -> Result<(), Errno> {
    if at.is_some() && !file.by_name { Err(Errno::ESPIPE) } else { Ok(()) }
}

/// The position of a transfer: its own, or the file's.
struct Position<'a> {
    own: Option<u64>,
    files: parking_lot::MutexGuard<'a, u64>,
}

impl<'a> Position<'a> {
    /// Of a transfer at `at`, `done` bytes of which were made.
    fn new(at: Option<u64>, done: u64, files: &'a Mutex<u64>) -> Self {
        Self { own: at.map(|at| at.saturating_add(done)), files: files.lock() }
    }

    fn index(&self) -> usize {
        usize::try_from(self.own.unwrap_or(*self.files)).unwrap_or(usize::MAX)
    }

    fn advance(&mut self, bytes: u64) {
        if self.own.is_none() {
            *self.files += bytes;
        }
    }
}

/// The most that one call transfers (`MAX_RW_COUNT`).
const MOST: u64 = 0x7fff_f000;
/// The most elements of a vector (`UIO_MAXIOV`).
const VECTORS: u64 = 1024;

/// Makes a transfer for each part of a buffer, as `do_loop_readv_writev` does.
///
/// `one` gets the bytes done before, the address and the length of its part.
fn each(
    call: &mut Call<'_>,
    buffer: Buffer,
    mut one: impl FnMut(&mut Call<'_>, u64, u64, u64) -> Result<u64, Errno>,
) -> Result<i64, Errno> {
    let (va, vectors) = match buffer {
        Buffer::Plain { va, count } => {
            return one(call, 0, va, count.min(MOST)).map(u64::cast_signed);
        }
        Buffer::Vector { count, .. } if count > VECTORS => return Err(Errno::EINVAL),
        Buffer::Vector { va, count } => (va, count),
    };
    let mut bytes = vec![0; vectors as usize * 16];
    call.memory().read(va, &mut bytes).map_err(|_| Errno::EFAULT)?;
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
    let mut done = 0;
    for vector in bytes.chunks_exact(16) {
        let (base, length) = vector.split_at(8);
        let length = word(length).min(MOST - done);
        match one(call, done, word(base), length) {
            Ok(n) => {
                done += n;
                if n != length {
                    break;
                }
            }
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(done.cast_signed())
}
