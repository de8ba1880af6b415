//! `IOMMU_TEST_CMD`: the kernel's own mock device, which its self-tests drive.
//!
//! Present only in kernels built with `CONFIG_IOMMUFD_TEST`. Not a stable ABI: what stands here is
//! the ABI of 7.3. One command with an operation number and a union; the argument struct of
//! operation `IOMMU_TEST_OP_X` is `iommu_test_x`, or the one its table row names.
//!
//! | operation | `id` | argument |
//! |---|---|---|
//! | `ADD_RESERVED` | IOAS | [`iommu_test_add_reserved`] |
//! | `MOCK_DOMAIN`, `MOCK_DOMAIN_FLAGS` | IOAS or hwpt | [`iommu_test_mock_domain`], [`iommu_test_mock_domain_flags`] |
//! | `MOCK_DOMAIN_REPLACE` | mock device | [`iommu_test_mock_domain_replace`] |
//! | `MD_CHECK_MAP`, `MD_CHECK_IOTLB` | hwpt | [`iommu_test_check_map`], [`iommu_test_check_iotlb`] |
//! | `MD_CHECK_REFS` | - | [`iommu_test_check_refs`] |
//! | `CREATE_ACCESS` | IOAS | [`iommu_test_create_access`] |
//! | `ACCESS_PAGES`, `DESTROY_ACCESS_PAGES`, `ACCESS_RW`, `ACCESS_REPLACE_IOAS` | file descriptor of an access | [`iommu_test_access_pages`], [`iommu_test_destroy_access_pages`], [`iommu_test_access_rw`], [`iommu_test_access_replace_ioas`] |
//! | `SET_TEMP_MEMORY_LIMIT` | - | [`iommu_test_memory_limit`] |
//! | `DIRTY` | hwpt | [`iommu_test_dirty`] |
//! | `TRIGGER_IOPF`, `TRIGGER_VEVENT` | - | [`iommu_test_trigger_iopf`], [`iommu_test_trigger_vevent`] |
//! | `DEV_CHECK_CACHE` | device | [`iommu_test_check_dev_cache`] |
//! | `PASID_ATTACH`, `PASID_REPLACE`, `PASID_DETACH`, `PASID_CHECK_HWPT` | mock device | [`iommu_test_pasid_attach`], [`iommu_test_pasid_replace`], [`iommu_test_pasid_detach`], [`iommu_test_pasid_check`] |
//! | `DMABUF_GET`, `DMABUF_REVOKE` | - | [`iommu_test_dmabuf_get`], [`iommu_test_dmabuf_revoke`] |
//!
//! Argument structs end in named padding where a C compiler would add it.
//!
//! The file is long because the ABI is: one struct and one number per operation, and nothing else.

#![allow(non_camel_case_types)] // the header's spelling, or after it
#![expect(missing_docs, reason = "fields are described by their struct, or by their name")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::command::IOMMUFD_CMD_BASE;
use crate::{Command, Generation};

/// Argument of `IOMMU_TEST_CMD`: drive the mock device.
///
/// Layout: 7.3 (72 bytes).
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `op` | in | `EOPNOTSUPP` when it is no `IOMMU_TEST_OP_*` |
/// | `id` | in | the object of the operation; `ENOENT` when it is no such object |
/// | `__reserved`, `last` | - | not looked at |
/// | `args` | in, out | the union, [`Self::args_as`] and [`Self::set_args`] |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_cmd {
    pub size: u32,
    pub op: u32,
    pub id: u32,
    pub __reserved: u32,
    pub args: [u64; 6],
    pub last: u32,
    pub __pad: u32,
}

/// Up to 6.6 the union was four words long, and `last` came sooner.
impl Command for iommu_test_cmd {
    const NAME: &'static str = "IOMMU_TEST_CMD";
    const NR: u8 = IOMMUFD_CMD_BASE + 32;
    const MIN_SIZE: usize = 68; // through `last`
    const SIZES: &'static [(Generation, usize)] = &[(Generation::V6_2, 56), (Generation::V6_7, 72)];

    fn min_size_in(generation: Generation) -> usize {
        if generation < Generation::V6_7 { 52 } else { Self::MIN_SIZE }
    }
}

/// Ioctl number of [`iommu_test_cmd`].
pub const IOMMU_TEST_CMD: u32 = iommu_test_cmd::IOCTL;

