//! The names that are held against the headers: every struct with all its fields, every constant.
//!
//! A struct with a field that is not listed here does not compile; a name of the crate's sources or of
//! the newest header that is missing here fails a test.

use uapi::{Command, Generation};

/// What we declare of one header.
pub struct Declared {
    pub structs: Vec<Struct>,
    pub constants: Vec<(&'static str, i128)>,
}

pub struct Struct {
    pub name: &'static str,
    pub size: usize,
    /// Present for the argument of a command.
    pub sizes: Option<&'static [(Generation, usize)]>,
    pub fields: Vec<Field>,
}

pub struct Field {
    pub name: &'static str,
    pub offset: usize,
    pub size: usize,
}

fn size_of_field<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! fields {
    ($header:ident $name:ident $($field:ident)+) => {{
        use uapi::$header::$name;
        let _all_fields_listed = |$name { $($field: _),+ }: $name| ();
        vec![$(Field {
            name: stringify!($field).trim_start_matches("r#"),
            offset: core::mem::offset_of!($name, $field),
            size: size_of_field(|value: &$name| &value.$field),
        }),+]
    }};
}

macro_rules! facts {
    (
        $header:ident
        commands { $($command:ident { $($cf:ident),+ })* }
        grown { $($grown:ident { $($gf:ident),+ })* }
        data { $($data:ident { $($df:ident),+ })* }
        constants { $($constant:ident)* }
    ) => {
        pub fn $header() -> Declared {
            Declared {
                structs: vec![
                    $(Struct {
                        name: stringify!($command),
                        size: size_of::<uapi::$header::$command>(),
                        sizes: Some(<uapi::$header::$command as Command>::SIZES),
                        fields: fields!($header $command $($cf)+),
                    },)*
                    $(Struct {
                        name: stringify!($grown),
                        size: size_of::<uapi::$header::$grown>(),
                        sizes: Some(<uapi::$header::$grown as uapi::vfio::Argument>::SIZES),
                        fields: fields!($header $grown $($gf)+),
                    },)*
                    $(Struct {
                        name: stringify!($data),
                        size: size_of::<uapi::$header::$data>(),
                        sizes: None,
                        fields: fields!($header $data $($df)+),
                    },)*
                ],
                constants: vec![$((stringify!($constant), i128::from(uapi::$header::$constant)),)*],
            }
        }
    };
}

facts! {
    iommufd
    commands {
        iommu_destroy { size, id }
        iommu_ioas_alloc { size, flags, out_ioas_id }
        iommu_ioas_allow_iovas { size, ioas_id, num_iovas, __reserved, allowed_iovas }
        iommu_ioas_copy { size, flags, dst_ioas_id, src_ioas_id, length, dst_iova, src_iova }
        iommu_ioas_iova_ranges { size, ioas_id, num_iovas, __reserved, allowed_iovas, out_iova_alignment }
        iommu_ioas_map { size, flags, ioas_id, __reserved, user_va, length, iova }
        iommu_ioas_unmap { size, ioas_id, iova, length }
        iommu_option { size, option_id, op, __reserved, object_id, val64 }
        iommu_vfio_ioas { size, ioas_id, op, __reserved }
        iommu_hwpt_alloc { size, flags, dev_id, pt_id, out_hwpt_id, __reserved, data_type, data_len, data_uptr, fault_id, __reserved2 }
        iommu_hw_info { size, flags, dev_id, data_len, data_uptr, out_data_type, out_max_pasid_log2, __reserved, out_capabilities }
        iommu_hwpt_set_dirty_tracking { size, flags, hwpt_id, __reserved }
        iommu_hwpt_get_dirty_bitmap { size, hwpt_id, flags, __reserved, iova, length, page_size, data }
        iommu_hwpt_invalidate { size, hwpt_id, data_uptr, data_type, entry_len, entry_num, __reserved }
        iommu_fault_alloc { size, flags, out_fault_id, out_fault_fd }
        iommu_ioas_map_file { size, flags, ioas_id, fd, start, length, iova }
        iommu_viommu_alloc { size, flags, r#type, dev_id, hwpt_id, out_viommu_id, data_len, __reserved, data_uptr }
        iommu_vdevice_alloc { size, viommu_id, dev_id, out_vdevice_id, virt_id }
        iommu_ioas_change_process { size, __reserved }
        iommu_veventq_alloc { size, flags, viommu_id, r#type, veventq_depth, out_veventq_id, out_veventq_fd, __reserved }
        iommu_hw_queue_alloc { size, flags, viommu_id, r#type, index, out_hw_queue_id, nesting_parent_iova, length }
        iommu_ioas_noiommu_get_pa { size, flags, ioas_id, __reserved, iova, length, out_phys }
    }
    grown {
    }
    data {
        iommu_iova_range { start, last }
        iommu_hwpt_vtd_s1 { flags, pgtbl_addr, addr_width, __reserved }
        iommu_hwpt_arm_smmuv3 { ste }
        iommu_hwpt_amd_guest { dte }
        iommu_hw_info_vtd { flags, __reserved, cap_reg, ecap_reg }
        iommu_hw_info_arm_smmuv3 { flags, __reserved, idr, iidr, aidr }
        iommu_hw_info_tegra241_cmdqv { flags, version, log2vcmdqs, log2vsids, __reserved }
        iommu_hw_info_amd { efr, efr2 }
        iommu_hwpt_vtd_s1_invalidate { addr, npages, flags, __reserved }
        iommu_viommu_arm_smmuv3_invalidate { cmd }
        iommu_hwpt_pgfault { flags, dev_id, pasid, grpid, perm, __reserved, addr, length, cookie }
        iommu_hwpt_page_response { cookie, code }
        iommu_viommu_tegra241_cmdqv { out_vintf_mmap_offset, out_vintf_mmap_length }
        iommufd_vevent_header { flags, sequence }
        iommu_vevent_arm_smmuv3 { evt }
        iommu_vevent_tegra241_cmdqv { lvcmdq_err_map }
    }
    constants {
        IOMMU_DESTROY
        IOMMU_IOAS_ALLOC
        IOMMU_IOAS_IOVA_RANGES
        IOMMU_IOAS_ALLOW_IOVAS
        IOMMU_IOAS_MAP
        IOMMU_IOAS_NOIOMMU_GET_PA
        IOMMU_IOAS_MAP_FILE
        IOMMU_IOAS_COPY
        IOMMU_IOAS_UNMAP
        IOMMU_OPTION
        IOMMU_VFIO_IOAS
        IOMMU_HWPT_ALLOC
        IOMMU_GET_HW_INFO
        IOMMU_HWPT_SET_DIRTY_TRACKING
        IOMMU_HWPT_GET_DIRTY_BITMAP
        IOMMU_HWPT_INVALIDATE
        IOMMU_FAULT_QUEUE_ALLOC
        IOMMU_VIOMMU_ALLOC
        IOMMU_VDEVICE_ALLOC
        IOMMU_IOAS_CHANGE_PROCESS
        IOMMU_VEVENTQ_ALLOC
        IOMMU_HW_QUEUE_ALLOC
        IOMMUFD_CMD_BASE
        IOMMUFD_CMD_DESTROY
        IOMMUFD_CMD_IOAS_ALLOC
        IOMMUFD_CMD_IOAS_ALLOW_IOVAS
        IOMMUFD_CMD_IOAS_COPY
        IOMMUFD_CMD_IOAS_IOVA_RANGES
        IOMMUFD_CMD_IOAS_MAP
        IOMMUFD_CMD_IOAS_UNMAP
        IOMMUFD_CMD_OPTION
        IOMMUFD_CMD_VFIO_IOAS
        IOMMUFD_CMD_HWPT_ALLOC
        IOMMUFD_CMD_GET_HW_INFO
        IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING
        IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP
        IOMMUFD_CMD_HWPT_INVALIDATE
        IOMMUFD_CMD_FAULT_QUEUE_ALLOC
        IOMMUFD_CMD_IOAS_MAP_FILE
        IOMMUFD_CMD_VIOMMU_ALLOC
        IOMMUFD_CMD_VDEVICE_ALLOC
        IOMMUFD_CMD_IOAS_CHANGE_PROCESS
        IOMMUFD_CMD_VEVENTQ_ALLOC
        IOMMUFD_CMD_HW_QUEUE_ALLOC
        IOMMUFD_CMD_IOAS_NOIOMMU_GET_PA
        IOMMU_IOAS_MAP_FIXED_IOVA
        IOMMU_IOAS_MAP_WRITEABLE
        IOMMU_IOAS_MAP_READABLE
        IOMMU_OPTION_RLIMIT_MODE
        IOMMU_OPTION_HUGE_PAGES
        IOMMU_OPTION_OP_SET
        IOMMU_OPTION_OP_GET
        IOMMU_VFIO_IOAS_GET
        IOMMU_VFIO_IOAS_SET
        IOMMU_VFIO_IOAS_CLEAR
        IOMMU_HWPT_ALLOC_NEST_PARENT
        IOMMU_HWPT_ALLOC_DIRTY_TRACKING
        IOMMU_HWPT_FAULT_ID_VALID
        IOMMU_HWPT_ALLOC_PASID
        IOMMU_VTD_S1_SRE
        IOMMU_VTD_S1_EAFE
        IOMMU_VTD_S1_WPE
        IOMMU_HWPT_DATA_NONE
        IOMMU_HWPT_DATA_VTD_S1
        IOMMU_HWPT_DATA_ARM_SMMUV3
        IOMMU_HWPT_DATA_AMD_GUEST
        IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17
        IOMMU_HW_INFO_ARM_SMMUV3_ERRATA_REPEAT_TLBI_CFGI
        IOMMU_HW_INFO_TYPE_NONE
        IOMMU_HW_INFO_TYPE_DEFAULT
        IOMMU_HW_INFO_TYPE_INTEL_VTD
        IOMMU_HW_INFO_TYPE_ARM_SMMUV3
        IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV
        IOMMU_HW_INFO_TYPE_AMD
        IOMMU_HW_CAP_DIRTY_TRACKING
        IOMMU_HW_CAP_PCI_PASID_EXEC
        IOMMU_HW_CAP_PCI_PASID_PRIV
        IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED
        IOMMU_HW_INFO_FLAG_INPUT_TYPE
        IOMMU_HWPT_DIRTY_TRACKING_ENABLE
        IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR
        IOMMU_HWPT_INVALIDATE_DATA_VTD_S1
        IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3
        IOMMU_VTD_INV_FLAGS_LEAF
        IOMMU_PGFAULT_FLAGS_PASID_VALID
        IOMMU_PGFAULT_FLAGS_LAST_PAGE
        IOMMU_PGFAULT_PERM_READ
        IOMMU_PGFAULT_PERM_WRITE
        IOMMU_PGFAULT_PERM_EXEC
        IOMMU_PGFAULT_PERM_PRIV
        IOMMUFD_PAGE_RESP_SUCCESS
        IOMMUFD_PAGE_RESP_INVALID
        IOMMU_VIOMMU_TYPE_DEFAULT
        IOMMU_VIOMMU_TYPE_ARM_SMMUV3
        IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV
        IOMMU_VEVENTQ_FLAG_LOST_EVENTS
        IOMMU_VEVENTQ_TYPE_DEFAULT
        IOMMU_VEVENTQ_TYPE_ARM_SMMUV3
        IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV
        IOMMU_HW_QUEUE_TYPE_DEFAULT
        IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV
    }
}

facts! {
    selftest
    commands {
        iommu_test_cmd { size, op, id, __reserved, args, last, __pad }
    }
    grown {
    }
    data {
        iommu_test_add_reserved { start, length }
        iommu_test_mock_domain { out_stdev_id, out_hwpt_id, out_idev_id }
        iommu_test_mock_domain_flags { out_stdev_id, out_hwpt_id, out_idev_id, dev_flags }
        iommu_test_mock_domain_replace { pt_id }
        iommu_test_check_map { iova, length, uptr }
        iommu_test_check_refs { length, uptr, refs, __pad }
        iommu_test_create_access { out_access_fd, flags }
        iommu_test_destroy_access_pages { access_pages_id }
        iommu_test_access_pages { flags, out_access_pages_id, iova, length, uptr }
        iommu_test_access_rw { iova, length, uptr, flags, __pad }
        iommu_test_memory_limit { limit }
        iommu_test_access_replace_ioas { ioas_id }
        iommu_test_dirty { flags, __pad, iova, length, page_size, uptr, out_nr_dirty }
        iommu_test_check_iotlb { id, iotlb }
        iommu_test_trigger_iopf { dev_id, pasid, grpid, perm, addr }
        iommu_test_check_dev_cache { id, cache }
        iommu_test_trigger_vevent { dev_id }
        iommu_test_pasid_attach { pasid, pt_id }
        iommu_test_pasid_replace { pasid, pt_id }
        iommu_test_pasid_detach { pasid }
        iommu_test_pasid_check { pasid, hwpt_id }
        iommu_test_dmabuf_get { length, open_flags }
        iommu_test_dmabuf_revoke { dmabuf_fd, revoked }
        iommu_test_hw_info { flags, test_reg }
        iommu_hwpt_selftest { iotlb, pagetable_type }
        iommu_hwpt_invalidate_selftest { flags, iotlb_id }
        iommu_viommu_invalidate_selftest { flags, vdev_id, cache_id }
        iommu_viommu_selftest { in_data, out_data, out_mmap_offset, out_mmap_length }
        iommu_viommu_event_selftest { virt_id }
    }
    constants {
        IOMMU_TEST_CMD
        IOMMU_TEST_OP_ADD_RESERVED
        IOMMU_TEST_OP_MOCK_DOMAIN
        IOMMU_TEST_OP_MD_CHECK_MAP
        IOMMU_TEST_OP_MD_CHECK_REFS
        IOMMU_TEST_OP_CREATE_ACCESS
        IOMMU_TEST_OP_DESTROY_ACCESS_PAGES
        IOMMU_TEST_OP_ACCESS_PAGES
        IOMMU_TEST_OP_ACCESS_RW
        IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT
        IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE
        IOMMU_TEST_OP_ACCESS_REPLACE_IOAS
        IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS
        IOMMU_TEST_OP_DIRTY
        IOMMU_TEST_OP_MD_CHECK_IOTLB
        IOMMU_TEST_OP_TRIGGER_IOPF
        IOMMU_TEST_OP_DEV_CHECK_CACHE
        IOMMU_TEST_OP_TRIGGER_VEVENT
        IOMMU_TEST_OP_PASID_ATTACH
        IOMMU_TEST_OP_PASID_REPLACE
        IOMMU_TEST_OP_PASID_DETACH
        IOMMU_TEST_OP_PASID_CHECK_HWPT
        IOMMU_TEST_OP_DMABUF_GET
        IOMMU_TEST_OP_DMABUF_REVOKE
        MOCK_IOMMUPT_DEFAULT
        MOCK_IOMMUPT_HUGE
        MOCK_IOMMUPT_AMDV1
        MOCK_APERTURE_START
        MOCK_APERTURE_LAST
        MOCK_PAGE_SIZE
        MOCK_HUGE_PAGE_SIZE
        MOCK_FLAGS_ACCESS_WRITE
        MOCK_FLAGS_ACCESS_SYZ
        MOCK_ACCESS_RW_WRITE
        MOCK_ACCESS_RW_SLOW_PATH
        MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES
        MOCK_FLAGS_DEVICE_NO_DIRTY
        MOCK_FLAGS_DEVICE_HUGE_IOVA
        MOCK_FLAGS_DEVICE_PASID
        MOCK_NESTED_DOMAIN_IOTLB_ID_MAX
        MOCK_NESTED_DOMAIN_IOTLB_NUM
        MOCK_DEV_CACHE_ID_MAX
        MOCK_DEV_CACHE_NUM
        IOMMU_TEST_PASID_RESERVED
        MOCK_PASID_WIDTH
        IOMMU_TEST_IOTLB_DEFAULT
        IOMMU_TEST_DEV_CACHE_DEFAULT
        IOMMU_HW_INFO_TYPE_SELFTEST
        IOMMU_HW_INFO_SELFTEST_REGVAL
        IOMMU_HWPT_DATA_SELFTEST
        IOMMU_HWPT_INVALIDATE_DATA_SELFTEST
        IOMMU_HWPT_INVALIDATE_DATA_SELFTEST_INVALID
        IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST
        IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID
        IOMMU_TEST_INVALIDATE_FLAG_ALL
        IOMMU_VIOMMU_TYPE_SELFTEST
        IOMMU_VEVENTQ_TYPE_SELFTEST
        IOMMU_HW_QUEUE_TYPE_SELFTEST
        IOMMU_TEST_HW_QUEUE_MAX
    }
}

facts! {
    vfio
    commands {
    }
    grown {
        vfio_device_bind_iommufd { argsz, flags, iommufd, out_devid, token_uuid_ptr }
        vfio_device_attach_iommufd_pt { argsz, flags, pt_id, pasid }
        vfio_device_detach_iommufd_pt { argsz, flags, pasid }
        vfio_device_info { argsz, flags, num_regions, num_irqs, cap_offset, pad }
    }
    data {
        vfio_iommu_type1_info { argsz, flags, iova_pgsizes, cap_offset, pad }
        vfio_info_cap_header { id, version, next }
        vfio_iommu_type1_info_cap_iova_range { header, nr_iovas, reserved }
        vfio_iova_range { start, end }
        vfio_iommu_type1_info_dma_avail { header, avail }
        vfio_iommu_type1_dma_map { argsz, flags, vaddr, iova, size }
        vfio_iommu_type1_dma_unmap { argsz, flags, iova, size }
        vfio_region_info { argsz, flags, index, cap_offset, size, offset }
        vfio_region_info_cap_sparse_mmap { header, nr_areas, reserved }
        vfio_region_sparse_mmap_area { offset, size }
        vfio_region_info_cap_type { header, r#type, subtype }
        vfio_irq_info { argsz, flags, index, count }
        vfio_group_status { argsz, flags }
        vfio_iommu_type1_info_cap_migration { header, flags, __pad, pgsize_bitmap, max_dirty_bitmap_size }
        vfio_bitmap { pgsize, size, data }
        vfio_iommu_type1_dirty_bitmap { argsz, flags }
        vfio_iommu_type1_dirty_bitmap_get { iova, size, bitmap }
        vfio_irq_set { argsz, flags, index, start, count }
        vfio_device_feature { argsz, flags }
        vfio_device_low_power_entry_with_wakeup { wakeup_eventfd, reserved }
        vfio_device_feature_dma_logging_control { page_size, num_ranges, __reserved, ranges }
        vfio_device_feature_dma_logging_range { iova, length }
        vfio_device_feature_dma_logging_report { iova, length, page_size, bitmap }
        vfio_pci_hot_reset_info { argsz, flags, count }
        vfio_pci_hot_reset { argsz, flags, count }
        vfio_device_ioeventfd { argsz, flags, offset, data, fd, reserved }
    }
    constants {
        VFIO_TYPE
        VFIO_BASE
        VFIO_API_VERSION
        VFIO_GET_API_VERSION
        VFIO_CHECK_EXTENSION
        VFIO_SET_IOMMU
        VFIO_IOMMU_GET_INFO
        VFIO_IOMMU_MAP_DMA
        VFIO_IOMMU_UNMAP_DMA
        VFIO_DEVICE_GET_INFO
        VFIO_DEVICE_FLAGS_RESET
        VFIO_DEVICE_FLAGS_PCI
        VFIO_DEVICE_GET_REGION_INFO
        VFIO_REGION_INFO_FLAG_READ
        VFIO_REGION_INFO_FLAG_WRITE
        VFIO_REGION_INFO_FLAG_MMAP
        VFIO_REGION_INFO_FLAG_CAPS
        VFIO_REGION_INFO_CAP_SPARSE_MMAP
        VFIO_REGION_INFO_CAP_TYPE
        VFIO_REGION_INFO_CAP_MSIX_MAPPABLE
        VFIO_PCI_BAR0_REGION_INDEX
        VFIO_PCI_BAR5_REGION_INDEX
        VFIO_PCI_ROM_REGION_INDEX
        VFIO_PCI_CONFIG_REGION_INDEX
        VFIO_PCI_VGA_REGION_INDEX
        VFIO_PCI_NUM_REGIONS
        VFIO_DEVICE_GET_IRQ_INFO
        VFIO_IRQ_INFO_EVENTFD
        VFIO_IRQ_INFO_MASKABLE
        VFIO_IRQ_INFO_AUTOMASKED
        VFIO_IRQ_INFO_NORESIZE
        VFIO_PCI_INTX_IRQ_INDEX
        VFIO_PCI_MSI_IRQ_INDEX
        VFIO_PCI_MSIX_IRQ_INDEX
        VFIO_PCI_ERR_IRQ_INDEX
        VFIO_PCI_REQ_IRQ_INDEX
        VFIO_DEVICE_SET_IRQS
        VFIO_IRQ_SET_DATA_NONE
        VFIO_IRQ_SET_DATA_BOOL
        VFIO_IRQ_SET_DATA_EVENTFD
        VFIO_IRQ_SET_ACTION_MASK
        VFIO_IRQ_SET_ACTION_UNMASK
        VFIO_IRQ_SET_ACTION_TRIGGER
        VFIO_IRQ_SET_DATA_TYPE_MASK
        VFIO_IRQ_SET_ACTION_TYPE_MASK
        VFIO_DEVICE_GET_PCI_HOT_RESET_INFO
        VFIO_DEVICE_PCI_HOT_RESET
        VFIO_DEVICE_IOEVENTFD
        VFIO_DEVICE_FEATURE
        VFIO_DEVICE_FEATURE_MASK
        VFIO_DEVICE_FEATURE_GET
        VFIO_DEVICE_FEATURE_SET
        VFIO_DEVICE_FEATURE_PROBE
        VFIO_DEVICE_FEATURE_PCI_VF_TOKEN
        VFIO_DEVICE_FEATURE_MIGRATION
        VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
        VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY
        VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP
        VFIO_DEVICE_FEATURE_LOW_POWER_EXIT
        VFIO_DEVICE_FEATURE_DMA_LOGGING_START
        VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP
        VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT
        VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2
        VFIO_DEVICE_IOEVENTFD_SIZE_MASK
        VFIO_PCI_NUM_IRQS
        VFIO_DEVICE_RESET
        VFIO_DEVICE_BIND_IOMMUFD
        VFIO_DEVICE_BIND_FLAG_TOKEN
        VFIO_DEVICE_ATTACH_IOMMUFD_PT
        VFIO_DEVICE_ATTACH_PASID
        VFIO_DEVICE_DETACH_IOMMUFD_PT
        VFIO_DEVICE_DETACH_PASID
        VFIO_IOMMU_ENABLE
        VFIO_IOMMU_DISABLE
        VFIO_IOMMU_DIRTY_PAGES
        VFIO_IOMMU_DIRTY_PAGES_FLAG_START
        VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP
        VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP
        VFIO_GROUP_GET_STATUS
        VFIO_GROUP_FLAGS_VIABLE
        VFIO_GROUP_FLAGS_CONTAINER_SET
        VFIO_GROUP_SET_CONTAINER
        VFIO_GROUP_UNSET_CONTAINER
        VFIO_GROUP_GET_DEVICE_FD
        VFIO_TYPE1_IOMMU
        VFIO_SPAPR_TCE_IOMMU
        VFIO_TYPE1v2_IOMMU
        VFIO_DMA_CC_IOMMU
        VFIO_EEH
        __VFIO_RESERVED_TYPE1_NESTING_IOMMU
        VFIO_SPAPR_TCE_v2_IOMMU
        VFIO_NOIOMMU_IOMMU
        VFIO_UNMAP_ALL
        VFIO_UPDATE_VADDR
        VFIO_IOMMU_INFO_PGSIZES
        VFIO_IOMMU_INFO_CAPS
        VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE
        VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION
        VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL
        VFIO_DMA_MAP_FLAG_READ
        VFIO_DMA_MAP_FLAG_WRITE
        VFIO_DMA_MAP_FLAG_VADDR
        VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP
        VFIO_DMA_UNMAP_FLAG_ALL
        VFIO_DMA_UNMAP_FLAG_VADDR
    }
}
