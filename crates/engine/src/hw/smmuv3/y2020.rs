//! The driver's part of the API of 2020: what a guest's driver writes for its SMMU, from what that API says of it
//! in fields.
//!
//! | API of 2020 | here |
//! |---|---|
//! | `iommu_pasid_table_config` | a stream table entry of the guest's |
//! | `iommu_cache_invalidate_info` | commands of the guest's |
//! | `iommu_fault_unrecoverable` | from an event record |
//!
//! After `[PATCH v15 00/12] SMMUv3 Nested Stage Setup (IOMMU part)`, Eric Auger, 11 April 2021. v15 takes one
//! context descriptor (`pasid_bits` 0); v10 to v13 took as many as the device has PASIDs, and so it is here, with
//! the invalidation of descriptors that v13 had for them.
//!
//! *What it doesn't do*: leave ATS on under a guest's stage 1. There is no invalidation of devices' TLBs.

use profile::registers::smmuv3::*;
use uapi::iommufd::iommu_vevent_arm_smmuv3;
use uapi::y2020::bind::*;
use uapi::y2020::cache::*;
use uapi::y2020::fault::*;
use uapi::y2020::v5_10::{iommu_cache_invalidate_info, iommu_pasid_table_config};
use zerocopy::FromBytes;

use super::commands::*;
use super::lookup::{DefaultSubstream, Kind, record};
use super::{STE_VALID, Smmuv3};
use crate::Refusal;
use crate::hw::{DeviceState, max_pasids, pci};

/// A command of a guest's queue.
type Command = [u64; 2];

const BYPASS: u64 = 4 << 1;
const STAGE1: u64 = 5 << 1;
/// `S1CIR`, `S1COR`: write-back; `S1CSH`: inner shareable.
const CACHED: u64 = 1 << 2 | 1 << 4 | 3 << 6;
const S1STALLD: u64 = 1 << 27;
const CONTEXT_POINTER: u64 = 0x000f_ffff_ffff_ffc0;

/// More commands than these are one that forgets more (`CMDQ_MAX_TLBI_OPS`).
const MOST: u64 = 512;

/// The smallest page that a command is about.
const PAGE: u64 = 4096;

fn invalid<T>(field: &'static str, value: u64, rule: &'static str) -> Result<T, Refusal> {
    Err(Refusal::Invalid { field, value, rule })
}

impl Smmuv3 {
    /// `arm_smmu_attach_pasid_table`; the entry is that of `arm_smmu_write_strtab_ent`.
    pub(super) fn entry(
        &self,
        config: &iommu_pasid_table_config,
        devices: &[&DeviceState],
    ) -> Result<[u64; 2], Refusal> {
        match config.config {
            IOMMU_PASID_CONFIG_TRANSLATE => {}
            IOMMU_PASID_CONFIG_BYPASS => return Ok([STE_VALID | BYPASS, 0]),
            _ => return Ok([STE_VALID, 0]),
        }
        let iommu_pasid_table_config { pasid_bits, vendor_data: smmuv3, .. } = *config;
        let facts = || devices.iter().map(|device| &pci(device).facts);
        let pasids = facts().map(|facts| max_pasids(facts, self.pasids())).min();
        let most = pasids.and_then(u32::checked_ilog2).unwrap_or(0);
        if u32::from(pasid_bits) > most {
            return invalid(
                "pasid_bits",
                pasid_bits.into(),
                "more than the device and the SMMU have",
            );
        }
        let several = pasid_bits > 0;
        if several && smmuv3.s1fmt > 2 {
            return invalid("s1fmt", smmuv3.s1fmt.into(), "must be 0, 1 or 2");
        }
        if several && smmuv3.s1fmt != 0 && !self.is_set(CD2L) {
            return invalid("s1fmt", smmuv3.s1fmt.into(), "the SMMU reads no tables of two levels");
        }
        if several && smmuv3.s1dss > DefaultSubstream::Substream0 as u8 {
            return invalid("s1dss", smmuv3.s1dss.into(), "must be 0, 1 or 2");
        }
        // of one descriptor neither means anything
        let (s1fmt, s1dss) = if several { (smmuv3.s1fmt, smmuv3.s1dss) } else { (0, 0) };
        let stalls_disabled = self.field(STALL_MODEL) == 0 && !facts().all(|it| self.stalls(it));
        let word0 = STE_VALID
            | STAGE1
            | u64::from(s1fmt) << 4
            | config.base_ptr & CONTEXT_POINTER
            | u64::from(pasid_bits) << 59;
        let word1 = u64::from(s1dss) | CACHED | if stalls_disabled { S1STALLD } else { 0 };
        Ok([word0, word1])
    }

