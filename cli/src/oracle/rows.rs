//! Logits, or what they are the products of.

use ndarray::{Array1, Array2};
use surprisal::{Gradients, Inputs, Targets};

use super::answer::{Answer, matrix, vector};
use super::fused::Head;
use super::logits::logits;
use super::refusal::Result;
use super::request::Request;

/// The gradients of what is computed from hidden states.
pub const BY_HEAD: &[&str] = &["hidden", "classifier", "bias"];

pub enum Rows {
    Given(Array2<f64>),
    Products(Head),
}

impl Rows {
    /// What the function takes of the two.
    pub fn read(request: &Request) -> Result<Self> {
        match request.takes("logits") {
            true => logits(request, "logits").map(Self::Given),
            false => Head::read(request).map(Self::Products),
        }
    }

    /// N and the number of classes.
    pub fn dim(&self) -> (usize, usize) {
        match self {
            Self::Given(logits) => logits.dim(),
            Self::Products(head) => (head.hidden.dim().0, head.classifier.dim().0),
        }
    }

    pub fn inputs<'a>(&'a self, targets: impl Into<Targets<'a>>) -> Inputs<'a> {
        match self {
            Self::Given(logits) => Inputs::from_logits(logits, targets),
            Self::Products(head) => head.inputs(targets),
        }
    }

    /// The same without targets.
    pub fn unlabelled(&self) -> Inputs<'_> {
        match self {
            Self::Given(logits) => Inputs::unlabelled_logits(logits),
            Self::Products(head) => {
                let inputs = Inputs::unlabelled(&head.hidden, &head.classifier);
                match &head.bias {
                    Some(bias) => inputs.bias(bias),
                    None => inputs,
                }
            }
        }
    }

    /// Adds the gradients that a call writes to an answer.
    pub fn differentiated(
        &self,
        answer: Answer,
        call: impl FnOnce(Gradients<'_>) -> surprisal::Result<()>,
    ) -> Result<Answer> {
        let head = match self {
            Self::Given(logits) => {
                let mut gradient = Array2::zeros(logits.dim());
                call(Gradients::new().logits(&mut gradient))?;
                return Ok(answer.with_gradient("logits", matrix(gradient.view())));
            }
            Self::Products(head) => head,
        };
        let mut hidden = Array2::zeros(head.hidden.dim());
        let mut classifier = Array2::zeros(head.classifier.dim());
        let mut bias = Array1::zeros(head.classifier.dim().0);
        let mut gradients = Gradients::new().hidden(&mut hidden).classifier(&mut classifier);
        if head.bias.is_some() {
            gradients = gradients.bias(&mut bias);
        }
        call(gradients)?;
        let answer = answer
            .with_gradient("hidden", matrix(hidden.view()))
            .with_gradient("classifier", matrix(classifier.view()));
        Ok(match head.bias {
            Some(_) => answer.with_gradient("bias", vector(bias.view())),
            None => answer,
        })
    }
}
