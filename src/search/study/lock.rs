//! A study's lock: who does what with the study now.

use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{Study, holdings::not_through};
use crate::base::{files::is_link, machine};

/// How long a lock is tried for: who asks whether a study is being explored holds it for some microseconds.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);
/// What an explorer does with a study, as it stands in its lock.
pub(super) const EXPLORED: &str = "explored";

/// Who explores a study.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explorer {
    /// It is being explored by this process; empty for the moment in which its line is written.
    Active(String),
    /// It is not being explored, but held by who does something else with it, as in "rebuilt by process 5 on host".
    Busy(String),
    /// Nobody, but this one did, and left its line behind.
    Gone(String),
    Nobody,
    /// It cannot be known, for this reason.
    Unknown(String),
}

impl Explorer {
    /// Whether someone may be writing to the study.
    pub fn may_write(&self) -> bool {
        matches!(self, Explorer::Active(_) | Explorer::Busy(_) | Explorer::Unknown(_))
    }
}

/// Held while a process explores or changes a study; the operating system lets go of it when that process ends, however it ends.
pub struct Lock {
    _file: File,
}

impl Study {
    /// Takes a study that is there for this process; `what` it does with it is a word as in "rebuilt", for others who
    /// want the study meanwhile. An error says who has it.
    pub fn hold(&self, what: &str) -> Result<Lock> {
        // An error of reading says that this is no study.
        self.read()?;
        self.check_no_links()?;
        self.lock(what)
    }

    /// As [`Study::hold`], also of a study whose declaration is damaged.
    pub fn seize(&self, what: &str) -> Result<Lock> {
        self.lock(what)
    }

    /// Who explores the study now. Does not keep anyone from beginning to.
    pub fn explorer(&self) -> Explorer {
        let path = self.lock_file();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Explorer::Nobody,
            Err(error) => return Explorer::Unknown(format!("cannot read {}: {error}", path.display())),
        };
        // Shared, so that those who ask are not in each other's way, and let go of at once.
        let is_held = match file.try_lock_shared() {
            Ok(()) => {
                let _ = file.unlock();
                false
            }
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) => {
                return Explorer::Unknown(format!("the file system of {} locks no files: {error}", path.display()));
            }
        };
        let line = holder(&mut file);
        let explored_by = line.strip_prefix(EXPLORED).and_then(|rest| rest.strip_prefix(" by "));
        match (is_held, explored_by) {
            (true, Some(who)) => Explorer::Active(who.into()),
            (true, None) if line.is_empty() => Explorer::Active(line),
            (true, None) => Explorer::Busy(line),
            (false, Some(who)) => Explorer::Gone(who.into()),
            (false, None) => Explorer::Nobody,
        }
    }

    pub(super) fn lock_file(&self) -> PathBuf {
        self.folder.join("study.lock")
    }

    pub(super) fn lock(&self, what: &str) -> Result<Lock> {
        let path = self.lock_file();
        if is_link(&path) {
            not_through(&path)?;
        }
        let context = || format!("cannot write {}; give another folder with --out", path.display());
        let since = Instant::now();
        let mut file = loop {
            let mut file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .with_context(context)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => break file,
                // The study was removed while this waited: its folder, or another of its name, is looked at anew.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if since.elapsed() < LOCK_PATIENCE => {}
                Err(TryLockError::WouldBlock) => {
                    let line = holder(&mut file);
                    // Empty for the moment in which it is written.
                    let what = if line.is_empty() { "held by another process" } else { &line };
                    bail!("{} is being {what}; wait for it, or stop it", self.folder.display());
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| {
                        format!(
                            "cannot lock {}: does its file system lock files? Give a folder on another with --out",
                            path.display()
                        )
                    });
                }
            }
            thread::sleep(Duration::from_millis(5));
        };
        let since = machine::rfc3339(std::time::SystemTime::now());
        let line = format!("{what} by process {} on {} since {since}\n", std::process::id(), machine::host());
        let write = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(line.as_bytes()));
        write.with_context(context)?;
        Ok(Lock { _file: file })
    }
}

/// The line that a lock's holder wrote into it.
fn holder(file: &mut File) -> String {
    let mut line = Vec::new();
    let _ = file.read_to_end(&mut line);
    String::from_utf8_lossy(&line).trim().to_string()
}

/// Whether `file` is still what stands at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let of = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata().map(of), fs::metadata(path).map(of)), (Ok(open), Ok(there)) if open == there)
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}
