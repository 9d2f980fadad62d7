//! The entropies of attention, and the penalty on them.

use ndarray::{Array3, ArrayD, ArrayView3, Axis, Ix1, Ix3, s};

use crate::autodiff::array::Shared;
use crate::autodiff::tape::{Variable, shape_error};
use crate::element::{Real, compiled};
use crate::error::{Error, Result};
use crate::information::attention::streamed::{Head, HeadGradient, fold, gradients};
use crate::information::{AttentionEntropy, AttentionPenalty};
use crate::pieces::split;

impl<'t, T: Real> Variable<'t, T> {
    /// The entropy of the attention of each query `[B,heads,L]`, in nats, of queries `self` `[B,L,D]` and keys `[B,S,D]`, with
    /// the D columns divided among the heads as [`causal_attention`](Self::causal_attention) has them; the formula is at
    /// [`AttentionEntropy`]. One node: no score is kept.
    ///
    /// ```
    /// use ndarray::Array3;
    /// use surprisal::information::AttentionEntropy;
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let x = tape.leaf(Array3::from_shape_fn((1, 3, 4), |(_, i, j)| (i * j) as f64 / 4.0));
    /// let entropy = x.attention_entropy(x, 2, &AttentionEntropy::causal())?;
    /// assert_eq!(entropy.value().shape(), [1, 2, 3]);
    /// assert!(entropy.sum().backward()?.of(x).is_some());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] unless both have three axes, as many sequences and columns, at least one of each, and for causal
    /// attention as many keys as queries; [`Error::Option`] where the heads do not divide the columns;
    /// [`Error::Conflict`] for values of several tapes.
    pub fn attention_entropy(
        self,
        keys: Self,
        heads: usize,
        call: &AttentionEntropy,
    ) -> Result<Self> {
        compiled!(
            ['t] T: (Variable<'t, T>, Variable<'t, T>, usize, AttentionEntropy) => Result<Variable<'t, T>>,
            |(x, keys, heads, call)| x.attention_entropy_here(keys, heads, call),
            (self, keys, heads, *call)
        )
    }

    /// The penalty on entropies `self` `[B,H,T]` of the attention of one layer, with thresholds `[H]`: a number, as
    /// [`AttentionPenalty`] has it of one layer. Of several layers it is the mean.
    ///
    /// ```
    /// use ndarray::{Array3, arr1};
    /// use surprisal::information::AttentionPenalty;
    /// let tape = surprisal::autodiff::Tape::<f64>::new()?;
    /// let entropies = tape.leaf(Array3::from_elem((1, 2, 3), 2.0));
    /// let thresholds = tape.leaf(arr1(&[0.0, 0.9]));
    /// let penalty = AttentionPenalty::new(8)?.coefficient(1.0)?;
    /// let loss = entropies.attention_penalty(thresholds, &penalty)?;
    /// assert_eq!(loss.value().first(), Some(&6.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] unless the entropies have three axes and elements, and the thresholds one for each head;
    /// [`Error::Value`] for what is not finite; [`Error::Conflict`] for values of several tapes.
    pub fn attention_penalty(self, thresholds: Self, penalty: &AttentionPenalty) -> Result<Self> {
        self.on_the_same_tape("the thresholds", thresholds)?;
        let (entropies, of_heads) = (self.value(), thresholds.value());
        let Ok(own) = entropies.view().into_dimensionality::<Ix3>() else {
            return Err(shape_error("the entropies", &entropies, "three axes"));
        };
        let Ok(each) = of_heads.view().into_dimensionality::<Ix1>() else {
            return Err(shape_error("the thresholds", &of_heads, "one axis"));
        };
        let own = own.mapv(|h| h.to_f64()).insert_axis(Axis(0));
        let found = penalty.evaluate(&own, &each.mapv(|x| x.to_f64()))?;
        let value = ArrayD::from_elem(vec![], T::from_f64(found.loss)).into_shared();
        let operands = (self.index, thresholds.index);
        Ok(self.tape.push(value, &[self, thresholds], move |gradient, flow| {
            let above = gradient.first().expect("a number").to_f64();
            let scaled = |slope: &f64| T::from_f64(above * slope);
            let by_entropies = found.by_entropies.index_axis(Axis(0), 0).map(scaled);
            flow.add(operands.0, by_entropies.into_dyn().into_shared());
            flow.add(operands.1, found.by_thresholds.map(scaled).into_dyn().into_shared());
            Ok(())
        }))
    }

    fn attention_entropy_here(
        self,
        keys: Self,
        heads: usize,
        call: AttentionEntropy,
    ) -> Result<Self> {
        self.on_the_same_tape("the keys", keys)?;
        let inputs = [self.value(), keys.value()];
        let [batch, length, width] = *inputs[0].shape() else {
            return Err(shape_error("the queries", &inputs[0], "three axes"));
        };
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(Error::Option {
                name: "heads",
                value: heads.to_string(),
                expected: "a divisor of the number of columns, above 0",
            });
        }
        let [own_batch, own_length, own_width] = *inputs[1].shape() else {
            return Err(shape_error("the keys", &inputs[1], "three axes"));
        };
        if (own_batch, own_width) != (batch, width) {
            let expected = format!("[{batch}, S, {width}], as the queries have");
            return Err(shape_error("the keys", &inputs[1], expected));
        }
        for (argument, input) in ["the queries", "the keys"].into_iter().zip(&inputs) {
            if input.is_empty() {
                return Err(shape_error(argument, input, "at least one of each"));
            }
        }
        let (isa, rule) = (self.tape.isa(), call.rule(width / heads));
        if rule.causal && own_length != length {
            let expected = format!("{length} keys, one for each query of causal attention");
            return Err(shape_error("the keys", &inputs[1], expected));
        }
        let states = fold(isa, rule, &of_heads(&inputs, heads));
        let value = states.iter().map(|state| T::from_f64(state.entropy())).collect();
        let value = ArrayD::from_shape_vec(vec![batch, heads, length], value);
        let value = value.expect("a state for each query").into_shared();
        let operands = [self.index, keys.index];
        Ok(self.tape.push(value, &[self, keys], move |gradient, flow| {
            let upstream: Vec<f64> = gradient.iter().map(|g| g.to_f64()).collect();
            let mut to =
                inputs.each_ref().map(|input| Array3::from_elem(three(input).dim(), T::ZERO));
            let columns = width / heads;
            let [queries, keys] = to.each_mut().map(|to| {
                let heads = to.outer_iter_mut().flat_map(|to| split(to, Axis(1), columns));
                heads.collect::<Vec<_>>()
            });
            let both = queries.into_iter().zip(keys);
            let both = both.map(|(queries, keys)| HeadGradient { queries, keys }).collect();
            gradients(isa, rule, &of_heads(&inputs, heads), &states, &upstream, both);
            for (operand, gradient) in operands.into_iter().zip(to) {
                flow.add(operand, gradient.into_dyn().into_shared());
            }
            Ok(())
        }))
    }
}

fn three<T: Real>(array: &Shared<T>) -> ArrayView3<'_, T> {
    array.view().into_dimensionality::<Ix3>().expect("three axes")
}

/// Of each sequence its heads.
fn of_heads<'a, T: Real>(inputs: &'a [Shared<T>; 2], heads: usize) -> Vec<Head<'a, T>> {
    let [queries, keys] = inputs.each_ref().map(three);
    let columns = queries.dim().2 / heads;
    let head = |i: usize| {
        let (batch, at) = (i / heads, i % heads * columns);
        let of = |view: ArrayView3<'a, T>| view.slice_move(s![batch, .., at..at + columns]);
        Head { queries: of(queries), keys: of(keys) }
    };
    (0..queries.dim().0 * heads).map(head).collect()
}
