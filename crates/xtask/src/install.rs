//! Installing what the checks need and a fresh Debian 12 does not have.
//!
//! Debian packages go onto the system, as root or through `sudo`; cargo's subcommands go into the
//! cache, and one that is found on `PATH` is used as it is.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Result};
use crate::process;
use crate::workspace::Workspace;

/// What the kernel's selftests are compiled with. The rest (`dpkg-deb`, `tar`, `make`, `setpriv`,
/// `timeout`, `sha256sum`) comes with these or with every Debian.
pub const FOR_SELFTESTS: &[&str] = &["build-essential", "libcap-dev", "uuid-dev", "xz-utils"];

/// What a kernel is compiled with.
pub const FOR_KERNELS: &[&str] = &["bc", "bison", "build-essential", "flex", "xz-utils"];

/// A cargo subcommand from the package registry. The version builds with the workspace's Rust.
struct Tool {
    name: &'static str,
    version: &'static str,
    /// Further arguments of `cargo install`.
    options: &'static [&'static str],
}

const TOOLS: &[Tool] = &[
    Tool { name: "cargo-deny", version: "0.20.2", options: &[] },
    // Without its own updater.
    Tool { name: "cargo-nextest", version: "0.9.143", options: &["--no-default-features"] },
];

/// Half the build time for tools that run for a second: measured with cargo-deny on two cores,
/// 157 s as its authors publish it (fat LTO) and 83 s so.
const QUICK_BUILD: &[(&str, &str)] = &[
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
];

/// Installs those of some Debian packages that are missing.
pub fn debian_packages(wanted: &[&str]) -> Result {
    let missing: Vec<_> = wanted.iter().copied().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        println!("Debian packages: all here ({})", wanted.join(", "));
        return Ok(());
    }
    println!("Debian packages: missing {}", missing.join(", "));
    let with_reason = |failure| {
        let names = missing.join(" ");
        Failure::from(format!(
            "{failure}\nplease install by hand, as root: apt-get install {names}"
        ))
    };
    apt_get(&["update"]).map_err(with_reason)?;
    let install = ["install", "--yes", "--no-install-recommends"];
    apt_get(&[&install[..], &missing[..]].concat()).map_err(with_reason)
}

/// Runs `apt-get` on the system, with the rights that takes.
pub fn apt_get(arguments: &[&str]) -> Result {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("env")
    } else if on_path("sudo").is_some() {
        let mut sudo = Command::new("sudo");
        sudo.arg("env");
        sudo
    } else {
        return Err(Failure::from("apt-get needs root, and there is no sudo here".to_string()));
    };
    process::run(command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(arguments))
}

/// Installs every cargo subcommand that is neither on `PATH` nor in the cache.
pub fn cargo_tools(workspace: &Workspace) -> Result {
    for Tool { name, version, options } in TOOLS {
        let folder = tool_folder(workspace, name, version);
        if let Some(found) = on_path(name) {
            println!("{name}: {}", found.display());
        } else if folder.join("bin").join(name).is_file() {
            println!("{name}: {version}, in the cache");
        } else {
            println!("{name}: building {version}, which takes some minutes");
            let mut install = cargo_install(workspace, name, version, &folder);
            // Without the variable cargo builds in a temporary folder, away from the workspace's.
            install.args(*options).env_remove("CARGO_TARGET_DIR");
            process::run(&mut install)?;
        }
    }
    Ok(())
}

/// Compiles a program of the package registry, quickly, into the `bin` of a folder.
pub fn cargo_install(workspace: &Workspace, name: &str, version: &str, folder: &Path) -> Command {
    let version = format!("--version={version}");
    let mut install = workspace.cargo(&["install", "--locked", "--quiet", name, &version]);
    install.arg("--root").arg(folder).envs(QUICK_BUILD.iter().copied());
    install
}

/// `PATH` with the cache's cargo subcommands at its end.
pub fn path_with_tools(workspace: &Workspace) -> OsString {
    let system = env::var_os("PATH").unwrap_or_default();
    let tools =
        TOOLS.iter().map(|tool| tool_folder(workspace, tool.name, tool.version).join("bin"));
    // A folder's name with a colon cannot stand in PATH; then only what the system has is found.
    env::join_paths(env::split_paths(&system).chain(tools)).unwrap_or(system)
}

fn tool_folder(workspace: &Workspace, name: &str, version: &str) -> PathBuf {
    workspace.cache.join("tools").join(format!("{name}-{version}"))
}

fn installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    query.output().is_ok_and(|output| output.stdout == b"installed")
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}
