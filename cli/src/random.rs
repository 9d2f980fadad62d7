//! Random numbers that are the same everywhere.

/// SplitMix64 (Steele, Lea and Flood 2014): an addition and a hash for each number, and no bad
/// seeds.
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// One of many sequences of a seed: what `index` stands for may be done in any order.
    pub fn of(seed: u64, stream: u64, index: usize) -> Self {
        let stream = Self::new(seed).bits().wrapping_add(stream);
        Self::new(Self::new(Self::new(stream).bits().wrapping_add(index as u64)).bits())
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform from −1 to 1, without 1.
    pub fn symmetric(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    /// Uniform from 0 to 1, without 1.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Nearly normal with mean 0 and variance 1: the sum of four uniform numbers, within ±√12.
    pub fn normal(&mut self) -> f32 {
        let bits = self.bits();
        let two = (bits & 0xffff_0000_ffff) + ((bits >> 16) & 0xffff_0000_ffff);
        let sum = (two & 0xffff_ffff) + (two >> 32);
        (sum as f32 - 131_070.0) * (1.732_050_8 / 65_536.0)
    }

    /// Uniform below a bound above 0: no number is more likely than another by more than 2⁻⁶⁴.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// Puts the items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