impl iommu_test_cmd {
    /// The first bytes of the union as the argument of an operation.
    pub fn args_as<T: FromBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= 48, "larger than the union") };
        let (args, _) = T::read_from_prefix(self.args.as_bytes()).expect("size checked above");
        args
    }

    /// Overwrites the first bytes of the union, and leaves the rest as it is.
    pub fn set_args<T: IntoBytes + Immutable>(&mut self, args: &T) {
        const { assert!(size_of::<T>() <= 48, "larger than the union") };
        args.write_to_prefix(self.args.as_mut_bytes()).expect("size checked above");
    }
}

/// Operation: reserve a range of IOVA.
pub const IOMMU_TEST_OP_ADD_RESERVED: u32 = 1;
/// Operation: make a mock device and attach it.
pub const IOMMU_TEST_OP_MOCK_DOMAIN: u32 = 2;
/// Operation: check that IOVA leads to the caller's pages.
pub const IOMMU_TEST_OP_MD_CHECK_MAP: u32 = 3;
/// Operation: check how often the caller's pages are pinned.
pub const IOMMU_TEST_OP_MD_CHECK_REFS: u32 = 4;
/// Operation: make an access, a file descriptor that stands for an in-kernel user.
pub const IOMMU_TEST_OP_CREATE_ACCESS: u32 = 5;
/// Operation: unpin what `ACCESS_PAGES` pinned.
pub const IOMMU_TEST_OP_DESTROY_ACCESS_PAGES: u32 = 6;
/// Operation: pin pages through an access.
pub const IOMMU_TEST_OP_ACCESS_PAGES: u32 = 7;
/// Operation: copy bytes through an access.
pub const IOMMU_TEST_OP_ACCESS_RW: u32 = 8;
/// Operation: limit the kernel's scratch memory.
pub const IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT: u32 = 9;
/// Operation: attach a mock device elsewhere.
pub const IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE: u32 = 10;
/// Operation: move an access to another IOAS.
pub const IOMMU_TEST_OP_ACCESS_REPLACE_IOAS: u32 = 11;
/// Operation: `MOCK_DOMAIN` with flags.
pub const IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS: u32 = 12;
/// Operation: mark pages as written by a device.
pub const IOMMU_TEST_OP_DIRTY: u32 = 13;
/// Operation: check an IOTLB entry of a nested hwpt.
pub const IOMMU_TEST_OP_MD_CHECK_IOTLB: u32 = 14;
/// Operation: raise a page fault.
pub const IOMMU_TEST_OP_TRIGGER_IOPF: u32 = 15;
/// Operation: check a device cache entry.
pub const IOMMU_TEST_OP_DEV_CHECK_CACHE: u32 = 16;
/// Operation: raise a virtual event.
pub const IOMMU_TEST_OP_TRIGGER_VEVENT: u32 = 17;
/// Operation: attach a PASID.
pub const IOMMU_TEST_OP_PASID_ATTACH: u32 = 18;
/// Operation: attach a PASID elsewhere.
pub const IOMMU_TEST_OP_PASID_REPLACE: u32 = 19;
/// Operation: detach a PASID.
pub const IOMMU_TEST_OP_PASID_DETACH: u32 = 20;
/// Operation: check what a PASID is attached to.
pub const IOMMU_TEST_OP_PASID_CHECK_HWPT: u32 = 21;
/// Operation: make a dma-buf.
pub const IOMMU_TEST_OP_DMABUF_GET: u32 = 22;
/// Operation: revoke a dma-buf, or undo that.
pub const IOMMU_TEST_OP_DMABUF_REVOKE: u32 = 23;

