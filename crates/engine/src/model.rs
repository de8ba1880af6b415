//! What a VFIO function does: its registers and its reset.

use std::fmt;
use std::sync::Arc;

use mem::SharedFile;

use crate::DmaLog;

/// The device behind a VFIO function. It works in threads of its own, and nothing here may wait for the
/// program.
///
/// Accesses come as the bus brings them: of 1, 2, 4 or 8 bytes, and writes of 64 as well, on a multiple of
/// their size, inside of a BAR. A write of 64 bytes is one store of a processor (`MOVDIR64B`). Whatever a
/// program writes has some answer.
pub trait Model: Send + Sync + fmt::Debug {
    /// A BAR, by its number from 0 to 5; none when the device has no such. It never changes.
    fn bar(&self, number: u32) -> Option<Bar>;

    /// The memory of a BAR, for programs to map and read; none where reads have side effects, or where
    /// what is read is made on the way. It holds what [`Model::read`] gives, at any time, and never
    /// changes for another. Programs never write to it: their stores come by [`Model::write`].
    fn memory(&self, _bar: u32) -> Option<Arc<SharedFile>> {
        None
    }

    /// The interrupts that it can raise, by its [`crate::Interrupts`]. They never change.
    fn vectors(&self) -> Vectors {
        Vectors::default()
    }

    /// Reads registers.
    fn read(&self, bar: u32, offset: u64, to: &mut [u8]);

    /// Writes registers.
    fn write(&self, bar: u32, offset: u64, from: &[u8]);

    /// Takes a command of 64 bytes whose sender asks whether it was accepted (`ENQCMD`, a deferrable memory
    /// write of PCI): false has it sent again. `offset` is a multiple of 64. A device without such commands
    /// takes none.
    fn enqueue(&self, _bar: u32, _offset: u64, _command: &[u8; 64]) -> bool {
        false
    }

    /// The log of what it writes, where it keeps one (`struct vfio_log_ops`). That is not part of what a
    /// reset resets.
    fn dma_log(&self) -> Option<&DmaLog> {
        None
    }

    /// Whether the device may reach memory (PCI's bus master enable). It may not before it is told so;
    /// when it is told that it may not, it does not from then on.
    fn set_bus_master(&self, on: bool);

    /// Function-level reset: when it returns, the device is as it was first, and accesses memory no more
    /// for what it was told before. Bus mastering is not its own, and stays as it is.
    fn reset(&self);
}

/// Memory of a device, as it asks the system to place it (PCI 7.5.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Bytes, a power of two of 16 at least.
    pub size: u64,
    /// Whether it may be anywhere. Such a BAR takes the place of the next one, too.
    pub wide: bool,
    /// Whether reads have no side effects.
    pub prefetchable: bool,
}

/// Interrupts that a device can raise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vectors {
    /// Whether it has one by pin (INTx).
    pub pin: bool,
    /// How many it has by MSI: a power of two up to 32; 0 without.
    pub msi: u8,
    /// Those by MSI-X.
    pub msix: Option<Msix>,
}

/// Interrupts by MSI-X (PCI 7.7.2). Their table is the system's: the model never sees accesses to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msix {
    /// How many there are, up to 2048.
    pub vectors: u16,
    /// The BAR of the table, and where it begins there.
    pub table: (u32, u64),
    /// The BAR of the bits that tell what is pending, and where they begin there.
    pub pending: (u32, u64),
}
