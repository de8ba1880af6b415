//! The registers, and what stores to them do.

use super::Settings;
use super::descriptor::{Descriptor, Outcome};
use super::queue::{Abilities, Entry, Limits, Queue, WORDS};
use super::spec::{self, command, error, flag};
use crate::fields::Field;
use crate::registers::Registers;

/// Words of 8 bytes of a group's configuration: queues, engines, flags.
const GROUP_WORDS: usize = 6;
const ENGINES: usize = spec::GRPCFG_ENGINES as usize / 8;

/// The state of the device, but for what it tells of itself only.
#[derive(Debug)]
pub(super) struct Device {
    settings: Settings,
    /// What is under way belongs to it.
    pub epoch: u64,
    pub enabled: bool,
    pub bus_master: bool,
    pub queues: Vec<Queue>,
    groups: [[u64; GROUP_WORDS]; spec::GROUPS],
    gencfg: u32,
    genctrl: u32,
    causes: u32,
    status: u32,
    errors: [u64; 4],
    permissions: [u64; spec::VECTORS as usize],
    /// Interrupts that were asked for.
    handles: u32,
    /// A command that waits for its queues to be empty.
    pending: Option<Pending>,
    /// What is under way: its queue, and its PASID.
    pub running: Option<(usize, Option<u32>)>,
    /// The queue whose turn it is.
    turn: usize,
    /// Interrupt 0 is to be raised.
    pub interrupts: bool,
}

/// A command under way.
#[derive(Clone, Copy, Debug)]
struct Pending {
    command: u32,
    wants_interrupt: bool,
    /// A bit for each queue.
    queues: u32,
    /// Only what has this one.
    pasid: Option<u32>,
    /// What is under way ends.
    aborts: bool,
}

impl Pending {
    fn concerns(&self, queue: usize, pasid: Option<u32>) -> bool {
        self.queues >> queue & 1 != 0 && (self.pasid.is_none() || self.pasid == pasid)
    }
}

const GENCFG: Field = Field::new(spec::GENCFG, 4);
const GENCTRL: Field = Field::new(spec::GENCTRL, 4);
const INTCAUSE: Field = Field::new(spec::INTCAUSE, 4);
const CMD: Field = Field::new(spec::CMD, 4);
const SWERR: Field = Field::new(spec::SWERR, 8);