    /// `arm_smmu_cache_invalidate`; streams are those of the devices.
    pub(super) fn commands(
        &self,
        info: &iommu_cache_invalidate_info,
        streams: &[u64],
    ) -> Result<Vec<Command>, Refusal> {
        let names = |cache| info.cache & cache != 0;
        if names(IOMMU_CACHE_INV_TYPE_DEV_IOTLB) {
            return Err(Refusal::NotFound { what: "cache of devices", value: info.cache.into() });
        }
        if info.cache == 0 {
            return invalid("cache", 0, "must name one");
        }
        let mut commands = Vec::new();
        if names(IOMMU_CACHE_INV_TYPE_PASID) {
            commands.extend(of_descriptors(info, streams)?);
        }
        if names(IOMMU_CACHE_INV_TYPE_IOTLB) {
            commands.extend(self.of_translations(info)?);
        }
        Ok(commands)
    }

    fn of_translations(&self, info: &iommu_cache_invalidate_info) -> Result<Vec<Command>, Refusal> {
        let by_pasid = |pasid| Err(Refusal::NotFound { what: "tag PASID", value: pasid });
        if let Some(it) = info.pasid_info() {
            let for_descriptors = info.cache & IOMMU_CACHE_INV_TYPE_PASID != 0;
            if it.flags & IOMMU_INV_PASID_FLAGS_PASID != 0 && !for_descriptors {
                return by_pasid(it.pasid);
            }
            if it.flags & IOMMU_INV_PASID_FLAGS_ARCHID == 0 {
                return invalid("flags", it.flags.into(), "needs ARCHID: the tag is an ASID");
            }
            return Ok(vec![forget_asid(self.asid(it.archid)?)]);
        }
        let Some(it) = info.addr_info() else { return Ok(vec![FORGET_ALL]) };
        if it.flags & IOMMU_INV_ADDR_FLAGS_PASID != 0 {
            return by_pasid(it.pasid);
        }
        if it.flags & IOMMU_INV_ADDR_FLAGS_ARCHID == 0 {
            return Ok(vec![FORGET_ALL]);
        }
        let asid = self.asid(it.archid)?;
        if !it.granule_size.is_power_of_two() {
            return invalid("granule_size", it.granule_size, "must be a power of two");
        }
        let sizes = self.page_sizes();
        let known = sizes & it.granule_size != 0;
        let step = if known { it.granule_size } else { 1 << sizes.trailing_zeros() };
        let size = it.granule_size.checked_mul(it.nb_granules);
        let range = size.filter(|size| it.addr.checked_add(*size).is_some());
        let Some(count) = range.map(|size| size.div_ceil(step)).filter(|count| *count <= MOST)
        else {
            return Ok(vec![forget_asid(asid)]);
        };
        let leaf = if it.flags & IOMMU_INV_ADDR_FLAGS_LEAF != 0 { LEAF } else { 0 };
        let at = |index: u64| (it.addr + index * step) & ADDRESS & !(PAGE - 1);
        Ok((0..count).map(|index| [CMDQ_OP_TLBI_NH_VA | asid << 48, at(index) | leaf]).collect())
    }

    /// v15 takes the low bits.
    fn asid(&self, archid: u32) -> Result<u64, Refusal> {
        let most = if self.is_set(ASID16) { u16::MAX.into() } else { u8::MAX.into() };
        match archid <= most {
            true => Ok(archid.into()),
            false => invalid("archid", archid.into(), "the SMMU's ASIDs are smaller"),
        }
    }
}

/// `CMDQ_OP_TLBI_NSNH_ALL`
const FORGET_ALL: Command = [CMDQ_OP_TLBI_NSNH_ALL, 0];

fn forget_asid(asid: u64) -> Command {
    [CMDQ_OP_TLBI_NH_ASID | asid << 48, 0]
}

/// `arm_smmu_sync_cd`; of all descriptors, what v13 refuses.
fn of_descriptors(
    info: &iommu_cache_invalidate_info,
    streams: &[u64],
) -> Result<Vec<Command>, Refusal> {
    const SSID: u64 = 0xf_ffff;
    let command = match info.pasid_info() {
        None => CMDQ_OP_CFGI_CD_ALL,
        Some(it) if it.flags & IOMMU_INV_PASID_FLAGS_PASID == 0 => {
            return invalid("flags", it.flags.into(), "needs PASID: descriptors have no other tag");
        }
        Some(it) if it.pasid > SSID => {
            return invalid("pasid", it.pasid, "must be 0..=0xfffff");
        }
        Some(it) => CMDQ_OP_CFGI_CD | it.pasid << 12,
    };
    let leaf = if command & record::KIND == CMDQ_OP_CFGI_CD { LEAF } else { 0 };
    Ok(streams.iter().map(|stream| [command | stream << 32, leaf]).collect())
}

const ADDR: u32 = IOMMU_FAULT_UNRECOV_ADDR_VALID;
const FETCH: u32 = IOMMU_FAULT_UNRECOV_FETCH_ADDR_VALID;

