//! What the kernel's selftests are compiled from and with. All of this file is the key of the
//! cache: whatever changes here compiles them again.
//!
//! The packages are of a later Debian than the one this runs on: the kernel headers of Debian 12
//! do not know the calls that the tests make. `linux-libc-dev` stands in for the kernel's own
//! `make headers_install`, which would need flex, bison and more.

use std::num::NonZero;
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;

use crate::failure::Result;
use crate::process;

/// A Debian package, pinned by its content.
pub struct Package {
    pub name: &'static str,
    pub sha256: &'static str,
}

/// Release of the kernel.
pub const KERNEL: &str = "7.3.4";
/// Debian's version of both packages.
pub const VERSION: &str = "7.3.4-1~bpo13+1";
/// Debian's suite that has them.
pub const DEBIAN_SUITE: &str = "trixie-backports";
/// The keys of Debian's archive, on every Debian.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The kernel's source, as a compressed archive.
pub const SOURCE: Package = Package {
    name: "linux-source-7.3",
    sha256: "703e369ddd4cce971452f5a593ee55df3a5c10c83caf0fa0df039633ed181ee3",
};

/// The kernel's headers for programs.
pub const HEADERS: Package = Package {
    name: "linux-libc-dev",
    sha256: "b3a4538fca67081c8606a93f37521d0eb74ac75996a02f3321a6b27f978e10a8",
};

/// Where the source package puts its archive.
pub const ARCHIVE: &str = "usr/src/linux-source-7.3.tar.xz";
/// The archive's one top folder.
pub const TOP: &str = "linux-source-7.3";

/// The part of the archive that compiles the suites: 12 MB of 1.6 GB.
pub const MEMBERS: &[&str] = &[
    "scripts/subarch.include",
    "tools/testing/selftests/lib.mk",
    "tools/testing/selftests/kselftest.h",
    "tools/testing/selftests/kselftest_harness.h",
    "tools/testing/selftests/kselftest",
    "tools/testing/selftests/iommu",
    "tools/testing/selftests/vfio",
    "tools/include",
    "tools/arch/x86/include",
    "tools/scripts",
    "include/linux/pci_ids.h",
    "include/uapi/linux",
    "drivers/iommu/iommufd/iommufd_test.h",
    // The vfio suite links to the registers of the drivers that it drives.
    "drivers/dma/ioat",
    "drivers/dma/idxd/registers.h",
    "drivers/net/ethernet/intel/igb",
];

/// The suites' folders, with the programs that are kept of each.
pub const SUITES: &[(&str, &[&str])] = &[
    ("iommu", &["iommufd", "iommufd_fail_nth"]),
    (
        "vfio",
        &[
            "vfio_dma_mapping_mmio_test",
            "vfio_dma_mapping_test",
            "vfio_iommufd_setup_test",
            "vfio_pci_device_init_perf_test",
            "vfio_pci_device_test",
            "vfio_pci_driver_test",
            "vfio_pci_sriov_uapi_test",
        ],
    ),
];

/// Compiles one suite of the kernel tree `source` into `output`, against unpacked `headers`.
pub fn compile(suite: &str, source: &Path, headers: &Path, output: &Path) -> Result {
    let include = headers.join("usr/include");
    // asm/ is a link out of the second folder.
    let include = [include.clone(), include.join("x86_64-linux-gnu")];
    let [include, asm] = include.map(|folder| format!("-isystem {}", folder.display()));
    let mut make = Command::new("make");
    make.arg("--silent")
        .arg(format!("--jobs={}", available_parallelism().map_or(1, NonZero::get)))
        .arg("--directory")
        .arg(source.join("tools/testing/selftests").join(suite))
        .arg(format!("OUTPUT={}", output.display()))
        .arg(format!("KHDR_INCLUDES={include} {asm}"));
    for inherited in ["ARCH", "CC", "CFLAGS", "CROSS_COMPILE", "LDFLAGS", "LDLIBS", "MAKEFLAGS"] {
        make.env_remove(inherited);
    }
    process::run(&mut make)
}
