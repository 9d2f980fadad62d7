//! `.npy`, the format of `numpy.save`.
//!
//! The header is parsed here: a file may claim any length and any shape, and nothing is allocated
//! or multiplied on its word alone.

use std::io::{self, Read, Write};
use std::path::Path;

use half::f16;
use ndarray::{ArrayView, Dimension};

use super::file::{open_file, write_file};
use super::message::{format_error, io_error, quoted};
use super::shape::{MAX_AXES, byte_count, check_axes};
use super::tensor::Tensor;
use super::values::write_values;
use super::view::{ElementType, Stored};
use super::{descr, foreign};
use crate::Result;

const MAGIC: &[u8] = b"\x93NUMPY";

/// The longest header that version 1 of the format can have; an array without fields needs less.
const MAX_HEADER: u64 = u16::MAX as u64;

/// A type whose arrays [`write_npy`] writes: `f64`, `f32`, [`f16`](struct@f16), `i64`, `i32` or
/// `u32`.
///
/// ```
/// use surprisal::io::NpyElement;
/// assert_eq!(<half::f16 as NpyElement>::DTYPE, "<f2");
/// ```
pub trait NpyElement: Stored {
    /// NumPy's name of the type.
    const DTYPE: &'static str;
}

impl NpyElement for f64 {
    const DTYPE: &'static str = "<f8";
}

impl NpyElement for f32 {
    const DTYPE: &'static str = "<f4";
}

impl NpyElement for f16 {
    const DTYPE: &'static str = "<f2";
}

impl NpyElement for i64 {
    const DTYPE: &'static str = "<i8";
}

impl NpyElement for i32 {
    const DTYPE: &'static str = "<i4";
}

impl NpyElement for u32 {
    const DTYPE: &'static str = "<u4";
}

/// Writes an array of any strides as `.npy`, in C order and little-endian.
///
/// The file takes its name only when it is whole; until then a file that had the name keeps it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let array = ndarray::array![[1.0_f32, 2.0], [3.0, 4.0]];
/// let path = directory.path().join("transposed.npy");
/// surprisal::io::write_npy(&path, array.t())?;
/// let bytes = std::fs::read(&path)?;
/// assert_eq!(&bytes[bytes.len() - 12..][..4], 3.0_f32.to_le_bytes());
/// # Ok(())
/// # }
/// ```
pub fn write_npy<A: NpyElement, D: Dimension>(
    path: &Path,
    array: ArrayView<'_, A, D>,
) -> Result<()> {
    check_axes(array.shape())?;
    write_file(path, |target| {
        write_header(target, A::DTYPE, array.shape())?;
        write_values(target, &array)
    })
}

/// Magic, version 1.0, length, and a dictionary padded so that the data begins at a multiple of 64.
fn write_header(target: &mut impl Write, dtype: &str, shape: &[usize]) -> io::Result<()> {
    let lengths: String = shape.iter().map(|length| format!("{length}, ")).collect();
    let dictionary = format!(
        "{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({}), }}",
        if shape.len() == 1 { lengths.trim_end() } else { lengths.trim_end_matches(", ") }
    );
    let before = MAGIC.len() + 4;
    let length = (before + dictionary.len() + 1).next_multiple_of(64) - before;
    let stated = u16::try_from(length).map_err(io::Error::other)?;
    target.write_all(MAGIC)?;
    target.write_all(&[1, 0])?;
    target.write_all(&stated.to_le_bytes())?;
    writeln!(target, "{dictionary:0$}", length - 1)
}

/// Reads a `.npy` file that is in memory already; `path` is what errors call it.
///
/// ```
/// use std::path::Path;
/// use surprisal::io::parse_npy;
///
/// let header = "{'descr': '>i2', 'fortran_order': False, 'shape': (2,)}\n";
/// let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
/// bytes.extend((header.len() as u16).to_le_bytes());
/// bytes.extend(header.bytes());
/// bytes.extend([0, 1, 2, 3]);
///
/// let tensor = parse_npy(&bytes, Path::new("two.npy"))?;
/// assert_eq!(tensor.view().to_i64("two")?.as_slice(), Some(&[0x0001, 0x0203][..]));
///
/// let error = parse_npy(&bytes[..bytes.len() - 1], Path::new("two.npy")).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "two.npy: 3 bytes follow the header, expected 4 for shape [2] of i16",
/// );
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn parse_npy(bytes: &[u8], path: &Path) -> Result<Tensor> {
    read(bytes, bytes.len() as u64, path)
}

