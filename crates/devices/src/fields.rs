//! Stores of any width, taken apart into the registers that they touch.

/// A register: where it is, and how many bytes it has, 8 at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub at: u64,
    pub size: u64,
}

/// What a store writes of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The bits written, zeros elsewhere.
    pub value: u64,
    /// Which ones are written.
    pub mask: u64,
}

impl Part {
    /// The register after the store, if it holds what is written.
    pub fn over(self, old: u64) -> u64 {
        old & !self.mask | self.value
    }
}

impl Field {
    pub const fn new(at: u64, size: u64) -> Self {
        Self { at, size }
    }

    /// The part of a store at an offset that falls in this register; none if it misses it.
    pub fn part(self, offset: u64, from: &[u8]) -> Option<Part> {
        let mut part = Part { value: 0, mask: 0 };
        for index in 0..self.size.min(8) {
            let byte = self.at.checked_add(index).and_then(|at| at.checked_sub(offset));
            if let Some(byte) = byte.and_then(|byte| from.get(usize::try_from(byte).ok()?)) {
                part.value |= u64::from(*byte) << (8 * index);
                part.mask |= 0xff << (8 * index);
            }
        }
        (part.mask != 0).then_some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let register = Field::new(4, 4);
        type Case<'a> = (u64, &'a [u8], Option<(u64, u64)>);
        let cases: &[Case<'_>] = &[
            (4, &[1, 2, 3, 4], Some((0x0403_0201, 0xffff_ffff))),
            (4, &[1], Some((1, 0xff))),
            (6, &[1, 2], Some((0x0201_0000, 0xffff_0000))),
            (0, &[0, 1, 2, 3, 4, 5, 6, 7], Some((0x0706_0504, 0xffff_ffff))),
            (0, &[1, 2, 3, 4], None),
            (8, &[1], None),
            (u64::MAX, &[1, 2], None),
        ];
        for &(offset, from, wanted) in cases {
            let part = register.part(offset, from).map(|part| (part.value, part.mask));
            assert_eq!(part, wanted, "{from:?} at {offset}");
        }
        assert_eq!(Part { value: 0x20, mask: 0xf0 }.over(0x1234), 0x1224);
    }
}
