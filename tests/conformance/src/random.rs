//! Repeatable numbers.

/// A xorshift generator (Marsaglia 2003), the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) const fn bits(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    /// Between -4 and 4.
    pub(crate) const fn tame(&mut self) -> f32 {
        (self.bits() as i32 as f32) / (1u32 << 29) as f32
    }

    /// Any float at all, infinities, NaNs and subnormals too.
    pub(crate) const fn wild(&mut self) -> f32 {
        f32::from_bits(self.bits())
    }

    /// Between -level and level, often at an end: values of a quantised row.
    pub(crate) const fn row_int8_within(&mut self, level: i8) -> i8 {
        match self.bits() % 4 {
            0 => -level,
            1 => level,
            _ => ((self.bits() % (2 * level as u32 + 1)) as i16 - level as i16) as i8,
        }
    }

    /// Any int8, often at an end: a weight.
    pub(crate) const fn int8(&mut self) -> i8 {
        match self.bits() % 4 {
            0 => i8::MIN,
            1 => i8::MAX,
            _ => self.bits() as u8 as i8,
        }
    }
}
