//! A guest's PASID table on an SMMUv3: what is refused of tables and of invalidations.

use uapi::y2020::bind::*;
use uapi::y2020::cache::*;
use uapi::y2020::transport::*;
use uapi::y2020::v5_5;
use uapi::y2020::v5_10::{iommu_cache_invalidate_info, iommu_pasid_table_config};
use zerocopy::{Immutable, IntoBytes};

use super::tables::{CONTEXTS, PASID, grace};
use super::*;

/// A PASID table that is taken.
pub fn valid() -> iommu_pasid_table_config {
    iommu_pasid_table_config {
        argsz: 32,
        version: PASID_TABLE_CFG_VERSION_1,
        base_ptr: CONTEXTS,
        format: IOMMU_PASID_FORMAT_SMMUV3,
        pasid_bits: 8,
        config: IOMMU_PASID_CONFIG_TRANSLATE,
        padding: [0; 2],
        vendor_data: iommu_pasid_smmuv3 {
            version: PASID_TABLE_SMMUV3_CFG_VERSION_1,
            ..Default::default()
        },
    }
}

/// An invalidation that is taken.
fn invalidation<T: IntoBytes + Immutable>(
    granularity: u8,
    member: &T,
) -> iommu_cache_invalidate_info {
    let mut info = iommu_cache_invalidate_info {
        argsz: 56,
        version: IOMMU_CACHE_INVALIDATE_INFO_VERSION_1,
        cache: IOMMU_CACHE_INV_TYPE_IOTLB,
        granularity,
        ..Default::default()
    };
    info.granu.as_mut_bytes()[..size_of::<T>()].copy_from_slice(member.as_bytes());
    info
}

/// A call with size and flags in front, and a byte in all that follows.
pub fn call<T: IntoBytes + Immutable>(
    container: &Container,
    number: u32,
    (argsz, flags): (u32, u32),
    data: &T,
    behind: u8,
) -> Answer {
    let mut bytes = [behind; 96];
    bytes[..8].copy_from_slice([argsz, flags].as_bytes());
    bytes[8..8 + size_of::<T>()].copy_from_slice(data.as_bytes());
    container
        .call(number, &mut bytes)
        .map(drop)
        .map_err(|error| Errno::from_code(error.raw_os_error().unwrap()).unwrap())
}

