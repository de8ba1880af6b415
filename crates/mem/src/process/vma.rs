//! What is mapped where in another process.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

/// One mapping (`vm_area_struct`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vma {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub last: u64,
    /// `VM_READ`
    pub readable: bool,
    /// `VM_WRITE`
    pub writable: bool,
    /// `VM_MAYSHARE`
    pub shared: bool,
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// Device of the file, as `st_dev`.
    pub dev: u64,
    /// Inode of the file, 0 when there is none.
    pub ino: u64,
}

/// The mappings of one `mm`, for as long as it lives.
#[derive(Debug)]
pub(super) struct Maps {
    file: OwnedFd,
    /// The kernel does not know `PROCMAP_QUERY`.
    text_only: AtomicBool,
}

/// `struct procmap_query` of `linux/fs.h`, since 6.11.
#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    query_flags: u64,
    query_addr: u64,
    vma_start: u64,
    vma_end: u64,
    vma_flags: u64,
    vma_page_size: u64,
    vma_offset: u64,
    inode: u64,
    dev_major: u32,
    dev_minor: u32,
    vma_name_size: u32,
    build_id_size: u32,
    vma_name_addr: u64,
    build_id_addr: u64,
}

/// `_IOWR('f', 17, struct procmap_query)`
const PROCMAP_QUERY: u64 = 0xc000_0000 | (size_of::<Query>() as u64) << 16 | 0x6600 | 17;
const READABLE: u64 = 1;
const WRITABLE: u64 = 2;
const SHARED: u64 = 8;

impl Maps {
    /// Takes over an open `/proc/PID/maps`.
    pub(super) fn new(file: OwnedFd) -> Self {
        Self { file, text_only: AtomicBool::new(false) }
    }

    /// The mapping that holds `va`; none for a hole, or when the `mm` is gone.
    pub(super) fn find(&self, va: u64) -> Option<Vma> {
        if !self.text_only.load(Ordering::Relaxed) {
            match self.query(va) {
                Err(Errno::NOTTY) => self.text_only.store(true, Ordering::Relaxed),
                answer => return answer.ok(),
            }
        }
        self.search(va)
    }

    fn query(&self, va: u64) -> Result<Vma, Errno> {
        let mut query =
            Query { size: size_of::<Query>() as u64, query_addr: va, ..Query::default() };
        // SAFETY: `query` is the struct of this command, with its size in it; its addresses are 0,
        // so that the kernel writes nothing else.
        let done = unsafe { libc::ioctl(self.file.as_raw_fd(), PROCMAP_QUERY, &mut query) };
        if done != 0 {
            let code = std::io::Error::last_os_error().raw_os_error();
            return Err(Errno::from_raw_os_error(code.unwrap_or(libc::EIO)));
        }
        Ok(Vma {
            start: query.vma_start,
            last: query.vma_end - 1,
            readable: query.vma_flags & READABLE != 0,
            writable: query.vma_flags & WRITABLE != 0,
            shared: query.vma_flags & SHARED != 0,
            offset: query.vma_offset,
            dev: rustix::fs::makedev(query.dev_major, query.dev_minor),
            ino: query.inode,
        })
    }

    /// Looks `va` up in the text.
    pub(super) fn search(&self, va: u64) -> Option<Vma> {
        let text = self.text();
        text.lines().filter_map(|line| parse(line).map(|(vma, _)| vma)).find(|v| v.holds(va))
    }

    /// The path of the file mapped at `va`.
    pub(super) fn path(&self, va: u64) -> Option<String> {
        let text = self.text();
        let (_, path) = text.lines().filter_map(parse).find(|(vma, _)| vma.holds(va))?;
        path.starts_with('/').then(|| path.to_owned())
    }

    fn text(&self) -> String {
        let mut text = Vec::new();
        let mut chunk = [0u8; 16384];
        loop {
            match rustix::io::pread(&self.file, &mut chunk, text.len() as u64) {
                Ok(0) => break,
                Ok(n) => text.extend_from_slice(&chunk[..n]),
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Vma {
    fn holds(&self, va: u64) -> bool {
        self.start <= va && va <= self.last
    }
}

/// The objects that a process maps, shared or not. Errors are those of reading `/proc/PID/maps`.
pub fn mapped_objects(pid: rustix::process::Pid) -> std::io::Result<Vec<crate::ObjectKey>> {
    let text = std::fs::read(format!("/proc/{}/maps", pid.as_raw_nonzero()))?;
    let text = String::from_utf8_lossy(&text);
    let objects = text.lines().filter_map(parse).filter(|(vma, _)| vma.ino != 0);
    Ok(objects.map(|(Vma { dev, ino, .. }, _)| crate::ObjectKey::Shared { dev, ino }).collect())
}

/// One line of `/proc/PID/maps`: `start-end perms offset major:minor inode path`.
fn parse(line: &str) -> Option<(Vma, &str)> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let perms = fields.next()?.as_bytes();
    let offset = fields.next()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let ino = fields.next()?;
    let path = fields.next().unwrap_or_default().trim_start();
    if path == "[vsyscall]" {
        return None; // of the kernel, not of the process
    }
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let device = |text| u32::from_str_radix(text, 16).ok();
    let vma = Vma {
        start: hex(start)?,
        last: hex(end)?.checked_sub(1)?,
        readable: perms.first() == Some(&b'r'),
        writable: perms.get(1) == Some(&b'w'),
        shared: perms.get(3) == Some(&b's'),
        offset: hex(offset)?,
        dev: rustix::fs::makedev(device(major)?, device(minor)?),
        ino: ino.parse().ok()?,
    };
    Some((vma, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line() {
        let line = "7f00-8000 rw-s 00001000 00:1f 4711                     /memfd:a b (deleted)";
        let (vma, path) = parse(line).unwrap();
        assert_eq!((vma.start, vma.last, vma.offset), (0x7f00, 0x7fff, 0x1000));
        assert_eq!((vma.dev, vma.ino), (0x1f, 4711));
        assert!(vma.readable && vma.writable && vma.shared);
        assert_eq!(path, "/memfd:a b (deleted)");
        assert_eq!(parse("ffffffffff600000-ffffffffff601000 --xp 0 00:00 0  [vsyscall]"), None);
        assert_eq!(parse("garbage"), None);
    }

    #[test]
    fn text_and_query_agree() {
        let maps = Maps::new(std::fs::File::open("/proc/self/maps").unwrap().into());
        let value = 1u64;
        let addresses =
            [&raw const value as u64, text_and_query_agree as *const () as u64, 0, u64::MAX];
        for va in addresses {
            match maps.query(va) {
                Err(Errno::NOTTY) => return, // before 6.11
                // The stack grows in between; its start may differ.
                answer => assert_eq!(answer.ok().map(|v| v.last), maps.search(va).map(|v| v.last)),
            }
        }
    }
}
