//! Results and flags of arithmetic.

use crate::operand::{low, signed};

pub(crate) const CARRY: u64 = 1 << 0;
pub(crate) const PARITY: u64 = 1 << 2;
pub(crate) const ADJUST: u64 = 1 << 4;
pub(crate) const ZERO: u64 = 1 << 6;
pub(crate) const SIGN: u64 = 1 << 7;
pub(crate) const DIRECTION: u64 = 1 << 10;
pub(crate) const OVERFLOW: u64 = 1 << 11;

const RESULT: u64 = PARITY | ZERO | SIGN;
const ALL: u64 = RESULT | CARRY | ADJUST | OVERFLOW;

/// A value of so many bytes, and flags. Values are within their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alu {
    pub size: usize,
    pub flags: u64,
}

impl Alu {
    fn bits(self) -> u32 {
        self.size as u32 * 8
    }

    fn sign(self, value: u64) -> bool {
        value >> (self.bits() - 1) & 1 == 1
    }

    fn put(&mut self, flag: u64, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }

    /// The flags that tell of a result alone.
    fn result(&mut self, value: u64) -> u64 {
        self.put(PARITY, (value as u8).count_ones().is_multiple_of(2));
        self.put(ZERO, value == 0);
        self.put(SIGN, self.sign(value));
        value
    }

    /// `a + b`, and one more with `carry`.
    pub fn add(&mut self, a: u64, b: u64, carry: bool) -> u64 {
        self.flags &= !ALL;
        let wide = u128::from(a) + u128::from(b) + u128::from(carry);
        let value = wide as u64 & low(self.size);
        self.put(CARRY, wide >> self.bits() != 0);
        self.put(ADJUST, (a ^ b ^ value) & 0x10 != 0);
        self.put(OVERFLOW, self.sign((a ^ value) & (b ^ value)));
        self.result(value)
    }

    /// `a - b`, and one less with `borrow`.
    pub fn sub(&mut self, a: u64, b: u64, borrow: bool) -> u64 {
        self.flags &= !ALL;
        let value = a.wrapping_sub(b).wrapping_sub(borrow.into()) & low(self.size);
        self.put(CARRY, u128::from(a) < u128::from(b) + u128::from(borrow));
        self.put(ADJUST, (a ^ b ^ value) & 0x10 != 0);
        self.put(OVERFLOW, self.sign((a ^ b) & (a ^ value)));
        self.result(value)
    }

    /// The flags of `AND`, `OR` and `XOR`; the result as it is.
    pub fn logic(&mut self, value: u64) -> u64 {
        self.flags &= !(CARRY | OVERFLOW);
        self.result(value)
    }

    /// `INC` and `DEC`: all but the carry.
    pub fn step(&mut self, value: u64, up: bool) -> u64 {
        let carry = self.flags & CARRY;
        let value = if up { self.add(value, 1, false) } else { self.sub(value, 1, false) };
        self.flags = self.flags & !CARRY | carry;
        value
    }

    /// `SHL`, `SHR` and `SAR`, by a count that is below 64.
    pub fn shift(&mut self, value: u64, count: u32, left: bool, keeps_sign: bool) -> u64 {
        if count == 0 {
            return value;
        }
        let bits = self.bits();
        let (shifted, carry, overflow);
        if left {
            let wide = u128::from(value) << count;
            shifted = wide as u64 & low(self.size);
            carry = wide >> bits & 1 == 1;
            overflow = self.sign(shifted) != carry;
        } else {
            let wide = if keeps_sign { signed(value, self.size) } else { value };
            let last = wide.cast_signed() >> (count - 1).min(63);
            let last = if keeps_sign { last.cast_unsigned() } else { wide >> (count - 1) };
            carry = last & 1 == 1;
            let once = if keeps_sign { last.cast_signed() >> 1 } else { (last >> 1).cast_signed() };
            shifted = once.cast_unsigned() & low(self.size);
            overflow = !keeps_sign && self.sign(value);
        }
        self.put(CARRY, carry);
        if count == 1 {
            self.put(OVERFLOW, overflow);
        }
        self.result(shifted)
    }

    /// `ROL` and `ROR`, by a count that is below 64.
    pub fn rotate(&mut self, value: u64, count: u32, left: bool) -> u64 {
        if count == 0 {
            return value;
        }
        let (bits, turn) = (self.bits(), count % self.bits());
        let turn = if left { turn } else { (bits - turn) % bits };
        let back = (bits - turn) % bits;
        let rotated =
            if turn == 0 { value } else { value << turn | value >> back } & low(self.size);
        let (top, next) = (rotated >> (bits - 1) & 1, rotated >> (bits - 2) & 1);
        let carry = if left { rotated & 1 } else { top };
        self.put(CARRY, carry == 1);
        if count == 1 {
            self.put(OVERFLOW, top ^ if left { carry } else { next } == 1);
        }
        rotated
    }
}
