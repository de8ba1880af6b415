//! Making descriptors.

use std::time::Duration;

use engine::{Answer, Interrupts};
use parking_lot::Mutex;

use super::channel::{Channel, State};
use super::spec;
use crate::registers::Registers;
use crate::steps::{Fault, Line, Notice, Step, Trouble, Work};
use crate::worker::Worker;

/// Bytes that are moved in one step.
const PIECE: usize = 0x8000;

/// The interrupt of the channel.
const VECTOR: u32 = 0;

/// What the thread and stores share.
#[derive(Debug)]
pub(super) struct Shared {
    pub worker: Worker<Notice>,
    pub interrupts: Interrupts,
    pub registers: Registers,
    pub channel: Mutex<Channel>,
    /// The longest transfer.
    pub longest: u64,
    /// What a chain's beginning takes, where it is not zero.
    pub start: Duration,
}

/// What is under way: a part of a chain, up to where its count says.
#[derive(Debug, Default)]
pub(super) struct Hand(Option<Run>);

#[derive(Debug)]
struct Run {
    line: Line,
    doing: Doing,
    /// Whether a descriptor asked for a completion.
    completes: bool,
    piece: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    /// Reads the next descriptor.
    Fetch,
    /// Moves data; `held` bytes of it are in the piece.
    Move { descriptor: Descriptor, done: u64, held: usize },
    /// Writes a completion, after a descriptor that asks for an interrupt, the last, or an error that the
    /// channel has already.
    Report { interrupt: bool, error: u32 },
}

#[derive(Clone, Copy, Debug)]
struct Descriptor {
    /// Where it is.
    at: u64,
    size: u64,
    control: u32,
    source: u64,
    destination: u64,
    next: u64,
}

impl Descriptor {
    fn decode(at: u64, bytes: &[u8; spec::DESCRIPTOR_SIZE]) -> Self {
        let word = |index: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[8 * index..8 * index + 8]);
            u64::from_le_bytes(word)
        };
        Self {
            at,
            size: word(0) & 0xffff_ffff,
            control: (word(0) >> 32) as u32,
            source: word(1),
            destination: word(2),
            next: word(3),
        }
    }

    fn operation(&self) -> u32 {
        self.control >> spec::CTL_OP_SHIFT
    }

    fn is(&self, control: u32) -> bool {
        self.control & control != 0
    }

    /// What is wrong with it; 0 for nothing. Moving nothing has a size, too (`__ioat_start_null_desc`).
    fn error(&self, longest: u64) -> u32 {
        if self.is(spec::CTL_RESERVED) || self.operation() > spec::OP_FILL {
            return spec::ERR_CONTROL;
        }
        if self.size == 0 || self.size > longest { spec::ERR_LENGTH } else { 0 }
    }
}

impl Work for Shared {
    type Hand = Hand;

    const NAME: &'static str = "ioat";

    /// A ring of 512 descriptors, and a few more: 64 MiB at most.
    const AT_ONCE: u32 = 2048;

    fn worker(&self) -> &Worker<Notice> {
        &self.worker
    }

    fn step(&self, hand: &mut Hand) -> Step {
        let (epoch, has_work, is_first) = {
            let channel = self.channel.lock();
            (channel.epoch, channel.has_work(), channel.made == 0 && channel.completed == 0)
        };
        let Some(run) = hand.0.as_mut().filter(|run| run.line.epoch == epoch) else {
            hand.0 = has_work.then(|| Run {
                line: Line::new(epoch),
                doing: Doing::Fetch,
                completes: false,
                piece: Vec::new(),
            });
            return match has_work {
                true if is_first && !self.start.is_zero() => Step::Pauses(self.start, epoch),
                true => Step::Begun(epoch),
                false => Step::Idle,
            };
        };
        let advanced = match self.advance(run) {
            Err(Trouble::Fault(fault)) => self.fail(run, self.error_of(run, fault)).map(|()| true),
            advanced => advanced,
        };
        match advanced {
            Ok(true) => {}
            Err(Trouble::Waits) => return run.line.wait(),
            Ok(false) | Err(Trouble::Gone | Trouble::Fault(_)) => hand.0 = None,
        }
        Step::Done
    }

    fn answer(&self, hand: &mut Hand, answer: Answer) {
        if let Some(run) = &mut hand.0 {
            run.line.answer(answer);
        }
    }
}

impl Shared {
    /// The error of an access of a run.
    fn error_of(&self, run: &Run, fault: Fault) -> u32 {
        match run.doing {
            Doing::Fetch if self.channel.lock().made == 0 => spec::ERR_CHAIN_ADDR,
            Doing::Fetch => spec::ERR_NEXT_ADDR,
            Doing::Move { .. } if fault.write => spec::ERR_DEST_ADDR,
            Doing::Move { .. } => spec::ERR_SRC_ADDR,
            Doing::Report { error, .. } => error | spec::ERR_COMPLETION_ADDR,
        }
    }

    /// Does something to the channel, unless a reset came.
    fn with_channel<T>(
        &self,
        run: &Run,
        act: impl FnOnce(&mut Channel) -> T,
    ) -> Result<T, Trouble> {
        let mut channel = self.channel.lock();
        if channel.epoch != run.line.epoch {
            return Err(Trouble::Gone);
        }
        let result = act(&mut channel);
        channel.show(&self.registers);
        Ok(result)
    }

