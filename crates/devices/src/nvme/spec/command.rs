//! Entries of queues, opcodes and their fields (B 3.3.3, 5; N 3).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An entry of a submission queue (B figure 86).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Command {
    /// What to do: [`admin`] or [`io`].
    pub opcode: u8,
    /// FUSE, bits 1:0; PSDT, bits 7:6.
    pub flags: u8,
    /// Chosen by the host, to know the completion by.
    pub cid: u16,
    /// Namespace.
    pub nsid: u32,
    /// Of the opcode's own.
    pub cdw2: u32,
    /// Of the opcode's own.
    pub cdw3: u32,
    /// Metadata pointer.
    pub mptr: u64,
    /// Data pointer: PRP entry 1 and 2, or an SGL descriptor.
    pub dptr: [u64; 2],
    /// Of the opcode's own.
    pub cdw10: u32,
    /// Of the opcode's own.
    pub cdw11: u32,
    /// Of the opcode's own.
    pub cdw12: u32,
    /// Of the opcode's own.
    pub cdw13: u32,
    /// Of the opcode's own.
    pub cdw14: u32,
    /// Of the opcode's own.
    pub cdw15: u32,
}

impl Command {
    /// FUSE: whether it is one of two that are done as one.
    pub fn is_fused(&self) -> bool {
        self.flags & 3 != 0
    }

    /// PSDT: how the data pointer is to be read.
    pub fn pointer_kind(&self) -> u8 {
        self.flags >> 6
    }

    /// The 64-bit word of command dwords 10 and 11: the first block, mostly.
    pub fn first_block(&self) -> u64 {
        u64::from(self.cdw11) << 32 | u64::from(self.cdw10)
    }

    /// Blocks, of command dword 12, bits 15:0, from 0.
    pub fn blocks(&self) -> u64 {
        u64::from(self.cdw12 & 0xffff) + 1
    }
}

/// An entry of a completion queue (B figure 90).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Completion {
    /// Of the opcode's own.
    pub result: u32,
    /// Zero.
    pub reserved: u32,
    /// Where the submission queue's head is.
    pub sq_head: u16,
    /// The submission queue.
    pub sq_id: u16,
    /// The command's.
    pub cid: u16,
    /// Phase tag, bit 0; status, bits 15:1, as [`super::Status`] has it.
    pub status: u16,
}

/// Descriptor of a scatter gather list (B figure 96).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SglDescriptor {
    /// Where.
    pub address: u64,
    /// Bytes.
    pub length: u32,
    /// Zero.
    pub reserved: [u8; 3],
    /// Type, bits 7:4; sub type, bits 3:0.
    pub kind: u8,
}

/// Types of SGL descriptors with sub type 0, an address (B figure 97).
pub mod sgl {
    /// Data.
    pub const DATA: u8 = 0x00;
    /// Bytes that go nowhere.
    pub const BIT_BUCKET: u8 = 0x10;
    /// The next part of the list, with more to follow.
    pub const SEGMENT: u8 = 0x20;
    /// The last part of the list.
    pub const LAST_SEGMENT: u8 = 0x30;
}

/// A range of Dataset Management (N figure 40).
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct BlockRange {
    /// How the range is used: advice.
    pub attributes: u32,
    /// Blocks.
    pub blocks: u32,
    /// The first.
    pub first: u64,
}

const _: () = assert!(size_of::<Command>() == 64 && size_of::<Completion>() == 16);
const _: () = assert!(size_of::<SglDescriptor>() == 16 && size_of::<BlockRange>() == 16);

/// Opcodes of admin commands (B figure 138).
#[expect(missing_docs, reason = "names of the specification")]
pub mod admin {
    pub const DELETE_SQ: u8 = 0x00;
    pub const CREATE_SQ: u8 = 0x01;
    pub const GET_LOG_PAGE: u8 = 0x02;
    pub const DELETE_CQ: u8 = 0x04;
    pub const CREATE_CQ: u8 = 0x05;
    pub const IDENTIFY: u8 = 0x06;
    pub const ABORT: u8 = 0x08;
    pub const SET_FEATURES: u8 = 0x09;
    pub const GET_FEATURES: u8 = 0x0a;
    pub const ASYNC_EVENT_REQUEST: u8 = 0x0c;
    pub const FORMAT_NVM: u8 = 0x80;
}

