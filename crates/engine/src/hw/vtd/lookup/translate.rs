//! What a PASID entry makes of a request: its stages, and what their faults are called.

use profile::registers::vtd::*;
use pt::format::{VtdSecondStage, X86_64};
use pt::{
    Access, Fault, Format, Nested, NestedFault, Reason, Rights, Root, TableMemory, Translation,
    walk,
};

use super::pasid::{Kind, PasidEntry};
use super::{Refused, Registers, low_bits, reason};
use crate::hw::request::Request;
use crate::hw::vtd::MESSAGES;
use crate::tables::{Direct, HostFormat};

impl PasidEntry {
    /// Translates a request, and marks what it uses.
    ///
    /// The page that is told has neither interrupt addresses among its inputs nor among its outputs, so
    /// that it can be cached; and it grants privileged requests, and execution, only what the entry
    /// does.
    pub fn translate<M: TableMemory>(
        &self,
        registers: Registers,
        request: Request,
        memory: &M,
    ) -> Result<Translation, Refused> {
        if request.pasid.is_none() && MESSAGES.contains(&request.iova) {
            return Err(Refused::new(reason::MESSAGE, request, false));
        }
        let found = self
            .check(registers, request)
            .and_then(|kind| self.translate_as(kind, registers, request, memory));
        match found.and_then(|found| clear_of_messages(request.iova, found)) {
            Ok(found) => Ok(self.limit(found, request)),
            Err(reason) => Err(Refused::new(reason, request, self.hides(reason))),
        }
    }

    /// The tables that alone decide about reading and writing without privilege, if the entry has one
    /// stage and is valid.
    pub fn direct(&self, registers: Registers) -> Option<Direct> {
        let access = Access::READ;
        let plain = Request { pasid: None, iova: 0, access, translation_only: false };
        let (format, root) = match self.check(registers, plain).ok()? {
            Kind::First => (HostFormat::X86_64(self.first_format(registers)), self.first_root()),
            Kind::Second => {
                (HostFormat::VtdSecondStage(self.second_format(registers)), self.second_root())
            }
            Kind::Nested | Kind::PassThrough => return None,
        };
        Some(Direct { format, root: Root(root), except: Some(MESSAGES) })
    }

    fn translate_as<M: TableMemory>(
        &self,
        kind: Kind,
        registers: Registers,
        request: Request,
        memory: &M,
    ) -> Result<Translation, u8> {
        if MESSAGES.contains(&request.iova) {
            return Err(reason::INTERRUPT_ADDRESS);
        }
        let (input, access) = (request.iova, effective(request));
        let tables = Tables { memory, snooped: self.walks_snoop() };
        let format = self.second_format(registers);
        let root = Root(self.second_root());
        let second = |input| {
            // rights of the second stage are the same with privilege
            walk(&format, root, input, Access { privileged: false, ..access }, &tables)
                .map_err(|fault| second_fault(fault, format.top()))
        };
        match kind {
            Kind::First => self.translate_first(registers, input, access, &tables),
            Kind::Second => second(input),
            Kind::Nested => {
                let guest = Nested::new(format, root, &tables);
                let first = self.translate_first(registers, input, access, &guest)?;
                Ok(first.then(&second(first.address)?))
            }
            Kind::PassThrough if input > low_bits(registers.address_bits) => {
                Err(reason::OUTPUT_BEYOND)
            }
            Kind::PassThrough => {
                let order = registers.address_bits as u8;
                Ok(Translation { order, ..Translation::identity(input) })
            }
        }
    }

    fn translate_first<M: TableMemory<Error: EntryFault>>(
        &self,
        registers: Registers,
        input: u64,
        access: Access,
        memory: &M,
    ) -> Result<Translation, u8> {
        let format = self.first_format(registers);
        // of second-stage faults it is told in their own terms, which need the level of their root
        let second_top = self.second_levels().saturating_sub(1);
        walk(&format, Root(self.first_root()), input, access, memory).map_err(|fault| match fault {
            Fault::Refused { reason, .. } => first_refusal(reason),
            Fault::Contended { .. } => reason::FIRST_NOT_MARKED,
            Fault::Load { error, level } => {
                error.reason(Use::Load { root: level == format.top() }, second_top)
            }
            Fault::Store { error, .. } => error.reason(Use::Mark, second_top),
            Fault::Target(error) => error.reason(Use::Load { root: false }, second_top),
        })
    }

    fn first_format(&self, registers: Registers) -> X86_64 {
        X86_64 {
            levels: self.first_levels(),
            address_bits: registers.address_bits,
            gigabyte_pages: FS1GP.is_set(registers.cap),
            write_protect: self.protects_from_supervisors(),
            extended_accessed: self.marks_extended(),
        }
    }

    fn second_format(&self, registers: Registers) -> VtdSecondStage {
        let levels = self.second_levels();
        let width = 12 + 9 * u32::from(levels);
        VtdSecondStage {
            levels,
            input_bits: width.min(MGAW.of(registers.cap) as u32 + 1),
            address_bits: registers.address_bits,
            // the highest bit: 2 MiB, 1 GiB
            largest: match SSLPS.of(registers.cap) & 3 {
                0 => 0,
                1 => 1,
                _ => 2,
            },
            snoop: SC.is_set(registers.ecap),
            marks: self.second_marks(),
        }
    }

