//! Whether the bytes of a program are an argument of the API of 2020: its size, and what it says.
//!
//! How much of the program's memory is the argument depends on the [`Layout`]:
//!
//! | layout | size | shorter | longer |
//! |---|---|---|---|
//! | 5.5 | that of the struct; the transport tells what the program has | refused | the rest is not read |
//! | patches | [`data_size`] of the `version` in front | refused | the rest is not read |
//! | 5.10 | the argument's own `argsz` | accepted from the union on, as far as the call needs no more | the rest is not read |
//!
//! 5.10 also refuses bits and padding that it does not know, so that they can get a meaning later; before,
//! they were ignored. Its order of checks is that of `iommu_uapi_cache_invalidate`,
//! `iommu_sva_prepare_bind_data` and `iommu_page_response` in `drivers/iommu/iommu.c`; what earlier releases
//! left to the driver is as in `drivers/iommu/intel/svm.c` and `intel/iommu.c`.

use std::mem::offset_of;

use thiserror::Error;
use uapi::Errno;
use uapi::y2020::bind::{
    IOMMU_GPASID_BIND_VERSION_1, IOMMU_PASID_CONFIG_ABORT, IOMMU_PASID_CONFIG_TRANSLATE,
    IOMMU_PASID_FORMAT_INTEL_VTD, IOMMU_PASID_FORMAT_LAST, IOMMU_PASID_FORMAT_SMMUV3,
    IOMMU_SVA_GPASID_VAL, IOMMU_SVA_VTD_GPASID_LAST, PASID_TABLE_CFG_VERSION_1,
    PASID_TABLE_SMMUV3_CFG_VERSION_1, iommu_gpasid_bind_data_vtd, iommu_pasid_smmuv3,
};
use uapi::y2020::cache::{
    COMBINATIONS, IOMMU_CACHE_INV_TYPE_NR, IOMMU_CACHE_INVALIDATE_INFO_VERSION_1,
    IOMMU_INV_ADDR_FLAGS_ARCHID, IOMMU_INV_ADDR_FLAGS_LEAF, IOMMU_INV_ADDR_FLAGS_PASID,
    IOMMU_INV_GRANU_ADDR, IOMMU_INV_GRANU_NR, IOMMU_INV_GRANU_PASID, IOMMU_INV_PASID_FLAGS_ARCHID,
    IOMMU_INV_PASID_FLAGS_PASID, iommu_inv_addr_info, iommu_inv_pasid_info,
};
use uapi::y2020::fault::{IOMMU_PAGE_RESP_PASID_VALID, IOMMU_PAGE_RESP_VERSION_1};
use uapi::y2020::v5_10::{
    iommu_cache_invalidate_info, iommu_gpasid_bind_data, iommu_page_response,
    iommu_pasid_table_config,
};
use uapi::y2020::{
    IOMMU_UAPI_BIND_GPASID, IOMMU_UAPI_CACHE_INVAL, IOMMU_UAPI_PAGE_RESP, Layout, v5_5,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::revision::{NoSize, data_size};

/// Which argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of bind and of unbind: `iommu_gpasid_bind_data`.
    Bind,
    /// Of invalidate: `iommu_cache_invalidate_info`.
    Invalidate,
    /// Of the answer to a page request: `iommu_page_response`.
    Response,
    /// Of attaching a PASID table: `iommu_pasid_table_config`. The patches have no data type for it, and it is
    /// there as in 5.5.
    Table,
}

/// An argument, in 5.10's layout whatever the program's is. Bytes that the program did not give are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A guest's page table; its vendor part is [`vtd`]'s to check.
    Bind(iommu_gpasid_bind_data),
    /// An invalidation.
    Invalidate(iommu_cache_invalidate_info),
    /// The answer to a page request.
    Response(iommu_page_response),
    /// A guest's PASID table.
    Table(iommu_pasid_table_config),
}

