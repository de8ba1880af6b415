//! What a program sees of the machine: names, links and folders below `/sys` and `/dev/vfio`.

use std::fs;
use std::io::{self, Read};
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
        ("what it is",           fs::read_to_string(format!("{device}/modalias"))?, "pci:v00008086d00000B25sv00000000sd00000000bc08sc80i00\n".to_owned()),
        ("where it is",          lines(&format!("{device}/resource"), 2)?, "0x0000200000000000 0x000020000000ffff 0x0000000000140204\n0x0000000000000000 0x0000000000000000 0x0000000000000000".to_owned()),
        ("how large a BAR is",   fs::metadata(format!("{device}/resource0"))?.len().to_string(), "65536".to_owned()),
        ("its configuration",    format!("{:02x?}", fs::read(format!("{device}/config"))?.get(..4)), "Some([86, 80, 25, 0b])".to_owned()),
        ("its bus",              path(fs::canonicalize(format!("{device}/subsystem"))?), "/sys/bus/pci".to_owned()),
        ("its driver's name",    lines(&format!("{device}/uevent"), 1)?, "DRIVER=vfio-pci".to_owned()),
        ("no virtual functions", format!("{:?}", fs::metadata(format!("{device}/sriov_numvfs")).map_err(|error| error.kind()).err()), "Some(NotFound)".to_owned()),
        ("a module",             fs::read_to_string("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode")?, "N\n".to_owned()),
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

#[test]
fn virtual_functions_come_and_go() {
    let run = Run::new("sriov");
    let machine = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/machines/sriov.toml");
    let output = run.client_on(machine, "sriov").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The program: makes a virtual function, looks at it, and removes it.
pub fn make_virtual_function() -> io::Result<()> {
    let devices = "/sys/bus/pci/devices";
    let physical = format!("{devices}/0000:6a:01.0");
    let virtual_function = format!("{devices}/0000:6a:01.1");
    let numvfs = format!("{physical}/sriov_numvfs");
    let seen = || -> io::Result<_> {
        let nodes = names(Path::new("/dev/vfio/devices"))?;
        Ok((names(Path::new(devices))?, nodes, fs::read_to_string(&numvfs)?))
    };
    let set = |text: &str| {
        let file = fs::OpenOptions::new().write(true).open(&numvfs)?;
        io::Write::write(&mut &file, text.as_bytes())
    };
    let read_and_written = || -> io::Result<_> {
        let file = fs::OpenOptions::new().read(true).write(true).open(&numvfs)?;
        let mut text = String::new();
        (&file).take(100).read_to_string(&mut text)?;
        Ok(text)
    };
    let pair = |first: &str, second: &str, third: &str| {
        (first.to_owned(), second.to_owned(), third.to_owned())
    };
    for _ in 0..2 {
        same("before", seen()?, pair("0000:6a:01.0", "vfio0", "0\n"))?;
        same("it ends", read_and_written()?, "0\n".to_owned())?;
        same("none", set("0")?, 1)?;
        same("too many", set("2").map_err(|error| error.raw_os_error()), Err(Some(34)))?;
        same("nonsense", set("x").map_err(|error| error.raw_os_error()), Err(Some(22)))?;
        same("one", set("1\n")?, 2)?;
        let (mut addresses, nodes, number) = seen()?;
        addresses = sorted(&addresses);
        same(
            "after",
            (addresses, sorted(&nodes), number),
            pair("0000:6a:01.0 0000:6a:01.1", "vfio0 vfio1", "1\n"),
        )?;
        let real = |name: String| fs::canonicalize(name).map(path);
        same("of it", real(format!("{physical}/virtfn0"))?, real(virtual_function.clone())?)?;
        same("back", real(format!("{virtual_function}/physfn"))?, real(physical.clone())?)?;
        same(
            "its driver",
            real(format!("{virtual_function}/driver"))?,
            "/sys/bus/pci/drivers/vfio-pci".to_owned(),
        )?;
        same(
            "its group",
            real(format!("{virtual_function}/iommu_group"))?,
            "/sys/kernel/iommu_groups/1".to_owned(),
        )?;
        let open = || fs::File::options().read(true).write(true).open("/dev/vfio/devices/vfio1");
        open()?;
        set("0")?;
        same("gone", open().map_err(|error| error.kind()).err(), Some(io::ErrorKind::NotFound))?;
        same("its folder", fs::metadata(&virtual_function).is_err(), true)?;
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> io::Result<()> {
    match found == expected {
        true => Ok(()),
        false => Err(io::Error::other(format!("{what}: {found:?}, not {expected:?}"))),
    }
}

fn sorted(names: &str) -> String {
    let mut names: Vec<_> = names.split(' ').collect();
    names.sort_unstable();
    names.join(" ")
}

fn lines(name: &str, count: usize) -> io::Result<String> {
    Ok(fs::read_to_string(name)?.lines().take(count).collect::<Vec<_>>().join("\n"))
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
