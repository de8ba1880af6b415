//! Registers, commands, descriptors and completion records of Intel's Data Streaming Accelerator, version 1.
//!
//! Sources: names, offsets and numbers are those of Linux's `drivers/dma/idxd/registers.h` and
//! `include/uapi/linux/idxd.h`; what they do is from Intel's "Data Streaming Accelerator Architecture
//! Specification" (341204).
//!
//! | BAR 0 | bytes | register | access |
//! |---|---|---|---|
//! | [`VERSION`] | 4 | version | read |
//! | [`GENCAP`], [`WQCAP`], [`GRPCAP`], [`ENGCAP`], [`OPCAP`], [`CMDCAP`] | 8, 32, 4 | capabilities | read |
//! | [`TABLES`] | 16 | where the tables are, in units of [`TABLE_UNIT`] | read |
//! | [`GENCFG`] | 4 | held while the device is disabled | both |
//! | [`GENCTRL`] | 4 | interrupts of errors | both |
//! | [`GENSTS`] | 4 | state | read |
//! | [`INTCAUSE`] | 4 | why interrupt 0 came; ones clear | both |
//! | [`CMD`] | 4 | commands | write, reads 0 |
//! | [`CMDSTS`] | 4 | what became of the last | read |
//! | [`SWERR`] | 32 | an error that no completion record tells; ones in the first two bits clear | both |
//! | [`GRPCFG`] | 64 each | queues and engines of groups, while the device is disabled | both |
//! | [`WQCFG`] | 64 each | queues, while they are disabled; their size while the device is | both |
//! | [`MSIX_PERM`] | 8 each | held | both |
//!
//! BAR 2 has [`PORTALS`] portals of a page each for every queue: any multiple of 64 in it takes descriptors.
//! The second and the fourth are limited: through them a shared queue takes fewer.

/// Size of the BAR of registers.
pub const BAR_SIZE: u64 = 0x1_0000;
/// Offset of the MSI-X table.
pub const MSIX_TABLE: u64 = 0x2000;
/// Offset of the pending bits of MSI-X.
pub const MSIX_PENDING: u64 = 0x3000;
/// How many interrupts there are: one of the device, and those of completions.
pub const VECTORS: u16 = 9;
/// Size of the BAR of portals.
pub const PORTALS_SIZE: u64 = MAX_QUEUES as u64 * PORTALS * PORTAL_SIZE;
/// Portals of a queue.
pub const PORTALS: u64 = 4;
/// Size of a portal.
pub const PORTAL_SIZE: u64 = 0x1000;

/// Queues, at most.
pub const MAX_QUEUES: usize = 8;
/// Groups.
pub const GROUPS: usize = 4;
/// Engines.
pub const ENGINES: u32 = 4;
/// Descriptors that all queues hold together.
pub const TOTAL_SIZE: u32 = 128;
/// log2 of the descriptors of a batch, at most.
pub const BATCH_ORDER: u32 = 10;

