//! How long a completion takes.

use std::time::Duration;

/// The time from the last access of a work item to its completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Latency {
    /// None.
    #[default]
    None,
    /// Always the same.
    Fixed(Duration),
    /// Anything up to a maximum; the same sequence for the same seed.
    Random {
        /// The longest.
        max: Duration,
        /// What the sequence is made from.
        seed: u64,
    },
}

/// A latency and where in its sequence it is.
#[derive(Debug)]
pub(crate) struct Clock {
    latency: Latency,
    state: u64,
}

impl Clock {
    pub fn new(latency: Latency) -> Self {
        let state = match latency {
            Latency::Random { seed, .. } => seed,
            _ => 0,
        };
        Self { latency, state }
    }

    /// How long the next completion takes; none for no time.
    pub fn next_delay(&mut self) -> Option<Duration> {
        let delay = match self.latency {
            Latency::None => return None,
            Latency::Fixed(delay) => delay,
            Latency::Random { max, .. } => {
                let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
                Duration::from_nanos(self.draw() % nanos.saturating_add(1).max(1))
            }
        };
        (!delay.is_zero()).then_some(delay)
    }

    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.state;
        it = (it ^ it >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ it >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ it >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence() {
        let max = Duration::from_micros(100);
        let sequence = |seed| {
            let mut clock = Clock::new(Latency::Random { max, seed });
            (0..64).map(|_| clock.next_delay()).collect::<Vec<_>>()
        };
        assert_eq!(sequence(7), sequence(7));
        assert_ne!(sequence(7), sequence(8));
        assert!(sequence(7).iter().all(|delay| delay.is_none_or(|delay| delay <= max)));
        assert_eq!(Clock::new(Latency::None).next_delay(), None);
        assert_eq!(Clock::new(Latency::Fixed(max)).next_delay(), Some(max));
    }
}
