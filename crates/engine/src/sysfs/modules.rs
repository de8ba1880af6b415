//! Modules of VFIO and of iommufd, and their parameters, as programs look for them.
//!
//! | parameter | module | source |
//! |---|---|---|
//! | `allow_unsafe_interrupts` | `iommufd`, `vfio_iommu_type1` | `device.c`, `vfio_iommu_type1.c` |
//! | `disable_hugepages`, `dma_entry_limit` | `vfio_iommu_type1` | `vfio_iommu_type1.c` |
//! | `enable_unsafe_noiommu_mode` | `vfio` | `group.c` |
//! | `disable_denylist`, `disable_idle_d3`, `disable_vga`, `enable_sriov`, `ids`, `nointxmask` | `vfio_pci` | `vfio_pci.c` |

use profile::{Kernel, Machine, Quirk};

use super::{Entry, Tree, text};

/// Adds them. All have their defaults, but for `allow_unsafe_interrupts`, which the machine's file says, and
/// `enable_sriov`: a machine that has virtual functions lets programs make them.
pub(super) fn add(tree: &mut Tree, machine: &Machine, kernel: &Kernel) {
    let yes_or_no = |it| if it { "Y" } else { "N" };
    let enable_sriov = yes_or_no(machine.devices.iter().any(|device| device.total_vfs > 0));
    let unsafe_interrupts = yes_or_no(machine.unsafe_interrupts);
    #[rustfmt::skip] // one module, one line
    let modules: &[(&str, &[(&str, &str)])] = &[
        ("iommufd", &[("allow_unsafe_interrupts", unsafe_interrupts)]),
        ("vfio", &[("enable_unsafe_noiommu_mode", "N")]),
        ("vfio_iommu_type1", &[("allow_unsafe_interrupts", unsafe_interrupts), ("disable_hugepages", "N"), ("dma_entry_limit", "65535")]),
        ("vfio_pci", &[("disable_denylist", "N"), ("disable_idle_d3", "N"), ("disable_vga", "N"), ("enable_sriov", enable_sriov), ("ids", ""), ("nointxmask", "N")]),
    ];
    let is_there = |module: &str| module != "iommufd" || kernel.has(Quirk::Iommufd);
    for (module, parameters) in modules.iter().filter(|(module, _)| is_there(module)) {
        let folder = format!("module/{module}");
        tree.insert(folder.clone(), Entry::Folder);
        for (name, value) in *parameters {
            text(tree, format!("{folder}/parameters/{name}"), format_args!("{value}"));
        }
    }
}