/// What it is, what is changed in what would be taken, and the answer.
type Row<T> = (&'static str, fn(&mut Argument<T>), Answer);

#[derive(Clone, Copy)]
struct Argument<T> {
    argsz: u32,
    flags: u32,
    data: T,
    behind: u8,
}

const INVAL: Answer = Err(Errno::EINVAL);
const NOENT: Answer = Err(Errno::ENOENT);

#[test]
fn tables_that_are_refused() {
    #[rustfmt::skip] // one call, one line
    let rows: &[Row<iommu_pasid_table_config>] = &[
        ("as it is",                      |_| {},                                      Ok(())),
        ("a call of 7 bytes",             |it| it.argsz = 7,                           INVAL),
        ("of 8, and data nevertheless",   |it| it.argsz = 8,                           Ok(())),
        ("neither set nor unset",         |it| it.flags = 0,                           INVAL),
        ("both",                          |it| it.flags = 3,                           INVAL),
        ("an unknown flag",               |it| it.flags = 5,                           INVAL),
        ("unset, and bad data",           |it| (it.flags, it.data.argsz) = (2, 0),     Ok(())),
        ("too short",                     |it| it.data.argsz = 31,                     INVAL),
        ("without a vendor's part",       |it| it.data.argsz = 24,                     INVAL),
        ("shorter than any",              |it| it.data.argsz = 23,                     INVAL),
        ("longer, and 0",                 |it| it.data.argsz = 40,                     Ok(())),
        ("longer, and not 0",             |it| (it.data.argsz, it.behind) = (40, 0xff), Ok(())),
        ("another version",               |it| it.data.version = 2,                    INVAL),
        ("no format",                     |it| it.data.format = 0,                     INVAL),
        ("another format",                |it| it.data.format = 2,                     INVAL),
        ("another vendor version",        |it| it.data.vendor_data.version = 0,        INVAL),
        ("no configuration",              |it| it.data.config = 0,                     INVAL),
        ("an unknown one",                |it| it.data.config = 4,                     INVAL),
        ("bypass",                        |it| it.data.config = 2,                     Ok(())),
        ("abort",                         |it| it.data.config = 3,                     Ok(())),
        ("padding",                       |it| it.data.padding = [1, 1],               Ok(())),
        ("no table at the address",       |it| it.data.base_ptr = u64::MAX,            Ok(())),
        ("all PASIDs of the device",      |it| it.data.pasid_bits = 16,                Ok(())),
        ("more than the device has",      |it| it.data.pasid_bits = 17,                INVAL),
        ("more than any has",             |it| it.data.pasid_bits = 255,               INVAL),
        ("two levels, of 4 KiB",          |it| it.data.vendor_data.s1fmt = 1,          Ok(())),
        ("two levels, of 64 KiB",         |it| it.data.vendor_data.s1fmt = 2,          Ok(())),
        ("another form",                  |it| it.data.vendor_data.s1fmt = 3,          INVAL),
        ("without a PASID: descriptor 0", |it| it.data.vendor_data.s1dss = 2,          Ok(())),
        ("without a PASID: nothing known", |it| it.data.vendor_data.s1dss = 3,         INVAL),
        ("one descriptor, and any form",  |it| (it.data.pasid_bits, it.data.vendor_data.s1fmt) = (0, 9), Ok(())),
    ];
    let bench = grace("2020");
    let container = bench.open(Layout::V5_10);
    container.nest().unwrap();
    for (name, change, expected) in rows {
        let mut it = Argument { argsz: 40, flags: 1, data: valid(), behind: 0 };
        change(&mut it);
        let set = |it: &Argument<_>| {
            let head = (it.argsz, it.flags);
            call(&container, VFIO_IOMMU_SET_PASID_TABLE, head, &it.data, it.behind)
        };
        assert_eq!(set(&it), *expected, "{name}");
        container.unset_pasid_table().unwrap();
    }
}

/// What the machine is without, and whether a table of two levels, a large one, and nesting are taken.
#[test]
fn what_the_hardware_has_not() {
    const CD2L: u32 = 1 << 19;
    const STAGE1: u32 = 1 << 1;
    type Change = fn(&mut Machine);
    fn smmu(machine: &mut Machine) -> &mut profile::machine::ArmSmmuv3 {
        match &mut machine.iommus[0].hardware {
            profile::machine::Hardware::ArmSmmuv3(unit) => unit,
            _ => panic!("another IOMMU"),
        }
    }
    #[rustfmt::skip] // one machine, one line
    let rows: &[(&str, Change, [Answer; 3])] = &[
        ("nothing",             |_| {},                                   [Ok(()), Ok(()), Ok(())]),
        ("tables of two levels", |it| smmu(it).idr[0] &= !CD2L,           [Ok(()), Ok(()), INVAL]),
        ("PASIDs",              |it| it.devices[0].pasid = None,          [Ok(()), INVAL, INVAL]),
        ("stage 1",             |it| smmu(it).idr[0] &= !STAGE1,          [INVAL, INVAL, INVAL]),
        ("CANWBS",              |it| smmu(it).canwbs = false,             [INVAL, INVAL, INVAL]),
    ];
    for (name, change, expected) in rows {
        let mut machine = Machine::by_name("grace").unwrap().clone();
        change(&mut machine);
        let bench = bench(&machine, "2020");
        let table = |bits: u8, s1fmt: u8| {
            let container = bench.open(Layout::V5_10);
            container.nest().map_err(|failed| failed.errno)?;
            let mut config = iommu_pasid_table_config { pasid_bits: bits, ..valid() };
            config.vendor_data.s1fmt = s1fmt;
            call(&container, VFIO_IOMMU_SET_PASID_TABLE, (40, 1), &config, 0)
        };
        assert_eq!([table(0, 0), table(8, 0), table(8, 1)], *expected, "{name}");
    }
}

/// In the layout before 5.10, of which the call tells the size.
#[test]
fn tables_of_the_patches() {
    let table = v5_5::iommu_pasid_table_config {
        version: PASID_TABLE_CFG_VERSION_1,
        base_ptr: CONTEXTS,
        format: IOMMU_PASID_FORMAT_SMMUV3,
        pasid_bits: 8,
        config: IOMMU_PASID_CONFIG_TRANSLATE,
        smmuv3: valid().vendor_data,
        ..Default::default()
    };
    let size = 8 + size_of_val(&table) as u32;
    let bench = grace("2020-patches");
    let container = bench.open(Layout::Patches);
    container.nest().unwrap();
    for (argsz, behind, expected) in
        [(size, 0, Ok(())), (size - 1, 0, INVAL), (size + 8, 0, Ok(())), (size + 8, 0xff, Ok(()))]
    {
        let set = call(&container, VFIO_IOMMU_SET_PASID_TABLE, (argsz, 1), &table, behind);
        assert_eq!(set, expected, "{argsz}, {behind}");
        container.unset_pasid_table().unwrap();
    }
}

#[test]
fn invalidations_that_are_refused() {
    type Info = iommu_cache_invalidate_info;
    fn by_pasid(it: &mut Argument<Info>, change: fn(&mut iommu_inv_pasid_info)) {
        let flags = IOMMU_INV_PASID_FLAGS_ARCHID;
        let mut member = iommu_inv_pasid_info { flags, archid: PASID, pasid: PASID.into() };
        change(&mut member);
        it.data = invalidation(IOMMU_INV_GRANU_PASID, &member);
    }
    fn by_address(it: &mut Argument<Info>, change: fn(&mut iommu_inv_addr_info)) {
        let (flags, pasid) = (IOMMU_INV_ADDR_FLAGS_ARCHID, PASID.into());
        let (granule_size, nb_granules) = (PAGE, 1);
        let mut member = iommu_inv_addr_info {
            flags,
            archid: PASID,
            pasid,
            addr: VA,
            granule_size,
            nb_granules,
        };
        change(&mut member);
        it.data = invalidation(IOMMU_INV_GRANU_ADDR, &member);
    }
    const DEV: u8 = IOMMU_CACHE_INV_TYPE_DEV_IOTLB;
    const OF_PASIDS: u8 = IOMMU_CACHE_INV_TYPE_PASID;
    #[rustfmt::skip] // one call, one line
    let rows: &[Row<Info>] = &[
        ("all",                           |_| {},                                                       Ok(())),
        ("a call of 7 bytes",             |it| it.argsz = 7,                                            INVAL),
        ("a flag of the call",            |it| it.flags = 1,                                            INVAL),
        ("16 bytes",                      |it| it.data.argsz = 16,                                      Ok(())),
        ("15 bytes",                      |it| it.data.argsz = 15,                                      INVAL),
        ("longer, and 0",                 |it| it.data.argsz = 64,                                      Ok(())),
        ("longer, and not 0",             |it| (it.data.argsz, it.behind) = (64, 0xff),                 Ok(())),
        ("another version",               |it| it.data.version = 0,                                     INVAL),
        ("no cache",                      |it| it.data.cache = 0,                                       INVAL),
        ("an unknown cache",              |it| it.data.cache = 9,                                       INVAL),
        ("an unknown granularity",        |it| it.data.granularity = 3,                                 INVAL),
        ("padding",                       |it| it.data.padding[5] = 1,                                  INVAL),
        ("all descriptors",               |it| it.data.cache = OF_PASIDS,                               Ok(())),
        ("devices' caches",               |it| { by_pasid(it, |_| {}); it.data.cache = DEV },           NOENT),
        ("... and the IOTLB",             |it| { by_pasid(it, |_| {}); it.data.cache |= DEV },          NOENT),
        ("an ASID",                       |it| by_pasid(it, |_| {}),                                    Ok(())),
        ("... of 32 bytes",               |it| { by_pasid(it, |_| {}); it.data.argsz = 32 },            Ok(())),
        ("... of 31 bytes",               |it| { by_pasid(it, |_| {}); it.data.argsz = 31 },            INVAL),
        ("a PASID for a tag",             |it| by_pasid(it, |of| of.flags = 3),                         NOENT),
        ("no tag",                        |it| by_pasid(it, |of| of.flags = 0),                         INVAL),
        ("an unknown flag",               |it| by_pasid(it, |of| of.flags = 6),                         INVAL),
        ("an ASID of 17 bits",            |it| by_pasid(it, |of| of.archid = 1 << 16),                  INVAL),
        ("a descriptor",                  |it| { by_pasid(it, |of| of.flags = 1); it.data.cache = OF_PASIDS }, Ok(())),
        ("... and its translations",      |it| { by_pasid(it, |of| of.flags = 3); it.data.cache |= OF_PASIDS }, Ok(())),
        ("... without a PASID",           |it| { by_pasid(it, |_| {}); it.data.cache = OF_PASIDS },     INVAL),
        ("... of 21 bits",                |it| { by_pasid(it, |of| (of.flags, of.pasid) = (1, 1 << 20)); it.data.cache = OF_PASIDS }, INVAL),
        ("addresses",                     |it| by_address(it, |_| {}),                                  Ok(())),
        ("... of 55 bytes",               |it| { by_address(it, |_| {}); it.data.argsz = 55 },          INVAL),
        ("... by PASID",                  |it| by_address(it, |of| of.flags |= 1),                      NOENT),
        ("... of all ASIDs",              |it| by_address(it, |of| of.flags = 0),                       Ok(())),
        ("... leaves",                    |it| by_address(it, |of| of.flags |= 4),                      Ok(())),
        ("... an unknown flag",           |it| by_address(it, |of| of.flags |= 8),                      INVAL),
        ("... of descriptors",            |it| { by_address(it, |_| {}); it.data.cache = OF_PASIDS },   INVAL),
        ("... an odd granule",            |it| by_address(it, |of| of.granule_size = 3 * PAGE),         INVAL),
        ("... no granule",                |it| by_address(it, |of| of.granule_size = 0),                INVAL),
        ("... a granule of 64 KiB",       |it| by_address(it, |of| of.granule_size = 16 * PAGE),        Ok(())),
        ("... on no page border",         |it| by_address(it, |of| of.addr += 8),                       Ok(())),
    ];
    let bench = grace("2020");
    let container = bench.open(Layout::V5_10);
    container.nest().unwrap();
    for (name, change, expected) in rows {
        let data = invalidation(IOMMU_INV_GRANU_DOMAIN, &[0_u8; 0]);
        let mut it = Argument { argsz: 64, flags: 0, data, behind: 0 };
        change(&mut it);
        let head = (it.argsz, it.flags);
        let told = call(&container, VFIO_IOMMU_CACHE_INVALIDATE, head, &it.data, it.behind);
        assert_eq!(told, *expected, "{name}");
    }
}
