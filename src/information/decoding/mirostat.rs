//! Decoding at a constant surprise.

use super::next_token::{NextToken, in_bits};
use crate::error::{Error, Result, short};
use crate::numerics::finite;

/// Of what the surprise of a drawn token is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SurpriseOf {
    /// −log₂ p of all tokens: the paper's program of version 1.
    Full,
    /// −log₂ of p over the sum of what is kept: llama.cpp, both versions.
    Kept,
}

/// Which tokens a version keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    /// The likeliest k by a Zipf law fitted to so many pairs of neighbours.
    Zipf { pairs: usize },
    /// −log₂ p ≤ μ.
    Surprise,
}

/// Mirostat: draws of which the surprise comes back to τ bits, by a bound μ that each draw moves.
///
/// ```text
/// version 1   ŝ = Σ t b / Σ t²    t_i = ln((i+2)/(i+1)), b_i = ln(p_i/p_{i+1}), the first pairs of p₀ ≥ p₁ ≥ …
///             k = (ε 2^μ / (1 − n^−ε))^{1/ŝ}    ε = ŝ − 1, n tokens; the likeliest ⌊k⌉ + 1 are kept
/// version 2   −log₂ p ≤ μ is kept, the likeliest token always
/// both        S = −log₂ of the drawn token, μ ← μ − η (S − τ), at first 2τ
/// ```
///
/// k is computed as a logarithm, with (1 − n^−ε)/ε as −expm1(−ε ln n)/ε: the limit ln n at ε = 0, no overflow, and the law
/// of ε < 0 too. Where ŝ ≤ 0 all are kept; pairs with a probability of 0 are left out.
///
/// The paper's program takes n = 50000 whatever the vocabulary, pairs = 100, τ = 3 and η = 1; llama.cpp truncates k to a
/// whole number of at least 1 and takes τ = 5, η = 0.1. A program that omits the logarithms of b, or takes μ² for 2^μ,
/// as a published Rust crate does, keeps 2 tokens where 107 are right.
///
/// Basu, Ramachandran, Keskar and Varshney 2021, *Mirostat: A Neural Text Decoding Algorithm that Directly Controls
/// Perplexity*. Cases in `conformance/information.jsonl`: `mirostat_v1`, `mirostat_v2`.
///
/// ```
/// use ndarray::Array1;
/// use surprisal::information::{Mirostat, NextToken};
/// use surprisal::random::Generator;
/// let row = NextToken::of_logits(&Array1::from_shape_fn(1000, |i| -1.1 * (1.0 + i as f64).ln()))?;
/// let (mut mirostat, mut random) = (Mirostat::v2(3.0, 0.1)?, Generator::new(1));
/// let mut surprise = 0.0;
/// for _ in 0..4000 {
///     surprise += mirostat.step(&row, random.uniform())?.surprise / 4000.0;
/// }
/// assert!((surprise - 3.0).abs() < 0.1, "{surprise}");
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct Mirostat {
    version: Version,
    tau: f64,
    eta: f64,
    mu: f64,
    surprise_of: SurpriseOf,
}

/// What [`Mirostat::step`] has drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct MirostatStep {
    /// How many tokens were kept.
    pub kept: usize,
    /// The token drawn.
    pub token: u32,
    /// Its surprise, in bits.
    pub surprise: f64,
    /// μ after it, in bits.
    pub mu: f64,
}

impl Mirostat {
    /// Version 1 with this surprise τ, in bits, and rate η.
    ///
    /// # Errors
    /// [`Error::Option`] for a τ that is not finite, and an η that is not finite and at least 0.
    pub fn v1(tau: f64, eta: f64) -> Result<Self> {
        Self::new(Version::Zipf { pairs: 100 }, tau, eta)
    }

    /// Version 2 with this surprise τ, in bits, and rate η.
    ///
    /// # Errors
    /// As [`v1`](Self::v1).
    pub fn v2(tau: f64, eta: f64) -> Result<Self> {
        Self::new(Version::Surprise, tau, eta)
    }

    fn new(version: Version, tau: f64, eta: f64) -> Result<Self> {
        finite("tau", tau)?;
        if !(eta >= 0.0 && eta.is_finite()) {
            let expected = "a finite number of at least 0";
            return Err(Error::Option { name: "eta", value: short(eta), expected });
        }
        Ok(Self { version, tau, eta, mu: 2.0 * tau, surprise_of: SurpriseOf::Full })
    }