pub(super) fn open(path: &Path) -> Result<Tensor> {
    let (file, length) = open_file(path)?;
    read(file, length, path)
}

/// Reads a file of `length` bytes; nothing is allocated that `length` does not vouch for.
pub(super) fn read(mut source: impl Read, length: u64, path: &Path) -> Result<Tensor> {
    let mut fill = |buffer: &mut [u8]| {
        source.read_exact(buffer).map_err(|error| io_error(path, "read", error))
    };
    let short = || format_error(path, format!("it has {length} bytes, expected a .npy header"));

    let mut start = [0; MAGIC.len() + 2];
    let known = start.len().min(usize::try_from(length).unwrap_or(usize::MAX));
    fill(&mut start[..known])?;
    if !MAGIC.starts_with(&start[..known.min(MAGIC.len())]) {
        let mut more = start[..known].to_vec();
        let rest = (foreign::START - known) as u64;
        source.take(rest).read_to_end(&mut more).map_err(|error| io_error(path, "read", error))?;
        return Err(format_error(
            path,
            foreign::unlike(&more, "a .npy file").unwrap_or_else(|| {
                format!(
                    "it starts with \"{}\", expected the \"{}\" of a .npy file",
                    start[..known.min(MAGIC.len())].escape_ascii(),
                    MAGIC.escape_ascii()
                )
            }),
        ));
    }
    let mut remaining = length.checked_sub(10).ok_or_else(short)?;
    let mut header_length = [0; 4];
    let [.., major, minor] = start;
    match (major, minor) {
        (1, 0) => fill(&mut header_length[..2])?,
        (2 | 3, 0) => {
            remaining = remaining.checked_sub(2).ok_or_else(short)?;
            fill(&mut header_length)?;
        }
        _ => {
            let what = format!("its version is {major}.{minor}, expected 1.0, 2.0 or 3.0");
            return Err(format_error(path, what));
        }
    }
    let header_length = u32::from_le_bytes(header_length);
    let limit = remaining.min(MAX_HEADER);
    if u64::from(header_length) > limit {
        let what = format!("its header claims {header_length} bytes, expected at most {limit}");
        return Err(format_error(path, what));
    }
    let mut text = vec![0; header_length as usize];
    fill(&mut text)?;
    remaining -= u64::from(header_length);

    let header = Header::parse(&text).map_err(|what| format_error(path, what))?;
    let Header { element, swapped, fortran_order, shape } = header;
    let bytes = byte_count(&shape, element).map_err(|what| format_error(path, what))?;
    if bytes as u64 != remaining {
        let name = element.name();
        let what = format!(
            "{remaining} bytes follow the header, expected {bytes} for shape {shape:?} of {name}"
        );
        return Err(format_error(path, what));
    }
    Tensor::read(element, &shape, fortran_order, swapped, &mut source, path)
}

/// Or what is wrong with the header.
type Parsed<T> = std::result::Result<T, String>;

/// What a header says.
struct Header {
    element: ElementType,
    /// Whether the bytes of an element are in the order that is not this machine's.
    swapped: bool,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    fn parse(text: &[u8]) -> Parsed<Header> {
        let mut literal = Literal { text, position: 0 };
        let (mut dtype, mut fortran_order, mut shape) = (None, None, None);
        literal.expect(b'{')?;
        while !literal.accept(b'}') {
            let start = literal.position;
            let key = literal.string()?;
            literal.expect(b':')?;
            let repeated = match key {
                "descr" => dtype.replace(literal.dtype()?).is_some(),
                "fortran_order" => fortran_order.replace(literal.boolean()?).is_some(),
                "shape" => shape.replace(literal.shape()?).is_some(),
                _ => true,
            };
            if repeated {
                literal.position = start;
                return Err(literal.wrong("each of 'descr', 'fortran_order' and 'shape' once"));
            }
            if !literal.accept(b',') {
                literal.expect(b'}')?;
                break;
            }
        }
        literal.end()?;
        let missing = |key| format!("its header has no '{key}', expected one");
        let (element, swapped) = dtype.ok_or_else(|| missing("descr"))?;
        Ok(Header {
            element,
            swapped,
            fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
        })
    }
}

