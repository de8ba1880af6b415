//! Where the programs of a suite run, and as whom: here as us, or as a user without rights on copies in
//! a folder that everybody can read.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{At, Failure, Result};
use crate::process;
use crate::scratch::{Scratch, open_to_all};
use crate::workspace::Workspace;

/// Who runs a program, softiommu included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Whoever runs xtask.
    Current,
    /// Uid and gid 65534 without groups and capabilities. Only root can become it.
    Nobody,
}

/// Uid and gid of [`User::Nobody`].
const NOBODY: u32 = 65534;

#[rustfmt::skip] // as typed
const BECOME_NOBODY: &[&str] = &[
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--",
];

/// Where another root directory has what is put into the place.
const STAGE: &str = "/mnt";

/// The same in another root directory, of three folders: that, what is put there, and its `/tmp`. The
/// mounts are gone with the process.
#[rustfmt::skip] // as typed
const ENTER_ROOT: &[&str] = &[
    "unshare", "--mount", "--propagation=private", "--", "sh", "-ec",
    "root=$1 stage=$2 own=$3; shift 3
     for folder in proc dev sys; do mount --rbind /$folder \"$root/$folder\"; done
     mount --bind \"$stage\" \"$root/mnt\"; mount --bind \"$own\" \"$root/tmp\"
     exec chroot --userspec=65534:65534 --groups= \"$root\" \"$@\"",
    "sh",
];

/// Why [`Place::in_root`] cannot be had here.
pub fn no_root() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root can change a program's root directory".to_owned());
    }
    let mut mount = Command::new("unshare");
    mount.args(["--mount", "--propagation=private", "--", "mount", "--bind", "/proc", "/proc"]);
    let may = mount.output().is_ok_and(|output| output.status.success());
    (!may).then(|| "root may not mount here, in a container probably".to_owned())
}

impl User {
    /// One without rights: us, unless we are root.
    pub fn unprivileged() -> Self {
        if rustix::process::geteuid().is_root() { User::Nobody } else { User::Current }
    }

    /// For names of files.
    pub fn word(self) -> &'static str {
        match self {
            User::Current => "current",
            User::Nobody => "nobody",
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            User::Current => write!(f, "uid {}", rustix::process::geteuid()),
            User::Nobody => f.write_str("uid 65534 without capabilities"),
        }
    }
}

/// A place to run programs in.
pub struct Place {
    /// Who runs them.
    pub user: User,
    /// The current folder of a program.
    pub folder: PathBuf,
    /// A folder that programs may write to.
    pub writable: PathBuf,
    /// For copies: the workspace may lie where only its owner gets.
    stage: Option<Scratch>,
    /// The root directory of programs, when it is not the system's.
    root: Option<PathBuf>,
    _scratch: Scratch,
}

impl Place {
    /// Makes the place for a suite.
    pub fn new(workspace: &Workspace, name: &str, user: User) -> Result<Self> {
        let temporary = std::env::temp_dir();
        let stage = match user {
            User::Current => None,
            User::Nobody if !rustix::process::geteuid().is_root() => {
                return Err(Failure::from("only root can run a suite as uid 65534".to_string()));
            }
            User::Nobody => Some(Scratch::new(&temporary, &format!("xtask-{name}"))?),
        };
        let scratch = Scratch::new(&temporary, &format!("xtask-{name}-own"))?;
        let writable = scratch.path.clone();
        if let Some(stage) = &stage {
            open_to_all(&stage.path)?;
            chown(&writable, Some(NOBODY), Some(NOBODY)).at("give away", &writable)?;
        }
        let folder = stage.as_ref().map_or_else(|| workspace.root.clone(), |it| it.path.clone());
        Ok(Self { user, folder, writable, stage, root: None, _scratch: scratch })
    }

    /// Makes the place for a suite whose programs see a folder as their root directory, and in it the
    /// system's `/proc`, `/dev` and `/sys`. Only root can.
    pub fn in_root(workspace: &Workspace, name: &str, root: &Path) -> Result<Self> {
        let place = Self::new(workspace, name, User::Nobody)?;
        Ok(Self { root: Some(root.to_path_buf()), ..place })
    }

    /// A file, a device's node, or a folder with all that is in it, where the user can read it.
    pub fn put(&self, path: &Path) -> Result<PathBuf> {
        let Some(stage) = &self.stage else { return Ok(path.to_path_buf()) };
        let name = path.file_name().unwrap_or_default();
        let to = stage.path.join(name);
        if !to.exists() {
            process::read(Command::new("cp").args(["--recursive", "--"]).arg(path).arg(&to))?;
            let mut chmod = Command::new("chmod");
            process::read(chmod.args(["--recursive", "a+rX", "--"]).arg(&to))?;
        }
        Ok(if self.root.is_some() { Path::new(STAGE).join(name) } else { to })
    }

    /// What stands before a command so that the user runs it.
    pub fn become_user(&self) -> Vec<OsString> {
        let words = |words: &[&str]| words.iter().map(Into::into).collect::<Vec<_>>();
        match (&self.stage, &self.root) {
            (None, _) => Vec::new(),
            (Some(_), None) => words(BECOME_NOBODY),
            (Some(stage), Some(root)) => {
                let mut words = words(ENTER_ROOT);
                words.extend([root, &stage.path, &self.writable].map(Into::into));
                words
            }
        }
    }

    /// Keeps what is ours from a command of the user.
    pub fn shield(&self, command: &mut Command) {
        command.current_dir(&self.folder);
        // What `cargo run` sets for xtask is not for the program.
        command.env_remove("LD_LIBRARY_PATH");
        if self.stage.is_some() {
            // Folders of the user that xtask runs as.
            command.env_remove("XDG_RUNTIME_DIR").env("HOME", "/nonexistent");
        }
        if self.root.is_some() {
            command.env_remove("TMPDIR").env("PATH", "/usr/sbin:/usr/bin");
        }
    }
}
