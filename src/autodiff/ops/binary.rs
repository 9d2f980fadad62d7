//! Losses of yes and no, from logits that stand for themselves.

use ndarray::{Array2, ArrayView2, Ix2};

use crate::autodiff::array::{self, Shared};
use crate::autodiff::lanes;
use crate::autodiff::tape::{Variable, shape_error};
use crate::binary::{
    BinaryCrossEntropy, Dice, MultiAspect, SetLosses, Sets, SquaredError, TriBinaryCrossEntropy,
    Tversky,
};
use crate::element::{Real, compiled};
use crate::error::Result;
use crate::matrix::Matrix;

impl<'t, T: Real> Variable<'t, T> {
    /// The binary cross-entropies of logits, this value, with labels `[N,C]`: in the value's shape, of which the last axis
    /// is C, or, with C = 1, any. The loss of the batch is the [`mean`](Self::mean).
    ///
    /// ```
    /// use ndarray::{arr1, arr2};
    /// use surprisal::{autodiff::Tape, binary::BinaryCrossEntropy};
    /// let tape = Tape::<f64>::new()?;
    /// let logits = tape.leaf(arr1(&[0.0, 0.0]));
    /// let labels = arr2(&[[1.0_f64], [0.0]]);
    /// let loss = logits.binary_cross_entropy(&labels, &BinaryCrossEntropy::new())?.mean();
    /// assert_eq!(loss.backward()?.of(logits).unwrap(), arr1(&[-0.25, 0.25]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`BinaryCrossEntropy::evaluate`]; [`Error::Shape`](crate::Error::Shape) for another number of labels.
    pub fn binary_cross_entropy<'a>(
        self,
        labels: impl Into<Matrix<'a>>,
        loss: &BinaryCrossEntropy,
    ) -> Result<Self> {
        compiled!(
            ['t, 'a, 'l] T: (Variable<'t, T>, Matrix<'a>, &'l BinaryCrossEntropy) => Result<Variable<'t, T>>,
            |(this, labels, loss)| {
                let logits = this.beside(&labels)?;
                let losses = loss.evaluate(&logits, labels)?;
                let own: Vec<usize> = (0..losses.slopes.len()).collect();
                Ok(this.losses(&this.shape(), losses.losses.iter(), losses.slopes.view(), own))
            },
            (self, labels.into(), loss)
        )
    }

    /// The Dice losses of the sets of logits, this value, with labels `[N,C]`, as those of
    /// [`binary_cross_entropy`](Self::binary_cross_entropy): one for each set.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::{autodiff::Tape, binary::Dice};
    /// let tape = Tape::<f64>::new()?;
    /// let logits = tape.leaf(arr2(&[[0.0, 1.0]]));
    /// let loss = logits.dice(&arr2(&[[1.0_f64, 0.0]]), &Dice::new(1.0)?)?.mean();
    /// assert!(loss.backward()?.of(logits).unwrap()[[0, 0]] < 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Dice::evaluate`]; [`Error::Shape`](crate::Error::Shape) for another number of labels.
    pub fn dice<'a>(self, labels: impl Into<Matrix<'a>>, loss: &Dice) -> Result<Self> {
        compiled!(
            ['t, 'a, 'l] T: (Variable<'t, T>, Matrix<'a>, &'l Dice) => Result<Variable<'t, T>>,
            |(this, labels, loss)| {
                let logits = this.beside(&labels)?;
                Ok(this.of_sets(loss.evaluate(&logits, labels)?))
            },
            (self, labels.into(), loss)
        )
    }

    /// The Tversky losses, as [`dice`](Self::dice).
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::{autodiff::Tape, binary::{Sets, Tversky}};
    /// let tape = Tape::<f64>::new()?;
    /// let logits = tape.leaf(arr2(&[[0.0, 1.0]]));
    /// let loss = Tversky::new(0.3, 0.7, 1.0)?.sets(Sets::Columns);
    /// assert_eq!(logits.tversky(&arr2(&[[1.0_f64, 0.0]]), &loss)?.shape(), [2]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tversky::evaluate`]; [`Error::Shape`](crate::Error::Shape) for another number of labels.
    pub fn tversky<'a>(self, labels: impl Into<Matrix<'a>>, loss: &Tversky) -> Result<Self> {
        compiled!(
            ['t, 'a, 'l] T: (Variable<'t, T>, Matrix<'a>, &'l Tversky) => Result<Variable<'t, T>>,
            |(this, labels, loss)| {
                let logits = this.beside(&labels)?;
                Ok(this.of_sets(loss.evaluate(&logits, labels)?))
            },
            (self, labels.into(), loss)
        )
    }

    /// The loss of two branches and their mean, a value without axes; this value has the deep branch's logits, of labels as
    /// [`binary_cross_entropy`](Self::binary_cross_entropy) has them.
    ///
    /// ```
    /// use ndarray::{arr1, arr2};
    /// use surprisal::{autodiff::Tape, binary::TriBinaryCrossEntropy};
    /// let tape = Tape::<f64>::new()?;
    /// let (deep, shallow) = (tape.leaf(arr1(&[0.5, 0.0])), tape.leaf(arr1(&[-0.5, 0.0])));
    /// let labels = arr2(&[[1.0_f64], [0.0]]);
    /// let loss = deep.tri_binary_cross_entropy(shallow, &labels, &TriBinaryCrossEntropy::default())?;
    /// assert!(loss.backward()?.of(shallow).unwrap()[0] < 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`TriBinaryCrossEntropy::evaluate`]; [`Error::Shape`](crate::Error::Shape) for another number of labels;
    /// [`Error::Conflict`](crate::Error::Conflict) for values of two tapes.
    pub fn tri_binary_cross_entropy<'a>(
        self,
        shallow: Self,
        labels: impl Into<Matrix<'a>>,
        loss: &TriBinaryCrossEntropy,
    ) -> Result<Self> {
        compiled!(
            ['t, 'a, 'l] T: ([Variable<'t, T>; 2], Matrix<'a>, &'l TriBinaryCrossEntropy)
                => Result<Variable<'t, T>>,
            |([deep, shallow], labels, loss)| {
                deep.on_the_same_tape("the shallow branch", shallow)?;
                let logits = [deep.beside(&labels)?, shallow.beside(&labels)?];
                let found = loss.evaluate(&logits[0], &logits[1], labels)?;
                Ok(number(found.value, [(deep, found.by_deep), (shallow, found.by_shallow)]))
            },
            ([self, shallow], labels.into(), loss)
        )
    }

    /// Multi-aspect distillation of logits `[N,C+Q]`, this value, with targets below C and answers `[N,Q]`: a value without
    /// axes.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::{autodiff::Tape, binary::MultiAspect};
    /// let tape = Tape::<f64>::new()?;
    /// let logits = tape.leaf(arr2(&[[0.0, 0.0, 0.0]]));
    /// let loss = logits.multi_aspect(&[1], &arr2(&[[1.0_f64]]), &MultiAspect::new(1.0, 4.0)?)?;
    /// assert_eq!(loss.backward()?.of(logits).unwrap(), arr2(&[[0.5, -0.5, -2.0]]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`MultiAspect::evaluate`]; [`Error::Shape`](crate::Error::Shape) unless the value has two axes.
    pub fn multi_aspect<'a>(
        self,
        targets: &[u32],
        answers: impl Into<Matrix<'a>>,
        loss: &MultiAspect,
    ) -> Result<Self> {
        compiled!(
            ['t, 'a, 'y, 'l] T: (Variable<'t, T>, &'y [u32], Matrix<'a>, &'l MultiAspect)
                => Result<Variable<'t, T>>,
            |(this, targets, answers, loss)| {
                let value = this.value();
                let view = value.view().into_dimensionality::<Ix2>().map_err(|_| {
                    shape_error("the logits", &value, "two axes, rows and columns")
                })?;
                let found = loss.evaluate(view, targets, answers)?;
                Ok(number(found.value, [(this, found.gradient)]))
            },
            (self, targets, answers.into(), loss)
        )
    }

    /// The mean squared error of this value with labels `[N,C]`, as
    /// [`binary_cross_entropy`](Self::binary_cross_entropy) has them: a value without axes.
    ///
    /// ```
    /// use ndarray::{arr1, arr2};
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let cosines = tape.leaf(arr1(&[0.5, -0.5]));
    /// let loss = cosines.mean_squared_error(&arr2(&[[1.0_f64], [-0.5]]))?;
    /// assert_eq!(loss.scalar()?, 0.125);
    /// assert_eq!(loss.backward()?.of(cosines).unwrap(), arr1(&[-0.5, 0.0]).into_dyn());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`SquaredError::of`]; [`Error::Shape`](crate::Error::Shape) for another number of labels.
    pub fn mean_squared_error<'a>(self, labels: impl Into<Matrix<'a>>) -> Result<Self> {
        compiled!(
            ['t, 'a] T: (Variable<'t, T>, Matrix<'a>) => Result<Variable<'t, T>>,
            |(this, labels)| {
                let predictions = this.beside(&labels)?;
                let found = SquaredError::of(&predictions, labels)?;
                Ok(number(found.value, [(this, found.gradient)]))
            },
            (self, labels.into())
        )
    }
}

