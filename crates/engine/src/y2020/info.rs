//! What a nesting container tells of the IOMMU (`intel_iommu_domain_get_attr` of v7).

use profile::machine::IntelVtd;
use profile::registers::Field;
use profile::registers::vtd::*;
use uapi::vfio::vfio_info_cap_header;
use uapi::y2020::bind::IOMMU_PASID_FORMAT_INTEL_VTD;
use uapi::y2020::transport::*;

/// What a guest may know of CAP and ECAP.
const CAP: [Field; 2] = [FS1GP, FS5LP];
const ECAP: [Field; 5] = [PRS, ERS, SRS, EAFS, PASID];

/// The unit's own registers decide: a device may have less.
pub(super) fn of(unit: &IntelVtd, addr_width: u16) -> iommu_nesting_info {
    let pasids = PASID.is_set(unit.ecap);
    let mut features = IOMMU_NESTING_FEAT_CACHE_INVLD;
    if pasids {
        features |= IOMMU_NESTING_FEAT_SYSWIDE_PASID | IOMMU_NESTING_FEAT_BIND_PGTBL;
    }
    let shown = |register: u64, fields: &[Field]| {
        register & fields.iter().fold(0, |mask, field| mask | field.mask())
    };
    iommu_nesting_info {
        argsz: size_of::<iommu_nesting_info>() as u32,
        format: IOMMU_PASID_FORMAT_INTEL_VTD,
        features,
        addr_width,
        pasid_bits: if pasids { PSS.of(unit.ecap) as u16 + 1 } else { 0 },
        vendor: iommu_nesting_info_vtd {
            cap_reg: shown(unit.cap, &CAP),
            ecap_reg: shown(unit.ecap, &ECAP),
            ..Default::default()
        },
        ..Default::default()
    }
}

/// The capability in the answer of `VFIO_IOMMU_GET_INFO`.
pub(super) fn capability(info: iommu_nesting_info) -> vfio_iommu_type1_info_cap_nesting {
    let id = VFIO_IOMMU_TYPE1_INFO_CAP_NESTING;
    let header = vfio_info_cap_header { id, version: 1, next: 0 };
    vfio_iommu_type1_info_cap_nesting { header, info }
}