impl Device {
    /// As it is first.
    pub fn new(settings: Settings, epoch: u64, bus_master: bool) -> Self {
        Self {
            settings,
            epoch,
            enabled: false,
            bus_master,
            queues: (0..settings.queues).map(|_| Queue::new()).collect(),
            groups: Default::default(),
            gencfg: 0,
            genctrl: 0,
            causes: 0,
            status: 0,
            errors: [0; 4],
            permissions: Default::default(),
            handles: 0,
            pending: None,
            running: None,
            turn: 0,
            interrupts: false,
        }
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            transfer_order: self.settings.transfer_order.into(),
            page_requests: self.settings.page_requests,
        }
    }

    /// What descriptors of a queue may.
    pub fn limits(&self, queue: usize) -> Limits {
        let all = (1 << spec::VECTORS) - 1;
        let handles = if self.settings.handles { self.handles } else { all };
        self.queues[queue].limits(self.abilities(), handles)
    }

    /// Shows the registers to programs.
    pub fn show(&self, registers: &Registers) {
        registers.store32(spec::GENCFG, self.gencfg);
        registers.store32(spec::GENCTRL, self.genctrl);
        registers.store32(spec::GENSTS, u32::from(self.enabled) * spec::GENSTS_ENABLED);
        registers.store32(spec::INTCAUSE, self.causes);
        for (index, word) in self.errors.iter().enumerate().rev() {
            registers.store64(spec::SWERR + 8 * index as u64, *word);
        }
        for (index, group) in self.groups.iter().enumerate() {
            let at = spec::GRPCFG + index as u64 * spec::CONFIG_SIZE;
            let words = group.iter().enumerate();
            words.for_each(|(word, value)| registers.store64(at + 8 * word as u64, *value));
        }
        for (index, permission) in self.permissions.iter().enumerate() {
            registers.store64(spec::MSIX_PERM + 8 * index as u64, *permission);
        }
        (0..self.queues.len()).for_each(|queue| self.show_queue(queue, registers));
        // last, as this tells that the others are as a command left them
        registers.store32(spec::CMDSTS, self.status);
    }

    /// Shows the registers of one queue.
    pub fn show_queue(&self, queue: usize, registers: &Registers) {
        let at = spec::WQCFG + queue as u64 * spec::CONFIG_SIZE;
        for word in 0..WORDS {
            registers.store32(at + 4 * word as u64, self.queues[queue].word(word));
        }
    }

    /// Takes a store, register by register in the order of their offsets; whether what is under way ends.
    pub fn write(&mut self, offset: u64, from: &[u8]) -> bool {
        let mut ends = false;
        if let Some(part) = GENCFG.part(offset, from).filter(|_| !self.enabled) {
            self.gencfg = part.over(self.gencfg.into()) as u32 & spec::GENCFG_HELD;
        }
        if let Some(part) = GENCTRL.part(offset, from) {
            self.genctrl = part.over(self.genctrl.into()) as u32 & spec::GENCTRL_HELD;
        }
        if let Some(part) = INTCAUSE.part(offset, from) {
            self.causes &= !(part.value as u32);
        }
        if let Some(part) = CMD.part(offset, from) {
            ends = self.command(part.value as u32);
        }
        if let Some(part) = SWERR.part(offset, from) {
            self.errors[0] &= !(part.value & spec::SWERR_ACK);
        }
        self.write_tables(offset, from);
        ends
    }

    fn write_tables(&mut self, offset: u64, from: &[u8]) {
        for (index, group) in self.groups.iter_mut().enumerate().filter(|_| !self.enabled) {
            for (word, value) in group.iter_mut().enumerate() {
                let at = spec::GRPCFG + index as u64 * spec::CONFIG_SIZE + 8 * word as u64;
                if let Some(part) = Field::new(at, 8).part(offset, from) {
                    let mask = match word {
                        0 => (1 << self.settings.queues) - 1,
                        ENGINES => (1 << spec::ENGINES) - 1,
                        1..ENGINES => 0,
                        _ => u32::MAX.into(),
                    };
                    *value = part.over(*value) & mask;
                }
            }
        }
        for (index, queue) in self.queues.iter_mut().enumerate() {
            for word in 0..WORDS {
                let at = spec::WQCFG + index as u64 * spec::CONFIG_SIZE + 4 * word as u64;
                if let Some(part) = Field::new(at, 4).part(offset, from) {
                    let value = part.over(queue.word(word).into()) as u32;
                    queue.set_word(word, value, self.enabled);
                }
            }
        }
        for (index, permission) in self.permissions.iter_mut().enumerate() {
            let at = spec::MSIX_PERM + 8 * index as u64;
            if let Some(part) = Field::new(at, 8).part(offset, from) {
                *permission = part.over(*permission) & 0xffff_f00c;
            }
        }
    }
}

