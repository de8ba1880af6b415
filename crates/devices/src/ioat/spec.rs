//! Registers and descriptors of I/OAT DMA (QuickData Technology), version 3.
//!
//! Sources: names and offsets are those of Linux's `drivers/dma/ioat/registers.h` and `hw.h`; what they do is
//! from Intel's "Xeon Processor E5 v4 Product Family" datasheet, volume 2, "Intel QuickData Technology
//! registers"; the state [`ARMED`] is from DPDK's driver (`drivers/dma/ioat/ioat_dmadev.c`).
//!
//! | offset | bytes | register | access |
//! |---|---|---|---|
//! | [`CHANCNT`] | 1 | channels | read |
//! | [`XFERCAP`] | 1 | log2 of the bytes of a transfer, at most | read |
//! | [`INTRCTRL`] | 1 | interrupts of the device | both |
//! | [`VERSION`] | 1 | version | read |
//! | [`DMA_CAP`] | 4 | operations | read |
//! | [`CHANCTRL`] | 2 | interrupts and errors of the channel | both |
//! | [`CHANCMD`] | 1 | commands | write, reads 0 |
//! | [`DMACOUNT`] | 2 | doorbell: descriptors since the chain's start | both |
//! | [`CHANSTS`] | 8 | state, and address of the last descriptor that was made | read |
//! | [`CHAINADDR`] | 8 | first descriptor; a write begins a chain | both |
//! | [`CHANCMP`] | 8 | where completions are written | both |
//! | [`CHANERR`] | 4 | errors; ones clear | both |
//! | [`CHANERR_MASK`] | 4 | held, and not used | both |

/// Size of the BAR.
pub const BAR_SIZE: u64 = 0x4000;
/// Offset of the MSI-X table.
pub const MSIX_TABLE: u64 = 0x2000;
/// Offset of the pending bits of MSI-X.
pub const MSIX_PENDING: u64 = 0x3000;

/// Offset: channels.
pub const CHANCNT: u64 = 0x00;
/// Offset: log2 of the bytes of a transfer.
pub const XFERCAP: u64 = 0x01;
/// Offset: interrupts of the device.
pub const INTRCTRL: u64 = 0x03;
/// Any interrupt at all.
pub const INTRCTRL_MASTER_INT_EN: u8 = 0x01;
/// Each channel has a vector.
pub const INTRCTRL_MSIX_VECTOR_CONTROL: u8 = 0x08;
/// Offset: version.
pub const VERSION: u64 = 0x08;
/// Offset: operations.
pub const DMA_CAP: u64 = 0x10;
/// Operation: fill.
pub const DMA_CAP_FILL_BLOCK: u32 = 0x40;

/// Offset of the channel's registers.
pub const CHANNEL: u64 = 0x80;
/// Offset: interrupts and errors of the channel.
pub const CHANCTRL: u64 = CHANNEL;
/// Reads as one when there was an interrupt, and none comes then; a one written lets the next come.
pub const CHANCTRL_INT_REARM: u16 = 0x0001;
/// Errors write a completion.
pub const CHANCTRL_ERR_COMPLETION_EN: u16 = 0x0004;
/// Errors raise an interrupt.
pub const CHANCTRL_ERR_INT_EN: u16 = 0x0010;
/// What is held of it.
pub const CHANCTRL_HELD: u16 = 0xf33c;
/// Offset: commands.
pub const CHANCMD: u64 = CHANNEL + 0x04;
/// Command: reset the channel.
pub const CHANCMD_RESET: u8 = 0x20;
/// Command: go on after a suspend.
pub const CHANCMD_RESUME: u8 = 0x10;
/// Command: end the chain.
pub const CHANCMD_ABORT: u8 = 0x08;
/// Command: stop after the descriptor that is under way.
pub const CHANCMD_SUSPEND: u8 = 0x04;
/// Offset: doorbell.
pub const DMACOUNT: u64 = CHANNEL + 0x06;
/// Offset: state.
pub const CHANSTS: u64 = CHANNEL + 0x08;
/// State: descriptors are made.
pub const ACTIVE: u64 = 0;
/// State: all descriptors are made.
pub const DONE: u64 = 1;
/// State: suspended.
pub const SUSPENDED: u64 = 2;
/// State: after a reset or an error.
pub const HALTED: u64 = 3;
/// State: a chain has begun, and no descriptor of it.
pub const ARMED: u64 = 4;
/// Offset: first descriptor.
pub const CHAINADDR: u64 = CHANNEL + 0x10;
/// Offset: where completions are written.
pub const CHANCMP: u64 = CHANNEL + 0x18;
/// Offset: errors.
pub const CHANERR: u64 = CHANNEL + 0x28;
/// Offset: errors that are not reported.
pub const CHANERR_MASK: u64 = CHANNEL + 0x2c;

/// Error: what is read is not reached.
pub const ERR_SRC_ADDR: u32 = 1 << 0;
/// Error: what is written is not reached.
pub const ERR_DEST_ADDR: u32 = 1 << 1;
/// Error: a descriptor that is not the first is not reached.
pub const ERR_NEXT_ADDR: u32 = 1 << 2;
/// Error: a descriptor that is not the first is not on a multiple of 64.
pub const ERR_NEXT_ALIGN: u32 = 1 << 3;
/// Error: the first descriptor is not reached, or not on a multiple of 64.
pub const ERR_CHAIN_ADDR: u32 = 1 << 4;
/// Error: more than one command at once.
pub const ERR_CHANCMD: u32 = 1 << 5;
/// Error: no such operation, or a reserved bit.
pub const ERR_CONTROL: u32 = 1 << 10;
/// Error: a transfer of nothing, or of more than [`XFERCAP`].
pub const ERR_LENGTH: u32 = 1 << 11;
/// Error: the completion is not reached, or not on a multiple of 8.
pub const ERR_COMPLETION_ADDR: u32 = 1 << 12;

/// Bytes of a descriptor: size and control of 4 bytes, source (or pattern), destination and next of 8, and
/// what is the driver's.
pub const DESCRIPTOR_SIZE: usize = 64;
/// Control: raises an interrupt.
pub const CTL_INT_EN: u32 = 1 << 0;
/// Control: writes a completion.
pub const CTL_COMPL_WRITE: u32 = 1 << 3;
/// Control: moves nothing.
pub const CTL_NULL: u32 = 1 << 5;
/// Control: reserved.
pub const CTL_RESERVED: u32 = 0x00ff_f800;
/// Control: where the operation is.
pub const CTL_OP_SHIFT: u32 = 24;
/// Operation: copy.
pub const OP_COPY: u32 = 0;
/// Operation: fill with a pattern of 8 bytes.
pub const OP_FILL: u32 = 1;
