//! The judge of layouts: what is an extension, what breaks which rule, and what the API of 2020 went through.

use profile::layout::{Field, Layout, Rule, What, history, judge};

type Base = fn() -> Layout;
type Change = fn(&mut Layout);
/// Case, layout, what is done to it, steps.
type Extension = (&'static str, Base, Change, &'static str);
/// Case, layout, what is done to it, the rule that this breaks, how that is told.
type Wrong = (&'static str, Base, Change, Rule, &'static str);

/// A struct of 2020 by release and name, with the flags that its fields have.
fn of_2020(release: &str, name: &str) -> Layout {
    let headers = history::headers_2020();
    let header = headers.iter().find(|header| header.release == release).unwrap();
    let mut layout = header.structs.iter().find(|layout| layout.name == name).unwrap().clone();
    if name == "iommu_gpasid_bind_data" {
        layout.constants.push(("IOMMU_SVA_GPASID_VAL".into(), 1));
    }
    layout
}

fn bind() -> Layout {
    of_2020("5.10", "iommu_gpasid_bind_data")
}

fn old_bind() -> Layout {
    of_2020("5.5", "iommu_gpasid_bind_data")
}

fn old_response() -> Layout {
    of_2020("5.5", "iommu_page_response")
}

/// `iommu_hwpt_alloc` of 6.7, and one like it of VFIO.
fn hwpt_alloc() -> Layout {
    sized("iommu_hwpt_alloc", "size")
}

fn attach() -> Layout {
    sized("vfio_device_attach_iommufd_pt", "argsz")
}

fn sized(name: &str, size: &str) -> Layout {
    let fields = [size, "flags", "dev_id", "pt_id", "__reserved", "data_len"];
    let field = |(index, name): (usize, &&str)| Field::new(name, index * 4, 4, "__u32");
    Layout::new(name, 24, fields.iter().enumerate().map(field).collect())
}

fn field<'l>(layout: &'l mut Layout, name: &str) -> &'l mut Field {
    layout.fields.iter_mut().find(|field| field.own_name() == name).unwrap()
}

/// Adds a field, and with a flag that flag.
fn add(layout: &mut Layout, name: &str, (offset, size): (usize, usize), ctype: &str, flag: &str) {
    let mut new = Field::new(name, offset, size, ctype);
    if !flag.is_empty() {
        new.told_by = Some(flag.into());
        if !layout.constants.iter().any(|(known, _)| known == flag) {
            layout.constants.push((flag.into(), 1 << 1));
        }
    }
    layout.size = layout.size.max(new.end());
    layout.fields.push(new);
}

/// Adds a member to the union at the end.
fn member(layout: &mut Layout, name: &str, size: usize, flag: &str) {
    let offset = layout.union_at_end().unwrap();
    add(layout, name, (offset, size), "struct", flag);
    layout.fields.last_mut().unwrap().member = true;
}

