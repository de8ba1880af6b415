//! Directories: the contexts of devices and of processes (2.1, 2.2, and 2.3.1 to 2.3.3).
//!
//! No program fills them, and the engine makes the context of Linux's driver itself, so that only tests come
//! here.

use profile::registers::Field;
use profile::registers::riscv::*;
use pt::format::riscv::Stage as Which;
use pt::{Root, TableMemory, Translation};

use super::{Context, Refused, cause};
use crate::hw::request::Request;
use crate::hw::stages::{GuestMemory, Stage, Stop};

type Tables = Stage<pt::format::Riscv>;

/// Registers of an IOMMU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    pub capabilities: u64,
    pub ddtp: u64,
}

/// A device context, as in memory: `tc`, `iohgatp`, `ta`, `fsc`, and with MSI tables four words more.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceContext([u64; 8]);

/// Bits of `tc` (2.1.3.1).
mod tc {
    pub const VALID: u64 = 1;
    pub const ATS: u64 = 1 << 1;
    pub const PRI: u64 = 1 << 2;
    pub const TO_GUEST_PHYSICAL: u64 = 1 << 3;
    pub const SILENT: u64 = 1 << 4;
    pub const PROCESSES: u64 = 1 << 5;
    pub const PASID_IN_RESPONSES: u64 = 1 << 6;
    pub const SECOND_STAGE_MARKS: u64 = 1 << 7;
    pub const FIRST_STAGE_MARKS: u64 = 1 << 8;
    pub const DEFAULT_PROCESS: u64 = 1 << 9;
    pub const BIG_ENDIAN: u64 = 1 << 10;
    pub const SV32: u64 = 1 << 11;
    pub const RESERVED: u64 = 0xffff_ffff_00ff_f000;
}

/// Bits of `ta` of a process context.
mod process {
    pub const VALID: u64 = 1;
    pub const SUPERVISOR: u64 = 1 << 1;
    pub const SEES_USER: u64 = 1 << 2;
    pub const RESERVED: u64 = 0xffff_ffff_0000_0ff8;
}

/// Bits that `ta` of a device context does not have.
const TA_RESERVED: u64 = 0xffff_ffff_0000_0fff;
/// Bits that `fsc` and `msiptp` do not have.
const ATP_RESERVED: u64 = 0x0fff_f000_0000_0000;
/// Bits that entries which lead to a table do not have.
const ENTRY_RESERVED: u64 = 0xffc0_0000_0000_03fe;
/// Bits that masks and patterns of MSI addresses do not have.
const MSI_RESERVED: u64 = 0xfff0_0000_0000_0000;

/// Causes of what a directory of processes refuses (table 11).
const PDT_LOAD: u32 = 265;
const PDT_INVALID: u32 = 266;
const PDT_MISCONFIGURED: u32 = 267;

fn mode(atp: u64) -> u64 {
    atp >> 60
}

fn page(atp: u64) -> u64 {
    (atp & 0x0fff_ffff_ffff) << 12
}

/// Where a table or context that an entry leads to is.
fn next(entry: u64) -> u64 {
    (entry >> 10 & 0x0fff_ffff_ffff) << 12
}

impl Registers {
    /// Finds what a device's requests with a PASID, or those without, are translated by.
    pub fn context<M: TableMemory>(
        self,
        device_id: u32,
        request: Request,
        memory: &M,
    ) -> Result<Context, Refused> {
        const BARE: u64 = 1;
        match self.ddtp & 0xf {
            BARE => Ok(Context::BARE),
            mode @ 2..=4 => {
                let device = self.device_context(mode as u32 - 1, device_id, memory)?;
                let context = device.context(self.capabilities, request, memory);
                context.map_err(|refused| refused.unless_silent(device.is_silent()))
            }
            // off; no other mode can be written
            _ => Err(Refused::new(cause::DMA_DISABLED)),
        }
    }

    /// Translates a request of a device, and marks what it uses.
    pub fn translate<M: TableMemory>(
        self,
        device_id: u32,
        request: Request,
        memory: &M,
    ) -> Result<Translation, Refused> {
        self.context(device_id, request, memory)?.translate(request, memory)
    }

