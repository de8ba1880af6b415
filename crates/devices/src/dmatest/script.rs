//! Scripts: what the device is told to do, and what became of it.

use std::time::Duration;

use engine::Rights;

use super::spec;

/// One operation of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What is done.
    pub action: Action,
    /// Where.
    pub address: u64,
    /// With which PASID, if any.
    pub pasid: Option<u32>,
    /// Whether with privilege.
    pub privileged: bool,
    /// An access asks for translations first, and for pages that are missing by requests of this group
    /// of 9 bits, until they are there.
    pub page_requests: Option<u16>,
    /// How long each answer is waited for.
    pub timeout: Duration,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reads memory.
    Read {
        /// Bytes, [`spec::SIZE_MAX`] at most.
        size: u32,
    },
    /// Writes memory.
    Write {
        /// Bytes, [`spec::SIZE_MAX`] at most.
        size: u32,
        /// 8 bytes that are repeated, the lowest first.
        pattern: u64,
    },
    /// Reads memory in order to execute it.
    Fetch {
        /// Bytes, [`spec::SIZE_MAX`] at most.
        size: u32,
    },
    /// Adds to the word of 8 bytes at an address that is a multiple of 8.
    AtomicAdd {
        /// What is added.
        addend: u64,
    },
    /// Asks for a translation (ATS), and keeps it.
    Translate {
        /// What it shall grant.
        rights: Rights,
    },
    /// Reads memory of one page by a translation that is kept.
    ReadTranslated {
        /// Bytes.
        size: u32,
    },
    /// Writes memory of one page by a translation that is kept.
    WriteTranslated {
        /// Bytes.
        size: u32,
        /// 8 bytes that are repeated, the lowest first.
        pattern: u64,
    },
    /// Asks for a page (PRI), and does not wait.
    RequestPage {
        /// What it is wanted for.
        rights: Rights,
        /// The group, of 9 bits.
        group: u16,
        /// Whether it is the last of its group.
        last: bool,
    },
    /// Waits for the answer to a group of page requests.
    Await {
        /// The group, of 9 bits.
        group: u16,
    },
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It succeeded.
    Done,
    /// The IOMMU refused the access.
    Refused {
        /// The reason, as the hardware's manual counts them.
        code: u32,
    },
    /// The address is translated, and no memory is there any more.
    NoMemory,
    /// A page request or a stalled access was answered: there will be no page.
    AnsweredInvalid,
    /// Likewise, and the device shall ask for no others before it is reset.
    AnsweredFailure,
    /// No answer came in time.
    TimedOut,
    /// The device keeps no translation for this access.
    NotTranslated,
    /// The answers were favourable, and the page is still not there.
    NotGranted,
    /// The device may not reach memory.
    NoBusMaster,
    /// A reset came first.
    Cancelled,
    /// The operation is nonsense.
    Malformed,
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// What it read. It is as long as was asked when the operation succeeded, else empty.
    pub bytes: Vec<u8>,
    /// What an addition found, as a number.
    pub value: u64,
    /// What a translation grants.
    pub granted: Rights,
    /// How often the access was tried.
    pub attempts: u32,
    /// Page requests that it made.
    pub requests: u32,
}

impl Operation {
    /// An operation without PASID and privilege, that waits a second for answers.
    pub fn new(action: Action, address: u64) -> Self {
        let timeout = Duration::from_secs(1);
        Self { action, address, pasid: None, privileged: false, page_requests: None, timeout }
    }

    /// The same with a PASID.
    pub fn pasid(self, pasid: u32) -> Self {
        Self { pasid: Some(pasid), ..self }
    }

    /// The same with privilege.
    pub fn privileged(self) -> Self {
        Self { privileged: true, ..self }
    }

    /// The same with requests for missing pages.
    pub fn page_requests(self, group: u16) -> Self {
        Self { page_requests: Some(group), ..self }
    }

