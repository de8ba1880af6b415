//! Compiling the guest's program, and ours that run beside a guest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cpio;
use crate::failure::{At, Result};
use crate::process;

/// What all of it is made from besides the program and modules, for the keys of caches.
pub const SOURCES: &[&str] = &[include_str!("initrd.rs"), include_str!("cpio.rs")];

/// Compiles a guest's program in `scratch`; an initial file system that holds it and modules.
pub fn initrd(scratch: &Path, source: &str, modules: &[Vec<u8>]) -> Result<Vec<u8>> {
    let program = compile(scratch, "init", source, &["-static"])?;
    Ok(cpio::archive(&fs::read(&program).at("read", &program)?, modules))
}

/// Compiles a program of one file in `scratch`.
pub fn compile(scratch: &Path, name: &str, source: &str, options: &[&str]) -> Result<PathBuf> {
    let (program, text) = (scratch.join(name), scratch.join(format!("{name}.c")));
    fs::write(&text, source).at("write", &text)?;
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Wextra"]).args(options).arg("-o").arg(&program).arg(&text);
    process::run(&mut cc)?;
    Ok(program)
}
