//! What an AMD IOMMU makes of a request: device table entry, GCR3 table, the guest's tables (v2) and the
//! host's (v1).
//!
//! Bits are those of `drivers/iommu/amd/amd_iommu_types.h`, `fmt/amdv1.h` and `fmt/x86_64.h`; the rules
//! that Linux does not show are those of the AMD I/O Virtualization specification (48882): 2.2.2 (device
//! table), 2.2.3 (v1), 2.2.6 (GCR3, v2, both), 2.5 (events). Held against QEMU for v1; v2 and both, of
//! which nothing executable is known, by composition.
//!
//! | who uses tables of a PASID | which |
//! |---|---|
//! | a request with a PASID | that PASID's |
//! | one without, GIOV set | those of PASID 0 |
//! | one without, GIOV clear | none: its address is the host's to translate |
//!
//! *What it doesn't do*: interrupts (`0xfee0_0000..=0xfeef_ffff`), exclusion ranges, SA and SE (events
//! that are not recorded), HAD of 1 (only accessed is marked), entries that are not Linux's.

mod entry;
mod event;
#[cfg(test)]
mod tests;

pub(crate) use entry::DeviceEntry;
#[cfg(test)]
pub(crate) use event::Kind;
pub(crate) use event::Refused;

use pt::format::{AmdV1, X86_64};
use pt::{Access, Grant, Reason, Rights, Root, TableMemory, Translation};

use crate::hw::request::Request;
use crate::hw::stages::{GuestMemory, Purpose, SecondStop, Stage, Stop};
use crate::tables::{Direct, HostFormat};

/// Registers of an IOMMU: its extended features.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    pub efr: u64,
    pub efr2: u64,
}

impl Registers {
    /// Finds what a device's requests with a PASID, or those without, are translated by.
    pub fn context<M: TableMemory>(
        self,
        entry: DeviceEntry,
        request: Request,
        memory: &M,
    ) -> Result<Context, Refused> {
        entry.context(self, request, memory)
    }
}

/// What a device's requests with one PASID, or those without, are translated by. What is changed in
/// memory since it was found is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Context {
    /// `DomainID`, by which translations are told apart in caches.
    pub domain: u16,
    /// The PASID whose tables are used.
    pub pasid: Option<u32>,
    /// What the entry grants.
    rights: Rights,
    guest: Option<Stage<X86_64>>,
    host: Option<Stage<AmdV1>>,
}

impl Context {
    /// Nothing is translated, and everything granted.
    const PASS: Self =
        Self { domain: 0, pasid: None, rights: Rights::all(), guest: None, host: None };

    /// v2 tables of the host's own, which requests without a PASID use (`amd_iommu_domain_alloc`).
    pub fn own(domain: u16, format: X86_64, root: u64) -> Self {
        let guest = Some(Stage { format, root: Root(root) });
        Self { domain, pasid: Some(0), guest, ..Self::PASS }
    }

    /// Translates a request that it was found for, and marks what it uses.
    pub fn translate<M: TableMemory>(
        &self,
        request: Request,
        memory: &M,
    ) -> Result<Translation, Refused> {
        self.both(request, memory).map_err(|stop| Refused::stopped(stop, self, request))
    }

    /// The tables that alone decide about reading and writing without privilege, if the entry grants both
    /// and has one stage.
    pub fn direct(&self) -> Option<Direct> {
        let (format, root) = match (self.guest, self.host) {
            _ if !self.rights.contains(Rights::READ | Rights::WRITE) => return None,
            (Some(guest), None) => (HostFormat::X86_64(guest.format), guest.root),
            (None, Some(host)) => (HostFormat::AmdV1(host.format), host.root),
            _ => return None,
        };
        Some(Direct { format, root, except: None })
    }

    fn both<M: TableMemory>(&self, request: Request, memory: &M) -> Result<Translation, Stop> {
        let mut access = request.access();
        // who executes reads
        access.rights.set(Rights::READ, access.rights.intersects(Rights::READ | Rights::EXECUTE));
        let first = match &self.guest {
            Some(guest) => {
                let tables = GuestMemory::new(self.host, memory);
                guest.translate_in(request.iova, access, &tables)?
            }
            None => Translation::identity(request.iova),
        };
        let user = Access { privileged: false, ..access };
        Ok(first.then(&self.second(first.address, user, memory)?))
    }

    /// The host's stage: what the entry grants, and its table.
    fn second<M: TableMemory>(
        &self,
        address: u64,
        access: Access,
        memory: &M,
    ) -> Result<Translation, Stop> {
        let grant = Grant::both(self.rights);
        let denied = grant.denied(access);
        if !denied.is_empty() {
            let (reason, purpose) = (Reason::Rights(denied), Purpose::Request);
            return Err(Stop::Second(SecondStop { address, reason, purpose }));
        }
        let found = match &self.host {
            Some(host) => host.translate(address, access, memory)?,
            None => Translation::identity(address),
        };
        Ok(Translation { grant: found.grant.and(grant), ..found })
    }
}
