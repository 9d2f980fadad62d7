//! The k largest logits of a row.

use crate::element::Real;

/// A class with its logit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) logit: f64,
    pub(crate) class: u32,
}

impl Entry {
    /// A place that no class has taken yet.
    pub(crate) fn empty() -> Self {
        Self { logit: f64::NEG_INFINITY, class: u32::MAX }
    }

    /// Larger logits first, then lower classes; a NaN before all.
    fn precedes(&self, other: &Self) -> bool {
        let (nan, other_nan) = (self.logit.is_nan(), other.logit.is_nan());
        if nan != other_nan {
            return nan;
        }
        if nan || self.logit == other.logit {
            return self.class < other.class;
        }
        self.logit > other.logit
    }
}

/// Inserts into a list in order; what falls out at the end is lost.
fn insert(list: &mut [Entry], entry: Entry) {
    let at = list.partition_point(|other| other.precedes(&entry));
    if at < list.len() {
        list[at..].rotate_right(1);
        list[at] = entry;
    }
}

/// Folds in the logits of the classes from `first_class` on, the largest of which (or a NaN) is
/// `maximum`.
pub(crate) fn push<R: Real>(list: &mut [Entry], first_class: u32, logits: &[R], maximum: R) {
    let Some(last) = list.last() else { return };
    if last.class != u32::MAX && maximum.to_f64() <= last.logit {
        return;
    }
    for (&logit, class) in logits.iter().zip(first_class..) {
        let logit = logit.to_f64();
        let last = list[list.len() - 1];
        let behind = last.class != u32::MAX && logit <= last.logit;
        if !behind {
            insert(list, Entry { logit, class });
        }
    }
}

/// Folds in the list of other classes of the same row.
pub(crate) fn merge(list: &mut [Entry], other: &[Entry]) {
    for &entry in other.iter().filter(|entry| entry.class != u32::MAX) {
        insert(list, entry);
    }
}
