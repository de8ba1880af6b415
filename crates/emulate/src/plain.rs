//! Moves, arithmetic, bits, the stack: operands of at most 16 bytes in general registers and memory.

use iced_x86::{ConditionCode, Mnemonic, OpKind, Register};

use crate::alu::{Alu, CARRY, OVERFLOW, PARITY, SIGN, ZERO};
use crate::operand::{Step, low, signed};
use crate::{Machine, Made, Trouble};

const RSP: usize = 4;

impl<M: Machine> Step<'_, M> {
    /// Makes the instruction; false when it is none of these.
    pub fn plain(&mut self) -> Made<bool, M> {
        Ok(self.moves()? || self.arithmetic()? || self.bits()? || self.compound()?)
    }

    fn alu(&self, size: usize) -> Alu {
        Alu { size, flags: self.cpu.flags }
    }

    fn has(&self, flag: u64) -> bool {
        self.cpu.flags & flag != 0
    }

    fn condition(&self) -> bool {
        let less = self.has(SIGN) != self.has(OVERFLOW);
        match self.instruction.condition_code() {
            ConditionCode::o => self.has(OVERFLOW),
            ConditionCode::no => !self.has(OVERFLOW),
            ConditionCode::b => self.has(CARRY),
            ConditionCode::ae => !self.has(CARRY),
            ConditionCode::e => self.has(ZERO),
            ConditionCode::ne => !self.has(ZERO),
            ConditionCode::be => self.has(CARRY | ZERO),
            ConditionCode::a => !self.has(CARRY | ZERO),
            ConditionCode::s => self.has(SIGN),
            ConditionCode::ns => !self.has(SIGN),
            ConditionCode::p => self.has(PARITY),
            ConditionCode::np => !self.has(PARITY),
            ConditionCode::l => less,
            ConditionCode::ge => !less,
            ConditionCode::le => less || self.has(ZERO),
            ConditionCode::g => !less && !self.has(ZERO),
            _ => false,
        }
    }

    fn moves(&mut self) -> Made<bool, M> {
        let mnemonic = self.instruction.mnemonic();
        match mnemonic {
            Mnemonic::Mov | Mnemonic::Movnti | Mnemonic::Movdiri | Mnemonic::Movzx => {
                let value = self.value(1)?;
                self.set_value(0, value)?;
            }
            Mnemonic::Movsx | Mnemonic::Movsxd => {
                let value = signed(self.value(1)?, self.size(1));
                self.set_value(0, value)?;
            }
            Mnemonic::Movbe => {
                let value = self.value(1)?.swap_bytes() >> (64 - 8 * self.size(1));
                self.set_value(0, value)?;
            }
            Mnemonic::Push => return self.push(),
            Mnemonic::Pop => {
                let size = self.size(0);
                let value = self.load(self.cpu.general[RSP], size)?;
                self.cpu.general[RSP] = self.cpu.general[RSP].wrapping_add(size as u64);
                self.set_value(0, value)?;
            }
            _ if self.instruction.condition_code() == ConditionCode::None => return Ok(false),
            _ if self.instruction.is_jcc_short_or_near() => return Ok(false),
            _ if self.instruction.op_count() == 1 => {
                let value = self.condition(); // SETcc
                self.set_value(0, value.into())?;
            }
            _ if self.instruction.op_count() == 2 && self.is_memory(1) => {
                // CMOVcc reads, whatever the condition, and clears the upper half of a 4-byte register
                let (new, old) = (self.value(1)?, self.value(0)?);
                self.set_value(0, if self.condition() { new } else { old })?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn push(&mut self) -> Made<bool, M> {
        let size = match self.instruction.stack_pointer_increment() {
            -8 => 8,
            -2 => 2,
            _ => return Ok(false),
        };
        let value = match self.instruction.op0_kind() {
            OpKind::Register | OpKind::Memory => self.value(0)?,
            _ => self.instruction.immediate(0) & low(size),
        };
        let to = self.cpu.general[RSP].wrapping_sub(size as u64);
        self.store(to, size, value)?;
        self.cpu.general[RSP] = to;
        Ok(true)
    }

    fn arithmetic(&mut self) -> Made<bool, M> {
        let mnemonic = self.instruction.mnemonic();
        let is_two = matches!(
            mnemonic,
            Mnemonic::Add
                | Mnemonic::Adc
                | Mnemonic::Sub
                | Mnemonic::Sbb
                | Mnemonic::Cmp
                | Mnemonic::And
                | Mnemonic::Or
                | Mnemonic::Xor
                | Mnemonic::Test
        );
        let is_one =
            matches!(mnemonic, Mnemonic::Inc | Mnemonic::Dec | Mnemonic::Neg | Mnemonic::Not);
        if !is_two && !is_one {
            return Ok(false);
        }
        let mut alu = self.alu(self.size(0));
        let carry = self.has(CARRY);
        let a = self.value(0)?;
        let b = if is_two { self.value(1)? } else { 0 };
        let result = match mnemonic {
            Mnemonic::Add => alu.add(a, b, false),
            Mnemonic::Adc => alu.add(a, b, carry),
            Mnemonic::Sub | Mnemonic::Cmp => alu.sub(a, b, false),
            Mnemonic::Sbb => alu.sub(a, b, carry),
            Mnemonic::And | Mnemonic::Test => alu.logic(a & b),
            Mnemonic::Or => alu.logic(a | b),
            Mnemonic::Xor => alu.logic(a ^ b),
            Mnemonic::Inc => alu.step(a, true),
            Mnemonic::Dec => alu.step(a, false),
            Mnemonic::Neg => alu.sub(0, a, false),
            _ => !a & low(alu.size),
        };
        if !matches!(mnemonic, Mnemonic::Cmp | Mnemonic::Test) {
            self.set_value(0, result)?;
        }
        self.cpu.flags = alu.flags;
        Ok(true)
    }

    fn bits(&mut self) -> Made<bool, M> {
        let mnemonic = self.instruction.mnemonic();
        match mnemonic {
            Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc => self.bit(mnemonic)?,
            Mnemonic::Shl
            | Mnemonic::Sal
            | Mnemonic::Shr
            | Mnemonic::Sar
            | Mnemonic::Rol
            | Mnemonic::Ror => {
                let size = self.size(0);
                let mut alu = self.alu(size);
                let count = match self.instruction.op1_kind() {
                    OpKind::Register => self.value(1)?,
                    _ => self.instruction.immediate(1),
                };
                let count = count as u32 & if size == 8 { 63 } else { 31 };
                let value = self.value(0)?;
                let result = match mnemonic {
                    Mnemonic::Shr => alu.shift(value, count, false, false),
                    Mnemonic::Sar => alu.shift(value, count, false, true),
                    Mnemonic::Rol => alu.rotate(value, count, true),
                    Mnemonic::Ror => alu.rotate(value, count, false),
                    _ => alu.shift(value, count, true, false),
                };
                self.set_value(0, result)?;
                self.cpu.flags = alu.flags;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A bit of memory. One that a register names may lie anywhere.
    fn bit(&mut self, mnemonic: Mnemonic) -> Made<(), M> {
        let size = self.size(0);
        let bits = size as u64 * 8;
        let (number, is_far) = match self.instruction.op1_kind() {
            OpKind::Register => (self.value(1)?, self.is_memory(0)),
            _ => (self.instruction.immediate(1), false),
        };
        let mask = 1 << (number % bits);
        let far = signed(number, size).cast_signed().div_euclid(bits.cast_signed());
        let place = if is_far {
            Some(self.address(0)?.wrapping_add_signed(far.wrapping_mul(size as i64)))
        } else {
            None
        };
        let old = match place {
            Some(at) => self.load(at, size)?,
            None => self.value(0)?,
        };
        let new = match mnemonic {
            Mnemonic::Bts => old | mask,
            Mnemonic::Btr => old & !mask,
            Mnemonic::Btc => old ^ mask,
            _ => old,
        };
        match place {
            _ if mnemonic == Mnemonic::Bt => {}
            Some(at) => self.store(at, size, new)?,
            None => self.set_value(0, new)?,
        }
        let carry = if old & mask == 0 { 0 } else { CARRY };
        self.cpu.flags = self.cpu.flags & !CARRY | carry;
        Ok(())
    }

    /// What reads, decides, and writes.
    fn compound(&mut self) -> Made<bool, M> {
        match self.instruction.mnemonic() {
            Mnemonic::Xchg => {
                let (a, b) = (self.value(0)?, self.value(1)?);
                // the memory first: nothing has changed when it cannot be written
                let memory = u32::from(self.is_memory(1));
                let (to_memory, to_register) = if memory == 0 { (b, a) } else { (a, b) };
                self.set_value(memory, to_memory)?;
                self.set_value(1 - memory, to_register)?;
            }
            Mnemonic::Xadd => {
                let mut alu = self.alu(self.size(0));
                let (a, b) = (self.value(0)?, self.value(1)?);
                let sum = alu.add(a, b, false);
                self.set_value(0, sum)?;
                if self.is_memory(0) {
                    self.set_value(1, a)?;
                }
                self.cpu.flags = alu.flags;
            }
            Mnemonic::Cmpxchg => {
                let size = self.size(0);
                let mut alu = self.alu(size);
                let (old, new) = (self.value(0)?, self.value(1)?);
                let expected = self.cpu.general[0] & low(size);
                let is_equal = alu.sub(expected, old, false) == 0;
                // memory is written in any case (SDM: "to simplify the interface to the bus")
                self.set_value(0, if is_equal { new } else { old })?;
                if !is_equal {
                    let accumulator = [Register::AL, Register::AX, Register::EAX, Register::RAX];
                    let register = accumulator[size.trailing_zeros() as usize & 3];
                    self.cpu.set(register, old).ok_or(Trouble::Unknown)?;
                }
                self.cpu.flags = alu.flags;
            }
            Mnemonic::Cmpxchg8b => self.compare_pair(4)?,
            Mnemonic::Cmpxchg16b => self.compare_pair(8)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Compares RDX:RAX with memory, and puts RCX:RBX there when they are equal.
    fn compare_pair(&mut self, half: usize) -> Made<(), M> {
        let at = self.address(0)?;
        let mut bytes = [0; 16];
        let bytes = &mut bytes[..2 * half];
        self.machine.load(at, bytes)?;
        let mut words = [0_u64; 2];
        for (word, part) in words.iter_mut().zip(bytes.chunks_exact(half)) {
            let mut wide = [0; 8];
            wide[..half].copy_from_slice(part);
            *word = u64::from_le_bytes(wide);
        }
        let of = |number: usize| self.cpu.general[number] & low(half);
        let is_equal = words == [of(0), of(2)];
        let new = if is_equal { [of(3), of(1)] } else { words };
        for (part, word) in bytes.chunks_exact_mut(half).zip(new) {
            part.copy_from_slice(&word.to_le_bytes()[..half]);
        }
        self.machine.store(at, bytes)?;
        if !is_equal {
            [self.cpu.general[0], self.cpu.general[2]] = words;
        }
        self.cpu.flags = self.cpu.flags & !ZERO | if is_equal { ZERO } else { 0 };
        Ok(())
    }
}
