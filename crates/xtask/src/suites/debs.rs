//! Fetching packages of another Debian release without touching the system's package sources:
//! `apt-get` with lists, cache and source file of its own, on the mirror that the system uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::recipe::{DEBIAN_SUITE, KEYRING, Package, VERSION};
use crate::failure::{At, Failure, Result};
use crate::scratch::Scratch;
use crate::workspace::Workspace;
use crate::{install, process};

/// The packages' files in the cache, downloaded now where they are not there yet.
pub fn fetch<const N: usize>(
    workspace: &Workspace,
    packages: [&Package; N],
) -> Result<[PathBuf; N]> {
    let folder = workspace.cache.join("debs").join(VERSION);
    let file =
        |package: &Package| folder.join(format!("{}-{}.deb", package.name, &package.sha256[..16]));
    let missing: Vec<_> = packages.into_iter().filter(|package| !file(package).is_file()).collect();
    if !missing.is_empty() {
        let scratch = Scratch::new(&folder, "download")?;
        let wanted: Vec<_> =
            missing.iter().map(|package| format!("{}={VERSION}", package.name)).collect();
        download(DEBIAN_SUITE, &wanted, &scratch.path).map_err(|failure| {
            Failure::from(format!(
                "{failure}\nare {} no longer in {DEBIAN_SUITE}? Then pin the next version in \
                 crates/xtask/src/suites/recipe.rs",
                wanted.join(" and ")
            ))
        })?;
        for package in missing {
            let (from, to) = (downloaded(package, &scratch.path)?, file(package));
            check_content(package, &from)?;
            fs::rename(&from, &to).at("create", &to)?;
        }
    }
    Ok(packages.map(file))
}

/// Lets apt-get download packages, each `NAME` or `NAME=VERSION`, of a Debian suite into `scratch`, with
/// everything that it reads or writes there too.
pub fn download(suite: &str, packages: &[String], scratch: &Path) -> Result {
    let status = Path::new("/var/lib/dpkg/status");
    let apt_get = AptGet::new(&[suite], status, scratch)?;
    let packages: Vec<_> = packages.iter().map(String::as_str).collect();
    apt_get.run(&[&["download"], &packages[..]].concat())
}

/// As [`download`], with all that a system without any package needs for them; the first suite goes
/// first. Returns the packages' files.
pub fn download_all(suites: &[&str], packages: &[&str], scratch: &Path) -> Result<Vec<PathBuf>> {
    let status = scratch.join("status");
    fs::write(&status, "").at("write", &status)?;
    let apt_get = AptGet::new(suites, &status, scratch)?;
    let install = ["install", "--yes", "--no-install-recommends", "--download-only"];
    apt_get.run(&[&install, packages].concat())?;
    let archives = scratch.join("cache/archives");
    let entries = fs::read_dir(&archives).at("list", &archives)?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(files.filter(|file| file.extension().is_some_and(|it| it == "deb")).collect())
}

/// An apt-get with a folder of its own.
struct AptGet<'s> {
    scratch: &'s Path,
}

impl<'s> AptGet<'s> {
    /// With the lists of these suites; `status` says what is installed.
    fn new(suites: &[&str], status: &Path, scratch: &'s Path) -> Result<Self> {
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            let folder = scratch.join(folder);
            fs::create_dir_all(&folder).at("create", &folder)?;
        }
        let write = |name: &str, text: String| {
            let path = scratch.join(name);
            fs::write(&path, text).at("write", &path)
        };
        let mirror = mirror()?;
        let source = |suite: &&str| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
        write("sources.list", suites.iter().map(source).collect())?;
        // The last line: the scratch folder may be closed to apt's own user.
        write("apt.conf", {
            let (here, status) = (scratch.display(), status.display());
            let first = suites.first().copied().unwrap_or_default();
            format!(
                "Dir::State \"{here}/state\";\n\
                 Dir::State::status \"{status}\";\n\
                 Dir::Cache \"{here}/cache\";\n\
                 Dir::Etc::SourceList \"{here}/sources.list\";\n\
                 Dir::Etc::SourceParts \"/dev/null\";\n\
                 APT::Default-Release \"{first}\";\n\
                 APT::Sandbox::User \"root\";\n"
            )
        })?;
        let apt_get = Self { scratch };
        apt_get.run(&["update"])?;
        Ok(apt_get)
    }

    fn run(&self, arguments: &[&str]) -> Result {
        let mut command = Command::new("apt-get");
        command.arg("--quiet").arg("--config-file=apt.conf").args(arguments);
        process::run(command.current_dir(self.scratch))
    }
}

/// The file that apt-get made of a package.
fn downloaded(package: &Package, folder: &Path) -> Result<PathBuf> {
    let start = format!("{}_", package.name);
    let entries = fs::read_dir(folder).at("list", folder)?;
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let name = names.find(|name| name.starts_with(&start) && name.ends_with(".deb"));
    let name = name.ok_or_else(|| {
        Failure::from(format!("apt-get download left no {start}*.deb in {}", folder.display()))
    })?;
    Ok(folder.join(name))
}

/// The Debian mirror of this machine's own configuration.
fn mirror() -> Result<String> {
    if let Some(mirror) = configured_mirror()? {
        return Ok(mirror);
    }
    // A new machine has no lists yet, and only they say whose packages a source has.
    install::apt_get(&["update"])?;
    configured_mirror()?.ok_or_else(|| {
        Failure::from(
            "this machine's apt has no source of Debian's; the outside suites are compiled from \
             Debian packages (`cargo xtask test --fast` leaves them out)"
                .to_string(),
        )
    })
}

fn configured_mirror() -> Result<Option<String>> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format=$(REPO_URI)", "Origin: Debian", "Label: Debian"]);
    Ok(process::read(&mut command)?.lines().min().map(Into::into))
}

fn check_content(package: &Package, file: &Path) -> Result {
    let printed = process::read(Command::new("sha256sum").arg("--").arg(file))?;
    let found = printed.split_whitespace().next().unwrap_or_default();
    // A name with special characters makes sha256sum start its line with a backslash.
    if found.trim_start_matches('\\') == package.sha256 {
        return Ok(());
    }
    Err(Failure::from(format!(
        "{}: SHA-256 is {found}, expected {} (crates/xtask/src/suites/recipe.rs)",
        file.display(),
        package.sha256
    )))
}
