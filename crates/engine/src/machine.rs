//! The machines that a program can be run on.

use crate::hw::Hardware;
use crate::hw::selftest::Selftest;

/// A machine: which hardware it has, and what its kernel was built with.
#[derive(Debug)]
pub struct Machine {
    /// The name, as `--machine` takes it.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Whether `IOMMU_TEST_CMD` and fault injection are there (`CONFIG_IOMMUFD_TEST`).
    pub has_test_command: bool,
    /// Hardware of the devices that the test command makes.
    pub(crate) mock: &'static dyn Hardware,
}

/// Every machine.
pub const MACHINES: &[Machine] = &[Machine {
    name: "selftest",
    summary: "the kernel's own mock IOMMU, driven by IOMMU_TEST_CMD (CONFIG_IOMMUFD_TEST=y)",
    has_test_command: true,
    mock: &Selftest,
}];

impl Machine {
    /// The machine with this name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        MACHINES.iter().find(|machine| machine.name == name)
    }
}
