//! A distribution in whole numbers, for coders of ranges.

use crate::error::{Error, Result, short};
use crate::sorting::sort_places;

/// The most bits of precision: what coders of ranges with words of 32 bits take.
const MOST: u32 = 24;

/// The largest weight: times 2²⁴ and added up it stays exact.
const LARGEST: f64 = (1_u128 << 64) as f64;

/// The distribution function of these weights in units of 2^−precision, `[n + 1]` from 0 to 2^precision, in which every
/// symbol has at least one unit, so that it can be coded:
///
/// ```text
/// f_i = round(w_i 2^b)      f_i ← ⌊2^b f_i / Σ f⌋      c_0 = 0, c_{i+1} = c_i + f_i, c_n = 2^b
/// ```
///
/// and then each symbol without a unit, in order, takes one from the symbol that has the least above one (the first
/// of those), and all edges between them move by one. Weights need not sum to 1. O(n log n).
///
/// The algorithm is that of CompressAI (`pmf_to_quantized_cdf`), whose result for single-precision weights this is.
/// The widths of the intervals are what `constriction` takes as fixed-point probabilities that are not 0. Cases in
/// `conformance/geometry.jsonl`: `pmf_to_quantized_cdf`.
///
/// ```
/// use surprisal::rates::quantized_cdf;
/// assert_eq!(quantized_cdf(&[0.1, 0.2, 0.0, 0.0], 16)?, [0, 21845, 65534, 65535, 65536]);
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// [`Error::Option`] for a precision that is not from 1 to 24; [`Error::Shape`] for no weights, or for more of them than
/// there are units; [`Error::Value`] for a weight that is not from 0 to 2⁶⁴; [`Error::Conflict`] where all weights round
/// to 0.
pub fn quantized_cdf(weights: &[f64], precision: u32) -> Result<Vec<u32>> {
    if !(1..=MOST).contains(&precision) {
        let (name, expected) = ("precision", "a whole number from 1 to 24");
        return Err(Error::Option { name, value: precision.to_string(), expected });
    }
    let units = 1_u32 << precision;
    if weights.is_empty() || weights.len() > units as usize {
        let expected = format!("from 1 to {units} weights, as many as there are units");
        return Err(Error::Shape { argument: "pmf", found: vec![weights.len()], expected });
    }
    let mut scaled = Vec::with_capacity(weights.len());
    for (i, &weight) in weights.iter().enumerate() {
        if !(0.0..=LARGEST).contains(&weight) {
            let (argument, expected) = ("pmf", "a weight from 0 to 2^64");
            return Err(Error::Value { argument, index: vec![i], value: short(weight), expected });
        }
        // Half away from zero.
        scaled.push((weight * f64::from(units)).round() as u128);
    }
    let total: u128 = scaled.iter().sum();
    if total == 0 {
        let what =
            format!("all weights of pmf are below half of 2^-{precision}, expected one above");
        return Err(Error::Conflict { what });
    }
    let share = |frequency: u128| (u128::from(units) * frequency / total) as u32;
    let mut widths: Vec<u32> = scaled.into_iter().map(share).collect();
    let given: u32 = widths.iter().sum();
    if let Some(last) = widths.last_mut() {
        *last += units - given;
    }
    give_each_a_unit(&mut widths);
    let mut edges = Vec::with_capacity(widths.len() + 1);
    edges.push(0);
    let mut edge = 0;
    for width in widths {
        edge += width;
        edges.push(edge);
    }
    Ok(edges)
}

/// Gives every empty interval a unit of the narrowest that can spare one. That one stays the narrowest while it can, so
/// they are asked in the order of their widths.
fn give_each_a_unit(widths: &mut [u32]) {
    let mut wide: Vec<usize> = (0..widths.len()).filter(|&i| widths[i] > 1).collect();
    sort_places(&mut wide, |a, b| widths[a].cmp(&widths[b]));
    let mut from = wide.into_iter().peekable();
    for i in 0..widths.len() {
        if widths[i] > 0 {
            continue;
        }
        while from.next_if(|&i| widths[i] == 1).is_some() {}
        // There is one: there are at least as many units as intervals.
        if let Some(&giver) = from.peek() {
            widths[giver] -= 1;
            widths[i] = 1;
        }
    }
}
