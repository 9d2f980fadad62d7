//! Draws from the rows of a fold, beside it.

use std::ops::Range;

use crate::element::Real;
use crate::simd::Isa;
use crate::softmax::gumbel::{Bound, Draw, see};

/// The draws of all kept rows.
pub(crate) struct Drawing {
    /// Of each row that of each draw, which is all that its noise depends on beside the class.
    pub(crate) keys: Vec<u64>,
    pub(crate) draws: Vec<Draw>,
    /// S, of each row.
    count: usize,
    /// What each task has found in the rows of a wave.
    partial: Vec<Draw>,
    bounds: Vec<Bound>,
}

/// The draws of one task.
pub(crate) struct DrawPart<'a> {
    keys: &'a [u64],
    bounds: &'a [Bound],
    draws: &'a mut [Draw],
    count: usize,
}

impl Drawing {
    /// `count` keys a row.
    pub(crate) fn new(keys: Vec<u64>, count: usize) -> Self {
        let draws = vec![Draw::NONE; keys.len()];
        Self { keys, draws, count, partial: Vec::new(), bounds: Vec::new() }
    }

    /// A part for each of so many tasks over these rows.
    pub(crate) fn parts(&mut self, rows: &Range<usize>, tasks: usize) -> Vec<DrawPart<'_>> {
        let (at, count) = (rows.start * self.count..rows.end * self.count, self.count);
        self.bounds.clear();
        self.bounds.extend(at.clone().map(|_| Bound::new()));
        self.partial.clear();
        self.partial.resize(tasks * at.len(), Draw::NONE);
        let (keys, bounds) = (&self.keys[at.clone()], &self.bounds[..]);
        let part = |draws| DrawPart { keys, bounds, draws, count };
        self.partial.chunks_mut(at.len().max(1)).map(part).collect()
    }

    /// Joins what the tasks have found in these rows.
    pub(crate) fn merge(&mut self, rows: Range<usize>) {
        let own = &mut self.draws[rows.start * self.count..rows.end * self.count];
        for partial in self.partial.chunks(own.len().max(1)) {
            own.iter_mut().zip(partial).for_each(|(draw, other)| draw.merge(other));
        }
    }
}

impl DrawPart<'_> {
    /// Looks at the logits of a row of the task, of the classes from `first_class` on.
    pub(crate) fn see<R: Real>(&mut self, isa: Isa, row: usize, first_class: usize, logits: &[R]) {
        let own = row * self.count..(row + 1) * self.count;
        let with = (&self.keys[own.clone()], &self.bounds[own.clone()]);
        see(isa, with, first_class as u32, logits, &mut self.draws[own]);
    }
}
