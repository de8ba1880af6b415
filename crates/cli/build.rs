//! Puts the bytes of the preloaded object into the program, so that one installed file works alone.
//!
//! The shim is a build dependency, so cargo has built its shared object by the time this runs, in the
//! `deps` folder of the host's artifacts.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

const NAME: &str = "libsoftiommu_shim";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let Some(shim) = newest(&out) else {
        eprintln!("no {NAME}*.so in a deps folder above {}", out.display());
        process::exit(1);
    };
    println!("cargo::rerun-if-changed={}", shim.display());
    let to = out.join("shim.so");
    if let Err(error) = fs::copy(&shim, &to) {
        eprintln!("copying {} to {}: {error}", shim.display(), to.display());
        process::exit(1);
    }
}

/// The shim that was built last, in the nearest `deps` folder above.
fn newest(out: &Path) -> Option<PathBuf> {
    let deps = out.ancestors().map(|folder| folder.join("deps")).find(|deps| deps.is_dir())?;
    let objects = fs::read_dir(deps).ok()?.flatten().map(|entry| entry.path());
    let ours = objects.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(NAME) && name.ends_with(".so")
    });
    ours.max_by_key(|path| fs::metadata(path).and_then(|data| data.modified()).ok())
}
