//! The one error of xtask: a text for the person who runs it.

use std::fmt;
use std::io;
use std::path::Path;

/// What went wrong, with the thing, its value and the remedy.
#[derive(Debug)]
pub struct Failure(String);

/// Result of everything in xtask that can fail.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names the file in an I/O error, which does not do so itself.
pub trait At<T> {
    /// `action` is a verb for "cannot ...": `read`, `create`.
    fn at(self, action: &str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &str, path: &Path) -> Result<T> {
        self.map_err(|error| Failure(format!("cannot {action} {}: {error}", path.display())))
    }
}
