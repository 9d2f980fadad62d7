//! The call itself: inputs and options handed to the library, gradients written.

use ndarray::{Array1, Array2};
use std::path::Path;
use std::time::Instant;

use surprisal::io::{NpyElement, write_npy};
use surprisal::{
    Forward, Gradients, Inputs, LinearCrossEntropy, Matrix, Pass, Real, Shapes, Targets, Upstream,
};

use super::arguments::Loss;
use super::candidates::Lists;
use super::inputs::Arrays;
use super::results::Computed;
use crate::arrays::Opened;
use crate::device::{Device, Place};
use crate::output::make_directory;
use crate::{Failure, Global};

impl Loss {
    pub fn run(&self, global: &Global) -> Result<(), Failure> {
        self.check()?;
        let mut arrays = Arrays::open(self)?;
        let mut wide = false;
        for array in [&arrays.hidden, &arrays.classifier, &arrays.logits].into_iter().flatten() {
            wide |= matches!(array.matrix()?, Matrix::F64(_));
        }
        if wide && self.f32 {
            for array in [&mut arrays.hidden, &mut arrays.classifier, &mut arrays.logits] {
                array.as_mut().map_or(Ok(()), Opened::round)?;
            }
            wide = false;
        }
        if wide && self.device != Device::Cpu {
            let what = "a GPU computes no float64, expected float32, bf16 or f16 files or --f32";
            return Err(Failure::Input(what.into()));
        }
        let place = Place::open(self.device)?;
        match wide {
            true => self.run_in::<f64>(global, &arrays, &place),
            false => self.run_in::<f32>(global, &arrays, &place),
        }
    }

    fn run_in<R: Real + NpyElement>(
        &self,
        global: &Global,
        arrays: &Arrays,
        place: &Place,
    ) -> Result<(), Failure> {
        let loss = self.options()?;
        let soft;
        let targets = match (&arrays.targets, &arrays.soft_targets, &arrays.teacher) {
            (_, Some(weights), _) => {
                soft = weights.matrix()?;
                Some(Targets::soft(soft))
            }
            (_, None, Some(teacher)) => Some(Targets::sparse(&teacher.classes, &teacher.weights)),
            (Some(classes), None, None) => Some(Targets::from(classes)),
            (None, None, None) if arrays.candidates.is_some() => None,
            (None, None, None) => return Err(Failure::Input("--targets is missing".into())),
        };
        let mut inputs = match (&arrays.hidden, &arrays.classifier, &arrays.logits, targets) {
            (Some(hidden), Some(classifier), _, Some(targets)) => {
                Inputs::new(hidden.matrix()?, classifier.matrix()?, targets)
            }
            (Some(hidden), Some(classifier), _, None) => {
                Inputs::unlabelled(hidden.matrix()?, classifier.matrix()?)
            }
            (_, _, Some(logits), Some(targets)) => Inputs::from_logits(logits.matrix()?, targets),
            (_, _, Some(logits), None) => Inputs::unlabelled_logits(logits.matrix()?),
            _ => return Err(Failure::Input("--hidden and --classifier are missing".into())),
        };
        if let Some(lists) = &arrays.candidates {
            inputs = lists.add(inputs);
        }
        if let Some(bias) = &arrays.bias {
            inputs = inputs.bias(bias.vector()?);
        }
        if let Some(weights) = &arrays.class_weights {
            inputs = inputs.class_weights(weights.class_weights()?);
        }
        if let Some(weights) = &arrays.token_weights {
            inputs = inputs.token_weights(weights.row_weights()?);
        }
        if let Some(ignored) = &arrays.ignored {
            inputs = inputs.ignore(ignored);
        }
        if let Some(shift) = self.shift {
            let from = arrays.hidden.as_ref().or(arrays.logits.as_ref());
            inputs = match from.and_then(Opened::sequence) {
                Some(sequence) => inputs.shift_within(shift, sequence),
                None => inputs.shift(shift),
            };
        }
        let out = self.out.as_deref().map(make_directory).transpose()?;
        let (forward, seconds, pass) = match (&out, self.grad) {
            (Some(out), true) => {
                let (forward, seconds) =
                    self.with_gradients::<R>(&loss, arrays, &inputs, out, place)?;
                (forward, seconds, Pass::LossAndGradients)
            }
            _ => {
                let start = Instant::now();
                let forward = place.forward(&loss, &inputs)?;
                (forward, start.elapsed().as_secs_f64(), Pass::Forward)
            }
        };
        if let Some(out) = &out {
            self.write::<R>(&forward, out)?;
        }
        let shapes = Shapes::of(&inputs);
        self.report(global, arrays, place, &Computed { loss, shapes, pass, forward, seconds })
    }

    /// Loss and gradients, the latter written to files, with the seconds that computing took.
    fn with_gradients<R: Real + NpyElement>(
        &self,
        loss: &LinearCrossEntropy,
        arrays: &Arrays,
        inputs: &Inputs<'_>,
        out: &Path,
        place: &Place,
    ) -> Result<(Forward, f64), Failure> {
        let zero = R::from_f64(0.0);
        let like =
            |array: &Opened| Ok::<_, Failure>(Array2::from_elem(array.matrix()?.dim(), zero));
        let upstream = match &arrays.upstream {
            Some(upstream) if arrays.candidates.is_some() => Lists::upstream(upstream)?,
            Some(upstream) => Upstream::rows(upstream.per_row()?),
            None => Upstream::default(),
        };
        if let Some(logits) = &arrays.logits {
            let mut d_logits = like(logits)?;
            let mut d_bias = Array1::from_elem(d_logits.dim().1, zero);
            let mut gradients = Gradients::new().logits(d_logits.view_mut());
            if arrays.bias.is_some() {
                gradients = gradients.bias(d_bias.view_mut());
            }
            let start = Instant::now();
            let forward = place.loss_and_gradients(loss, inputs, &upstream, gradients)?;
            let seconds = start.elapsed().as_secs_f64();
            write_npy(&out.join("grad_logits.npy"), d_logits.view())?;
            if arrays.bias.is_some() {
                write_npy(&out.join("grad_bias.npy"), d_bias.view())?;
            }
            return Ok((forward, seconds));
        }
        let (Some(hidden), Some(classifier)) = (&arrays.hidden, &arrays.classifier) else {
            return Err(Failure::Input("--hidden and --classifier are missing".into()));
        };
        let (mut d_hidden, mut d_classifier) = (like(hidden)?, like(classifier)?);
        let biases = if arrays.bias.is_some() { d_classifier.dim().0 } else { 0 };
        let mut d_bias = Array1::from_elem(biases, zero);
        let mut gradients =
            Gradients::new().hidden(d_hidden.view_mut()).classifier(d_classifier.view_mut());
        if arrays.bias.is_some() {
            gradients = gradients.bias(d_bias.view_mut());
        }
        let start = Instant::now();
        let forward = place.loss_and_gradients(loss, inputs, &upstream, gradients)?;
        let seconds = start.elapsed().as_secs_f64();
        write_npy(&out.join("grad_hidden.npy"), d_hidden.view())?;
        write_npy(&out.join("grad_classifier.npy"), d_classifier.view())?;
        if arrays.bias.is_some() {
            write_npy(&out.join("grad_bias.npy"), d_bias.view())?;
        }
        Ok((forward, seconds))
    }
}
