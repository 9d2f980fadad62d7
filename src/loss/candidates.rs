//! Classes of each row whose log-probabilities are asked for.

use ndarray::{Array1, Array2, ArrayView2};

/// `[N,K]` classes, a row for each loss, whose log-probabilities the same fold is to give, with a gradient of their
/// own: the answers of a question, the tokens that a policy drew, the likeliest classes of a teacher.
///
/// ```text
/// v_im = ln p_i(c_im) = a_i,c_im − lse_i                     w_i = ln Σ_{v not listed} p_iv, with others
/// from upstream gradients u_im and ω_i:
/// dL/da_iv = Σ_m u_im [v = c_im] − p_iv Σ_m u_im  +  ω_i (p_iv / Σ_{not listed} p [v not listed] − p_iv)
/// ```
///
/// v keeps all its digits where p is nearly 1, and w where the list has nearly everything or nearly nothing: the
/// classes that are not listed are summed for themselves. A class that stands twice is one class, whose upstreams
/// add up. Where v or w is −∞ its upstream has no effect.
///
/// A row's numbers depend on no other row: not on N, not on the number of threads. Its hidden gradient does not
/// either, for a strategy and block sizes that are the same ([`Backward`](crate::Backward)).
///
/// Given to [`Inputs::candidates`](crate::Inputs::candidates); the results are in
/// [`Forward::candidates`](crate::Forward::candidates), the upstream gradients go to
/// [`Upstream::candidates`](crate::Upstream::candidates) and
/// [`Upstream::log_others`](crate::Upstream::log_others).
///
/// ```
/// use ndarray::{Array2, arr2};
/// use surprisal::loss::Candidates;
/// use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream};
///
/// let logits = arr2(&[[1.0_f64, 2.0, 3.0]]);
/// let classes = arr2(&[[2_u32, 0]]);
/// let inputs = Inputs::unlabelled_logits(&logits).candidates(Candidates::new(&classes).with_others());
/// let loss = LinearCrossEntropy::builder().build()?;
/// let forward = loss.forward(&inputs)?;
/// let own = forward.candidates()?;
/// assert!((own.log_probabilities[[0, 0]] + 0.4076059644443804).abs() < 1e-15);
/// assert!((own.log_others[0] + 1.4076059644443804).abs() < 1e-15);
///
/// let upstream = arr2(&[[1.0_f64, -1.0]]);
/// let mut gradient = Array2::<f64>::zeros((1, 3));
/// let above = Upstream::scalar(0.0).candidates(&upstream);
/// loss.vjp(&inputs, &forward, &above, Gradients::new().logits(&mut gradient))?;
/// let expected = [-1.0, 0.0, 1.0];
/// assert!(gradient.iter().zip(expected).all(|(g, x)| (g - x).abs() < 1e-15));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    pub(crate) classes: ArrayView2<'a, u32>,
    pub(crate) others: bool,
    /// What errors call them.
    pub(crate) argument: &'static str,
}

impl<'a> Candidates<'a> {
    /// Stands where a row has fewer than K: no class. Its log-probability is 0, its upstream is not read.
    pub const NONE: u32 = u32::MAX;

    /// These classes.
    pub fn new(classes: impl Into<ArrayView2<'a, u32>>) -> Self {
        Self { classes: classes.into(), others: false, argument: "candidates" }
    }

    /// The logarithm of what all other classes have together, too. Goes with losses of the target, of the
    /// log-sum-exp and of the entropy, and with hard or sparse targets.
    pub fn with_others(self) -> Self {
        Self { others: true, ..self }
    }

    /// Under another name in errors, a plural.
    pub(crate) fn called(self, argument: &'static str) -> Self {
        Self { argument, ..self }
    }
}

/// What [`Forward::candidates`](crate::Forward::candidates) gives, in nats.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CandidateLogProbabilities {
    /// `[N,K]` v; 0 at ignored rows and where no class is named.
    pub log_probabilities: Array2<f64>,
    /// `[N]` w, 0 at ignored rows; empty where it was not asked for.
    pub log_others: Array1<f64>,
}