/// Every operation with the first generation that has it; to others it is `EOPNOTSUPP`.
#[rustfmt::skip] // one operation, one line
pub const OPERATIONS: &[(u32, Generation)] = &[
    (IOMMU_TEST_OP_ADD_RESERVED,          Generation::V6_2),
    (IOMMU_TEST_OP_MOCK_DOMAIN,           Generation::V6_2),
    (IOMMU_TEST_OP_MD_CHECK_MAP,          Generation::V6_2),
    (IOMMU_TEST_OP_MD_CHECK_REFS,         Generation::V6_2),
    (IOMMU_TEST_OP_CREATE_ACCESS,         Generation::V6_2),
    (IOMMU_TEST_OP_DESTROY_ACCESS_PAGES,  Generation::V6_2),
    (IOMMU_TEST_OP_ACCESS_PAGES,          Generation::V6_2),
    (IOMMU_TEST_OP_ACCESS_RW,             Generation::V6_2),
    (IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT, Generation::V6_2),
    (IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE,   Generation::V6_6),
    (IOMMU_TEST_OP_ACCESS_REPLACE_IOAS,   Generation::V6_6),
    (IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS,     Generation::V6_7),
    (IOMMU_TEST_OP_DIRTY,                 Generation::V6_7),
    (IOMMU_TEST_OP_MD_CHECK_IOTLB,        Generation::V6_8),
    (IOMMU_TEST_OP_TRIGGER_IOPF,          Generation::V6_11),
    (IOMMU_TEST_OP_DEV_CHECK_CACHE,       Generation::V6_13),
    (IOMMU_TEST_OP_TRIGGER_VEVENT,        Generation::V6_15),
    (IOMMU_TEST_OP_PASID_ATTACH,          Generation::V6_15),
    (IOMMU_TEST_OP_PASID_REPLACE,         Generation::V6_15),
    (IOMMU_TEST_OP_PASID_DETACH,          Generation::V6_15),
    (IOMMU_TEST_OP_PASID_CHECK_HWPT,      Generation::V6_15),
    (IOMMU_TEST_OP_DMABUF_GET,            Generation::V6_19),
    (IOMMU_TEST_OP_DMABUF_REVOKE,         Generation::V6_19),
];

/// Argument of `IOMMU_TEST_OP_ADD_RESERVED`. Bytes `start` to `start + length - 1`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_add_reserved {
    pub start: u64,
    pub length: u64,
}

/// Argument of `IOMMU_TEST_OP_MOCK_DOMAIN`. All out: mock device, hwpt, device.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_mock_domain {
    pub out_stdev_id: u32,
    pub out_hwpt_id: u32,
    pub out_idev_id: u32,
}

/// Argument of `IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS`. `dev_flags` are `MOCK_FLAGS_DEVICE_*`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_mock_domain_flags {
    pub out_stdev_id: u32,
    pub out_hwpt_id: u32,
    pub out_idev_id: u32,
    pub dev_flags: u32,
}

/// Argument of `IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE`. The IOAS or hwpt to attach to.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_mock_domain_replace {
    pub pt_id: u32,
}

/// Argument of `IOMMU_TEST_OP_MD_CHECK_MAP`. `uptr` is an address of the caller.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_check_map {
    pub iova: u64,
    pub length: u64,
    pub uptr: u64,
}

/// Argument of `IOMMU_TEST_OP_MD_CHECK_REFS`. `refs` is the expected number of pins of each page.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_check_refs {
    pub length: u64,
    pub uptr: u64,
    pub refs: u32,
    pub __pad: u32,
}

/// Argument of `IOMMU_TEST_OP_CREATE_ACCESS`. `flags` are `MOCK_FLAGS_ACCESS_CREATE_*`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_create_access {
    pub out_access_fd: u32,
    pub flags: u32,
}

/// Argument of `IOMMU_TEST_OP_DESTROY_ACCESS_PAGES`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_destroy_access_pages {
    pub access_pages_id: u32,
}

/// Argument of `IOMMU_TEST_OP_ACCESS_PAGES`. `flags` are `MOCK_FLAGS_ACCESS_*`; with
/// `uptr` not 0 the pages must be the ones there.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_access_pages {
    pub flags: u32,
    pub out_access_pages_id: u32,
    pub iova: u64,
    pub length: u64,
    pub uptr: u64,
}

/// Argument of `IOMMU_TEST_OP_ACCESS_RW`. `flags` are `MOCK_ACCESS_RW_*`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_access_rw {
    pub iova: u64,
    pub length: u64,
    pub uptr: u64,
    pub flags: u32,
    pub __pad: u32,
}

/// Argument of `IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_memory_limit {
    pub limit: u32,
}

/// Argument of `IOMMU_TEST_OP_ACCESS_REPLACE_IOAS`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_access_replace_ioas {
    pub ioas_id: u32,
}

/// Argument of `IOMMU_TEST_OP_DIRTY`. `uptr` is the address of a bitmap, one bit a page.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_dirty {
    pub flags: u32,
    pub __pad: u32,
    pub iova: u64,
    pub length: u64,
    pub page_size: u64,
    pub uptr: u64,
    pub out_nr_dirty: u64,
}

