//! What a user reads of a study: tables and charts, all derived from its journal.

pub mod tables;
pub mod view;

use std::fs;

use anyhow::{Context, Result};

use crate::{files::write_atomically, journal::Journal, study::Study};
use view::StudyView;

/// Rewrites every derived file of a study, each atomically.
pub fn write_all(study: &Study, view: &StudyView, journal: &Journal) -> Result<()> {
    let folder = &study.folder;
    write_atomically(&folder.join("trials.csv"), &tables::trials(view)?)?;
    write_atomically(&folder.join("epochs.csv"), &tables::epochs(view, &journal.epochs()?)?)?;
    write_atomically(&folder.join("front.csv"), &tables::front(view)?)?;
    write_charts(study, view)
}

fn write_charts(study: &Study, view: &StudyView) -> Result<()> {
    let folder = study.folder.join("charts");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let _ = view;
    Ok(())
}
