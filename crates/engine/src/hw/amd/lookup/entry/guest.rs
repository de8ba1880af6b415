//! Entries that lead to a guest's tables, and those of devices that ask for pages.
//!
//! No release makes one for a program, so that only tests come here.

use super::{DeviceEntry, GCR3, GUEST_LEVELS, first, ones};

impl DeviceEntry {
    /// A GCR3 table of `glx` + 1 levels, to v2 tables of 4 or 5 levels (`set_dte_gcr3_table`);
    /// `own` where the domain itself is the table of PASID 0, and requests without a PASID go there.
    pub fn guest(domain: u16, gcr3: u64, glx: u8, levels: u8, own: bool) -> Self {
        let mut entry = Self::identity(domain);
        entry.0[0] |= first::GUEST | u64::from(glx & 3) << first::GCR3_LEVELS;
        entry.0[0] |= if own { first::GUEST_WITHOUT_PASID } else { 0 };
        for (word, at, low, high) in GCR3 {
            entry.0[word] |= (gcr3 >> low & ones(high - low + 1)) << at;
        }
        entry.0[2] |= u64::from(levels == 5) << GUEST_LEVELS;
        entry
    }

    /// A guest's entry (`iommu_hwpt_amd_guest`) over its parent's, whose domain is the one that stands for
    /// the guest's (`set_dte_nested`).
    pub fn nested(guest: [u64; 4], parent: Self) -> Self {
        let mut entry = parent;
        let taken = first::PAGE_REQUESTS
            | first::GUEST_WITHOUT_PASID
            | 3 << first::GCR3_LEVELS
            | gcr3_bits(0);
        entry.0[0] |= first::GUEST | guest[0] & taken;
        entry.0[1] |= guest[1] & gcr3_bits(1);
        entry.0[2] |= guest[2] & 3 << GUEST_LEVELS;
        entry
    }

    /// With page requests on.
    pub fn with_page_requests(mut self) -> Self {
        self.0[0] |= first::PAGE_REQUESTS;
        self
    }
}

/// The bits of a word of an entry that the address of the GCR3 table has.
fn gcr3_bits(of: usize) -> u64 {
    let bits = |(word, at, low, high): (usize, u32, u32, u32)| {
        if word == of { ones(high - low + 1) << at } else { 0 }
    };
    GCR3.into_iter().map(bits).sum()
}
