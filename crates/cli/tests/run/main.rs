//! `softiommu run` from outside: endings, deaths, and programs that share a descriptor.
//!
//! The programs are this test executable itself, which plays [`client`] when the environment says so.

mod client;
mod endings;
mod kvm;
mod legacy;
mod names;
mod nvme;
mod sharing;
mod stores;
mod storm;
mod sysfs;
mod verdicts;
mod y2020;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

/// Names the part that this executable plays as a program.
const ROLE: &str = "SOFTIOMMU_TEST_ROLE";

/// `softiommu run` with run directories in a folder of its own.
struct Run {
    folder: PathBuf,
}

impl Run {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("si-{name}-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self { folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_softiommu"));
        command.arg("run").args(arguments);
        command.env("TMPDIR", &self.folder).env_remove("XDG_RUNTIME_DIR").env_remove(ROLE);
        command
    }

    /// Runs this executable in a part of [`client`].
    fn client(&self, role: &str) -> Command {
        self.client_on("selftest", role)
    }

    /// The same on another machine.
    fn client_on(&self, machine: &str, role: &str) -> Command {
        self.client_with(&["--machine", machine], role)
    }

    /// The same with options.
    fn client_with(&self, options: &[&str], role: &str) -> Command {
        let this = env::current_exe().unwrap();
        let mut command = self.command(options);
        command
            .arg("--")
            .arg(this)
            .args(["--exact", "client::main", "--nocapture"])
            .env(ROLE, role);
        command
    }

    /// The run directories that are there.
    fn leftovers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).unwrap().flatten().map(|entry| entry.path());
        let ours = |path: &Path| {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            name.starts_with("softiommu-")
        };
        entries.filter(|path| ours(path)).collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
