//! Columns whose states are recovered from their ends, not kept.

use std::fmt;
use std::rc::Rc;

use crate::autodiff::array::{self, Shared};
use crate::autodiff::lanes;
use crate::autodiff::tape::{Flow, Tape, Variable};
use crate::element::{Real, compiled};
use crate::error::{Error, Result, short};
use crate::simd::Isa;

/// By how much an error grows in a column beyond 1/|α|: the most measured, as the docs of [`ReversibleColumns`] say.
const GROWTH_BESIDE_ALPHA: f64 = 2.6;

/// What a level computes: from the level below, the old one above (none above the highest) and its parameters.
type LevelFunction<T> = dyn for<'s> Fn(
    Variable<'s, T>,
    Option<Variable<'s, T>>,
    &[Variable<'s, T>],
) -> Result<Variable<'s, T>>;

/// A level of a column: c ← α c + l(below, above), see [`ReversibleColumns`].
///
/// The function l is called again in the backward, on another tape: all values that have a derivative come to it as
/// parameters, and it must give the same result each time. A dropout mask is drawn from a key and a place, not from a
/// generator that goes on.
///
/// ```
/// use surprisal::autodiff::{ColumnLevel, Tape};
/// let tape = Tape::<f64>::new()?;
/// let (alpha, weight) = (tape.leaf(ndarray::arr0(0.5)), tape.leaf(ndarray::arr2(&[[0.3]])));
/// let level = ColumnLevel::new(alpha, &[weight], |below, above, parameters| {
///     let own = below.matmul(parameters[0])?;
///     Ok(match above {
///         Some(above) => own.add(above)?.tanh(),
///         None => own.tanh(),
///     })
/// });
/// assert!(format!("{level:?}").contains("1 parameter"));
/// # Ok::<(), surprisal::Error>(())
/// ```
pub struct ColumnLevel<'t, T> {
    alpha: Variable<'t, T>,
    parameters: Vec<Variable<'t, T>>,
    function: Rc<LevelFunction<T>>,
}

impl<T> Clone for ColumnLevel<'_, T> {
    fn clone(&self) -> Self {
        let (parameters, function) = (self.parameters.clone(), Rc::clone(&self.function));
        Self { alpha: self.alpha, parameters, function }
    }
}

impl<T> fmt::Debug for ColumnLevel<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ColumnLevel({} parameters)", self.parameters.len())
    }
}