    /// Finds a device's context (2.3.1), in a directory of one to three levels.
    pub(super) fn device_context<M: TableMemory>(
        self,
        levels: u32,
        device_id: u32,
        memory: &M,
    ) -> Result<DeviceContext, Refused> {
        let long = MSI_FLAT.is_set(self.capabilities);
        // bits of the device ID that each level has, from the last
        let split = if long { [6, 9, 9] } else { [7, 9, 8] };
        let below = |level: u32| split[..level as usize].iter().sum::<u32>();
        if u64::from(device_id) >> below(levels) != 0 {
            return Err(Refused::new(cause::DISALLOWED));
        }
        let index =
            |level: u32| u64::from(device_id) >> below(level) & ((1 << split[level as usize]) - 1);
        let mut table = next(self.ddtp);
        for level in (1..levels).rev() {
            let entry =
                memory.load(table + index(level) * 8).map_err(|_| Refused::new(cause::DDT_LOAD))?;
            if entry & 1 == 0 {
                return Err(Refused::new(cause::DDT_INVALID));
            }
            if entry & ENTRY_RESERVED != 0 {
                return Err(Refused::new(cause::DDT_MISCONFIGURED));
            }
            table = next(entry);
        }
        let words = if long { 8 } else { 4 };
        let mut context = [0; 8];
        for (number, word) in context.iter_mut().enumerate().take(words) {
            let at = table + (index(0) * words as u64 + number as u64) * 8;
            *word = memory.load(at).map_err(|_| Refused::new(cause::DDT_LOAD))?;
        }
        let context = DeviceContext(context);
        if context.tc() & tc::VALID == 0 {
            return Err(Refused::new(cause::DDT_INVALID));
        }
        if context.is_misconfigured(self.capabilities) {
            return Err(Refused::new(cause::DDT_MISCONFIGURED));
        }
        Ok(context)
    }
}

impl DeviceContext {
    fn tc(&self) -> u64 {
        self.0[0]
    }

    fn iohgatp(&self) -> u64 {
        self.0[1]
    }

    fn fsc(&self) -> u64 {
        self.0[3]
    }

    fn has(&self, bit: u64) -> bool {
        self.tc() & bit != 0
    }

    /// Whether it breaks a rule of 2.1.4.
    fn is_misconfigured(&self, capabilities: u64) -> bool {
        let lacks = |field: Field| !field.is_set(capabilities);
        let [tc, iohgatp, ta, fsc, msiptp, msi_mask, msi_pattern, reserved] = self.0;
        let has = |bit: u64| tc & bit != 0;
        let malformed = tc & tc::RESERVED
            | ta & TA_RESERVED
            | fsc & ATP_RESERVED
            | msiptp & ATP_RESERVED
            | (msi_mask | msi_pattern) & MSI_RESERVED
            | reserved;
        malformed != 0
            || lacks(ATS) && has(tc::ATS | tc::PRI | tc::PASID_IN_RESPONSES)
            || !has(tc::ATS) && has(tc::TO_GUEST_PHYSICAL | tc::PRI)
            || !has(tc::PRI) && has(tc::PASID_IN_RESPONSES)
            || lacks(T2GPA) && has(tc::TO_GUEST_PHYSICAL)
            || has(tc::TO_GUEST_PHYSICAL) && mode(iohgatp) == 0
            || has(tc::PROCESSES) && !has_processes(capabilities, mode(fsc))
            || !has(tc::PROCESSES) && levels(capabilities, mode(fsc), FIRST_STAGE).is_none()
            || levels(capabilities, mode(iohgatp), SECOND_STAGE).is_none()
            || mode(iohgatp) != 0 && page(iohgatp) & 0x3fff != 0
            || mode(msiptp) > 1
            || mode(msiptp) == 1 && mode(iohgatp) == 0
            || lacks(AMO_HWAD) && has(tc::FIRST_STAGE_MARKS | tc::SECOND_STAGE_MARKS)
            || has(tc::BIG_ENDIAN | tc::SV32)
            || !has(tc::PROCESSES) && has(tc::DEFAULT_PROCESS)
    }

    /// Whether most faults are not recorded (DTF).
    pub(super) fn is_silent(&self) -> bool {
        self.has(tc::SILENT)
    }

