//! What the controller keeps for log pages (B 5.16.1): errors, and its health.

use std::collections::VecDeque;

use super::Controller;
use super::features::Features;
use super::spec::{Command, Status, admin, io, log};

/// Errors that are kept (ELPE + 1).
pub(super) const ERRORS: usize = 16;

/// Kelvin: always the same.
pub(super) const TEMPERATURE: u16 = 323;

/// A failed command.
#[derive(Clone, Copy, Debug)]
struct Failure {
    number: u64,
    queue: u16,
    cid: u16,
    status: u16,
    nsid: u32,
    first_block: u64,
}

/// Errors, the latest first.
#[derive(Debug, Default)]
pub(super) struct Errors {
    count: u64,
    latest: VecDeque<Failure>,
}

impl Errors {
    pub fn record(&mut self, queue: u16, command: &Command, status: Status) {
        self.count += 1;
        self.latest.truncate(ERRORS - 1);
        self.latest.push_front(Failure {
            number: self.count,
            queue,
            cid: command.cid,
            status: status.field(),
            nsid: command.nsid,
            first_block: if queue == 0 { 0 } else { command.first_block() },
        });
    }

    /// B figure 206.
    fn page(&self) -> Vec<u8> {
        let mut page = vec![0; 64 * ERRORS];
        for (entry, it) in page.chunks_exact_mut(64).zip(&self.latest) {
            entry[..8].copy_from_slice(&it.number.to_le_bytes());
            entry[8..10].copy_from_slice(&it.queue.to_le_bytes());
            entry[10..12].copy_from_slice(&it.cid.to_le_bytes());
            entry[12..14].copy_from_slice(&it.status.to_le_bytes());
            // of no parameter in particular
            entry[14..16].fill(0xff);
            entry[16..24].copy_from_slice(&it.first_block.to_le_bytes());
            entry[24..28].copy_from_slice(&it.nsid.to_le_bytes());
        }
        page
    }
}

/// What was done so far.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub bytes_read: u128,
    pub bytes_written: u128,
    pub reads: u128,
    pub writes: u128,
}

impl Health {
    /// B figure 207.
    fn page(&self, features: &Features, errors: u64) -> Vec<u8> {
        // thousands of 512 bytes, rounded up
        let units = |bytes: u128| bytes.div_ceil(512 * 1000);
        let mut page = vec![0; 512];
        page[0] = features.is_temperature_critical().into();
        page[0] <<= 1;
        page[1..3].copy_from_slice(&TEMPERATURE.to_le_bytes());
        // all of the spare is there; it counts as low below a tenth
        (page[3], page[4]) = (100, 10);
        let counts = [units(self.bytes_read), units(self.bytes_written), self.reads, self.writes]
            .into_iter();
        for (at, count) in (32..).step_by(16).zip(counts) {
            page[at..at + 16].copy_from_slice(&count.to_le_bytes());
        }
        page[176..184].copy_from_slice(&errors.to_le_bytes());
        page
    }
}

impl Controller {
    /// A whole log page; none when there is no such.
    pub fn log_page(&self, number: u8, command_set: u8, features: &Features) -> Option<Vec<u8>> {
        Some(match number {
            log::ERRORS => self.errors.page(),
            log::SMART => self.health.page(features, self.errors.count),
            log::FIRMWARE => {
                // slot 1 is active
                let mut page = vec![0; 512];
                page[0] = 1;
                page[8..16].copy_from_slice(&super::identify::firmware());
                page
            }
            log::CHANGED_NAMESPACES => vec![0; 4096],
            log::COMMANDS => effects(command_set),
            _ => return None,
        })
    }
}

/// Commands and their effects (B figure 210).
fn effects(command_set: u8) -> Vec<u8> {
    const SUPPORTED: u32 = 1;
    const CHANGES_DATA: u32 = 1 << 1;
    const CHANGES_NAMESPACE: u32 = 1 << 2;
    const ADMIN: [u8; 11] = [
        admin::DELETE_SQ,
        admin::CREATE_SQ,
        admin::GET_LOG_PAGE,
        admin::DELETE_CQ,
        admin::CREATE_CQ,
        admin::IDENTIFY,
        admin::ABORT,
        admin::SET_FEATURES,
        admin::GET_FEATURES,
        admin::ASYNC_EVENT_REQUEST,
        admin::FORMAT_NVM,
    ];
    const IO: [u8; 7] = [
        io::FLUSH,
        io::WRITE,
        io::READ,
        io::COMPARE,
        io::WRITE_ZEROES,
        io::DATASET_MANAGEMENT,
        io::VERIFY,
    ];
    let mut page = vec![0; 4096];
    let mut put = |at: usize, effects: u32| {
        page[at..at + 4].copy_from_slice(&effects.to_le_bytes());
    };
    for opcode in ADMIN {
        let formats =
            if opcode == admin::FORMAT_NVM { CHANGES_DATA | CHANGES_NAMESPACE } else { 0 };
        put(4 * usize::from(opcode), SUPPORTED | formats);
    }
    for opcode in IO.into_iter().filter(|_| command_set == 0) {
        let writes = matches!(opcode, io::WRITE | io::WRITE_ZEROES | io::DATASET_MANAGEMENT);
        let effects = SUPPORTED | if writes { CHANGES_DATA } else { 0 };
        put(1024 + 4 * usize::from(opcode), effects);
    }
    page
}
