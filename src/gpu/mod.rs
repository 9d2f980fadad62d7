//! The loss on a GPU, through Vulkan, Metal or DirectX 12 (feature `gpu`).
//!
//! The same options and inputs as on the processor, in f32, with bf16 and f16 storage: a fold over
//! the vocabulary in which every thread keeps the state of its rows, so that no logits are stored; a
//! backward in which G is held for some thousand classes at a time and consumed by two products. No
//! atomics: the same bits on every run of one device, and for any number of bindings and dispatches
//! that its limits make of a call. Partial states are merged on the processor in f64.
//!
//! What stands beside every logit, of dense soft targets or of a
//! [`Companion::Entries`](crate::loss::Companion::Entries), is read from the caller's memory and goes there a
//! piece at a time, for the forward and again for the backward. A listed companion costs a few logits more of
//! each row.
//!
//! [Candidates](crate::loss::Candidates) are such logits too. Where their others are asked for, each row's list goes
//! there and the fold passes over it; the others' derivative is made with their own softmax, which is in the range of
//! f32 however little they have.
//!
//! A second [`Head`](crate::loss::Head) is folded there as the first is; divergences take one more sweep over both,
//! and in the backward its logits stand in scratch beside G. Given logits go up a piece at a time, for each of the
//! three. Of the divergences from a mixture there may be one. A head whose logits' mean is taken is multiplied beside
//! the first in the one fold.
//!
//! A device may take numbers below 1.2·10⁻³⁸ for 0: an exponential that is as far below the largest logit of
//! its span of classes adds nothing there (on the processor it does), and may add something in another
//! order of the classes.
//!
//! [`Context::builder`] finds a GPU, [`Context::from_device`] takes the host program's;
//! [`LinearCrossEntropy::on`](crate::LinearCrossEntropy::on) puts a loss on it.
//!
//! ```
//! use surprisal::{Inputs, LinearCrossEntropy, gpu};
//! # fn main() -> surprisal::Result<()> {
//! # if !gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
//! let hidden = ndarray::arr2(&[[1.0_f32, -0.5], [0.3, 2.0]]);
//! let classifier = ndarray::arr2(&[[0.5_f32, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
//! let inputs = Inputs::new(&hidden, &classifier, &[2_u32, 0]);
//! let loss = LinearCrossEntropy::builder().build()?;
//! let context = gpu::Context::builder().software(true).build()?;
//! let there = loss.on(&context).forward(&inputs)?.loss();
//! assert!((there - loss.forward(&inputs)?.loss()).abs() < 1e-6);
//! # Ok(())
//! # }
//! ```

mod adapters;
mod arrays;
mod backward;
mod call;
mod context;
mod device;
mod encoded;
mod forward;
mod on;
mod plan;
mod recorder;
mod second_head;
mod self_check;
mod shader;
mod singles;
#[cfg(feature = "spectral")]
mod spectral;
mod template;
mod transfer;
mod waiting;
mod workspace;

pub use crate::gpu_failure::Failure;
pub use adapters::{AdapterDescription, ContextBuilder, adapters};
pub use arrays::DeviceMatrix;
pub use context::Context;
pub use device::{DeviceGradients, DeviceInputs};
pub use encoded::Encoded;
pub use on::{AnyInputs, OnDevice};
pub use plan::{Budget, DevicePlan, DeviceShapes};
/// The interface to the GPU, for those who hand in a device of their own.
pub use wgpu;
pub use workspace::Workspace;
