//! Which file a program is, and whether the shim reaches it.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use elf::ElfBytes;
use elf::abi::{EM_AARCH64, EM_X86_64, PT_INTERP};
use elf::endian::AnyEndian;
use rustix::fs::Access;

use crate::Trouble;

/// How many interpreters may stand one behind the other (`fs/exec.c` allows as many).
const MAX_SCRIPTS: usize = 5;

/// Enough of a file for a script's first line, or for an ELF file's headers.
const HEAD: u64 = 64 * 1024;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = EM_X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = EM_AARCH64;
const _: [u16; 2] = [EM_X86_64, EM_AARCH64];

/// Finds a program, and checks that the shim will reach it.
pub(crate) fn find(name: &OsStr) -> Result<PathBuf, Trouble> {
    let path = look_up(name)?;
    let mut file = path.clone();
    for _ in 0..MAX_SCRIPTS {
        check_rights(&file)?;
        let head = read_head(&file)?;
        match interpreter(&head) {
            Some(next) => file = next,
            None => {
                check_elf(&file, &head)?;
                break;
            }
        }
    }
    Ok(path)
}

/// A name without a slash is looked for in `PATH`.
fn look_up(name: &OsStr) -> Result<PathBuf, Trouble> {
    let missing = || Trouble::NotFound(name.to_string_lossy().into_owned());
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return if path.exists() { Ok(path) } else { Err(missing()) };
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let mut found = env::split_paths(&path).map(|folder| folder.join(name));
    let mut first = None;
    let usable = found.find(|candidate| {
        if candidate.is_file() && first.is_none() {
            first = Some(candidate.clone());
        }
        candidate.is_file() && rustix::fs::access(candidate, Access::EXEC_OK).is_ok()
    });
    usable.or(first).ok_or_else(missing)
}

fn check_rights(path: &Path) -> Result<(), Trouble> {
    let refuse = |reason: io::Error| Trouble::NotExecutable { program: path.to_owned(), reason };
    let metadata = fs::metadata(path).map_err(refuse)?;
    if metadata.is_dir() {
        return Err(refuse(io::Error::from_raw_os_error(libc::EISDIR)));
    }
    rustix::fs::access(path, Access::EXEC_OK).map_err(|errno| refuse(errno.into()))?;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let other_user = metadata.mode() & 0o4000 != 0 && metadata.uid() != uid.as_raw();
    let other_group = metadata.mode() & 0o2010 == 0o2010 && metadata.gid() != gid.as_raw();
    let mut none = [0_u8; 0];
    let capable = !uid.is_root()
        && rustix::fs::getxattr(path, "security.capability", &mut none).is_ok_and(|n| n > 0);
    if other_user || other_group || capable {
        return Err(Trouble::Privileged(path.to_owned()));
    }
    Ok(())
}

fn read_head(path: &Path) -> Result<Vec<u8>, Trouble> {
    let mut head = Vec::new();
    match fs::File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head)) {
        // what may be executed and not read is executed all the same
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Vec::new()),
        Err(reason) => Err(Trouble::NotExecutable { program: path.to_owned(), reason }),
        Ok(_) => Ok(head),
    }
}

/// The interpreter of a script's first line.
fn interpreter(head: &[u8]) -> Option<PathBuf> {
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let words = line.split(|b| *b == b' ' || *b == b'\t');
    let name = words.into_iter().find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

fn check_elf(path: &Path, head: &[u8]) -> Result<(), Trouble> {
    if !head.starts_with(b"\x7fELF") {
        return Ok(()); // execve or a binfmt says what it is
    }
    let foreign = || Trouble::Foreign(path.to_owned());
    let is_64 = head.get(4) == Some(&2);
    let machine = head.get(18..20).map(|b| u16::from_le_bytes([b[0], b[1]]));
    if !is_64 || machine != Some(MACHINE) {
        return Err(foreign());
    }
    // the section table is beyond the head: without it the program headers can be read alone
    let mut head = head.to_vec();
    head.get_mut(0x28..0x30).ok_or_else(foreign)?.fill(0);
    head.get_mut(0x3c..0x40).ok_or_else(foreign)?.fill(0);
    let file = ElfBytes::<AnyEndian>::minimal_parse(&head).map_err(|_| foreign())?;
    let segments = file.segments().ok_or_else(foreign)?;
    let Some(interp) = segments.iter().find(|segment| segment.p_type == PT_INTERP) else {
        return Err(Trouble::Static(path.to_owned()));
    };
    let start = interp.p_offset as usize;
    let name = head.get(start..start.saturating_add(interp.p_filesz as usize)).unwrap_or_default();
    let name = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name)).into_owned();
    if name.contains("ld-musl") {
        return Err(Trouble::Linker { program: path.to_owned(), linker: name });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_or_refused() {
        assert!(find("sh".as_ref()).is_ok());
        assert!(find("/bin/sh".as_ref()).is_ok());
        assert!(matches!(find("no-such-program".as_ref()), Err(Trouble::NotFound(_))));
        assert!(matches!(find("/no/such".as_ref()), Err(Trouble::NotFound(_))));
        assert!(matches!(find("/etc/passwd".as_ref()), Err(Trouble::NotExecutable { .. })));
        assert!(matches!(find("/tmp".as_ref()), Err(Trouble::NotExecutable { .. })));
    }

    #[test]
    fn scripts() {
        assert_eq!(interpreter(b"#! /bin/sh -e\necho"), Some("/bin/sh".into()));
        assert_eq!(interpreter(b"\x7fELF"), None);
    }
}
