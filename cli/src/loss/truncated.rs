//! What a sampler left out, as options.

use clap::Args;
use surprisal::loss::Truncation;

use crate::numerals;

/// The heading of the help that the options of the loss stand under.
const HEADING: &str = "The loss";

/// The classes of a row that take part: first top-k, of these top-p, then min-p.
#[derive(Args)]
pub struct Truncated {
    /// Only the K largest logits of a row are classes; all that equal the least of them stay
    #[arg(long, value_name = "K", value_parser = numerals::from_one::<usize>, help_heading = HEADING)]
    truncate_top_k: Option<usize>,
    /// Only the likeliest classes are, before which less than P of the mass ranks
    #[arg(long, value_name = "P", value_parser = numerals::real, help_heading = HEADING)]
    top_p: Option<f64>,
    /// Only classes are that have at least P of the probability of the likeliest
    #[arg(long, value_name = "P", value_parser = numerals::real, help_heading = HEADING)]
    min_p: Option<f64>,
}

impl Truncated {
    /// The truncation that is asked for, if one is.
    pub(super) fn truncation(&self) -> Option<Truncation<'static>> {
        let Self { truncate_top_k, top_p, min_p } = *self;
        if truncate_top_k.is_none() && top_p.is_none() && min_p.is_none() {
            return None;
        }
        let mut truncation = Truncation::new();
        if let Some(k) = truncate_top_k {
            truncation = truncation.top_k(k);
        }
        if let Some(p) = top_p {
            truncation = truncation.top_p(p);
        }
        if let Some(p) = min_p {
            truncation = truncation.min_p(p);
        }
        Some(truncation)
    }
}
