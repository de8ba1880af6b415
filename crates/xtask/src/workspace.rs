//! Where things are: the workspace, cargo's target folder, the cache.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

use crate::failure::{Failure, Result};
use crate::process;

/// The workspace that xtask was started in, as `cargo metadata` tells it.
pub struct Workspace {
    /// Folder of the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
    /// Slow things that a clone can do without: `.cache`, or what `SOFTIOMMU_CACHE` names.
    pub cache: PathBuf,
    /// Every crate of the workspace.
    pub packages: Vec<Package>,
}

/// A crate of the workspace.
#[derive(Deserialize)]
pub struct Package {
    /// The name in its `Cargo.toml`.
    pub name: String,
    /// What it depends on, outside crates too.
    pub dependencies: Vec<Dependency>,
}

/// One dependency of a [`Package`].
#[derive(Deserialize)]
pub struct Dependency {
    /// The crate it depends on.
    pub name: String,
    /// `None` for a normal dependency, else `build` or `dev`.
    pub kind: Option<String>,
    /// Folder of the crate; `None` when it comes from a registry.
    pub path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
    packages: Vec<Package>,
}

impl Workspace {
    /// The workspace around the current folder.
    pub fn find() -> Result<Self> {
        let metadata = process::read(Command::new(cargo_program()).args([
            "metadata",
            "--no-deps",
            "--format-version=1",
        ]))?;
        let metadata: Metadata = serde_json::from_str(&metadata)
            .map_err(|error| Failure::from(format!("cannot read `cargo metadata`: {error}")))?;
        let root = metadata.workspace_root;
        let cache = match env::var_os("SOFTIOMMU_CACHE") {
            Some(folder) if !folder.is_empty() => root.join(folder),
            _ => root.join(".cache"),
        };
        Ok(Self { root, target: metadata.target_directory, cache, packages: metadata.packages })
    }

    /// A cargo command in the workspace.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_program());
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// A program that `cargo build --release` made.
    pub fn release(&self, program: &str) -> PathBuf {
        self.target.join("release").join(program)
    }
}

/// The cargo that runs xtask, so that nested calls use the same toolchain.
fn cargo_program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
