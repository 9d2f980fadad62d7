//! What a policy loss makes of a token's ratio and advantage.

use super::cispo::Cispo;
use super::clipped::Clipped;
use super::gspo::Gspo;
use super::sapo::Sapo;

/// A surrogate of the return: a function of the ratio ρ = π/π_old of a token, or of its sequence, and of the
/// advantage A.
///
/// ```
/// use surprisal::preference::{Clipped, PolicyLoss, Surrogate};
/// let wide = Clipped::new(0.2, 0.28)?.dual_clip(3.0)?;
/// assert_eq!(PolicyLoss::new(wide), PolicyLoss::new(Surrogate::Clipped(wide)));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Surrogate {
    /// That of PPO, GRPO and their kin.
    Clipped(Clipped),
    /// That of CISPO.
    Cispo(Cispo),
    /// That of GSPO.
    Gspo(Gspo),
    /// That of SAPO.
    Sapo(Sapo),
}

macro_rules! from {
    ($($name:ident),*) => {
        $(impl From<$name> for Surrogate {
            fn from(surrogate: $name) -> Self {
                Self::$name(surrogate)
            }
        })*
    };
}

from!(Clipped, Cispo, Gspo, Sapo);