/// Why bytes are no argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadArgument {
    /// The memory of the program ends too soon.
    #[error("{need} bytes are needed, and {have} of the program's memory can be read")]
    Unreadable {
        /// Bytes that are needed.
        need: usize,
        /// Bytes that there are.
        have: usize,
    },
    /// The size that the program says is too small.
    #[error("the size is {told} bytes, and {what} needs {need}")]
    TooShort {
        /// What the program says.
        told: u32,
        /// What is needed.
        need: usize,
        /// By what.
        what: &'static str,
    },
    /// The patches' version has no size.
    #[error(transparent)]
    NoSize(#[from] NoSize),
    /// The struct's own version is not known.
    #[error("`version` is {version}; the only one is {known}")]
    Version {
        /// What the program says.
        version: u32,
        /// What is known.
        known: u32,
    },
    /// Bits that mean nothing yet.
    #[error("`{field}` is {value:#x}, of which only {known:#x} is known; leave the other bits 0")]
    UnknownBits {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The bits that are known.
        known: u64,
    },
    /// A number that means nothing.
    #[error("`{field}` is {value}; {first} to {last} are known")]
    UnknownNumber {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u32,
        /// The first that is known.
        first: u32,
        /// The last that is known.
        last: u32,
    },
    /// Padding that is not 0.
    #[error(
        "`padding` is not 0 in its byte {byte}; it must be 0, so that it can get a meaning later"
    )]
    Padding {
        /// The byte, counted from the start of the padding.
        byte: usize,
    },
    /// A cache that is not invalidated by this granularity.
    #[error("cache {cache:#x} has no invalidation of granularity {granularity}")]
    Combination {
        /// The cache, one bit.
        cache: u8,
        /// The granularity.
        granularity: u8,
    },
}

/// A result of checking.
type Result<T, E = BadArgument> = std::result::Result<T, E>;

impl BadArgument {
    /// What the program gets.
    pub const fn errno(&self) -> Errno {
        match self {
            BadArgument::Unreadable { .. } => Errno::EFAULT,
            _ => Errno::EINVAL,
        }
    }
}

/// The argument that is at the start of `bytes`, which is the program's memory from there, as far as it can be
/// read and is wanted. `told` is what the transport says of its size; 5.10 asks the argument instead.
pub fn check(kind: Kind, layout: Layout, told: u32, bytes: &[u8]) -> Result<Argument> {
    match layout {
        Layout::V5_5 => check_old(kind, told, bytes),
        Layout::Patches => {
            check_version(kind, told, bytes)?;
            check_old(kind, told, bytes)
        }
        Layout::V5_10 => match kind {
            Kind::Bind => check_bind(bytes).map(Argument::Bind),
            Kind::Invalidate => check_invalidate(bytes).map(Argument::Invalidate),
            Kind::Response => check_response(bytes).map(Argument::Response),
            Kind::Table => check_table(bytes).map(Argument::Table),
        },
    }
}

/// The part of a bound page table that is for VT-d, as its driver checks it. Unbind does not.
pub fn vtd(layout: Layout, bind: &iommu_gpasid_bind_data) -> Result<iommu_gpasid_bind_data_vtd> {
    number("format", bind.format, IOMMU_PASID_FORMAT_INTEL_VTD, IOMMU_PASID_FORMAT_INTEL_VTD)?;
    let need = offset_of!(iommu_gpasid_bind_data, vendor) + size_of_val(&bind.vendor);
    long_enough(bind.argsz, need, "the format of VT-d")?;
    if layout == Layout::V5_10 {
        bits("vendor.vtd.flags", bind.vendor.flags, IOMMU_SVA_VTD_GPASID_LAST - 1)?;
    }
    Ok(bind.vendor)
}

/// The part of a PASID table that is for an SMMUv3, as its driver checks it (`arm_smmu_attach_pasid_table` of
/// Eric Auger's v15).
pub fn smmuv3(table: &iommu_pasid_table_config) -> Result<iommu_pasid_smmuv3> {
    number("format", table.format, IOMMU_PASID_FORMAT_SMMUV3, IOMMU_PASID_FORMAT_SMMUV3)?;
    only_version(table.vendor_data.version, PASID_TABLE_SMMUV3_CFG_VERSION_1)?;
    Ok(table.vendor_data)
}

