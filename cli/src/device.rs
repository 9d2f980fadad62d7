//! Where a loss is computed.

use clap::ValueEnum;

use surprisal::{Forward, Gradients, Inputs, LinearCrossEntropy, Upstream};

use crate::Failure;

/// What `--device` says.
#[derive(Clone, Copy, ValueEnum, PartialEq)]
pub enum Device {
    /// The processor
    Cpu,
    /// The best GPU
    Gpu,
    /// A GPU that is a program, for tests
    Software,
}

/// The processor, or a GPU that was opened.
pub enum Place {
    Processor,
    #[cfg(feature = "gpu")]
    Gpu(Box<surprisal::gpu::Context>),
}

impl Place {
    pub fn open(device: Device) -> Result<Self, Failure> {
        if device == Device::Cpu {
            return Ok(Self::Processor);
        }
        #[cfg(feature = "gpu")]
        {
            let software = device == Device::Software;
            let context = surprisal::gpu::Context::builder().software(software).build()?;
            Ok(Self::Gpu(Box::new(context)))
        }
        #[cfg(not(feature = "gpu"))]
        Err(Failure::Input("--device needs a build with the feature gpu, expected cpu".into()))
    }

    /// The name of the GPU.
    pub fn adapter(&self) -> Option<&str> {
        match self {
            Self::Processor => None,
            #[cfg(feature = "gpu")]
            Self::Gpu(context) => Some(&context.adapter().name),
        }
    }

    /// Bytes of scratch on a GPU for N, D and V, with the bytes of the numbers of hidden states and
    /// classifier.
    #[cfg(feature = "gpu")]
    pub fn workspace(
        &self,
        sizes: [usize; 3],
        bytes: [usize; 2],
        gradients: bool,
    ) -> Result<Option<usize>, Failure> {
        let [rows, hidden, vocabulary] = sizes;
        let [hidden_bytes, classifier_bytes] = bytes;
        match self {
            Self::Processor => Ok(None),
            Self::Gpu(context) => {
                let shapes = surprisal::gpu::DeviceShapes::new(rows, hidden, vocabulary)
                    .hidden_bytes(hidden_bytes)
                    .classifier_bytes(classifier_bytes)
                    .gradients(gradients);
                Ok(Some(context.plan(&shapes)?.workspace_bytes))
            }
        }
    }

    #[cfg(not(feature = "gpu"))]
    pub fn workspace(
        &self,
        _: [usize; 3],
        _: [usize; 2],
        _: bool,
    ) -> Result<Option<usize>, Failure> {
        Ok(None)
    }
}

impl Place {
    /// The loss, forward alone.
    pub fn forward(
        &self,
        loss: &LinearCrossEntropy,
        inputs: &Inputs<'_>,
    ) -> surprisal::Result<Forward> {
        match self {
            Place::Processor => loss.forward(inputs),
            #[cfg(feature = "gpu")]
            Place::Gpu(context) => loss.on(context).forward(inputs),
        }
    }

    /// The loss with its gradients.
    pub fn loss_and_gradients(
        &self,
        loss: &LinearCrossEntropy,
        inputs: &Inputs<'_>,
        upstream: &Upstream<'_>,
        gradients: Gradients<'_>,
    ) -> surprisal::Result<Forward> {
        match self {
            Place::Processor => loss.loss_and_gradients(inputs, upstream, gradients),
            #[cfg(feature = "gpu")]
            Place::Gpu(context) => loss.on(context).loss_and_gradients(inputs, upstream, gradients),
        }
    }
}