/// Offset: version.
pub const VERSION: u64 = 0x00;
/// Version 1.0.
pub const VERSION_VALUE: u32 = 0x100;
/// Offset: general capabilities.
pub const GENCAP: u64 = 0x10;
/// Descriptors may have their faults answered.
pub const GENCAP_BLOCK_ON_FAULT: u64 = 1 << 0;
/// Source and destination of a move may overlap.
pub const GENCAP_OVERLAP_COPY: u64 = 1 << 1;
/// Cache control is there for memory, and for the cache.
pub const GENCAP_CACHE_CONTROL: u64 = 3 << 2;
/// [`CMDCAP`] is there.
pub const GENCAP_CMD_CAP: u64 = 1 << 4;
/// Where log2 of the bytes of a transfer is.
pub const GENCAP_TRANSFER_SHIFT: u32 = 16;
/// Where log2 of the descriptors of a batch is.
pub const GENCAP_BATCH_SHIFT: u32 = 21;
/// It can be configured.
pub const GENCAP_CONFIG_EN: u64 = 1 << 31;
/// Offset: capabilities of queues.
pub const WQCAP: u64 = 0x20;
/// Where the number of queues is.
pub const WQCAP_QUEUES_SHIFT: u32 = 16;
/// The configuration of a queue has 64 bytes.
pub const WQCAP_CONFIG_64: u64 = 1 << 24;
/// Queues can be shared, or dedicated.
pub const WQCAP_MODES: u64 = 3 << 48;
/// ATS can be disabled for a queue.
pub const WQCAP_ATS: u64 = 1 << 50;
/// Queues have a priority, and tell how full they are.
pub const WQCAP_PRIORITY_OCCUPANCY: u64 = 3 << 51;
/// Operations can be disabled for a queue.
pub const WQCAP_OP_CONFIG: u64 = 1 << 54;
/// Page requests can be disabled for a queue.
pub const WQCAP_PRS: u64 = 1 << 55;
/// Offset: capabilities of groups.
pub const GRPCAP: u64 = 0x30;
/// Offset: how many engines there are.
pub const ENGCAP: u64 = 0x38;
/// Offset: operations.
pub const OPCAP: u64 = 0x40;
/// Offset: where tables are.
pub const TABLES: u64 = 0x60;
/// In such units.
pub const TABLE_UNIT: u64 = 0x100;
/// Offset: general configuration.
pub const GENCFG: u64 = 0x80;
/// What of it is held.
pub const GENCFG_HELD: u32 = 0x10ff;
/// Offset: general control.
pub const GENCTRL: u64 = 0x88;
/// Errors in [`SWERR`] raise an interrupt.
pub const GENCTRL_SOFTERR_INT_EN: u32 = 1 << 0;
/// What of it is held.
pub const GENCTRL_HELD: u32 = 3;
/// Offset: state.
pub const GENSTS: u64 = 0x90;
/// State: enabled.
pub const GENSTS_ENABLED: u32 = 1;
/// Offset: why interrupt 0 came.
pub const INTCAUSE: u64 = 0x98;
/// There is an error in [`SWERR`].
pub const INTCAUSE_ERR: u32 = 1 << 0;
/// A command is done.
pub const INTCAUSE_CMD: u32 = 1 << 1;
/// Offset: commands.
pub const CMD: u64 = 0xa0;
/// Where the command is; below it is its operand.
pub const CMD_SHIFT: u32 = 20;
/// Wants an interrupt.
pub const CMD_INT_REQ: u32 = 1 << 31;
/// Operand: an interrupt that is no MSI-X.
pub const CMD_INT_HANDLE_IMS: u32 = 1 << 16;
/// Offset: what became of the last command: error, result, and whether it goes on.
pub const CMDSTS: u64 = 0xa8;
/// It goes on.
pub const CMDSTS_ACTIVE: u32 = 1 << 31;
/// Where the result is.
pub const CMDSTS_RESULT_SHIFT: u32 = 8;
/// Offset: commands that there are.
pub const CMDCAP: u64 = 0xb0;
/// Offset: error.
pub const SWERR: u64 = 0xc0;
/// Error: there is one, and another was lost.
pub const SWERR_ACK: u64 = 3;
/// Error: the descriptor's operation is told, and its queue.
pub const SWERR_DESCRIPTOR: u64 = 3 << 2;
/// Error: the descriptor is of a batch, and its index is told.
pub const SWERR_BATCH: u64 = 1 << 4;
/// Error: what failed was a write.
pub const SWERR_WRITE: u64 = 1 << 5;
/// Error: the descriptor is privileged.
pub const SWERR_PRIV: u64 = 1 << 6;
/// Offset: groups.
pub const GRPCFG: u64 = 0x400;
/// Offset of a group's engines.
pub const GRPCFG_ENGINES: u64 = 32;
/// Offset: queues.
pub const WQCFG: u64 = 0x500;
/// Bytes of a group's or a queue's configuration.
pub const CONFIG_SIZE: u64 = 64;
/// Offset: permissions of interrupts.
pub const MSIX_PERM: u64 = 0x800;