#[test]
fn extensions_and_what_they_are_made_of() {
    #[rustfmt::skip] // one layout, one line
    let cases: &[Extension] = &[
        ("the same", bind, |_| (), ""),
        ("padding with a flag, all of it", bind,
            |l| { l.fields.retain(|f| f.name != "padding"); add(l, "guest_id", (48, 8), "__u64", "IOMMU_SVA_GUEST_ID") },
            "`guest_id` in padding, with `IOMMU_SVA_GUEST_ID`"),
        ("padding with a flag, half of it", bind,
            |l| { let f = field(l, "padding"); (f.offset, f.size) = (52, 4); add(l, "guest_id", (48, 4), "__u32", "IOMMU_SVA_GUEST_ID") },
            "`guest_id` in padding, with `IOMMU_SVA_GUEST_ID`"),
        ("a shorter member of the union", bind, |l| member(l, "vendor.smmuv3", 8, "IOMMU_PASID_FORMAT_SMMU"),
            "member `vendor.smmuv3`, with `IOMMU_PASID_FORMAT_SMMU`"),
        ("a longer member of the union", bind, |l| member(l, "vendor.smmuv3", 24, "IOMMU_PASID_FORMAT_SMMU"),
            "member `vendor.smmuv3`, with `IOMMU_PASID_FORMAT_SMMU`; 72 to 80 bytes"),
        ("a member, without a size in the struct", old_bind, |l| member(l, "smmu", 24, "IOMMU_SVA_SMMU_SUPP"),
            "member `smmu`, with `IOMMU_SVA_SMMU_SUPP`; 72 to 80 bytes"),
        ("a flag for what is there", bind, |l| l.constants.push(("IOMMU_SVA_NEW".into(), 2)), ""),
        ("the union gets a name", old_bind, |l| field(l, "vtd").name = "vendor.vtd".into(), ""),
        ("the end, 0 when absent", hwpt_alloc, |l| add(l, "data_uptr", (24, 8), "__aligned_u64", ""),
            "`data_uptr` at the end; 24 to 32 bytes"),
        ("the end, with a flag and padding", hwpt_alloc, |l| { add(l, "fault_id", (24, 4), "__u32", "FAULT_ID_VALID"); add(l, "__reserved2", (28, 4), "__u32", "") },
            "`fault_id`, `__reserved2` at the end, with `FAULT_ID_VALID`; 24 to 32 bytes"),
        ("the end, in another order", hwpt_alloc, |l| { add(l, "__reserved2", (28, 4), "__u32", ""); add(l, "fault_id", (24, 4), "__u32", "") },
            "`fault_id`, `__reserved2` at the end; 24 to 32 bytes"),
        ("the end, from padding on", || { let mut l = hwpt_alloc(); add(&mut l, "__reserved2", (24, 4), "__u32", ""); l },
            |l| { l.fields.pop(); add(l, "data_uptr", (24, 8), "__aligned_u64", "") },
            "`data_uptr` at the end; 28 to 32 bytes"),
        ("an answer at the end behind argsz", attach, |l| add(l, "out_devid", (24, 4), "__u32", ""),
            "`out_devid` at the end; 24 to 28 bytes"),
        ("the end behind argsz, with a flag", attach, |l| add(l, "pasid", (24, 4), "__u32", "ATTACH_PASID"),
            "`pasid` at the end, with `ATTACH_PASID`; 24 to 28 bytes"),
        ("padding at the end behind argsz", attach, |l| add(l, "pad", (24, 4), "__u32", ""), "`pad` at the end; 24 to 28 bytes"),
        ("an answer in padding", hwpt_alloc,
            |l| { let f = field(l, "__reserved"); (f.offset, f.size) = (17, 3); add(l, "out_max_pasid_log2", (16, 1), "__u8", "") },
            "`out_max_pasid_log2` in padding, an answer"),
        ("an answer in padding, with a flag", hwpt_alloc,
            |l| { l.fields.retain(|f| f.name != "__reserved"); add(l, "out_id", (16, 4), "__u32", "OUT_ID") },
            "`out_id` in padding, with `OUT_ID`"),
        ("a second meaning with a flag", hwpt_alloc, |l| add(l, "in_id", (8, 4), "__u32", "IN_ID"), "`in_id` over `dev_id`, with `IN_ID`"),
        ("the end, with a union before it", || { let mut l = hwpt_alloc(); add(&mut l, "in_id", (8, 4), "__u32", "IN_ID"); Layout::new(&l.name, l.size, l.fields) },
            |l| add(l, "data_uptr", (24, 8), "__aligned_u64", ""),
            "`data_uptr` at the end; 24 to 32 bytes"),
        ("another type of the same length", bind,
            |l| for name in ["gpgd", "hpasid"] { field(l, name).ctype = "__aligned_u64".into() }, "`__aligned_u64`: `gpgd`, `hpasid`"),
    ];
    for (case, old, change, expected) in cases {
        let (old, mut new) = (old(), old());
        change(&mut new);
        let steps = judge(&old, &new).unwrap_or_else(|broken| panic!("{case}: {broken}"));
        let steps: Vec<_> = steps.iter().map(ToString::to_string).collect();
        assert_eq!(steps.join("; "), *expected, "{case}");
    }
}

