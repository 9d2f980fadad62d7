//! Reading and writing arrays: what is written comes back, and nothing that is read can do harm.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use ndarray::{
    Array2, ArrayD, ArrayView, ArrayViewD, Axis, Dimension, IxDyn, ShapeBuilder, Slice, array, s,
};
use npyz::WriterBuilder;
use proptest::collection::vec;
use proptest::prelude::*;
use surprisal::io::{
    NpyElement, Tensor, TensorView, parse_index, parse_npy, parse_npz, parse_safetensors,
    write_npy, write_safetensors,
};
use surprisal::{Error, Result};

const NAME: &str = "file under test";

fn npy(bytes: &[u8]) -> Result<Tensor> {
    parse_npy(bytes, Path::new(NAME))
}

fn safetensors(bytes: &[u8], tensor: &str) -> Result<Tensor> {
    parse_safetensors(bytes, tensor, Path::new(NAME))
}

/// A `.npy` file as text and data make it, whether or not they fit together.
fn npy_bytes(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((header.len() as u16).to_le_bytes()),
        _ => bytes.extend((header.len() as u32).to_le_bytes()),
    }
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn npy_header(descr: &str, fortran_order: bool, shape: &[usize]) -> String {
    let order = if fortran_order { "True" } else { "False" };
    let lengths: String = shape.iter().map(|length| format!("{length}, ")).collect();
    format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({lengths}), }}\n")
}

