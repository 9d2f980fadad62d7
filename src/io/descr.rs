//! What NumPy calls the types of elements.

use super::message::quoted;
use super::view::ElementType;

/// The type, and whether its bytes are in the order that is not this machine's.
///
/// Every spelling that `numpy.dtype` takes is read as it does on a little-endian 64-bit Unix: a code
/// with an order of bytes or without (`<f8`, `=d`, `?`), or a name (`float64`, `half`).
pub(super) fn parse(descr: &str) -> Result<(ElementType, bool), String> {
    let (order, code) = match descr.strip_prefix(['<', '>', '=', '|']) {
        Some(code) => (descr.as_bytes()[0], Some(code)),
        None => (b'=', None),
    };
    let element =
        coded(code.unwrap_or(descr)).or_else(|| code.map_or_else(|| named(descr), |_| None));
    let swapped = (order == b'>') != cfg!(target_endian = "big");
    element
        .map(|element| (element, swapped))
        .ok_or_else(|| unsupported(&format!("'{descr}'"), kind(code.unwrap_or(descr))))
}

/// What is wrong with a type that is not read.
pub(super) fn unsupported(descr: &str, kind: &str) -> String {
    format!(
        "its dtype is {} ({kind}), expected one of f8, f4, f2, i8, i4, i2, i1, u8, u4, u2, u1, b1",
        quoted(descr)
    )
}

fn coded(code: &str) -> Option<ElementType> {
    Some(match code {
        "f8" | "d" => ElementType::F64,
        "f4" | "f" => ElementType::F32,
        "f2" | "e" => ElementType::F16,
        "i8" | "l" | "q" | "n" | "p" => ElementType::I64,
        "i4" | "i" => ElementType::I32,
        "i2" | "h" => ElementType::I16,
        "i1" | "b" => ElementType::I8,
        "u8" | "L" | "Q" | "N" | "P" => ElementType::U64,
        "u4" | "I" => ElementType::U32,
        "u2" | "H" => ElementType::U16,
        "u1" | "B" => ElementType::U8,
        "b1" | "?" => ElementType::Bool,
        _ => return None,
    })
}

fn named(name: &str) -> Option<ElementType> {
    Some(match name {
        "float64" | "double" | "float" => ElementType::F64,
        "float32" | "single" => ElementType::F32,
        "float16" | "half" => ElementType::F16,
        "int64" | "int" | "int_" | "intp" | "long" | "longlong" => ElementType::I64,
        "int32" | "intc" => ElementType::I32,
        "int16" | "short" => ElementType::I16,
        "int8" | "byte" => ElementType::I8,
        "uint64" | "uint" | "uintp" | "ulong" | "ulonglong" => ElementType::U64,
        "uint32" | "uintc" => ElementType::U32,
        "uint16" | "ushort" => ElementType::U16,
        "uint8" | "ubyte" => ElementType::U8,
        "bool" | "bool_" => ElementType::Bool,
        _ => return None,
    })
}

/// What is of a type that is not read.
fn kind(code: &str) -> &'static str {
    let sized = |letter: char| {
        code.strip_prefix(letter)
            .is_some_and(|size| size.is_empty() || size.starts_with(|c: char| c.is_ascii_digit()))
    };
    match code {
        "bfloat16" | "V2" => "bfloat16, which .npy has no name for; .safetensors holds it",
        "complex" | "complex64" | "complex128" | "csingle" | "cdouble" | "F" | "D" | "G" => {
            "complex numbers"
        }
        "str" | "str_" | "bytes" | "bytes_" => "strings",
        "object" | "object_" => "Python objects",
        "f16" | "f12" | "g" | "longdouble" | "float128" | "float96" => {
            "floats beyond 64 bits, which differ between machines"
        }
        _ if sized('c') => "complex numbers",
        _ if sized('S') || sized('a') || sized('U') => "strings",
        _ if sized('O') => "Python objects",
        _ if code.starts_with(['m', 'M']) || code.contains("time") => "times",
        _ if code == "void" || sized('V') => "raw bytes; bfloat16 can be stored as .safetensors",
        _ => "unknown",
    }
}