/// The patches: the version gives the size. The posted callers never compared that with what the program had;
/// Alex Williamson asked for it on 2 April 2020.
fn check_version(kind: Kind, told: u32, bytes: &[u8]) -> Result<()> {
    let data_type = match kind {
        Kind::Bind => IOMMU_UAPI_BIND_GPASID,
        Kind::Invalidate => IOMMU_UAPI_CACHE_INVAL,
        Kind::Response => IOMMU_UAPI_PAGE_RESP,
        Kind::Table => return Ok(()),
    };
    long_enough(told, size_of::<u32>(), "the version")?;
    let version: u32 = copy(bytes, size_of::<u32>())?;
    long_enough(told, data_size(data_type, version)?, "its version")
}

/// 5.5: the whole struct, and what drivers looked at.
fn check_old(kind: Kind, told: u32, bytes: &[u8]) -> Result<Argument> {
    match kind {
        Kind::Bind => {
            let bind: v5_5::iommu_gpasid_bind_data = whole(told, bytes)?;
            only_version(bind.version, IOMMU_GPASID_BIND_VERSION_1)?;
            Ok(Argument::Bind(bind.into()))
        }
        Kind::Invalidate => {
            let info: v5_5::iommu_cache_invalidate_info = whole(told, bytes)?;
            only_version(info.version, IOMMU_CACHE_INVALIDATE_INFO_VERSION_1)?;
            combinations(info.cache, info.granularity)?;
            Ok(Argument::Invalidate(info.into()))
        }
        Kind::Response => {
            let response = whole::<v5_5::iommu_page_response>(told, bytes)?.into();
            response_content(&response)?;
            Ok(Argument::Response(response))
        }
        Kind::Table => {
            let table: v5_5::iommu_pasid_table_config = whole(told, bytes)?;
            only_version(table.version, PASID_TABLE_CFG_VERSION_1)?;
            let table = table.into();
            table_content(&table)?;
            Ok(Argument::Table(table))
        }
    }
}

fn check_bind(bytes: &[u8]) -> Result<iommu_gpasid_bind_data> {
    let union = offset_of!(iommu_gpasid_bind_data, vendor);
    let head: iommu_gpasid_bind_data = copy(bytes, union)?;
    long_enough(head.argsz, union, "what comes before `vendor`")?;
    let bind: iommu_gpasid_bind_data = up_to(bytes, head.argsz)?;
    only_version(bind.version, IOMMU_GPASID_BIND_VERSION_1)?;
    number("format", bind.format, 0, IOMMU_PASID_FORMAT_LAST - 1)?; // 0 is left to the driver
    bits("flags", bind.flags, IOMMU_SVA_GPASID_VAL)?;
    zero(&bind.padding)?;
    Ok(bind)
}

fn check_invalidate(bytes: &[u8]) -> Result<iommu_cache_invalidate_info> {
    let union = offset_of!(iommu_cache_invalidate_info, granu);
    let head: iommu_cache_invalidate_info = copy(bytes, union)?;
    long_enough(head.argsz, union, "what comes before `granu`")?;
    match head.granularity {
        IOMMU_INV_GRANU_PASID => {
            long_enough(
                head.argsz,
                union + size_of::<iommu_inv_pasid_info>(),
                "granularity PASID",
            )?;
        }
        IOMMU_INV_GRANU_ADDR => {
            long_enough(head.argsz, union + size_of::<iommu_inv_addr_info>(), "granularity ADDR")?;
        }
        _ => {}
    }
    let info: iommu_cache_invalidate_info = up_to(bytes, head.argsz)?;
    only_version(info.version, IOMMU_CACHE_INVALIDATE_INFO_VERSION_1)?;
    bits("cache", info.cache.into(), (1 << IOMMU_CACHE_INV_TYPE_NR) - 1)?;
    combinations(info.cache, info.granularity)?;
    if let Some(addr) = info.addr_info() {
        let known =
            IOMMU_INV_ADDR_FLAGS_PASID | IOMMU_INV_ADDR_FLAGS_ARCHID | IOMMU_INV_ADDR_FLAGS_LEAF;
        bits("granu.addr_info.flags", addr.flags.into(), known.into())?;
    }
    if let Some(pasid) = info.pasid_info() {
        let known = IOMMU_INV_PASID_FLAGS_PASID | IOMMU_INV_PASID_FLAGS_ARCHID;
        bits("granu.pasid_info.flags", pasid.flags.into(), known.into())?;
    }
    zero(&info.padding)?;
    Ok(info)
}

