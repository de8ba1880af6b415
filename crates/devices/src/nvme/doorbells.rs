//! What the host tells the controller's thread: doorbells, start, shutdown.
//!
//! A doorbell holds the last value that was written. Which queues there are is known here, too, so that a
//! write to a doorbell of none is seen at once.

use super::spec::{DOORBELLS, QUEUES};

/// The doorbell of one queue.
#[derive(Clone, Copy, Debug, Default)]
struct Doorbell {
    /// Entries of the queue; 0 when there is none.
    size: u32,
    value: u16,
}

/// The worker's desk.
#[derive(Debug)]
pub(super) struct Desk {
    /// Whose doorbells they are: [`crate::worker::Worker::epoch`] when the controller was enabled.
    epoch: u64,
    enabled: bool,
    /// By queue: submission and completion.
    doorbells: [[Doorbell; 2]; QUEUES],
    news: News,
}

/// What is new since the thread looked last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct News {
    /// The controller was enabled.
    pub start: Option<Start>,
    /// It shall shut down; in which epoch.
    pub shutdown: Option<u64>,
    pub rung: bool,
    /// A doorbell of no queue was written (B 5.2, figure 147).
    pub invalid_register: bool,
    /// A value was written that is none of the queue's.
    pub invalid_value: bool,
    /// Interrupts by pin that are not masked any more.
    pub unmasked: u32,
}

/// With what a controller is enabled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub epoch: u64,
    pub cc: u32,
    pub submission: (u64, u32),
    pub completion: (u64, u32),
}

/// Which doorbell of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Tail = 0,
    Head = 1,
}

impl Desk {
    pub fn new() -> Self {
        let (doorbells, news) = ([[Doorbell::default(); 2]; QUEUES], News::default());
        Self { epoch: 0, enabled: false, doorbells, news }
    }

    /// The controller is not enabled any more: nothing that it was told counts.
    pub fn disable(&mut self) {
        *self = Self::new();
    }

    /// It is enabled, with its admin queues.
    pub fn enable(&mut self, start: Start) {
        self.disable();
        (self.epoch, self.enabled) = (start.epoch, true);
        self.news.start = Some(start);
        self.create(start.epoch, 0, End::Tail, start.submission.1);
        self.create(start.epoch, 0, End::Head, start.completion.1);
    }

    pub fn shut_down(&mut self, epoch: u64) {
        self.news.shutdown = Some(epoch);
    }

    pub fn unmask(&mut self, vectors: u32) {
        self.news.unmasked |= vectors;
    }

    /// There is a queue now, unless a reset came first.
    pub fn create(&mut self, epoch: u64, queue: u16, end: End, size: u32) {
        if self.is_of(epoch) {
            self.doorbells[usize::from(queue)][end as usize] = Doorbell { size, value: 0 };
        }
    }

    /// There is none any more.
    pub fn delete(&mut self, epoch: u64, queue: u16, end: End) {
        self.create(epoch, queue, end, 0);
    }

    /// A doorbell is written, by its offset in the BAR.
    pub fn ring(&mut self, offset: u64, value: u32) {
        if !self.enabled {
            return;
        }
        let number = ((offset - DOORBELLS) / 4) as usize;
        let doorbell = self.doorbells.get_mut(number / 2).map(|both| &mut both[number % 2]);
        // bits 31:16 are reserved
        let value = value as u16;
        match doorbell {
            Some(doorbell) if doorbell.size > u32::from(value) => {
                doorbell.value = value;
                self.news.rung = true;
            }
            Some(Doorbell { size: 1.., .. }) => self.news.invalid_value = true,
            _ => self.news.invalid_register = true,
        }
    }

    /// Whether the doorbells are those of this epoch.
    pub fn is_of(&self, epoch: u64) -> bool {
        self.enabled && self.epoch == epoch
    }

    /// Tail of a submission queue, or head of a completion queue.
    pub fn value(&self, queue: usize, end: End) -> u16 {
        self.doorbells[queue][end as usize].value
    }

    /// What is new, once.
    pub fn take(&mut self) -> Option<News> {
        let News { start, shutdown, rung, invalid_register, invalid_value, unmasked } = self.news;
        let any = rung || invalid_register || invalid_value || unmasked != 0;
        (any || start.is_some() || shutdown.is_some()).then(|| std::mem::take(&mut self.news))
    }
}
