//! The random stream of a seed (xorshift of 64 bits).

pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut it = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x765_4321));
        (0..8).for_each(|_| _ = it.word());
        it
    }

    pub fn word(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as u32
    }

    pub fn below(&mut self, end: u32) -> u32 {
        self.word() % end
    }

    /// True in so many of a hundred.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// One of two.
    pub fn either<T>(&mut self, percent: u32, usual: T, other: T) -> T {
        if self.chance(percent) { usual } else { other }
    }

    /// Flags, mostly as they are, else with one arbitrary bit added.
    pub fn flags(&mut self, usual: u32) -> u32 {
        if self.chance(94) { usual } else { usual | 1 << self.below(32) }
    }
}
