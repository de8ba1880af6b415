//! Our declarations against the headers of all releases (`conformance/headers/`), in both directions.
//!
//! iommufd and the self-test: everything in a header is declared, and everything declared is in the
//! newest header. VFIO: everything declared is in the newest header. In all: what a release has, it
//! has with our value, offset and size, and a struct that grew starts with what it was before.

mod declared;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;

use declared::{Declared, Struct};
use serde_json::Value;
use uapi::{COMMANDS, Generation};

/// Constants of a header that are not declared, with the reason.
const NOT_DECLARED: &[(&str, &str)] = &[];

/// Constants of ours that the newest header has no more.
const REMOVED: &[&str] = &["MOCK_IOMMUPT_AMDV1", "MOCK_FLAGS_DEVICE_HUGE_IOVA"];

/// What is ours, and in no header.
const OURS: &[&str] = &["OPERATIONS", "VFIO_MAJOR", "VFIO_GROUP_MAJOR"];

/// Fields that older headers call otherwise: struct, field there, offset, size, up to (exclusive).
const RENAMED: &[(&str, &str, usize, usize, Generation)] = &[
    // Split into `out_max_pasid_log2` and three bytes.
    ("iommu_hw_info", "__reserved", 28, 4, Generation::V6_15),
];

/// Fields of ours that older headers do not name inside the struct's size: struct, field, since.
const NAMED_LATER: &[(&str, &str, Generation)] = &[
    ("iommu_hw_info", "out_max_pasid_log2", Generation::V6_15),
    ("iommu_hw_info", "__reserved", Generation::V6_15),
    ("iommu_hwpt_pgfault", "__reserved", Generation::V6_14), // padding of the compiler
    ("vfio_iommu_type1_info", "pad", Generation::V6_6),      // likewise
    ("vfio_device_info", "pad", Generation::V6_6),
    ("vfio_device_ioeventfd", "reserved", Generation::V6_7),
];

/// Fields of ours that no header names: padding of the compiler, and the union.
const NEVER_NAMED: &[(&str, &str)] = &[
    ("iommu_test_cmd", "args"),
    ("iommu_test_cmd", "__pad"),
    ("iommu_test_check_refs", "__pad"),
    ("iommu_test_access_rw", "__pad"),
    ("iommu_test_dirty", "__pad"),
    ("vfio_iommu_type1_info_cap_migration", "__pad"),
];

/// Members of a union that are one field of ours: struct, member, field.
const SAME_FIELD: &[(&str, &str, &str)] = &[("iommu_hw_info", "in_data_type", "out_data_type")];

struct Header {
    release: String,
    /// The generation of the release: the last one that is not newer.
    generation: Generation,
    facts: Value,
}

impl Header {
    fn constants(&self) -> impl Iterator<Item = (&str, i128)> {
        let constants = self.facts["constants"].as_object().unwrap();
        constants.iter().map(|(name, value)| (name.as_str(), value.as_i64().unwrap().into()))
    }

    fn structs(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.facts["structs"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, facts)| (name.as_str(), facts))
    }
}

/// The headers of one kind, oldest first.
fn headers(kind: &str, count: usize) -> Vec<Header> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/headers");
    let mut headers = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{kind}-")) {
            continue;
        }
        let mut text = String::new();
        let file = fs::File::open(&path).unwrap();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        let facts: Value = serde_json::from_str(&text).unwrap();
        let release = facts["release"].as_str().unwrap().to_owned();
        let (major, minor) = release.split_once('.').unwrap();
        let number = (major.parse().unwrap(), minor.parse().unwrap());
        let generation = *Generation::ALL.iter().rfind(|g| g.release() <= number).unwrap();
        headers.push((number, Header { release, generation, facts }));
    }
    assert_eq!(headers.len(), count, "headers of {kind}");
    headers.sort_by_key(|(number, _)| *number);
    headers.into_iter().map(|(_, header)| header).collect()
}

/// What is wrong between a header's struct and ours.
fn compare_struct(theirs: &Value, ours: &Struct, header: &Header) -> Vec<String> {
    let mut wrong = Vec::new();
    let size = theirs["size"].as_u64().unwrap() as usize;
    let expected = match ours.sizes {
        Some(sizes) => sizes.iter().rfind(|(since, _)| *since <= header.generation).map(|s| s.1),
        None => Some(ours.size),
    };
    if expected != Some(size) {
        wrong.push(format!("size {size}, ours {expected:?}"));
    }

    let mut seen = BTreeSet::new();
    for field in theirs["fields"].as_array().unwrap() {
        let name = field[0].as_str().unwrap();
        let offset = field[1].as_u64().unwrap() as usize;
        let length = match field[2].as_str().unwrap() {
            "flex" => continue, // elements after the struct
            length => length.parse::<usize>().unwrap(),
        };
        let renamed = RENAMED.iter().any(|&(of, field, at, bytes, until)| {
            (of, field, at, bytes) == (ours.name, name, offset, length) && header.generation < until
        });
        if renamed {
            continue;
        }
        let same = SAME_FIELD.iter().find(|(of, member, _)| (*of, *member) == (ours.name, name));
        let name = same.map_or(name, |(_, _, field)| field);
        seen.insert(name);
        match ours.fields.iter().find(|field| field.name == name) {
            Some(field) if (field.offset, field.size) == (offset, length) => {}
            Some(field) => wrong.push(format!(
                "{name} at {offset}, {length} bytes; ours at {}, {}",
                field.offset, field.size
            )),
            None => wrong.push(format!("{name} is not declared")),
        }
    }

    for field in ours.fields.iter().filter(|field| field.offset < size) {
        let later = NAMED_LATER.iter().any(|&(of, name, since)| {
            (of, name) == (ours.name, field.name) && header.generation < since
        });
        let never = NEVER_NAMED.contains(&(ours.name, field.name));
        if !seen.contains(field.name) && !later && !never {
            wrong.push(format!("{} is not in the header", field.name));
        }
    }
    wrong
}

