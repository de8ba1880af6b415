//! Interrupts of a device.
//!
//! | ioctl | argument | answer |
//! |---|---|---|
//! | `VFIO_DEVICE_GET_IRQ_INFO` | [`vfio_irq_info`] | how many interrupts of a kind there are |
//! | `VFIO_DEVICE_SET_IRQS` | [`vfio_irq_set`] | 0 |

#![allow(non_camel_case_types)] // the header's spelling
#![expect(missing_docs, reason = "fields are described in the table of their struct")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{VFIO_BASE, VFIO_TYPE};
use crate::command::_IO;

/// Ioctl number of [`vfio_irq_info`].
pub const VFIO_DEVICE_GET_IRQ_INFO: u32 = _IO(VFIO_TYPE, VFIO_BASE + 9);
/// Ioctl number of [`vfio_irq_set`].
pub const VFIO_DEVICE_SET_IRQS: u32 = _IO(VFIO_TYPE, VFIO_BASE + 10);

/// Argument of `VFIO_DEVICE_GET_IRQ_INFO`: a kind of interrupt.
///
/// Layout: 16 bytes, all needed.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 16 |
/// | `flags` | out | `VFIO_IRQ_INFO_*` |
/// | `index` | in | `EINVAL` when there is no such kind |
/// | `count` | out | how many there are |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_irq_info {
    pub argsz: u32,
    pub flags: u32,
    pub index: u32,
    pub count: u32,
}

/// Interrupt flag: it can be told through an eventfd.
pub const VFIO_IRQ_INFO_EVENTFD: u32 = 1 << 0;
/// Interrupt flag: it can be masked.
pub const VFIO_IRQ_INFO_MASKABLE: u32 = 1 << 1;
/// Interrupt flag: it is masked when it comes.
pub const VFIO_IRQ_INFO_AUTOMASKED: u32 = 1 << 2;
/// Interrupt flag: how many of them are used cannot be changed while they are.
pub const VFIO_IRQ_INFO_NORESIZE: u32 = 1 << 3;

/// Interrupts of a PCI function: its pin.
pub const VFIO_PCI_INTX_IRQ_INDEX: u32 = 0;
/// Interrupts of a PCI function: messages, MSI.
pub const VFIO_PCI_MSI_IRQ_INDEX: u32 = 1;
/// Interrupts of a PCI function: messages, MSI-X.
pub const VFIO_PCI_MSIX_IRQ_INDEX: u32 = 2;
/// Interrupts of a PCI function: an error that cannot be corrected.
pub const VFIO_PCI_ERR_IRQ_INDEX: u32 = 3;
/// Interrupts of a PCI function: the system wants it back.
pub const VFIO_PCI_REQ_IRQ_INDEX: u32 = 4;
/// How many kinds of interrupts a PCI function has.
pub const VFIO_PCI_NUM_IRQS: u32 = 5;

/// Argument of `VFIO_DEVICE_SET_IRQS`: say who is told of interrupts, mask them, or raise them.
///
/// Layout: 20 bytes, all needed; `count` elements follow: of 1 byte with `DATA_BOOL`, descriptors of 4 with
/// `DATA_EVENTFD`.
///
/// | field | direction | the kernel says |
/// |---|---|---|
/// | `argsz` | in | `EINVAL` below 20, or where the elements reach beyond it |
/// | `flags` | in | one `VFIO_IRQ_SET_DATA_*`, else `EINVAL`; one `VFIO_IRQ_SET_ACTION_*`, else `ENOTTY` |
/// | `index` | in | `EINVAL` when there is no such kind |
/// | `start`, `count` | in | `EINVAL` beyond the interrupts of this kind |
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct vfio_irq_set {
    pub argsz: u32,
    pub flags: u32,
    pub index: u32,
    pub start: u32,
    pub count: u32,
}

/// Data of a set: there is none.
pub const VFIO_IRQ_SET_DATA_NONE: u32 = 1 << 0;
/// Data of a set: a byte an interrupt, 0 where it is left out.
pub const VFIO_IRQ_SET_DATA_BOOL: u32 = 1 << 1;
/// Data of a set: an eventfd an interrupt, -1 for nobody.
pub const VFIO_IRQ_SET_DATA_EVENTFD: u32 = 1 << 2;
/// Action of a set: mask.
pub const VFIO_IRQ_SET_ACTION_MASK: u32 = 1 << 3;
/// Action of a set: unmask.
pub const VFIO_IRQ_SET_ACTION_UNMASK: u32 = 1 << 4;
/// Action of a set: tell an eventfd, or raise.
pub const VFIO_IRQ_SET_ACTION_TRIGGER: u32 = 1 << 5;
/// Every data of a set.
pub const VFIO_IRQ_SET_DATA_TYPE_MASK: u32 =
    VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_DATA_EVENTFD;
/// Every action of a set.
pub const VFIO_IRQ_SET_ACTION_TYPE_MASK: u32 =
    VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_ACTION_TRIGGER;
