//! The registers of a channel, and what stores to them do.

use super::spec;
use crate::fields::Field;
use crate::registers::Registers;

/// What state a channel is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No chain; after an error, none can begin before a reset.
    Halted {
        error: bool,
    },
    /// A chain has begun, and nothing of it.
    Armed,
    Active,
    Done,
    Suspended,
}

impl State {
    pub fn bits(self) -> u64 {
        match self {
            Self::Halted { .. } => spec::HALTED,
            Self::Armed => spec::ARMED,
            Self::Active => spec::ACTIVE,
            Self::Done => spec::DONE,
            Self::Suspended => spec::SUSPENDED,
        }
    }
}

/// What a store makes the device do, beside holding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    /// There is work.
    Work,
    /// What is under way ends.
    End,
}

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    /// What is under way belongs to it.
    pub epoch: u64,
    pub state: State,
    /// The last descriptor that was made.
    pub completed: u64,
    /// The next one.
    pub next: u64,
    /// How many were made of the chain, and how many shall be.
    pub made: u16,
    pub count: u16,
    /// It stops after the descriptor that is under way.
    pub suspends: bool,
    pub completion: u64,
    pub errors: u32,
    pub control: u16,
    /// There was an interrupt, and no other comes.
    interrupted: bool,
    interrupts: u8,
    chain: u64,
    mask: u32,
}

const INTRCTRL: Field = Field::new(spec::INTRCTRL, 1);
const CHANCTRL: Field = Field::new(spec::CHANCTRL, 2);
const CHANCMD: Field = Field::new(spec::CHANCMD, 1);
const DMACOUNT: Field = Field::new(spec::DMACOUNT, 2);
const CHAINADDR: Field = Field::new(spec::CHAINADDR, 8);
const CHANCMP: Field = Field::new(spec::CHANCMP, 8);
const CHANERR: Field = Field::new(spec::CHANERR, 4);
const CHANERR_MASK: Field = Field::new(spec::CHANERR_MASK, 4);

impl Channel {
    /// As it is first.
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            state: State::Halted { error: false },
            completed: 0,
            next: 0,
            made: 0,
            count: 0,
            suspends: false,
            completion: 0,
            errors: 0,
            control: 0,
            interrupted: false,
            interrupts: 0,
            chain: 0,
            mask: 0,
        }
    }

    /// What a reset of the channel leaves: errors, which are cleared by themselves, and what is the device's.
    fn after_reset(&self) -> Self {
        let Self { errors, interrupts, mask, .. } = *self;
        Self { errors, interrupts, mask, ..Self::new(self.epoch) }
    }

    /// Whether a descriptor is to be made, or a suspend to be taken notice of.
    pub fn has_work(&self) -> bool {
        self.state == State::Active && (self.suspends || self.made != self.count)
    }

    /// An error ends the chain.
    pub fn fail(&mut self, error: u32) {
        self.errors |= error;
        self.state = State::Halted { error: true };
    }

    /// Whether an interrupt comes now; then no other does before it is armed again.
    pub fn interrupt(&mut self) -> bool {
        let enabled = spec::INTRCTRL_MASTER_INT_EN | spec::INTRCTRL_MSIX_VECTOR_CONTROL;
        self.interrupts & enabled != 0 && !std::mem::replace(&mut self.interrupted, true)
    }

    /// Shows the registers to programs: the state last, so that whoever sees it finds what it is about.
    pub fn show(&self, registers: &Registers) {
        let control = self.control | (u16::from(self.interrupted) * spec::CHANCTRL_INT_REARM);
        registers.write(spec::INTRCTRL, &[self.interrupts]);
        registers.write(spec::CHANCTRL, &control.to_le_bytes());
        registers.write(spec::DMACOUNT, &self.count.to_le_bytes());
        registers.store64(spec::CHAINADDR, self.chain);
        registers.store64(spec::CHANCMP, self.completion);
        registers.store32(spec::CHANERR, self.errors);
        registers.store32(spec::CHANERR_MASK, self.mask);
        registers.store64(spec::CHANSTS, self.completed | self.state.bits());
    }

    /// Takes a store, register by register in the order of their offsets.
    pub fn write(&mut self, offset: u64, from: &[u8]) -> Effect {
        let mut effect = Effect::Nothing;
        if let Some(part) = INTRCTRL.part(offset, from) {
            let held = spec::INTRCTRL_MASTER_INT_EN | spec::INTRCTRL_MSIX_VECTOR_CONTROL;
            self.interrupts = part.value as u8 & held;
        }
        if let Some(part) = CHANCTRL.part(offset, from) {
            let control = part.over(self.control.into()) as u16;
            self.interrupted &= part.value as u16 & spec::CHANCTRL_INT_REARM == 0;
            self.control = control & spec::CHANCTRL_HELD;
        }
        if let Some(part) = CHANCMD.part(offset, from) {
            effect = self.command(part.value as u8);
        }
        if let Some(part) = DMACOUNT.part(offset, from) {
            self.count = part.over(self.count.into()) as u16;
            let begun = matches!(self.state, State::Armed | State::Done | State::Active);
            if begun && self.made != self.count {
                self.state = State::Active;
                effect = effect.and(Effect::Work);
            }
        }
        if let Some(part) = CHAINADDR.part(offset, from) {
            self.chain = part.over(self.chain);
            effect = effect.and(self.begin());
        }
        if let Some(part) = CHANCMP.part(offset, from) {
            self.completion = part.over(self.completion);
        }
        if let Some(part) = CHANERR.part(offset, from) {
            self.errors &= !(part.value as u32);
        }
        if let Some(part) = CHANERR_MASK.part(offset, from) {
            self.mask = part.over(self.mask.into()) as u32;
        }
        effect
    }

    /// A chain begins: nothing of it was asked for, and nothing made.
    fn begin(&mut self) -> Effect {
        if self.state == (State::Halted { error: true }) {
            return Effect::Nothing;
        }
        let was_active = std::mem::replace(&mut self.state, State::Armed) == State::Active;
        (self.next, self.completed) = (self.chain, 0);
        (self.made, self.count, self.suspends) = (0, 0, false);
        if was_active { Effect::End } else { Effect::Nothing }
    }

    fn command(&mut self, command: u8) -> Effect {
        match command {
            spec::CHANCMD_RESET => {
                *self = self.after_reset();
                Effect::End
            }
            spec::CHANCMD_ABORT => {
                self.state = State::Halted { error: false };
                Effect::End
            }
            spec::CHANCMD_SUSPEND => match self.state {
                State::Active => {
                    self.suspends = true;
                    Effect::Work
                }
                State::Armed | State::Done => {
                    self.state = State::Suspended;
                    Effect::Nothing
                }
                State::Halted { .. } | State::Suspended => Effect::Nothing,
            },
            spec::CHANCMD_RESUME => {
                self.suspends = false;
                match self.state {
                    State::Suspended if self.made != self.count => self.state = State::Active,
                    State::Suspended => self.state = State::Done,
                    _ => {}
                }
                Effect::Work
            }
            several if several.count_ones() > 1 => {
                self.fail(spec::ERR_CHANCMD);
                Effect::End
            }
            // those of version 1 do nothing
            _ => Effect::Nothing,
        }
    }
}

impl Effect {
    /// Both: an end does not take away that there is work.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, it) | (it, Self::Nothing) => it,
            (Self::End, _) | (_, Self::End) => Self::End,
            (Self::Work, Self::Work) => Self::Work,
        }
    }
}