fn safetensors_bytes(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// The elements of any array, in C order and little-endian.
fn little_endian(view: &TensorView<'_>) -> Vec<u8> {
    macro_rules! bytes {
        ($($variant:ident),*) => {
            match view {
                $(TensorView::$variant(array) => {
                    array.iter().flat_map(|value| value.to_le_bytes()).collect()
                })*
                TensorView::Bool(array) => array.iter().map(|&value| u8::from(value)).collect(),
                other => panic!("a test for {}", other.dtype_name()),
            }
        };
    }
    bytes!(F64, F32, F16, Bf16, I64, I32, I16, I8, U64, U32, U16, U8)
}

#[track_caller]
fn assert_same(found: &TensorView<'_>, expected: &TensorView<'_>) {
    assert_eq!(found.dtype_name(), expected.dtype_name());
    assert_eq!(found.shape(), expected.shape());
    assert!(little_endian(found) == little_endian(expected), "{found:?} != {expected:?}");
}

/// The message of an error that says which file is wrong, in one line.
#[track_caller]
fn message(outcome: Result<Tensor>) -> String {
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::Format { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.starts_with(&format!("{NAME}: ")), "{message}");
    assert!(message.contains("expected"), "{message}");
    assert!(!message.contains(char::is_control), "{message:?}");
    assert!(message.len() < 1000, "{message}");
    message
}

#[track_caller]
fn assert_message(outcome: Result<Tensor>, expected: &str) {
    assert_eq!(message(outcome), format!("{NAME}: {expected}"));
}

/// Arrays of one element type over odd shapes, every bit pattern included.
fn arrays<T: bytemuck::Pod + Debug>() -> impl Strategy<Value = ArrayD<T>> {
    vec(0_usize..6, 0..5).prop_flat_map(|shape| {
        let count = shape.iter().product::<usize>();
        vec(any::<u8>(), count * size_of::<T>()).prop_map(move |bytes| {
            let values: Vec<T> =
                bytes.chunks(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect();
            ArrayD::from_shape_vec(IxDyn(&shape), values).unwrap()
        })
    })
}

/// The same array three times: in C order, with its axes reversed, and with every other row
/// missing.
fn layouts<T: Clone>(array: &ArrayD<T>) -> Vec<ArrayViewD<'_, T>> {
    let mut thinned = array.view();
    if thinned.ndim() > 0 {
        thinned.slice_axis_inplace(Axis(0), Slice::new(0, None, -2));
    }
    vec![array.view(), array.view().reversed_axes(), thinned]
}

fn check_npy<T: NpyElement + npyz::Deserialize>(array: &ArrayD<T>)
where
    for<'a> TensorView<'a>: From<ArrayViewD<'a, T>>,
{
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("array.npy");
    for view in layouts(array) {
        write_npy(&path, view.view()).unwrap();
        let opened = Tensor::open(path.to_str().unwrap()).unwrap();
        assert_same(&opened.view(), &view.view().into());

        let bytes = fs::read(&path).unwrap();
        assert_same(&npy(&bytes).unwrap().view(), &view.view().into());
        // NumPy promises data at a multiple of 64.
        assert_eq!((bytes.len() - view.len() * size_of::<T>()) % 64, 0);

        let other = npyz::NpyFile::new(&bytes[..]).unwrap();
        let shape: Vec<_> = view.shape().iter().map(|&length| length as u64).collect();
        assert_eq!((other.shape(), other.order()), (&shape[..], npyz::Order::C));
        let values = ArrayD::from_shape_vec(view.shape(), other.into_vec::<T>().unwrap()).unwrap();
        assert_same(&TensorView::from(values.view()), &view.into());
    }
    let left: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

fn check_safetensors<T: Clone>(array: &ArrayD<T>)
where
    for<'a> TensorView<'a>: From<ArrayViewD<'a, T>>,
{
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let views = layouts(array);
    let byte = array![7_u8];
    let tensors: Vec<(&str, TensorView<'_>)> = ["byte", "straight", "reversed", "thinned"]
        .into_iter()
        .zip([byte.view().into()].into_iter().chain(views.into_iter().map(TensorView::from)))
        .collect();
    write_safetensors(&path, &tensors).unwrap();

    let bytes = fs::read(&path).unwrap();
    let other = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(other.len(), tensors.len());
    for (name, view) in &tensors {
        let location = format!("{}:{name}", path.display());
        assert_same(&Tensor::open(&location).unwrap().view(), view);
        assert_same(&safetensors(&bytes, name).unwrap().view(), view);
        let other = other.tensor(name).unwrap();
        assert_eq!((other.shape(), other.data()), (view.shape(), &little_endian(view)[..]));
    }
}

/// Reads what another writer wrote in any order of axes and bytes.
fn check_foreign<T: Copy + bytemuck::Pod>(array: &ArrayD<T>, kind: &str)
where
    for<'a> TensorView<'a>: From<ArrayViewD<'a, T>>,
{
    let size = size_of::<T>();
    for version in 1..=3 {
        for fortran_order in [false, true] {
            for order in if size == 1 { vec!['|', '<', '>'] } else { vec!['<', '>'] } {
                let descr = format!("{order}{kind}{size}");
                let header = npy_header(&descr, fortran_order, array.shape());
                // The transposed array in C order is the array in Fortran order.
                let stored = if fortran_order { array.t() } else { array.view() };
                let mut data = little_endian(&TensorView::from(stored));
                if order == '>' {
                    data.chunks_mut(size).for_each(<[u8]>::reverse);
                }
                let tensor = npy(&npy_bytes(version, &header, &data)).unwrap();
                assert_same(&tensor.view(), &array.view().into());
            }
        }
    }
}

macro_rules! round_trips {
    ($($name:ident: $type:ty, $kind:literal;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(48))]
            $(
                #[test]
                fn $name(array in arrays::<$type>()) {
                    check_safetensors(&array);
                    if !$kind.is_empty() {
                        check_foreign(&array, $kind);
                    }
                }
            )*
        }
    };
}

round_trips! {
    f64_comes_back: f64, "f";
    f32_comes_back: f32, "f";
    f16_comes_back: f16, "f";
    bf16_comes_back: bf16, "";
    i64_comes_back: i64, "i";
    i32_comes_back: i32, "i";
    i16_comes_back: i16, "i";
    i8_comes_back: i8, "i";
    u64_comes_back: u64, "u";
    u32_comes_back: u32, "u";
    u16_comes_back: u16, "u";
    u8_comes_back: u8, "u";
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn npy_comes_back(
        doubles in arrays::<f64>(),
        singles in arrays::<f32>(),
        halves in arrays::<f16>(),
        longs in arrays::<i64>(),
        integers in arrays::<i32>(),
        naturals in arrays::<u32>(),
    ) {
        check_npy(&doubles);
        check_npy(&singles);
        check_npy(&halves);
        check_npy(&longs);
        check_npy(&integers);
        check_npy(&naturals);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn random_bytes_are_refused(bytes in vec(any::<u8>(), 0..300)) {
        message(npy(&bytes));
        message(safetensors(&bytes, "x"));
        message(npy(&[b"\x93NUMPY\x01\x00", &bytes[..]].concat()));
        message(npy(&npy_bytes(2, &String::from_utf8_lossy(&bytes), &[])));
        message(safetensors(&safetensors_bytes(&String::from_utf8_lossy(&bytes), &[]), "x"));
    }

    #[test]
    fn changed_files_do_no_harm(changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let header = npy_header(">f4", true, &[3, 2]);
        let mut bytes = npy_bytes(1, &header, &[1; 24]);
        for (index, byte) in &changes {
            *index.get_mut(&mut bytes) = *byte;
        }
        if let Ok(tensor) = npy(&bytes) {
            prop_assert_eq!(little_endian(&tensor.view()).len(), 24);
        }

        let header = r#"{"x":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]}}"#;
        let mut bytes = safetensors_bytes(header, &[1; 24]);
        for (index, byte) in &changes {
            *index.get_mut(&mut bytes) = *byte;
        }
        if let Ok(tensor) = safetensors(&bytes, "x") {
            prop_assert_eq!(little_endian(&tensor.view()).len(), 24);
        }
    }

    /// Nearly Python, so that more than the first byte is looked at.
    #[test]
    fn odd_headers_do_no_harm(
        words in vec(prop::sample::select(vec![
            "{", "}", "(", ")", "[", "]", ",", ":", " ", "'", "\"", "\\", "L", "-", "1", "0", "é",
            "18446744073709551616", "9223372036854775807", "True", "False", "'descr'", "'<f8'",
            "'fortran_order'", "'shape'", "'descr': '<f8'", "'fortran_order': False",
            "'shape': (0,)", "'shape': (1, 1)",
        ]), 0..20),
    ) {
        if let Ok(tensor) = npy(&npy_bytes(1, &words.concat(), &[0; 8])) {
            let view = tensor.view();
            prop_assert_eq!(view.shape(), [1, 1]);
        }
    }
}

/// Either order in the file, any number of axes, entries in any order and again.
#[test]
fn entries_are_selected_along_the_first_axis() {
    for shape in [&[4][..], &[4, 3], &[4, 0], &[4, 2, 3]] {
        let numbers: Vec<u8> = (0..shape.iter().product::<usize>() as u8).collect();
        for fortran_order in [false, true] {
            let file = npy_bytes(1, &npy_header("|u1", fortran_order, shape), &numbers);
            let whole = ArrayD::from_shape_vec(IxDyn(shape).set_f(fortran_order), numbers.clone());
            let whole = whole.unwrap();
            for entries in [&[][..], &[2], &[3, 0, 3, 1]] {
                let found = npy(&file).unwrap().select(entries).unwrap();
                let TensorView::U8(found) = found.view() else { panic!("another type") };
                assert_eq!(found, whole.select(Axis(0), entries), "{shape:?}, {fortran_order}");
            }
        }
    }
}

#[test]
fn fortran_order_keeps_indices() {
    let header = npy_header("<i4", true, &[2, 3]);
    let data: Vec<u8> = [0_i32, 10, 1, 11, 2, 12].iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensor = npy(&npy_bytes(1, &header, &data)).unwrap();
    let TensorView::I32(view) = tensor.view() else { panic!("{tensor:?}") };
    assert_eq!(view, array![[0, 1, 2], [10, 11, 12]].into_dyn());
    assert_eq!(view[[1, 2]], 12);
}

#[test]
fn another_writer_of_fortran_order_agrees() {
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new()
        .dtype(npyz::DType::new_scalar(">f8".parse().unwrap()))
        .order(npyz::Order::Fortran)
        .shape(&[2, 2])
        .writer(&mut bytes)
        .begin_nd()
        .unwrap();
    writer.extend([0.5, 1.5, 2.5, 3.5]).unwrap();
    writer.finish().unwrap();
    let tensor = npy(&bytes).unwrap();
    assert_same(&tensor.view(), &array![[0.5, 2.5], [1.5, 3.5]].view().into());
}

#[test]
fn headers_may_be_spelled_in_every_way_of_python() {
    for header in [
        "{'descr': '<u2', 'fortran_order': False, 'shape': (2, 1), }          \n",
        "{\"shape\":(2,1),\"fortran_order\":False,\"descr\":\"<u2\"}",
        " { 'fortran_order' : True , 'shape' : ( 2L , 1L , ) , 'descr' : '<u2' } \t\n",
    ] {
        let tensor = npy(&npy_bytes(1, header, &[1, 0, 2, 0])).unwrap();
        assert_same(&tensor.view(), &array![[1_u16], [2]].view().into());
    }
    let scalar = npy(&npy_bytes(1, &npy_header("|u1", false, &[]), &[5])).unwrap();
    assert_same(&scalar.view(), &ndarray::arr0(5_u8).view().into());
}

#[test]
fn arrays_beyond_one_chunk_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("long.npy");
    let array = Array2::from_shape_fn((701, 499), |(row, column)| (row * 1000 + column) as f64);
    for view in [array.view(), array.t(), array.slice(s![..;-3, 1..;2])] {
        write_npy(&path, view).unwrap();
        assert_same(&Tensor::open(path.to_str().unwrap()).unwrap().view(), &view.into());
    }
    let data: Vec<u8> = array.t().iter().flat_map(|value| value.to_be_bytes()).collect();
    let tensor = npy(&npy_bytes(1, &npy_header(">f8", true, &[701, 499]), &data)).unwrap();
    assert_same(&tensor.view(), &array.view().into());
}

#[test]
fn every_truncation_of_npy_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("short.npy");
    for version in 1..=3 {
        let bytes = npy_bytes(version, &npy_header("<f4", false, &[2, 3]), &[9; 24]);
        npy(&bytes).unwrap();
        for length in 0..bytes.len() {
            message(npy(&bytes[..length]));
            fs::write(&path, &bytes[..length]).unwrap();
            let error = Tensor::open(path.to_str().unwrap()).unwrap_err();
            assert!(matches!(error, Error::Format { .. }), "{length}: {error:?}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_message(
            npy(&longer),
            "25 bytes follow the header, expected 24 for shape [2, 3] of f32",
        );
    }
}

#[test]
fn every_truncation_of_safetensors_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("short.safetensors");
    let location = format!("{}:x", path.display());
    let header = r#"{"x":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]}}"#;
    let bytes = safetensors_bytes(header, &[9; 24]);
    safetensors(&bytes, "x").unwrap();
    for length in 0..bytes.len() {
        message(safetensors(&bytes[..length], "x"));
        fs::write(&path, &bytes[..length]).unwrap();
        let error = Tensor::open(&location).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{length}: {error:?}");
    }
    assert_message(
        safetensors(&[&bytes[..], &[0]].concat(), "x"),
        "it has 90 bytes, expected 89 as its header says",
    );
    assert_message(safetensors(&bytes[..88], "x"), "it has 88 bytes, expected 89: it was cut off");
}

