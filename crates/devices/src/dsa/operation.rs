//! What descriptors do with memory, piece by piece.

use mem::PAGE_SIZE;

use super::crc::Crc;
use super::descriptor::{Descriptor, Outcome};
use super::spec::{flag, opcode, status};
use crate::steps::{Line, Notice, Trouble};
use crate::worker::Worker;

/// Bytes that are moved in one step.
const PIECE: usize = 0x8000;

/// Bytes on their way.
#[derive(Debug)]
pub(super) struct Pieces {
    one: Vec<u8>,
    other: Vec<u8>,
}

impl Default for Pieces {
    fn default() -> Self {
        Self { one: vec![0; PIECE], other: vec![0; PIECE] }
    }
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Operation {
    descriptor: Descriptor,
    /// Bytes that are done.
    done: u32,
    /// Bytes that were read and are not written: what was read is written even if that takes several tries.
    held: usize,
    crc: Option<Crc>,
}

impl Operation {
    pub fn new(descriptor: Descriptor) -> Self {
        Self { descriptor, done: 0, held: 0, crc: None }
    }

    /// What it comes to if it ends by a fault.
    pub fn ends_by(&self, fault: Outcome) -> Outcome {
        let result = u8::from(self.is_backward());
        Outcome { done: self.done, result, value: self.value(), ..fault }
    }

    fn value(&self) -> u64 {
        self.crc.map_or(0, |crc| crc.value().into())
    }

    /// Whether a move begins at the end, so as not to write what it has not read.
    fn is_backward(&self) -> bool {
        let Descriptor { source, destination, .. } = self.descriptor;
        destination != source && self.moves_over(source, destination)
    }

    /// Whether it is a move, one of whose ranges begins within the other.
    fn moves_over(&self, one: u64, other: u64) -> bool {
        let Descriptor { opcode, size, .. } = self.descriptor;
        opcode == opcode::MEMMOVE && other.wrapping_sub(one) < u64::from(size)
    }

    /// Where the next piece is, and its bytes. What moves over itself is written by pages, so that one is
    /// written all or not: software that goes on after a fault reads again what was not counted as done.
    fn piece(&self) -> (u64, usize) {
        let Descriptor { source, destination, size, .. } = self.descriptor;
        let left = size - self.done;
        let (first, last) = match self.is_backward() {
            true => (0, left),
            false => (self.done, size),
        };
        let mut piece = left.min(PIECE as u32);
        if self.moves_over(source, destination) || self.moves_over(destination, source) {
            let within = |offset: u32| (destination.wrapping_add(offset.into()) % PAGE_SIZE) as u32;
            piece = piece.min(match self.is_backward() {
                true => within(last - 1) + 1,
                false => PAGE_SIZE as u32 - within(first),
            });
        }
        let offset = if self.is_backward() { last - piece } else { first };
        (offset.into(), piece as usize)
    }

    /// Makes a step: the outcome if it was the last.
    pub fn advance(
        &mut self,
        line: &mut Line,
        worker: &Worker<Notice>,
        pieces: &mut Pieces,
    ) -> Result<Option<Outcome>, Trouble> {
        let descriptor = self.descriptor;
        if matches!(descriptor.opcode, opcode::NOOP | opcode::DRAIN) {
            return Ok(Some(Outcome::success()));
        }
        if matches!(descriptor.opcode, opcode::CRCGEN | opcode::COPY_CRC) && self.crc.is_none() {
            self.crc = Some(seeded(&descriptor, line, worker)?);
        }
        let (offset, size) = self.piece();
        let (one, other) = (&mut pieces.one[..size], &mut pieces.other[..size]);
        let from = descriptor.source.wrapping_add(offset);
        let to = descriptor.destination.wrapping_add(offset);
        match descriptor.opcode {
            opcode::MEMFILL => fill(one, descriptor.source),
            opcode::CFLUSH => line.read(worker, to, one)?,
            _ if self.held != 0 => {}
            _ => line.read(worker, from, one)?,
        }
        match descriptor.opcode {
            opcode::COMPARE => line.read(worker, to, other)?,
            opcode::COMPVAL => fill(other, descriptor.destination),
            opcode::CRCGEN | opcode::CFLUSH => {}
            _ => {
                self.held = size;
                line.write(worker, to, one)?;
                if descriptor.opcode == opcode::DUALCAST {
                    let to = descriptor.second_destination().wrapping_add(offset);
                    line.write(worker, to, one)?;
                }
                self.held = 0;
            }
        }
        if let Some(crc) = &mut self.crc {
            crc.add(one);
        }
        if matches!(descriptor.opcode, opcode::COMPARE | opcode::COMPVAL)
            && let Some(index) = one.iter().zip(&*other).position(|(one, other)| one != other)
        {
            self.done += index as u32;
            return Ok(Some(self.compared(1)));
        }
        self.done += size as u32;
        Ok((self.done == descriptor.size).then(|| match descriptor.opcode {
            opcode::COMPARE | opcode::COMPVAL => self.compared(0),
            _ => Outcome { value: self.value(), ..Outcome::success() },
        }))
    }

    /// A comparison came to a result: 0 for equal.
    fn compared(&self, result: u8) -> Outcome {
        let checks = self.descriptor.has(flag::CHECK_RESULT);
        let status = match checks && self.descriptor.expected() != result {
            true => status::SUCCESS_PRED,
            false => status::SUCCESS,
        };
        let done = if result == 0 { 0 } else { self.done };
        Outcome { status, result, done, ..Outcome::default() }
    }
}

/// Repeats a pattern; pieces begin with it.
fn fill(piece: &mut [u8], pattern: u64) {
    let pattern = pattern.to_le_bytes();
    piece.iter_mut().zip(pattern.iter().cycle()).for_each(|(to, from)| *to = *from);
}

fn seeded(
    descriptor: &Descriptor,
    line: &mut Line,
    worker: &Worker<Notice>,
) -> Result<Crc, Trouble> {
    let (seed, at) = descriptor.seed();
    let mut bytes = seed.to_le_bytes();
    if descriptor.has(flag::READ_SEED) {
        line.read(worker, at, &mut bytes)?;
    }
    Ok(Crc::new(
        u32::from_le_bytes(bytes),
        descriptor.has(flag::BYPASS_REFLECTION),
        descriptor.has(flag::BYPASS_DATA_REFLECTION),
    ))
}