impl<'t, T: Real> ColumnLevel<'t, T> {
    /// With an α that goes with the level's state, one number or one for each channel, parameters, and what is computed
    /// of them.
    pub fn new(
        alpha: Variable<'t, T>,
        parameters: &[Variable<'t, T>],
        function: impl for<'s> Fn(
            Variable<'s, T>,
            Option<Variable<'s, T>>,
            &[Variable<'s, T>],
        ) -> Result<Variable<'s, T>>
        + 'static,
    ) -> Self {
        Self { alpha, parameters: parameters.to_vec(), function: Rc::new(function) }
    }
}

/// Reversible columns (RevCol): J columns of L levels, of which the tape keeps the last state alone.
///
/// ```text
/// forward, i = 0…L−1 in place:    c_i ← α_i c_i + l_i(c_{i−1}, c_{i+1})      c_{−1} = x, c_{i−1} new, c_{i+1} old
/// inverse, i = L−1…0:             c_i ← (c_i − l_i(c_{i−1}, c_{i+1}))/α_i
/// ```
///
/// The backward recovers each column's state with the inverse, and differentiates a level at a time on a tape of its own:
/// beside parameters and x, memory is that of two states and of one level, whatever J is. Each level is computed once
/// more. The inverse divides by α: |α| below a minimum, 1e-3 by default, is refused, 0 among them;
/// [`clamp_column_alpha`] keeps parameters away from it.
///
/// An error of the last state grows on its way back by 1/|α| each column at least:
///
/// ```text
/// e_i^old ≤ (e_i^new + Λ↓ e_{i−1}^new + Λ↑ e_{i+1}^old + ρ_i)/|α_i|      ρ_i ≈ u (2|c_i| + 2|α_i c_i^old| + k |l_i|)
/// ```
///
/// with the Lipschitz constants Λ of l_i. Measured of three levels of tanh over linear maps, weights of deviation 0.3 and 0.6,
/// widths 4 and 8, 8 to 24 columns, the worst of ten each: by 1.3 to 2.6 times 1/|α| a column at α = ½, 1.3 to 1.9 at 0.7, 1.2
/// to 1.7 at 1. At α = ½, where training begins, 16 columns so lose 7 to 12 digits. So a state is kept every m columns,
/// m = ln(tolerance/8u)/ln(2.6/min |α|), at least 1, with tolerances of 1e-3 in f32 and 1e-6 in f64 (4 and 12 columns at ½, 8 and
/// 21 at 1); in all J/m states. Gradients are then those with every state kept, but for 8u (2.6/min |α|)^m of the largest
/// for each m columns. What is recovered at a kept state, and at the first, is compared with it: off by more than the
/// tolerance, relative to the largest of it and of the state that it was recovered from, it is an error, and else the
/// kept state is gone on from. Losses of inner columns are had from several of these nodes, one after the other.
///
/// Cai et al. 2023, *Reversible Column Networks*, whose code clamps |α| to 1e-3 with the sign of α, by which an α of 0
/// stays 0 and is divided by.
///
/// Cases in `conformance/geometry.jsonl`: `reversible_columns`, `reversible_columns_inverse`.
///
/// ```
/// use ndarray::{arr0, arr2};
/// use surprisal::autodiff::{ColumnLevel, ReversibleColumns, Tape};
/// let tape = Tape::<f64>::new()?;
/// let (x, alpha) = (tape.leaf(arr2(&[[0.3, -0.2]])), tape.leaf(arr0(0.5)));
/// let weight = tape.leaf(arr2(&[[0.2, 0.4], [-0.3, 0.1]]));
/// let level = ColumnLevel::new(alpha, &[weight], |below, above, parameters| {
///     let own = below.matmul(parameters[0])?;
///     above.map_or(Ok(own), |above| own.add(above)).map(|sum| sum.tanh())
/// });
/// // Two levels, three columns, of one set of parameters.
/// let columns = ReversibleColumns::new(vec![vec![level.clone(), level]; 3])?;
/// let zero = tape.constant(arr2(&[[0.0, 0.0]]));
/// let state = columns.forward(x, &[zero, zero])?;
/// let gradients = state[1].sum().backward()?;
/// assert!(gradients.of(weight).unwrap().iter().all(|g| *g != 0.0));
/// let first = columns.invert(x, &state)?;
/// assert!(first[0].iter().all(|c| c.abs() < 1e-14));
/// # Ok::<(), surprisal::Error>(())
/// ```
pub struct ReversibleColumns<'t, T> {
    columns: Vec<Vec<ColumnLevel<'t, T>>>,
    minimum: f64,
    keep_every: Option<usize>,
    tolerance: f64,
}

impl<T> fmt::Debug for ReversibleColumns<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = self.columns.first().map_or(0, Vec::len);
        write!(f, "ReversibleColumns({} columns of {levels} levels)", self.columns.len())
    }
}

impl<'t, T: Real> ReversibleColumns<'t, T> {
    /// Of columns, each with its levels from below.
    ///
    /// # Errors
    /// [`Error::Conflict`] without a column or level, for columns of different numbers of levels, or values of several
    /// tapes.
    pub fn new(columns: Vec<Vec<ColumnLevel<'t, T>>>) -> Result<Self> {
        let levels = columns.first().map_or(0, Vec::len);
        if levels == 0 || columns.iter().any(|column| column.len() != levels) {
            let found: Vec<_> = columns.iter().take(8).map(Vec::len).collect();
            let what = format!(
                "{} columns have {found:?} levels, expected columns of one number of levels, 1 at least",
                columns.len()
            );
            return Err(Error::Conflict { what });
        }
        let first = columns[0][0].alpha;
        for level in columns.iter().flatten() {
            first.on_the_same_tape("an alpha", level.alpha)?;
            for &parameter in &level.parameters {
                first.on_the_same_tape("a parameter", parameter)?;
            }
        }
        let tolerance = if T::EPSILON < 1e-10 { 1e-6 } else { 1e-3 };
        Ok(Self { columns, minimum: 1e-3, keep_every: None, tolerance })
    }

