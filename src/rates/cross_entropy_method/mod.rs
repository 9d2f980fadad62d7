//! The cross-entropy method: a search by a distribution that is fitted to the best of its own samples.
//!
//! ```text
//! draw N samples of f_v      take the n with the largest scores      v ← a·argmax_v Σ ln f_v(elite) + (1 − a)·v
//! ```
//!
//! The fit that has the least cross-entropy to the elites is that of the largest likelihood: for a [`Gaussian`] their
//! mean and population deviation, for [`Categories`] their frequencies. a smooths.
//!
//! | I want … | use |
//! | --- | --- |
//! | one step, from samples and scores that I have | [`Step`] |
//! | the largest score of a function | [`Search::maximize`] |
//! | the probability that a score is beyond a level | [`Search::rare_event`] |
//! | another family of distributions | [`Proposal`] |
//!
//! Rubinstein and Kroese 2004, *The Cross-Entropy Method*; de Boer et al. 2005, *A Tutorial on the Cross-Entropy Method*.
//!
//! ```
//! use surprisal::random::Generator;
//! use surprisal::rates::cross_entropy_method::{Gaussian, Search, Step};
//! let search = Search::new(Step::new(10)?, 100, 60)?.tolerance(1e-6)?;
//! let start = Gaussian::new(vec![0.0, 0.0], vec![5.0, 5.0])?;
//! let score = |x: &Vec<f64>| -(x[0] - 3.0).powi(2) - (x[1] + 1.0).powi(2);
//! let found = search.maximize(start, &mut Generator::new(0), score)?;
//! assert!(found.converged && (found.best[0] - 3.0).abs() < 1e-4 && (found.best[1] + 1.0).abs() < 1e-4);
//! # Ok::<(), surprisal::Error>(())
//! ```

mod categories;
mod gaussian;
mod rare_event;
mod search;
mod step;

pub use categories::Categories;
pub use gaussian::Gaussian;
pub use rare_event::RareEvent;
pub use search::{Found, Proposal, Search};
pub use step::{Elites, Step};
