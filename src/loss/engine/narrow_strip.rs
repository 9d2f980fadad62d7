//! Logits of a strip in 16 bits, where G is of 16 bits too: twice the rows in a budget.

use std::ops::Range;

use super::grid::TILE_COLUMNS;
use super::problem::Problem;
use crate::element::Operand;
use crate::gemm::PANEL;
use crate::simd::{Kernel, Simd};
use crate::softmax::transform::Transform;

/// What the logits u = s·(z + b) of a row and a tile of columns were rounded by: u = `top` − q·`step` with q
/// from 0 to 65535, where `top` is the tile's largest.
///
/// The tile spans at most [`REACH`] nats, so a logit is off by 8.4·10⁻⁴ at most, and so is its probability, relative;
/// the usual tile of a few tens of nats is off by 10⁻⁴. With a softcap c the tile spans at most 2·[`SATURATED`]·c, which
/// is off by 3.1·10⁻⁴ c. G is rounded to bf16 afterwards, by 2·10⁻³. The largest logit and the target's are exact.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    top: f32,
    step: f32,
    /// That of the target, where it is in the tile.
    own: f32,
}

/// How far below a tile's largest a logit can be told: a probability e⁻¹¹⁰ of it is 0 in f32.
const REACH: f32 = 110.0;
/// Softcaps beyond which c·tanh(u/c) is c in f32.
const SATURATED: f64 = 20.0;
/// The largest q.
const LAST: f32 = 65535.0;
/// Added to a number of at most 2²², leaves its integer in the low bits.
const INTEGER: f32 = 8_388_608.0;

/// What is done to the products of one row before they are rounded.
struct RowPlace<'a> {
    bias: Option<&'a [f32]>,
    scale: f32,
    /// Beyond it the softcap gives the same.
    limit: f32,
}

impl<'a> RowPlace<'a> {
    fn new(transform: Transform, bias: Option<&'a [f32]>) -> Self {
        let limit = transform.softcap.map_or(f32::INFINITY, |cap| (SATURATED * cap) as f32);
        Self { bias, scale: transform.scale as f32, limit }
    }
}

struct Narrow<'a> {
    row: RowPlace<'a>,
    products: &'a [f32],
    to: &'a mut [f32; TILE_COLUMNS],
}

impl Kernel for Narrow<'_> {
    type Output = Place;

    /// Leaves q of each product in `to`.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Place {
        let Self { row: RowPlace { bias, scale, limit }, products, to } = self;
        let to = &mut to[..products.len()];
        match bias {
            Some(bias) => {
                for ((to, &z), &b) in to.iter_mut().zip(products).zip(bias) {
                    *to = scale * (z + b);
                }
            }
            None => to.iter_mut().zip(products).for_each(|(to, &z)| *to = scale * z),
        }
        // Written so that they become the instructions for it: the other operand where one is NaN.
        let below = |a: f32, b: f32| if a < b { a } else { b };
        let above = |a: f32, b: f32| if a > b { a } else { b };
        let (mut most, mut least) = ([f32::NEG_INFINITY; 16], [f32::INFINITY; 16]);
        let (whole, rest) = to.as_chunks::<16>();
        for u in whole {
            for l in 0..16 {
                most[l] = above(u[l], most[l]);
                least[l] = below(u[l], least[l]);
            }
        }
        for &u in rest {
            most[0] = above(u, most[0]);
            least[0] = below(u, least[0]);
        }
        let top = most.into_iter().fold(f32::NEG_INFINITY, above);
        let least = least.into_iter().fold(f32::INFINITY, below);
        // A row with a logit that is no number has a log-sum-exp that is none: what stands here is not seen.
        let top = below(above(top, -limit), limit).clamp(f32::MIN / 4.0, f32::MAX / 4.0);
        let reach = if limit.is_finite() { f32::INFINITY } else { REACH };
        let low = above(above(least, -limit), top - reach).clamp(f32::MIN / 4.0, top);
        let inverse = if top > low { LAST / (top - low) } else { 0.0 };
        for u in to.iter_mut() {
            *u = below((top - above(*u, low)) * inverse, LAST);
        }
        Place { top, step: (top - low) / LAST, own: 0.0 }
    }
}

struct Round<'a> {
    from: &'a [f32],
    to: &'a mut [u16],
}

impl Kernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (to, from) in self.to.iter_mut().zip(self.from) {
            *to = (above_zero(*from) + INTEGER).to_bits() as u16;
        }
    }
}

/// 0 for what is below it and for what is no number.
#[inline(always)]
fn above_zero(x: f32) -> f32 {
    if x > 0.0 { x } else { 0.0 }
}

/// Keeps a tile of products, whose columns are counted from `first` on, in panels of so many rows.
#[allow(clippy::too_many_arguments)]
pub(crate) fn keep_narrow<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    (kept, places): (&mut [u16], &mut [Place]),
    height: usize,
    (first, tile_columns): (usize, usize),
    rows: &[super::problem::Row],
    group: Range<usize>,
    columns: Range<usize>,
    tile: &[F::Sum],
) {
    let isa = problem.loss.isa;
    let panel = (columns.start - first) / PANEL;
    let places = &mut places[(columns.start - first) / tile_columns * height..];
    let bias: Option<&[f32]> = problem.bias_of(columns.clone()).map(bytemuck::cast_slice);
    let tile: &[f32] = bytemuck::cast_slice(tile);
    let mut numbers = [0.0; TILE_COLUMNS];
    for (i, products) in group.zip(tile.chunks(columns.len())) {
        let row = RowPlace::new(problem.transform_of(&rows[i]), bias);
        let scale = row.scale;
        let mut place = isa.dispatch(Narrow { row, products, to: &mut numbers });
        let target = (rows[i].target as usize).wrapping_sub(problem.first_class + columns.start);
        if let Some(&own) = products.get(target) {
            place.own = scale * (own + bias.map_or(0.0, |bias| bias[target]));
        }
        places[i] = place;
        for (p, from) in (panel..).zip(numbers[..columns.len()].chunks(PANEL)) {
            let to = &mut kept[(p * height + i) * PANEL..][..from.len()];
            isa.dispatch(Round { from, to });
        }
    }
}