/// All that is wrong. With `complete`, what a header has and we do not is wrong too.
fn compare(ours: &Declared, headers: &[Header], complete: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for header in headers {
        let release = &header.release;
        for (name, value) in header.constants() {
            match ours.constants.iter().find(|(ours, _)| *ours == name) {
                Some((_, ours)) if *ours == value => {}
                Some((_, ours)) => wrong.push(format!("{release}: {name} = {value}, ours {ours}")),
                None if NOT_DECLARED.iter().any(|(excused, _)| *excused == name) => {}
                None if complete => {
                    wrong.push(format!("{release}: constant {name} is not declared"))
                }
                None => {}
            }
        }
        for (name, theirs) in header.structs() {
            match ours.structs.iter().find(|ours| ours.name == name) {
                Some(ours) => wrong.extend(
                    compare_struct(theirs, ours, header)
                        .into_iter()
                        .map(|difference| format!("{release}: struct {name}: {difference}")),
                ),
                None if complete => wrong.push(format!("{release}: struct {name} is not declared")),
                None => {}
            }
        }
        let has = |name: &str| header.structs().any(|(theirs, _)| theirs == name);
        for command in &ours.structs {
            let first = command.sizes.map_or(Generation::NEWEST, |sizes| sizes[0].0);
            if first <= header.generation && !has(command.name) {
                wrong.push(format!("{release}: struct {} is not in the header", command.name));
            }
        }
    }

    let newest = headers.last().unwrap();
    assert_eq!(newest.generation, Generation::NEWEST);
    for (name, _) in &ours.constants {
        let removed = REMOVED.contains(name);
        if !removed && !newest.constants().any(|(theirs, _)| theirs == *name) {
            wrong.push(format!("constant {name} is in no header of {}", newest.release));
        }
    }
    wrong
}

#[track_caller]
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn iommufd_is_the_header_of_every_release() {
    assert_none(&compare(&declared::iommufd(), &headers("iommufd", 15), true));
}

#[test]
fn selftest_is_the_header_of_7_3() {
    assert_none(&compare(&declared::selftest(), &headers("selftest", 1), true));
}

#[test]
fn vfio_is_in_the_header_of_every_release() {
    assert_none(&compare(&declared::vfio(), &headers("vfio", 17), false));
}

/// The lists in `declared.rs` hold every name of the sources.
#[test]
fn every_declaration_is_listed() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut iommufd = vec![source.join("iommufd.rs")];
    iommufd
        .extend(fs::read_dir(source.join("iommufd")).unwrap().map(|entry| entry.unwrap().path()));
    let cases = [
        (declared::iommufd(), iommufd),
        (declared::selftest(), vec![source.join("selftest.rs")]),
        (
            declared::vfio(),
            ["device", "dirty", "feature", "group", "interrupts"]
                .map(|file| source.join(format!("vfio/{file}.rs")))
                .into_iter()
                .chain([source.join("vfio.rs")])
                .collect(),
        ),
    ];

    let mut missing = Vec::new();
    for (declared, files) in cases {
        for file in files {
            for line in fs::read_to_string(&file).unwrap().lines() {
                let name = |prefix| {
                    let rest: &str = line.strip_prefix(prefix)?;
                    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
                };
                let listed = match (name("pub const "), name("pub struct ")) {
                    (Some("fn"), _) | (None, None) => true,
                    (Some(name), _) if OURS.contains(&name) => true,
                    (Some(name), _) => declared.constants.iter().any(|(ours, _)| *ours == name),
                    (None, Some(name)) => declared.structs.iter().any(|ours| ours.name == name),
                };
                if !listed {
                    missing.push(format!("{}: {line}", file.display()));
                }
            }
        }
    }
    assert_none(&missing);
}

/// A size that no header shows would be a guess: 6.3 stands for 6.2, and 7.0 has no file.
#[test]
fn every_size_has_a_header() {
    let headers = headers("iommufd", 15);
    for command in COMMANDS {
        for (since, _) in command.sizes {
            assert!(headers.iter().any(|h| h.generation == *since), "{} {since}", command.name);
        }
        assert!(command.sizes.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), "{}", command.name);
    }
}