/// Commands.
impl Device {
    /// A command; whether what is under way ends. While one goes on, no other is taken, but for a reset.
    fn command(&mut self, value: u32) -> bool {
        let (name, operand) = (value >> spec::CMD_SHIFT & 0x1f, value & 0xf_ffff);
        let wants_interrupt = value & spec::CMD_INT_REQ != 0;
        if name == command::RESET_DEVICE {
            *self = Self::new(self.settings, self.epoch, self.bus_master);
            self.finish(Ok(0), wants_interrupt);
            return true;
        }
        if self.pending.is_some() {
            return false;
        }
        let answer = match name {
            command::ENABLE_DEVICE => self.enable(),
            command::ENABLE_WQ => self.enable_queue(operand),
            command::REQUEST_INT_HANDLE | command::RELEASE_INT_HANDLE if !self.settings.handles => {
                Err(error::INVAL_CMD)
            }
            command::REQUEST_INT_HANDLE => self.request_handle(operand),
            command::RELEASE_INT_HANDLE => self.release_handle(operand),
            _ => match self.begin(name, operand) {
                Ok((queues, pasid)) => {
                    self.wait_for(Pending {
                        command: name,
                        wants_interrupt,
                        queues,
                        pasid,
                        aborts: matches!(
                            name,
                            command::ABORT_ALL
                                | command::ABORT_WQ
                                | command::RESET_WQ
                                | command::ABORT_PASID
                        ),
                    });
                    return false;
                }
                Err(error) => Err(error),
            },
        };
        self.finish(answer, wants_interrupt);
        false
    }

    /// Which queues, and which PASID, a command waits for.
    fn begin(&mut self, name: u32, operand: u32) -> Result<(u32, Option<u32>), u32> {
        let all = (1 << self.settings.queues) - 1;
        match name {
            command::DISABLE_DEVICE if !self.enabled => Err(error::DIS_DEV_EN),
            command::DISABLE_DEVICE => Ok((all, None)),
            command::DRAIN_ALL | command::ABORT_ALL if !self.enabled => Err(error::DEV_NOT_EN),
            command::DRAIN_ALL | command::ABORT_ALL => Ok((all, None)),
            command::DRAIN_PASID | command::ABORT_PASID if !self.enabled => Err(error::DEV_NOT_EN),
            command::DRAIN_PASID | command::ABORT_PASID => Ok((all, Some(operand))),
            command::DISABLE_WQ..=command::RESET_WQ => {
                // 16 of them by a bit each, beginning at 16 times the rest
                let queues = operand & 0xffff;
                if operand >> 16 != 0 || queues == 0 || queues & !all != 0 {
                    return Err(error::INVAL_WQIDX);
                }
                let named = |index: &usize| queues >> index & 1 != 0;
                let mut named = (0..self.queues.len()).filter(named);
                let is_enabled = |index: usize| self.queues[index].enabled;
                match self.enabled && named.all(is_enabled) {
                    true => Ok((queues, None)),
                    false => Err(error::DEV_NOT_EN),
                }
            }
            _ => Err(error::INVAL_CMD),
        }
    }

    fn wait_for(&mut self, pending: Pending) {
        let closes = matches!(
            pending.command,
            command::DISABLE_DEVICE | command::DISABLE_WQ | command::RESET_WQ
        );
        for (index, queue) in self.queues.iter_mut().enumerate() {
            queue.closed |= closes && pending.queues >> index & 1 != 0;
            if pending.aborts {
                queue.entries.retain(|entry| !pending.concerns(index, entry.pasid));
            }
        }
        self.status = spec::CMDSTS_ACTIVE;
        self.pending = Some(pending);
        self.settle();
    }

    /// Ends the command under way if nothing is left that it waits for; whether it did.
    pub fn settle(&mut self) -> bool {
        let Some(pending) = self.pending else { return false };
        let running = self.running.is_some_and(|(queue, pasid)| pending.concerns(queue, pasid));
        let waits = |(index, queue): (usize, &Queue)| {
            queue.entries.iter().any(|entry| pending.concerns(index, entry.pasid))
        };
        if running || self.queues.iter().enumerate().any(waits) {
            return false;
        }
        self.pending = None;
        for (index, queue) in self.queues.iter_mut().enumerate() {
            if pending.queues >> index & 1 == 0 {
                continue;
            }
            match pending.command {
                command::DISABLE_DEVICE | command::DISABLE_WQ => {
                    (queue.enabled, queue.closed) = (false, false);
                }
                command::RESET_WQ => {
                    let size = queue.size();
                    *queue = Queue::new();
                    // that is the device's, while it is enabled
                    queue.set_word(0, size, false);
                }
                _ => {}
            }
        }
        self.enabled &= pending.command != command::DISABLE_DEVICE;
        self.finish(Ok(0), pending.wants_interrupt);
        true
    }

