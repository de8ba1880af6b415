//! Moves of vector registers: SSE, AVX, AVX-512.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use crate::operand::Step;
use crate::{Machine, Made, Trouble, Vector};

/// What a move does with the rest of the register that it goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Legacy SSE: zeros up to 16 bytes, what was there above.
    Legacy,
    /// Zeros (VEX, EVEX).
    Zeros,
}

/// The number of a vector register.
fn number(register: Register) -> Option<usize> {
    register.is_vector_register().then(|| register.number())
}

/// Whether it moves as many bytes as its memory operand has, and what becomes of the rest.
fn plain_move(mnemonic: Mnemonic) -> Option<Rest> {
    Some(match mnemonic {
        Mnemonic::Movups
        | Mnemonic::Movupd
        | Mnemonic::Movaps
        | Mnemonic::Movapd
        | Mnemonic::Movdqu
        | Mnemonic::Movdqa
        | Mnemonic::Lddqu
        | Mnemonic::Movntdq
        | Mnemonic::Movntdqa
        | Mnemonic::Movntps
        | Mnemonic::Movntpd
        | Mnemonic::Movss
        | Mnemonic::Movsd
        | Mnemonic::Movd
        | Mnemonic::Movq => Rest::Legacy,
        Mnemonic::Vmovups
        | Mnemonic::Vmovupd
        | Mnemonic::Vmovaps
        | Mnemonic::Vmovapd
        | Mnemonic::Vmovdqu
        | Mnemonic::Vmovdqa
        | Mnemonic::Vmovdqu8
        | Mnemonic::Vmovdqu16
        | Mnemonic::Vmovdqu32
        | Mnemonic::Vmovdqu64
        | Mnemonic::Vmovdqa32
        | Mnemonic::Vmovdqa64
        | Mnemonic::Vlddqu
        | Mnemonic::Vmovntdq
        | Mnemonic::Vmovntdqa
        | Mnemonic::Vmovntps
        | Mnemonic::Vmovntpd
        | Mnemonic::Vmovss
        | Mnemonic::Vmovsd
        | Mnemonic::Vmovd
        | Mnemonic::Vmovq => Rest::Zeros,
        _ => return None,
    })
}

/// Where in the register the bytes begin that are stored.
fn extracted(instruction: &Instruction, size: usize) -> Option<usize> {
    let lane = || Some(instruction.immediate(2) as usize * size);
    match instruction.mnemonic() {
        Mnemonic::Movlps | Mnemonic::Movlpd | Mnemonic::Vmovlps | Mnemonic::Vmovlpd => Some(0),
        Mnemonic::Movhps | Mnemonic::Movhpd | Mnemonic::Vmovhps | Mnemonic::Vmovhpd => Some(8),
        Mnemonic::Pextrb
        | Mnemonic::Pextrw
        | Mnemonic::Pextrd
        | Mnemonic::Pextrq
        | Mnemonic::Vpextrb
        | Mnemonic::Vpextrw
        | Mnemonic::Vpextrd
        | Mnemonic::Vpextrq
        | Mnemonic::Extractps
        | Mnemonic::Vextractps => lane().map(|at| at % 16),
        Mnemonic::Vextractf128
        | Mnemonic::Vextracti128
        | Mnemonic::Vextractf32x4
        | Mnemonic::Vextractf64x2
        | Mnemonic::Vextracti32x4
        | Mnemonic::Vextracti64x2
        | Mnemonic::Vextractf32x8
        | Mnemonic::Vextractf64x4
        | Mnemonic::Vextracti32x8
        | Mnemonic::Vextracti64x4 => {
            lane().map(|at| at % instruction.op1_register().size().max(size))
        }
        _ => None,
    }
}

