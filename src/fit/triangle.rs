//! Least squares of a few unknowns and any number of equations, a row at a time.

/// The most unknowns.
pub(super) const MOST: usize = 5;

/// One number for each unknown.
pub(super) type Row = [f64; MOST];

/// The triangular factor R of the rows that were pushed, and Qᵀ of their right-hand sides.
#[derive(Clone, Debug)]
pub(super) struct Triangle {
    unknowns: usize,
    factor: [Row; MOST],
    right: Row,
    /// The sum of the squares that no solution takes away.
    rest: f64,
}

impl Triangle {
    pub(super) fn new(unknowns: usize) -> Self {
        Self { unknowns, factor: [[0.0; MOST]; MOST], right: [0.0; MOST], rest: 0.0 }
    }

    /// One more equation, `row` · unknowns = `right`.
    pub(super) fn push(&mut self, row: &[f64], right: f64) {
        let n = self.unknowns;
        let (mut new, mut right) = ([0.0; MOST], right);
        new[..n].copy_from_slice(&row[..n]);
        for k in 0..n {
            if new[k] == 0.0 {
                continue;
            }
            let own = &mut self.factor[k];
            // Givens: what is below the diagonal is turned into it.
            let length = own[k].hypot(new[k]);
            let (cosine, sine) = (own[k] / length, new[k] / length);
            own[k] = length;
            for j in k + 1..n {
                let (above, below) = (own[j], new[j]);
                own[j] = cosine * above + sine * below;
                new[j] = cosine * below - sine * above;
            }
            let above = self.right[k];
            self.right[k] = cosine * above + sine * right;
            right = cosine * right - sine * above;
        }
        self.rest += right * right;
    }

    /// The same equations in some of the unknowns, the others taken for 0.
    pub(super) fn of(&self, chosen: &[usize]) -> Self {
        let mut smaller = Self::new(chosen.len());
        for k in 0..self.unknowns {
            let row: Vec<f64> = chosen.iter().map(|&j| self.factor[k][j]).collect();
            smaller.push(&row, self.right[k]);
        }
        smaller.rest += self.rest;
        smaller
    }

    pub(super) fn rest(&self) -> f64 {
        self.rest
    }

    /// The length of each column.
    pub(super) fn lengths(&self) -> Row {
        let length = |j: usize| self.factor.iter().fold(0.0_f64, |sum, row| sum.hypot(row[j]));
        std::array::from_fn(length)
    }

    /// The unknowns of least squares; none where they are not determined.
    pub(super) fn solve(&self) -> Option<Row> {
        let mut solution = [0.0; MOST];
        for k in (0..self.unknowns).rev() {
            let known: f64 = (k + 1..self.unknowns).map(|j| self.factor[k][j] * solution[j]).sum();
            solution[k] = (self.right[k] - known) / self.factor[k][k];
            if !solution[k].is_finite() {
                return None;
            }
        }
        Some(solution)
    }

    /// (RᵀR)⁻¹, entry by entry; none where R has no inverse.
    pub(super) fn inverse_of_squares(&self) -> Option<[Row; MOST]> {
        let n = self.unknowns;
        // R⁻¹, turned: each row is a column of it.
        let mut turned = [[0.0; MOST]; MOST];
        for (column, of_column) in turned.iter_mut().enumerate().take(n) {
            for k in (0..=column).rev() {
                let known: f64 = (k + 1..=column).map(|j| self.factor[k][j] * of_column[j]).sum();
                let own = if k == column { 1.0 } else { 0.0 };
                of_column[k] = (own - known) / self.factor[k][k];
            }
        }
        let mut squares = [[0.0; MOST]; MOST];
        for i in 0..n {
            for j in 0..n {
                squares[i][j] = (0..n).map(|k| turned[k][i] * turned[k][j]).sum();
                if !f64::is_finite(squares[i][j]) {
                    return None;
                }
            }
        }
        Some(squares)
    }

    /// The largest singular value over the smallest, of the columns made as long as each other.
    pub(super) fn condition(&self) -> f64 {
        let (n, lengths) = (self.unknowns, self.lengths());
        if lengths[..n].iter().any(|&length| length == 0.0 || !length.is_finite()) {
            return f64::INFINITY;
        }
        // One-sided Jacobi: columns are turned until they are orthogonal.
        let mut columns = [[0.0; MOST]; MOST];
        for (j, column) in columns.iter_mut().enumerate().take(n) {
            *column = std::array::from_fn(|k| self.factor[k][j] / lengths[j]);
        }
        let dot = |a: &Row, b: &Row| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for _ in 0..30 {
            let mut turned = false;
            for i in 0..n {
                for j in i + 1..n {
                    let (a, b) = (columns[i], columns[j]);
                    let (aa, bb, ab) = (dot(&a, &a), dot(&b, &b), dot(&a, &b));
                    if ab.abs() <= 1e-16 * (aa * bb).sqrt() {
                        continue;
                    }
                    turned = true;
                    let slant = (bb - aa) / (2.0 * ab);
                    let tangent = 1_f64.copysign(slant) / (slant.abs() + slant.hypot(1.0));
                    let cosine = 1.0 / tangent.hypot(1.0);
                    let sine = cosine * tangent;
                    for k in 0..MOST {
                        columns[i][k] = cosine * a[k] - sine * b[k];
                        columns[j][k] = sine * a[k] + cosine * b[k];
                    }
                }
            }
            if !turned {
                break;
            }
        }
        let sizes = columns[..n].iter().map(|column| dot(column, column).sqrt());
        let (least, most) =
            sizes.fold((f64::INFINITY, 0.0_f64), |(a, b), size| (a.min(size), b.max(size)));
        most / least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_through_points_has_the_closed_form_of_its_slope_and_errors() {
        let mut triangle = Triangle::new(2);
        let x = [1.0, 2.0, 4.0, 7.0];
        let y = [2.0, 3.5, 4.0, 9.0];
        for (x, y) in x.iter().zip(y) {
            triangle.push(&[1.0, *x], y);
        }
        // n = 4, Σx = 14, Σx² = 70, Σy = 18.5, Σxy = 88.
        let determinant = 4.0 * 70.0 - 14.0 * 14.0;
        let slope = (4.0 * 88.0 - 14.0 * 18.5) / determinant;
        let solution = triangle.solve().unwrap();
        assert!((solution[1] - slope).abs() < 1e-14);
        let covariance = triangle.inverse_of_squares().unwrap();
        assert!((covariance[0][0] - 70.0 / determinant).abs() < 1e-14);
        assert!((covariance[0][1] + 14.0 / determinant).abs() < 1e-14);
        // Of two columns with the cosine c between them it is √((1+c)/(1−c)).
        let cosine = 14.0 / (4.0_f64 * 70.0).sqrt();
        let condition = ((1.0 + cosine) / (1.0 - cosine)).sqrt();
        assert!((triangle.condition() / condition - 1.0).abs() < 1e-13);
        let alone = triangle.of(&[1]).solve().unwrap();
        assert!((alone[0] - 88.0 / 70.0).abs() < 1e-14);
    }

    #[test]
    fn columns_that_are_one_have_no_solution() {
        let mut triangle = Triangle::new(2);
        for x in [1.0, 2.0, 3.0] {
            triangle.push(&[x, 2.0 * x], 1.0);
        }
        assert!(triangle.condition() > 1e15);
        assert_eq!(Triangle::new(3).solve(), None);
        assert_eq!(Triangle::new(3).condition(), f64::INFINITY);
    }
}