/// Events that are told of, why, and which addresses their records have. With that of the access comes what it
/// was.
#[rustfmt::skip] // one event, one line
const REASONS: [(Kind, u32, u32); 8] = [
    (Kind::BadSubstream,    IOMMU_FAULT_REASON_PASID_INVALID,   0),
    (Kind::DescriptorFetch, IOMMU_FAULT_REASON_PASID_FETCH,     FETCH),
    (Kind::BadDescriptor,   IOMMU_FAULT_REASON_BAD_PASID_ENTRY, 0),
    (Kind::WalkAbort,       IOMMU_FAULT_REASON_WALK_EABT,       ADDR | FETCH),
    (Kind::Translation,     IOMMU_FAULT_REASON_PTE_FETCH,       ADDR),
    (Kind::AddressSize,     IOMMU_FAULT_REASON_OOR_ADDRESS,     ADDR),
    (Kind::Access,          IOMMU_FAULT_REASON_ACCESS,          ADDR),
    (Kind::Permission,      IOMMU_FAULT_REASON_PERMISSION,      ADDR),
];

/// `arm_smmu_report_event`: the stream, and the fault. v15 says that the fetched address is valid and leaves it 0;
/// here it is the record's.
pub(super) fn fault_of(event: &[u8]) -> Option<(u64, iommu_fault_unrecoverable)> {
    let event = iommu_vevent_arm_smmuv3::read_from_bytes(event).ok()?;
    let [head, syndrome, address, fetched] = event.evt.map(u64::from_le);
    let is_it = |(kind, ..): &&(Kind, u32, u32)| *kind as u64 == head & record::KIND;
    let (_, reason, addresses) = REASONS.iter().find(is_it)?;
    let has = |bit: u64| syndrome & bit != 0;
    let rights = [
        (IOMMU_FAULT_PERM_READ, has(record::READ)),
        (IOMMU_FAULT_PERM_WRITE, !has(record::READ)),
        (IOMMU_FAULT_PERM_EXEC, has(record::INSTRUCTION)),
        (IOMMU_FAULT_PERM_PRIV, has(record::PRIVILEGED)),
    ];
    let perm = rights.iter().filter(|(_, set)| *set).fold(0, |all, (bit, _)| all | bit);
    let if_told = |flag: u32, value: u64| if addresses & flag != 0 { value } else { 0 };
    let has_pasid = head & record::SSV != 0;
    let fault = iommu_fault_unrecoverable {
        reason: *reason,
        flags: addresses | if has_pasid { IOMMU_FAULT_UNRECOV_PASID_VALID } else { 0 },
        pasid: if has_pasid { ((head & record::SSID) >> 12) as u32 } else { 0 },
        perm: if_told(ADDR, perm.into()) as u32,
        addr: if_told(ADDR, address),
        fetch_addr: if_told(FETCH, fetched & record::FETCHED),
    };
    Some((head >> 32, fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBSTREAM_5: u64 = 1 << 11 | 5 << 12;
    const READ: u64 = 1 << 35;

    /// What it is, the record, and reason, flags, PASID, rights and both addresses.
    type Case = (&'static str, [u64; 4], Option<(u32, u32, u32, u32, u64, u64)>);

    #[test]
    fn events() {
        #[rustfmt::skip] // one event, one line
        let cases: &[Case] = &[
            ("no substream in the table",  [0x08 | 5 << 12, 0, 0, 0],                     Some((3, 0, 0, 0, 0, 0))),
            ("no descriptor to be had",    [0x09 | SUBSTREAM_5, 0, 0, 0x1000],            Some((1, 5, 5, 0, 0, 0x1000))),
            ("a bad descriptor",           [0x0a | SUBSTREAM_5, 0, 0, 0],                 Some((2, 1, 5, 0, 0, 0))),
            ("no table to be had",         [0x0b, READ, 0x7008, 0x2008],                  Some((4, 6, 0, 1, 0x7008, 0x2008))),
            ("no page, to read",           [0x10 | SUBSTREAM_5, READ, 0x7008, 0],         Some((5, 3, 5, 1, 0x7008, 0))),
            ("no page, to write",          [0x10, 0, 0x7008, 0],                          Some((5, 2, 0, 2, 0x7008, 0))),
            ("too far",                    [0x11, READ, u64::MAX, 0],                     Some((8, 2, 0, 1, u64::MAX, 0))),
            ("no access flag",             [0x12, READ | 1 << 33, 0, 0],                  Some((7, 2, 0, 9, 0, 0))),
            ("not to be executed",         [0x13, READ | 1 << 34, 0, 0],                  Some((6, 2, 0, 5, 0, 0))),
            ("a bad entry: not told",      [0x04 | SUBSTREAM_5, 0, 0, 0],                 None),
            ("a stream disabled: not told", [0x06, 0, 0, 0],                              None),
        ];
        for (name, record, expected) in cases {
            let stream = 7;
            let bytes = [record[0] | stream << 32, record[1], record[2], record[3]];
            let bytes: Vec<u8> = bytes.iter().flat_map(|word| word.to_le_bytes()).collect();
            let found = fault_of(&bytes);
            assert!(found.is_none_or(|(it, _)| it == stream), "{name}");
            let told = found
                .map(|(_, it)| (it.reason, it.flags, it.pasid, it.perm, it.addr, it.fetch_addr));
            assert_eq!(told, *expected, "{name}");
        }
    }
}
