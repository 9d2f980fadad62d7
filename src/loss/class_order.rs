//! An order of the classes in which those that are likely together stand together.

use ndarray::{
    Array, Array1, Array2, ArrayView, ArrayView1, ArrayView2, Axis, Dimension, RemoveAxis, s,
};

use super::inputs::{Classes, Targets};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::gemm::PANEL;
use crate::matrix::{Matrix, Vector, each};
use crate::parallel;
use crate::sorting::sorted_places;

/// An order of the classes, for a [`Filter`](crate::Filter).
///
/// A filter keeps or drops 32 classes at a time, those that stand side by side. The order of a vocabulary
/// is one of its making and not of its meaning: where classes that are likely in the same rows stand together,
/// fewer segments hold anything, and what the
/// [tail correction](crate::LinearCrossEntropyBuilder::tail_correction) takes for flat is flatter.
///
/// The order is of the arrays, not of the computation: a classifier whose rows are [reordered](Self::rows), with
/// targets [named anew](Self::targets), is a classifier as any other. So every loss, statistic and option goes
/// with it, and a model that keeps its classifier in the order pays for it once. What is written by class
/// (gradients, arg-max, top k) is taken back with [`restored_rows`](Self::restored_rows),
/// [`restored_values`](Self::restored_values) and [`restored_classes`](Self::restored_classes). Between equal
/// logits the arg-max is the class that stands first in the order.
///
/// ```
/// use ndarray::{Array2, arr2};
/// use surprisal::loss::ClassOrder;
/// use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream};
///
/// let hidden = arr2(&[[1.0_f64, -0.5], [0.3, 2.0]]);
/// let classifier = arr2(&[[0.5_f64, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
/// let targets = [2_u32, 0];
/// let order = ClassOrder::by_mean_logits(&hidden, &classifier, None)?;
/// assert_eq!(order.classes(), [0, 2, 1]);
///
/// let ordered = order.rows(classifier.view())?;
/// let renamed = order.targets(&targets)?;
/// let mut gradient = Array2::<f64>::zeros((3, 2));
/// let gradients = Gradients::new().classifier(&mut gradient);
/// let inputs = Inputs::new(&hidden, &ordered, &renamed);
/// let loss = LinearCrossEntropy::builder().build()?;
/// let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients)?;
///
/// let mut plain = Array2::<f64>::zeros((3, 2));
/// let gradients = Gradients::new().classifier(&mut plain);
/// let inputs = Inputs::new(&hidden, &classifier, &targets);
/// let other = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients)?;
/// assert!((forward.loss() - other.loss()).abs() < 1e-15);
/// let restored = order.restored_rows(gradient.view())?;
/// assert!((&restored - &plain).iter().all(|difference| difference.abs() < 1e-15));
/// assert_eq!(order.restored_classes(forward.argmax().view()), other.argmax());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassOrder {
    /// The class at each position.
    classes: Vec<u32>,
    /// The position of each class.
    positions: Vec<u32>,
}

impl ClassOrder {
    /// The order in which these classes stand, each of 0..V once.
    ///
    /// ```
    /// use surprisal::loss::ClassOrder;
    /// assert_eq!(ClassOrder::new(&[2, 0, 1])?.position(0), Some(1));
    /// assert!(ClassOrder::new(&[2, 0, 2]).is_err());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for a class that is not below V or stands twice.
    pub fn new(classes: &[u32]) -> Result<Self> {
        let mut positions = vec![u32::MAX; classes.len()];
        for (i, &class) in classes.iter().enumerate() {
            match positions.get_mut(class as usize) {
                Some(position) if *position == u32::MAX => *position = i as u32,
                _ => {
                    return Err(Error::Value {
                        argument: "the class order",
                        index: vec![i],
                        value: class.to_string(),
                        expected: "each class from 0 on once",
                    });
                }
            }
        }
        Ok(Self { classes: classes.to_vec(), positions })
    }

    /// The most frequent class first, from how often each is a target; of equal counts the smaller class first.
    ///
    /// ```
    /// use surprisal::loss::ClassOrder;
    /// assert_eq!(ClassOrder::by_counts(&[0, 7, 7, 9]).classes(), [3, 1, 2, 0]);
    /// ```
    pub fn by_counts(counts: &[u64]) -> Self {
        Self::sorted(counts.len(), |a, b| counts[b].cmp(&counts[a]))
    }

