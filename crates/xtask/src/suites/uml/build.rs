//! Compiling User-Mode Linux and its one program into the cache. This file, the options and the program
//! are the key: whatever changes in them compiles both again.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use super::super::cache::{Kept, compiler, unpack};
use super::super::{debs, guest, recipe};
use crate::failure::{At, Failure, Result};
use crate::workspace::Workspace;
use crate::{install, process};

/// The kernel, a dynamic executable.
pub const KERNEL: &str = "linux";
/// Its initial file system.
pub const INITRD: &str = "initrd";

/// Options beside the smallest configuration.
const CONFIG: &str = include_str!("config");

/// What of the source no kernel for this machine is built from: half of it.
const EXCLUDED: &[&str] = &[
    "Documentation/*.[rsy]*",
    "drivers/accel/*.[ch]",
    "drivers/gpu/*.[ch]",
    "drivers/infiniband/*.[ch]",
    "drivers/media/*.[ch]",
    "drivers/net/*.[ch]",
    "sound/*.[ch]",
    "tools/testing",
];

/// The folder with the kernel and its initial file system.
pub fn kept(workspace: &Workspace) -> Result<Kept> {
    let key = (include_str!("build.rs"), guest::SOURCES, guest::DISK, CONFIG, compiler()?);
    Ok(Kept::new(workspace, &format!("uml-{}", recipe::KERNEL), key))
}

/// Compiles everything in `scratch`; returns the folder to keep.
pub fn build(workspace: &Workspace, scratch: &Path) -> Result<PathBuf> {
    println!("User-Mode Linux: compiling it takes some minutes");
    install::debian_packages(install::FOR_KERNELS)?;
    let [source] = debs::fetch(workspace, [&recipe::SOURCE])?;
    let [unpacked, made, kept] = ["source", "made", "kept"].map(|name| scratch.join(name));
    for folder in [&made, &kept] {
        fs::create_dir_all(folder).at("create", folder)?;
    }
    unpack(&source, &unpacked)?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--use-compress-program=xz --threads=0");
    tar.args(EXCLUDED.iter().map(|path| format!("--exclude={}/{path}", recipe::TOP)));
    tar.arg("--file").arg(unpacked.join(recipe::ARCHIVE)).arg("--directory").arg(scratch);
    process::run(&mut tar)?;
    compile(&scratch.join(recipe::TOP), &made)?;
    let kernel = kept.join(KERNEL);
    fs::copy(made.join(KERNEL), &kernel).at("create", &kernel)?;
    let initrd = kept.join(INITRD);
    fs::write(&initrd, guest::initrd(scratch, guest::DISK, &[])?).at("write", &initrd)?;
    Ok(kept)
}

/// The smallest configuration, with our options.
fn compile(source: &Path, output: &Path) -> Result {
    let make = |target: &str| {
        let mut make = Command::new("make");
        make.arg("--silent")
            .arg(format!("--jobs={}", available_parallelism().map_or(1, NonZero::get)))
            .arg("--directory")
            .arg(source)
            .args(["ARCH=um".into(), format!("O={}", output.display())])
            .arg(target);
        for inherited in ["CC", "CFLAGS", "CROSS_COMPILE", "LDFLAGS", "LDLIBS", "MAKEFLAGS"] {
            make.env_remove(inherited);
        }
        process::run(&mut make)
    };
    make("tinyconfig")?;
    let path = output.join(".config");
    let config = fs::read_to_string(&path).at("read", &path)?;
    // `CONFIG_A=y`, or `# CONFIG_A is not set`
    let named = |line: &str| {
        let line = line.trim_start_matches("# ");
        line.split(['=', ' ']).next().unwrap_or_default().to_owned()
    };
    let ours: Vec<_> = CONFIG.lines().map(named).collect();
    let others = config.lines().filter(|line| !ours.contains(&named(line)));
    let text: String = others.chain(CONFIG.lines()).map(|line| format!("{line}\n")).collect();
    fs::write(&path, text).at("write", &path)?;
    make("olddefconfig")?;
    let config = fs::read_to_string(&path).at("read", &path)?;
    let lost: Vec<_> =
        CONFIG.lines().filter(|line| !config.lines().any(|it| it == *line)).collect();
    if !lost.is_empty() {
        return Err(Failure::from(format!("the kernel does not take {}", lost.join(", "))));
    }
    make(KERNEL)
}
