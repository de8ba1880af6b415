//! Features (B 5.17, 5.27): what the host may set. A reset of the controller brings the defaults back; none can
//! be saved over it.

use std::time::Instant;

use super::events::Event;
use super::logs::TEMPERATURE;
use super::queues::Completions;
use super::spec::{Command, NSID_ALL, QUEUES, Status, VECTORS, feature};

/// The values.
#[derive(Debug)]
pub(super) struct Features {
    arbitration: u32,
    /// Thresholds of the temperature, in kelvin.
    too_hot: u16,
    too_cold: u16,
    error_recovery: u32,
    write_cache: bool,
    coalescing: u32,
    /// Interrupts that are never coalesced.
    apart: Vec<bool>,
    write_atomicity: u32,
    async_events: u32,
    /// Milliseconds, when they were told, and whether by the host.
    timestamp: (u64, Instant, bool),
}

/// Whether a feature is a namespace's own; none when there is no such feature. All can be changed.
fn is_of_namespace(number: u8) -> Option<bool> {
    match number {
        feature::ERROR_RECOVERY => Some(true),
        feature::ARBITRATION
        | feature::POWER_MANAGEMENT
        | feature::TEMPERATURE_THRESHOLD
        | feature::VOLATILE_WRITE_CACHE
        | feature::NUMBER_OF_QUEUES
        | feature::INTERRUPT_COALESCING
        | feature::INTERRUPT_VECTOR
        | feature::WRITE_ATOMICITY
        | feature::ASYNC_EVENTS
        | feature::TIMESTAMP
        | feature::COMMAND_SET_PROFILE => Some(false),
        _ => None,
    }
}

/// What Get Features gives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    /// Dword 0 of the completion.
    Word(u32),
    /// Data: a timestamp.
    Data([u8; 8]),
}

/// Queues of each kind, from 0, in both halves.
const NUMBER_OF_QUEUES: u32 = (QUEUES as u32 - 2) << 16 | (QUEUES as u32 - 2);

impl Features {
    pub fn new() -> Self {
        Self {
            // no limit
            arbitration: 7,
            // as WCTEMP
            too_hot: super::identify::WARNING_TEMPERATURE,
            too_cold: 0,
            error_recovery: 0,
            write_cache: true,
            coalescing: 0,
            apart: vec![false; VECTORS.into()],
            write_atomicity: 0,
            async_events: 0,
            timestamp: (0, Instant::now(), false),
        }
    }

    /// Whether writes need not be there to stay when they complete.
    pub fn has_write_cache(&self) -> bool {
        self.write_cache
    }

    pub fn is_temperature_critical(&self) -> bool {
        TEMPERATURE >= self.too_hot || TEMPERATURE <= self.too_cold
    }

    /// What the host wants to be told of by now.
    pub fn event(&self) -> Option<Event> {
        let wanted = self.async_events & 1 << 1 != 0;
        (wanted && self.is_temperature_critical()).then_some(Event::TEMPERATURE)
    }

    /// Get Features.
    pub fn get(&self, command: &Command, namespaces: u32) -> Result<Value, Status> {
        let number = command.cdw10 as u8;
        let of_namespace = is_of_namespace(number).ok_or(Status::INVALID_FIELD)?;
        if of_namespace && !(1..=namespaces).contains(&command.nsid) {
            return Err(Status::INVALID_NAMESPACE);
        }
        let defaults = Self::new();
        match command.cdw10 >> 8 & 7 {
            0 => self.value(number, command.cdw11),
            // nothing is saved
            1 | 2 => defaults.value(number, command.cdw11),
            // what can be done with it: it can be changed
            3 => Ok(Value::Word(u32::from(of_namespace) << 1 | 1 << 2)),
            _ => Err(Status::INVALID_FIELD),
        }
    }

