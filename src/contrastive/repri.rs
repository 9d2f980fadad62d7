//! A classifier that is fitted to labelled rows and, by their proportions, to others.

use ndarray::Array1;

use super::checks::{finite_at, not_negative};
use crate::error::{Error, Result};
use crate::loss::{
    Companion, Gradients, Inputs, LinearCrossEntropy, Needs, RowLoss, RowScalars, Statistic,
    Targets, Term, Terms, Upstream,
};
use crate::matrix::Vector;

/// The transductive loss RePRI: cross-entropy of labelled rows (the support), and of others (the query) their
/// entropy and how far their mean distribution is from a prior.
///
/// ```text
/// L = mean_S CE + w_H mean_Q H(p_n) + w_KL KL(p̂ ‖ π)        p̂ = mean_Q p_n
/// dL/da_nv of a query row = (1/|Q|) p_nv (−w_H (ln p_nv + H_n) + w_KL (g_v − Σ_u p_nu g_u)),  g = ln(p̂/π)
/// ```
///
/// In nats. The query rows are coupled by p̂ alone, which takes a pass of its own: a forward and, of its log-sum-exps,
/// a backward to the bias, ∂(mean lse)/∂b = p̂. With g as [`Companion`] the rest is one fused loss of rows. So logits
/// may be given, or be those of a head and never stored. w_H = w_KL = 0 is cross-entropy; p̂ = π adds nothing; uniform
/// rows have H = ln V.
///
/// Boudiaf et al. 2021, *Few-Shot Segmentation Without Meta-Learning: A Good Transductive Inference Is All You Need*,
/// with both weights 1/shots; π begins as the first p̂, and is set to p̂ once more after ten steps, when w_KL rises by
/// 1. The published code adds 1e-10 in its logarithms and divides by p̂; here 0 ln 0 is 0.
///
/// Cases in `conformance/losses.jsonl`: `repri`.
///
/// ```
/// use ndarray::{Array2, arr1, arr2};
/// use surprisal::contrastive::Repri;
/// use surprisal::{Gradients, Inputs};
/// let classifier = arr2(&[[1.0_f64, 0.0], [0.0, 1.0]]);
/// let (support, query) = (arr2(&[[2.0_f64, 0.0], [0.0, 2.0]]), arr2(&[[1.0_f64, 0.5], [0.5, 0.0]]));
/// let repri = Repri::new(&arr1(&[0.5, 0.5]))?.weights(0.5, 0.5)?;
/// let (mut by_support, mut by_query) = (Array2::<f64>::zeros((2, 2)), Array2::<f64>::zeros((2, 2)));
/// let losses = repri.loss_and_gradients(
///     &Inputs::new(&support, &classifier, &[0_u32, 1]),
///     &Inputs::unlabelled(&query, &classifier),
///     Gradients::new().hidden(&mut by_support),
///     Gradients::new().hidden(&mut by_query),
/// )?;
/// assert!(losses.proportion[0] > 0.5 && losses.kl_proportion > 0.0);
/// assert_eq!(losses.loss, losses.cross_entropy + 0.5 * losses.entropy + 0.5 * losses.kl_proportion);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Repri {
    prior: Vec<f64>,
    of_entropy: f64,
    of_proportion: f64,
}

/// What [`Repri`] gives, in nats.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RepriLosses {
    /// L.
    pub loss: f64,
    /// The mean cross-entropy of the support.
    pub cross_entropy: f64,
    /// The mean entropy of the query.
    pub entropy: f64,
    /// KL(p̂ ‖ π).
    pub kl_proportion: f64,
    /// p̂ `[V]`.
    pub proportion: Array1<f64>,
}

