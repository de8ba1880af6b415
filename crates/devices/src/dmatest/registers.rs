//! The registers, see [`spec`].

use std::time::Duration;

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
    script: Box<[u8]>,
    results: Box<[u8]>,
    data: Box<[u8]>,
    first_latency: Latency,
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

fn zeros(size: usize) -> Box<[u8]> {
    vec![0; size].into()
}

impl Registers {
    /// What they are first; a reset brings that back.
    pub fn new(latency: Latency) -> Self {
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
            script: zeros(SCRIPT_SIZE),
            results: zeros(RESULTS_SIZE),
            data: zeros(spec::DATA_SIZE),
            first_latency: latency,
        }
    }

    /// As it was first; gives the latency that counts then.
    pub fn reset(&mut self) -> Latency {
        *self = Self::new(self.first_latency);
        self.first_latency
    }

    pub fn read(&self, offset: u64, to: &mut [u8]) {
        for (index, byte) in to.iter_mut().enumerate() {
            *byte = self.byte(offset.wrapping_add(index as u64));
        }
    }

    fn byte(&self, offset: u64) -> u8 {
        let of = |area: &[u8], start: u64| -> Option<u8> {
            let index = usize::try_from(offset.checked_sub(start)?).ok()?;
            area.get(index).copied()
        };
        if offset < spec::SCRIPT {
            return self.word(offset & !3).to_le_bytes()[offset as usize % 4];
        }
        let data = of(&self.data, spec::DATA).or_else(|| of(&self.results, spec::RESULTS));
        data.or_else(|| of(&self.script, spec::SCRIPT)).unwrap_or(0)
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
            } else if let Some(script) = usize::try_from(at - spec::SCRIPT)
                .ok()
                .and_then(|index| self.script.get_mut(index..index + length))
            {
                script.copy_from_slice(part);
            }
            done += length;
        }
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
        let operations = self.script.chunks_exact(size_of::<spec::Operation>()).take(count);
        let decode = |bytes| Operation::decode(&spec::Operation::read_from_bytes(bytes).ok()?);
        Some(operations.map(decode).collect())
    }

    /// A script that was started here is done.
    pub fn complete(&mut self, outcomes: &[Outcome]) {
        self.results.fill(0);
        self.data.fill(0);
        let mut used = 0;
        for (room, outcome) in
            self.results.chunks_exact_mut(size_of::<spec::Outcome>()).zip(outcomes)
        {
            // of what does not fit anymore nothing is told
            let end = used + outcome.bytes.len();
            let length = match self.data.get_mut(used..end) {
                Some(data) => {
                    data.copy_from_slice(&outcome.bytes);
                    outcome.bytes.len()
                }
                None => 0,
            };
            room.copy_from_slice(outcome.encode(used as u32, length as u32).as_bytes());
            used += length;
        }
        self.completed = self.completed.wrapping_add(1);
        self.status = spec::COMPLETE;
    }
}
