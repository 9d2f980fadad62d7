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
mod foreign;
mod index;
mod json;
mod npy;
mod npz;
mod safetensors;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use half::{bf16, f16};
use memmap2::Mmap;
use ndarray::{ArrayD, ArrayView, ArrayViewD, Dimension, IxDyn, ShapeBuilder};

use crate::{Error, Result, printable};

pub use self::index::parse_index;
pub use self::npy::{NpyElement, parse_npy, write_npy};
pub use self::npz::parse_npz;
pub use self::safetensors::{parse_safetensors, write_safetensors};

/// As many axes as NumPy allows.
const MAX_AXES: usize = 64;

/// Bytes moved at a time: few enough to stay in the cache until they are used.
const CHUNK_BYTES: usize = 1 << 18;

/// An array of any element type, borrowed.
///
/// ```
/// use ndarray::array;
/// use surprisal::io::TensorView;
///
/// let targets = array![2_u16, 0, 1];
/// let view = TensorView::from(targets.view());
/// assert_eq!(view.shape(), [3]);
/// assert_eq!(view.dtype_name(), "u16");
/// ```
#[derive(Debug, Clone)]
pub enum TensorView<'a> {
    /// 64-bit floats.
    F64(ArrayViewD<'a, f64>),
    /// 32-bit floats.
    F32(ArrayViewD<'a, f32>),
    /// 16-bit floats as of IEEE 754.
    F16(ArrayViewD<'a, f16>),
    /// 32-bit floats without their lower half.
    Bf16(ArrayViewD<'a, bf16>),
    /// Signed 64-bit integers.
    I64(ArrayViewD<'a, i64>),
    /// Signed 32-bit integers.
    I32(ArrayViewD<'a, i32>),
    /// Signed 16-bit integers.
    I16(ArrayViewD<'a, i16>),
    /// Signed 8-bit integers.
    I8(ArrayViewD<'a, i8>),
    /// Unsigned 64-bit integers.
    U64(ArrayViewD<'a, u64>),
    /// Unsigned 32-bit integers.
    U32(ArrayViewD<'a, u32>),
    /// Unsigned 16-bit integers.
    U16(ArrayViewD<'a, u16>),
    /// Unsigned 8-bit integers.
    U8(ArrayViewD<'a, u8>),
    /// Booleans.
    Bool(ArrayViewD<'a, bool>),
}

mod sealed {
    use super::{ArrayViewD, TensorView};

    /// What a file may hold: every bit pattern is a value.
    pub trait Stored: bytemuck::Pod + Send + Sync {
        /// This view, with its type as a value.
        fn wrap(array: ArrayViewD<'_, Self>) -> TensorView<'_>;
    }
}

use sealed::Stored;

macro_rules! stored {
    ($($variant:ident $type:ident),*) => {
        /// The variants of [`TensorView`], without an array.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum ElementType {
            $($variant,)*
            Bool,
        }

        impl ElementType {
            fn name(self) -> &'static str {
                match self {
                    $(ElementType::$variant => stringify!($type),)*
                    ElementType::Bool => "bool",
                }
            }

            fn size(self) -> usize {
                match self {
                    $(ElementType::$variant => size_of::<$type>(),)*
                    ElementType::Bool => 1,
                }
            }
        }

        /// Evaluates an expression in which a name stands for the type of an [`ElementType`]: of what
        /// lies in a file for a boolean.
        macro_rules! with_element {
            ($element:expr, $name:ident => $body:expr) => {
                match $element {
                    $(ElementType::$variant => {
                        type $name = $type;
                        $body
                    })*
                    ElementType::Bool => {
                        type $name = u8;
                        $body
                    }
                }
            };
        }

        /// Evaluates an expression in which a name stands for the array of a [`TensorView`].
        macro_rules! with_array {
            ($view:expr, $name:ident => $body:expr) => {
                match $view {
                    $(TensorView::$variant($name) => $body,)*
                    TensorView::Bool($name) => $body,
                }
            };
        }

        impl TensorView<'_> {
            fn element(&self) -> ElementType {
                match self {
                    $(TensorView::$variant(_) => ElementType::$variant,)*
                    TensorView::Bool(_) => ElementType::Bool,
                }
            }
        }

        $(
            impl Stored for $type {
                fn wrap(array: ArrayViewD<'_, Self>) -> TensorView<'_> {
                    TensorView::$variant(array)
                }
            }

            impl<'a, D: Dimension> From<ArrayView<'a, $type, D>> for TensorView<'a> {
                fn from(array: ArrayView<'a, $type, D>) -> Self {
                    TensorView::$variant(array.into_dyn())
                }
            }
        )*
    };
}

stored!(
    F64 f64, F32 f32, F16 f16, Bf16 bf16, I64 i64, I32 i32, I16 i16, I8 i8, U64 u64, U32 u32,
    U16 u16, U8 u8
);

impl<'a, D: Dimension> From<ArrayView<'a, bool, D>> for TensorView<'a> {
    fn from(array: ArrayView<'a, bool, D>) -> Self {
        TensorView::Bool(array.into_dyn())
    }
}

impl TensorView<'_> {
    /// The length of every axis.
    ///
    /// ```
    /// let array = ndarray::Array3::<i8>::zeros((2, 0, 3));
    /// assert_eq!(surprisal::io::TensorView::from(array.view()).shape(), [2, 0, 3]);
    /// ```
    pub fn shape(&self) -> &[usize] {
        with_array!(self, array => array.shape())
    }

    /// The name of the element type, as Rust has it.
    ///
    /// ```
    /// let array = ndarray::arr0(half::bf16::ONE);
    /// assert_eq!(surprisal::io::TensorView::from(array.view()).dtype_name(), "bf16");
    /// ```
    pub fn dtype_name(&self) -> &'static str {
        self.element().name()
    }

    /// A copy as `i64`, of integers of any type; `argument` is what an error calls the array.
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::io::TensorView;
    ///
    /// let classes = array![7_u8, 9];
    /// let copy = TensorView::from(classes.view()).to_i64("targets")?;
    /// assert_eq!(copy, array![7_i64, 9].into_dyn());
    ///
    /// let floats = array![7.0_f32];
    /// let error = TensorView::from(floats.view()).to_i64("targets").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "targets is an array of f32, expected an array of integers",
    /// );
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn to_i64(&self, argument: &'static str) -> Result<ArrayD<i64>> {
        Ok(match self {
            TensorView::I64(array) => array.to_owned(),
            TensorView::I32(array) => array.mapv(i64::from),
            TensorView::I16(array) => array.mapv(i64::from),
            TensorView::I8(array) => array.mapv(i64::from),
            TensorView::U32(array) => array.mapv(i64::from),
            TensorView::U16(array) => array.mapv(i64::from),
            TensorView::U8(array) => array.mapv(i64::from),
            TensorView::U64(array) => {
                let beyond =
                    array.indexed_iter().find(|(_, value)| i64::try_from(**value).is_err());
                if let Some((index, value)) = beyond {
                    return Err(Error::Value {
                        argument,
                        index: index.as_array_view().to_vec(),
                        value: value.to_string(),
                        expected: "an integer below 2^63",
                    });
                }
                array.mapv(|value| value as i64)
            }
            TensorView::F64(_)
            | TensorView::F32(_)
            | TensorView::F16(_)
            | TensorView::Bf16(_)
            | TensorView::Bool(_) => {
                return Err(Error::Option {
                    name: argument,
                    value: format!("an array of {}", self.dtype_name()),
                    expected: "an array of integers",
                });
            }
        })
    }
}

/// An array that was opened from a path: read into memory, or mapped into it.
///
/// A `.npy` file and an array of an `.npz` file are read. A tensor of a `.safetensors` file stays in
/// the file and is paged in as it is used, so it may be larger than memory; only where it is not
/// aligned for its elements, or holds booleans, it is read as well. **A mapped file must not be changed in place or shortened while the tensor
/// lives.** To replace it by a rename, as the writers of this module do, is fine.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("targets.npy");
/// surprisal::io::write_npy(&path, ndarray::array![3_i64, 1].view())?;
/// let targets = surprisal::io::Tensor::open(path.to_str().unwrap())?;
/// assert_eq!(targets.view().to_i64("targets")?.as_slice(), Some(&[3, 1][..]));
/// # Ok(())
/// # }
/// ```
pub struct Tensor {
    storage: Storage,
}

enum Storage {
    Owned(Box<dyn Viewable>),
    Mapped { map: Mmap, range: Range<usize>, element: ElementType, shape: Vec<usize> },
}

/// An array whose element type is known to itself only.
trait Viewable: Send + Sync {
    fn tensor_view(&self) -> TensorView<'_>;
}

impl<T: Stored> Viewable for ArrayD<T> {
    fn tensor_view(&self) -> TensorView<'_> {
        T::wrap(self.view())
    }
}

impl Viewable for ArrayD<bool> {
    fn tensor_view(&self) -> TensorView<'_> {
        TensorView::Bool(self.view())
    }
}

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

    /// The array.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("loss.npy");
    /// # surprisal::io::write_npy(&path, ndarray::arr0(0.25_f64).view())?;
    /// let tensor = surprisal::io::Tensor::open(path.to_str().unwrap())?;
    /// match tensor.view() {
    ///     surprisal::io::TensorView::F64(array) => assert_eq!(array.sum(), 0.25),
    ///     other => panic!("unexpected {}", other.dtype_name()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn view(&self) -> TensorView<'_> {
        match &self.storage {
            Storage::Owned(array) => array.tensor_view(),
            Storage::Mapped { map, range, element, shape } => with_element!(*element, T => {
                T::wrap(borrow(&map[range.clone()], shape).expect("checked when it was mapped"))
            }),
        }
    }

    /// The same array in C order, the last axis without gaps; it is copied where it is not.
    ///
    /// Every tensor is, but those of `.npy` files that NumPy wrote in the order of Fortran.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("loss.npy");
    /// # surprisal::io::write_npy(&path, ndarray::arr2(&[[0.25_f64]]).view())?;
    /// let tensor = surprisal::io::Tensor::open(path.to_str().unwrap())?.into_c_order()?;
    /// match tensor.view() {
    ///     surprisal::io::TensorView::F64(array) => assert!(array.is_standard_layout()),
    ///     other => panic!("unexpected {}", other.dtype_name()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// There is no memory for the copy.
    pub fn into_c_order(self) -> Result<Tensor> {
        fn copy<T: Copy>(array: &ArrayViewD<'_, T>) -> Result<Option<ArrayD<T>>> {
            if array.is_standard_layout() {
                return Ok(None);
            }
            let mut values = Vec::new();
            values.try_reserve_exact(array.len()).map_err(|_| Error::TooLarge {
                what: format!("a copy of shape {:?} in C order", array.shape()),
            })?;
            values.extend(array.iter().copied());
            let copy = ArrayD::from_shape_vec(array.raw_dim(), values);
            Ok(Some(copy.expect("as many elements as the shape says")))
        }
        let owned: Option<Box<dyn Viewable>> = with_array!(self.view(), array => {
            copy(&array)?.map(|array| Box::new(array) as Box<dyn Viewable>)
        });
        Ok(owned.map_or(self, |array| Tensor { storage: Storage::Owned(array) }))
    }

    /// Reads `shape` from `source`, which holds its elements and nothing else.
    fn read(
        element: ElementType,
        shape: &[usize],
        fortran_order: bool,
        swapped: bool,
        source: impl Read,
        path: &Path,
    ) -> Result<Tensor> {
        if element == ElementType::Bool {
            let values = read_values::<u8>(source, shape.iter().product(), false)
                .map_err(|source| io_error(path, "read", source))?;
            // As NumPy sees a byte that is neither 0 nor 1.
            let values = values.into_iter().map(|byte| byte != 0).collect();
            let array = ArrayD::from_shape_vec(IxDyn(shape).set_f(fortran_order), values)
                .map_err(|error| format_error(path, format!("shape {shape:?}: {error}")))?;
            return Ok(Tensor { storage: Storage::Owned(Box::new(array)) });
        }
        with_element!(element, T => {
            let values = read_values::<T>(source, shape.iter().product(), swapped)
                .map_err(|source| io_error(path, "read", source))?;
            let array = ArrayD::from_shape_vec(IxDyn(shape).set_f(fortran_order), values)
                .map_err(|error| format_error(path, format!("shape {shape:?}: {error}")))?;
            Ok(Tensor { storage: Storage::Owned(Box::new(array)) })
        })
    }

    /// Maps the elements of `shape` that lie in `range`, or copies them where they cannot be
    /// borrowed.
    fn map(
        map: Mmap,
        range: Range<usize>,
        element: ElementType,
        shape: Vec<usize>,
        path: &Path,
    ) -> Result<Tensor> {
        let bytes = &map[range.clone()];
        let big_endian = cfg!(target_endian = "big");
        if big_endian
            || element == ElementType::Bool
            || with_element!(element, T => borrow::<T>(bytes, &shape).is_none())
        {
            return Tensor::read(element, &shape, false, big_endian, bytes, path);
        }
        Ok(Tensor { storage: Storage::Mapped { map, range, element, shape } })
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = self.view();
        f.debug_struct("Tensor")
            .field("dtype", &view.dtype_name())
            .field("shape", &view.shape())
            .finish_non_exhaustive()
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

/// `bytes` as an array, where they are aligned for that.
fn borrow<'a, T: Stored>(bytes: &'a [u8], shape: &[usize]) -> Option<ArrayViewD<'a, T>> {
    ArrayViewD::from_shape(IxDyn(shape), bytemuck::try_cast_slice(bytes).ok()?).ok()
}

/// Reads `count` elements straight to where they stay.
fn read_values<T: Stored>(
    mut source: impl Read,
    count: usize,
    swapped: bool,
) -> io::Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| io::ErrorKind::OutOfMemory)?;
    while values.len() < count {
        let start = values.len();
        let end = count.min(start + CHUNK_BYTES / size_of::<T>());
        values.resize(end, T::zeroed());
        let bytes = bytemuck::cast_slice_mut(&mut values[start..]);
        source.read_exact(bytes)?;
        if swapped {
            bytes.chunks_exact_mut(size_of::<T>()).for_each(<[u8]>::reverse);
        }
    }
    Ok(values)
}

/// Writes the elements in C order and little-endian.
fn write_values<T: Stored, D: Dimension>(
    target: &mut impl Write,
    array: &ArrayView<'_, T, D>,
) -> io::Result<()> {
    let big_endian = cfg!(target_endian = "big");
    if let Some(values) = array.as_slice().filter(|_| !big_endian) {
        return target.write_all(bytemuck::cast_slice(values));
    }
    let mut chunk = Vec::with_capacity(array.len().min(CHUNK_BYTES / size_of::<T>()));
    let mut values = array.iter().copied();
    loop {
        chunk.clear();
        chunk.extend(values.by_ref().take(CHUNK_BYTES / size_of::<T>()));
        if chunk.is_empty() {
            return Ok(());
        }
        let bytes = bytemuck::cast_slice_mut(&mut chunk);
        if big_endian {
            bytes.chunks_exact_mut(size_of::<T>()).for_each(<[u8]>::reverse);
        }
        target.write_all(bytes)?;
    }
}

/// The same for an array of any type.
fn write_view(target: &mut impl Write, view: &TensorView<'_>) -> io::Result<()> {
    macro_rules! write {
        ($($variant:ident),*) => {
            match view {
                $(TensorView::$variant(array) => write_values(target, array),)*
                TensorView::Bool(array) => write_values(target, &array.mapv(u8::from).view()),
            }
        };
    }
    write!(F64, F32, F16, Bf16, I64, I32, I16, I8, U64, U32, U16, U8)
}

/// How many bytes an array takes, unless no array has that shape.
fn byte_count(shape: &[usize], element: ElementType) -> std::result::Result<usize, String> {
    if shape.len() > MAX_AXES {
        return Err(format!("the shape has {} axes, expected at most {MAX_AXES}", shape.len()));
    }
    // An axis of length 0 does not excuse the others: their strides must be finite, too.
    let spanned = shape
        .iter()
        .filter(|&&length| length != 0)
        .try_fold(1, |count: usize, &length| count.checked_mul(length))
        .filter(|&count| isize::try_from(count).is_ok());
    let bytes = match spanned {
        Some(_) if shape.contains(&0) => Some(0),
        _ => spanned.and_then(|count| count.checked_mul(element.size())),
    };
    bytes.ok_or_else(|| {
        format!(
            "shape {shape:?} of {} is beyond the address space, expected a smaller one",
            element.name()
        )
    })
}

/// Refuses a shape that the readers would refuse.
fn check_axes(shape: &[usize]) -> Result<()> {
    if shape.len() > MAX_AXES {
        return Err(Error::Shape {
            argument: "array",
            found: shape.to_vec(),
            expected: format!("at most {MAX_AXES} axes"),
        });
    }
    Ok(())
}

/// Opens a file that has a length; reading a device or a pipe might never end.
fn open_file(path: &Path) -> Result<(File, u64)> {
    let opened = fs::metadata(path).and_then(|metadata| {
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    });
    opened.map_err(|source| io_error(path, "open", source))
}

/// Maps a file into memory.
fn map_file(path: &Path) -> Result<Mmap> {
    let (file, _) = open_file(path)?;
    // SAFETY: leans on the file staying as it is while mapped, which `Tensor` asks of its user.
    unsafe { Mmap::map(&file) }.map_err(|source| io_error(path, "map", source))
}

/// Writes a file under a temporary name beside `path` and renames it when it is whole.
fn write_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    let failed = |source| io_error(path, "write", source);
    // The rename would put a file in the place of a device.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let (partial, file) = create_partial(path).map_err(failed)?;
    let fill = || {
        let mut target = BufWriter::new(file);
        write(&mut target)?;
        // The data must be on disk before the name is.
        target.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    };
    let written = fill().and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // What went wrong first is what to report.
        let _ = fs::remove_file(&partial);
    }
    written.map_err(failed)
}

fn create_partial(path: &Path) -> io::Result<(PathBuf, File)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!(".surprisal-{}-{count}.partial", std::process::id());
        let partial = path.with_file_name(name);
        match File::create_new(&partial) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return Ok((partial, created?)),
        }
    }
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> Error {
    Error::Io { path: path.to_path_buf(), action, source }
}

fn format_error(path: &Path, what: impl Into<String>) -> Error {
    Error::Format { path: path.to_path_buf(), what: what.into() }
}

/// Some of `names`, and how many more there are.
fn choice(mut names: Vec<String>) -> String {
    const SHOWN: usize = 8;
    names.sort_unstable();
    if names.is_empty() {
        return "but the file has none".to_string();
    }
    let shown: Vec<_> =
        names.iter().take(SHOWN).map(|name| format!("`{}`", quoted(name))).collect();
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("out of {}{more}", shown.join(", "))
}

/// What a file says, made fit for a line of a message: printable, and short.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", printable(&text[..end])),
        None => printable(text).into_owned(),
    }
}
