//! Folders for work in progress, removed however the work ends.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::failure::{At, Result};

/// A folder of this process's own, removed when dropped.
pub struct Scratch {
    /// Where it is.
    pub path: PathBuf,
}

impl Scratch {
    /// Makes the folder `.NAME-PID` in `parent`, and `parent` too.
    pub fn new(parent: &Path, name: &str) -> Result<Self> {
        let path = parent.join(format!(".{name}-{}", std::process::id()));
        if path.exists() {
            // Of an earlier process with our number, which was killed.
            fs::remove_dir_all(&path).at("remove", &path)?;
        }
        fs::create_dir_all(&path).at("create", &path)?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is in the cache or a temporary place, and harms nobody.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Lets every user read and run a file, or enter a folder.
pub fn open_to_all(path: &Path) -> Result {
    fs::set_permissions(path, Permissions::from_mode(0o755)).at("open to all", path)
}
