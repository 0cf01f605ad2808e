//! What a user reads of a study: tables and charts, all derived from its journal.

pub mod effects;
pub mod keeper;
mod pictures;
pub mod tables;
pub mod view;

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{
    charts::{self, Scene},
    files::write_atomically,
    journal::Journal,
    study::Study,
};
use effects::Effects;
use view::StudyView;

/// Rewrites every derived file of a study, each atomically.
pub fn write_all(study: &Study, view: &StudyView, journal: &Journal) -> Result<()> {
    let folder = &study.folder;
    let epochs = journal.epochs()?;
    write_atomically(&folder.join("trials.csv"), &tables::trials(view)?)?;
    write_atomically(&folder.join("epochs.csv"), &tables::epochs(view, &epochs)?)?;
    write_atomically(&folder.join("front.csv"), &tables::front(view)?)?;
    let Effects { effects, interactions } = Effects::of(view);
    write_atomically(&folder.join("attribution.csv"), &effects::attribution(&view.space, &effects)?)?;
    write_atomically(&folder.join("interactions.csv"), &effects::interactions(&view.space, &interactions)?)?;
    let charts = folder.join("charts");
    fs::create_dir_all(&charts).with_context(|| format!("cannot make {}", charts.display()))?;
    if let Some(chart) = effects::chart(view, &effects) {
        write_chart(&charts.join("attribution"), &charts::attribution::draw(&chart))?;
    }
    write_chart(&charts.join("front"), &charts::front::draw(&pictures::front_chart(view)))?;
    write_chart(&charts.join("curves"), &charts::curves::draw(&pictures::curves_chart(view, &epochs)))
}

/// Writes a chart as PNG and SVG.
fn write_chart(path: &Path, scene: &Scene) -> Result<()> {
    write_atomically(&path.with_extension("png"), &scene.png())?;
    write_atomically(&path.with_extension("svg"), scene.svg().as_bytes())
}
