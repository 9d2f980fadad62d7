//! Random numbers that are the same everywhere.

/// What is added to the state for each number: 2⁶⁴ over the golden ratio, made odd.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence of random numbers: SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom
/// number generators"), for all that is random in this crate and its program.
///
/// ```text
/// s ← s + 0x9e3779b97f4a7c15      z = (s ⊕ s≫30)·0xbf58476d1ce4e5b9
/// z ← (z ⊕ z≫27)·0x94d049bb133111eb      bits = z ⊕ z≫31
/// ```
///
/// No seed is bad. The state s is one number, which a run that is resumed takes up again. It is not for
/// secrets.
///
/// ```
/// use surprisal::random::Generator;
/// let mut generator = Generator::new(7);
/// generator.uniform();
/// let mut resumed = Generator::from_state(generator.state());
/// assert_eq!(resumed.bits(), generator.bits());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generator {
    state: u64,
}

impl Generator {
    /// The sequence of this seed, whose state is a hash of it.
    ///
    /// ```
    /// # use surprisal::random::Generator;
    /// assert_eq!(Generator::new(1).bits(), Generator::new(1).bits());
    /// assert_ne!(Generator::new(1).bits(), Generator::new(2).bits());
    /// ```
    #[inline]
    pub fn new(seed: u64) -> Self {
        Self { state: hash(seed) }
    }

    /// The sequence from this state on: s itself, as other programs seed SplitMix64.
    ///
    /// ```
    /// # use surprisal::random::Generator;
    /// let mut generator = Generator::from_state(1_234_567);
    /// assert_eq!(generator.bits(), 6_457_827_717_110_365_317);
    /// ```
    #[inline]
    pub fn from_state(state: u64) -> Self {
        Self { state }
    }

    /// One of many sequences of a seed, each of its own kind of numbers.
    ///
    /// ```
    /// # use surprisal::random::Generator;
    /// assert_ne!(Generator::stream(0, 1), Generator::stream(0, 2));
    /// ```
    #[inline]
    pub fn stream(seed: u64, stream: u64) -> Self {
        Self::from_state(Self::from_state(seed).bits()).child(stream)
    }

    /// One of many sequences of a stream: what `index` stands for may be done in any order.
    ///
    /// ```
    /// # use surprisal::random::Generator;
    /// let row = |index| Generator::of(0, 1, index).uniform();
    /// assert_eq!((row(8), row(9)), { let last = row(9); (row(8), last) });
    /// ```
    #[inline]
    pub fn of(seed: u64, stream: u64, index: usize) -> Self {
        Self::stream(seed, stream).child(index as u64)
    }

    /// One of many sequences of this one, as [`of`](Self::of).
    pub(crate) fn child(self, number: u64) -> Self {
        Self::from_state(Self::from_state(self.state.wrapping_add(number)).bits())
    }

    /// Where the sequence stands.
    ///
    /// ```
    /// # use surprisal::random::Generator;
    /// assert_eq!(Generator::from_state(5).state(), 5);
    /// ```
    #[inline]
    pub fn state(&self) -> u64 {
        self.state
    }

    /// 64 random bits.
    ///
    /// ```
    /// # use surprisal::random::Generator;
    /// let mut generator = Generator::new(3);
    /// assert_ne!(generator.bits(), generator.bits());
    /// ```
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        hash(self.state)
    }

    /// Uniform from 0 to 1, without 1: a multiple of 2⁻⁵³.
    ///
    /// ```
    /// # use surprisal::random::Generator;
    /// assert!((0.0..1.0).contains(&Generator::new(3).uniform()));
    /// ```
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform from −1 to 1, without 1: a multiple of 2⁻²³.
    ///
    /// ```
    /// # use surprisal::random::Generator;
    /// assert!((-1.0..1.0).contains(&Generator::new(3).symmetric()));
    /// ```
    #[inline]
    pub fn symmetric(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    /// 1 or −1.
    ///
    /// ```
    /// # use surprisal::random::Generator;
    /// assert_eq!(Generator::new(3).sign().abs(), 1.0);
    /// ```
    #[inline]
    pub fn sign(&mut self) -> f64 {
        if self.bits() >> 63 == 0 { 1.0 } else { -1.0 }
    }

    /// Uniform below `bound`: no number is more likely than another by more than 2⁻⁶⁴. 0 where the bound is.
    ///
    /// ```
    /// # use surprisal::random::Generator;
    /// let mut generator = Generator::new(3);
    /// assert!((0..100).all(|_| generator.below(6) < 6));
    /// ```
    #[inline]
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// Puts the items into a random order: Durstenfeld's shuffle (1964), every order as likely as another.
    ///
    /// ```
    /// # use surprisal::random::Generator;
    /// let mut cards: Vec<_> = (0..52).collect();
    /// Generator::new(3).shuffle(&mut cards);
    /// assert_ne!(cards, Vec::from_iter(0..52));
    /// ```
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// Normal with mean 0 and variance 1: `√(−2 ln(1 − u)) cos 2πu′` of two uniform numbers (Box and
    /// Muller 1958), with the same bits everywhere.
    ///
    /// ```
    /// # use surprisal::random::Generator;
    /// let mut generator = Generator::new(3);
    /// let squares: f64 = (0..10_000).map(|_| generator.standard_normal().powi(2)).sum();
    /// assert!((squares / 1e4 - 1.0).abs() < 0.06);
    /// ```
    pub fn standard_normal(&mut self) -> f64 {
        self.normal_pair(1.0)[0]
    }

    /// Two independent normal numbers with mean 0 and this standard deviation.
    pub(crate) fn normal_pair(&mut self, deviation: f64) -> [f64; 2] {
        let radius = deviation * (-2.0 * libm::log(1.0 - self.uniform())).sqrt();
        let angle = std::f64::consts::TAU * self.uniform();
        [radius * libm::cos(angle), radius * libm::sin(angle)]
    }

    /// Nearly normal with mean 0 and variance 1, from one draw: the sum of four uniform numbers of 16
    /// bits, within ±√12.
    ///
    /// ```
    /// # use surprisal::random::Generator;
    /// assert!(Generator::new(3).nearly_normal().abs() <= 12_f32.sqrt());
    /// ```
    #[inline]
    pub fn nearly_normal(&mut self) -> f32 {
        let bits = self.bits();
        let two = (bits & 0xffff_0000_ffff) + ((bits >> 16) & 0xffff_0000_ffff);
        let sum = (two & 0xffff_ffff) + (two >> 32);
        (sum as f32 - 131_070.0) * (1.732_050_8 / 65_536.0)
    }
}

/// The bits at a place of the sequence that stood at `state`, without those before.
#[inline(always)]
pub(crate) fn bits_at(state: u64, place: u64) -> u64 {
    hash(state.wrapping_add(STEP.wrapping_mul(place)))
}

#[inline(always)]
fn hash(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_of_the_sequence_is_what_comes_there() {
        let mut generator = Generator::from_state(7);
        for place in 1..10 {
            assert_eq!(bits_at(7, place), generator.bits());
        }
    }
}
