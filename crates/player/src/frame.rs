//! The frame of one ioctl: the struct in a larger buffer, its size field sometimes wrong.
//!
//! A caller may be older or newer than the kernel, so the size field decides how much is read: shorter
//! than the known minimum is refused, a longer one is accepted when the bytes past the known struct are
//! zero. In six calls of 200 the frame plays such a caller:
//!
//! | draw | size field | the buffer |
//! |---|---|---|
//! | 0 | 4 less | |
//! | 1 | 8 more | zero past the struct |
//! | 2 | 8 more | 1 in the first byte past the struct |
//! | 3, 4, 5 | 4, 0, 5000 | |
//!
//! 5000 is more than the 512 bytes that the original (a C program) had on its stack: the kernel went on
//! to read that program's saved registers and callers' frames, found them not zero and said `E2BIG` in
//! each recorded case. Here the buffer goes on in bytes that are never zero.

use crate::rng::Rng;

/// Bytes that belong to the call: zero except for the struct.
const ZEROED: usize = 512;
/// The size field that reaches past them.
const HUGE: u32 = 5000;
/// What lies past them.
const PAST_THE_FRAME: u8 = 0xa5;

/// An argument buffer and how its size field is off.
pub struct Frame {
    bytes: [u8; HUGE as usize],
    /// Size field minus the true size.
    pub excess: i32,
}

impl Frame {
    /// Copies `command` in and draws the size field.
    pub fn new(rng: &mut Rng, command: &[u8]) -> Frame {
        let true_size = command.len() as u32;
        let mut bytes = [PAST_THE_FRAME; HUGE as usize];
        bytes[..ZEROED].fill(0);
        bytes[..command.len()].copy_from_slice(command);
        let size = match rng.below(200) {
            0 => true_size - 4,
            1 => true_size + 8,
            2 => {
                bytes[command.len()] = 1;
                true_size + 8
            }
            3 => 4,
            4 => 0,
            5 => HUGE,
            _ => true_size,
        };
        bytes[..4].copy_from_slice(&size.to_ne_bytes());
        Frame { bytes, excess: size as i32 - true_size as i32 }
    }

    /// The whole buffer, for the call.
    pub fn argument(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The first `len` bytes: the struct as the call left it.
    pub fn command(&self, len: usize) -> &[u8] {
        &self.bytes[..len]
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, HUGE, ZEROED};
    use crate::rng::Rng;

    /// Every kind of size field within 2000 calls, and what follows the struct in each.
    #[test]
    fn size_fields_and_what_lies_past_the_struct() {
        let mut rng = Rng::new(1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..2000 {
            let frame = Frame::new(&mut rng, &[0xff; 24]);
            let size = u32::from_ne_bytes(frame.command(4).try_into().expect("four bytes"));
            assert_eq!(size as i32 - 24, frame.excess);
            assert!(frame.bytes[25..ZEROED].iter().all(|byte| *byte == 0));
            assert!(frame.bytes[ZEROED..].iter().all(|byte| *byte != 0));
            assert!(frame.bytes[24] == 0 || size == 32);
            seen.insert((size, frame.bytes[24]));
        }
        let all = [(0, 0), (4, 0), (20, 0), (24, 0), (32, 0), (32, 1), (HUGE, 0)];
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
    }
}
