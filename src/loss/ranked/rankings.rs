//! Classes of each row from the best on, with the weights of their places.

use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::error::{Error, Result, short};
use crate::loss::candidates::Candidates;
use crate::matrix::Matrix;
use crate::numerics::positive;

/// What a place of a ranking weighs, for [`Rankings::new`]. K is the number of classes that a row names.
///
/// | | weight of the k-th place, from 1 | loss |
/// | --- | --- | --- |
/// | `Ones` | 1 | ListMLE: −ln of the probability of the ranking |
/// | `Mean` | 1/K | ListMLE for each place |
/// | `Position` | 2^(K−k) − 1 | P-ListMLE: the first places count most |
/// | `Each` | the k-th of these numbers | |
/// | `Entries` | that of the row and the place | |
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum PlaceWeights<'a> {
    /// 1.
    Ones,
    /// 1/K.
    Mean,
    /// 2^(K−k) − 1. Lan, Zhu, Guo, Niu and Cheng 2014, *Position-Aware ListMLE*; of at most 1024 classes, above which a
    /// weight leaves f64.
    Position,
    /// Of the places of every row, at least 0; as many as the lists have places.
    Each(&'a [f64]),
    /// `[N,K]`, at least 0.
    Entries(Matrix<'a>),
}

/// `[N,K]` classes of each row, the best first, with the weight w_k ≥ 0 of each place: what
/// [`PlackettLuce`](super::PlackettLuce) compares the scores of a model with.
///
/// A list may name all classes or some. A place that names [`Candidates::NONE`] is no place; no class stands twice in
/// a row. Whether a class is in the vocabulary is for the calls to say that know it.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::loss::{Candidates, PlaceWeights, Rankings};
/// let order = arr2(&[[2_u32, 0, 1], [1, 2, Candidates::NONE]]);
/// let rankings = Rankings::new(&order, PlaceWeights::Position)?;
/// assert_eq!(rankings.weights(), arr2(&[[3.0, 1.0, 0.0], [1.0, 0.0, 0.0]]));
/// assert!(Rankings::new(&arr2(&[[2_u32, 2]]), PlaceWeights::Ones).is_err());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Rankings {
    pub(super) classes: Array2<u32>,
    pub(super) weights: Array2<f64>,
}

