//! Random numbers that are the same everywhere.

use ndarray::IxDyn;

use super::array::{self, Shared};
use crate::element::Real;
use crate::error::{Error, Result, short};

/// What SplitMix64 adds for each number.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Random numbers of a seed, and keys of dropout masks.
///
/// SplitMix64 (Steele, Lea and Flood, 2014): an addition and a hash for each number. Its state is one
/// number, which a run that is resumed takes up again.
///
/// ```
/// use surprisal::autodiff::{Generator, Tape};
/// let mut generator = Generator::new(7);
/// let tape = Tape::<f32>::new()?;
/// let weights = tape.leaf(generator.normal(&[4, 3], 0.02)?);
/// let dropped = weights.dropout(0.1, &mut generator)?;
/// let mut resumed = Generator::from_state(generator.state());
/// assert_eq!(resumed.bits(), generator.bits());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generator {
    state: u64,
}

impl Generator {
    /// The sequence of this seed.
    ///
    /// ```
    /// use surprisal::autodiff::Generator;
    /// assert_eq!(Generator::new(1).bits(), Generator::new(1).bits());
    /// ```
    pub fn new(seed: u64) -> Self {
        Self { state: hash(seed) }
    }

    /// Where the sequence stands.
    ///
    /// ```
    /// # use surprisal::autodiff::Generator;
    /// assert_eq!(Generator::from_state(5).state(), 5);
    /// ```
    pub fn state(&self) -> u64 {
        self.state
    }

    /// The sequence from where it stood.
    ///
    /// ```
    /// # use surprisal::autodiff::Generator;
    /// let mut first = Generator::new(3);
    /// first.bits();
    /// assert_eq!(Generator::from_state(first.state()), first);
    /// ```
    pub fn from_state(state: u64) -> Self {
        Self { state }
    }

    /// 64 random bits.
    ///
    /// ```
    /// # use surprisal::autodiff::Generator;
    /// let mut generator = Generator::new(3);
    /// assert_ne!(generator.bits(), generator.bits());
    /// ```
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        hash(self.state)
    }

    /// Uniform from 0 to 1, without 1.
    ///
    /// ```
    /// # use surprisal::autodiff::Generator;
    /// assert!((0.0..1.0).contains(&Generator::new(3).uniform()));
    /// ```
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// An array of independent normal numbers with mean 0 and this standard deviation.
    ///
    /// ```
    /// # use surprisal::autodiff::Generator;
    /// let weights = Generator::new(3).normal::<f64>(&[100, 100], 2.0)?;
    /// let variance = weights.iter().map(|x| x * x).sum::<f64>() / 1e4;
    /// assert!((variance - 4.0).abs() < 0.3);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] for a deviation that is negative or not finite; [`Error::TooLarge`] for a
    /// shape beyond the address space.
    pub fn normal<T: Real>(&mut self, shape: &[usize], deviation: f64) -> Result<Shared<T>> {
        if !(deviation.is_finite() && deviation >= 0.0) {
            return Err(Error::Option {
                name: "deviation",
                value: short(deviation),
                expected: "a finite number of at least 0",
            });
        }
        array::check_size::<T>(shape)?;
        let mut array = Shared::from_elem(IxDyn(shape), T::ZERO);
        for pair in array::slice_mut(&mut array).chunks_mut(2) {
            // Box and Muller, 1958.
            let radius = deviation * (-2.0 * libm::log(1.0 - self.uniform())).sqrt();
            let angle = std::f64::consts::TAU * self.uniform();
            for (to, part) in pair.iter_mut().zip([libm::cos(angle), libm::sin(angle)]) {
                *to = T::from_f64(radius * part);
            }
        }
        Ok(array)
    }
}

/// The hash of SplitMix64.
#[inline(always)]
fn hash(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 32 random bits for each of two neighbours: a function of the key and of their place alone.
#[inline(always)]
pub(super) fn two_decisions(key: u64, index: u64) -> [u32; 2] {
    let bits = hash(key.wrapping_add(STEP.wrapping_mul(index)));
    [bits as u32, (bits >> 32) as u32]
}
