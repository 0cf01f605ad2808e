//! What is made of a study's journal: the view of it, what that says, and its tables.

pub mod cells;
pub mod comparison;
pub mod departures;
pub mod effects;
pub mod findings;
pub mod noise;
pub mod origins;
pub mod reach;
pub mod tables;
pub mod view;

use anyhow::Result;

use effects::Effects;
use findings::Findings;
use view::StudyView;

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
