//! Files that are either whole or not there.

use std::{
    fs::{self, File},
    io::{Error, ErrorKind, Write},
    path::Path,
};

use anyhow::{Context, Result, bail};
use tempfile::TempPath;

/// How the names of files begin that are being written: who is killed meanwhile leaves them behind.
const TEMPORARY: &str = ".writing-";
/// How those begin that libraries make, and how many letters and digits follow.
const TEMPORARY_OF_OTHERS: (&str, usize) = (".tmp", 6);

/// Writes a file so that a reader, or a power cut, sees the old bytes or the new ones and nothing between.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_through(path, |temporary| Ok(fs::write(temporary, bytes)?))
}

/// As [`write_atomically`], for who must write the file itself: `write` fills a temporary file in the same folder, which
/// is then synced and takes the place of `path`; the folder is synced at last.
pub fn write_through(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let replace = || {
        written(path, write)?.persist(path)?;
        sync_folder(path)
    };
    replace().with_context(|| format!("cannot write {}", path.display()))
}

/// As [`write_through`], but the file that was there before stays, as `previous`, in the place of the one of that name.
/// At every moment one of the two is whole. Where there is no room for a third, and the one at `path` is known to be whole,
/// the previous one goes first.
pub fn write_keeping_previous(
    path: &Path,
    previous: &Path,
    is_whole: bool,
    write: impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    let replace = || {
        let written = match written(path, &write) {
            Err(error) if is_whole && previous.exists() && is_out_of_room(&error) => {
                remove_if_there(previous)?;
                written(path, &write)
            }
            written => written,
        }?;
        if path.exists() {
            fs::rename(path, previous)?;
        }
        written.persist(path)?;
        sync_folder(path)
    };
    replace().with_context(|| format!("cannot write {}", path.display()))
}

/// Whether a folder stands at `path` itself: what a link leads to is not at hand.
pub fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Whether a link stands at `path`, wherever it leads.
pub fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

/// An error where no folder can be made at `path`, as a file, or a link that leads nowhere, is in the way. Makes nothing.
pub fn check_no_file_in_way(path: &Path) -> Result<()> {
    // The lowest of those above it, itself counted, that is there.
    let Some(there) = path.ancestors().find(|path| fs::symlink_metadata(path).is_ok()) else { return Ok(()) };
    match fs::metadata(there) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => bail!("{} is a file, not a folder", there.display()),
        Err(_) => {
            bail!("{} is a link that leads nowhere: make the folder it leads to, or remove the link", there.display())
        }
    }
}

/// Makes a folder, with those above it, where it is not there yet; the error says what is in the way.
pub fn make_folder(path: &Path) -> Result<()> {
    let make = || check_no_file_in_way(path).and_then(|()| Ok(fs::create_dir_all(path)?));
    make().with_context(|| format!("cannot make the folder {}", path.display()))
}

/// An error where a command that was told to write the file `path` would take something else away with it.
///
/// A file that `is_own` knows may be written anew; any other file, and a link, only with `force`; a folder or a device never.
pub fn check_target(path: &Path, force: bool, is_own: impl FnOnce(&[u8]) -> bool) -> Result<()> {
    let shown = path.display();
    let metadata = match fs::symlink_metadata(path) {
        // Where its folder is a file, writing says so.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        metadata => metadata.with_context(|| format!("cannot look at {shown}: give another file with --out"))?,
    };
    if metadata.is_symlink() && !force {
        bail!("{shown} is a link: give another file, or --force to put a file in its place");
    }
    if !metadata.is_symlink() && !metadata.is_file() {
        bail!("{shown} is no file that can be replaced: give another file");
    }
    if !force && !fs::read(path).is_ok_and(|bytes| is_own(&bytes)) {
        bail!("{shown} is there already: give another file, or --force to replace it");
    }
    Ok(())
}

/// Removes a file, which need not be there.
pub fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Whether a file of this name is one that was being written: it counts for nothing, whatever is in it.
pub fn is_unfinished(name: &str) -> bool {
    let (start, random) = TEMPORARY_OF_OTHERS;
    let is_random = |rest: &str| rest.len() == random && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    name.starts_with(TEMPORARY) || name.strip_prefix(start).is_some_and(is_random)
}

/// Removes what writers that were killed left in `folder`, in which nobody may be writing now.
pub fn remove_unfinished(folder: &Path) -> Result<()> {
    let context = || format!("cannot list {}", folder.display());
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let is_file = entry.file_type().with_context(context)?.is_file();
        if is_file && is_unfinished(&entry.file_name().to_string_lossy()) {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether something could not be written because there is no room for it, or none for this user, or nothing may be
/// written at all now: what may be otherwise in a moment, and is nobody's mistake.
pub fn is_out_of_room(error: &anyhow::Error) -> bool {
    let kinds = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::ReadOnlyFilesystem];
    error.chain().filter_map(|cause| cause.downcast_ref::<Error>()).any(|error| kinds.contains(&error.kind()))
}

/// Bytes that this user may still write to the file system of `path`; absent where that is not known.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let of = rustix::fs::statvfs(path).ok()?;
    Some(of.f_bavail.saturating_mul(of.f_frsize))
}

/// The kind of file system of `path`, where it lies behind a network.
pub fn network_file_system(path: &Path) -> Option<&'static str> {
    #[cfg(target_os = "linux")]
    return network_named(rustix::fs::statfs(path).ok()?.f_type as u32);
    #[cfg(not(target_os = "linux"))]
    return None;
}

/// The kind of file system that Linux gives this number, if it lies behind a network.
pub fn network_named(number: u32) -> Option<&'static str> {
    // As of statfs(2), and of the sources of those that are not in it.
    Some(match number {
        0x6969 => "NFS",
        0x0BD0_0BD0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x00C3_6400 => "CephFS",
        0xFF53_4D42 | 0xFE53_4D42 => "SMB",
        _ => return None,
    })
}

/// Tries whether some bytes can be written to `folder`.
pub fn try_room(folder: &Path) -> Result<(), Error> {
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
    file.write_all(&[0; 1 << 16])?;
    file.as_file().sync_all()
}

/// A temporary file beside `path` that `write` has filled, synced.
fn written(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<TempPath> {
    let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder_of(path))?.into_temp_path();
    write(&temporary)?;
    let file = File::open(&temporary)?;
    // Readable as any new file would be, not by the owner alone, whoever made it.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    file.sync_all()?;
    Ok(temporary)
}

/// The name of a file or folder, for comparing: what is not UTF-8 is none of ours.
pub fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Syncs the folder that `path` stands in: its names as they are now.
fn sync_folder(path: &Path) -> Result<()> {
    #[cfg(unix)]
    File::open(folder_of(path))?.sync_all()?;
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
