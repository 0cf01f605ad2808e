//! What a study's folder holds, and what lies in it that is not the study's: the one description of it, for whoever begins,
//! checks, packs or removes a study.
//!
//! Files are the study's by their names, and by how they begin where others use such names too. A link never is, nor is
//! anything behind it.

use std::{
    collections::HashSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{BEGINNINGS, JOBS, Study, UNFINISHED_FOLDER, key_of_beginning};
use crate::{
    base::files::{check_no_file_in_way, is_link, is_unfinished, name, remove_if_there},
    learn::folder::TrialFolder,
};

/// How the config files begin that `fastrcaps pick` writes.
pub const PICKED: &str = "# Picked by `fastrcaps pick`";
/// The file that tells an unpacked study from the one it was packed from.
pub const EXPORT_NOTE: &str = "exported.json";
/// What a study's lock says of who removes it, before the rest of the line.
pub const REMOVED: &str = "removed";

/// The page of a study.
pub const PAGE: &str = "report.html";
/// How every page begins.
pub const PAGE_MARK: &str = "<!DOCTYPE html><!-- Written by fastrcaps. -->";

const FILES: [&str; 13] = [
    "study.toml",
    LOCK,
    "machine.json",
    "costs.json",
    "audit.json",
    "journal.sqlite",
    "sweep.log",
    EXPORT_NOTE,
    "trials.csv",
    "epochs.csv",
    "front.csv",
    "attribution.csv",
    "interactions.csv",
];
const LOCK: &str = "study.lock";
/// Names of the charts that a study may have, as the table of charts has them.
pub const CHARTS: [&str; 13] = [
    "front",
    "scatter",
    "bars",
    "attribution",
    "interactions",
    "slices",
    "parallel",
    "curves",
    "curves-seconds",
    "schedule",
    "hypervolume",
    "gantt",
    "reconstructions",
];
/// Names that an error lists.
const NAMED: usize = 3;

/// A folder of a study, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderKind {
    /// The study's own.
    Study,
    Charts,
    /// Of beginnings that trials share.
    Beginnings,
    /// Of jobs on a cluster, with all that is below it.
    Jobs,
    Times,
    Pick,
    Trials,
    /// One trial's.
    Trial,
    /// One that was being copied: it holds a trial's files, or the folder of a trial that stepped aside.
    Unfinished,
}

impl FolderKind {
    /// Whether the file at `path`, which stands here, is the study's.
    pub fn holds(self, path: &Path) -> bool {
        let name = name(path);
        match self {
            FolderKind::Study if name == PAGE => {
                fs::read(path).is_ok_and(|bytes| bytes.starts_with(PAGE_MARK.as_bytes()))
            }
            FolderKind::Study => FILES.contains(&name) || is_journal(name),
            FolderKind::Charts => {
                let stem = [".png", ".svg", ".json"].iter().find_map(|ending| name.strip_suffix(ending));
                stem.is_some_and(|stem| CHARTS.contains(&stem))
            }
            FolderKind::Beginnings => key_of_beginning(path).is_some(),
            // Damaged ones, too.
            FolderKind::Times => {
                let is_sealed = || fs::read(path).is_ok_and(|bytes| contains(&bytes, b"\"checksum\""));
                name.ends_with(".json") && !name.starts_with('.') && is_sealed()
            }
            FolderKind::Pick if name == "config.toml" => {
                fs::read(path).is_ok_and(|bytes| bytes.starts_with(PICKED.as_bytes()))
            }
            FolderKind::Pick => ["config-schedule.png", "config-lr-find.png"].contains(&name),
            FolderKind::Jobs => true,
            FolderKind::Trials => false,
            FolderKind::Trial | FolderKind::Unfinished => TrialFolder::holds(name),
        }
    }

    /// What the folder `name`, which stands here, is for; none where it is not the study's.
    fn folder(self, name: &str, keys: Option<&HashSet<String>>) -> Option<FolderKind> {
        let is_trial = || keys.map_or_else(|| is_key(name), |keys| keys.contains(name));
        match (self, name) {
            (FolderKind::Study, "charts") => Some(FolderKind::Charts),
            (FolderKind::Study, BEGINNINGS) => Some(FolderKind::Beginnings),
            (FolderKind::Study, JOBS) | (FolderKind::Jobs, _) => Some(FolderKind::Jobs),
            (FolderKind::Study, "times") => Some(FolderKind::Times),
            (FolderKind::Study, "pick") => Some(FolderKind::Pick),
            (FolderKind::Study, "trials") => Some(FolderKind::Trials),
            (FolderKind::Trials | FolderKind::Unfinished, _) if is_trial() => Some(FolderKind::Trial),
            (FolderKind::Trials, _) if name.starts_with(UNFINISHED_FOLDER) => Some(FolderKind::Unfinished),
            _ => None,
        }
    }
}

/// What lies in a folder of a study. Paths begin with that folder's.
#[derive(Debug, Default)]
pub struct Holdings {
    /// The study's files, and how many bytes they and the unfinished ones have.
    pub files: Vec<PathBuf>,
    pub bytes: u64,
    /// Files that were being written when their writer died, or are now.
    pub unfinished: Vec<PathBuf>,
    /// The folder and the study's folders in it, each before what it holds.
    pub folders: Vec<PathBuf>,
    /// What is not the study's. Of a folder or a link nothing more is known.
    pub others: Vec<PathBuf>,
}

impl Holdings {
    /// Looks at `folder`, which is a `place` of a study whose trials have these keys; of any study where they are not known.
    pub fn of(folder: &Path, place: FolderKind, keys: Option<&HashSet<String>>) -> Result<Holdings> {
        let mut holdings = Holdings::default();
        holdings.look(folder, place, keys).with_context(|| format!("cannot list {}", folder.display()))?;
        Ok(holdings)
    }