impl<'t, T: Real> Variable<'t, T> {
    /// The numbers of the value in the shape of its labels.
    fn beside(self, labels: &Matrix<'_>) -> Result<Array2<T>> {
        let value = self.value();
        let (rows, columns) = labels.dim();
        let last = value.shape().last().copied().unwrap_or(1);
        if value.len() != rows * columns || (columns != 1 && last != columns) {
            let expected = format!("{rows} rows of {columns}, as the labels have");
            return Err(shape_error("the logits", &value, expected));
        }
        let numbers = value.iter().copied().collect();
        Ok(Array2::from_shape_vec((rows, columns), numbers).expect("as many numbers"))
    }

    /// Losses of this shape, of which each logit has a slope of the one that `of` names.
    fn losses<'a>(
        self,
        shape: &[usize],
        values: impl Iterator<Item = &'a f64>,
        slopes: ArrayView2<'_, f64>,
        of: Vec<usize>,
    ) -> Self {
        let value = array::shared(shape, values.map(|&x| T::from_f64(x)).collect());
        let slopes = narrow(&self.shape(), slopes);
        let operand = self.index;
        self.tape.push(value, &[self], move |upstream: Shared<T>, flow| {
            let upstream = lanes::standard(upstream);
            let upstream = array::slice(&upstream);
            let mut part = slopes.clone();
            for (slope, &of) in array::slice_mut(&mut part).iter_mut().zip(&of) {
                *slope = *slope * upstream[of];
            }
            flow.add(operand, part);
            Ok(())
        })
    }

    fn of_sets(self, found: SetLosses) -> Self {
        let sets: Sets = found.sets;
        let columns = found.gradient.dim().1;
        let of = found.gradient.indexed_iter().map(|(at, _)| sets.of(at, columns)).collect();
        self.losses(&[found.values.len()], found.values.iter(), found.gradient.view(), of)
    }
}

/// One number with its gradients by its operands.
fn number<'t, T: Real, const N: usize>(
    value: f64,
    operands: [(Variable<'t, T>, Array2<f64>); N],
) -> Variable<'t, T> {
    let value = array::shared(&[], vec![T::from_f64(value)]);
    let present = operands.each_ref().map(|(operand, _)| *operand);
    let parts = operands
        .map(|(operand, gradient)| (operand.index, narrow::<T>(&operand.shape(), gradient.view())));
    present[0].tape.push(value, &present, move |upstream, flow| {
        let factor = *upstream.first().expect("one element");
        for (operand, part) in &parts {
            let mut part = part.clone();
            lanes::for_every(flow.isa, array::slice_mut(&mut part), |g| g * factor);
            flow.add(*operand, part);
        }
        Ok(())
    })
}

fn narrow<T: Real>(shape: &[usize], numbers: ArrayView2<'_, f64>) -> Shared<T> {
    array::shared(shape, numbers.iter().map(|&x| T::from_f64(x)).collect())
}