    /// With this least |α|.
    ///
    /// # Errors
    /// [`Error::Option`] unless it is finite and above 0.
    pub fn minimum_alpha(self, minimum: f64) -> Result<Self> {
        Ok(Self { minimum: above_zero("minimum", minimum)?, ..self })
    }

    /// Keeps a state every so many columns.
    ///
    /// # Errors
    /// [`Error::Option`] for 0.
    pub fn keep_every(self, columns: usize) -> Result<Self> {
        match columns {
            0 => {
                Err(Error::Option { name: "keep_every", value: "0".into(), expected: "at least 1" })
            }
            _ => Ok(Self { keep_every: Some(columns), ..self }),
        }
    }

    /// With this largest error of what is recovered, relative to the largest number of the state.
    ///
    /// # Errors
    /// [`Error::Option`] unless it is finite and above 0.
    pub fn tolerance(self, tolerance: f64) -> Result<Self> {
        Ok(Self { tolerance: above_zero("tolerance", tolerance)?, ..self })
    }

    /// After how many columns a state is kept.
    pub fn columns_between_kept(&self) -> usize {
        if let Some(columns) = self.keep_every {
            return columns;
        }
        let alphas = self.columns.iter().flatten().map(|level| least(&level.alpha.value()));
        let least = alphas.fold(f64::INFINITY, f64::min);
        let growth = (GROWTH_BESIDE_ALPHA / least).ln();
        let digits = (self.tolerance / (4.0 * T::EPSILON)).ln();
        match growth > 0.0 {
            true => ((digits / growth).max(1.0) as usize).min(self.columns.len()),
            false => self.columns.len(),
        }
    }