/// Argument of `IOMMU_TEST_OP_MD_CHECK_IOTLB`. Entry `id` must hold `iotlb`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_check_iotlb {
    pub id: u32,
    pub iotlb: u32,
}

/// Argument of `IOMMU_TEST_OP_TRIGGER_IOPF`. Fields as in `iommu_hwpt_pgfault`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_trigger_iopf {
    pub dev_id: u32,
    pub pasid: u32,
    pub grpid: u32,
    pub perm: u32,
    pub addr: u64,
}

/// Argument of `IOMMU_TEST_OP_DEV_CHECK_CACHE`. Entry `id` must hold `cache`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_check_dev_cache {
    pub id: u32,
    pub cache: u32,
}

/// Argument of `IOMMU_TEST_OP_TRIGGER_VEVENT`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_trigger_vevent {
    pub dev_id: u32,
}

/// Argument of `IOMMU_TEST_OP_PASID_ATTACH`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_pasid_attach {
    pub pasid: u32,
    pub pt_id: u32,
}

/// Argument of `IOMMU_TEST_OP_PASID_REPLACE`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_pasid_replace {
    pub pasid: u32,
    pub pt_id: u32,
}

/// Argument of `IOMMU_TEST_OP_PASID_DETACH`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_pasid_detach {
    pub pasid: u32,
}

/// Argument of `IOMMU_TEST_OP_PASID_CHECK_HWPT`. `hwpt_id` 0 expects nothing attached.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_pasid_check {
    pub pasid: u32,
    pub hwpt_id: u32,
}

/// Argument of `IOMMU_TEST_OP_DMABUF_GET`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_dmabuf_get {
    pub length: u32,
    pub open_flags: u32,
}

/// Argument of `IOMMU_TEST_OP_DMABUF_REVOKE`. `revoked` is 1 or 0.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_dmabuf_revoke {
    pub dmabuf_fd: i32,
    pub revoked: u32,
}

/// Page table of a mock hwpt: pages of [`MOCK_PAGE_SIZE`], inside the mock aperture.
pub const MOCK_IOMMUPT_DEFAULT: u32 = 0;
/// Page table of a mock hwpt: pages of 4 KiB and [`MOCK_HUGE_PAGE_SIZE`].
pub const MOCK_IOMMUPT_HUGE: u32 = 1;
/// Page table of a mock hwpt: AMDv1 itself. In 6.19 and 7.0 only.
pub const MOCK_IOMMUPT_AMDV1: u32 = 2;

/// First IOVA of [`MOCK_IOMMUPT_DEFAULT`].
pub const MOCK_APERTURE_START: u64 = 1 << 24;
/// Last IOVA of [`MOCK_IOMMUPT_DEFAULT`].
pub const MOCK_APERTURE_LAST: u64 = (1 << 31) - 1;
/// Bytes of a page of [`MOCK_IOMMUPT_DEFAULT`], less than the CPU's.
pub const MOCK_PAGE_SIZE: u64 = 2048;
/// Bytes of a large page.
pub const MOCK_HUGE_PAGE_SIZE: u64 = 512 * MOCK_PAGE_SIZE;

/// Flag of `ACCESS_PAGES`: pin for writing.
pub const MOCK_FLAGS_ACCESS_WRITE: u32 = 1 << 0;
/// Flag of `ACCESS_PAGES`, `ACCESS_RW` and `IOMMU_IOAS_COPY`: `iova` is an index of area and an offset,
/// for fuzzers.
pub const MOCK_FLAGS_ACCESS_SYZ: u32 = 1 << 16;
/// Flag of `ACCESS_RW`: write to the IOVA.
pub const MOCK_ACCESS_RW_WRITE: u32 = 1 << 0;
/// Flag of `ACCESS_RW`: take the path for callers without the address space.
pub const MOCK_ACCESS_RW_SLOW_PATH: u32 = 1 << 2;
/// Flag of `CREATE_ACCESS`: will pin, so IOVA must be aligned to pages.
pub const MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES: u32 = 1 << 0;
/// Flag of `MOCK_DOMAIN_FLAGS`: no dirty tracking.
pub const MOCK_FLAGS_DEVICE_NO_DIRTY: u32 = 1 << 0;
/// Flag of a mock device: its page tables have large pages. Up to 6.18.
pub const MOCK_FLAGS_DEVICE_HUGE_IOVA: u32 = 1 << 1;
/// Flag of `MOCK_DOMAIN_FLAGS`: PASIDs of [`MOCK_PASID_WIDTH`] bits.
pub const MOCK_FLAGS_DEVICE_PASID: u32 = 1 << 2;

