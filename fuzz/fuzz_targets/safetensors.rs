//! Any bytes as `.safetensors`: a tensor or an error, nothing else.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use surprisal::io::parse_safetensors;

fuzz_target!(|bytes: &[u8]| {
    for name in ["a", "classifier", ""] {
        match parse_safetensors(bytes, name, Path::new("fuzz.safetensors")) {
            Ok(tensor) => {
                let count: usize = tensor.view().shape().iter().product();
                assert!(count <= bytes.len());
                if let Ok(integers) = tensor.view().to_i64("targets") {
                    assert_eq!(integers.len(), count);
                }
            }
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains("fuzz.safetensors"), "{message}");
                assert!(!message.contains(char::is_control), "{message}");
            }
        }
    }
});
