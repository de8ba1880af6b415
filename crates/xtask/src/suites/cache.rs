//! What the suites need and takes long to get: made once, kept in the cache under a key.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{At, Result};
use crate::process;
use crate::scratch::Scratch;
use crate::workspace::Workspace;

/// Something in the cache.
pub struct Kept {
    parent: PathBuf,
    /// Where it is, when it is there.
    pub path: PathBuf,
}

impl Kept {
    /// A folder called after what it holds and after what that is made from: when that changes it is
    /// another folder. A new Rust may hash differently: then it is made once more.
    pub fn new(workspace: &Workspace, name: &str, made_from: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        made_from.hash(&mut hasher);
        let parent = workspace.cache.join("suites");
        let path = parent.join(format!("{name}-{:016x}", hasher.finish()));
        Self { parent, path }
    }

    /// Whether it is there.
    pub fn is_made(&self) -> bool {
        self.path.is_dir()
    }

    /// Makes it now when it is not there. `make` works in a scratch folder and returns the folder to
    /// keep, within it. Two at the same time do the work twice and keep the first result.
    pub fn get(self, make: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<PathBuf> {
        if self.is_made() {
            return Ok(self.path);
        }
        let scratch = Scratch::new(&self.parent, "making")?;
        let made = make(&scratch.path)?;
        if let Err(error) = fs::rename(&made, &self.path)
            && !self.is_made()
        {
            return Err(error).at("create", &self.path);
        }
        println!("outside suites: {}", self.path.display());
        Ok(self.path)
    }
}

/// What says which compiler this is.
pub fn compiler() -> Result<String> {
    process::read(Command::new("cc").arg("--version"))
}

/// Unpacks a Debian package.
pub fn unpack(package: &Path, into: &Path) -> Result {
    process::read(Command::new("dpkg-deb").arg("--extract").arg(package).arg(into)).map(drop)
}