/// Last IOTLB entry of a nested mock hwpt.
pub const MOCK_NESTED_DOMAIN_IOTLB_ID_MAX: u32 = 3;
/// IOTLB entries of a nested mock hwpt.
pub const MOCK_NESTED_DOMAIN_IOTLB_NUM: u32 = 4;
/// Last cache entry of a mock device.
pub const MOCK_DEV_CACHE_ID_MAX: u32 = 3;
/// Cache entries of a mock device.
pub const MOCK_DEV_CACHE_NUM: u32 = 4;
/// The PASID whose second attach fails with `ENOMEM`, once.
pub const IOMMU_TEST_PASID_RESERVED: u32 = 1024;
/// Bits of PASID of a mock device.
pub const MOCK_PASID_WIDTH: u32 = 20;
/// The value that the self-tests give the IOTLB entries of a nested mock hwpt.
pub const IOMMU_TEST_IOTLB_DEFAULT: u32 = 0x0bad_beef;
/// What a cache entry holds at first.
pub const IOMMU_TEST_DEV_CACHE_DEFAULT: u32 = 0x00ba_ddad;

/// Hardware information type: [`iommu_test_hw_info`].
pub const IOMMU_HW_INFO_TYPE_SELFTEST: u32 = 0xfeed_beef;
/// The value of its register.
pub const IOMMU_HW_INFO_SELFTEST_REGVAL: u32 = 0xdead_beef;

/// Hardware information of a mock device.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_test_hw_info {
    pub flags: u32,
    pub test_reg: u32,
}

/// Data type of a hwpt: [`iommu_hwpt_selftest`].
pub const IOMMU_HWPT_DATA_SELFTEST: u32 = 0xdead;

/// Data of a mock hwpt: the value of all IOTLB entries of a nested one, `MOCK_IOMMUPT_*` of a paging one.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hwpt_selftest {
    pub iotlb: u32,
    pub pagetable_type: u32,
}

/// Invalidation type on a nested hwpt: [`iommu_hwpt_invalidate_selftest`].
pub const IOMMU_HWPT_INVALIDATE_DATA_SELFTEST: u32 = 0xdead_beef;
/// An invalidation type that no hwpt has.
pub const IOMMU_HWPT_INVALIDATE_DATA_SELFTEST_INVALID: u32 = 0x0dad_beef;
/// Invalidation type on a vIOMMU: [`iommu_viommu_invalidate_selftest`].
pub const IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST: u32 = 0xdead_beef;
/// An invalidation type that no vIOMMU has.
pub const IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID: u32 = 0x0dad_beef;
/// Invalidation flag: all entries, whatever the index.
pub const IOMMU_TEST_INVALIDATE_FLAG_ALL: u32 = 1 << 0;

/// Zeroes an IOTLB entry.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_hwpt_invalidate_selftest {
    pub flags: u32,
    pub iotlb_id: u32,
}

/// Zeroes a cache entry of a device.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_viommu_invalidate_selftest {
    pub flags: u32,
    pub vdev_id: u32,
    pub cache_id: u32,
}

/// vIOMMU type: [`iommu_viommu_selftest`].
pub const IOMMU_VIOMMU_TYPE_SELFTEST: u32 = 0xdead_beef;

/// Data of a mock vIOMMU: `in_data` comes back as `out_data`, and two pages may be `mmap`ed.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_viommu_selftest {
    pub in_data: u32,
    pub out_data: u32,
    pub out_mmap_offset: u64,
    pub out_mmap_length: u64,
}

/// Event queue type: [`iommu_viommu_event_selftest`].
pub const IOMMU_VEVENTQ_TYPE_SELFTEST: u32 = 0xbeef_beef;

/// Event of a mock vIOMMU.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct iommu_viommu_event_selftest {
    pub virt_id: u32,
}

/// Hardware queue type of a mock vIOMMU.
pub const IOMMU_HW_QUEUE_TYPE_SELFTEST: u32 = 0xdead_beef;
/// Hardware queues of a mock vIOMMU.
pub const IOMMU_TEST_HW_QUEUE_MAX: u32 = 2;
