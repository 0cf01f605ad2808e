//! What a user reads of a study: tables and charts, all derived from its journal.

pub mod cells;
pub mod comparison;
pub mod departures;
pub mod effects;
pub mod findings;
pub mod keeper;
pub mod origins;
pub mod pictures;
pub mod reach;
pub mod tables;
pub mod view;

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{
    base::files::write_atomically,
    present::charts::{self, Scene},
    search::study::Study,
};
use effects::Effects;
use findings::Findings;
use view::StudyView;

/// Rewrites every derived file of a study, each atomically.
pub fn write_all(study: &Study, view: &StudyView) -> Result<()> {
    let findings = Findings::of(view);
    let effects = Effects::of(view);
    for (name, bytes) in all_tables(view, &findings, &effects)? {
        write_atomically(&study.folder.join(name), &bytes)?;
    }
    let charts = study.folder.join("charts");
    fs::create_dir_all(&charts).with_context(|| format!("cannot make {}", charts.display()))?;
    write_chart(&charts.join("attribution"), &charts::attribution::draw(&effects::chart(view, &effects.effects)))?;
    write_chart(&charts.join("front"), &charts::front::draw(&pictures::front_chart(view, &findings)))?;
    write_chart(&charts.join("curves"), &charts::curves::draw(&pictures::curves_chart(view, &findings)))
}

/// Every table of a study, by the name of its file.
pub fn all_tables(
    view: &StudyView,
    findings: &Findings,
    Effects { effects, interactions }: &Effects,
) -> Result<[(&'static str, Vec<u8>); 5]> {
    Ok([
        ("trials.csv", tables::trials(view)?),
        ("epochs.csv", tables::epochs(view)?),
        ("front.csv", tables::front(view, findings)?),
        ("attribution.csv", effects::attribution(&view.space, effects)?),
        ("interactions.csv", effects::interactions(&view.space, interactions)?),
    ])
}

/// What a chart says of its times.
fn time_note(view: &StudyView) -> String {
    match view.times_line() {
        line if line.is_empty() => "time: training steps only".into(),
        line => format!("time: training steps only, {line}"),
    }
}

/// Writes a chart as PNG and SVG.
fn write_chart(path: &Path, scene: &Scene) -> Result<()> {
    write_atomically(&path.with_extension("png"), &scene.png())?;
    write_atomically(&path.with_extension("svg"), scene.svg().as_bytes())
}
