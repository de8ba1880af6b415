//! The machines that a program can be run on.

/// A machine: which hardware it has, and what its kernel was built with.
#[derive(Debug)]
pub struct Machine {
    /// The name, as `--machine` takes it.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Whether `IOMMU_TEST_CMD` and fault injection are there (`CONFIG_IOMMUFD_TEST`).
    pub has_test_command: bool,
}

/// Every machine.
pub const MACHINES: &[Machine] = &[Machine {
    name: "selftest",
    summary: "the kernel's own mock IOMMU, driven by IOMMU_TEST_CMD (CONFIG_IOMMUFD_TEST=y)",
    has_test_command: true,
}];

impl Machine {
    /// The machine with this name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        MACHINES.iter().find(|machine| machine.name == name)
    }
}
