//! Truncations of a row's softmax, and the floors that they come to.

use ndarray::Array1;

use crate::error::{Error, Result, short};
use crate::matrix::Vector;
use crate::simd::Isa;
use crate::softmax::floor::{Floor, Rule};
use crate::softmax::transform::Transform;

/// Which of equal logits stay where not all of them need to.
///
/// ```
/// use surprisal::{Inputs, LinearCrossEntropy};
/// use surprisal::loss::{Ties, Truncation};
/// let logits = ndarray::arr2(&[[2.0_f64, 1.0, 1.0]]);
/// let loss = LinearCrossEntropy::builder().build()?;
/// let of = |ties| {
///     let inputs = Inputs::from_logits(&logits, &[2_u32]);
///     let floors = loss.truncate(&inputs, &Truncation::new().top_k(2).ties(ties))?;
///     loss.forward(&inputs.floors(&floors)).map(|forward| forward.loss())
/// };
/// assert!(of(Ties::Keep)? < 2.0);
/// assert_eq!(of(Ties::LowestIndex)?, f64::INFINITY);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ties {
    /// All of them: a set of k may have more, and no order of the classes changes it.
    #[default]
    Keep,
    /// The lower classes first: a set of k has k.
    LowestIndex,
}

/// A number for all rows, or one for each.
#[derive(Clone, Copy, Debug)]
enum Numbers<T, A> {
    One(T),
    Each(A),
}

/// Which classes of a row a sampler draws from, S: what it leaves out has a logit of −∞.
///
/// ```text
/// after the temperature (and scale, bias and softcap), in this order:
/// top-k   the k largest logits
/// top-p   class j of these where what ranks before it has less than p of their mass: never none
/// min-p   class j where p_j ≥ p · max p
/// ln p(y | S) = a_y − ln Σ_{v∈S} e^a_v, −∞ where y is not in S
/// ```
///
/// A k of at least V and a p of 1 leave nothing out. Equal logits go by [`Ties`].
///
/// The order is that of the samplers of Hugging Face transformers. Nucleus sampling is that of Holtzman et al.
/// (2020), min-p that of Nguyen et al. (2025).
///
/// ```
/// use surprisal::{Inputs, LinearCrossEntropy};
/// use surprisal::loss::Truncation;
/// let logits = ndarray::arr2(&[[3.0_f64, 1.0, 2.0, -1.0]]);
/// let inputs = Inputs::from_logits(&logits, &[2_u32]);
/// let loss = LinearCrossEntropy::builder().build()?;
/// let floors = loss.truncate(&inputs, &Truncation::new().top_p(0.8).min_p(0.05))?;
/// assert_eq!(floors.thresholds()[0], 2.0);
/// let drawn = loss.forward(&inputs.floors(&floors))?;
/// assert!((drawn.loss() - 1.0_f64.exp().ln_1p()).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Truncation<'a> {
    top_k: Option<Numbers<usize, &'a [usize]>>,
    top_p: Option<Numbers<f64, Vector<'a>>>,
    min_p: Option<Numbers<f64, Vector<'a>>>,
    ties: Ties,
}