    /// The states of the last column, from x and those before the first.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of states than there are levels, or a level whose result has another shape
    /// than its state; [`Error::Value`] for an α that is not finite or too small; those of the levels. The backward:
    /// [`Error::Conflict`] where what it recovers is off by more than the tolerance.
    pub fn forward(
        &self,
        x: Variable<'t, T>,
        state: &[Variable<'t, T>],
    ) -> Result<Vec<Variable<'t, T>>> {
        compiled!(
            ['t: 'a, 'a] T: (&'a ReversibleColumns<'t, T>, Variable<'t, T>, &'a [Variable<'t, T>])
                => Result<Vec<Variable<'t, T>>>,
            |(columns, x, state)| columns.forward_here(x, state),
            (self, x, state)
        )
    }

    /// The states before the first column, from x and those of the last.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn invert(&self, x: Variable<'t, T>, state: &[Variable<'t, T>]) -> Result<Vec<Shared<T>>> {
        compiled!(
            ['t: 'a, 'a] T: (&'a ReversibleColumns<'t, T>, Variable<'t, T>, &'a [Variable<'t, T>])
                => Result<Vec<Shared<T>>>,
            |(columns, x, state)| columns.invert_here(x, state),
            (self, x, state)
        )
    }

    fn checked(&self, x: Variable<'t, T>, state: &[Variable<'t, T>]) -> Result<Vec<Vec<Level<T>>>> {
        let first = self.columns[0][0].alpha;
        first.on_the_same_tape("x", x)?;
        for &level in state {
            first.on_the_same_tape("a state", level)?;
        }
        let levels = self.columns[0].len();
        if state.len() != levels {
            let expected = format!("[{levels}], one for each level");
            return Err(Error::Shape { argument: "state", found: vec![state.len()], expected });
        }
        for (j, column) in self.columns.iter().enumerate() {
            for (i, level) in column.iter().enumerate() {
                let alpha = level.alpha.value();
                let good = |a: &&T| {
                    let a = a.to_f64().abs();
                    a.is_finite() && a >= self.minimum
                };
                if let Some(bad) = alpha.iter().find(|a| !good(a)) {
                    return Err(Error::Value {
                        argument: "alpha",
                        index: vec![j, i],
                        value: short(bad.to_f64()),
                        expected: "a finite number that is not nearer to 0 than the minimum",
                    });
                }
            }
        }
        Ok(self.columns.iter().map(|column| column.iter().map(Level::of).collect()).collect())
    }

    fn forward_here(
        &self,
        x: Variable<'t, T>,
        state: &[Variable<'t, T>],
    ) -> Result<Vec<Variable<'t, T>>> {
        let columns = self.checked(x, state)?;
        let isa = x.tape.isa();
        let (every, tolerance) = (self.columns_between_kept(), self.tolerance);
        let stem = x.value();
        let first: Vec<Shared<T>> =
            state.iter().map(|level| lanes::standard(level.value())).collect();
        let mut now = first.clone();
        // The states after some columns, the first before all of them.
        let mut kept = vec![(0, first)];
        for (j, column) in columns.iter().enumerate() {
            for i in 0..column.len() {
                let tape = Tape::with_isa(isa);
                let own = column[i].result(&tape, &around(&stem, &now, i))?;
                let alpha = tape.constant(&column[i].alpha);
                let new = tape.constant(&now[i]).mul(alpha)?.add(own)?.value();
                same_shape(&new, &now[i])?;
                now[i] = lanes::standard(new);
            }
            if (j + 1) % every == 0 && j + 1 < columns.len() {
                kept.push((j + 1, now.clone()));
            }
        }
        let shapes: Vec<Vec<usize>> = now.iter().map(|level| level.shape().to_vec()).collect();
        let flat =
            now.iter().flat_map(|level| array::slice(level).iter().copied()).collect::<Vec<T>>();
        let operands: Vec<Variable<'t, T>> = [x]
            .into_iter()
            .chain(state.iter().copied())
            .chain(self.columns.iter().flatten().flat_map(|level| {
                [level.alpha].into_iter().chain(level.parameters.iter().copied())
            }))
            .collect();
        let (of_x, of_state) = (x.index, state.iter().map(|level| level.index).collect::<Vec<_>>());
        let last = now;
        let of_shapes = shapes.clone();
        let node =
            x.tape.push(array::shared(&[flat.len()], flat), &operands, move |gradient, flow| {
                let back = Back { columns: &columns, stem: &stem, of_x, tolerance };
                let slopes =
                    back.through(&kept, last.clone(), parted(&gradient, &of_shapes), flow)?;
                for (&operand, slope) in of_state.iter().zip(slopes) {
                    flow.add(operand, slope);
                }
                Ok(())
            });
        let mut from = 0;
        let mut part = |shape: &Vec<usize>| {
            let own = from..from + shape.iter().product::<usize>();
            from = own.end;
            node.slice(0, own)?.reshape(shape)
        };
        shapes.iter().map(&mut part).collect()
    }

    fn invert_here(&self, x: Variable<'t, T>, state: &[Variable<'t, T>]) -> Result<Vec<Shared<T>>> {
        let columns = self.checked(x, state)?;
        let stem = x.value();
        let mut now: Vec<Shared<T>> = state.iter().map(|level| level.value()).collect();
        for column in columns.iter().rev() {
            for i in (0..column.len()).rev() {
                let tape = Tape::with_isa(x.tape.isa());
                let own = column[i].result(&tape, &around(&stem, &now, i))?;
                now[i] = column[i].before(&tape, &now[i], own)?;
            }
        }
        Ok(now)
    }
}

/// A level without its tape.
struct Level<T> {
    alpha: Shared<T>,
    parameters: Vec<Shared<T>>,
    of_alpha: usize,
    of_parameters: Vec<usize>,
    function: Rc<LevelFunction<T>>,
}

impl<T: Real> Level<T> {
    fn of(level: &ColumnLevel<'_, T>) -> Self {
        Self {
            alpha: level.alpha.value(),
            parameters: level.parameters.iter().map(|parameter| parameter.value()).collect(),
            of_alpha: level.alpha.index,
            of_parameters: level.parameters.iter().map(|parameter| parameter.index).collect(),
            function: Rc::clone(&level.function),
        }
    }

