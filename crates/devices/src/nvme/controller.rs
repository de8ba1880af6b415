//! The controller's thread: queues in turn, commands in their order.
//!
//! A batch of commands that follow each other in a queue is fetched in one burst, carried out, and completed in
//! one burst, after the time that completions take. No more is fetched than completions have room for, so a
//! host that does not take them out stops its own queue and nothing else.
//!
//! A fault of a queue itself cannot be told by a completion, so it ends the controller's work, with CSTS.CFS
//! (B 9.5); data that cannot be moved is a status.

use std::sync::Arc;

use zerocopy::{FromZeros, IntoBytes};

use super::Shared;
use super::admin::Outcome;
use super::doorbells::{Desk, End, News, Start};
use super::events::{Event, Events};
use super::features::Features;
use super::logs::{Errors, Health};
use super::queues::{Completions, Submission};
use super::spec::*;
use super::storage::{Namespace, Storage};
use super::transfer::{Pieces, Port};
use crate::worker::Halt;

/// Commands that are fetched at once.
const BATCH: usize = 32;

/// What outlives a reset, and room to work in.
#[derive(Debug)]
pub(super) struct Controller {
    pub shared: Arc<Shared>,
    pub serial: String,
    pub storage: Storage,
    pub namespaces: Vec<Namespace>,
    pub errors: Errors,
    pub health: Health,
    pub buffer: Vec<u8>,
    pub pieces: Pieces,
}

/// From when the controller is enabled until it is reset.
#[derive(Debug)]
pub(super) struct Session {
    pub port: Port,
    pub cc: u32,
    /// By identifier; 0 is for administration.
    pub submissions: Vec<Option<Submission>>,
    pub completions: Vec<Option<Completions>>,
    pub features: Features,
    pub events: Events,
    /// Commands that waited for an event and were aborted.
    pub aborted: Vec<u16>,
}

impl Session {
    fn new(shared: &Arc<Shared>, start: Start) -> Self {
        let Start { epoch, cc, submission, completion } = start;
        let (mut submissions, mut completions) = (vec![None; QUEUES], vec![None; QUEUES]);
        submissions[0] = Some(Submission::new(submission.0, submission.1, 0));
        completions[0] = Some(Completions::new(completion.0, completion.1));
        let port = Port { shared: Arc::clone(shared), epoch, page: 1 << cc_page_shift(cc) };
        let (features, events) = (Features::new(), Events::default());
        Self { port, cc, submissions, completions, features, events, aborted: Vec::new() }
    }

    /// Tells the doorbells.
    pub fn tell(&self, change: impl FnOnce(&mut Desk, u64)) {
        self.port.shared.worker.tell(|desk| change(desk, self.port.epoch));
    }

    /// Looks at the doorbells.
    fn follow(&mut self, desk: &Desk) {
        for (number, queue) in self.submissions.iter_mut().enumerate() {
            queue.iter_mut().for_each(|it| it.set_tail(desk.value(number, End::Tail)));
        }
        for (number, queue) in self.completions.iter_mut().enumerate() {
            queue.iter_mut().for_each(|it| it.set_head(desk.value(number, End::Head)));
        }
    }

    /// What the host has to be told beside completions of commands.
    fn hear(&mut self, news: &News) {
        let rows = [
            (news.invalid_register, Event::INVALID_REGISTER),
            (news.invalid_value, Event::INVALID_VALUE),
        ];
        for (_, event) in rows.into_iter().filter(|(happened, _)| *happened) {
            self.events.raise(event);
        }
    }
}

impl Controller {
    /// A namespace by its identifier.
    pub fn namespace(&self, nsid: u32) -> Result<&Namespace, Status> {
        let index = (nsid as usize).checked_sub(1);
        index.and_then(|index| self.namespaces.get(index)).ok_or(Status::INVALID_NAMESPACE)
    }

    /// The thread.
    pub fn work(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut session: Option<Session> = None;
        let mut is_busy = false;
        loop {
            let news = shared.worker.next(|desk| {
                let news = desk.take().or(is_busy.then(News::default))?;
                if let Some(start) = news.start {
                    session = Some(Session::new(&shared, start));
                }
                let follows = |it: &&mut Session| news.rung && desk.is_of(it.port.epoch);
                if let Some(session) = session.as_mut().filter(follows) {
                    session.follow(desk);
                }
                Some(news)
            });
            let Some(news) = news else { return };
            is_busy = match &mut session {
                None => false,
                Some(it) => {
                    it.hear(&news);
                    match self.serve(it) {
                        Ok(is_busy) => is_busy,
                        Err(halt) => {
                            if halt != Halt::Reset {
                                shared.properties.lock().fail(it.port.epoch, &shared.worker);
                            }
                            session = None;
                            false
                        }
                    }
                }
            };
            if let Some(epoch) = news.shutdown {
                // what cannot be kept is lost, as when the power goes
                let _ = self.storage.sync();
                shared.properties.lock().end_shutdown(epoch, &shared.worker);
            }
        }
    }

