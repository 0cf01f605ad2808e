//! The file that a command writes its result to.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fastrcaps::base::files::{check_target, make_folder, write_atomically};

/// The place of a result, of which it is known that nothing else is lost when the result is written there.
pub struct Target(PathBuf);

impl Target {
    /// Looks at the place before any work is done for it.
    ///
    /// # Errors
    /// Something stands there that `is_own` does not know for this command's, and `force` is not given: see [`check_target`].
    pub fn checked(path: impl Into<PathBuf>, force: bool, is_own: impl FnOnce(&[u8]) -> bool) -> Result<Target> {
        let path = path.into();
        check_target(&path, force, is_own)?;
        Ok(Target(path))
    }

    /// Writes the result as one file; creates its folder if it is missing.
    ///
    /// # Errors
    /// The file cannot be written, as in a read-only folder: the message names the option that helps.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        let Target(path) = self;
        let written = || {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                make_folder(folder)?;
            }
            write_atomically(path, bytes)
        };
        written().with_context(|| format!("{} cannot be written: give another file with --out FILE", path.display()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}
