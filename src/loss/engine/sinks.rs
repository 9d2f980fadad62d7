//! Where gradients are summed, cut into the parts that tasks own.

use ndarray::{ArrayViewMut2, Axis, s};
use std::ops::Range;

use super::problem::Row;
use super::tile::Hidden;
use crate::element::{Operand, Real};
use crate::gemm::{PANEL, Rows, Store, add_columns};
use crate::loss::gradients::{Gradients, Sink};
use crate::matrix::{MatrixMut, VectorMut};
use crate::pieces::split;
use crate::simd::Isa;
use crate::writing::{clear, clear_vector, put_row, put_vector};

/// Whether products can be summed where the gradient stands.
pub(crate) fn is_direct<R: Real>(array: &MatrixMut<'_>) -> bool {
    let contiguous = |columns: usize, stride: isize| columns <= 1 || stride == 1;
    match array {
        MatrixMut::F64(view) => size_of::<R>() == 8 && contiguous(view.dim().1, view.strides()[1]),
        MatrixMut::F32(view) => size_of::<R>() == 4 && contiguous(view.dim().1, view.strides()[1]),
        _ => false,
    }
}

/// Where the hidden gradient is summed: the caller's array, or an accumulator beside it.
pub(crate) enum HiddenGradient<'a, R> {
    None,
    Direct(MatrixMut<'a>),
    Accumulated(Sink<MatrixMut<'a>>, Vec<R>),
}

/// Some columns of some rows of the hidden gradient, for one task.
pub(crate) struct HiddenPart<'a, R> {
    pub(crate) columns: Range<usize>,
    pub(crate) view: ArrayViewMut2<'a, R>,
    /// Where each row stands in the view.
    pub(crate) names: &'a [u32],
}

impl<'a, R: Real> HiddenGradient<'a, R> {
    pub(crate) fn new(sink: Option<Sink<MatrixMut<'a>>>, rows: usize, width: usize) -> Self {
        let Some(Sink { mut array, accumulate }) = sink else { return Self::None };
        if !accumulate {
            clear(&mut array);
        }
        if is_direct::<R>(&array) {
            return Self::Direct(array);
        }
        Self::Accumulated(Sink { array, accumulate }, vec![R::ZERO; rows * width])
    }

    /// The parts of some of the rows, so many columns each.
    pub(crate) fn parts<'p>(
        &'p mut self,
        rows: &[Row],
        at: Range<usize>,
        width: usize,
        columns: usize,
        names: &'p mut Vec<u32>,
    ) -> Vec<HiddenPart<'p, R>> {
        let (Some(first), Some(last)) = (rows[at.clone()].first(), rows[at.clone()].last()) else {
            return Vec::new();
        };
        names.clear();
        let view = match self {
            Self::None => return Vec::new(),
            Self::Direct(array) => {
                names.extend(rows[at.clone()].iter().map(|row| (row.hidden - first.hidden) as u32));
                let view = R::view_mut(array).expect("a direct gradient is of this type");
                view.slice_move(s![first.hidden..=last.hidden, ..])
            }
            Self::Accumulated(_, sums) => {
                names.extend(0..at.len() as u32);
                let view = ArrayViewMut2::from_shape((rows.len(), width), sums)
                    .expect("an accumulator of the rows");
                view.slice_move(s![at.clone(), ..])
            }
        };
        let names: &[u32] = names;
        let mut start = 0;
        let part = |view: ArrayViewMut2<'p, R>| {
            let columns = start..start + view.dim().1;
            start = columns.end;
            HiddenPart { columns, view, names }
        };
        split(view, Axis(1), columns).into_iter().map(part).collect()
    }

    pub(crate) fn finish(self, rows: &[Row], width: usize) {
        if let Self::Accumulated(Sink { mut array, accumulate }, sums) = self
            && width > 0
        {
            for (row, sums) in rows.iter().zip(sums.chunks(width)) {
                put_row(&mut array, row.hidden, 0..width, sums, accumulate);
            }
        }
    }
}

/// Where the classifier gradient is summed: the caller's array, or an accumulator of some classes beside
/// it.
pub(crate) enum ClassifierGradient<'a, R> {
    None,
    Direct(Sink<MatrixMut<'a>>),
    Accumulated(Sink<MatrixMut<'a>>, Vec<R>),
}

impl<'a, R: Real> ClassifierGradient<'a, R> {
    /// With an accumulator of so many numbers, where one is needed.
    pub(crate) fn new(sink: Option<Sink<MatrixMut<'a>>>, numbers: usize) -> Self {
        match sink {
            None => Self::None,
            Some(sink) if is_direct::<R>(&sink.array) => Self::Direct(sink),
            Some(sink) => Self::Accumulated(sink, vec![R::ZERO; numbers]),
        }
    }

    /// Whether what stands there is added to, by the first rows or by later ones.
    pub(crate) fn store(&self, first_rows: bool) -> Store {
        let keeps = matches!(self, Self::Direct(Sink { accumulate: true, .. }));
        if first_rows && !keeps { Store::Assign } else { Store::Add }
    }

    /// The gradient of some classes, `width` columns each.
    pub(crate) fn part(
        &mut self,
        classes: Range<usize>,
        width: usize,
    ) -> Option<ArrayViewMut2<'_, R>> {
        match self {
            Self::None => None,
            Self::Direct(Sink { array, .. }) => {
                let view = R::view_mut(array).expect("a direct gradient is of this type");
                Some(view.slice_move(s![classes, ..]))
            }
            Self::Accumulated(_, sums) => {
                let sums = &mut sums[..classes.len() * width];
                let view = ArrayViewMut2::from_shape((classes.len(), width), sums);
                Some(view.expect("an accumulator of these classes"))
            }
        }
    }

    /// Puts what was accumulated of some classes where it belongs.
    pub(crate) fn put(&mut self, classes: Range<usize>, width: usize) {
        if let Self::Accumulated(Sink { array, accumulate }, sums) = self
            && width > 0
        {
            for (class, sums) in classes.zip(sums.chunks(width)) {
                put_row(array, class, 0..width, sums, *accumulate);
            }
        }
    }

    /// A gradient without rows: what is assigned is 0.
    pub(crate) fn clear(&mut self) {
        if let Self::Direct(Sink { array, accumulate: false })
        | Self::Accumulated(Sink { array, accumulate: false }, _) = self
        {
            clear(array);
        }
    }
}

