//! What a running sequence knows, and how it chooses the values it asks for.
//!
//! A sequence of random numbers would be refused at the first check. So the player remembers what the
//! system gave it (object IDs by kind, mappings, descriptors) and mostly asks about those, newest first,
//! with some stale, wrong or made-up values mixed in.
//!
//! | word | meaning |
//! |---|---|
//! | *step* | one operation of the sequence; prints one line (two when it makes two calls) |
//! | *kind* | what an ID was returned as; a destroyed object's ID stays known |
//! | *related mapping* | the mapping that the last chosen IOVA lies in; lengths and addresses follow it |
//!
//! The related mapping outlives its step: a step that chooses a length before an IOVA follows the mapping
//! of an earlier step. The order of choices is part of the format, see [`crate::ops`].

use std::fmt;
use std::io::{self, Write};

use crate::abi::{Command, iommu_test_cmd};
use crate::frame::Frame;
use crate::rng::Rng;
use crate::sys::{self, Arena};

/// What an object ID was returned as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ioas,
    Hwpt,
    /// A nested hwpt.
    Nest,
    /// A device, as hwpts and viommus take it.
    Dev,
    /// The mock device's own object, as attach and replace take it.
    Stdev,
    Fault,
    Viommu,
}

impl Kind {
    const COUNT: usize = Kind::Viommu as usize + 1;
}

/// A successful `IOMMU_IOAS_MAP`.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    pub iova: u64,
    pub len: u64,
    pub va: u64,
    pub ioas: u32,
}

/// Where IOVAs start that are not in a mapping. Four are common, thirteen possible: edges of the mock
/// device's reserved regions and apertures, zero, and the last page.
#[rustfmt::skip]
const IOVA_BASES: [u64; 13] = [
    0x100_0000, 0x100_1000, 0x110_0000, 0x200_0000,
    0x7ff0_0000, 0x7fff_e000, 0x7fff_f000, 0, 0x1000, 0x80_0000, 0x8000_0000, 0x1_0000_0000, LAST_PAGE,
];
/// The address of the last page.
const LAST_PAGE: u64 = !0xfff;

/// Most IDs, IDs of a kind, mappings and descriptors that are remembered.
const IDS: usize = 64;
const IDS_OF_A_KIND: usize = 16;
const MAPPINGS: usize = 16;
const DESCRIPTORS: usize = 8;

/// One sequence.
#[derive(Debug)]
pub struct Player {
    pub rng: Rng,
    /// The open `/dev/iommu`.
    pub iommu: i32,
    /// The arena's memfd.
    pub memfd: i32,
    /// The current step.
    pub step: u32,
    /// Descriptors of fault and event queues.
    pub queues: Vec<i32>,
    ids: Vec<u32>,
    by_kind: [Vec<u32>; Kind::COUNT],
    mappings: Vec<Mapping>,
    related: Option<usize>,
    line: String,
}

/// Adds to the current output line.
macro_rules! say {
    ($player:expr, $($part:tt)*) => { $player.say(format_args!($($part)*)) };
}
pub(crate) use say;

/// Output.
impl Player {
    /// A sequence that knows nothing yet.
    pub fn new(seed: u64, iommu: i32, arena: &Arena) -> Player {
        Player {
            rng: Rng::new(seed),
            iommu,
            memfd: arena.memfd,
            step: 0,
            queues: Vec::new(),
            ids: Vec::new(),
            by_kind: Default::default(),
            mappings: Vec::new(),
            related: None,
            line: String::new(),
        }
    }

    /// Adds to the current line; see [`say!`].
    pub fn say(&mut self, part: fmt::Arguments<'_>) {
        fmt::Write::write_fmt(&mut self.line, part).expect("a String takes everything");
    }

    /// Ends the current line and hands it out, so that a sequence which dies shows where.
    ///
    /// A reader that is gone ends the sequence's process, as `SIGPIPE` would.
    pub fn next_line(&mut self) {
        self.line.push('\n');
        let mut out = io::stdout().lock();
        if out.write_all(self.line.as_bytes()).and_then(|()| out.flush()).is_err() {
            std::process::exit(1);
        }
        self.line.clear();
    }
}

/// Calls.
impl Player {
    /// Makes the call and says so; true when it succeeded. `command` is then as the call left it.
    pub fn call<C: Command>(&mut self, command: &mut C) -> bool {
        self.call_as(C::NAME, command)
    }

    /// A call to the mock device, under the name of the operation.
    pub fn test(&mut self, name: &str, command: &mut iommu_test_cmd) -> bool {
        self.call_as(name, command)
    }

    fn call_as<C: Command>(&mut self, name: &str, command: &mut C) -> bool {
        let mut frame = Frame::new(&mut self.rng, command.as_bytes());
        let answer = sys::ioctl(self.iommu, C::NR, frame.argument());
        let (step, excess) = (self.step, frame.excess);
        say!(self, "{step} {name} sz{excess:+} -> {} {}", answer.value, answer.errno);
        *command = C::read_from_bytes(frame.command(size_of::<C>())).expect("its own size");
        answer.succeeded()
    }
}

/// What came back is remembered.
impl Player {
    /// An ID that was returned; the first 64 are remembered.
    pub fn remember(&mut self, id: u32) {
        if self.ids.len() < IDS {
            self.ids.push(id);
        }
    }

    /// An ID that was returned as `kind`; replaces an arbitrary one of its kind when there are 16.
    pub fn keep(&mut self, kind: Kind, id: u32) {
        let known = &mut self.by_kind[kind as usize];
        if known.len() < IDS_OF_A_KIND {
            known.push(id);
        } else {
            known[self.rng.index(IDS_OF_A_KIND)] = id;
        }
    }