    /// Finds what requests of a PASID, or those without, are translated by.
    pub(super) fn context<M: TableMemory>(
        &self,
        capabilities: u64,
        request: Request,
        memory: &M,
    ) -> Result<Context, Refused> {
        let context = Context {
            first: None,
            second: self.second(capabilities),
            supervisor: true,
            silent: self.is_silent(),
        };
        let disallowed = Err(Refused::new(cause::DISALLOWED));
        if !self.has(tc::PROCESSES) {
            return match request.pasid {
                Some(_) => disallowed,
                None => Ok(Context { first: self.first(capabilities, 0, self.fsc()), ..context }),
            };
        }
        // log2 of the processes that each mode has
        let width = [0, 8, 17, 20][mode(self.fsc()) as usize & 3];
        let process_id = match request.pasid {
            Some(id) if width != 0 && id >> width != 0 => return disallowed,
            Some(id) => id,
            None if self.has(tc::DEFAULT_PROCESS) => 0,
            None => return Ok(context),
        };
        if width == 0 {
            return Ok(context);
        }
        let guest = GuestMemory::new(context.second, memory);
        let load = |at: u64| {
            guest.load(at).map_err(|stop| match stop {
                Stop::NoMemory(_) => Refused::new(PDT_LOAD),
                stop => Refused::stopped(stop, request.access(), !3),
            })
        };
        let [ta, fsc] = self.process_context(process_id, capabilities, load)?;
        Ok(Context {
            first: self.first(capabilities, ta, fsc),
            supervisor: ta & process::SUPERVISOR != 0,
            ..context
        })
    }

    /// Finds a process's context (2.3.2), in a directory of one to three levels: `ta` and `fsc`.
    fn process_context(
        &self,
        process_id: u32,
        capabilities: u64,
        load: impl Fn(u64) -> Result<u64, Refused>,
    ) -> Result<[u64; 2], Refused> {
        let index = |level: u32| {
            let (shift, bits) = [(0, 8), (8, 9), (17, 3)][level as usize];
            u64::from(process_id) >> shift & ((1 << bits) - 1)
        };
        let mut table = page(self.fsc());
        for level in (1..mode(self.fsc()) as u32).rev() {
            let entry = load(table + index(level) * 8)?;
            if entry & 1 == 0 {
                return Err(Refused::new(PDT_INVALID));
            }
            if entry & ENTRY_RESERVED != 0 {
                return Err(Refused::new(PDT_MISCONFIGURED));
            }
            table = next(entry);
        }
        let at = table + index(0) * 16;
        let (ta, fsc) = (load(at)?, load(at + 8)?);
        if ta & process::VALID == 0 {
            return Err(Refused::new(PDT_INVALID));
        }
        let malformed = ta & process::RESERVED != 0 || fsc & ATP_RESERVED != 0;
        if malformed || levels(capabilities, mode(fsc), FIRST_STAGE).is_none() {
            return Err(Refused::new(PDT_MISCONFIGURED));
        }
        Ok([ta, fsc])
    }

    /// The first stage's tables.
    fn first(&self, capabilities: u64, ta: u64, fsc: u64) -> Option<Tables> {
        let levels = levels(capabilities, mode(fsc), FIRST_STAGE)?;
        let supervisor_sees_user = ta & process::SEES_USER != 0;
        let format = pt::format::Riscv {
            levels,
            stage: Which::First { supervisor_sees_user },
            marks: self.has(tc::FIRST_STAGE_MARKS),
            ..entries(capabilities)
        };
        (levels > 0).then_some(Stage { format, root: Root(page(fsc)) })
    }

    /// The second stage's tables.
    fn second(&self, capabilities: u64) -> Option<Tables> {
        let levels = levels(capabilities, mode(self.iohgatp()), SECOND_STAGE)?;
        let format = pt::format::Riscv {
            levels,
            stage: Which::Second,
            marks: self.has(tc::SECOND_STAGE_MARKS),
            ..entries(capabilities)
        };
        (levels > 0).then_some(Stage { format, root: Root(page(self.iohgatp())) })
    }
}

const FIRST_STAGE: [Field; 3] = [SV39, SV48, SV57];
const SECOND_STAGE: [Field; 3] = [SV39X4, SV48X4, SV57X4];

/// The levels of a mode, 0 for none at all; nothing where the IOMMU lacks it.
fn levels(capabilities: u64, mode: u64, modes: [Field; 3]) -> Option<u8> {
    match mode {
        0 => Some(0),
        8..=10 => modes[mode as usize - 8].is_set(capabilities).then_some(mode as u8 - 5),
        _ => None,
    }
}

/// Whether a mode of a process directory is there.
fn has_processes(capabilities: u64, mode: u64) -> bool {
    let modes = [PD8, PD17, PD20];
    mode == 0 || modes.get(mode as usize - 1).is_some_and(|field| field.is_set(capabilities))
}

/// What entries may have, by the capabilities.
fn entries(capabilities: u64) -> pt::format::Riscv {
    pt::format::Riscv {
        levels: 0,
        stage: Which::Second,
        marks: false,
        napot: true,
        memory_types: SVPBMT.is_set(capabilities),
        software_bits: SVRSW60T59B.is_set(capabilities),
    }
}