    /// The class of the largest mean logit over some hidden states `[N,D]` first, such as those of one batch;
    /// one product of the classifier `[V,D]` with their mean. Of equal logits the smaller class is first.
    ///
    /// # Errors
    /// [`Error::Shape`] where the arrays do not fit, or are of no row; [`Error::Value`] for a mean logit that
    /// is NaN.
    pub fn by_mean_logits<'a>(
        hidden: impl Into<Matrix<'a>>,
        classifier: impl Into<Matrix<'a>>,
        bias: Option<Vector<'_>>,
    ) -> Result<Self> {
        Self::by_mean_logits_here(hidden.into(), classifier.into(), bias)
    }

    fn by_mean_logits_here(
        hidden: Matrix<'_>,
        classifier: Matrix<'_>,
        bias: Option<Vector<'_>>,
    ) -> Result<Self> {
        check_arrays(&hidden, &classifier, bias.as_ref())?;
        let mean = each!(hidden, Matrix, view => {
            let mut sums = Array1::<f64>::zeros(view.dim().1);
            for row in view.outer_iter() {
                sums.zip_mut_with(&row, |sum, &x| *sum += x.to_f64());
            }
            sums / view.dim().0 as f64
        });
        let logits: Vec<f64> = each!(classifier, Matrix, view => {
            let product = |(v, row): (usize, ArrayView1<'_, _>)| -> f64 {
                let own: f64 = row.iter().zip(&mean).map(|(&c, &e)| Element::to_f64(c) * e).sum();
                own + bias.as_ref().map_or(0.0, |bias| bias.at(v))
            };
            view.outer_iter().enumerate().map(product).collect()
        });
        check_logits(logits.iter().map(|&x| (x, x.is_nan())))?;
        Ok(Self::sorted(logits.len(), |a, b| logits[b].total_cmp(&logits[a])))
    }

    /// Classes whose logits over some hidden states `[N,D]` are alike stand together.
    ///
    /// The classes are halved again and again, down to segments of 32, each time across the direction in which
    /// their logits `C·Eᵀ + b` differ most (the leading principal component, by a few steps of the power
    /// method). Some tens of hidden states of usual data are enough; more than 128 are thinned out evenly. It
    /// takes about V·S·(D + 18·log₂(V/32)) multiplications with S hidden states, and V·S numbers of f32.
    ///
    /// # Errors
    /// As [`by_mean_logits`](Self::by_mean_logits); [`Error::Value`] for a logit that is not finite.
    ///
    /// ```
    /// use ndarray::Array2;
    /// use surprisal::loss::ClassOrder;
    /// // Two kinds of classes that take turns.
    /// let classifier = Array2::from_shape_fn((64, 1), |(v, _)| if v % 2 == 0 { 1.0_f32 } else { -1.0 });
    /// let hidden = Array2::from_elem((1, 1), 2.0_f32);
    /// let order = ClassOrder::by_similarity(&hidden, &classifier, None)?;
    /// let first = &order.classes()[..32];
    /// assert!(first.iter().all(|class| class % 2 == first[0] % 2));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn by_similarity<'a>(
        hidden: impl Into<Matrix<'a>>,
        classifier: impl Into<Matrix<'a>>,
        bias: Option<Vector<'_>>,
    ) -> Result<Self> {
        Self::by_similarity_here(hidden.into(), classifier.into(), bias)
    }

    fn by_similarity_here(
        hidden: Matrix<'_>,
        classifier: Matrix<'_>,
        bias: Option<Vector<'_>>,
    ) -> Result<Self> {
        check_arrays(&hidden, &classifier, bias.as_ref())?;
        let logits = sampled_logits(&hidden, &classifier, bias.as_ref());
        check_logits(logits.iter().map(|&x| (f64::from(x), !x.is_finite())))?;
        let mut classes: Vec<u32> = (0..logits.dim().0 as u32).collect();
        let mut groups = vec![&mut classes[..]];
        while !groups.is_empty() {
            let mut workers: Vec<Vec<&mut [u32]>> = Vec::new();
            workers.resize_with(parallel::threads(), Vec::new);
            parallel::for_each(&mut workers, groups, |worker, group| {
                worker.extend(halved(&logits, group))
            });
            groups = workers.into_iter().flatten().collect();
        }
        Self::new(&classes)
    }

    fn sorted(classes: usize, less: impl Fn(usize, usize) -> std::cmp::Ordering) -> Self {
        let order: Vec<u32> =
            sorted_places(classes, less).into_iter().map(|class| class as u32).collect();
        let mut positions = vec![0; classes];
        for (i, &class) in order.iter().enumerate() {
            positions[class as usize] = i as u32;
        }
        Self { classes: order, positions }
    }

    /// The class at each position.
    pub fn classes(&self) -> &[u32] {
        &self.classes
    }

    /// Where a class stands; `None` for what is no class, such as an ignore index. An ignore index that is a
    /// class is to be named anew as the targets are.
    pub fn position(&self, class: i64) -> Option<i64> {
        let class = usize::try_from(class).ok()?;
        self.positions.get(class).map(|&position| i64::from(position))
    }

    /// Targets, named by their positions. What is no class stays as it is: an ignore index, or a mistake that
    /// the loss refuses.
    ///
    /// # Errors
    /// [`Error::Conflict`] for targets other than a class a row.
    pub fn targets<'a>(&self, targets: impl Into<Targets<'a>>) -> Result<Array1<i64>> {
        self.targets_here(targets.into())
    }

    fn targets_here(&self, targets: Targets<'_>) -> Result<Array1<i64>> {
        let Targets::Hard(classes) = targets else {
            let what = "an order of the classes names targets anew that are a class a row".into();
            return Err(Error::Conflict { what });
        };
        let renamed = |i| {
            let class = Classes::at(&classes, i);
            self.position(class).unwrap_or(class)
        };
        Ok((0..classes.len()).map(renamed).collect())
    }

    /// The rows of a classifier `[V,D]` in the order.
    ///
    /// # Errors
    /// [`Error::Shape`] for other than V rows.
    pub fn rows<T: Clone>(&self, matrix: ArrayView2<'_, T>) -> Result<Array2<T>> {
        self.selected(matrix, &self.classes)
    }

    /// A bias or class weights `[V]` in the order.
    ///
    /// # Errors
    /// [`Error::Shape`] for other than V values.
    pub fn values<T: Clone>(&self, vector: ArrayView1<'_, T>) -> Result<Array1<T>> {
        self.selected(vector, &self.classes)
    }

    /// The rows of a gradient `[V,D]` back at their classes.
    ///
    /// # Errors
    /// [`Error::Shape`] for other than V rows.
    pub fn restored_rows<T: Clone>(&self, matrix: ArrayView2<'_, T>) -> Result<Array2<T>> {
        self.selected(matrix, &self.positions)
    }

    /// A gradient `[V]` back at its classes.
    ///
    /// # Errors
    /// [`Error::Shape`] for other than V values.
    pub fn restored_values<T: Clone>(&self, vector: ArrayView1<'_, T>) -> Result<Array1<T>> {
        self.selected(vector, &self.positions)
    }

    /// Positions, as an arg-max or top k names them, as the classes that stand there; what is no position stays
    /// as it is.
    pub fn restored_classes<D: Dimension>(
        &self,
        positions: ArrayView<'_, i64, D>,
    ) -> Array<i64, D> {
        let class = |&at: &i64| {
            let own = usize::try_from(at).ok().and_then(|at| self.classes.get(at));
            own.map_or(at, |&class| i64::from(class))
        };
        positions.map(class)
    }

    fn selected<T: Clone, D: RemoveAxis>(
        &self,
        array: ArrayView<'_, T, D>,
        from: &[u32],
    ) -> Result<Array<T, D>> {
        if array.len_of(Axis(0)) != from.len() {
            return Err(Error::Shape {
                argument: "what is ordered by class",
                found: array.shape().to_vec(),
                expected: format!("{} rows, one for each class of the order", from.len()),
            });
        }
        let from: Vec<usize> = from.iter().map(|&at| at as usize).collect();
        Ok(array.select(Axis(0), &from))
    }
}