/// A queue: dedicated.
pub const WQ_DEDICATED: u32 = 1 << 0;
/// A queue: block on fault is allowed.
pub const WQ_BOF: u32 = 1 << 1;
/// A queue: without ATS.
pub const WQ_ATS_DISABLE: u32 = 1 << 2;
/// A queue: without page requests.
pub const WQ_PRS_DISABLE: u32 = 1 << 3;
/// A queue: its priority.
pub const WQ_PRIORITY: u32 = 0xf << 4;
/// A queue: where its PASID is, of 20 bits.
pub const WQ_PASID_SHIFT: u32 = 8;
/// A queue: it has a PASID.
pub const WQ_PASID_EN: u32 = 1 << 28;
/// A queue: its descriptors may be privileged.
pub const WQ_PRIV: u32 = 1 << 29;
/// A queue: enabled, in the word of its occupancy.
pub const WQ_ENABLED: u32 = 1 << 30;

/// Commands (`enum idxd_cmd`).
pub mod command {
    #![expect(missing_docs, reason = "names tell")]
    pub const ENABLE_DEVICE: u32 = 1;
    pub const DISABLE_DEVICE: u32 = 2;
    pub const DRAIN_ALL: u32 = 3;
    pub const ABORT_ALL: u32 = 4;
    pub const RESET_DEVICE: u32 = 5;
    pub const ENABLE_WQ: u32 = 6;
    pub const DISABLE_WQ: u32 = 7;
    pub const DRAIN_WQ: u32 = 8;
    pub const ABORT_WQ: u32 = 9;
    pub const RESET_WQ: u32 = 10;
    pub const DRAIN_PASID: u32 = 11;
    pub const ABORT_PASID: u32 = 12;
    pub const REQUEST_INT_HANDLE: u32 = 13;
    pub const RELEASE_INT_HANDLE: u32 = 14;
}

/// Errors of commands (`enum idxd_cmdsts_err`).
pub mod error {
    /// No such command.
    pub const INVAL_CMD: u32 = 0x01;
    /// No such queue.
    pub const INVAL_WQIDX: u32 = 0x02;
    /// Enable: it is.
    pub const DEV_ENABLED: u32 = 0x10;
    /// Enable: bus mastering is off.
    pub const BUSMASTER_EN: u32 = 0x12;
    /// Enable: the queues are larger than there is room for.
    pub const WQ_SIZE_ERANGE: u32 = 0x14;
    /// Enable: a group has queues and no engine, or engines and no queue.
    pub const GRP_CONFIG: u32 = 0x15;
    /// Enable: a queue with a size is in no group or in several, or one without is in one.
    pub const GRP_CONFIG2: u32 = 0x16;
    /// Enable: an engine is in several groups.
    pub const GRP_CONFIG3: u32 = 0x17;
    /// Enable queue: the device is not.
    pub const DEV_NOTEN: u32 = 0x20;
    /// Enable queue: it is.
    pub const WQ_ENABLED: u32 = 0x21;
    /// Enable queue: it has no size.
    pub const WQ_SIZE: u32 = 0x22;
    /// Enable queue: it has no priority.
    pub const WQ_PRIOR: u32 = 0x23;
    /// Enable queue: block on fault, which there is not.
    pub const BOF_EN: u32 = 0x25;
    /// Enable queue: it is shared and has no PASIDs.
    pub const PASID_EN: u32 = 0x26;
    /// Enable queue: batches are larger than the device's.
    pub const MAX_BATCH_SIZE: u32 = 0x27;
    /// Enable queue: transfers are longer than the device's.
    pub const MAX_XFER_SIZE: u32 = 0x28;
    /// Disable: it is not enabled.
    pub const DIS_DEV_EN: u32 = 0x31;
    /// Command of queues: the device is not enabled, or a queue is not.
    pub const DEV_NOT_EN: u32 = 0x32;
    /// Interrupt handle: no such interrupt.
    pub const INVAL_INT_IDX: u32 = 0x41;
    /// Interrupt handle: it was not given.
    pub const NO_HANDLE: u32 = 0x42;
}

/// Bytes of a descriptor.
pub const DESCRIPTOR_SIZE: usize = 64;
/// Bytes of a completion record, and what its address is a multiple of.
pub const RECORD_SIZE: usize = 32;