#[test]
fn hostile_npy_headers_are_refused() {
    let nested = "(".repeat(60_000);
    let braces = "{".repeat(60_000);
    let many = "1, ".repeat(20_000);
    for header in [
        "".to_string(),
        "{".to_string(),
        "{}".to_string(),
        "[1, 2]".to_string(),
        nested.clone(),
        braces.clone(),
        format!("{{'descr': {nested}"),
        format!("{{'descr': {braces}"),
        format!("{{'shape': {nested}"),
        format!("{{'shape': ({many}), 'descr': '<f8', 'fortran_order': False}}"),
        "{'descr': '<f8', 'fortran_order': False}".to_string(),
        "{'descr': '<f8', 'shape': (1,)}".to_string(),
        "{'fortran_order': False, 'shape': (1,)}".to_string(),
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1,)".to_string(),
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1,)} x".to_string(),
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}}".to_string(),
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), 'more': 1}".to_string(),
        "{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': (1,)}".to_string(),
        "{'descr': '<f8', 'fortran_order': 0, 'shape': (1,)}".to_string(),
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1)}".to_string(),
        "{'descr': '<f8', 'fortran_order': False, 'shape': (,)}".to_string(),
        "{'descr': '<f8', 'fortran_order': False, 'shape': 1}".to_string(),
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}".to_string(),
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1.0,)}".to_string(),
        "{'descr': '<f8', 'fortran_order': False, 'shape': (None,)}".to_string(),
        "{'descr': '<f8', 'fortran_order': False, 'shape': (18446744073709551616,)}".to_string(),
        "{'descr: '<f8', 'fortran_order': False, 'shape': (1,)}".to_string(),
        "{'descr': '<f8\\'', 'fortran_order': False, 'shape': (1,)}".to_string(),
        "{'descr': 8, 'fortran_order': False, 'shape': (1,)}".to_string(),
        "{'descr': '\n\u{1b}[31m', 'fortran_order': False, 'shape': (1,)}".to_string(),
        format!("{{'descr': '{}'}}", "x".repeat(60_000)),
    ] {
        message(npy(&npy_bytes(1, &header, &[0; 8])));
        message(npy(&npy_bytes(3, &header, &[0; 8])));
    }
}

#[test]
fn claims_beyond_the_file_are_refused() {
    let header =
        |shape: &str| format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}");
    for shape in [
        "(2,)",
        "(1000000000000000,)",
        "(9223372036854775807,)",
        "(18446744073709551615,)",
        "(4294967296, 4294967296)",
        "(4294967296, 4294967297)",
        "(3, 6148914691236517206)",
        "(0, 4294967296, 4294967296)",
        "(4294967296, 4294967296, 0)",
        "()",
    ] {
        for data in [&[][..], &[0; 7], &[0; 9]] {
            message(npy(&npy_bytes(1, &header(shape), data)));
        }
    }
    assert_message(
        npy(&npy_bytes(1, &header("(2,)"), &[0; 8])),
        "8 bytes follow the header, expected 16 for shape [2] of f64",
    );
    assert_message(
        npy(&npy_bytes(1, &header("(4294967296, 4294967296, 0)"), &[])),
        "shape [4294967296, 4294967296, 0] of f64 is beyond the address space, expected a smaller \
         one",
    );

    let mut bytes = npy_bytes(2, &header("(1,)"), &[0; 8]);
    bytes[8..12].fill(0xff);
    let limit = bytes.len() - 12;
    assert_message(
        npy(&bytes),
        &format!("its header claims 4294967295 bytes, expected at most {limit}"),
    );
    bytes.resize(200_000, 0);
    assert_message(npy(&bytes), "its header claims 4294967295 bytes, expected at most 65535");
}

#[test]
fn what_is_no_npy_is_said_to_be_none() {
    assert_message(npy(b""), "it has 0 bytes, expected a .npy header");
    assert_message(
        npy(b"\x89PNG\r\n\x1a\n and more"),
        r#"it starts with "\x89PNG\r\n", expected the "\x93NUMPY" of a .npy file"#,
    );
    assert_message(
        npy(b"\x93NUMPY\x04\x00\x00\x00\x00\x00"),
        "its version is 4.0, expected 1.0, 2.0 or 3.0",
    );
    assert_message(
        npy(&npy_bytes(1, "{'descr': '<f8', 'fortran_order': yes", &[])),
        "its header has `yes` at byte 34, expected True or False",
    );
    assert_message(
        npy(&npy_bytes(1, "{'shape': (1,)", &[])),
        "its header ends at byte 14, expected `}`",
    );
}

