//! Losses of the overlap of two sets, predicted and labelled.

use ndarray::{Array1, Array2};

/// Which entries of logits `[N,C]` are one set, with one loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sets {
    /// All of them, a batch: one loss.
    #[default]
    All,
    /// Each for itself, an example: N·C losses in the order of the rows.
    Entries,
    /// Each column, a class in a batch: C losses.
    Columns,
    /// Each row, an image of which the columns are pixels: N losses.
    Rows,
}

impl Sets {
    fn count(self, (rows, columns): (usize, usize)) -> usize {
        match self {
            Sets::All => 1,
            Sets::Entries => rows * columns,
            Sets::Columns => columns,
            Sets::Rows => rows,
        }
    }

    /// The set that an entry is in.
    pub(crate) fn of(self, (i, j): (usize, usize), columns: usize) -> usize {
        match self {
            Sets::All => 0,
            Sets::Entries => i * columns + j,
            Sets::Columns => j,
            Sets::Rows => i,
        }
    }
}

/// The losses of sets with their gradient; what [`Dice`](super::Dice) and [`Tversky`](super::Tversky) give.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SetLosses {
    /// The loss of each set, from 0 to 1.
    pub values: Array1<f64>,
    /// `[N,C]` the derivative by each logit of the loss of its own set.
    pub gradient: Array2<f64>,
    pub(crate) sets: Sets,
}

/// What an entry adds to the two sums n and e of its set, whose loss is e/(n + e) = 1 − n/(n + e), with their slopes by
/// its logit. e is what the sets do not have in common, of which no term is negative: the loss has its digits where it is
/// nearly 0.
#[derive(Clone, Copy)]
pub(super) struct Overlap {
    pub(super) common: f64,
    pub(super) apart: f64,
    pub(super) by_common: f64,
    pub(super) by_apart: f64,
    /// The slope of what the other two are slopes by.
    pub(super) by_logit: f64,
}

/// Where both sums are 0, as without a smoothing term and without any positive they may be, the loss is 1, as it is for
/// every probability above 0, and has no slope.
pub(super) fn losses(
    sets: Sets,
    smooth: f64,
    shape: (usize, usize),
    overlap: impl Fn(usize, usize) -> Overlap,
) -> SetLosses {
    let count = sets.count(shape);
    let overlaps = Array2::from_shape_fn(shape, |(i, j)| overlap(i, j));
    let mut sums = vec![(smooth, 0.0); count];
    for (at, one) in overlaps.indexed_iter() {
        let sum = &mut sums[sets.of(at, shape.1)];
        sum.0 += one.common;
        sum.1 += one.apart;
    }
    let nothing = |(common, apart): (f64, f64)| common + apart == 0.0;
    let value = |&(common, apart): &(f64, f64)| match nothing((common, apart)) {
        true => 1.0,
        false => apart / (common + apart),
    };
    let values = sums.iter().map(value).collect();
    let mut gradient = Array2::zeros(shape);
    for ((at, one), to) in overlaps.indexed_iter().zip(&mut gradient) {
        let (common, apart) = sums[sets.of(at, shape.1)];
        if !nothing((common, apart)) {
            // (e′n − e n′)/(n + e)², without a square that leaves f64.
            let all = common + apart;
            let slope = one.by_apart * (common / all) - (apart / all) * one.by_common;
            *to = slope * (one.by_logit / all);
        }
    }
    SetLosses { values, gradient, sets }
}