/// The most hidden states whose logits are looked at. On a head of 49152 classes the share of segments that a
/// filter keeps is the same to a tenth of itself with 32 of them.
const MOST_STATES: usize = 128;

/// Steps of the power method for one direction: a cut across nearly the leading one is as good.
const STEPS: usize = 8;

fn check_arrays(
    hidden: &Matrix<'_>,
    classifier: &Matrix<'_>,
    bias: Option<&Vector<'_>>,
) -> Result<()> {
    let ((rows, width), (classes, expected)) = (hidden.dim(), classifier.dim());
    if rows == 0 || width != expected {
        return Err(Error::Shape {
            argument: "hidden",
            found: vec![rows, width],
            expected: format!("[N, {expected}] of at least one row, as wide as the classifier"),
        });
    }
    if classes > u32::MAX as usize - 1 {
        return Err(Error::TooLarge { what: format!("a vocabulary of {classes} classes") });
    }
    match bias {
        Some(bias) if bias.len() != classes => Err(Error::Shape {
            argument: "bias",
            found: vec![bias.len()],
            expected: format!("[{classes}], the number of classes"),
        }),
        _ => Ok(()),
    }
}

/// Refuses the first logit of which it is said.
fn check_logits(logits: impl Iterator<Item = (f64, bool)>) -> Result<()> {
    match logits.enumerate().find(|(_, (_, bad))| *bad) {
        None => Ok(()),
        Some((i, (value, _))) => Err(Error::Value {
            argument: "the logits of the class order",
            index: vec![i],
            value: value.to_string(),
            expected: "a finite number",
        }),
    }
}

