//! Any bytes as `.npz`: an array or an error, nothing else. Half of the inputs are a member in an
//! archive that is well-formed but for what the input says, or few would come as far as an array.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use surprisal::io::parse_npz;

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let archive = if first % 2 == 0 { rest.to_vec() } else { archive(first, rest) };
    for name in ["a", "hidden.npy"] {
        match parse_npz(&archive, name, Path::new("fuzz.npz")) {
            Ok(tensor) => {
                let count: usize = tensor.view().shape().iter().product();
                // As many as deflated bytes can become.
                assert!(count <= archive.len().saturating_mul(1032));
            }
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains("fuzz.npz"), "{message}");
                assert!(!message.contains(char::is_control), "{message}");
            }
        }
    }
});

/// An archive of one member, stored or deflated; its checksum is right where it can be.
fn archive(first: u8, rest: &[u8]) -> Vec<u8> {
    let deflated = first & 2 != 0;
    let (size, data) = match (deflated, rest) {
        (true, [low, high, data @ ..]) => (u16::from_le_bytes([*low, *high]).into(), data),
        _ => (rest.len() as u32, rest),
    };
    let mut fields = vec![20, 0, 0, 0, if deflated { 8 } else { 0 }, 0, 0, 0, 0, 0];
    fields.extend(crc32(data).to_le_bytes());
    fields.extend((data.len() as u32).to_le_bytes());
    fields.extend(size.to_le_bytes());
    fields.extend([5, 0, 0, 0]);
    let mut archive = b"PK\x03\x04".to_vec();
    archive.extend(&fields);
    archive.extend(b"a.npy");
    archive.extend(data);
    let directory = archive.len() as u32;
    archive.extend(b"PK\x01\x02\x14\x00");
    archive.extend(&fields);
    archive.extend([0; 14]);
    archive.extend(b"a.npy");
    let length = archive.len() as u32 - directory;
    archive.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    archive.extend(length.to_le_bytes());
    archive.extend(directory.to_le_bytes());
    archive.extend([0, 0]);
    archive
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        let low = |crc: u32| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| low(crc))
    })
}
