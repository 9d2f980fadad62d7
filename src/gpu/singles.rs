//! Classes of the rows whose logits are computed one by one: sparse targets, what a listed companion names, and
//! candidates.

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
    /// Its place among the candidates of all rows, where it is one.
    pub(super) candidate: Option<usize>,
}

impl Single {
    fn new(class: u32) -> Self {
        Self { class, weight: None, companion: 0.0, candidate: None }
    }
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
            own.extend(
                targets
                    .map(|&(class, weight)| Single { weight: Some(weight), ..Single::new(class) }),
            );
            if let Some(Companion::Listed { classes, values }) = &problem.companion {
                let listed = classes.row(row.target_row);
                own.extend(listed.iter().enumerate().map(|(j, &class)| Single {
                    companion: values.at(row.target_row, j),
                    ..Single::new(class)
                }));
            }
            if let Some(listed) = &problem.candidates {
                let places = listed.range(row.output);
                own.extend(
                    places.map(|at| Single {
                        candidate: Some(at),
                        ..Single::new(listed.classes[at])
                    }),
                );
            }
            own.sort_by_key(|single| single.class);
            own.dedup_by(|next, kept| {
                let same = next.class == kept.class;
                if same {
                    kept.weight = kept.weight.or(next.weight);
                    kept.companion += next.companion;
                    kept.candidate = kept.candidate.or(next.candidate);
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