impl<M: Machine> Step<'_, M> {
    /// Makes the instruction; false when it is none of these.
    pub fn vector(&mut self) -> Made<bool, M> {
        let mnemonic = self.instruction.mnemonic();
        if mnemonic == Mnemonic::Movsd && self.instruction.op0_kind() == OpKind::MemoryESRDI {
            return Ok(false);
        }
        if let Some(rest) = plain_move(mnemonic) {
            if self.is_memory(0) && self.instruction.op_count() == 2 {
                return self.store_vector(0).map(|()| true);
            }
            if self.is_memory(1) && self.instruction.op_count() == 2 {
                return self.load_vector(rest).map(|()| true);
            }
            return Ok(false);
        }
        match mnemonic {
            Mnemonic::Vmaskmovps | Mnemonic::Vpmaskmovd => self.store_by_signs(4),
            Mnemonic::Vmaskmovpd | Mnemonic::Vpmaskmovq => self.store_by_signs(8),
            _ if self.is_memory(0) => {
                let size = self.instruction.memory_size().size();
                let Some(start) = extracted(self.instruction, size) else { return Ok(false) };
                self.store_vector(start).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// Stores what the second operand holds from a byte on.
    fn store_vector(&mut self, start: usize) -> Made<(), M> {
        let size = self.instruction.memory_size().size();
        let register = self.instruction.op1_register();
        let whole = match number(register) {
            Some(number) => self.machine.vector(number),
            // MOVD and MOVQ of a general register have no memory in the first place
            None => return Err(Trouble::Unknown),
        };
        let bytes = whole.get(start..start + size).ok_or(Trouble::Unknown)?;
        let at = self.address(0)?;
        match self.chosen()? {
            None => Ok(self.machine.store(at, bytes)?),
            Some((mask, element)) => self.store_chosen(at, bytes, mask, element),
        }
    }

    /// The elements that an opmask chooses, a bit each, and their size; none without.
    fn chosen(&mut self) -> Made<Option<(u64, usize)>, M> {
        let register = self.instruction.op_mask();
        if register == Register::None {
            return Ok(None);
        }
        let element = self.instruction.memory_size().element_size();
        if element == 0 {
            return Err(Trouble::Unknown);
        }
        Ok(Some((self.machine.mask(register.number()), element)))
    }

    fn store_chosen(&mut self, at: u64, bytes: &[u8], mask: u64, element: usize) -> Made<(), M> {
        for (index, part) in bytes.chunks(element).enumerate() {
            if mask >> index & 1 == 1 {
                self.machine.store(at.wrapping_add((index * element) as u64), part)?;
            }
        }
        Ok(())
    }

    fn load_vector(&mut self, rest: Rest) -> Made<(), M> {
        let size = self.instruction.memory_size().size();
        let to = number(self.instruction.op0_register()).ok_or(Trouble::Unknown)?;
        let at = self.address(1)?;
        let mut new: Vector = [0; 64];
        let old = self.machine.vector(to);
        match self.chosen()? {
            None => self.machine.load(at, new.get_mut(..size).ok_or(Trouble::Unknown)?)?,
            Some((mask, element)) => {
                let parts = new.chunks_mut(element).zip(old.chunks(element));
                for (index, (new, old)) in parts.take(size / element).enumerate() {
                    if mask >> index & 1 == 1 {
                        self.machine.load(at.wrapping_add((index * element) as u64), new)?;
                    } else if !self.instruction.zeroing_masking() {
                        new.copy_from_slice(old);
                    }
                }
            }
        }
        if rest == Rest::Legacy {
            new[16..].copy_from_slice(&old[16..]);
        }
        self.machine.set_vector(to, &new);
        Ok(())
    }

    /// Stores the elements whose mask has its highest bit set.
    fn store_by_signs(&mut self, element: usize) -> Made<bool, M> {
        if !self.is_memory(0) {
            return Ok(false);
        }
        let register = |index| number(self.instruction.op_register(index)).ok_or(Trouble::Unknown);
        let (mask, from) = (register(1)?, register(2)?);
        let (mask, from) = (self.machine.vector(mask), self.machine.vector(from));
        let size = self.instruction.memory_size().size();
        let bytes = from.get(..size).ok_or(Trouble::Unknown)?;
        let signs = mask.chunks(element).enumerate().fold(0, |bits, (index, part)| {
            bits | u64::from(part.last().is_some_and(|byte| byte & 0x80 != 0)) << index
        });
        let at = self.address(0)?;
        self.store_chosen(at, bytes, signs, element)?;
        Ok(true)
    }
}
