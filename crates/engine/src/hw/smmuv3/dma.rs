//! What devices behind an SMMU reach.

use profile::Quirk;
use profile::registers::Field;
use profile::registers::smmuv3::*;
use pt::Translation;
use pt::format::Granule;

use super::Smmuv3;
use super::lookup::{
    Class, ContextDescriptor, ContextTable, DefaultSubstream, Event, Kind, PagingTables, Registers,
    SecondStage, StreamEntry,
};
use crate::dma::{Programmed, Tag};
use crate::hw::request::Request;
use crate::hw::{Context, Denied, Leads, NestedView};
use crate::tables::{HostFormat, Reach, Tables};

/// The value of OAS, IPS and S2PS for 48 bits.
const BITS_48: u8 = 5;

/// `T0SZ` of so many bits of input address.
fn tsz(input_bits: u32) -> u8 {
    (64 - input_bits) as u8
}

fn tg0(granule: Granule) -> u8 {
    match granule {
        Granule::K4 => 0,
        Granule::K64 => 1,
        Granule::K16 => 2,
    }
}

/// What an event becomes; one that stalls is none, and is told by a page request. What could not be fetched
/// only the API of 2020 tells.
fn denied(event: Event, delivers_stalls: bool, tells_fetches: bool) -> Denied {
    // one of stage 2 reaches nobody (`arm_smmu_handle_event`), and would wait until the device is detached
    let stalls = event.stalls() && delivers_stalls && !event.second_stage;
    let forwarded = matches!(
        event.kind,
        Kind::BadEntry
            | Kind::StreamDisabled
            | Kind::BadSubstream
            | Kind::BadDescriptor
            | Kind::Translation
            | Kind::AddressSize
            | Kind::Access
            | Kind::Permission
    ) || tells_fetches
        && matches!(event.kind, Kind::DescriptorFetch | Kind::WalkAbort);
    let told = event.recorded && forwarded && !event.second_stage && !event.stalls();
    Denied {
        code: event.kind as u32,
        recoverable: event.class == Class::Input && event.kind.is_of_translation(),
        stalls,
        event: told.then(|| event.record(0, None)),
    }
}

impl Smmuv3 {
    /// The SMMU's, with addresses as wide as those that pinned memory has here.
    fn registers(&self) -> Registers {
        let mut idr = self.unit.idr;
        let word = &mut idr[index(OAS)];
        let least = u64::from(BITS_48).max(OAS.of((*word).into()) % 7) << OAS.low;
        *word = *word & !(OAS.mask() as u32) | least as u32;
        Registers(idr)
    }

    /// `arm_smmu_make_s2_domain_ste`
    fn second_stage(&self, tables: &Tables, programmed: &Programmed) -> Option<SecondStage> {
        let HostFormat::Stage2(format) = tables.format() else { return None };
        let sl0 = if format.granule == Granule::K4 { format.top - 1 } else { format.top };
        Some(SecondStage {
            t0sz: tsz(format.input_bits),
            sl0,
            tg: tg0(format.granule),
            ps: BITS_48,
            vmid: self.identifier(programmed, VMID16),
            ttb: tables.root(),
            stalls: self.stalls_of(programmed),
        })
    }

    /// What the hardware would tell a domain apart by: the IOTLB's own tag is wider.
    fn identifier(&self, programmed: &Programmed, wide: Field) -> u16 {
        programmed.domain as u16 & if self.is_set(wide) { 0xffff } else { 0xff }
    }

    fn stalls_of(&self, programmed: &Programmed) -> bool {
        programmed.facts.as_ref().is_some_and(|facts| self.stalls(facts))
    }

    /// `arm_smmu_make_s1_cd`
    fn descriptor(&self, tables: &Tables, programmed: &Programmed) -> Option<ContextDescriptor> {
        let HostFormat::Stage1(format) = tables.format() else { return None };
        Some(ContextDescriptor::paging(PagingTables {
            t0sz: tsz(format.input_bits),
            tg0: tg0(format.granule),
            ips: BITS_48,
            asid: self.identifier(programmed, ASID16),
            ttb0: tables.root(),
            marks: tables.tracks(),
            stalls: self.stalls_of(programmed),
        }))
    }

    /// Reads the stream table entry that the driver wrote, and the context descriptor.
    pub(super) fn read_context(
        &self,
        programmed: &Programmed,
        request: &Request,
        memory: &Reach<'_>,
    ) -> Result<Context, Denied> {
        let (registers, request) = (self.registers(), *request);
        let ats = programmed.facts.as_ref().is_some_and(|facts| self.has_ats(facts));
        let context = match (&programmed.host, programmed.guest) {
            (Some(tables), Some(NestedView::Smmuv3(nested))) => {
                let ats = ats && nested.wants_ats();
                let entry = self
                    .second_stage(tables, programmed)
                    .map_or(StreamEntry::abort(), |it| StreamEntry::nested(nested.ste, it, ats));
                entry.context(registers, request, memory)
            }
            (Some(tables), None) => match self.descriptor(tables, programmed) {
                Some(descriptor) => {
                    let table = ContextTable {
                        address: 0,
                        format: 0,
                        log2_count: self.pasids().ilog2() as u8,
                    };
                    let default = DefaultSubstream::Substream0;
                    let stalls = self.stalls_of(programmed);
                    let entry = StreamEntry::stage1(registers, table, default, stalls, ats);
                    entry.context_with(registers, request, |_| Ok(descriptor))
                }
                None => self
                    .second_stage(tables, programmed)
                    .map_or(StreamEntry::abort(), |it| StreamEntry::stage2(it, ats))
                    .context(registers, request, memory),
            },
            _ => StreamEntry::abort().context(registers, request, memory),
        };
        let context = context.map_err(|event| self.denied(event))?;
        // within a guest's VMID, by its ASIDs
        let space = programmed.guest.and(context.asid()).map_or(0, space_of);
        let tag = Tag { domain: programmed.domain, space };
        Ok(Context { tag, leads: Leads::Smmuv3(context) })
    }

    pub(super) fn walk(
        &self,
        context: &Context,
        request: &Request,
        memory: &Reach<'_>,
    ) -> Result<Translation, Denied> {
        let Leads::Smmuv3(context) = context.leads else { return Err(Denied::for_good(0)) };
        context.translate(*request, memory).map_err(|event| self.denied(event))
    }

    fn denied(&self, event: Event) -> Denied {
        denied(event, self.has(Quirk::SmmuStallsDelivered), self.kernel.api_2020().is_some())
    }
}

/// The space of an ASID in the IOTLB.
pub(super) fn space_of(asid: u16) -> u32 {
    u32::from(asid) + 1
}
