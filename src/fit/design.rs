//! What the laws have in common: a constant, terms that fall with powers, and a column that is subtracted.

use super::triangle::{MOST, Row};

/// Which parameters a law has.
///
/// ```text
/// f = constant + Σ_k exp(amplitude_k − Σ_j exponent_j · u_j) − coefficient · column
/// ```
///
/// The parameters stand in this order: constant, amplitudes, exponents, coefficient; u_j is ln x_j less its mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Form {
    /// The exponents of each term.
    pub(super) terms: &'static [&'static [usize]],
    pub(super) exponents: usize,
    /// Whether a column is subtracted.
    pub(super) subtracts: bool,
}

impl Form {
    pub(super) fn parameters(&self) -> usize {
        1 + self.terms.len() + self.exponents + usize::from(self.subtracts)
    }

    pub(super) fn amplitude(&self, term: usize) -> usize {
        1 + term
    }

    pub(super) fn exponent(&self, which: usize) -> usize {
        1 + self.terms.len() + which
    }

    /// The coefficient of the column, where there is one.
    pub(super) fn coefficient(&self) -> Option<usize> {
        self.subtracts.then(|| self.parameters() - 1)
    }

    /// A term.
    fn term(&self, parameters: &Row, logs: &[f64], term: usize) -> f64 {
        let falls: f64 = self.terms[term]
            .iter()
            .map(|&which| parameters[self.exponent(which)] * logs[which])
            .sum();
        (parameters[self.amplitude(term)] - falls).exp()
    }

    /// f.
    pub(super) fn value(&self, parameters: &Row, logs: &[f64], column: f64) -> f64 {
        let terms = (0..self.terms.len()).map(|term| self.term(parameters, logs, term));
        let less = self.coefficient().map_or(0.0, |at| parameters[at] * column);
        parameters[0] + terms.sum::<f64>() - less
    }

    /// f and its slopes by the parameters.
    pub(super) fn slopes(&self, parameters: &Row, logs: &[f64], column: f64) -> (f64, Row) {
        let (mut value, mut slopes) = (parameters[0], [0.0; MOST]);
        slopes[0] = 1.0;
        for (k, exponents) in self.terms.iter().enumerate() {
            let term = self.term(parameters, logs, k);
            value += term;
            slopes[self.amplitude(k)] = term;
            for &which in *exponents {
                slopes[self.exponent(which)] -= logs[which] * term;
            }
        }
        if let Some(at) = self.coefficient() {
            value -= parameters[at] * column;
            slopes[at] = -column;
        }
        (value, slopes)
    }
}

/// A measured loss, at centred logarithms and a number of the column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) logs: [f64; 2],
    pub(super) column: f64,
    pub(super) loss: f64,
}
