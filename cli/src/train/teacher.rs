//! The model of another run, from which a model learns beside the text (`--teacher`).
//!
//! Half of the loss is then the Jensen–Shannon divergence of both models' predictions at every position, half of it
//! cross-entropy. The teacher's logits are made in the tiles of the student's and never stored.

use ndarray::{Array2, Ix2};

use surprisal::LinearCrossEntropy;
use surprisal::autodiff::Tape;
use surprisal::loss::{Companion, CrossEntropy, Head, JensenShannon, Sum};

use super::layers::{Dropout, Leaves, Parameter};
use super::model::Model;
use super::windows::Windows;
use crate::Failure;

/// A model that is not trained any more.
pub struct Teacher {
    model: Model,
    /// Where its run is, for people.
    pub name: String,
}

impl Teacher {
    pub fn new(model: Model, name: String) -> Self {
        Self { model, name }
    }

    /// The loss of a model that learns from one.
    pub fn loss() -> surprisal::Result<LinearCrossEntropy> {
        let loss = Sum::new().add(0.5, CrossEntropy::new(0.0, 0.0)?)?;
        LinearCrossEntropy::builder().row_loss(loss.add(0.5, JensenShannon::new(0.5)?)?).build()
    }

    /// Its hidden states [windows · length, D], without dropout.
    pub fn hidden(&self, windows: &Windows) -> Result<Array2<f32>, Failure> {
        let tape = Tape::new()?;
        let constant = |parameter: &Parameter| (parameter.name, tape.constant(&parameter.value));
        let constants = Leaves(self.model.parameters.iter().map(constant).collect());
        let hidden = self.model.hidden(&constants, windows, &mut Dropout::none())?.value();
        Ok(hidden.view().to_owned().into_dimensionality::<Ix2>().expect("a row for each position"))
    }

    /// Its predictions from these hidden states.
    pub fn head<'a>(&'a self, hidden: &'a Array2<f32>) -> Companion<'a> {
        Companion::logits(Head::new(hidden, self.model.classifier()).bias(self.model.bias()))
    }

    /// A number that another model's is not.
    pub fn fingerprint(&self) -> u64 {
        let numbers = self.model.parameters.iter().flat_map(|parameter| parameter.value.iter());
        // FNV-1a over the bits.
        numbers.fold(0xcbf2_9ce4_8422_2325, |hash, number| {
            (hash ^ u64::from(number.to_bits())).wrapping_mul(0x0100_0000_01b3)
        })
    }
}