/// The gradients of a call of the loss, and what its two products own of them.
pub(crate) struct Sinks<'a, R> {
    pub(crate) hidden: HiddenGradient<'a, R>,
    pub(crate) classifier: ClassifierGradient<'a, R>,
    bias: Option<Sink<VectorMut<'a>>>,
    /// Σ G over the rows so far, of the classes of a block.
    pub(crate) sums: Vec<f64>,
    names: Vec<u32>,
    width: usize,
}

/// What a task has: so many columns of the hidden gradient, or of so many classes so many columns.
#[derive(Clone, Copy)]
pub(crate) struct TaskSize {
    pub(crate) hidden: usize,
    pub(crate) classifier: usize,
    pub(crate) classes: usize,
}

impl<'a, R: Real> Sinks<'a, R> {
    /// For so many rows, with so many classes at once.
    pub(crate) fn new(gradients: Gradients<'a>, rows: usize, width: usize, classes: usize) -> Self {
        let Gradients { hidden, classifier, bias, .. } = gradients;
        let mut classifier = ClassifierGradient::new(classifier, classes * width);
        let mut bias = bias;
        if rows == 0 {
            classifier.clear();
            clear_bias(&mut bias);
        }
        Self {
            hidden: HiddenGradient::new(hidden, rows, width),
            classifier,
            bias,
            sums: vec![0.0; classes],
            names: Vec::with_capacity(rows),
            width,
        }
    }

    /// The tasks of both products of some rows and a block of classes, and whether those of the
    /// classifier add to what stands there.
    pub(crate) fn tasks(
        &mut self,
        rows: &[Row],
        at: Range<usize>,
        block: Range<usize>,
        size: TaskSize,
    ) -> (Vec<Task<'_, R>>, Store) {
        let (mut tasks, panels) = (Vec::new(), block.len().div_ceil(PANEL));
        let store = self.classifier.store(at.start == 0);
        let parts = self.hidden.parts(rows, at, self.width, size.hidden, &mut self.names);
        tasks.extend(parts.into_iter().map(Task::Hidden));
        if let Some(view) = self.classifier.part(block, self.width) {
            let size = TaskSize { classifier: size.classifier.min(self.width.max(1)), ..size };
            for (q, view) in split(view, Axis(1), size.classifier).into_iter().enumerate() {
                let first = q * size.classifier;
                let columns = first..first + view.dim().1;
                for (i, view) in split(view, Axis(0), size.classes).into_iter().enumerate() {
                    let first = i * size.classes / PANEL;
                    tasks.push(Task::Classifier(columns.clone(), view, first..panels));
                }
            }
        }
        (tasks, store)
    }

    /// Puts what was summed of a block where it belongs.
    pub(crate) fn put(&mut self, block: Range<usize>) {
        self.classifier.put(block.clone(), self.width);
        if let Some(Sink { array, accumulate }) = &mut self.bias {
            put_vector(array, block.start, &self.sums[..block.len()], *accumulate);
        }
    }

    /// Hands some columns of some rows of the hidden gradient to `work`, all at once.
    pub(crate) fn each_hidden_row(
        &mut self,
        rows: &[Row],
        at: Range<usize>,
        mut work: impl FnMut(HiddenPart<'_, R>),
    ) {
        let width = self.width.max(1);
        self.hidden
            .parts(rows, at, self.width, width, &mut self.names)
            .into_iter()
            .for_each(&mut work);
    }

    pub(crate) fn finish(self, rows: &[Row]) {
        self.hidden.finish(rows, self.width);
    }
}

/// A task of the second half of the backward: some columns of either gradient.
pub(crate) enum Task<'a, R> {
    Hidden(HiddenPart<'a, R>),
    Classifier(Range<usize>, ArrayViewMut2<'a, R>, Range<usize>),
}

/// `view (+)= Gᵀ·E` over some columns, for some panels of G, each in steps along its rows by its place among these.
#[allow(clippy::too_many_arguments)]
pub(crate) fn put_classifier<'g, F: Operand>(
    isa: Isa,
    panel: impl Fn(usize) -> &'g [F],
    hidden: &Hidden<F>,
    rows: usize,
    columns: Range<usize>,
    store: Store,
    view: &mut ArrayViewMut2<'_, F::Sum>,
) {
    for column in (0..view.dim().1).step_by(PANEL) {
        let part = column..view.dim().1.min(column + PANEL);
        let from = columns.start + part.start..columns.start + part.end;
        for class in (0..view.dim().0).step_by(PANEL) {
            let classes = class..view.dim().0.min(class + PANEL);
            let mut to = view.slice_mut(s![classes, part.clone()]);
            let (left, right, rows) = (panel(class / PANEL), hidden.steps(), Rows::From(0, rows));
            add_columns(isa, left, right, rows, from.clone(), store, &mut to);
        }
    }
}

/// A bias gradient without rows: what is assigned is 0.
pub(crate) fn clear_bias(bias: &mut Option<Sink<VectorMut<'_>>>) {
    if let Some(Sink { array, accumulate: false }) = bias {
        clear_vector(array);
    }
}