    fn look(&mut self, folder: &Path, place: FolderKind, keys: Option<&HashSet<String>>) -> std::io::Result<()> {
        let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        self.folders.push(folder.into());
        for entry in entries {
            let (path, kind) = (entry.path(), entry.file_type()?);
            let inner = place.folder(name(&path), keys).filter(|_| kind.is_dir());
            match inner {
                Some(inner) => match self.look(&path, inner, keys) {
                    // Removed meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    looked => looked?,
                },
                None if kind.is_file() && (is_unfinished(name(&path)) || place.holds(&path)) => {
                    self.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
                    let is_whole = !is_unfinished(name(&path));
                    (if is_whole { &mut self.files } else { &mut self.unfinished }).push(path);
                }
                None => self.others.push(path),
            }
        }
        Ok(())
    }

    /// Removes what is the study's: files, then those of its folders that are empty without them.
    pub fn remove(&self) -> Result<()> {
        for file in self.unfinished.iter().chain(&self.files) {
            remove_if_there(file)?;
        }
        for folder in self.folders.iter().rev() {
            match fs::remove_dir(folder) {
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {}
                removed => removed.with_context(|| format!("cannot remove {}", folder.display()))?,
            }
        }
        Ok(())
    }
}

impl Study {
    /// The keys of the study's trials, where its declaration can be read.
    pub fn keys(&self) -> Option<HashSet<String>> {
        Some(self.plan().ok()?.keys.into_iter().collect())
    }

    /// An error where an exploration can neither begin nor go on in the folder: it holds no study, and what is not a
    /// study's. Hidden files are in nobody's way. Makes nothing.
    pub fn check_explorable(&self) -> Result<()> {
        let folder = &self.folder;
        check_no_file_in_way(folder).with_context(|| self.cannot_make())?;
        if !folder.exists() {
            return Ok(());
        }
        if fs::symlink_metadata(self.file()).is_ok() {
            self.read()?;
            return self.check_no_links();
        }
        let shown = folder.display();
        if self.is_removed_by_half() {
            bail!(
                "{shown} holds what is left of a study whose removal was interrupted: `fastrcaps study rm {shown}` goes on \
                 with it, or give another folder with --out"
            );
        }
        let holdings = Holdings::of(folder, FolderKind::Study, None)?;
        // What an explorer leaves that was killed before it declared its study.
        let is_lock = |path: &Path| {
            let text = || fs::read_to_string(path).is_ok_and(|text| text.is_empty() || text.contains(" by process "));
            *path == folder.join(LOCK) && text()
        };
        let is_passed_by = |path: &Path| {
            let name = name(path);
            // Others call theirs as unfinished ones that an exploration would clear away.
            name.starts_with(UNFINISHED_FOLDER) || name.starts_with('.') && !is_unfinished(name) && path.is_file()
        };
        let Holdings { files, unfinished, others, .. } = holdings;
        let in_way: Vec<String> = (files.iter().filter(|path| !is_lock(path)))
            .chain(unfinished.iter().chain(&others).filter(|path| !is_passed_by(path)))
            .map(|path| path.strip_prefix(folder).unwrap_or(path).display().to_string())
            .collect();
        if in_way.is_empty() {
            return Ok(());
        }
        let more = in_way.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        bail!(
            "{shown} holds no study, and is not empty ({}{more}): give the study a folder of its own with --out",
            in_way[..in_way.len().min(NAMED)].join(", ")
        );
    }

    /// An error where a link stands in the place of a file, or of the folder of charts or times: writing would go
    /// elsewhere, or take the link away. Trials may lie on another disk.
    pub(super) fn check_no_links(&self) -> Result<()> {
        let places = [(self.folder.clone(), FolderKind::Study)].into_iter().chain(
            [("charts", FolderKind::Charts), ("times", FolderKind::Times)]
                .map(|(name, of)| (self.folder.join(name), of)),
        );
        for (folder, place) in places {
            if place != FolderKind::Study && is_link(&folder) {
                return not_through(&folder);
            }
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            let mut paths = entries.flatten().map(|entry| entry.path());
            if let Some(link) = paths.find(|path| is_link(path) && place.holds(path)) {
                return not_through(&link);
            }
        }
        Ok(())
    }

    /// Whether the folder is what an interrupted removal left.
    pub fn is_removed_by_half(&self) -> bool {
        let lock = self.lock_file();
        let says = || fs::read_to_string(&lock).is_ok_and(|line| line.starts_with(&format!("{REMOVED} by process ")));
        fs::symlink_metadata(self.file()).is_err() && !is_link(&lock) && says()
    }

    pub(super) fn cannot_make(&self) -> String {
        format!("cannot make the study folder {}; give another with --out", self.folder.display())
    }
}

/// The error that nothing is written through a link.
pub(super) fn not_through(link: &Path) -> Result<()> {
    bail!(
        "{} is a link, through which a study writes nothing: remove it, or put in its place what it leads to",
        link.display()
    )
}

/// Whether a folder of this name can be a trial's.
pub(super) fn is_key(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether SQLite keeps a file of this name beside the journal, or `study rebuild` the journal that was there before, as in
/// `journal.sqlite.bak-2026-11-26T225501Z`.
fn is_journal(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("journal.sqlite") else { return false };
    let is_moment = |moment: &str| moment.starts_with(|c: char| c.is_ascii_digit()) && moment.get(10..11) == Some("T");
    ["-journal", "-wal", "-shm"].contains(&rest) || rest.strip_prefix(".bak-").is_some_and(is_moment)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|part| part == wanted)
}
