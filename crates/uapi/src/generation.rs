//! Generations: the Linux releases in which the IOMMU user API changed.
//!
//! A release between two generations has the ABI of the earlier one: 6.16 is 6.15, 6.9 is 6.8.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

macro_rules! generations {
    ($($variant:ident = ($major:literal, $minor:literal), $change:literal;)+) => {
        /// A Linux release in which the IOMMU user API changed, oldest first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Generation {
            $(#[doc = $change] $variant,)+
        }

        impl Generation {
            /// Every generation, oldest first.
            pub const ALL: &'static [Generation] = &[$(Generation::$variant,)+];

            /// Major and minor number of the release.
            pub const fn release(self) -> (u32, u32) {
                match self {
                    $(Generation::$variant => ($major, $minor),)+
                }
            }
        }
    };
}

generations! {
    V6_2 = (6, 2), "The first iommufd: IOAS, options, the type1 container.";
    V6_6 = (6, 6), "Hardware page tables and hardware information; VFIO character devices.";
    V6_7 = (6, 7), "Nesting on VT-d, dirty tracking.";
    V6_8 = (6, 8), "Invalidation of user-managed page tables.";
    V6_11 = (6, 11), "Page faults to user space.";
    V6_12 = (6, 12), "No new call; reserved regions bind nesting parents too.";
    V6_13 = (6, 13), "Virtual IOMMUs and devices, file mappings, SMMUv3.";
    V6_14 = (6, 14), "No new call; the padding of a page fault becomes explicit.";
    V6_15 = (6, 15), "Virtual event queues, PASID.";
    V6_17 = (6, 17), "Hardware queues and `mmap` for virtual IOMMUs.";
    V6_18 = (6, 18), "No new call; type1 unmap of an empty range succeeds.";
    V6_19 = (6, 19), "No new call; file mappings of VFIO PCI dma-bufs.";
    V7_0 = (7, 0), "AMD hardware information and guest page tables.";
    V7_1 = (7, 1), "The capability bit for ATS that is not supported.";
    V7_2 = (7, 2), "No new call; limits on queue depth and invalidation arrays.";
    V7_3 = (7, 3), "Physical addresses without an IOMMU.";
}

impl Generation {
    /// The generation whose header this crate is spelled after.
    pub const NEWEST: Generation = Generation::V7_3;

    /// The generation whose ABI a release has, if there is such a release and it has any.
    pub fn of_release(major: u32, minor: u32) -> Option<Self> {
        let exists = matches!((major, minor), (6, 2..=19) | (7, 0..=3));
        let not_newer = |generation: &&Self| generation.release() <= (major, minor);
        Self::ALL.iter().rfind(not_newer).copied().filter(|_| exists)
    }
}

/// The release as `uname -r` starts: `6.15`.
impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.release();
        write!(f, "{major}.{minor}")
    }
}

/// Takes exactly what `Display` prints. A release between two generations is refused: silently
/// reading `6.16` as 6.15 would hide a typing error.
impl FromStr for Generation {
    type Err = UnknownGeneration;

    fn from_str(text: &str) -> Result<Self, UnknownGeneration> {
        let parse = |text: &str| {
            let (major, minor) = text.split_once('.')?;
            // `parse` alone would accept "+6" and "06".
            let number = |digits: &str| digits.parse::<u32>().ok().filter(|_| plain_number(digits));
            let release = (number(major)?, number(minor)?);
            Generation::ALL.iter().copied().find(|generation| generation.release() == release)
        };
        parse(text).ok_or_else(|| UnknownGeneration { value: text.into() })
    }
}

fn plain_number(digits: &str) -> bool {
    digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'))
}

/// The text names no [`Generation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownGeneration {
    /// The text.
    pub value: String,
}

impl fmt::Display for UnknownGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown kernel generation {:?}, expected one of", self.value)?;
        for (index, generation) in Generation::ALL.iter().enumerate() {
            write!(f, "{} {generation}", if index == 0 { "" } else { "," })?;
        }
        f.write_str(" (a release between two of them has the ABI of the earlier one)")
    }
}

impl core::error::Error for UnknownGeneration {}