#[test]
fn padding_of_the_compiler_may_get_a_name() {
    let pgfault = |reserved: bool| {
        let mut fields =
            vec![Field::new("length", 0, 4, "__u32"), Field::new("addr", 8, 8, "__u64")];
        fields.extend(reserved.then(|| Field::new("__reserved", 4, 4, "__u32")));
        Layout::new("iommu_hwpt_pgfault", 16, fields)
    };
    assert_eq!(judge(&pgfault(false), &pgfault(false)), Ok(vec![]), "and need not");
    let steps = judge(&pgfault(false), &pgfault(true)).unwrap();
    assert_eq!(steps[0].to_string(), "padding of the compiler is named `__reserved`");
}

#[test]
fn what_the_name_of_a_field_says() {
    #[rustfmt::skip] // one name, one line
    let cases = [
        // name,             padding, answer
        ("padding",          true,    false),
        ("padding2",         true,    false),
        ("__reserved",       true,    false),
        ("__reserved2",      true,    false),
        ("reserved",         true,    false),
        ("pad",              true,    false),
        ("granu.padding",    true,    false),
        ("reserved_ranges",  false,   false),
        ("padded",           false,   false),
        ("paddr",            false,   false),
        ("out_devid",        false,   true),
        ("outer",            false,   false),
        ("vendor.out_flags", false,   true),
    ];
    for (name, padding, answer) in cases {
        let field = Field::new(name, 0, 4, "__u32");
        assert_eq!((field.is_padding(), field.is_answer()), (padding, answer), "{name}");
    }
}

/// What tells of a field is told of its struct alone.
#[test]
fn fields_are_told_by_the_constants_of_their_header() {
    let told = |mut layout: Layout, value: Option<i128>| {
        history::tell(&mut layout, |_| value);
        let by = layout.field("pasid").and_then(|field| field.told_by.clone());
        (by, layout.constants)
    };
    let attach = || {
        let mut layout = attach();
        layout.fields.push(Field::new("pasid", 24, 4, "__u32"));
        layout
    };
    let flag = || "VFIO_DEVICE_ATTACH_PASID".to_owned();
    assert_eq!(told(attach(), Some(1)), (Some(flag()), vec![(flag(), 1)]));
    assert_eq!(told(attach(), None), (Some(flag()), vec![]), "an older header");
    assert_eq!(told(old_response(), Some(1)), (None, vec![]), "another struct with a `pasid`");
}

