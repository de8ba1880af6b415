//! The registers, see [`spec`].
//!
//! What programs read is in memory that they may map. The few words that the device goes by are kept here,
//! and shown there.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mem::SharedFile;
use zerocopy::{FromBytes, IntoBytes};

use super::script::{Operation, Outcome};
use super::spec;
use crate::Latency;

const SCRIPT_SIZE: usize = spec::OPERATIONS * size_of::<spec::Operation>();
const RESULTS_SIZE: usize = spec::OPERATIONS * size_of::<spec::Outcome>();

/// What the BAR holds.
#[derive(Debug)]
pub(super) struct Registers {
    status: u32,
    error: u32,
    completed: u32,
    latency_kind: u32,
    latency: u64,
    seed: u64,
    first_latency: Latency,
    shown: crate::registers::Registers,
}

/// What a write makes the device do, beside holding it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// A script is to be made.
    pub start: Option<Vec<Option<Operation>>>,
    /// Completions take another time.
    pub latency: Option<Latency>,
    pub reset: bool,
}

/// Words that the device goes by: all below here.
const WORDS: u64 = spec::SEED + 8;

impl Registers {
    /// What they are first; a reset brings that back. Errors are those of making memory.
    pub fn new(latency: Latency) -> io::Result<Self> {
        let shown = crate::registers::Registers::new("dmatest", spec::BAR_SIZE)?;
        let it = Self::first(latency, shown);
        it.show();
        Ok(it)
    }

