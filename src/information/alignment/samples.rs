//! What is known of more draws from a sample of them.

use crate::error::{Error, Result, short};
use crate::matrix::Vector;

/// The mean of the maximum of N rewards, unbiased, from a sample of K ≥ N: the mean over all subsets of N.
///
/// ```text
/// Σ_{i ≥ N} C(i−1, N−1)/C(K, N) r_(i)         r_(i) the i-th smallest
/// ```
///
/// The weights are found one from the next, the largest first: no binomial coefficient overflows.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::information::expected_best_of_n;
/// // The pairs of 1, 2 and 4 have the maxima 2, 4 and 4.
/// assert!((expected_best_of_n(&arr1(&[1.0, 4.0, 2.0]), 2)? - 10.0 / 3.0).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for no reward, [`Error::Value`] for one that is not finite, [`Error::Option`] for an N that is
/// not from 1 to K.
pub fn expected_best_of_n<'a>(rewards: impl Into<Vector<'a>>, n: usize) -> Result<f64> {
    expected_best_of_n_here(rewards.into(), n)
}

fn expected_best_of_n_here(rewards: Vector<'_>, n: usize) -> Result<f64> {
    let mut rewards: Vec<f64> = rewards.to_vec();
    let count = rewards.len();
    if count == 0 {
        let expected = "at least one reward".into();
        return Err(Error::Shape { argument: "rewards", found: vec![0], expected });
    }
    if let Some(at) = rewards.iter().position(|reward| !reward.is_finite()) {
        return Err(Error::not_finite("rewards", &[at], rewards[at]));
    }
    if n == 0 || n > count {
        let expected = "a whole number from 1 to the number of rewards";
        return Err(Error::Option { name: "n", value: n.to_string(), expected });
    }
    rewards.sort_unstable_by(f64::total_cmp);
    let largest = rewards[count - 1];
    let (mut weight, mut below) = (n as f64 / count as f64, 0.0);
    for i in (n..=count).rev() {
        below += weight * (largest - rewards[i - 1]);
        // C(i−2, N−1) / C(i−1, N−1) = (i − N) / (i − 1)
        weight *= (i - n) as f64 / (i.max(2) - 1) as f64;
    }
    Ok(largest - below)
}

/// The probability that at least one of k draws is right, unbiased, from a sample of which `correct` are:
/// 1 − C(s − c, k)/C(s, k).
///
/// As −expm1 of a sum of logarithms, so that small probabilities have their digits. Chen et al. 2021, *Evaluating Large
/// Language Models Trained on Code*.
///
/// ```
/// use surprisal::information::pass_at_k;
/// assert!((pass_at_k(4, 1, 2)? - 0.5).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// [`Error::Option`] unless 1 ≤ k ≤ samples and correct ≤ samples.
pub fn pass_at_k(samples: u64, correct: u64, k: u64) -> Result<f64> {
    if correct > samples {
        let expected = "at most the number of samples";
        return Err(Error::Option { name: "correct", value: short(correct as f64), expected });
    }
    if k == 0 || k > samples {
        let expected = "a whole number from 1 to the number of samples";
        return Err(Error::Option { name: "k", value: k.to_string(), expected });
    }
    if correct > samples - k {
        return Ok(1.0);
    }
    // The two are alike: C(s−c, k)/C(s, k) = C(s−k, c)/C(s, c).
    let (fewer, more) = (correct.min(k), correct.max(k) as f64);
    let mut logarithm = 0.0;
    for i in 0..fewer {
        logarithm += (-more / (samples - i) as f64).ln_1p();
        // Nothing changes any more.
        if logarithm < -50.0 {
            break;
        }
    }
    Ok(0.0 - logarithm.exp_m1())
}
