//! Operands: registers, immediates, addresses.

use iced_x86::{Instruction, OpKind, Register};

use crate::{Cpu, Machine, Made, Trouble};

/// An instruction under way.
pub(crate) struct Step<'a, M> {
    pub instruction: &'a Instruction,
    pub cpu: &'a mut Cpu,
    pub machine: &'a mut M,
}

/// The lowest bits of as many bytes.
pub(crate) const fn low(bytes: usize) -> u64 {
    match bytes {
        0 => 0,
        1..=7 => (1 << (bytes * 8)) - 1,
        _ => u64::MAX,
    }
}

/// A value of so many bytes with its sign in the bits above.
pub(crate) const fn signed(value: u64, bytes: usize) -> u64 {
    let shift = 64 - bytes as u32 * 8;
    ((value << shift).cast_signed() >> shift).cast_unsigned()
}

impl Cpu {
    /// What a register holds; none when it is no general one.
    pub(crate) fn get(&self, register: Register) -> Option<u64> {
        let (number, shift) = place(register)?;
        Some(self.general.get(number)? >> shift & low(register.size()))
    }

    /// Puts a value into a general register. 4 bytes clear the upper half, fewer keep the rest.
    pub(crate) fn set(&mut self, register: Register, value: u64) -> Option<()> {
        let (number, shift) = place(register)?;
        let whole = self.general.get_mut(number)?;
        let mask = low(register.size());
        *whole = match register.size() {
            4 | 8 => value & mask,
            _ => *whole & !(mask << shift) | (value & mask) << shift,
        };
        Some(())
    }
}

/// The number of a general register and the bit that it begins at.
fn place(register: Register) -> Option<(usize, u32)> {
    if !register.is_gpr() {
        return None;
    }
    match register {
        Register::AH => Some((0, 8)),
        Register::CH => Some((1, 8)),
        Register::DH => Some((2, 8)),
        Register::BH => Some((3, 8)),
        _ => Some((register.full_register().number(), 0)),
    }
}

/// The address of a memory operand, of an instruction at `cpu.rip` or before it.
pub(crate) fn address<M: Machine>(
    instruction: &Instruction,
    operand: u32,
    cpu: &Cpu,
    machine: &mut M,
) -> Option<u64> {
    instruction.virtual_address(operand, 0, |register, _, _| match register {
        Register::FS => Some(machine.segment(false)),
        Register::GS => Some(machine.segment(true)),
        Register::ES | Register::CS | Register::SS | Register::DS => Some(0),
        register => cpu.get(register),
    })
}

impl<M: Machine> Step<'_, M> {
    pub fn is_memory(&self, operand: u32) -> bool {
        operand < self.instruction.op_count() && self.instruction.op_kind(operand) == OpKind::Memory
    }

    /// The address of a memory operand.
    pub fn address(&mut self, operand: u32) -> Made<u64, M> {
        address(self.instruction, operand, self.cpu, self.machine).ok_or(Trouble::Unknown)
    }

    /// Bytes of an operand. An immediate is as wide as what it goes with.
    pub fn size(&self, operand: u32) -> usize {
        match self.instruction.op_kind(operand) {
            OpKind::Register => self.instruction.op_register(operand).size(),
            OpKind::Memory => self.instruction.memory_size().size(),
            _ if operand > 0 => self.size(0),
            _ => 8,
        }
    }

    /// The value of an operand of at most 8 bytes.
    pub fn value(&mut self, operand: u32) -> Made<u64, M> {
        let size = self.size(operand);
        match self.instruction.op_kind(operand) {
            OpKind::Register => {
                self.cpu.get(self.instruction.op_register(operand)).ok_or(Trouble::Unknown)
            }
            OpKind::Memory => {
                let at = self.address(operand)?;
                self.load(at, size)
            }
            OpKind::Immediate8
            | OpKind::Immediate8_2nd
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64 => Ok(self.instruction.immediate(operand) & low(size)),
            _ => Err(Trouble::Unknown),
        }
    }

    /// Puts a value of at most 8 bytes into an operand.
    pub fn set_value(&mut self, operand: u32, value: u64) -> Made<(), M> {
        if self.instruction.op_kind(operand) == OpKind::Register {
            let register = self.instruction.op_register(operand);
            return self.cpu.set(register, value).ok_or(Trouble::Unknown);
        }
        let at = self.address(operand)?;
        self.store(at, self.size(operand), value)
    }

    /// Reads at most 8 bytes.
    pub fn load(&mut self, at: u64, size: usize) -> Made<u64, M> {
        let mut bytes = [0; 8];
        let part = bytes.get_mut(..size).ok_or(Trouble::Unknown)?;
        self.machine.load(at, part)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes at most 8 bytes.
    pub fn store(&mut self, at: u64, size: usize, value: u64) -> Made<(), M> {
        let bytes = value.to_le_bytes();
        let part = bytes.get(..size).ok_or(Trouble::Unknown)?;
        Ok(self.machine.store(at, part)?)
    }
}
