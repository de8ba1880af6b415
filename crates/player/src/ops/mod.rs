//! The operations of a sequence and how often each is played.
//!
//! An operation chooses arguments, makes one call (rarely two) and prints the arguments and what the
//! struct holds afterwards. Arguments are printed as asked, so they are taken before the call; outputs
//! are printed after a failed call too where they belong to the struct, because what a kernel writes back
//! on failure is part of its answer.
//!
//! # The order of choices
//!
//! A recording holds for one order of draws, and a struct literal here is evaluated as written. The
//! original is in C, where the order within an initialiser is the compiler's: GCC 12 takes the struct's
//! own field order, whatever the order of the designators. Literals here are written in that order; do
//! not sort their fields.
//!
//! # Memory that is asked for but never filled
//!
//! Some calls name more bytes than their data has. The original had leftovers of its stack there; here
//! are [`leftovers`]. Kernels refuse a longer struct whose trailing bytes are not zero, and in none of the
//! recorded calls does the answer hang on such bytes: most fail earlier. For seeds that nobody recorded,
//! an invalidation with entries of 13 bytes or more is the one call that they can decide.

mod hwpt;
mod ioas;
mod mock;
mod queue;
mod viommu;

pub use hwpt::{alloc_selftest_nest, alloc_with_flags, set_dirty_tracking};
pub use ioas::{alloc as alloc_ioas, map};
pub use mock::{attach, mock_domain};
pub use queue::alloc_fault;
pub use viommu::{alloc_vdevice, alloc_veventq, alloc_viommu};

use crate::player::Player;

/// Words that the original left unset, as they mostly were: 64-bit slots with a small number, whose
/// upper half is zero. (In 6000 invalidations of the original the upper halves were zero in 80 % and the
/// lower ones in less than half.)
fn leftovers<const N: usize>() -> [u32; N] {
    std::array::from_fn(|i| if i % 2 == 0 { 0x5a5a_5a5a } else { 0 })
}

/// A row of the table.
struct Op {
    play: fn(&mut Player),
    /// How often, of the table's total.
    weight: u32,
}

const fn op(play: fn(&mut Player), weight: u32) -> Op {
    Op { play, weight }
}

/// Every operation, in the order in which a draw counts them off.
static OPS: &[Op] = &[
    op(ioas::alloc, 6),
    op(ioas::destroy, 6),
    op(ioas::map, 22),
    op(ioas::map_file, 4),
    op(ioas::unmap, 9),
    op(ioas::copy, 6),
    op(ioas::iova_ranges, 4),
    op(ioas::allow_iovas, 2),
    op(ioas::option, 3),
    op(ioas::vfio_ioas, 2),
    op(hwpt::alloc, 9),
    op(hwpt::hw_info, 3),
    op(hwpt::set_dirty_tracking, 3),
    op(hwpt::get_dirty_bitmap, 3),
    op(hwpt::invalidate, 4),
    op(queue::alloc_fault, 2),
    op(viommu::alloc_viommu, 4),
    op(viommu::alloc_vdevice, 3),
    op(viommu::alloc_veventq, 2),
    op(viommu::alloc_hw_queue, 2),
    op(mock::mock_domain, 7),
    op(mock::replace, 4),
    op(mock::check_map, 7),
    op(mock::add_reserved, 2),
    op(mock::mark_dirty, 3),
    op(mock::check_iotlb, 2),
    op(mock::trigger_iopf, 3),
    op(mock::check_cache, 2),
    op(mock::trigger_vevent, 2),
    op(mock::pasid, 6),
    op(queue::read, 4),
    op(queue::write, 3),
    op(queue::unknown_command, 1),
    op(mock::access, 3),
];

/// Plays one operation, chosen by weight.
pub fn play_any(player: &mut Player) {
    let total = OPS.iter().map(|op| op.weight).sum();
    let mut ahead = player.rng.below(total);
    for op in OPS {
        if ahead < op.weight {
            return (op.play)(player);
        }
        ahead -= op.weight;
    }
}
