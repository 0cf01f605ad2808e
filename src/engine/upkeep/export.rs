//! Packs a study into one file: all that is needed to read it elsewhere, of one moment.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use serde::{Deserialize, Serialize};

use super::{entries, name};
use crate::{
    base::{
        files::{check_target, write_through},
        machine, seal,
    },
    present::report::{self, effects::Effects, findings::Findings, view::StudyView},
    search::{
        journal::Journal,
        study::{
            Study,
            holdings::{EXPORT_NOTE, FolderKind},
        },
    },
};

/// What was packed, and what was not.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    fastrcaps_version: String,
    /// UTC, RFC 3339.
    exported: String,
    /// Whether the trials' weights came along.
    weights: bool,
}

/// What went into an archive.
#[derive(Debug)]
pub struct Exported {
    pub trials: usize,
    pub files: usize,
    pub bytes: u64,
}

/// Whether the study was unpacked from an archive without weights.
pub fn left_out_weights(study: &Study) -> bool {
    let read = || seal::from_json::<Note>(&fs::read(study.folder.join(EXPORT_NOTE)).ok()?).ok();
    read().is_some_and(|note| !note.weights)
}

/// Packs a study into the gzipped tar `to`, also while it is explored: trials that have ended, and the journal and the
/// tables of the same moment. Checkpoints, and what is not the study's, stay behind.
pub fn export(study: &Study, to: &Path, weights: bool, force: bool) -> Result<Exported> {
    check_target(to, force, |_| false)?;
    let mut view = StudyView::blank(study)?;
    let folder = fs::canonicalize(&study.folder)?;
    let root = PathBuf::from(folder.file_name().unwrap_or("study".as_ref()));
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let snapshot = scratch.path().join("journal.sqlite");
    Journal::read(&study.journal())?.copy_to(&snapshot)?;
    let journal = Journal::read(&snapshot)?;
    // What is damaged is not handed on.
    view.update(&journal).context("the study cannot be exported")?;
    let note = Note {
        fastrcaps_version: machine::VERSION.into(),
        exported: machine::rfc3339(std::time::SystemTime::now()),
        weights: weights && !left_out_weights(study),
    };
    let mut exported = Exported { trials: 0, files: 0, bytes: 0 };
    write_through(to, |temporary| {
        let file = File::create(temporary)?;
        let mut archive = Archive {
            tar: tar::Builder::new(GzEncoder::new(file, Compression::default())),
            root: &root,
            exported: &mut exported,
        };
        archive.bytes(EXPORT_NOTE, &seal::to_json(&note)?)?;
        for file in ["study.toml", "machine.json"] {
            archive.file(&folder.join(file), file)?;
        }
        archive.file(&snapshot, "journal.sqlite")?;
        for (name, bytes) in report::all_tables(&view, &Findings::of(&view), &Effects::of(&view))? {
            archive.bytes(name, &bytes)?;
        }
        for (inner, place) in [("charts", FolderKind::Charts), ("times", FolderKind::Times)] {
            for path in entries(&folder.join(inner))?.iter().filter(|path| place.holds(path)) {
                archive.file(path, &format!("{inner}/{}", name(path)))?;
            }
        }
        for (key, record) in view.keys.iter().zip(&view.records) {
            if !record.as_ref().is_some_and(|record| record.status.is_final()) {
                continue;
            }
            archive.exported.trials += 1;
            for path in entries(&study.trial(key).path)?.iter().filter(|path| FolderKind::Trial.holds(path)) {
                let file = name(path);
                let left_out = file.starts_with("checkpoint") || !weights && file == "weights.safetensors";
                if !left_out {
                    archive.file(path, &format!("trials/{key}/{file}"))?;
                }
            }
        }
        archive.tar.into_inner()?.finish()?;
        Ok(())
    })?;
    exported.bytes = fs::metadata(to).map(|metadata| metadata.len()).unwrap_or(0);
    Ok(exported)
}

struct Archive<'a> {
    tar: tar::Builder<GzEncoder<File>>,
    root: &'a Path,
    exported: &'a mut Exported,
}

impl Archive<'_> {
    /// Adds a file, if it is there and is one.
    fn file(&mut self, path: &Path, name: &str) -> Result<()> {
        if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file()) {
            return Ok(());
        }
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        self.bytes(name, &bytes)
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()));
        self.tar.append_data(&mut header, self.root.join(name), bytes)?;
        self.exported.files += 1;
        Ok(())
    }
}
