//! Losses of a batch of embeddings, each a node with the gradients that it was computed with.

use ndarray::{Array2, Ix2};

use crate::autodiff::array::{self, Shared};
use crate::autodiff::lanes;
use crate::autodiff::tape::{Variable, shape_error};
use crate::contrastive::{Contrast, InfoNce, MannWhitney, Repri, SigReg, SupervisedContrastive};
use crate::element::{Real, compiled};
use crate::error::Result;
use crate::loss::{Gradients, Inputs};
use crate::matrix::Matrix;

impl<'t, T: Real> Variable<'t, T> {
    /// The [`InfoNce`] of queries `self`, `[B,D]`, and keys `[M,D]`, a value without axes. Where a temperature is
    /// given, a value of one element, it stands for that of the loss and gets its derivative.
    ///
    /// ```
    /// use ndarray::{arr0, arr2};
    /// use surprisal::{autodiff::Tape, contrastive::InfoNce};
    /// let tape = Tape::<f64>::new()?;
    /// let images = tape.leaf(arr2(&[[1.0, 0.5], [-0.5, 2.0]]));
    /// let texts = tape.leaf(arr2(&[[2.0, 0.0], [0.0, 1.0]]));
    /// // ln(1/τ) is learnt, as CLIP does.
    /// let log_scale = tape.leaf(arr0(1.0));
    /// let clip = InfoNce::new(1.0)?.symmetric(true).normalized(true);
    /// let gradients = images.info_nce(texts, Some(log_scale.neg().exp()), &clip)?.backward()?;
    /// assert!(gradients.of(log_scale).unwrap()[[]] < 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`InfoNce::loss`]; [`Error::Shape`](crate::Error::Shape) for embeddings that have not two axes;
    /// [`Error::Conflict`](crate::Error::Conflict) for values of several tapes.
    pub fn info_nce(self, keys: Self, temperature: Option<Self>, loss: &InfoNce) -> Result<Self> {
        compiled!(
            ['t, 'l] T: (Variable<'t, T>, Variable<'t, T>, Option<Variable<'t, T>>, &'l InfoNce)
                => Result<Variable<'t, T>>,
            |(queries, keys, temperature, loss)| queries.against(keys, temperature, loss),
            (self, keys, temperature, loss)
        )
    }

    /// The [`MannWhitney`] loss of queries `self`, `[B,D]`, and keys `[M,D]`, a value without axes. A temperature is as
    /// that of [`info_nce`](Self::info_nce).
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::{autodiff::Tape, contrastive::MannWhitney};
    /// let tape = Tape::<f64>::new()?;
    /// let rows = tape.leaf(arr2(&[[1.0, 0.5], [-0.5, 2.0]]));
    /// let keys = tape.constant(arr2(&[[2.0, 0.0], [0.0, 1.0]]));
    /// let loss = rows.mann_whitney(keys, None, &MannWhitney::new(1.0)?)?;
    /// assert!(loss.backward()?.of(rows).unwrap()[[0, 0]] < 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`MannWhitney::loss`]; else as [`info_nce`](Self::info_nce).
    pub fn mann_whitney(
        self,
        keys: Self,
        temperature: Option<Self>,
        loss: &MannWhitney,
    ) -> Result<Self> {
        compiled!(
            ['t, 'l] T: (Variable<'t, T>, Variable<'t, T>, Option<Variable<'t, T>>, &'l MannWhitney)
                => Result<Variable<'t, T>>,
            |(queries, keys, temperature, loss)| queries.against(keys, temperature, loss),
            (self, keys, temperature, loss)
        )
    }

    /// The [`SigReg`] of features `[N,D]`, a value without axes.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::{autodiff::Tape, contrastive::SigReg};
    /// let tape = Tape::<f64>::new()?;
    /// let rows = tape.leaf(arr2(&[[3.0, 0.0], [3.0, 1.0]]));
    /// let gradients = rows.sigreg(&SigReg::new(&arr2(&[[1.0], [0.0]]))?)?.backward()?;
    /// assert_eq!(gradients.of(rows).unwrap()[[0, 1]], 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`SigReg::each`]; [`Error::Shape`](crate::Error::Shape) for features that have not two axes.
    pub fn sigreg(self, loss: &SigReg) -> Result<Self> {
        compiled!(
            ['t, 'l] T: (Variable<'t, T>, &'l SigReg) => Result<Variable<'t, T>>,
            |(features, loss)| features.sigreg_here(loss),
            (self, loss)
        )
    }