struct Widen<'a> {
    place: Place,
    row: RowPlace<'a>,
    from: &'a [u16],
    to: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { place: Place { top, step, .. }, row: RowPlace { bias, scale, .. }, from, to } =
            self;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let wide = |q: u16| {
            let q = f32::from_bits(INTEGER.to_bits() | u32::from(q)) - INTEGER;
            inverse * (top - q * step)
        };
        match bias {
            Some(bias) => {
                for ((to, &q), &b) in to.iter_mut().zip(from).zip(bias) {
                    *to = wide(q) - b;
                }
            }
            None => to.iter_mut().zip(from).for_each(|(to, &q)| *to = wide(q)),
        }
    }
}

/// The products of one row, the `i`th, at some columns that begin with a tile, of panels whose first is theirs.
pub(crate) fn widen<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    (kept, places): (&[u16], &[Place]),
    (height, i): (usize, usize),
    row: &super::problem::Row,
    columns: Range<usize>,
    tile_columns: usize,
    to: &mut [F::Sum],
) {
    let to: &mut [f32] = bytemuck::cast_slice_mut(to);
    let transform = problem.transform_of(row);
    for (p, to) in to[..columns.len()].chunks_mut(PANEL).enumerate() {
        let first = columns.start + p * PANEL;
        let bias = problem.bias_of(first..first + to.len()).map(bytemuck::cast_slice);
        let place = places[p * PANEL / tile_columns * height + i];
        let row_place = RowPlace::new(transform, bias);
        let from = &kept[(p * height + i) * PANEL..][..to.len()];
        let target = (row.target as usize).wrapping_sub(problem.first_class + first);
        let own = bias.map_or(0.0, |bias: &[f32]| bias.get(target).copied().unwrap_or(0.0));
        let scale = row_place.scale;
        problem.loss.isa.dispatch(Widen { place, row: row_place, from, to });
        if let Some(to) = to.get_mut(target)
            && scale != 0.0
        {
            *to = place.own / scale - own;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Isa;

    /// Rounds and reads back.
    fn there_and_back(products: &[f32], bias: Option<&[f32]>, transform: Transform) -> Vec<f32> {
        let isa = Isa::current().unwrap();
        let mut numbers = [0.0; TILE_COLUMNS];
        let row = RowPlace::new(transform, bias);
        let place = isa.dispatch(Narrow { row, products, to: &mut numbers });
        let mut kept = vec![0; products.len()];
        isa.dispatch(Round { from: &numbers[..products.len()], to: &mut kept });
        let mut back = vec![0.0; products.len()];
        let row = RowPlace::new(transform, bias);
        isa.dispatch(Widen { place, row, from: &kept, to: &mut back });
        back
    }

    #[test]
    fn logits_come_back_within_half_a_step() {
        let mut generator = crate::random::Generator::new(5);
        for (count, scale, softcap) in
            [(256, 1.0, None), (31, -2.0, None), (1, 0.5, Some(30.0)), (200, 1.5, Some(5.0))]
        {
            let mut random =
                || (0..count).map(|_| (40.0 * generator.uniform() - 20.0) as f32).collect();
            let (products, bias): (Vec<f32>, Vec<f32>) = (random(), random());
            for bias in [None, Some(&bias[..])] {
                let transform = Transform { scale, softcap };
                let back = there_and_back(&products, bias, transform);
                let logit = |i: usize, z: f32| {
                    let z = f64::from(z) + bias.map_or(0.0, |bias| f64::from(bias[i]));
                    let u = scale * z;
                    softcap.map_or(u, |cap: f64| cap * (u / cap).tanh())
                };
                let span = softcap.map_or(110.0, |cap| 2.0 * SATURATED * cap).min(320.0);
                // Half a step, and a few roundings of numbers up to 80.
                let bound = span / 65535.0 / 2.0 + 8.0 * 80.0 * f64::from(f32::EPSILON);
                let exact: Vec<f64> = (0..count).map(|i| logit(i, products[i])).collect();
                let most = exact.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                for (i, (&back, &exact)) in back.iter().zip(&exact).enumerate() {
                    let error = (logit(i, back) - exact).abs();
                    // What is out of reach has no probability.
                    assert!(error <= bound || exact < most - 109.0, "{i}: off by {error}");
                }
            }
        }
    }

    #[test]
    fn what_is_infinite_stays_out_of_reach() {
        let plain = Transform { scale: 1.0, softcap: None };
        let back = there_and_back(&[3.0, f32::NEG_INFINITY, 2.0], None, plain);
        assert!(back[0] == 3.0 && back[1] <= 3.0 - 109.9 && (back[2] - 2.0).abs() < 1e-3);
        let back = there_and_back(&[f32::NEG_INFINITY; 3], None, plain);
        assert!(back.iter().all(|&x| x.is_finite() && x < -1e30), "{back:?}");
        let back = there_and_back(&[1.0; 40], None, plain);
        assert_eq!(back, [1.0; 40]);
    }
}
