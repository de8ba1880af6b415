//! What the host tells the controller's thread: doorbells, start, shutdown; and the interrupts of queues.
//!
//! A doorbell holds the last value that was written. Which queues there are is known here, too, so that a
//! write to a doorbell of none is seen at once.
//!
//! The pin is asserted while a queue has completions that the host has not taken out, and its interrupt is not
//! masked (B 7.5.1). So the store to the doorbell that takes the last one out takes the pin back, before it is
//! over: the host unmasks its interrupt next. A message is sent each time that completions are put in.

use engine::Interrupts;

use super::spec::{DOORBELLS, QUEUES, VECTORS};

/// The doorbell of one queue.
#[derive(Clone, Copy, Debug, Default)]
struct Doorbell {
    /// Entries of the queue; 0 when there is none.
    size: u32,
    value: u16,
}

/// What a completion queue holds.
#[derive(Clone, Copy, Debug, Default)]
struct Entries {
    /// Where the next entry is put.
    tail: u16,
    /// The interrupt that is raised for it; none without.
    vector: Option<u16>,
}

/// The worker's desk.
#[derive(Debug)]
pub(super) struct Desk {
    /// Whose doorbells they are: [`crate::worker::Worker::epoch`] when the controller was enabled.
    epoch: u64,
    enabled: bool,
    /// By queue: submission and completion.
    doorbells: [[Doorbell; 2]; QUEUES],
    /// By queue.
    entries: [Entries; QUEUES],
    news: News,
    interrupts: Interrupts,
    /// Interrupts by pin that are masked.
    masked: u32,
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
    pub fn new(interrupts: Interrupts) -> Self {
        Self {
            epoch: 0,
            enabled: false,
            doorbells: [[Doorbell::default(); 2]; QUEUES],
            entries: [Entries::default(); QUEUES],
            news: News::default(),
            interrupts,
            masked: 0,
        }
    }

    /// The controller is not enabled any more: nothing that it was told counts, and no pin is asserted.
    pub fn disable(&mut self) {
        (0..VECTORS).for_each(|vector| self.interrupts.lower(vector.into()));
        *self = Self { masked: self.masked, ..Self::new(self.interrupts.clone()) };
    }

    /// As after a reset of the function.
    pub fn reset(&mut self) {
        self.disable();
        self.masked = 0;
    }

    /// It is enabled, with its admin queues.
    pub fn enable(&mut self, start: Start) {
        self.disable();
        (self.epoch, self.enabled) = (start.epoch, true);
        self.news.start = Some(start);
        self.create(start.epoch, 0, End::Tail, start.submission.1);
        self.create_completions(start.epoch, 0, start.completion.1, Some(0));
    }

    pub fn shut_down(&mut self, epoch: u64) {
        self.news.shutdown = Some(epoch);
    }

    /// Masks interrupts by pin; all that are masked then.
    pub fn mask(&mut self, vectors: u32) -> u32 {
        self.masked |= vectors;
        bits(vectors).for_each(|vector| self.interrupts.lower(vector.into()));
        self.masked
    }

    /// Unmasks interrupts by pin, and raises those that there is a reason for; all that are masked then.
    pub fn unmask(&mut self, vectors: u32) -> u32 {
        let unmasked = self.masked & vectors;
        self.masked &= !vectors;
        let pending = bits(unmasked).filter(|vector| self.is_pending(*vector));
        pending.for_each(|vector| self.interrupts.raise(vector.into()));
        self.masked
    }

    fn create(&mut self, epoch: u64, queue: u16, end: End, size: u32) {
        if self.is_of(epoch) {
            self.doorbells[usize::from(queue)][end as usize] = Doorbell { size, value: 0 };
        }
    }

    /// There is a submission queue now, unless a reset came first; of no size, there is none any more.
    pub fn create_submission(&mut self, epoch: u64, queue: u16, size: u32) {
        self.create(epoch, queue, End::Tail, size);
    }

    /// The same of a completion queue, and its interrupt.
    pub fn create_completions(&mut self, epoch: u64, queue: u16, size: u32, vector: Option<u16>) {
        self.create(epoch, queue, End::Head, size);
        if self.is_of(epoch) {
            let entries = Entries { tail: 0, vector };
            let old = std::mem::replace(&mut self.entries[usize::from(queue)], entries);
            self.settle(old.vector);
        }
    }

    /// Completions were put in a queue, up to a tail: its interrupt is raised, unless a reset came first.
    pub fn put(&mut self, epoch: u64, queue: u16, tail: u16) {
        if !self.is_of(epoch) {
            return;
        }
        let entries = &mut self.entries[usize::from(queue)];
        entries.tail = tail;
        let Some(vector) = entries.vector else { return };
        if self.masked.checked_shr(vector.into()).unwrap_or(0) & 1 == 0 {
            self.interrupts.raise(vector.into());
        }
        // the host may have seen them, and taken them out
        self.settle(Some(vector));
    }

    /// Takes the pin back, when nothing is left to be taken out.
    fn settle(&self, vector: Option<u16>) {
        let Some(vector) = vector.filter(|vector| !self.is_pending(*vector)) else { return };
        self.interrupts.lower(vector.into());
    }

    /// Whether the host has completions to take out of which an interrupt tells.
    fn is_pending(&self, vector: u16) -> bool {
        let mut queues = self.doorbells.iter().zip(&self.entries);
        queues.any(|([_, head], entries)| {
            entries.vector == Some(vector) && entries.tail != head.value
        })
    }

    /// A doorbell is written, by its offset in the BAR.
    pub fn ring(&mut self, offset: u64, value: u32) {
        if !self.enabled {
            return;
        }
        let number = ((offset - DOORBELLS) / 4) as usize;
        let vector = self.entries.get(number / 2).and_then(|entries| entries.vector);
        let doorbell = self.doorbells.get_mut(number / 2).map(|both| &mut both[number % 2]);
        // bits 31:16 are reserved
        let value = value as u16;
        match doorbell {
            Some(doorbell) if doorbell.size > u32::from(value) => {
                doorbell.value = value;
                self.news.rung = true;
                self.settle(vector.filter(|_| number % 2 == End::Head as usize));
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
        let News { start, shutdown, rung, invalid_register, invalid_value } = self.news;
        let any = rung || invalid_register || invalid_value;
        (any || start.is_some() || shutdown.is_some()).then(|| std::mem::take(&mut self.news))
    }
}

/// The numbers of the bits that are set.
fn bits(word: u32) -> impl Iterator<Item = u16> {
    (0..32).filter(move |bit| word >> bit & 1 != 0)
}