    /// The usual end of a successful allocation: prints and remembers `id`.
    pub fn allocated(&mut self, kind: Kind, id: u32) {
        say!(self, " id={id}");
        self.remember(id);
        self.keep(kind, id);
    }

    /// A queue's descriptor; the first eight are remembered.
    pub fn keep_queue(&mut self, fd: i32) {
        if self.queues.len() < DESCRIPTORS {
            self.queues.push(fd);
        }
    }

    /// A mapping that was made; replaces an arbitrary one when there are 16.
    pub fn keep_mapping(&mut self, mapping: Mapping) {
        if self.mappings.len() < MAPPINGS {
            self.mappings.push(mapping);
        } else {
            self.mappings[self.rng.index(MAPPINGS)] = mapping;
        }
    }
}

/// Choices.
impl Player {
    /// Any ID: mostly one of the ten newest, else any known one, a small number, or 0.
    pub fn any_id(&mut self) -> u32 {
        let (choice, known) = (self.rng.below(100), self.ids.len());
        if choice < 88 && known > 0 {
            self.ids[known - 1 - self.rng.index(known.min(10))]
        } else if choice < 94 && known > 0 {
            self.ids[self.rng.index(known)]
        } else if self.rng.below(3) != 0 {
            self.rng.below(40)
        } else {
            0
        }
    }

    /// Mostly one of the four newest IDs of `kind`, else any ID.
    pub fn of(&mut self, kind: Kind) -> u32 {
        let known = self.by_kind[kind as usize].len();
        if known > 0 && self.rng.chance(90) {
            self.by_kind[kind as usize][known - 1 - self.rng.index(known.min(4))]
        } else {
            self.any_id()
        }
    }

    /// Something to attach to: an IOAS, a hwpt or a nested hwpt.
    pub fn pt(&mut self) -> u32 {
        let kind = match self.rng.below(10) {
            0..4 => Kind::Ioas,
            4..8 => Kind::Hwpt,
            _ => Kind::Nest,
        };
        self.of(kind)
    }

    /// The oldest known ID of `kind`, without a draw; 0 when there is none.
    pub fn first_of(&self, kind: Kind) -> u32 {
        self.by_kind[kind as usize].first().copied().unwrap_or(0)
    }

    /// How many IDs of `kind` are remembered.
    pub fn count_of(&self, kind: Kind) -> usize {
        self.by_kind[kind as usize].len()
    }

    /// `usual`, or in 4 % with one arbitrary bit added.
    pub fn flags(&mut self, usual: u32) -> u32 {
        if self.rng.chance(96) { usual } else { usual | 1 << self.rng.below(32) }
    }

    /// A field that should be zero.
    pub fn zeroish(&mut self) -> u32 {
        if self.rng.chance(97) { 0 } else { 1 + self.rng.below(5) }
    }

    /// A whole number of pages below `n`, in bytes.
    pub fn pages(&mut self, n: u32) -> u64 {
        4096 * u64::from(self.rng.below(n))
    }

    /// An IOVA, related to a known mapping when it can be.
    pub fn iova(&mut self) -> u64 {
        self.iova_among(self.known_mappings())
    }

    /// As [`Player::iova`], in the page that it lies in.
    pub fn page_iova(&mut self) -> u64 {
        self.iova() & !4095
    }

    /// An IOVA that knows only the first `visible` mappings.
    pub fn iova_among(&mut self, visible: usize) -> u64 {
        self.related = None;
        if visible > 0 && self.rng.chance(65) {
            let chosen = self.rng.index(visible);
            self.related = Some(chosen);
            let start = self.mappings[chosen].iova;
            return if self.rng.chance(15) { start.wrapping_add(self.pages(4)) } else { start };
        }
        let bases = if self.rng.chance(80) { 4 } else { IOVA_BASES.len() };
        let mut iova = IOVA_BASES[self.rng.index(bases)].wrapping_add(self.pages(16));
        if self.rng.chance(8) {
            iova = iova.wrapping_add(self.rng.below(4096).into());
        }
        if self.rng.chance(4) {
            iova = iova.wrapping_add(2048);
        }
        iova
    }

    /// How many mappings [`Player::iova_among`] may know.
    pub fn known_mappings(&self) -> usize {
        self.mappings.len()
    }

    /// Until the next IOVA is chosen, no mapping is related.
    pub fn forget_related(&mut self) {
        self.related = None;
    }

    /// The mapping that the last chosen IOVA lies in.
    pub fn related(&self) -> Option<Mapping> {
        self.related.map(|chosen| self.mappings[chosen])
    }

    /// A length, of the related mapping when there is one.
    pub fn len(&mut self) -> u64 {
        if let Some(mapping) = self.related()
            && self.rng.chance(75)
        {
            return mapping.len;
        }
        match self.rng.below(100) {
            0..60 => 4096 + self.pages(8),
            60..75 => 65536,
            75..80 => 0,
            80..85 => 2048,
            85..90 => self.rng.below(9000).into(),
            90..93 => u64::MAX,
            93..96 => 1 << 31,
            _ => Arena::LEN as u64,
        }
    }

    /// A user address, of the related mapping when there is one.
    pub fn va(&mut self) -> u64 {
        if let Some(mapping) = self.related()
            && self.rng.chance(60)
        {
            return mapping.va;
        }
        let mut va = Arena::BASE + self.pages(200);
        if self.rng.chance(6) {
            va += u64::from(self.rng.below(4096));
        }
        if self.rng.chance(2) {
            va = 0;
        }
        if self.rng.chance(2) {
            va = LAST_PAGE;
        }
        va
    }
}

/// How lines print a user address: its distance from the arena.
pub fn arena_offset(va: u64) -> i64 {
    va.wrapping_sub(Arena::BASE) as i64
}
