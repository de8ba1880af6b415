//! Compiling the kernel's selftests into the cache, once for each recipe and compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::{Kept, compiler, unpack};
use super::{debs, recipe};
use crate::failure::{At, Result};
use crate::workspace::Workspace;
use crate::{install, process};

/// The folder with the compiled suites, `iommu/iommufd` and so on, compiled now when it is not in
/// the cache.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    let key = (include_str!("recipe.rs"), include_str!("build.rs"), compiler()?);
    Kept::new(workspace, &format!("linux-{}", recipe::KERNEL), key).get(|scratch| {
        install::debian_packages(install::FOR_SELFTESTS)?;
        let [source, headers] = debs::fetch(workspace, [&recipe::SOURCE, &recipe::HEADERS])?;
        compile(&source, &headers, scratch)
    })
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
