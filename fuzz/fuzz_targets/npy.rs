//! Any bytes as `.npy`: an array or an error, nothing else, and what is read comes back as written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use surprisal::io::{TensorView, parse_npy};

fuzz_target!(|bytes: &[u8]| {
    let read = |bytes| parse_npy(bytes, Path::new("fuzz.npy"));
    match read(bytes) {
        Ok(tensor) => {
            let view = tensor.view();
            let count: usize = view.shape().iter().product();
            assert!(count * size(&view) <= bytes.len());
            // A byte more or less is another file.
            let mut longer = bytes.to_vec();
            longer.push(0);
            assert!(read(&longer).is_err());
            if count > 0 {
                assert!(read(&bytes[..bytes.len() - 1]).is_err());
            }
            if let Ok(integers) = view.to_i64("targets") {
                assert_eq!(integers.len(), count);
            }
        }
        Err(error) => {
            let message = error.to_string();
            assert!(
                message.contains("fuzz.npy") && !message.contains(char::is_control),
                "{message}"
            );
        }
    }
});

fn size(view: &TensorView<'_>) -> usize {
    match view.dtype_name() {
        "f64" | "i64" | "u64" => 8,
        "f32" | "i32" | "u32" => 4,
        "u8" | "i8" | "bool" => 1,
        _ => 2,
    }
}