impl Default for Truncation<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Truncation<'a> {
    /// One that leaves nothing out.
    pub fn new() -> Self {
        Self { top_k: None, top_p: None, min_p: None, ties: Ties::Keep }
    }

    /// k of all rows, at least 1.
    pub fn top_k(mut self, k: usize) -> Self {
        self.top_k = Some(Numbers::One(k));
        self
    }

    /// `[N]` k, one for each target.
    pub fn top_k_of_rows(mut self, k: &'a [usize]) -> Self {
        self.top_k = Some(Numbers::Each(k));
        self
    }

    /// The p of top-p of all rows, above 0 and up to 1.
    pub fn top_p(mut self, p: f64) -> Self {
        self.top_p = Some(Numbers::One(p));
        self
    }

    /// `[N]` p of top-p, one for each target.
    pub fn top_p_of_rows(mut self, p: impl Into<Vector<'a>>) -> Self {
        self.top_p = Some(Numbers::Each(p.into()));
        self
    }

    /// The p of min-p of all rows, from 0 to 1.
    pub fn min_p(mut self, p: f64) -> Self {
        self.min_p = Some(Numbers::One(p));
        self
    }

    /// `[N]` p of min-p, one for each target.
    pub fn min_p_of_rows(mut self, p: impl Into<Vector<'a>>) -> Self {
        self.min_p = Some(Numbers::Each(p.into()));
        self
    }

    /// What becomes of equal logits; all stay by default.
    pub fn ties(mut self, ties: Ties) -> Self {
        self.ties = ties;
        self
    }

    /// The rule of a row of targets, of so many of which all are checked.
    pub(crate) fn rule(&self, row: usize) -> Rule {
        let number = |numbers: &Option<Numbers<f64, Vector<'_>>>, off: f64| match numbers {
            None => off,
            Some(Numbers::One(p)) => *p,
            Some(Numbers::Each(each)) => each.at(row),
        };
        Rule {
            top_k: match self.top_k {
                None => usize::MAX,
                Some(Numbers::One(k)) => k,
                Some(Numbers::Each(each)) => each[row],
            },
            top_p: number(&self.top_p, 1.0),
            min_p: number(&self.min_p, 0.0),
            ties_together: self.ties == Ties::Keep,
        }
    }

    /// Whether the numbers are in their domains, and as many as there are targets.
    pub(crate) fn check(&self, rows: usize) -> Result<()> {
        let whole = "a whole number of at least 1";
        match self.top_k {
            Some(Numbers::One(0)) => {
                let value = "0".into();
                return Err(Error::Option { name: "top_k", value, expected: whole });
            }
            None | Some(Numbers::One(_)) => {}
            Some(Numbers::Each(each)) => {
                expect_rows("top_k", each.len(), rows)?;
                if let Some(i) = each.iter().position(|&k| k == 0) {
                    let (index, value) = (vec![i], each[i].to_string());
                    return Err(Error::Value { argument: "top_k", index, value, expected: whole });
                }
            }
        }
        let top = |p: f64| p > 0.0 && p <= 1.0;
        check_each("top_p", &self.top_p, rows, top, "a number above 0 and up to 1")?;
        let min = |p: f64| (0.0..=1.0).contains(&p);
        check_each("min_p", &self.min_p, rows, min, "a number from 0 to 1")
    }
}

fn expect_rows(argument: &'static str, found: usize, rows: usize) -> Result<()> {
    match found == rows {
        true => Ok(()),
        false => Err(Error::Shape {
            argument,
            found: vec![found],
            expected: format!("[{rows}], one for each target"),
        }),
    }
}

fn check_each(
    name: &'static str,
    numbers: &Option<Numbers<f64, Vector<'_>>>,
    rows: usize,
    good: impl Fn(f64) -> bool,
    expected: &'static str,
) -> Result<()> {
    match numbers {
        None => Ok(()),
        Some(Numbers::One(p)) => match good(*p) {
            true => Ok(()),
            false => Err(Error::Option { name, value: short(*p), expected }),
        },
        Some(Numbers::Each(each)) => {
            expect_rows(name, each.len(), rows)?;
            match (0..rows).find(|&i| !good(each.at(i))) {
                None => Ok(()),
                Some(i) => {
                    let (index, value) = (vec![i], short(each.at(i)));
                    Err(Error::Value { argument: name, index, value, expected })
                }
            }
        }
    }
}

/// What a [`Truncation`] comes to: for each row the least logit that stays. What
/// [`LinearCrossEntropy::truncate`](crate::LinearCrossEntropy::truncate) returns, for
/// [`Inputs::floors`](crate::Inputs::floors).
///
/// ```
/// use surprisal::{Inputs, LinearCrossEntropy};
/// use surprisal::loss::Truncation;
/// let logits = ndarray::arr2(&[[3.0_f64, 1.0, 2.0], [0.0, 0.0, 0.0]]);
/// let inputs = Inputs::from_logits(&logits, &[0_i64, -100]);
/// let loss = LinearCrossEntropy::builder().build()?;
/// let floors = loss.truncate(&inputs, &Truncation::new().top_k(2))?;
/// let thresholds = floors.thresholds();
/// assert!(thresholds[0] == 2.0 && thresholds[1].is_nan());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Floors {
    /// Of each loss, with the temperature of its row; `None` at ignored ones.
    pub(crate) rows: Vec<Option<(Floor, f64)>>,
    pub(crate) vocabulary: usize,
    pub(crate) transform: Transform,
    pub(crate) isa: Isa,
}

impl Floors {
    /// `[N]` θ, the least logit that stays, after temperature, scale and softcap: −∞ where nothing is left out, NaN
    /// at ignored rows.
    pub fn thresholds(&self) -> Array1<f64> {
        self.rows.iter().map(|row| row.map_or(f64::NAN, |(floor, _)| floor.threshold)).collect()
    }
}
