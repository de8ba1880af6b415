//! Compiling the suites into the cache, once for each recipe and compiler.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{debs, recipe};
use crate::failure::{At, Result};
use crate::scratch::Scratch;
use crate::workspace::Workspace;
use crate::{install, process};

/// The folder with the compiled suites, `iommu/iommufd` and so on, compiled now when it is not in
/// the cache. Two at the same time do the work twice and keep the first result.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    let suites = workspace.cache.join("suites");
    let folder = suites.join(format!("linux-{}-{:016x}", recipe::KERNEL, key()?));
    if folder.is_dir() {
        return Ok(folder);
    }
    install::debian_packages()?;
    let [source, headers] = debs::fetch(workspace, [&recipe::SOURCE, &recipe::HEADERS])?;
    let scratch = Scratch::new(&suites, "building")?;
    let built = compile(&source, &headers, &scratch.path)?;
    if let Err(error) = fs::rename(&built, &folder)
        && !folder.is_dir()
    {
        return Err(error).at("create", &folder);
    }
    println!("outside suites: {}", folder.display());
    Ok(folder)
}

/// Unpacks and compiles everything in `scratch`; returns the folder with just the programs.
fn compile(source: &Path, headers: &Path, scratch: &Path) -> Result<PathBuf> {
    let [unpacked, headers_unpacked, made, kept] =
        ["source", "headers", "made", "kept"].map(|name| scratch.join(name));
    unpack(source, &unpacked)?;
    unpack(headers, &headers_unpacked)?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--use-compress-program=xz --threads=0");
    tar.arg("--file").arg(unpacked.join(recipe::ARCHIVE)).arg("--directory").arg(scratch);
    tar.args(recipe::MEMBERS.iter().map(|member| format!("{}/{member}", recipe::TOP)));
    process::run(&mut tar)?;
    for (suite, programs) in recipe::SUITES {
        let (made, kept) = (made.join(suite), kept.join(suite));
        fs::create_dir_all(&made).at("create", &made)?;
        recipe::compile(suite, &scratch.join(recipe::TOP), &headers_unpacked, &made)?;
        fs::create_dir_all(&kept).at("create", &kept)?;
        for program in *programs {
            let to = kept.join(program);
            fs::rename(made.join(program), &to).at("create", &to)?;
        }
    }
    Ok(kept)
}

fn unpack(package: &Path, into: &Path) -> Result {
    process::run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(into))
}

/// Changes with the recipe and the compiler. A new Rust may hash differently: then the suites are
/// compiled once more.
fn key() -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    [include_str!("recipe.rs"), include_str!("build.rs")].hash(&mut hasher);
    process::read(Command::new("cc").arg("--version"))?.hash(&mut hasher);
    Ok(hasher.finish())
}
