//! The structs as data, for a judge of layouts.
//!
//! Sizes and offsets are those of the Rust structs. A field that is a union in the header has a row for each
//! member instead, at the same offset.

use core::mem::offset_of;

use super::bind::{iommu_gpasid_bind_data_vtd, iommu_pasid_smmuv3};
use super::cache::{iommu_inv_addr_info, iommu_inv_pasid_info};
use super::fault::{iommu_fault, iommu_fault_page_request, iommu_fault_unrecoverable};
use super::{transport, v5_5, v5_10};

/// A struct of a header.
#[derive(Clone, Copy, Debug)]
pub struct Struct {
    /// As the header spells it.
    pub name: &'static str,
    /// Its bytes.
    pub size: usize,
    /// Its fields, in their order.
    pub fields: &'static [Field],
}

/// A field of a struct, or a member of its union.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// As the header spells it; a member of a union that has a name with that in front, `granu.addr_info`.
    pub name: &'static str,
    /// Where it begins.
    pub offset: usize,
    /// Its bytes.
    pub size: usize,
    /// Its type, as the header spells it.
    pub ctype: &'static str,
    /// Whether it is a member of the union at the end.
    pub member: bool,
}

/// The header of a release.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// The release that has it first.
    pub release: &'static str,
    /// Its structs, in their order.
    pub structs: &'static [Struct],
}