    /// Of what the surprise is taken; [`SurpriseOf::Full`] otherwise.
    pub fn surprise_of(self, surprise_of: SurpriseOf) -> Self {
        Self { surprise_of, ..self }
    }

    /// With this μ, in bits, instead of 2τ.
    ///
    /// # Errors
    /// [`Error::Option`] unless it is finite.
    pub fn with_mu(self, mu: f64) -> Result<Self> {
        finite("mu", mu)?;
        Ok(Self { mu, ..self })
    }

    /// μ, in bits.
    pub fn mu(&self) -> f64 {
        self.mu
    }

    /// How many tokens of a row are kept now.
    ///
    /// # Errors
    /// [`Error::Option`] where steps have taken μ beyond all numbers.
    pub fn kept(&self, row: &NextToken) -> Result<usize> {
        match self.version {
            Version::Surprise => row.least_surprise(self.mu),
            Version::Zipf { pairs } => {
                let k = row.mirostat_k(row.zipf_exponent(pairs), self.mu);
                Ok((k.round_ties_even() as usize).saturating_add(1).min(row.tokens().len()))
            }
        }
    }

    /// Draws a token with a number that is uniform from 0 up to but not 1, and moves μ.
    ///
    /// # Errors
    /// As [`NextToken::draw`].
    pub fn step(&mut self, row: &NextToken, uniform: f64) -> Result<MirostatStep> {
        let kept = self.kept(row)?;
        let place = row.draw(kept, uniform)?;
        let full = in_bits(row.log_probabilities()[place]);
        let surprise = match self.surprise_of {
            SurpriseOf::Full => full,
            // Of the only token it is 0, without the rounding of its own probability.
            SurpriseOf::Kept if kept == 1 => 0.0,
            SurpriseOf::Kept => full + row.mass(kept).log2(),
        };
        self.mu -= self.eta * (surprise - self.tau);
        Ok(MirostatStep { kept, token: row.tokens()[place], surprise, mu: self.mu })
    }
}

impl NextToken {
    /// The exponent ŝ of a Zipf law p_i ∝ (i+1)^−s, by least squares through the origin over the first pairs of
    /// neighbours, as [`Mirostat`] has it; of such a law exactly s. 0 without a pair.
    ///
    /// ```
    /// use ndarray::Array1;
    /// use surprisal::information::NextToken;
    /// let zipf = Array1::from_shape_fn(500, |i| -1.3 * (1.0 + i as f64).ln());
    /// let row = NextToken::of_logits(&zipf)?;
    /// assert!((row.zipf_exponent(100) - 1.3).abs() < 1e-12);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn zipf_exponent(&self, pairs: usize) -> f64 {
        let (mut products, mut squares) = (0.0, 0.0);
        for (i, pair) in self.log_probabilities().windows(2).take(pairs).enumerate() {
            let b = pair[0] - pair[1];
            if b.is_finite() {
                let t = (1.0 / (i as f64 + 1.0)).ln_1p();
                products += t * b;
                squares += t * t;
            }
        }
        if squares == 0.0 { 0.0 } else { products / squares }
    }

    /// Mirostat's k for an exponent and μ bits, from 1 up to the number of tokens.
    ///
    /// ```
    /// use surprisal::information::NextToken;
    /// let row = NextToken::of_logits(&ndarray::Array1::<f64>::zeros(1000))?;
    /// assert!((row.mirostat_k(1.2, 10.0) - 107.3).abs() < 0.1);
    /// assert_eq!(row.mirostat_k(0.0, 10.0), 1000.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn mirostat_k(&self, exponent: f64, mu: f64) -> f64 {
        let n = self.tokens().len() as f64;
        if exponent.is_nan() || exponent <= 0.0 {
            return n;
        }
        let epsilon = exponent - 1.0;
        let sum = match epsilon == 0.0 {
            true => n.ln(),
            false => -(-epsilon * n.ln()).exp_m1() / epsilon,
        };
        let k = ((mu * std::f64::consts::LN_2 - sum.ln()) / exponent).exp();
        // Of one token the sum is 0.
        if k.is_nan() { n } else { k.clamp(1.0, n) }
    }
}