impl Rankings {
    /// These classes, the best first, with weights of their places. The example is above.
    ///
    /// # Errors
    /// [`Error::Value`] for a class that stands twice in a row and for a weight that is not finite and at least 0;
    /// [`Error::Shape`] for weights of another shape, or for more than 1024 classes with `Position`.
    pub fn new<'a>(
        classes: impl Into<ArrayView2<'a, u32>>,
        weights: PlaceWeights<'_>,
    ) -> Result<Self> {
        Self::new_here(classes.into(), weights)
    }

    fn new_here(classes: ArrayView2<'_, u32>, weights: PlaceWeights<'_>) -> Result<Self> {
        let classes = classes.to_owned();
        let weights = match weights {
            PlaceWeights::Ones => of_places(&classes, |_, _| 1.0),
            PlaceWeights::Mean => of_places(&classes, |_, named| 1.0 / named as f64),
            PlaceWeights::Position => {
                let named = |row: ArrayView1<'_, u32>| row.iter().filter(is_named).count();
                if let Some(i) = classes.outer_iter().position(|row| named(row) > 1024) {
                    return Err(Error::Shape {
                        argument: "a ranking with weights by position",
                        found: vec![named(classes.row(i))],
                        expected: "at most 1024 classes, whose weights are in f64".into(),
                    });
                }
                // k counts from 0: 2^(K−1−k) − 1.
                of_places(&classes, |k, named| ((named - 1 - k) as f64).exp2() - 1.0)
            }
            PlaceWeights::Each(each) => {
                check_shape("the weights of the places", &[each.len()], &[classes.dim().1])?;
                Array2::from_shape_fn(classes.dim(), |(_, k)| each[k])
            }
            PlaceWeights::Entries(entries) => {
                let (found, wanted) = (entries.dim(), classes.dim());
                check_shape("the weights", &[found.0, found.1], &[wanted.0, wanted.1])?;
                Array2::from_shape_fn(wanted, |(i, k)| entries.at(i, k))
            }
        };
        Self::checked(classes, weights)
    }

    /// The first `valid[i]` places of row i, each with weight 1: those behind them are in the sums of the others, in no
    /// order. As a cross-encoder's ranking of hard negatives that ends where its scores are not to be trusted:
    ///
    /// ```text
    /// L = −Σ_{k≤n} ln( e^x_k / Σ_{m≥k} e^x_m )
    /// ```
    ///
    /// Contrastive partial ranking distillation: Chen et al. 2024, *How to Make Cross Encoder a Good Teacher for Efficient
    /// Image-Text Retrieval?* No code of it was found; where the scores stop being valid is the caller's to say. Cases in
    /// `conformance/losses.jsonl`: `partial_list_mle`.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::loss::Rankings;
    /// let rankings = Rankings::partial(&arr2(&[[2_u32, 0, 1], [0, 1, 2]]), &[2, 0])?;
    /// assert_eq!(rankings.weights(), arr2(&[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for a class that stands twice in a row, and for more valid places than a row has;
    /// [`Error::Shape`] unless there is a number for each row.
    pub fn partial<'a>(classes: impl Into<ArrayView2<'a, u32>>, valid: &[usize]) -> Result<Self> {
        Self::partial_here(classes.into(), valid)
    }

    fn partial_here(classes: ArrayView2<'_, u32>, valid: &[usize]) -> Result<Self> {
        let classes = classes.to_owned();
        check_shape("the numbers of valid places", &[valid.len()], &[classes.dim().0])?;
        for (i, (row, &valid)) in classes.outer_iter().zip(valid).enumerate() {
            if valid > row.iter().filter(is_named).count() {
                return Err(Error::Value {
                    argument: "the numbers of valid places",
                    index: vec![i],
                    value: valid.to_string(),
                    expected: "at most the number of classes that the row names",
                });
            }
        }
        let mut weights = of_places(&classes, |k, _| k as f64);
        for (mut row, &valid) in weights.outer_iter_mut().zip(valid) {
            row.mapv_inplace(|k| if k < valid as f64 { 1.0 } else { 0.0 });
        }
        Self::checked(classes, weights)
    }

    /// Of a teacher's logits `[N,V]`: the target first, then the other classes by descending logit, ties by the lower
    /// class; all of them, or the target and the first of the others, `most` in all. A place weighs what the softmax of
    /// the teacher's logits over the temperature has of its class.
    ///
    /// This is Plackett–Luce distillation. [`PlackettLuce`](super::PlackettLuce) has its formula and source. What is not
    /// listed has no weight, which is an error of at most Σ w_k (tail_k − x_k) over it; it is in all sums.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::loss::Rankings;
    /// let logits = arr2(&[[0.0_f64, 1.0, 1.0, 2.0]]);
    /// let rankings = Rankings::of_teacher(&logits, &[2], 1.0, None)?;
    /// assert_eq!(rankings.classes(), arr2(&[[2, 3, 1, 0]]));
    /// assert!((rankings.weights().sum() - 1.0).abs() < 1e-15);
    /// assert_eq!(Rankings::of_teacher(&logits, &[2], 1.0, Some(2))?.classes(), arr2(&[[2, 3]]));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] for a temperature that is not above 0; [`Error::Shape`] for logits without rows or columns, for
    /// another number of targets, and for no place at all; [`Error::TargetOutOfRange`]; [`Error::Value`] for a logit that
    /// is NaN or +∞, and for a row that has −∞ alone.
    pub fn of_teacher<'a>(
        logits: impl Into<Matrix<'a>>,
        targets: &[u32],
        temperature: f64,
        most: Option<usize>,
    ) -> Result<Self> {
        Self::of_teacher_here(logits.into(), targets, temperature, most)
    }

    fn of_teacher_here(
        logits: Matrix<'_>,
        targets: &[u32],
        temperature: f64,
        most: Option<usize>,
    ) -> Result<Self> {
        let (rows, vocabulary) = logits.dim();
        let temperature = positive("the teacher's temperature", temperature)?;
        if rows == 0 || vocabulary == 0 || u32::try_from(vocabulary).is_err() {
            return Err(Error::empty_matrix("the teacher's logits", &[rows, vocabulary]));
        }
        check_shape("targets", &[targets.len()], &[rows])?;
        let places = most.unwrap_or(vocabulary).min(vocabulary);
        if places == 0 {
            return Err(Error::Option {
                name: "the places of a ranking",
                value: "0".into(),
                expected: "at least 1",
            });
        }
        let mut classes = Array2::zeros((rows, places));
        let mut weights = Array2::zeros((rows, places));
        let mut order: Vec<u32> = Vec::with_capacity(vocabulary);
        for (i, &target) in targets.iter().enumerate() {
            if target as usize >= vocabulary {
                return Err(Error::TargetOutOfRange {
                    row: i,
                    value: i64::from(target),
                    vocabulary,
                });
            }
            let row: Vec<f64> = (0..vocabulary).map(|v| logits.at(i, v)).collect();
            let bad = row.iter().position(|x| x.is_nan() || *x == f64::INFINITY);
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if bad.is_some() || largest == f64::NEG_INFINITY {
                let at = bad.unwrap_or(0);
                return Err(Error::Value {
                    argument: "the teacher's logits",
                    index: vec![i, at],
                    value: short(row[at]),
                    expected: "a number or −∞, and a number in every row",
                });
            }
            let mass = |v: usize| ((row[v] - largest) / temperature).exp();
            let sum: f64 = (0..vocabulary).map(mass).sum();
            order.clear();
            order.extend((0..vocabulary as u32).filter(|&v| v != target));
            let better = |a: &u32, b: &u32| {
                let of = |v: &u32| row[*v as usize];
                of(b).partial_cmp(&of(a)).expect("no NaN").then(a.cmp(b))
            };
            if places < vocabulary && places > 1 {
                order.select_nth_unstable_by(places - 2, better);
            }
            order.truncate(places - 1);
            order.sort_unstable_by(better);
            for (k, &class) in std::iter::once(&target).chain(&order).enumerate() {
                classes[[i, k]] = class;
                weights[[i, k]] = mass(class as usize) / sum;
            }
        }
        Ok(Self { classes, weights })
    }

    /// Of a teacher's likeliest classes `[N,K]` with their log-probabilities in nats, in any order: the target first,
    /// then the others by descending probability, ties by the lower class; each place weighs its probability. As
    /// [`of_teacher`](Self::of_teacher), of what [`Forward::top_k`](crate::Forward::top_k) or a server tells of a teacher.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::loss::Rankings;
    /// let (classes, logs) = (arr2(&[[7_u32, 2, 9]]), arr2(&[[-0.5_f64, -3.0, -1.5]]));
    /// let rankings = Rankings::of_teacher_list(&classes, &logs, &[2])?;
    /// assert_eq!(rankings.classes(), arr2(&[[2, 7, 9]]));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where the shapes do not go together; [`Error::Value`] for a target that its row does not list
    /// (add it to the list with its own log-probability), for what is not the logarithm of a probability, and for a
    /// class that stands twice in a row.
    pub fn of_teacher_list<'a, 'b>(
        classes: impl Into<ArrayView2<'a, u32>>,
        log_probabilities: impl Into<Matrix<'b>>,
        targets: &[u32],
    ) -> Result<Self> {
        Self::of_teacher_list_here(classes.into(), log_probabilities.into(), targets)
    }

    fn of_teacher_list_here(
        classes: ArrayView2<'_, u32>,
        log_probabilities: Matrix<'_>,
        targets: &[u32],
    ) -> Result<Self> {
        let logs = log_probabilities;
        let (rows, k) = classes.dim();
        check_shape("the log-probabilities", &[logs.dim().0, logs.dim().1], &[rows, k])?;
        check_shape("targets", &[targets.len()], &[rows])?;
        let mut ranked = Array2::from_elem((rows, k), Candidates::NONE);
        let mut weights = Array2::zeros((rows, k));
        for (i, &target) in targets.iter().enumerate() {
            let named = classes.row(i);
            let mut list = Vec::with_capacity(k);
            for (j, class) in named.iter().enumerate().filter(|(_, class)| is_named(class)) {
                let log = logs.at(i, j);
                if log.is_nan() || log > 0.0 {
                    return Err(Error::Value {
                        argument: "the log-probabilities",
                        index: vec![i, j],
                        value: short(log),
                        expected: "the logarithm of a probability, at most 0",
                    });
                }
                list.push((*class, log));
            }
            if list.iter().all(|&(class, _)| class != target) {
                return Err(Error::Value {
                    argument: "targets",
                    index: vec![i],
                    value: target.to_string(),
                    expected: "a class that the teacher's list of its row names",
                });
            }
            list.sort_by(|a, b| {
                let by_log = b.1.partial_cmp(&a.1).expect("no NaN");
                (a.0 != target).cmp(&(b.0 != target)).then(by_log).then(a.0.cmp(&b.0))
            });
            for (place, (class, log)) in list.into_iter().enumerate() {
                ranked[[i, place]] = class;
                weights[[i, place]] = log.exp();
            }
        }
        Self::checked(ranked, weights)
    }

    fn checked(classes: Array2<u32>, mut weights: Array2<f64>) -> Result<Self> {
        for ((i, k), class) in classes.indexed_iter() {
            let weight = weights[[i, k]];
            if !is_named(&class) {
                weights[[i, k]] = 0.0;
            } else if !(weight >= 0.0 && weight.is_finite()) {
                return Err(Error::Value {
                    argument: "the weights of the places",
                    index: vec![i, k],
                    value: short(weight),
                    expected: "a finite number of at least 0",
                });
            }
        }
        let mut places: Vec<(u32, usize)> = Vec::with_capacity(classes.dim().1);
        for (i, row) in classes.outer_iter().enumerate() {
            places.clear();
            let named = row.iter().zip(0..).filter(|(class, _)| is_named(class));
            places.extend(named.map(|(&class, k)| (class, k)));
            places.sort_unstable();
            if let Some(pair) = places.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return Err(Error::Value {
                    argument: "a ranking",
                    index: vec![i, pair[1].1],
                    value: pair[1].0.to_string(),
                    expected: "a class that the row does not name already",
                });
            }
        }
        Ok(Self { classes, weights })
    }

    /// `[N,K]` the classes, the best first.
    pub fn classes(&self) -> ArrayView2<'_, u32> {
        self.classes.view()
    }

    /// `[N,K]` the weights of the places, 0 where none is.
    pub fn weights(&self) -> ArrayView2<'_, f64> {
        self.weights.view()
    }

    /// The classes as [`Inputs::candidates`](crate::Inputs::candidates) takes them, with what they leave to the others.
    /// [`PlackettLuce`](super::PlackettLuce) has the example.
    pub fn candidates(&self) -> Candidates<'_> {
        Candidates::new(&self.classes).with_others().called("the rankings")
    }
}

pub(super) fn is_named(class: &&u32) -> bool {
    **class != Candidates::NONE
}

/// What each named place weighs, by how many are before it and how many its row has.
fn of_places(classes: &Array2<u32>, weight: impl Fn(usize, usize) -> f64) -> Array2<f64> {
    let mut weights = Array2::zeros(classes.dim());
    for (row, mut to) in classes.outer_iter().zip(weights.outer_iter_mut()) {
        let named = row.iter().filter(is_named).count();
        let places = row.iter().zip(&mut to).filter(|(class, _)| is_named(class));
        for (k, (_, to)) in places.enumerate() {
            *to = weight(k, named);
        }
    }
    weights
}

fn check_shape(argument: &'static str, found: &[usize], expected: &[usize]) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => {
            let expected = format!("{expected:?}, as the rankings have");
            Err(Error::Shape { argument, found: found.to_vec(), expected })
        }
    }
}