#[test]
fn wrong_layouts_and_the_rule_each_breaks() {
    #[rustfmt::skip] // one layout, one line
    let cases: &[Wrong] = &[
        ("a field is gone", bind, |l| l.fields.retain(|f| f.name != "gpasid"),
            Rule::Removed, "`gpasid` is gone"),
        ("a field moves into padding", bind, |l| field(l, "addr_width").offset = 48,
            Rule::Moved, "`addr_width` is at 48 and was at 12"),
        ("a field grows into padding", old_bind, |l| field(l, "addr_width").size = 8,
            Rule::Resized, "`addr_width` has 8 bytes and had 4"),
        ("a member of the union grows", bind, |l| { field(l, "vtd").size = 24; l.size = 80 },
            Rule::Resized, "`vendor.vtd` has 24 bytes and had 16"),
        ("a flag gets another value", bind, |l| l.constants[0].1 = 4,
            Rule::ConstantChanged, "`IOMMU_SVA_GPASID_VAL` is 0x4 and was 0x1"),
        ("a flag is gone", bind, |l| l.constants.clear(),
            Rule::ConstantChanged, "`IOMMU_SVA_GPASID_VAL` is gone and was 0x1"),
        ("padding at the end is cut off", || { let mut l = hwpt_alloc(); add(&mut l, "__reserved2", (24, 4), "__u32", ""); l },
            |l| { l.fields.pop(); l.size = 24 },
            Rule::Shrunk, "24 bytes, and had 28"),
        ("8 bytes at half of 8", old_bind, |l| { l.fields.retain(|f| f.name != "padding"); add(l, "id", (44, 8), "__u64", "ID") },
            Rule::Unaligned, "`id` is at 44, which 8 does not divide"),
        ("4 bytes at half of 4", old_bind, |l| { l.fields.retain(|f| f.name != "padding"); add(l, "id", (46, 4), "__u32", "ID") },
            Rule::Unaligned, "`id` is at 46, which 4 does not divide"),
        ("2 bytes at half of 2", old_bind, |l| { l.fields.retain(|f| f.name != "padding"); add(l, "id", (45, 2), "__u16", "ID") },
            Rule::Unaligned, "`id` is at 45, which 2 does not divide"),
        ("behind the union", bind, |l| add(l, "new_member", (72, 8), "__u64", "IOMMU_NEW_MEMBER_VAL"),
            Rule::AfterUnion, "`new_member` is at 72, behind the union"),
        ("padding behind the union", bind, |l| add(l, "padding2", (72, 8), "__u8[8]", ""),
            Rule::AfterUnion, "`padding2` is at 72, behind the union"),
        ("over a field", bind, |l| add(l, "gpgd2", (16, 16), "__u64[2]", "GPGD2"),
            Rule::Overlaps, "`gpgd2` lies over `flags`"),
        ("a second meaning without a flag", hwpt_alloc, |l| add(l, "in_id", (8, 4), "__u32", ""),
            Rule::Overlaps, "`in_id` lies over `dev_id`"),
        ("longer, and does not say how long", old_response, |l| add(l, "private", (24, 8), "__u64", "PRIVATE"),
            Rule::NoSize, "`private` makes it longer, and its size is not in it"),
        ("padding without a flag", bind, |l| { l.fields.retain(|f| f.name != "padding"); add(l, "id", (48, 8), "__u64", "") },
            Rule::WithoutFlag, "nothing tells of `id`"),
        ("a member without a format", bind, |l| member(l, "vendor.smmuv3", 8, ""),
            Rule::WithoutFlag, "nothing tells of `vendor.smmuv3`"),
        ("the end behind argsz, without a flag", attach, |l| add(l, "pasid", (24, 4), "__u32", ""),
            Rule::WithoutFlag, "nothing tells of `pasid`"),
        ("a flag that is not defined", attach, |l| { add(l, "pasid", (24, 4), "__u32", "PASID"); l.constants.clear() },
            Rule::WithoutFlag, "`pasid` is told by `PASID`, which is not defined"),
        ("a flag that had a meaning", bind, |l| { l.fields.retain(|f| f.name != "padding"); add(l, "id", (48, 8), "__u64", "IOMMU_SVA_GPASID_VAL") },
            Rule::OldFlag, "`id` is told by `IOMMU_SVA_GPASID_VAL`, which was there"),
        ("a flag that had a meaning, where none is needed",
            || { let mut l = hwpt_alloc(); l.constants.push(("NEST_PARENT".into(), 1)); l },
            |l| add(l, "fault_id", (24, 4), "__u32", "NEST_PARENT"),
            Rule::OldFlag, "`fault_id` is told by `NEST_PARENT`, which was there"),
        ("a hole at the end", hwpt_alloc, |l| add(l, "data_uptr", (32, 8), "__aligned_u64", ""),
            Rule::Hole, "byte 24 is in no field"),
        ("padding loses its name", bind, |l| { l.fields.retain(|f| f.name != "padding"); add(l, "id", (48, 4), "__u32", "ID") },
            Rule::Hole, "byte 52 is in no field"),
    ];
    for (case, old, change, rule, what) in cases {
        let (old, mut new) = (old(), old());
        change(&mut new);
        let broken = judge(&old, &new).expect_err(case);
        assert_eq!((broken.rule, broken.what.as_str()), (*rule, *what), "{case}");
    }
    for rule in Rule::ALL {
        assert!(cases.iter().any(|case| case.3 == *rule), "no layout breaks {rule}");
    }
}