/// Operations (`enum dsa_opcode`).
pub mod opcode {
    #![expect(missing_docs, reason = "names tell")]
    pub const NOOP: u8 = 0x00;
    pub const BATCH: u8 = 0x01;
    pub const DRAIN: u8 = 0x02;
    pub const MEMMOVE: u8 = 0x03;
    pub const MEMFILL: u8 = 0x04;
    pub const COMPARE: u8 = 0x05;
    pub const COMPVAL: u8 = 0x06;
    pub const DUALCAST: u8 = 0x09;
    pub const CRCGEN: u8 = 0x10;
    pub const COPY_CRC: u8 = 0x11;
    pub const CFLUSH: u8 = 0x20;
}

/// All of [`opcode`] that there are, a bit each.
pub const OPERATIONS: u64 = 0x27f | 3 << 0x10 | 1 << 0x20;

/// Flags of descriptors (`IDXD_OP_FLAG_*`).
pub mod flag {
    /// In a batch: what stands before is done first, and must not have failed.
    pub const FENCE: u32 = 1 << 0;
    /// Faults wait for their page.
    pub const BOF: u32 = 1 << 1;
    /// There is an address for the completion record.
    pub const CRAV: u32 = 1 << 2;
    /// Success writes a record, too.
    pub const RCR: u32 = 1 << 3;
    /// The end raises an interrupt.
    pub const RCI: u32 = 1 << 4;
    /// The result is compared to the expected one.
    pub const CHECK_RESULT: u32 = 1 << 7;
    /// Hints, which change nothing here: steering, cache control, traffic classes, strict order.
    pub const HINTS: u32 = 0xbf20;
    /// CRC: the seed is in memory.
    pub const READ_SEED: u32 = 1 << 16;
    /// CRC: seed and result are neither inverted nor reflected.
    pub const BYPASS_REFLECTION: u32 = 1 << 17;
    /// CRC: data is not reflected.
    pub const BYPASS_DATA_REFLECTION: u32 = 1 << 18;
}

/// Status of completion records (`enum dsa_completion_status`).
pub mod status {
    /// Done.
    pub const SUCCESS: u8 = 0x01;
    /// Done, and the result is another than expected.
    pub const SUCCESS_PRED: u8 = 0x02;
    /// A page is missing.
    pub const PAGE_FAULT: u8 = 0x03;
    /// A page is missing, and was asked for in vain.
    pub const PAGE_FAULT_ANSWERED: u8 = 0x04;
    /// Batch: not all descriptors succeeded.
    pub const BATCH_FAIL: u8 = 0x05;
    /// Batch: a page of its descriptors is missing.
    pub const BATCH_PAGE_FAULT: u8 = 0x06;
    /// No such operation.
    pub const BAD_OPCODE: u8 = 0x10;
    /// A flag that is reserved, or that the operation does not have.
    pub const INVALID_FLAGS: u8 = 0x11;
    /// A field that is reserved is not zero.
    pub const NOZERO_RESERVE: u8 = 0x12;
    /// No bytes, or more than the queue allows.
    pub const XFER_ERANGE: u8 = 0x13;
    /// Fewer than two descriptors, or more than the queue allows.
    pub const DESC_CNT_ERANGE: u8 = 0x14;
    /// Buffers overlap.
    pub const OVERLAP_BUFFERS: u8 = 0x16;
    /// Dualcast: the destinations differ in their last 12 bits.
    pub const DCAST_ERR: u8 = 0x17;
    /// Batch: its descriptors are not on a multiple of 64.
    pub const DESCLIST_ALIGN: u8 = 0x18;
    /// No such interrupt.
    pub const INT_HANDLE_INVAL: u8 = 0x19;
    /// The completion record cannot be written.
    pub const CRA_XLAT: u8 = 0x1a;
    /// The completion record is not on a multiple of 32.
    pub const CRA_ALIGN: u8 = 0x1b;
    /// Privileged, and the queue does not allow it.
    pub const PRIV_BAD: u8 = 0x1d;
    /// Of a fault: it was a write.
    pub const WRITE: u8 = 0x80;
}
