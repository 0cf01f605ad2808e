//! Files that are either whole or not there.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    path::Path,
};

use anyhow::{Context, Result};

/// Writes a file so that a reader, or a power cut, sees the old bytes or the new ones and nothing between.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_through(path, |temporary| Ok(std::fs::write(temporary, bytes)?))
}

/// As [`write_atomically`], for who must write the file itself: `write` fills a temporary file in the same folder, which
/// is then synced and takes the place of `path`; the folder is synced at last.
pub fn write_through(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    replace(path, write).with_context(|| format!("cannot write {}", path.display()))
}

fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder)?.into_temp_path();
    write(&temporary)?;
    let file = File::open(&temporary)?;
    // Readable as any new file would be, not by the owner alone, whoever made it.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    file.sync_all()?;
    temporary.persist(path)?;
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}

/// Whether an error says that a file system takes nothing more: it is full, its quota is used up, or it may only be read.
/// Once that is mended, the same writing may succeed.
pub fn is_out_of_room(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::ReadOnlyFilesystem];
    kinds.into_iter().any(|kind| full.contains(&kind))
}

/// Bytes that this user may still write to the file system of `path`; absent where that is not known.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let of = rustix::fs::statvfs(path).ok()?;
    Some(of.f_bavail.saturating_mul(of.f_frsize))
}

/// Tries whether some bytes can be written to `folder`.
pub fn try_room(folder: &Path) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder)?;
    file.write_all(&[0; 1 << 16])?;
    file.as_file().sync_all()
}
