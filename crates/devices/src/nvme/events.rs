//! Asynchronous events (B 5.2): what happened, told by the completion of a command that the host left here.
//!
//! An event waits until there is such a command. Once one of a type was told, others of its type wait until
//! the host has read its log page.

use super::spec::{EVENT_REQUESTS, log};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    kind: u8,
    info: u8,
    log: u8,
}

impl Event {
    /// A doorbell of no queue was written.
    pub const INVALID_REGISTER: Self = Self { kind: 0, info: 0, log: log::ERRORS };
    /// A value was written to a doorbell that is none of its queue's.
    pub const INVALID_VALUE: Self = Self { kind: 0, info: 1, log: log::ERRORS };
    /// The temperature is past a threshold.
    pub const TEMPERATURE: Self = Self { kind: 1, info: 1, log: log::SMART };

    /// Dword 0 of the completion.
    pub fn result(self) -> u32 {
        u32::from(self.kind) | u32::from(self.info) << 8 | u32::from(self.log) << 16
    }
}

/// Events that wait, and commands that wait for them.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Command identifiers.
    requests: Vec<u16>,
    /// Each at most once.
    waiting: Vec<Event>,
    /// Types whose log page is to be read first: a bit each.
    masked: u8,
}

impl Events {
    /// Leaves a command here; false when there are enough.
    pub fn request(&mut self, cid: u16) -> bool {
        let room = self.requests.len() < EVENT_REQUESTS;
        self.requests.extend(room.then_some(cid));
        room
    }

    /// Takes a command back; false when it is not here.
    pub fn withdraw(&mut self, cid: u16) -> bool {
        let found = self.requests.iter().position(|it| *it == cid);
        found.map(|index| self.requests.remove(index)).is_some()
    }

    pub fn raise(&mut self, event: Event) {
        if !self.waiting.contains(&event) {
            self.waiting.push(event);
        }
    }

    /// The host has read a log page.
    pub fn acknowledge(&mut self, log: u8) {
        match log {
            log::ERRORS => self.masked &= !1,
            log::SMART => self.masked &= !2,
            _ => {}
        }
    }

    /// The next event to tell, and the command to tell it by.
    pub fn next(&mut self) -> Option<(u16, Event)> {
        let may_be_told = |it: &Event| self.masked & 1 << it.kind == 0;
        let index = self.waiting.iter().position(may_be_told)?;
        let cid = *self.requests.first()?;
        self.requests.remove(0);
        let event = self.waiting.remove(index);
        self.masked |= 1 << event.kind;
        Some((cid, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_type_until_its_log_is_read() {
        let mut events = Events::default();
        events.raise(Event::INVALID_VALUE);
        assert_eq!(events.next(), None);
        let taken: Vec<_> = (1..=5).map(|cid| events.request(cid)).collect();
        assert_eq!(taken, [true, true, true, true, false]);
        assert_eq!(events.next(), Some((1, Event::INVALID_VALUE)));
        events.raise(Event::INVALID_REGISTER);
        events.raise(Event::INVALID_REGISTER);
        events.raise(Event::TEMPERATURE);
        assert_eq!(events.next(), Some((2, Event::TEMPERATURE)));
        assert_eq!(events.next(), None);
        events.acknowledge(log::SMART);
        assert_eq!(events.next(), None);
        events.acknowledge(log::ERRORS);
        assert!(events.withdraw(3) && !events.withdraw(3));
        assert_eq!(events.next(), Some((4, Event::INVALID_REGISTER)));
        assert_eq!(events.next(), None);
        assert_eq!(Event::TEMPERATURE.result(), 0x2_0101);
    }
}
