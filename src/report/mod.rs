//! What a user reads of a study: tables and charts, all derived from its journal.

pub mod findings;
pub mod keeper;
mod pictures;
pub mod reach;
pub mod tables;
pub mod view;

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{
    charts::{self, Scene},
    files::write_atomically,
    study::Study,
};
use findings::Findings;
use view::StudyView;

/// Rewrites every derived file of a study, each atomically.
pub fn write_all(study: &Study, view: &StudyView) -> Result<()> {
    let folder = &study.folder;
    let findings = Findings::of(view);
    write_atomically(&folder.join("trials.csv"), &tables::trials(view)?)?;
    write_atomically(&folder.join("epochs.csv"), &tables::epochs(view)?)?;
    write_atomically(&folder.join("front.csv"), &tables::front(view, &findings)?)?;
    let charts = folder.join("charts");
    fs::create_dir_all(&charts).with_context(|| format!("cannot make {}", charts.display()))?;
    write_chart(&charts.join("front"), &charts::front::draw(&pictures::front_chart(view, &findings)))?;
    write_chart(&charts.join("curves"), &charts::curves::draw(&pictures::curves_chart(view, &findings)))
}

/// Writes a chart as PNG and SVG.
fn write_chart(path: &Path, scene: &Scene) -> Result<()> {
    write_atomically(&path.with_extension("png"), &scene.png())?;
    write_atomically(&path.with_extension("svg"), scene.svg().as_bytes())
}
