//! What a guest's driver writes for its IOMMU: tables, entries that lead to them, commands.

use uapi::iommufd::iommu_hwpt_vtd_s1;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// A guest's own page table of pages of 4096 bytes: on VT-d a first-stage table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestTable {
    root: u64,
    width: u32,
}

/// A guest-physical address at which no table can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:#x} is no guest-physical address of a page: it must be a multiple of 4096 below 2^52")]
pub struct NotAPage(pub u64);

/// An IOMMU walks tables of five levels, and the feature that gave this is on such a one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiveLevels(());

impl FiveLevels {
    /// For an IOMMU of which the registers tell so.
    pub(crate) fn proven() -> Self {
        Self(())
    }
}

impl GuestTable {
    /// A table of four levels, for addresses of 48 bits, by the guest-physical address of its root.
    pub fn four_levels(root: u64) -> Result<Self, NotAPage> {
        Self::new(root, 48)
    }

    /// A table of five levels, for addresses of 57 bits.
    pub fn five_levels(root: u64, _proof: FiveLevels) -> Result<Self, NotAPage> {
        Self::new(root, 57)
    }

    fn new(root: u64, width: u32) -> Result<Self, NotAPage> {
        let is_page = root.is_multiple_of(PAGE) && root < 1 << 52;
        if is_page { Ok(Self { root, width }) } else { Err(NotAPage(root)) }
    }

    /// As the kernel is told of it, on VT-d.
    pub(crate) fn first_stage(self) -> iommu_hwpt_vtd_s1 {
        let Self { root, width } = self;
        iommu_hwpt_vtd_s1 { pgtbl_addr: root, addr_width: width, ..Default::default() }
    }
}

/// What a guest changed in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// Anything.
    All,
    /// The entries of some addresses. Those of the same pages go with them.
    Range {
        /// The first byte.
        start: u64,
        /// How many bytes.
        length: u64,
    },
}

impl Invalidation {
    /// The first byte of the first page, and how many pages; none for all.
    pub(crate) fn pages(self) -> Option<(u64, u64)> {
        let Self::Range { start, length } = self else { return None };
        let first = start / PAGE;
        let end = start.checked_add(length)?.div_ceil(PAGE);
        Some((first * PAGE, if length == 0 { 0 } else { end - first }))
    }
}

/// The ID of the device on its virtual SMMU.
pub const STREAM: u64 = 1;

/// A stream table entry that leads to a table of `1 << log2` context descriptors (SMMUv3 5.2): walked
/// through write-back caches that all share, as Linux has it (`arm_smmu_make_cdtable_ste`). What comes
/// without a substream ends there, unless there is but one descriptor.
pub fn stream_table_entry(context_descriptors: u64, log2: u32) -> [u64; 2] {
    const VALID: u64 = 1;
    const STAGE1: u64 = 5 << 1;
    const CACHED: u64 = 1 << 2 | 1 << 4;
    const SHARED: u64 = 3 << 6;
    [VALID | STAGE1 | context_descriptors | u64::from(log2) << 59, CACHED | SHARED]
}

/// log2 of the bytes of a context descriptor.
pub const CONTEXT_LOG2: u32 = 6;

/// A context descriptor of a stage-1 table in the lower half of the addresses (SMMUv3 5.4.1): walked
/// through write-back caches that all share, with stalls where a page is missing, as Linux has it
/// (`arm_smmu_make_sva_cd`).
pub fn context_descriptor(asid: u32, table: GuestTable) -> [u64; 8] {
    const GRANULE_4K: u64 = 0 << 6;
    const CACHED: u64 = 1 << 8 | 1 << 10;
    const SHARED: u64 = 3 << 12;
    const NO_UPPER_HALF: u64 = 1 << 30;
    const VALID: u64 = 1 << 31;
    const OUTPUT_48_BITS: u64 = 5 << 32;
    const AARCH64: u64 = 1 << 41;
    const STALL_RECORD_ABORT: u64 = 1 << 44 | 1 << 45 | 1 << 46;
    const OWN_ASID: u64 = 1 << 47;
    const WRITE_BACK: u64 = 0xff;
    let size = u64::from(64 - table.width);
    let walk = size | GRANULE_4K | CACHED | SHARED | NO_UPPER_HALF | OUTPUT_48_BITS;
    let kind = VALID | AARCH64 | STALL_RECORD_ABORT | OWN_ASID | u64::from(asid) << 48;
    [walk | kind, table.root, 0, WRITE_BACK, 0, 0, 0, 0]
}

