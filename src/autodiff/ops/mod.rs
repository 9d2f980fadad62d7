//! The operations, a file for each family, each with its derivative beside it.

mod arithmetic;
mod attention;
mod attention_entropy;
mod binary;
mod broadcast;
mod contrastive;
mod convolution;
mod crrelu;
mod dropout;
mod elementwise;
mod gather;
pub(super) mod log_probabilities;
mod loss;
mod loss_inputs;
mod matmul;
mod norm;
mod preference;
mod ranked;
mod rates;
mod reduce;
pub(super) mod reversible;
mod shape;
mod softmax;
