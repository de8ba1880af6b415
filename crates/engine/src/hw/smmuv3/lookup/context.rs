//! Both stages as found for a stream and a substream, which an SMMU may keep: translation.

use pt::format::VmsaStage2;
use pt::{Fault, Nested, NestedFault, Root, TableMemory, Translation, walk};

use super::descriptor::{FirstStage, Half};
use super::event::{Class, Event, FaultModel, Kind};
use super::exceeds;
use crate::hw::request::Request;
use crate::hw::stages::{NoMemory, Physical};
use crate::tables::{Direct, HostFormat};

/// What a stream table entry and a context descriptor come to. It stays what it is when they change: that
/// is how a cache of configuration keeps them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// None where it bypasses.
    pub(super) first: Option<FirstStage>,
    /// None where it bypasses.
    pub(super) second: Option<Stage2>,
    /// Bits of what may bypass stage 1.
    pub(super) bypass_bits: u32,
}

/// The bit that tells the half of an address in stage 1.
const UPPER: u32 = 55;

/// Stage 2 as an entry has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage2 {
    pub format: VmsaStage2,
    pub root: Root,
    pub model: FaultModel,
}

impl Context {
    /// By what translations of stage 1 are told apart; none where it bypasses.
    pub fn asid(&self) -> Option<u16> {
        self.first.map(|first| first.asid)
    }

    /// Translates a request, and marks what it uses.
    pub fn translate<M: TableMemory>(
        &self,
        request: Request,
        memory: &M,
    ) -> Result<Translation, Event> {
        let memory = Physical(memory);
        let first = match (&self.first, &self.second) {
            (None, _) => self.bypass(request)?,
            (Some(first), None) => first.translate(request, &memory, |NoMemory(address)| {
                Event::fetch(Kind::WalkAbort, request, Class::Table, address)
            })?,
            (Some(first), Some(second)) => {
                first.translate(request, &second.before(&memory), |fault| {
                    second.event(request, Class::Table, fault)
                })?
            }
        };
        let Some(second) = self.second else {
            return Ok(first);
        };
        let found = walk(&second.format, second.root, first.address, request.access, &memory);
        let found = found.map_err(|fault| {
            let nested = NestedFault { address: first.address, write: false, fault };
            second.event(request, Class::Input, nested)
        })?;
        Ok(first.then(&found))
    }

    /// The tables that alone decide about reading and writing without privilege, if there is one stage.
    pub fn direct(&self) -> Option<Direct> {
        let (format, root, bits) = match (&self.first, &self.second) {
            (Some(first), None) => {
                let lower = first.lower.filter(|half| !half.unprivileged_never)?;
                (HostFormat::Stage1(lower.format), lower.root, UPPER)
            }
            (None, Some(second)) => {
                (HostFormat::Stage2(second.format), second.root, self.bypass_bits)
            }
            _ => return None,
        };
        Some(Direct { format, root, except: Some(1u64.checked_shl(bits)?..=u64::MAX) })
    }

    /// No stage 1: what is too wide for what follows is refused as by stage 1, whatever is set.
    fn bypass(&self, request: Request) -> Result<Translation, Event> {
        if exceeds(request.iova, self.bypass_bits) {
            return Err(Event::translation(Kind::AddressSize, request, FaultModel::ABORT));
        }
        Ok(Translation::identity(request.iova))
    }
}

impl FirstStage {
    fn translate<T: TableMemory>(
        &self,
        request: Request,
        memory: &T,
        unreachable: impl FnOnce(T::Error) -> Event,
    ) -> Result<Translation, Event> {
        let refused = |kind| Event::translation(kind, request, self.model);
        let upper = request.iova >> UPPER & 1 != 0;
        let Half { format, root, unprivileged_never } = if upper { self.upper } else { self.lower }
            .ok_or_else(|| refused(Kind::Translation))?;
        if unprivileged_never && !request.access.privileged {
            return Err(refused(Kind::Translation));
        }
        walk(&format, root, request.iova, request.access, memory).map_err(|fault| match fault {
            Fault::Refused { reason, .. } => refused(Kind::of(reason)),
            Fault::Load { error, .. } | Fault::Store { error, .. } | Fault::Target(error) => {
                unreachable(error)
            }
            Fault::Contended { .. } => Event::fetch(Kind::WalkAbort, request, Class::Table, 0),
        })
    }
}

impl Stage2 {
    /// Memory as what comes before addresses it.
    pub fn before<M: TableMemory>(&self, memory: M) -> Nested<VmsaStage2, M> {
        Nested::new(self.format, self.root, memory)
    }

    /// What comes of an address that cannot be had.
    pub fn event(&self, request: Request, class: Class, nested: NestedFault<NoMemory>) -> Event {
        let second_stage = true;
        match nested.fault {
            Fault::Refused { reason, .. } => Event {
                class,
                second_stage,
                address: nested.address,
                table_write: nested.write,
                ..Event::translation(Kind::of(reason), request, self.model)
            },
            Fault::Load { error: NoMemory(address), .. }
            | Fault::Store { error: NoMemory(address), .. } => {
                let event = Event::fetch(Kind::WalkAbort, request, class, address);
                Event { second_stage, ..event }
            }
            Fault::Contended { .. } => {
                Event { second_stage, ..Event::fetch(Kind::WalkAbort, request, class, 0) }
            }
            // it was translated, so that stage 2 has no part in it
            Fault::Target(NoMemory(address)) => {
                let is_descriptor = class == Class::Descriptor;
                let kind = if is_descriptor { Kind::DescriptorFetch } else { Kind::WalkAbort };
                Event::fetch(kind, request, class, address)
            }
        }
    }
}