/// Opcodes of the NVM command set (N figure 22).
#[expect(missing_docs, reason = "names of the specification")]
pub mod io {
    pub const FLUSH: u8 = 0x00;
    pub const WRITE: u8 = 0x01;
    pub const READ: u8 = 0x02;
    pub const COMPARE: u8 = 0x05;
    pub const WRITE_ZEROES: u8 = 0x08;
    pub const DATASET_MANAGEMENT: u8 = 0x09;
    pub const VERIFY: u8 = 0x0c;

    /// Command dword 12 of writes: force unit access.
    pub const FUA: u32 = 1 << 30;
    /// Command dword 12 of Write Zeroes: deallocate.
    pub const DEALLOCATE_ZEROES: u32 = 1 << 25;
    /// Command dword 11 of Dataset Management: deallocate.
    pub const DEALLOCATE: u32 = 1 << 2;
}

/// Features (B figure 317).
#[expect(missing_docs, reason = "names of the specification")]
pub mod feature {
    pub const ARBITRATION: u8 = 0x01;
    pub const POWER_MANAGEMENT: u8 = 0x02;
    pub const TEMPERATURE_THRESHOLD: u8 = 0x04;
    pub const ERROR_RECOVERY: u8 = 0x05;
    pub const VOLATILE_WRITE_CACHE: u8 = 0x06;
    pub const NUMBER_OF_QUEUES: u8 = 0x07;
    pub const INTERRUPT_COALESCING: u8 = 0x08;
    pub const INTERRUPT_VECTOR: u8 = 0x09;
    pub const WRITE_ATOMICITY: u8 = 0x0a;
    pub const ASYNC_EVENTS: u8 = 0x0b;
    pub const TIMESTAMP: u8 = 0x0e;
    pub const COMMAND_SET_PROFILE: u8 = 0x19;
}

/// Data structures of Identify (B figure 273), by CNS.
#[expect(missing_docs, reason = "names of the specification")]
pub mod cns {
    pub const NAMESPACE: u8 = 0x00;
    pub const CONTROLLER: u8 = 0x01;
    pub const ACTIVE_NAMESPACES: u8 = 0x02;
    pub const NAMESPACE_DESCRIPTORS: u8 = 0x03;
    pub const NAMESPACE_OF_COMMAND_SET: u8 = 0x05;
    pub const CONTROLLER_OF_COMMAND_SET: u8 = 0x06;
    pub const ACTIVE_NAMESPACES_OF_COMMAND_SET: u8 = 0x07;
    pub const NAMESPACE_OF_ANY_COMMAND_SET: u8 = 0x08;
    pub const COMMAND_SETS: u8 = 0x1c;
}

/// Log pages (B figure 202).
#[expect(missing_docs, reason = "names of the specification")]
pub mod log {
    pub const ERRORS: u8 = 0x01;
    pub const SMART: u8 = 0x02;
    pub const FIRMWARE: u8 = 0x03;
    pub const CHANGED_NAMESPACES: u8 = 0x04;
    pub const COMMANDS: u8 = 0x05;
}

/// All namespaces.
pub const NSID_ALL: u32 = 0xffff_ffff;

/// Outstanding Async Event Requests (AERL + 1).
pub const EVENT_REQUESTS: usize = 4;

/// log2 of the most bytes that a command transfers, in pages of 4 KiB (MDTS).
pub const TRANSFER_SHIFT: u8 = 7;

/// The most bytes that a command transfers.
pub const TRANSFER_MAX: u64 = 1 << (12 + TRANSFER_SHIFT);
