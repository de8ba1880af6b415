//! `MOVDIR64B`, `ENQCMD`, `ENQCMDS`: 64 bytes in one store.

use iced_x86::{Code, Instruction, OpKind};

use crate::alu::{ADJUST, CARRY, OVERFLOW, PARITY, SIGN, ZERO};
use crate::operand::{Step, address};
use crate::{Cpu, Machine, Made, Trouble};

/// Where the 64 bytes go: the first operand is a register that holds the address.
fn place(instruction: &Instruction, cpu: &Cpu) -> Option<u64> {
    (instruction.op_kind(0) == OpKind::Register)
        .then(|| cpu.get(instruction.op_register(0)))
        .flatten()
}

/// See [`crate::portal`].
pub(crate) fn target<M: Machine>(
    instruction: &Instruction,
    cpu: &Cpu,
    machine: &mut M,
) -> Option<u64> {
    match instruction.code() {
        Code::Movdir64b_r32_m512
        | Code::Movdir64b_r64_m512
        | Code::Enqcmd_r32_m512
        | Code::Enqcmd_r64_m512
        | Code::Enqcmds_r32_m512
        | Code::Enqcmds_r64_m512 => place(instruction, cpu),
        Code::Movdiri_m32_r32 | Code::Movdiri_m64_r64 => address(instruction, 0, cpu, machine),
        _ => None,
    }
}

/// Bit 31 of a command tells that its sender is privileged; `ENQCMD` clears it.
const PRIVILEGED: u8 = 0x80;

impl<M: Machine> Step<'_, M> {
    /// Makes the instruction; false when it is none of these.
    ///
    /// The PASID of a command is the one in memory, since there is no `IA32_PASID` that would replace it.
    pub fn portal(&mut self) -> Made<bool, M> {
        let (enqueues, by_user) = match self.instruction.code() {
            Code::Movdir64b_r32_m512 | Code::Movdir64b_r64_m512 => (false, true),
            Code::Enqcmd_r32_m512 | Code::Enqcmd_r64_m512 => (true, true),
            Code::Enqcmds_r32_m512 | Code::Enqcmds_r64_m512 => (true, false),
            _ => return Ok(false),
        };
        let to = place(self.instruction, self.cpu).ok_or(Trouble::Unknown)?;
        if !to.is_multiple_of(64) {
            return Err(Trouble::Unknown); // a general protection fault of the program's own
        }
        let mut bytes = [0; 64];
        let from = self.address(1)?;
        self.machine.load(from, &mut bytes)?;
        if !enqueues {
            self.machine.store(to, &bytes)?;
            return Ok(true);
        }
        if by_user {
            bytes[3] &= !PRIVILEGED;
        }
        let accepted = self.machine.enqueue(to, &bytes)?;
        self.cpu.flags &= !(CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW);
        if !accepted {
            self.cpu.flags |= ZERO;
        }
        Ok(true)
    }
}