    /// Serves each queue once; whether there may be more to do.
    fn serve(&mut self, session: &mut Session) -> Result<bool, Halt> {
        let mut is_busy = false;
        for number in 0..QUEUES {
            is_busy |= self.serve_queue(session, number)?;
        }
        self.tell_events(session)?;
        Ok(is_busy)
    }

    fn serve_queue(&mut self, session: &mut Session, number: usize) -> Result<bool, Halt> {
        let Some(queue) = session.submissions[number] else { return Ok(false) };
        let room = room(session, queue.completions);
        let (at, waiting) = queue.next();
        let mut commands = [Command::new_zeroed(); BATCH];
        let commands = &mut commands[..BATCH.min(waiting.min(room) as usize)];
        if commands.is_empty() {
            return Ok(false);
        }
        let (shared, epoch) = (Arc::clone(&self.shared), session.port.epoch);
        shared.worker.burst(epoch, None, |burst| burst.read(at, commands.as_mut_bytes()))?;
        let mut completions = Vec::with_capacity(commands.len());
        for command in commands {
            if shared.worker.epoch() != epoch {
                return Err(Halt::Reset);
            }
            let sq_head = session.submissions[number].as_mut().map_or(0, Submission::take);
            let (status, result) = match self.carry_out(session, number, command) {
                Ok(Outcome::Held) => continue,
                Ok(Outcome::Done(result)) => (Status::SUCCESS, result),
                Err(status) => {
                    self.errors.record(number as u16, command, status);
                    (status.with_more(), 0)
                }
            };
            let (sq_id, cid) = (number as u16, command.cid);
            let status = status.field();
            completions.push(Completion { result, reserved: 0, sq_head, sq_id, cid, status });
        }
        shared.worker.delay(epoch);
        self.complete(session, queue.completions, &completions)?;
        Ok(true)
    }

    fn carry_out(
        &mut self,
        session: &mut Session,
        queue: usize,
        command: &Command,
    ) -> Result<Outcome, Status> {
        if queue == 0 {
            return self.admin(session, command);
        }
        let has_cache = session.features.has_write_cache();
        self.io(&session.port, has_cache, command).map(|()| Outcome::Done(0))
    }

    /// Completes commands that waited for events.
    fn tell_events(&mut self, session: &mut Session) -> Result<(), Halt> {
        let mut room = room(session, 0) as usize;
        let mut told = Vec::new();
        while room > told.len() && !session.aborted.is_empty() {
            let cid = session.aborted.remove(0);
            told.push((cid, Status::ABORT_REQUESTED, 0));
        }
        room -= told.len();
        while room > 0
            && let Some((cid, event)) = session.events.next()
        {
            told.push((cid, Status::SUCCESS, event.result()));
            room -= 1;
        }
        let head = session.submissions[0].map_or(0, |queue| queue.head());
        let completion = |(cid, status, result): (u16, Status, u32)| Completion {
            result,
            sq_head: head,
            cid,
            status: status.field(),
            ..Completion::default()
        };
        let completions: Vec<_> = told.into_iter().map(completion).collect();
        self.complete(session, 0, &completions)
    }

    /// Puts completions in their queue, which has room for them, and raises its interrupt.
    fn complete(
        &self,
        session: &mut Session,
        number: u16,
        completions: &[Completion],
    ) -> Result<(), Halt> {
        let epoch = session.port.epoch;
        let Some(queue) = &mut session.completions[usize::from(number)] else { return Ok(()) };
        if completions.is_empty() {
            return Ok(());
        }
        *queue = self.shared.worker.burst(epoch, None, |burst| {
            let mut queue = *queue;
            for completion in completions {
                let (at, phase) = queue.put();
                let status = completion.status | u16::from(phase);
                let entry = Completion { status, ..*completion };
                // the word with the phase tag comes last, and in one step
                let (first, last) = entry.as_bytes().split_at(8);
                burst.write(at, first)?;
                burst.write(at.saturating_add(8), last)?;
            }
            Ok(queue)
        })?;
        let tail = queue.tail();
        session.tell(|desk, epoch| desk.put(epoch, number, tail));
        Ok(())
    }
}

/// How many completions a queue has room for.
fn room(session: &Session, queue: u16) -> u32 {
    session.completions[usize::from(queue)].map_or(0, |queue| queue.room())
}
