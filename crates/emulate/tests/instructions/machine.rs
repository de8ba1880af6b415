//! A machine that writes down what an instruction does to it.

use std::fmt;

use emulate::{Cpu, Machine, Trouble, Vector};

/// Where its memory is, which is filled with the low bytes of its addresses, and where that ends.
pub const MEMORY: u64 = 0x1000;
pub const END: u64 = 0x3000;
/// Where FS and GS begin.
pub const FS: u64 = 0x1800;
pub const GS: u64 = 0x1c00;
/// Where instructions are.
pub const CODE: u64 = 0x40_0000;

/// An access.
#[derive(Clone, PartialEq, Eq)]
pub enum Access {
    Load(u64, usize),
    Store(u64, Vec<u8>),
    Enqueue(u64, Vec<u8>),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(at, size) => write!(f, "load {size} at {at:#x}"),
            Self::Store(at, bytes) => write!(f, "store {bytes:02x?} at {at:#x}"),
            Self::Enqueue(at, bytes) => write!(f, "enqueue {bytes:02x?} at {at:#x}"),
        }
    }
}

/// A store of a number's lowest bytes.
pub fn store(at: u64, size: usize, value: u64) -> Access {
    Access::Store(at, value.to_le_bytes()[..size].to_vec())
}

/// It is in no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nowhere(pub u64);

pub struct Test {
    pub cpu: Cpu,
    pub memory: Vec<u8>,
    pub vectors: [Vector; 32],
    pub masks: [u64; 8],
    pub accepts: bool,
    pub accesses: Vec<Access>,
}

impl Test {
    /// General registers hold addresses, the vector register N holds N * 16 and on.
    pub fn new() -> Self {
        let mut cpu = Cpu { rip: CODE, flags: 0x202, ..Cpu::default() };
        for (number, register) in cpu.general.iter_mut().enumerate() {
            *register = 0x1111_1111_0000_1000 + number as u64 * 0x100;
        }
        for number in [3, 4, 5, 6, 7, 12, 13] {
            cpu.general[number] &= 0xffff; // bases
        }
        let vectors =
            std::array::from_fn(|number| std::array::from_fn(|index| (number * 16 + index) as u8));
        Self {
            cpu,
            memory: (MEMORY..END).map(|at| at as u8).collect(),
            vectors,
            masks: [u64::MAX, 0b1010_0101, 0, 0, 0, 0, 0, 0],
            accepts: true,
            accesses: Vec::new(),
        }
    }

    pub fn step(&mut self, code: &[u8]) -> Result<(), Trouble<Nowhere>> {
        let mut cpu = self.cpu;
        let result = emulate::step(code, &mut cpu, self);
        if result.is_err() {
            assert_eq!(cpu, self.cpu, "a register has changed");
        }
        self.cpu = cpu;
        result
    }

    fn place(&mut self, at: u64, size: usize) -> Result<&mut [u8], Nowhere> {
        let start = at.checked_sub(MEMORY).ok_or(Nowhere(at))? as usize;
        let end = start.checked_add(size).ok_or(Nowhere(at))?;
        self.memory.get_mut(start..end).ok_or(Nowhere(at))
    }
}

impl Machine for Test {
    type Fault = Nowhere;

    fn load(&mut self, at: u64, to: &mut [u8]) -> Result<(), Nowhere> {
        to.copy_from_slice(self.place(at, to.len())?);
        self.accesses.push(Access::Load(at, to.len()));
        Ok(())
    }

    fn store(&mut self, at: u64, from: &[u8]) -> Result<(), Nowhere> {
        assert!(!from.is_empty() && from.len() <= 64);
        self.place(at, from.len())?.copy_from_slice(from);
        self.accesses.push(Access::Store(at, from.to_vec()));
        Ok(())
    }

    fn enqueue(&mut self, at: u64, command: &[u8; 64]) -> Result<bool, Nowhere> {
        self.place(at, 64)?;
        self.accesses.push(Access::Enqueue(at, command.to_vec()));
        Ok(self.accepts)
    }

    fn segment(&mut self, gs: bool) -> u64 {
        if gs { GS } else { FS }
    }

    fn vector(&mut self, number: usize) -> Vector {
        self.vectors[number]
    }

    fn set_vector(&mut self, number: usize, value: &Vector) {
        self.vectors[number] = *value;
    }

    fn mask(&mut self, number: usize) -> u64 {
        self.masks[number]
    }
}