    /// l, of constants.
    fn result<'s>(&self, tape: &'s Tape<T>, around: &Around<T>) -> Result<Variable<'s, T>> {
        let parameters: Vec<_> = self.parameters.iter().map(|p| tape.constant(p)).collect();
        let above = around.above.as_ref().map(|above| tape.constant(above));
        self.on_tape(tape.constant(&around.below), above, &parameters)
    }

    /// # Errors
    /// Where the result is a value of another tape.
    fn on_tape<'s>(
        &self,
        below: Variable<'s, T>,
        above: Option<Variable<'s, T>>,
        parameters: &[Variable<'s, T>],
    ) -> Result<Variable<'s, T>> {
        let own = (self.function)(below, above, parameters)?;
        below.on_the_same_tape("the result of a level", own)?;
        Ok(own)
    }

    /// (c − l)/α.
    fn before(&self, tape: &Tape<T>, after: &Shared<T>, own: Variable<'_, T>) -> Result<Shared<T>> {
        let own = tape.constant(own.value());
        let old = tape.constant(after).sub(own)?.div(tape.constant(&self.alpha))?.value();
        same_shape(&old, after)?;
        Ok(lanes::standard(old))
    }
}

/// What a level reads.
struct Around<T> {
    below: Shared<T>,
    above: Option<Shared<T>>,
}

fn around<T: Real>(stem: &Shared<T>, state: &[Shared<T>], level: usize) -> Around<T> {
    let below = if level == 0 { stem.clone() } else { state[level - 1].clone() };
    Around { below, above: state.get(level + 1).cloned() }
}

fn same_shape<T: Real>(found: &Shared<T>, state: &Shared<T>) -> Result<()> {
    match found.shape() == state.shape() {
        true => Ok(()),
        false => Err(Error::Shape {
            argument: "the result of a level",
            found: found.shape().to_vec(),
            expected: format!("{:?}, as its state has", state.shape()),
        }),
    }
}

/// The parts of the node's derivative, by level.
fn parted<T: Real>(gradient: &Shared<T>, shapes: &[Vec<usize>]) -> Vec<Shared<T>> {
    let mut rest = array::slice(gradient);
    let part = |shape: &Vec<usize>| {
        let (own, others) = rest.split_at(shape.iter().product());
        rest = others;
        array::shared(shape, own.to_vec())
    };
    shapes.iter().map(part).collect()
}

/// The way back.
struct Back<'a, T> {
    columns: &'a [Vec<Level<T>>],
    stem: &'a Shared<T>,
    of_x: usize,
    tolerance: f64,
}