const fn size_of_field<S, F>(_: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// A [`Struct`], from the Rust one: fields with their names in the header, then the members of the union.
macro_rules! facts {
    (
        $type:ty, $name:literal:
        $($header:literal $field:ident $ctype:literal,)*
        $(union $union:ident { $($member:literal $mtype:ty, $mctype:literal,)+ })?
    ) => {
        Struct {
            name: $name,
            size: size_of::<$type>(),
            fields: &[
                $(Field {
                    name: $header,
                    offset: offset_of!($type, $field),
                    size: size_of_field(|value: &$type| &value.$field),
                    ctype: $ctype,
                    member: false,
                },)*
                $($(Field {
                    name: $member,
                    offset: offset_of!($type, $union),
                    size: size_of::<$mtype>(),
                    ctype: $mctype,
                    member: true,
                },)+)?
            ],
        }
    };
}

/// `include/uapi/linux/iommu.h` in each form that a release had: calls and faults, then faults alone. 6.9
/// has no such header.
pub const HEADERS: &[Header] = &[
    Header {
        release: "5.5",
        structs: &[
            UNRECOVERABLE,
            PAGE_REQUEST,
            FAULT,
            v5_5_facts::PAGE_RESPONSE,
            ADDR_INFO,
            PASID_INFO,
            v5_5_facts::CACHE_INVALIDATE_INFO,
            BIND_DATA_VTD,
            v5_5_facts::GPASID_BIND_DATA,
        ],
    },
    Header {
        release: "5.10",
        structs: &[
            UNRECOVERABLE,
            PAGE_REQUEST,
            FAULT,
            v5_10_facts::PAGE_RESPONSE,
            ADDR_INFO,
            PASID_INFO,
            v5_10_facts::CACHE_INVALIDATE_INFO,
            BIND_DATA_VTD,
            v5_10_facts::GPASID_BIND_DATA,
        ],
    },
    Header {
        release: "5.18",
        structs: &[UNRECOVERABLE, PAGE_REQUEST, FAULT, v5_10_facts::PAGE_RESPONSE],
    },
];

/// What was posted and never merged: the PASID table in both forms, and the transport.
pub const POSTED: &[Struct] = &[
    facts! { iommu_pasid_smmuv3, "iommu_pasid_smmuv3":
        "version" version "__u32",
        "s1fmt" s1fmt "__u8",
        "s1dss" s1dss "__u8",
        "padding" padding "__u8[2]",
    },
    facts! { v5_5::iommu_pasid_table_config, "iommu_pasid_table_config":
        "version" version "__u32",
        "format" format "__u32",
        "base_ptr" base_ptr "__u64",
        "pasid_bits" pasid_bits "__u8",
        "config" config "__u8",
        "padding" padding "__u8[6]",
        union smmuv3 { "smmuv3" iommu_pasid_smmuv3, "struct iommu_pasid_smmuv3", }
    },
    facts! { v5_10::iommu_pasid_table_config, "iommu_pasid_table_config":
        "argsz" argsz "__u32",
        "version" version "__u32",
        "base_ptr" base_ptr "__u64",
        "format" format "__u32",
        "pasid_bits" pasid_bits "__u8",
        "config" config "__u8",
        "padding" padding "__u8[2]",
        union vendor_data { "vendor_data.smmuv3" iommu_pasid_smmuv3, "struct iommu_pasid_smmuv3", }
    },
    facts! { transport::vfio_iommu_type1_pasid_request, "vfio_iommu_type1_pasid_request":
        "argsz" argsz "__u32",
        "flags" flags "__u32",
        "range" range "struct",
    },
    facts! { transport::vfio_iommu_type1_nesting_op, "vfio_iommu_type1_nesting_op":
        "argsz" argsz "__u32",
        "flags" flags "__u32",
    },
    facts! { transport::vfio_iommu_type1_info_cap_nesting, "vfio_iommu_type1_info_cap_nesting":
        "header" header "struct vfio_info_cap_header",
        "info" info "struct iommu_nesting_info",
    },
    facts! { transport::iommu_nesting_info, "iommu_nesting_info":
        "argsz" argsz "__u32",
        "flags" flags "__u32",
        "format" format "__u32",
        "features" features "__u32",
        "addr_width" addr_width "__u16",
        "pasid_bits" pasid_bits "__u16",
        "padding" padding "__u8[12]",
        union vendor { "vendor.vtd" transport::iommu_nesting_info_vtd, "struct iommu_nesting_info_vtd", }
    },
    facts! { transport::iommu_nesting_info_vtd, "iommu_nesting_info_vtd":
        "flags" flags "__u32",
        "padding" padding "__u32",
        "cap_reg" cap_reg "__u64",
        "ecap_reg" ecap_reg "__u64",
    },
    facts! { transport::vfio_region_info_cap_fault, "vfio_region_info_cap_fault":
        "header" header "struct vfio_info_cap_header",
        "version" version "__u32",
    },
    facts! { transport::vfio_region_dma_fault, "vfio_region_dma_fault":
        "tail" tail "__u32",
        "entry_size" entry_size "__u32",
        "nb_entries" nb_entries "__u32",
        "offset" offset "__u32",
        "head" head "__u32",
    },
    facts! { transport::vfio_region_dma_fault_response, "vfio_region_dma_fault_response":
        "head" head "__u32",
        "entry_size" entry_size "__u32",
        "nb_entries" nb_entries "__u32",
        "offset" offset "__u32",
        "tail" tail "__u32",
    },
];

const UNRECOVERABLE: Struct = facts! { iommu_fault_unrecoverable, "iommu_fault_unrecoverable":
    "reason" reason "__u32",
    "flags" flags "__u32",
    "pasid" pasid "__u32",
    "perm" perm "__u32",
    "addr" addr "__u64",
    "fetch_addr" fetch_addr "__u64",
};

const PAGE_REQUEST: Struct = facts! { iommu_fault_page_request, "iommu_fault_page_request":
    "flags" flags "__u32",
    "pasid" pasid "__u32",
    "grpid" grpid "__u32",
    "perm" perm "__u32",
    "addr" addr "__u64",
    "private_data" private_data "__u64[2]",
};

const FAULT: Struct = facts! { iommu_fault, "iommu_fault":
    "type" r#type "__u32",
    "padding" padding "__u32",
    union fault {
        "event" iommu_fault_unrecoverable, "struct iommu_fault_unrecoverable",
        "prm" iommu_fault_page_request, "struct iommu_fault_page_request",
        "padding2" [u8; 56], "__u8[56]",
    }
};

const ADDR_INFO: Struct = facts! { iommu_inv_addr_info, "iommu_inv_addr_info":
    "flags" flags "__u32",
    "archid" archid "__u32",
    "pasid" pasid "__u64",
    "addr" addr "__u64",
    "granule_size" granule_size "__u64",
    "nb_granules" nb_granules "__u64",
};

const PASID_INFO: Struct = facts! { iommu_inv_pasid_info, "iommu_inv_pasid_info":
    "flags" flags "__u32",
    "archid" archid "__u32",
    "pasid" pasid "__u64",
};

const BIND_DATA_VTD: Struct = facts! { iommu_gpasid_bind_data_vtd, "iommu_gpasid_bind_data_vtd":
    "flags" flags "__u64",
    "pat" pat "__u32",
    "emt" emt "__u32",
};

mod v5_5_facts {
    use super::*;
    use crate::y2020::v5_5::{
        iommu_cache_invalidate_info, iommu_gpasid_bind_data, iommu_page_response,
    };

    pub const PAGE_RESPONSE: Struct = facts! { iommu_page_response, "iommu_page_response":
        "version" version "__u32",
        "flags" flags "__u32",
        "pasid" pasid "__u32",
        "grpid" grpid "__u32",
        "code" code "__u32",
    };

    pub const CACHE_INVALIDATE_INFO: Struct = facts! { iommu_cache_invalidate_info, "iommu_cache_invalidate_info":
        "version" version "__u32",
        "cache" cache "__u8",
        "granularity" granularity "__u8",
        "padding" padding "__u8[2]",
        union granu {
            "pasid_info" iommu_inv_pasid_info, "struct iommu_inv_pasid_info",
            "addr_info" iommu_inv_addr_info, "struct iommu_inv_addr_info",
        }
    };

    pub const GPASID_BIND_DATA: Struct = facts! { iommu_gpasid_bind_data, "iommu_gpasid_bind_data":
        "version" version "__u32",
        "format" format "__u32",
        "flags" flags "__u64",
        "gpgd" gpgd "__u64",
        "hpasid" hpasid "__u64",
        "gpasid" gpasid "__u64",
        "addr_width" addr_width "__u32",
        "padding" padding "__u8[12]",
        union vtd { "vtd" iommu_gpasid_bind_data_vtd, "struct iommu_gpasid_bind_data_vtd", }
    };
}

mod v5_10_facts {
    use super::*;
    use crate::y2020::v5_10::{
        iommu_cache_invalidate_info, iommu_gpasid_bind_data, iommu_page_response,
    };

    pub const PAGE_RESPONSE: Struct = facts! { iommu_page_response, "iommu_page_response":
        "argsz" argsz "__u32",
        "version" version "__u32",
        "flags" flags "__u32",
        "pasid" pasid "__u32",
        "grpid" grpid "__u32",
        "code" code "__u32",
    };

    pub const CACHE_INVALIDATE_INFO: Struct = facts! { iommu_cache_invalidate_info, "iommu_cache_invalidate_info":
        "argsz" argsz "__u32",
        "version" version "__u32",
        "cache" cache "__u8",
        "granularity" granularity "__u8",
        "padding" padding "__u8[6]",
        union granu {
            "granu.pasid_info" iommu_inv_pasid_info, "struct iommu_inv_pasid_info",
            "granu.addr_info" iommu_inv_addr_info, "struct iommu_inv_addr_info",
        }
    };

    pub const GPASID_BIND_DATA: Struct = facts! { iommu_gpasid_bind_data, "iommu_gpasid_bind_data":
        "argsz" argsz "__u32",
        "version" version "__u32",
        "format" format "__u32",
        "addr_width" addr_width "__u32",
        "flags" flags "__u64",
        "gpgd" gpgd "__u64",
        "hpasid" hpasid "__u64",
        "gpasid" gpasid "__u64",
        "padding" padding "__u8[8]",
        union vendor { "vendor.vtd" iommu_gpasid_bind_data_vtd, "struct iommu_gpasid_bind_data_vtd", }
    };
}
