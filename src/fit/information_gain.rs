//! What a condition tells of an item, from the losses with it and without.

use crate::error::{Error, Result, short};
use crate::numerics::{finite, positive};

/// The information that one thing has about another, a text about its picture, by the losses of models.
///
/// ```text
/// I = L(text) − L(text | picture)      infogain = I / L(text)
/// ```
///
/// In the unit of the losses, as long as both are of the same items; below 0 where the condition does not help. Henighan
/// et al. 2020, *Scaling Laws for Autoregressive Generative Modeling*.
///
/// ```
/// use surprisal::fit::InformationGain;
/// let gain = InformationGain::from_losses(3.0, 2.25)?;
/// assert_eq!((gain.mutual_information, gain.infogain), (0.75, 0.25));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct InformationGain {
    /// I.
    pub mutual_information: f64,
    /// I as a share of the loss without the condition.
    pub infogain: f64,
}

impl InformationGain {
    /// From the loss without and with the condition.
    ///
    /// # Errors
    /// [`Error::Option`] for a loss that is not finite and above 0, a conditional loss that is not finite, or a
    /// difference beyond f64.
    pub fn from_losses(loss: f64, conditional_loss: f64) -> Result<Self> {
        let loss = positive("loss", loss)?;
        let mutual_information = loss - finite("conditional_loss", conditional_loss)?;
        let infogain = mutual_information / loss;
        if !infogain.is_finite() {
            let (value, expected) =
                (short(conditional_loss), "one within f64 of the loss and its multiples");
            return Err(Error::Option { name: "conditional_loss", value, expected });
        }
        Ok(Self { mutual_information, infogain })
    }
}
