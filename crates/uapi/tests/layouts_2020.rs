//! The API of 2020 against what a C compiler says of its header, `conformance/headers/iommu-2020.txt`, and
//! what was only posted against its description.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use uapi::y2020::bind::*;
use uapi::y2020::cache::*;
use uapi::y2020::fault::*;
use uapi::y2020::layouts::{HEADERS, POSTED, Struct};
use uapi::y2020::transport::*;
use uapi::y2020::*;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// A field in words, as both sides are compared: `16 8 __u64 flags`.
type Fields = Vec<String>;

/// Name, offset and size of each field.
type FieldsOf = &'static [(&'static str, usize, usize)];

/// Struct by name: size and fields.
type Header = BTreeMap<String, (usize, Fields)>;

/// The headers of the file, with the copy that each was made from.
fn read(text: &str) -> Vec<(String, Header)> {
    let mut headers: Vec<(String, Header)> = Vec::new();
    let mut name = String::new();
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["#####", copy] => headers.push((copy.to_owned(), Header::new())),
            ["struct", of, size] => {
                name = of.to_owned();
                let size = size.strip_prefix("size=").unwrap().parse().unwrap();
                let header = &mut headers.last_mut().unwrap().1;
                assert!(header.insert(name.clone(), (size, Fields::new())).is_none(), "{line}");
            }
            [] => {}
            _ => headers.last_mut().unwrap().1.get_mut(&name).unwrap().1.push(words.join(" ")),
        }
    }
    headers
}

fn ours(structs: &[Struct]) -> Header {
    let fields = |it: &Struct| {
        let words = |f: &layouts::Field| format!("{} {} {} {}", f.offset, f.size, f.ctype, f.name);
        it.fields.iter().map(words).collect()
    };
    structs.iter().map(|it| (it.name.to_owned(), (it.size, fields(it)))).collect()
}

#[test]
fn the_structs_are_those_of_the_header() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/headers/iommu-2020.txt");
    let theirs = read(&fs::read_to_string(path).unwrap());
    // the copies: 5.9, which 5.5 to 5.8 have too; Debian's 5.10 and 6.1, the last that is 5.18's
    let copies: Vec<_> = theirs.iter().map(|(copy, _)| copy.as_str()).collect();
    assert_eq!(copies.len(), HEADERS.len(), "{copies:?}");
    for ((copy, theirs), header) in theirs.iter().zip(HEADERS) {
        assert_eq!(&ours(header.structs), theirs, "{} against {copy}", header.release);
    }
}

/// `reference/uapi.md` 3.5: Liu Yi L's v7 of 10 September 2020, Eric Auger's v15 and v13 of 11 April 2021.
#[test]
fn what_was_posted() {
    #[rustfmt::skip] // one struct, one line
    let cases: &[(&str, usize, FieldsOf)] = &[
        ("iommu_pasid_smmuv3",                8, &[("version", 0, 4), ("s1fmt", 4, 1), ("s1dss", 5, 1), ("padding", 6, 2)]),
        ("iommu_pasid_table_config",         32, &[("version", 0, 4), ("format", 4, 4), ("base_ptr", 8, 8), ("pasid_bits", 16, 1), ("config", 17, 1), ("padding", 18, 6), ("smmuv3", 24, 8)]),
        ("iommu_pasid_table_config",         32, &[("argsz", 0, 4), ("version", 4, 4), ("base_ptr", 8, 8), ("format", 16, 4), ("pasid_bits", 20, 1), ("config", 21, 1), ("padding", 22, 2), ("vendor_data.smmuv3", 24, 8)]),
        ("vfio_iommu_type1_pasid_request",   16, &[("argsz", 0, 4), ("flags", 4, 4), ("range", 8, 8)]),
        ("vfio_iommu_type1_nesting_op",       8, &[("argsz", 0, 4), ("flags", 4, 4)]),
        ("vfio_iommu_type1_info_cap_nesting", 64, &[("header", 0, 8), ("info", 8, 56)]),
        ("iommu_nesting_info",               56, &[("argsz", 0, 4), ("flags", 4, 4), ("format", 8, 4), ("features", 12, 4), ("addr_width", 16, 2), ("pasid_bits", 18, 2), ("padding", 20, 12), ("vendor.vtd", 32, 24)]),
        ("iommu_nesting_info_vtd",           24, &[("flags", 0, 4), ("padding", 4, 4), ("cap_reg", 8, 8), ("ecap_reg", 16, 8)]),
        ("vfio_region_info_cap_fault",       12, &[("header", 0, 8), ("version", 8, 4)]),
        ("vfio_region_dma_fault",            20, &[("tail", 0, 4), ("entry_size", 4, 4), ("nb_entries", 8, 4), ("offset", 12, 4), ("head", 16, 4)]),
        ("vfio_region_dma_fault_response",   20, &[("head", 0, 4), ("entry_size", 4, 4), ("nb_entries", 8, 4), ("offset", 12, 4), ("tail", 16, 4)]),
    ];
    assert_eq!(POSTED.len(), cases.len());
    for (ours, (name, size, fields)) in POSTED.iter().zip(cases) {
        let found: Vec<_> = ours.fields.iter().map(|f| (f.name, f.offset, f.size)).collect();
        assert_eq!((ours.name, ours.size, &found[..]), (*name, *size, *fields));
    }
    assert_eq!(size_of::<vfio_iommu_type1_pasid_range>(), 8);
}

