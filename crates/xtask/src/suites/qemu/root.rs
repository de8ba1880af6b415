//! The root directory that QEMU runs in: Debian packages of a later Debian, unpacked and not installed, and
//! what the guest starts. No package's own scripts run, so making it needs no rights.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::cache::{Kept, compiler, unpack};
use super::super::{debs, guest};
use crate::failure::{At, Failure, Result};
use crate::scratch::open_to_all;
use crate::workspace::Workspace;
use crate::{install, process};

/// Debian's suites, the one that has these versions first.
const SUITES: &[&str] = &["trixie-backports", "trixie"];
/// Any of 11.1: Debian keeps no older one beside its newest.
const QEMU: &str = "qemu-system-x86=1:11.1.*";
/// The kernel of clouds: a driver of NVMe is in it.
const LINUX: &str = "linux-binary-7.3.4+deb13-cloud-amd64=7.3.4-1~bpo13+1";
const LINUX_MODULES: &str = "linux-modules-7.3.4+deb13-cloud-amd64=7.3.4-1~bpo13+1";
const LINUX_FOLDER: &str = "usr/lib/modules/7.3.4+deb13-cloud-amd64";
/// What VFIO in the guest needs, each after those that it needs.
const MODULES: &[&str] = &[
    "virt/lib/irqbypass",
    "drivers/vfio/vfio",
    "drivers/vfio/vfio_iommu_type1",
    "drivers/vfio/pci/vfio-pci-core",
    "drivers/vfio/pci/vfio-pci",
];

/// In the root directory: the guest's kernel and initial file systems, and the program of `start.c`.
pub const KERNEL: &str = "/guest/vmlinuz";
pub const DISK: &str = "/guest/disk";
pub const NESTED: &str = "/guest/nested";
pub const START: &str = "/guest/start";

const START_SOURCE: &str = include_str!("start.c");

/// What a root directory has besides.
const FOLDERS: &[&str] = &["dev", "guest", "mnt", "proc", "sys", "tmp"];
/// Names of folders that are in `usr` now.
const LINKS: &[&str] = &["bin", "lib", "lib64", "sbin"];
/// What of the packages nobody reads.
const EXCLUDED: &[&str] = &["usr/share/doc", "usr/share/locale", "usr/share/man"];

/// The root directory.
pub fn kept(workspace: &Workspace) -> Result<Kept> {
    let programs = (START_SOURCE, guest::DISK, guest::NESTED);
    let key = (include_str!("root.rs"), programs, guest::SOURCES, compiler()?);
    Ok(Kept::new(workspace, "qemu-11.1", key))
}

/// Makes it when it is not in the cache.
pub fn prepare(workspace: &Workspace) -> Result<PathBuf> {
    kept(workspace)?.get(make)
}

fn make(scratch: &Path) -> Result<PathBuf> {
    println!("QEMU: downloading and unpacking it takes a minute");
    install::debian_packages(install::FOR_SELFTESTS)?;
    let [root, programs, packages] =
        ["root", "programs", "packages"].map(|name| scratch.join(name));
    for folder in [&root, &programs, &packages] {
        fs::create_dir_all(folder).at("create", folder)?;
    }
    let files = debs::download_all(SUITES, &[QEMU, LINUX, LINUX_MODULES], &packages).map_err(
        |failure| {
            Failure::from(format!(
                "{failure}\nare {QEMU} and {LINUX} no longer in {}? Then take the next versions in \
             crates/xtask/src/suites/qemu/root.rs",
                SUITES[0]
            ))
        },
    )?;
    for file in files {
        unpack(&file, &root)?;
    }
    for folder in EXCLUDED.iter().map(|name| root.join(name)).filter(|folder| folder.exists()) {
        fs::remove_dir_all(&folder).at("remove", &folder)?;
    }
    for folder in FOLDERS.iter().map(|name| root.join(name)) {
        fs::create_dir_all(&folder).at("create", &folder)?;
    }
    for name in LINKS.iter().filter(|name| !root.join(name).exists()) {
        let link = root.join(name);
        symlink(Path::new("usr").join(name), &link).at("create", &link)?;
    }
    let inside = |name: &str| root.join(name.trim_start_matches('/'));
    let linux = inside(LINUX_FOLDER);
    let kernel = linux.join("vmlinuz");
    fs::rename(&kernel, inside(KERNEL)).at("move", &kernel)?;
    let modules = MODULES.iter().map(|name| module(&linux, name)).collect::<Result<Vec<_>>>()?;
    for (to, source, modules) in
        [(DISK, guest::DISK, &[][..]), (NESTED, guest::NESTED, &modules[..])]
    {
        let to = inside(to);
        fs::write(&to, guest::initrd(&programs, source, modules)?).at("write", &to)?;
    }
    fs::remove_dir_all(&linux).at("remove", &linux)?;
    let start = guest::compile(&programs, "start", START_SOURCE, &[])?;
    fs::copy(&start, inside(START)).at("copy", &start)?;
    for path in [&root, &inside(START)] {
        open_to_all(path)?;
    }
    Ok(root)
}

/// A module, unpacked.
fn module(linux: &Path, name: &str) -> Result<Vec<u8>> {
    let file = linux.join("kernel").join(format!("{name}.ko.xz"));
    process::run(Command::new("xz").args(["--decompress", "--"]).arg(&file))?;
    let file = file.with_extension("");
    fs::read(&file).at("read", &file)
}
