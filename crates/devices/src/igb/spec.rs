//! Registers and descriptors of Intel's 82576, as far as they are here.
//!
//! Sources: names, offsets and bits are those of Linux's `drivers/net/ethernet/intel/igb/e1000_regs.h`,
//! `e1000_defines.h` and `e1000_82575.h`; what they do is from Intel's 82576 datasheet, by the sections that
//! Linux's selftest cites (`tools/testing/selftests/vfio/lib/drivers/igb/igb.c`).
//!
//! | offset | register | access |
//! |---|---|---|
//! | [`CTRL`], [`CTRL_EXT`], [`GCR`] | device control; [`CTRL_RST`] resets | both |
//! | [`STATUS`], [`EECD`] | link; that the memory of settings was read | read |
//! | [`MDIC`] | access to the PHY's registers | both |
//! | [`RCTL`], [`TCTL`] | receive and transmit control | both |
//! | [`GPIE`], [`EIAC`], [`EIAM`], [`IVAR0`] | interrupts: how they are made of causes | both |
//! | [`EICS`], [`EIMS`], [`EIMC`], [`EICR`] | causes: set; mask: set, clear; causes: ones clear | both |
//! | [`RX`], [`TX`] | rings of the first queue | both |
//!
//! Each has 4 bytes.

/// Size of the BAR of registers.
pub const BAR_SIZE: u64 = 0x2_0000;
/// Size of the BAR of MSI-X.
pub const MSIX_SIZE: u64 = 0x4000;
/// Offset of the pending bits of MSI-X, in its BAR.
pub const MSIX_PENDING: u64 = 0x2000;
/// Interrupts.
pub const VECTORS: u16 = 10;

/// Offset: device control.
pub const CTRL: u64 = 0x0000;
/// Set link up.
pub const CTRL_SLU: u32 = 0x40;
/// Reset; reads as 0.
pub const CTRL_RST: u32 = 0x0400_0000;
/// Offset: status.
pub const STATUS: u64 = 0x0008;
/// Full duplex, at 1 Gb/s.
pub const STATUS_FAST: u32 = 0x81;
/// Link up.
pub const STATUS_LU: u32 = 2;
/// Offset: control of the memory of settings.
pub const EECD: u64 = 0x0010;
/// It is there, and was read.
pub const EECD_READ: u32 = 0x300;
/// Offset: more device control.
pub const CTRL_EXT: u64 = 0x0018;
/// Offset: PHY access.
pub const MDIC: u64 = 0x0020;
/// Where the register's number is, of 5 bits.
pub const MDIC_REG_SHIFT: u32 = 16;
/// Where the PHY's number is, of 5 bits.
pub const MDIC_PHY_SHIFT: u32 = 21;
/// The PHY that there is.
pub const MDIC_PHY: u32 = 1;
/// Write.
pub const MDIC_OP_WRITE: u32 = 0x0400_0000;
/// Read.
pub const MDIC_OP_READ: u32 = 0x0800_0000;
/// Done.
pub const MDIC_READY: u32 = 0x1000_0000;
/// Failed.
pub const MDIC_ERROR: u32 = 0x4000_0000;
/// PHY register: control (`MII_BMCR`).
pub const PHY_BMCR: usize = 0;
/// PHY control: loopback.
pub const PHY_LOOPBACK: u16 = 0x4000;
/// Offset: receive control.
pub const RCTL: u64 = 0x0100;
/// Receive.
pub const RCTL_EN: u32 = 1 << 1;
/// Frames for others are received: for one, for many.
pub const RCTL_UPE: u32 = 1 << 3;
/// As above.
pub const RCTL_MPE: u32 = 1 << 4;
/// Frames of more than 1522 bytes are received.
pub const RCTL_LPE: u32 = 1 << 5;
/// MAC loopback.
pub const RCTL_LBM_MAC: u32 = 1 << 6;
/// Frames for all are received.
pub const RCTL_BAM: u32 = 1 << 15;
/// Where the size of buffers is: 2048 bytes, halved so often.
pub const RCTL_BSIZE_SHIFT: u32 = 16;
/// Offset: transmit control.
pub const TCTL: u64 = 0x0400;
/// Transmit.
pub const TCTL_EN: u32 = 1 << 1;
/// Short frames are made longer.
pub const TCTL_PSP: u32 = 1 << 3;
/// Offset: interrupts in general.
pub const GPIE: u64 = 0x1514;
/// Causes are those of MSI-X.
pub const GPIE_MSIX_MODE: u32 = 0x10;
/// An interrupt masks what [`EIAM`] says.
pub const GPIE_EIAME: u32 = 0x4000_0000;
/// Offset: set causes.
pub const EICS: u64 = 0x1520;
/// Offset: set mask.
pub const EIMS: u64 = 0x1524;
/// Offset: clear mask.
pub const EIMC: u64 = 0x1528;
/// Offset: causes that an interrupt clears.
pub const EIAC: u64 = 0x152c;
/// Offset: causes that an interrupt masks.
pub const EIAM: u64 = 0x1530;
/// Offset: causes.
pub const EICR: u64 = 0x1580;
/// Offset: the interrupts of the first queue, for what is received, and in the next byte transmitted.
pub const IVAR0: u64 = 0x1700;
/// There is one.
pub const IVAR_VALID: u8 = 0x80;
/// Offset: PCIe control.
pub const GCR: u64 = 0x5b00;