    /// An error ends the run, as soon as its completion is written: who sees that one reads the error next.
    fn fail(&self, run: &mut Run, error: u32) -> Result<(), Trouble> {
        self.with_channel(run, |channel| channel.errors |= error)?;
        run.doing = Doing::Report { interrupt: false, error };
        Ok(())
    }

    /// Makes a step of a run; false when it is over.
    fn advance(&self, run: &mut Run) -> Result<bool, Trouble> {
        match run.doing {
            Doing::Fetch => self.fetch(run)?,
            Doing::Move { descriptor, done, held } => self.move_on(run, descriptor, done, held)?,
            Doing::Report { interrupt, error } => return self.report(run, interrupt, error),
        }
        Ok(true)
    }

    fn fetch(&self, run: &mut Run) -> Result<(), Trouble> {
        let (at, first, suspends) = {
            let channel = self.channel.lock();
            (channel.next, channel.made == 0, channel.suspends)
        };
        if suspends {
            run.doing = Doing::Report { interrupt: false, error: 0 };
            return Ok(());
        }
        if at % spec::DESCRIPTOR_SIZE as u64 != 0 {
            let error = if first { spec::ERR_CHAIN_ADDR } else { spec::ERR_NEXT_ALIGN };
            return self.fail(run, error);
        }
        let mut bytes = [0; spec::DESCRIPTOR_SIZE];
        run.line.read(&self.worker, at, &mut bytes)?;
        let descriptor = Descriptor::decode(at, &bytes);
        match descriptor.error(self.longest) {
            0 if descriptor.is(spec::CTL_NULL) => self.finish(run, &descriptor)?,
            0 => run.doing = Doing::Move { descriptor, done: 0, held: 0 },
            error => self.fail(run, error)?,
        }
        Ok(())
    }

    fn move_on(
        &self,
        run: &mut Run,
        descriptor: Descriptor,
        done: u64,
        held: usize,
    ) -> Result<(), Trouble> {
        let mut held = held;
        if held == 0 {
            held = (descriptor.size - done).min(PIECE as u64) as usize;
            run.piece.resize(PIECE, 0);
            let piece = &mut run.piece[..held];
            match descriptor.operation() {
                spec::OP_FILL => {
                    let pattern = descriptor.source.to_le_bytes();
                    piece.iter_mut().zip(pattern.iter().cycle()).for_each(|(to, from)| *to = *from);
                }
                _ => {
                    let from = descriptor.source.wrapping_add(done);
                    run.line.read(&self.worker, from, piece)?;
                }
            }
            // what was read is written even if that takes several tries
            run.doing = Doing::Move { descriptor, done, held };
        }
        let to = descriptor.destination.wrapping_add(done);
        run.line.write(&self.worker, to, &run.piece[..held])?;
        let done = done + held as u64;
        run.doing = Doing::Move { descriptor, done, held: 0 };
        if done == descriptor.size {
            self.finish(run, &descriptor)?;
        }
        Ok(())
    }

    /// A descriptor is made.
    fn finish(&self, run: &mut Run, descriptor: &Descriptor) -> Result<(), Trouble> {
        let last = self.with_channel(run, |channel| {
            (channel.completed, channel.next) = (descriptor.at, descriptor.next);
            channel.made = channel.made.wrapping_add(1);
            channel.suspends || channel.made == channel.count
        })?;
        run.completes |= descriptor.is(spec::CTL_COMPL_WRITE);
        let interrupt = descriptor.is(spec::CTL_INT_EN);
        run.doing = match last || interrupt {
            true => Doing::Report { interrupt, error: 0 },
            false => Doing::Fetch,
        };
        Ok(())
    }

    /// Writes a completion if one was asked for, then shows the state, then raises an interrupt. Stores of a
    /// program that sees the completion find the state, as the channel is held from the one to the other.
    fn report(&self, run: &mut Run, interrupt: bool, error: u32) -> Result<bool, Trouble> {
        let mut channel = self.channel.lock();
        if channel.epoch != run.line.epoch {
            return Err(Trouble::Gone);
        }
        let state = match error {
            0 if channel.suspends => State::Suspended,
            0 if channel.made == channel.count => State::Done,
            // more was asked for, or a suspend taken back
            0 => State::Active,
            _ => State::Halted { error: true },
        };
        let tells = error != 0 && channel.control & spec::CHANCTRL_ERR_COMPLETION_EN != 0;
        if (run.completes || tells) && error & spec::ERR_COMPLETION_ADDR == 0 {
            let to = channel.completion;
            if !to.is_multiple_of(8) {
                drop(channel);
                self.fail(run, error | spec::ERR_COMPLETION_ADDR)?;
                return Ok(true);
            }
            let completion = (channel.completed | state.bits()).to_le_bytes();
            run.line.write(&self.worker, to, &completion)?;
        }
        run.completes = false;
        let enabled = error != 0 && channel.control & spec::CHANCTRL_ERR_INT_EN != 0;
        channel.suspends &= state != State::Suspended;
        channel.state = state;
        let (goes_on, raises) = (channel.has_work(), (interrupt || enabled) && channel.interrupt());
        channel.show(&self.registers);
        drop(channel);
        if raises {
            // without bus mastering no message comes
            let _ = self.worker.gated(run.line.epoch, |_| self.interrupts.raise(VECTOR));
        }
        run.doing = Doing::Fetch;
        Ok(goes_on)
    }
}
