//! `include/uapi/linux/iommufd.h` of 7.3, split by concept.
//!
//! Names are re-exported here; the modules below are for reading. In every command's argument
//! `size` is the caller's size of the struct ([`crate::command`]), so the tables leave it out.
//! "In" is read by the kernel, "out" written, and `EOPNOTSUPP` is its word for "not known to me".
//! Where a struct is an element or a record, the direction is that of its array or file.
//!
//! | here | concept |
//! |---|---|
//! | `context` | objects, options, the IOAS of the type1 container |
//! | `ioas` | I/O address spaces and what they map |
//! | `hwpt` | hardware page tables, dirty tracking, invalidation |
//! | `hw_info` | what the hardware can do |
//! | `viommu` | virtual IOMMUs, their devices and queues |
//! | `event` | page faults and virtual events |

mod context;
mod event;
mod hw_info;
mod hwpt;
mod ioas;
mod viommu;

pub use context::*;
pub use event::*;
pub use hw_info::*;
pub use hwpt::*;
pub use ioas::*;
pub use viommu::*;

pub use crate::command::{IOMMUFD_CMD_BASE, IOMMUFD_TYPE};

/// Command number of [`iommu_destroy`].
pub const IOMMUFD_CMD_DESTROY: u8 = 0x80;
/// Command number of [`iommu_ioas_alloc`].
pub const IOMMUFD_CMD_IOAS_ALLOC: u8 = 0x81;
/// Command number of [`iommu_ioas_allow_iovas`].
pub const IOMMUFD_CMD_IOAS_ALLOW_IOVAS: u8 = 0x82;
/// Command number of [`iommu_ioas_copy`].
pub const IOMMUFD_CMD_IOAS_COPY: u8 = 0x83;
/// Command number of [`iommu_ioas_iova_ranges`].
pub const IOMMUFD_CMD_IOAS_IOVA_RANGES: u8 = 0x84;
/// Command number of [`iommu_ioas_map`].
pub const IOMMUFD_CMD_IOAS_MAP: u8 = 0x85;
/// Command number of [`iommu_ioas_unmap`].
pub const IOMMUFD_CMD_IOAS_UNMAP: u8 = 0x86;
/// Command number of [`iommu_option`].
pub const IOMMUFD_CMD_OPTION: u8 = 0x87;
/// Command number of [`iommu_vfio_ioas`].
pub const IOMMUFD_CMD_VFIO_IOAS: u8 = 0x88;
/// Command number of [`iommu_hwpt_alloc`].
pub const IOMMUFD_CMD_HWPT_ALLOC: u8 = 0x89;
/// Command number of [`iommu_hw_info`].
pub const IOMMUFD_CMD_GET_HW_INFO: u8 = 0x8a;
/// Command number of [`iommu_hwpt_set_dirty_tracking`].
pub const IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING: u8 = 0x8b;
/// Command number of [`iommu_hwpt_get_dirty_bitmap`].
pub const IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP: u8 = 0x8c;
/// Command number of [`iommu_hwpt_invalidate`].
pub const IOMMUFD_CMD_HWPT_INVALIDATE: u8 = 0x8d;
/// Command number of [`iommu_fault_alloc`].
pub const IOMMUFD_CMD_FAULT_QUEUE_ALLOC: u8 = 0x8e;
/// Command number of [`iommu_ioas_map_file`].
pub const IOMMUFD_CMD_IOAS_MAP_FILE: u8 = 0x8f;
/// Command number of [`iommu_viommu_alloc`].
pub const IOMMUFD_CMD_VIOMMU_ALLOC: u8 = 0x90;
/// Command number of [`iommu_vdevice_alloc`].
pub const IOMMUFD_CMD_VDEVICE_ALLOC: u8 = 0x91;
/// Command number of [`iommu_ioas_change_process`].
pub const IOMMUFD_CMD_IOAS_CHANGE_PROCESS: u8 = 0x92;
/// Command number of [`iommu_veventq_alloc`].
pub const IOMMUFD_CMD_VEVENTQ_ALLOC: u8 = 0x93;
/// Command number of [`iommu_hw_queue_alloc`].
pub const IOMMUFD_CMD_HW_QUEUE_ALLOC: u8 = 0x94;
/// Command number of [`iommu_ioas_noiommu_get_pa`].
pub const IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA: u8 = 0x95;
