//! Arrays of random numbers, and the decisions of dropout masks.

use ndarray::IxDyn;

use super::array::{self, Shared};
use crate::element::Real;
use crate::error::{Error, Result, short};
use crate::random::bits_at;

pub use crate::random::Generator;

impl Generator {
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
            for (to, number) in pair.iter_mut().zip(self.normal_pair(deviation)) {
                *to = T::from_f64(number);
            }
        }
        Ok(array)
    }
}

/// 32 random bits for each of two neighbours: a function of the key and of their place alone.
#[inline(always)]
pub(super) fn two_decisions(key: u64, index: u64) -> [u32; 2] {
    let bits = bits_at(key, index);
    [bits as u32, (bits >> 32) as u32]
}

#[cfg(test)]
mod tests {
    use super::two_decisions;

    /// The first numbers of the masks of earlier versions: a run that is resumed drops the same.
    #[test]
    fn decisions_stay_what_they_were() {
        assert_eq!(two_decisions(7, 0), [0x7b17_df14, 0x12ae_3023]);
        assert_eq!(two_decisions(7, 1), [0x5932_0dd7, 0x63cb_e1e4]);
        assert_eq!(two_decisions(9, 1000), [0x9e2f_27ab, 0x0948_adcd]);
    }
}
