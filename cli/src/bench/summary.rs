//! Numbers that were measured again and again, in four.

/// How some numbers lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub least: f64,
    pub most: f64,
    /// The median of what they are off the median.
    pub deviation: f64,
}

impl Summary {
    /// Of at least one number; they are sorted.
    pub fn of(numbers: &mut [f64]) -> Self {
        numbers.sort_by(f64::total_cmp);
        let median = middle(numbers);
        let mut off: Vec<f64> = numbers.iter().map(|number| (number - median).abs()).collect();
        off.sort_by(f64::total_cmp);
        let (least, most) = (numbers[0], numbers[numbers.len() - 1]);
        Self { median, least, most, deviation: middle(&off) }
    }
}

fn middle(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[test]
    fn odd_and_even() {
        let summary = Summary::of(&mut [5.0, 1.0, 2.0]);
        assert_eq!(summary, Summary { median: 2.0, least: 1.0, most: 5.0, deviation: 1.0 });
        let summary = Summary::of(&mut [4.0, 1.0, 2.0, 9.0]);
        assert_eq!(summary, Summary { median: 3.0, least: 1.0, most: 9.0, deviation: 1.5 });
    }
}
