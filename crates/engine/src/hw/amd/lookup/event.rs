//! Why a request is refused, and the event that tells it (2.5).

use pt::{Reason, Rights};

use super::Context;
use crate::hw::request::Request;
use crate::hw::stages::{Purpose, Stop};

/// Why a request is refused; what an event tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub kind: Kind,
    /// `EVENT_FLAG_*`
    pub flags: u32,
    /// The PASID where the flag GN is set, else the domain.
    pub owner: u32,
    pub address: u64,
    /// Whether a page could resolve it: asked for a translation, the IOMMU grants nothing and records
    /// nothing, and the device may send a page request.
    pub recoverable: bool,
}

/// Types of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `ILLEGAL_DEV_TABLE_ENTRY`
    IllegalEntry = 1,
    /// `IO_PAGE_FAULT`
    PageFault = 2,
    /// `PAGE_TAB_HARDWARE_ERROR`
    NoTable = 4,
}

/// Flags of an event; Linux knows `EVENT_FLAG_RW` and `EVENT_FLAG_I`.
pub(crate) mod flag {
    /// GN: it has a PASID, and the address is the guest's.
    pub const GUEST: u32 = 1;
    /// NX
    pub const EXECUTE: u32 = 1 << 1;
    /// US
    pub const USER: u32 = 1 << 2;
    /// PR: what was asked for is there.
    pub const PRESENT: u32 = 1 << 4;
    /// RW
    pub const WRITE: u32 = 1 << 5;
    /// PE: it does not grant what was asked.
    pub const DENIED: u32 = 1 << 6;
    /// RZ: reserved bits were set; without it, levels or sizes were wrong.
    pub const RESERVED: u32 = 1 << 7;
    /// TR: only the translation was asked for.
    pub const TRANSLATION: u32 = 1 << 8;
}

impl Refused {
    /// The entry is wrong: bits that must be 0, or levels.
    pub(super) fn illegal_entry(reserved: bool, request: Request) -> Self {
        let wrong = if reserved { flag::RESERVED } else { 0 };
        Self {
            kind: Kind::IllegalEntry,
            flags: asked(request, request.pasid) | wrong,
            owner: request.pasid.unwrap_or(0),
            address: request.iova,
            recoverable: false,
        }
    }

    /// There are no tables for it.
    pub(super) fn unreachable(context: &Context, request: Request) -> Self {
        let flags = asked(request, context.pasid);
        let owner = context.pasid.unwrap_or(context.domain.into());
        let (kind, address) = (Kind::PageFault, request.iova);
        Self { kind, flags, owner, address, recoverable: false }
    }

    /// An entry that leads to its tables is wrong.
    pub(super) fn reserved(context: &Context, request: Request) -> Self {
        let refused = Self::unreachable(context, request);
        Self { flags: refused.flags | flag::PRESENT | flag::RESERVED, ..refused }
    }

    /// Tables, or the memory in which they are, do not give it. Of the host's, the address is the one that
    /// they were to translate, and the domain is told.
    pub(super) fn stopped(stop: Stop, context: &Context, request: Request) -> Self {
        let refused = Self::unreachable(context, request);
        match stop {
            Stop::NoMemory(address) => Self { kind: Kind::NoTable, address, ..refused },
            Stop::First(reason) => refused.because(reason, flag::RESERVED),
            Stop::Second(second) => {
                let flags = match second.purpose {
                    Purpose::Request => asked(request, None),
                    Purpose::Load => asked(request, None) & !flag::WRITE,
                    Purpose::Mark => asked(request, None) | flag::WRITE,
                };
                let (owner, address) = (context.domain.into(), second.address);
                // what is wrong in them is a level or a size
                Self { flags, owner, address, ..refused }.because(second.reason, 0)
            }
        }
    }

    fn because(self, reason: Reason, malformed: u32) -> Self {
        let (flags, recoverable) = match reason {
            Reason::Input => (0, false),
            Reason::NotPresent => (0, true),
            Reason::Reserved | Reason::Output => (flag::PRESENT | malformed, false),
            Reason::Unmarked => (flag::PRESENT, true),
            Reason::Privilege | Reason::Rights(_) => (flag::PRESENT | flag::DENIED, true),
        };
        Self { flags: self.flags | flags, recoverable, ..self }
    }
}

/// The flags that tell what was asked.
fn asked(request: Request, pasid: Option<u32>) -> u32 {
    let access = request.access();
    let when = |holds: bool, flag: u32| if holds { flag } else { 0 };
    let guest = pasid.is_some();
    let only = request.translation_only;
    when(guest, flag::GUEST)
        | when(guest && access.rights.contains(Rights::EXECUTE), flag::EXECUTE)
        | when(guest && !access.privileged, flag::USER)
        | when(!only && access.rights.contains(Rights::WRITE), flag::WRITE)
        | when(only, flag::TRANSLATION)
}
