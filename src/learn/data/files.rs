//! The files of a data set, for who brings them to where it is read.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::{
    config::DataConfig,
    descriptor::Origin,
    dirs::{DataDirs, Found},
    file,
};

/// Folders within folders that are followed: a link may lead back.
const DEEPEST: usize = 16;

/// Files of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// What they are called, for messages.
    pub label: String,
    /// Names of files and folders in a folder. They can be read as well where they have these names in another one.
    pub from: PathBuf,
    pub names: Vec<String>,
    /// Hash of their names and bytes: 16 hexadecimal digits of their SHA-256.
    pub identity: String,
    /// Of images of the user's own, what `data.path` is below that folder; absent for a published data set, whose folder it is.
    pub own: Option<String>,
}

/// The files of which `config` selects images; none where these are drawn.
///
/// # Errors
/// When they are not found, or cannot be read.
pub fn files_of(config: &DataConfig, dirs: &DataDirs) -> Result<Option<Files>> {
    let set = config.name.descriptor();
    let (from, names, own) = match &set.origin {
        Origin::Drawn(_) => return Ok(None),
        Origin::Files(_) => {
            let Found { layout, dir, files } = dirs.find(config.name)?;
            let depth = Path::new(layout.folder).components().count();
            let from = dir.ancestors().nth(depth).unwrap_or(&dir).to_path_buf();
            let names =
                files.iter().map(|file| text(file.strip_prefix(&from).unwrap_or(file))).collect::<Result<_>>()?;
            (from, names, None)
        }
        Origin::Own(own) => {
            let path = Path::new(&own.path);
            let (Some(from), Some(last)) = (path.parent(), path.file_name()) else {
                bail!("data.path = {:?} is no place of images that can be brought elsewhere", own.path)
            };
            let last = text(Path::new(last))?;
            (from.to_path_buf(), own_names(from, &last)?, Some(last))
        }
    };
    let mut hash = Sha256::new();
    for name in &names {
        take_in(&mut hash, &from, name, DEEPEST)?;
    }
    let identity = file::hex(&hash.finalize()[..8]);
    let label = set.own().map_or_else(|| set.name.to_string(), |own| own.path.clone());
    Ok(Some(Files { label, from, names, identity, own }))
}

/// What belongs to `last` in a folder: the file or folder of that name, else the files that have it as a prefix.
fn own_names(folder: &Path, last: &str) -> Result<Vec<String>> {
    if folder.join(last).exists() {
        return Ok(vec![last.to_string()]);
    }
    let prefix = format!("{last}-");
    let mut names = entries(folder)?;
    names.retain(|name| name.starts_with(&prefix));
    Ok(names)
}

/// Takes a file, or all that is in a folder, into a hash.
fn take_in(hash: &mut Sha256, from: &Path, name: &str, depth: usize) -> Result<()> {
    let path = from.join(name);
    let context = || format!("cannot read {}", path.display());
    let metadata = fs::metadata(&path).with_context(context)?;
    hash.update(name);
    if !metadata.is_dir() {
        let bytes = file::sha256(File::open(&path).with_context(context)?).with_context(context)?;
        hash.update([0]);
        hash.update(bytes);
        return Ok(());
    }
    hash.update([1]);
    let Some(depth) = depth.checked_sub(1) else {
        bail!("{} lies {DEEPEST} folders deep in the images: does a link lead back?", path.display())
    };
    let inner = entries(&path)?;
    hash.update((inner.len() as u64).to_le_bytes());
    inner.iter().try_for_each(|name| take_in(hash, &path, name, depth))
}

/// Names in a folder, in order.
fn entries(folder: &Path) -> Result<Vec<String>> {
    let context = || format!("cannot read {}", folder.display());
    let entries = fs::read_dir(folder).with_context(context)?;
    let name = |entry: io::Result<fs::DirEntry>| text(Path::new(&entry.with_context(context)?.file_name()));
    let mut names = entries.map(name).collect::<Result<Vec<String>>>()?;
    names.sort();
    Ok(names)
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is no Unicode text: rename it", path.display()))?;
    Ok(text.to_string())
}
