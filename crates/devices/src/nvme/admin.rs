//! Admin commands (B 5).

use super::controller::Session;
use super::features::Value;
use super::queues::{Completions, Submission};
use super::spec::*;
use super::transfer::{Direction, Pieces};
use super::{Controller, identify};

/// What becomes of a command that succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It completes, with dword 0.
    Done(u32),
    /// It completes some other time.
    Held,
}

const DONE: Outcome = Outcome::Done(0);

impl Controller {
    /// Carries a command out.
    pub fn admin(&mut self, session: &mut Session, command: &Command) -> Result<Outcome, Status> {
        if command.is_fused() || command.pointer_kind() != 0 {
            return Err(Status::INVALID_FIELD);
        }
        match command.opcode {
            admin::CREATE_CQ => create_completions(session, command),
            admin::CREATE_SQ => create_submission(session, command),
            admin::DELETE_SQ => delete_submission(session, command),
            admin::DELETE_CQ => delete_completions(session, command),
            admin::IDENTIFY => {
                let page = self.identify(command)?;
                give(session, command, &page)
            }
            admin::GET_LOG_PAGE => self.get_log_page(session, command),
            admin::GET_FEATURES => {
                let count = self.namespaces.len() as u32;
                match session.features.get(command, count)? {
                    Value::Word(word) => Ok(Outcome::Done(word)),
                    Value::Data(bytes) => give(session, command, &bytes),
                }
            }
            admin::SET_FEATURES => {
                let count = self.namespaces.len() as u32;
                let Session { features, completions, port, events, .. } = session;
                let told = features.set(command, count, completions, || {
                    let (mut pieces, mut bytes) = (Pieces::default(), [0; 8]);
                    port.locate(command, 8, Direction::FromHost, &mut pieces)?;
                    port.gather(&pieces, &mut bytes)?;
                    Ok(bytes)
                })?;
                if command.cdw10 as u8 == feature::TEMPERATURE_THRESHOLD {
                    features.event().into_iter().for_each(|event| events.raise(event));
                }
                Ok(Outcome::Done(told))
            }
            admin::ASYNC_EVENT_REQUEST => match session.events.request(command.cid) {
                true => Ok(Outcome::Held),
                false => Err(Status::EVENT_REQUEST_LIMIT),
            },
            admin::ABORT => {
                // commands of other kinds are never under way when this one is
                let (queue, cid) = (command.cdw10 as u16, (command.cdw10 >> 16) as u16);
                let found = queue == 0 && session.events.withdraw(cid);
                session.aborted.extend(found.then_some(cid));
                Ok(Outcome::Done(u32::from(!found)))
            }
            admin::FORMAT_NVM => self.format(command),
            _ => Err(Status::INVALID_OPCODE),
        }
    }

    /// B 5.16.
    fn get_log_page(
        &mut self,
        session: &mut Session,
        command: &Command,
    ) -> Result<Outcome, Status> {
        let Command { cdw10, cdw11, cdw12, cdw13, cdw14, .. } = *command;
        let number = cdw10 as u8;
        let dwords = (u64::from(cdw11 & 0xffff) << 16 | u64::from(cdw10 >> 16)) + 1;
        let offset = u64::from(cdw13) << 32 | u64::from(cdw12);
        let page = self.log_page(number, (cdw14 >> 24) as u8, &session.features);
        let page = page.ok_or(Status::INVALID_LOG_PAGE)?;
        if !matches!(command.nsid, 0 | NSID_ALL) {
            self.namespace(command.nsid)?;
        }
        let rest = usize::try_from(offset).ok().and_then(|offset| page.get(offset..));
        let rest = rest.filter(|_| offset.is_multiple_of(4)).ok_or(Status::INVALID_FIELD)?;
        let length = 4 * dwords;
        if length > TRANSFER_MAX {
            return Err(Status::INVALID_FIELD);
        }
        // past the end of the page there are zeros
        let mut bytes = vec![0; length as usize];
        let told = rest.len().min(bytes.len());
        bytes[..told].copy_from_slice(&rest[..told]);
        let outcome = give(session, command, &bytes)?;
        let retains = cdw10 & 1 << 15 != 0;
        if !retains {
            session.events.acknowledge(number);
        }
        Ok(outcome)
    }

    /// B 5.14. Everything is deallocated, so erased.
    fn format(&mut self, command: &Command) -> Result<Outcome, Status> {
        let number = (command.cdw10 & 15 | command.cdw10 >> 8 & 0x30) as usize;
        let protection = command.cdw10 >> 5 & 7;
        let erase = command.cdw10 >> 9 & 7;
        let shift = *identify::FORMATS.get(number).ok_or(Status::INVALID_FORMAT)?;
        if protection != 0 {
            return Err(Status::INVALID_FORMAT);
        }
        if erase > 1 {
            return Err(Status::INVALID_FIELD);
        }
        let chosen = match command.nsid {
            NSID_ALL => 0..self.namespaces.len(),
            nsid => {
                self.namespace(nsid)?;
                nsid as usize - 1..nsid as usize
            }
        };
        for namespace in &mut self.namespaces[chosen] {
            let cleared = self.storage.deallocate(namespace.first, namespace.bytes);
            // a file system without holes
            cleared.map_err(|_| Status::INTERNAL_ERROR)?;
            namespace.shift = shift;
        }
        Ok(DONE)
    }
}

