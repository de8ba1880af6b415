//! What an iommufd command is, and the table of all of them.
//!
//! A command is an ioctl on an iommufd (`/dev/iommu`). Its number holds no size and no direction,
//! so the number stays when the struct grows. The first `u32` of every argument, `size`, is the
//! caller's size of the struct, and the kernel reads and answers that many bytes:
//!
//! | caller's `size` | the kernel says |
//! |---|---|
//! | below [`Command::MIN_SIZE`] | `EINVAL` |
//! | below the size of its generation | missing fields are 0, the answer is cut to `size` |
//! | above the size of its generation | `E2BIG` unless the rest is all 0 |
//!
//! A number that its generation does not have is `ENOTTY`. The minimum never changed for any public
//! command; the size did for the three that grew.

use core::fmt::Debug;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Generation;
use crate::iommufd::{
    iommu_destroy, iommu_fault_alloc, iommu_hw_info, iommu_hw_queue_alloc, iommu_hwpt_alloc,
    iommu_hwpt_get_dirty_bitmap, iommu_hwpt_invalidate, iommu_hwpt_set_dirty_tracking,
    iommu_ioas_alloc, iommu_ioas_allow_iovas, iommu_ioas_change_process, iommu_ioas_copy,
    iommu_ioas_iova_ranges, iommu_ioas_map, iommu_ioas_map_file, iommu_ioas_noiommu_get_pa,
    iommu_ioas_unmap, iommu_option, iommu_vdevice_alloc, iommu_veventq_alloc, iommu_vfio_ioas,
    iommu_viommu_alloc,
};
use crate::selftest::iommu_test_cmd;

/// The type letter of iommufd (and VFIO) ioctl numbers.
pub const IOMMUFD_TYPE: u8 = b';';

/// The lowest iommufd command. Lower numbers belong to VFIO.
pub const IOMMUFD_CMD_BASE: u8 = 0x80;

/// The kernel's `_IO(type, nr)`: an ioctl number without size and direction. For [`IOMMUFD_TYPE`],
/// `0x3b00 | nr`.
#[allow(non_snake_case)] // the header's spelling
pub const fn _IO(letter: u8, nr: u8) -> u32 {
    ((letter as u32) << 8) | nr as u32
}

/// The argument of an iommufd command, with the facts of the command.
pub trait Command:
    FromBytes + IntoBytes + Immutable + KnownLayout + Copy + Default + Debug + 'static
{
    /// The name of the ioctl number in the header, such as `IOMMU_IOAS_MAP`.
    const NAME: &'static str;

    /// The low byte of the ioctl number.
    const NR: u8;

    /// The smallest `size` that the kernel accepts: the end of the last field that is mandatory.
    const MIN_SIZE: usize;

    /// Size of the struct in the first generation that has the command, then in each that changed it.
    const SIZES: &'static [(Generation, usize)];

    /// The ioctl number.
    const IOCTL: u32 = _IO(IOMMUFD_TYPE, Self::NR);

    /// The smallest `size` in a generation; only the private `IOMMU_TEST_CMD` ever changed it.
    fn min_size_in(_: Generation) -> usize {
        Self::MIN_SIZE
    }

    /// Size of the struct in a generation, or `None` where the command is unknown (`ENOTTY`).
    fn size_in(generation: Generation) -> Option<usize> {
        size_in(Self::SIZES, generation)
    }
}

/// The facts of a [`Command`], without its type.
#[derive(Clone, Copy, Debug)]
pub struct CommandFacts {
    /// [`Command::NAME`]
    pub name: &'static str,
    /// [`Command::NR`]
    pub nr: u8,
    /// [`Command::MIN_SIZE`]
    pub min_size: usize,
    /// [`Command::SIZES`]
    pub sizes: &'static [(Generation, usize)],
    /// What the command is for, one line of Markdown.
    pub summary: &'static str,
}

impl CommandFacts {
    const fn of<C: Command>(summary: &'static str) -> Self {
        Self { name: C::NAME, nr: C::NR, min_size: C::MIN_SIZE, sizes: C::SIZES, summary }
    }

    /// The ioctl number.
    pub const fn ioctl(&self) -> u32 {
        _IO(IOMMUFD_TYPE, self.nr)
    }

    /// The first generation that has the command.
    pub const fn since(&self) -> Generation {
        self.sizes[0].0
    }

    /// Size of the struct in a generation, or `None` where the command is unknown (`ENOTTY`).
    pub fn size_in(&self, generation: Generation) -> Option<usize> {
        size_in(self.sizes, generation)
    }
}

/// Every command, by rising number. The command table of the README is printed from it.
#[rustfmt::skip] // one command, one line
pub const COMMANDS: &[CommandFacts] = &[
    CommandFacts::of::<iommu_destroy>("Destroy an object of any kind"),
    CommandFacts::of::<iommu_ioas_alloc>("Make an empty IOAS"),
    CommandFacts::of::<iommu_ioas_allow_iovas>("Keep ranges mappable, whatever attaches later"),
    CommandFacts::of::<iommu_ioas_copy>("Place what one IOAS maps into another, or elsewhere in the same"),
    CommandFacts::of::<iommu_ioas_iova_ranges>("List the IOVA that may be mapped"),
    CommandFacts::of::<iommu_ioas_map>("Place user memory at an IOVA"),
    CommandFacts::of::<iommu_ioas_unmap>("Remove whole areas"),
    CommandFacts::of::<iommu_option>("Read or change an option"),
    CommandFacts::of::<iommu_vfio_ioas>("Read, choose or clear the IOAS that type1 container calls use"),
    CommandFacts::of::<iommu_hwpt_alloc>("Make a hardware page table for a device"),
    CommandFacts::of::<iommu_hw_info>("Ask what the IOMMU of a device can do"),
    CommandFacts::of::<iommu_hwpt_set_dirty_tracking>("Start or stop to record which pages devices write"),
    CommandFacts::of::<iommu_hwpt_get_dirty_bitmap>("Collect, and clear, the record of written pages"),
    CommandFacts::of::<iommu_hwpt_invalidate>("Tell the IOMMU that the guest changed its own tables"),
    CommandFacts::of::<iommu_fault_alloc>("Make a queue for page faults"),
    CommandFacts::of::<iommu_ioas_map_file>("Place memory of a file at an IOVA"),
    CommandFacts::of::<iommu_viommu_alloc>("Make a virtual IOMMU on the IOMMU of a device"),
    CommandFacts::of::<iommu_vdevice_alloc>("Give a device its ID in the virtual machine"),
    CommandFacts::of::<iommu_ioas_change_process>("Count pinned memory on the calling process from now on"),
    CommandFacts::of::<iommu_veventq_alloc>("Make a queue for events of a virtual IOMMU"),
    CommandFacts::of::<iommu_hw_queue_alloc>("Let the IOMMU read a queue in guest memory"),
    CommandFacts::of::<iommu_ioas_noiommu_get_pa>("The physical address behind an IOVA, for devices without an IOMMU"),
    CommandFacts::of::<iommu_test_cmd>("Drive the mock device (`CONFIG_IOMMUFD_TEST` only)"),
];

fn size_in(sizes: &[(Generation, usize)], generation: Generation) -> Option<usize> {
    sizes.iter().rev().find(|(since, _)| *since <= generation).map(|(_, size)| *size)
}
