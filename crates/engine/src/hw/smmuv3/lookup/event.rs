//! Refusals, and their records (SMMUv3 7.3).

use pt::{Access, Reason, Rights};

use crate::hw::request::Request;
use record::*;

/// A request that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub kind: Kind,
    pub ssid: Option<u32>,
    /// As the device gave it, top byte and all.
    pub iova: u64,
    pub access: Access,
    pub class: Class,
    /// Whether stage 2 refused.
    pub second_stage: bool,
    /// What stage 2 was to translate; of a fetch that failed, the address that was fetched.
    pub address: u64,
    /// Whether an entry of a table was to be written.
    pub table_write: bool,
    pub response: Response,
    /// Whether there is a record of it.
    pub recorded: bool,
}

/// Why a request is refused; the number of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The stream is off. There is no event for this.
    Off = 0,
    /// `C_BAD_STE`
    BadEntry = 0x04,
    /// `F_BAD_ATS_TREQ`
    BadTranslationRequest = 0x05,
    /// `F_STREAM_DISABLED`
    StreamDisabled = 0x06,
    /// `C_BAD_SUBSTREAMID`
    BadSubstream = 0x08,
    /// `F_CD_FETCH`
    DescriptorFetch = 0x09,
    /// `C_BAD_CD`
    BadDescriptor = 0x0a,
    /// `F_WALK_EABT`
    WalkAbort = 0x0b,
    /// `F_TRANSLATION`
    Translation = 0x10,
    /// `F_ADDR_SIZE`
    AddressSize = 0x11,
    /// `F_ACCESS`
    Access = 0x12,
    /// `F_PERMISSION`
    Permission = 0x13,
}

impl Kind {
    pub(super) fn of(reason: Reason) -> Self {
        match reason {
            Reason::Input | Reason::NotPresent | Reason::Reserved => Self::Translation,
            Reason::Output => Self::AddressSize,
            Reason::Unmarked => Self::Access,
            Reason::Privilege | Reason::Rights(_) => Self::Permission,
        }
    }

    /// Whether it is one of the four that can be stalled, or kept quiet (3.12).
    pub fn is_of_translation(self) -> bool {
        self as u8 >= Self::Translation as u8
    }
}

/// What was translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The address of a context descriptor.
    Descriptor = 0,
    /// That of an entry of stage 1.
    Table = 1,
    /// What the stage was given.
    Input = 2,
}

/// What the device hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    /// An abort.
    Abort,
    /// Success, though reads give 0 and writes are lost.
    ReadsZero,
    /// Nothing until the program answers.
    Stall,
}

/// What becomes of a fault of translation (5.5): CD.{A,R,S}, STE.{S2R,S2S}.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FaultModel {
    pub aborts: bool,
    pub records: bool,
    pub stalls: bool,
}

impl FaultModel {
    /// That of a stage that has no say.
    pub const ABORT: Self = Self { aborts: true, records: true, stalls: false };
}

/// Fields of a record.
pub(crate) mod record {
    /// The event, as [`super::Kind`] counts it.
    pub const KIND: u64 = 0xff;
    pub const SSV: u64 = 1 << 11;
    pub const SSID: u64 = 0xf_ffff << 12;
    pub const STALL: u64 = 1 << 31;
    pub const PRIVILEGED: u64 = 1 << 33;
    pub const INSTRUCTION: u64 = 1 << 34;
    pub const READ: u64 = 1 << 35;
    pub const S2: u64 = 1 << 39;
    pub const TABLE_READ: u64 = 1 << 44;
    pub const IPA: u64 = 0x000f_ffff_ffff_f000;
    pub const FETCHED: u64 = 0x000f_ffff_ffff_fff8;
}

impl Event {
    /// A refusal that comes before translation, or is not of it: always an abort. A request for a
    /// translation only is answered, and not recorded.
    pub(super) fn new(kind: Kind, request: Request) -> Self {
        let told = kind == Kind::BadTranslationRequest || !request.translation_only;
        Self {
            kind,
            ssid: request.pasid,
            iova: request.iova,
            access: request.access,
            class: Class::Descriptor,
            second_stage: false,
            address: 0,
            table_write: false,
            response: Response::Abort,
            recorded: told && kind != Kind::Off,
        }
    }

    /// A fault of translation, of what an address comes to.
    pub(super) fn translation(kind: Kind, request: Request, model: FaultModel) -> Self {
        let event = Self { class: Class::Input, ..Self::new(kind, request) };
        let response = match model {
            _ if request.translation_only => Response::Abort,
            FaultModel { stalls: true, .. } => Response::Stall,
            FaultModel { aborts: true, .. } => Response::Abort,
            _ => Response::ReadsZero,
        };
        Self { response, recorded: event.recorded && (model.records || model.stalls), ..event }
    }

    /// What could not be fetched, and for what.
    pub(super) fn fetch(kind: Kind, request: Request, class: Class, address: u64) -> Self {
        Self { class, address, ..Self::new(kind, request) }
    }

    /// Whether the request waits for an answer of the program.
    pub fn stalls(&self) -> bool {
        self.response == Response::Stall
    }

    /// The record in the event queue, of a stream; the tag where the request stalls.
    pub fn record(&self, sid: u32, stall: Option<u16>) -> [u64; 4] {
        let head = u64::from(sid) << 32 | self.kind as u64;
        let ssid = u64::from(self.ssid.unwrap_or(0)) << 12;
        let valid = if self.ssid.is_some() { SSV } else { 0 };
        match self.kind {
            // the substream is always valid, and no flag says so
            Kind::BadSubstream => [head | ssid, 0, 0, 0],
            Kind::Off | Kind::BadEntry | Kind::StreamDisabled | Kind::BadDescriptor => {
                [head | ssid | valid, 0, 0, 0]
            }
            Kind::DescriptorFetch => [head | ssid | valid, 0, 0, self.address & FETCHED],
            Kind::BadTranslationRequest => [head | ssid | valid, 0, self.iova, 0],
            Kind::WalkAbort => {
                [head | ssid | valid, self.syndrome(), self.iova, self.address & FETCHED]
            }
            Kind::Translation | Kind::AddressSize | Kind::Access | Kind::Permission => {
                let tag = stall.map_or(0, |tag| STALL | u64::from(tag));
                let ipa = if self.second_stage { self.address & IPA } else { 0 };
                [head | ssid | valid, self.syndrome() | tag, self.iova, ipa]
            }
        }
    }

    /// What was asked for, and where it went wrong.
    fn syndrome(&self) -> u64 {
        let rights = self.access.rights;
        let for_table = self.class == Class::Table && self.kind.is_of_translation();
        let bits = [
            (PRIVILEGED, self.access.privileged),
            // what is written is data
            (INSTRUCTION, rights.contains(Rights::EXECUTE) && !rights.contains(Rights::WRITE)),
            (READ, self.reads()),
            (S2, self.second_stage),
            (TABLE_READ, for_table && !self.table_write),
        ];
        let bits = bits.iter().filter(|(_, set)| *set).fold(0, |all, (bit, _)| all | bit);
        bits | (self.class as u64) << 40
    }

    /// RnW. Where stage 2 refuses a descriptor or a table it tells of that access, as QEMU has it; 7.3.13
    /// would have that of the device.
    fn reads(&self) -> bool {
        let own = self.kind.is_of_translation() && self.class != Class::Input;
        own || !self.access.rights.contains(Rights::WRITE)
    }
}