/// `reference/uapi.md` 3.2, 3.3 and 3.5.
#[test]
fn numbers() {
    #[rustfmt::skip] // one group, one line
    let cases: &[(&str, &[u64], &[u64])] = &[
        ("types",        &[IOMMU_UAPI_BIND_GPASID, IOMMU_UAPI_CACHE_INVAL, IOMMU_UAPI_PAGE_RESP, NR_IOMMU_UAPI_TYPE].map(u64::from), &[0, 1, 2, 3]),
        ("version, mask", &[IOMMU_UAPI_VERSION, IOMMU_UAPI_CAP_MASK].map(u64::from), &[1, 7]),
        ("versions",     &[IOMMU_PAGE_RESP_VERSION_1, IOMMU_CACHE_INVALIDATE_INFO_VERSION_1, IOMMU_GPASID_BIND_VERSION_1, PASID_TABLE_CFG_VERSION_1, PASID_TABLE_SMMUV3_CFG_VERSION_1].map(u64::from), &[1; 5]),
        ("fault types",  &[IOMMU_FAULT_DMA_UNRECOV, IOMMU_FAULT_PAGE_REQ].map(u64::from), &[1, 2]),
        ("reasons",      &[IOMMU_FAULT_REASON_UNKNOWN, IOMMU_FAULT_REASON_PASID_FETCH, IOMMU_FAULT_REASON_BAD_PASID_ENTRY, IOMMU_FAULT_REASON_PASID_INVALID, IOMMU_FAULT_REASON_WALK_EABT, IOMMU_FAULT_REASON_PTE_FETCH, IOMMU_FAULT_REASON_PERMISSION, IOMMU_FAULT_REASON_ACCESS, IOMMU_FAULT_REASON_OOR_ADDRESS].map(u64::from), &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("perm",         &[IOMMU_FAULT_PERM_READ, IOMMU_FAULT_PERM_WRITE, IOMMU_FAULT_PERM_EXEC, IOMMU_FAULT_PERM_PRIV].map(u64::from), &[1, 2, 4, 8]),
        ("unrecov",      &[IOMMU_FAULT_UNRECOV_PASID_VALID, IOMMU_FAULT_UNRECOV_ADDR_VALID, IOMMU_FAULT_UNRECOV_FETCH_ADDR_VALID].map(u64::from), &[1, 2, 4]),
        ("page request", &[IOMMU_FAULT_PAGE_REQUEST_PASID_VALID, IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE, IOMMU_FAULT_PAGE_REQUEST_PRIV_DATA, IOMMU_FAULT_PAGE_RESPONSE_NEEDS_PASID].map(u64::from), &[1, 2, 4, 8]),
        ("response",     &[IOMMU_PAGE_RESP_SUCCESS, IOMMU_PAGE_RESP_INVALID, IOMMU_PAGE_RESP_FAILURE, IOMMU_PAGE_RESP_PASID_VALID].map(u64::from), &[0, 1, 2, 1]),
        ("caches",       &[IOMMU_CACHE_INV_TYPE_IOTLB, IOMMU_CACHE_INV_TYPE_DEV_IOTLB, IOMMU_CACHE_INV_TYPE_PASID, IOMMU_CACHE_INV_TYPE_NR].map(u64::from), &[1, 2, 4, 3]),
        ("granularity",  &[IOMMU_INV_GRANU_DOMAIN, IOMMU_INV_GRANU_PASID, IOMMU_INV_GRANU_ADDR, IOMMU_INV_GRANU_NR].map(u64::from), &[0, 1, 2, 3]),
        ("addr flags",   &[IOMMU_INV_ADDR_FLAGS_PASID, IOMMU_INV_ADDR_FLAGS_ARCHID, IOMMU_INV_ADDR_FLAGS_LEAF].map(u64::from), &[1, 2, 4]),
        ("pasid flags",  &[IOMMU_INV_PASID_FLAGS_PASID, IOMMU_INV_PASID_FLAGS_ARCHID].map(u64::from), &[1, 2]),
        ("formats",      &[IOMMU_PASID_FORMAT_INTEL_VTD, IOMMU_PASID_FORMAT_LAST, IOMMU_PASID_FORMAT_SMMUV3].map(u64::from), &[1, 2, 1]),
        ("bind, vtd",    &[IOMMU_SVA_GPASID_VAL, IOMMU_SVA_VTD_GPASID_SRE, IOMMU_SVA_VTD_GPASID_EAFE, IOMMU_SVA_VTD_GPASID_PCD, IOMMU_SVA_VTD_GPASID_PWT, IOMMU_SVA_VTD_GPASID_EMTE, IOMMU_SVA_VTD_GPASID_CD, IOMMU_SVA_VTD_GPASID_LAST, IOMMU_SVA_VTD_GPASID_MTS_MASK], &[1, 1, 2, 4, 8, 16, 32, 64, 0x3c]),
        ("config",       &[IOMMU_PASID_CONFIG_TRANSLATE, IOMMU_PASID_CONFIG_BYPASS, IOMMU_PASID_CONFIG_ABORT].map(u64::from), &[1, 2, 3]),
        ("calls",        &[VFIO_IOMMU_PASID_REQUEST, VFIO_IOMMU_NESTING_OP, VFIO_TYPE1_NESTING_IOMMU, VFIO_NESTING_IOMMU_UAPI].map(u64::from), &[0x3b76, 0x3b77, 6, 9]),
        ("operations",   &[VFIO_IOMMU_NESTING_OP_BIND_PGTBL, VFIO_IOMMU_NESTING_OP_UNBIND_PGTBL, VFIO_IOMMU_NESTING_OP_CACHE_INVLD, VFIO_NESTING_OP_MASK].map(u64::from), &[0, 1, 2, 0xffff]),
        ("PASIDs",       &[VFIO_IOMMU_FLAG_ALLOC_PASID, VFIO_IOMMU_FLAG_FREE_PASID, VFIO_PASID_REQUEST_MASK].map(u64::from), &[1, 2, 3]),
        ("features",     &[IOMMU_NESTING_FEAT_SYSWIDE_PASID, IOMMU_NESTING_FEAT_BIND_PGTBL, IOMMU_NESTING_FEAT_CACHE_INVLD].map(u64::from), &[1, 2, 4]),
        ("capabilities", &[VFIO_IOMMU_TYPE1_INFO_CAP_NESTING, VFIO_REGION_INFO_CAP_DMA_FAULT, VFIO_REGION_INFO_CAP_DMA_FAULT_RESPONSE].map(u64::from), &[3, 6, 7]),
        ("regions, irq", &[VFIO_REGION_TYPE_NESTED, VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT, VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT_RESPONSE, VFIO_IRQ_TYPE_NESTED, VFIO_IRQ_SUBTYPE_DMA_FAULT].map(u64::from), &[4, 1, 2, 1, 1]),
    ];
    for (group, ours, expected) in cases {
        assert_eq!(ours, expected, "{group}");
    }
}

/// The table of the header: device TLBs have no domain, the PASID cache no addresses.
#[test]
fn each_cache_with_each_granularity() {
    assert_eq!(COMBINATIONS.len(), 9);
    for cache in 0..IOMMU_CACHE_INV_TYPE_NR {
        for granularity in 0..IOMMU_INV_GRANU_NR {
            let row = COMBINATIONS.iter().find(|(c, g, _)| (*c, *g) == (1 << cache, granularity));
            let not = matches!(
                (1 << cache, granularity),
                (IOMMU_CACHE_INV_TYPE_DEV_IOTLB, IOMMU_INV_GRANU_DOMAIN)
                    | (IOMMU_CACHE_INV_TYPE_PASID, IOMMU_INV_GRANU_ADDR)
            );
            assert_eq!(row.map(|(_, _, valid)| *valid), Some(!not), "{cache} {granularity}");
        }
    }
}

#[test]
fn a_union_is_what_its_selector_says() {
    let event = iommu_fault_unrecoverable { reason: 7, fetch_addr: 9, ..Default::default() };
    let prm = iommu_fault_page_request { grpid: 3, private_data: [4, 5], ..Default::default() };
    let (unrecoverable, request) =
        (iommu_fault::unrecoverable(event), iommu_fault::page_request(prm));
    assert_eq!((unrecoverable.event(), unrecoverable.prm()), (Some(event), None));
    assert_eq!((request.event(), request.prm()), (None, Some(prm)));
    assert_eq!(request.as_bytes()[48..], [0; 16], "behind the member");

    let addr = iommu_inv_addr_info { addr: 0x1000, nb_granules: 2, ..Default::default() };
    let mut info = v5_10::iommu_cache_invalidate_info::new_zeroed();
    addr.write_to_prefix(info.granu.as_mut_bytes()).unwrap();
    info.granularity = IOMMU_INV_GRANU_ADDR;
    assert_eq!((info.addr_info(), info.pasid_info()), (Some(addr), None));
    info.granularity = IOMMU_INV_GRANU_PASID;
    assert_eq!(info.addr_info(), None);
    info.granularity = IOMMU_INV_GRANU_DOMAIN;
    assert_eq!((info.addr_info(), info.pasid_info()), (None, None));
}

/// Every byte of the old form comes to its field of the new one.
#[test]
fn old_arguments_become_new_ones() {
    fn filled<T: FromBytes + IntoBytes>() -> T {
        let mut value = T::new_zeroed();
        value.as_mut_bytes().iter_mut().zip(1..).for_each(|(byte, fill)| *byte = fill);
        value
    }
    let old: v5_5::iommu_page_response = filled();
    let new = v5_10::iommu_page_response::from(old);
    assert_eq!((new.argsz, &new.as_bytes()[4..]), (24, old.as_bytes()));

    let old: v5_5::iommu_cache_invalidate_info = filled();
    let new = v5_10::iommu_cache_invalidate_info::from(old);
    assert_eq!((new.argsz, new.version, new.granu), (56, old.version, old.granu));
    assert_eq!((new.cache, new.granularity, new.padding), (5, 6, [0; 6]));

    let old: v5_5::iommu_gpasid_bind_data = filled();
    let new = v5_10::iommu_gpasid_bind_data::from(old);
    assert_eq!((new.argsz, new.version, new.format), (72, old.version, old.format));
    assert_eq!((new.addr_width, new.flags, new.gpgd), (old.addr_width, old.flags, old.gpgd));
    assert_eq!((new.hpasid, new.gpasid, new.padding), (old.hpasid, old.gpasid, [0; 8]));
    assert_eq!(new.vendor, old.vtd);

    let old: v5_5::iommu_pasid_table_config = filled();
    let new = v5_10::iommu_pasid_table_config::from(old);
    assert_eq!((new.argsz, new.version, new.base_ptr), (32, old.version, old.base_ptr));
    assert_eq!((new.format, new.pasid_bits, new.config), (old.format, 17, 18));
    assert_eq!((new.padding, new.vendor_data), ([0; 2], old.smmuv3));
}

#[test]
fn layouts_have_names() {
    let names: Vec<_> = Layout::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["5.5", "patches", "5.10"]);
}