#[test]
fn dtypes_that_are_no_numbers_are_named() {
    const EXPECTED: &str = "expected one of f8, f4, f2, i8, i4, i2, i1, u8, u4, u2, u1, b1";
    const BFLOAT16: &str = "bfloat16, which .npy has no name for; .safetensors holds it";
    for (descr, kind) in [
        ("'bfloat16'", BFLOAT16),
        ("'<V2'", BFLOAT16),
        ("'<c16'", "complex numbers"),
        ("'<U3'", "strings"),
        ("'|S7'", "strings"),
        ("'|O'", "Python objects"),
        ("'<M8[ns]'", "times"),
        ("'|V2'", BFLOAT16),
        ("'|V3'", "raw bytes; bfloat16 can be stored as .safetensors"),
        ("'<f16'", "floats beyond 64 bits, which differ between machines"),
        ("'longdouble'", "floats beyond 64 bits, which differ between machines"),
        ("'complex128'", "complex numbers"),
        ("'bytes'", "strings"),
        ("'object'", "Python objects"),
        ("'datetime64[ns]'", "times"),
        ("'float8_e4m3fn'", "unknown"),
        ("'<float64'", "unknown"),
        ("'=='", "unknown"),
        ("'é8'", "unknown"),
        ("''", "unknown"),
        ("[('a', '<f8'), ('b]', '<i4', (2, 3))]", "a structure"),
    ] {
        let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (1,)}}");
        let expected = format!("its dtype is {descr} ({kind}), {EXPECTED}");
        assert_message(npy(&npy_bytes(3, &header, &[0; 8])), &expected);
    }
}

#[test]
fn tensors_at_any_offset_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let values = [1.0_f64, f64::NAN, -0.0];
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    for before in 0..10 {
        let end = before + data.len();
        let header = format!(
            r#"{{"pad":{{"dtype":"U8","shape":[{before}],"data_offsets":[0,{before}]}},
                "x":{{"dtype":"F64","shape":[1,3],"data_offsets":[{before},{end}]}}}}"#
        );
        let bytes = safetensors_bytes(&header, &[&vec![7; before], &data[..]].concat());
        let expected = ArrayView::from_shape((1, 3), &values).unwrap();
        assert_same(&safetensors(&bytes, "x").unwrap().view(), &expected.into());
        fs::write(&path, &bytes).unwrap();
        let tensor = Tensor::open(&format!("{}:x", path.display())).unwrap();
        assert_same(&tensor.view(), &expected.into());
        // Threads may share what is mapped.
        std::thread::scope(|scope| {
            scope.spawn(|| assert_same(&tensor.view(), &expected.into()));
        });
    }
}

#[test]
fn hostile_safetensors_headers_are_refused() {
    let tensor = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let half = usize::MAX / 2;
    let nested = "[".repeat(100_000);
    for header in [
        "".to_string(),
        "{".to_string(),
        "[]".to_string(),
        "null".to_string(),
        nested.clone(),
        format!(r#"{{"x":{nested}"#),
        tensor("F32", "[2]", "[0,4]"),
        tensor("F32", "[1]", "[4,8]"),
        tensor("F32", "[1]", "[8,4]"),
        tensor("F32", "[-1]", "[0,4]"),
        tensor("F32", "[1.0]", "[0,4]"),
        tensor("F32", "[2000000000]", "[0,8000000000]"),
        tensor("F32", "[4294967296,4294967296]", "[0,0]"),
        tensor("F32", "[4294967296,4294967297]", "[0,17179869184]"),
        tensor("F32", "[0,4294967296,4294967296]", "[0,0]"),
        tensor("F32", &format!("[{}0]", "1,".repeat(100)), "[0,0]"),
        tensor("Q\\u0000\\n7", "[1]", "[0,4]"),
        tensor(&"Q".repeat(10_000), "[1]", "[0,4]"),
        format!(
            r#"{{"x":{{"dtype":"U8","shape":[{half}],"data_offsets":[0,{half}]}},"y":{{"dtype":
            "U8","shape":[{half}],"data_offsets":[{half},{}]}}}}"#,
            2 * half
        ),
        format!(r#"{{"__metadata__":{{"a":{}}}}}"#, u64::MAX),
    ] {
        message(safetensors(&safetensors_bytes(&header, &[]), "x"));
        message(safetensors(&safetensors_bytes(&header, &[0; 4]), "x"));
    }
    // Tensors that end at the last address: no sum with the size of the header is one.
    let part = usize::MAX / 8;
    let mut header = String::from("{");
    for index in 0..8 {
        let (start, end) = (index * part, (index + 1) * part);
        header.push_str(&format!(
            r#""{index}":{{"dtype":"U8","shape":[{part}],"data_offsets":[{start},{end}]}},"#
        ));
    }
    let end = 8 * part;
    header.push_str(&format!(
        r#""x":{{"dtype":"U8","shape":[7],"data_offsets":[{end},{}]}}}}"#,
        usize::MAX
    ));
    assert_message(
        safetensors(&safetensors_bytes(&header, &[]), "0"),
        &format!("its header has a number beyond {}, expected less", isize::MAX),
    );
}

#[test]
fn safetensors_claims_are_named() {
    assert_message(
        safetensors(b"\x10\0\0\0\0", "x"),
        "it has 5 bytes, expected a safetensors header",
    );
    assert_message(
        safetensors(&u64::MAX.to_le_bytes(), "x"),
        "its header claims 18446744073709551615 bytes, expected at most 0",
    );
    for (dtype, remedy) in [
        ("F8_E5M2", ": convert it, to BF16 for one"),
        ("F8_E4M3", ": convert it, to BF16 for one"),
        ("C64", ""),
    ] {
        let size = if dtype == "C64" { 8 } else { 1 };
        let header =
            format!(r#"{{"x\n":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{size}]}}}}"#);
        assert_message(
            safetensors(&safetensors_bytes(&header, &vec![1; size]), "x\n"),
            &format!(
                "tensor `x\\n` has dtype {dtype}, expected one of F64, F32, F16, BF16, I64, I32, I16, \
                 I8, U64, U32, U16, U8, BOOL{remedy}"
            ),
        );
    }
    let header = r#"{"x":{"dtype":"F128","shape":[1],"data_offsets":[0,16]}}"#;
    assert!(message(safetensors(&safetensors_bytes(header, &[0; 16]), "x")).contains("`F128`"));
}

#[test]
fn unknown_tensors_bring_up_the_known_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let location = path.to_str().unwrap();
    let one = array![1.0_f32];
    let names: Vec<String> = (0..11).rev().map(|index| format!("layer{index:02}")).collect();

    let tensors: Vec<_> = names.iter().map(|name| (name.as_str(), one.view().into())).collect();
    let known = "`layer00`, `layer01`, `layer02`, `layer03`, `layer04`, `layer05`, `layer06`, \
                 `layer07`";
    write_safetensors(&path, &tensors).unwrap();
    assert_eq!(
        Tensor::open(location).unwrap_err().to_string(),
        format!(
            "{location}: no tensor is named, expected a location FILE.safetensors:TENSOR with a \
             tensor out of {known} and 3 more"
        )
    );
    for unknown in ["layer11", "", "__metadata__"] {
        assert_eq!(
            Tensor::open(&format!("{location}:{unknown}")).unwrap_err().to_string(),
            format!(
                "{location}: there is no tensor `{unknown}`, expected one out of {known} and 3 more"
            )
        );
    }

    write_safetensors(&path, &[]).unwrap();
    assert_eq!(
        Tensor::open(&format!("{location}:x")).unwrap_err().to_string(),
        format!("{location}: there is no tensor `x`, expected one but the file has none")
    );
}

