//! Making frames of descriptors, and descriptors of frames.

use engine::{Answer, Interrupts};
use parking_lot::Mutex;

use super::registers::State;
use super::spec;
use crate::registers::Registers;
use crate::steps::{Line, Notice, Step, Trouble, Work};
use crate::worker::Worker;

/// Entries of [`spec::IVAR0`].
const RECEIVED: u32 = 0;
const TRANSMITTED: u32 = 1;

/// What the thread and stores share.
#[derive(Debug)]
pub(super) struct Shared {
    pub worker: Worker<Notice>,
    pub interrupts: Interrupts,
    pub registers: Registers,
    pub state: Mutex<State>,
}

/// What is under way: descriptors up to the tail.
#[derive(Debug, Default)]
pub(super) struct Hand(Option<Run>);

#[derive(Debug)]
struct Run {
    line: Line,
    doing: Doing,
    /// What was gathered, and how much of it was received.
    frame: Vec<u8>,
    received: usize,
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    /// Reads the next descriptor to transmit.
    Fetch,
    /// Reads its data.
    Gather { at: u64, data: u64, command: u32 },
    /// Reports that it is done.
    Report { at: u64, command: u32 },
    /// Reads the next descriptor to receive.
    Find,
    /// Writes data to where it says.
    Fill { at: u64, data: u64 },
    /// Writes the descriptor back.
    WriteBack { at: u64, size: usize },
}

impl Work for Shared {
    type Hand = Hand;

    const NAME: &'static str = "igb";

    /// A ring of 4096 frames; Linux's selftest waits 200 ms for as many.
    const AT_ONCE: u32 = 32768;

    fn worker(&self) -> &Worker<Notice> {
        &self.worker
    }

    fn step(&self, hand: &mut Hand) -> Step {
        let (epoch, has_work) = {
            let state = self.state.lock();
            (state.epoch, state.next().is_some())
        };
        let Some(run) = hand.0.as_mut().filter(|run| run.line.epoch == epoch) else {
            hand.0 = has_work.then(|| Run {
                line: Line::new(epoch),
                doing: Doing::Fetch,
                frame: Vec::new(),
                received: 0,
            });
            return if has_work { Step::Begun(epoch) } else { Step::Idle };
        };
        match self.advance(run) {
            Ok(true) => {}
            Ok(false) | Err(Trouble::Gone) => hand.0 = None,
            Err(Trouble::Waits) => return run.line.wait(),
            Err(Trouble::Fault(_)) => {
                let mut state = self.state.lock();
                state.stuck |= state.epoch == epoch;
                hand.0 = None;
            }
        }
        Step::Done
    }

    fn answer(&self, hand: &mut Hand, answer: Answer) {
        if let Some(run) = &mut hand.0 {
            run.line.answer(answer);
        }
    }
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn word64(bytes: &[u8], at: usize) -> u64 {
    u64::from(word32(bytes, at)) | u64::from(word32(bytes, at + 4)) << 32
}

impl Shared {
    /// Shows the registers to programs, and raises the interrupts that are to be raised.
    pub fn show(&self, state: &mut State) {
        state.show(&self.registers);
        let raised = std::mem::take(&mut state.raised);
        for vector in (0..u32::from(spec::VECTORS)).filter(|vector| raised >> vector & 1 != 0) {
            // without bus mastering no message comes
            let _ = self.worker.gated(state.epoch, |_| self.interrupts.raise(vector));
        }
    }

    /// Does something to the registers, unless a reset came.
    fn with_state<T>(&self, epoch: u64, act: impl FnOnce(&mut State) -> T) -> Result<T, Trouble> {
        let mut state = self.state.lock();
        if state.epoch != epoch {
            return Err(Trouble::Gone);
        }
        let result = act(&mut state);
        self.show(&mut state);
        Ok(result)
    }

