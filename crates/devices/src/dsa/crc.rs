//! The CRC that the accelerator makes: polynomial 0x1edc6f41 (CRC32C).

/// Made so far, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crc {
    /// The register, the highest power first.
    state: u32,
    bypass: bool,
    bypass_data: bool,
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let (mut word, mut bit) = ((index as u32) << 24, 0);
        while bit < 8 {
            let carry = word >> 31;
            word = (word << 1) ^ (carry * 0x1edc_6f41);
            bit += 1;
        }
        table[index] = word;
        index += 1;
    }
    table
};

impl Crc {
    /// From a seed, which is what [`Crc::value`] was of what stands before. With `bypass`, seed and value
    /// are the register itself, else they are reflected and inverted; `bypass_data` leaves the bits of each
    /// byte in their order.
    pub fn new(seed: u32, bypass: bool, bypass_data: bool) -> Self {
        let state = if bypass { seed } else { !seed.reverse_bits() };
        Self { state, bypass, bypass_data }
    }

    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let byte = if self.bypass_data { *byte } else { byte.reverse_bits() };
            let index = (self.state >> 24) as u8 ^ byte;
            self.state = (self.state << 8) ^ TABLE[usize::from(index)];
        }
    }

    pub fn value(&self) -> u32 {
        if self.bypass { self.state } else { !self.state.reverse_bits() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let of = |seed, bypass, bypass_data, parts: &[&[u8]]| {
            let mut crc = Crc::new(seed, bypass, bypass_data);
            parts.iter().for_each(|part| crc.add(part));
            crc.value()
        };
        // the check value of CRC-32/ISCSI, in one part and in two
        assert_eq!(of(0, false, false, &[b"123456789"]), 0xe306_9283);
        assert_eq!(of(of(0, false, false, &[b"1234"]), false, false, &[b"56789"]), 0xe306_9283);
        // RFC 3720 B.4: 32 bytes of zeros
        assert_eq!(of(0, false, false, &[&[0; 32]]), 0x8a91_36aa);
        let register = of(u32::MAX, true, false, &[b"123456789"]);
        assert_eq!(!register.reverse_bits(), 0xe306_9283);
        assert_eq!(of(0, true, true, &[&[0, 0, 0, 1]]), 0x1edc_6f41);
    }
}