/// Writes data to the host.
fn give(session: &Session, command: &Command, bytes: &[u8]) -> Result<Outcome, Status> {
    let mut pieces = Pieces::default();
    session.port.locate(command, bytes.len() as u64, Direction::ToHost, &mut pieces)?;
    session.port.scatter(&pieces, bytes)?;
    Ok(DONE)
}

/// Identifier and size of a queue to create, and where it is.
fn queue(session: &Session, command: &Command, shift: u32) -> Result<(u64, u32), Status> {
    let size = (command.cdw10 >> 16) + 1;
    if !(2..=QUEUE_ENTRIES).contains(&size) {
        return Err(Status::INVALID_QUEUE_SIZE);
    }
    // queues are contiguous (PC, CAP.CQR)
    if command.cdw11 & 1 == 0 {
        return Err(Status::INVALID_FIELD);
    }
    let base = command.dptr[0];
    if !base.is_multiple_of(session.port.page) {
        return Err(Status::PRP_OFFSET_INVALID);
    }
    let (submission, completion) = cc_entry_shifts(session.cc);
    let told = if shift == 6 { submission } else { completion };
    if told != shift {
        return Err(Status::INVALID_FIELD);
    }
    Ok((base, size))
}

/// An identifier that an I/O queue may have.
fn identifier(value: u32) -> Option<usize> {
    let number = value as usize & 0xffff;
    (1..QUEUES).contains(&number).then_some(number)
}

/// B 5.4.
fn create_completions(session: &mut Session, command: &Command) -> Result<Outcome, Status> {
    let number = identifier(command.cdw10).filter(|it| session.completions[*it].is_none());
    let number = number.ok_or(Status::INVALID_QUEUE_IDENTIFIER)?;
    let (base, size) = queue(session, command, 4)?;
    let vector = (command.cdw11 >> 16) as u16;
    if vector >= VECTORS {
        return Err(Status::INVALID_INTERRUPT_VECTOR);
    }
    let interrupts = command.cdw11 & 2 != 0;
    session.completions[number] = Some(Completions::new(base, size));
    let vector = interrupts.then_some(vector);
    session.tell(|desk, epoch| desk.create_completions(epoch, number as u16, size, vector));
    Ok(DONE)
}

/// B 5.5. Priorities do not count with round robin.
fn create_submission(session: &mut Session, command: &Command) -> Result<Outcome, Status> {
    let completions = (command.cdw11 >> 16) as usize;
    let is_there = identifier(completions as u32).map(|it| session.completions[it].is_some());
    match is_there {
        Some(true) => {}
        Some(false) => return Err(Status::COMPLETION_QUEUE_INVALID),
        None if completions == 0 => return Err(Status::COMPLETION_QUEUE_INVALID),
        None => return Err(Status::INVALID_QUEUE_IDENTIFIER),
    }
    let number = identifier(command.cdw10).filter(|it| session.submissions[*it].is_none());
    let number = number.ok_or(Status::INVALID_QUEUE_IDENTIFIER)?;
    let (base, size) = queue(session, command, 6)?;
    session.submissions[number] = Some(Submission::new(base, size, completions as u16));
    if let Some(queue) = &mut session.completions[completions] {
        queue.users += 1;
    }
    session.tell(|desk, epoch| desk.create_submission(epoch, number as u16, size));
    Ok(DONE)
}

/// B 5.7. What was not fetched yet is not done.
fn delete_submission(session: &mut Session, command: &Command) -> Result<Outcome, Status> {
    let number = identifier(command.cdw10).ok_or(Status::INVALID_QUEUE_IDENTIFIER)?;
    let queue = session.submissions[number].take().ok_or(Status::INVALID_QUEUE_IDENTIFIER)?;
    if let Some(completions) = &mut session.completions[usize::from(queue.completions)] {
        completions.users -= 1;
    }
    session.tell(|desk, epoch| desk.create_submission(epoch, number as u16, 0));
    Ok(DONE)
}

/// B 5.6.
fn delete_completions(session: &mut Session, command: &Command) -> Result<Outcome, Status> {
    let number = identifier(command.cdw10).ok_or(Status::INVALID_QUEUE_IDENTIFIER)?;
    let queue = session.completions[number].ok_or(Status::INVALID_QUEUE_IDENTIFIER)?;
    if queue.users != 0 {
        return Err(Status::INVALID_QUEUE_DELETION);
    }
    session.completions[number] = None;
    session.tell(|desk, epoch| desk.create_completions(epoch, number as u16, 0, None));
    Ok(DONE)
}
