//! Arrays on disk: `.npy`, `.npz` and `.safetensors`, also of a checkpoint in several files.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use ndarray::array;
//! use surprisal::io::{Tensor, TensorView, write_npy, write_safetensors};
//!
//! let directory = tempfile::tempdir()?;
//! let hidden = array![[1.0_f32, 2.0], [3.0, 4.0], [5.0, 6.0]];
//!
//! let path = directory.path().join("hidden.npy");
//! write_npy(&path, hidden.view())?;
//! let tensor = Tensor::open(path.to_str().unwrap())?;
//! assert!(matches!(tensor.view(), TensorView::F32(view) if view == hidden.view().into_dyn()));
//!
//! let path = directory.path().join("model.safetensors");
//! write_safetensors(&path, &[("classifier", hidden.view().into())])?;
//! let tensor = Tensor::open(&format!("{}:classifier", path.display()))?;
//! assert_eq!(tensor.view().shape(), [3, 2]);
//! # Ok(())
//! # }
//! ```

mod descr;
mod file;
mod foreign;
mod index;
mod json;
mod location;
mod message;
mod npy;
mod npz;
mod safetensors;
mod shape;
mod tensor;
mod values;
mod view;

pub use self::index::parse_index;
pub use self::npy::{NpyElement, parse_npy, write_npy};
pub use self::npz::parse_npz;
pub use self::safetensors::{parse_safetensors, write_safetensors};
pub use self::tensor::Tensor;
pub use self::view::TensorView;