/// Offset of the ring of what is received.
pub const RX: u64 = 0x2800;
/// Offset of the ring of what is transmitted.
pub const TX: u64 = 0x3800;
/// In a ring: its address, by halves.
pub const BASE: u64 = 0x00;
/// In a ring: its bytes.
pub const LENGTH: u64 = 0x08;
/// In that of what is received: buffers.
pub const SRRCTL: u64 = 0x0c;
/// Descriptors have the advanced form, with one buffer.
pub const SRRCTL_ADV_ONEBUF: u32 = 0x0200_0000;
/// What form they have.
pub const SRRCTL_FORM: u32 = 0x0e00_0000;
/// KiB of a buffer; 0 for what [`RCTL`] says.
pub const SRRCTL_KIB: u32 = 0x7f;
/// In a ring: the descriptor that is next.
pub const HEAD: u64 = 0x10;
/// In a ring: the first that the device must not have. The doorbell.
pub const TAIL: u64 = 0x18;
/// In a ring: control.
pub const CONTROL: u64 = 0x28;
/// The queue is enabled.
pub const QUEUE_ENABLE: u32 = 0x0200_0000;

/// Bytes of a descriptor. To transmit: address of 8, then command and length, and status of 4. To receive:
/// addresses of 8; written back are 8 of no matter, status of 4, length of 2.
pub const DESCRIPTOR_SIZE: usize = 16;
/// Transmit: the last of a frame.
pub const TX_EOP: u32 = 0x0100_0000;
/// Transmit: with its check sequence.
pub const TX_IFCS: u32 = 0x0200_0000;
/// Transmit: status is reported.
pub const TX_RS: u32 = 0x0800_0000;
/// Transmit: an extended descriptor.
pub const TX_DEXT: u32 = 0x2000_0000;
/// Transmit: what an extended descriptor is.
pub const TX_KIND: u32 = 0x00f0_0000;
/// Transmit: a context, which moves nothing.
pub const TX_CONTEXT: u32 = 0x0020_0000;
/// Status: done.
pub const DONE: u32 = 1;
/// Status of what was received: the last of a frame.
pub const RX_EOP: u32 = 2;

/// Bytes of a frame without its check sequence, at least.
pub const SHORTEST: usize = 60;
/// And at most, where long ones are not received.
pub const LONGEST: usize = 1518;
/// And at most at all.
pub const LONGEST_JUMBO: usize = 9724;