#[test]
fn colons_may_be_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("C:a.safetensors:b");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("model.safetensors");
    let (one, two) = (array![1_u8], array![2_u8]);
    let tensors = [("a:b", one.view().into()), ("c.npy", two.view().into())];
    write_safetensors(&path, &tensors).unwrap();
    for (name, view) in &tensors {
        let location = format!("{}:{name}", path.display());
        assert_same(&Tensor::open(&location).unwrap().view(), view);
    }

    let path = directory.path().join("C:a.npy");
    write_npy(&path, array![3_i32].view()).unwrap();
    Tensor::open(path.to_str().unwrap()).unwrap();
}

#[test]
fn files_that_cannot_be_opened_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_string();
    for location in ["none.npy", "none.safetensors", "none.safetensors:x"] {
        let error = Tensor::open(&at(location)).unwrap_err();
        assert!(matches!(&error, Error::Io { action: "open", .. }), "{error:?}");
        let path = at(location.trim_end_matches(":x"));
        assert!(error.to_string().starts_with(&format!("cannot open {path}: ")), "{error}");
    }
    for folder in ["folder.npy", "folder.safetensors"] {
        fs::create_dir(at(folder)).unwrap();
        assert_eq!(
            Tensor::open(&at(folder)).unwrap_err().to_string(),
            format!("cannot open {}: it is not a regular file", at(folder))
        );
    }
    for location in ["array", "array.np", "model.bin:x", ".npy.gz", ""] {
        assert_eq!(
            Tensor::open(location).unwrap_err().to_string(),
            format!(
                "{location}: the extension is unknown, expected FILE.npy, FILE.npz:NAME, \
                 FILE.safetensors:TENSOR or DIR/model.safetensors.index.json:TENSOR"
            )
        );
    }
    fs::write(at("empty.npy"), "").unwrap();
    fs::write(at("empty.safetensors"), "").unwrap();
    for location in ["empty.npy", "empty.safetensors:x"] {
        let error = Tensor::open(&at(location)).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error:?}");
    }
}

fn entries(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn failed_writes_leave_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("folder.npy");
    fs::create_dir(&folder).unwrap();
    let one = array![1.0_f32];
    let nowhere = directory.path().join("none").join("array.npy");
    for path in [folder.as_path(), &nowhere, Path::new("")] {
        for outcome in
            [write_npy(path, one.view()), write_safetensors(path, &[("x", one.view().into())])]
        {
            let error = outcome.unwrap_err();
            assert!(matches!(error, Error::Io { action: "write", .. }), "{error:?}");
        }
    }
    assert_eq!(entries(directory.path()), BTreeSet::from(["folder.npy".to_string()]));
    assert!(entries(Path::new(".")).iter().all(|name| !name.ends_with(".partial")));
}

#[cfg(unix)]
#[test]
fn devices_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["zero.npy", "zero.safetensors"] {
        let path = directory.path().join(name);
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let error = Tensor::open(path.to_str().unwrap()).unwrap_err();
        assert!(matches!(error, Error::Io { action: "open", .. }), "{error:?}");
        let error = write_npy(&path, array![1.0_f32].view()).unwrap_err();
        assert!(matches!(error, Error::Io { action: "write", .. }), "{error:?}");
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    }
}

#[test]
fn a_file_is_replaced_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let (old, new) = (Array2::<f32>::ones((300, 300)), array![2.0_f32]);
    write_safetensors(&path, &[("x", old.view().into())]).unwrap();
    let mapped = Tensor::open(&format!("{}:x", path.display())).unwrap();
    write_safetensors(&path, &[("x", new.view().into())]).unwrap();
    assert_same(&mapped.view(), &old.view().into());
    let reopened = Tensor::open(&format!("{}:x", path.display())).unwrap();
    assert_same(&reopened.view(), &new.view().into());
}

#[test]
fn names_that_the_format_cannot_hold_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let one = array![1.0_f32];
    let write = |names: [&str; 2]| {
        write_safetensors(&path, &names.map(|name| (name, one.view().into())))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(write(["x", "x"]), "two tensors are named `x`, expected one");
    assert_eq!(
        write(["x", "__metadata__"]),
        "tensor name is `__metadata__`, expected another one, since the format reserves it"
    );
    assert_eq!(entries(directory.path()).len(), 0);
}

#[test]
fn axes_beyond_those_of_numpy_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("array.npy");
    let most = ArrayD::from_elem(IxDyn(&[1; 64]), 1_i32);
    write_npy(&path, most.view()).unwrap();
    assert_same(&Tensor::open(path.to_str().unwrap()).unwrap().view(), &most.view().into());
    let more = ArrayD::from_elem(IxDyn(&[1; 65]), 1_i32);
    let outcomes =
        [write_npy(&path, more.view()), write_safetensors(&path, &[("x", more.view().into())])];
    for outcome in outcomes {
        let message = outcome.unwrap_err().to_string();
        assert!(message.ends_with("expected at most 64 axes"), "{message}");
    }
}

