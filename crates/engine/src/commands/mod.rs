//! What each command does, a file a family, and the table of all.

mod events;
mod general;
mod hw_info;
mod hwpt;
pub(crate) mod ioas;
mod test;
pub(crate) mod vfio_compat;
mod viommu;

use uapi::command::COMMANDS;

use crate::call::Entry;
use crate::context::Context;

#[rustfmt::skip] // one command, one line
const ENTRIES: &[Entry] = &[
    Entry::of::<general::Destroy>(),
    Entry::of::<ioas::IoasAlloc>(),
    Entry::of::<ioas::AllowIovas>(),
    Entry::of::<ioas::IoasCopy>(),
    Entry::of::<ioas::IovaRanges>(),
    Entry::of::<ioas::IoasMap>(),
    Entry::of::<ioas::IoasUnmap>(),
    Entry::of::<general::SetOption>(),
    Entry::of::<general::VfioIoas>(),
    Entry::of::<hwpt::HwptAlloc>(),
    Entry::of::<hw_info::GetHwInfo>(),
    Entry::of::<hwpt::SetDirtyTracking>(),
    Entry::of::<hwpt::GetDirtyBitmap>(),
    Entry::of::<hwpt::Invalidate>(),
    Entry::of::<events::FaultQueueAlloc>(),
    Entry::of::<ioas::IoasMapFile>(),
    Entry::of::<viommu::ViommuAlloc>(),
    Entry::of::<viommu::VdeviceAlloc>(),
    Entry::of::<ioas::ChangeProcess>(),
    Entry::of::<events::VeventqAlloc>(),
    Entry::of::<viommu::HwQueueAlloc>(),
    Entry::of::<ioas::NoiommuGetPa>(),
    Entry::of::<test::Test>(),
];

/// How much of a command works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Answers as Linux does.
    Works,
    /// Answers as Linux does, as far as the text says.
    Partly(&'static str),
    /// Is not there yet.
    Not,
}

/// How much of each command works, by command number. The README's table is printed from it.
#[rustfmt::skip] // one command, one line
pub const STATUS: &[(u8, Status)] = &[
    (0x80, Status::Works),
    (0x81, Status::Works),
    (0x82, Status::Works),
    (0x83, Status::Works),
    (0x84, Status::Works),
    (0x85, Status::Works),
    (0x86, Status::Works),
    (0x87, Status::Partly("RLIMIT_MODE is open to every user, and no limit is enforced")),
    (0x88, Status::Works),
    (0x89, Status::Works),
    (0x8a, Status::Works),
    (0x8b, Status::Works),
    (0x8c, Status::Works),
    (0x8d, Status::Works),
    (0x8e, Status::Works),
    (0x8f, Status::Works),
    (0x90, Status::Partly("all but NVIDIA's command queues (types 2 and 3)")),
    (0x91, Status::Works),
    (0x92, Status::Works),
    (0x93, Status::Works),
    (0x94, Status::Partly("the mock device's type only")),
    (0x95, Status::Partly("refused as on a machine without a device in no-IOMMU mode")),
    (0xa0, Status::Works),
];

