//! Adam with decoupled weight decay (Kingma and Ba 2015; Loshchilov and Hutter 2019).

use crate::parallel::for_each_chunk;

/// β₁, the paper's.
const MEAN_DECAY: f32 = 0.9;

/// β₂: the paper's 0.999 would average over more steps than a run has.
const SQUARE_DECAY: f32 = 0.99;

/// ε, the paper's.
const EPSILON: f32 = 1e-8;

/// The moments of an array's gradient.
pub struct Adam {
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
}

impl Adam {
    /// For an array of so many numbers, before the first step.
    pub fn new(length: usize) -> Self {
        Self { mean: vec![0.0; length], square: vec![0.0; length], steps: 0 }
    }

    /// One step against the gradient; the parameters first shrink by `rate`·`decay`.
    pub fn step(&mut self, parameters: &mut [f32], gradient: &[f32], rate: f32, decay: f32) {
        self.steps = self.steps.saturating_add(1);
        let mean_rate = rate / (1.0 - MEAN_DECAY.powi(self.steps));
        let square_scale = 1.0 / (1.0 - SQUARE_DECAY.powi(self.steps));
        let kept = 1.0 - rate * decay;
        let changed = [parameters, &mut self.mean, &mut self.square];
        for_each_chunk(changed, gradient, |[parameters, means, squares], gradient| {
            let moments = means.iter_mut().zip(squares);
            let numbers = parameters.iter_mut().zip(moments).zip(gradient);
            for ((parameter, (mean, square)), &g) in numbers {
                *mean = MEAN_DECAY * *mean + (1.0 - MEAN_DECAY) * g;
                *square = SQUARE_DECAY * *square + (1.0 - SQUARE_DECAY) * g * g;
                let step = mean_rate * *mean / ((*square * square_scale).sqrt() + EPSILON);
                *parameter = kept * *parameter - step;
            }
        });
    }
}
