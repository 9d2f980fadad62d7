//! Classes of the rows whose logits are computed one by one: sparse targets, and what a listed companion names.

use crate::loss::Companion;
use crate::loss::engine::problem::Problem;

/// A class of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Single {
    pub(super) class: u32,
    /// (1−ε) t w, where it is one of the row's sparse targets.
    pub(super) weight: Option<f64>,
    /// The number that is listed beside its logit.
    pub(super) companion: f64,
}

/// Those of all kept rows.
pub(super) struct Singles {
    all: Vec<Single>,
    /// Where each row begins, and the end of the last.
    starts: Vec<usize>,
}

impl Singles {
    pub(super) fn new(problem: &Problem<'_, f32>) -> Self {
        let (mut all, mut starts) = (Vec::new(), vec![0]);
        let mut own = Vec::new();
        for row in &problem.rows {
            let targets = problem.sparse_of(row, 0..problem.columns).iter();
            own.extend(targets.map(|&(class, weight)| Single {
                class,
                weight: Some(weight),
                companion: 0.0,
            }));
            if let Some(Companion::Listed { classes, values }) = &problem.companion {
                let listed = classes.row(row.target_row);
                own.extend(listed.iter().enumerate().map(|(j, &class)| Single {
                    class,
                    weight: None,
                    companion: values.at(row.target_row, j),
                }));
            }
            own.sort_by_key(|single| single.class);
            own.dedup_by(|next, kept| {
                let same = next.class == kept.class;
                if same {
                    kept.weight = kept.weight.or(next.weight);
                    kept.companion += next.companion;
                }
                same
            });
            all.append(&mut own);
            starts.push(all.len());
        }
        Self { all, starts }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Those of a kept row: each class once, in order.
    pub(super) fn of(&self, row: usize) -> &[Single] {
        &self.all[self.starts[row]..self.starts[row + 1]]
    }

    /// Where each row begins, and the end of the last.
    pub(super) fn starts(&self) -> &[usize] {
        &self.starts
    }
}
