//! The run directory.
//!
//! A directory of a random name, which holds what [`wire`] lists. Root's is searchable by others, since
//! a program may drop its privileges; it cannot be listed, so only who knows the name gets in. The file
//! [`LOCK`] is locked for as long as we live: a directory of ours without that lock was left behind by
//! a supervisor that was killed, and the next one removes it.

use std::env;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, StatVfsMountFlags};

use crate::Trouble;
use crate::trouble::Doing;

/// The locked file.
const LOCK: &str = "lock";
/// A file that is being written, before it has its name.
const NEW: &str = "new";
/// How the names begin.
const PREFIX: &str = "softiommu-";
/// A directory younger than this may be one whose supervisor has not locked it yet.
const YOUNG: Duration = Duration::from_secs(10);

/// A directory that goes when the value does.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes a new one, and removes those left behind.
    pub(crate) fn new() -> Result<Self, Trouble> {
        for base in bases() {
            remove_stale(&base);
            if let Some(directory) = Self::new_in(&base) {
                return Ok(directory);
            }
        }
        Err(Trouble::NoDirectory)
    }

    fn new_in(base: &Path) -> Option<Self> {
        let mut random = [0; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).ok()?;
        let path = base.join(format!("{PREFIX}{:032x}", u128::from_ne_bytes(random)));
        if path.as_os_str().len() > wire::RUN_MAX {
            return None;
        }
        let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
        fs::DirBuilder::new().mode(0o700).create(&path).ok()?;
        let made = fs::set_permissions(&path, Permissions::from_mode(mode)) // whatever the umask
            .and_then(|()| File::create(path.join(LOCK)))
            .and_then(|lock| {
                rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
                Ok(lock)
            });
        match made {
            Ok(_lock) => Some(Self { path, _lock }),
            Err(_) => {
                let _ = fs::remove_dir_all(&path);
                None
            }
        }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a file that everybody who gets in can read, and with `others` write.
    pub(crate) fn write(&self, name: &str, bytes: &[u8], others: bool) -> Result<(), Trouble> {
        let mode = if others { 0o666 } else { 0o644 };
        let write = || -> io::Result<()> {
            let path = self.file(name);
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
            io::Write::write_all(&mut file, bytes)?;
            fs::set_permissions(&path, Permissions::from_mode(mode))
        };
        write().doing("writing to the run directory")
    }

    /// Makes a folder in it, and those that it is in, as those of `/sys` are.
    pub(crate) fn folder(&self, name: &str) -> Result<(), Trouble> {
        let mut path = self.path.clone();
        for part in name.split('/') {
            path.push(part);
            if !path.exists() {
                fs::create_dir(&path)
                    .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)))
                    .doing("writing to the run directory")?;
            }
        }
        Ok(())
    }

    /// Makes a file that nobody writes to, or makes it anew, and the folders that it is in. Who has the old
    /// one open reads the old one.
    pub(crate) fn read_only(&self, name: &str, bytes: &[u8]) -> Result<(), Trouble> {
        self.folder(name.rsplit_once('/').map_or("", |(folder, _)| folder))?;
        let (path, new) = (self.file(name), self.file(NEW));
        fs::write(&new, bytes)
            .and_then(|()| fs::set_permissions(&new, Permissions::from_mode(0o444)))
            .and_then(|()| fs::rename(&new, &path))
            .doing("writing to the run directory")
    }

    /// Makes a file of a size that nobody opens, and the folders that it is in.
    pub(crate) fn closed(&self, name: &str, size: u64) -> Result<(), Trouble> {
        self.folder(name.rsplit_once('/').map_or("", |(folder, _)| folder))?;
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o0).open(self.file(name));
        file.and_then(|file| file.set_len(size)).doing("writing to the run directory")
    }

    /// Removes a file or an empty folder. What cannot be removed goes with the directory.
    pub(crate) fn remove(&self, name: &str) {
        let path = self.file(name);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    }

    /// Makes a symbolic link, and the folders that it is in.
    pub(crate) fn link(&self, name: &str, to: &str) -> Result<(), Trouble> {
        self.folder(name.rsplit_once('/').map_or("", |(folder, _)| folder))?;
        std::os::unix::fs::symlink(to, self.file(name)).doing("writing to the run directory")
    }

    /// Makes a directory in it, in which everybody who gets in can write.
    pub(crate) fn create(&self, name: &str) -> Result<(), Trouble> {
        let path = self.file(name);
        fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o777)))
            .doing("writing to the run directory")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Where a run directory could be, the best place first.
fn bases() -> impl Iterator<Item = PathBuf> {
    let named = ["XDG_RUNTIME_DIR", "TMPDIR"].into_iter().filter_map(env::var_os);
    let usual = ["/tmp", "/var/tmp", "/dev/shm", "/run"].into_iter().map(Into::into);
    named.chain(usual).filter_map(|base| usable(Path::new(&base)))
}

/// A directory by the name without links: the kernel tells it like that, and the shim must know a name
/// of the run when it sees one. None unless executables may be mapped there and `LD_PRELOAD` can hold
/// the name.
fn usable(base: &Path) -> Option<PathBuf> {
    let base = fs::canonicalize(base).ok().filter(|_| base.is_absolute())?;
    let name = base.as_os_str().as_encoded_bytes();
    let plain = !name.iter().any(|b| b.is_ascii_whitespace() || *b == b':');
    let flags = rustix::fs::statvfs(&base).ok()?.f_flag;
    (plain && !flags.contains(StatVfsMountFlags::NOEXEC)).then_some(base)
}

/// Removes the directories of supervisors that were killed.
fn remove_stale(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let is_ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.strip_prefix(PREFIX).is_some_and(|random| random.len() == 32));
        if is_ours && is_stale(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_stale(path: &Path) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    let mine = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
    let old = metadata.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > YOUNG));
    mine && old
        && File::open(path.join(LOCK)).is_ok_and(|lock| {
            rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_with_the_value() {
        let directory = Directory::new().unwrap();
        let path = directory.path().to_owned();
        directory.create("a").unwrap();
        directory.write("a/b", b"c", true).unwrap();
        assert!(!is_stale(&path));
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn bases_by_name() {
        let here = Directory::new().unwrap();
        for folder in ["a b", "a:", "real"] {
            here.create(folder).unwrap();
        }
        for (link, to) in [("link", "real"), ("alias", "a b")] {
            here.link(link, to).unwrap();
        }
        #[rustfmt::skip] // one name, one line
        let cases = [
            ("real",  Some("real")),
            ("link",  Some("real")),
            ("a b",   None),
            ("a:",    None),
            ("alias", None),
            ("none",  None),
        ];
        for (name, expected) in cases {
            assert_eq!(usable(&here.file(name)), expected.map(|it| here.file(it)), "{name}");
        }
        assert_eq!(usable(Path::new("src")), None);
    }
}