#[test]
fn what_is_broken_is_told_with_its_rule() {
    let (old, mut new) = (bind(), bind());
    field(&mut new, "addr_width").offset = 48;
    assert_eq!(
        judge(&old, &new).unwrap_err().to_string(),
        "struct iommu_gpasid_bind_data: `addr_width` is at 48 and was at 12 (rule moved: a field stays \
         where it is)"
    );
}

/// Jacob Pan, 31 January 2020, to `[PATCH 3/3] iommu/uapi: Add helper function for size lookup`: V2 puts a
/// member behind the union, V3 makes the union longer. Alex Williamson, 3 February: then it has moved. So the
/// patches' second version allows neither.
#[test]
fn the_examples_of_january() {
    let v1 = old_bind();
    let mut v2 = v1.clone();
    add(&mut v2, "new_member", (72, 8), "__u64", "IOMMU_NEW_MEMBER_VAL");
    assert_eq!(judge(&v1, &v2).unwrap_err().rule, Rule::AfterUnion);

    let mut v3 = v2.clone();
    add(&mut v3, "smmu", (56, 24), "struct", "IOMMU_SVA_SMMU_SUPP");
    field(&mut v3, "new_member").offset = 80;
    v3.size = 88;
    let broken = judge(&v2, &v3).unwrap_err();
    assert_eq!((broken.rule, &*broken.what), (Rule::Moved, "`new_member` is at 80 and was at 72"));
}

/// `[PATCH v2 3/3]`, 25 March 2020: V2 adds `smmu_v3` and `new_info` to the unions, V3 a new struct alone.
#[test]
fn the_examples_of_march() {
    let (bind, info) = (old_bind(), of_2020("5.5", "iommu_cache_invalidate_info"));
    let (mut new_bind, mut new_info) = (bind.clone(), info.clone());
    member(&mut new_bind, "smmu_v3", 32, "IOMMU_PASID_FORMAT_SMMU_V3");
    member(&mut new_info, "new_info", 24, "IOMMU_INV_GRANU_NEW");
    assert!(judge(&bind, &new_bind).is_ok());
    assert!(judge(&info, &new_info).is_ok());
}

/// 5.10 moved what was there, and its authors knew it; 5.18 took the calls away, with their structs.
#[test]
fn the_history_of_the_api_of_2020() {
    let changes = history::changes(&history::headers_2020());
    let told = changes.iter().map(|change| {
        let what = match &change.what {
            What::New => "new".to_owned(),
            What::Gone => "gone".to_owned(),
            What::Extended(_) => "extended".to_owned(),
            What::Broken(broken) => format!("{}: {}", broken.rule, broken.what),
        };
        (change.release.as_str(), change.name.as_str(), what)
    });
    #[rustfmt::skip] // one struct, one line
    let expected = [
        ("5.10", "iommu_page_response",         "moved: `version` is at 4 and was at 0"),
        ("5.10", "iommu_cache_invalidate_info", "moved: `version` is at 4 and was at 0"),
        ("5.10", "iommu_gpasid_bind_data",      "moved: `version` is at 4 and was at 0"),
        ("5.18", "iommu_inv_addr_info",         "gone"),
        ("5.18", "iommu_inv_pasid_info",        "gone"),
        ("5.18", "iommu_cache_invalidate_info", "gone"),
        ("5.18", "iommu_gpasid_bind_data_vtd",  "gone"),
        ("5.18", "iommu_gpasid_bind_data",      "gone"),
    ];
    let expected = expected.map(|(release, name, what)| (release, name, what.to_owned()));
    assert_eq!(told.collect::<Vec<_>>(), expected);
}
