//! What a program sees of the machine: names, links and folders below `/sys` and `/dev/vfio`.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::Run;

#[test]
fn a_program_sees_the_machine() {
    let run = Run::new("sysfs");
    let output = run.client_on("spr", "sysfs").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The program: looks in every way that libc has.
pub fn look() -> io::Result<()> {
    let device = "/sys/bus/pci/devices/0000:6a:01.0";
    let real = "/sys/devices/pci0000:6a/0000:6a:01.0";
    #[rustfmt::skip] // one question, one line
    let answers = [
        ("a file",               fs::read_to_string(format!("{device}/vendor"))?, "0x8086\n".to_owned()),
        ("through links",        fs::read_to_string(format!("{device}/iommu/intel-iommu/version"))?, "6:0\n".to_owned()),
        ("a link",               path(fs::read_link(device)?), "../../../devices/pci0000:6a/0000:6a:01.0".to_owned()),
        ("a real path",          path(fs::canonicalize("/sys/class/vfio-dev/vfio0")?), format!("{real}/vfio-dev/vfio0")),
        ("dots and slashes",     path(fs::canonicalize("/sys/class//iommu/./dmar0/../dmar0")?), "/sys/devices/virtual/iommu/dmar0".to_owned()),
        ("a folder",             names(Path::new("/sys/bus/pci/devices"))?, "0000:6a:01.0".to_owned()),
        ("a folder of links",    names(Path::new("/sys/class/iommu"))?, "dmar0".to_owned()),
        ("the device's number",  fs::read_to_string(format!("{device}/vfio-dev/vfio0/dev"))?, "511:0\n".to_owned()),
        ("reserved regions",     fs::read_to_string(format!("{device}/iommu_group/reserved_regions"))?, "0x00000000fee00000 0x00000000feefffff msi\n".to_owned()),
        ("nodes",                names(Path::new("/dev/vfio/devices"))?, "vfio0".to_owned()),
        ("a node's real path",   path(fs::canonicalize("/dev/vfio/devices/../devices/vfio0")?), "/dev/vfio/devices/vfio0".to_owned()),
        ("a followed link",      format!("{:?}", fs::symlink_metadata(format!("{device}/"))?.is_dir()), "true".to_owned()),
        ("the driver",           path(fs::canonicalize("/sys/bus/pci/drivers/vfio-pci/0000:6a:01.0")?), real.to_owned()),
        ("elsewhere, unchanged", path(fs::canonicalize("/sys/class")?), "/sys/class".to_owned()),
    ];
    for (what, found, expected) in answers {
        if found != expected {
            return Err(io::Error::other(format!("{what}: {found:?}, not {expected:?}")));
        }
    }
    refused(
        "writing",
        fs::write(format!("{device}/vendor"), "x"),
        io::ErrorKind::PermissionDenied,
    )?;
    refused("making", fs::write(format!("{device}/new"), "x"), io::ErrorKind::PermissionDenied)?;
    refused(
        "a node as a folder",
        fs::read_dir("/dev/iommu").map(drop),
        io::ErrorKind::NotADirectory,
    )?;
    std::env::set_current_dir("/sys/class/iommu")?;
    if names(Path::new("."))? != "dmar0" {
        return Err(io::Error::other("the folder that was changed to is another"));
    }
    let node = fs::metadata("/dev/vfio/devices/vfio0")?;
    if !node.file_type().is_char_device() || node.rdev() != rustix::fs::makedev(511, 0) {
        return Err(io::Error::other(format!("vfio0 looks like {node:?}")));
    }
    match fs::metadata("/dev/vfio/devices/vfio1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => Err(io::Error::other(format!("vfio1: {other:?}"))),
    }
}

fn refused(what: &str, result: io::Result<()>, kind: io::ErrorKind) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        other => Err(io::Error::other(format!("{what}: {other:?}, not {kind:?}"))),
    }
}

fn path(path: std::path::PathBuf) -> String {
    path.to_string_lossy().into_owned()
}

fn names(folder: &Path) -> io::Result<String> {
    let names =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    Ok(names.collect::<io::Result<Vec<_>>>()?.join(" "))
}
