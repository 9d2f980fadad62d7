//! A law of two sizes whose powers are multiplied.

use ndarray::Array1;

use super::checks::{distinct, positive_numbers, same_length};
use super::design::Form;
use super::fitted::{Fitted, Law, Shape, beyond, fit, sealed};
use super::options::ScalingFit;
use super::power_law::{PowerLaw, power};
use super::solution::Names;
use super::triangle::MOST;
use crate::error::Result;
use crate::matrix::Vector;
use crate::numerics::{finite, positive};

/// A loss that falls with two sizes, the parameters of an encoder and of a decoder.
///
/// ```text
/// L(N_e, N_d) = α (N̄_e/N_e)^p_e (N̄_d/N_d)^p_d + L∞
/// ```
///
/// In nats; the reference sizes N̄ only set the unit of α. Ghorbani et al. 2021, *Scaling Laws for Neural Machine
/// Translation*.
///
/// ```
/// use surprisal::fit::{BivariateLaw, Law};
/// let law = BivariateLaw::new((1e8, 1e8), 0.5, (0.5, 1.0), 1.25)?;
/// assert_eq!(law.at((1e8, 2e8))?, 1.5);
/// let split = law.optimal_split(3e8)?;
/// assert_eq!((split.encoder, split.decoder), (1e8, 2e8));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BivariateLaw {
    /// N̄_e.
    pub encoder_reference: f64,
    /// N̄_d.
    pub decoder_reference: f64,
    /// α, the reducible loss at the reference sizes.
    pub alpha: f64,
    /// p_e.
    pub encoder_exponent: f64,
    /// p_d.
    pub decoder_exponent: f64,
    /// L∞, what no sizes go below.
    pub l_inf: f64,
}

/// How a number of parameters is best divided between an encoder and a decoder.
///
/// ```
/// # use surprisal::fit::BivariateLaw;
/// let split = BivariateLaw::new((1.0, 1.0), 1.0, (0.25, 0.75), 0.0)?.optimal_split(16.0)?;
/// assert_eq!((split.encoder, split.decoder), (4.0, 12.0));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Split {
    /// Of the encoder.
    pub encoder: f64,
    /// Of the decoder.
    pub decoder: f64,
    /// The loss with these, in nats.
    pub loss: f64,
}

impl BivariateLaw {
    /// With reference sizes, α, exponents and L∞; of each pair the encoder's is the first.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for an L∞ that is not finite, or another number that is not finite and
    /// above 0.
    pub fn new(
        references: (f64, f64),
        alpha: f64,
        exponents: (f64, f64),
        l_inf: f64,
    ) -> Result<Self> {
        Ok(Self {
            encoder_reference: positive("encoder_reference", references.0)?,
            decoder_reference: positive("decoder_reference", references.1)?,
            alpha: positive("alpha", alpha)?,
            encoder_exponent: positive("encoder_exponent", exponents.0)?,
            decoder_exponent: positive("decoder_exponent", exponents.1)?,
            l_inf: finite("l_inf", l_inf)?,
        })
    }

    /// The losses of encoders `[n]` and decoders `[n]`, `[n]`; ∞ where one is beyond f64.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for a size that is not finite and above 0, [`Error::Shape`](crate::Error::Shape)
    /// for lengths that differ.
    pub fn losses<'a, 'b>(
        &self,
        encoder: impl Into<Vector<'a>>,
        decoder: impl Into<Vector<'b>>,
    ) -> Result<Array1<f64>> {
        self.losses_here(encoder.into(), decoder.into())
    }

    fn losses_here(&self, encoder: Vector<'_>, decoder: Vector<'_>) -> Result<Array1<f64>> {
        let encoder = positive_numbers("encoder", encoder)?;
        let decoder = positive_numbers("decoder", decoder)?;
        same_length("decoder", decoder.len(), "encoder", encoder.len())?;
        let loss = |(encoder, decoder): (f64, f64)| {
            let encoders = power(self.encoder_reference, encoder, self.encoder_exponent);
            let decoders = power(self.decoder_reference, decoder, self.decoder_exponent);
            self.l_inf + self.alpha * encoders * decoders
        };
        Ok(encoder.into_iter().zip(decoder).map(loss).collect())
    }

    /// The division of so many parameters with the least loss: N_e/B = p_e/(p_e + p_d).
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for a budget that is not finite and above 0, [`Error::Value`](crate::Error::Value)
    /// for one so small that a part of it is 0.
    pub fn optimal_split(&self, budget: f64) -> Result<Split> {
        positive("budget", budget)?;
        let [encoder_share, decoder_share] = self.shares();
        let (encoder, decoder) = (budget * encoder_share, budget * decoder_share);
        Ok(Split { encoder, decoder, loss: self.at((encoder, decoder))? })
    }

