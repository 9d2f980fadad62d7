//! The lines of a record in their order, without what a resumed run has done again.

use std::collections::BTreeMap;

use super::text::escaped;
use crate::train::record::{Finish, Line, Measurement, Run, Step};

/// A run from its first step to its last.
#[derive(Default)]
pub struct History<'a> {
    pub run: Option<&'a Run>,
    /// How often the run was taken up again.
    pub resumed: usize,
    pub steps: Vec<&'a Step>,
    pub measurements: Vec<&'a Measurement>,
    pub finish: Option<&'a Finish>,
}

impl<'a> History<'a> {
    pub fn new(lines: &'a [Line]) -> Self {
        let mut history = Self::default();
        let mut steps = BTreeMap::new();
        let mut measurements = BTreeMap::new();
        for line in lines {
            match line {
                Line::Run(run) => {
                    history.resumed += usize::from(history.run.is_some());
                    history.run = Some(run);
                    history.finish = None;
                }
                Line::Step(step) => {
                    // What lies behind a step that comes again is done again.
                    steps.split_off(&step.step);
                    measurements.split_off(&step.step);
                    steps.insert(step.step, step);
                    history.finish = None;
                }
                Line::Measurement(measurement) => {
                    measurements.insert(measurement.step, measurement);
                }
                Line::Finish(finish) => history.finish = Some(finish),
            }
        }
        history.steps = steps.into_values().collect();
        history.measurements = measurements.into_values().collect();
        history
    }

    /// What a token is called.
    pub fn token(&self) -> String {
        escaped(self.run.map_or("token", Run::token))
    }

    /// More than one of them.
    pub fn tokens(&self) -> String {
        escaped(self.run.map_or("tokens", |run| &run.token_kind))
    }

    pub fn last(&self) -> Option<&'a Measurement> {
        self.measurements.last().copied()
    }

    /// The last step of which anything is known.
    pub fn last_step(&self) -> usize {
        let step = self.steps.last().map_or(0, |step| step.step);
        step.max(self.last().map_or(0, |measurement| measurement.step))
    }

    pub fn seconds(&self) -> f64 {
        let step = self.steps.last().map(|step| step.seconds);
        let seconds = self.finish.map(|finish| finish.seconds).or(step);
        seconds.or(self.last().map(|last| last.seconds)).unwrap_or(f64::NAN)
    }

    /// Of all held-out positions where the run has ended, else as last measured.
    pub fn perplexity(&self) -> f64 {
        let measured = self.last().map_or(f64::NAN, |last| last.perplexity);
        self.finish.map(|finish| finish.perplexity).filter(|x| !x.is_nan()).unwrap_or(measured)
    }

    /// One figure of all measurements.
    pub fn curve(&self, figure: impl Fn(&Measurement) -> f64) -> Vec<(f64, f64)> {
        self.measurements.iter().map(|&m| (m.step as f64, figure(m))).collect()
    }
}