    /// Whether what is under way is to be dropped.
    pub fn is_aborted(&self, queue: usize, pasid: Option<u32>) -> bool {
        self.pending.is_some_and(|pending| pending.aborts && pending.concerns(queue, pasid))
    }

    fn finish(&mut self, answer: Result<u32, u32>, wants_interrupt: bool) {
        self.status = match answer {
            Ok(result) => result << spec::CMDSTS_RESULT_SHIFT,
            Err(error) => error,
        };
        if wants_interrupt {
            self.causes |= spec::INTCAUSE_CMD;
            self.interrupts = true;
        }
    }

    fn enable(&mut self) -> Result<u32, u32> {
        if self.enabled {
            return Err(error::DEV_ENABLED);
        }
        if !self.bus_master {
            return Err(error::BUSMASTER_EN);
        }
        if self.queues.iter().map(Queue::size).sum::<u32>() > spec::TOTAL_SIZE {
            return Err(error::WQ_SIZE_ERANGE);
        }
        let half = |group: &[u64; GROUP_WORDS]| (group[0] == 0) != (group[ENGINES] == 0);
        if self.groups.iter().any(half) {
            return Err(error::GRP_CONFIG);
        }
        let groups_with = |word: usize, bit: usize| {
            self.groups.iter().filter(|group| group[word] >> bit & 1 != 0).count()
        };
        let misplaced = |(index, queue): (usize, &Queue)| {
            groups_with(0, index) != usize::from(queue.size() != 0)
        };
        if self.queues.iter().enumerate().any(misplaced) {
            return Err(error::GRP_CONFIG2);
        }
        if (0..spec::ENGINES as usize).any(|engine| groups_with(ENGINES, engine) > 1) {
            return Err(error::GRP_CONFIG3);
        }
        self.enabled = true;
        Ok(0)
    }

    fn enable_queue(&mut self, index: u32) -> Result<u32, u32> {
        let abilities = self.abilities();
        let enabled = self.enabled;
        let queue = self.queues.get_mut(index as usize).ok_or(error::INVAL_WQIDX)?;
        if !enabled {
            return Err(error::DEV_NOTEN);
        }
        match queue.obstacle(abilities) {
            0 => queue.enabled = true,
            obstacle => return Err(obstacle),
        }
        Ok(0)
    }

    /// The handle of an interrupt is its number.
    fn request_handle(&mut self, operand: u32) -> Result<u32, u32> {
        let index = operand & 0xffff;
        if operand & spec::CMD_INT_HANDLE_IMS != 0 || index == 0 || index >= spec::VECTORS.into() {
            return Err(error::INVAL_INT_IDX);
        }
        self.handles |= 1 << index;
        Ok(index)
    }

    fn release_handle(&mut self, operand: u32) -> Result<u32, u32> {
        let index = operand & 0xffff;
        if operand & spec::CMD_INT_HANDLE_IMS != 0 || index >= 32 || self.handles >> index & 1 == 0
        {
            return Err(error::NO_HANDLE);
        }
        self.handles &= !(1 << index);
        Ok(0)
    }
}

/// Work.
impl Device {
    /// Takes a descriptor; whether it did.
    pub fn take(&mut self, queue: usize, from: &Descriptor, command: bool, limited: bool) -> bool {
        let queue = self.queues.get_mut(queue);
        queue.is_some_and(|queue| queue.take(*from, command, limited))
    }

    /// The next descriptor, of the queues in turn.
    pub fn next(&mut self) -> Option<(usize, Entry)> {
        let count = self.queues.len();
        let order = (0..count).map(|more| (self.turn + more) % count);
        let index = order.into_iter().find(|index| !self.queues[*index].entries.is_empty())?;
        let entry = self.queues[index].entries.pop_front()?;
        self.turn = (index + 1) % count;
        self.running = Some((index, entry.pasid));
        Some((index, entry))
    }

