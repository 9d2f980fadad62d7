//! The same loss with all of its logits in memory: two or four products around a softmax.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, LinalgScalar};
use std::time::Instant;
use surprisal::{Element, Gradients, Inputs, LinearCrossEntropy, MatrixMut, Real, Upstream};

use super::data::{Data, Number, Sizes};
use super::passes::Pair;
use crate::Failure;
use crate::parallel;

/// What the materialised path holds beside inputs and gradients.
pub struct Baseline<R> {
    /// Hidden states and classifier, where they are of 16 bits.
    widened: Option<Pair<R>>,
    logits: Array2<R>,
    /// Their gradient.
    d_logits: Option<Array2<R>>,
    loss: LinearCrossEntropy,
}

impl<R> Baseline<R>
where
    R: Real + LinalgScalar,
    for<'a> MatrixMut<'a>: From<ArrayViewMut2<'a, R>>,
{
    /// The bytes that it takes.
    pub fn bytes<T>(sizes: Sizes, backward: bool) -> u128 {
        let widened = if size_of::<T>() == size_of::<R>() { 0 } else { sizes.numbers() };
        let logits = sizes.tokens as u128 * sizes.vocabulary as u128;
        (widened + logits * if backward { 2 } else { 1 }) * size_of::<R>() as u128
    }

    pub fn new<T>(sizes: Sizes, backward: bool) -> Result<Self, Failure> {
        let zeros = |rows, columns| Array2::from_elem((rows, columns), R::from_f64(0.0));
        let Sizes { tokens, hidden, vocabulary } = sizes;
        let widened = size_of::<T>() != size_of::<R>();
        Ok(Self {
            widened: widened.then(|| (zeros(tokens, hidden), zeros(vocabulary, hidden))),
            logits: zeros(tokens, vocabulary),
            d_logits: backward.then(|| zeros(tokens, vocabulary)),
            loss: LinearCrossEntropy::builder().build()?,
        })
    }

    /// One pass; the seconds that it took.
    pub fn run<T: Number + Element<Real = R>>(
        &mut self,
        data: &Data<T>,
        gradients: Option<&mut Pair<R>>,
    ) -> Result<f64, Failure> {
        let start = Instant::now();
        if let Some((hidden, classifier)) = &mut self.widened {
            widen(&data.hidden, hidden);
            widen(&data.classifier, classifier);
        }
        let (hidden, classifier) =
            (T::matrix(data.hidden.view()), T::matrix(data.classifier.view()));
        let (hidden, classifier) = match (&self.widened, R::view(&hidden), R::view(&classifier)) {
            (Some((hidden, classifier)), ..) => (hidden.view(), classifier.view()),
            (None, Some(hidden), Some(classifier)) => (hidden, classifier),
            _ => unreachable!("what is not widened is of the type that is computed in"),
        };
        product(&mut self.logits, hidden, classifier.t());
        let inputs = Inputs::from_logits(self.logits.view(), &data.targets);
        match (gradients, &mut self.d_logits) {
            (Some((d_hidden, d_classifier)), Some(d_logits)) => {
                let gradients = Gradients::new().logits(d_logits.view_mut());
                self.loss.loss_and_gradients(&inputs, &Upstream::default(), gradients)?;
                product(d_hidden, d_logits.view(), classifier);
                product(d_classifier, d_logits.t(), hidden);
            }
            _ => {
                self.loss.forward(&inputs)?;
            }
        }
        Ok(start.elapsed().as_secs_f64())
    }
}

fn widen<T: Number, R: Real>(from: &Array2<T>, to: &mut Array2<R>) {
    let from = from.as_slice().expect("rows in succession");
    let width = to.len_of(Axis(1));
    let to = to.as_slice_mut().expect("rows in succession");
    parallel::for_each_row(to, width, |i, row| R::widen(&from[i * width..][..width], row));
}

/// `to = a·b`, the rows of `to` divided among the threads.
pub fn product<R: Real + LinalgScalar>(
    to: &mut Array2<R>,
    a: ArrayView2<'_, R>,
    b: ArrayView2<'_, R>,
) {
    let rows = to.nrows().div_ceil(parallel::threads());
    let parts = to.axis_chunks_iter_mut(Axis(0), rows).zip(a.axis_chunks_iter(Axis(0), rows));
    parallel::map(parts.collect(), |(mut to, a)| {
        general_mat_mul(R::from_f64(1.0), &a, &b, R::from_f64(0.0), &mut to);
    });
}