impl<T: Real> Back<'_, T> {
    /// From the last state and its derivatives to those of the first state.
    fn through(
        &self,
        kept: &[(usize, Vec<Shared<T>>)],
        mut state: Vec<Shared<T>>,
        mut slopes: Vec<Shared<T>>,
        flow: &mut Flow<'_, T>,
    ) -> Result<Vec<Shared<T>>> {
        let mut kept = kept.iter().rev().peekable();
        let mut size = largest(&state);
        for (j, column) in self.columns.iter().enumerate().rev() {
            for i in (0..column.len()).rev() {
                self.level(&column[i], i, &mut state, &mut slopes, flow)?;
            }
            if let Some((_, right)) = kept.next_if(|(columns, _)| *columns == j) {
                // A state of zeros, which columns begin with, has no size of its own.
                self.compare(j, &state, right, size.max(largest(right)))?;
                state.clone_from(right);
                size = largest(&state);
            }
        }
        Ok(slopes)
    }

    /// One level: its state and its derivative become those before it.
    fn level(
        &self,
        level: &Level<T>,
        i: usize,
        state: &mut [Shared<T>],
        slopes: &mut [Shared<T>],
        flow: &mut Flow<'_, T>,
    ) -> Result<()> {
        let isa: Isa = flow.isa;
        let tape = Tape::with_isa(isa);
        let around = around(self.stem, state, i);
        let below = tape.leaf(&around.below);
        let above = around.above.as_ref().map(|above| tape.leaf(above));
        let with = |value: &Shared<T>, wanted: bool| match wanted {
            true => tape.leaf(value),
            false => tape.constant(value),
        };
        let wanted = level.of_parameters.iter().map(|&operand| flow.wants(operand));
        let parameters: Vec<_> = level
            .parameters
            .iter()
            .zip(wanted)
            .map(|(value, wanted)| with(value, wanted))
            .collect();
        let alpha = with(&level.alpha, flow.wants(level.of_alpha));
        let own = level.on_tape(below, above, &parameters)?;
        let old = tape.leaf(&level.before(&tape, &state[i], own)?);
        let mut gradients = old.mul(alpha)?.add(own)?.backward_with(&slopes[i])?;
        state[i] = old.value();
        slopes[i] = gradients.take(old).expect("the sum has it");
        if let Some(slope) = gradients.take(below) {
            match i {
                0 => flow.add(self.of_x, slope),
                _ => join(isa, &mut slopes[i - 1], slope),
            }
        }
        if let Some(slope) = above.and_then(|above| gradients.take(above)) {
            join(isa, &mut slopes[i + 1], slope);
        }
        let operands = level.of_parameters.iter().zip(&parameters);
        for (&operand, &leaf) in operands.chain([(&level.of_alpha, &alpha)]) {
            if let Some(slope) = gradients.take(leaf) {
                flow.add(operand, slope);
            }
        }
        Ok(())
    }

    /// # Errors
    /// Where what was recovered is too far from what it was, relative to this size.
    fn compare(
        &self,
        column: usize,
        found: &[Shared<T>],
        right: &[Shared<T>],
        size: f64,
    ) -> Result<()> {
        let pairs = found.iter().flatten().zip(right.iter().flatten());
        let bad = |(a, b): (&T, &T)| {
            let (a, b) = (a.to_f64(), b.to_f64());
            // Where the forward has left the numbers, there is nothing to compare.
            let within = (a - b).abs() <= self.tolerance * size;
            // A difference that is no number is not within.
            b.is_finite() && !within
        };
        if !size.is_finite() || !pairs.clone().any(bad) {
            return Ok(());
        }
        let off = pairs.map(|(a, b)| (a.to_f64() - b.to_f64()).abs()).fold(0.0, f64::max);
        Err(Error::Conflict {
            what: format!(
                "the state before column {column} was recovered with an error of {off:e}, expected at most {:e}: \
                 keep states more often",
                self.tolerance * size
            ),
        })
    }
}

fn join<T: Real>(isa: Isa, sum: &mut Shared<T>, more: Shared<T>) {
    let more = lanes::standard(more);
    lanes::zip_assign(isa, array::slice_mut(sum), array::slice(&more), |a, b| a + b);
}

/// The largest number of a state.
fn largest<T: Real>(state: &[Shared<T>]) -> f64 {
    state.iter().flatten().map(|c| c.to_f64().abs()).fold(0.0, f64::max)
}

fn least<T: Real>(alpha: &Shared<T>) -> f64 {
    alpha.iter().map(|a| a.to_f64().abs()).fold(f64::INFINITY, f64::min)
}

fn above_zero(name: &'static str, value: f64) -> Result<f64> {
    match value > 0.0 && value.is_finite() {
        true => Ok(value),
        false => {
            Err(Error::Option { name, value: short(value), expected: "a finite number above 0" })
        }
    }
}

/// Moves each α away from 0, to ±minimum with its sign where it is nearer; 0 and −0 become +minimum, as the inverse of
/// [`ReversibleColumns`] needs.
///
/// ```
/// let mut alpha = [0.5_f64, 0.0, -0.0001, -2.0];
/// surprisal::autodiff::clamp_column_alpha(&mut alpha, 1e-3)?;
/// assert_eq!(alpha, [0.5, 0.001, -0.001, -2.0]);
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// [`Error::Option`] for a minimum that is not finite and above 0; [`Error::Value`] for an α that is not finite.
pub fn clamp_column_alpha<T: Real>(alpha: &mut [T], minimum: f64) -> Result<()> {
    above_zero("minimum", minimum)?;
    if let Some(i) = alpha.iter().position(|a| !a.to_f64().is_finite()) {
        return Err(Error::not_finite("alpha", &[i], alpha[i].to_f64()));
    }
    for a in alpha {
        let value = a.to_f64();
        if value.abs() < minimum {
            *a = T::from_f64(if value < 0.0 { -minimum } else { minimum });
        }
    }
    Ok(())
}