    /// Makes a step of a run; false when nothing is left.
    fn advance(&self, run: &mut Run) -> Result<bool, Trouble> {
        let mut bytes = [0; spec::DESCRIPTOR_SIZE];
        run.doing = match run.doing {
            Doing::Fetch => {
                let next = self.state.lock().next();
                let Some(at) = next else { return Ok(false) };
                run.line.read(&self.worker, at, &mut bytes)?;
                let (data, command) = (word64(&bytes, 0), word32(&bytes, 8));
                let is_context =
                    command & spec::TX_DEXT != 0 && command & spec::TX_KIND == spec::TX_CONTEXT;
                match is_context {
                    true => Doing::Report { at, command: command & spec::TX_RS },
                    false => Doing::Gather { at, data, command },
                }
            }
            Doing::Gather { at, data, command } => {
                let old = run.frame.len();
                let size = command as usize & 0xffff;
                // what is too long is not sent
                if old + size <= spec::LONGEST_JUMBO {
                    run.frame.resize(old + size, 0);
                    let read = run.line.read(&self.worker, data, &mut run.frame[old..]);
                    if let Err(trouble) = read {
                        run.frame.truncate(old);
                        return Err(trouble);
                    }
                } else {
                    run.frame.resize(spec::LONGEST_JUMBO + 1, 0);
                }
                Doing::Report { at, command }
            }
            Doing::Report { at, command } => {
                if command & spec::TX_RS != 0 {
                    let status = spec::DONE.to_le_bytes();
                    run.line.write(&self.worker, at.wrapping_add(12), &status)?;
                }
                self.transmitted(run, command)?
            }
            Doing::Find => {
                let next = self.state.lock().receive.next();
                match next {
                    // no room: the rest is lost
                    None => run.drop_frame(),
                    Some(at) => {
                        run.line.read(&self.worker, at, &mut bytes)?;
                        Doing::Fill { at, data: word64(&bytes, 0) }
                    }
                }
            }
            Doing::Fill { at, data } => {
                let room = self.state.lock().buffer_size();
                let size = room.min(run.frame.len() - run.received);
                let part = &run.frame[run.received..run.received + size];
                run.line.write(&self.worker, data, part)?;
                Doing::WriteBack { at, size }
            }
            Doing::WriteBack { at, size } => {
                let last = run.received + size == run.frame.len();
                let status = spec::DONE | if last { spec::RX_EOP } else { 0 };
                run.line.write(&self.worker, at, &[0; 8])?;
                let told = u64::from(status) | (size as u64) << 32;
                run.line.write(&self.worker, at.wrapping_add(8), &told.to_le_bytes())?;
                run.received += size;
                self.with_state(run.line.epoch, |state| {
                    state.receive.advance();
                    if last {
                        state.cause(RECEIVED);
                    }
                })?;
                if last { run.drop_frame() } else { Doing::Find }
            }
        };
        Ok(true)
    }

    /// A descriptor is transmitted, and with the last of a frame the frame.
    fn transmitted(&self, run: &mut Run, command: u32) -> Result<Doing, Trouble> {
        let ends = command & spec::TX_EOP != 0;
        let arrives = self.with_state(run.line.epoch, |state| {
            state.transmit.advance();
            if command & spec::TX_RS != 0 {
                state.cause(TRANSMITTED);
            }
            ends && command & spec::TX_IFCS != 0 && arrives(state, &mut run.frame)
        })?;
        Ok(match (ends, arrives) {
            (false, _) => Doing::Fetch,
            (true, true) => Doing::Find,
            (true, false) => run.drop_frame(),
        })
    }
}

impl Run {
    fn drop_frame(&mut self) -> Doing {
        self.frame.clear();
        self.received = 0;
        Doing::Fetch
    }
}

/// Whether a frame comes back and is received; short ones are made longer where that is so.
fn arrives(state: &State, frame: &mut Vec<u8>) -> bool {
    if state.tctl & spec::TCTL_PSP != 0 && frame.len() < spec::SHORTEST {
        frame.resize(spec::SHORTEST, 0);
    }
    let longest = match state.rctl & spec::RCTL_LPE {
        0 => spec::LONGEST,
        _ => spec::LONGEST_JUMBO,
    };
    let receives = state.loops()
        && state.rctl & spec::RCTL_EN != 0
        && state.receive.is_enabled()
        && state.receive.buffers & spec::SRRCTL_FORM == spec::SRRCTL_ADV_ONEBUF;
    if !receives || frame.len() < spec::SHORTEST || frame.len() > longest {
        return false;
    }
    let wanted = match frame[..6] {
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => spec::RCTL_BAM | spec::RCTL_MPE,
        [first, ..] if first & 1 != 0 => spec::RCTL_MPE,
        _ => spec::RCTL_UPE,
    };
    state.rctl & wanted != 0
}
