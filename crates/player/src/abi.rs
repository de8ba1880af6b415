//! The argument structs of `/dev/iommu`, written out once more.
//!
//! The player is a referee: it must not share a layout with the system that it judges, so these are its
//! own copies of `include/uapi/linux/iommufd.h` (and of `drivers/iommu/iommufd/iommufd_test.h` for the
//! mock device), in the kernel's spelling. Each struct names its command number, the name that output
//! lines use and, checked at compile time, its size.
//!
//! *Not here:* meaning. Which values are asked is the business of [`crate::ops`].

#![allow(non_camel_case_types)] // the kernel's names, so that one grep finds both sides

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A struct that one ioctl takes; its first field is its own size.
pub trait Command: FromBytes + IntoBytes + Immutable {
    /// What output lines call it.
    const NAME: &'static str;
    /// The command number under type 0x3b.
    const NR: u8;
}

/// One struct: its command number, its name in output lines, its size in bytes, then its fields.
macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $nr:literal, $line:literal, $size:literal { $($field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable)]
        pub struct $name { $(pub $field: $type),* }

        const _: () = assert!(size_of::<$name>() == $size);

        impl Command for $name {
            const NAME: &'static str = $line;
            const NR: u8 = $nr;
        }
    )*};
}

commands! {
    iommu_destroy = 0x80, "destroy", 8 { size: u32, id: u32 }

    iommu_ioas_alloc = 0x81, "ioas_alloc", 12 { size: u32, flags: u32, out_ioas_id: u32 }

    iommu_ioas_allow_iovas = 0x82, "allow", 24 {
        size: u32, ioas_id: u32, num_iovas: u32, __reserved: u32, allowed_iovas: u64,
    }

    iommu_ioas_copy = 0x83, "copy", 40 {
        size: u32, flags: u32, dst_ioas_id: u32, src_ioas_id: u32, length: u64, dst_iova: u64, src_iova: u64,
    }

    iommu_ioas_iova_ranges = 0x84, "ranges", 32 {
        size: u32, ioas_id: u32, num_iovas: u32, __reserved: u32, allowed_iovas: u64, out_iova_alignment: u64,
    }

    iommu_ioas_map = 0x85, "map", 40 {
        size: u32, flags: u32, ioas_id: u32, __reserved: u32, user_va: u64, length: u64, iova: u64,
    }

    iommu_ioas_unmap = 0x86, "unmap", 24 { size: u32, ioas_id: u32, iova: u64, length: u64 }

    iommu_option = 0x87, "option", 24 {
        size: u32, option_id: u32, op: u16, __reserved: u16, object_id: u32, val64: u64,
    }

    iommu_vfio_ioas = 0x88, "vfio_ioas", 12 { size: u32, ioas_id: u32, op: u16, __reserved: u16 }

    iommu_hwpt_alloc = 0x89, "hwpt_alloc", 48 {
        size: u32, flags: u32, dev_id: u32, pt_id: u32, out_hwpt_id: u32, __reserved: u32,
        data_type: u32, data_len: u32, data_uptr: u64, fault_id: u32, __reserved2: u32,
    }

    iommu_hw_info = 0x8a, "hw_info", 40 {
        size: u32, flags: u32, dev_id: u32, data_len: u32, data_uptr: u64,
        out_data_type: u32, out_max_pasid_log2: u8, __reserved: [u8; 3], out_capabilities: u64,
    }

    iommu_hwpt_set_dirty_tracking = 0x8b, "dirty_set", 16 { size: u32, flags: u32, hwpt_id: u32, __reserved: u32 }

    iommu_hwpt_get_dirty_bitmap = 0x8c, "dirty_get", 48 {
        size: u32, hwpt_id: u32, flags: u32, __reserved: u32, iova: u64, length: u64, page_size: u64, data: u64,
    }

    iommu_hwpt_invalidate = 0x8d, "invalidate", 32 {
        size: u32, hwpt_id: u32, data_uptr: u64, data_type: u32, entry_len: u32, entry_num: u32, __reserved: u32,
    }

    iommu_fault_alloc = 0x8e, "fault_alloc", 16 { size: u32, flags: u32, out_fault_id: u32, out_fault_fd: i32 }

    iommu_ioas_map_file = 0x8f, "map_file", 40 {
        size: u32, flags: u32, ioas_id: u32, fd: i32, start: u64, length: u64, iova: u64,
    }

    iommu_viommu_alloc = 0x90, "viommu_alloc", 40 {
        size: u32, flags: u32, r#type: u32, dev_id: u32, hwpt_id: u32, out_viommu_id: u32,
        data_len: u32, __reserved: u32, data_uptr: u64,
    }

    iommu_vdevice_alloc = 0x91, "vdevice_alloc", 24 {
        size: u32, viommu_id: u32, dev_id: u32, out_vdevice_id: u32, virt_id: u64,
    }

    iommu_veventq_alloc = 0x93, "veventq_alloc", 32 {
        size: u32, flags: u32, viommu_id: u32, r#type: u32, veventq_depth: u32,
        out_veventq_id: u32, out_veventq_fd: i32, __reserved: u32,
    }

    iommu_hw_queue_alloc = 0x94, "hw_queue", 40 {
        size: u32, flags: u32, viommu_id: u32, r#type: u32, index: u32, out_hw_queue_id: u32,
        nesting_parent_iova: u64, length: u64,
    }

    /// The mock device's command. The kernel has a union of structs after `__reserved`; here it is twelve
    /// words, as `w` (32 bits) or through [`iommu_test_cmd::q`] (64 bits).
    iommu_test_cmd = 0xa0, "test", 72 {
        size: u32, op: u32, id: u32, __reserved: u32, w: [u32; 12], last: u32, __padding: u32,
    }
}

