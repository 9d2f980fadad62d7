//! Files: opened, mapped, and written whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::Mmap;

use super::message::io_error;
use crate::Result;

/// Opens a file that has a length; reading a device or a pipe might never end.
pub(super) fn open_file(path: &Path) -> Result<(File, u64)> {
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
pub(super) fn map_file(path: &Path) -> Result<Mmap> {
    let (file, _) = open_file(path)?;
    // SAFETY: leans on the file staying as it is while mapped, which `Tensor` asks of its user.
    unsafe { Mmap::map(&file) }.map_err(|source| io_error(path, "map", source))
}

/// Writes a file under a temporary name beside `path` and renames it when it is whole.
pub(super) fn write_file(
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
