//! The random stream that a seed stands for: xorshift64, 32 bits a draw.
//!
//! Recordings hold for one stream only, so *how many* draws a choice costs is part of the format: a
//! choice among nothing draws nothing, and a `?:` draws for the branch it takes. Every choice of the
//! player goes through the three methods here.

/// The stream of one seed.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of `seed`; neighbouring seeds are spread apart, then eight draws are thrown away.
    pub fn new(seed: u64) -> Rng {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x0123_4567));
        for _ in 0..8 {
            rng.draw();
        }
        rng
    }

    /// The next 32 bits.
    pub fn draw(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as u32
    }

    /// One of `0..n`; 0, without a draw, when `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        if n == 0 { 0 } else { self.draw() % n }
    }

    /// True in `percent` of 100 draws.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// An index into a list of `len` entries; 0 when it is empty.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn a_choice_among_nothing_draws_nothing() {
        let (mut asked, mut untouched) = (Rng::new(7), Rng::new(7));
        assert_eq!(asked.below(0), 0);
        assert_eq!(asked.draw(), untouched.draw());
    }

    /// Printed by the C program's `rnd` for these seeds.
    #[test]
    fn streams_are_those_of_the_c_program() {
        #[rustfmt::skip] // one seed, one line
        let cases: &[(u64, [u32; 3])] = &[
            (0, [3012463201, 3357104015, 1174723540]),
            (1, [3278983160, 3742977121, 2659633087]),
            (300, [2022548483, 1886088895, 1837202179]),
            (u64::MAX, [3848699467, 955619079, 1136678368]),
        ];
        for (seed, drawn) in cases {
            let mut rng = Rng::new(*seed);
            assert_eq!([rng.draw(), rng.draw(), rng.draw()], *drawn, "seed {seed}");
        }
    }
}
