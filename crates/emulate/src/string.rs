//! `MOVS`, `STOS`, `LODS`, with their repetitions.

use iced_x86::{Mnemonic, OpKind, Register};

use crate::alu::DIRECTION;
use crate::operand::{Step, low};
use crate::{Machine, Made, Trouble};

/// How many elements are made at a time. Then the instruction is met again, so that signals get in between.
const AT_ONCE: u32 = 256;

/// An instruction on elements.
#[derive(Clone, Copy)]
struct Elements {
    size: usize,
    reads: bool,
    writes: bool,
}

impl<M: Machine> Step<'_, M> {
    /// Makes the instruction; false when it is none of these.
    pub fn string(&mut self) -> Made<bool, M> {
        let elements = |size, reads, writes| Elements { size, reads, writes };
        let elements = match self.instruction.mnemonic() {
            Mnemonic::Movsb => elements(1, true, true),
            Mnemonic::Movsw => elements(2, true, true),
            Mnemonic::Movsd if self.instruction.op1_kind() != OpKind::Register => {
                elements(4, true, true)
            }
            Mnemonic::Movsq => elements(8, true, true),
            Mnemonic::Stosb => elements(1, false, true),
            Mnemonic::Stosw => elements(2, false, true),
            Mnemonic::Stosd => elements(4, false, true),
            Mnemonic::Stosq => elements(8, false, true),
            Mnemonic::Lodsb => elements(1, true, false),
            Mnemonic::Lodsw => elements(2, true, false),
            Mnemonic::Lodsd => elements(4, true, false),
            Mnemonic::Lodsq => elements(8, true, false),
            _ => return Ok(false),
        };
        let Some([count, source, target]) = self.string_registers() else { return Ok(false) };
        if !self.instruction.has_rep_prefix() && !self.instruction.has_repne_prefix() {
            self.element(elements, source, target)?;
            return Ok(true);
        }
        let again = self.instruction.ip();
        for made in 0..AT_ONCE {
            let left = self.register(count)?;
            if left == 0 {
                return Ok(true);
            }
            match self.element(elements, source, target) {
                // what is made is made: the fault comes again, at the element that has it
                Err(Trouble::Fault(_)) if made > 0 => break,
                result => result?,
            }
            self.cpu.set(count, left - 1).ok_or(Trouble::Unknown)?;
        }
        if self.register(count)? != 0 {
            self.cpu.rip = again;
        }
        Ok(true)
    }

    /// The registers of count, source and target, as wide as addresses are here.
    fn string_registers(&self) -> Option<[Register; 3]> {
        let kinds = (0..self.instruction.op_count()).map(|index| self.instruction.op_kind(index));
        kinds.into_iter().find_map(|kind| match kind {
            OpKind::MemoryESRDI | OpKind::MemorySegRSI => {
                Some([Register::RCX, Register::RSI, Register::RDI])
            }
            OpKind::MemoryESEDI | OpKind::MemorySegESI => {
                Some([Register::ECX, Register::ESI, Register::EDI])
            }
            _ => None,
        })
    }

    fn register(&self, register: Register) -> Made<u64, M> {
        self.cpu.get(register).ok_or(Trouble::Unknown)
    }

    fn element(&mut self, it: Elements, source: Register, target: Register) -> Made<(), M> {
        let step = |at: u64, flags: u64| match flags & DIRECTION {
            0 => at.wrapping_add(it.size as u64),
            _ => at.wrapping_sub(it.size as u64),
        };
        let (from, to) = (self.register(source)?, self.register(target)?);
        let value = if it.reads {
            let base = match self.instruction.memory_segment() {
                Register::FS => self.machine.segment(false),
                Register::GS => self.machine.segment(true),
                _ => 0,
            };
            self.load(base.wrapping_add(from), it.size)?
        } else {
            self.cpu.general[0] & low(it.size)
        };
        if it.writes {
            self.store(to, it.size, value)?;
            self.cpu.set(target, step(to, self.cpu.flags)).ok_or(Trouble::Unknown)?;
        } else {
            let whole = [Register::AL, Register::AX, Register::EAX, Register::RAX];
            let register = whole[it.size.trailing_zeros() as usize];
            self.cpu.set(register, value).ok_or(Trouble::Unknown)?;
        }
        if it.reads {
            self.cpu.set(source, step(from, self.cpu.flags)).ok_or(Trouble::Unknown)?;
        }
        Ok(())
    }
}