    fn first(latency: Latency, shown: crate::registers::Registers) -> Self {
        let nanos = |it: Duration| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX);
        let (latency_kind, time, seed) = match latency {
            Latency::None => (spec::LATENCY_NONE, 0, 0),
            Latency::Fixed(time) => (spec::LATENCY_FIXED, nanos(time), 0),
            Latency::Random { max, seed } => (spec::LATENCY_RANDOM, nanos(max), seed),
        };
        Self {
            status: spec::IDLE,
            error: 0,
            completed: 0,
            latency_kind,
            latency: time,
            seed,
            first_latency: latency,
            shown,
        }
    }

    /// As it was first; gives the latency that counts then.
    pub fn reset(&mut self) -> Latency {
        self.shown.write(spec::SCRIPT, &[0; SCRIPT_SIZE]);
        self.show_results(&[0; RESULTS_SIZE], &[]);
        let shown = self.shown.clone();
        *self = Self::first(self.first_latency, shown);
        self.show();
        self.first_latency
    }

    /// The memory that programs map.
    pub fn memory(&self) -> Arc<SharedFile> {
        self.shown.memory()
    }

    pub fn read(&self, offset: u64, to: &mut [u8]) {
        self.shown.read(offset, to);
    }

    /// Shows the words; the state last, since it tells that the others are there.
    fn show(&self) {
        let others = (0..WORDS).step_by(4).filter(|offset| *offset != spec::STATUS);
        for offset in others.chain([spec::STATUS]) {
            self.shown.store32(offset, self.word(offset));
        }
    }

    /// Shows results, and data with zeros behind it.
    fn show_results(&self, results: &[u8; RESULTS_SIZE], data: &[u8]) {
        let mut whole = vec![0; spec::DATA_SIZE];
        whole[..data.len()].copy_from_slice(data);
        self.shown.write(spec::RESULTS, results);
        self.shown.write(spec::DATA, &whole);
    }

    fn word(&self, offset: u64) -> u32 {
        const LATENCY_HIGH: u64 = spec::LATENCY + 4;
        const SEED_HIGH: u64 = spec::SEED + 4;
        match offset {
            spec::ID => spec::ID_VALUE,
            spec::VERSION => spec::VERSION_VALUE,
            spec::STATUS => self.status,
            spec::ERROR => self.error,
            spec::COMPLETED => self.completed,
            spec::LATENCY_KIND => self.latency_kind,
            spec::LATENCY => self.latency as u32,
            LATENCY_HIGH => (self.latency >> 32) as u32,
            spec::SEED => self.seed as u32,
            SEED_HIGH => (self.seed >> 32) as u32,
            _ => 0,
        }
    }

    /// Takes a write.
    pub fn write(&mut self, offset: u64, from: &[u8]) -> Effects {
        let mut effects = Effects::default();
        let mut done = 0;
        while done < from.len() {
            let at = offset.wrapping_add(done as u64);
            let within = (at % 4) as usize;
            let length = (4 - within).min(from.len() - done);
            let part = &from[done..done + length];
            if at < spec::SCRIPT {
                let mut word = self.word(at & !3).to_le_bytes();
                word[within..within + length].copy_from_slice(part);
                self.set_word(at & !3, u32::from_le_bytes(word), &mut effects);
            } else if at - spec::SCRIPT < SCRIPT_SIZE as u64 {
                self.shown.write(at, part);
            }
            done += length;
        }
        self.show();
        effects
    }

    fn set_word(&mut self, offset: u64, value: u32, effects: &mut Effects) {
        const LATENCY_HIGH: u64 = spec::LATENCY + 4;
        const SEED_HIGH: u64 = spec::SEED + 4;
        let low = |old: u64| old & !u64::from(u32::MAX) | u64::from(value);
        let high = |old: u64| old & u64::from(u32::MAX) | u64::from(value) << 32;
        match offset {
            spec::DOORBELL => effects.start = self.ring(value).or(effects.start.take()),
            spec::ERROR => self.error = 0,
            spec::RESET => effects.reset |= value != 0,
            spec::LATENCY_KIND => self.latency_kind = value,
            spec::LATENCY => self.latency = low(self.latency),
            LATENCY_HIGH => self.latency = high(self.latency),
            spec::SEED => self.seed = low(self.seed),
            SEED_HIGH => self.seed = high(self.seed),
            _ => return,
        }
        if offset >= spec::LATENCY_KIND {
            effects.latency = Some(self.told_latency());
        }
    }

    fn told_latency(&self) -> Latency {
        let time = Duration::from_nanos(self.latency.min(spec::LATENCY_MAX));
        match self.latency_kind {
            spec::LATENCY_FIXED => Latency::Fixed(time),
            spec::LATENCY_RANDOM => Latency::Random { max: time, seed: self.seed },
            _ => Latency::None,
        }
    }

    fn ring(&mut self, count: u32) -> Option<Vec<Option<Operation>>> {
        let count = count as usize;
        if self.status == spec::RUNNING {
            self.error = spec::ERROR_BUSY;
            return None;
        }
        if count == 0 || count > spec::OPERATIONS {
            self.error = spec::ERROR_COUNT;
            return None;
        }
        self.status = spec::RUNNING;
        let mut script = [0; SCRIPT_SIZE];
        self.shown.read(spec::SCRIPT, &mut script);
        let operations = script.chunks_exact(size_of::<spec::Operation>()).take(count);
        let decode = |bytes| Operation::decode(&spec::Operation::read_from_bytes(bytes).ok()?);
        Some(operations.map(decode).collect())
    }

    /// A script that was started here is done.
    pub fn complete(&mut self, outcomes: &[Outcome]) {
        let mut results = [0; RESULTS_SIZE];
        let mut data = Vec::new();
        for (room, outcome) in results.chunks_exact_mut(size_of::<spec::Outcome>()).zip(outcomes) {
            // of what does not fit anymore nothing is told
            let (start, fits) = (data.len(), data.len() + outcome.bytes.len() <= spec::DATA_SIZE);
            let bytes = if fits { &*outcome.bytes } else { &[] };
            data.extend_from_slice(bytes);
            room.copy_from_slice(outcome.encode(start as u32, bytes.len() as u32).as_bytes());
        }
        self.show_results(&results, &data);
        self.completed = self.completed.wrapping_add(1);
        self.status = spec::COMPLETE;
        self.show();
    }
}
