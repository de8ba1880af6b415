//! What each release did to the structs of the user API, judged from the facts of its headers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use flate2::read::GzDecoder;
use profile::layout::history::{changes, headers_2020, tell};
use profile::layout::{Change, Field, Header, Layout, Rule, What};
use serde::Deserialize;

/// A file of `conformance/headers/`; its README says what is in it.
#[derive(Deserialize)]
struct Facts {
    release: String,
    constants: BTreeMap<String, i128>,
    structs: BTreeMap<String, Struct>,
}

#[derive(Deserialize)]
struct Struct {
    size: usize,
    fields: Vec<(String, usize, String, String)>,
}

/// The headers of iommufd and VFIO.
const KINDS: &[&str] = &["iommufd", "vfio"];

/// One row a rule.
pub fn rules_table() -> String {
    let mut table = String::from("| rule | it says |\n|---|---|\n");
    for rule in Rule::ALL {
        table += &format!("| {rule} | {} |\n", rule.says());
    }
    table
}

/// One row a struct that a release changed.
pub fn releases_table() -> String {
    let mut table = String::from(
        "| header | release | struct | what the release did | by the rules |\n|---|---|---|---|---|\n",
    );
    let old = ("iommu", changes(&headers_2020()));
    let today = KINDS.iter().map(|kind| (*kind, history(kind)));
    for (header, changes) in std::iter::once(old).chain(today) {
        table.extend(changes.iter().map(|change| row(header, change)));
    }
    table
}

fn row(header: &str, Change { release, name, what }: &Change) -> String {
    let (done, verdict) = match what {
        What::New => return String::new(), // no extension: a new call has a new struct
        What::Gone => ("gone, with its call".to_owned(), "-".to_owned()),
        What::Extended(steps) => {
            let steps: Vec<_> = steps.iter().map(ToString::to_string).collect();
            (steps.join("; "), "yes".to_owned())
        }
        What::Broken(broken) => (broken.what.clone(), format!("**no: {}**", broken.rule)),
    };
    format!("| `{header}.h` | {release} | `{name}` | {done} | {verdict} |\n")
}

fn history(kind: &str) -> Vec<Change> {
    changes(&headers(kind))
}

/// The headers of a kind, oldest first. The files are part of the repository.
fn headers(kind: &str) -> Vec<Header> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/headers");
    let mut headers = Vec::new();
    for entry in fs::read_dir(&folder).expect("conformance/headers/ is there") {
        let path = entry.expect("a folder can be listed").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !name.starts_with(&format!("{kind}-")) {
            continue;
        }
        let file = File::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let facts: Facts = serde_json::from_reader(GzDecoder::new(file))
            .unwrap_or_else(|error| panic!("{name} is not as its README says: {error}"));
        headers.push((number(&facts.release), header(&facts)));
    }
    headers.sort_by_key(|(number, _)| *number);
    headers.into_iter().map(|(_, header)| header).collect()
}

/// Major and minor number of a release, to sort by.
fn number(release: &str) -> Option<(u32, u32)> {
    let (major, minor) = release.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn header(facts: &Facts) -> Header {
    let layout = |(name, it): (&String, &Struct)| {
        let field = |(name, offset, size, ctype): &(String, usize, String, String)| {
            // elements behind the struct have the length "flex"
            Field::new(name, *offset, size.parse().unwrap_or(0), ctype)
        };
        let mut layout = Layout::new(name, it.size, it.fields.iter().map(field).collect());
        tell(&mut layout, |constant| facts.constants.get(constant).copied());
        layout
    };
    Header { release: facts.release.clone(), structs: facts.structs.iter().map(layout).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profile::layout::history::TOLD;

    /// Today's API, release by release; 5.10 is held in `profile`.
    #[test]
    fn every_release_extended_by_the_rules() {
        let mut extended = Vec::new();
        for kind in KINDS {
            for Change { release, name, what } in history(kind) {
                match what {
                    What::Broken(broken) => panic!("{release}: {broken}"),
                    What::Gone => panic!("{release}: {name} is gone"),
                    What::Extended(_) => extended.push((release, name)),
                    What::New => {}
                }
            }
        }
        #[rustfmt::skip] // one release, one line
        let expected: &[(&str, &[&str])] = &[
            ("6.7",  &["iommu_hw_info", "iommu_hwpt_alloc"]),
            ("6.11", &["iommu_hwpt_alloc"]),
            ("6.14", &["iommu_hwpt_pgfault"]),
            ("6.15", &["iommu_hw_info"]),
            ("6.17", &["iommu_hw_info", "iommu_viommu_alloc"]),
            ("6.6",  &["vfio_device_info", "vfio_iommu_type1_info", "vfio_pci_dependent_device"]),
            ("6.7",  &["vfio_device_gfx_plane_info", "vfio_device_ioeventfd", "vfio_iommu_type1_info", "vfio_region_info", "vfio_region_info_cap_nvlink2_ssatgt", "vfio_region_sparse_mmap_area"]),
            ("6.15", &["vfio_device_attach_iommufd_pt", "vfio_device_detach_iommufd_pt"]),
            ("6.17", &["vfio_bitmap", "vfio_device_bind_iommufd"]),
        ];
        let expected: Vec<_> = expected
            .iter()
            .flat_map(|(release, names)| names.iter().map(|name| (*release, *name)))
            .collect();
        let extended: Vec<_> =
            extended.iter().map(|(release, name)| (release.as_str(), name.as_str())).collect();
        assert_eq!(extended, expected);
    }

    /// What tells of a field is in the headers, and is asked for.
    #[test]
    fn every_constant_that_tells_is_in_a_header() {
        let headers: Vec<_> = KINDS.iter().filter_map(|kind| headers(kind).pop()).collect();
        for (name, field, constant) in TOLD {
            let mut structs = headers.iter().flat_map(|header| &header.structs);
            let layout = structs.find(|it| it.name == *name).expect("a struct");
            assert!(layout.constants.iter().any(|(known, _)| known == constant), "{constant}");
            let told = layout.field(field).and_then(|it| it.told_by.as_deref());
            assert_eq!(told, Some(*constant), "{name}.{field}");
        }
    }
}