    /// The same with another time to wait for answers.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// As registers have it; none when it is nonsense.
    pub(super) fn decode(raw: &spec::Operation) -> Option<Self> {
        let size = raw.size;
        let rights = Rights::from_bits(u8::try_from(raw.rights).ok()?)?;
        let group = u16::try_from(raw.group).ok()?;
        let has = |flag: u32| raw.flags & flag != 0;
        let pattern = raw.pattern;
        let action = match raw.action {
            spec::READ => Action::Read { size },
            spec::WRITE => Action::Write { size, pattern },
            spec::FETCH => Action::Fetch { size },
            spec::ATOMIC_ADD => Action::AtomicAdd { addend: pattern },
            spec::TRANSLATE => Action::Translate { rights },
            spec::READ_TRANSLATED => Action::ReadTranslated { size },
            spec::WRITE_TRANSLATED => Action::WriteTranslated { size, pattern },
            spec::REQUEST_PAGE => Action::RequestPage { rights, group, last: has(spec::FLAG_LAST) },
            spec::AWAIT => Action::Await { group },
            _ => return None,
        };
        let operation = Self {
            action,
            address: raw.address,
            pasid: has(spec::FLAG_PASID).then_some(raw.pasid),
            privileged: has(spec::FLAG_PRIVILEGED),
            page_requests: has(spec::FLAG_PAGE_REQUESTS).then_some(group),
            timeout: Duration::from_millis(raw.timeout.into()),
        };
        let known = raw.flags & !spec::FLAGS == 0 && raw.reserved == [0; 5];
        known.then_some(operation)
    }

    /// Whether it can be made at all.
    pub(super) fn is_sound(&self) -> bool {
        let is_group = |group: u16| group < 1 << 9;
        let is_pasid = |pasid: u32| pasid < 1 << 20;
        let action = match self.action {
            Action::Read { size }
            | Action::Write { size, .. }
            | Action::Fetch { size }
            | Action::ReadTranslated { size }
            | Action::WriteTranslated { size, .. } => {
                size <= spec::SIZE_MAX && self.address.checked_add(size.into()).is_some()
            }
            Action::AtomicAdd { .. } => self.address.is_multiple_of(8),
            Action::Translate { .. } => true,
            Action::RequestPage { group, .. } | Action::Await { group } => is_group(group),
        };
        action && self.page_requests.is_none_or(is_group) && self.pasid.is_none_or(is_pasid)
    }

    /// What its access asks of memory, and of how many bytes; none when it is no access.
    pub(super) fn reach(&self) -> Option<(Rights, u32)> {
        match self.action {
            Action::Read { size } => Some((Rights::READ, size)),
            Action::Write { size, .. } => Some((Rights::WRITE, size)),
            Action::Fetch { size } => Some((Rights::READ | Rights::EXECUTE, size)),
            Action::AtomicAdd { .. } => Some((Rights::READ | Rights::WRITE, 8)),
            _ => None,
        }
    }
}

impl Outcome {
    /// Nothing but a status.
    pub(super) fn of(status: Status) -> Self {
        let (bytes, granted) = (Vec::new(), Rights::empty());
        Self { status, bytes, value: 0, granted, attempts: 0, requests: 0 }
    }

    /// As registers have it; its data is at an offset, if all of it found room.
    pub(super) fn encode(&self, data_offset: u32, data_size: u32) -> spec::Outcome {
        let (status, code) = match self.status {
            Status::Done => (spec::DONE, 0),
            Status::Refused { code } => (spec::REFUSED, code),
            Status::NoMemory => (spec::NO_MEMORY, 0),
            Status::AnsweredInvalid => (spec::ANSWERED_INVALID, 0),
            Status::AnsweredFailure => (spec::ANSWERED_FAILURE, 0),
            Status::TimedOut => (spec::TIMED_OUT, 0),
            Status::NotTranslated => (spec::NOT_TRANSLATED, 0),
            Status::NotGranted => (spec::NOT_GRANTED, 0),
            Status::NoBusMaster => (spec::NO_BUS_MASTER, 0),
            Status::Cancelled => (spec::CANCELLED, 0),
            Status::Malformed => (spec::MALFORMED, 0),
        };
        let value = self.value | u64::from(self.granted.bits());
        let (attempts, requests) = (self.attempts, self.requests);
        spec::Outcome { status, code, value, data_offset, data_size, attempts, requests }
    }
}