/// How much of each call on a VFIO device works: name, first generation, what it is for.
#[rustfmt::skip] // one call, one line
pub const VFIO_STATUS: &[(&str, &str, &str, Status)] = &[
    ("VFIO_DEVICE_BIND_IOMMUFD",      "6.6", "Put a device under an iommufd", Status::Works),
    ("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "6.6", "Attach it, or since 6.15 one of its PASIDs, to a page table", Status::Works),
    ("VFIO_DEVICE_DETACH_IOMMUFD_PT", "6.6", "Attach it, or one of its PASIDs, to nothing", Status::Works),
    ("VFIO_DEVICE_GET_INFO",          "6.2", "What kind of device it is", Status::Works),
    ("VFIO_DEVICE_GET_REGION_INFO",   "6.2", "Where a region is in the file", Status::Works),
    ("VFIO_DEVICE_GET_IRQ_INFO",      "6.2", "How many interrupts of a kind there are", Status::Works),
    ("VFIO_DEVICE_SET_IRQS",          "6.2", "Say who is told of interrupts, mask them, raise them", Status::Works),
    ("VFIO_DEVICE_RESET",             "6.2", "Reset the device", Status::Works),
    ("VFIO_DEVICE_FEATURE",           "6.2", "Low power, the token of SR-IOV devices, what a device with a log has written", Status::Works),
    ("VFIO_DEVICE_PCI_HOT_RESET",     "6.2", "Reset the bus, or tell whom that reaches", Status::Partly("no bus here can be reset: `ENODEV`")),
    ("VFIO_DEVICE_IOEVENTFD",         "6.2", "A store to a BAR when an eventfd is raised", Status::Partly("checked, then `ENOSPC`")),
    ("VFIO_GROUP_GET_STATUS",         "6.2", "Whether a group can be used, and has a container", Status::Works),
    ("VFIO_GROUP_SET_CONTAINER",      "6.2", "Put a group into a container, or under an iommufd", Status::Works),
    ("VFIO_GROUP_UNSET_CONTAINER",    "6.2", "Take it out again", Status::Works),
    ("VFIO_GROUP_GET_DEVICE_FD",      "6.2", "Open a device through its group", Status::Works),
    ("VFIO_SET_IOMMU",                "6.2", "Choose type1 or type1v2 for a container", Status::Works),
    ("VFIO_IOMMU_GET_INFO",           "6.2", "Page sizes, IOVA ranges and limits of a container", Status::Works),
    ("VFIO_IOMMU_MAP_DMA",            "6.2", "Map memory in a container", Status::Partly("no limit is enforced; of a mapped BAR devices can only read")),
    ("VFIO_IOMMU_UNMAP_DMA",          "6.2", "Unmap it, or take its address back", Status::Works),
    ("VFIO_IOMMU_DIRTY_PAGES",        "6.2", "Which pages devices may have written", Status::Works),
];

/// What works of the API of 2020, which `run --kernel 2020` has: the call or region, for which IOMMUs it was
/// posted, what it is for, and how far it goes.
#[rustfmt::skip] // one call, one line
pub const Y2020_STATUS: &[(&str, &str, &str, Status)] = &[
    ("VFIO_CHECK_EXTENSION",        "all",    "The version of the arguments", Status::Works),
    ("VFIO_SET_IOMMU",              "all",    "A nesting container, of one group", Status::Works),
    ("VFIO_IOMMU_GET_INFO",         "VT-d",   "What the IOMMU can do with a guest's tables", Status::Works),
    ("VFIO_IOMMU_PASID_REQUEST",    "VT-d",   "Take PASIDs of the host, and give them back", Status::Works),
    ("VFIO_IOMMU_NESTING_OP",       "VT-d",   "Bind and unbind a guest's page table, invalidate", Status::Partly("no memory types")),
    ("DMA_FAULT",                   "all",    "The region by which faults come, and its interrupt", Status::Works),
    ("DMA_FAULT_RESPONSE",          "all",    "The region by which page requests and stalls are answered", Status::Works),
    ("VFIO_IOMMU_SET_PASID_TABLE",  "SMMUv3", "Bind and unbind a guest's table of PASIDs", Status::Works),
    ("VFIO_IOMMU_CACHE_INVALIDATE", "SMMUv3", "Invalidate translations and context descriptors", Status::Works),
    ("VFIO_IOMMU_SET_MSI_BINDING",  "SMMUv3", "Where a guest has the doorbell of messages", Status::Not),
];

/// The highest command number that this machine's kernel has a place for.
pub(crate) fn last_nr(context: &Context) -> u8 {
    let known = ENTRIES.iter().filter(|entry| known_size(context, entry).is_some());
    known.map(|entry| entry.nr).max().unwrap_or(0)
}

/// The command with this number and the size of its argument, if this machine's kernel has it.
pub(crate) fn entry(context: &Context, nr: u8) -> Option<(&'static Entry, usize)> {
    let entry = ENTRIES.iter().find(|entry| entry.nr == nr)?;
    Some((entry, known_size(context, entry)?))
}

fn known_size(context: &Context, entry: &Entry) -> Option<usize> {
    let is_test = entry.nr == uapi::selftest::IOMMU_TEST_CMD as u8;
    let engine = &context.engine;
    entry.size_in(engine.kernel).filter(|_| !is_test || engine.machine.test_command)
}

// every command of the header has an entry and a status
const _: () = assert!(ENTRIES.len() == COMMANDS.len() && STATUS.len() == COMMANDS.len());