impl Repri {
    /// With this prior π `[V]`, and both weights 1.
    ///
    /// # Errors
    /// [`Error::Value`] for an entry that is not finite and above 0. They are not made to sum to 1.
    pub fn new<'a>(prior: impl Into<Vector<'a>>) -> Result<Self> {
        Self::new_here(prior.into())
    }

    fn new_here(prior: Vector<'_>) -> Result<Self> {
        let prior: Vec<f64> = prior.to_vec();
        for (i, &share) in prior.iter().enumerate() {
            if finite_at("prior", i, share)? <= 0.0 {
                let (index, value) = (vec![i], share.to_string());
                let expected = "a finite number above 0";
                return Err(Error::Value { argument: "prior", index, value, expected });
            }
        }
        Ok(Self { prior, of_entropy: 1.0, of_proportion: 1.0 })
    }

    /// With these w_H and w_KL.
    ///
    /// # Errors
    /// [`Error::Option`] for one that is not finite or below 0.
    pub fn weights(self, of_entropy: f64, of_proportion: f64) -> Result<Self> {
        let of_entropy = not_negative("weight_entropy", of_entropy)?;
        let of_proportion = not_negative("weight_kl", of_proportion)?;
        Ok(Self { of_entropy, of_proportion, ..self })
    }

    /// The loss of a support with targets and of a query, whose targets are not read; both with all their rows.
    ///
    /// # Errors
    /// As [`LinearCrossEntropy::forward`]; [`Error::Shape`] for a prior of another number of classes, or a query without
    /// rows; [`Error::Conflict`] for a query of which some rows are chosen or weighed.
    pub fn loss(&self, support: &Inputs<'_>, query: &Inputs<'_>) -> Result<RepriLosses> {
        self.evaluate(support, query, None)
    }

    /// The loss with the gradients of both parts. What they share, such as a classifier, is best added up:
    /// [`Gradients::accumulate_classifier`] of the second after [`Gradients::classifier`] of the first.
    ///
    /// # Errors
    /// As [`loss`](Self::loss); those of [`LinearCrossEntropy::loss_and_gradients`].
    pub fn loss_and_gradients(
        &self,
        support: &Inputs<'_>,
        query: &Inputs<'_>,
        of_support: Gradients<'_>,
        of_query: Gradients<'_>,
    ) -> Result<RepriLosses> {
        self.evaluate(support, query, Some((of_support, of_query)))
    }

    fn evaluate(
        &self,
        support: &Inputs<'_>,
        query: &Inputs<'_>,
        gradients: Option<(Gradients<'_>, Gradients<'_>)>,
    ) -> Result<RepriLosses> {
        let (rows, _, vocabulary) = query.source.sizes();
        if self.prior.len() != vocabulary || rows == 0 {
            let expected =
                format!("[{vocabulary}], as the query has classes, with at least one row");
            return Err(Error::Shape {
                argument: "prior",
                found: vec![self.prior.len()],
                expected,
            });
        }
        if !query.is_plain() {
            let what = "the query counts with all its rows alike, expected no selection, weights, companion or shard";
            return Err(Error::Conflict { what: what.into() });
        }
        let options = LinearCrossEntropy::builder().entropy(true).ignore_index(None);
        let plain = options.clone().build()?;
        // A class that no loss depends on.
        let nothing = vec![0_u32; rows];
        let query = query.relabelled(Targets::from(&nothing));
        let forward = plain.forward(&query)?;
        let entropy = forward.statistic(Statistic::Entropy)?.sum() / rows as f64;
        let mut proportion = Array1::<f64>::zeros(vocabulary);
        let each = Array1::from_elem(rows, 1.0 / rows as f64);
        let upstream = Upstream::scalar(0.0).log_sum_exp(&each);
        plain.vjp(&query, &forward, &upstream, Gradients::new().bias(&mut proportion))?;
        let log_ratio: Array1<f64> = proportion
            .iter()
            .zip(&self.prior)
            .map(|(&p, prior)| if p > 0.0 { p.ln() - prior.ln() } else { 0.0 })
            .collect();
        let kl_proportion = proportion.dot(&log_ratio);
        let cross_entropy = match gradients {
            None => plain.forward(support)?.loss(),
            Some((of_support, of_query)) => {
                let coupled = Coupled { of_entropy: self.of_entropy, of_mean: self.of_proportion };
                let coupled = options.row_loss(coupled).build()?;
                let query = query
                    .relabelled(Targets::from(&nothing))
                    .companion(Companion::classes(&log_ratio));
                let upstream = Upstream::default();
                let cross_entropy =
                    plain.loss_and_gradients(support, &upstream, of_support)?.loss();
                coupled.loss_and_gradients(&query, &upstream, of_query)?;
                cross_entropy
            }
        };
        let loss = cross_entropy + self.of_entropy * entropy + self.of_proportion * kl_proportion;
        Ok(RepriLosses { loss, cross_entropy, entropy, kl_proportion, proportion })
    }
}

/// The rows of the query, where p̂ is known.
#[derive(Debug)]
struct Coupled {
    of_entropy: f64,
    of_mean: f64,
}

impl RowLoss for Coupled {
    fn needs(&self) -> Needs {
        Needs::nothing().entropy().companion()
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let value = self.of_entropy * row.entropy() + self.of_mean * row.companion();
        let term = Term::new(value).by_entropy(self.of_entropy).by_companion(self.of_mean);
        Terms::weighted(term)
    }
}
