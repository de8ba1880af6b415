//! The I/O address space: Linux's `io_pagetable` (`drivers/iommu/iommufd/io_pagetable.c`).
//!
//! | part | what it knows |
//! |---|---|
//! | [`space`] | which IOVAs are allowed, reserved or used; finding a free range |
//! | [`map`] | areas: mapping, copying, unmapping, cutting |
//! | [`domains`] | the hwpts whose domains show this IOAS, and the alignment they demand |
//! | [`access`](self::access) | reading and pinning by the CPU side (in-kernel accesses) |
//!
//! An *area* is one mapping: a range of IOVAs and a range of bytes of a `Pages`. Areas never overlap
//! and never merge. While the IOAS has at least one domain, the pages of every area are pinned.
//!
//! A domain shows exactly the areas of its IOAS: they are written into its tables ([`crate::tables`]) as
//! they come, and taken out as they go.

pub(crate) mod access;
pub(crate) mod domains;
pub(crate) mod map;
pub(crate) mod space;

use std::collections::BTreeMap;
use std::sync::Arc;

use mem::PAGE_SIZE;

use crate::objects::ObjectId;
use crate::pages::{Hold, Pages};
use domains::DomainRef;
use space::{Occupied, Reserved};

/// What a device may do through a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prot {
    pub read: bool,
    pub write: bool,
}

impl Prot {
    /// Whether a device may read and not write.
    pub fn is_read_only(self) -> bool {
        self.read && !self.write
    }
}

/// One mapping.
#[derive(Debug)]
pub(crate) struct Area {
    /// First IOVA.
    pub start: u64,
    /// Last IOVA.
    pub last: u64,
    pub pages: Arc<Pages>,
    /// Offset of the first byte in the pages.
    pub start_byte: u64,
    pub prot: Prot,
    /// Present exactly while the IOAS has a domain; a dma-buf has nothing to hold.
    pub hold: Option<Hold>,
    pub accesses: u32,
    pub locks: u32,
}

impl Area {
    /// Offset in the pages of the byte at `iova`.
    pub fn byte_at(&self, iova: u64) -> u64 {
        self.start_byte + (iova - self.start)
    }

    /// Index in the pages of the page that holds `iova`.
    pub fn page_at(&self, iova: u64) -> u64 {
        self.byte_at(iova) / PAGE_SIZE
    }

    /// Index in the pages of the first page, and how many the area touches.
    pub fn page_span(&self) -> (u64, u64) {
        let first = self.page_at(self.start);
        (first, self.page_at(self.last) - first + 1)
    }

    /// Offset in its page of the first byte.
    pub fn page_offset(&self) -> u64 {
        self.start_byte % PAGE_SIZE
    }
}

/// An I/O address space.
#[derive(Debug)]
pub(crate) struct Ioas {
    /// By first IOVA.
    pub areas: BTreeMap<u64, Area>,
    occupied: Occupied,
    /// First to last byte of each allowed range; empty allows all.
    allowed: BTreeMap<u64, u64>,
    reserved: Vec<Reserved>,
    pub domains: Vec<DomainRef>,
    /// Accesses by place in the list, with the alignment each demands.
    accesses: BTreeMap<u32, (ObjectId, u64)>,
    /// In bytes, a power of two.
    pub iova_alignment: u64,
    pub large_pages: bool,
    /// Paging hwpts by time of creation, for the search of an automatic one.
    pub hwpts: Vec<ObjectId>,
}

impl Default for Ioas {
    fn default() -> Self {
        Self {
            areas: BTreeMap::new(),
            occupied: Occupied::default(),
            allowed: BTreeMap::new(),
            reserved: Vec::new(),
            domains: Vec::new(),
            accesses: BTreeMap::new(),
            iova_alignment: 1,
            large_pages: true,
            hwpts: Vec::new(),
        }
    }
}

impl Ioas {
    /// The area that holds `iova`.
    pub fn area_at(&self, iova: u64) -> Option<&Area> {
        let (_, area) = self.areas.range(..=iova).next_back()?;
        (area.last >= iova).then_some(area)
    }

    /// The first area that meets `start..=last`.
    pub fn first_in(&self, start: u64, last: u64) -> Option<u64> {
        if let Some(area) = self.area_at(start) {
            return Some(area.start);
        }
        self.areas.range(start..=last).next().map(|(at, _)| *at)
    }

    /// The areas that cover `iova..=last` without a hole, as (first IOVA of the area, first and last
    /// IOVA of the part), and whether they cover all of it (`iopt_for_each_contig_area`).
    pub fn contiguous(&self, iova: u64, last: u64) -> (Vec<(u64, u64, u64)>, bool) {
        let mut parts = Vec::new();
        let mut at = iova;
        while let Some(area) = self.area_at(at) {
            parts.push((area.start, at, area.last.min(last)));
            if area.last >= last {
                return (parts, true);
            }
            at = area.last + 1;
        }
        (parts, false)
    }
}

impl Ioas {
    /// The IOVA that a number from a fuzzer means: the low half counts areas, the high half is a
    /// byte offset; 0 beyond the last area (`__iommufd_test_syz_conv_iova`).
    pub fn nth_area(&self, number: u64) -> u64 {
        let area = self.areas.values().nth(number as u32 as usize);
        area.map_or(0, |area| area.start.wrapping_add(number >> 32))
    }
}
