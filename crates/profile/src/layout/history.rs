//! Headers of releases beside each other: what each release did to the structs.

use super::{Broken, Layout, Step, judge};

/// The header of a release.
#[derive(Clone, Debug)]
pub struct Header {
    /// The release, or that and what else has the same header.
    pub release: String,
    /// Its structs.
    pub structs: Vec<Layout>,
}

/// What a release did to a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The release.
    pub release: String,
    /// The struct.
    pub name: String,
    /// What it did.
    pub what: What,
}

/// What became of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It is there for the first time.
    New,
    /// It is gone, with what it was the argument of.
    Gone,
    /// It was extended.
    Extended(Vec<Step>),
    /// It became one that is no extension.
    Broken(Broken),
}

/// Which constant tells of a field that a release added: struct, field, constant. The judge holds that the
/// constant is as new as the field.
#[rustfmt::skip] // one field, one line
pub const TOLD: &[(&str, &str, &str)] = &[
    ("iommu_hwpt_alloc",              "fault_id",       "IOMMU_HWPT_FAULT_ID_VALID"),
    ("iommu_hw_info",                 "in_data_type",   "IOMMU_HW_INFO_FLAG_INPUT_TYPE"),
    ("vfio_pci_dependent_device",     "devid",          "VFIO_PCI_HOT_RESET_FLAG_DEV_ID"),
    ("vfio_device_attach_iommufd_pt", "pasid",          "VFIO_DEVICE_ATTACH_PASID"),
    ("vfio_device_detach_iommufd_pt", "pasid",          "VFIO_DEVICE_DETACH_PASID"),
    ("vfio_device_bind_iommufd",      "token_uuid_ptr", "VFIO_DEVICE_BIND_FLAG_TOKEN"),
];

/// Marks the fields of a struct that a constant tells of, with what of them its header has.
pub fn tell(layout: &mut Layout, value: impl Fn(&str) -> Option<i128>) {
    for (name, field, constant) in TOLD {
        if *name != layout.name {
            continue;
        }
        if let Some(field) = layout.fields.iter_mut().find(|it| it.own_name() == *field) {
            field.told_by = Some((*constant).to_owned());
        }
        layout.constants.extend(value(constant).map(|value| ((*constant).to_owned(), value)));
    }
}

/// What each header did to the one before, oldest first.
pub fn changes(headers: &[Header]) -> Vec<Change> {
    let mut changes = Vec::new();
    for pair in headers.windows(2) {
        let [old, new] = pair else { continue };
        let find = |header: &Header, name: &str| {
            header.structs.iter().find(|layout| layout.name == name).cloned()
        };
        let mut push = |name: &str, what| {
            changes.push(Change { release: new.release.clone(), name: name.to_owned(), what });
        };
        for layout in &new.structs {
            let Some(was) = find(old, &layout.name) else {
                push(&layout.name, What::New);
                continue;
            };
            match judge(&was, layout) {
                Ok(steps) if steps.is_empty() => {}
                Ok(steps) => push(&layout.name, What::Extended(steps)),
                Err(broken) => push(&layout.name, What::Broken(broken)),
            }
        }
        for layout in &old.structs {
            if find(new, &layout.name).is_none() {
                push(&layout.name, What::Gone);
            }
        }
    }
    changes
}

/// The API of 2020: `include/uapi/linux/iommu.h` from 5.5 on.
pub fn headers_2020() -> Vec<Header> {
    let header = |it: &uapi::y2020::layouts::Header| Header {
        release: it.release.to_owned(),
        structs: it.structs.iter().map(Layout::from).collect(),
    };
    uapi::y2020::layouts::HEADERS.iter().map(header).collect()
}
