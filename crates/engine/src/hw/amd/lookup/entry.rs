//! A device's entry in the device table, as Linux's driver fills it, and what it leads to.

#[cfg(test)]
mod guest;

use profile::registers::Field;
use profile::registers::amd::*;
use pt::format::{AmdV1, X86_64};
use pt::{Rights, Root, TableMemory};

use super::event::Refused;
use super::{Context, Registers};
use crate::hw::request::Request;
use crate::hw::stages::{GuestMemory, Stage};

/// A device table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DeviceEntry(pub [u64; 4]);

/// Fields of the first word (`DTE_FLAG_*`).
mod first {
    pub const VALID: u64 = 1;
    pub const TRANSLATION_VALID: u64 = 1 << 1;
    pub const RESERVED: u64 = 0x8000_0000_0000_007c;
    /// HAD, what is marked: 0 nothing, 1 accessed, 3 dirty too.
    pub const MARKS: u32 = 7;
    /// Mode: levels of the host's table.
    pub const LEVELS: u32 = 9;
    pub const HOST_ROOT: u64 = 0x000f_ffff_ffff_f000;
    pub const PAGE_REQUESTS: u64 = 1 << 52;
    /// GIOV: requests without a PASID are PASID 0's.
    pub const GUEST_WITHOUT_PASID: u64 = 1 << 54;
    /// GV: there is a GCR3 table.
    pub const GUEST: u64 = 1 << 55;
    /// GLX: levels of the GCR3 table, less 1.
    pub const GCR3_LEVELS: u32 = 56;
    pub const READ: u64 = 1 << 61;
    pub const WRITE: u64 = 1 << 62;
}

/// The domain, in the second word.
const DOMAIN: u64 = 0xffff;

/// Guest paging mode, in the third word: levels of the guest's tables, less 4.
const GUEST_LEVELS: u32 = 54;

/// Where bits of the address of the GCR3 table are: the word, its lowest bit there, and the bits of the
/// address.
const GCR3: [(usize, u32, u32, u32); 3] = [(0, 58, 12, 14), (1, 16, 15, 30), (1, 43, 31, 51)];

/// An entry of a GCR3 table.
mod gcr3 {
    pub const VALID: u64 = 1;
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    pub const RESERVED: u64 = 0xfff0_0000_0000_0fe6;
    /// Bits of PASID that a level has.
    pub const INDEX: u32 = 9;
}

fn ones(count: u32) -> u64 {
    (1 << count) - 1
}

impl DeviceEntry {
    /// Nothing passes (`clear_dte_entry`).
    pub const BLOCKED: Self = Self([first::VALID, 0, 0, 0]);

    /// Nothing is translated (`set_dte_passthrough`).
    pub fn identity(domain: u16) -> Self {
        let granted = first::READ | first::WRITE;
        let word = first::VALID | first::TRANSLATION_VALID | granted;
        Self([word, domain.into(), 0, 0])
    }

    /// A v1 table of so many levels; `dirty` where it tells what was written (`amd_iommu_set_dte_v1`).
    pub fn host(domain: u16, root: u64, levels: u8, dirty: bool) -> Self {
        let mut entry = Self::identity(domain);
        entry.0[0] |= root & first::HOST_ROOT | u64::from(levels & 7) << first::LEVELS;
        entry.0[0] |= if dirty { 3 << first::MARKS } else { 0 };
        entry
    }

    fn has(&self, bit: u64) -> bool {
        self.0[0] & bit != 0
    }

    fn levels(&self) -> u8 {
        (self.0[0] >> first::LEVELS & 7) as u8
    }

    fn glx(&self) -> u32 {
        (self.0[0] >> first::GCR3_LEVELS & 3) as u32
    }

    fn marks(&self) -> u64 {
        self.0[0] >> first::MARKS & 3
    }

    fn guest_levels(&self) -> u8 {
        4 + (self.0[2] >> GUEST_LEVELS & 3) as u8
    }

    fn gcr3(&self) -> u64 {
        let part = |(word, at, low, high): (usize, u32, u32, u32)| {
            (self.0[word] >> at & ones(high - low + 1)) << low
        };
        GCR3.into_iter().map(part).sum()
    }