    fn value(&self, number: u8, cdw11: u32) -> Result<Value, Status> {
        Ok(Value::Word(match number {
            feature::ARBITRATION => self.arbitration,
            feature::TEMPERATURE_THRESHOLD => match threshold(cdw11) {
                (0, 0) => self.too_hot.into(),
                (0, 1) => self.too_cold.into(),
                // there are no more sensors
                (1..=8, 0 | 1) => 0,
                _ => return Err(Status::INVALID_FIELD),
            },
            feature::ERROR_RECOVERY => self.error_recovery,
            feature::VOLATILE_WRITE_CACHE => self.write_cache.into(),
            feature::NUMBER_OF_QUEUES => NUMBER_OF_QUEUES,
            feature::INTERRUPT_COALESCING => self.coalescing,
            feature::INTERRUPT_VECTOR => {
                let vector = cdw11 & 0xffff;
                let apart = self.apart.get(vector as usize).ok_or(Status::INVALID_FIELD)?;
                vector | u32::from(*apart) << 16
            }
            feature::WRITE_ATOMICITY => self.write_atomicity,
            feature::ASYNC_EVENTS => self.async_events,
            feature::TIMESTAMP => {
                let (told, since, by_host) = self.timestamp;
                let elapsed = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                let now = told.wrapping_add(elapsed) & ((1 << 48) - 1);
                let origin = u64::from(by_host) << 49;
                return Ok(Value::Data((now | origin).to_le_bytes()));
            }
            // one power state, one profile
            _ => 0,
        }))
    }

    /// Set Features; dword 0 of the completion. `data` gives the data that a feature takes.
    pub fn set(
        &mut self,
        command: &Command,
        namespaces: u32,
        completions: &[Option<Completions>],
        data: impl FnOnce() -> Result<[u8; 8], Status>,
    ) -> Result<u32, Status> {
        let number = command.cdw10 as u8;
        let value = command.cdw11;
        let of_namespace = is_of_namespace(number).ok_or(Status::INVALID_FIELD)?;
        if command.cdw10 & 1 << 31 != 0 {
            return Err(Status::FEATURE_NOT_SAVEABLE);
        }
        check_namespace(of_namespace, command.nsid, namespaces)?;
        match number {
            feature::ARBITRATION => self.arbitration = value,
            // there is one power state
            feature::POWER_MANAGEMENT if value & 0x1f != 0 => return Err(Status::INVALID_FIELD),
            feature::TEMPERATURE_THRESHOLD => match threshold(value) {
                (0 | 15, 0) => self.too_hot = value as u16,
                (0 | 15, 1) => self.too_cold = value as u16,
                (1..=8, 0 | 1) => {}
                _ => return Err(Status::INVALID_FIELD),
            },
            // no errors for blocks that are deallocated (DULBE)
            feature::ERROR_RECOVERY if value & 1 << 16 != 0 => return Err(Status::INVALID_FIELD),
            feature::ERROR_RECOVERY => self.error_recovery = value & 0xffff,
            feature::VOLATILE_WRITE_CACHE => self.write_cache = value & 1 != 0,
            feature::NUMBER_OF_QUEUES => {
                if value & 0xffff == 0xffff || value >> 16 == 0xffff {
                    return Err(Status::INVALID_FIELD);
                }
                if completions.iter().skip(1).any(Option::is_some) {
                    return Err(Status::COMMAND_SEQUENCE_ERROR);
                }
                return Ok(NUMBER_OF_QUEUES);
            }
            feature::INTERRUPT_COALESCING => self.coalescing = value & 0xffff,
            feature::INTERRUPT_VECTOR => {
                let vector = self.apart.get_mut(value as usize & 0xffff);
                *vector.ok_or(Status::INVALID_FIELD)? = value & 1 << 16 != 0;
            }
            feature::WRITE_ATOMICITY => self.write_atomicity = value & 1,
            feature::ASYNC_EVENTS => self.async_events = value,
            feature::TIMESTAMP => {
                let told = u64::from_le_bytes(data()?) & ((1 << 48) - 1);
                self.timestamp = (told, Instant::now(), true);
            }
            feature::COMMAND_SET_PROFILE if value & 0x1ff != 0 => {
                return Err(Status::INVALID_FIELD);
            }
            _ => {}
        }
        Ok(0)
    }
}

/// Whether a feature can be set for a namespace, or for all.
fn check_namespace(of_namespace: bool, nsid: u32, namespaces: u32) -> Result<(), Status> {
    match nsid {
        NSID_ALL => Ok(()),
        0 if !of_namespace => Ok(()),
        1.. if nsid <= namespaces && of_namespace => Ok(()),
        1.. if nsid <= namespaces => Err(Status::FEATURE_NOT_OF_NAMESPACE),
        _ => Err(Status::INVALID_NAMESPACE),
    }
}

/// Which sensor (TMPSEL), and which end (THSEL).
fn threshold(cdw11: u32) -> (u32, u32) {
    (cdw11 >> 16 & 15, cdw11 >> 20 & 3)
}