impl iommu_test_cmd {
    /// The `i`th 64-bit word of the union: 32-bit words `2 * i` and `2 * i + 1`.
    pub fn q(&self, i: usize) -> u64 {
        u64::from(self.w[2 * i]) | u64::from(self.w[2 * i + 1]) << 32
    }

    /// Writes the `i`th 64-bit word of the union.
    pub fn set_q(&mut self, i: usize, value: u64) {
        (self.w[2 * i], self.w[2 * i + 1]) = (value as u32, (value >> 32) as u32);
    }
}

/// Operations of the mock device, `enum` in `iommufd_test.h`.
pub mod test_op {
    pub const ADD_RESERVED: u32 = 1;
    pub const MOCK_DOMAIN: u32 = 2;
    pub const MD_CHECK_MAP: u32 = 3;
    pub const CREATE_ACCESS: u32 = 5;
    pub const ACCESS_RW: u32 = 8;
    pub const MOCK_DOMAIN_REPLACE: u32 = 10;
    pub const MOCK_DOMAIN_FLAGS: u32 = 12;
    pub const DIRTY: u32 = 13;
    pub const MD_CHECK_IOTLB: u32 = 14;
    pub const TRIGGER_IOPF: u32 = 15;
    pub const DEV_CHECK_CACHE: u32 = 16;
    pub const TRIGGER_VEVENT: u32 = 17;
    /// The first of four: attach, replace, detach, check a PASID's domain.
    pub const PASID_ATTACH: u32 = 18;
}

/// `IOMMU_HWPT_DATA_SELFTEST`: a nested domain of the mock device.
pub const HWPT_DATA_SELFTEST: u32 = 0xdead;
/// `IOMMU_VIOMMU_TYPE_SELFTEST`; also the type of hardware queues and of hwpt invalidations.
pub const SELFTEST: u32 = 0xdead_beef;
/// `IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST`.
pub const VIOMMU_INVALIDATE_SELFTEST: u32 = 0x0dad_beef;
/// `IOMMU_VEVENTQ_TYPE_SELFTEST`.
pub const VEVENTQ_SELFTEST: u32 = 0xbeef_beef;
/// `IOMMU_TEST_IOTLB_DEFAULT`: what a fresh nested domain's IOTLB entries hold.
pub const IOTLB_DEFAULT: u32 = 0x0bad_beef;
/// `IOMMU_TEST_DEV_CACHE_DEFAULT`: what a fresh virtual device's cache entries hold.
pub const DEV_CACHE_DEFAULT: u32 = 0x00ba_ddad;
