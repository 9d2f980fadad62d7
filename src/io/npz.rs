//! `.npz`, the format of `numpy.savez`: a zip archive with a `.npy` file for each array.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive, ZipFileHeaderRecord};

use super::file::map_file;
use super::message::{choice, format_error, io_error, quoted};
use super::tensor::Tensor;
use super::{foreign, npy};
use crate::Result;

/// Bytes that a byte of deflated data can at most become.
const LARGEST_RATIO: u64 = 1032;

/// Reads one array of an `.npz` file that is in memory already; `path` is what errors call it.
///
/// `name` is that of the array, with or without the `.npy` that NumPy adds. Members may be stored
/// (`numpy.savez`) or deflated (`numpy.savez_compressed`). No more is allocated than the archive can
/// hold, whatever it claims; checksums are checked.
///
/// ```
/// use std::path::Path;
/// use surprisal::io::parse_npz;
///
/// let error = parse_npz(b"PK?", "hidden", Path::new("arrays.npz")).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "arrays.npz: it has 3 bytes and no directory of a zip archive, expected a whole .npz file",
/// );
/// ```
pub fn parse_npz(bytes: &[u8], name: &str, path: &Path) -> Result<Tensor> {
    read(bytes, Some(name), path)
}

/// Without a name, the error says which ones there are.
pub(super) fn open(path: &Path, name: Option<&str>) -> Result<Tensor> {
    read(&map_file(path)?, name, path)
}

fn read(bytes: &[u8], name: Option<&str>, path: &Path) -> Result<Tensor> {
    let failed = |what: String| format_error(path, what);
    let archive = ZipArchive::from_slice(bytes).map_err(|_| {
        let start = &bytes[..bytes.len().min(foreign::START)];
        failed(match start.starts_with(b"PK") {
            false => foreign::unlike_or_text(start, "an .npz file"),
            true => None,
        }
        .unwrap_or_else(|| {
            let size = bytes.len();
            format!("it has {size} bytes and no directory of a zip archive, expected a whole .npz file")
        }))
    })?;
    let mut members = Vec::new();
    let mut names = HashSet::new();
    for member in archive.entries() {
        let member = member.map_err(|error| {
            failed(format!("its directory is broken ({error}), expected a whole .npz file"))
        })?;
        if !names.insert(member.file_path().as_bytes()) {
            let name = quoted(&shown(member.file_path().as_bytes()));
            return Err(failed(format!("two arrays are named `{name}`, expected one")));
        }
        members.push(member);
    }
    let choice =
        || choice(members.iter().map(|member| shown(member.file_path().as_bytes())).collect());
    let Some(name) = name else {
        let what = "no array is named, expected a location FILE.npz:NAME with an array";
        return Err(failed(format!("{what} {}", choice())));
    };
    let called =
        |name: &str| members.iter().find(|member| member.file_path().as_bytes() == name.as_bytes());
    let Some(member) = called(name).or_else(|| called(&format!("{name}.npy"))) else {
        let name = quoted(name);
        return Err(failed(format!("there is no array `{name}`, expected one {}", choice())));
    };

    let mut path = path.as_os_str().to_owned();
    path.push(":");
    path.push(name);
    let path = PathBuf::from(path);
    let failed = |what: String| format_error(&path, what);
    let entry = archive
        .get_entry(member.wayfinder())
        .map_err(|error| failed(format!("it is cut off ({error}), expected a whole .npz file")))?;
    if entry.local_header().file_path().as_bytes() != member.file_path().as_bytes() {
        let what = "its name differs between the directory and its place, expected the same";
        return Err(failed(what.into()));
    }
    let size = member.uncompressed_size_hint();
    check_size(member, entry.data().len() as u64).map_err(failed)?;
    let source: Box<dyn Read> = match member.compression_method() {
        CompressionMethod::STORE => Box::new(entry.verifying_reader(entry.data())),
        _ => Box::new(entry.verifying_reader(DeflateDecoder::new(entry.data()))),
    };
    let mut source = source;
    let tensor = npy::read(&mut source, size, &path)?;
    // The checksum is compared at the end, and there is one only where nothing follows.
    match source.read(&mut [0]) {
        Ok(0) => Ok(tensor),
        Ok(_) => Err(failed(format!("it holds more than the {size} bytes that the archive says"))),
        Err(error) => Err(io_error(&path, "read", error)),
    }
}

/// Refuses what is not NumPy's, and a size that so many bytes cannot become.
fn check_size(
    member: &ZipFileHeaderRecord<'_>,
    compressed: u64,
) -> std::result::Result<(), String> {
    let (size, method) = (member.uncompressed_size_hint(), member.compression_method());
    if member.flags().is_encrypted() {
        return Err("it is encrypted, expected an array as numpy.savez writes it".into());
    }
    let possible = match method {
        CompressionMethod::STORE => size == compressed,
        CompressionMethod::DEFLATE => size <= compressed.saturating_mul(LARGEST_RATIO),
        _ => {
            return Err(format!(
                "it is compressed by method {method}, expected stored or deflated, as numpy.savez \
                 and numpy.savez_compressed write"
            ));
        }
    };
    if !possible {
        return Err(format!(
            "the archive claims {size} bytes for it, expected what {compressed} bytes can hold"
        ));
    }
    Ok(())
}

/// The name of an array as one asks for it.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name.strip_suffix(b".npy").unwrap_or(name)).into_owned()
}
