//! Sizes by data type and version, as in `[PATCH v2 3/3] iommu/uapi: Add helper function for size lookup`,
//! Jacob Pan, 25 March 2020.
//!
//! All structs had one version, and a struct did not say its size. So whoever copied it into the kernel, VFIO,
//! looked the size up by the version that the program wrote in front. The table has a row for each data type
//! and an entry for each version: the newest member then. The size is the end of the *longest* member, which
//! may not be the newest.
//!
//! The original function refuses types and versions above its table, and reads the entry before it for
//! version 0: the program's word. Here that is refused, too.

use thiserror::Error;
use uapi::Errno;
use uapi::y2020::v5_5;

/// What a version did to a data type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A member came; `end` is the byte behind it.
    Member {
        /// The member.
        name: &'static str,
        /// Where it ends.
        end: usize,
    },
    /// Nothing: `N/A` in the original.
    Unchanged,
    /// The type is not there yet: `-EINVAL` in the original.
    Absent,
}

/// A data type and what each version did to it, from version 1.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The type.
    pub name: &'static str,
    /// The versions.
    pub versions: &'static [Entry],
}

/// The table as posted, in the order of `IOMMU_UAPI_BIND_GPASID` and the others.
pub const REVISIONS: &[Row] = &[
    Row {
        name: "BIND_GPASID",
        versions: &[Entry::Member { name: "vtd", end: size_of::<v5_5::iommu_gpasid_bind_data>() }],
    },
    Row {
        name: "CACHE_INVAL",
        versions: &[Entry::Member {
            name: "addr_info",
            end: size_of::<v5_5::iommu_cache_invalidate_info>(),
        }],
    },
    Row {
        name: "PAGE_RESP",
        versions: &[Entry::Member { name: "code", end: size_of::<v5_5::iommu_page_response>() }],
    },
];

/// A version and a data type that have no size. Each is `EINVAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoSize {
    /// The type is not in the table.
    #[error("there is no data type {kind}; the last is {}", types.saturating_sub(1))]
    Type {
        /// The type.
        kind: u32,
        /// How many types there are.
        types: usize,
    },
    /// The version is 0.
    #[error("`version` is 0; the first is 1")]
    VersionZero,
    /// The version is newer than the table.
    #[error(
        "`version` is {version}; this kernel knows up to {newest}, so build the struct of that one"
    )]
    Newer {
        /// The version.
        version: u32,
        /// The newest that is known.
        newest: usize,
    },
    /// The type is newer than the version.
    #[error("`version` is {version}, which has no {name}: that came with version {since}")]
    TypeNewer {
        /// The type.
        name: &'static str,
        /// The version.
        version: u32,
        /// The version that it came with.
        since: usize,
    },
}

impl NoSize {
    /// What the program gets.
    pub const fn errno(&self) -> Errno {
        Errno::EINVAL
    }
}

/// The size of a data type in a version, as [`REVISIONS`] has it.
pub fn data_size(kind: u32, version: u32) -> Result<usize, NoSize> {
    data_size_in(REVISIONS, kind, version)
}

/// The size of a data type in a version.
pub fn data_size_in(table: &[Row], kind: u32, version: u32) -> Result<usize, NoSize> {
    let row = usize::try_from(kind).ok().and_then(|kind| table.get(kind));
    let row = row.ok_or(NoSize::Type { kind, types: table.len() })?;
    if version == 0 {
        return Err(NoSize::VersionZero);
    }
    let newest = row.versions.len();
    let known = usize::try_from(version).ok().and_then(|version| row.versions.get(..version));
    let known = known.ok_or(NoSize::Newer { version, newest })?;
    let end = |entry: &Entry| match entry {
        Entry::Member { end, .. } => Some(*end),
        Entry::Unchanged | Entry::Absent => None,
    };
    known.iter().filter_map(end).max().ok_or_else(|| {
        let absent = row.versions.iter().take_while(|entry| **entry == Entry::Absent).count();
        NoSize::TypeNewer { name: row.name, version, since: absent + 1 }
    })
}