    /// The loss by the number of parameters where all of them are divided so: a [`PowerLaw`] whose
    /// [`x_for`](PowerLaw::x_for) is the budget that a loss takes.
    ///
    /// ```text
    /// L(B) = α* B^−(p_e+p_d) + L∞      α* = α (N̄_e (p_e+p_d)/p_e)^p_e (N̄_d (p_e+p_d)/p_d)^p_d
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) where its x0 is beyond f64.
    pub fn of_budget(&self) -> Result<PowerLaw> {
        let sum = self.encoder_exponent + self.decoder_exponent;
        let [encoder_share, decoder_share] = self.shares();
        let encoder = self.encoder_exponent * (self.encoder_reference.ln() - encoder_share.ln());
        let decoder = self.decoder_exponent * (self.decoder_reference.ln() - decoder_share.ln());
        PowerLaw::new(self.l_inf, ((self.alpha.ln() + encoder + decoder) / sum).exp(), sum)
    }

    /// Of the encoder and the decoder.
    fn shares(&self) -> [f64; 2] {
        let sum = self.encoder_exponent + self.decoder_exponent;
        [self.encoder_exponent / sum, self.decoder_exponent / sum]
    }
}

impl Law for BivariateLaw {
    type Place = (f64, f64);

    const PARAMETERS: &'static [&'static str] =
        &["l_inf", "alpha", "encoder_exponent", "decoder_exponent"];

    fn parameters(&self) -> Vec<f64> {
        vec![self.l_inf, self.alpha, self.encoder_exponent, self.decoder_exponent]
    }

    fn at(&self, (encoder, decoder): (f64, f64)) -> Result<f64> {
        let one = |size| Array1::from_elem(1, size);
        Ok(self.losses(&one(encoder), &one(decoder))?[0])
    }
}

impl sealed::Law for BivariateLaw {
    fn numbers((encoder, decoder): (f64, f64)) -> ([f64; 2], f64) {
        ([encoder, decoder], 0.0)
    }
}

const SHAPE: Shape = Shape {
    form: Form { terms: &[&[0, 1]], exponents: 2, subtracts: false },
    names: Names {
        sizes: &["encoder", "decoder"],
        exponents: &["encoder_exponent", "decoder_exponent"],
    },
    least: 5,
};

impl ScalingFit {
    /// The [`BivariateLaw`] with these reference sizes through losses `[n]` of encoders `[n]` and decoders `[n]`, with
    /// L∞ of at least 0.
    ///
    /// ```
    /// use ndarray::arr1;
    /// use surprisal::fit::{BivariateLaw, ScalingFit};
    /// let (encoder, decoder) = (arr1(&[1.0, 1.0, 4.0, 4.0, 9.0]), arr1(&[1.0, 8.0, 2.0, 9.0, 3.0]));
    /// let law = BivariateLaw::new((1.0, 1.0), 0.5, (0.5, 0.25), 2.0)?;
    /// let losses = law.losses(&encoder, &decoder)?;
    /// let fit = ScalingFit::builder().build()?;
    /// let fitted = fit.bivariate(&encoder, &decoder, (1.0, 1.0), &losses)?.law;
    /// assert!((fitted.alpha - 0.5).abs() < 1e-9 && (fitted.decoder_exponent - 0.25).abs() < 1e-9);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`power_law`](Self::power_law), where there must be five points at least, with two different encoders and
    /// two different decoders; [`Error::Option`](crate::Error::Option) for a reference that is not finite and above 0.
    pub fn bivariate<'a, 'b, 'c>(
        &self,
        encoder: impl Into<Vector<'a>>,
        decoder: impl Into<Vector<'b>>,
        references: (f64, f64),
        loss: impl Into<Vector<'c>>,
    ) -> Result<Fitted<BivariateLaw>> {
        self.bivariate_here(encoder.into(), decoder.into(), references, loss.into())
    }

    fn bivariate_here(
        &self,
        encoder: Vector<'_>,
        decoder: Vector<'_>,
        references: (f64, f64),
        loss: Vector<'_>,
    ) -> Result<Fitted<BivariateLaw>> {
        let encoder = positive_numbers("encoder", encoder)?;
        let decoder = positive_numbers("decoder", decoder)?;
        same_length("decoder", decoder.len(), "encoder", encoder.len())?;
        let encoder_reference = positive("encoder_reference", references.0)?;
        let decoder_reference = positive("decoder_reference", references.1)?;
        distinct("encoder", &encoder, 2)?;
        distinct("decoder", &decoder, 2)?;
        fit(self, &SHAPE, &[&encoder, &decoder], None, loss, |solution| {
            let [l_inf, amplitude, encoder_exponent, decoder_exponent, ..] = solution.parameters;
            let from_encoder = solution.centres[0] - encoder_reference.ln();
            let from_decoder = solution.centres[1] - decoder_reference.ln();
            let alpha =
                (amplitude + encoder_exponent * from_encoder + decoder_exponent * from_decoder)
                    .exp();
            if !(alpha.is_finite() && alpha > 0.0) {
                return Err(beyond("alpha", &["reference sizes"]));
            }
            let mut slopes = vec![[0.0; MOST]; 4];
            slopes[0][0] = 1.0;
            slopes[1][1] = alpha;
            slopes[1][2] = alpha * from_encoder;
            slopes[1][3] = alpha * from_decoder;
            slopes[2][2] = 1.0;
            slopes[3][3] = 1.0;
            let law = BivariateLaw {
                encoder_reference,
                decoder_reference,
                alpha,
                encoder_exponent,
                decoder_exponent,
                l_inf,
            };
            Ok((law, slopes))
        })
    }
}