    /// The [`SupervisedContrastive`] loss of embeddings `[N,D]` with labels, a value without axes. A temperature is as
    /// that of [`info_nce`](Self::info_nce).
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::{autodiff::Tape, contrastive::SupervisedContrastive};
    /// let tape = Tape::<f64>::new()?;
    /// let rows = tape.leaf(arr2(&[[1.0, 0.1], [2.0, -0.1], [0.1, 1.0], [-0.2, 3.0]]));
    /// let supcon = SupervisedContrastive::new(0.1)?;
    /// let loss = rows.supervised_contrastive(&[7, 7, 3, 3], None, &supcon)?;
    /// assert!(loss.backward()?.of(rows).unwrap().iter().any(|&g| g != 0.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`SupervisedContrastive::loss`]; else as [`info_nce`](Self::info_nce).
    pub fn supervised_contrastive(
        self,
        labels: &[u32],
        temperature: Option<Self>,
        loss: &SupervisedContrastive,
    ) -> Result<Self> {
        compiled!(
            ['t, 'a, 'l] T: (Variable<'t, T>, &'a [u32], Option<Variable<'t, T>>, &'l SupervisedContrastive)
                => Result<Variable<'t, T>>,
            |(rows, labels, temperature, loss)| rows.supervised_here(labels, temperature, loss),
            (self, labels, temperature, loss)
        )
    }

    /// [`Repri`] of a classifier `self`, `[V,D]`, hidden states `[S,D]` of the support with their targets, and hidden
    /// states `[Q,D]` of the query: a value without axes.
    ///
    /// ```
    /// use ndarray::{arr1, arr2};
    /// use surprisal::{autodiff::Tape, contrastive::Repri};
    /// let tape = Tape::<f64>::new()?;
    /// let classifier = tape.leaf(arr2(&[[1.0, 0.0], [0.0, 1.0]]));
    /// let support = tape.constant(arr2(&[[2.0, 0.0], [0.0, 2.0]]));
    /// let query = tape.constant(arr2(&[[1.0, 0.5], [0.5, 0.0]]));
    /// let loss = classifier.repri(support, &[0, 1], query, &Repri::new(&arr1(&[0.5, 0.5]))?)?;
    /// assert!(loss.backward()?.of(classifier).is_some());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Repri::loss`]; [`Error::Shape`](crate::Error::Shape) for arrays that have not two axes;
    /// [`Error::Conflict`](crate::Error::Conflict) for values of several tapes.
    pub fn repri(self, support: Self, targets: &[u32], query: Self, loss: &Repri) -> Result<Self> {
        compiled!(
            ['t, 'l] T: (Variable<'t, T>, Variable<'t, T>, &'l [u32], Variable<'t, T>, &'l Repri)
                => Result<Variable<'t, T>>,
            |(classifier, support, targets, query, loss)|
                classifier.repri_here(support, targets, query, loss),
            (self, support, targets, query, loss)
        )
    }
}

/// A loss of queries and keys.
trait Against: Copy {
    fn at(&self, temperature: f64) -> Result<Self>;
    fn loss(&self, queries: Matrix<'_>, keys: Matrix<'_>) -> Result<f64>;
    fn slopes(&self, queries: Matrix<'_>, keys: Matrix<'_>, to: Gradients<'_>) -> Result<Contrast>;
}

macro_rules! against {
    ($($type:ty),*) => {
        $(impl Against for $type {
            fn at(&self, temperature: f64) -> Result<Self> {
                self.at(temperature)
            }
            fn loss(&self, queries: Matrix<'_>, keys: Matrix<'_>) -> Result<f64> {
                self.loss(queries.shorter(), keys.shorter())
            }
            fn slopes(&self, queries: Matrix<'_>, keys: Matrix<'_>, to: Gradients<'_>) -> Result<Contrast> {
                self.loss_and_gradients(queries.shorter(), keys.shorter(), to)
            }
        })*
    };
}

against!(InfoNce, MannWhitney);

/// # Errors
/// Unless the value has two axes.
fn matrix<'v, T: Real>(argument: &'static str, value: &'v Shared<T>) -> Result<Matrix<'v>> {
    match value.view().into_dimensionality::<Ix2>() {
        Ok(view) => Ok(T::matrix(view)),
        Err(_) => Err(shape_error(argument, value, "two axes, embeddings and their numbers")),
    }
}

fn zeros<T: Real>(like: &Matrix<'_>) -> Array2<T> {
    Array2::from_elem(like.dim(), T::ZERO)
}

/// What an operand gets for each unit of the value's own derivative.
type Part<'t, T> = (Variable<'t, T>, Shared<T>);

impl<'t, T: Real> Variable<'t, T> {
    /// The number of a temperature on this tape.
    fn number_on_the_same_tape(self, temperature: Option<Self>) -> Result<Option<f64>> {
        let Some(temperature) = temperature else { return Ok(None) };
        self.on_the_same_tape("the temperature", temperature)?;
        Ok(Some(temperature.scalar()?.to_f64()))
    }

    /// A value without axes, linear in its parts.
    fn push_number(self, value: f64, parts: Vec<Part<'t, T>>) -> Self {
        let operands: Vec<_> = parts.iter().map(|(operand, _)| *operand).collect();
        let parts: Vec<_> =
            parts.into_iter().map(|(operand, part)| (operand.index, part)).collect();
        let value = array::shared(&[], vec![T::from_f64(value)]);
        self.tape.push(value, &operands, move |gradient, flow| {
            let factor = *gradient.first().expect("one element");
            for (operand, part) in &parts {
                let mut part = part.clone();
                if factor != T::ONE {
                    lanes::for_every(flow.isa, array::slice_mut(&mut part), |g| g * factor);
                }
                flow.add(*operand, part);
            }
            Ok(())
        })
    }

    /// That of a temperature.
    fn by_temperature(temperature: Option<Self>, contrast: &Contrast) -> Option<Part<'t, T>> {
        let temperature = temperature?;
        let slope = vec![T::from_f64(contrast.by_temperature)];
        Some((temperature, array::shared(&temperature.shape(), slope)))
    }

    fn against(self, keys: Self, temperature: Option<Self>, loss: &impl Against) -> Result<Self> {
        self.on_the_same_tape("the keys", keys)?;
        let loss = match self.number_on_the_same_tape(temperature)? {
            Some(temperature) => loss.at(temperature)?,
            None => *loss,
        };
        let (of_queries, of_keys) = (self.value(), keys.value());
        let (queries_matrix, keys_matrix) =
            (matrix("queries", &of_queries)?, matrix("keys", &of_keys)?);
        let wanted = [Some(self), Some(keys), temperature];
        if !wanted.iter().flatten().any(|operand| operand.is_differentiable()) {
            return Ok(self.push_number(loss.loss(queries_matrix, keys_matrix)?, Vec::new()));
        }
        let (mut by_queries, mut by_keys) = (zeros(&queries_matrix), zeros(&keys_matrix));
        let gradients = Gradients::new()
            .hidden(T::matrix_view_mut(by_queries.view_mut()))
            .classifier(T::matrix_view_mut(by_keys.view_mut()));
        let contrast = loss.slopes(queries_matrix, keys_matrix, gradients)?;
        let mut parts = vec![
            (self, by_queries.into_dyn().into_shared()),
            (keys, by_keys.into_dyn().into_shared()),
        ];
        parts.extend(Self::by_temperature(temperature, &contrast));
        Ok(self.push_number(contrast.loss, parts))
    }

    fn supervised_here(
        self,
        labels: &[u32],
        temperature: Option<Self>,
        loss: &SupervisedContrastive,
    ) -> Result<Self> {
        let loss = match self.number_on_the_same_tape(temperature)? {
            Some(temperature) => loss.at(temperature)?,
            None => *loss,
        };
        let value = self.value();
        let rows = matrix("embeddings", &value)?;
        if ![Some(self), temperature].iter().flatten().any(|operand| operand.is_differentiable()) {
            return Ok(self.push_number(loss.loss(rows, labels)?, Vec::new()));
        }
        let mut by_rows = zeros(&rows);
        let gradients = Gradients::new().hidden(T::matrix_view_mut(by_rows.view_mut()));
        let contrast = loss.loss_and_gradients(rows, labels, gradients)?;
        let mut parts = vec![(self, by_rows.into_dyn().into_shared())];
        parts.extend(Self::by_temperature(temperature, &contrast));
        Ok(self.push_number(contrast.loss, parts))
    }

    fn repri_here(self, support: Self, targets: &[u32], query: Self, loss: &Repri) -> Result<Self> {
        self.on_the_same_tape("the support", support)?;
        self.on_the_same_tape("the query", query)?;
        let values = [self.value(), support.value(), query.value()];
        let names = ["classifier", "support", "query"];
        let part = |i: usize| matrix(names[i], &values[i]);
        let [mut by_classifier, mut again] = [zeros(&part(0)?), zeros(&part(0)?)];
        let (mut by_support, mut by_query) = (zeros(&part(1)?), zeros(&part(2)?));
        let losses = loss.loss_and_gradients(
            &Inputs::new(part(1)?, part(0)?, targets),
            &Inputs::unlabelled(part(2)?, part(0)?),
            Gradients::new()
                .hidden(T::matrix_view_mut(by_support.view_mut()))
                .classifier(T::matrix_view_mut(by_classifier.view_mut())),
            Gradients::new()
                .hidden(T::matrix_view_mut(by_query.view_mut()))
                .classifier(T::matrix_view_mut(again.view_mut())),
        )?;
        by_classifier.zip_mut_with(&again, |sum, own| *sum += *own);
        let parts = [(self, by_classifier), (support, by_support), (query, by_query)];
        let parts = parts.map(|(operand, part)| (operand, part.into_dyn().into_shared()));
        Ok(self.push_number(losses.loss, parts.into()))
    }

    fn sigreg_here(self, loss: &SigReg) -> Result<Self> {
        let value = self.value();
        let (number, gradient) = loss.loss_and_gradient(matrix("features", &value)?)?;
        let gradient = gradient.mapv(T::from_f64).into_dyn().into_shared();
        Ok(self.push_number(number, vec![(self, lanes::standard(gradient))]))
    }
}