/// The logits `[V,S]` of up to 128 hidden states, evenly spaced.
fn sampled_logits(
    hidden: &Matrix<'_>,
    classifier: &Matrix<'_>,
    bias: Option<&Vector<'_>>,
) -> Array2<f32> {
    // Classes whose rows are widened at once.
    const AT_ONCE: usize = 256;
    let (rows, width) = hidden.dim();
    let count = rows.min(MOST_STATES);
    let states = each!(hidden, Matrix, view => {
        Array2::from_shape_fn((width, count), |(k, i)| view[[i * rows / count, k]].to_f64() as f32)
    });
    let mut logits = Array2::zeros((classifier.dim().0, count));
    let mut workers = vec![(); parallel::threads()];
    let tasks = logits.axis_chunks_iter_mut(Axis(0), AT_ONCE).enumerate().collect();
    parallel::for_each(
        &mut workers,
        tasks,
        |_, (i, mut to): (usize, ndarray::ArrayViewMut2<'_, f32>)| {
            let first = i * AT_ONCE;
            let classes = first..first + to.dim().0;
            let own = each!(classifier, Matrix, view => {
                view.slice(s![classes.clone(), ..]).mapv(|x| Element::to_f64(x) as f32)
            });
            to.assign(&own.dot(&states));
            if let Some(bias) = bias {
                for (class, mut row) in classes.zip(to.outer_iter_mut()) {
                    row += bias.at(class) as f32;
                }
            }
        },
    );
    logits
}

/// Splits a group across the direction in which its rows differ most, into whole segments; nothing where it is
/// of one. In each part the classes are in their own order.
fn halved<'c>(logits: &Array2<f32>, group: &'c mut [u32]) -> Vec<&'c mut [u32]> {
    let segments = group.len().div_ceil(PANEL);
    if segments < 2 {
        return Vec::new();
    }
    let width = logits.dim().1;
    let row = |class: u32| logits.row(class as usize);
    let mut mean = Array1::<f32>::zeros(width);
    group.iter().for_each(|&class| mean += &row(class));
    mean /= group.len() as f32;
    let along = |direction: &Array1<f32>, class: u32| {
        let own = row(class);
        let mut sum = 0.0;
        for ((x, m), d) in own.iter().zip(&mean).zip(direction) {
            sum += (x - m) * d;
        }
        sum
    };
    // The row that is furthest from the mean is not across the direction that is looked for.
    let far =
        |class: u32| row(class).iter().zip(&mean).map(|(x, m)| (x - m) * (x - m)).sum::<f32>();
    let first = group.iter().copied().max_by(|&a, &b| far(a).total_cmp(&far(b)));
    let mut direction = &row(first.expect("a group of several classes")) - &mean;
    for _ in 0..STEPS {
        let length = direction.dot(&direction).sqrt();
        if length == 0.0 || !length.is_finite() {
            break;
        }
        direction /= length;
        let mut next = Array1::<f32>::zeros(width);
        for &class in group.iter() {
            next.scaled_add(along(&direction, class), &(&row(class) - &mean));
        }
        direction = next;
    }
    // The likelier half is the first.
    if direction.sum() < 0.0 {
        direction = -direction;
    }
    let mut keys: Vec<(f32, u32)> =
        group.iter().map(|&class| (along(&direction, class), class)).collect();
    let half = segments.div_ceil(2) * PANEL;
    keys.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    for (to, (_, class)) in group.iter_mut().zip(keys) {
        *to = class;
    }
    let (first, second) = group.split_at_mut(half);
    first.sort_unstable();
    second.sort_unstable();
    vec![first, second]
}
