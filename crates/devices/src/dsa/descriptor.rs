//! Descriptors, what is wrong with them, and completion records.

use super::queue::Limits;
use super::spec::{self, flag, opcode, status};
use crate::steps::Fault;

/// A descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub pasid: u32,
    pub privileged: bool,
    pub flags: u32,
    pub opcode: u8,
    /// Where its completion record is.
    pub record: u64,
    /// Source, pattern, or where a batch's descriptors are.
    pub source: u64,
    /// Destination, second source or pattern to compare with.
    pub destination: u64,
    /// Bytes, or descriptors of a batch.
    pub size: u32,
    pub handle: u16,
    reserved: bool,
    /// What depends on the operation.
    tail: [u8; 24],
}

/// What becomes of a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub status: u8,
    pub result: u8,
    /// Bytes that were done before a fault or a difference, or descriptors of a batch.
    pub done: u32,
    pub fault: u64,
    /// The value of a CRC, or flags that are invalid.
    pub value: u64,
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut word = [0; N];
    word.copy_from_slice(&bytes[at..at + N]);
    word
}

impl Descriptor {
    pub fn decode(bytes: &[u8; spec::DESCRIPTOR_SIZE]) -> Self {
        let word32 = |at| u32::from_le_bytes(word(bytes, at));
        let word64 = |at| u64::from_le_bytes(word(bytes, at));
        let (first, second) = (word32(0), word32(4));
        Self {
            pasid: first & 0xf_ffff,
            privileged: first >> 31 != 0,
            flags: second & 0xff_ffff,
            opcode: (second >> 24) as u8,
            record: word64(8),
            source: word64(16),
            destination: word64(24),
            size: word32(32),
            handle: u16::from_le_bytes(word(bytes, 36)),
            reserved: first & 0x7ff0_0000 != 0 || bytes[38] != 0 || bytes[39] != 0,
            tail: word(bytes, 40),
        }
    }

    /// The same, of whom another is.
    pub fn of(self, other: &Self) -> Self {
        Self { pasid: other.pasid, privileged: other.privileged, ..self }
    }

    pub fn has(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }

    /// Of a comparison: the result that is expected.
    pub fn expected(&self) -> u8 {
        self.tail[0]
    }

    /// Of a dualcast: where else it writes.
    pub fn second_destination(&self) -> u64 {
        u64::from_le_bytes(word(&self.tail, 0))
    }

    /// Of a CRC: its seed, and where that is if it is in memory.
    pub fn seed(&self) -> (u32, u64) {
        (u32::from_le_bytes(word(&self.tail, 0)), u64::from_le_bytes(word(&self.tail, 8)))
    }

    /// Flags that an operation has.
    fn flags_of(&self) -> u32 {
        let crc = flag::READ_SEED | flag::BYPASS_REFLECTION | flag::BYPASS_DATA_REFLECTION;
        flag::FENCE
            | flag::CRAV
            | flag::RCR
            | flag::RCI
            | flag::HINTS
            | match self.opcode {
                opcode::NOOP | opcode::DRAIN => 0,
                opcode::COMPARE | opcode::COMPVAL => flag::BOF | flag::CHECK_RESULT,
                opcode::CRCGEN | opcode::COPY_CRC => flag::BOF | crc,
                _ => flag::BOF,
            }
    }

    /// How many bytes of the tail an operation uses.
    fn tail_used(&self) -> usize {
        match self.opcode {
            opcode::COMPARE | opcode::COMPVAL => 1,
            opcode::DUALCAST => 8,
            opcode::CRCGEN | opcode::COPY_CRC => 16,
            _ => 0,
        }
    }

    fn overlaps(&self, one: u64, other: u64) -> bool {
        one.abs_diff(other) < u64::from(self.size)
    }

    /// What is wrong with it, before anything is done.
    pub fn check(&self, limits: &Limits, in_batch: bool) -> Result<(), Outcome> {
        let wrong = |status| Err(Outcome { status, ..Outcome::default() });
        let known = u32::from(self.opcode) < 64 && limits.operations >> self.opcode & 1 != 0;
        let nested = in_batch && matches!(self.opcode, opcode::BATCH | opcode::DRAIN);
        if !known || nested {
            return wrong(status::BAD_OPCODE);
        }
        if self.privileged && !limits.privileged {
            return wrong(status::PRIV_BAD);
        }
        let mut allowed = self.flags_of();
        if !self.has(flag::CRAV) {
            allowed &= !flag::RCR;
        }
        if !limits.block_on_fault {
            allowed &= !flag::BOF;
        }
        let invalid = self.flags & !allowed;
        if invalid != 0 {
            let status = status::INVALID_FLAGS;
            return Err(Outcome { status, value: invalid.into(), ..Outcome::default() });
        }
        if self.reserved || self.tail[self.tail_used()..].iter().any(|byte| *byte != 0) {
            return wrong(status::NOZERO_RESERVE);
        }
        if self.has(flag::CRAV) && !self.record.is_multiple_of(spec::RECORD_SIZE as u64) {
            return wrong(status::CRA_ALIGN);
        }
        if self.has(flag::RCI) && limits.handles >> self.handle.min(31) & 1 == 0 {
            return wrong(status::INT_HANDLE_INVAL);
        }
        match self.opcode {
            opcode::NOOP | opcode::DRAIN => Ok(()),
            opcode::BATCH => match () {
                () if !self.source.is_multiple_of(spec::DESCRIPTOR_SIZE as u64) => {
                    wrong(status::DESCLIST_ALIGN)
                }
                () if self.size < 2 || self.size > limits.batch => wrong(status::DESC_CNT_ERANGE),
                () => Ok(()),
            },
            _ if self.size == 0 || u64::from(self.size) > limits.transfer => {
                wrong(status::XFER_ERANGE)
            }
            opcode::DUALCAST => {
                let second = self.second_destination();
                let [source, one, other] = [self.source, self.destination, second];
                if one % 4096 != other % 4096 {
                    wrong(status::DCAST_ERR)
                } else if self.overlaps(source, one)
                    || self.overlaps(source, other)
                    || self.overlaps(one, other)
                {
                    wrong(status::OVERLAP_BUFFERS)
                } else {
                    Ok(())
                }
            }
            opcode::COPY_CRC if self.overlaps(self.source, self.destination) => {
                wrong(status::OVERLAP_BUFFERS)
            }
            _ => Ok(()),
        }
    }
}

impl Outcome {
    pub fn success() -> Self {
        Self { status: status::SUCCESS, ..Self::default() }
    }

    /// An access failed.
    pub fn fault(fault: Fault) -> Self {
        let status = if fault.asked { status::PAGE_FAULT_ANSWERED } else { status::PAGE_FAULT };
        let write = if fault.write { status::WRITE } else { 0 };
        Self { status: status | write, fault: fault.at, ..Self::default() }
    }

    pub fn is_success(&self) -> bool {
        matches!(self.status, status::SUCCESS | status::SUCCESS_PRED)
    }

    /// The completion record.
    pub fn encode(&self) -> [u8; spec::RECORD_SIZE] {
        let mut record = [0; spec::RECORD_SIZE];
        (record[0], record[1]) = (self.status, self.result);
        record[4..8].copy_from_slice(&self.done.to_le_bytes());
        record[8..16].copy_from_slice(&self.fault.to_le_bytes());
        record[16..24].copy_from_slice(&self.value.to_le_bytes());
        record
    }
}
