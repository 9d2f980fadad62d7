//! Which array a location names, and who opens it.

use std::io::Read;
use std::path::Path;

use super::file::open_file;
use super::message::format_error;
use super::tensor::Tensor;
use super::{foreign, index, npy, npz, safetensors};
use crate::{Error, Result};

impl Tensor {
    /// Opens `FILE.npy`, or one array of a file: `FILE.npz:NAME`, `FILE.safetensors:TENSOR`, or
    /// `DIR/model.safetensors.index.json:TENSOR`, whose file the index names.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ndarray::array;
    /// use surprisal::io::{Tensor, write_safetensors};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("model.safetensors");
    /// let (classifier, bias) = (array![[1.0, 2.0]], array![0.5]);
    /// write_safetensors(
    ///     &path,
    ///     &[("classifier", classifier.view().into()), ("bias", bias.view().into())],
    /// )?;
    /// let location = format!("{}:bias", path.display());
    /// assert_eq!(Tensor::open(&location)?.view().shape(), [1]);
    ///
    /// let error = Tensor::open(path.to_str().unwrap()).unwrap_err();
    /// assert!(error.to_string().ends_with(
    ///     "no tensor is named, expected a location FILE.safetensors:TENSOR with a tensor out of \
    ///      `bias`, `classifier`"
    /// ));
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(location: &str) -> Result<Tensor> {
        let named = NAMED.iter().filter_map(|&(extension, open)| {
            let dot = location.rfind(&format!("{extension}:"))?;
            Some((dot + extension.len(), open))
        });
        if let Some((colon, open)) = named.max_by_key(|(colon, _)| *colon) {
            let (file, name) = location.split_at(colon);
            return open(Path::new(file), Some(&name[1..]));
        }
        if let Some((_, open)) = NAMED.iter().find(|(extension, _)| location.ends_with(extension)) {
            return open(Path::new(location), None);
        }
        if location.ends_with(".npy") {
            return npy::open(Path::new(location));
        }
        Err(unknown_extension(location))
    }
}

/// Opens an array of a file by its name; without one, the error says which there are.
type OpenNamed = fn(&Path, Option<&str>) -> Result<Tensor>;

/// Files of several arrays, by their extension.
const NAMED: [(&str, OpenNamed); 3] =
    [(".safetensors", safetensors::open), (".index.json", index::open), (".npz", npz::open)];

/// What is wrong with a location that names no file we read; where there is such a file, what it is.
fn unknown_extension(location: &str) -> Error {
    const EXPECTED: &str = "FILE.npy, FILE.npz:NAME, FILE.safetensors:TENSOR or \
                            DIR/model.safetensors.index.json:TENSOR";
    let path = Path::new(location);
    let file = match location.rsplit_once(':') {
        Some((file, _)) if !path.exists() => Path::new(file),
        _ => path,
    };
    if file.is_dir() {
        return format_error(path, format!("it is a directory, expected {EXPECTED}"));
    }
    let start = open_file(file).ok().and_then(|(file, _)| {
        let mut start = Vec::new();
        file.take(foreign::START as u64).read_to_end(&mut start).ok()?;
        Some(start)
    });
    let known = start.and_then(|start| foreign::unlike(&start, EXPECTED));
    let unknown = || format!("the extension is unknown, expected {EXPECTED}");
    format_error(path, known.unwrap_or_else(unknown))
}