fn integers<T: Copy, D: Dimension>(array: ArrayView<'_, T, D>) -> Vec<i64>
where
    for<'a> TensorView<'a>: From<ArrayView<'a, T, D>>,
{
    TensorView::from(array).to_i64("targets").unwrap().into_iter().collect()
}

#[test]
fn integers_of_every_type_become_i64() {
    assert_eq!(integers(array![i64::MIN, i64::MAX].view()), [i64::MIN, i64::MAX]);
    assert_eq!(integers(array![i32::MIN, i32::MAX].view()), [-(1 << 31), (1 << 31) - 1]);
    assert_eq!(integers(array![i16::MIN, i16::MAX].view()), [-32768, 32767]);
    assert_eq!(integers(array![i8::MIN, i8::MAX].view()), [-128, 127]);
    assert_eq!(integers(array![0, i64::MAX as u64].view()), [0, i64::MAX]);
    assert_eq!(integers(array![0, u32::MAX].view()), [0, (1 << 32) - 1]);
    assert_eq!(integers(array![0, u16::MAX].view()), [0, 65535]);
    assert_eq!(integers(array![0, u8::MAX].view()), [0, 255]);
    // Indices, not memory, decide.
    assert_eq!(integers(array![[1_u8, 2], [3, 4]].t()), [1, 3, 2, 4]);
    let matrix = array![[1_u64, 2], [3, 4]];
    let copy = TensorView::from(matrix.t()).to_i64("targets").unwrap();
    assert_eq!(copy, array![[1_i64, 3], [2, 4]].into_dyn());
}

#[test]
fn integers_beyond_i64_and_floats_are_refused() {
    let mut matrix = Array2::<u64>::zeros((2, 3).f());
    matrix[[1, 2]] = 1 << 63;
    let error = TensorView::from(matrix.view()).to_i64("labels").unwrap_err();
    assert_eq!(
        error.to_string(),
        "labels[1, 2] is 9223372036854775808, expected an integer below 2^63"
    );
    for (view, name) in [
        (TensorView::from(array![1.0_f64].view()), "f64"),
        (array![1.0_f32].view().into(), "f32"),
        (array![f16::ONE].view().into(), "f16"),
        (array![bf16::ONE].view().into(), "bf16"),
        (array![true].view().into(), "bool"),
    ] {
        assert_eq!(
            view.to_i64("labels").unwrap_err().to_string(),
            format!("labels is an array of {name}, expected an array of integers")
        );
    }
}

/// Checks a file's key against its brother: the same text with the second key renamed is fine.
#[test]
fn a_name_that_stands_twice_is_refused() {
    let x = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    let y = r#"{"dtype":"U8","shape":[1],"data_offsets":[1,2]}"#;
    for (header, said) in [
        (format!(r#"{{"x":{x},"x":{y}}}"#), "two tensors are named `x`, expected one"),
        (format!(r#"{{"x":{x},"\u0078":{y}}}"#), "two tensors are named `x`, expected one"),
        (format!(r#"{{"x":{x},"y":{y},"y":{y}}}"#), "two tensors are named `y`, expected one"),
        (
            format!(r#"{{"__metadata__":{{"a":"1","a":"2"}},"x":{x},"y":{y}}}"#),
            "its metadata has the key `a` twice, expected it once",
        ),
        (
            format!(r#"{{"__metadata__":{{}},"__metadata__":{{}},"x":{x},"y":{y}}}"#),
            "its header has `__metadata__` twice, expected it once",
        ),
        (
            format!(
                r#"{{"x":{x},"y":{{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[1,2]}}}}"#
            ),
            "tensor `y` has the key `dtype` twice, expected it once",
        ),
        (
            format!(r#"{{"x\u202e":{x},"x\u202e":{y}}}"#),
            r"two tensors are named `x\u{202e}`, expected one",
        ),
    ] {
        assert_message(safetensors(&safetensors_bytes(&header, &[1, 2]), "x"), said);
    }
    safetensors(&safetensors_bytes(&format!(r#"{{"x":{x},"y":{y}}}"#), &[1, 2]), "y").unwrap();

    let member = npy_bytes(1, &npy_header("<u2", false, &[1]), &[1, 2]);
    let stored =
        |name| Member { name, method: 0, size: member.len(), data: member.clone(), flags: 0 };
    assert_message(
        npz(&zip(&[stored("a.npy"), stored("b.npy"), stored("a.npy")]), "b"),
        "two arrays are named `a`, expected one",
    );
    npz(&zip(&[stored("a.npy"), stored("b.npy")]), "b").unwrap();

    for (index, said) in [
        (
            r#"{"weight_map":{"x":"a.safetensors","x":"b.safetensors"}}"#,
            "two tensors are named `x`, expected one",
        ),
        (
            r#"{"weight_map":{},"weight_map":{}}"#,
            "it has the key `weight_map` twice, expected it once",
        ),
        (
            r#"{"metadata":{"a":1,"a":1},"weight_map":{"x":"a.safetensors"}}"#,
            "it has the key `a` twice, expected it once",
        ),
    ] {
        let error = parse_index(index.as_bytes(), "x", Path::new(NAME)).unwrap_err();
        assert_eq!(error.to_string(), format!("{NAME}: {said}"));
    }
}

/// The spellings that `numpy.dtype` takes, as NumPy 2.4 on Linux reads them.
#[test]
fn numpys_own_spellings_of_a_type_are_read() {
    for (codes, names, name) in [
        (&["f8", "d"][..], &["float64", "double", "float"][..], "f64"),
        (&["f4", "f"], &["float32", "single"], "f32"),
        (&["f2", "e"], &["float16", "half"], "f16"),
        (&["i8", "l", "q", "n", "p"], &["int64", "int", "int_", "intp", "long", "longlong"], "i64"),
        (&["i4", "i"], &["int32", "intc"], "i32"),
        (&["i2", "h"], &["int16", "short"], "i16"),
        (&["i1", "b"], &["int8", "byte"], "i8"),
        (&["u8", "L", "Q", "N", "P"], &["uint64", "uint", "uintp", "ulong", "ulonglong"], "u64"),
        (&["u4", "I"], &["uint32", "uintc"], "u32"),
        (&["u2", "H"], &["uint16", "ushort"], "u16"),
        (&["u1", "B"], &["uint8", "ubyte"], "u8"),
        (&["b1", "?"], &["bool", "bool_"], "bool"),
    ] {
        let coded =
            codes.iter().flat_map(|code| ["", "<", "=", "|", ">"].map(|order| (order, *code)));
        for (order, code) in coded.chain(names.iter().map(|name| ("", *name))) {
            let descr = format!("{order}{code}");
            let bytes = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08];
            let size = match name {
                "bool" => 1,
                _ => name[1..].parse::<usize>().unwrap() / 8,
            };
            let file = npy_bytes(1, &npy_header(&descr, false, &[1]), &bytes[..size]);
            let tensor = npy(&file).unwrap();
            assert_eq!(tensor.view().dtype_name(), name, "{descr}");
            let mut expected = bytes[..size].to_vec();
            match (name, order) {
                ("bool", _) => expected = vec![1],
                (_, ">") => expected.reverse(),
                _ => {}
            }
            assert_eq!(little_endian(&tensor.view()), expected, "{descr}");
        }
    }
}

#[test]
fn booleans_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mask.safetensors");
    let mask = array![[true, false, true], [false, false, true]];
    write_safetensors(&path, &[("mask", mask.view().into()), ("turned", mask.t().into())]).unwrap();
    for (name, expected) in [("mask", mask.view()), ("turned", mask.t())] {
        let tensor = Tensor::open(&format!("{}:{name}", path.display())).unwrap();
        assert_same(&tensor.view(), &expected.into());
    }
    // NumPy takes every byte but 0 for true.
    let file = npy_bytes(1, &npy_header("|b1", true, &[2, 2]), &[0, 2, 1, 255]);
    let tensor = npy(&file).unwrap().into_c_order().unwrap();
    assert_same(&tensor.view(), &array![[false, true], [true, true]].view().into());
    let TensorView::Bool(view) = tensor.view() else { panic!("{tensor:?}") };
    assert!(view.is_standard_layout());
}

/// A member of a zip archive, whether or not its parts fit together.
struct Member {
    name: &'static str,
    method: u16,
    size: usize,
    data: Vec<u8>,
    flags: u16,
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// An archive of members, with the checksums of what is stored.
fn zip(members: &[Member]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for member in members {
        let offset = file.len() as u32;
        let mut fields = Vec::new();
        fields.extend([20, 0]);
        fields.extend(member.flags.to_le_bytes());
        fields.extend(member.method.to_le_bytes());
        fields.extend([0; 4]);
        fields.extend(crc32(&member.data).to_le_bytes());
        fields.extend((member.data.len() as u32).to_le_bytes());
        fields.extend((member.size as u32).to_le_bytes());
        fields.extend((member.name.len() as u16).to_le_bytes());
        fields.extend([0, 0]);
        file.extend(b"PK\x03\x04");
        file.extend(&fields);
        file.extend(member.name.bytes());
        file.extend(&member.data);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&fields);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(member.name.bytes());
    }
    let count = (members.len() as u16).to_le_bytes();
    let end = [
        &b"PK\x05\x06\0\0\0\0"[..],
        &count,
        &count,
        &(directory.len() as u32).to_le_bytes(),
        &(file.len() as u32).to_le_bytes(),
        &[0, 0],
    ];
    [file, directory, end.concat()].concat()
}

fn npz(bytes: &[u8], name: &str) -> Result<Tensor> {
    parse_npz(bytes, name, Path::new(NAME))
}

#[test]
fn archives_of_numpy_are_read() {
    let hidden = array![[0.0_f32, 0.25, 0.5], [0.75, 1.0, 1.25]];
    let wide = hidden.mapv(f64::from);
    let mask = array![true, false];
    for (path, bytes) in [
        ("tests/golden/arrays.npz", &include_bytes!("../golden/arrays.npz")[..]),
        ("tests/golden/arrays_compressed.npz", include_bytes!("../golden/arrays_compressed.npz")),
    ] {
        for (name, expected) in [
            ("hidden", TensorView::from(hidden.view())),
            ("mask", mask.view().into()),
            ("fortran", wide.view().into()),
        ] {
            for name in [name.to_string(), format!("{name}.npy")] {
                assert_same(&npz(bytes, &name).unwrap().view(), &expected);
                assert_same(&Tensor::open(&format!("{path}:{name}")).unwrap().view(), &expected);
            }
        }
        for (location, what) in [
            (
                path.to_string(),
                "no array is named, expected a location FILE.npz:NAME with an array",
            ),
            (format!("{path}:none"), "there is no array `none`, expected one"),
        ] {
            assert_eq!(
                Tensor::open(&location).unwrap_err().to_string(),
                format!("{path}: {what} out of `fortran`, `hidden`, `mask`")
            );
        }
        // Whatever is cut off or changed is an error or another array, and never more than one line.
        for length in 0..bytes.len() {
            let error = npz(&bytes[..length], "hidden").unwrap_err().to_string();
            assert!(error.starts_with(NAME) && !error.contains('\n'), "{length}: {error}");
        }
        for place in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[place] ^= 0x5a;
            if let Ok(tensor) = npz(&changed, "hidden") {
                // The checksum holds what is in the array.
                assert_same(&tensor.view(), &TensorView::from(hidden.view()));
            }
        }
    }
}

#[test]
fn hostile_archives_are_refused() {
    let array = npy_bytes(1, &npy_header("<u2", false, &[2]), &[1, 2, 3, 4]);
    let huge = npy_bytes(1, &npy_header("<u2", false, &[1 << 30]), &[]);
    let member = |method, size, data: &[u8], flags| Member {
        name: "a.npy",
        method,
        size,
        data: data.to_vec(),
        flags,
    };
    let good = zip(&[member(0, array.len(), &array, 0)]);
    npz(&good, "a").unwrap();
    for (file, said) in [
        (
            member(0, array.len(), &array, 1),
            "it is encrypted, expected an array as numpy.savez writes",
        ),
        (
            member(93, array.len(), &array, 0),
            "it is compressed by method 93 (ZSTD), expected stored",
        ),
        (member(0, array.len() + 1, &array, 0), "bytes for it, expected what"),
        (member(8, (1 << 31) + huge.len(), &huge, 0), "bytes for it, expected what"),
    ] {
        let error = npz(&zip(&[file]), "a").unwrap_err().to_string();
        assert!(error.starts_with(&format!("{NAME}:a: ")) && error.contains(said), "{error}");
    }
    // A changed element is not what the checksum is of.
    let mut changed = good.clone();
    let place = good.windows(4).position(|bytes| bytes == [1, 2, 3, 4]).unwrap();
    changed[place] = 9;
    let error = npz(&changed, "a").unwrap_err();
    assert!(matches!(error, Error::Io { action: "read", .. }), "{error:?}");
    // What a member holds beside its array is no part of it.
    let longer = [&array[..], &[0]].concat();
    npz(&zip(&[member(0, longer.len(), &longer, 0)]), "a").unwrap_err();
    assert_message(
        npz(b"PK\x03\x04 and no more", "a"),
        "it has 16 bytes and no directory of a zip archive, expected a whole .npz file",
    );
}

#[test]
fn tensors_are_found_across_the_files_of_an_index() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (one, two) = (array![[1.0_f32, 2.0]], array![3_i64]);
    let name = |part: usize| format!("model-{part:05}-of-00003.safetensors");
    write_safetensors(&at(&name(1)), &[("embed", one.view().into())]).unwrap();
    fs::create_dir(at("more")).unwrap();
    write_safetensors(&at("more").join(name(2)), &[("a:b", two.view().into())]).unwrap();
    let index = at("model.safetensors.index.json");
    let map = format!(
        r#"{{"metadata":{{"total_size":16}},"weight_map":{{"embed":"{}","a:b":"more/{}","head":"{}",
        "moved":"{}"}}}}"#,
        name(1),
        name(2),
        name(3),
        name(1),
    );
    fs::write(&index, map).unwrap();
    let open = |tensor: &str| Tensor::open(&format!("{}:{tensor}", index.display()));
    assert_same(&open("embed").unwrap().view(), &TensorView::from(one.view()));
    assert_same(&open("a:b").unwrap().view(), &TensorView::from(two.view()));
    let error = |tensor: &str| open(tensor).unwrap_err().to_string();
    assert!(
        error("head")
            .contains(&format!("its part `{}` with tensor `head` cannot be opened", name(3))),
        "{}",
        error("head")
    );
    assert!(error("moved").contains(&format!("{}: there is no tensor `moved`", name(1))));
    assert!(
        error("none").contains("there is no tensor `none`, expected one out of `a:b`, `embed`")
    );
    let unnamed = Tensor::open(index.to_str().unwrap()).unwrap_err().to_string();
    assert!(
        unnamed.contains("no tensor is named, expected a location INDEX.json:TENSOR"),
        "{unnamed}"
    );
}

#[test]
fn an_index_names_no_file_outside_of_its_directory() {
    let path = Path::new("checkpoint/model.safetensors.index.json");
    let locate = |part: &str| {
        let map = serde_json::json!({ "weight_map": { "x": part } });
        parse_index(map.to_string().as_bytes(), "x", path)
    };
    assert_eq!(locate("a/b.safetensors").unwrap(), Path::new("checkpoint/a/b.safetensors"));
    for part in [
        "../x.safetensors",
        "a/../../x.safetensors",
        "/etc/x.safetensors",
        "./../x.safetensors",
        r"..\x.safetensors",
        r"C:\x.safetensors",
        "x\0.safetensors",
        "pytorch_model.bin",
        "",
    ] {
        let error = locate(part).unwrap_err().to_string();
        assert!(error.contains("expected the name of a .safetensors file in"), "{error}");
    }
    for (text, said) in [
        ("", "it is empty, expected the index of a checkpoint"),
        ("{", "it is no JSON ("),
        ("[]", "it has no object `weight_map`"),
        (r#"{"weight_map":[]}"#, "it has no object `weight_map`"),
        (r#"{"weight_map":{"x":1}}"#, "tensor `x` is in 1, expected the name"),
        ("version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
    ] {
        let error = parse_index(text.as_bytes(), "x", path).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("expected"), "{error}");
    }
}

#[test]
fn what_a_file_is_instead_is_said_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let tar = [&b"model.npy"[..], &[0; 248], b"ustar\0", &[0; 300]].concat();
    let torch = zip(&[Member {
        name: "archive/data.pkl",
        method: 0,
        size: 4,
        data: b"\x80\x02}.".to_vec(),
        flags: 0,
    }]);
    let one = array![1_u8];
    let path = directory.path().join("a.safetensors");
    write_safetensors(&path, &[("a", one.view().into())]).unwrap();
    let real = fs::read(&path).unwrap();
    let array = npy_bytes(1, &npy_header("<u2", false, &[1]), &[1, 2]);
    for (bytes, what, remedy) in [
        (
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4976698672\n"[..],
            "a Git LFS pointer",
            "git lfs pull",
        ),
        (b"/annex/objects/MD5E-s1--0.npy\n", "a git-annex pointer", "git annex get"),
        (b"\n <!DOCTYPE HTML><title>Sign in</title>", "an HTML page", "download it again"),
        (b"<?xml version=\"1.0\"?><Error>AccessDenied</Error>", "an XML page", "download it again"),
        (&torch, "a checkpoint of PyTorch", "safetensors.torch.save_file"),
        (b"\x80\x02}q\x00(X\x04\x00\x00\x00bias", "a pickle", "safetensors.torch.save_file"),
        (include_bytes!("../golden/arrays.npz"), "an .npz archive", "FILE.npz:NAME"),
        (b"PK\x03\x04\x14\0 some other.txt", "a zip archive", "unpack"),
        (b"GGUF\x03\0\0\0\x23\x01\0\0\0\0\0\0", "a GGUF file", ".safetensors files"),
        (
            b"{\"metadata\": {}, \"weight_map\": {}}",
            "the index of a checkpoint",
            "index.json:TENSOR",
        ),
        (b"{\"architectures\": [\"Llama\"]}", "a JSON file", "name the file"),
        (b"\x89HDF\r\n\x1a\n\0\0\0\0\0\0\0\0", "an HDF5 file", "h5py"),
        (b"\x1f\x8b\x08\x00\0\0\0\0\x00\x03", "compressed by gzip", "unpack"),
        (b"\x28\xb5\x2f\xfd\x04\x00\0\0\0\0", "compressed by zstd", "unpack"),
        (&tar, "a tar archive", "unpack"),
        (b"\x08\x07\x12\x07pytorch\x1a\x032.1", "an ONNX model", "onnx.numpy_helper"),
        (b"PAR1\x15\x04\x15\x20\0\0\0\0", "a Parquet file", "numpy.save"),
        (&[0; 200], "filled with zero bytes", "download it again"),
    ] {
        for name in ["x.npy", "x.safetensors", "x.safetensors:a", "x.bin:a", "x.pt"] {
            let file = name.trim_end_matches(":a");
            fs::write(directory.path().join(file), bytes).unwrap();
            let location = directory.path().join(name);
            let error = Tensor::open(location.to_str().unwrap()).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(remedy), "{name}: {error}");
            assert!(error.contains("expected") && !error.contains('\n'), "{name}: {error}");
        }
    }
    // One format under the name of the other.
    assert_message(
        safetensors(&array, "a"),
        "it is a .npy file, expected a .safetensors file: name it FILE.npy",
    );
    assert_message(
        npy(&real),
        "it is a .safetensors file, expected a .npy file: name it FILE.safetensors:TENSOR",
    );
    assert!(message(npz(&array, "a")).starts_with(&format!("{NAME}: it is a .npy file, expected")));
    assert_message(
        safetensors(b"Entry not found", "a"),
        "it is text that begins with `Entry not found`, expected a .safetensors file: it may be what \
         a server said in place of the file, so download it again",
    );
    assert!(message(safetensors(b"", "a")).contains("it is empty"));
    let folder = Tensor::open(directory.path().to_str().unwrap()).unwrap_err().to_string();
    assert!(folder.contains("it is a directory, expected"), "{folder}");
}

proptest! {
    #[test]
    fn changed_archives_do_no_harm(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        bytes in vec(any::<u8>(), 0..200),
    ) {
        for archive in [
            &include_bytes!("../golden/arrays.npz")[..],
            include_bytes!("../golden/arrays_compressed.npz"),
        ] {
            let mut archive = archive.to_vec();
            for (index, byte) in &changes {
                *index.get_mut(&mut archive) = *byte;
            }
            for name in ["hidden", "mask", "fortran"] {
                if let Ok(tensor) = npz(&archive, name) {
                    prop_assert!(tensor.view().shape().iter().product::<usize>() <= 6);
                }
            }
        }
        message(npz(&bytes, "a"));
        message(npz(&[b"PK\x03\x04", &bytes[..], b"PK\x05\x06", &bytes[..]].concat(), "a"));
    }

    #[test]
    fn no_message_has_what_a_terminal_obeys(
        name in "[\\PC\u{1b}\u{7}\u{9b}\n\r\u{7f}\u{202e}\u{2066}\u{200b}]{0,12}",
        place in 0_usize..5,
    ) {
        let path = Path::new(&name);
        let json = serde_json::to_string(&name).unwrap();
        let x = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
        let outcome = match place {
            0 => Tensor::open(&format!("{name}.npy")).err(),
            1 => Tensor::open(&format!("none.safetensors:{name}")).err(),
            2 => parse_npy(&npy_bytes(3, &npy_header(&name, false, &[1]), &[0]), path).err(),
            3 => {
                let header = format!("{{{json}:{x},\"y\":{x}}}");
                parse_safetensors(&safetensors_bytes(&header, &[1]), "z", path).err()
            }
            _ => {
                let index = format!(r#"{{"weight_map":{{"x":{json},{json}:"../a"}}}}"#);
                parse_index(index.as_bytes(), "x", path).err()
            }
        };
        if let Some(error) = outcome {
            let message = error.to_string();
            let obeyed = |c: char| {
                c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}')
            };
            prop_assert!(!message.contains(obeyed), "{message:?}");
        }
    }
}
