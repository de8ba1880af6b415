//! Why a program could not be run.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::NoPlace;

/// Why a program could not be run. Each is one line that says what to do.
#[derive(Debug, Error)]
pub enum Trouble {
    /// No such file.
    #[error("{0}: no such program")]
    NotFound(String),
    /// It is there and cannot be executed.
    #[error("{program}: cannot be executed: {reason}")]
    NotExecutable {
        /// The program.
        program: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// No dynamic linker would preload the shim.
    #[error(
        "{0}: is statically linked, so its calls cannot be seen: build it with a dynamic C library \
         (Rust: a -gnu target without crt-static; Go: cgo)"
    )]
    Static(PathBuf),
    /// The shim is for another C library.
    #[error("{program}: uses the dynamic linker {linker}: build it against glibc")]
    Linker {
        /// The program.
        program: PathBuf,
        /// Its interpreter.
        linker: String,
    },
    /// The dynamic linker ignores preloading.
    #[error(
        "{0}: gets other privileges when it starts (set-uid, set-gid or file capabilities), so \
         nothing can be preloaded: run it as the user it runs as"
    )]
    Privileged(PathBuf),
    /// Of another machine, or 32-bit.
    #[error("{0}: is not a 64-bit program for this machine: build it for {arch}", arch = std::env::consts::ARCH)]
    Foreign(PathBuf),
    /// Nowhere to put the run directory.
    #[error(
        "no directory for the files of a run: set TMPDIR to one that is writable, allows \
         executables, and has a short name without spaces or colons"
    )]
    NoDirectory,
    /// A device of the machine cannot be had.
    #[error(transparent)]
    Device(#[from] NoPlace),
    /// A device of the machine cannot be made, for want of its file or of room for it.
    #[error("device {model}: {reason}")]
    NotMade {
        /// The device, as it was asked for.
        model: String,
        /// What the system or the device says.
        reason: io::Error,
    },
    /// A call of the system failed.
    #[error("{what}: {reason}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system says.
        reason: io::Error,
    },
}

impl Trouble {
    /// The exit status for it, as `env(1)` and others have it.
    pub fn status(&self) -> u8 {
        match self {
            Self::NotFound(_) => 127,
            Self::NotExecutable { .. } => 126,
            _ => 125,
        }
    }
}

/// Says what was being done when a call of the system failed.
pub(crate) trait Doing<T> {
    /// Turns the error into a [`Trouble::System`].
    fn doing(self, what: &'static str) -> Result<T, Trouble>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: &'static str) -> Result<T, Trouble> {
        self.map_err(|reason| Trouble::System { what, reason: reason.into() })
    }
}
