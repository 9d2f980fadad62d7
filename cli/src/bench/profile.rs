//! What the softmax of a trained model of some size looks like, in a few numbers.

/// The constants that trained data are made by.
///
/// A class of frequency rank r (from 0) has the bias −ln(r + 10) − `fall`·r/V, and every logit noise about it. A
/// row has `candidates` likely classes, of probabilities ∝ j^−`power`, and all other classes together a
/// share between the two of `tail`, uniformly.
pub struct Profile {
    /// How many likely classes a row has, where there are enough classes and dimensions.
    pub candidates: usize,
    /// How fast their probabilities fall.
    pub power: f64,
    /// The probability of the classes beside the candidates: the least and the most.
    pub tail: [f64; 2],
    /// The standard deviation of the logits about the bias.
    pub noise: f64,
    /// By how much the rarest class's bias is below Zipf's law.
    pub fall: f64,
    /// How badly the classes are sorted by frequency: the standard deviation of noise on ln(rank + 10),
    /// by which they stand.
    pub disorder: f64,
}

/// Large models, of about 256 000 classes: under 0.02 % of the softmax is at or above 2⁻¹² there (Wijmans et al. 2024,
/// "Cut your losses in large-vocabulary language models"), and the mean sorted probability falls below it at
/// about the 50th.
pub const LARGE: Profile = Profile {
    candidates: 40,
    power: 2.0,
    tail: [0.02, 0.02],
    noise: 2.0,
    fall: 0.0,
    disorder: 0.0,
};

/// SmolLM2-135M, of 49 152 classes and 576 dimensions, over 4096 tokens of plain text: 0.41, 2.6 and 11 % of the
/// softmax are at or above 2⁻¹², 2⁻¹⁶ and 2⁻²⁰. Its rows differ: from next to no tail to nearly nothing else.
pub const SMALL: Profile = Profile {
    candidates: 30,
    power: 1.5,
    tail: [0.01, 0.95],
    noise: 2.45,
    fall: 5.0,
    disorder: 1.4,
};
