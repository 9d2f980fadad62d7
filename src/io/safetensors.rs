//! `.safetensors`, the format of model weights.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;

use ::safetensors::tensor::{Dtype, SafeTensorError, SafeTensors};

use super::file::{map_file, write_file};
use super::foreign;
use super::json::repeated_key;
use super::message::{choice, format_error, quoted};
use super::shape::{byte_count, check_axes};
use super::tensor::Tensor;
use super::values::write_view;
use super::view::{ElementType, TensorView};
use crate::{Error, Result};

/// The bytes before the header: its length.
const PREFIX: usize = 8;

/// The longest header that the parser reads.
const MAX_HEADER: u64 = 100_000_000;

/// Writes tensors of any strides as one `.safetensors` file.
///
/// Every tensor is aligned for its elements, so that [`Tensor::open`] need not copy it. The file
/// takes its name only when it is whole; until then a file that had the name keeps it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("model.safetensors");
/// let bias = ndarray::array![half::bf16::ONE, half::bf16::NEG_ONE];
/// let classifier = ndarray::Array2::<f32>::zeros((2, 3));
/// surprisal::io::write_safetensors(
///     &path,
///     &[("bias", bias.view().into()), ("classifier", classifier.view().into())],
/// )?;
/// # Ok(())
/// # }
/// ```
pub fn write_safetensors(path: &Path, tensors: &[(&str, TensorView<'_>)]) -> Result<()> {
    let mut names = HashSet::new();
    for (name, view) in tensors {
        check_axes(view.shape())?;
        if *name == "__metadata__" {
            return Err(Error::Option {
                name: "tensor name",
                value: format!("`{name}`"),
                expected: "another one, since the format reserves it",
            });
        }
        if !names.insert(name) {
            let what = format!("two tensors are named `{}`, expected one", quoted(name));
            return Err(Error::Conflict { what });
        }
    }
    // Behind a header that ends at a multiple of 8, larger elements first keeps all aligned.
    let mut sorted: Vec<_> = tensors.iter().collect();
    sorted.sort_by_key(|(_, view)| std::cmp::Reverse(view.element().size()));

    let mut header = String::from("{");
    let mut offset = 0_usize;
    for (index, (name, view)) in sorted.iter().enumerate() {
        let element = view.element();
        let too_large = || Error::TooLarge { what: "the total size of the tensors".to_string() };
        let end = byte_count(view.shape(), element)
            .ok()
            .and_then(|bytes| offset.checked_add(bytes))
            .ok_or_else(too_large)?;
        let _ = write!(
            header,
            r#"{}{}:{{"dtype":"{}","shape":{:?},"data_offsets":[{offset},{end}]}}"#,
            if index == 0 { "" } else { "," },
            json_string(name),
            dtype_of(element),
            view.shape(),
        );
        offset = end;
    }
    header.push('}');
    while header.len() % PREFIX != 0 {
        header.push(' ');
    }

    write_file(path, |target| {
        target.write_all(&(header.len() as u64).to_le_bytes())?;
        target.write_all(header.as_bytes())?;
        sorted.iter().try_for_each(|(_, view)| write_view(target, view))
    })
}

fn json_string(text: &str) -> String {
    let mut json = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\0'..' ' => {
                let _ = write!(json, "\\u{:04x}", character as u32);
            }
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

/// Reads one tensor of a `.safetensors` file that is in memory already; `path` is what errors
/// call it.
///
/// ```
/// use std::path::Path;
/// use surprisal::io::parse_safetensors;
///
/// let header = r#"{"bias":{"dtype":"I8","shape":[3],"data_offsets":[0,3]}}"#;
/// let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
/// bytes.extend(header.bytes());
/// bytes.extend([1, 2, 255]);
///
/// let bias = parse_safetensors(&bytes, "bias", Path::new("model.safetensors"))?;
/// assert_eq!(bias.view().to_i64("bias")?.as_slice(), Some(&[1, 2, -1][..]));
///
/// let error = parse_safetensors(&bytes, "basis", Path::new("model.safetensors")).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "model.safetensors: there is no tensor `basis`, expected one out of `bias`",
/// );
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn parse_safetensors(bytes: &[u8], tensor: &str, path: &Path) -> Result<Tensor> {
    let (range, element, shape) = locate(bytes, Some(tensor), path)?;
    Tensor::read(element, &shape, false, cfg!(target_endian = "big"), &mut &bytes[range], path)
}

/// Without a tensor's name, the error says which ones there are.
pub(super) fn open(path: &Path, tensor: Option<&str>) -> Result<Tensor> {
    let map = map_file(path)?;
    let (range, element, shape) = locate(&map, tensor, path)?;
    Tensor::map(map, range, element, shape, path)
}

/// Where a tensor lies among `bytes`, and what it is.
fn locate(
    bytes: &[u8],
    tensor: Option<&str>,
    path: &Path,
) -> Result<(Range<usize>, ElementType, Vec<usize>)> {
    let failed = |what| format_error(path, what);
    check_numbers(bytes).map_err(failed)?;
    check_keys(bytes).map_err(failed)?;
    let (header, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| failed(describe(&error, bytes)))?;
    let Some(tensor) = tensor else {
        let what = format!(
            "no tensor is named, expected a location FILE.safetensors:TENSOR with a tensor {}",
            choice(metadata.offset_keys())
        );
        return Err(failed(what));
    };
    let Some(info) = metadata.info(tensor) else {
        let what = format!(
            "there is no tensor `{}`, expected one {}",
            quoted(tensor),
            choice(metadata.offset_keys())
        );
        return Err(failed(what));
    };
    let Some(element) = element_of(info.dtype) else {
        let dtype = info.dtype.to_string();
        let what = format!(
            "tensor `{}` has dtype {dtype}, expected one of F64, F32, F16, BF16, I64, I32, I16, I8, \
             U64, U32, U16, U8, BOOL{}",
            quoted(tensor),
            if dtype.starts_with('F') { ": convert it, to BF16 for one" } else { "" }
        );
        return Err(failed(what));
    };
    byte_count(&info.shape, element).map_err(failed)?;
    let start = PREFIX + header + info.data_offsets.0;
    let end = PREFIX + header + info.data_offsets.1;
    Ok((start..end, element, info.shape.clone()))
}

/// How long the header claims to be, and what follows.
fn header_of(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<PREFIX>()?;
    Some((u64::from_le_bytes(*length), rest))
}

/// The text of a whole header.
fn header_text(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = header_of(bytes).filter(|(length, _)| *length <= MAX_HEADER)?;
    rest.get(..length as usize)
}

/// Refuses a key that stands twice: the parser keeps the last.
fn check_keys(bytes: &[u8]) -> std::result::Result<(), String> {
    const METADATA: &str = "__metadata__";
    let Some(repeated) = header_text(bytes).and_then(repeated_key) else { return Ok(()) };
    let key = quoted(&repeated.key);
    Err(match repeated.within.as_deref() {
        None if repeated.key == METADATA => {
            format!("its header has `{key}` twice, expected it once")
        }
        None => format!("two tensors are named `{key}`, expected one"),
        Some(METADATA) => format!("its metadata has the key `{key}` twice, expected it once"),
        Some(tensor) => {
            format!("tensor `{}` has the key `{key}` twice, expected it once", quoted(tensor))
        }
    })
}

/// Refuses numbers that no file can mean: the parser adds to the last offset unchecked.
fn check_numbers(bytes: &[u8]) -> std::result::Result<(), String> {
    // Without a whole header, the parser stops before it adds anything.
    let Some(header) = header_text(bytes) else { return Ok(()) };
    let (mut in_string, mut escaped) = (false, false);
    let mut number = 0_usize;
    for &byte in header {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        in_string = byte == b'"';
        if !byte.is_ascii_digit() {
            number = 0;
            continue;
        }
        number = number.saturating_mul(10).saturating_add(usize::from(byte - b'0'));
        if isize::try_from(number).is_err() {
            return Err(format!("its header has a number beyond {}, expected less", isize::MAX));
        }
    }
    Ok(())
}

fn describe(error: &SafeTensorError, bytes: &[u8]) -> String {
    if let SafeTensorError::MetadataIncompleteBuffer = error
        && let Some(expected) = size_of_file(bytes)
    {
        let size = bytes.len();
        return match size < expected {
            true => format!("it has {size} bytes, expected {expected}: it was cut off"),
            false => format!("it has {size} bytes, expected {expected} as its header says"),
        };
    }
    let start = &bytes[..bytes.len().min(foreign::START)];
    if let Some(what) = foreign::unlike_or_text(start, "a .safetensors file") {
        return what;
    }
    match (error, header_of(bytes)) {
        (
            SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeaderLength,
            Some((length, rest)),
        ) => {
            let limit = MAX_HEADER.min(rest.len() as u64);
            let cut_off = if rest.starts_with(b"{") { ": it was cut off" } else { "" };
            format!("its header claims {length} bytes, expected at most {limit}{cut_off}")
        }
        (SafeTensorError::HeaderTooSmall, _) => {
            format!("it has {} bytes, expected a safetensors header", bytes.len())
        }
        _ => format!("{}, expected a valid safetensors header", quoted(&error.to_string())),
    }
}

/// Where the last tensor of the header ends.
fn size_of_file(bytes: &[u8]) -> Option<usize> {
    let header = header_text(bytes)?;
    let tensors: serde_json::Value = serde_json::from_slice(header).ok()?;
    let ends = tensors
        .as_object()?
        .values()
        .filter_map(|tensor| usize::try_from(tensor.get("data_offsets")?.get(1)?.as_u64()?).ok());
    ends.max()?.checked_add(PREFIX + header.len())
}

fn element_of(dtype: Dtype) -> Option<ElementType> {
    Some(match dtype {
        Dtype::F64 => ElementType::F64,
        Dtype::F32 => ElementType::F32,
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::Bf16,
        Dtype::I64 => ElementType::I64,
        Dtype::I32 => ElementType::I32,
        Dtype::I16 => ElementType::I16,
        Dtype::I8 => ElementType::I8,
        Dtype::U64 => ElementType::U64,
        Dtype::U32 => ElementType::U32,
        Dtype::U16 => ElementType::U16,
        Dtype::U8 => ElementType::U8,
        Dtype::BOOL => ElementType::Bool,
        _ => return None,
    })
}

fn dtype_of(element: ElementType) -> Dtype {
    match element {
        ElementType::F64 => Dtype::F64,
        ElementType::F32 => Dtype::F32,
        ElementType::F16 => Dtype::F16,
        ElementType::Bf16 => Dtype::BF16,
        ElementType::I64 => Dtype::I64,
        ElementType::I32 => Dtype::I32,
        ElementType::I16 => Dtype::I16,
        ElementType::I8 => Dtype::I8,
        ElementType::U64 => Dtype::U64,
        ElementType::U32 => Dtype::U32,
        ElementType::U16 => Dtype::U16,
        ElementType::U8 => Dtype::U8,
        ElementType::Bool => Dtype::BOOL,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ndarray::array;

    use super::super::tensor::Storage;
    use super::*;

    fn header(tensors: &str, padding: usize) -> Vec<u8> {
        let text = format!("{tensors}{}", " ".repeat(padding));
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }

    #[test]
    fn aligned_tensors_are_mapped_and_others_copied() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        let tensors = r#"{"x":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}}"#;
        let data: Vec<u8> = [1.5_f64, -2.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        for padding in 0..16 {
            let mut bytes = header(tensors, padding);
            let aligned = bytes.len().is_multiple_of(align_of::<f64>());
            bytes.extend(&data);
            fs::write(&path, bytes).unwrap();
            let tensor = open(&path, Some("x")).unwrap();
            let mapped = matches!(tensor.storage, Storage::Mapped { .. });
            assert_eq!(mapped, aligned && cfg!(target_endian = "little"), "{padding}");
            let TensorView::F64(view) = tensor.view() else { panic!("{tensor:?}") };
            assert_eq!(view, array![1.5, -2.5].into_dyn());
        }
    }

    #[test]
    fn whatever_is_written_can_be_mapped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        let (bytes, shorts, longs) = (array![1_u8, 2, 3], array![4_i16], array![[5_u64], [6]]);
        let tensors = [
            ("bytes", bytes.view().into()),
            ("a \"name\" with \u{1} and \\ and é", shorts.view().into()),
            ("longs", longs.view().into()),
        ];
        write_safetensors(&path, &tensors).unwrap();
        for (name, view) in &tensors {
            let tensor = open(&path, Some(name)).unwrap();
            let mapped = matches!(tensor.storage, Storage::Mapped { .. });
            assert_eq!(mapped, cfg!(target_endian = "little"), "{name}");
            assert_eq!(format!("{:?}", tensor.view()), format!("{view:?}"));
        }
    }

    #[test]
    fn numbers_count_outside_of_strings_only() {
        let huge = u64::MAX;
        let fine = format!(r#"{{"layer.{huge}":1,"a\\\"{huge}":2,"\\":[{}]}}"#, isize::MAX);
        assert_eq!(check_numbers(&header(&fine, 0)), Ok(()));
        for bad in [format!("{huge}"), format!("\"\\\\\" {huge}"), format!("[1, {huge}9999]")] {
            assert!(check_numbers(&header(&bad, 0)).is_err(), "{bad}");
        }
    }
}