/// The same without stalls: what misses a page is refused, and recorded.
pub fn without_stalls(mut descriptor: [u64; 8]) -> [u64; 8] {
    const STALL: u64 = 1 << 44;
    descriptor[0] &= !STALL;
    descriptor
}

/// Commands of a guest's queue, for an SMMUv3.
pub mod command {
    use super::STREAM;

    /// A command as the queue holds it.
    pub type Command = [u64; 2];

    /// `TLBI_NSNH_ALL`: all translations of a guest (SMMUv3 4.4.4).
    pub const FORGET_ALL: Command = [0x30, 0];

    /// `CFGI_CD_ALL`: all context descriptors of the device (SMMUv3 4.3.4).
    pub const FORGET_CONTEXTS: Command = [0x06 | STREAM << 32, 0];

    /// `TLBI_NH_ASID`: all translations of a table (SMMUv3 4.4.1).
    pub fn forget_table(asid: u32) -> Command {
        [0x11 | u64::from(asid) << 48, 0]
    }

    /// `TLBI_NH_VA`: one page of a table (SMMUv3 4.4.1).
    pub fn forget_page(asid: u32, address: u64) -> Command {
        [0x12 | u64::from(asid) << 48, address]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u64 = 0x12_3456_7000;

    #[test]
    fn tables() {
        #[rustfmt::skip] // one address, one line
        let cases: &[(u64, Result<(), NotAPage>)] = &[
            (0,                 Ok(())),
            (ROOT,              Ok(())),
            ((1 << 52) - PAGE,  Ok(())),
            (1 << 52,           Err(NotAPage(1 << 52))),
            (ROOT + 1,          Err(NotAPage(ROOT + 1))),
        ];
        for (root, expected) in cases {
            assert_eq!(GuestTable::four_levels(*root).map(drop), *expected, "{root:#x}");
        }
        let told = GuestTable::five_levels(ROOT, FiveLevels::proven()).unwrap().first_stage();
        assert_eq!((told.pgtbl_addr, told.addr_width, told.flags), (ROOT, 57, 0));
    }

    #[test]
    fn ranges_are_whole_pages() {
        let range = |start, length| Invalidation::Range { start, length }.pages();
        type Pages = Option<(u64, u64)>;
        #[rustfmt::skip] // one range, one line
        let cases: &[(&str, Pages, Pages)] = &[
            ("a page",          range(0x1000, 0x1000),    Some((0x1000, 1))),
            ("parts of two",    range(0x1fff, 2),         Some((0x1000, 2))),
            ("nothing",         range(0x1001, 0),         Some((0x1000, 0))),
            ("up to the end",   range(u64::MAX - 1, 1),   Some((u64::MAX - 0xfff, 1))),
            ("beyond the end",  range(u64::MAX, 2),       None),
            ("all",             Invalidation::All.pages(), None),
        ];
        for (name, found, expected) in cases {
            assert_eq!(found, expected, "{name}");
        }
    }

    /// Bits by their names in Linux's arm-smmu-v3.h.
    #[test]
    fn smmuv3_entries() {
        let entry = stream_table_entry(0x7f_fff0_0000, 8);
        // V, CFG_S1_TRANS, S1CTXPTR, S1CDMAX; S1DSS_TERMINATE, S1CIR and S1COR WBRA, S1CSH ISH
        assert_eq!(entry, [0x4000_007f_fff0_000b, 0xd4]);
        let descriptor = context_descriptor(0x2a, GuestTable::four_levels(ROOT).unwrap());
        // T0SZ 16; IRGN0, ORGN0 WBWA; SH0 IS; EPD1; V; IPS 5; AA64; S, R, A; ASET; ASID
        let first = 16 | 0x100 | 0x400 | 0x3000 | 1 << 30 | 1 << 31 | 5 << 32 | 1 << 41 | 0xf << 44;
        assert_eq!(descriptor, [first | 0x2a << 48, ROOT, 0, 0xff, 0, 0, 0, 0]);
        assert_eq!(command::forget_page(0x2a, 0x5000), [0x002a_0000_0000_0012, 0x5000]);
        assert_eq!(command::FORGET_CONTEXTS, [0x1_0000_0006, 0]);
    }
}
