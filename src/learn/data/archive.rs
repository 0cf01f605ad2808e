//! The files in a tar archive, raw or gzip.

use std::{collections::HashMap, io::Read, path::Path};

use anyhow::{Context, Result};

use super::file;

/// An archive that inflates to more is none of a data set: that of CIFAR-10 takes 184 MB.
const LIMIT: u64 = 1_000_000_000;

/// Calls `take` with each file of an archive that has one of `names`, in the archive's order, with its place among them.
///
/// # Errors
/// When the archive cannot be read, or is none; the message names it. What `take` fails with.
pub(super) fn for_each(
    path: &Path,
    names: &[&str],
    mut take: impl FnMut(usize, &mut dyn Read) -> Result<()>,
) -> Result<()> {
    let damaged = || damaged(path);
    let mut archive = tar::Archive::new(file::open(path)?.take(LIMIT));
    for entry in archive.entries().with_context(damaged)? {
        let mut entry = entry.with_context(damaged)?;
        let name = entry.path().with_context(damaged)?.file_name().map(|name| name.to_string_lossy().into_owned());
        if let Some(index) = names.iter().position(|file| name.as_deref() == Some(file)) {
            take(index, &mut entry)?;
        }
    }
    Ok(())
}

/// SHA-256 of those of the files `names` that an archive holds, by their names.
///
/// # Errors
/// When it cannot be read, or is no tar archive.
pub(super) fn checksums<'a>(path: &Path, names: &[&'a str]) -> Result<HashMap<&'a str, String>> {
    let mut found = HashMap::new();
    for_each(path, names, |index, entry| {
        found.insert(names[index], file::sha256(entry).with_context(|| damaged(path))?);
        Ok(())
    })?;
    Ok(found)
}

pub(super) fn damaged(path: &Path) -> String {
    format!("cannot read {}: damaged, incomplete or no tar archive", path.display())
}
