//! The files of a study that are derived from its journal, tables and charts: written, and kept up to date.

pub mod keeper;

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{
    base::files::write_atomically,
    present::{
        charts::{self, Facts, Options, Scene, Style},
        report::{self, view::StudyView},
    },
    search::study::Study,
};

/// The charts that every study keeps, by the names of their files.
const KEPT: [&str; 3] = ["attribution", "front", "curves"];

/// Rewrites every derived file of a study, each atomically.
pub fn write_all(study: &Study, view: &StudyView) -> Result<()> {
    let facts = Facts::of(view);
    for (name, bytes) in report::all_tables(view, facts.findings(), facts.effects())? {
        write_atomically(&study.folder.join(name), &bytes)?;
    }
    let folder = study.folder.join("charts");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let kept = charts::CHARTS.iter().filter(|chart| KEPT.contains(&chart.name));
    kept.into_iter().try_for_each(|chart| {
        let picture = (chart.data)(&facts, &Options::default())?;
        write_chart(&folder.join(chart.name), &picture.draw(&Style::default()))
    })
}

/// Writes a chart as PNG and SVG.
fn write_chart(path: &Path, scene: &Scene) -> Result<()> {
    write_atomically(&path.with_extension("png"), &scene.png())?;
    write_atomically(&path.with_extension("svg"), scene.svg().as_bytes())
}