    fn rights(&self) -> Rights {
        let mut rights = Rights::empty();
        rights.set(Rights::READ | Rights::EXECUTE, self.has(first::READ));
        rights.set(Rights::WRITE, self.has(first::WRITE));
        rights
    }

    /// Whether bits are set that must not be.
    fn has_reserved(&self, registers: Registers) -> bool {
        let lacks = |field: Field| !field.is_set(registers.efr);
        self.has(first::RESERVED)
            || lacks(GT) && self.has(first::GUEST)
            || lacks(GIO) && self.has(first::GUEST_WITHOUT_PASID)
            || lacks(PPR) && self.has(first::PAGE_REQUESTS)
            || self.marks() != 0 && (lacks(HD) || self.marks() == 2)
    }

    /// Whether tables have more levels than the IOMMU walks.
    fn is_too_deep(&self, registers: Registers) -> bool {
        // a value of 3 says that there are no tables of the host's
        let host = [4, 5, 6, 0][HATS.of(registers.efr) as usize & 3];
        let guest = 4 + GATS.of(registers.efr) as u8;
        let gcr3 = (GLX.of(registers.efr) as u32).min(2);
        self.levels() > host
            || self.has(first::GUEST) && (self.guest_levels() > guest.min(5) || self.glx() > gcr3)
    }

    /// Finds what requests of a PASID, or those without, are translated by (2.2.2, 2.2.6).
    pub(super) fn context<M: TableMemory>(
        &self,
        registers: Registers,
        request: Request,
        memory: &M,
    ) -> Result<Context, Refused> {
        if !self.has(first::VALID) {
            return Ok(Context::PASS);
        }
        if self.has_reserved(registers) {
            return Err(Refused::illegal_entry(true, request));
        }
        let own = self.has(first::GUEST) && self.has(first::GUEST_WITHOUT_PASID);
        let context = Context {
            domain: (self.0[1] & DOMAIN) as u16,
            pasid: request.pasid.or(own.then_some(0)),
            rights: self.rights(),
            guest: None,
            host: None,
        };
        if !self.has(first::TRANSLATION_VALID) {
            return Err(Refused::unreachable(&context, request));
        }
        if self.is_too_deep(registers) {
            return Err(Refused::illegal_entry(false, request));
        }
        let host = (self.levels() > 0).then(|| Stage {
            format: AmdV1 { levels: self.levels(), marks: self.marks() == 3 },
            root: Root(self.0[0] & first::HOST_ROOT),
        });
        let context = Context { host, ..context };
        match context.pasid {
            None => Ok(context),
            Some(pasid) => {
                let root = self.guest_root(pasid, &context, registers, request, memory)?;
                let format = X86_64 {
                    levels: self.guest_levels(),
                    address_bits: 52,
                    gigabyte_pages: true,
                    write_protect: true,
                    extended_accessed: false,
                };
                Ok(Context { guest: Some(Stage { format, root }), ..context })
            }
        }
    }

    /// Finds the guest's CR3 for a PASID.
    fn guest_root<M: TableMemory>(
        &self,
        pasid: u32,
        context: &Context,
        registers: Registers,
        request: Request,
        memory: &M,
    ) -> Result<Root, Refused> {
        let reached = gcr3::INDEX * (self.glx() + 1);
        let wide = PASMAX.of(registers.efr) as u32 + 1;
        if !self.has(first::GUEST) || u64::from(pasid) >> reached.min(wide) != 0 {
            return Err(Refused::unreachable(context, request));
        }
        // without the mode, the addresses of GCR3 tables are physical
        let host = context.host.filter(|_| GCR3TRP.is_set(registers.efr2));
        let tables = GuestMemory::new(host, memory);
        let mut found = self.gcr3();
        for level in (0..=self.glx()).rev() {
            let index = u64::from(pasid) >> (gcr3::INDEX * level) & ones(gcr3::INDEX);
            let entry = tables
                .load(found + index * 8)
                .map_err(|stop| Refused::stopped(stop, context, request))?;
            if entry & gcr3::VALID == 0 {
                return Err(Refused::unreachable(context, request));
            }
            if entry & gcr3::RESERVED != 0 {
                return Err(Refused::reserved(context, request));
            }
            found = entry & gcr3::ADDRESS;
        }
        Ok(Root(found))
    }
}
