//! Two stages of translation, and the causes of what they refuse (2.3, 3.2).

use pt::{Access, Dirties, Root, TableMemory, Translation};

use super::{Refused, cause, causes};
use crate::hw::request::Request;
use crate::hw::stages::{GuestMemory, Purpose, Stage, Stop};
use crate::tables::{Direct, HostFormat};

/// Physical addresses have 56 bits.
const PHYSICAL: u64 = (1 << 56) - 1;

/// What a device's requests with one PASID, or those without, are translated by. What is changed in
/// memory since it was found is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Context {
    pub(super) first: Option<Stage<pt::format::Riscv>>,
    pub(super) second: Option<Stage<pt::format::Riscv>>,
    /// Whether requests may have privilege (ENS).
    pub(super) supervisor: bool,
    /// Whether most faults are not recorded (DTF).
    pub(super) silent: bool,
}

impl Context {
    /// Nothing is translated.
    pub const BARE: Self = Self { first: None, second: None, supervisor: true, silent: false };

    /// One stage, of the host's own, as Linux's driver has it (`riscv_iommu_attach_paging_domain`).
    pub fn first_stage(format: pt::format::Riscv, root: u64) -> Self {
        Self { first: Some(Stage { format, root: Root(root) }), ..Self::BARE }
    }

    /// Translates a request that it was found for, and marks what it uses.
    pub fn translate<M: TableMemory>(
        &self,
        request: Request,
        memory: &M,
    ) -> Result<Translation, Refused> {
        self.both(request, memory).map_err(|refused| refused.unless_silent(self.silent))
    }

    /// The tables that alone decide about reading and writing without privilege, if there is one stage.
    pub fn direct(&self) -> Option<Direct> {
        let first = self.first.filter(|_| self.second.is_none())?;
        Some(Direct { format: HostFormat::Riscv(first.format), root: first.root, except: None })
    }

    fn both<M: TableMemory>(&self, request: Request, memory: &M) -> Result<Translation, Refused> {
        let access = request.access();
        if access.privileged && !self.supervisor {
            return Err(Refused::new(cause::DISALLOWED));
        }
        // of an entry of a table, its page is told
        let refused = |stop| Refused::stopped(stop, access, !0xfff);
        let first = match &self.first {
            Some(first) => {
                // entries in what is read may be marked
                let dirties = if first.format.marks { Dirties::Yes } else { Dirties::WithUse };
                let tables = GuestMemory::new(self.second, memory).read_as(dirties);
                first.translate_in(request.iova, access, &tables).map_err(refused)?
            }
            None => Translation::identity(request.iova),
        };
        let Some(second) = &self.second else {
            return Ok(Translation { address: first.address & PHYSICAL, ..first });
        };
        let user = Access { privileged: false, ..access };
        Ok(first.then(&second.translate(first.address, user, memory).map_err(refused)?))
    }
}

impl Refused {
    /// Tables, or the memory in which they are, do not give it. `exact` are the bits that are told of the
    /// address of a word that the IOMMU itself wanted.
    pub(super) fn stopped(stop: Stop, access: Access, exact: u64) -> Self {
        let [access_fault, page_fault, guest_page_fault] = causes(access);
        match stop {
            Stop::NoMemory(_) => Self::new(access_fault),
            Stop::First(_) => Self::new(page_fault),
            Stop::Second(second) => {
                let (exact, implicit) = match second.purpose {
                    Purpose::Request => (!3, 0),
                    Purpose::Load => (exact, 1),
                    Purpose::Mark => (exact, 3),
                };
                Self { detail: second.address & exact | implicit, ..Self::new(guest_page_fault) }
            }
        }
    }
}
