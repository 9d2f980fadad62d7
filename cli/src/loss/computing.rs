//! The call itself: inputs and options handed to the library, gradients written.

use ndarray::{Array1, Array2};
use std::path::Path;
use std::time::Instant;

use surprisal::io::{NpyElement, write_npy};
use surprisal::loss::ClassOrder;
use surprisal::{
    Forward, Gradients, Inputs, LinearCrossEntropy, Matrix, Pass, Real, Reduction, Shapes, Upstream,
};

use super::arguments::Loss;
use super::call::Besides;
use super::candidates::Lists;
use super::inputs::Arrays;
use super::objective::{Objective, Way};
use super::ranked::Ranked;
use super::results::Computed;
use super::two_passes::Found;
use crate::arrays::Opened;
use crate::device::{Device, Place};
use crate::output::make_directory;
use crate::{Failure, Global};

impl Loss {
    pub fn run(&self, global: &Global) -> Result<(), Failure> {
        self.check()?;
        let ranked = Ranked::read(self)?;
        let objective = Objective::new(self)?;
        let mut arrays = Arrays::open(self)?;
        let order = self.order(&mut arrays)?;
        let mut wide = false;
        for array in arrays.matrices() {
            wide |= matches!(array.matrix()?, Matrix::F64(_));
        }
        if wide && self.f32 {
            arrays.matrices().try_for_each(Opened::round)?;
            wide = false;
        }
        if wide && self.device != Device::Cpu {
            let what = "a GPU computes no float64, expected float32, bf16 or f16 files or --f32";
            return Err(Failure::Input(what.into()));
        }
        let place = Place::open(self.device)?;
        let of = (&arrays, order.as_ref());
        match wide {
            true => self.run_in::<f64>(global, (&objective, ranked.as_ref()), of, &place),
            false => self.run_in::<f32>(global, (&objective, ranked.as_ref()), of, &place),
        }
    }

    fn run_in<R: Real + NpyElement>(
        &self,
        global: &Global,
        (objective, ranked): (&Objective, Option<&Ranked>),
        (arrays, order): (&Arrays, Option<&ClassOrder>),
        place: &Place,
    ) -> Result<(), Failure> {
        let positions = arrays.positions(self.shift)?;
        if let Some(name) = objective.of_several_classes()
            && arrays.classes()? == 1
        {
            return Err(Failure::Input(format!("{name} of one class is 0/0, expected several")));
        }
        let beside = Besides::<R>::new(self, objective, arrays, &positions)?;
        let mut inputs = self.inputs(arrays, &beside)?;
        if let Some(ranked) = ranked {
            inputs = ranked.add(inputs);
        }
        let mut options = self.options()?;
        if let Some(loss) = objective.loss()? {
            options = options.row_loss(loss);
        }
        let found = self.before(objective, arrays, &beside, &positions, place)?;
        match &found {
            Found::Nothing => {}
            Found::Temperatures(temperatures) => inputs = inputs.temperatures(temperatures),
            Found::Weights(weights, sum) => {
                inputs = inputs.token_weights(weights);
                // Of no rows there is no mean.
                if *sum > 0.0 {
                    options = options.reduction(Reduction::Divide(*sum));
                }
            }
        }
        if let Way::At(temperature) = objective.way {
            options = options.temperature(temperature);
        }
        let loss = options.build()?;
        let floors;
        if let Some(truncation) = self.truncated.truncation() {
            floors = loss.truncate(&inputs, &truncation)?;
            inputs = inputs.floors(&floors);
        }
        let out = self.out.as_deref().map(make_directory).transpose()?;
        let (forward, seconds, pass) = match (&out, self.grad) {
            (Some(out), true) => {
                let (forward, seconds) = self.with_gradients::<R>(
                    &loss,
                    (arrays, order),
                    (&inputs, ranked),
                    out,
                    place,
                )?;
                (forward, seconds, Pass::LossAndGradients)
            }
            _ => {
                let start = Instant::now();
                let forward = place.forward(&loss, &inputs)?;
                (forward, start.elapsed().as_secs_f64(), Pass::Forward)
            }
        };
        let ranked = ranked.map(|ranked| ranked.losses(&forward)).transpose()?;
        if let Some(out) = &out {
            self.write::<R>(&forward, order, ranked.as_ref(), out)?;
        }
        let shapes = Shapes::of(&inputs);
        let computed = Computed { loss, shapes, pass, forward, ranked, seconds };
        self.report(global, objective, arrays, place, &computed)
    }

    /// Loss and gradients, the latter written to files, with the seconds that computing took.
    fn with_gradients<R: Real + NpyElement>(
        &self,
        loss: &LinearCrossEntropy,
        (arrays, order): (&Arrays, Option<&ClassOrder>),
        (inputs, ranked): (&Inputs<'_>, Option<&Ranked>),
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
        let both = |gradients: Gradients<'_>| match ranked {
            Some(ranked) => ranked.with_gradients(loss, inputs, gradients),
            None => Ok(place.loss_and_gradients(loss, inputs, &upstream, gradients)?),
        };
        if let Some(logits) = &arrays.logits {
            let mut d_logits = like(logits)?;
            let mut d_bias = Array1::from_elem(d_logits.dim().1, zero);
            let mut gradients = Gradients::new().logits(d_logits.view_mut());
            if arrays.bias.is_some() {
                gradients = gradients.bias(d_bias.view_mut());
            }
            let start = Instant::now();
            let forward = both(gradients)?;
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
        let forward = both(gradients)?;
        let seconds = start.elapsed().as_secs_f64();
        if let Some(order) = order {
            d_classifier = order.restored_rows(d_classifier.view())?;
            if arrays.bias.is_some() {
                d_bias = order.restored_values(d_bias.view())?;
            }
        }
        write_npy(&out.join("grad_hidden.npy"), d_hidden.view())?;
        write_npy(&out.join("grad_classifier.npy"), d_classifier.view())?;
        if arrays.bias.is_some() {
            write_npy(&out.join("grad_bias.npy"), d_bias.view())?;
        }
        Ok((forward, seconds))
    }
}