/// The struct has no union, so that all of it is needed. No call brought it in; the rest is as in the document.
fn check_response(bytes: &[u8]) -> Result<iommu_page_response> {
    let response: iommu_page_response = copy(bytes, size_of::<iommu_page_response>())?;
    long_enough(response.argsz, size_of::<iommu_page_response>(), "a page response")?;
    response_content(&response)?;
    Ok(response)
}

/// `iommu_uapi_attach_pasid_table` of Eric Auger's v15.
fn check_table(bytes: &[u8]) -> Result<iommu_pasid_table_config> {
    let union = offset_of!(iommu_pasid_table_config, vendor_data);
    let head: iommu_pasid_table_config = copy(bytes, union)?;
    long_enough(head.argsz, union, "what comes before `vendor_data`")?;
    only_version(head.version, PASID_TABLE_CFG_VERSION_1)?;
    if head.format == IOMMU_PASID_FORMAT_SMMUV3 {
        let end = union + size_of_val(&head.vendor_data);
        long_enough(head.argsz, end, "the format of SMMUv3")?;
    }
    let table = up_to(bytes, head.argsz)?;
    table_content(&table)?;
    Ok(table)
}

fn response_content(response: &iommu_page_response) -> Result<()> {
    only_version(response.version, IOMMU_PAGE_RESP_VERSION_1)?;
    bits("flags", response.flags.into(), IOMMU_PAGE_RESP_PASID_VALID.into())
}

fn table_content(table: &iommu_pasid_table_config) -> Result<()> {
    let (first, last) = (IOMMU_PASID_CONFIG_TRANSLATE, IOMMU_PASID_CONFIG_ABORT);
    number("config", table.config.into(), first.into(), last.into())
}

fn combinations(cache: u8, granularity: u8) -> Result<()> {
    number("granularity", granularity.into(), 0, u32::from(IOMMU_INV_GRANU_NR) - 1)?;
    let wrong =
        |(of, with, valid): &&(u8, u8, bool)| !valid && cache & of != 0 && granularity == *with;
    match COMBINATIONS.iter().find(wrong) {
        Some(&(cache, granularity, _)) => Err(BadArgument::Combination { cache, granularity }),
        None => Ok(()),
    }
}

/// All of a struct of which every byte is needed.
fn whole<T: FromBytes + IntoBytes + Immutable>(told: u32, bytes: &[u8]) -> Result<T> {
    long_enough(told, size_of::<T>(), "the struct")?;
    copy(bytes, size_of::<T>())
}

/// As much of a struct as the program says it has, but not more than is known.
fn up_to<T: FromBytes + IntoBytes + Immutable>(bytes: &[u8], argsz: u32) -> Result<T> {
    copy(bytes, (argsz as usize).min(size_of::<T>()))
}

/// The first bytes of a struct; the others are 0.
fn copy<T: FromBytes + IntoBytes + Immutable>(bytes: &[u8], length: usize) -> Result<T> {
    let unreadable = BadArgument::Unreadable { need: length, have: bytes.len() };
    let mut value = T::new_zeroed();
    value.as_mut_bytes()[..length].copy_from_slice(bytes.get(..length).ok_or(unreadable)?);
    Ok(value)
}

fn long_enough(told: u32, need: usize, what: &'static str) -> Result<()> {
    match (told as usize) < need {
        true => Err(BadArgument::TooShort { told, need, what }),
        false => Ok(()),
    }
}

fn only_version(version: u32, known: u32) -> Result<()> {
    match version == known {
        true => Ok(()),
        false => Err(BadArgument::Version { version, known }),
    }
}

fn bits(field: &'static str, value: u64, known: u64) -> Result<()> {
    match value & !known {
        0 => Ok(()),
        _ => Err(BadArgument::UnknownBits { field, value, known }),
    }
}

fn number(field: &'static str, value: u32, first: u32, last: u32) -> Result<()> {
    match (first..=last).contains(&value) {
        true => Ok(()),
        false => Err(BadArgument::UnknownNumber { field, value, first, last }),
    }
}

fn zero(padding: &[u8]) -> Result<()> {
    match padding.iter().position(|byte| *byte != 0) {
        Some(byte) => Err(BadArgument::Padding { byte }),
        None => Ok(()),
    }
}
