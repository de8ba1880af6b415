//! One instruction of x86-64, made by hand: what a store to a device's registers is made of.
//!
//! A program's store to a BAR faults, and whoever takes the fault has the bytes of the instruction and
//! the registers. [`step`] makes what the instruction does: its accesses in program order, by a
//! [`Machine`], then its registers and flags.
//!
//! | module | makes |
//! |---|---|
//! | [`operand`] | operands: registers, immediates, addresses |
//! | [`plain`] | moves, arithmetic, bits, the stack |
//! | [`alu`] | results and flags |
//! | [`string`] | `MOVS`, `STOS`, `LODS`, with their repetitions |
//! | [`vector`] | moves of vector registers |
//! | [`portal`] | `MOVDIR64B`, `ENQCMD`, `ENQCMDS` |
//!
//! Decoding is `iced-x86`. It builds its tables on first use, in allocated memory: [`prepare`] does that
//! where allocating is allowed. After it, nothing here allocates, locks, or panics, so all of it may run
//! in a signal handler.
//!
//! Where the manual leaves flags undefined, they stay as they were.
//!
//! *What it doesn't do*: x87 and MMX, segment registers, `XSAVE` and its kind, gathers and scatters,
//! arithmetic on vectors; keep `LOCK` atomic (a device has no such accesses); the faults that an
//! instruction raises by itself.
//!
//! Manual: Intel SDM volume 2 (instructions), volume 1 chapter 3 (flags, addresses).

#![forbid(unsafe_code)]

mod alu;
mod operand;
mod plain;
mod portal;
mod string;
mod vector;

use iced_x86::{Decoder, DecoderOptions, Instruction};

/// The longest instruction, in bytes.
pub const LONGEST: usize = 15;

/// A vector register, whole. What a processor has less is zeros.
pub type Vector = [u8; 64];

/// General registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// By their numbers in instructions: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub general: [u64; 16],
    /// Where the instruction is; behind it afterwards.
    pub rip: u64,
    /// RFLAGS
    pub flags: u64,
}

/// The rest of the machine that an instruction is made on.
pub trait Machine {
    /// Why an access is not made.
    type Fault;

    /// Reads memory: one access of the program.
    fn load(&mut self, at: u64, to: &mut [u8]) -> Result<(), Self::Fault>;

    /// Writes memory: one access of the program, of 64 bytes at most.
    fn store(&mut self, at: u64, from: &[u8]) -> Result<(), Self::Fault>;

    /// Gives a device a command (`ENQCMD`); whether it was accepted.
    fn enqueue(&mut self, at: u64, command: &[u8; 64]) -> Result<bool, Self::Fault>;

    /// Where a segment begins: of FS, or of GS.
    fn segment(&mut self, gs: bool) -> u64;

    /// A vector register, by its number from 0 to 31.
    fn vector(&mut self, number: usize) -> Vector;

    /// Changes a vector register.
    fn set_vector(&mut self, number: usize, value: &Vector);

    /// An opmask register, by its number from 0 to 7.
    fn mask(&mut self, number: usize) -> u64;
}

/// Why an instruction was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble<F> {
    /// It is none of those that are made here. Nothing was done.
    Unknown,
    /// An access was not made. No register has changed; accesses before it were made.
    Fault(F),
}

impl<F> From<F> for Trouble<F> {
    fn from(fault: F) -> Self {
        Self::Fault(fault)
    }
}

/// What comes of a part of an instruction.
type Made<T, M> = Result<T, Trouble<<M as Machine>::Fault>>;

/// Builds the decoder's tables. It allocates.
pub fn prepare() {
    let _ = decode(&[0x90], 0);
}

/// How long the instruction is, as far as these bytes tell.
pub fn length(code: &[u8]) -> Option<usize> {
    decode(code, 0).map(|instruction| instruction.len())
}

/// The address that an instruction stores 64 bytes or a command at, if it is one of those that a processor
/// may not have (`MOVDIR64B`, `ENQCMD`, `ENQCMDS`, `MOVDIRI`).
pub fn portal<M: Machine>(code: &[u8], cpu: &Cpu, machine: &mut M) -> Option<u64> {
    portal::target(&decode(code, cpu.rip)?, cpu, machine)
}

/// Makes the instruction that begins with these bytes, at `cpu.rip`.
///
/// A repeated one is made for a while only, and `cpu.rip` stays at it until it is done.
pub fn step<M: Machine>(
    code: &[u8],
    cpu: &mut Cpu,
    machine: &mut M,
) -> Result<(), Trouble<M::Fault>> {
    let instruction = decode(code, cpu.rip).ok_or(Trouble::Unknown)?;
    let mut next = *cpu;
    next.rip = instruction.next_ip();
    let mut step = operand::Step { instruction: &instruction, cpu: &mut next, machine };
    if !(step.portal()? || step.string()? || step.vector()? || step.plain()?) {
        return Err(Trouble::Unknown);
    }
    *cpu = next;
    Ok(())
}

fn decode(code: &[u8], at: u64) -> Option<Instruction> {
    let mut decoder = Decoder::try_with_ip(64, code, at, DecoderOptions::NONE).ok()?;
    let instruction = decoder.decode();
    (!instruction.is_invalid()).then_some(instruction)
}
