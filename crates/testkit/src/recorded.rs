//! Seeded calls on a VFIO device, as a program made them on real Linux.
//!
//! [`play`] makes the calls of a seed and gives a line for each, with every output that does not depend on
//! the kind of device. What real kernels answered is in `conformance/recorded/vfio-*`; the README there
//! explains a line. [`Recording::differences`] holds one against a machine.
//!
//! Derived from `vfiofuzz.c`, with which it agrees byte for byte. The order of its choices is part of the
//! format.
//!
//! *What it doesn't do:* know any right answer. A seed that no kernel was asked shows nothing.

mod calls;
mod random;
mod recording;

use std::sync::Arc;

use engine::{Caller, Engine, File, Node, Refusal};
use mem::{AddressSpace, PAGE_SIZE};
use uapi::Errno;

pub use recording::Recording;

use crate::Client;
use calls::CALLS;
use random::Random;

/// Steps of a seed.
const STEPS: u32 = 100;

/// Where arguments are put, and where what is read and written is.
const ARGUMENT: u64 = 0x7f00_0000_0000;
const BUFFER: u64 = 0x7f00_0001_0000;
/// Memory to map: 16 pages.
const ARENA: u64 = 0x2000_0000_0000;

/// The lines of a seed, on the first VFIO device of a machine.
///
/// # Panics
///
/// When the machine has none.
pub fn play(engine: &Arc<Engine>, seed: u64) -> Vec<String> {
    let mut player = Player::new(engine, seed);
    let total = CALLS.iter().map(|(_, weight)| weight).sum();
    for step in 0..STEPS {
        player.line = format!("{step} ");
        match step {
            5 => calls::ioas(&mut player),
            6..=8 if !player.bound => calls::bind(&mut player),
            10 => calls::attach(&mut player),
            _ => {
                let mut ahead = player.random.below(total);
                for (call, weight) in CALLS {
                    if ahead < *weight {
                        call(&mut player);
                        break;
                    }
                    ahead -= weight;
                }
            }
        }
        let line = std::mem::take(&mut player.line);
        player.lines.push(line);
    }
    player.lines
}

/// A program under way.
struct Player {
    random: Random,
    client: Client,
    device: i32,
    iommu: i32,
    /// A descriptor of no use.
    other: i32,
    eventfd: i32,
    ioas: u32,
    hwpt: u32,
    device_id: u32,
    bound: bool,
    line: String,
    lines: Vec<String>,
}

/// Adds to the line of a step.
macro_rules! say {
    ($player:expr, $($part:tt)*) => {
        std::fmt::Write::write_fmt(&mut $player.line, format_args!($($part)*)).expect("a string")
    };
}
use say;

impl Player {
    fn new(engine: &Arc<Engine>, seed: u64) -> Self {
        let mut client = Client::new();
        for (at, pages) in [(ARGUMENT, 1), (BUFFER, 1), (ARENA, 16)] {
            client.memory.map(at, pages, true);
        }
        let (other, eventfd) = (client.new_other(), client.new_eventfd());
        let iommu = client.open_on(engine);
        let file = engine.open(&mut client, Node::VfioDevice(0)).expect("a VFIO device");
        let device = client.install(file).expect("a free descriptor");
        Self {
            random: Random::new(seed),
            client,
            device,
            iommu,
            other,
            eventfd,
            ioas: 0,
            hwpt: 0,
            device_id: 0,
            bound: false,
            line: String::new(),
            lines: Vec::new(),
        }
    }

    /// A call with words as its argument, whose first is replaced by the size, mostly; whether it
    /// succeeded, with what is there afterwards.
    fn call(&mut self, name: &str, fd: i32, nr: u32, words: &mut [u32], size: u32) -> bool {
        let mut bytes = vec![0; PAGE_SIZE as usize];
        for (to, word) in bytes.chunks_exact_mut(4).zip(&*words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        bytes[size as usize..].fill(0);
        let told = match self.random.below(60) {
            0 => size - 4,
            1 => 0,
            2 => size + 8,
            3 => {
                bytes[size as usize] = 1;
                size + 8
            }
            4 => 2000,
            _ => size,
        };
        bytes[..4].copy_from_slice(&told.to_ne_bytes());
        self.client.memory.write(ARGUMENT, &bytes).expect("an argument");
        let answer = self.client.ioctl(fd, command(nr), ARGUMENT);
        let excess = i64::from(told) - i64::from(size);
        say!(self, "{name} a{excess:+} -> ");
        self.say_answer(answer.as_ref().map(|_| 0));
        self.client.memory.read(ARGUMENT, &mut bytes).expect("an argument");
        for (word, from) in words.iter_mut().zip(bytes[..size as usize].chunks_exact(4)) {
            *word = u32::from_ne_bytes([from[0], from[1], from[2], from[3]]);
        }
        answer == Ok(0)
    }

    /// A call whose argument is what it is.
    fn plain_call(&mut self, nr: u32, first: u32) -> Result<i64, Refusal> {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&first.to_ne_bytes());
        self.client.memory.write(ARGUMENT, &bytes).expect("an argument");
        self.client.ioctl(self.device, command(nr), ARGUMENT)
    }

    fn file(&self) -> File {
        self.client.open_file(self.device)
    }

    /// `pread(2)`: how many bytes, and a page that begins with them.
    fn read(&mut self, count: u32, at: u64) -> (Result<u64, Refusal>, Vec<u8>) {
        let mut bytes = vec![0; PAGE_SIZE as usize];
        self.client.memory.write(BUFFER, &bytes).expect("a buffer");
        let done = self.file().read(&mut self.client, BUFFER, count.into(), Some(at));
        self.client.memory.read(BUFFER, &mut bytes).expect("a buffer");
        (done, bytes)
    }

    /// `pwrite(2)`
    fn write(&mut self, bytes: &[u8], at: u64) -> Result<u64, Refusal> {
        self.client.memory.write(BUFFER, bytes).expect("a buffer");
        self.file().write(&mut self.client, BUFFER, bytes.len() as u64, Some(at))
    }

    /// What a system call returned, and its errno.
    fn say_answer<T: std::fmt::Display>(&mut self, answer: Result<T, &Refusal>) {
        match answer {
            Ok(value) => say!(self, "{value} 0"),
            Err(refusal) => say!(self, "-1 {}", errno(refusal)),
        }
    }

    /// Something to attach to, or to destroy.
    fn some_table(&mut self) -> u32 {
        match self.random.below(10) {
            0..4 => self.ioas,
            4..8 => self.hwpt,
            8 => self.device_id,
            _ => self.random.below(40),
        }
    }
}

/// The ioctl number of a VFIO command; iommufd has the same letter.
fn command(nr: u32) -> u32 {
    u32::from(b';') << 8 | nr
}

fn errno(refusal: &Refusal) -> i32 {
    Errno::code(refusal.errno())
}
