//! Queues: rings in memory, one entry of which always stays free (B 3.3.1.2).

/// Entries of a ring, and where in it something is.
#[derive(Clone, Copy, Debug)]
struct Ring {
    base: u64,
    /// log2 of the bytes of an entry.
    shift: u32,
    /// Entries, 2 at least.
    size: u32,
    head: u32,
    tail: u32,
}

impl Ring {
    fn new(base: u64, shift: u32, size: u32) -> Self {
        Self { base, shift, size, head: 0, tail: 0 }
    }

    /// Nothing is at an address that a ring at the end of all addresses would have.
    fn address(&self, index: u32) -> u64 {
        self.base.saturating_add(u64::from(index) << self.shift)
    }

    fn after(&self, index: u32, more: u32) -> u32 {
        (index + more) % self.size
    }

    fn used(&self) -> u32 {
        (self.tail + self.size - self.head) % self.size
    }
}

/// A submission queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Submission {
    ring: Ring,
    /// The completion queue that its commands go to.
    pub completions: u16,
}

impl Submission {
    pub fn new(base: u64, size: u32, completions: u16) -> Self {
        Self { ring: Ring::new(base, 6, size), completions }
    }

    /// The host has put commands in. A tail is below the size.
    pub fn set_tail(&mut self, tail: u16) {
        self.ring.tail = u32::from(tail);
    }

    /// Where the next commands are, and how many of them follow each other.
    pub fn next(&self) -> (u64, u32) {
        let Ring { head, size, .. } = self.ring;
        (self.ring.address(head), self.ring.used().min(size - head))
    }

    /// A command is taken out; where the head is then.
    pub fn take(&mut self) -> u16 {
        self.ring.head = self.ring.after(self.ring.head, 1);
        self.head()
    }

    /// Where the next command is.
    pub fn head(&self) -> u16 {
        self.ring.head as u16
    }
}

/// A completion queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completions {
    ring: Ring,
    /// The phase tag of the next entry.
    phase: bool,
    /// Submission queues that use it.
    pub users: u32,
}

impl Completions {
    pub fn new(base: u64, size: u32) -> Self {
        Self { ring: Ring::new(base, 4, size), phase: true, users: 0 }
    }

    /// The host has taken entries out. A head is below the size.
    pub fn set_head(&mut self, head: u16) {
        self.ring.head = u32::from(head);
    }

    /// How many entries fit.
    pub fn room(&self) -> u32 {
        self.ring.size - 1 - self.ring.used()
    }

    /// Where the next entry is put.
    pub fn tail(&self) -> u16 {
        self.ring.tail as u16
    }

    /// The place of the next entry, and its phase tag.
    pub fn put(&mut self) -> (u64, bool) {
        let place = (self.ring.address(self.ring.tail), self.phase);
        self.ring.tail = self.ring.after(self.ring.tail, 1);
        self.phase ^= self.ring.tail == 0;
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_follow_each_other_up_to_the_end_of_the_ring() {
        let mut queue = Submission::new(0x1000, 4, 0);
        queue.set_tail(3);
        assert_eq!(queue.next(), (0x1000, 3));
        assert_eq!((queue.take(), queue.take(), queue.take()), (1, 2, 3));
        assert_eq!(queue.next(), (0x10c0, 0));
        queue.set_tail(2);
        assert_eq!(queue.next(), (0x10c0, 1));
        assert_eq!(queue.take(), 0);
        assert_eq!(queue.next(), (0x1000, 2));
    }

    #[test]
    fn the_phase_changes_with_each_round() {
        let mut queue = Completions::new(0x1000, 3);
        assert_eq!((queue.room(), queue.tail()), (2, 0));
        assert_eq!((queue.put(), queue.put()), ((0x1000, true), (0x1010, true)));
        assert_eq!((queue.room(), queue.tail()), (0, 2));
        queue.set_head(2);
        assert_eq!(queue.put(), (0x1020, true));
        assert_eq!(queue.put(), (0x1000, false));
        assert_eq!(queue.room(), 0);
    }
}
