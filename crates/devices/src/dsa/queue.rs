//! Work queues.

use std::collections::VecDeque;

use super::descriptor::Descriptor;
use super::spec::{self, error};

/// Words of a queue's configuration.
pub(super) const WORDS: usize = spec::CONFIG_SIZE as usize / 4;
const SIZE: usize = 0;
const THRESHOLD: usize = 1;
const MODE: usize = 2;
const SIZES: usize = 3;
const OCCUPANCY: usize = 6;
const OPERATIONS: usize = 8;

/// A queue.
#[derive(Debug)]
pub(super) struct Queue {
    config: [u32; WORDS],
    pub enabled: bool,
    /// It takes nothing more, as it is about to be disabled.
    pub closed: bool,
    pub entries: VecDeque<Entry>,
}

/// A descriptor that waits, and as whom it reaches memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub descriptor: Descriptor,
    pub pasid: Option<u32>,
}

/// What the descriptors of a queue may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A bit for each operation.
    pub operations: u64,
    pub privileged: bool,
    /// They may have their faults answered.
    pub block_on_fault: bool,
    /// Pages that are missing are asked for then.
    pub asks: bool,
    /// Bytes of a transfer.
    pub transfer: u64,
    /// Descriptors of a batch.
    pub batch: u32,
    /// A bit for each interrupt.
    pub handles: u32,
}

/// What the device has, for its queues.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abilities {
    pub transfer_order: u32,
    pub page_requests: bool,
}

impl Queue {
    pub fn new() -> Self {
        let mut config = [0; WORDS];
        // every operation, until software says otherwise
        config[OPERATIONS] = spec::OPERATIONS as u32;
        config[OPERATIONS + 1] = (spec::OPERATIONS >> 32) as u32;
        Self { config, enabled: false, closed: false, entries: VecDeque::new() }
    }

    pub fn size(&self) -> u32 {
        self.config[SIZE]
    }

    fn mode(&self, bit: u32) -> bool {
        self.config[MODE] & bit != 0
    }

    pub fn is_dedicated(&self) -> bool {
        self.mode(spec::WQ_DEDICATED)
    }

    /// A word of the configuration, as it reads.
    pub fn word(&self, index: usize) -> u32 {
        if index == OCCUPANCY {
            let occupancy = self.entries.len() as u32 & 0xffff;
            return occupancy | if self.enabled { spec::WQ_ENABLED } else { 0 };
        }
        self.config[index]
    }

    /// Writes a word of the configuration, as far as that is allowed now.
    pub fn set_word(&mut self, index: usize, value: u32, device_enabled: bool) {
        let (free, mask) = match index {
            SIZE => (!device_enabled, 0xffff),
            THRESHOLD => (!self.enabled || !self.is_dedicated(), 0xffff),
            MODE => (!self.enabled, 0x3fff_ffff),
            SIZES => (!self.enabled, 0x1ff),
            4 | 5 => (true, 0x1_ffff),
            OPERATIONS..WORDS => (!self.enabled, u32::MAX),
            _ => (false, 0),
        };
        if free {
            self.config[index] = value & mask;
        }
    }

    /// Why it cannot be enabled; 0 for nothing.
    pub fn obstacle(&self, abilities: Abilities) -> u32 {
        let sizes = self.config[SIZES];
        match () {
            () if self.enabled => error::WQ_ENABLED,
            () if self.size() == 0 => error::WQ_SIZE,
            () if !self.mode(spec::WQ_PRIORITY) => error::WQ_PRIOR,
            () if self.mode(spec::WQ_BOF) && !abilities.page_requests => error::BOF_EN,
            () if !self.is_dedicated() && !self.mode(spec::WQ_PASID_EN) => error::PASID_EN,
            () if sizes >> 5 > spec::BATCH_ORDER => error::MAX_BATCH_SIZE,
            () if sizes & 0x1f > abilities.transfer_order => error::MAX_XFER_SIZE,
            () => 0,
        }
    }

    /// What its descriptors may, with these interrupts.
    pub fn limits(&self, abilities: Abilities, handles: u32) -> Limits {
        let sizes = self.config[SIZES];
        let operations = &self.config[OPERATIONS..];
        let (low, high) = (u64::from(operations[0]), u64::from(operations[1]));
        let refuses = self.mode(spec::WQ_ATS_DISABLE | spec::WQ_PRS_DISABLE);
        // in a shared queue, whoever sends says it, and without a PASID it means nothing
        let says_so = !self.is_dedicated() || !self.mode(spec::WQ_PASID_EN);
        Limits {
            operations: (low | high << 32) & spec::OPERATIONS,
            privileged: says_so || self.mode(spec::WQ_PRIV),
            block_on_fault: self.mode(spec::WQ_BOF),
            asks: abilities.page_requests && !refuses,
            transfer: 1 << (sizes & 0x1f),
            batch: 1 << (sizes >> 5),
            handles,
        }
    }

    /// Takes a descriptor, by a store to a dedicated queue or by a command to a shared one; whether it did.
    pub fn take(&mut self, descriptor: Descriptor, command: bool, limited: bool) -> bool {
        let room = match command && limited {
            true => self.config[THRESHOLD].min(self.size()),
            false => self.size(),
        };
        let takes = self.enabled && !self.closed && self.is_dedicated() != command;
        if !takes || self.entries.len() >= room as usize {
            return false;
        }
        let own = self.config[MODE] >> spec::WQ_PASID_SHIFT & 0xf_ffff;
        let pasid = match command {
            true => Some(descriptor.pasid),
            false => self.mode(spec::WQ_PASID_EN).then_some(own),
        };
        self.entries.push_back(Entry { descriptor, pasid });
        true
    }
}