    /// Records an error that no completion record tells.
    pub fn record_error(&mut self, failed: &Failed, outcome: &Outcome) {
        self.causes |= spec::INTCAUSE_ERR;
        self.interrupts |= self.genctrl & spec::GENCTRL_SOFTERR_INT_EN != 0;
        if self.errors[0] & 1 != 0 {
            // the first stays
            self.errors[0] |= 2;
            return;
        }
        let Failed { descriptor, queue, pasid, index } = failed;
        let status = u64::from(outcome.status);
        let bits = [
            (1 | spec::SWERR_DESCRIPTOR, true),
            (spec::SWERR_BATCH, index.is_some()),
            (spec::SWERR_WRITE, outcome.status & super::spec::status::WRITE != 0),
            (spec::SWERR_PRIV, descriptor.privileged),
        ];
        let bits = bits.iter().filter(|(_, set)| *set).fold(0, |all, (bits, _)| all | bits);
        let names = (*queue as u64) << 16 | u64::from(descriptor.opcode) << 32;
        let pasid = u64::from(pasid.unwrap_or(0)) << 40;
        let invalid = if outcome.status == spec::status::INVALID_FLAGS { outcome.value } else { 0 };
        self.errors = [
            bits | (status & 0x7f) << 8 | names | pasid,
            u64::from(index.unwrap_or(0) & 0xffff) | invalid << 32,
            outcome.fault,
            0,
        ];
    }
}

/// Whose error it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    pub descriptor: Descriptor,
    pub queue: usize,
    pub pasid: Option<u32>,
    /// In a batch.
    pub index: Option<u32>,
}

/// Capabilities, which never change.
pub(super) fn show_facts(settings: Settings, registers: &Registers) {
    let Settings { queues, transfer_order, page_requests, handles, .. } = settings;
    let given = |is: bool, bits: u64| if is { bits } else { 0 };
    let gencap = spec::GENCAP_OVERLAP_COPY
        | spec::GENCAP_CACHE_CONTROL
        | spec::GENCAP_CMD_CAP
        | spec::GENCAP_CONFIG_EN
        | u64::from(transfer_order) << spec::GENCAP_TRANSFER_SHIFT
        | u64::from(spec::BATCH_ORDER) << spec::GENCAP_BATCH_SHIFT
        | given(page_requests, spec::GENCAP_BLOCK_ON_FAULT);
    let wqcap = u64::from(spec::TOTAL_SIZE)
        | u64::from(queues) << spec::WQCAP_QUEUES_SHIFT
        | spec::WQCAP_CONFIG_64
        | spec::WQCAP_MODES
        | spec::WQCAP_PRIORITY_OCCUPANCY
        | spec::WQCAP_OP_CONFIG
        | given(page_requests, spec::WQCAP_ATS | spec::WQCAP_PRS);
    let tables = [spec::GRPCFG, spec::WQCFG, spec::MSIX_PERM].map(|at| at / spec::TABLE_UNIT);
    let commands = (1 << command::REQUEST_INT_HANDLE) - 2;
    let handle_commands = 3 << command::REQUEST_INT_HANDLE;
    registers.store32(spec::VERSION, spec::VERSION_VALUE);
    registers.store64(spec::GENCAP, gencap);
    registers.store64(spec::WQCAP, wqcap);
    registers.store64(spec::GRPCAP, spec::GROUPS as u64);
    registers.store64(spec::ENGCAP, spec::ENGINES.into());
    registers.store64(spec::OPCAP, spec::OPERATIONS);
    registers.store64(spec::TABLES, tables[0] | tables[1] << 16 | tables[2] << 32);
    registers.store32(spec::CMDCAP, commands | if handles { handle_commands } else { 0 });
}

impl Failed {
    /// Whether a completion record can tell.
    pub fn has_record(&self) -> bool {
        self.descriptor.has(flag::CRAV)
    }
}
