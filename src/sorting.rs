//! Sorts that are compiled once: what the standard library makes of a comparison is some 8 kB of code, each time.

use std::cmp::Ordering;

/// Sorts places by what stands at them; of equals the first stays first.
pub(crate) fn sort_places(places: &mut [usize], mut compare: impl FnMut(usize, usize) -> Ordering) {
    sort_by(places, &mut compare);
}

fn sort_by(places: &mut [usize], compare: &mut dyn FnMut(usize, usize) -> Ordering) {
    places.sort_by(|&a, &b| compare(a, b));
}

/// All places below `count`, sorted as by [`sort_places`].
pub(crate) fn sorted_places(
    count: usize,
    compare: impl FnMut(usize, usize) -> Ordering,
) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    sort_places(&mut places, compare);
    places
}

/// Classes with their weights by ascending class; of equals the first stays first.
pub(crate) fn sort_by_class(sparse: &mut [(u32, f64)]) {
    sparse.sort_by_key(|&(class, _)| class);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equals_the_first_stays_first() {
        let keys = [2, 1, 2, 0, 1, 2];
        assert_eq!(sorted_places(6, |a, b| keys[b].cmp(&keys[a])), [0, 2, 5, 1, 4, 3]);
        let mut some = [5, 4, 2, 1];
        sort_places(&mut some, |a, b| keys[a].cmp(&keys[b]));
        assert_eq!(some, [4, 1, 5, 2]);
    }
}
