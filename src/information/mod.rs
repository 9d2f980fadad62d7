//! What distributions and texts tell: perplexity, detection of training text, alignment in closed form,
//! decoding, divergences of rows.
//!
//! All of it begins with numbers that the fold gives for each token: −ln p, the entropy, the varentropy
//! ([`Forward`](crate::Forward) with its [`Statistic`](crate::Statistic)s). No logit need be stored for any of it.
//!
//! | I want … | use |
//! | --- | --- |
//! | the perplexity of a corpus that comes in parts, with its error | [`Perplexity`] |
//! | to tell text that a model has seen from text that it has not | [`MinK`] of log-probabilities or of z scores, [`ReferenceCounts::dc_pdd`], [`reference_ratio`], [`compression_ratio`] |
//! | to know how well a score tells them apart | [`Roc`] |
//! | what best-of-N or a tilt by rewards makes of a distribution | [`RewardDistribution`] |
//! | the same from samples | [`expected_best_of_n`], [`pass_at_k`] |
//! | how spread the attention of heads is, and to hold it there in training | [`AttentionEntropy`], [`AttentionPenalty`] |
//! | which tokens of a row a decoder keeps: nucleus, min-p, typical | [`NextToken`] |
//! | to decode at a constant surprise | [`Mirostat`] |
//! | to decode with a large model only where a small one is unsure | [`EntropySwitch`] |
//! | how far two rows of logits are apart, in nine ways | [`Divergences`]; as losses over whole heads: [`Divergence`](crate::loss::Divergence) |
//! | a Rényi cross-entropy of two lists of probabilities | [`renyi_cross_entropy`] |
//! | the Rényi entropies of rows, of any order | [`renyi_entropies`] |
//!
//! Logarithms are natural, unless a name says bits. Scores of texts are all such that more means "more likely
//! seen in training".

mod alignment;
pub(crate) mod attention;
mod dc_pdd;
mod decoding;
mod divergences;
mod min_k;
mod moments;
mod perplexity;
mod probabilities;
mod ratios;
mod renyi_entropies;
mod roc;

pub use alignment::{
    BestOfN, RewardDistribution, Tilted, expected_best_of_n, pass_at_k, renyi_cross_entropy,
};
pub use attention::{
    AttentionEntropies, AttentionEntropy, AttentionGradients, AttentionPenalty,
    AttentionPenaltyValue,
};
pub use dc_pdd::ReferenceCounts;
pub use decoding::{
    DecodingModel, EntropySwitch, Mirostat, MirostatStep, NextToken, SurpriseOf, SwitchStep,
};
pub use divergences::Divergences;
pub use min_k::MinK;
pub use perplexity::Perplexity;
pub use ratios::{compression_ratio, reference_ratio};
pub use renyi_entropies::renyi_entropies;
pub use roc::Roc;