    /// Takes away what later requests of the kind would not be let do.
    fn limit(&self, found: Translation, request: Request) -> Translation {
        let mut grant = found.grant;
        if request.pasid.is_none() {
            let reads = grant.user.contains(Rights::READ);
            grant.user.set(Rights::EXECUTE, reads);
            grant.privileged = grant.user;
        } else {
            if !self.lets_supervisors() {
                grant.privileged = Rights::empty();
            }
            if !self.lets_execute() {
                grant.user.remove(Rights::EXECUTE);
                grant.privileged.remove(Rights::EXECUTE);
            }
        }
        Translation { grant, ..found }
    }
}

/// What is asked of pages: privilege and execution go with a PASID.
fn effective(request: Request) -> Access {
    let mut access = request.access;
    if request.pasid.is_none() {
        access.privileged = false;
        if access.rights.contains(Rights::EXECUTE) {
            access.rights.remove(Rights::EXECUTE);
            access.rights.insert(Rights::READ);
        }
    }
    access
}

/// The same for a page without interrupt addresses, which cannot be translated, nor translated to.
fn clear_of_messages(input: u64, found: Translation) -> Result<Translation, u8> {
    if MESSAGES.contains(&found.address) {
        return Err(reason::INTERRUPT_ADDRESS);
    }
    let mut clear = found;
    let has_messages = |address: u64, order: u8| {
        let mask = low_bits(order.into());
        address & !mask <= *MESSAGES.end() && address | mask >= *MESSAGES.start()
    };
    while has_messages(input, clear.order) || has_messages(clear.address, clear.order) {
        clear.order -= 1;
    }
    Ok(clear)
}

/// Memory as the unit reaches tables.
#[derive(Clone, Copy)]
struct Tables<'m, M> {
    memory: &'m M,
    /// Without, entries cannot be marked.
    snooped: bool,
}

/// Why an entry of a table cannot be had.
#[derive(Clone, Copy, Debug)]
enum TableFault {
    /// There is no memory.
    Memory,
    /// It was to be marked.
    Unsnooped,
}

impl<M: TableMemory> TableMemory for Tables<'_, M> {
    type Error = TableFault;

    fn load(&self, address: u64) -> Result<u64, TableFault> {
        self.memory.load(address).map_err(|_| TableFault::Memory)
    }

    fn swap(&self, address: u64, old: u64, new: u64) -> Result<bool, TableFault> {
        if !self.snooped {
            return Err(TableFault::Unsnooped);
        }
        self.memory.swap(address, old, new).map_err(|_| TableFault::Memory)
    }
}

/// For what an entry of the first stage was wanted.
#[derive(Clone, Copy)]
enum Use {
    Load {
        /// Whether it is in the root table.
        root: bool,
    },
    Mark,
}

/// What it is called that an entry of the first stage cannot be had.
trait EntryFault {
    fn reason(self, wanted: Use, second_top: u8) -> u8;
}

impl EntryFault for TableFault {
    fn reason(self, wanted: Use, _second_top: u8) -> u8 {
        match (self, wanted) {
            (Self::Unsnooped, _) => reason::FIRST_UNSNOOPED,
            (Self::Memory, Use::Load { root: true }) => reason::FIRST_ROOT_LOAD,
            (Self::Memory, Use::Load { root: false }) => reason::FIRST_LOAD,
            (Self::Memory, Use::Mark) => reason::FIRST_NOT_MARKED,
        }
    }
}

impl EntryFault for NestedFault<TableFault> {
    fn reason(self, wanted: Use, second_top: u8) -> u8 {
        use Reason::{Input, NotPresent, Privilege};
        match (self.fault, wanted) {
            (Fault::Target(error), _) => error.reason(wanted, second_top),
            (Fault::Refused { reason: Input, .. }, _) => reason::FIRST_ENTRY_BEYOND,
            (Fault::Refused { reason: NotPresent | Privilege | Reason::Rights(_), .. }, wanted) => {
                match wanted {
                    Use::Load { root: true } => reason::FIRST_ROOT_NO_READ,
                    Use::Load { root: false } => reason::FIRST_ENTRY_NO_READ,
                    Use::Mark => reason::FIRST_ENTRY_NO_WRITE,
                }
            }
            (fault, _) => second_fault(fault, second_top),
        }
    }
}

fn first_refusal(refusal: Reason) -> u8 {
    match refusal {
        Reason::Input => reason::NOT_CANONICAL,
        Reason::NotPresent => reason::FIRST_NOT_PRESENT,
        Reason::Reserved | Reason::Output | Reason::Unmarked => reason::FIRST_RESERVED,
        Reason::Privilege => reason::USER,
        Reason::Rights(denied) => denied_reason(denied),
    }
}

fn second_fault(fault: Fault<TableFault>, top: u8) -> u8 {
    match fault {
        Fault::Refused { reason: refusal, .. } => match refusal {
            Reason::Input => reason::SECOND_INPUT_BEYOND,
            Reason::NotPresent => reason::SECOND_NOT_PRESENT,
            Reason::Reserved | Reason::Output | Reason::Unmarked => reason::SECOND_RESERVED,
            Reason::Privilege => reason::NO_READ,
            Reason::Rights(denied) => denied_reason(denied),
        },
        Fault::Load { level, .. } if level == top => reason::SECOND_ROOT_LOAD,
        Fault::Store { error: TableFault::Unsnooped, .. } => reason::SECOND_UNSNOOPED,
        _ => reason::SECOND_LOAD,
    }
}

fn denied_reason(denied: Rights) -> u8 {
    match denied {
        denied if denied.contains(Rights::WRITE) => reason::NO_WRITE,
        denied if denied.contains(Rights::READ) => reason::NO_READ,
        _ => reason::NO_EXECUTE,
    }
}