/// A Python literal that is being read.
struct Literal<'a> {
    text: &'a [u8],
    position: usize,
}

impl<'a> Literal<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text[self.position..]
    }

    fn skip_spaces(&mut self) {
        self.position = self.text.len() - self.rest().trim_ascii_start().len();
    }

    fn wrong(&self, expected: &str) -> String {
        const SHOWN: usize = 20;
        let rest = self.rest();
        let shown = String::from_utf8_lossy(&rest[..rest.len().min(SHOWN)]);
        let found = match rest.len() {
            0 => "ends".to_string(),
            1..=SHOWN => format!("has `{}`", quoted(&shown)),
            _ => format!("has `{}…`", quoted(&shown)),
        };
        format!("its header {found} at byte {}, expected {expected}", self.position)
    }

    fn accept(&mut self, byte: u8) -> bool {
        self.skip_spaces();
        let found = self.rest().first() == Some(&byte);
        self.position += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Parsed<()> {
        if self.accept(byte) { Ok(()) } else { Err(self.wrong(&format!("`{}`", byte as char))) }
    }

    fn end(&mut self) -> Parsed<()> {
        self.skip_spaces();
        if self.rest().is_empty() { Ok(()) } else { Err(self.wrong("its end")) }
    }

    /// A string without escapes: no key and no type that is read here has any.
    fn string(&mut self) -> Parsed<&'a str> {
        self.skip_spaces();
        if let Some((quote @ (b'\'' | b'"'), body)) = self.rest().split_first() {
            let length = body.iter().position(|byte| [*quote, b'\\'].contains(byte));
            let (text, rest) = body.split_at(length.unwrap_or(body.len()));
            if let (Ok(text), Some(true)) =
                (std::str::from_utf8(text), rest.first().map(|byte| byte == quote))
            {
                self.position += text.len() + 2;
                return Ok(text);
            }
        }
        Err(self.wrong("a string"))
    }

    fn boolean(&mut self) -> Parsed<bool> {
        self.skip_spaces();
        for (word, value) in [(&b"True"[..], true), (b"False", false)] {
            if self.rest().starts_with(word) {
                self.position += word.len();
                return Ok(value);
            }
        }
        Err(self.wrong("True or False"))
    }

    fn shape(&mut self) -> Parsed<Vec<usize>> {
        let mut shape = Vec::new();
        self.expect(b'(')?;
        while !self.accept(b')') {
            if shape.len() == MAX_AXES {
                return Err(self.wrong(&format!("at most {} axes", MAX_AXES)));
            }
            shape.push(self.length()?);
            if !self.accept(b',') {
                // In Python, `(3)` is no tuple.
                if shape.len() == 1 {
                    return Err(self.wrong("`,`"));
                }
                self.expect(b')')?;
                break;
            }
        }
        Ok(shape)
    }

    fn length(&mut self) -> Parsed<usize> {
        self.skip_spaces();
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        let wrong = || self.wrong("the length of an axis");
        // Digits are UTF-8.
        let text = std::str::from_utf8(&self.rest()[..digits]).map_err(|_| wrong())?;
        let length = text.parse().map_err(|_| wrong())?;
        self.position += digits;
        // Python 2 wrote long integers so.
        if self.rest().first() == Some(&b'L') {
            self.position += 1;
        }
        Ok(length)
    }

    /// The element type, and whether its bytes are to be swapped.
    fn dtype(&mut self) -> Parsed<(ElementType, bool)> {
        self.skip_spaces();
        if let Some(b'[' | b'(') = self.rest().first() {
            let text = String::from_utf8_lossy(self.bracketed());
            return Err(descr::unsupported(&text, "a structure"));
        }
        descr::parse(self.string()?)
    }

    /// The text up to the bracket that closes the one it starts with, or as much as one wants to
    /// see of it.
    fn bracketed(&self) -> &'a [u8] {
        let rest = &self.rest()[..self.rest().len().min(1000)];
        let mut depth = 0_usize;
        let mut quote = None;
        for (index, &byte) in rest.iter().enumerate() {
            match (quote, byte) {
                (Some(open), _) if open == byte => quote = None,
                (Some(_), _) => {}
                (None, b'\'' | b'"') => quote = Some(byte),
                (None, b'[' | b'(') => depth += 1,
                (None, b']' | b')') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return &rest[..=index];
            }
        }
        rest
    }
}
