//! One seed: a fresh process, a fresh arena, a fresh `/dev/iommu`, then the steps.
//!
//! Step 0 allocates an IOAS, steps 1 and 2 add mock devices. Three seeds in four then follow a script
//! until step 8, which leads into a deeper part of the API; everything else is chosen by weight.
//!
//! | `seed % 4` | the script leads to |
//! |---|---|
//! | 0 | (no script) |
//! | 1 | a nesting parent, then a viommu, a virtual device and an event queue |
//! | 2 | nested hwpts, one of them with a fault queue, and a device attached to one |
//! | 3 | a hwpt with dirty tracking, a device attached to it, and a mapping |
//!
//! A sequence that the system under test kills, or that takes more than 20 seconds, ends with the
//! process; the line `child status` then gives the wait status in hexadecimal.

use std::io;

use crate::ops;
use crate::player::{Kind, Player};
use crate::sys::{self, Arena, Ending};

/// Flags of `IOMMU_HWPT_ALLOC`.
const NEST_PARENT: u32 = 1;
const DIRTY_TRACKING: u32 = 2;
const PASID: u32 = 8;

/// Exit statuses of a child that could not play.
const NO_ARENA: i32 = 2;
const NO_IOMMU: i32 = 3;

/// Plays `steps` steps of every seed of `first..=last`.
pub fn play_all(first: u64, last: u64, steps: u32) -> io::Result<()> {
    for seed in first..=last {
        print_line(&format!("== seed {seed}"))?;
        let status = sys::in_child(|| play(seed, steps));
        if status != 0 {
            print_line(&format!("child status {status:x}"))?;
        }
    }
    Ok(())
}

fn print_line(line: &str) -> io::Result<()> {
    use io::Write;
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn play(seed: u64, steps: u32) -> Ending {
    let Ok(arena) = Arena::map() else { return Ending::Failed(NO_ARENA) };
    let iommu = match sys::open_iommu() {
        Ok(iommu) => iommu,
        Err(errno) => {
            // A reader that is gone changes nothing: the status says it too.
            let _ = print_line(&format!("{CANNOT_OPEN}{errno}"));
            return Ending::Failed(NO_IOMMU);
        }
    };
    let mut player = Player::new(seed, iommu, &arena);
    for step in 0..steps {
        player.step = step;
        play_step(&mut player, seed % 4);
        player.next_line();
    }
    Ending::Played
}

/// How the one line of a seed begins when `/dev/iommu` does not open; the errno follows.
pub const CANNOT_OPEN: &str = "open: ";

fn play_step(player: &mut Player, script: u64) {
    match player.step {
        0 => ops::alloc_ioas(player),
        1 | 2 => ops::mock_domain(player),
        3..9 if script != 0 => play_script(player, script),
        _ => ops::play_any(player),
    }
}

/// Steps 3 to 8 of a script. A device is drawn in each step, needed or not.
fn play_script(player: &mut Player, script: u64) {
    let device = player.of(Kind::Dev);
    match (script, player.step) {
        (_, 3) => ops::alloc_fault(player),
        (_, step @ (4 | 5)) => {
            let flags = match script {
                3 => DIRTY_TRACKING,
                2 if step == 5 => PASID,
                _ => NEST_PARENT,
            };
            let ioas = player.first_of(Kind::Ioas);
            ops::alloc_with_flags(player, device, ioas, flags);
        }
        (1, 6) => ops::alloc_viommu(player),
        (1, 7) => ops::alloc_vdevice(player),
        (1, _) => ops::alloc_veventq(player),
        (2, step @ (6 | 7)) => ops::alloc_selftest_nest(player, device, step == 7),
        (2, _) => ops::attach(player, Kind::Nest),
        (_, 6) => ops::attach(player, Kind::Hwpt),
        (_, 7) => ops::set_dirty_tracking(player),
        (_, _) => ops::map(player),
    }
}
