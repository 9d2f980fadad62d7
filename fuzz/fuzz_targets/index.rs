//! Any text as the index of a checkpoint: a file beside it or an error, nothing else.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::{Component, Path};
use surprisal::io::parse_index;

fuzz_target!(|bytes: &[u8]| {
    // What stands between the quotes is what there is to find out.
    let wrapped = [b"{\"weight_map\":{\"a\":\"", bytes, b".safetensors\"}}"].concat();
    for text in [bytes, &wrapped] {
        for tensor in ["a", ""] {
            match parse_index(text, tensor, Path::new("fuzz/model.safetensors.index.json")) {
                Ok(part) => {
                    let below = part.strip_prefix("fuzz").expect("below the index's directory");
                    assert!(below.components().count() > 0);
                    assert!(below.components().all(|part| matches!(part, Component::Normal(_))));
                }
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains("index.json"), "{message}");
                    assert!(!message.contains(char::is_control), "{message}");
                }
            }
        }
    }
});
